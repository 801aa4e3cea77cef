"""The classic mistakes of a schedule, found before anything is trained."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from gradus.errors import InvalidInput
from gradus.schedules.schedule import Absolute, Schedule, Sequence
from gradus.schedules.words import number

__all__ = ["Finding", "check"]

_NEAR = 0.9  # of the run: a schedule that ends within a tenth of it ends with it
_POINTS = 100_000  # a longer run is looked at over so many steps, and at so many more along it
_ARRIVED = 0.05  # of the way from start to end: closer counts as there


@dataclass(frozen=True)
class Finding:
    """Something about a schedule that is seldom meant.

    Args:
        code: "ends-early", "ends-late", "starts-at-zero", "jump", "floor-not-reached" or "long-warmup".
        step: where it shows.
        message: what it is, and the way out.
    """

    code: str
    step: int
    message: str

    def __str__(self) -> str:
        return self.message


def check(schedule: Schedule, total_steps: int, *, beta2: float | None = None, factor: float = 2.0) -> list[Finding]:
    """The classic mistakes of a schedule in a run of so many steps; an empty list where there are none.

    It names a schedule that ends long before the run or after it, a first update at 0, a jump where one phase hands over
    to the next, an end value that is never reached, and a warmup longer than Adam's second moment asks for.

    Args:
        schedule: concrete, or a template whose spans the length of the run makes concrete.
        total_steps: the optimizer updates of the run.
        beta2: the optimizer's, if the warmup is to be looked at: its memory asks for 2/(1 − beta2) steps (Ma and Yarats,
            On the Adequacy of Untuned Warmup for Adaptive Optimization, 2021, section 4).
        factor: by how much neighbouring phases may differ where they meet; a rise after a fall is a restart, and no jump.

    Raises:
        InvalidInput: a length that is no whole number above 0, or a template that needs more than that.

    >>> from gradus.schedules import Cosine, warmup
    >>> for finding in check(warmup(100, start=0.01) >> Cosine(900, start=0.3), 2000):
    ...     print(finding)
    it jumps from 1 to 0.3 at step 100, where one phase hands over to the next; let the next one start at 1
    it ends at step 1,000 of 2,000 and holds 0 from there; make it longer: .resolve(...) with rest() fits it to the run
    """
    if isinstance(total_steps, bool) or not isinstance(total_steps, int) or total_steps < 1:
        raise InvalidInput(f"check's total_steps must be a whole number above 0; got {total_steps!r}")
    concrete = schedule.resolve(total_steps)
    concrete._require_concrete()
    inner = concrete.schedule if isinstance(concrete, Absolute) else concrete
    run = _Run(inner, total_steps)
    return [*run.first(), *run.jumps(factor), *run.end(), *run.warmup(beta2)]


class _Run:
    """A schedule over a run."""

    def __init__(self, schedule: Schedule, steps: int) -> None:
        self.schedule, self.steps = schedule, steps
        self.values = schedule(_looked_at(steps))

    def first(self) -> list[Finding]:
        if self.values[0] != 0 or self.steps == 1:
            return []
        way_out = "start above 0, such as warmup(n, start=1 / n)"
        return [Finding("starts-at-zero", 0, f"the first update does nothing, for the value at step 0 is 0; {way_out}")]

    def _phases(self) -> list[tuple[int, Any]]:
        """The outermost phases, and where each begins."""
        if not isinstance(self.schedule, Sequence):
            return [(0, self.schedule)]
        return list(zip(self.schedule.starts, self.schedule.members, strict=True))

    def jumps(self, factor: float) -> list[Finding]:
        findings = []
        for (_, phase), (step, following) in pairwise(self._phases()):
            before, after = phase(len(phase)), following(0)
            restarts = before < phase(0) and after > before  # up again after a fall, which is meant
            if step < self.steps and not restarts and not _close(before, after, factor):
                findings.append(
                    Finding(
                        "jump",
                        step,
                        f"it jumps from {number(before)} to {number(after)} at step {number(step)}, where one phase "
                        f"hands over to the next; let the next one start at {number(before)}",
                    )
                )
        return findings

    def end(self) -> list[Finding]:
        length = None if self.schedule.endless else len(self.schedule)
        if length is not None and length * _NEAR > self.steps:
            return [self._ends_late(length)]
        if length is not None and length < self.steps * _NEAR and self._has_fallen(length):
            return [self._ends_early(length)]
        return self._floor()

    def _has_fallen(self, length: int) -> bool:
        """Whether it ends low. One that ends high, a mere warmup, is meant to hold."""
        return bool(self.schedule(length) < _NEAR * self.values.max())

    def _ends_early(self, length: int) -> Finding:
        message = (
            f"it ends at step {number(length)} of {number(self.steps)} and holds {number(self.schedule(length))} from "
            f"there; make it longer: .resolve(...) with rest() fits it to the run"
        )
        return Finding("ends-early", length, message)

    def _ends_late(self, length: int) -> Finding:
        message = (
            f"it needs {number(length)} steps and the run has {number(self.steps)}, so it stops at "
            f"{number(float(self.values[-1]))} and never comes to {number(self.schedule(length))}; "
            f"make it shorter: .resolve(...) with rest() fits it to the run"
        )
        return Finding("ends-late", self.steps, message)

    def _floor(self) -> list[Finding]:
        begin, last = self._phases()[-1]
        floor = getattr(last, "end", getattr(last, "floor", None))
        if floor is None or begin >= self.steps - 1:
            return []
        start = float(last(0))
        lowest = float(np.min(last(_looked_at(self.steps - begin + 1))))  # the end that the last step leads to counts
        if not start > floor or lowest - floor <= _ARRIVED * (start - floor):
            return []
        message = f"it is to fall to {number(floor)}, and in {number(self.steps)} steps comes down to {number(lowest)}"
        return [Finding("floor-not-reached", self.steps - 1, f"{message}; let it fall faster, or set the end that is meant")]

    def warmup(self, beta2: float | None) -> list[Finding]:
        if beta2 is None:
            return []
        if not 0 <= beta2 < 1:
            raise InvalidInput(f"check's beta2 must be at least 0 and below 1; got {beta2!r}")
        asked = math.ceil(round(2 / (1 - beta2), 6))
        (_, first), *_ = self._phases()
        length = 0 if first.endless else len(first)
        if length <= asked or not first(length) > first(0):
            return []
        message = (
            f"it warms up over {number(length)} steps, and the memory of beta2 = {number(beta2)} asks for {number(asked)}, "
            f"which is 2/(1 − beta2); a shorter warmup leaves more of the run at full height"
        )
        return [Finding("long-warmup", min(length, self.steps), message)]


def _looked_at(steps: int) -> np.ndarray:
    """Steps from 0 to the last: all of the first ones, so that no short cycle is missed, and then some of them."""
    if steps <= _POINTS:
        return np.arange(steps)
    return np.concatenate([np.arange(_POINTS), np.linspace(_POINTS, steps - 1, _POINTS).astype(np.int64)])


def _close(a: float, b: float, factor: float) -> bool:
    """Whether two values differ by no more than a factor."""
    low, high = sorted((abs(a), abs(b)))
    return a * b >= 0 and high <= factor * low
