"""Checks of arguments: each takes a name and a value, and returns the value to keep or refuses it.

`whole("seeds", value, least=1)`, `positive("lr", value)`, `flag("amp", value)` and `one_of("min", "max")("mode", value)` are
calls. A check is also an annotation, so that a signature is the specification: `lr: NonNegative = 1e-3` in a rule,
`peak: Positive = 1.0` in a schedule.

>>> whole("seeds", 3, least=1), one_of("min", "max")("mode", "max")
(3, 'max')
>>> whole("seeds", 0, least=1)
Traceback (most recent call last):
    ...
gradus.errors.InvalidInput: seeds must be a whole number from 1; got 0
"""

import contextlib
import math
import operator
from collections.abc import Callable
from typing import Annotated, Any, TypeGuard

from gradus.errors import InvalidInput
from gradus.names import did_you_mean

__all__ = [
    "AtLeastOne",
    "Betas",
    "Check",
    "Decay",
    "Flag",
    "NonNegative",
    "NonPositive",
    "Positive",
    "Real",
    "Unit",
    "UnitAboveZero",
    "UnitBelowOne",
    "UnitInside",
    "Whole",
    "as_float",
    "as_whole",
    "at_least",
    "decays",
    "each_by",
    "finite",
    "flag",
    "is_number",
    "is_whole",
    "nonnegative",
    "number",
    "one_of",
    "optional",
    "positive",
    "python_whole",
    "several",
    "shown",
    "unit",
    "unit_below_one",
    "unit_inside",
    "whole",
]

Check = Callable[[str, Any], Any]  # (what it is called, what was given) -> what to keep


def shown(value: Any, length: int = 200) -> str:
    """A value's repr for an error message: on one line, cut to `length` characters, whatever the value is.

    >>> shown([1.5, "x"]), shown(10**5000), shown("a" * 100, 10)
    ("[1.5, 'x']", "an int that can't be printed", "'aaaaaa...")
    """
    try:
        text = repr(value).replace("\n", " ")
    except Exception:  # a whole number of 5,000 digits has none, nor has an object whose own repr fails
        kind = type(value).__name__
        return f"a{'n' if kind[0] in 'aeiouAEIOU' else ''} {kind} that can't be printed"
    return text if len(text) <= length else f"{text[: length - 3]}..."


# Numbers


def is_number(value: Any) -> TypeGuard[float]:
    """True for Python's ints and floats; bools aren't numbers."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_whole(value: Any, least: int | None = None, most: int | None = None) -> TypeGuard[int]:
    """True for Python's ints from `least` to `most`; bools aren't numbers."""
    return (
        isinstance(value, int)
        and not isinstance(value, bool)
        and (least is None or value >= least)
        and (most is None or value <= most)
    )


def as_float(value: Any) -> float:
    """A number, or a tensor of one element, whether or not autograd follows it."""
    return float(value.item() if hasattr(value, "item") else value)


def as_whole(value: Any) -> int | None:
    """The int that a Python or NumPy integer is; None for whatever is none, bools included."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def number(must: str, holds: Callable[[float], bool]) -> Check:
    """The check of a finite number, or of a tensor of one element, for which `holds`; it returns a float.

    Args:
        must: the sentence's middle, such as "a finite number above 0".
        holds: whether a finite float will do.
    """

    def check(name: str, value: Any) -> float:
        found = math.nan
        if not isinstance(value, (str, bytes, bool)) and hasattr(value, "__float__"):
            if math.prod(getattr(value, "shape", ())) != 1:
                kind = "Tensor" if hasattr(value, "detach") else "Array"
                raise InvalidInput(f"{kind} {name} must be 1-element; got one of shape {tuple(value.shape)}")
            with contextlib.suppress(OverflowError, TypeError, ValueError):  # such as a whole number too large
                found = as_float(value)
        if not (math.isfinite(found) and holds(found)):
            raise InvalidInput(f"{name} must be {must}; got {shown(value)}")
        return found

    return check


def at_least(least: float) -> Check:
    """The check of a finite number, `least` or more."""
    return number(f"a finite number of at least {least:g}", lambda x: x >= least)


