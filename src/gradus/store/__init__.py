"""The store: one SQLite file with every sweep, its runs and their rows. The only room that knows SQLite.

Each row is a transaction of its own, so a process that dies takes no other row with it. On this machine's own disks the file
is in write-ahead mode, where readers and writers don't wait for each other; on a network it has a rollback journal.
"""

import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

from gradus.errors import GradusError, InvalidInput
from gradus.files import is_locked
from gradus.rows import Row
from gradus.runs import Run
from gradus.store import checking
from gradus.store.file import StoreFile
from gradus.store.records import DAMAGED, Status, StoredRequest, StoredRun, StoredSweep, Wish, numbers_from, numbers_of
from gradus.store.tables import NOTES, REQUESTS, ROWS, RUNS, SWEEPS, Record, Table

__all__ = ["STORE_FILE", "Status", "Store", "StoredRequest", "StoredRun", "StoredSweep", "Wish"]

STORE_FILE = "store.sqlite"  # its name in a folder of results

_LAST = "FROM rows WHERE run = runs.id ORDER BY step DESC LIMIT 1"
_RUNS = f"SELECT *, (SELECT step {_LAST}), (SELECT number {_LAST}), (SELECT text FROM notes WHERE run = runs.id) FROM runs"


class Store:
    """The sweeps, runs and rows in one SQLite file, which is made if it is absent.

    Only the process that trains enters sweeps, runs and rows; any other may enter notes and requests, and read.

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

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        self.path = Path(path)
        self._file = StoreFile(self.path, create=create)
        self._begun: dict[Table, set[int]] = {SWEEPS: set(), RUNS: set()}  # what this process is at

    def close(self) -> None:
        """Close the file; what is in it is already safe."""
        self._file.close()

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
        with self._file.writing():
            values = (_text(kind), _text(name), "running", time.time(), _json(settings))
            number = self._file.insert_next(SWEEPS, *values)
        self._begun[SWEEPS].add(number)
        return number

    def end_sweep(self, sweep: int, status: Status) -> None:
        """Enter how a sweep ended.

        Args:
            sweep: its number.
            status: as of a run; "finished" if all that was asked for is done.

        Raises:
            GradusError: there is no such sweep, or the file can't be written; nothing was changed.
        """
        _refuse_unknown(status)
        with self._file.writing():
            self._file.change(SWEEPS, sweep, status=status)

    def sweeps(self) -> list[StoredSweep]:
        """Every sweep, in the order they were entered; what is said of runs whose process is gone holds for them too.

        Raises:
            GradusError: the file can't be read.
        """
        records = self._file.asked("SELECT * FROM sweeps ORDER BY id")
        return [StoredSweep(settings_text=values.pop("settings"), **values) for values in self._with_status(SWEEPS, records)]

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
        with self._file.writing():
            self._file.record(SWEEPS, sweep)
            number = self._file.insert_next(RUNS, *values, _json(conditions), run.to_json())
        self._begun[RUNS].add(number)
        return number

    def resume(self, run: int) -> None:
        """Enter a run as running once more; its rows stay, and what was asked of it before is answered.

        Args:
            run: its number.

        Raises:
            GradusError: there is no such run, or the file can't be written; nothing was changed.
        """
        with self._file.writing():
            self._set_status(run, "running", "", ended=None, rows=None)
        self._begun[RUNS].add(run)

    def end(self, run: int, status: Status, message: str = "") -> None:
        """Enter how a run ended; what was asked of it is answered.

        Args:
            run: its number.
            status: "finished", "diverged", "failed", "stopped", "paused" or "interrupted".
            message: why, where that needs saying.

        Raises:
            GradusError: there is no such run, or the file can't be written; nothing was changed.
        """
        _refuse_unknown(status)
        with self._file.writing():
            self._end(run, status, message)

    def interrupt(self) -> None:
        """Enter every run and sweep that is still running as interrupted: this process goes, or has the folder to itself.

        Raises:
            GradusError: the file can't be written; nothing was changed.
        """
        with self._file.writing():
            for (sweep,) in self._file.asked("SELECT id FROM sweeps WHERE status = 'running'"):
                self._file.change(SWEEPS, sweep, status="interrupted")
            for (run,) in self._file.asked("SELECT id FROM runs WHERE status = 'running'"):
                self._end(run, "interrupted", "")

    def _end(self, run: int, status: Status, message: str) -> None:
        rows = 0 if (last := self._last_row(run)) is None else last["number"]
        self._set_status(run, status, message, ended=time.time(), rows=rows)

    def _set_status(self, run: int, status: Status, message: str, *, ended: float | None, rows: int | None) -> None:
        self._file.change(RUNS, run, status=status, message=_text(message), ended=ended, rows=rows)
        for (request,) in self._file.asked("SELECT id FROM requests WHERE run = ? AND answered IS NULL", run):
            self._file.change(REQUESTS, request, answered=time.time())

    def delete(self, runs: Collection[int]) -> None:
        """Take runs out of the store, with their rows, notes and requests; their sweeps stay.

        Args:
            runs: their numbers.

        Raises:
            GradusError: one isn't there, or is running, or the file can't be written; nothing was changed.
        """
        for one in self._stored(runs):
            if one.status == "running":
                raise GradusError(f"run {one.id} in {self.path} is running; stop it first")
        with self._file.writing():
            for run in runs:
                self._file.remove(RUNS, "id = ?", run)
        self._file.compact()

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
        found = self._file.asked(f"{_RUNS}{where} ORDER BY id", *values)
        known = self._with_status(RUNS, [record[:-3] for record in found])
        return [_stored_run(values, *record[-3:]) for values, record in zip(known, found, strict=True)]

    def _stored(self, runs: Collection[int]) -> list[StoredRun]:
        """These runs, each of which is there."""
        known = {one.id: one for one in self.runs()}
        if unknown := [run for run in runs if run not in known]:
            raise GradusError(f"there is no run {unknown[0]} in {self.path}; `gradus runs` lists them")
        return [known[run] for run in runs]

    def _with_status(self, table: Table, records: Sequence[Record]) -> Iterator[dict[str, Any]]:
        """The values of sweeps or runs, with the status that they have by now."""
        whole = [table.named(record) if table.is_whole(record) else None for record in records]
        left = {one["id"] for one in whole if one and one["status"] == "running"} - self._begun[table]
        gone = left if left and not is_locked(self.path.parent) else set()
        for one, record in zip(whole, records, strict=True):
            if one is None:
                yield table.named(table.coerced(record)) | {"status": DAMAGED}
            else:
                yield one | ({"status": "interrupted"} if one["id"] in gone else {})

    # Rows

    def add(self, run: int, row: Row, *, replacing: bool = False) -> None:
        """Enter one row of a run. Its numbers come back bit for bit; of NaN there is one.

        Args:
            run: the run's number; it is running.
            row: what it gave at a step, which comes after its last row's.
            replacing: whether it takes the place of that step's row and of all later ones.

        Raises:
            GradusError: the run has that step or a later one already, isn't running, or isn't there, or the file can't be
                written; nothing was changed.
        """
        with self._file.writing():
            if RUNS.named(self._file.record(RUNS, run))["status"] != "running":
                raise GradusError(f"run {run} in {self.path} isn't running; resume it first")
            if replacing:
                self._file.remove(ROWS, "run = ? AND step >= ?", run, row.step)
            last = self._last_row(run) or {"step": -1, "number": 0}
            if last["step"] >= row.step:
                raise GradusError(
                    f"run {run} in {self.path} has a row of step {last['step']}, so that of step {row.step} can't be added; "
                    f"rows come in order, unless they replace others"
                )
            self._file.insert(ROWS, run, row.step, last["number"] + 1, numbers_of(row))

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
        return [self._row(record) for record in self._file.asked(f"SELECT * FROM rows WHERE {where} ORDER BY step", *values)]

    def _last_row(self, run: int) -> dict[str, Any] | None:
        found = self._file.first(ROWS, "WHERE run = ? ORDER BY step DESC", run)
        return None if found is None else ROWS.named(found)

    def _row(self, record: Record) -> Row:
        """The row of a record; in a crafted file a hash may fit what no row can hold."""
        run, step, _, numbers, _ = self._file.whole(ROWS, record)
        try:
            return numbers_from(step, numbers)
        except ValueError as error:
            raise GradusError(
                f"the store {self.path} is damaged: the row of step {step} of run {run} can't be read ({error})"
            ) from None

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
        if wish not in get_args(Wish):
            raise InvalidInput(f'a run can be asked to "stop" or to "pause"; got {wish!r}')
        (stored,) = self._stored([run])
        if stored.status != "running":
            raise GradusError(f"run {run} in {self.path} is {stored.status}; only a running one can be asked to {wish}")
        with self._file.writing():
            return self._file.insert_next(REQUESTS, run, wish, time.time(), None)

    def requests(self) -> list[StoredRequest]:
        """What has been asked for and isn't answered yet, in the order it was asked.

        Raises:
            GradusError: the file can't be read, or an entry isn't as it was written.
        """
        found = self._file.asked("SELECT * FROM requests WHERE answered IS NULL ORDER BY id")
        return [StoredRequest(*self._file.whole(REQUESTS, record)[:4]) for record in found]

    def answered(self, request: int) -> None:
        """Enter that a request has been looked at.

        Args:
            request: its number.

        Raises:
            GradusError: there is no such request, or the file can't be written; nothing was changed.
        """
        with self._file.writing():
            self._file.change(REQUESTS, request, answered=time.time())

    def note(self, run: int, text: str) -> None:
        """Note something on a run, in the place of what was noted before.

        Args:
            run: its number.
            text: what to note; "" takes the note away.

        Raises:
            GradusError: there is no such run, or the file can't be written; nothing was changed.
        """
        with self._file.writing():
            self._file.record(RUNS, run)
            self._file.remove(NOTES, "run = ?", run)
            if text:
                self._file.insert(NOTES, run, _text(text), time.time())

    # Whether all is well

    def check(self) -> list[str]:
        """What is wrong with the file and with what it holds, a sentence each; nothing in a store that is well."""
        damages = [self._file.lost] if self._file.lost else []
        try:
            with self._file.errors():
                damages += checking.damages(self._file.connection)
        except GradusError as error:  # what is damaged can't be read
            damages.append(str(error))
        return damages


def _stored_run(values: dict[str, Any], step: Any, rows: Any, note: Any) -> StoredRun:
    """The run of a record, whose rows may be many more than when it ended."""
    step, rows = (value if isinstance(value, int) else 0 for value in (step, rows))
    seen = {"step": step, "rows": rows, "note": note if isinstance(note, str) else ""}
    return StoredRun(conditions_text=values.pop("conditions"), **(values | seen))


def _refuse_unknown(status: str) -> None:
    known = [one for one in get_args(Status) if one not in ("running", DAMAGED)]
    if status not in known:
        raise InvalidInput(f"it must have ended as one of {', '.join(known)}; got {status!r}")


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), sort_keys=True)


def _text(text: str) -> str:
    """Text that any file can hold: it may quote a file name that is none."""
    return text.encode(errors="backslashreplace").decode()
