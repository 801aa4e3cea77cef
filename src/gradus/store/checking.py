"""What is wrong with a store's file and with what it holds."""

import itertools
import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import get_args

from gradus.store import header
from gradus.store.opening import asked, known_version
from gradus.store.records import Status, numbers_from
from gradus.store.tables import ROWS, RUNS, TABLES, VERSION, Record, Table

__all__ = ["contradictions", "damages", "is_sound"]

_MOST = 20  # sentences of one kind


def damages(connection: sqlite3.Connection) -> Iterator[str]:
    """What is wrong with a store, a sentence each.

    Raises:
        sqlite3.Error: it can't be read.
    """
    yield from header.damages(_beginning(connection))
    yield from (text for (text,) in asked(connection, f"PRAGMA integrity_check({_MOST})") if text != "ok")
    if known_version(connection) != VERSION:
        yield "its tables aren't those of a store"
    for name, _, parent, _ in itertools.islice(asked(connection, "PRAGMA foreign_key_check"), _MOST):
        yield f"an entry in {name} belongs to none of the {parent}"
    for table in TABLES:
        yield from itertools.islice(_unsound(connection, table), _MOST)
    rows: Iterator[Record] = iter(asked(connection, "SELECT * FROM rows ORDER BY run, step"))
    of_runs = {run: list(some) for run, some in itertools.groupby(rows, key=lambda row: row[0])}
    for record in asked(connection, "SELECT * FROM runs ORDER BY id"):
        if is_sound(RUNS, record):
            yield from (f"run {record[0]}: {text}" for text in contradictions(record, of_runs.get(record[0], [])))


def _beginning(connection: sqlite3.Connection) -> bytes:
    """The header, as SQLite sees it, whose locks are lost where a process looks into the file itself."""
    return connection.serialize()[: header.LENGTH] if hasattr(connection, "serialize") else b""


def _unsound(connection: sqlite3.Connection, table: Table) -> Iterator[str]:
    for record in asked(connection, f"SELECT * FROM {table.name}"):
        if not table.is_whole(record):
            yield f"{table.called(record)} isn't as it was written"
        elif not is_sound(table, record):
            yield f"{table.called(record)} can't be read"


def is_sound(table: Table, record: Record) -> bool:
    """Whether a record is as it was written, and means something: in a crafted file the hash may fit anything."""
    if not table.is_whole(record):
        return False
    known = table.named(record)
    try:
        if table is ROWS:
            numbers_from(known["step"], known["numbers"])
        texts = [json.loads(known[column]) for column in ("settings", "conditions", "specification") if column in known]
        return all(isinstance(text, dict) for text in texts) and known.get("status", "running") in get_args(Status)
    except (ValueError, RecursionError):
        return False


def contradictions(run: Record, rows: Sequence[Record]) -> Iterator[str]:
    """What the records of a run and of its rows say that can't be."""
    numbers = [ROWS.named(row)["number"] for row in rows]
    if numbers != list(range(1, len(numbers) + 1)):
        yield "not all of its rows are there"
    elif (entered := RUNS.named(run)["rows"]) not in (None, len(rows)):
        yield f"it had {entered} rows when it ended, and has {len(rows)}"
