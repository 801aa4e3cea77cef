"""What all drop-ins have in common: a position, the groups' base rates, and the way from one position to another."""

import math
import operator
import warnings
from collections.abc import Mapping, Sequence
from fractions import Fraction
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import EPOCH_DEPRECATION_WARNING, LRScheduler

from gradus.errors import InvalidInput
from gradus.schedules import Schedule

__all__ = ["DropIn", "checked_optimizer", "floats", "lengthwise", "own_rate", "per_group", "put"]

Values = tuple[list[float], list[float] | None]  # of all groups: rates, and momentums where they are scheduled

_NUMBERS = {"base_lrs", "_last_lr", "max_lrs", "base_momentums", "max_momentums"}  # where torch may have tensors

UNSTARTED = -1  # the position before the first value; there each group holds what it was given


class DropIn(LRScheduler):
    """A scheduler with torch's name, signature, attributes and state, that says which schedule it is.

    The position is one integer, `last_epoch`; the values follow from it and from the attributes, which may be set at any
    time. Where torch documents that others may change the rate as well (`_follows`), a rate that is found changed goes on
    from there by the schedule's ratio, so that schedulers stepped one after the other multiply.
    """

    _follows = True  # whether changes made to the rate by others are kept, as torch documents it
    _sets_rate = False  # whether the rate is given outright, not as a factor of each group's own
    _schedules_momentum: bool | property = False
    _part: float | property = 0  # how far the position is past `last_epoch`, where torch lets it stand between two steps

    optimizer: Optimizer
    base_lrs: list[float]  # type: ignore[assignment]  # torch has tensors among them, which cost a wait on a GPU
    last_epoch: int
    _last_lr: list[float]  # type: ignore[assignment]  # as numbers; `get_last_lr` makes the tensors

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1, *, bases: list[float] | None = None) -> None:
        # torch's own constructor isn't called: it wraps optimizer.step and takes the rate for what it may not be.
        self.optimizer = checked_optimizer(optimizer)
        for index, group in enumerate(optimizer.param_groups):
            if last_epoch == UNSTARTED:
                group.setdefault("initial_lr", _copied(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{index}] when resuming scheduler with last_epoch "
                    f">= 0; load the optimizer's state first, or leave last_epoch out and load the scheduler's"
                )
        self.base_lrs = [self._base_of(group) for group in optimizer.param_groups] if bases is None else bases
        self.last_epoch = last_epoch
        self.schedules  # noqa: B018 - making them refuses what can't be one
        self._begin(last_epoch)

    # What each drop-in says of itself

    def _rate(self, index: int) -> Schedule:
        """The learning rate of group `index`, as a schedule."""
        raise NotImplementedError

    def _values(self, position: float) -> Values:
        """The same for all groups at a position from 0, in plain arithmetic for speed; and their momentums, if scheduled."""
        raise NotImplementedError

    def _base_of(self, group: dict[str, Any]) -> float:
        """The base rate of a group that joins."""
        return own_rate(group)

    def _arrive(self, position: Any, rates: list[float]) -> None:
        """Take note of a position, and of the rates that have been written there."""
        self.last_epoch, self._step_count, self._last_lr = position, position + 1, rates

    @property
    def schedules(self) -> list[Schedule]:
        """Each group's learning rate as a `Schedule`: to print, to plot, to save, to use in a `gradus.Scheduler`."""
        self._welcome()
        return [self._rate(index) for index in range(len(self.base_lrs))]

    # Moving

    def step(self, epoch: float | None = None) -> None:
        """One update further; or, as torch still allows, to the position `epoch`.

        Raises:
            InvalidInput: `epoch` is no whole number from 0.
        """
        record, groups = record_of(self.optimizer), self.optimizer.param_groups
        if epoch is not None:
            self._update_lr(self._asked_for(epoch))
        elif record.owners is self._last_lr and record.is_untouched(groups):  # the short way
            after = self.last_epoch + self._part + 1
            rates, momentums = self._values(after)
            self._go(after, rates, momentums)
        else:
            self._update_lr()

    def _asked_for(self, epoch: Any) -> float:
        """A position that is asked for, if it can be had."""
        warnings.warn(EPOCH_DEPRECATION_WARNING, UserWarning, stacklevel=3)
        try:
            whole = operator.index(epoch)
        except TypeError:
            whole = -1
        if whole < 0:
            raise InvalidInput(f"step takes no epoch, or a whole number of updates from 0; got {epoch!r}")
        return whole

    def _update_lr(self, epoch: float | None = None) -> None:
        self._welcome()
        before = self.last_epoch + self._part
        after = before + 1 if epoch is None else epoch
        values, momentums = self._values(after)
        rates, known = values, len(self._last_lr)
        if epoch is None and self._follows:  # otherwise the groups' rates needn't be read, which on a GPU is a wait
            found = rates_of(self.optimizer.param_groups[:known])
            rates = self._carried(found, before, after, values) + values[known:]
        self._go(after, rates, momentums, values)

    def _carried(self, rates: list[float], before: float, after: float, values: list[float]) -> list[float]:  # noqa: ARG002
        """What becomes at position `after`, where the schedules say `values`, of rates found at `before`."""
        if not self._follows:
            return values
        expecteds = self.base_lrs if before == UNSTARTED else self._values(before)[0]
        quadruples = zip(rates, expecteds, values, self.optimizer.param_groups)  # noqa: B905 - as in `write`
        return [
            value if _same(rate, expected, group["lr"]) else self._scaled(rate, expected, value)
            for rate, expected, value, group in quadruples
        ]

    def _scaled(self, rate: float, expected: float, value: float) -> float:
        """What becomes of a rate that was found in place of the expected one, when the schedule goes on to `value`."""
        return rate * (value / expected) if expected else value

    def _begin(self, last_epoch: int, *, composed: bool = False) -> None:
        """Enter the position after `last_epoch`, from the rates that the groups have been given.

        Schedulers that are built side by side multiply; a composed one takes the place of its members. A rate that an
        earlier scheduler has left behind is nobody's choice, so a new one starts from the base rates.
        """
        groups, left = self.optimizer.param_groups, record_of(self.optimizer)
        ours, rates = left.is_untouched(groups), rates_of(groups)
        if ours and left.ground is not None and not (composed and last_epoch >= 0):
            ground, start = left.ground, left.ground if composed else rates
        else:
            ground = start = list(self.base_lrs) if ours or last_epoch >= 0 else rates
        values, momentums = self._values(last_epoch + 1)
        self._go(last_epoch + 1, self._carried(start, UNSTARTED, last_epoch + 1, values), momentums, values)
        left.ground = ground

    def _go(
        self, position: float, rates: list[float], momentums: list[float] | None, values: list[float] | None = None
    ) -> None:
        """Be at a position, with these rates and momentums in the groups; the schedules said `values`, if not the rates."""
        groups, record = self.optimizer.param_groups, record_of(self.optimizer)
        record.write(groups, rates)
        if values is not None and values != rates:
            record.owners = None
        if momentums is not None:
            for group, momentum in zip(groups, momentums):  # noqa: B905 - as in `write`
                put_momentum(group, momentum)
        self._arrive(position, rates)

    def _welcome(self) -> None:
        """Let groups join that have been added."""
        for group in self.optimizer.param_groups[len(self.base_lrs) :]:
            self._join(group)

    def _join(self, group: dict[str, Any]) -> None:
        group.setdefault("initial_lr", _copied(group["lr"]))
        self.base_lrs = [*self.base_lrs, self._base_of(group)]

    # Rates

    def get_lr(self) -> list[float | Tensor]:
        """The rates that the schedules give at the present position, computed anew."""
        self._welcome()
        return [*self._values(self.last_epoch + self._part)[0]]

    def get_last_lr(self) -> list[float | Tensor]:
        """The rates that were last written into the groups; tensors are copies."""
        return [
            torch.full_like(group["lr"], rate) if isinstance(group["lr"], Tensor) else rate
            for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=False)
        ]

    def restore(self) -> None:
        """Give the groups back the rate and the momentum that they had before the first scheduler."""
        for group in self.optimizer.param_groups:
            put(group, "lr", own_rate(group))
            group["initial_lr"] = _copied(group["lr"])
            group.pop("user_lr", None)
            if "user_momentum" in group:
                put_momentum(group, float(group.pop("user_momentum")))

    # State

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer, under torch's names: torch's scheduler of this name can load it."""
        return {key: value for key, value in vars(self).items() if key != "optimizer"} | {"_last_lr": self.get_last_lr()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take up a state, Gradus's or torch's, and write its rates into the groups.

        The order doesn't matter in which the optimizer and its scheduler are built and loaded.

        Raises:
            InvalidInput: this is no scheduler's state.
        """
        self._examine(state_dict)
        self._take(state_dict)
        self._welcome()
        position = self.last_epoch + self._part
        values, momentums = self._values(position)
        rates = list(values)
        if self._follows:
            for index, saved in enumerate(state_dict.get("_last_lr", [])[: len(rates)]):
                if rates[index] != 0 and not _same(float(saved), rates[index], saved):
                    rates[index] = float(saved)  # others had changed it
        self._go(position, rates, momentums, values)

    def _examine(self, state: Any) -> None:
        """Refuse what is no state of this scheduler, before anything is changed."""
        if not isinstance(state, Mapping) or not isinstance(state.get("last_epoch"), int):
            raise InvalidInput(f"this is no state of a {type(self).__name__}: it has no whole number 'last_epoch'")

    def _take(self, state: Mapping[str, Any]) -> None:
        """Take up a state; nothing is written."""
        self.__dict__.update(state)
        self.__dict__.update({name: floats(state[name]) for name in _NUMBERS & state.keys()})


