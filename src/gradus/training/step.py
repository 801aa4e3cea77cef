"""One training step: the gradients of an update's batches, looked at, clipped, and used.

`train` and the LR finder both step by it: batches are accumulated, computed in a lower precision, or looked at several
times by an optimizer that asks for a closure.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from gradus.errors import InvalidInput
from gradus.training.errors import NonFinite

__all__ = ["TrainingStep", "autocast_for", "evaluating", "is_schedule_free", "needs_closure", "to_training"]


def _nothing(*_: Any) -> None:
    """Where nobody wants to know."""


@dataclass(eq=False)
class TrainingStep:
    """One update of a model by an optimizer.

    Args:
        model: what is trained.
        optimizer: by what; one whose step asks for a closure is given one.
        forward: gives a batch's outcome, a named tuple with its `loss`, a tensor `[]` with a graph.
        amp: the type to compute in where that is safe; None for the parameters' own.
        scaler: scales the loss, so that gradients in float16 don't vanish.
        clip_norm: the greatest norm of all gradients together; None doesn't clip.
        begin: called before gradients are computed, each time that the optimizer asks for them: the place to seed.
        gradients_seen: called once the gradients of the first look are there, whatever they are.
        look: called with the loss once the gradients are there, before they are clipped and used. What it raises leaves the
            parameters as they were.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    forward: Callable[[Any], Any]
    amp: torch.dtype | None = None
    scaler: torch.amp.GradScaler | None = None
    clip_norm: float | None = None
    begin: Callable[[], None] = _nothing
    gradients_seen: Callable[[], None] = _nothing
    look: Callable[[Tensor], None] | None = None

    def __post_init__(self) -> None:
        self._closes = needs_closure(self.optimizer)
        name = type(self.optimizer).__name__
        if self._closes and self.scaler is not None:
            raise InvalidInput(f"{name} takes a closure, which a GradScaler can't; compute in bfloat16 or float32")
        if self._closes and self.clip_norm is not None:
            raise InvalidInput(
                f"{name} looks for a step along the gradient, which must be the loss's own and can't be clipped; leave "
                f"clip_norm out"
            )
        self._device_type = next((one.device.type for one in self.model.parameters()), "cpu")

    def __call__(self, batches: Sequence[Any]) -> list[Any]:
        """Do an update; the batches' outcomes at its first look at them, with their losses detached.

        Args:
            batches: the mean of their gradients is taken.
        """
        seen: list[list[Any]] = []

        def gradients() -> Tensor:
            self.begin()
            self.optimizer.zero_grad()
            outcomes = [self._backward(batch, len(batches)) for batch in batches]
            if not seen:  # later ones are of a line search, which may go too far
                seen.append(outcomes)
                self.gradients_seen()
                self._look(outcomes)
            return mean_loss(outcomes)

        with torch.enable_grad():
            if self._closes:
                self.optimizer.step(gradients)  # type: ignore[arg-type]  # torch's stub wants a float
            else:
                gradients()
                self._use_gradients()
        return seen[0]

    def _backward(self, batch: Any, batches: int) -> Any:
        with autocast_for(self._device_type, self.amp):
            outcome = self.forward(batch)
        part = outcome.loss / batches if batches > 1 else outcome.loss
        (part if self.scaler is None else self.scaler.scale(part)).backward()
        return outcome._replace(loss=outcome.loss.detach().clone())  # a compiled loss may be where the next will be

    def _look(self, outcomes: Sequence[Any]) -> None:
        if self.look is None:
            return
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        try:
            self.look(mean_loss(outcomes))
        except NonFinite:
            if self.scaler is not None:
                self.scaler.update()  # it must not find this update's gradients again
            raise

    def _use_gradients(self) -> None:
        if self.clip_norm is not None:
            if self.scaler is not None and self.look is None:
                self.scaler.unscale_(self.optimizer)
            params = [param for group in self.optimizer.param_groups for param in group["params"]]
            nn.utils.clip_grad_norm_(params, self.clip_norm)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()


def mean_loss(outcomes: Sequence[Any]) -> Tensor:
    """The mean of the batches' losses, as a tensor `[]`."""
    if len(outcomes) == 1:
        loss: Tensor = outcomes[0].loss
        return loss
    return torch.stack([one.loss.reshape(()) for one in outcomes]).mean()


def autocast_for(device_type: str, amp: torch.dtype | None) -> AbstractContextManager[Any]:
    """Inside, torch computes in that type where it is safe."""
    return nullcontext() if amp is None else torch.autocast(device_type, amp)


def needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimizer's step asks for a function that computes the loss anew."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def is_schedule_free(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimizer trains at one place and has averages to use, and methods that put either into the parameters."""
    return callable(getattr(optimizer, "train", None)) and callable(getattr(optimizer, "eval", None))


def to_training(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put a model in training mode if it is in evaluation mode as a whole, and a schedule-free optimizer too."""
    if not model.training:
        model.train()
    if is_schedule_free(optimizer):
        cast(Any, optimizer).train()  # nothing is done where it is so already


@contextmanager
def evaluating(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Inside, a model is in evaluation mode, with the averages of a schedule-free optimizer; afterwards as it was."""
    modes = [(module, module.training) for module in model.modules()]
    averages = cast(Any, optimizer) if is_schedule_free(optimizer) else None
    model.eval()
    if averages is not None:
        averages.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        if averages is not None:
            averages.train()
        for module, mode in modes:
            module.training = mode
