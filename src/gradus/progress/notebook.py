"""Live curves in a notebook."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from gradus.rows import Row
from gradus.sweep.events import Event

__all__ = ["NotebookView"]

_PART = 5  # of the time, at most a fifth goes into drawing


class NotebookView:
    """Live curves in a notebook: one picture, drawn anew at most once a second, and less often where drawing takes long.

    Args:
        draw: makes the picture of what has come of the runs so far.
    """

    def __init__(self, draw: Callable[[], Any]) -> None:
        self.draw, self.next = draw, 0.0

    def __enter__(self) -> Self:
        from IPython.display import display  # there is one wherever there is a notebook

        self.handle = display(self.draw(), display_id=True)  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.handle.update(self.draw())

    def on(self, index: int, event: Event) -> None:  # noqa: ARG002  # the picture shows all runs
        """Something has happened to the run of that index."""
        began = time.monotonic()
        if isinstance(event, Row) and began >= self.next:
            self.handle.update(self.draw())
            now = time.monotonic()
            self.next = now + max(1.0, (_PART - 1) * (now - began))
