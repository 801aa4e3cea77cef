"""What can be read of a damaged store, moved into a new one."""

import secrets
import shutil
import sqlite3
from contextlib import closing, suppress
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from gradus.errors import GradusError
from gradus.files import open_file
from gradus.runs import Row
from gradus.store import Store, StoredRun, contradictions
from gradus.store.header import LENGTH, made_anew, page_sizes
from gradus.store.opening import asked, guard, is_todays

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
    beside, scratch = (path.parent / f".{path.name}.{secrets.token_hex(4)}" for _ in range(2))
    try:
        trouble = _trouble(path)
        if not trouble:
            return Repaired(0, 0, None)
        with closing(_mended(path, scratch, trouble)) as old:
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
        for one in (beside, scratch):
            for ending in ("", "-wal", "-shm"):
                with suppress(OSError):
                    Path(f"{one}{ending}").unlink()
    return Repaired(len(saved), sum(one.epochs for one in saved), kept)


def _trouble(path: Path) -> GradusError | list[str]:
    """Why a store can't be opened, or what is wrong with what is in it."""
    try:
        with Store(path, create=False) as store:
            return store.check()
    except GradusError as error:
        if not path.is_file():
            raise
        return error


def _mended(path: Path, scratch: Path, trouble: GradusError | list[str]) -> sqlite3.Connection:
    """A copy of a store, with what is in its log, under a header that has been made anew.

    Raises:
        GradusError: this isn't a store. One that can't be opened must have today's tables to be taken for one.
    """
    for page_size in page_sizes(_beginning(path)):
        shutil.copyfile(path, scratch)
        if Path(f"{path}-wal").exists():
            shutil.copyfile(f"{path}-wal", f"{scratch}-wal")
        with scratch.open("r+b") as file:
            file.write(made_anew(page_size, scratch.stat().st_size))
        connection = sqlite3.connect(scratch, isolation_level=None)
        with suppress(sqlite3.Error, UnicodeDecodeError):
            guard(connection)
            if is_todays(connection) or isinstance(trouble, list):
                return connection
        connection.close()
    raise trouble if isinstance(trouble, GradusError) else GradusError(f"nothing of {path} can be read; it is as it was")


def _beginning(path: Path) -> bytes:
    with open_file(path) as file:
        return file.read(LENGTH).ljust(LENGTH, b"\0")


def _readable(connection: sqlite3.Connection, table: str, *key: str) -> list[tuple[Any, ...]]:
    """The entries before the first damage and those after the last."""
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for direction in ("", " DESC"):
        order = ", ".join(f"{column}{direction}" for column in key)
        with suppress(sqlite3.Error, UnicodeDecodeError):
            for values in asked(connection, f"SELECT * FROM {table} ORDER BY {order}"):
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
