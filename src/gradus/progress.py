"""Watching a comparison while it runs: bars in a terminal, lines in a log, curves in a notebook.

A view is told of every event and knows nothing of how runs are executed.
"""

import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from gradus.runs import Row, Run
from gradus.sweep import Ended, Event, Started

__all__ = ["BarView", "DownloadBars", "LineView", "NotebookView", "View", "pick_view"]


class View(Protocol):
    """What a comparison tells of itself while it runs; used as a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: Any, error: Any, trace: Any, /) -> None: ...

    def on(self, index: int, event: Event) -> None:
        """Something has happened to the run of that index."""


def label(run: Run, several_seeds: bool) -> str:
    """A run's name, and its seed where there are several."""
    return f"{run.name} · seed {run.seed}" if several_seeds else run.name


def pick_view(runs: Sequence[Run], draw: Callable[[dict[int, list[Row]]], Any], console: Console | None = None) -> View:
    """Curves in a notebook, bars in a terminal, lines elsewhere.

    Args:
        runs: what is going to be executed.
        draw: makes a figure of the rows so far, by the index of their run.
        console: where bars and lines go; standard error unless given, so that standard output stays clean.
    """
    if _in_notebook():
        return NotebookView(runs, draw)
    console = console or Console(stderr=True)
    return BarView(runs, console) if console.is_terminal else LineView(runs, console)


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return bool(shell) and "IPKernelApp" in shell.config


class LineView:
    """A line for each epoch: for logs, pipes and screen readers."""

    def __init__(self, runs: Sequence[Run], console: Console) -> None:
        self.console = console
        several = len({run.seed for run in runs}) > 1
        self.labels = [label(run, several) for run in runs]
        self.epochs = [run.epochs for run in runs]
        self.width = max(map(len, self.labels))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        pass

    def on(self, index: int, event: Event) -> None:
        if isinstance(event, Row):
            self._print(index, f"epoch {event.epoch}/{self.epochs[index]}  {_figures(event)}")
        elif isinstance(event, Ended) and event.status != "finished":
            self._print(index, f"{event.status}: {event.message}")

    def _print(self, index: int, text: str) -> None:
        self.console.print(f"{self.labels[index]:{self.width}}  {text}", soft_wrap=True, highlight=False, markup=False)


def _figures(row: Row) -> str:
    return (
        f"rate {row.lr:<8.4g} loss {row.train_loss:<6.4f} "
        f"train {100 * row.train_accuracy:5.2f} %  test {100 * row.test_accuracy:5.2f} %"
    )


class BarView:
    """A bar for each run that has begun, with its epoch, rate, losses, accuracies and the time it still needs."""

    def __init__(self, runs: Sequence[Run], console: Console) -> None:
        self.runs = runs
        several = len({run.seed for run in runs}) > 1
        self.labels = [label(run, several) for run in runs]
        narrow = console.width < 100
        columns: list[str | ProgressColumn] = [
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=8 if narrow else None),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[figures]}", markup=False),
            _TimeLeft(),
        ]
        self.narrow = narrow
        self.progress = Progress(*columns, console=console, expand=not narrow)
        self.bars: dict[int, TaskID] = {}
        self.begun: dict[int, float] = {}

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.progress.stop()

    def on(self, index: int, event: Event) -> None:
        if isinstance(event, Started):
            self.begun[index] = time.monotonic()
            self.bars[index] = self.progress.add_task(
                self.labels[index], total=self.runs[index].epochs, figures="begins", left=None
            )
        elif isinstance(event, Row):
            spent = time.monotonic() - self.begun[index]
            left = spent / event.epoch * (self.runs[index].epochs - event.epoch)
            self.progress.update(self.bars[index], completed=event.epoch, figures=self._figures(event), left=left)
        elif event.status == "finished":
            self.progress.update(self.bars[index], left=0.0)
        else:
            self.progress.update(self.bars[index], figures=event.status, left=0.0)

    def _figures(self, row: Row) -> str:
        if self.narrow:
            return f"η{row.lr:<6.3g} L{row.train_loss:.3f} {100 * row.train_accuracy:4.1f}|{100 * row.test_accuracy:4.1f}%"
        return _figures(row)


class _TimeLeft(ProgressColumn):
    """How long the run still needs, from its own epochs so far."""

    def render(self, task: Task) -> Text:
        left = task.fields.get("left")
        return Text("" if left is None else f"{int(left) // 60}:{int(left) % 60:02d}", style="progress.remaining")


class NotebookView:
    """Live curves in a notebook: one picture, drawn anew at most once a second."""

    def __init__(self, runs: Sequence[Run], draw: Callable[[dict[int, list[Row]]], Any]) -> None:
        self.draw, self.drawn = draw, 0.0
        self.rows: dict[int, list[Row]] = {index: [] for index in range(len(runs))}

    def __enter__(self) -> Self:
        from IPython.display import display  # there is one wherever there is a notebook

        self.handle = display(self.draw(self.rows), display_id=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.handle.update(self.draw(self.rows))

    def on(self, index: int, event: Event) -> None:
        if isinstance(event, Row):
            self.rows[index].append(event)
            if time.monotonic() - self.drawn > 1:
                self.handle.update(self.draw(self.rows))
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
