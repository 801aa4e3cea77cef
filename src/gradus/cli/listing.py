"""Runs of a store as tables and plain values: what `gradus runs` prints."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from gradus.cli.line import line_of
from gradus.errors import GradusError, InvalidInput
from gradus.metric_names import heading, shown
from gradus.rows import Row
from gradus.runs import Run
from gradus.store import Store, StoredRun, StoredSweep

__all__ = ["Listed", "differences", "listed", "pictured", "table_of", "whole"]

Table = tuple[Sequence[str], Sequence[Sequence[str]]]

_LONG = re.compile(r"\d+\.\d{5,}(?:e[-+]\d+)?")  # a number with more digits than a table has room for
_SAID_BY_COLUMNS = ("name", "task", "optimizer", "lr", "model", "batch_size", "seed", "schedules")
_ALWAYS = ("run", "name", "step", "status")  # columns that are shown though all runs agree
_ORDER = ("run", "name", "task", "optimizer", "rate", "schedule", "model", "batch", "seed", "step", "objective")


@dataclass(frozen=True)
class Listed:
    """A stored run, ready to be shown.

    Args:
        stored: the run.
        task: what its sweep says of its task: its objective among others.
        last: its last row that has the objective, or its last row; None where there is none.
    """

    stored: StoredRun
    task: Mapping[str, Any]
    last: Row | None

    @cached_property
    def run(self) -> Run | None:
        """Its specification; None where that is damaged."""
        try:
            return self.stored.run
        except GradusError:
            return None

    @property
    def objective(self) -> str | None:
        """The name of what its task chooses by; None where that isn't known."""
        said = self.task.get("objective")
        if not isinstance(said, str) or self.run is None:
            return None
        name = said.rpartition(" ")[0]
        return name if self.run.valid else name.replace("valid/", "test/", 1)

    @property
    def specification(self) -> dict[str, Any]:
        """What it specifies, as JSON has it; nothing where that is damaged."""
        return {} if self.run is None else {k: v for k, v in json.loads(self.run.to_json()).items() if k != "gradus.run"}

    @property
    def conditions(self) -> dict[str, Any]:
        """What else its bits depend on; nothing where that is damaged."""
        try:
            return self.stored.conditions
        except GradusError:
            return {}

    @property
    def value(self) -> float | None:
        """The objective, as it was last."""
        return None if self.objective is None or self.last is None else self.last.get(self.objective)

    def columns(self) -> dict[str, Any]:
        """What a table or a filter knows it by."""
        run = self.run
        of_run = {
            "task": run.task if run else "?",
            "optimizer": run.optimizer if run else "?",
            "rate": run.lr if run else None,
            "schedule": _schedules(run) if run else "?",
            "model": run.model if run else None,
            "batch": run.batch_size if run else None,
            "seed": run.seed if run else None,
        }
        one = self.stored
        seconds = None if self.last is None else self.last.get("time/seconds")
        ends = {
            "step": one.step,
            "objective": self.value,
            "seconds": seconds,
            "status": one.status,
            "began": _day(one.created),
        }
        return {"run": one.id, "name": one.name or "–", **of_run, **ends}

    def plain(self, rows: Iterable[Row] | None = None) -> dict[str, Any]:
        """Everything as JSON has it; NaN and infinity, which JSON hasn't, as text.

        Args:
            rows: all its rows, where they are wanted.
        """
        found = {name: _finite(value) for name, value in self.columns().items()}
        found |= {"objective": self.objective, "value": _finite(self.value), "message": self.stored.message}
        found["identity"] = self.stored.identity
        if rows is not None:
            found |= {"specification": self.specification, "conditions": self.conditions}
            found["rows"] = [{"step": row.step, **{name: _finite(value) for name, value in row.items()}} for row in rows]
        return found


def listed(store: Store, stored: Sequence[StoredRun]) -> list[Listed]:
    """Runs of a store with what is shown of them."""
    tasks = {sweep.id: _tasks(sweep) for sweep in store.sweeps()}
    return [_listed(store, one, tasks.get(one.sweep, {})) for one in stored]


def _tasks(sweep: StoredSweep) -> Any:
    try:
        return sweep.settings.get("tasks", {})
    except GradusError:  # it is damaged
        return {}


def _listed(store: Store, one: StoredRun, tasks: Any) -> Listed:
    run = Listed(one, {}, None).run
    task = tasks.get(run.task) if run is not None and isinstance(tasks, dict) else None
    bare = Listed(one, task if isinstance(task, dict) else {}, None)
    rows = store.rows(one.id) if one.status != "damaged" else []
    last = next((row for row in reversed(rows) if bare.objective in row), rows[-1] if rows else None)
    return replace(bare, last=last)


