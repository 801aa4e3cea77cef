"""A schedule over a run of a given length: what is left undone at its end, and what is done long before."""

import math
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np

from gradus.schedules.algebra import After, Repeat
from gradus.schedules.check.laws import Finding, Rank
from gradus.schedules.check.plan import Plan
from gradus.schedules.check.timeline import Placed, is_cyclic, is_level, looked_at
from gradus.schedules.cycles import CosineRestarts, Cyclic
from gradus.schedules.explain import number
from gradus.schedules.leaves import Constant, Exponential, InverseSqrt, MultiStep, Piecewise, PowerLaw, Step
from gradus.schedules.noise import Noise
from gradus.schedules.schedule import Schedule

__all__ = ["PlannedRun"]

_NEAR = 0.9  # of the run: what ends within a tenth of it ends with it
_NOTHING = 1.001e-4  # of the peak, with a margin for 0.1 ** 4
_LATE = 1.25  # times the run
_LEFT = 0.05  # of the height: with less to go it is as good as there
_LARGE = 1e4
_STILL = 1e-9  # of the peak: a smaller change is none
_TIMES = 64  # micro-batches or processes: more than that is something else
_LONGER = "it has {} times the run's steps, as when micro-batches are counted and not updates"
_SHORTER = "the run has {} times its steps, as when each of several processes steps it"


