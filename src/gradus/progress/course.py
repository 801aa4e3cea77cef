"""How far a run is: what bars and lines show, gathered from its events."""

import time
from collections import deque
from collections.abc import Sequence

from gradus.metric_names import part_of
from gradus.rows import Row
from gradus.runs import Run
from gradus.sweep.events import Event, RunEnded, RunStarted

__all__ = ["Course", "courses", "duration"]

_SECONDS = "time/seconds"
_WINDOW = 20  # events over which speed is measured
_SHORTEST = 0.2  # seconds that say something of speed


class Course:
    """One run on its way.

    Args:
        run: its specification.
        name: what it is called.
        seed: its seed as text, where that tells it from others; "" elsewhere.
        total: its updates; None where nobody can tell.
        objective: the number that it is chosen by; None where nobody has said.
    """

    def __init__(self, run: Run, name: str, seed: str, total: int | None, objective: str | None) -> None:
        self.run, self.label, self.seed, self.total, self.objective = run, f"{name}{seed}", seed, total, objective
        self.step = 0
        self.lr: float | None = None
        self.loss: float | None = None
        self.score: tuple[str, float] | None = None
        self.resumed_from: int | None = None
        self.ended: RunEnded | None = None
        self._clock: deque[tuple[float, int]] = deque(maxlen=_WINDOW)
        self._pace: tuple[float, float, int] | None = None  # when the last row came, its seconds, its step

    def on(self, event: Event, now: float | None = None) -> None:
        """Take note of an event.

        Args:
            event: the event.
            now: the time in seconds; as the system has it unless given.
        """
        now = time.monotonic() if now is None else now
        if isinstance(event, Row):
            self._take_row(event, now)
        elif isinstance(event, RunEnded):
            self.ended = event
        elif not isinstance(event, RunStarted):
            if event.resumed_from is not None and self.resumed_from is None:
                self.resumed_from = event.resumed_from
                self._clock.clear()  # rows from before came all at once
            self.step, self.total, self.lr, self.loss = event.step, event.total, event.lr, event.loss
            self._clock.append((now, event.step))

    def _take_row(self, row: Row, now: float) -> None:
        self.step = max(self.step, row.step)
        self.lr, self.loss = row.get("lr", self.lr), row.get("train/loss", self.loss)
        name = self._score_in(row)
        if name is not None:
            self.score = name, row[name]
        if _SECONDS in row and row.step:
            self._pace = now, row[_SECONDS], row.step

    def is_scored(self, row: Row) -> bool:
        """Whether a row has more than a training's own numbers: it comes of an evaluation."""
        return self._score_in(row) is not None

    def _score_in(self, row: Row) -> str | None:
        """The objective, or the last metric on validation data, or else on test data, or else any other number."""
        if self.objective is not None and self.objective in row:
            return self.objective
        names = [name for name in row.results() if name not in ("epoch", "lr", *self.run.schedules)]
        for part in ("valid", "test", None):
            found = [name for name in names if part_of(name) == part]
            if found:
                return found[-1]
        return None

    @property
    def speed(self) -> float | None:
        """Updates a second: lately, or as the last row says of the whole training."""
        if self._clock and (seconds := self._clock[-1][0] - self._clock[0][0]) >= _SHORTEST:
            return (self._clock[-1][1] - self._clock[0][1]) / seconds
        return self._pace[2] / self._pace[1] if self._pace and self._pace[1] > 0 else None

    def left(self, now: float | None = None) -> float | None:
        """Seconds still needed, scoring included as far as rows tell; None where nobody can tell.

        Args:
            now: the time in seconds, as `on` takes it.
        """
        now = time.monotonic() if now is None else now
        if self.total is None:
            return None
        if self._pace is not None:
            came, seconds, step = self._pace
            return max(0.0, came + seconds / step * (self.total - step) - now)
        return max(0.0, (self.total - self.step) / self.speed) if self.speed else None


def courses(
    runs: Sequence[Run], totals: Sequence[int | None] | None, objectives: Sequence[str | None] | None
) -> list[Course]:
    """A course for each run, with its seed in its label where there are several."""
    several = len({run.seed for run in runs}) > 1
    nothing = [None] * len(runs)
    return [
        Course(run, run.name or run.task, f", seed {run.seed}" if several else "", total, objective)
        for run, total, objective in zip(runs, totals or nothing, objectives or nothing, strict=True)
    ]


def duration(seconds: float) -> str:
    """Seconds in at most seven characters, as hours, minutes and seconds, or days and hours."""
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days}d {hour}h" if days else f"{hours}:{minute:02}:{second:02}"
