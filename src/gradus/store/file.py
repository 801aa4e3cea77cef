"""A store's file while it is open: records are entered with their hashes, and damaged ones aren't built on."""

import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import WeakSet

from gradus.errors import GradusError
from gradus.store import log
from gradus.store.opening import asked, opened, transaction
from gradus.store.tables import Record, Table

__all__ = ["StoreFile"]

_OPEN: "WeakSet[StoreFile]" = WeakSet()  # in this process


class StoreFile:
    """An SQLite file that holds a store.

    Args:
        path: the file.
        create: whether to make it; otherwise an absent file is an error.

    Raises:
        GradusError: it can't be opened or made, is no store of Gradus, or is a newer version's.
    """

    _identity: tuple[int, int] | None = None

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path = path
        with self.errors():
            if not create and not path.is_file():
                raise GradusError(f"there is no store at {path}; `gradus compare` makes one, or name another file")
            path.parent.mkdir(parents=True, exist_ok=True)
            alone = _identity(path) not in {file._identity for file in _OPEN}  # or it has been looked at
            index = log.index(path) if alone else None
            self.lost = log.lost(path, index) if alone else ""
            self.connection = opened(path, create=create, look=lambda connection: self._look_again(connection, index))
            self._identity = _identity(path)
            _OPEN.add(self)
        if self.lost:
            warnings.warn(f"{path} has lost something: {self.lost}", stacklevel=3)

    def _look_again(self, connection: sqlite3.Connection, index: log.Index | None) -> None:
        """Another process may have been in the midst of writing to the log."""
        if self.lost:
            with suppress(sqlite3.OperationalError), transaction(connection, "IMMEDIATE"):  # it may be read only
                self.lost = log.lost(self.path, index)

    def close(self) -> None:
        """Close it; what is in it is already safe."""
        _OPEN.discard(self)
        self.connection.close()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """SQLite's and the system's errors as sentences that name the file."""
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # the last where SQLite quotes a damaged name
            raise GradusError(f"the store {self.path} can't be used: {error}; what was in it before is kept") from error

    @contextmanager
    def writing(self) -> Iterator[None]:
        """All that is done inside is entered, or nothing.

        Raises:
            GradusError: the file can't be written, or isn't the one that was opened.
        """
        with self.errors():
            if _identity(self.path) != self._identity:
                raise GradusError(
                    f"the store {self.path} has been moved, deleted or replaced since it was opened; open it anew"
                )
            with transaction(self.connection, "IMMEDIATE"):
                yield

    def compact(self) -> None:
        """Give the space of what was taken out back to the system, if nobody is in the way."""
        with suppress(sqlite3.Error):
            self.connection.execute("VACUUM")

    def asked(self, query: str, *values: Any) -> list[Record]:
        """What a query gives.

        Raises:
            GradusError: the file can't be read.
        """
        with self.errors():
            return list(asked(self.connection, query, values))

    def record(self, table: Table, *key: Any) -> Record:
        """A record.

        Raises:
            GradusError: there is none of that key, or it isn't as it was written.
        """
        found = self.first(table, f"WHERE {table.selection}", *key)
        if found is None:
            raise GradusError(f"there is no {table.name[:-1]} {', '.join(map(str, key))} in {self.path}")
        return found

    def first(self, table: Table, which: str, *values: Any) -> Record | None:
        """The first record of those, if there is one.

        Raises:
            GradusError: it isn't as it was written.
        """
        with self.errors():
            found = self.connection.execute(f"SELECT * FROM {table.name} {which}", values).fetchone()
        return None if found is None else self.whole(table, found)

    def whole(self, table: Table, record: Record) -> Record:
        """A record, if it is as it was written.

        Raises:
            GradusError: it isn't.
        """
        if table.is_whole(record):
            return record
        raise GradusError(
            f"the store {self.path} is damaged: {table.called(record)} isn't as it was written; "
            f"`gradus runs --repair` saves what can be read"
        )

    # Inside `writing`

    def insert(self, table: Table, *values: Any) -> None:
        """Enter a record."""
        self.connection.execute(table.insertion, table.sealed(values))

    def insert_next(self, table: Table, *values: Any) -> int:
        """Enter a record under a number that none has had, which is given back."""
        given = "SELECT seq FROM sqlite_sequence WHERE name = ? UNION ALL SELECT max(id) FROM " + table.name
        (number,) = self.connection.execute(f"SELECT coalesce(max(seq), 0) + 1 FROM ({given})", (table.name,)).fetchone()
        self.insert(table, number, *values)
        return int(number)

    def change(self, table: Table, *key: Any, **changes: Any) -> None:
        """Have a record hold other values in some of its columns.

        Raises:
            GradusError: there is none of that key, or it isn't as it was written.
        """
        values = [changes.get(name, value) for name, value in zip(table.columns, self.record(table, *key), strict=False)]
        columns = ", ".join(f"{name} = ?" for name in (*table.columns, "hash"))
        query = f"UPDATE {table.name} SET {columns} WHERE {table.selection}"
        self.connection.execute(query, (*table.sealed(values), *key))

    def remove(self, table: Table, where: str, *values: Any) -> int:
        """Take records out, and with a run all that belongs to it; how many there were."""
        return self.connection.execute(f"DELETE FROM {table.name} WHERE {where}", values).rowcount


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file is there: SQLite would go on writing to one that has no name any more."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
