"""A short training under a schedule of rates, measured after each update: what `range_test` repeats."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice, repeat
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from gradus.distributed import all_gather, is_up, mean_over_processes
from gradus.errors import InvalidInput
from gradus.rangetest.findings import holds, maximizes
from gradus.scheduler import Scheduler
from gradus.scheduler.mistakes import unwarned
from gradus.schedules import Constant, Schedule, absolute
from gradus.training.step import TrainingStep, autocast_for, evaluating, to_training

__all__ = ["Measured", "Trainer", "fetched"]

_AT_ONCE = 10  # numbers fetched from a device that works on its own

Batch = Any


class Measured(NamedTuple):
    """A loss and a metric, still on the device, which isn't waited for; None where no metric is measured."""

    loss: Tensor
    metric: Tensor | None = None


@dataclass(eq=False)
class Trainer:
    """A model with all that a training step needs.

    Args:
        model: what is trained.
        optimizer: by what.
        loss_fn: `loss_fn(output, target)`, where a batch is a pair.
        loader: gives batches.
        accumulate: batches in an update.
        amp: a type to compute in, or a GradScaler for float16.
        val_loader: gives the batches that are measured on; those trained on next unless given.
        metric: `metric(output, target)`, higher is better; accuracy where targets are classes.
        step_fn: `step_fn(model, batch)` gives the loss of any other kind of batch.
        clip_norm: the greatest norm of all gradients together; None doesn't clip.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loss_fn: Callable[[Any, Any], Tensor] | None
    loader: Iterable[Batch]
    accumulate: int = 1
    amp: torch.dtype | torch.amp.GradScaler | None = None
    val_loader: Iterable[Batch] | None = None
    metric: Callable[[Any, Any], Any] | None = None
    step_fn: Callable[[nn.Module, Batch], Tensor] | None = None
    clip_norm: float | None = None
    chance: float | None = None  # the loss of naming every class as likely, known from the first batch

    def __post_init__(self) -> None:
        self._sign = -1 if maximizes(self.optimizer) else 1
        # The batches of the last updates, as many as may have been trained on when a loss is looked at.
        self._recent: deque[list[Batch]] = deque(maxlen=2 if self._device.type == "cpu" else _AT_ONCE + 2)
        self._has_gradient = False
        scaler = self.amp if isinstance(self.amp, torch.amp.GradScaler) else None
        self._amp = torch.float16 if isinstance(self.amp, torch.amp.GradScaler) else self.amp
        self._step = TrainingStep(
            self.model,
            self.optimizer,
            self._forward,
            amp=self._amp,
            scaler=scaler,
            clip_norm=self.clip_norm,
            gradients_seen=self._require_gradient,
        )

    def to_training(self) -> None:
        """Put the model in training mode if it is in evaluation mode as a whole, and a schedule-free optimizer too."""
        to_training(self.model, self.optimizer)

    def train(self, schedule: Schedule, steps: int) -> Iterator[Measured]:
        """Train, and give what is measured before the first update and after each, as long as there are batches.

        Args:
            schedule: the rates of the group whose own is highest; the others keep their ratios to it.
            steps: updates.

        Raises:
            InvalidInput: a batch or its loss can't be used.
        """
        with unwarned():  # a rate of 1, say, is tried on purpose
            scheduler = Scheduler(self.optimizer, lr=_with_ratios(schedule, self.optimizer.param_groups))
        batches = self._batches()
        for step in range(steps + 1):
            drawn = next(batches, None)
            if not _everywhere(drawn is not None):
                return
            self._recent.append(drawn or [])
            if self.val_loader is not None:
                yield self._shown(self._validate(self.val_loader))
            if step == steps and self.val_loader is None:
                with torch.no_grad():
                    yield self._shown(_mean([self._measured(batch) for batch in drawn or ()]))
            elif step < steps:
                measured = _mean(self._step(drawn or []))
                if self.val_loader is None:
                    yield self._shown(measured)
                scheduler.step()

    def culprit(self) -> str | None:
        """What is no finite number on the batches last used, with the model as it is now; None where all are.

        Every process that trains with others has to ask, and all get the same answer.
        """
        troubles = [self._trouble(batch) for batches in self._recent for batch in batches]
        if self.val_loader is not None and not bool(self._validate(self.val_loader).loss.isfinite()):
            troubles.append("the loss on the val_loader isn't finite")
        return next((one for one in all_gather(next(filter(None, troubles), None)) if one), None)

    @torch.enable_grad()
    def _trouble(self, batch: Batch) -> str | None:
        self.optimizer.zero_grad()
        loss = self._measured(batch).loss
        loss.backward()
        if not bool(loss.isfinite()):
            what = f"the loss of a batch is {loss.item()}"
        elif not all(bool(grad.isfinite().all()) for grad in self._gradients()):
            what = "the gradient of a batch isn't finite"
        else:
            return None
        return f"{what}: {holds(batch) or 'all its numbers are finite, so look at the loss and the model, as for log(0)'}"

    def _gradients(self) -> Iterator[Tensor]:
        params = (param for group in self.optimizer.param_groups for param in group["params"])
        return (param.grad for param in params if param.grad is not None)

    def _require_gradient(self) -> None:
        if self._has_gradient:
            return
        if _everywhere(next(self._gradients(), None) is None):
            raise InvalidInput(
                "no parameter that the optimizer holds gets a gradient from this loss; it must depend on them, undetached"
            )
        self._has_gradient = True

    def _shown(self, measured: Measured) -> Measured:
        """The same for all processes, and the lower the better."""
        loss, metric = _agreed(measured)
        return Measured(loss * self._sign, metric)

    def _batches(self) -> Iterator[list[Batch]]:
        """The batches of each update, from the beginning again where the data end."""
        waiting: list[Batch] = []
        empty = False
        while not empty:
            empty = True  # an iterator that can be read once only is, the second time
            for batch in _several(self.loader):
                empty = False
                waiting.append(batch)
                if len(waiting) == self.accumulate:
                    yield waiting
                    waiting = []

    def _measured(self, batch: Batch) -> Measured:
        """The loss and the metric of a batch, outside a step."""
        with autocast_for(self._device.type, self._amp):
            return self._forward(batch)

    def _forward(self, batch: Batch) -> Measured:
        """The loss and the metric of a batch."""
        if self.step_fn is not None:
            return self._judged(self.step_fn(self.model, batch))
        inputs, targets = _pair(batch, self._device)
        output = self.model(inputs)
        assert self.loss_fn is not None  # one of the two is there
        return self._judged(self.loss_fn(output, targets), output, targets)

    def _judged(self, loss: Any, output: Any = None, targets: Any = None) -> Measured:
        """A loss, and the metric of the outputs that it was computed from, where these are known."""
        loss = _checked(loss)
        classes = _are_classes(output, targets)
        if classes and self._sign > 0 and _is_cross_entropy(self.loss_fn):
            self.chance = math.log(output.shape[1])
        with torch.no_grad():
            if self.metric is not None and output is not None:
                return Measured(loss, _single(self.metric(output, targets)))
            return Measured(loss, (output.argmax(1) == targets).mean(dtype=torch.float32) if classes else None)

    def _validate(self, batches: Iterable[Batch]) -> Measured:
        """What the model gives on other batches, in evaluation mode; with the averages of a schedule-free optimizer."""
        with evaluating(self.model, self.optimizer):
            measured = [self._measured(batch) for batch in batches]
        if not measured:
            raise InvalidInput("the val_loader gives no batches; give one that does, or leave it out")
        return _mean(measured)

    @cached_property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


def _several(loader: Iterable[Batch]) -> Iterator[Batch]:
    """The batches of one pass; a single one is refused before it is used."""
    batches = iter(loader)
    first = list(islice(batches, 2))
    if len(first) == 1:
        raise InvalidInput(
            "the loader gives a single batch, but each loss is to be measured on data not trained on yet; take smaller "
            "batches, or pass list(loader) * 2 to train on all data at once"
        )
    return chain(first, batches)


def fetched(measured: Iterable[Measured]) -> Iterator[tuple[float, float | None]]:
    """Losses and metrics as numbers; those on a GPU ten at a time, so that it never waits for a look at them.

    A training that has blown up may end in an error before that; what it had measured comes first.

    Args:
        measured: on their device.
    """
    waiting: list[Measured] = []
    try:
        for one in measured:
            waiting.append(one)
            if one.loss.device.type == "cpu" or len(waiting) == _AT_ONCE:
                yield from _numbers(waiting)
                waiting = []
    except Exception:
        yield from _numbers(waiting)
        raise
    yield from _numbers(waiting)


def _with_ratios(schedule: Schedule, groups: Sequence[Mapping[str, Any]]) -> dict[Any, Schedule]:
    """The schedule for the group whose rate is highest, and for the others in proportion; by the groups' indices.

    A warmup may hold all rates at 0; then the groups' initial rates say the proportions, or all are equal.
    """
    own = [float(group["lr"]) for group in groups]
    if not any(own):
        own = [float(group.get("initial_lr", 0)) for group in groups]
    highest = max(own)
    return {
        index: absolute(Constant(rate / highest if highest else 1.0) * schedule if rate != highest else schedule)
        for index, rate in enumerate(own)
    }


def _pair(batch: Batch, device: torch.device) -> tuple[Any, Any]:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        kind = f"{type(batch).__name__} of {len(batch)}" if isinstance(batch, (tuple, list)) else type(batch).__name__
        raise InvalidInput(f"a batch must be a pair (input, target); got a {kind}. Say what to do with it: step_fn=...")
    inputs, targets = (_moved(part, device) for part in batch)
    return inputs, targets


def _moved(part: Any, device: torch.device) -> Any:
    """Tensors on the model's device, in containers too."""
    if isinstance(part, Tensor):
        return part.to(device, non_blocking=True)
    if isinstance(part, Mapping):
        return {name: _moved(value, device) for name, value in part.items()}
    return type(part)(_moved(value, device) for value in part) if type(part) in (tuple, list) else part


