"""What a view is, several views as one, and the view that suits where it is shown."""

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Protocol, Self

from gradus.progress.bars import BarView
from gradus.progress.lines import LineView
from gradus.progress.notebook import NotebookView
from gradus.runs import Run
from gradus.sweep.events import Event
from gradus.untouched import random_untouched

with random_untouched():
    from rich.console import Console

__all__ = ["View", "Views", "pick_view"]


class View(Protocol):
    """What takes the events of runs; used as a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: Any, error: Any, trace: Any, /) -> None: ...

    def on(self, index: int, event: Event) -> None:
        """Something has happened to the run of that index."""


class Views:
    """Several views as one: each gets every event, also where one of them fails.

    Args:
        views: the views.
    """

    def __init__(self, views: Iterable[View]) -> None:
        self.views = list(views)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            for view in self.views:
                opened.enter_context(view)
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def on(self, index: int, event: Event) -> None:
        """Something has happened to the run of that index; what a view raises is raised when all have got it."""
        with ExitStack() as all_of_them:
            for view in reversed(self.views):
                all_of_them.callback(view.on, index, event)


def pick_view(
    runs: Sequence[Run],
    draw: Callable[[], Any],
    console: Console | None = None,
    *,
    totals: Sequence[int | None] | None = None,
    objectives: Sequence[str | None] | None = None,
) -> View:
    """Curves in a notebook, bars in a terminal, lines elsewhere.

    Args:
        runs: what is going to be executed.
        draw: makes a picture of what has come of them so far, for a notebook to display.
        console: where bars and lines go; standard error unless given, so that standard output stays clean.
        totals: the updates of each run; None where nobody can tell.
        objectives: the number that each run is chosen by; None where nobody has said.
    """
    if _in_notebook():
        return NotebookView(draw)
    console = console or Console(stderr=True)
    # Rich takes FORCE_COLOR for a terminal; a file would be filled with the commands that move bars about.
    live = console.file.isatty() and not console.is_dumb_terminal
    return (BarView if live else LineView)(runs, console, totals=totals, objectives=objectives)


def _in_notebook() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and "IPKernelApp" in shell.config
