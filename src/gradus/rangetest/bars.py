"""The seam for a bar: the LR finder says what it is at, and whoever draws it is handed in."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, runtime_checkable

from gradus.distributed import is_main
from gradus.doors import opened
from gradus.errors import InvalidInput

__all__ = ["Bar", "shown_bar"]


@runtime_checkable
class Bar(Protocol):
    """What shows how far short trainings are that follow each other."""

    def begin(self, name: str, steps: int, number: int | None = None, about: int | None = None) -> None:
        """The next training.

        Args:
            name: what it is called.
            steps: its updates.
            number: its place among the trainings, from 1.
            about: how many there are going to be, as far as can be told.
        """

    def step(self, lr: float, loss: float) -> None:
        """One update of it is done, at that rate, after that loss."""


class _NoBar:
    def begin(self, name: str, steps: int, number: int | None = None, about: int | None = None) -> None:
        """Nothing is shown."""

    def step(self, lr: float, loss: float) -> None:
        """Nothing is shown."""


def shown_bar(progress: bool | Bar) -> AbstractContextManager[Any]:
    """The bar for a range test, as a context; of processes that train together the first has one.

    The usual bar belongs to a higher room, which the front door names.

    Args:
        progress: whether one is wanted; or one that is shown already.

    Raises:
        InvalidInput: it is neither.
    """
    if not isinstance(progress, (bool, Bar)):
        raise InvalidInput(f"progress must be True, False, or a bar with begin and step; got {progress!r}")
    if not progress or not is_main():
        return nullcontext(_NoBar())
    return opened("bar")() if progress is True else nullcontext(progress)
