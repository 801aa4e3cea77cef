"""A schedule by itself, however long the run is: its height against the base, its joints, its milestones."""

import math
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from gradus.errors import InvalidInput
from gradus.schedules.algebra import Absolute, After, Product, Sequence
from gradus.schedules.check.laws import Finding
from gradus.schedules.check.timeline import Placed, is_formula, is_level, looked_at, parts_of, without_raise
from gradus.schedules.explain import number
from gradus.schedules.leaves import Constant, MultiStep
from gradus.schedules.schedule import Schedule

__all__ = ["Plan"]

_SEEN_AHEAD = 10**7  # steps: a schedule's peak is looked for so far, and at its parts' ends
_SMALL = 0.05  # a factor that never comes to this is hardly one
_SMALL_AS_CONSTANT = 1e-3  # nor one that a written-out constant brings down to this
_SMALL_BASE = 0.2  # a rate; above it the base may be 1 or so, for a schedule that gives the rates
_ALIKE = 0.01  # of the larger: a difference at a joint of less than this part of the heights around it is none


class Plan:
    """A concrete schedule and its parts."""

    def __init__(self, schedule: Schedule) -> None:
        inner = schedule.schedule if isinstance(schedule, Absolute) else schedule
        self.is_absolute = isinstance(schedule, Absolute)
        self.schedule: Schedule = without_raise(inner)
        self.parts = list(parts_of(Placed(self.schedule)))
        raising = [
            part for part in parts_of(Placed(inner)) if isinstance(part.schedule, After) and part.schedule.mode == "raise"
        ]
        self.last_allowed = min((part.run_time(len(part.schedule)) for part in raising), default=math.inf)

    def parts_that_are(self, *kinds: type[Schedule]) -> list[Placed]:
        """The parts of these kinds, at any depth."""
        return [part for part in self.parts if isinstance(part.schedule, kinds)]

    @cached_property
    def is_formula(self) -> bool:
        """Whether it can be asked for any step: a function of the user's may mind steps after the run."""
        return all(is_formula(part.schedule) for part in self.parts)

    def value(self, step: int) -> float | None:
        """The value at a step that the run may not reach; None where it can't be asked for."""
        if self.is_formula:
            with suppress(InvalidInput):  # a quotient or a power may have no value there
                return float(self.schedule(step))
        return None

    def peak(self, steps: int | None) -> float | None:
        """The greatest value that is planned; over the run only, where later steps can't be asked for."""
        if self._peak_ahead is not None or steps is None:
            return self._peak_ahead
        return float(np.max(self.schedule(looked_at(steps))))

    @cached_property
    def _peak_ahead(self) -> float | None:
        if self.is_formula:
            with suppress(InvalidInput):  # a quotient or a power may have no value after the run
                return float(np.max(self.schedule(self._ahead())))
        return None

    def _ahead(self) -> Any:
        """The first steps, further ones ever further apart, and the parts' ends."""
        ends = [time for part in self.parts for time in (part.begin, part.end) if time < 2**52]
        steps = np.concatenate([np.arange(1000), np.geomspace(1000, _SEEN_AHEAD, 400), np.array(ends)])
        return steps.astype(np.int64)

    # The height

    def heights(self, base: float | None, steps: int | None, name: str) -> Iterator[Finding]:
        """A rate taken for a factor, or a factor for a rate."""
        peak = self.peak(steps) if base is not None and 0 < base < math.inf else None
        if base is None or peak is None:
            return
        if self.is_absolute:
            if name == "lr" and peak == 1 and base <= 0.1:
                yield _factor_as_rate(base)
        elif self._is_the_base(peak, base) or (name == "lr" and self._is_as_small_as_a_rate(peak, base)):
            yield _rate_as_factor(peak, base)
        elif name == "lr" and base < _SMALL and isinstance(self.schedule.length, int):
            end = self.value(self.schedule.length)
            if end is not None and 0.01 * base <= end <= base and end < 0.01 * peak:
                yield _end_as_rate(self.schedule.length, end, base)

    def _is_scaled(self) -> bool:
        """Whether a constant factor is written out, which says that it is one."""
        members = [member for part in self.parts_that_are(Product) for member in part.schedule.members]
        return isinstance(self.schedule, Constant) or any(isinstance(member, Constant) for member in members)

    def _is_the_base(self, peak: float, base: float) -> bool:
        same = base != 1 and math.isclose(peak, base, rel_tol=1e-6)
        return same and (peak < _SMALL or not self._is_scaled())

    def _is_as_small_as_a_rate(self, peak: float, base: float) -> bool:
        return base <= _SMALL_BASE and 0 < peak < (_SMALL_AS_CONSTANT if self._is_scaled() else _SMALL)

    # The joints

    def jumps(self, steps: int | None, factor: float) -> Iterator[Finding]:
        """Where the values before and after a hand-over are too far apart."""
        for part in self.parts_that_are(Sequence):
            starts = part.schedule.starts
            for (before, after), start in zip(pairwise(part.schedule.members), starts[1:], strict=True):
                step = math.ceil(part.run_time(start))
                if 0 < step < min(part.until, math.inf if steps is None else steps):
                    yield from _jump(before, after, step, factor)

    def milestones(self, steps: int | None) -> Iterator[Finding]:
        """Those that are named twice."""
        for part in self.parts_that_are(MultiStep):
            named = part.schedule.milestones
            for milestone in sorted({one for one in named if named.count(one) > 1}):
                step = math.ceil(part.run_time(milestone))
                if steps is None or step < steps:
                    yield _twice(milestone, step)


def _jump(phase: Schedule, following: Schedule, step: int, factor: float) -> Iterator[Finding]:
    first, before, after = float(phase(0)), float(phase(len(phase))), float(following(0))
    rises = after > before
    restarts = rises and before < first and (after >= 2 * before or after - before >= (first - before) / 2)
    leaves_level = is_level(phase) and (rises or is_level(following))
    height = max(abs(first), abs(before), abs(after))
    if not (restarts or leaves_level or _are_close(before, after, factor) or abs(after - before) < _ALIKE * height):
        yield Finding(
            "jump",
            step,
            f"it jumps from {number(before)} to {number(after)} at step {number(step)}, where one phase hands over to the "
            f"next; let the next one start at {number(before)}",
        )


def _are_close(a: float, b: float, factor: float) -> bool:
    """Whether two values differ by no more than a factor."""
    low, high = sorted((abs(a), abs(b)))
    return a * b >= 0 and high <= factor * low


def _twice(milestone: int, step: int) -> Finding:
    message = (
        f"milestone {number(milestone)} is named more than once, and counts each time; name it once, or choose another gamma"
    )
    return Finding("milestone-twice", step, message)


def _rate_as_factor(peak: float, base: float) -> Finding:
    message = (
        f"it is a factor of the value {number(base)} and rises to {number(peak)} at most, so that it gives at most "
        f"{number(peak * base)}; if it gives the value itself, say so: absolute(...)"
    )
    return Finding("rate-as-factor", 0, message)


def _factor_as_rate(base: float) -> Finding:
    message = (
        f"absolute(...) gives the rate itself, so it is 1 at the peak where {number(base)} was set; "
        f"leave absolute away, and it is a factor of that"
    )
    return Finding("factor-as-rate", 0, message)


def _end_as_rate(step: int, end: float, base: float) -> Finding:
    message = (
        f"it comes down to {number(end)} times the value {number(base)}, which is {number(end * base)}; "
        f"if {number(end)} is the rate that is meant, the factor is {number(end / base)}"
    )
    return Finding("end-as-rate", step, message, "note")
