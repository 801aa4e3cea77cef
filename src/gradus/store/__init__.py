"""The store: one SQLite file with every sweep, its runs and their rows. The only room that knows SQLite.

Each row is a transaction of its own, so a process that dies takes no other row with it. On this machine's own disks the file
is in write-ahead mode, where readers and writers don't wait for each other; on a network it has a rollback journal.
"""

import json
import sqlite3
import time
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

from gradus.errors import GradusError
from gradus.files import is_locked
from gradus.rows import Row
from gradus.runs import Run
from gradus.store import checking, log
from gradus.store.opening import asked, opened, transaction
from gradus.store.records import Status, StoredRequest, StoredRun, StoredSweep, Wish, numbers_from, numbers_of
from gradus.store.tables import NOTES, REQUESTS, ROWS, RUNS, SWEEPS, Table

__all__ = ["STORE_FILE", "Status", "Store", "StoredRequest", "StoredRun", "StoredSweep", "Wish"]

STORE_FILE = "store.sqlite"  # its name in a folder of results

_OPEN: "WeakSet[Store]" = WeakSet()  # in this process
_LAST = "FROM rows WHERE run = runs.id ORDER BY step DESC LIMIT 1"
_RUNS = f"SELECT *, (SELECT step {_LAST}), (SELECT number {_LAST}), (SELECT text FROM notes WHERE run = runs.id) FROM runs"


