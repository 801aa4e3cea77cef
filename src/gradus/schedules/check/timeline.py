"""Where each part of a schedule is on the clock of the run, through every composition."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import numpy as np

from gradus.schedules import algebra
from gradus.schedules.cycles import CosineRestarts, Cyclic
from gradus.schedules.leaves import Constant, Lambda, MultiStep, Piecewise, Step
from gradus.schedules.metric import MetricFactor
from gradus.schedules.schedule import Schedule

__all__ = ["Placed", "is_cyclic", "is_formula", "is_level", "looked_at", "parts_of", "without_raise"]

_POINTS = 20_000  # of a longer run, this many steps at its start are looked at, and as many along it


@dataclass(frozen=True)
class Placed:
    """A part of a schedule and its own clock, whose time t is at shift + scale·t of the run's; `until` cuts it off there.

    Of what repeats it is the first time.
    """

    schedule: Any
    scale: float = 1.0
    shift: float = 0.0
    until: float = math.inf

    def run_time(self, own: float) -> float:
        """The run's time at a time of the part's own clock."""
        return self.shift + self.scale * own

    def own_time(self, run: float) -> int:
        """The part's own whole step at a time of the run's clock, from 0."""
        return max(math.floor((run - self.shift) / self.scale), 0)

    @property
    def begin(self) -> float:
        """Where it begins; what `skip` leaves out is before 0."""
        return max(self.shift, 0.0)

    @property
    def end(self) -> float:
        """Where it has come to its end or is cut off; infinite where it goes on for ever."""
        length = self.schedule.length
        return min(self.until, math.inf if length is None else self.run_time(length))

    @property
    def is_leaf(self) -> bool:
        """Whether nothing is within it."""
        return not _inside(self)

    def inside(self, schedule: Schedule, begin: float = 0.0, end: float = math.inf, scale: float = 1.0) -> "Placed":
        """A part of this part, from and to times of this part's clock."""
        return Placed(schedule, self.scale * scale, self.run_time(begin), min(self.until, self.run_time(end)))


def parts_of(placed: Placed) -> Iterator[Placed]:
    """A part, and all within it. A kind that isn't the library's own is taken for a leaf."""
    yield placed
    for inner in _inside(placed):
        yield from parts_of(inner)


def _inside(placed: Placed) -> list[Placed]:
    schedule: Any = placed.schedule
    inside: Callable[..., Placed] = placed.inside  # a concrete schedule has steps where its type allows spans
    if isinstance(schedule, algebra._Pointwise):
        return [replace(placed, schedule=member) for member in schedule.members]
    match schedule:
        case algebra.Sequence(members):
            begins = schedule.starts
            ends = (*begins[1:], math.inf)
            return [inside(*phase) for phase in zip(members, begins, ends, strict=True)]
        case algebra.Delay(inner, steps):
            return [inside(inner, begin=steps)]
        case algebra.Skip(inner, steps):
            return [inside(inner, begin=-cast(int, steps))]
        case algebra.Stretch(inner, factor):
            return [inside(inner, scale=factor)]
        case algebra.Take(inner, steps):
            return [inside(inner, end=steps)]
        case algebra.Repeat(inner, _):
            return [inside(inner, end=len(inner))]
        case algebra.After(inner, _) | algebra.Absolute(inner) | algebra.Staircase(inner, _):
            return [replace(placed, schedule=inner)]
    return []


def is_level(schedule: Schedule) -> bool:
    """Whether it stands on levels that its definition writes out, and moves from one to the next at once."""
    if isinstance(schedule, Piecewise):
        return schedule.interpolation == "constant"
    if isinstance(schedule, (Constant, Step, MultiStep, MetricFactor, algebra.Staircase)):
        return True
    members = [part.schedule for part in _inside(Placed(schedule))]
    return bool(members) and all(map(is_level, members))


def is_cyclic(schedule: Schedule) -> bool:
    """Whether it is made to come back to where it was."""
    return isinstance(schedule, (Cyclic, CosineRestarts, algebra.Repeat))


def is_formula(schedule: Schedule) -> bool:
    """Whether it is one of the library's own formulas."""
    return type(schedule).__module__.startswith("gradus.schedules") and not isinstance(schedule, Lambda)


def looked_at(steps: int) -> Any:
    """Steps from 0 to the last: all of the first ones, so that no short cycle is missed, and then some of them."""
    if steps <= _POINTS:
        return np.arange(steps)
    return np.concatenate([np.arange(_POINTS), np.linspace(_POINTS, steps - 1, _POINTS).astype(np.int64)])


def without_raise(schedule: Schedule) -> Schedule:
    """The same with `after("raise")` taken off, so that any step can be asked for."""
    if isinstance(schedule, algebra.After) and schedule.mode == "raise":
        return without_raise(schedule.schedule)
    if not any(isinstance(part.schedule, algebra.After) for part in parts_of(Placed(schedule))):
        return schedule
    taken_off = [_without_raise_in(getattr(schedule, field.name)) for field in fields(cast(Any, schedule))]
    return type(schedule)(*taken_off)


def _without_raise_in(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_without_raise_in, value))
    return without_raise(value) if isinstance(value, Schedule) else value
