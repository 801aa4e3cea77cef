"""What can't be used, said before anything is changed."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from gradus.errors import InvalidInput
from gradus.names import did_you_mean
from gradus.training.step import needs_closure

__all__ = ["check_data", "check_numbers", "check_range", "check_training", "check_whole"]


def check_range(start: float, end: float, steps: int, mode: str) -> None:
    """The rates and their number."""
    for name, rate in (("start", start), ("end", end)):
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < math.inf:
            raise InvalidInput(f"{name} must be a finite rate above 0; got {rate!r}")
    if not start < end:
        raise InvalidInput(f"the rate grows, so start must be below end; got start={start:g} and end={end:g}")
    check_whole("steps", steps, 10)
    if mode not in ("exponential", "linear"):
        raise InvalidInput(
            f'mode must be "exponential" or "linear"; got {mode!r}{did_you_mean(mode, ("exponential", "linear"))}'
        )


def check_numbers(smoothing: float, stop_factor: float, seeds: int, memory_limit: int) -> None:
    """The other numbers."""
    if not 0 <= smoothing < 1:
        raise InvalidInput(f"smoothing must lie from 0 to below 1; got {smoothing!r}")
    if not 1 < stop_factor < math.inf:
        raise InvalidInput(f"stop_factor must be a finite number above 1; got {stop_factor!r}")
    for name, value, least in (("seeds", seeds, 1), ("memory_limit", memory_limit, 0)):
        check_whole(name, value, least)


def check_whole(name: str, value: Any, least: int) -> None:
    """A count."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInput(f"{name} must be a whole number from {least}; got {value!r}")


def check_training(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss_fn: Any, step_fn: Callable[..., Any] | None, amp: Any
) -> None:
    """Whether there is something to train, and a way to do it."""
    if not isinstance(model, nn.Module):
        raise InvalidInput(f"the model must be a torch.nn.Module; got {type(model).__name__}")
    groups = getattr(optimizer, "param_groups", None)
    if not isinstance(groups, list) or not all("lr" in group for group in groups):
        raise InvalidInput(f"the optimizer must have param_groups with an lr each; got {type(optimizer).__name__}")
    if any(isinstance(group["lr"], bool) or not isinstance(group["lr"], (int, float, torch.Tensor)) for group in groups):
        rates = ", ".join(repr(group["lr"]) for group in groups)
        raise InvalidInput(f"each group's lr must be a number; {type(optimizer).__name__} has {rates}: give it a rate")
    if len({bool(group.get("maximize", False)) for group in groups}) > 1:
        raise InvalidInput("all groups must go the same way; some have maximize=True, and others don't")
    own = {id(param) for param in model.parameters()}
    shared = [param for group in groups for param in group["params"] if id(param) in own]
    if not shared:
        raise InvalidInput("the optimizer holds no parameter of this model; build it from model.parameters()")
    if not any(param.requires_grad for param in shared):
        raise InvalidInput("the model has no parameter to train: none that the optimizer holds has requires_grad=True")
    if (loss_fn is None) == (step_fn is None) or not callable(loss_fn or step_fn):
        raise InvalidInput("give one of the two: loss_fn(output, target), or None and step_fn=(model, batch) -> loss")
    if amp is not None and amp not in (torch.bfloat16, torch.float16) and not isinstance(amp, torch.amp.GradScaler):
        raise InvalidInput(f"amp must be torch.bfloat16, torch.float16 or a GradScaler; got {amp!r}")
    if isinstance(amp, torch.amp.GradScaler) and needs_closure(optimizer):
        raise InvalidInput(f"{type(optimizer).__name__} takes a closure, which a GradScaler can't; pass amp=torch.bfloat16")


def check_data(loader: Iterable[Any], val_loader: Iterable[Any] | None, *, again: bool) -> None:
    """Whether batches can be had, and had again."""
    for name, given in (("loader", loader), ("val_loader", val_loader)):
        if given is not None and not hasattr(given, "__iter__"):
            raise InvalidInput(f"the {name} must give batches, as a DataLoader or a list does; got {type(given).__name__}")
    if again and isinstance(loader, Iterator):
        raise InvalidInput(
            "this loader can be read once only, and short trainings and several seeds need it again; give a DataLoader or "
            "a list, or pass verify=False and seeds=1"
        )
    if isinstance(val_loader, Iterator):
        raise InvalidInput("this val_loader can be read once only, and is read after each update; give a DataLoader")