def table_of(found: Sequence[Listed], sort: str) -> tuple[Table, str]:
    """A line for each run, in columns in which they differ; and what all have in common, as a sentence."""
    known = [one.columns() for one in found]
    varied = [name for name in known[0] if name in _ALWAYS or len({str(one[name]) for one in known}) > 1]
    names = [name for name in _ORDER if name in varied] + [name for name in varied if name not in _ORDER]
    objectives = {one.objective for one in found}
    only = next(iter(objectives)) if len(objectives) == 1 else None
    label = "objective" if only is None else heading(only)
    known.sort(key=lambda one: _key(one[sort]))
    lines = [[_cell(name, one[name], only) for name in names] for one in known]
    unsaid = [name for name in known[0] if name not in varied and known[0][name] is not None]
    same = ", ".join(f"{label if name == 'objective' else name} {_cell(name, known[0][name], only)}" for name in unsaid)
    return ([label if name == "objective" else name for name in names], lines), f"All: {same}." if same else ""


def _cell(name: str, value: Any, objective: str | None) -> str:
    if value is None:
        return "–"
    if name == "objective":
        return shown(objective or "", value)
    if name == "seconds":
        return f"{value:.1f}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _key(value: Any) -> tuple[int, Any]:
    """Numbers before text, and what isn't there last."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return 2, 0
    return (0, value) if isinstance(value, (int, float)) else (1, str(value))


def whole(one: Listed, rows: Sequence[Row]) -> tuple[Table, Table, str]:
    """All that is known of a run: its facts, its rows, and the line that trains it once more."""
    known = one.columns()
    label = "objective" if one.objective is None else heading(one.objective)
    facts = [
        [label if name == "objective" else name, _cell(name, value, one.objective)]
        for name, value in known.items()
        if value is not None
    ]
    if one.stored.message:
        facts.append(["message", one.stored.message])
    facts.append(["identity", one.stored.identity])
    facts += [[name, value] for name, value in _specified(one.run).items() if name not in _SAID_BY_COLUMNS]
    facts += [[name, value] for name, value in _conditions(one).items()]
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [[str(row.step), *(shown(name, row[name]) if name in row else "–" for name in names)] for row in rows]
    return (("", ""), facts), (["step", *map(heading, names)], lines), line_of(one.run) if one.run else ""


def differences(found: Sequence[Listed]) -> Table:
    """What tells runs apart, a line for each fact and a column for each run; their last numbers included."""
    facts = [_facts(one) for one in found]
    names = list(dict.fromkeys(name for one in facts for name in one))
    differing = [name for name in names if len({one.get(name, "–") for one in facts}) > 1]
    return ["", *(f"run {one.stored.id}" for one in found)], [
        [name, *(one.get(name, "–") for one in facts)] for name in differing
    ]


def _facts(one: Listed) -> dict[str, str]:
    facts = {"name": one.stored.name, "status": one.stored.status, "step": str(one.stored.step)}
    facts |= _specified(one.run) | _conditions(one) | {"name": one.stored.name or "–"}
    results = {name: value for name, value in (one.last or {}).items() if "/" in name or name not in facts}
    return facts | {heading(name): shown(name, value) for name, value in results.items()}


def _conditions(one: Listed) -> dict[str, str]:
    """What else its bits depend on; the task and the data by digests of theirs."""
    return {f"{name} digest" if name in ("task", "data") else name: str(value) for name, value in one.conditions.items()}


def pictured(store: Store, found: Sequence[Listed]) -> bytes:
    """The runs' curves as PNG.

    Raises:
        InvalidInput: a run's specification can't be read, or names functions of somebody's own.
    """
    from gradus.plots import png
    from gradus.report import Comparison, Finished, TaskInfo

    runs = []
    for one in found:
        if one.run is None:
            raise InvalidInput(f"run {one.stored.id} can't be drawn: its specification can't be read without running code")
        rows = store.rows(one.stored.id)
        runs.append(Finished(one.run.replace(name=one.stored.name or None), rows, one.stored.status, one.stored.message))
    tasks = {one.run.task: TaskInfo(**one.task) for one in found if one.run is not None and one.task}
    return png(Comparison(runs, tasks).figure())


def _specified(run: Run | None) -> dict[str, str]:
    """A run's arguments as a person writes them; those that are None are left out."""
    values = {} if run is None else {field.name: getattr(run, field.name) for field in fields(run)}
    return {name: _written(value) for name, value in values.items() if value is not None and value != {}}


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_written(one)}" for name, one in value.items())
    return value if isinstance(value, str) else repr(value)


def _schedules(run: Run) -> str:
    named = {name: _LONG.sub(lambda found: f"{float(found[0]):.4g}", repr(one)) for name, one in run.schedules.items()}
    return ", ".join(text if name == "lr" else f"{name} {text}" for name, text in named.items()) or "–"


def _finite(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _day(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):  # a damaged store may say anything
        return "–"
