"""What a schedule's fields may hold: each annotation carries its check, so the signature is the specification."""

import contextlib
import math
import operator
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from gradus.errors import InvalidInput
from gradus.schedules.spans import LENGTH_LIMIT, Span

__all__ = [
    "Beta",
    "Decay",
    "Factor",
    "Flag",
    "Fraction",
    "Growth",
    "Length",
    "MaybePeriod",
    "Milestones",
    "Period",
    "Points",
    "Positive",
    "Real",
    "Seed",
    "Times",
    "Unfilled",
    "one_of",
]

Check = Callable[[str, Any], Any]  # (what it is, what was given) -> what is kept


def _number(what: str, value: Any, must: str, holds: Callable[[float], bool]) -> float:
    if isinstance(value, (str, bytes, bool)) or not hasattr(value, "__float__"):
        raise InvalidInput(f"{what} must be {must}; got {value!r}")
    number = float(value)
    if not (math.isfinite(number) and holds(number)):
        raise InvalidInput(f"{what} must be {must}; got {value!r}")
    return number


def _real(what: str, value: Any) -> float:
    return _number(what, value, "a finite number", lambda _: True)


def _factor(what: str, value: Any) -> float:
    return _number(what, value, "a finite number that isn't negative", lambda x: x >= 0)


def _positive(what: str, value: Any) -> float:
    return _number(what, value, "a finite number above 0", lambda x: x > 0)


def _fraction(what: str, value: Any) -> float:
    return _number(what, value, "a number from 0 to 1", lambda x: 0 <= x <= 1)


def _decay(what: str, value: Any) -> float:
    return _number(what, value, "a number above 0 and at most 1", lambda x: 0 < x <= 1)


def _growth(what: str, value: Any) -> float:
    return _number(what, value, "a finite number, 1 or more", lambda x: x >= 1)


def _unfilled(what: str, value: Any) -> float:
    return _number(what, value, "a number from 0 and below 1", lambda x: 0 <= x < 1)


def _beta(what: str, value: Any) -> float:
    return _number(what, value, "a number above 0.6 and below 1", lambda x: 0.6 < x < 1)


def _seed(what: str, value: Any) -> int:
    seed = None
    if not isinstance(value, bool):
        with contextlib.suppress(TypeError):
            seed = operator.index(value)
    if seed is None or not 0 <= seed < 2**32:
        raise InvalidInput(f"{what} must be a whole number from 0 to 2^32 - 1; got {value!r}")
    return seed


def _flag(what: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{what} must be True or False; got {value!r}")
    return value


def _whole(least: int) -> Check:
    def check(what: str, value: Any) -> int | Span:
        if isinstance(value, Span):
            return value
        steps = None
        if isinstance(value, float) and value.is_integer():
            steps = int(value)
        elif not isinstance(value, bool):
            with contextlib.suppress(TypeError):
                steps = operator.index(value)
        if steps is None or not least <= steps <= LENGTH_LIMIT:
            raise InvalidInput(
                f"{what} must be a whole number of steps from {least} to 2^53, or a span such as epochs(5); got {value!r}"
            )
        return steps

    return check


def _maybe_period(what: str, value: Any) -> int | Span | None:
    return None if value is None else _whole(1)(what, value)


Real = Annotated[float, _real]
Factor = Annotated[float, _factor]
Positive = Annotated[float, _positive]
Fraction = Annotated[float, _fraction]
Decay = Annotated[float, _decay]
Growth = Annotated[float, _growth]
Unfilled = Annotated[float, _unfilled]
Beta = Annotated[float, _beta]
Seed = Annotated[int, _seed]
Flag = Annotated[bool, _flag]
Length = Annotated[int | Span, _whole(0)]
Period = Annotated[int | Span, _whole(1)]
MaybePeriod = Annotated[int | Span | None, _maybe_period]


def one_of(*choices: str) -> Check:
    """The check of a field that holds one of a few words."""

    def check(what: str, value: Any) -> str:
        if value not in choices:
            raise InvalidInput(f"{what} must be one of {', '.join(map(repr, choices))}; got {value!r}")
        return str(value)

    return check


def _times(what: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LENGTH_LIMIT:
        raise InvalidInput(f"{what} must be a whole number from 1, or None for no end; got {value!r}")
    return value


def _several(what: str, value: Any, example: str) -> tuple[Any, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise InvalidInput(f"{what} must be a list such as {example}; got {value!r}")
    return tuple(value)


def _milestones(what: str, value: Any) -> tuple[int | Span, ...]:
    check = _whole(0)
    return tuple(check(f"each of {what}", step) for step in _several(what, value, "(30, 60)"))


def _points(what: str, value: Any) -> tuple[tuple[int | Span, float], ...]:
    check, points = _whole(0), _several(what, value, "((0, 1.0), (100, 0.1))")
    for point in points:
        if not isinstance(point, (tuple, list)) or len(point) != 2:
            raise InvalidInput(f"each of {what} must be a pair (step, value); got {point!r}")
    if not points:
        raise InvalidInput(f"{what} must hold at least one pair (step, value); got none")
    return tuple((check(f"each step of {what}", step), _real(f"each value of {what}", height)) for step, height in points)


Times = Annotated[int | None, _times]
Milestones = Annotated[tuple[int | Span, ...], _milestones]
Points = Annotated[tuple[tuple[int | Span, float], ...], _points]
