"""A short training under a schedule of rates, measured after each update: what `range_test` repeats."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice, repeat
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from gradus.errors import InvalidInput
from gradus.rangetest.findings import holds, is_schedule_free, maximizes
from gradus.scheduler import Scheduler
from gradus.scheduler.mistakes import unwarned
from gradus.schedules import Constant, Schedule, absolute
from gradus.training.step import needs_closure

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
    chance: float | None = None  # the loss of naming every class as likely, known from the first batch

    def __post_init__(self) -> None:
        self._sign = -1 if maximizes(self.optimizer) else 1
        # The batches of the last updates, as many as may have been trained on when a loss is looked at.
        self._recent: deque[list[Batch]] = deque(maxlen=2 if self._device.type == "cpu" else _AT_ONCE + 2)
        self._has_gradient = False

    def to_training(self) -> None:
        """Put the model in training mode if it is in evaluation mode as a whole, and a schedule-free optimizer too."""
        if not self.model.training:
            self.model.train()
        if is_schedule_free(self.optimizer):
            cast(Any, self.optimizer).train()  # nothing is done where it is so already

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
        batches, closes = self._batches(), needs_closure(self.optimizer)
        for step in range(steps + 1):
            drawn = next(batches, None)
            if not _everywhere(drawn is not None):
                return
            self._recent.append(drawn or [])
            if self.val_loader is not None:
                yield self._shown(self._validate(self.val_loader))
            if step == steps and self.val_loader is None:
                with torch.no_grad():
                    yield self._shown(_mean([self._forward(batch) for batch in drawn or ()]))
            elif step < steps:
                measured = self._update(drawn or [], closes)
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
        return next((one for one in _gathered(next(filter(None, troubles), None)) if one), None)

    @torch.enable_grad()
    def _trouble(self, batch: Batch) -> str | None:
        self.optimizer.zero_grad()
        loss = self._forward(batch).loss
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

    def _update(self, batches: Sequence[Batch], closes: bool) -> Measured:
        """One update, through a closure if the optimizer asks for one; what is measured on its batches before it."""
        scaler = self.amp if isinstance(self.amp, torch.amp.GradScaler) else None
        seen: list[Measured] = []

        def gradients() -> Tensor:
            self.optimizer.zero_grad()
            measured = []
            for batch in batches:
                loss, metric = self._forward(batch)
                part = loss / len(batches) if len(batches) > 1 else loss
                (part if scaler is None else scaler.scale(part)).backward()
                measured.append(Measured(loss.detach().clone(), metric))  # a compiled loss may lie where the next will
            self._require_gradient()
            seen.append(_mean(measured))
            return seen[-1].loss

        with torch.enable_grad():
            if closes:
                self.optimizer.step(gradients)  # type: ignore[arg-type]  # torch's stub wants a float
                return seen[0]
            gradients()
        if scaler is None:
            self.optimizer.step()
        else:
            scaler.step(self.optimizer)
            scaler.update()
        return seen[0]

    def _forward(self, batch: Batch) -> Measured:
        """The loss and the metric of a batch."""
        with self._autocast():
            if self.step_fn is not None:
                return Measured(_checked(self.step_fn(self.model, batch)))
            inputs, targets = _pair(batch, self._device)
            output = self.model(inputs)
            assert self.loss_fn is not None  # one of the two is there
            loss = _checked(self.loss_fn(output, targets))
        classes = _are_classes(output, targets)
        if (
            classes
            and self._sign > 0
            and (self.loss_fn is functional.cross_entropy or isinstance(self.loss_fn, nn.CrossEntropyLoss))
        ):
            self.chance = math.log(output.shape[1])
        with torch.no_grad():
            if self.metric is not None:
                return Measured(loss, _single(self.metric(output, targets)))
            return Measured(loss, (output.argmax(1) == targets).mean(dtype=torch.float32) if classes else None)

    @torch.no_grad()
    def _validate(self, batches: Iterable[Batch]) -> Measured:
        """What the model gives on other batches, in evaluation mode; with the averages of a schedule-free optimizer."""
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        averages = cast(Any, self.optimizer) if is_schedule_free(self.optimizer) else None
        if averages is not None:
            averages.eval()
        measured = [self._forward(batch) for batch in batches]
        if averages is not None:
            averages.train()
        for module, mode in modes:
            module.training = mode
        if not measured:
            raise InvalidInput("the val_loader gives no batches; give one that does, or leave it out")
        return _mean(measured)

    @cached_property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.amp is None:
            return nullcontext()
        return torch.autocast(self._device.type, self.amp if isinstance(self.amp, torch.dtype) else torch.float16)


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


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _agreed(measured: Measured) -> Measured:
    """The mean over all processes that train together, so that all decide alike."""
    if not _distributed():
        return measured
    values = _stacked(value.to(measured.loss) for value in measured if value is not None)
    torch.distributed.all_reduce(values)
    return Measured(*values / torch.distributed.get_world_size())


def _gathered(here: Any) -> list[Any]:
    """What each of the processes that train together has."""
    if not _distributed():
        return [here]
    everyone: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everyone, here)
    return everyone


def _everywhere(here: bool) -> bool:
    """Whether something holds for all processes that train together."""
    return all(_gathered(here))
