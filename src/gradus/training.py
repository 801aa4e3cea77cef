"""Training as a generator of rows: whoever wants a progress bar, a store or an early stop takes the rows."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import astuple
from typing import Any, cast

import torch
from torch import Tensor, nn

import gradus.optim
from gradus.checkpoint import Checkpoints
from gradus.errors import GradusError, InvalidInput
from gradus.randomness import generator, seed_for
from gradus.runs import Row, Run
from gradus.scheduler import Scheduler
from gradus.signals import HeldSignals
from gradus.tasks import Task, load_model

__all__ = ["DIVERGED_AT", "Diverged", "NonFinite", "check_every", "check_run", "pick_device", "train"]

DIVERGED_AT = 100.0  # times the first loss: no training comes back from there, whatever its last loss looks like
_RETREATS = 8  # halvings: a run that needs more has another fault than its rate
_SCORED_AT_ONCE = 1000  # examples: what fits into a CPU's caches scores fastest


class Diverged(GradusError):
    """The loss of a run left every reasonable range.

    Args:
        step: the update whose loss it was, counted from 0; or after which the test loss was it.
        lr: the learning rate of that update.
        loss: the loss itself.
    """

    def __init__(self, step: int, lr: float, loss: float) -> None:
        super().__init__(f"diverged at step {step}: the loss was {loss:.4g} at learning rate {lr:.4g}")
        self.step, self.lr, self.loss = step, lr, loss

    def __reduce__(self) -> tuple[type["Diverged"], tuple[int, float, float]]:
        return Diverged, (self.step, self.lr, self.loss)


class NonFinite(Diverged):
    """A loss or a gradient is no finite number; it was found before the update that would have used it.

    Args:
        step: the update, counted from 0.
        lr: its learning rate, in the parameter's group.
        value: what was found.
        parameter: the name of the parameter whose gradient it is; None for the loss.
        group: the number of its group.
    """

    def __init__(self, step: int, lr: float, value: float, parameter: str | None = None, group: int | None = None) -> None:
        what = "the loss" if parameter is None else f"the gradient of {parameter} (group {group})"
        GradusError.__init__(self, f"{what} was {value:.4g} at step {step}, at learning rate {lr:.4g}")
        self.step, self.lr, self.loss, self.parameter, self.group = step, lr, value, parameter, group

    def __reduce__(self) -> tuple[type["NonFinite"], tuple[Any, ...]]:
        return NonFinite, (self.step, self.lr, self.loss, self.parameter, self.group)


def pick_device(name: str | None = None) -> torch.device:
    """The named device, or the best there is: cuda, then mps, then cpu.

    Raises:
        InvalidInput: the name is no device, or this machine has none of it.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(f"device {name!r} can't be used here: {reason}; leave it out to take the best there is") from None
    return device


def train(
    run: Run,
    task: Task,
    *,
    device: torch.device | None = None,
    checkpoints: Checkpoints | None = None,
    checkpoint_every: int | None = None,
    on_incident: Callable[[str], None] | None = None,
) -> Iterator[Row]:
    """Train as the run says and give a row after each epoch.

    The caller's random state is as it was, between rows and after. torch's settings for threads hold.

    With checkpoints, a training that was cut short goes on from the newest one, within an epoch too. It gives all rows
    again, the earlier ones at once, and all are the uninterrupted training's, bit for bit. Ctrl-C and SIGTERM wait for the
    end of the update in hand, save, and then do what they would have done.

    Args:
        run: what to do.
        task: what to do it on: `load_task(run.task)`.
        device: where; the best there is unless given.
        checkpoints: where to save, and to go on from.
        checkpoint_every: updates between two checkpoints; one at each epoch's end unless given. The last update has one.
        on_incident: told of each update that was skipped and of each return to an earlier state, where the run asks for
            these: the step, the learning rate, and the parameter and its group. A resumed training tells the earlier ones
            again.

    Raises:
        NonFinite: the run asks to stop at a loss or gradient that is no finite number, and there is one.
        Diverged: at the end of the epoch in which the loss stopped being a number, or passed 100 times the first loss.
        InvalidInput: the run's optimizer or schedule can't be used; before anything is trained.
        GradusError: a checkpoint can't be written, or is another run's.
    """
    check_every(checkpoint_every)
    training = _Training(run, task, device or pick_device(), checkpoints, checkpoint_every)
    training.on_incident = on_incident
    training.take_up()
    yield from list(training.rows)
    while len(training.rows) < run.epochs:
        yield training.epoch()


