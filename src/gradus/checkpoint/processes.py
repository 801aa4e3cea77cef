"""What several processes that train together do as one; a process alone does the same by itself."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from gradus.errors import GradusError

__all__ = ["from_all", "from_first", "is_first", "rank", "together", "world_size"]

_Made = TypeVar("_Made")


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def rank() -> int:
    """The number of this process, from 0."""
    return torch.distributed.get_rank() if _is_distributed() else 0


def world_size() -> int:
    """How many processes there are."""
    return torch.distributed.get_world_size() if _is_distributed() else 1


def is_first() -> bool:
    """Whether this is the process that speaks for all."""
    return rank() == 0


def from_all(mine: _Made) -> list[_Made]:
    """What each process has."""
    if not _is_distributed():
        return [mine]
    everyone: list[Any] = [None] * world_size()
    torch.distributed.all_gather_object(everyone, mine)
    return everyone


def together(make: Callable[[], _Made]) -> _Made:
    """What is made here, if every process has made its own; what goes wrong in one is raised in all."""
    problem = None
    try:
        made = make()
    except Exception as error:  # the others must hear of it, whatever it is
        problem = error
    problems = from_all(None if problem is None else str(problem))
    if problem is not None:
        raise problem
    for number, told in enumerate(problems):
        if told is not None:
            raise GradusError(f"process {number}: {told}")
    return made


def from_first(make: Callable[[], _Made]) -> _Made:
    """What the first process makes."""
    mine = together(lambda: make() if is_first() else None)
    return from_all(mine)[0]  # type: ignore[return-value]  # the first has made it
