"""A comparison as JSON, and back: version 2 is written, version 1 is read too."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from gradus.errors import InvalidInput
from gradus.report.finished import Finished, TaskInfo
from gradus.rows import Row
from gradus.runs import Run

__all__ = ["opened", "written"]

_KEY = "gradus.comparison"
_VERSION = 2
_NOT_FINITE = ("NaN", "Infinity", "-Infinity")
_NAMES_IN_VERSION_1 = {  # of a row's numbers, all but its step and its seconds
    "epoch": "epoch",
    "lr": "lr",
    "train_loss": "train/loss",
    "train_accuracy": "train/accuracy",
    "test_loss": "test/loss",
    "test_accuracy": "test/accuracy",
}


def written(
    runs: Sequence[Finished],
    tasks: Mapping[str, TaskInfo],
    summary: Iterable[Mapping[str, Any]],
    conditions: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> str:
    """A comparison as strict JSON.

    Args:
        runs: its runs.
        tasks: what is known of their tasks.
        summary: each summary as JSON has it.
        conditions: those that all runs share.
        facts: the comparison's other fields.
    """
    document = {
        _KEY: _VERSION,
        "tasks": {name: info.to_json() for name, info in tasks.items()},
        "conditions": dict(conditions),
        **facts,
        "summary": list(summary),
        "runs": [_run(one, conditions) for one in runs],
    }
    return json.dumps(_strict(document), indent=1, allow_nan=False)


def _run(one: Finished, shared: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "run": json.loads(one.run.to_json()),
        "status": one.status,
        "message": one.message,
        "conditions": {name: value for name, value in one.conditions.items() if name not in shared},
        "rows": [{"step": row.step, "numbers": dict(row)} for row in one.rows],
    }


def _strict(value: Any) -> Any:
    """JSON has no number that isn't finite: these are texts, which `float` and JavaScript's `Number` read."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity"
    if isinstance(value, Mapping):
        return {name: _strict(inner) for name, inner in value.items()}
    return [_strict(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def opened(text: str, *, trusted: bool) -> dict[str, Any]:
    """The fields of a comparison, as its constructor takes them.

    Args:
        text: what `written` gave, of this version or an earlier one.
        trusted: as `Run.from_json` takes it.

    Raises:
        InvalidInput: it is no comparison, of a later version, or damaged.
    """
    document: Any
    try:
        document = _strict(json.loads(text))  # 1e999 is JSON, too
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"this is not JSON: {error}") from None
    version = document.get(_KEY) if isinstance(document, dict) else None
    if version is None:
        raise InvalidInput(f'this JSON is no comparison: it must be an object with "{_KEY}", as results.json is')
    if type(version) is not int or not 1 <= version <= _VERSION:
        raise InvalidInput(f"this comparison has version {version!r}; this Gradus reads versions up to {_VERSION}")
    try:
        return (_fields if version == _VERSION else _fields_of_version_1)(document, trusted)
    except InvalidInput as error:
        raise InvalidInput(f"this comparison can't be read: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InvalidInput(f"this comparison can't be read: {type(error).__name__} {error}") from None


def _fields(document: dict[str, Any], trusted: bool) -> dict[str, Any]:
    shared = document["conditions"]
    return {
        "runs": [
            Finished(
                Run.from_json(json.dumps(one["run"]), trusted=trusted),
                tuple(Row(row["step"], _numbers(row["numbers"])) for row in one["rows"]),
                _text(one["status"]),
                _text(one["message"]),
                {**shared, **one["conditions"]},
            )
            for one in document["runs"]
        ],
        "tasks": {name: TaskInfo(**info) for name, info in document["tasks"].items()},
        "seconds": document["seconds"],
        "kept": document["kept"],
        "settings": dict(document["settings"]),
    }


def _numbers(written: dict[str, Any]) -> dict[str, Any]:
    return {name: float(value) if value in _NOT_FINITE else value for name, value in written.items()}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"a task, status or message must be text; got {value!r}")
    return value


def _fields_of_version_1(document: dict[str, Any], trusted: bool) -> dict[str, Any]:
    conditions = dict(document["conditions"])
    workers = conditions.pop("workers")
    info = TaskInfo("valid/accuracy max", document["chance"], document["images"])
    return {
        "runs": [
            Finished(
                Run.from_json(json.dumps(one["run"]), trusted=trusted),
                _rows_of_version_1(one["rows"]),
                _text(one["status"]),
                _text(one["message"]),
                conditions,
            )
            for one in document["runs"]
        ],
        "tasks": {_text(document["task"]): info},
        "seconds": document["seconds"],
        "kept": document["kept"],
        "settings": {"workers": workers},
    }


def _rows_of_version_1(rows: list[dict[str, Any]]) -> tuple[Row, ...]:
    """Version 1 gave an epoch's own seconds; now they are those of the training so far."""
    seconds = accumulate(float(row["seconds"]) for row in rows)
    return tuple(
        Row(row["step"], {new: row[old] for old, new in _NAMES_IN_VERSION_1.items()} | {"time/seconds": so_far})
        for row, so_far in zip(rows, seconds, strict=True)
    )
