"""The drop-ins made of others, and the one that looks at a metric."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch.optim import Optimizer
from torch.optim import lr_scheduler as torch_lr

from gradus.errors import InvalidInput
from gradus.lr_scheduler.base import UNSTARTED, DropIn, floats, put
from gradus.schedules import Constant, Schedule

__all__ = ["ChainedScheduler", "ReduceLROnPlateau", "SequentialLR"]


class _Composed(DropIn):
    """Schedulers in place of which this one acts; they are told where they stand, and write nothing themselves."""

    _schedulers: Sequence[DropIn]

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[Any], last_epoch: int) -> None:
        self.optimizer = optimizer
        self._schedulers = schedulers
        self._begin(last_epoch, composed=True)

    @property
    def base_lrs(self) -> list[float]:  # type: ignore[override]  # its members have them
        """Each group's base rate, that of the member which gives the rates."""
        return self._leading.base_lrs

    @property
    def _leading(self) -> DropIn:
        """The member whose rates aren't factors; where all are, the first."""
        return next((member for member in reversed(self._schedulers) if member._sets_rate), self._schedulers[0])

    @property
    def _follows(self) -> bool:  # type: ignore[override]
        return all(member._follows for member in self._schedulers)

    @property
    def _sets_rate(self) -> bool:  # type: ignore[override]
        return any(member._sets_rate for member in self._schedulers)

    def _basis(self) -> list[Any]:
        return [member._schedules_of_groups() for member in self._schedulers]  # another one where a member has changed

    def _join(self, group: dict[str, Any]) -> None:
        for member in self._schedulers:
            member._join(group)

    def _member_positions(self, position: float) -> list[float]:
        raise NotImplementedError

    def _arrive(self, position: float) -> None:
        super()._arrive(position)
        for member, place in zip(self._schedulers, self._member_positions(position), strict=True):
            member._arrive(place)

    def _check(self, position: float) -> None:
        for member, place in zip(self._schedulers, self._member_positions(position), strict=True):
            member._check(place)

    def _go(self, position: float, rates: list[float], values: list[float]) -> None:
        super()._go(position, rates, values)
        self._tell()

    def _tell(self) -> None:
        """Let the members know the rates, which are in torch's states."""
        for member in self._schedulers:
            member.__dict__["_last_lr"] = list(self._last_lr)
            if isinstance(member, _Composed):
                member._tell()

    def state_dict(self) -> dict[str, Any]:
        """The state, the members' states included."""
        return {**super().state_dict(), "_schedulers": [member.state_dict() for member in self._schedulers]}

    def _examine(self, state: Any) -> None:
        members = state.get("_schedulers") if isinstance(state, Mapping) else None
        if not isinstance(members, (list, tuple)) or len(members) != len(self._schedulers):
            raise InvalidInput(f"this is no state of a {type(self).__name__} of {len(self._schedulers)} schedulers")
        for member, its in zip(self._schedulers, members, strict=True):
            member._examine(its)

    def _take(self, state: Mapping[str, Any]) -> None:
        for member, its in zip(self._schedulers, state["_schedulers"], strict=True):
            member._take(its)
        super()._take({key: value for key, value in state.items() if key != "_schedulers"})


class SequentialLR(_Composed):
    """One scheduler after the other: `a >> b` of their schedules, each from its own 0.

    Its position is one integer, from which each member's follows: resuming with `last_epoch` at any phase, nesting, and
    building the members in any order all give the same rates. A phase without a momentum of its own has the user's.

    Args:
        optimizer: the members' own.
        schedulers: of this module, compositions included.
        milestones: the steps at which the next one begins, in order; one fewer than the schedulers.
        last_epoch: the position to go on from; -1 starts anew.

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

    def __init__(self, optimizer: Optimizer, schedulers: list[Any], milestones: list[int], last_epoch: int = -1) -> None:
        _require_members(type(self).__name__, optimizer, schedulers)
        if len(milestones) != len(schedulers) - 1:
            raise InvalidInput(f"{len(schedulers)} schedulers need one milestone fewer; got milestones={milestones!r}")
        for before, after in pairwise([0, *milestones]):
            if after < before:
                raise InvalidInput(f"milestones must come in order, from 0; got {milestones!r}")
        self._milestones = milestones
        super().__init__(optimizer, schedulers, last_epoch)

    def _examine(self, state: Any) -> None:
        super()._examine(state)
        DropIn._examine(self, state)

    def _member_positions(self, position: float) -> list[float]:
        """Where each member stands: yet to start, under way, or at its last step."""
        starts, ends = [0, *self._milestones], [*self._milestones, float("inf")]
        return [max(UNSTARTED, min(position, end - 1) - start) for start, end in zip(starts, ends, strict=True)]

    def _phases(self, schedules: Sequence[Schedule]) -> Schedule:
        *early, last = schedules
        for schedule, (start, end) in reversed(list(zip(early, pairwise([0, *self._milestones]), strict=True))):
            last = schedule.take(end - start) >> last
        return last

    def _rate(self, index: int) -> Schedule:
        return self._phases([member._rate(index) for member in self._schedulers])

    def _momentum(self, index: int) -> Schedule | None:
        momentums = [member._momentum(index) for member in self._schedulers]
        if not any(momentums):
            return None
        own = float(self.optimizer.param_groups[index]["user_momentum"])
        return self._phases([momentum or Constant(own) for momentum in momentums])


class ChainedScheduler(_Composed):
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

    def _member_positions(self, position: float) -> list[float]:
        return [position] * len(self._schedulers)

    def _rate(self, index: int) -> Schedule:
        rate = self._leading._rate(index)
        for member in self._schedulers:
            if member is not self._leading:
                base = member.base_lrs[index]
                rate = rate * (member._rate(index) * (1 / base if base else 1.0))
        return rate

    def _momentum(self, index: int) -> Schedule | None:
        return next(filter(None, (member._momentum(index) for member in reversed(self._schedulers))), None)

    def _examine(self, state: Any) -> None:
        super()._examine(state)
        _require_together([_place_in(its) for its in state["_schedulers"]])

    def _take(self, state: Mapping[str, Any]) -> None:
        super()._take({**state, "last_epoch": _place_in(state)})  # torch's has none of its own


class ReduceLROnPlateau(torch_lr.ReduceLROnPlateau):
    """torch's own, which needs no schedule; loading its state writes the rates into the groups, in any order.

    The arguments, the rule and the state are torch's. `step` takes the metric.
    """

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take up a state, Gradus's or torch's, and write its rates into the groups."""
        super().load_state_dict(dict(state_dict))
        for group, rate in zip(self.optimizer.param_groups, floats(self._last_lr), strict=False):
            put(group, "lr", rate)


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
        if not isinstance(scheduler, DropIn):
            raise InvalidInput(
                f"{name} is made of the schedulers of gradus.lr_scheduler, whose values follow from their position; number "
                f"{index} is {type(scheduler).__name__}: import that from gradus.lr_scheduler, or say it as a LambdaLR"
            )


def _require_together(positions: Sequence[int]) -> None:
    if len(set(positions)) > 1:
        raise InvalidInput(f"the schedulers of a ChainedScheduler must be at the same position; they are at {positions}")


def _place_in(state: Mapping[str, Any]) -> int:
    """The position that a member's state tells."""
    if "last_epoch" in state:
        return int(state["last_epoch"])
    return _place_in(state["_schedulers"][0])
