"""What a rule's hyperparameters may be: each annotation carries its check, so the signature is the specification."""

import math
from collections.abc import Callable
from typing import Annotated, Any

from gradus.errors import InvalidInput

__all__ = [
    "Always",
    "Betas",
    "Decay",
    "Flag",
    "NonNegative",
    "Pair",
    "Positive",
    "Real",
    "Scalar",
    "Whole",
    "as_float",
    "decays",
    "one_of",
    "several",
]

Check = Callable[[str, Any], None]  # (what it is called, what was given)


def as_float(value: Any) -> float:
    """A number, or a tensor of one, whether or not autograd follows it."""
    return float(value.detach() if hasattr(value, "detach") else value)


def _number(must: str, holds: Callable[[float], bool]) -> Check:
    def check(name: str, value: Any) -> None:
        if isinstance(value, (str, bytes, bool)) or not hasattr(value, "__float__"):
            raise InvalidInput(f"{name} must be {must}; got {value!r}")
        number = as_float(value)
        if not (math.isfinite(number) and holds(number)):
            raise InvalidInput(f"{name} must be {must}; got {value!r}")

    return check


def _several(must: str, count: int | None, check: Check) -> Check:
    def check_all(name: str, values: Any) -> None:
        if not isinstance(values, (tuple, list)) or (count is not None and len(values) != count):
            raise InvalidInput(f"{name} must be {must}; got {values!r}")
        for index, value in enumerate(values):
            check(f"{name}[{index}]", value)

    return check_all


def several(count: int) -> Check:
    """So many finite numbers."""
    return _several(f"{count} finite numbers", count, _number("a finite number", lambda _: True))


def _whole(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInput(f"{name} must be a whole number above 0; got {value!r}")


def _flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise InvalidInput(f"{name} must be True or False; got {value!r}")


def one_of(*choices: Any) -> Check:
    """One of a few values."""

    def check(name: str, value: Any) -> None:
        if value not in choices:
            raise InvalidInput(f"{name} must be {' or '.join(map(repr, choices))}; got {value!r}")

    return check


_in_unit = _number("at least 0 and below 1", lambda x: 0 <= x < 1)


def decays(count: int) -> Check:
    """So many numbers, each at least 0 and below 1."""
    return _several(f"{count} numbers, each at least 0 and below 1", count, _in_unit)


Real = Annotated[float, _number("a finite number", lambda _: True)]
NonNegative = Annotated[float, _number("a finite number that isn't negative", lambda x: x >= 0)]
Positive = Annotated[float, _number("a finite number above 0", lambda x: x > 0)]
Decay = Annotated[float, _in_unit]
Betas = Annotated[tuple[float, float], _several("two numbers, each at least 0 and below 1", 2, _in_unit)]
Pair = Annotated[tuple[float, float], _several("two numbers", 2, _number("a finite number above 0", lambda x: x > 0))]
Whole = Annotated[int, _whole]
Flag = Annotated[bool, _flag]


Always = Annotated[bool, one_of(True)]
# A slot that holds one number for each tensor, such as NAdam's product of momenta; others are laid out like the parameter.
Scalar = Annotated[Any, "one number for each tensor"]
