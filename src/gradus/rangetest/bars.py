"""The seam for a bar: the LR finder says what it is at, and whoever draws it is handed in."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol, runtime_checkable

from gradus.distributed import is_main
from gradus.errors import InvalidInput

__all__ = ["Bar", "show_by", "shown_bar"]


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


@contextmanager
def _no_bar() -> Iterator[Bar]:
    yield _NoBar()


_usual: Callable[[], AbstractContextManager[Bar]] = _no_bar


def show_by(bar: Callable[[], AbstractContextManager[Bar]]) -> None:
    """Have a bar of this kind shown where one is wanted and none is given.

    Args:
        bar: makes one, which is shown inside its `with`.
    """
    global _usual
    _usual = bar


def shown_bar(progress: bool | Bar) -> AbstractContextManager[Bar]:
    """The bar for a range test, as a context; of processes that train together the first has one.

    Args:
        progress: whether one is wanted; or one that is shown already.

    Raises:
        InvalidInput: it is neither.
    """
    if not isinstance(progress, (bool, Bar)):
        raise InvalidInput(f"progress must be True, False, or a bar with begin and step; got {progress!r}")
    if not progress or not is_main():
        return _no_bar()
    return _usual() if progress is True else nullcontext(progress)
