"""A run on its way: its updates, its epochs, and everything that a checkpoint of it holds."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import astuple
from typing import Any

import torch
from torch import Tensor, nn

from gradus.randomness import generator, seed_for
from gradus.runs import Row, Run
from gradus.scheduler import Scheduler
from gradus.scheduler.mistakes import unwarned
from gradus.tasks import Task
from gradus.training.epoch import Epoch
from gradus.training.guard import Guard, check_policy
from gradus.training.setup import build_optimizer, fresh_model, needs_closure, own_randomness, reseed
from gradus.training.trouble import DIVERGED_AT, Diverged, NonFinite

__all__ = ["Training", "score"]

_SCORED_AT_ONCE = 1000  # examples: what fits into a CPU's caches scores fastest


class Training:
    """A run on its way.

    Args:
        run: what to do.
        task: what to do it on.
        device: where.
        guard: what to do where a number isn't finite.
        after_update: called when an update is done, and its epoch's row too if it is the epoch's last.

    Raises:
        InvalidInput: the run's optimizer, schedule or policy can't be used.
    """

    def __init__(
        self, run: Run, task: Task, device: torch.device, guard: Guard, after_update: Callable[["Training"], None]
    ) -> None:
        self.run, self.rows = run, list[Row]()
        self._task, self._device, self._guard, self._after_update = task.to(device), device, guard, after_update
        self._steps = task.steps_per_epoch(run.batch_size)
        self._model = fresh_model(run, task).to(device)
        self._optimizer = build_optimizer(run, self._model)
        check_policy(run, self._optimizer)
        self._closes = needs_closure(self._optimizer)
        with unwarned():  # `Run.mistakes` has what looks like one, and whoever has the run has shown it
            self._scheduler = Scheduler(self._optimizer, lr=run.resolved(self._steps))
        self._epoch = Epoch()
        self._bound = math.inf

    @property
    def parts(self) -> dict[str, Any]:
        """What a checkpoint fills."""
        return {"model": self._model, "optimizer": self._optimizer, "scheduler": self._scheduler}

    @property
    def position(self) -> int:
        """How many updates have been done."""
        return len(self.rows) * self._steps + len(self._epoch.rates)

    @property
    def is_between_epochs(self) -> bool:
        """Whether the last epoch has its row, and the next has no update."""
        return not self._epoch.rates

    @property
    def is_done(self) -> bool:
        """Whether all epochs have their rows."""
        return len(self.rows) == self.run.epochs

    # Epochs

    def epoch(self) -> Row:
        """What is left of this epoch, and its row."""
        while True:
            try:
                return self._rest_of_epoch()
            except Diverged as trouble:
                self._guard.go_back(self.parts, trouble)
                self._epoch = Epoch()
                self._reduce_rate()
                went = f"went back to step {self.position}, with {self._guard.factor:g} of the rate"
                self._guard.tell(f"{went}: {trouble}")

    def _rest_of_epoch(self) -> Row:
        if self.is_between_epochs:
            self._guard.remember(self.parts)
        self._epoch.start_clock()
        self._model.train()
        with own_randomness(self._device):
            for batch in self._batches()[len(self._epoch.rates) :]:
                self._update(batch)
                if len(self._epoch.rates) < self._steps:
                    self._after_update(self)
            if self.run.per == "epoch":
                self._next_rate()
            self.rows.append(self._row())
            self._epoch = Epoch()
            self._after_update(self)
        return self.rows[-1]

    def _batches(self) -> tuple[Tensor, ...]:
        """The epoch's examples in their order: a function of the epoch, so a resumed one has the same."""
        count = len(self._task.train.inputs)
        order = torch.randperm(count, generator=generator(self.run.seed, "order", len(self.rows)))
        batches: tuple[Tensor, ...] = order.to(self._device).split(self.run.batch_size)
        return batches

    def _row(self) -> Row:
        epoch = self._epoch
        epoch.fetch()
        if not epoch.counted:
            raise Diverged(self.position - 1, epoch.rates[-1], epoch.losses[-1])
        if not self.rows:
            self._bound = DIVERGED_AT * max(abs(epoch.losses[epoch.counted[0]]), 1.0)
        epoch.refuse_divergence(len(self.rows) * self._steps, self._bound)
        with getattr(self._optimizer, "averaged", nullcontext)():  # a schedule-free optimizer is scored by its averages
            test_loss, test_accuracy = score(self._model, self._task)
        if not math.isfinite(test_loss):  # the epoch's last update blew up, and no training loss has seen it
            raise Diverged(self.position - 1, epoch.rates[-1], test_loss)
        return Row(
            epoch=len(self.rows) + 1,
            step=self.position,
            lr=epoch.rates[-1],
            train_loss=epoch.train_loss([len(one) for one in self._task.train.targets.split(self.run.batch_size)]),
            train_accuracy=epoch.correct / len(self._task.train.inputs),
            test_loss=test_loss,
            test_accuracy=test_accuracy,
            seconds=epoch.seconds,
        )

    # Updates

    def _update(self, batch: Tensor) -> None:
        expected = self._task.train.targets[batch]
        seen: list[tuple[Tensor, Tensor]] = []

        def gradients() -> Tensor:
            """The loss, with its gradients in place; the same function each time, dropout's masks included."""
            reseed(seed_for(self.run.seed, "step", self.position), self._device)
            self._optimizer.zero_grad()
            outputs = self._model(self._task.prepare(self._task.train.inputs[batch]))
            loss = self._task.loss(outputs, expected)
            loss.backward()
            if not seen:  # later ones are of a line search, which may go too far
                seen.append((loss.detach(), self._task.correct(outputs.detach(), expected).sum()))
                self._guard.look(self.position, loss.detach(), self._model, self._optimizer)
            return loss

        buffers = [one.clone() for one in self._model.buffers()] if self._guard.policy == "skip" else []
        try:
            if self._closes:
                self._optimizer.step(gradients)  # type: ignore[arg-type]  # torch's stub wants a float
            else:
                gradients()
                self._optimizer.step()
        except NonFinite as trouble:
            if self._guard.policy != "skip":
                raise
            self._skip(trouble, buffers)
        self._epoch.note(float(self._optimizer.param_groups[0]["lr"]), *seen[0])
        if self.run.per == "step":
            self._next_rate()

    def _skip(self, trouble: NonFinite, buffers: list[Tensor]) -> None:
        self._guard.tell(f"skipped an update: {trouble}")
        self._epoch.skip()
        for buffer, before in zip(self._model.buffers(), buffers, strict=True):
            buffer.copy_(before)  # averages of what was infinite

    def _next_rate(self) -> None:
        self._scheduler.step()
        self._reduce_rate()

    def _reduce_rate(self) -> None:
        """Take the returns so far into account, after the scheduler has written its rates."""
        if self._guard.factor < 1:
            for group in self._optimizer.param_groups:
                group["lr"] *= self._guard.factor

    # What a checkpoint holds besides the parts

    def saved(self) -> dict[str, Any]:
        """All of it."""
        rows = [astuple(row) for row in self.rows]
        return {"run": self.run.to_json(), "rows": rows, "bound": self._bound, **self._epoch.saved(), **self._guard.saved()}

    def take_over(self, saved: dict[str, Any]) -> None:
        """Go on from what `saved` gave, when the parts have been filled."""
        self.rows, self._bound = [Row(*values) for values in saved["rows"]], saved["bound"]
        self._epoch.take_over(saved)
        self._guard.take_over(saved)
        self._reduce_rate()


@torch.inference_mode()
def score(model: nn.Module, task: Task) -> tuple[float, float]:
    """Mean loss and accuracy over the test examples."""
    model.eval()
    loss, correct = 0.0, 0
    for inputs, targets in zip(*(part.split(_SCORED_AT_ONCE) for part in task.test), strict=True):
        outputs = model(task.prepare(inputs))
        loss += task.loss(outputs, targets).item() * len(targets)
        correct += int(task.correct(outputs, targets).sum())
    return loss / len(task.test.inputs), correct / len(task.test.inputs)
