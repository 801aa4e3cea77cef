"""How a store's file is opened: nothing is written before it is known to be ours, and it is read where nothing can be."""

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import Any

from gradus.errors import GradusError
from gradus.files import open_file
from gradus.store import version_1
from gradus.store.network import network_type
from gradus.store.tables import APPLICATION_ID, ROWS, RUNS, VERSION, Record, Table, definitions

__all__ = ["asked", "guard", "known_version", "opened", "transaction"]

_BUSY_SECONDS = 30.0
_PAUSE_SECONDS = 0.01
_LONGEST = 10**7  # bytes of a text: no run's is nearly as long
_STEPS_AT_ONCE = 100_000  # of SQLite, between two looks at how many there have been
_DEFINITIONS = {1: version_1.DEFINITIONS, VERSION: definitions()}
_COMPUTED = "SELECT name FROM pragma_table_xinfo(?) WHERE hidden"


def opened(path: Path, *, create: bool, look: Callable[[sqlite3.Connection], object]) -> sqlite3.Connection:
    """A connection to a store, which is made, or brought to today's version, where that is needed and wanted.

    A store in a folder that can't be written to can still be read.

    Args:
        path: the file.
        create: whether to make it; otherwise it is there.
        look: is called when SQLite has read the log, and before anything is written.

    Raises:
        GradusError: it is no store of Gradus, or is a newer version's.
        sqlite3.Error: it can't be opened or made.
    """
    network = network_type(path)
    try:
        return _prepared(path, sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None), look, network)
    except sqlite3.OperationalError as error:
        if network and _code(error) == sqlite3.SQLITE_BUSY:
            raise _in_use(path, network) from None
        unwritable = [sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY]
        unwritable += [sqlite3.SQLITE_IOERR] if network else []  # who may only read a file can't have it alone
        if create or _code(error) not in unwritable:
            raise
    connection = _copied(path) if network and _is_write_ahead(path) else _reading(path)
    try:
        connection = _prepared(path, connection, look)
    except sqlite3.OperationalError as error:  # it is to be brought to today's version
        if _code(error) != sqlite3.SQLITE_READONLY:
            raise
        connection = _prepared(path, _copied(path), look)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _is_write_ahead(path: Path) -> bool:
    """Whether a store has a log, by its header."""
    with open_file(path) as file:
        return file.read(20)[18:] == b"\2\2"


def _reading(path: Path) -> sqlite3.Connection:
    """A connection that writes nothing, not even the files that SQLite keeps next to a store."""
    try:  # where another process writes, its files are there
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection
    except sqlite3.OperationalError:
        return _copied(path)


def _copied(path: Path) -> sqlite3.Connection:
    """A copy in the memory; what is only in the log is in it, and what a journal takes back isn't."""
    memory = sqlite3.connect(":memory:", isolation_level=None)
    with tempfile.TemporaryDirectory(prefix="gradus-") as folder:
        for ending in ("", "-wal", "-journal"):
            if Path(f"{path}{ending}").exists():
                shutil.copyfile(f"{path}{ending}", f"{folder}/store{ending}")
        source = sqlite3.connect(f"{folder}/store")
        try:
            source.backup(memory)
        except BaseException:
            memory.close()
            raise
        finally:
            source.close()
    return memory


