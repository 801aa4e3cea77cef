"""Watching a comparison while it runs: bars in a terminal, lines in a log, curves in a notebook.

A view is told of every event and knows nothing of how runs are executed.
"""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Protocol, Self

from gradus.runs import Row, Run
from gradus.sweep import Ended, Event, Started
from gradus.untouched import random_untouched

with random_untouched():
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
    from rich.table import Column, Table
    from rich.text import Text

__all__ = ["BarView", "DownloadBars", "LineView", "NotebookView", "StepBar", "View", "pick_view", "print_mistakes"]


class View(Protocol):
    """What a comparison tells of itself while it runs; used as a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: Any, error: Any, trace: Any, /) -> None: ...

    def on(self, index: int, event: Event) -> None:
        """Something has happened to the run of that index."""


def pick_view(runs: Sequence[Run], draw: Callable[[], Any], console: Console | None = None) -> View:
    """Curves in a notebook, bars in a terminal, lines elsewhere.

    Args:
        runs: what is going to be executed.
        draw: makes a picture of what has come of them so far, for a notebook to display.
        console: where bars and lines go; standard error unless given, so that standard output stays clean.
    """
    if _in_notebook():
        return NotebookView(draw)
    console = console or Console(stderr=True)
    # Rich takes FORCE_COLOR for a terminal; a file would be filled with the commands that move bars about.
    live = console.file.isatty() and not console.is_dumb_terminal
    return BarView(runs, console) if live else LineView(runs, console)


def print_mistakes(runs: Sequence[Run], steps_per_epoch: int, console: Console | None = None) -> None:
    """Say what looks like a mistake in the runs' schedules, once for each schedule, before anything is trained.

    Args:
        runs: what is going to be executed.
        steps_per_epoch: updates in one pass over the training data.
        console: where it goes; standard error unless given.
    """
    console = console or Console(stderr=True)
    for name, run in {run.name: run for run in runs}.items():
        for finding in run.mistakes(steps_per_epoch):
            console.print(f"{name}: this looks like a mistake: {finding}", soft_wrap=True, highlight=False, markup=False)


def _in_notebook() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and "IPKernelApp" in shell.config


def _labels(runs: Sequence[Run]) -> list[str]:
    """The runs' names, with their seeds where there are several."""
    several = len({run.seed for run in runs}) > 1
    return [f"{run.name}, seed {run.seed}" if several else run.name for run in runs]


