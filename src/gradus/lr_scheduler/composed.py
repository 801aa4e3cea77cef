"""The drop-ins made of others, and the one that looks at a metric."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim import lr_scheduler as torch_lr
from torch.optim.lr_scheduler import LRScheduler

from gradus.checks import is_whole
from gradus.errors import InvalidInput
from gradus.lr_scheduler.base import (
    UNSTARTED,
    DropIn,
    Values,
    all_or_nothing,
    changes,
    floats,
    rates_of,
    same,
    set_value,
    written_rates,
)
from gradus.lr_scheduler.states import require_like, stand_in
from gradus.scheduler import Scheduler
from gradus.schedules import Schedule

__all__ = ["ChainedScheduler", "ReduceLROnPlateau", "SequentialLR"]


class _Composed(DropIn):
    """A scheduler made of others: it writes the rates in their place and sets their positions.

    If one of them is a user's own, with rates that don't follow from a position, torch's code steps them all in turn.
    """

    _schedulers: Sequence[DropIn]

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[Any], last_epoch: int, verbose: Any = False) -> None:
        self.optimizer = optimizer
        self._schedulers = schedulers
        self.last_epoch = UNSTARTED - 1  # nowhere: wherever it goes, each member's position is set
        if verbose is True:
            self.verbose = True
        self._start(last_epoch, composed=True)

    @property
    def _steps_as_torch(self) -> bool:
        return any(map(_steps_itself, self._schedulers))

    def _update_lr(self, epoch: float | None = None) -> None:
        if epoch == 0 and self._steps_as_torch:  # a phase of another sequence begins; torch's own can't do that
            for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=False):
                set_value(group, "lr", base)
            self._start_anew()
        else:
            super()._update_lr(epoch)

    def _start_anew(self) -> None:
        """Have the members that come first make their first steps, as torch's code does."""
        raise NotImplementedError

    @property
    def base_lrs(self) -> list[float]:  # type: ignore[override]  # its members have them
        """Each group's base rate, that of the member which gives the rates."""
        return self._leading.base_lrs

    @property
    def _drop_ins(self) -> Iterator[DropIn]:
        return (member for member in self._schedulers if isinstance(member, DropIn))

    @property
    def _leading(self) -> DropIn:
        """The member that gives the rates outright; where all give factors, the first."""
        return next((member for member in reversed([*self._drop_ins]) if member._sets_rate), self._schedulers[0])

    @property
    def _sets_rate(self) -> bool:  # type: ignore[override]
        return any(member._sets_rate for member in self._drop_ins)

    @property
    def _schedules_momentum(self) -> bool:  # type: ignore[override]
        return any(member._schedules_momentum for member in self._drop_ins)

    def _add_group(self, group: dict[str, Any]) -> None:
        for member in self._drop_ins:
            member._add_group(group)

    def state_dict(self) -> dict[str, Any]:
        """The state, the members' states included."""
        return {**super().state_dict(), "_schedulers": [member.state_dict() for member in self._schedulers]}

    _elsewhere = ("_schedulers", "last_epoch")

    def _check_state(self, state: Any) -> None:
        members = state.get("_schedulers") if isinstance(state, Mapping) else None
        if not isinstance(members, (list, tuple)) or len(members) != len(self._schedulers):
            raise InvalidInput(f"this is no state of a {type(self).__name__} of {len(self._schedulers)} schedulers")
        for member, its in zip(self._schedulers, members, strict=True):
            if isinstance(member, DropIn):
                member._check_state(its)
        super()._check_state({"last_epoch": _position_in(state), **state})

    def _twin(self, optimizer: Any) -> DropIn:
        twin = super()._twin(optimizer)
        twin.__dict__["_schedulers"] = [member._twin(optimizer) for member in self._schedulers]
        return twin

    def _update_from(self, state: Mapping[str, Any]) -> None:
        for member, its in zip(self._schedulers, state["_schedulers"], strict=True):
            take = member._update_from if isinstance(member, DropIn) else member.load_state_dict
            take(its)
        super()._update_from({key: value for key, value in state.items() if key != "_schedulers"})