def check_run(run: Run, task: Task) -> None:
    """Refuse a run that can't be trained, before anything is.

    Args:
        run: what is to be done.
        task: what it is to be done on.

    Raises:
        InvalidInput: the run's model, optimizer or schedule can't be used, or can't be saved.
    """
    run.to_json()
    run.resolved(task.steps_per_epoch(run.batch_size))
    _optimizer(run, _fresh_model(run, task))


def check_every(updates: int | None) -> None:
    """Refuse a distance between checkpoints that counts no updates.

    Args:
        updates: updates between two checkpoints; None where it isn't said.

    Raises:
        InvalidInput: it isn't a whole number from 1.
    """
    if updates is not None and (type(updates) is not int or updates < 1):
        raise InvalidInput(f"checkpoint_every must be a whole number of updates, from 1; got {updates!r}")


class _Training:
    """A run on its way: everything that a checkpoint of it holds."""

    def __init__(
        self, run: Run, task: Task, device: torch.device, checkpoints: Checkpoints | None, every: int | None
    ) -> None:
        self.run, self.task, self.device = run, task.to(device), device
        self.checkpoints, self.every = checkpoints, every
        self.steps = task.steps_per_epoch(run.batch_size)
        self.model = _fresh_model(run, task).to(device)
        self.optimizer = _optimizer(run, self.model)
        self.scheduler = Scheduler(self.optimizer, lr=run.resolved(self.steps))
        self.rows: list[Row] = []
        self.bound = math.inf
        self.rates: list[float] = []  # of the epoch's updates so far, as the following
        self.losses: list[float] = []
        self.correct = 0
        self.seconds = 0.0
        self.skipped: list[int] = []  # which of them were left out
        self.incidents: list[str] = []
        self.on_incident: Callable[[str], None] | None = None
        self.retreats = 0
        self._good: dict[str, Any] | None = None  # the state at the epoch's beginning, where it may be gone back to
        self._waiting: list[tuple[Tensor, Tensor]] = []  # losses and scores that are still on the device

    @property
    def position(self) -> int:
        """How many updates have been done."""
        return len(self.rows) * self.steps + len(self.rates)

    def epoch(self) -> Row:
        """What is left of this epoch, and its row."""
        while True:
            try:
                return self._epoch()
            except Diverged as trouble:
                if self._good is None or self.retreats == _RETREATS:
                    raise
                self._retreat(trouble)

    def _epoch(self) -> Row:
        if self.run.on_nonfinite == "back-off" and not self.rates:
            self._good = {name: copy.deepcopy(part.state_dict()) for name, part in self._parts.items()}
        self._start = time.perf_counter() - self.seconds
        self.model.train()
        with HeldSignals() if self.checkpoints is not None else nullcontext() as signals, _own_randomness(self.device):
            for batch in self._batches()[len(self.rates) :]:
                self._update(batch)
                if len(self.rates) < self.steps:
                    self._save_if_due(signals)
            if self.run.per == "epoch":
                self._next_rate()
            self._end_epoch()
            self._save_if_due(signals)
        return self.rows[-1]

    def _batches(self) -> tuple[Tensor, ...]:
        """The epoch's examples in their order: a function of the epoch, so a resumed one has the same."""
        count = len(self.task.train.inputs)
        order = torch.randperm(count, generator=generator(self.run.seed, "order", len(self.rows)))
        batches: tuple[Tensor, ...] = order.to(self.device).split(self.run.batch_size)
        return batches

    def _update(self, batch: Tensor) -> None:
        _reseed(seed_for(self.run.seed, "step", self.position), self.device)  # for dropout's masks
        inputs, targets = self.task.train
        expected = targets[batch]
        buffers = [one.clone() for one in self.model.buffers()] if self.run.on_nonfinite == "skip" else []
        outputs = self.model(self.task.prepare(inputs[batch]))
        loss = self.task.loss(outputs, expected)
        loss.backward()
        trouble = self._trouble(loss.detach()) if self.run.on_nonfinite is not None else None
        if trouble is None:
            self.optimizer.step()
        elif self.run.on_nonfinite == "skip":
            self._tell(f"skipped an update: {trouble}")
            self.skipped.append(len(self.rates))
            for buffer, before in zip(self.model.buffers(), buffers, strict=True):
                buffer.copy_(before)  # averages of what was infinite
        else:
            raise trouble
        self.optimizer.zero_grad()
        self._waiting.append((loss.detach(), self.task.correct(outputs.detach(), expected).sum()))
        self.rates.append(float(self.optimizer.param_groups[0]["lr"]))
        if self.run.per == "step":
            self._next_rate()

    def _end_epoch(self) -> None:
        self._fetch()
        sizes = [len(one) for one in self.task.train.targets.split(self.run.batch_size)]
        counted = [index for index in range(self.steps) if index not in self.skipped]
        if not counted:
            raise Diverged(self.position - 1, self.rates[-1], self.losses[-1])
        if not self.rows:
            self.bound = DIVERGED_AT * max(abs(self.losses[counted[0]]), 1.0)
        self._refuse_divergence(counted)
        with getattr(self.optimizer, "averaged", nullcontext)():  # a schedule-free optimizer is scored by its averages
            test_loss, test_accuracy = score(self.model, self.task)
        if not math.isfinite(test_loss):  # the epoch's last update blew up, and no training loss has seen it
            raise Diverged(self.position - 1, self.rates[-1], test_loss)
        row = Row(
            epoch=len(self.rows) + 1,
            step=self.position,
            lr=self.rates[-1],
            train_loss=_mean([self.losses[index] for index in counted], [sizes[index] for index in counted]),
            train_accuracy=self.correct / len(self.task.train.inputs),
            test_loss=test_loss,
            test_accuracy=test_accuracy,
            seconds=time.perf_counter() - self._start,
        )
        self.rows.append(row)
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.rates, self.losses, self.correct, self.seconds, self.skipped, self._waiting = [], [], 0, 0.0, [], []

    def _refuse_divergence(self, counted: list[int]) -> None:
        for index in counted:
            if not self.losses[index] <= self.bound:  # a loss that is no number isn't within the bound either
                raise Diverged(len(self.rows) * self.steps + index, self.rates[index], self.losses[index])

    def _fetch(self) -> None:
        """Wait for the device, and take over what is there."""
        if self._waiting:
            losses, correct = map(torch.stack, zip(*self._waiting, strict=True))
            self.losses += losses.tolist()
            self.correct += int(correct.sum())
            self._waiting = []

    # What isn't finite

    def _trouble(self, loss: Tensor) -> "NonFinite | None":
        """The loss or the first gradient that isn't finite, before it is used."""
        rate = float(self.optimizer.param_groups[0]["lr"])
        if not math.isfinite(loss):
            return NonFinite(self.position, rate, float(loss))
        gradients = [param.grad for param in self.model.parameters() if param.grad is not None]
        if math.isfinite(nn.utils.get_total_norm(gradients)):  # one look for all of them
            return None
        names = {param: name for name, param in self.model.named_parameters()}
        for number, group in enumerate(self.optimizer.param_groups):
            for param in group["params"]:
                if param.grad is not None and not param.grad.isfinite().all():
                    value = float(param.grad[~param.grad.isfinite()][0])
                    return NonFinite(self.position, float(group["lr"]), value, names[param], number)
        return None  # they are finite, and their norm isn't

    def _tell(self, incident: str) -> None:
        self.incidents.append(incident)
        if self.on_incident is not None:
            self.on_incident(incident)

    def _retreat(self, trouble: Diverged) -> None:
        """Go back to the epoch's beginning, with half the rate from there on."""
        assert self._good is not None
        self.retreats += 1
        self._begin_epoch()
        for name, part in self._parts.items():
            part.load_state_dict(copy.deepcopy(self._good[name]))  # torch's take parts of it as they are
        self.optimizer.zero_grad()
        self._reduce_rate()
        self._tell(f"went back to step {self.position}, with {0.5**self.retreats:g} of the rate: {trouble}")

    def _next_rate(self) -> None:
        self.scheduler.step()
        self._reduce_rate()

    def _reduce_rate(self) -> None:
        """Take the returns so far into account, after the scheduler has written its rates."""
        for group in self.optimizer.param_groups if self.retreats else ():
            group["lr"] *= 0.5**self.retreats

    # Checkpoints

    @property
    def _parts(self) -> dict[str, Any]:
        return {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}

    def _save_if_due(self, signals: HeldSignals | None) -> None:
        if self.checkpoints is None or signals is None:
            return
        due = not self.rates if self.every is None else self.position % self.every == 0
        if due or signals.noted is not None or len(self.rows) == self.run.epochs:
            self._save(self.checkpoints)
        if signals.noted is not None:
            self.checkpoints.wait()
            signals.deliver()

    def _save(self, checkpoints: Checkpoints) -> None:
        self._fetch()
        extra = {
            "run": self.run.to_json(),
            "rows": [astuple(row) for row in self.rows],
            "bound": self.bound,
            "rates": torch.tensor(self.rates, dtype=torch.float64),
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "correct": self.correct,
            "skipped": self.skipped,
            "incidents": self.incidents,
            "retreats": self.retreats,
            "good": self._good,
            "seconds": time.perf_counter() - self._start if self.rates else 0.0,
        }
        checkpoints.save(self.position, **self._parts, rng=False, extra=extra)

    def take_up(self) -> None:
        """Go on from the newest checkpoint, if there is one."""
        if self.checkpoints is None:
            return
        text = self.run.to_json()  # refused now if it can't be saved
        found = self.checkpoints.load(**self._parts, rng=False)
        if found is None:
            return
        if not isinstance(found.extra, dict) or found.extra.get("run") != text:
            raise GradusError(f"the checkpoints in {self.checkpoints.folder} are another run's; name another folder")
        try:
            self._take_over(found.extra)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise GradusError(f"the checkpoints in {self.checkpoints.folder} are no training's: {error!r}") from None

    def _take_over(self, extra: dict[str, Any]) -> None:
        self.rows = [Row(*values) for values in extra["rows"]]
        self.rates, self.losses = extra["rates"].tolist(), extra["losses"].tolist()
        self.bound, self.correct, self.seconds = (extra[name] for name in ("bound", "correct", "seconds"))
        self.skipped, self.retreats, self._good = (extra[name] for name in ("skipped", "retreats", "good"))
        self._reduce_rate()
        for incident in extra["incidents"]:
            self._tell(incident)


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