class Store:
    """The sweeps, runs and rows in one SQLite file, which is made if it is absent.

    Only the process that trains enters runs and rows; any other may enter notes and requests, and read.

    Args:
        path: the file.
        create: whether to make it; otherwise an absent file is an error.

    Raises:
        GradusError: the file can't be opened or made, is no store of Gradus, or is a newer version's.

    >>> from gradus.rows import Row
    >>> from gradus.runs import Run
    >>> with Store(":memory:") as store:
    ...     sweep = store.begin_sweep("train", "a first try", {})
    ...     number = store.begin(sweep, Run("digits", "AdamW", lr=0.001), {"device": "cpu"})
    ...     store.add(number, Row(20, {"train/loss": 0.5, "time/seconds": 1.5}))
    ...     store.end(number, "finished")
    ...     [(one.status, one.step, one.run.lr) for one in store.runs()], store.rows(number)
    ([('finished', 20, 0.001)], [Row(20, {'train/loss': 0.5, 'time/seconds': 1.5})])
    """

    _identity: tuple[int, int] | None = None

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        self.path = Path(path)
        self._begun: dict[Table, set[int]] = {SWEEPS: set(), RUNS: set()}  # what this process is at
        with self._sqlite_errors():
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

    # Sweeps

    def begin_sweep(self, kind: str, name: str, settings: Mapping[str, Any]) -> int:
        """Enter a sweep as running.

        Args:
            kind: what makes it, such as "compare".
            name: what to call it.
            settings: what was asked for, as JSON has it.

        Returns:
            Its number in this store.

        Raises:
            GradusError: the file can't be written; nothing was entered.
        """
        values = (kind, name, "running", time.time(), _json(settings))
        with self._writing():
            return self._insert(SWEEPS, *values)

    def end_sweep(self, sweep: int, status: Status) -> None:
        """Enter how a sweep ended.

        Args:
            sweep: its number.
            status: as of a run; "finished" if all that was asked for is done.

        Raises:
            GradusError: there is no such sweep, or the file can't be written; nothing was changed.
        """
        with self._writing():
            self._change(SWEEPS, sweep, status=status)

    def sweeps(self) -> list[StoredSweep]:
        """Every sweep, in the order they were entered. One whose process is gone without a word is interrupted.

        Raises:
            GradusError: the file can't be read.
        """
        records = self._asked("SELECT * FROM sweeps ORDER BY id")
        return [StoredSweep(*values) for values in self._seen(SWEEPS, records)]

    # Runs

    def begin(self, sweep: int, run: Run, conditions: Mapping[str, Any]) -> int:
        """Enter a run as running.

        Args:
            sweep: the number of the sweep it belongs to.
            run: its specification.
            conditions: what else its bits depend on, as JSON has it.

        Returns:
            Its number in this store.

        Raises:
            GradusError: there is no such sweep, or the file can't be written; nothing was entered.
        """
        values = (sweep, run.name or "", run.identity, "running", "", time.time(), None, None)
        with self._writing():
            self._record(SWEEPS, sweep)
            return self._insert(RUNS, *values, _json(conditions), run.to_json())

    def resume(self, run: int) -> None:
        """Enter a run as running once more; its rows stay, and what was asked of it before is answered.

        Args:
            run: its number.

        Raises:
            GradusError: there is no such run, or the file can't be written; nothing was changed.
        """
        with self._writing():
            self._set_status(run, "running", "", ended=None, rows=None)
        self._begun[RUNS].add(run)

    def add(self, run: int, row: Row, *, replacing: bool = False) -> None:
        """Enter one row of a run. Its numbers come back bit for bit; of NaN there is one.

        Args:
            run: the run's number; it is running.
            row: what it gave at a step; a later one than its last row's.
            replacing: whether it takes the place of that step's row and of all later ones.

        Raises:
            GradusError: the run has that step or a later one already, isn't running, or isn't there, or the file can't be
                written; nothing was changed.
        """
        with self._writing():
            if self._value("SELECT status FROM runs WHERE id = ?", run) != "running":
                self._record(RUNS, run)
                raise GradusError(f"run {run} in {self.path} isn't running; resume it first")
            if replacing:
                self._connection.execute("DELETE FROM rows WHERE run = ? AND step >= ?", (run, row.step))
            last, count = self._last(run)
            if last is not None and last >= row.step:
                raise GradusError(
                    f"run {run} in {self.path} has a row of step {last}, so that of step {row.step} can't be added; rows "
                    f"come in order, unless they replace others"
                )
            values = (run, row.step, count + 1, numbers_of(row))
            self._connection.execute(ROWS.insertion, ROWS.sealed(values))

    def end(self, run: int, status: Status, message: str = "") -> None:
        """Enter how a run ended; what was asked of it is answered.

        Args:
            run: its number.
            status: "finished", "diverged", "failed", "stopped", "paused" or "interrupted".
            message: why, where that needs saying.

        Raises:
            GradusError: there is no such run, or the file can't be written; nothing was changed.
        """
        with self._writing():
            self._set_status(run, status, message, ended=time.time(), rows=self._last(run)[1])

    def interrupt(self) -> None:
        """Enter every run and sweep that is still running as interrupted: this process goes, or has the folder to itself.

        Raises:
            GradusError: the file can't be written; nothing was changed.
        """
        with self._writing():
            for (sweep,) in self._connection.execute("SELECT id FROM sweeps WHERE status = 'running'").fetchall():
                self._change(SWEEPS, sweep, status="interrupted")
            for (run,) in self._connection.execute("SELECT id FROM runs WHERE status = 'running'").fetchall():
                self._set_status(run, "interrupted", "", ended=time.time(), rows=self._last(run)[1])

    def delete(self, runs: Collection[int]) -> None:
        """Take runs out of the store, with their rows, notes and requests; their sweeps stay.

        Args:
            runs: their numbers.

        Raises:
            GradusError: one isn't there, or is running, or the file can't be written; nothing was changed.
        """
        self._refuse_running(runs, "stop it first")
        with self._writing():
            for run in runs:
                if not self._connection.execute("DELETE FROM runs WHERE id = ?", (run,)).rowcount:
                    raise GradusError(f"there is no run {run} in {self.path}; `gradus runs` lists them")

    def runs(self, sweep: int | None = None) -> list[StoredRun]:
        """Every run, or those of one sweep, in the order they were entered.

        A run whose process is gone without a word is interrupted: nobody has the folder's lock. One whose entry is damaged
        is listed as that.

        Args:
            sweep: the sweep's number; all unless given.

        Raises:
            GradusError: the file can't be read.
        """
        where, values = (" WHERE sweep = ?", (sweep,)) if sweep is not None else ("", ())
        found = self._asked(f"{_RUNS}{where} ORDER BY id", values)
        seen = self._seen(RUNS, [record[:-3] for record in found])
        return [_stored_run(values, *record[-3:]) for values, record in zip(seen, found, strict=True)]

    def rows(self, run: int, *, after: int | None = None) -> list[Row]:
        """The rows of one run, in the order of its steps.

        Args:
            run: its number.
            after: give those of later steps only, such as `rows[-1].step` of the last look. A run that was resumed may have
                replaced earlier ones.

        Raises:
            GradusError: the file can't be read, or a row isn't as it was entered.
        """
        where, values = ("run = ?", (run,)) if after is None else ("run = ? AND step > ?", (run, after))
        records = self._asked(f"SELECT * FROM rows WHERE {where} ORDER BY step", values)
        return [self._validated(record) for record in records]

    # What others ask for and note

    def request(self, run: int, wish: Wish) -> int:
        """Ask for a run to be stopped or paused; the process that trains it looks when it evaluates.

        Args:
            run: its number.
            wish: "stop" ends it; "pause" has it go on later from its checkpoint.

        Returns:
            The request's number in this store.

        Raises:
            GradusError: there is no such run, it isn't running, or the file can't be written; nothing was entered.
        """
        if wish not in ("stop", "pause"):
            raise GradusError(f'a run can be asked to "stop" or to "pause"; got {wish!r}')
        (stored,) = self._stored([run])
        if stored.status != "running":
            raise GradusError(f"run {run} in {self.path} is {stored.status}; only a running one can be asked to {wish}")
        with self._writing():
            return self._insert(REQUESTS, run, wish, time.time(), None)

    def requests(self) -> list[StoredRequest]:
        """What has been asked for and isn't answered yet, in the order it was asked.

        Raises:
            GradusError: the file can't be read, or an entry isn't as it was written.
        """
        found = self._asked("SELECT * FROM requests WHERE answered IS NULL ORDER BY id")
        for record in found:
            self._refuse_damaged(REQUESTS, record)
        return [StoredRequest(*record[:4]) for record in found]

    def answered(self, request: int) -> None:
        """Enter that a request has been looked at.

        Args:
            request: its number.

        Raises:
            GradusError: there is no such request, or the file can't be written; nothing was changed.
        """
        with self._writing():
            self._change(REQUESTS, request, answered=time.time())

    def note(self, run: int, text: str) -> None:
        """Note something on a run, in the place of what was noted before.

        Args:
            run: its number.
            text: what to note; "" takes the note away.

        Raises:
            GradusError: there is no such run, or the file can't be written; nothing was changed.
        """
        with self._writing():
            self._record(RUNS, run)
            self._connection.execute("DELETE FROM notes WHERE run = ?", (run,))
            if text:
                self._connection.execute(NOTES.insertion, NOTES.sealed((run, _text(text), time.time())))

    # Whether all is well

    def check(self) -> list[str]:
        """What is wrong with the file and with what it holds, a sentence each; nothing in a store that is well."""
        damages = [self._lost] if self._lost else []
        try:
            with self._sqlite_errors():
                damages += checking.damages(self._connection)
        except GradusError as error:  # what is damaged can't be read
            damages.append(str(error))
        return damages

    # Records

    def _insert(self, table: Table, *values: Any) -> int:
        """Enter a record under the next number."""
        number = self._value(f"SELECT coalesce(max(id), 0) + 1 FROM {table.name}")
        self._connection.execute(table.insertion, table.sealed((number, *values)))
        if table in self._begun:
            self._begun[table].add(number)
        return int(number)

    def _record(self, table: Table, number: int) -> tuple[Any, ...]:
        """A record, if it is as it was entered."""
        record = self._connection.execute(f"SELECT * FROM {table.name} WHERE id = ?", (number,)).fetchone()
        if record is None:
            raise GradusError(f"there is no {table.name[:-1]} {number} in {self.path}")
        self._refuse_damaged(table, record)
        return tuple(record)

    def _change(self, table: Table, number: int, **changes: Any) -> None:
        values = [changes.get(name, value) for name, value in zip(table.columns, self._record(table, number), strict=False)]
        columns = ", ".join(f"{name} = ?" for name in (*table.columns, "hash"))
        self._connection.execute(f"UPDATE {table.name} SET {columns} WHERE id = ?", (*table.sealed(values), number))

    def _set_status(self, run: int, status: Status, message: str, *, ended: float | None, rows: int | None) -> None:
        self._change(RUNS, run, status=status, message=_text(message), ended=ended, rows=rows)
        pending = "SELECT id FROM requests WHERE run = ? AND answered IS NULL"
        for (request,) in self._connection.execute(pending, (run,)).fetchall():
            self._change(REQUESTS, request, answered=time.time())

    def _last(self, run: int) -> tuple[int | None, int]:
        """The step of a run's last row, and how many rows there are."""
        query = "SELECT step, number FROM rows WHERE run = ? ORDER BY step DESC LIMIT 1"
        step, count = self._connection.execute(query, (run,)).fetchone() or (None, 0)
        return step, count

    def _value(self, query: str, *values: Any) -> Any:
        found = self._connection.execute(query, values).fetchone()
        return found[0] if found else None

    def _asked(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._sqlite_errors():
            return list(asked(self._connection, query, values))

    def _seen(self, table: Table, records: list[tuple[Any, ...]]) -> Iterator[list[Any]]:
        """The values of sweeps or runs, with the status that they have by now."""
        at = list(table.columns).index("status")
        left = {
            record[0] for record in records if record[at] == "running" and record[0] not in self._begun[table]
        }  # whose process may be gone
        gone = left if left and not is_locked(self.path.parent) else set()
        for record in records:
            values = list(record[:-1])
            if not table.is_whole(record):
                values = table.coerced(record)
                values[at] = "damaged"
            elif values[0] in gone:
                values[at] = "interrupted"
            yield values

    def _stored(self, runs: Collection[int]) -> list[StoredRun]:
        """These runs, each of which is there."""
        known = {one.id: one for one in self.runs()}
        if unknown := [run for run in runs if run not in known]:
            raise GradusError(f"there is no run {unknown[0]} in {self.path}; `gradus runs` lists them")
        return [known[run] for run in runs]

    def _refuse_running(self, runs: Collection[int], way_out: str) -> None:
        for one in self._stored(runs):
            if one.status == "running":
                raise GradusError(f"run {one.id} in {self.path} is running; {way_out}")

    def _validated(self, record: tuple[Any, ...]) -> Row:
        """The row of a record, if that is as it was entered; in a crafted file a hash may fit what no row can hold."""
        self._refuse_damaged(ROWS, record)
        try:
            return numbers_from(record[1], record[3])
        except ValueError as error:
            raise GradusError(
                f"the store {self.path} is damaged: the row of step {record[1]} of run {record[0]} can't be read ({error})"
            ) from None

    def _refuse_damaged(self, table: Table, record: tuple[Any, ...]) -> None:
        if not table.is_whole(record):
            key = ", ".join(
                f"{name} {value!r}" for name, value in zip(table.columns, record[: len(table.key)], strict=False)
            )
            raise GradusError(
                f"the store {self.path} is damaged: the entry of {key} in {table.name} isn't as it was written; "
                f"`gradus runs --repair` saves what can be read"
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """All that is done inside is entered, or nothing."""
        with self._sqlite_errors():
            if _identity(self.path) != self._identity:
                raise GradusError(
                    f"the store {self.path} has been moved, deleted or replaced since it was opened; open it anew"
                )
            with transaction(self._connection, "IMMEDIATE"):
                yield

    @contextmanager
    def _sqlite_errors(self) -> Iterator[None]:
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


def _stored_run(values: list[Any], step: Any, rows: Any, note: Any) -> StoredRun:
    """The run of a record, of which the number of rows at its end isn't shown."""
    known = dict(zip(RUNS.columns, values, strict=True))
    step, rows = (value if isinstance(value, int) else 0 for value in (step, rows))
    seen = {"step": step, "rows": rows, "note": note if isinstance(note, str) else ""}
    return StoredRun(conditions_text=known.pop("conditions"), **(known | seen))


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), sort_keys=True)


def _text(text: str) -> str:
    """Text that any file can hold: it may quote a file name that is none."""
    return text.encode(errors="backslashreplace").decode()
