"""A comparison's runs in the store: entered as they go, and gone on with where they were cut short."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gradus.comparison.results import Finished
from gradus.files import write_whole
from gradus.runs import Row, Run
from gradus.store import Store
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
    """The runs of a comparison in the store.

    The latest sweep is gone on with where it was cut short, all its runs are among the ones asked for, and the conditions
    are equal. Otherwise a new one begins. A file names the sweep from its beginning until its results are written.
    """

    def __init__(self, store: Store, runs: Sequence[Run], conditions: dict[str, Any], *, kind: str = "compare") -> None:
        self.store, self.conditions = store, conditions
        self._mark = store.path.parent / _MARK
        self.entries = [Entry(run) for run in runs]
        self.name = self._cut_short() or f"{kind} {datetime.now(UTC).isoformat()} {os.getpid()}"
        write_whole(self._mark, self.name.encode())

    def _cut_short(self) -> str | None:
        """The name of the sweep to go on with, if there is one; its runs are taken over."""
        latest = self.store.latest_sweep()
        stored = self.store.runs(latest) if latest is not None else []
        wanted = {entry.run.to_json(): entry for entry in self.entries}
        ended = len(stored) == len(wanted) and all(one.status not in ("running", "interrupted") for one in stored)
        if ended and not (latest and self._mark.is_file() and self._mark.read_bytes() == latest.encode()):
            return None  # it is whole, and so are its results
        if any(one.specification not in wanted or json.loads(one.conditions) != self.conditions for one in stored):
            return None  # it is another
        for one in stored:
            entry = wanted[one.specification]
            entry.number, rows = one.id, self.store.rows(one.id)
            if one.status in ("finished", "diverged"):
                entry.rows, entry.status, entry.message = rows, one.status, one.message
            else:
                entry.before = {row.epoch: row for row in rows}
        return latest

    def close(self) -> None:
        """Note that the results are written."""
        self._mark.unlink(missing_ok=True)

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
        self.store.interrupt(self.name)
