"""The store: one SQLite file with every run and its rows. The only room that knows SQLite.

Each row is a transaction of its own in write-ahead mode, so a process that dies takes no other row with it, and readers
and writers don't wait for each other.
"""

import json
import math
import sqlite3
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, get_args
from weakref import WeakSet

from gradus.errors import GradusError
from gradus.files import is_locked
from gradus.runs import Row, Run
from gradus.store import header, log
from gradus.store.opening import ROW, asked, opened, transaction

__all__ = ["STORE_FILE", "Status", "Store", "StoredRun"]

STORE_FILE = "store.sqlite"  # its name in a folder of results

Status = Literal["running", "finished", "diverged", "failed", "interrupted"]

_KINDS: dict[Any, type] = {int: int, float: float}  # by a field's annotation; anything else is text
_OPEN: "WeakSet[Store]" = WeakSet()  # in this process
_Record = TypeVar("_Record", "Row", "StoredRun")


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

    _identity: tuple[int, int] | None = None

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        self.path = Path(path)
        self._begun: set[int] = set()  # the runs that this process is at
        with self._told():
            if not create and not self.path.is_file():
                raise GradusError(f"there is no store at {self.path}; `gradus compare` makes one, or name another file")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            alone = _identity(self.path) not in {store._identity for store in _OPEN}  # or it has been looked at
            index = log.index(self.path) if alone else None
            self._lost = log.lost(self.path, index) if alone else ""
            self._connection = opened(self.path, create=create, look=lambda connection: self._look_again(connection, index))
            self._identity = _identity(self.path)
            _OPEN.add(self)
        if self._lost:
            warnings.warn(f"{self.path} has lost something: {self._lost}", stacklevel=2)

    def _look_again(self, connection: sqlite3.Connection, index: log.Index | None) -> None:
        """Another process may have been in the midst of writing to the log."""
        if self._lost:
            with suppress(sqlite3.OperationalError), transaction(connection, "IMMEDIATE"):  # it may be read only
                self._lost = log.lost(self.path, index)

    def close(self) -> None:
        """Close the file; what is in it is already safe."""
        _OPEN.discard(self)
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

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
        self._begun.add(cursor.lastrowid)
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
        self._begun.add(run)

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
        marks = ", ".join("?" * (1 + len(ROW)))
        with self._told(), self._transaction():
            if replacing:
                self._connection.execute("DELETE FROM rows WHERE run = ? AND epoch >= ?", (run, row.epoch))
            self._connection.execute(f"INSERT INTO rows (run, {', '.join(ROW)}) VALUES ({marks})", (run, *astuple(row)))

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

    def interrupt(self) -> None:
        """Enter every run that is still running as interrupted: this process goes, or has the folder to itself.

        Raises:
            GradusError: the file can't be written; nothing was changed.
        """
        with self._told(), self._transaction():
            self._connection.execute("UPDATE runs SET status = 'interrupted' WHERE status = 'running'")

    def _mark(self, run: int, status: Status, message: str) -> None:
        text = message.encode(errors="backslashreplace").decode()  # it may quote a file name that is no text
        query = "UPDATE runs SET status = ?, message = ? WHERE id = ?"
        if not self._connection.execute(query, (status, text, run)).rowcount:
            raise GradusError(f"there is no run {run} in {self.path}")

    # Reading

    def runs(self, sweep: str | None = None) -> list[StoredRun]:
        """Every run, or those of one sweep, in the order they were entered.

        A run whose process is gone without a word is interrupted: nobody has the folder's lock.

        Args:
            sweep: the sweep; all unless given.

        Raises:
            GradusError: the file can't be read.
        """
        where, values = ("WHERE sweep = ?", (sweep,)) if sweep is not None else ("", ())
        found = [
            self._sound(StoredRun(*values))
            for values in self._asked(
                "SELECT id, sweep, name, seed, specification, conditions, status, message, created,"
                f" (SELECT count(*) FROM rows WHERE run = runs.id) FROM runs {where} ORDER BY id",
                values,
            )
        ]
        if all(one.status != "running" or one.id in self._begun for one in found) or is_locked(self.path.parent):
            return found
        return [
            replace(one, status="interrupted") if one.status == "running" and one.id not in self._begun else one
            for one in found
        ]

    def rows(self, run: int) -> list[Row]:
        """The rows of one run, in the order of its epochs.

        Args:
            run: its number.

        Raises:
            GradusError: the file can't be read.
        """
        found = self._asked(f"SELECT {', '.join(ROW)} FROM rows WHERE run = ? ORDER BY epoch", (run,))
        return [self._sound(Row(*values)) for values in found]

    def _asked(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._told():
            return list(asked(self._connection, query, values))

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
        damages = [self._lost] if self._lost else []
        try:
            with self._told():
                found = self._connection.execute("PRAGMA integrity_check(20)").fetchall()
            damages += [text for (text,) in found if text != "ok"]
            damages += header.damages(self._beginning())
            for one in self.runs():
                damages += [f"run {one.id}: {text}" for text in contradictions(one, self.rows(one.id))]
        except GradusError as error:  # what is damaged can't be read
            damages.append(str(error))
        return damages

    def _beginning(self) -> bytes:
        """The header, as SQLite sees it, whose locks are lost where a process looks into the file itself."""
        return self._connection.serialize()[: header.LENGTH] if hasattr(self._connection, "serialize") else b""

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if _identity(self.path) != self._identity:
            raise GradusError(f"the store {self.path} has been moved, deleted or replaced since it was opened; open it anew")
        with transaction(self._connection, "IMMEDIATE"):
            yield

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