class SequentialLR(_Composed, torch_lr.SequentialLR):  # type: ignore[misc]  # any sequence will do
    """One scheduler after the other: `a >> b` of their schedules, each from its own 0.

    Its position is one integer, from which each member's follows: resuming with `last_epoch` at any phase, nesting, and
    building the members in any order all give the same rates. A phase without a momentum of its own has the user's.

    Args:
        optimizer: the members' own.
        schedulers: of this module, compositions included.
        milestones: the steps at which the next one begins, in order; one fewer than the schedulers.

    Raises:
        InvalidInput: no schedulers, of another optimizer, of another kind, or the wrong milestones.
        TypeError: what is no scheduler; torch raises it too.

    >>> import torch
    >>> from gradus.lr_scheduler import CosineAnnealingLR, LinearLR
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    >>> members = [LinearLR(optimizer, 0.1, total_iters=5), CosineAnnealingLR(optimizer, 15)]
    >>> scheduler = SequentialLR(optimizer, members, milestones=[5])
    >>> for _ in range(5):
    ...     optimizer.step()
    ...     scheduler.step()
    >>> scheduler.get_last_lr()
    [1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: list[Any],
        milestones: list[int],
        last_epoch: int = -1,
        verbose: Any = False,
    ) -> None:
        _require_members(type(self).__name__, optimizer, schedulers)
        if len(milestones) != len(schedulers) - 1:
            raise InvalidInput(f"{len(schedulers)} schedulers need one milestone fewer; got milestones={milestones!r}")
        _require_in_order(milestones)
        self._milestones = milestones
        super().__init__(optimizer, schedulers, last_epoch, verbose)

    def _start(self, last_epoch: int, *, composed: bool = False) -> None:
        if self._steps_as_torch:
            with all_or_nothing(self.optimizer):
                self._torch_class.__init__(self, self.optimizer, self._schedulers, self._milestones, last_epoch)
        else:
            super()._start(last_epoch, composed=composed)

    def _start_anew(self) -> None:
        for member in self._schedulers:
            member.last_epoch = UNSTARTED
        self.last_epoch = 0
        self._active(0)[0]._initial_step()

    @property
    def _follows(self) -> bool:  # type: ignore[override]
        return any(member._follows for member in self._schedulers)

    def _rescale_external(self, rates: list[float], before: float, after: float, values: list[float]) -> list[float]:
        (earlier, place_before), (member, place) = self._active(before), self._active(after)
        if member is not earlier:
            return member._rates_on_entry(rates, values)
        return member._rescale_external(rates, place_before, place, values)

    def _check_state(self, state: Any) -> None:
        super()._check_state(state)
        milestones = state.get("_milestones", self._milestones)
        _require_in_order(milestones)
        if len(milestones) != len(self._milestones) or "last_epoch" not in state:
            raise InvalidInput(f"a SequentialLR's state has {len(self._milestones)} milestones and its last_epoch")

    def _active(self, position: float) -> tuple[DropIn, float]:
        """The active member, and its own position."""
        milestones = self._milestones
        index = bisect_right(milestones, position)
        return self._schedulers[index], position - milestones[index - 1] if index else position

    def _set_position(self, position: float, rates: list[float]) -> None:
        if position + 1 in self._milestones:
            written_rates(self.optimizer).written_by = None  # the next phase may begin from the rates that it finds
        if position == self.last_epoch + 1:
            member, place = self._active(position)
            member._set_position(place, rates)
        else:  # each is yet to start, under way, or at its last step
            starts, ends = [0, *self._milestones], [*self._milestones, float("inf")]
            for member, start, end in zip(self._schedulers, starts, ends, strict=True):
                member._set_position(max(UNSTARTED, min(position, end - 1) - start), rates[:])
                member.__dict__["_step_count"] = max(1, member._step_count)  # torch counts that it was built
        DropIn._set_position(self, position, rates)

    def _values(self, position: float) -> Values:
        member, place = self._active(position)
        values = member._values(place)
        groups = self.optimizer.param_groups
        if values[1] is None and "user_momentum" in groups[0] and self._schedules_momentum:
            return values[0], [float(group["user_momentum"]) for group in groups]
        return values

    def _rate(self, index: int) -> Schedule:
        *early, last = [member._rate(index) for member in self._schedulers]
        for schedule, (start, end) in reversed(list(zip(early, pairwise([0, *self._milestones]), strict=True))):
            last = schedule.take(end - start) >> last
        return last


class ChainedScheduler(_Composed, torch_lr.ChainedScheduler):  # type: ignore[misc]
    """All schedulers at once: the product of their schedules, whatever their order.

    Where one of them gives the rates outright (`CyclicLR`, `OneCycleLR`), the others are factors on it.

    Args:
        schedulers: of this module, compositions included, all at the same position.
        optimizer: the members' own; the first one's unless given.

    Raises:
        InvalidInput: no schedulers, of another optimizer, of another kind, or at different positions.
        TypeError: what is no scheduler; torch raises it too.

    >>> import torch
    >>> from gradus.lr_scheduler import ExponentialLR, LambdaLR
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    >>> scheduler = ChainedScheduler([ExponentialLR(optimizer, 0.5), LambdaLR(optimizer, lambda t: 1 + t)])
    >>> optimizer.step()
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [1.0]
    """

    def __init__(self, schedulers: Sequence[Any], optimizer: Optimizer | None = None) -> None:
        if len(schedulers) > 0 and optimizer is None:
            optimizer = getattr(schedulers[0], "optimizer", None)
        _require_members(type(self).__name__, optimizer, schedulers)
        _require_together([member.last_epoch for member in schedulers])
        super().__init__(schedulers[0].optimizer, schedulers, schedulers[0].last_epoch - 1)

    def _start(self, last_epoch: int, *, composed: bool = False) -> None:
        if self._steps_as_torch:
            self._torch_class.__init__(self, self._schedulers, self.optimizer)
            self.last_epoch = self._schedulers[0].last_epoch
        else:
            super()._start(last_epoch, composed=composed)

    def _start_anew(self) -> None:
        for member in self._schedulers:
            member.last_epoch = UNSTARTED
            member._initial_step()
        self.last_epoch = 0

    def _step_as_torch(self, epoch: Any = None) -> None:
        super()._step_as_torch(epoch)
        self.last_epoch = self._schedulers[0].last_epoch

    @property
    def _follows(self) -> bool:  # type: ignore[override]
        return all(member._follows for member in self._schedulers)

    def _rescale_external(self, rates: list[float], before: float, after: float, values: list[float]) -> list[float]:
        if not self._follows:
            return values
        if all(map(same, rates, self._scheduled_rates(before), [group["lr"] for group in self.optimizer.param_groups])):
            return values
        for member in self._schedulers:
            pairs = zip(rates, member._scheduled_rates(before), member._values(after)[0])  # noqa: B905 - groups may have joined
            rates = [rate * (its / was) if was else rate for rate, was, its in pairs]
        return rates

    def _set_position(self, position: float, rates: list[float]) -> None:
        for member in self._schedulers:
            member._set_position(position, rates[:])
        DropIn._set_position(self, position, rates)

    def _values(self, position: float) -> Values:
        leading = self._leading
        rates, momentums = leading._values(position)
        for member in self._schedulers:
            if member is not leading:
                theirs, its_momentums = member._values(position)
                momentums = momentums or its_momentums
                triples = zip(rates, theirs, member.base_lrs)  # noqa: B905 - the keyword costs as much as the rest
                rates = [rate * (its / base if base else its) for rate, its, base in triples]
        return rates, momentums

    def _rate(self, index: int) -> Schedule:
        rate = self._leading._rate(index)
        for member in self._schedulers:
            if member is not self._leading:
                rate = rate * (member._rate(index) * (1 / (member.base_lrs[index] or 1.0)))
        return rate

    def _check_state(self, state: Any) -> None:
        super()._check_state(state)
        _require_together([_position_in(its) for its in state["_schedulers"]])

    def _update_from(self, state: Mapping[str, Any]) -> None:
        super()._update_from({**state, "last_epoch": _position_in(state)})  # torch's has none of its own


class ReduceLROnPlateau(torch_lr.ReduceLROnPlateau):
    """torch's own, which needs no schedule; loading its state writes the rates into the groups, in any order.

    After more than `patience` bad metrics in a row, η ← max(factor · η, min_lr). The arguments, the rule and the state are
    torch's. `step` takes the metric.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    >>> scheduler = ReduceLROnPlateau(optimizer, factor=0.1, patience=0)
    >>> for loss in (1.0, 0.9, 0.9):
    ...     scheduler.step(loss)
    >>> scheduler.get_last_lr()
    [0.05]
    """

    verbose = False

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: list[float] | float = 0,
        eps: float = 1e-8,
        verbose: Any = False,
    ) -> None:
        super().__init__(optimizer, mode, factor, patience, threshold, threshold_mode, cooldown, min_lr, eps)
        if verbose is True:
            self.verbose = True

    def _reduce_lr(self, epoch: float) -> None:
        before = rates_of(self.optimizer.param_groups)
        super()._reduce_lr(epoch)
        if self.verbose:
            when = f"{epoch:.2f}" if isinstance(epoch, float) else f"{epoch:05d}"
            for index, rate in changes(self.optimizer, before):
                print(f"Epoch {when}: reducing learning rate of group {index} to {rate:.4e}.")  # noqa: T201 - asked for

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take up a state, Gradus's or torch's, and write its rates into the groups."""
        require_like(self, state_dict)
        twin = object.__new__(type(self))
        vars(twin).update(vars(self), optimizer=stand_in(self.optimizer))
        try:
            _load_and_reduce(twin, state_dict)
        except Exception as error:
            raise InvalidInput(f"this can't be a state of a {type(self).__name__}: {error!r}"[:300]) from error
        super().load_state_dict(dict(state_dict))
        for group, rate in zip(self.optimizer.param_groups, floats(self._last_lr), strict=False):
            set_value(group, "lr", rate)