class PlannedRun:
    """A plan over a number of steps."""

    def __init__(self, plan: Plan, steps: int, steps_per_epoch: float | None) -> None:
        self.plan, self.steps, self.steps_per_epoch = plan, steps, steps_per_epoch
        self.schedule = plan.schedule
        self.at = looked_at(steps)
        self.values: Any = np.asarray(self.schedule(self.at), dtype=float)
        self.last = float(self.values[-1])
        self.peak = float(np.max(np.abs(self.values)))

    def findings(self, name: str, beta2: float | None) -> Iterator[Finding]:
        """Everything that the run's length shows. Only a learning rate is expected to come down."""
        yield from self._late()
        yield from self._negative()
        yield from self._long_warmup(beta2)
        if self.plan.last_allowed < self.steps - 1:
            yield self._raises(math.ceil(self.plan.last_allowed))
        elif name == "lr":
            yield from list(self._climbs()) or self._early()
        if name == "lr":
            for look in (self._first, self._grows, self._cut_cycles, self._hardly_falls, self._floor):
                yield from look()

    def _active(self, *kinds: type[Schedule]) -> Iterator[Placed]:
        """The parts of these kinds that the run ends in."""
        return (part for part in self.plan.parts_that_are(*kinds) if part.begin < self.steps <= part.until)

    def _value(self, step: int) -> str:
        value = float(self.schedule(step)) if step < self.steps else self.plan.value(step)
        return "its end" if value is None else number(value)

    # What comes after the run

    def _late(self) -> Iterator[Finding]:
        late = [found for part in self.plan.parts for found in self._late_in(part)]
        if late:
            step, rank = min(late, key=lambda found: (found[1], -found[0]))
            yield self._ends_late(math.ceil(step), rank)

    def _late_in(self, part: Placed) -> Iterator[tuple[float, Rank]]:
        """When a part would have done its job, if that is after the run, and the finding's rank."""
        if part.until <= self.steps or not part.is_leaf:
            return
        if part.begin > self.steps:
            yield part.begin if part.end == math.inf or is_level(part.schedule) else part.end, "mistake"
        elif is_level(part.schedule):
            yield from ((step, "mistake") for step in _stairs(part) if step > self.steps)
        elif self.steps < (end := _first_end(part)) < math.inf and self._is_cut_short(part, end):
            yield end, "mistake" if end > _LATE * self.steps else "note"

    def _is_cut_short(self, part: Placed, end: float) -> bool:
        times = (part.begin, self.steps, end - part.scale, end)  # a cycle's low is before its end
        first, here, before, there = (float(part.schedule(part.own_time(time))) for time in times)
        height = max(abs(first), abs(here), abs(there))
        return max(abs(before - here), abs(there - here)) > _LEFT * height

    def _ends_late(self, step: int, rank: Rank) -> Finding:
        message = (
            f"it needs {number(step)} steps and the run has {number(self.steps)}, so it stops at {number(self.last)} and "
            f"never comes to {self._value(step)}; let it end with the run: .resolve(...) with rest()"
        )
        return Finding("ends-late", self.steps, message + self._unit(step), rank)

    # What is done before its end

    def _raises(self, step: int) -> Finding:
        message = (
            f'after("raise") allows no step past {number(step)}, and the run has {number(self.steps)}; '
            f"let it end with the run: .resolve(...) with rest()"
        )
        return Finding("ends-early", step, message + self._unit(step))

    def _early(self) -> Iterator[Finding]:
        """Either held at what it has come down to, or faded away."""
        settled, faded, length = self._settled(), self._faded(), self.schedule.length
        ends, ends_with_run = isinstance(length, int), isinstance(length, int) and length >= _NEAR * self.steps
        holds = settled < self.steps - 1 and self.last < _NEAR * self.peak
        if holds and ends and not ends_with_run:
            yield from self._holds(settled, is_nothing=faded < self.steps)
        elif self._part_after(faded) > (0.5 if ends_with_run else 0.25):
            yield self._vanishes(faded)
        elif holds and not ends:
            yield from self._holds(settled, is_nothing=False)

    def _holds(self, since: int, *, is_nothing: bool) -> Iterator[Finding]:
        held = self._part_after(since)
        if not is_nothing and self._is_written_out(since):
            limits: tuple[tuple[float, Rank], ...] = ((0.9, "mistake"),)
        else:
            limits = ((1 - _NEAR if is_nothing else 0.5, "mistake"), (1 - _NEAR, "note"))
        rank = next((rank for limit, rank in limits if held > limit + _STILL), None)
        if rank is not None:
            message = (
                f"it ends at step {number(since)} of {number(self.steps)} and holds {number(self.last)} for "
                f"{100 * held:.3g} % of the run; let it end with the run: .resolve(...) with rest()"
            )
            yield Finding("ends-early", since, message + self._unit(since), rank)

    def _vanishes(self, step: int) -> Finding:
        if not self.peak:
            return Finding(
                "vanishes", 0, "it is 0 from the first step to the last, so nothing is learned; let it start above 0"
            )
        message = (
            f"from step {number(step)} of {number(self.steps)} on it is at most {self._value(step)}, so for "
            f"{100 * self._part_after(step):.3g} % of the run next to nothing is learned; let it fall more slowly"
        )
        return Finding("vanishes", step, message + self._unit(step))

    def _part_after(self, step: int) -> float:
        return (self.steps - step) / self.steps

    def _is_written_out(self, settled: int) -> bool:
        """Whether the level that is held is a decay's floor, a phase of its own, or one of stairs."""
        if any(part.schedule.floor > 0 for part in self._active(Exponential)):
            return True
        own_phase = any(part.begin > 0 and abs(part.begin - settled) <= 1 for part in self.plan.parts_that_are(Constant))
        return own_phase or settled < 2 or bool(self.schedule(settled - 2) == self.schedule(settled - 1))

    def _settled(self) -> int:
        """The first step from which the value stays at its last; a whole length that does as well."""
        settled = self._since(lambda values: np.abs(values - self.last) <= _STILL * self.peak)
        length = self.schedule.length
        return length if isinstance(length, int) and settled <= length <= 1.001 * settled + 1 else settled

    def _faded(self) -> int:
        """The first step from which the value is next to nothing; the run's length where it isn't at last."""
        return self._since(lambda values: np.abs(values) <= _NOTHING * self.peak)

    def _since(self, holds: Callable[[Any], Any]) -> int:
        """The first step from which something holds to the end; the run's length where it doesn't hold at last."""
        (fails,) = np.nonzero(~holds(self.values))
        if not len(fails):
            return 0
        if fails[-1] + 1 == len(self.at):
            return self.steps
        low, high = int(self.at[fails[-1]]), int(self.at[fails[-1] + 1])
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if holds(np.float64(self.schedule(middle))) else (middle, high)
        return high

    # What goes up again

    def _climbs(self) -> Iterator[Finding]:
        turns = [part.run_time(len(part.schedule.schedule)) for part in self._active(After)]
        if turns and min(turns) < _NEAR * self.steps:
            yield self._rises_again(math.ceil(min(turns)), " (torch's CosineAnnealingLR does so after T_max)")
        elif self.plan.parts_that_are(Noise) or any(is_cyclic(part.schedule) for part in self.plan.parts):
            return
        else:
            yield from self._climbs_to_the_end()

    def _climbs_to_the_end(self) -> Iterator[Finding]:
        """A fall and then a climb, and no jump, to the run's last step."""
        top = int(np.argmax(self.values))
        low = len(self.values) - 1 - int(np.argmin(self.values[top:][::-1]))
        fall, climb = self.peak - self.values[low], self.last - self.values[low]
        if climb > 0.5 * fall > 0.05 * self.peak and np.max(np.diff(self.values[low:])) < 0.6 * climb:
            yield self._rises_again(int(self.at[low]))

    def _rises_again(self, step: int, hint: str = "") -> Finding:
        message = (
            f"it comes down to {self._value(step)} at step {number(step)} of {number(self.steps)} and climbs again, "
            f"to {number(self.last)} at the run's end; let it fall to the run's end, or ask for cycles: CosineRestarts"
        )
        return Finding("rises-again", step, message + hint)

    def _cut_cycles(self) -> Iterator[Finding]:
        for part in self._active(Cyclic, CosineRestarts, Repeat):
            own = part.own_time(self.steps - 1)
            values = np.asarray(part.schedule(looked_at(own + 1)))
            low, high = float(values.min()), float(values.max())
            if _first_end(part) <= self.steps < part.end and values[-1] - low > 0.5 * (high - low):
                message = (
                    f"the run ends in the middle of a cycle, at {number(self.last)}; "
                    f"let it end with one: sgdr(cycles) fits them to the run"
                )
                yield Finding("ends-mid-cycle", self.steps - 1, message, "note")

    # Heights and slopes

    def _first(self) -> Iterator[Finding]:
        if self.values[0] == 0 != self.peak and self.steps > 1:
            way_out = "start above it, such as warmup(n, start=1 / n)"
            message = f"the first update does nothing, for the value at step 0 is 0; {way_out}"
            yield Finding("starts-at-zero", 0, message, "note")

    def _grows(self) -> Iterator[Finding]:
        (above,) = np.nonzero(np.abs(self.values) > _LARGE)
        climbs = any(part.schedule.gamma > 1 for part in self._active(Step, MultiStep))
        if len(above) or (climbs and self.last > 10 * self.values[0] > 0):
            step = int(self.at[above[0]]) if len(above) else self.steps - 1
            message = f"it grows to {self._value(step)} at step {number(step)}; let it fall, or end it: .take(steps)"
            yield Finding("grows", step, message)

    def _negative(self) -> Iterator[Finding]:
        below = self.values < -_STILL * self.peak
        if below.any():
            step = int(self.at[np.argmax(below)])
            message = (
                f"it is {self._value(step)} at step {number(step)}, and a hyperparameter below 0 undoes what it should do; "
                f"keep it above: .clip(low=0.0)"
            )
            yield Finding("negative", step, message)

    def _hardly_falls(self) -> Iterator[Finding]:
        for part in self._active(Exponential, PowerLaw, InverseSqrt):
            first, last = (float(part.schedule(part.own_time(time))) for time in (part.begin, self.steps))
            if part.begin < 0.5 * self.steps and 0.98 * first < last < first:
                message = (
                    f"{part.schedule!r} only falls from {number(first)} to {number(last)} in the run's {number(self.steps)} "
                    f"steps; let it fall faster, or step it once an update if that is what it counts"
                )
                yield Finding("hardly-falls", self.steps - 1, message)

    def _floor(self) -> Iterator[Finding]:
        for part in self._active(Exponential):
            first, last = float(part.schedule(0)), float(part.schedule(part.own_time(self.steps)))
            floor = part.schedule.floor
            if 0 < floor < first and last - floor > _LEFT * (first - floor):
                message = (
                    f"it is to fall to {number(floor)}, and in {number(self.steps)} steps comes down to {number(last)}; "
                    f"let it fall faster, or set the end that is meant"
                )
                yield Finding("floor-not-reached", self.steps - 1, message, "note")

    def _long_warmup(self, beta2: float | None) -> Iterator[Finding]:
        if beta2 is None:
            return
        asked = math.ceil(round(2 / (1 - beta2), 6))
        first = next(part for part in self.plan.parts if part.is_leaf)
        if first.end == math.inf or first.end <= asked or not first.schedule(len(first.schedule)) > first.schedule(0):
            return
        message = (
            f"it warms up over {number(first.end)} steps, and the memory of beta2 = {number(beta2)} asks for "
            f"{number(asked)}, which is 2/(1 − beta2); a shorter warmup leaves more of the run at full height"
        )
        yield Finding("long-warmup", min(math.ceil(first.end), self.steps), message, "note")

    # Units

    def _unit(self, step: float) -> str:
        """What a length that doesn't fit the run may have been counted in."""
        per_epoch = self.steps_per_epoch or 1
        if per_epoch > 1:
            if _is_about(step, self.steps / per_epoch):
                return f" ({number(step)} is the run's number of epochs; epochs({number(step)}) counts them)"
            if self.steps < step <= 1.01 * self.steps * per_epoch:
                return " (it counts updates where the run counts epochs, or the run's length is in epochs)"
            if _is_about(step, per_epoch):
                return f" ({number(step)} is a single epoch of the run)"
        for times, meaning in ((step / self.steps, _LONGER), (self.steps / step if step else 0.0, _SHORTER)):
            if 1.5 < times < _TIMES + 0.5 and _is_about(times, round(times)):
                return f" ({meaning.format(round(times))})"
        return " (lengths in epochs are written epochs(...))" if step < self.steps / _TIMES and self.steps > 1000 else ""


def _is_about(a: float, b: float) -> bool:
    return abs(a - b) <= 0.01 * b


def _stairs(part: Placed) -> Iterator[float]:
    """Where a part goes from one level to the next; of stairs without an end the first."""
    schedule, steps = part.schedule, tuple[Any, ...]()
    if isinstance(schedule, MultiStep):
        steps = schedule.milestones
    elif isinstance(schedule, Step):
        steps = (schedule.every,) if schedule.gamma != 1 else ()
    elif isinstance(schedule, Piecewise):
        steps = tuple(step for step, _ in schedule.points)
    return (time for time in map(part.run_time, steps) if time < part.until)


def _first_end(part: Placed) -> float:
    """Where a part has done its job for the first time: its end, or its first cycle's."""
    schedule, cycle = part.schedule, math.inf
    if isinstance(schedule, Repeat):
        cycle = len(schedule.schedule)
    elif isinstance(schedule, Cyclic):
        up, down = cast(Any, schedule.up), cast(Any, schedule.down)
        cycle = up + (up if down is None else down)
    elif isinstance(schedule, CosineRestarts):
        cycle = cast(int, schedule.period)
    return min(part.end, part.run_time(cycle))