class LineView:
    """A line for each epoch: for logs, pipes and screen readers."""

    def __init__(self, runs: Sequence[Run], console: Console) -> None:
        self.console = console
        self.labels = _labels(runs)
        self.epochs = [run.epochs for run in runs]
        self.width = max(map(len, self.labels), default=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        pass

    def on(self, index: int, event: Event) -> None:
        if isinstance(event, Row):
            self._print(
                index,
                f"epoch {event.epoch}/{self.epochs[index]}  rate {event.lr:<8.4g} loss {event.train_loss:<7.4g} "
                f"train {100 * event.train_accuracy:5.2f} %  test {100 * event.test_accuracy:5.2f} %",
            )
        elif isinstance(event, Ended) and event.status != "finished":
            self._print(index, event.message if event.status == "diverged" else f"failed: {event.message}")

    def _print(self, index: int, text: str) -> None:
        self.console.print(f"{self.labels[index]:{self.width}}  {text}", soft_wrap=True, highlight=False, markup=False)


class BarView:
    """A bar for each run that has begun, with its epoch, rate, loss, accuracies and the time it still needs.

    Where the terminal is too low for all, those that have ended first make room for those that run.
    """

    def __init__(self, runs: Sequence[Run], console: Console) -> None:
        self.epochs = [run.epochs for run in runs]
        self.seconds = [0.0] * len(runs)
        self.ended: list[TaskID] = []
        self.room = console.height - 4  # the headings take two lines, the cursor one
        self.progress = _Bars(console)
        self.bars = [
            self.progress.add_task(label, total=run.epochs, visible=False, row=None, left="")
            for label, run in zip(_labels(runs), runs, strict=True)
        ]

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.progress.stop()

    def on(self, index: int, event: Event) -> None:
        bar = self.bars[index]
        if isinstance(event, Started):
            self._make_room()
            self.progress.update(bar, visible=True)
        elif isinstance(event, Row):
            self.seconds[index] += event.seconds
            left = self.seconds[index] / event.epoch * (self.epochs[index] - event.epoch)
            self.progress.update(bar, completed=event.epoch, row=event, left=self.progress.get_time() + left)
        else:
            self.progress.update(bar, visible=True, left="done" if event.status == "finished" else event.status)
            self.ended.append(bar)

    def _make_room(self) -> None:
        shown = sum(task.visible for task in self.progress.tasks)
        while self.ended and shown >= self.room:
            self.progress.update(self.ended.pop(0), visible=False)
            shown -= 1


class _Bars(Progress):
    """Rich's progress bars with a heading over each column."""

    HEADINGS = ("", "", "epoch", "rate", "train loss", "train %", "test %", "left")

    def __init__(self, console: Console) -> None:
        name = Column(no_wrap=True, overflow="ellipsis", max_width=max(10, console.width - 54))
        super().__init__(
            TextColumn("{task.description}", markup=False, table_column=name),
            BarColumn(bar_width=8 if console.width < 100 else 24),
            _Figure(lambda task: f"{task.completed:.0f}/{task.total:.0f}"),
            _Figure(lambda task: _of_row(task, "lr", ".4g")),
            _Figure(lambda task: _of_row(task, "train_loss", ".4g")),
            _Figure(lambda task: _of_row(task, "train_accuracy", ".1f", 100)),
            _Figure(lambda task: _of_row(task, "test_accuracy", ".1f", 100)),
            _Figure(_left),
            console=console,
        )

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        table = super().make_tasks_table(tasks)
        for column, heading in zip(table.columns, self.HEADINGS, strict=True):
            column.header = heading
        table.show_header = any(task.visible for task in self.tasks)
        return table


class _Figure(ProgressColumn):
    """A number, as wide as it needs to be."""

    def __init__(self, text: Callable[[Task], str]) -> None:
        super().__init__(Column(justify="right"))  # only a heading has a blank to be broken at
        self.text = text

    def render(self, task: Task) -> Text:
        return Text(self.text(task))


def _of_row(task: Task, name: str, form: str, scale: float = 1) -> str:
    row: Row | None = task.fields["row"]
    return "" if row is None else f"{scale * getattr(row, name):{form}}"


def _left(task: Task) -> str:
    """How the run ended, or how long it still needs, by its epochs so far."""
    left: str | float = task.fields["left"]
    if isinstance(left, str):
        return left
    return str(timedelta(seconds=max(0, round(left - task.get_time()))))


class NotebookView:
    """Live curves in a notebook: one picture, drawn anew at most once a second."""

    def __init__(self, draw: Callable[[], Any]) -> None:
        self.draw, self.drawn = draw, 0.0

    def __enter__(self) -> Self:
        from IPython.display import display  # there is one wherever there is a notebook

        self.handle = display(self.draw(), display_id=True)  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.handle.update(self.draw())

    def on(self, index: int, event: Event) -> None:  # noqa: ARG002  # the picture shows all runs
        if isinstance(event, Row) and time.monotonic() - self.drawn > 1:
            self.handle.update(self.draw())
            self.drawn = time.monotonic()


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
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            _Figure(lambda task: f"{task.completed:.0f}/{task.total:.0f}"),
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

    def begin(self, name: str, steps: int) -> None:
        """The next training.

        Args:
            name: what it is called.
            steps: its updates.
        """
        self.progress.reset(self.bar, total=steps, description=name, text="")

    def step(self, lr: float, loss: float) -> None:
        """One update of it is done, at that rate, after that loss."""
        if not self.progress.disable:
            self.progress.update(self.bar, advance=1, text=f"rate {lr:<8.3g} loss {loss:.4g}")