def _require_members(name: str, optimizer: Any, schedulers: Sequence[Any]) -> None:
    if len(schedulers) < 1:
        raise InvalidInput(f"{name} needs at least one scheduler; got none")
    for index, scheduler in enumerate(schedulers):
        if not hasattr(scheduler, "optimizer"):
            raise TypeError(f"{name} is made of schedulers, which have an `optimizer`; number {index} is {scheduler!r}")
        if scheduler.optimizer is not optimizer:
            raise InvalidInput(f"the schedulers of a {name} must have its optimizer; number {index} has another")
        if isinstance(scheduler, torch_lr.ReduceLROnPlateau):
            raise InvalidInput(
                f"ReduceLROnPlateau, number {index}, steps on a metric, so it can't be in a {name}; "
                f"step it beside the {name}, and both act on the rate"
            )
        if not isinstance(scheduler, LRScheduler) or isinstance(scheduler, Scheduler):
            raise InvalidInput(
                f"{name} is made of torch's kind of schedulers; number {index} is a {type(scheduler).__name__}: "
                f"schedules are composed before they are given to a Scheduler, a >> b and a * b"
            )


def _load_and_reduce(plateau: torch_lr.ReduceLROnPlateau, state: Mapping[str, Any]) -> None:
    """Load a plateau's state and have it reduce the rates, to see that it can."""
    torch_lr.ReduceLROnPlateau.load_state_dict(plateau, dict(state))
    rates = floats(plateau._last_lr)
    vars(plateau)["verbose"] = False
    torch_lr.ReduceLROnPlateau.step(plateau, 0.0)
    torch_lr.ReduceLROnPlateau._reduce_lr(plateau, 0)
    if not all(map(math.isfinite, rates + rates_of(plateau.optimizer.param_groups))):
        raise InvalidInput("its rates aren't finite")


def _require_in_order(milestones: Sequence[Any]) -> None:
    for before, after in pairwise([0, *milestones]):
        if not is_whole(after, before):
            raise InvalidInput(f"milestones must be whole numbers in order, from 0; got {milestones!r}")


def _steps_itself(member: Any) -> bool:
    """Whether torch's code must step this member, because it says itself how."""
    return not isinstance(member, DropIn) or member._overrides or member._steps_as_torch


def _require_together(positions: Sequence[int]) -> None:
    if len(set(positions)) > 1:
        raise InvalidInput(f"the schedulers of a ChainedScheduler must be at the same position; they are at {positions}")


def _position_in(state: Mapping[str, Any]) -> Any:
    """The position in a state; a chain's is its members', since torch's chain has none or an old one."""
    if "_schedulers" in state and "_milestones" not in state:
        return _position_in(state["_schedulers"][0])
    return state.get("last_epoch")
