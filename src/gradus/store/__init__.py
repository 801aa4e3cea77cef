"""The store: one SQLite file with every run and its rows. The only room that knows SQLite.

Each row is a transaction of its own in write-ahead mode, so a process that dies takes no other row with it, and readers
and writers don't wait for each other.
"""

import json
import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, get_args

from gradus.errors import GradusError
from gradus.runs import Row, Run

__all__ = ["STORE_FILE", "Status", "Store", "StoredRun"]

STORE_FILE = "store.sqlite"  # its name in a folder of results

Status = Literal["running", "finished", "diverged", "failed", "interrupted"]

_APPLICATION_ID = 0x67726164  # "grad": tells our files from other SQLite files
_BUSY_SECONDS = 30.0
_PAUSE_SECONDS = 0.01
_KINDS: dict[Any, type] = {int: int, float: float}  # by a field's annotation; anything else is text
_Record = TypeVar("_Record", "Row", "StoredRun")
_ROW = [field.name for field in fields(Row)]
_SQL_TYPES = {field.name: "INTEGER" if field.type is int else "REAL" for field in fields(Row)}

# Migration k takes a store from version k to k + 1; a new store runs them all.
_MIGRATIONS = [
    f"""
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
    );
    CREATE INDEX runs_by_sweep ON runs (sweep);
    CREATE TABLE rows (
        run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        {", ".join(f"{name} {_SQL_TYPES[name]} NOT NULL" for name in _ROW)},
        PRIMARY KEY (run, epoch)
    ) WITHOUT ROWID;
    """,
]


@dataclass(frozen=True)
class StoredRun:
    """A run as the store knows it.

    Args:
        id: its number in this store.
        sweep: the sweep it belongs to.
        name: the name it was given.
        seed: its seed.
        specification: `Run.to_json()`.
        conditions: what else its bits depend on: device, threads and versions, as JSON.
        status: "running", "finished", "diverged", "failed" or "interrupted".
        message: why it ended as it did, where that needs saying.
        created: when it began, in seconds since 1970.
        epochs: how many epochs are in the store.
    """

    id: int
    sweep: str
    name: str
    seed: int
    specification: str
    conditions: str
    status: Status
    message: str
    created: float
    epochs: int


