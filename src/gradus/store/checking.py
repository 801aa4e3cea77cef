"""What is wrong with a store's file and with what it holds."""

import itertools
import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from gradus.store import header
from gradus.store.opening import asked, known_version
from gradus.store.records import Status
from gradus.store.tables import ROWS, RUNS, TABLES, VERSION, Table

__all__ = ["contradictions", "damages"]

_MOST = 20  # sentences of one kind
Record = Sequence[Any]


def damages(connection: sqlite3.Connection) -> Iterator[str]:
    """What is wrong with a store, a sentence each.

    Raises:
        sqlite3.Error: it can't be read.
    """
    yield from header.damages(_beginning(connection))
    yield from (text for (text,) in connection.execute(f"PRAGMA integrity_check({_MOST})").fetchall() if text != "ok")
    if known_version(connection) != VERSION:
        yield "its tables aren't those of a store"
    for table, _, parent, _ in connection.execute("PRAGMA foreign_key_check").fetchmany(_MOST):
        yield f"an entry in {table} belongs to none of the {parent}"
    for table in TABLES:
        yield from itertools.islice(_damaged(connection, table), _MOST)
    whole = [record for record in asked(connection, "SELECT * FROM runs ORDER BY id") if RUNS.is_whole(record)]
    for record in whole:
        rows = list(asked(connection, "SELECT * FROM rows WHERE run = ? ORDER BY step", (record[0],)))
        yield from (f"run {record[0]}: {text}" for text in contradictions(record, rows))


def _beginning(connection: sqlite3.Connection) -> bytes:
    """The header, as SQLite sees it, whose locks are lost where a process looks into the file itself."""
    return connection.serialize()[: header.LENGTH] if hasattr(connection, "serialize") else b""


def _damaged(connection: sqlite3.Connection, table: Table) -> Iterator[str]:
    for record in asked(connection, f"SELECT * FROM {table.name}"):
        if not table.is_whole(record):
            key = ", ".join(
                f"{name} {value!r}" for name, value in zip(table.columns, record[: len(table.key)], strict=False)
            )
            yield f"the entry of {key} in {table.name} isn't as it was written"


def contradictions(run: Record, rows: Sequence[Record]) -> Iterator[str]:
    """What the records of a run and of its rows say that can't be."""
    known = RUNS.named(run)
    if not _is_specification(known["specification"]):
        yield "its specification can't be read"
    if known["status"] not in get_args(Status):
        yield f"its status is {known['status']!r}"
    numbers = [ROWS.named(row)["number"] for row in rows]
    if numbers != list(range(1, len(numbers) + 1)):
        yield "not all of its rows are there"
    elif known["rows"] not in (None, len(rows)):
        yield f"it had {known['rows']} rows when it ended, and has {len(rows)}"


def _is_specification(text: Any) -> bool:
    """Whether a text is of a run, be it a newer Gradus' or with functions that aren't imported from a file."""
    try:
        return "gradus.run" in json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return False
