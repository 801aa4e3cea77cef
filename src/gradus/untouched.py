"""Python's random state, kept where others draw from it unasked."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["random_untouched"]


@contextmanager
def random_untouched() -> Iterator[None]:
    """Afterwards Python's global random generator is as before.

    For imports: Rich draws from it when it is imported, and the first use of Gradus would change what a program draws.
    """
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)
