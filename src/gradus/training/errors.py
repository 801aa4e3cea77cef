"""What can go wrong in a training: errors that say at which update, at which rate, and where."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from gradus.errors import GradusError

__all__ = ["DIVERGED_AT", "Diverged", "NonFinite", "Stopped", "find_nonfinite"]

DIVERGED_AT = 100.0  # times the first loss: no training comes back from there, whatever its last loss looks like


class Diverged(GradusError):
    """The loss of a run left every reasonable range.

    Args:
        step: the update whose loss it was, counted from 0; or after which the scored loss was it.
        lr: the learning rate of that update.
        loss: the loss itself.

    >>> Diverged(step=7, lr=0.5, loss=math.nan)
    Diverged('diverged at step 7: the loss was nan at learning rate 0.5')
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

    >>> NonFinite(step=7, lr=0.5, value=math.inf, parameter="weight", group=0)
    NonFinite('the gradient of weight (group 0) was inf at step 7, at learning rate 0.5')
    """

    def __init__(self, step: int, lr: float, value: float, parameter: str | None = None, group: int | None = None) -> None:
        what = "the loss" if parameter is None else f"the gradient of {parameter} (group {group})"
        GradusError.__init__(self, f"{what} was {value:.4g} at step {step}, at learning rate {lr:.4g}")
        self.step, self.lr, self.loss, self.parameter, self.group = step, lr, value, parameter, group

    def __reduce__(self) -> tuple[type["NonFinite"], tuple[Any, ...]]:
        return NonFinite, (self.step, self.lr, self.loss, self.parameter, self.group)


class Stopped(GradusError):
    """A training was asked to stop. It has saved a checkpoint, if it has a folder for them, and can go on from there.

    Args:
        step: updates done.

    >>> Stopped(step=7)
    Stopped('stopped after 7 updates, as it was asked to')
    """

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped after {step} updates, as it was asked to")
        self.step = step

    def __reduce__(self) -> tuple[type["Stopped"], tuple[int]]:
        return Stopped, (self.step,)


def find_nonfinite(step: int, loss: Tensor, model: nn.Module, optimizer: torch.optim.Optimizer) -> NonFinite | None:
    """The loss, or else the first gradient, that is no finite number.

    Args:
        step: the update, counted from 0.
        loss: its loss.
        model: names the parameters.
        optimizer: what would use the gradients.
    """
    if not math.isfinite(loss):
        return NonFinite(step, rate_of(optimizer.param_groups[0]), float(loss))
    gradients = [param.grad for param in model.parameters() if param.grad is not None]
    if math.isfinite(nn.utils.get_total_norm(gradients)):  # one look for all of them
        return None
    names = {param: name for name, param in model.named_parameters()}
    for number, group in enumerate(optimizer.param_groups):
        for param in group["params"]:
            if param.grad is not None and not param.grad.isfinite().all():
                value = float(param.grad[~param.grad.isfinite()][0])
                return NonFinite(step, rate_of(group), value, names.get(param, "a parameter"), number)
    return None  # they are finite, and their norm isn't


def rate_of(group: dict[str, Any]) -> float:
    """The learning rate of a group; NaN where its optimizer has none, or sets it itself."""
    lr = group.get("lr")
    return math.nan if lr is None else float(lr)
