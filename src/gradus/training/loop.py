"""A run on its way: its updates, its evaluations, and everything that a checkpoint of it holds."""

import json
import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gradus.distributed import all_gather
from gradus.errors import InvalidInput
from gradus.randomness import seed_for
from gradus.rows import Row
from gradus.runs import Run
from gradus.schedules.metric import factors_of as metric_factors_of
from gradus.tasks import Data, Outcome, Scores, Task, examples_in, kind_of
from gradus.tasks.drawing import seeded
from gradus.training.errors import DIVERGED_AT, Diverged, NonFinite, rate_of
from gradus.training.nonfinite import NonFinitePolicy, check_policy
from gradus.training.optimizers import build_optimizer, build_scheduler, factors_of
from gradus.training.progress import Progress
from gradus.training.setup import fresh_model, own_randomness, reseed
from gradus.training.step import TrainingStep, autocast_for, evaluating, mean_loss, to_training

__all__ = ["AMP", "Training", "step_for"]

_SCORED_AT_ONCE = 4  # times the batch size: no gradients are kept, so they find room where the training did
_PROGRESS_EVERY = 0.25  # seconds
AMP: dict[str, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def step_for(run: Run, task: Task, model: Any, optimizer: torch.optim.Optimizer, device: torch.device) -> TrainingStep:
    """The training step of a run: its precision, its clipping, and its task's loss.

    Args:
        run: the run.
        task: its task.
        model: its network.
        optimizer: its optimizer.
        device: where these are.

    Raises:
        InvalidInput: the optimizer can't be stepped so.
    """
    dtype = torch.float64 if run.precision == "float64" else torch.float32
    return TrainingStep(
        model,
        optimizer,
        lambda batch: task.loss_of(model, batch, dtype),
        amp=AMP.get(run.precision),
        scaler=torch.amp.GradScaler(device.type) if run.precision == "float16" else None,
        clip_norm=run.clip_norm,
    )


class Training:
    """A run on its way.

    Args:
        run: what to do, with nothing left to its task.
        task: what to do it on.
        device: where.
        policy: what to do where a number isn't finite.
        after_update: called when an update is done, and its row too if it has one; whether to stop.

    Raises:
        InvalidInput: the run's optimizer, schedules or policy can't be used.
    """

    def __init__(
        self, run: Run, task: Task, device: torch.device, policy: NonFinitePolicy, after_update: Callable[["Training"], bool]
    ) -> None:
        assert run.batch_size is not None
        self.run, self.rows, self.position = run, list[Row](), 0
        self.resumed_from: int | None = None
        self._task, self._device, self._policy, self._after_update = task, device, policy, after_update
        self._batch_size = run.batch_size
        self._data = task.data("train", valid=run.valid).to(device)
        self._scored: dict[str, Data] = {}
        self._count_steps()
        self._model = fresh_model(run, task).to(device)
        self._optimizer = build_optimizer(run, self._model)
        check_policy(run, self._optimizer)
        schedules = run.resolved(self._steps, task.tokens_per_step(run.batch_size, run.accumulate))
        self._scheduler = build_scheduler(run, self._optimizer, schedules)
        self._others = [name for name in schedules if name != "lr"]  # whose values rows have, too
        self._follows_metric = any(metric_factors_of(one) for one in schedules.values())
        self._factor = next(iter(factors_of(run)), 1.0)  # of the first group
        self._step = step_for(run, task, self._model, self._optimizer, device)
        self._step.begin = self._reseed
        if policy.policy is not None:
            self._step.look = self._look
        self._batches: Generator[Any, None, None] | None = None
        self._kind: str | None = None
        self._values: dict[str, float] = {}
        self._scores = Scores(task.metrics or {})
        self._updates = _Updates()
        self._clock = _Clock()
        self._policy.remember(0, self.parts)

    def _count_steps(self) -> None:
        run, tokens = self.run, self._task.tokens_per_step(self._batch_size, self.run.accumulate)
        self._steps = self._data.steps_per_epoch(self._batch_size, run.accumulate)
        self.total = run.total_steps(self._steps, tokens)
        self._evaluate_every = run.evaluation_steps(self._steps, tokens)

    @property
    def model(self) -> Any:
        """The network."""
        return self._model

    @property
    def parts(self) -> dict[str, Any]:
        """What a checkpoint fills."""
        parts = {"model": self._model, "optimizer": self._optimizer}
        parts |= {} if self._scheduler is None else {"scheduler": self._scheduler}
        return parts if self._step.scaler is None else parts | {"scaler": self._step.scaler}

    @property
    def identity(self) -> str:
        """The run, whatever it is called."""
        return self.run.replace(name=None).to_json()

    @property
    def is_evaluated(self) -> bool:
        """Whether the last update was followed by an evaluation, or there is none yet."""
        return self.is_done or self.position % self._evaluate_every == 0

    @property
    def is_done(self) -> bool:
        """Whether all updates have been done."""
        return self.position >= self.total

    # Updates, one after the other

    def advance(self, *, progress: bool) -> tuple[Row | Progress | None, bool]:
        """Train until there is something to tell, or `after_update` says to stop: what there is, and whether to stop.

        Args:
            progress: whether `Progress` is wanted too.
        """
        while True:
            try:
                with self._under_way():
                    return self._advanced(progress)
            except Diverged as trouble:
                self._go_back(trouble)

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        with own_randomness(self._device), self._clock.running():
            to_training(self._model, self._optimizer)
            yield

    def _advanced(self, progress: bool) -> tuple[Row | Progress | None, bool]:
        until = time.perf_counter() + _PROGRESS_EVERY if progress else math.inf
        while True:
            self._update(self._next_batches())
            row = self._row_if_due()
            stop = self._after_update(self)
            if row is not None or stop:
                return row, stop
            if time.perf_counter() > until:
                return self.progress(), False

    def close(self) -> None:
        """Let go of the batches under way, and of the workers that make them: a pass that is still open keeps its own."""
        if self._batches is not None:
            self._batches.close()
            self._batches = None

    def progress(self) -> Progress:
        """How far it is; it waits for the device."""
        return Progress(self.position, self.total, self._updates.loss, self._rate(), self.resumed_from)

    def _next_batches(self) -> list[Any]:
        """The batches of the next update: a function of the position, so a resumed training has the same."""
        index = self.position % self._steps
        if index == 0 and self._batches is not None:
            next(self._batches, None)  # it comes to its end, or has more than it should
        if index == 0 or self._batches is None:
            self._batches = self._data.batches(
                self.run.seed,
                self.position // self._steps,
                self._batch_size,
                start=index * self.run.accumulate,
                device=self._device,
                shuffle=True,
            )
        first = next(self._batches)
        if self._kind is None:
            self._kind = kind_of(first)
        batches = [first]
        while len(batches) < self.run.accumulate and (more := next(self._batches, None)) is not None:
            batches.append(more)
        return batches if self._task.augment is None else self._augmented(batches)

    def _augmented(self, batches: list[Any]) -> list[Any]:
        """The batches, changed by chance as the position says, from whichever generator the change is drawn."""
        assert self._task.augment is not None
        seed = seed_for(self.run.seed, "augment", self.position)
        generator = torch.Generator(self._device).manual_seed(seed)
        with seeded(seed):
            return [self._task.augment(batch, generator) for batch in batches]

    def _reseed(self) -> None:
        """Before gradients are computed: the same function each time, dropout's masks included."""
        reseed(seed_for(self.run.seed, "step", self.position), self._device)

    def _look(self, loss: Tensor) -> None:
        self._policy.look(self.position, loss, self._model, self._optimizer, self._step.scaler)

    def _update(self, batches: list[Any]) -> None:
        buffers = [one.clone() for one in self._model.buffers()] if self._policy.policy == "skip" else []
        try:
            outcomes = self._step(batches)
        except NonFinite as trouble:
            if self._policy.policy != "skip":
                raise
            self._skip(trouble, buffers)
        else:
            self._updates.add(self._rate(), mean_loss(outcomes))
            for outcome, batch in zip(outcomes, batches, strict=True):
                self._scores.add(outcome, examples_in(batch))
        self._values = {name: self._value(name) for name in self._others}
        self.position += 1
        if self.run.per == "step" or self.position % self._steps == 0:
            self._next_rate()

    def _skip(self, trouble: NonFinite, buffers: list[Tensor]) -> None:
        self._policy.report(f"skipped an update: {trouble}")
        self._updates.add(self._rate(), trouble.loss, skipped=True)
        for buffer, before in zip(self._model.buffers(), buffers, strict=True):
            buffer.copy_(before)  # averages of what was infinite

    # Rates

    def _rate(self) -> float:
        """The learning rate of the first group, before its factor."""
        rate = rate_of(self._optimizer.param_groups[0])
        return rate if self._factor == 1.0 else rate / self._factor

    def _value(self, name: str) -> float:
        """A scheduled hyperparameter's value in the first group; `betas[0]` is a member of a tuple."""
        key, _, place = name.partition("[")
        value = self._optimizer.param_groups[0][key]
        return float(value[int(place.removesuffix("]"))] if place else value)

    def _next_rate(self) -> None:
        if self._scheduler is not None:
            self._scheduler.step()
            self._reduce_rate()

    def _reduce_rate(self) -> None:
        """Take the returns so far into account, after the scheduler has written its rates."""
        if self._policy.factor < 1:
            for group in self._optimizer.param_groups:
                group["lr"] *= self._policy.factor

    def _go_back(self, trouble: Diverged) -> None:
        self.position = self._policy.go_back(self.parts, trouble)
        self._scores.reset()
        self._updates.forget()
        self.close()
        self._reduce_rate()
        went = f"went back to step {self.position}, with {self._policy.factor:g} of the rate"
        self._policy.report(f"{went}: {trouble}")

    # Rows

    def _row_if_due(self) -> Row | None:
        """The row of this update, if it has one. After a return, steps that have a row get no other."""
        evaluated = self.is_evaluated
        recorded = self.run.record_every is not None and self.position % self.run.record_every == 0
        if not evaluated and not (recorded and (not self.rows or self.rows[-1].step < self.position)):
            return None
        self._updates.refuse_divergence(self.position)
        numbers = {"epoch": self.position / self._steps, "lr": self._updates.rate, **self._values}
        learned = _agreed(self._scores.values())
        if evaluated and not learned:  # all updates were left out
            raise Diverged(self.position - 1, self._updates.rate, self._updates.loss)
        numbers |= {f"train/{name}": value for name, value in learned.items()}
        if evaluated:
            numbers |= self._evaluated()
            self._scores.reset()
        numbers["time/seconds"] = self._clock.seconds
        self.rows.append(Row(self.position, numbers))
        if evaluated:
            self._policy.remember(self.position, self.parts)
        return self.rows[-1]

    def _evaluated(self) -> dict[str, float]:
        """The scores of this moment; those on test only at the end, where there are others to choose by."""
        parts = ["valid"] if self.run.valid else []
        if self.is_done or not self.run.valid:
            parts.append("test")
        found = {f"{part}/{name}": value for part in parts for name, value in self._score(part).items()}
        loss = found[f"{parts[0]}/loss"]
        if not math.isfinite(loss):  # the last update blew up, and no training loss has seen it
            raise Diverged(self.position - 1, self._updates.rate, loss)
        if self._follows_metric:
            assert self._scheduler is not None
            self._scheduler.observe(loss)
            self._reduce_rate()
        return found

    def _score(self, part: str) -> dict[str, float]:
        if part not in self._scored:
            self._scored[part] = self._task.data(part, valid=self.run.valid).to(self._device)
        scores, forward = Scores(self._task.metrics or {}), self._step.forward
        reseed(seed_for(self.run.seed, f"scores on {part}", self.position), self._device)
        batches = self._scored[part].batches(0, 0, _SCORED_AT_ONCE * self._batch_size, device=self._device, shuffle=False)
        with evaluating(self._model, self._optimizer):
            for batch in batches:
                with autocast_for(self._device.type, self._step.amp):
                    outcome: Outcome = forward(batch)
                scores.add(outcome, examples_in(batch))
        return _agreed(scores.values())

    # What a checkpoint holds besides the parts

    def state_dict(self) -> dict[str, Any]:
        """All of it."""
        return {
            "run": self.identity,
            "rows": json.dumps([(row.step, dict(row)) for row in self.rows]),
            "position": self.position,
            "steps": self._steps,
            "kind": self._kind,
            "scores": self._scores.state_dict(),
            "updates": self._updates.state_dict(),
            "seconds": self._clock.seconds,
            "policy": self._policy.state_dict(),
        }

    def load_state(self, saved: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave, when the parts have been filled.

        Raises:
            InvalidInput: the data have changed.
        """
        self._refuse_other_data(saved["steps"], saved["kind"])
        self.rows = [Row(step, numbers) for step, numbers in json.loads(saved["rows"])]
        self.position = self.resumed_from = saved["position"]
        self._kind = saved["kind"]
        self._scores.load_state_dict(saved["scores"])
        self._updates.load_state(saved["updates"])
        self._clock.seconds_before = saved["seconds"]
        self._policy.load_state(saved["policy"])
        self._reduce_rate()

    def _refuse_other_data(self, steps: int, kind: str | None) -> None:
        if steps != self._steps:
            raise InvalidInput(
                f"an epoch of task {self._task.name!r} had {steps} updates when this training was cut short, and has "
                f"{self._steps} now"
            )
        first = self._data.batches(self.run.seed, 0, self._batch_size, device=self._device, shuffle=True)
        now = kind_of(next(first))
        if kind not in (None, now):
            raise InvalidInput(
                f"the batches of task {self._task.name!r} were {kind} when this training was cut short, and are {now} now"
            )


class _Updates:
    """The rates and losses of the updates since they were last looked at, and the bound beyond which they diverge.

    Losses stay on the device until then, to spare it the wait.
    """

    def __init__(self) -> None:
        self.rate = self._loss = math.nan  # of the last update
        self._bound: float | None = None  # known when the first loss is
        self.forget()

    def forget(self) -> None:
        """Forget the updates that haven't been looked at."""
        self._rates: list[float] = []
        self._losses: list[Tensor | float] = []  # numbers where they have been fetched, or were never on the device
        self._skipped: list[int] = []  # the places of those that were left out

    def add(self, rate: float, loss: Tensor | float, *, skipped: bool = False) -> None:
        """Note an update.

        Args:
            rate: its learning rate.
            loss: its loss, a tensor `[]` or a number.
            skipped: whether it was left out.
        """
        if skipped:
            self._skipped.append(len(self._rates))
        self.rate = rate
        self._rates.append(rate)
        self._losses.append(loss)

    @property
    def loss(self) -> float:
        """The loss of the last update; the device is waited for."""
        return float(self._losses[-1]) if self._losses else self._loss

    def refuse_divergence(self, position: int) -> None:
        """Look at the losses, and forget them.

        Args:
            position: the updates done.

        Raises:
            Diverged: one is no number or beyond the bound.
        """
        losses = self._fetched()
        done = [place for place in range(len(losses)) if place not in self._skipped]
        if self._bound is None and done:
            self._bound = DIVERGED_AT * max(abs(losses[done[0]]), 1.0)
        for place in done:
            if self._bound is None or not losses[place] <= self._bound:  # what is no number isn't within it either
                raise Diverged(position - len(losses) + place, self._rates[place], losses[place])
        self._loss = self.loss
        self.forget()

    def _fetched(self) -> list[float]:
        on_device = [loss for loss in self._losses if isinstance(loss, Tensor)]
        numbers = iter(torch.stack(on_device).tolist() if on_device else ())
        return [next(numbers) if isinstance(loss, Tensor) else loss for loss in self._losses]

    def state_dict(self) -> dict[str, Any]:
        """All of it, in numbers and tensors."""
        return {
            "rate": self.rate,
            "loss": self._loss,
            "bound": self._bound,
            "rates": torch.tensor(self._rates, dtype=torch.float64),
            "losses": torch.tensor(self._fetched(), dtype=torch.float64),
            "skipped": list(self._skipped),
        }

    def load_state(self, saved: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.rate, self._loss, self._bound = saved["rate"], saved["loss"], saved["bound"]
        self._rates, self._losses = saved["rates"].tolist(), saved["losses"].tolist()
        self._skipped = list(saved["skipped"])


class _Clock:
    """Wall-clock seconds of a training, those before a checkpoint included, and those between rows not."""

    def __init__(self) -> None:
        self.seconds_before = 0.0
        self._start: float | None = None

    @property
    def seconds(self) -> float:
        """The time so far."""
        return self.seconds_before + (0.0 if self._start is None else time.perf_counter() - self._start)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inside, time counts."""
        self._start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds_before, self._start = self.seconds, None


def _agreed(numbers: dict[str, float]) -> dict[str, float]:
    """The means over all processes that train together, so that their rows are the same."""
    several = all_gather(numbers)
    if len(several) == 1:
        return numbers
    return {name: math.fsum(one[name] for one in several) / len(several) for name in numbers}
