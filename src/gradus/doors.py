"""What lower rooms offer of higher ones without importing them: the front door says where each thing is.

`Schedule.plot()` draws with whatever is registered as "compare_schedules", and a range test shows the "bar".
`gradus/__init__.py` registers both as imports, which the first use makes, so only those pay for pictures who draw some.
"""

from collections.abc import Callable
from typing import Any

__all__ = ["opened", "register"]

_LOADERS: dict[str, Callable[[], Any]] = {}


def register(name: str, load: Callable[[], Any]) -> None:
    """Say how a thing is loaded; the last to say so counts.

    Args:
        name: what it is asked for by.
        load: imports it, and returns it.
    """
    _LOADERS[name] = load


def opened(name: str) -> Any:
    """A thing by the name that it has been registered under."""
    return _LOADERS[name]()