def _are_classes(output: Any, targets: Any) -> bool:
    return (
        isinstance(output, Tensor)
        and isinstance(targets, Tensor)
        and targets.dtype == torch.int64
        and output.ndim >= 2
        and output.is_floating_point()
        and targets.shape == output.shape[:1] + output.shape[2:]
    )


def _is_cross_entropy(loss_fn: Any) -> bool:
    return loss_fn is functional.cross_entropy or isinstance(loss_fn, nn.CrossEntropyLoss)


def _checked(loss: Any) -> Tensor:
    if not isinstance(loss, Tensor) or loss.numel() != 1 or loss.is_complex():
        given = f"a tensor of shape {list(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise InvalidInput(f"the loss must be a tensor with one real number, such as a mean over the batch; got {given}")
    if torch.is_grad_enabled() and not loss.requires_grad:
        raise InvalidInput("the loss has no gradient; it must depend on the model's parameters, undetached")
    return loss


def _single(metric: Any) -> Tensor:
    if not isinstance(metric, Tensor):
        return torch.tensor(float(metric), dtype=torch.float64)
    if metric.numel() != 1 or metric.is_complex():
        raise InvalidInput(f"the metric must be one real number; got a tensor of shape {list(metric.shape)}")
    return metric.detach().clone() if metric.is_floating_point() else metric.float()


def _mean(measured: Sequence[Measured]) -> Measured:
    if len(measured) == 1:
        return measured[0]
    metrics = [one.metric for one in measured if one.metric is not None]
    return Measured(_mean_of([one.loss for one in measured]), _mean_of(metrics) if metrics else None)


def _mean_of(values: Sequence[Tensor]) -> Tensor:
    return _stacked(values).mean()


def _stacked(values: Iterable[Tensor]) -> Tensor:
    return torch.stack([value.detach().reshape(()) for value in values])


def _numbers(measured: Sequence[Measured]) -> Iterable[tuple[float, float | None]]:
    if not measured:
        return ()
    losses = _stacked(one.loss for one in measured).tolist()
    metrics = [one.metric for one in measured if one.metric is not None]
    return zip(losses, _stacked(metrics).tolist() if metrics else repeat(None), strict=False)


def _agreed(measured: Measured) -> Measured:
    """The mean over all processes that train together, so that all decide alike."""
    if not is_up():
        return measured
    return Measured(*mean_over_processes(_stacked(value.to(measured.loss) for value in measured if value is not None)))


def _everywhere(here: bool) -> bool:
    """Whether something holds for all processes that train together."""
    return all(all_gather(here))
