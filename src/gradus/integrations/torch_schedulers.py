"""torch's schedulers as schedules, read without touching them."""

from dataclasses import replace
from typing import Any

from torch.optim import lr_scheduler as torch_lr

from gradus import lr_scheduler
from gradus.errors import InvalidInput
from gradus.lr_scheduler.base import DropIn, floats
from gradus.names import did_you_mean
from gradus.schedules import Constant, Plateau, Schedule, absolute

__all__ = ["from_torch"]


def from_torch(scheduler: Any, hyperparameter: str = "lr") -> Schedule | dict[int, Schedule]:
    """What a live scheduler of torch does, as a schedule: to preview it, and to go on with it in a `gradus.Scheduler`.

    The scheduler, its optimizer and the groups are only read. The schedule begins at the scheduler's own step 0, wherever
    it is now: `Scheduler(optimizer, lr=from_torch(scheduler), start_step=scheduler.last_epoch)` goes on from there.

    Args:
        scheduler: one of `torch.optim.lr_scheduler` or `gradus.lr_scheduler`, compositions at any depth included.
        hyperparameter: "lr", or "momentum" for what `OneCycleLR` and `CyclicLR` do to it.

    Returns:
        `absolute(schedule)`, the values themselves, where all groups have the same; else one for each group's number, as
        `gradus.Scheduler` takes them. Of `ReduceLROnPlateau`, a factor: `Constant() * Plateau(...)`.

    Raises:
        InvalidInput: a scheduler of another kind, or one that doesn't do anything to the hyperparameter.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    >>> from_torch(torch.optim.lr_scheduler.StepLR(optimizer, step_size=30))
    absolute(Constant(0.5) * Step(30))
    """
    if isinstance(scheduler, DropIn) and scheduler._steps_as_torch:
        scheduler.schedules  # noqa: B018 - says why there are none
    if hyperparameter not in ("lr", "momentum"):
        raise InvalidInput(
            f'from_torch reads "lr" or "momentum"; got {hyperparameter!r}{did_you_mean(hyperparameter, ("lr", "momentum"))}'
        )
    if isinstance(scheduler, torch_lr.ReduceLROnPlateau):
        return _same_for_all(_plateaus(scheduler))
    if hyperparameter == "momentum":
        return _same_for_all([absolute(one) for one in _momentums(scheduler)])
    twin = _twin(scheduler)
    return _same_for_all([absolute(twin._rate(index)) for index in range(len(twin.base_lrs))])


def _same_for_all(schedules: list[Schedule]) -> Schedule | dict[int, Schedule]:
    return schedules[0] if all(one == schedules[0] for one in schedules) else dict(enumerate(schedules))


def _twin(scheduler: Any) -> DropIn:
    """Our scheduler of the same name and attributes, which can say its schedule. It isn't built, so nothing is written."""
    kind: Any = type(scheduler)
    ours = kind if issubclass(kind, DropIn) else getattr(lr_scheduler, kind.__name__, None)
    if kind.__module__ not in (torch_lr.__name__, "torch.optim.swa_utils") and not issubclass(kind, DropIn):
        ours = None  # a user's own may have a name of torch's
    if ours is None:
        raise InvalidInput(
            f"from_torch reads the schedulers of torch.optim.lr_scheduler and of gradus.lr_scheduler; {kind.__name__} is of "
            f"{kind.__module__}. A function of the step that gives its factor is a schedule: Lambda(function)"
        )
    twin: DropIn = ours.__new__(ours)
    attributes = dict(vars(scheduler))
    if "_schedulers" in attributes:
        attributes["_schedulers"] = [_twin(member) for member in attributes["_schedulers"]]
    if "base_lrs" in attributes:
        attributes["base_lrs"] = floats(attributes["base_lrs"])
    vars(twin).update(attributes)
    return twin


def _plateaus(scheduler: torch_lr.ReduceLROnPlateau) -> list[Schedule]:
    """For each group; torch's floor and least change are of the rate, ours of the factor."""
    bases = floats([group.get("initial_lr", group["lr"]) for group in scheduler.optimizer.param_groups])
    return [
        Constant()
        * Plateau(
            mode=scheduler.mode,
            factor=scheduler.factor,
            patience=scheduler.patience,
            threshold=scheduler.threshold,
            threshold_mode=scheduler.threshold_mode,
            cooldown=scheduler.cooldown,
            min_factor=float(floor) / base if base else 0.0,
            eps=scheduler.eps / base if base else 0.0,
        )
        for base, floor in zip(bases, scheduler.min_lrs, strict=True)
    ]


def _momentums(scheduler: Any) -> list[Schedule]:
    """The momentum of each group, or its beta1, which falls while the rate rises."""
    name = type(scheduler).__name__
    if name not in ("OneCycleLR", "CyclicLR") or not scheduler.cycle_momentum:
        raise InvalidInput(f"this {name} does nothing to the momentum; OneCycleLR and CyclicLR do, with cycle_momentum=True")
    twin: Any = _twin(scheduler)
    if name == "CyclicLR":
        bounds = zip(scheduler.base_momentums, scheduler.max_momentums, strict=True)
        return [float(high) + (float(low) - float(high)) * twin._curve() for low, high in bounds]
    momentums = []
    for index, group in enumerate(scheduler.optimizer.param_groups):
        high, low = float(group["max_momentum"]), float(group["base_momentum"])
        momentums.append(replace(twin._rate(index), start=high, peak=low, end=high))
    return momentums
