"""The drop-ins made of others, and the one that looks at a metric."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch.optim import Optimizer
from torch.optim import lr_scheduler as torch_lr

from gradus.errors import InvalidInput
from gradus.lr_scheduler.base import UNSTARTED, DropIn, Values, floats, put
from gradus.schedules import Schedule

__all__ = ["ChainedScheduler", "ReduceLROnPlateau", "SequentialLR"]


class _Composed(DropIn):
    """Schedulers in place of which this one acts; they are told where they stand, and write nothing themselves."""

    _schedulers: Sequence[DropIn]

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[Any], last_epoch: int) -> None:
        self.optimizer = optimizer
        self._schedulers = schedulers
        self.last_epoch = UNSTARTED - 1  # nowhere: wherever it goes, each member is told
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

    @property
    def _schedules_momentum(self) -> bool:  # type: ignore[override]
        return any(member._schedules_momentum for member in self._schedulers)

    def _join(self, group: dict[str, Any]) -> None:
        for member in self._schedulers:
            member._join(group)

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

    def _active(self, position: float) -> tuple[DropIn, float]:
        """The member whose phase it is, and where it stands."""
        index = bisect_right(self._milestones, position)
        return self._schedulers[index], position - self._milestones[index - 1] if index else position

    def _arrive(self, position: float, rates: list[float]) -> None:
        if position == self.last_epoch + 1:
            member, place = self._active(position)
            member._arrive(place, list(rates))
        else:  # each is yet to start, under way, or at its last step
            starts, ends = [0, *self._milestones], [*self._milestones, float("inf")]
            for member, start, end in zip(self._schedulers, starts, ends, strict=True):
                member._arrive(max(UNSTARTED, min(position, end - 1) - start), list(rates))
        super()._arrive(position, rates)

    def _values(self, position: float) -> Values:
        member, place = self._active(position)
        rates, momentums = member._values(place)
        groups = self.optimizer.param_groups
        if momentums is None and "user_momentum" in groups[0] and self._schedules_momentum:
            momentums = [float(group["user_momentum"]) for group in groups]
        return rates, momentums

    def _rate(self, index: int) -> Schedule:
        *early, last = [member._rate(index) for member in self._schedulers]
        for schedule, (start, end) in reversed(list(zip(early, pairwise([0, *self._milestones]), strict=True))):
            last = schedule.take(end - start) >> last
        return last


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

    def _arrive(self, position: float, rates: list[float]) -> None:
        for member in self._schedulers:
            member._arrive(position, list(rates))
        super()._arrive(position, rates)

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
