"""Schedules as JSON: a version, then each schedule as its kind and fields. Exact both ways, and nothing is evaluated."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import reduce
from typing import Any

from gradus.checks import is_whole, shown
from gradus.errors import InvalidInput
from gradus.names import did_you_mean, imported
from gradus.schedules.spans import Span

__all__ = ["FORMER_NAMES", "VERSION", "dumps", "importable_name", "kind_of", "loads", "name_of"]

VERSION = 1
_DEEPEST = 100  # levels of nesting; hand-made schedules have three or four
_LONGEST = 1_000_000  # characters

Kinds = Mapping[str, type]
FORMER_NAMES = {"Rectification": "RAdamWarmup"}  # of kinds, in JSON and texts that an earlier Gradus wrote


def importable_name(thing: Any) -> str | None:
    """The "module:name" under which importing finds this very function or class again."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not module or not name or module == "__main__":
        return None
    try:
        found = reduce(getattr, name.split("."), sys.modules[module])
    except (AttributeError, KeyError):
        return None
    return f"{module}:{name}" if found is thing else None


def name_of(kind: type, kinds: Kinds) -> str | None:
    """The name of a kind in text and JSON; None where nothing finds it again."""
    return kind.__name__ if kinds.get(kind.__name__) is kind else importable_name(kind)


def kind_of(name: str, base: type) -> Any:
    """The kind that a "module:name" names, imported."""
    kind = imported(name, "the class")
    if not isinstance(kind, type) or not issubclass(kind, base) or kind is base:
        raise InvalidInput(f"the class {name!r} must be a subclass of {base.__name__}; it is {shown(kind)}")
    return kind


def dumps(schedule: Any, kinds: Kinds) -> str:
    """The JSON text of a schedule."""
    return json.dumps({"gradus.schedule": VERSION, "schedule": _encoded(schedule, kinds)}, allow_nan=False)


def _encoded(value: Any, kinds: Kinds) -> Any:
    if isinstance(value, Span):
        less = {"less": [_encoded(one, kinds) for one in value.less]} if value.less else {}
        return {"span": value.unit, "amount": value.amount, **less}
    if isinstance(value, tuple):
        return [_encoded(member, kinds) for member in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    kind = name_of(type(value), kinds)
    if kind is None:
        raise InvalidInput(
            f"{value!r} can't be saved: nothing can be imported by the name of its class; "
            f"define it at the top level of a module, not in the script that is run"
        )
    if callable(saved := getattr(value, "_saved_fields", None)):  # a kind that doesn't save its fields as they stand
        return {"kind": kind, **saved()}
    return {"kind": kind, **{field.name: _encoded(getattr(value, field.name), kinds) for field in fields(value)}}


def loads(text: str, base: type, kinds: Kinds, *, trusted: bool) -> Any:
    """The schedule of a JSON text, of one of the `kinds`; another subclass of `base` only if the text is trusted."""
    document = _document(text)
    version = document["gradus.schedule"]
    if not is_whole(version, VERSION, VERSION):
        raise InvalidInput(f"this schedule has version {shown(version)}; this Gradus reads version {VERSION}: update Gradus")
    if unknown := document.keys() - {"gradus.schedule", "schedule"}:
        raise InvalidInput(f"a schedule's JSON has no field {shown(min(unknown))}")
    schedule = _Reader(base, kinds, trusted).value(document.get("schedule"))
    if not isinstance(schedule, base):
        raise InvalidInput(f"the JSON's field 'schedule' must hold a schedule; got {shown(document.get('schedule'))}")
    return schedule


def _document(text: Any) -> dict[str, Any]:
    if not isinstance(text, str):
        raise InvalidInput(f"a schedule is read from JSON text; got {type(text).__name__}")
    if len(text) > _LONGEST:
        raise InvalidInput(f"a schedule's JSON has at most {_LONGEST:,} characters; this has {len(text):,}")
    try:
        document = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_repeats)
    except InvalidInput:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"this is not JSON: {error}") from None
    if not isinstance(document, dict) or "gradus.schedule" not in document:
        raise InvalidInput('this JSON is no schedule: it must be an object with "gradus.schedule" and "schedule"')
    return document


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of a name that stands in it twice it couldn't be said which value is meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise InvalidInput(f"a schedule's JSON gives each field once; {shown(max(names, key=names.count))} is given again")
    return found


def _refuse_constant(name: str) -> Any:
    raise InvalidInput(f"a schedule's numbers are finite; got {name}")


@dataclass(frozen=True)
class _Reader:
    base: type
    kinds: Kinds
    trusted: bool

    def value(self, value: Any, depth: int = 0) -> Any:
        if depth > _DEEPEST:
            raise InvalidInput(f"this schedule is nested more than {_DEEPEST} levels deep")
        if isinstance(value, list):
            return tuple(self.value(member, depth + 1) for member in value)
        if not isinstance(value, dict):
            return value
        if "span" in value:
            return _span(value)
        kind = self.kind(value.get("kind"))
        return _built(kind, {name: self.value(member, depth + 1) for name, member in value.items() if name != "kind"})

    def kind(self, name: Any) -> type:
        kind = self.kinds.get(FORMER_NAMES.get(name, name)) if isinstance(name, str) else None
        if kind is None and not (isinstance(name, str) and ":" in name):
            hint = did_you_mean(name, self.kinds)
            raise InvalidInput(
                f"unknown kind of schedule: {shown(name)}{hint}; this Gradus knows {', '.join(sorted(self.kinds))}"
            )
        if not self.trusted and (kind is None or getattr(kind, "_imports", False)):
            what = f"{shown(name)} is a class" if kind is None else f"a {name} names a function"
            raise InvalidInput(
                f"{what} to import, and importing runs code; if you wrote this JSON yourself, pass trusted=True"
            )
        found: type = kind_of(name, self.base) if kind is None else kind
        return found


def _span(value: dict[str, Any]) -> Span:
    if unknown := value.keys() - {"span", "amount", "less"}:
        raise InvalidInput(f"a span has no field {shown(min(unknown))}; it has span, amount and less")
    less = value.get("less", [])
    if not isinstance(less, list) or any(isinstance(one, dict) and one.keys() != {"span", "amount"} for one in less):
        raise InvalidInput(f"what a span is lessened by must be a list of whole numbers and spans; got {shown(less)}")
    parts = [Span(one["span"], one["amount"]) if isinstance(one, dict) else one for one in less]
    return Span(value["span"], value.get("amount"), tuple(parts))


def _built(kind: type, given: dict[str, Any]) -> Any:
    known = [field.name for field in fields(kind)]
    if unknown := given.keys() - set(known):
        hint = did_you_mean(min(unknown), known)
        raise InvalidInput(f"{kind.__name__} has no field {shown(min(unknown))}{hint}; it has {', '.join(known) or 'none'}")
    try:
        return kind(**given)
    except TypeError as error:  # a field without a default is absent
        raise InvalidInput(f"{kind.__name__} can't be made from fields {shown(sorted(given))}: {error}") from None
