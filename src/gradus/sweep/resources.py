"""`Resources`: what runs are executed with."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gradus.errors import InvalidInput
from gradus.runs import Run

__all__ = ["Resources", "cores"]

_MOST = 1024  # of workers and threads: more is a slip of the fingers


@dataclass(frozen=True)
class Resources:
    """What runs are executed with.

    Args:
        device: torch's name of it; the best there is unless given.
        threads: torch's threads in each process. A run's last bits depend on it, so every executor holds to it.
        workers: processes side by side; `serial` has one.
        data_dir: where tasks find their files.
        checkpoints: the folder in which each run has a folder of its own for checkpoints, to go on from; none unless given.
        checkpoint_every: updates between two checkpoints; one at each evaluation unless given.
        conditions: by a run's identity, a digest of what it depends on besides its specification. Checkpoints made under one
            aren't used under another.

    Raises:
        InvalidInput: threads or workers isn't a whole number from 1 to 1024.

    >>> Resources(device="cpu", threads=2).workers
    1
    """

    device: str | None = None
    threads: int = 1
    workers: int = 1
    data_dir: str | None = None
    checkpoints: str | None = None
    checkpoint_every: int | None = None
    conditions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("threads", "workers"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST:
                raise InvalidInput(f"{name} must be a whole number from 1 to {_MOST}; got {value!r}")

    def checkpoints_of(self, run: Run) -> Path | None:
        """The folder of a run's checkpoints; None where none are kept."""
        if self.checkpoints is None:
            return None
        text = run.to_json() + self.conditions.get(run.identity, "")
        return Path(self.checkpoints) / hashlib.sha256(text.encode()).hexdigest()[:16]


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
