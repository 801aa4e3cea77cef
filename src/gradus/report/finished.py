"""`Finished`, a run with what came of it, and `TaskInfo`, what a report has to know of a task."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradus.errors import InvalidInput
from gradus.frozen import Frozen
from gradus.rows import Row
from gradus.runs import Run
from gradus.tasks import Objective

__all__ = ["Finished", "TaskInfo", "is_number", "metrics_in"]

_SECONDS = "time/seconds"


@dataclass(frozen=True)
class Finished:
    """A run with what came of it.

    Args:
        run: its specification.
        rows: its rows, by increasing step.
        status: "finished", "diverged", "failed", "stopped" or "interrupted"; "waiting", "running" or "paused" on the way.
        message: why, where it isn't "finished"; where it is, what wasn't finite on the way, if the run was to look.
        conditions: what its bits depend on besides its specification: versions, device, threads, digests.

    >>> done = Finished(Run("digits"), [Row(5, {"train/loss": 0.5, "time/seconds": 2.0})], "finished")
    >>> done.seconds, done.last("train/loss")
    (2.0, 0.5)
    """

    run: Run
    rows: Sequence[Row]
    status: str
    message: str = ""
    conditions: Mapping[str, Any] = field(default_factory=Frozen)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(self.rows))

    @property
    def seconds(self) -> float | None:
        """Wall-clock time of its training, scoring included; None where no row says it."""
        return self.last(_SECONDS)

    @property
    def steps_per_epoch(self) -> float | None:
        """Updates in one pass over the training data; None where no row says how many passes it is at."""
        counted = next((row.step / row["epoch"] for row in self.rows if row.step and row.get("epoch", 0) > 0), None)
        if counted is None or not math.isclose(counted, round(counted), rel_tol=1e-6):
            return counted
        return float(round(counted))

    def last(self, name: str) -> float | None:
        """The last value of a number; None where no row has it."""
        return next((row[name] for row in reversed(self.rows) if name in row), None)


@dataclass(frozen=True)
class TaskInfo:
    """What a report has to know of a task; a training function has none of it.

    Args:
        objective: what its runs are chosen by: a number's name and "max" or "min", such as "valid/accuracy max".
        chance: the accuracy of naming the most frequent class every time, where targets are classes.
        examples: in one pass over the training data.

    Raises:
        InvalidInput: one of them isn't as said.

    >>> print(TaskInfo("valid/accuracy max", chance=0.1, examples=1437).objective_of(Run("digits", valid=False)))
    test/accuracy max
    """

    objective: str | None = None
    chance: float | None = None
    examples: int | None = None

    def __post_init__(self) -> None:
        if self.objective is not None:
            Objective.parse(self.objective)  # refused now
        if self.chance is not None and not (is_number(self.chance) and 0 <= self.chance <= 1):
            raise InvalidInput(f"chance must be a number from 0 to 1, or None; got {self.chance!r}")
        if self.examples is not None and not (type(self.examples) is int and self.examples >= 1):
            raise InvalidInput(f"examples must be a whole number from 1, or None; got {self.examples!r}")

    def objective_of(self, run: Run) -> Objective | None:
        """What a run is chosen by: without a part for validation, test scores stand in for it.

        Args:
            run: the run.
        """
        return None if self.objective is None else Objective.parse(self.objective).among(run)

    def to_json(self) -> dict[str, Any]:
        """Its fields, as JSON has them."""
        return {"objective": self.objective, "chance": self.chance, "examples": self.examples}


def is_number(value: Any) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def metrics_in(run: Run, rows: Sequence[Row]) -> list[str]:
    """The numbers in rows that say how well a run does: all but positions, times and scheduled hyperparameters.

    Args:
        run: the run.
        rows: its rows.
    """
    besides = {"epoch", "lr", *run.schedules}
    return [name for name in dict.fromkeys(name for row in rows for name in row.results()) if name not in besides]
