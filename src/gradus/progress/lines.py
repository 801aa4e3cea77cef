"""Lines for logs, pipes and screen readers."""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from gradus.metric_names import worded
from gradus.progress.course import Course, courses, duration
from gradus.progress.numbers import shown
from gradus.rows import Row
from gradus.runs import Run
from gradus.sweep.events import Event, RunEnded, RunStarted
from gradus.untouched import random_untouched

with random_untouched():
    from rich.console import Console

__all__ = ["LineView"]

_EVERY = 10.0  # seconds between two lines of a run


class LineView:
    """A line at each evaluation of a run, and one every ten seconds between; and where a resumed run goes on.

    Args:
        runs: the runs.
        console: where to.
        totals: the updates of each run; None where nobody can tell.
        objectives: the number that each run is chosen by; None where nobody has said.
        clock: gives the time in seconds.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        console: Console,
        *,
        totals: Sequence[int | None] | None = None,
        objectives: Sequence[str | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console, self.clock = console, clock
        self.courses = courses(runs, totals, objectives)
        self.width = max((len(course.label) for course in self.courses), default=0)
        self.spoke = [clock()] * len(runs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        pass

    def on(self, index: int, event: Event) -> None:
        """Something has happened to the run of that index."""
        course, now = self.courses[index], self.clock()
        was_resumed = course.resumed_from is not None
        course.on(event, now)
        if isinstance(event, RunEnded):
            if event.status != "finished":
                self._print(course, _end(event))
        elif course.resumed_from is not None and not was_resumed:
            self._print(course, f"goes on from step {course.resumed_from}")
        elif isinstance(event, RunStarted):
            self.spoke[index] = now
        elif (is_scored := isinstance(event, Row) and course.is_scored(event)) or now - self.spoke[index] >= _EVERY:
            self.spoke[index] = now
            self._print(course, _line(course, now, scored=is_scored))

    def _print(self, course: Course, text: str) -> None:
        self.console.print(f"{course.label:{self.width}}  {text}", soft_wrap=True, highlight=False, markup=False)


def _end(event: RunEnded) -> str:
    if event.status == "diverged" and event.message:
        return event.message
    return f"{event.status}: {event.message}" if event.message else event.status


def _line(course: Course, now: float, *, scored: bool) -> str:
    """Step, rate and loss in columns; then the score, or between evaluations the speed and the time left."""
    total = "" if course.total is None else str(course.total)
    parts = [f"step {course.step:>{len(total)}}/{total}" if total else f"step {course.step}"]
    parts += [f"lr {course.lr:<8.3g}"] if course.lr is not None else []
    parts += [f"loss {course.loss:<7.4g}"] if course.loss is not None else []
    if scored and course.score is not None:
        name, value = course.score
        parts.append(f"{worded(name)} {shown(name, value)}")
    else:
        left = course.left(now)
        parts += [f"{course.speed:.4g} steps/s"] if course.speed is not None else []
        parts += [f"{duration(left)} left"] if left is not None else []
    return "  ".join(parts).rstrip()
