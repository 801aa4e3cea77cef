"""`Row`: named numbers at a step of a run. Nothing here, or above, knows a metric's name but the task."""

import operator
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from gradus.errors import InvalidInput

__all__ = ["TIME", "Row"]

TIME = "time/"  # what such a number is called: it alone may differ between two executions of a run
_STEP_LIMIT = 2**63
_LONGEST_NAME = 200


class Row(Mapping[str, float]):
    """Named numbers at a step of a run.

    A training gives `epoch` (passes over the data), `lr` and every other scheduled hyperparameter, `train/loss` and
    `train/...` for each metric, `valid/...` and `test/...` too, and `time/seconds`. A function of your own gives any.

    Two rows are equal if their steps and numbers are, bit for bit; what begins with `time/` doesn't count.

    Args:
        step: optimizer updates done.
        numbers: the numbers by name; each anything that `float` takes. NaN and infinity are allowed.

    Raises:
        InvalidInput: the step isn't a whole number from 0, or a number or its name can't be used.

    >>> row = Row(20, {"train/loss": 0.5, "valid/accuracy": 0.9, "time/seconds": 1.5})
    >>> row.step, row["valid/accuracy"]
    (20, 0.9)
    >>> row == Row(20, {"train/loss": 0.5, "valid/accuracy": 0.9, "time/seconds": 9.0})
    True
    """

    __slots__ = ("_numbers", "step")

    def __init__(self, step: int, numbers: Mapping[str, float]) -> None:
        self.step = _as_step(step)
        self._numbers = {
            _as_name(name): value if type(value) is float else _as_number(name, value) for name, value in numbers.items()
        }

    @classmethod
    def of(cls, numbers: Any, *, otherwise: int) -> "Row":
        """The row of what a training function yields: a Row, or a mapping whose "step", if it has one, is the step.

        Args:
            numbers: what was yielded.
            otherwise: the step where the mapping has none.

        Raises:
            InvalidInput: it is no mapping from names to numbers.
        """
        if isinstance(numbers, Row):
            return numbers
        if not isinstance(numbers, Mapping):
            raise InvalidInput(
                f'a training function yields named numbers, such as {{"valid/loss": 0.3}}; got {type(numbers).__name__}'
            )
        named = dict(numbers)
        return cls(named.pop("step", otherwise), named)

    def __getitem__(self, name: str) -> float:
        return self._numbers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def results(self) -> dict[str, float]:
        """All that a repetition must reproduce: everything but the times."""
        return {name: value for name, value in self._numbers.items() if not name.startswith(TIME)}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Row):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        # `hex` tells zeros of both signs apart, and has one NaN that equals itself.
        return self.step, tuple(sorted((name, value.hex()) for name, value in self.results().items()))

    def __repr__(self) -> str:
        return f"Row({self.step}, {self._numbers})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Row, (self.step, self._numbers)


def _as_step(step: Any) -> int:
    try:
        whole = -1 if isinstance(step, bool) else operator.index(step)
    except TypeError:
        whole = int(step) if isinstance(step, float) and step.is_integer() else -1
    if not 0 <= whole < _STEP_LIMIT:
        raise InvalidInput(f"a row's step must be a whole number from 0; got {step!r}")
    return whole


@lru_cache(maxsize=1000)  # a run's rows have the same names, and may be many
def _as_name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise InvalidInput(f"a number's name must be one line of text of at most {_LONGEST_NAME} characters; got {name!r}")
    return name


def _as_number(name: str, value: Any) -> float:
    try:
        if isinstance(value, str):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise InvalidInput(f"{name!r} must be one number; got {type(value).__name__} {str(value)[:40]}") from None
