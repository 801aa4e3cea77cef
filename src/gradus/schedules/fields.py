"""What a schedule's fields may hold: each annotation carries its check, so the signature is the specification."""

import contextlib
import math
import operator
from collections.abc import Callable, Iterable
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from gradus.errors import InvalidInput
from gradus.names import did_you_mean
from gradus.schedules.spans import LENGTH_LIMIT, Span

__all__ = [
    "PLACES",
    "PLAIN",
    "BelowOne",
    "Beta",
    "Check",
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
    "check_of",
    "one_of",
    "shown",
]

Check = Callable[[str, Any], Any]  # (what it is, what was given) -> what is kept
_SHOWN = 200  # characters of what was given


def shown(value: Any) -> str:
    """What was given, as a message shows it: on one line, not too long, and whatever it is."""
    try:
        text = repr(value).replace("\n", " ")
    except Exception:  # a whole number of 5,000 digits has none, nor has an object whose own repr fails
        return f"a {type(value).__name__} that can't be printed"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _number(what: str, value: Any, must: str, holds: Callable[[float], bool]) -> float:
    number = math.nan
    if not isinstance(value, (str, bytes, bool)) and hasattr(value, "__float__"):
        with contextlib.suppress(OverflowError, TypeError, ValueError):  # a whole number too large, an array of two
            number = float(value)
    if not (math.isfinite(number) and holds(number)):
        raise InvalidInput(f"{what} must be {must}; got {shown(value)}")
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


def _below_one(what: str, value: Any) -> float:
    return _number(what, value, "a number above 0 and below 1", lambda x: 0 < x < 1)


def _beta(what: str, value: Any) -> float:
    return _number(what, value, "a number above 0.6 and below 1", lambda x: 0.6 < x < 1)


def _seed(what: str, value: Any) -> int:
    seed = None
    if not isinstance(value, bool):
        with contextlib.suppress(TypeError):
            seed = operator.index(value)
    if seed is None or not 0 <= seed < 2**32:
        raise InvalidInput(f"{what} must be a whole number from 0 to 2^32 - 1; got {shown(value)}")
    return seed