def _prepared(
    path: Path, connection: sqlite3.Connection, look: Callable[[sqlite3.Connection], object], network: str = ""
) -> sqlite3.Connection:
    """The connection, if the file is ours; it is brought to today's version, and out of write-ahead mode on a network."""
    try:
        guard(connection)
        connection.execute("PRAGMA foreign_keys = ON")
        if network:  # a log is read without shared memory by whoever has the file alone
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        version = _version(path, connection)
        look(connection)
        if network:
            _leave_write_ahead(path, connection, network)
        elif version < VERSION:
            _write_ahead(connection)
        if version < VERSION:
            with transaction(connection, "EXCLUSIVE"):
                _migrate(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _code(error: sqlite3.Error) -> int:
    """What kind of error it is; those that aren't SQLite's own have no code."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def guard(connection: sqlite3.Connection) -> None:
    """Have a file neither run anything nor fill the memory."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.text_factory = lambda content: content.decode(errors="backslashreplace")  # a record's hash shows damage


def _version(path: Path, connection: sqlite3.Connection) -> int:
    """The version of the store; 0 where it is yet to be made."""
    with transaction(connection, "DEFERRED"):  # all in one look: another process may be making the store
        application, version = (
            connection.execute(question).fetchone()[0] for question in ("PRAGMA application_id", "PRAGMA user_version")
        )
        parts = connection.execute("SELECT type, name FROM sqlite_master LIMIT 100").fetchall()
        computed = [connection.execute(_COMPUTED, (name,)).fetchall() for kind, name in parts if kind == "table"]
    if application != APPLICATION_ID and (application or parts):
        raise GradusError(f"{path} is an SQLite file, but no store of Gradus; name another file")
    if version > VERSION:
        raise GradusError(
            f"{path} was written by a newer Gradus (store version {version}, this one knows {VERSION}); update Gradus, or "
            f"name another file"
        )
    if any(computed) or any(kind not in ("table", "index") for kind, _ in parts):  # they may compute without end
        raise GradusError(f"{path} isn't a store of Gradus; name another file")
    return int(version)


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Write-ahead mode, which the file keeps. Here SQLite doesn't wait for other processes, so this does."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _leave_write_ahead(path: Path, connection: sqlite3.Connection, network: str) -> None:
    """A rollback journal, which the file keeps, and locks that are given back."""
    (mode,) = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
    if mode == "wal":
        raise _in_use(path, network)
    with suppress(OSError):  # a killed process has left it, and it describes a log
        Path(f"{path}-shm").unlink()
    connection.execute("PRAGMA locking_mode = NORMAL")
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _in_use(path: Path, network: str) -> GradusError:
    return GradusError(
        f"the store {path} is on a network file system ({network}), where it can't have a write-ahead log, and another "
        f"process has it open; end that process, and open it again"
    )


def _migrate(path: Path, connection: sqlite3.Connection) -> None:
    """Today's tables, with what was in those of an earlier version."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]  # another process may have been faster
    if version == VERSION:
        return
    records = _taken_from_version_1(path, connection) if version else {}
    for definition in definitions():
        connection.execute(definition)
    for table, some in records.items():
        connection.executemany(table.insertion, some)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _taken_from_version_1(path: Path, connection: sqlite3.Connection) -> dict[Table, list[Record]]:
    """All that was in its tables, which make way; if something is damaged, they stay."""
    damages = [text for (text,) in connection.execute("PRAGMA integrity_check(1)") if text != "ok"]
    runs, rows = (list(asked(connection, f"SELECT * FROM {name}")) for name in ("runs", "rows"))
    records = version_1.converted(runs, rows)
    if damages or len(records[RUNS]) < len(runs) or len(records[ROWS]) < len(rows):
        raise GradusError(
            f"the store {path} is of version 1, and damaged ({damages[0] if damages else 'an entry is'}): it can't be "
            f"brought to version {VERSION}; `gradus runs --repair` saves what can be read"
        )
    for name in ("rows", "runs"):
        connection.execute(f"DROP TABLE {name}")
    return records


def known_version(connection: sqlite3.Connection) -> int | None:
    """The version whose tables a file has, word for word.

    Raises:
        sqlite3.Error: it can't be read.
    """
    ours = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' LIMIT 100"
    found = connection.execute(ours).fetchall()
    texts = {_plain(text) for (text,) in found}
    return next((version for version, known in _DEFINITIONS.items() if texts == {*map(_plain, known)}), None)


def _plain(statement: str) -> str:
    return " ".join(statement.split())


def asked(connection: sqlite3.Connection, query: str, values: tuple[Any, ...] = ()) -> Iterator[Record]:
    """What a query gives: no more than the file can hold, though a crafted one may lead to its pages again and again.

    Args:
        connection: where to ask.
        query: in SQL.
        values: in the places of its question marks.

    Raises:
        sqlite3.Error: the file can't be read, or gives more than it can hold.
    """
    room = prod(connection.execute(f"PRAGMA {part}").fetchone()[0] for part in ("page_count", "page_size"))
    looks = iter(range(100 + 3 * room // _STEPS_AT_ONCE))
    connection.set_progress_handler(lambda: next(looks, None) is None, _STEPS_AT_ONCE)
    try:
        for record in connection.execute(query, values):
            room -= sum([len(value) if isinstance(value, (str, bytes)) else 1 for value in record])
            if room < 0:
                raise sqlite3.DatabaseError("it gives more than it can hold")
            yield record
    except sqlite3.OperationalError as error:
        if _code(error) == sqlite3.SQLITE_INTERRUPT:
            raise sqlite3.DatabaseError("it gives more than it can hold") from None
        raise
    finally:
        connection.set_progress_handler(None, 0)


@contextmanager
def transaction(connection: sqlite3.Connection, kind: str) -> Iterator[None]:
    """What is done inside is done as a whole, or not at all."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
