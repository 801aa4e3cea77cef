"""What can be read of a damaged store, moved into a new one."""

import secrets
import shutil
import sqlite3
from contextlib import suppress
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from gradus.errors import GradusError
from gradus.runs import Row
from gradus.store import Store, StoredRun, contradictions

__all__ = ["Repaired", "repair_store"]


class Repaired(NamedTuple):
    """How many runs and rows were saved, and where the old file is; None where nothing had to be done."""

    runs: int
    rows: int
    old: Path | None


def repair_store(path: Path) -> Repaired:
    """Put what can be read of a damaged store into a new one in its place.

    The old file is kept beside it. A run that has lost rows is entered as interrupted, so that it is done again.

    Args:
        path: the store. No other process may be using it.

    Raises:
        GradusError: it isn't there, nothing of it can be read, or the new one can't be written; the old is where it was.
    """
    beside = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    try:
        with Store(path, create=False) as old:
            if not old.check():
                return Repaired(0, 0, None)
            runs, rows = _readable(old, "runs", "id"), _readable(old, "rows", "run", "epoch")
        with Store(beside) as new:
            _enter(new, "runs", runs)
            _enter(new, "rows", rows)
            _reopen(new)
            saved = new.runs()
        kept = _set_aside(path)
        beside.replace(path)
    except OSError as error:
        raise GradusError(f"{path} can't be repaired: {error.strerror or error}; it is as it was") from None
    finally:
        for ending in ("", "-wal", "-shm"):
            with suppress(OSError):
                Path(f"{beside}{ending}").unlink()
    return Repaired(len(saved), sum(one.epochs for one in saved), kept)


def _readable(store: Store, table: str, *key: str) -> list[tuple[Any, ...]]:
    """The entries before the first damage and those after the last."""
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for direction in ("", " DESC"):
        order = ", ".join(f"{column}{direction}" for column in key)
        with suppress(sqlite3.Error, UnicodeDecodeError):
            for values in store._connection.execute(f"SELECT * FROM {table} ORDER BY {order}"):
                found.setdefault(values[: len(key)], values)
    return list(found.values())


def _enter(store: Store, table: str, entries: list[tuple[Any, ...]]) -> None:
    with store._told(), store._transaction():
        for values in entries:
            # A row of a run that is lost, or values of another kind or number than were written, aren't entered.
            with suppress(sqlite3.IntegrityError, GradusError, TypeError):
                if table == "runs":
                    store._sound(StoredRun(*(*values, 0)))
                else:
                    store._sound(Row(*values[1:]))
                store._connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)


def _reopen(store: Store) -> None:
    """Enter runs that have lost rows as interrupted, with the epochs before the first that is lost.

    A run whose specification is lost can't be done again, and goes.
    """
    for one in store.runs():
        rows = store.rows(one.id)
        if not any(contradictions(one, rows)):
            continue
        whole = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1].epoch, enumerate(rows, start=1)))
        with store._told(), store._transaction():
            store._connection.execute("DELETE FROM rows WHERE run = ? AND epoch > ?", (one.id, whole))
        store.end(one.id, "interrupted")
        if any(contradictions(replace(one, status="interrupted"), rows[:whole])):
            with store._told(), store._transaction():
                store._connection.execute("DELETE FROM runs WHERE id = ?", (one.id,))


def _set_aside(path: Path) -> Path:
    """Copy the damaged file, and what SQLite keeps beside it, to a name of its own."""
    kept = path.with_name(f"{path.name}.damaged-{secrets.token_hex(4)}")
    shutil.copy2(path, kept)
    for ending in ("-wal", "-shm"):
        aside = Path(f"{path}{ending}")
        if aside.exists():  # it belongs to the old file, and must not be taken for the new one's
            shutil.move(aside, f"{kept}{ending}")
    return kept
