"""`Objective`: the one number by which runs are judged, and whether more of it is better."""

import math
from dataclasses import dataclass, replace
from typing import Any

from gradus.errors import InvalidInput
from gradus.runs import Run

__all__ = ["Objective"]


@dataclass(frozen=True)
class Objective:
    """A number in a run's rows, and which way is up.

    Args:
        name: the number's name, such as "valid/accuracy".
        maximize: whether the greatest is the best.

    >>> objective = Objective.parse("valid/accuracy max")
    >>> objective.name, objective.better(0.9, 0.8), objective.worst
    ('valid/accuracy', True, -inf)
    >>> print(objective)
    valid/accuracy max
    """

    name: str
    maximize: bool

    @staticmethod
    def parse(text: Any) -> "Objective":
        """Read "NAME max" or "NAME min"; an Objective is returned unchanged.

        Args:
            text: such as "valid/loss min".

        Raises:
            InvalidInput: it is neither.
        """
        if isinstance(text, Objective):
            return text
        name, _, direction = text.strip().rpartition(" ") if isinstance(text, str) else ("", "", "")
        if not name.strip() or direction not in ("min", "max"):
            raise InvalidInput(
                f'an objective is a number\'s name and "min" or "max", such as "valid/accuracy max"; got {text!r}'
            )
        return Objective(name.strip(), direction == "max")

    def __str__(self) -> str:
        return f"{self.name} {'max' if self.maximize else 'min'}"

    @property
    def worst(self) -> float:
        """What every number is better than."""
        return -math.inf if self.maximize else math.inf

    def better(self, one: float, other: float) -> bool:
        """Whether one value is better than another; NaN is never better, and any number is better than NaN.

        Args:
            one: a value.
            other: what it is compared to.
        """
        if math.isnan(one) or math.isnan(other):
            return math.isnan(other) and not math.isnan(one)
        return one > other if self.maximize else one < other

    def among(self, run: Run) -> "Objective":
        """The objective in this run's rows: test scores stand in for validation where the run holds none out.

        Args:
            run: whose rows are looked at.
        """
        part, slash, name = self.name.partition("/")
        return replace(self, name=f"test/{name}") if part == "valid" and slash and not run.valid else self
