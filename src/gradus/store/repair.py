"""What can be read of a damaged store, moved into a new one."""

import secrets
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

from gradus.errors import GradusError
from gradus.files import open_file
from gradus.store import Store, version_1
from gradus.store.checking import contradictions, is_sound
from gradus.store.file import StoreFile
from gradus.store.header import LENGTH, made_anew, page_sizes
from gradus.store.opening import asked, guard, known_version
from gradus.store.tables import NOTES, REQUESTS, ROWS, RUNS, SWEEPS, TABLES, Record, Table

__all__ = ["Repaired", "repair_store"]

_ENDLESS = 2**53  # no store counts that far: such a number is damaged
_ENDED = ("finished", "diverged", "failed", "stopped")  # such a run isn't gone on with


class Repaired(NamedTuple):
    """What became of a store.

    Args:
        runs: how many were saved.
        rows: how many of their rows.
        old: where the old file is; None where nothing had to be done.
        damaged: how many runs and rows could be read, but weren't as they had been written, or belonged to such; only the
            old file has them.
    """

    runs: int
    rows: int
    old: Path | None
    damaged: int


def repair_store(path: Path) -> Repaired:
    """Put what can be read of a damaged store into a new one in its place.

    The old file is kept next to it. Damaged entries stay there. A run that had ended keeps its other rows, if the
    last is there; any other that has lost rows keeps those before the first that is lost, and is entered as interrupted, so
    that it is done again.

    Args:
        path: the store. No other process may be using it.

    Raises:
        GradusError: it isn't there, nothing of it can be read, or the new one can't be written; the old is where it was.
    """
    beside, scratch = (path.parent / f".{path.name}.{secrets.token_hex(4)}" for _ in range(2))
    try:
        trouble = _trouble(path)
        if not trouble:
            return Repaired(0, 0, None, 0)
        with closing(_mended(path, scratch, trouble)) as old:
            found, read = _records(old)
            given = _numbers_given(old)
        whole = _consistent(found)
        with closing(StoreFile(beside, create=True)) as new, new.writing():
            for table in TABLES:
                new.connection.executemany(table.insertion, whole[table])
            new.connection.executemany("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", given)
        kept = _set_aside(path)
        beside.replace(path)
    except (OSError, sqlite3.Error) as error:
        raise GradusError(
            f"{path} can't be repaired: {getattr(error, 'strerror', None) or error}; it is as it was"
        ) from None
    finally:
        for one in (beside, scratch):
            for ending in ("", "-wal", "-shm", "-journal"):
                with suppress(OSError):
                    Path(f"{one}{ending}").unlink()
    runs, rows = len(whole[RUNS]), len(whole[ROWS])
    return Repaired(runs, rows, kept, read - runs - rows)


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
        GradusError: this isn't a store. One that can't be opened must have a store's tables to be taken for one.
    """
    for page_size in page_sizes(_beginning(path)):
        shutil.copyfile(path, scratch)
        for ending in ("-wal", "-journal"):
            if Path(f"{path}{ending}").exists():
                shutil.copyfile(f"{path}{ending}", f"{scratch}{ending}")
        with scratch.open("r+b") as file:
            file.write(made_anew(page_size, scratch.stat().st_size))
        connection = sqlite3.connect(scratch, isolation_level=None)
        with suppress(sqlite3.Error, UnicodeDecodeError):
            guard(connection)
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # a log needs no shared memory then
            if known_version(connection) or isinstance(trouble, list):
                return connection
        connection.close()
    raise trouble if isinstance(trouble, GradusError) else GradusError(f"nothing of {path} can be read; it is as it was")


def _beginning(path: Path) -> bytes:
    with open_file(path) as file:
        return file.read(LENGTH).ljust(LENGTH, b"\0")


def _records(old: sqlite3.Connection) -> tuple[dict[Table, list[Record]], int]:
    """Today's records of those that are as they were written, and how many runs and rows could be read at all."""
    if known_version(old) == 1:
        runs, rows = _readable(old, "runs", "id"), _readable(old, "rows", "run", "epoch")
        found = version_1.converted(runs, rows)
    else:
        found = {table: _readable(old, table.name, *table.key) for table in TABLES}
        runs, rows = found[RUNS], found[ROWS]
    sound = {table: [one for one in found.get(table, ()) if is_sound(table, one)] for table in TABLES}
    return sound, len(runs) + len(rows)


