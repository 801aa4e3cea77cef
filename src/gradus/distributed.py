"""What the processes of one training do as one (torch.distributed); a process alone does the same by itself.

Every process calls a function, or none does, for they wait for each other; the exceptions are `is_up`, `rank`, `world_size`
and `is_main`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from gradus.errors import GradusError

__all__ = [
    "all_gather",
    "all_or_none",
    "broadcast",
    "is_main",
    "is_up",
    "made_by_main",
    "mean_over_processes",
    "rank",
    "world_size",
]

_Made = TypeVar("_Made")


def _torchs() -> Any:
    import torch.distributed  # here, so that the rooms without torch may stand on this floor

    return torch.distributed


def is_up() -> bool:
    """Whether torch.distributed has been initialized."""
    distributed = _torchs()
    return bool(distributed.is_available() and distributed.is_initialized())


def rank() -> int:
    """The number of this process, from 0."""
    return int(_torchs().get_rank()) if is_up() else 0


def world_size() -> int:
    """How many processes there are."""
    return int(_torchs().get_world_size()) if is_up() else 1


def is_main() -> bool:
    """Whether this is the process that writes files and prints, the one of rank 0."""
    return rank() == 0


def all_gather(mine: _Made) -> list[_Made]:
    """What each process has, in the order of their ranks; whatever can be pickled.

    >>> all_gather("mine")
    ['mine']
    """
    if not is_up():
        return [mine]
    everyone: list[Any] = [None] * world_size()
    _torchs().all_gather_object(everyone, mine)
    return everyone


def broadcast(mine: _Made) -> _Made:
    """What the main process has; what the others have given is dropped."""
    if not is_up():
        return mine
    sent = [mine]
    _torchs().broadcast_object_list(sent, src=0)
    return sent[0]


def all_or_none(make: Callable[[], _Made]) -> _Made:
    """What `make` returns here, if it succeeds in every process.

    Raises:
        GradusError: it failed in another process, whose message follows. A failure of this process's own is raised as it is.
    """
    problem = None
    try:
        made = make()
    except Exception as error:  # the others must hear of it, whatever it is
        problem = error
    problems = all_gather(None if problem is None else str(problem))
    if problem is not None:
        raise problem
    for number, message in enumerate(problems):
        if message is not None:
            raise GradusError(f"process {number}: {message}")
    return made


def made_by_main(make: Callable[[], _Made]) -> _Made:
    """What `make` returns in the main process, which alone calls it.

    Raises:
        GradusError: it failed there; so in the other processes. In the main process its own error is raised.
    """
    return broadcast(all_or_none(lambda: make() if is_main() else None))  # type: ignore[return-value]  # main has made it


def mean_over_processes(values: Any) -> Any:
    """The mean of a tensor of numbers over all processes, elementwise; a tensor of its own, of the same shape."""
    if not is_up():
        return values
    total = values.clone()
    _torchs().all_reduce(total)
    return total / world_size()
