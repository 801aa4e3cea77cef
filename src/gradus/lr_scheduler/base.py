"""What all drop-ins have in common: a position, the groups' base rates, and a schedule for each group."""

import math
import operator
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import EPOCH_DEPRECATION_WARNING, LRScheduler

from gradus.errors import InvalidInput
from gradus.schedules import Schedule

__all__ = ["DropIn", "checked_optimizer", "floats", "lengthwise", "own_rate", "per_group", "put", "rates_of"]

UNSTARTED = -1  # the position before the first value; there each group holds what it was given


class DropIn(LRScheduler):
    """A scheduler with torch's name, signature, attributes and state, that says which schedule it is.

    The position is one integer, `last_epoch`; the values follow from it. A group's rate is what its schedule says. Where
    torch documents that others may change the rate as well (`_follows`), a rate that is found changed goes on from there
    by the schedule's ratio, so that schedulers stepped one after the other multiply.

    The attributes are torch's, so that the state is. Setting one takes effect at the next step.
    """

    # Beside `__dict__`, which is the state: the schedules, made when first needed, and whether the rates that were last
    # written are the schedules' alone.
    __slots__ = ("_made", "_pure")

    _follows = True  # whether changes made to the rate by others are kept, as torch documents it
    _sets_rate = False  # whether the rate is given outright, not as a factor of each group's own

    optimizer: Optimizer
    base_lrs: list[float]  # type: ignore[assignment]  # torch has tensors among them, which cost a wait on a GPU
    last_epoch: int
    _last_lr: list[Any]
    _made: "_Made | None"
    _pure: bool

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1, *, bases: list[float] | None = None) -> None:
        # torch's own constructor isn't called: it wraps optimizer.step and takes the rate for what it may not be.
        self.optimizer = checked_optimizer(optimizer)
        for index, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", _copied(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{index}] when resuming scheduler with last_epoch "
                    f">= 0; load the optimizer's state first, or leave last_epoch out and load the scheduler's"
                )
        self.base_lrs = [self._base_of(group) for group in optimizer.param_groups] if bases is None else bases
        self._begin(last_epoch)

    # What each drop-in says of itself

    def _rate(self, index: int) -> Schedule:
        """The learning rate of group `index`, as a schedule."""
        raise NotImplementedError

    def _momentum(self, index: int) -> Schedule | None:  # noqa: ARG002 - most leave it alone
        """The momentum of group `index`, or its beta1; None where it isn't scheduled."""
        return None

    def _base_of(self, group: dict[str, Any]) -> float:
        """The base rate of a group that joins."""
        return own_rate(group)

    def _basis(self) -> list[Any]:
        """The numbers that may change without an attribute being set: with others the schedules are made anew."""
        return self.base_lrs[: len(self.optimizer.param_groups)]

    def _check(self, position: float) -> None:
        """Refuse a position that can't be had."""

    @property
    def _low(self) -> float:
        """The rate above which the schedule scales."""
        return 0.0

    @property
    def _place(self) -> float:
        """Where the schedules are evaluated; a whole number but for those that torch lets stand between two."""
        return self.last_epoch

    def _arrive(self, position: float) -> None:
        """Take note of the position; nothing is written."""
        # Past __setattr__, which would have the schedules made anew.
        self.__dict__["last_epoch"] = math.floor(position)
        self.__dict__["_step_count"] = self.last_epoch + 1

    # Schedules

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name not in ("_made", "_pure"):
            object.__setattr__(self, "_made", None)

    def _schedules_of_groups(self) -> "_Made":
        basis, made = self._basis(), getattr(self, "_made", None)
        if made is None or made.basis != basis:
            indices = range(min(len(self.base_lrs), len(self.optimizer.param_groups)))
            momentums = [momentum for momentum in map(self._momentum, indices) if momentum is not None]
            made = _Made(basis, _Shared(map(self._rate, indices)), _Shared(momentums) if momentums else None)
            self._made = made
        return made

    @property
    def schedules(self) -> list[Schedule]:
        """Each group's learning rate as a `Schedule`: to print, to plot, to save, to use in a `gradus.Scheduler`."""
        self._welcome()
        return self._schedules_of_groups().rates.all()

    def _values(self, position: float) -> list[float]:
        """The rates of the groups at a position."""
        if position == UNSTARTED:
            return list(self.base_lrs)
        return self._schedules_of_groups().rates.at(position)

    def _carried(self, rates: list[float], before: float, after: float, values: list[float]) -> list[float]:  # noqa: ARG002
        """The rates at position `after`, where the schedules say `values`, of groups that hold `rates` at `before`."""
        if not self._follows or (getattr(self, "_pure", False) and floats(self._last_lr) == rates):
            return values
        groups, low = self.optimizer.param_groups, self._low
        return [
            value
            if expected == low or _same(rate, expected, group["lr"])
            else low + (rate - low) * ((value - low) / (expected - low))
            for rate, expected, value, group in zip(rates, self._values(before), values, groups, strict=False)
        ]

    # Moving

    def _begin(self, last_epoch: int, *, composed: bool = False) -> None:
        """Enter the position after `last_epoch`, from the rates that the groups have been given.

        Schedulers that are built side by side multiply; a composed one takes the place of its members. A rate that an
        earlier scheduler has left behind is nobody's choice, so a new one starts from the base rates.
        """
        rates, left = rates_of(self.optimizer), _LEFT.get(self.optimizer)
        ours = left is not None and floats(left.rates) == rates
        if left is not None and ours and not left.moved and not (composed and last_epoch >= 0):
            ground, start = left.ground, left.ground if composed else rates
        else:
            ground = start = list(self.base_lrs) if ours or last_epoch >= 0 else rates
        values = self._values(last_epoch + 1)
        self._go(last_epoch + 1, self._carried(start, UNSTARTED, last_epoch + 1, values), values)
        _LEFT[self.optimizer] = _Left(ground, self._last_lr, moved=False)

    def _go(self, position: float, rates: list[float], values: list[float]) -> None:
        """Be at a position, where the schedules say `values`, with these rates in the groups."""
        self._arrive(position)
        self._pure = rates == values
        groups, momentums = self.optimizer.param_groups, self._schedules_of_groups().momentums
        for group, rate in zip(groups, rates, strict=False):
            put(group, "lr", rate)
        if momentums is not None:
            for group, momentum in zip(groups, momentums.at(position), strict=False):
                _put_momentum(group, momentum)
        self.__dict__["_last_lr"] = [_copied(group["lr"]) for group in self.optimizer.param_groups]
        _LEFT[self.optimizer] = _Left([], self._last_lr, moved=True)

    def _welcome(self) -> int:
        """Let groups join that have been added; gives the number of those that were there."""
        known, groups = len(self.base_lrs), self.optimizer.param_groups
        for group in groups[known:]:
            self._join(group)
        return known

    def _join(self, group: dict[str, Any]) -> None:
        group.setdefault("initial_lr", _copied(group["lr"]))
        self.base_lrs.append(self._base_of(group))

    def _update_lr(self, epoch: float | None = None) -> None:
        known = self._welcome()
        before = self._place
        after = before + 1 if epoch is None else epoch
        self._check(after)
        rates = values = self._values(after)
        if self._follows and epoch is None:  # otherwise the groups' rates needn't be read, which on a GPU is a wait
            rates = self._carried(rates_of(self.optimizer)[:known], before, after, values)
            rates = rates[:known] + values[known:]
        self._go(after, rates, values)

    def step(self, epoch: int | None = None) -> None:
        """One update further; or, as torch still allows, to the position `epoch`.

        Raises:
            InvalidInput: `epoch` is no whole number from 0.
        """
        if epoch is not None:
            warnings.warn(EPOCH_DEPRECATION_WARNING, UserWarning, stacklevel=2)
            epoch = _whole(epoch)
        self._update_lr(epoch)

    # Rates

    def get_lr(self) -> list[float | Tensor]:
        """The rates that the schedules give at the present position, computed anew."""
        self._welcome()
        return [*self._values(self._place)]

    def get_last_lr(self) -> list[float | Tensor]:
        """The rates that were last written into the groups; tensors are copies."""
        return self._last_lr

    def restore(self) -> None:
        """Give the groups back the rate and the momentum that they had before the first scheduler."""
        for group in self.optimizer.param_groups:
            put(group, "lr", own_rate(group))
            group["initial_lr"] = _copied(group["lr"])
            group.pop("user_lr", None)
            if "user_momentum" in group:
                _put_momentum(group, float(group.pop("user_momentum")))

    # State

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__.copy()  # without the schedules, which can be made again

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer, under torch's names: torch's scheduler of this name can load it."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take up a state, Gradus's or torch's, and write its rates into the groups.

        The order doesn't matter in which the optimizer and its scheduler are built and loaded.

        Raises:
            InvalidInput: this is no scheduler's state.
        """
        self._examine(state_dict)
        self._take(state_dict)
        self._welcome()
        values = self._values(self._place)
        rates = list(values)
        if self._follows:
            for index, saved in enumerate(state_dict.get("_last_lr", [])[: len(rates)]):
                if rates[index] != 0 and not _same(float(saved), rates[index], saved):
                    rates[index] = float(saved)  # others had changed it
        self._go(self._place, rates, values)

    def _examine(self, state: Any) -> None:
        """Refuse what is no state of this scheduler, before anything is changed."""
        if not isinstance(state, Mapping) or not isinstance(state.get("last_epoch"), int):
            raise InvalidInput(f"this is no state of a {type(self).__name__}: it has no whole number 'last_epoch'")

    def _take(self, state: Mapping[str, Any]) -> None:
        """Take up a state; nothing is written."""
        self.__dict__.update(state)
        if "base_lrs" in state:
            self.base_lrs = floats(state["base_lrs"])
        self._made = None


@dataclass
class _Made:
    """The schedules of the groups, and what they were made from."""

    basis: list[Any]
    rates: "_Shared"
    momentums: "_Shared | None"  # of all groups or of none


class _Shared:
    """A schedule for each group, equal ones evaluated once."""

    def __init__(self, schedules: Iterable[Schedule]) -> None:
        self.different: list[Schedule] = []
        self.which: list[int] = []
        for schedule in schedules:
            if schedule not in self.different:
                self.different.append(schedule)
            self.which.append(self.different.index(schedule))

    def all(self) -> list[Schedule]:
        return [self.different[index] for index in self.which]

    def at(self, position: float) -> list[float]:
        values = [_at(schedule, position) for schedule in self.different]
        return [values[index] for index in self.which]


@dataclass
class _Left:
    """What the drop-ins have left in an optimizer's groups."""

    ground: list[float]  # the rates that the schedulers which were built side by side started from
    rates: list[Any]  # the rates as they were last written; tensors are copies
    moved: bool  # whether a step has been done since the last one was built


