"""Stores of version 1: a row was eight numbers of one epoch of a classification, and a sweep was a name."""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

from gradus.errors import GradusError
from gradus.rows import Row
from gradus.runs import Run
from gradus.store.records import numbers_of
from gradus.store.tables import ROWS, RUNS, SWEEPS, Record, Table

__all__ = ["DEFINITIONS", "OLD_ROWS", "OLD_RUNS", "converted"]

_KINDS = {int: "INTEGER", float: "REAL", str: "TEXT"}
OLD_RUNS: dict[str, type] = {
    "id": int, "sweep": str, "name": str, "seed": int, "specification": str, "conditions": str, "status": str,
    "message": str, "created": float,
}  # fmt: skip
OLD_ROWS: dict[str, type] = {
    "run": int, "epoch": int, "step": int, "lr": float, "train_loss": float, "train_accuracy": float, "test_loss": float,
    "test_accuracy": float, "seconds": float,
}  # fmt: skip
DEFINITIONS = [
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        sweep TEXT NOT NULL,
        name TEXT NOT NULL,
        seed INTEGER NOT NULL,
        specification TEXT NOT NULL,
        conditions TEXT NOT NULL,
        status TEXT NOT NULL,
        message TEXT NOT NULL DEFAULT '',
        created REAL NOT NULL
    )""",
    "CREATE INDEX runs_by_sweep ON runs (sweep)",
    f"""
    CREATE TABLE rows (
        run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        {", ".join(f"{name} {_KINDS[kind]} NOT NULL" for name, kind in OLD_ROWS.items() if name != "run")},
        PRIMARY KEY (run, epoch)
    ) WITHOUT ROWID""",
]
_RUNNING = ("running", "interrupted")


def converted(runs: Iterable[Sequence[Any]], rows: Iterable[Sequence[Any]]) -> dict[Table, list[Record]]:
    """Today's records, with every number of the old ones.

    Args:
        runs: the old records of runs; those that are damaged are left out.
        rows: those of rows.
    """
    whole = [dict(zip(OLD_RUNS, one, strict=True)) for one in runs if _is_whole(one, OLD_RUNS)]
    known = [dict(zip(OLD_ROWS, one, strict=True)) for one in rows if _is_whole(one, OLD_ROWS)]
    known.sort(key=lambda row: (row["run"], row["epoch"]))
    of_runs = {number: list(some) for number, some in itertools.groupby(known, key=lambda row: row["run"])}
    sweeps: dict[str, list[dict[str, Any]]] = {}
    for one in sorted(whole, key=lambda one: one["id"]):
        sweeps.setdefault(one["sweep"], []).append(one)
    records: dict[Table, list[Record]] = {SWEEPS: [], RUNS: [], ROWS: []}
    for number, (name, members) in enumerate(sweeps.items(), start=1):
        records[SWEEPS].append(_sweep(number, name, members))
        for one in members:
            run, its_rows = _run(number, one, of_runs.get(one["id"], []))
            records[RUNS].append(run)
            records[ROWS] += its_rows
    return records


def _is_whole(record: Sequence[Any], kinds: dict[str, type]) -> bool:
    return [type(value) for value in record] == list(kinds.values())


def _sweep(number: int, name: str, members: list[dict[str, Any]]) -> Record:
    """The sweep of that many runs; its name was "compare", a moment and a process."""
    cut = any(one["status"] in _RUNNING for one in members)
    created = min(one["created"] for one in members)
    return SWEEPS.sealed((number, name.split(" ")[0], name, "interrupted" if cut else "finished", created, "{}"))


def _run(sweep: int, old: dict[str, Any], rows: list[dict[str, Any]]) -> tuple[Record, list[Record]]:
    """A run and its rows up to the first that is missing; without them all it is to be done again.

    The specification stays as it is, for `Run.from_json` reads it. When the run ended wasn't kept.
    """
    unbroken = [row for epoch, row in enumerate(rows, start=1) if row["epoch"] == epoch]
    records = _rows(old["id"], unbroken)
    lost = len(records) < len(rows)
    try:
        run = Run.from_json(old["specification"])
        identity = run.identity
        lost = lost or (old["status"] == "finished" and len(rows) < getattr(run.length, "amount", 0))
    except GradusError:
        identity = ""
    status = "interrupted" if lost else old["status"]
    beginning = (old["id"], sweep, old["name"], identity, status, old["message"], old["created"])
    held = None if status == "running" else len(records)
    return RUNS.sealed((*beginning, None, held, old["conditions"], old["specification"])), records


def _rows(run: int, old: list[dict[str, Any]]) -> list[Record]:
    """Rows of the same numbers, whose seconds were an epoch's and are the run's so far."""
    seconds, last = 0.0, -1
    found: list[Record] = []
    for one in old:
        seconds += one["seconds"]
        if not (last < one["step"] and math.isfinite(seconds)):
            continue  # somebody has written it
        last = one["step"]
        row = Row(
            one["step"],
            {
                "epoch": float(one["epoch"]),
                "lr": one["lr"],
                "train/loss": one["train_loss"],
                "train/accuracy": one["train_accuracy"],
                "test/loss": one["test_loss"],
                "test/accuracy": one["test_accuracy"],
                "time/seconds": seconds,
            },
        )
        found.append(ROWS.sealed((run, row.step, len(found) + 1, numbers_of(row))))
    return found
