"""What a rule's hyperparameters may be: each annotation carries its check, so the signature is the specification."""

import math
from collections.abc import Callable
from typing import Annotated, Any

from gradus.errors import InvalidInput
from gradus.names import did_you_mean

__all__ = [
    "Always",
    "Betas",
    "Decay",
    "Etas",
    "Flag",
    "NonNegative",
    "NonPositive",
    "Positive",
    "Scalar",
    "Share",
    "StepSizes",
    "Whole",
    "as_float",
    "at_least",
    "decays",
    "finite",
    "flag",
    "implied",
    "nonnegative",
    "one_of",
    "optional_decay",
    "optional_nonnegative",
    "positive",
    "several",
    "whole",
]

Check = Callable[[str, Any], None]  # (what it is called, what was given)


def as_float(value: Any) -> float:
    """A number, or a tensor of one, whether or not autograd follows it."""
    return float(value.detach() if hasattr(value, "detach") else value)


def _number(must: str, holds: Callable[[float], bool]) -> Check:
    def check(name: str, value: Any) -> None:
        if isinstance(value, (str, bytes, bool)) or not hasattr(value, "__float__"):
            raise InvalidInput(f"{name} must be {must}; got {value!r}")
        if math.prod(getattr(value, "shape", ())) != 1:
            raise InvalidInput(f"Tensor {name} must be 1-element; got one of shape {tuple(value.shape)}")
        number = as_float(value)
        if not (math.isfinite(number) and holds(number)):
            raise InvalidInput(f"{name} must be {must}; got {value!r}")

    return check


def _several(must: str, *checks: Check) -> Check:
    """A number for each check, by which it is judged."""

    def check_all(name: str, values: Any) -> None:
        if not isinstance(values, (tuple, list)) or len(values) != len(checks):
            raise InvalidInput(f"{name} must be {must}; got {values!r}")
        for index, (check, value) in enumerate(zip(checks, values, strict=True)):
            check(f"{name}[{index}]", value)

    return check_all


finite = _number("a finite number", lambda _: True)


def several(count: int) -> Check:
    """So many finite numbers."""
    return _several(f"{count} finite numbers", *[finite] * count)


def at_least(least: float) -> Check:
    """A finite number of at least so much."""
    return _number(f"a finite number of at least {least:g}", lambda x: x >= least)


def whole(name: str, value: Any) -> None:
    """A whole number above 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInput(f"{name} must be a whole number above 0; got {value!r}")


def _step_sizes(name: str, values: Any) -> None:
    must = "two numbers, the least step and the greatest"
    _several(must, nonnegative, nonnegative)(name, values)
    if not as_float(values[0]) <= as_float(values[1]):
        raise InvalidInput(f"{name} must be {must}; got {values!r}")


def flag(name: str, value: Any) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{name} must be True or False; got {value!r}")


def one_of(*choices: Any) -> Check:
    """One of a few values."""

    def check(name: str, value: Any) -> None:
        if not any(type(value) is type(choice) and value == choice for choice in choices):  # a tensor can't be compared
            raise InvalidInput(
                f"{name} must be {' or '.join(map(repr, choices))}; got {value!r}{did_you_mean(value, choices)}"
            )

    return check


nonnegative = _number("a finite number that isn't negative", lambda x: x >= 0)
positive = _number("a finite number above 0", lambda x: x > 0)
_in_unit = _number("at least 0 and below 1", lambda x: 0 <= x < 1)
_inside = _number("above 0 and below 1", lambda x: 0 < x < 1)


def optional_decay(name: str, value: Any) -> None:
    """A number of at least 0 and below 1, or None where another stands in for it."""
    if value is not None:
        _in_unit(name, value)


def optional_nonnegative(name: str, value: Any) -> None:
    """A number that isn't negative, or None where there is none."""
    if value is not None:
        nonnegative(name, value)


def decays(count: int) -> Check:
    """So many numbers, each at least 0 and below 1."""
    return _several(f"{count} numbers, each at least 0 and below 1", *[_in_unit] * count)


_NEVER_NEGATIVE = frozenset(("eps", "lr", "momentum", "weight_decay"))


def implied(name: str, default: Any) -> Check | None:
    """The check of a hyperparameter without one: what its name means everywhere, or that it is of its default's kind."""
    if name in _NEVER_NEGATIVE:
        return nonnegative
    if isinstance(default, bool):
        return flag
    if isinstance(default, (int, float)):
        return finite
    if isinstance(default, tuple) and all(isinstance(number, (int, float)) for number in default):
        return several(len(default))
    return None


NonNegative = Annotated[float, nonnegative]
NonPositive = Annotated[float, _number("a finite number that isn't positive", lambda x: x <= 0)]
Positive = Annotated[float, positive]
Decay = Annotated[float, _in_unit]
Betas = Annotated[tuple[float, float], _several("two numbers, each at least 0 and below 1", _in_unit, _in_unit)]
# What a schedule-free rule mixes by: of y = (1 − β)z + βx the average x can be told for β above 0 alone.
Mix = Annotated[float, _inside]
MixAndDecay = Annotated[tuple[float, float], _several("two numbers below 1, the first above 0", _inside, _in_unit)]
Etas = Annotated[
    tuple[float, float],
    _several(
        "two numbers, below and above 1",
        _number("above 0 and below 1, for steps shrink by it", lambda x: 0 < x < 1),
        _number("a finite number above 1, for steps grow by it", lambda x: x > 1),
    ),
]
StepSizes = Annotated[tuple[float, float], _step_sizes]
Share = Annotated[float, _number("a number from 0 to 1", lambda x: 0 <= x <= 1)]
Whole = Annotated[int, whole]
Flag = Annotated[bool, flag]


Always = Annotated[bool, one_of(True)]
# A slot that holds one number for each tensor, such as NAdam's product of momenta; others are laid out like the parameter.
Scalar = Annotated[Any, "one number for each tensor"]