_LEFT: WeakKeyDictionary[Optimizer, _Left] = WeakKeyDictionary()


def checked_optimizer(optimizer: Any) -> Optimizer:
    """The optimizer, if it is one.

    Raises:
        TypeError: it isn't; torch raises it too.
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
    return optimizer


def own_rate(group: dict[str, Any]) -> float:
    """The rate that the user gave to a group. OneCycleLR puts its own into "initial_lr", where torch looks for it."""
    return float(group.get("user_lr", group.get("initial_lr", group["lr"])))


def rates_of(optimizer: Optimizer) -> list[float]:
    """The rates that stand in the groups."""
    return floats([group["lr"] for group in optimizer.param_groups])


def floats(values: Sequence[Any]) -> list[float]:
    """Numbers and tensors of one element, as numbers."""
    return [float(value) for value in values]


def per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """A value for each group: a list's own, or the same for all; tensors are copied.

    Raises:
        InvalidInput: a list of another length.
    """
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [_copied(value) for _ in range(groups)]
    if len(value) != groups:
        raise InvalidInput(f"{name} must have one value for each of the optimizer's {groups} groups; got {len(value)}")
    return [_copied(member) for member in value]


def put(group: dict[str, Any], key: str, value: float) -> None:
    """Write a number into a group; a tensor is filled in place and stays the same object."""
    if isinstance(group[key], Tensor):
        group[key].fill_(value)
    else:
        group[key] = value


def lengthwise(lengths: Sequence[float], make: Any) -> Schedule:
    """The schedule `make(*lengths)`; lengths between two whole numbers, which torch takes, are stretched to fit."""
    exact = [Fraction(length).limit_denominator(10**6) for length in lengths]
    parts = math.lcm(*(length.denominator for length in exact))
    schedule: Schedule = make(*(int(length * parts) for length in exact))
    return schedule if parts == 1 else schedule.stretch(1 / parts)


def _at(schedule: Schedule, position: float) -> float:
    """The value at a position that may lie between two steps."""
    if isinstance(position, int):
        return float(schedule(position))
    exact = Fraction(position).limit_denominator(10**6)
    return float(schedule.stretch(exact.denominator)(exact.numerator))


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _put_momentum(group: dict[str, Any], value: float) -> None:
    if "betas" not in group:
        put(group, "momentum", value)
    elif isinstance(group["betas"][0], Tensor):
        group["betas"][0].fill_(value)
    else:
        group["betas"] = (value, *group["betas"][1:])


def _same(rate: float, expected: float, kind: Any) -> bool:
    """Whether a rate is the schedule's, but for a few roundings of its own kind."""
    tolerance = max(1e-9, 8 * torch.finfo(kind.dtype).eps) if isinstance(kind, Tensor) else 1e-9
    return math.isclose(rate, expected, rel_tol=tolerance)


def _whole(epoch: Any) -> int:
    try:
        whole = operator.index(epoch)
    except TypeError:
        whole = -1
    if whole < 0:
        raise InvalidInput(f"step takes no epoch, or a whole number of updates from 0; got {epoch!r}")
    return whole