class Store:
    """The runs and rows in one SQLite file, which is made if it is absent.

    Args:
        path: the file.
        create: whether to make it; otherwise an absent file is an error.

    Raises:
        GradusError: the file can't be opened or made, is no store of Gradus, or is a newer version's.
    """

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        self.path = Path(path)
        with self._told():
            if not create and not self.path.is_file():
                raise GradusError(f"there is no store at {self.path}; `gradus compare` makes one, or name another file")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise
            self._identity = _identity(self.path)

    def close(self) -> None:
        """Close the file; what is in it is already safe."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _prepare(self) -> None:
        """Check whose file it is, before anything is written to it, and bring it to today's version."""
        self._connection.execute("PRAGMA foreign_keys = ON")
        if self._version() < len(_MIGRATIONS):
            self._write_ahead()
            with self._transaction("EXCLUSIVE"):
                self._migrate()

    def _version(self) -> int:
        """The version of the store; 0 where it is yet to be made."""
        with self._transaction("DEFERRED"):  # all in one look: another process may be making the store
            application, version, parts = (
                self._connection.execute(question).fetchone()[0]
                for question in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
            )
        if application != _APPLICATION_ID and (application or parts):
            raise GradusError(f"{self.path} is an SQLite file, but no store of Gradus; name another file")
        if version > len(_MIGRATIONS):
            raise GradusError(
                f"{self.path} was written by a newer Gradus (store version {version}, this one knows "
                f"{len(_MIGRATIONS)}); update Gradus, or name another file"
            )
        return int(version)

    def _write_ahead(self) -> None:
        """Write-ahead mode, which the file keeps. Here SQLite doesn't wait for other processes, so this does."""
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_SECONDS)
            else:
                return

    def _migrate(self) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]  # another process may have been faster
        for migration in _MIGRATIONS[version:]:
            for statement in migration.split(";"):
                self._connection.execute(statement)
        self._connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
        self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")

    # Writing

    def begin(self, sweep: str, run: Run, conditions: dict[str, Any]) -> int:
        """Enter a run as running.

        Args:
            sweep: the sweep it belongs to.
            run: its specification.
            conditions: what else its bits depend on, as JSON has it.

        Returns:
            Its number in this store.

        Raises:
            GradusError: the file can't be written; nothing was entered.
        """
        values = (sweep, run.name, run.seed, run.to_json(), json.dumps(conditions, sort_keys=True), "running", time.time())
        with self._told(), self._transaction():
            cursor = self._connection.execute(
                "INSERT INTO runs (sweep, name, seed, specification, conditions, status, created) VALUES (?,?,?,?,?,?,?)",
                values,
            )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def resume(self, run: int) -> None:
        """Enter a run as running once more; its rows stay.

        Args:
            run: its number.

        Raises:
            GradusError: there is no such run, or the file can't be written; nothing was changed.
        """
        with self._told(), self._transaction():
            self._mark(run, "running", "")

    def add(self, run: int, row: Row, *, replacing: bool = False) -> None:
        """Enter one row of a run. Its numbers come back bit for bit, but for the sign of a zero.

        Args:
            run: the run's number.
            row: what an epoch gave.
            replacing: whether it takes the place of that epoch's row and of all later ones.

        Raises:
            GradusError: a number in it isn't finite, the epoch is there already, there is no such run, or the file can't
                be written; nothing was changed.
        """
        for name, value in asdict(row).items():
            if not math.isfinite(value):
                raise GradusError(f"a row in {self.path} holds finite numbers only; {name} of epoch {row.epoch} is {value}")
        marks = ", ".join("?" * (1 + len(_ROW)))
        with self._told(), self._transaction():
            if replacing:
                self._connection.execute("DELETE FROM rows WHERE run = ? AND epoch >= ?", (run, row.epoch))
            self._connection.execute(f"INSERT INTO rows (run, {', '.join(_ROW)}) VALUES ({marks})", (run, *astuple(row)))

    def end(self, run: int, status: Status, message: str = "") -> None:
        """Enter how a run ended.

        Args:
            run: its number.
            status: "finished", "diverged", "failed" or "interrupted".
            message: why, where that needs saying.

        Raises:
            GradusError: there is no such run, or the file can't be written; nothing was changed.
        """
        with self._told(), self._transaction():
            self._mark(run, status, message)

    def interrupt(self, sweep: str) -> None:
        """Enter every run of a sweep that is still running as interrupted.

        Args:
            sweep: the sweep.

        Raises:
            GradusError: the file can't be written; nothing was changed.
        """
        with self._told(), self._transaction():
            self._connection.execute(
                "UPDATE runs SET status = 'interrupted' WHERE sweep = ? AND status = 'running'", (sweep,)
            )

    def _mark(self, run: int, status: Status, message: str) -> None:
        text = message.encode(errors="backslashreplace").decode()  # it may quote a file name that is no text
        query = "UPDATE runs SET status = ?, message = ? WHERE id = ?"
        if not self._connection.execute(query, (status, text, run)).rowcount:
            raise GradusError(f"there is no run {run} in {self.path}")

    # Reading

    def runs(self, sweep: str | None = None) -> list[StoredRun]:
        """Every run, or those of one sweep, in the order they were entered.

        Args:
            sweep: the sweep; all unless given.

        Raises:
            GradusError: the file can't be read.
        """
        where, values = ("WHERE sweep = ?", (sweep,)) if sweep is not None else ("", ())
        with self._told():
            found = self._connection.execute(
                "SELECT id, sweep, name, seed, specification, conditions, status, message, created,"
                f" (SELECT count(*) FROM rows WHERE run = runs.id) FROM runs {where} ORDER BY id",
                values,
            ).fetchall()
        return [self._sound(StoredRun(*values)) for values in found]

    def rows(self, run: int) -> list[Row]:
        """The rows of one run, in the order of its epochs.

        Args:
            run: its number.

        Raises:
            GradusError: the file can't be read.
        """
        with self._told():
            found = self._connection.execute(
                f"SELECT {', '.join(_ROW)} FROM rows WHERE run = ? ORDER BY epoch", (run,)
            ).fetchall()
        return [self._sound(Row(*values)) for values in found]

    def _sound(self, record: _Record) -> _Record:
        """A record whose values are of the kinds that were written; a damaged file may hold others."""
        for field in fields(record):
            value = getattr(record, field.name)
            if type(value) is not _KINDS.get(field.type, str):
                raise GradusError(
                    f"the store {self.path} is damaged: it has {value!r} as {field.name} of a {type(record).__name__}"
                )
        return record

    def check(self) -> list[str]:
        """What is wrong with the file and with what it holds, a sentence each; nothing in a store that is well."""
        damages: list[str] = []
        try:
            with self._told():
                found = self._connection.execute("PRAGMA integrity_check(20)").fetchall()
            damages += [text for (text,) in found if text != "ok"]
            for one in self.runs():
                damages += [f"run {one.id}: {text}" for text in contradictions(one, self.rows(one.id))]
        except GradusError as error:  # what is damaged can't be read
            damages.append(str(error))
        return damages

    def latest_sweep(self) -> str | None:
        """The sweep whose runs were entered last; None in a store without runs.

        Raises:
            GradusError: the file can't be read.
        """
        with self._told():
            found = self._connection.execute("SELECT sweep FROM runs ORDER BY id DESC LIMIT 1").fetchone()
        return found[0] if found else None

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        if kind == "IMMEDIATE" and _identity(self.path) != self._identity:
            raise GradusError(f"the store {self.path} has been moved, deleted or replaced since it was opened; open it anew")
        self._connection.execute(f"BEGIN {kind}")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        """SQLite's and the system's errors as sentences that name the file."""
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # the last where SQLite quotes a damaged name
            raise GradusError(f"the store {self.path} can't be used: {error}; what was in it before is kept") from error


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file lies there: SQLite would go on writing to one that has no name any more."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def contradictions(one: StoredRun, rows: list[Row]) -> Iterator[str]:
    """What a run's entries say that can't be."""
    try:
        run = Run.from_json(one.specification)
    except GradusError as error:
        yield f"its specification can't be read: {error}"
        return
    if one.status not in get_args(Status):
        yield f"its status is {one.status!r}"
    epochs = [row.epoch for row in rows]
    if epochs != list(range(1, len(epochs) + 1)) or len(epochs) > run.epochs:
        yield f"its epochs are {', '.join(map(str, epochs))} of {run.epochs}"
    elif one.status == "finished" and len(epochs) < run.epochs:
        yield f"it is finished, and has {len(epochs)} of {run.epochs} epochs"
