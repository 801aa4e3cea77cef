"""Bars in a terminal: of runs, of downloads, of the short trainings of a range test."""

from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from gradus.progress.course import Course, courses, duration
from gradus.progress.numbers import counted, shown
from gradus.runs import Run
from gradus.sweep.events import Event, RunEnded, RunStarted
from gradus.untouched import random_untouched

with random_untouched():
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
    from rich.table import Column, Table
    from rich.text import Text

__all__ = ["BarView", "DownloadBars", "StepBar"]

_NUMBERS_WIDTH = 57  # of all columns but the name and the bar, in characters
_LEAST = 10  # characters of a name


class BarView:
    """A bar for each run that has begun, with its step, rate, loss, score, speed and the time it still needs.

    Where the terminal is too low for all, those that have ended first make room for those that run.

    Args:
        runs: the runs.
        console: where to.
        totals: the updates of each run; None where nobody can tell.
        objectives: the number that each run is chosen by; None where nobody has said.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        console: Console,
        *,
        totals: Sequence[int | None] | None = None,
        objectives: Sequence[str | None] | None = None,
    ) -> None:
        self.courses = courses(runs, totals, objectives)
        self.ended: list[TaskID] = []
        self.room = console.height - 5  # the headings take three lines, the cursor one, and one is to spare
        self.progress = _Bars(console)
        self.bars = [
            self.progress.add_task(
                _fitted(course, self.progress.name_width), total=course.total, visible=False, course=course
            )
            for course in self.courses
        ]

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.progress.stop()

    def on(self, index: int, event: Event) -> None:
        """Something has happened to the run of that index."""
        course, bar = self.courses[index], self.bars[index]
        was_resumed = course.resumed_from is not None
        course.on(event, self.progress.get_time())
        if course.resumed_from is not None and not was_resumed:
            told = Text(f"{course.label}: goes on from step {course.resumed_from}")
            self.progress.console.print(told, soft_wrap=True, highlight=False)
        if isinstance(event, RunStarted):
            self._make_room()
        self.progress.update(bar, visible=True, completed=course.step, total=course.total)
        if isinstance(event, RunEnded):
            self.ended.append(bar)

    def _make_room(self) -> None:
        shown_bars = sum(task.visible for task in self.progress.tasks)
        while self.ended and shown_bars >= self.room:
            self.progress.update(self.ended.pop(0), visible=False)
            shown_bars -= 1


class _Bars(Progress):
    """Rich's progress bars with a heading over each column."""

    def __init__(self, console: Console) -> None:
        wide = console.width >= 100
        bar = 24 if wide else 5
        self.name_width = max(_LEAST, console.width - _NUMBERS_WIDTH - bar)
        super().__init__(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, max_width=self.name_width)),
            BarColumn(bar_width=bar),
            _Figure(lambda course, _: _steps(course)),
            _Figure(lambda course, _: "" if course.lr is None else f"{course.lr:.3g}"),
            _Figure(lambda course, _: "" if course.loss is None else f"{course.loss:.4g}"),
            _Figure(lambda course, _: "" if course.score is None else shown(*course.score)),
            _Figure(lambda course, _: _speed(course)),
            _Figure(_left),
            console=console,
        )

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        """The bars under their headings; the score's is the name that all runs have for it."""
        table = super().make_tasks_table(tasks)
        names = {course.score[0] for task in self.tasks if (course := task.fields["course"]).score is not None}
        score = names.pop().replace("/", "\n") if len(names) == 1 else "score" if names else ""
        for column, heading in zip(table.columns, ("", "", "step", "lr", "loss", score, "steps/s", "left"), strict=True):
            column.header = heading
        table.show_header = any(task.visible for task in self.tasks)
        return table


class _Figure(ProgressColumn):
    """A number of a run, as wide as it needs to be.

    Args:
        text: makes it of the run's course and the time.
    """

    def __init__(self, text: Callable[[Course, float], str]) -> None:
        super().__init__(Column(justify="right"))  # only a heading has a blank to be broken at
        self.text = text

    def render(self, task: Task) -> Text:
        """The number as text."""
        return Text(self.text(task.fields["course"], task.get_time()), no_wrap=True)


def _fitted(course: Course, width: int) -> str:
    """The run's label, its name cut where there is no room, so that its seed can be seen."""
    if len(course.label) <= width:
        return course.label
    kept = max(1, width - len(course.seed) - 1)
    return f"{course.label[:kept]}…{course.seed}"


def _steps(course: Course) -> str:
    return counted(course.step) if course.total is None else f"{counted(course.step)}/{counted(course.total)}"


def _speed(course: Course) -> str:
    speed = course.speed
    return "" if speed is None else counted(speed) if speed >= 10 else f"{speed:.2g}"


def _left(course: Course, now: float) -> str:
    """How the run ended, or how long it still needs."""
    if course.ended is not None:
        return "done" if course.ended.status == "finished" else course.ended.status
    left = course.left(now)
    return "" if left is None else duration(left)


class DownloadBars:
    """A bar for each file that is downloaded; made at the first piece, so that nothing shows where nothing is fetched."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.progress: Progress | None = None
        self.bars: dict[str, TaskID] = {}

    def __call__(self, name: str, done: int, total: int | None) -> None:
        if self.progress is None:
            self.progress = Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), console=self.console)
            self.progress.start()
        if name not in self.bars:
            self.bars[name] = self.progress.add_task(name, total=total)
        self.progress.update(self.bars[name], completed=done)

    def close(self) -> None:
        """Take the bars off the screen's live area."""
        if self.progress is not None:
            self.progress.stop()


class StepBar:
    """One bar for short trainings that follow each other, with the rate and the loss; only in a terminal.

    Args:
        shown: whether it is wanted.
        console: where it goes; standard error unless given.
    """

    def __init__(self, *, shown: bool = True, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[text]}"),
            console=console,
            transient=True,
            disable=not (shown and console.file.isatty() and not console.is_dumb_terminal),
        )
        self.bar = self.progress.add_task("", total=1, text="")

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.progress.stop()

    def begin(self, name: str, steps: int, number: int | None = None, about: int | None = None) -> None:
        """The next training.

        Args:
            name: what it is called.
            steps: its updates.
            number: the how-manieth it is.
            about: how many there are going to be, if known.
        """
        of = "" if about is None else f" of about {max(about, number or 0)}"
        self.progress.reset(
            self.bar, total=steps, description=name if number is None else f"training {number}{of}: {name}", text=""
        )

    def step(self, lr: float, loss: float) -> None:
        """One update of it is done, at that rate, after that loss."""
        if not self.progress.disable:
            self.progress.update(self.bar, advance=1, text=f"lr {lr:<8.3g} loss {loss:.4g}")