finite = number("a finite number", lambda _: True)
nonnegative = number("a finite number that isn't negative", lambda x: x >= 0)
positive = number("a finite number above 0", lambda x: x > 0)
unit = number("a number from 0 to 1", lambda x: 0 <= x <= 1)
unit_below_one = number("at least 0 and below 1", lambda x: 0 <= x < 1)
unit_inside = number("a number above 0 and below 1", lambda x: 0 < x < 1)


def whole(name: str, value: Any, least: int = 0, most: int | None = None, *, why: str = "") -> int:
    """A whole number from `least` to `most`, as an int; NumPy's integers are taken too.

    Args:
        name: what it is called.
        value: what was given.
        least: the smallest that will do.
        most: the largest; None for no limit.
        why: what follows the range in the message, such as ", so that ...".

    Raises:
        InvalidInput: it is none.
    """
    found = as_whole(value)
    if found is None or found < least or (most is not None and found > most):
        limit = "" if most is None else f" to {_short(most)}"
        raise InvalidInput(f"{name} must be a whole number from {_short(least)}{limit}{why}; got {shown(value)}")
    return found


def _short(limit: int) -> str:
    """A limit as it is read: 2^53, 2^32 - 1, or its digits."""
    bits = abs(limit).bit_length()
    sign = "-" if limit < 0 else ""
    if bits > 16 and abs(limit) in (2 ** (bits - 1), 2**bits - 1):
        return f"{sign}2^{bits - 1}" if abs(limit) == 2 ** (bits - 1) else f"2^{bits} - 1"
    return str(limit)


def python_whole(name: str, value: Any) -> int:
    """A Python int from 1: what stays in an optimizer's group as given, where `torch.load` must read it again."""
    if not isinstance(value, int):
        raise InvalidInput(f"{name} must be a whole number from 1; got {shown(value)}")
    return whole(name, value, least=1)


# Flags, words, several values


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{name} must be True or False; got {shown(value)}")
    return value


def one_of(*choices: Any) -> Check:
    """The check of one of a few values."""

    def check(name: str, value: Any) -> Any:
        for choice in choices:  # by type first: a tensor can't be compared, and True equals 1
            alike = type(value) is type(choice) or (isinstance(value, str) and isinstance(choice, str))
            if alike and value == choice:
                return choice
        must = f"one of {', '.join(map(repr, choices))}" if len(choices) > 1 else repr(choices[0])
        raise InvalidInput(f"{name} must be {must}; got {shown(value)}{did_you_mean(value, choices)}")

    return check


def optional(check: Check) -> Check:
    """The check, but None is taken too."""
    return lambda name, value: None if value is None else check(name, value)


def each_by(must: str, *checks: Check) -> Check:
    """The check of a tuple or list with one value for each of `checks`."""

    def check_all(name: str, values: Any) -> tuple[Any, ...]:
        if not isinstance(values, (tuple, list)) or len(values) != len(checks):
            raise InvalidInput(f"{name} must be {must}; got {shown(values)}")
        pairs = zip(checks, values, strict=True)
        return tuple(check(f"{name}[{index}]", value) for index, (check, value) in enumerate(pairs))

    return check_all


def several(count: int) -> Check:
    """The check of `count` finite numbers."""
    return each_by(f"{count} finite numbers", *[finite] * count)


def decays(count: int) -> Check:
    """The check of `count` numbers, each at least 0 and below 1."""
    return each_by(f"{count} numbers, each at least 0 and below 1", *[unit_below_one] * count)


# As annotations; the unit interval's ends are in the names

Real = Annotated[float, finite]
NonNegative = Annotated[float, nonnegative]
NonPositive = Annotated[float, number("a finite number that isn't positive", lambda x: x <= 0)]
Positive = Annotated[float, positive]
AtLeastOne = Annotated[float, number("a finite number, 1 or more", lambda x: x >= 1)]
Unit = Annotated[float, unit]
UnitAboveZero = Annotated[float, number("a number above 0 and at most 1", lambda x: 0 < x <= 1)]
UnitBelowOne = Annotated[float, unit_below_one]
UnitInside = Annotated[float, unit_inside]
Decay = UnitBelowOne  # of a moving average: what is kept of it at each update
Betas = Annotated[tuple[float, float], each_by("two numbers, each at least 0 and below 1", *[unit_below_one] * 2)]
Whole = Annotated[int, python_whole]
Flag = Annotated[bool, flag]
