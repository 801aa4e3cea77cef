"""What a schedule's fields may hold: each annotation carries its check, so the signature is the specification.

Numbers, flags and words have theirs in `gradus.checks`; here are lengths, lists of steps, and what a plain annotation means.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import fields
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from gradus.checks import Check, as_whole, finite, flag, one_of, optional, shown, whole
from gradus.errors import InvalidInput
from gradus.schedules.spans import LENGTH_LIMIT, Span

__all__ = [
    "PLACES",
    "PLAIN",
    "Length",
    "MaybePeriod",
    "Milestones",
    "Period",
    "Points",
    "RepeatCount",
    "check_of",
    "checks_of",
    "refuse_overrides",
]


def _steps(least: int) -> Check:
    def check(what: str, value: Any) -> int | Span:
        if isinstance(value, Span):
            return value
        steps = int(value) if isinstance(value, float) and value.is_integer() else as_whole(value)
        if steps is None or not least <= steps <= LENGTH_LIMIT:
            must = f"a whole number of steps from {least} to 2^53, or a span such as epochs(5)"
            raise InvalidInput(f"{what} must be {must}; got {shown(value)}")
        return steps

    return check


Length = Annotated[int | Span, _steps(0)]
Period = Annotated[int | Span, _steps(1)]
MaybePeriod = Annotated[int | Span | None, optional(_steps(1))]


def _times(what: str, value: Any) -> int | None:
    return None if value is None else whole(what, value, 1, LENGTH_LIMIT, why=", or None for no end")


def _several(what: str, value: Any, example: str) -> tuple[Any, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise InvalidInput(f"{what} must be a list such as {example}; got {shown(value)}")
    return tuple(value)


def _milestones(what: str, value: Any) -> tuple[int | Span, ...]:
    check = _steps(0)
    return tuple(check(f"each of {what}", step) for step in _several(what, value, "(30, 60)"))


def _points(what: str, value: Any) -> tuple[tuple[int | Span, float], ...]:
    check, points = _steps(0), _several(what, value, "((0, 1.0), (100, 0.1))")
    for point in points:
        if not isinstance(point, (tuple, list)) or len(point) != 2:
            raise InvalidInput(f"each of {what} must be a pair (step, value); got {shown(point)}")
    if not points:
        raise InvalidInput(f"{what} must hold at least one pair (step, value); got none")
    return tuple((check(f"each step of {what}", step), finite(f"each value of {what}", height)) for step, height in points)


RepeatCount = Annotated[int | None, _times]
Milestones = Annotated[tuple[int | Span, ...], _milestones]
Points = Annotated[tuple[tuple[int | Span, float], ...], _points]
PLACES: tuple[Check, ...] = (Length.__metadata__[0], _milestones, _points)  # type: ignore[attr-defined]  # where something ends


# What a plain annotation asks for, in a class of the user's own


def _text(what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{what} must be a text; got {shown(value)}")
    return str(value)


def _none(what: str, value: Any) -> None:
    if value is not None:
        raise InvalidInput(f"{what} must be None; got {shown(value)}")


def _tuple(what: str, value: Any) -> tuple[Any, ...]:
    return tuple(_plain(f"each of {what}", one) for one in _several(what, value, "(1, 2)"))


def _plain(what: str, value: Any) -> Any:
    """Any immutable value that can be saved."""
    if isinstance(value, (tuple, list)):
        return _tuple(what, value)
    for kind, check in PLAIN.items():
        if isinstance(kind, type) and kind is not Any and isinstance(value, kind):
            return check(what, value)
    raise InvalidInput(f"{what} must be {_PLAINLY}; got {shown(value)}")


_PLAINLY = "a number, True or False, a text, None, a span, a schedule, or a tuple of these"
PLAIN: dict[Any, Check] = {
    bool: flag,
    int: partial(whole, least=-LENGTH_LIMIT, most=LENGTH_LIMIT),
    float: finite,
    str: _text,
    NoneType: _none,
    None: _none,
    Span: _steps(0),
    int | Span: _steps(0),
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
        return one_of(*arguments)
    if origin in (Union, UnionType):
        return _optional(what, arguments) if NoneType in arguments else PLAIN.get(annotation) or _either(what, arguments)
    if origin is tuple:
        return _row(what, arguments)
    known = PLAIN.get(annotation) if isinstance(annotation, type) or annotation in (Any, None) else None
    if known is None:
        name = getattr(annotation, "__name__", annotation) if isinstance(annotation, type) else annotation
        raise InvalidInput(f"{what} can't be {name}: a schedule is a value that can be saved, so it is {_PLAINLY}")
    return known


def _optional(what: str, kinds: tuple[Any, ...]) -> Check:
    others: Any = Union[tuple(kind for kind in kinds if kind is not NoneType)]  # noqa: UP007 - as many as there are
    return optional(check_of(what, others))


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


# What a class of schedules may declare

_INSTEAD = {
    "__init__": "declare its fields",
    "__post_init__": "check them in validate(self)",
    "__call__": "define its formula, at(self, t, ops)",  # compositions ask that
}


def refuse_overrides(kind: type) -> None:
    """Refuse a class that overrides what makes a schedule a value."""
    for name, instead in _INSTEAD.items():
        if name in vars(kind):
            raise InvalidInput(f"{kind.__name__} can't have a {name} of its own: a schedule is a value; {instead} instead")


def checks_of(kind: Any, reserved: frozenset[str]) -> tuple[tuple[str, Check], ...]:
    """The fields of a class of schedules with their checks.

    Args:
        kind: the class, a dataclass by now.
        reserved: names that no field may have.

    Raises:
        InvalidInput: a field that can't be one.
    """
    declared = fields(kind)
    hints: dict[str, Any] = {}
    if any(isinstance(one.type, str) for one in declared):  # under `from __future__ import annotations`
        try:
            hints = get_type_hints(kind, include_extras=True)
        except (NameError, TypeError, SyntaxError) as error:
            raise InvalidInput(f"the annotations of {kind.__name__} can't be read: {error}") from None
    for one in declared:
        if not one.init:
            raise InvalidInput(f"{kind.__name__}'s {one.name} must be given when it is made; make what follows a property")
        if one.name == "kind" or one.name in reserved:
            raise InvalidInput(
                f"{kind.__name__} can't have a field {one.name!r}: a schedule has something else by that name"
            )
    return tuple((one.name, _field_check(kind, one.name, hints.get(one.name, one.type))) for one in declared)


def _field_check(kind: type, name: str, annotation: Any) -> Check:
    if name == "length" and get_origin(annotation) is not Annotated:  # whatever it is called, it is counted in steps
        annotation = int | Span | None if NoneType in get_args(annotation) else Length
    return check_of(f"{kind.__name__}'s {name}", annotation)