_RATE = itemgetter("lr")


class _Record:
    """What drop-ins last wrote into an optimizer's groups; one for all drop-ins of an optimizer.

    It lives with the optimizer, whose copies and pickles leave it out.
    """

    def __init__(self) -> None:
        self.held: list[Any] = []  # the groups' rates since then: the numbers themselves, or tensors
        self.versions: list[float] | None = None  # of the tensors, if there are any: how often each has been changed
        self.owners: list[float] | None = None  # the very list that was written, where it is its scheduler's values alone
        self.ground: list[float] | None = None  # what those began from that were built since a step was done

    def write(self, groups: list[dict[str, Any]], rates: list[float]) -> None:
        numbers = True
        for group, rate in zip(groups, rates):  # noqa: B905 - the keyword costs as much as the rest
            if type(group["lr"]) is float:  # the cheap question first
                group["lr"] = rate
            else:
                put(group, "lr", rate)
                numbers = False
        self.owners, self.ground = rates, None
        self.held = rates if numbers else list(map(_RATE, groups))
        self.versions = None if numbers else self._versions()

    def is_untouched(self, groups: list[dict[str, Any]]) -> bool:
        """Whether the groups hold what drop-ins wrote. No tensor has to be waited for."""
        return list(map(_RATE, groups)) == self.held and (self.versions is None or self._versions() == self.versions)

    def _versions(self) -> list[float]:
        tensors = (rate for rate in self.held if isinstance(rate, Tensor))
        return [float(rate) if rate.is_inference() else rate._version for rate in tensors]  # those don't count changes


def record_of(optimizer: Any) -> _Record:
    """What drop-ins last wrote into this optimizer's groups."""
    try:
        record: _Record = optimizer._gradus_record
    except AttributeError:
        record = optimizer._gradus_record = _Record()
    return record


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


def rates_of(groups: list[dict[str, Any]]) -> list[float]:
    """The rates that stand in the groups."""
    return [float(group["lr"]) for group in groups]


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


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def put_momentum(group: dict[str, Any], value: float) -> None:
    if "betas" not in group:
        put(group, "momentum", value)
    elif isinstance(group["betas"][0], Tensor):
        group["betas"][0].fill_(value)
    else:
        group["betas"] = (value, *group["betas"][1:])


def _same(rate: float, expected: float, kind: Any) -> bool:
    """Whether a rate is the schedule's, but for a few roundings of its own kind."""
    tolerance = 1e-9 if type(kind) is float or not isinstance(kind, Tensor) else max(1e-9, 8 * torch.finfo(kind.dtype).eps)
    return abs(rate - expected) <= tolerance * abs(expected)