def _flag(what: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{what} must be True or False; got {shown(value)}")
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
            must = f"a whole number of steps from {least} to 2^53, or a span such as epochs(5)"
            raise InvalidInput(f"{what} must be {must}; got {shown(value)}")
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
BelowOne = Annotated[float, _below_one]
Beta = Annotated[float, _beta]
Seed = Annotated[int, _seed]
Flag = Annotated[bool, _flag]
Length = Annotated[int | Span, _whole(0)]
Period = Annotated[int | Span, _whole(1)]
MaybePeriod = Annotated[int | Span | None, _maybe_period]


def one_of(*choices: str) -> Check:
    """The check of a field that holds one of a few words."""

    def check(what: str, value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise InvalidInput(
                f"{what} must be one of {', '.join(map(repr, choices))}; got {shown(value)}{did_you_mean(value, choices)}"
            )
        return str(value)

    return check


def _times(what: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LENGTH_LIMIT:
        raise InvalidInput(f"{what} must be a whole number from 1, or None for no end; got {shown(value)}")
    return value


def _several(what: str, value: Any, example: str) -> tuple[Any, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise InvalidInput(f"{what} must be a list such as {example}; got {shown(value)}")
    return tuple(value)


def _milestones(what: str, value: Any) -> tuple[int | Span, ...]:
    check = _whole(0)
    return tuple(check(f"each of {what}", step) for step in _several(what, value, "(30, 60)"))


def _points(what: str, value: Any) -> tuple[tuple[int | Span, float], ...]:
    check, points = _whole(0), _several(what, value, "((0, 1.0), (100, 0.1))")
    for point in points:
        if not isinstance(point, (tuple, list)) or len(point) != 2:
            raise InvalidInput(f"each of {what} must be a pair (step, value); got {shown(point)}")
    if not points:
        raise InvalidInput(f"{what} must hold at least one pair (step, value); got none")
    return tuple((check(f"each step of {what}", step), _real(f"each value of {what}", height)) for step, height in points)


Times = Annotated[int | None, _times]
Milestones = Annotated[tuple[int | Span, ...], _milestones]
Points = Annotated[tuple[tuple[int | Span, float], ...], _points]
PLACES: tuple[Check, ...] = (Length.__metadata__[0], _milestones, _points)  # type: ignore[attr-defined]  # where something ends


# What a plain annotation asks for, in a class of the user's own


def _text(what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{what} must be a text; got {shown(value)}")
    return str(value)


def _integer(what: str, value: Any) -> int:
    whole = None
    if not isinstance(value, bool):
        with contextlib.suppress(TypeError):
            whole = operator.index(value)
    if whole is None or abs(whole) > LENGTH_LIMIT:
        raise InvalidInput(f"{what} must be a whole number from -2^53 to 2^53; got {shown(value)}")
    return whole


def _none(what: str, value: Any) -> None:
    if value is not None:
        raise InvalidInput(f"{what} must be None; got {shown(value)}")


def _tuple(what: str, value: Any) -> tuple[Any, ...]:
    return tuple(_plain(f"each of {what}", one) for one in _several(what, value, "(1, 2)"))


def _plain(what: str, value: Any) -> Any:
    """Whatever can't be changed and can be saved."""
    if isinstance(value, (tuple, list)):
        return _tuple(what, value)
    for kind, check in PLAIN.items():
        if isinstance(kind, type) and kind is not Any and isinstance(value, kind):
            return check(what, value)
    raise InvalidInput(f"{what} must be {_PLAINLY}; got {shown(value)}")


_PLAINLY = "a number, True or False, a text, None, a span, a schedule, or a tuple of these"
PLAIN: dict[Any, Check] = {
    bool: _flag,
    int: _integer,
    float: _real,
    str: _text,
    NoneType: _none,
    None: _none,
    Span: _whole(0),
    int | Span: _whole(0),
    tuple: _tuple,
    Any: _plain,
}  # schedules join them where they are defined


def check_of(what: str, annotation: Any) -> Check:
    """The check of a field by its annotation; what a value can't hold is refused."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        own = annotation.__metadata__[0]
        return own if callable(own) else check_of(what, arguments[0])
    if origin is Literal:
        return _among(arguments)
    if origin in (Union, UnionType):
        return _optional(what, arguments) if NoneType in arguments else PLAIN.get(annotation) or _either(what, arguments)
    if origin is tuple:
        return _row(what, arguments)
    known = PLAIN.get(annotation) if isinstance(annotation, type) or annotation in (Any, None) else None
    if known is None:
        name = getattr(annotation, "__name__", annotation) if isinstance(annotation, type) else annotation
        raise InvalidInput(f"{what} can't be {name}: a schedule is a value that can be saved, so it is {_PLAINLY}")
    return known


def _among(choices: tuple[Any, ...]) -> Check:
    def check(what: str, value: Any) -> Any:
        if not isinstance(value, (str, int, NoneType)) or value not in choices:
            raise InvalidInput(
                f"{what} must be one of {', '.join(map(repr, choices))}; got {shown(value)}{did_you_mean(value, choices)}"
            )
        return value

    return check


def _optional(what: str, kinds: tuple[Any, ...]) -> Check:
    others: Any = Union[tuple(kind for kind in kinds if kind is not NoneType)]  # noqa: UP007 - of so many
    check = check_of(what, others)
    return lambda what, value: None if value is None else check(what, value)


def _either(what: str, kinds: tuple[Any, ...]) -> Check:
    checks = [check_of(what, kind) for kind in kinds]

    def check(what: str, value: Any) -> Any:
        for one in checks[:-1]:
            with contextlib.suppress(InvalidInput):
                return one(what, value)
        return checks[-1](what, value)

    return check


def _row(what: str, kinds: tuple[Any, ...]) -> Check:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        one = check_of(what, kinds[0])
        return lambda what, value: tuple(one(f"each of {what}", member) for member in _several(what, value, "(1, 2)"))
    checks = [check_of(what, kind) for kind in kinds]

    def check(what: str, value: Any) -> tuple[Any, ...]:
        members = _several(what, value, "(1, 2)")
        if len(members) != len(checks):
            raise InvalidInput(f"{what} must hold {len(checks)} values; got {shown(value)}")
        return tuple(one(f"each of {what}", member) for one, member in zip(checks, members, strict=True))

    return check
