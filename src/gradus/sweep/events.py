"""The events of an executor's runs, and the requests that it takes."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from gradus.rows import Row
from gradus.runs import Run
from gradus.sweep.resources import Resources
from gradus.training.progress import Progress

__all__ = ["Event", "Events", "Executor", "Progress", "Request", "RunEnded", "RunStarted", "Status"]

Status = Literal["finished", "diverged", "failed", "stopped", "paused"]


@dataclass(frozen=True)
class RunStarted:
    """A run has begun, or goes on.

    >>> RunStarted()
    RunStarted()
    """


@dataclass(frozen=True)
class RunEnded:
    """A run has come to its end.

    Args:
        status: how.
        message: why, where that needs one.

    >>> RunEnded("finished")
    RunEnded(status='finished', message='')
    """

    status: Status
    message: str = ""


@dataclass(frozen=True)
class Request:
    """What is asked of a run while it is executed: it saves a checkpoint, and ends as "stopped" or "paused".

    Args:
        index: the run's.
        kind: "stop", or "pause".

    >>> Request(0, "pause").status
    'paused'
    """

    index: int
    kind: Literal["stop", "pause"]

    @property
    def status(self) -> Status:
        """How the run ends."""
        return "stopped" if self.kind == "stop" else "paused"


Event = RunStarted | Progress | Row | RunEnded
Events = Generator[tuple[int, Event], Request | None, None]
Executor = Callable[[Sequence[Run], Resources], Iterator[tuple[int, Event]]]  # one that isn't a generator takes no requests