def _mean(losses: list[float], sizes: list[int]) -> float:
    """The mean over examples, from means over batches."""
    return math.fsum(loss * size for loss, size in zip(losses, sizes, strict=True)) / sum(sizes)


def _fresh_model(run: Run, task: Task) -> nn.Module:
    with _own_randomness(torch.device("cpu")):
        _reseed(seed_for(run.seed, "weights"), torch.device("cpu"))
        return task.model() if run.model is None else load_model(run.model)


def _optimizer(run: Run, model: nn.Module) -> torch.optim.Optimizer:
    kind = getattr(torch.optim, run.optimizer, getattr(gradus.optim, run.optimizer.removeprefix("gradus.optim."), None))
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)) or kind.__name__ == "Optimizer":
        raise InvalidInput(
            f"the optimizer must be the name of a class in torch.optim, such as SGD; or of one in gradus.optim, such as "
            f"Lion or gradus.optim.SGD; got {run.optimizer!r}"
        )
    try:
        optimizer: torch.optim.Optimizer = cast(Any, kind)(model.parameters(), lr=run.lr, **dict(run.options))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{run.optimizer} can't be made with lr={run.lr}, {dict(run.options)}: {error}") from None
    return optimizer


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """torch's global generators are free to be seeded inside, and afterwards as they were before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _reseed(seed: int, device: torch.device) -> None:
    """Seed the generators that a step on this device draws from; torch.manual_seed seeds all there are, in 0.25 ms."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
