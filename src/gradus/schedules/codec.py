"""Schedules as JSON: a version, then each schedule as its kind and fields. Exact both ways, and nothing is evaluated."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from gradus.errors import InvalidInput
from gradus.schedules.spans import Span

__all__ = ["VERSION", "dumps", "loads"]

VERSION = 1
_DEEPEST = 100  # levels of nesting; hand-made schedules have three or four
_LONGEST = 1_000_000  # characters

Kinds = Mapping[str, type]


def dumps(schedule: Any) -> str:
    """The JSON text of a schedule."""
    return json.dumps({"gradus.schedule": VERSION, "schedule": _encoded(schedule)}, allow_nan=False)


def _encoded(value: Any) -> Any:
    if isinstance(value, Span):
        return {"span": value.unit, "amount": value.amount}
    if isinstance(value, tuple):
        return [_encoded(member) for member in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if callable(saved := getattr(value, "_saved_fields", None)):  # a kind that doesn't save its fields as they stand
        return {"kind": type(value).__name__, **saved()}
    return {"kind": type(value).__name__, **{f.name: _encoded(getattr(value, f.name)) for f in fields(value)}}


def loads(text: str, kinds: Kinds, *, trusted: bool) -> Any:
    """The schedule of a JSON text, of one of the `kinds`; a kind that imports code only if the text is trusted."""
    if not isinstance(text, str):
        raise InvalidInput(f"a schedule is read from JSON text; got {type(text).__name__}")
    if len(text) > _LONGEST:
        raise InvalidInput(f"a schedule's JSON has at most {_LONGEST:,} characters; this has {len(text):,}")
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except InvalidInput:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"this is not JSON: {error}") from None
    if not isinstance(document, dict) or "gradus.schedule" not in document:
        raise InvalidInput('this JSON is no schedule: it must be an object with "gradus.schedule" and "schedule"')
    version = document["gradus.schedule"]
    if version != VERSION or isinstance(version, bool):
        raise InvalidInput(f"this schedule has version {version!r}; this Gradus reads version {VERSION}: update Gradus")
    if unknown := document.keys() - {"gradus.schedule", "schedule"}:
        raise InvalidInput(f"a schedule's JSON has no field {sorted(unknown)[0]!r}")
    schedule = _decoded(document.get("schedule"), kinds, trusted, 0)
    if type(schedule) not in kinds.values():
        raise InvalidInput(f"the JSON's field 'schedule' must hold a schedule; got {document.get('schedule')!r}")
    return schedule


def _refuse_constant(name: str) -> Any:
    raise InvalidInput(f"a schedule's numbers are finite; got {name}")


def _decoded(value: Any, kinds: Kinds, trusted: bool, depth: int) -> Any:
    if depth > _DEEPEST:
        raise InvalidInput(f"this schedule is nested more than {_DEEPEST} levels deep")
    if isinstance(value, list):
        return tuple(_decoded(member, kinds, trusted, depth + 1) for member in value)
    if not isinstance(value, dict):
        return value
    if "span" in value:
        return _decoded_span(value)
    kind = kinds.get(value["kind"]) if isinstance(value.get("kind"), str) else None
    if kind is None:
        raise InvalidInput(f"unknown kind of schedule: {value.get('kind')!r}; this Gradus knows {', '.join(sorted(kinds))}")
    if getattr(kind, "_imports", False) and not trusted:
        raise InvalidInput(
            f"a {kind.__name__} names a function to import, and importing runs code; "
            f"if you wrote this JSON yourself, pass trusted=True"
        )
    given = {name: _decoded(member, kinds, trusted, depth + 1) for name, member in value.items() if name != "kind"}
    return _built(kind, given)


def _decoded_span(value: dict[str, Any]) -> Span:
    if unknown := value.keys() - {"span", "amount"}:
        raise InvalidInput(f"a span has no field {sorted(unknown)[0]!r}; it has span and amount")
    return Span(value["span"], value.get("amount"))


def _built(kind: type, given: dict[str, Any]) -> Any:
    known = [field.name for field in fields(kind)]
    if unknown := given.keys() - set(known):
        raise InvalidInput(f"{kind.__name__} has no field {sorted(unknown)[0]!r}; it has {', '.join(known)}")
    try:
        return kind(**given)
    except TypeError as error:  # a field without a default is absent
        raise InvalidInput(f"{kind.__name__} can't be made from fields {sorted(given)}: {error}") from None
