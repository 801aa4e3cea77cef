"""A comparison's runs in the store: entered as they go, and gone on with where they were cut short."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gradus.comparison.results import Finished
from gradus.files import write_whole
from gradus.runs import Row, Run
from gradus.store import Store, StoredRun
from gradus.sweep import Ended, Event, Started

__all__ = ["Entry", "StoredSweep"]

_MARK = ".unfinished"


@dataclass
class Entry:
    """A run on its way: its number in the store once it has one, and what has come of it so far.

    `before` are the rows that it gave before it was cut short, by their epochs.
    """

    run: Run
    number: int | None = None
    rows: list[Row] = field(default_factory=list)
    status: str = "waiting"
    message: str = ""
    before: dict[int, Row] = field(default_factory=dict)


class StoredSweep:
    """The runs of a comparison in the store, whose folder is locked.

    A sweep of the same kind is gone on with where it was cut short, all its runs are among the ones asked for, and the
    conditions are equal, whatever else has been done in the folder since. Otherwise a new one begins. A file names the
    sweeps whose results haven't been written.
    """

    def __init__(self, store: Store, runs: Sequence[Run], conditions: dict[str, Any], *, kind: str = "compare") -> None:
        self.store, self.conditions = store, conditions
        self._mark = store.path.parent / _MARK
        self.entries = [Entry(run) for run in runs]
        store.interrupt()  # whoever was at them has let the folder go
        self.name = self._cut_short(kind) or f"{kind} {datetime.now(UTC).isoformat()} {os.getpid()}"
        self._note(self._unwritten() | {self.name})

    def _cut_short(self, kind: str) -> str | None:
        """The name of the sweep to go on with, if there is one; its runs are taken over."""
        wanted = {entry.run.to_json(): entry for entry in self.entries}
        for name, stored in self._sweeps():
            if not name.startswith(f"{kind} ") or not all(self._is_wanted(one, wanted) for one in stored):
                continue  # it is another
            ended = len(stored) == len(wanted) and all(one.status not in ("running", "interrupted") for one in stored)
            if ended and name not in self._unwritten():
                return None  # it is whole, and so are its results
            for one in stored:
                self._take_over(wanted[one.specification], one)
            return name
        return None

    def _sweeps(self) -> list[tuple[str, list[StoredRun]]]:
        """The runs of each sweep; the sweep that was entered last comes first."""
        sweeps: dict[str, list[StoredRun]] = {}
        for one in self.store.runs():
            sweeps.setdefault(one.sweep, []).append(one)
        return list(sweeps.items())[::-1]

    def _is_wanted(self, one: StoredRun, wanted: Mapping[str, Entry]) -> bool:
        try:
            return one.specification in wanted and json.loads(one.conditions) == self.conditions
        except (ValueError, RecursionError):  # somebody else has written it
            return False

    def _take_over(self, entry: Entry, one: StoredRun) -> None:
        entry.number, rows = one.id, self.store.rows(one.id)
        if one.status in ("finished", "diverged"):
            entry.rows, entry.status, entry.message = rows, one.status, one.message
        else:
            entry.before = {row.epoch: row for row in rows}

    def _unwritten(self) -> set[str]:
        """The sweeps whose results haven't been written."""
        return set(self._mark.read_text().splitlines()) if self._mark.is_file() else set()

    def _note(self, unwritten: set[str]) -> None:
        if unwritten:
            write_whole(self._mark, "\n".join(sorted(unwritten)).encode())
        else:
            self._mark.unlink(missing_ok=True)

    def close(self) -> None:
        """Note that the results are written."""
        self._note(self._unwritten() - {self.name})

    def left(self) -> list[Entry]:
        """The runs still to be done."""
        return [entry for entry in self.entries if entry.status == "waiting"]

    def so_far(self) -> tuple[Finished, ...]:
        """What has come of each run."""
        return tuple(Finished(entry.run, tuple(entry.rows), entry.status, entry.message) for entry in self.entries)

    def record(self, entry: Entry, event: Event) -> None:
        """Enter what has happened to a run, in the store first."""
        if entry.number is None:  # it begins, or its process has died before it could
            entry.number = self.store.begin(self.name, entry.run, self.conditions)
        elif isinstance(event, Started):
            self.store.resume(entry.number)
        if isinstance(event, Row):
            entry.rows.append(self._entered(entry, entry.number, event))
        elif isinstance(event, Ended):
            self.store.end(entry.number, event.status, event.message)
            entry.status, entry.message = event.status, event.message

    def _entered(self, entry: Entry, number: int, row: Row) -> Row:
        """The row as the store has it: a resumed run gives its earlier rows again."""
        before = entry.before.get(row.epoch)
        if before is not None and before.values() == row.values():
            return before
        self.store.add(number, row, replacing=before is not None)
        if before is not None:  # the device doesn't repeat its bits, and the last checkpoint was older than this row
            entry.before.clear()
        return row

    def interrupt(self) -> None:
        """Enter that the runs still running have been cut short."""
        self.store.interrupt()