def _numbers_given(old: sqlite3.Connection) -> list[Record]:
    """The last number that was given in each table, for those of lost records aren't given again."""
    with suppress(sqlite3.Error, UnicodeDecodeError):
        found = list(asked(old, "SELECT seq, name FROM sqlite_sequence"))
        return [one for one in found if isinstance(one[0], int) and one[0] < _ENDLESS]
    return []


def _readable(connection: sqlite3.Connection, table: str, *key: str) -> list[Record]:
    """The entries before the first damage and those after the last."""
    found: dict[Record, Record] = {}
    for direction in ("", " DESC"):
        order = ", ".join(f"{column}{direction}" for column in key)
        with suppress(sqlite3.Error, UnicodeDecodeError):
            for values in asked(connection, f"SELECT * FROM {table} ORDER BY {order}"):
                found.setdefault(values[: len(key)], values)
    return list(found.values())


def _consistent(found: dict[Table, list[Record]]) -> dict[Table, list[Record]]:
    """What can be entered without contradictions: each run with rows that belong together, in a sweep."""
    runs, rows = [], []
    of_runs: dict[int, list[Record]] = {}
    for row in sorted(found[ROWS]):
        of_runs.setdefault(row[0], []).append(row)
    for run in found[RUNS]:
        run, its_rows = _rejoined(RUNS.named(run), of_runs.get(run[0], []))
        if not any(contradictions(run, its_rows)):
            runs.append(run)
            rows += its_rows
    known = {run[0] for run in runs}
    return {
        SWEEPS: found[SWEEPS] + _missing_sweeps(found[SWEEPS], runs),
        RUNS: runs,
        ROWS: rows,
        REQUESTS: [request for request in found[REQUESTS] if request[1] in known],
        NOTES: [note for note in found[NOTES] if note[0] in known],
    }


def _rejoined(run: dict[str, Any], rows: list[Record]) -> tuple[Record, list[Record]]:
    """A run without the rows that are lost, and what is left of its rows."""
    numbers = [ROWS.named(row)["number"] for row in rows]
    if numbers == list(range(1, len(rows) + 1)) and run["rows"] in (None, len(rows)):
        return RUNS.sealed(run.values()), rows
    if run["status"] in _ENDED and numbers[-1:] == [run["rows"]]:
        lost = f"damaged rows left out: {run['rows'] - len(rows)}"
        run = run | {"message": f"{run['message']}; {lost}".removeprefix("; ")}
    else:
        rows = [row for place, (row, number) in enumerate(zip(rows, numbers, strict=True), start=1) if place == number]
        run = run | {"status": "interrupted"}
    rows = [ROWS.sealed((ROWS.named(row) | {"number": place}).values()) for place, row in enumerate(rows, start=1)]
    return RUNS.sealed((run | {"rows": len(rows)}).values()), rows


def _missing_sweeps(found: Sequence[Record], runs: Sequence[Record]) -> list[Record]:
    """Sweeps for runs whose own is lost."""
    known = {sweep[0] for sweep in found}
    created = {run[1]: RUNS.named(run)["created"] for run in reversed(runs) if run[1] not in known}  # its first run's
    return [SWEEPS.sealed((number, "lost", "", "interrupted", moment, "{}")) for number, moment in created.items()]


def _set_aside(path: Path) -> Path:
    """Copy the damaged file, and what SQLite keeps next to it, to a name of its own."""
    kept = path.with_name(f"{path.name}.damaged-{secrets.token_hex(4)}")
    shutil.copy2(path, kept)
    for ending in ("-wal", "-shm", "-journal"):
        aside = Path(f"{path}{ending}")
        if aside.exists():  # it belongs to the old file, and must not be taken for the new one's
            shutil.move(aside, f"{kept}{ending}")
    return kept
