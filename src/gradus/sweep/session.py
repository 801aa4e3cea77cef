"""`Session`: the runs of one command in the store. What has finished is kept, what was cut short goes on."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradus.errors import GradusError, InvalidInput
from gradus.rows import Row
from gradus.runs import Run
from gradus.store import Store, StoredRun, StoredSweep
from gradus.sweep.conditions import differences
from gradus.sweep.events import Event, Request, RunEnded, RunStarted, Status
from gradus.sweep.weights import shown_name

__all__ = ["Entry", "Session", "refuse_twins"]

_COMPLETE = ("finished", "diverged")  # whose rows are all there
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Entry:
    """A run of a session.

    Args:
        run: its specification.
        conditions: what else its bits depend on; where it was kept, what they depended on.
        number: its number in the store, once it has one.
        rows: what it has given so far, by their steps.
        status: "waiting", "running", or how it ended.
        message: why, where that needs saying.
    """

    run: Run
    conditions: Mapping[str, Any]
    number: int | None = None
    rows: dict[int, Row] = field(default_factory=dict)
    status: str = "waiting"
    message: str = ""

    def goes_on_with(self, stored: StoredRun) -> bool:
        """Whether a stored run is this one, cut short under equal conditions."""
        named = (stored.identity, stored.name) == (self.run.identity, self.run.name or "")
        return named and stored.conditions == self.conditions

    def __str__(self) -> str:
        return f"run {self.number} ({shown_name(self.run)}, seed {self.run.seed})"


def refuse_twins(runs: Sequence[Run]) -> None:
    """Refuse runs of which two are the same and have one name: nobody could tell them apart.

    Args:
        runs: what is asked for.

    Raises:
        InvalidInput: there are two.
    """
    seen: set[tuple[str, str | None]] = set()
    for run in runs:
        if (run.identity, run.name) in seen:
            raise InvalidInput(f"two runs are the same, {shown_name(run)}: leave one out, or give each a name of its own")
        seen.add((run.identity, run.name))


class Session:
    """The runs of one command in a store, whose folder is locked.

    A run that has finished anywhere in the store under equal conditions is kept, and one that was cut short there goes on.
    They belong to the sweep of the same kind and the same runs, if there is one with just these; else to a new one, whose
    settings name them. `entries` are all of them, and `todo` those that are still to be done.

    Args:
        store: where the runs are entered.
        runs: what is asked for, of which no two are the same.
        conditions: of each run.
        kind: what made the sweep, such as "compare".
        settings: what else is to be known of the sweep, as JSON has it.
        again: whether to train anew what has finished.
        keep: whether to keep what has finished under other conditions, too.

    Raises:
        GradusError: a run has finished under other conditions, and neither `again` nor `keep` says what to do.
    """

    def __init__(
        self,
        store: Store,
        runs: Sequence[Run],
        conditions: Sequence[Mapping[str, Any]],
        kind: str,
        settings: Mapping[str, Any],
        *,
        again: bool = False,
        keep: bool = False,
    ) -> None:
        self.store = store
        store.interrupt()  # its runs' process has released the folder
        self.entries = [Entry(run, json.loads(json.dumps(one))) for run, one in zip(runs, conditions, strict=True)]
        asked = [[run.identity, run.name or ""] for run in runs]
        sweeps = [one for one in store.sweeps() if one.kind == kind and _asks_for(one, asked)]
        # A sweep that trains anew and was cut short keeps what it has trained itself.
        cut_short = {one.id for one in sweeps if one.settings.get("again") and one.status != "finished"}
        stored = [one for one in store.runs() if one.status != "damaged"][::-1]  # the newest first
        finished = [one for one in stored if one.status in _COMPLETE and (not again or one.sweep in cut_short)]
        self._take_finished(finished, keep=keep)
        self._take_unfinished([one for one in stored if one.status not in _COMPLETE])
        self._refuse_stale(finished)
        self.sweep = self._found_among(sweeps) or self._begun(kind, {**settings, "runs": asked, "again": again})
        self.todo = [entry for entry in self.entries if entry.status not in _COMPLETE]

    # What is there already

    def _take_finished(self, finished: Sequence[StoredRun], *, keep: bool) -> None:
        for entry in self.entries:
            of_it = [one for one in finished if one.identity == entry.run.identity]
            one = next((one for one in of_it if one.conditions == entry.conditions), of_it[0] if keep and of_it else None)
            if one is not None:
                self._take(entry, one)
                entry.status, entry.message, entry.conditions = one.status, one.message, one.conditions

    def _take_unfinished(self, unfinished: Sequence[StoredRun]) -> None:
        free = list(unfinished)
        for entry in (entry for entry in self.entries if entry.number is None):
            one = next((one for one in free if entry.goes_on_with(one)), None)
            if one is not None:
                free.remove(one)
                self._take(entry, one)

    def _take(self, entry: Entry, one: StoredRun) -> None:
        entry.number, entry.rows = one.id, {row.step: row for row in self.store.rows(one.id)}

    def _refuse_stale(self, finished: Sequence[StoredRun]) -> None:
        """Refuse to train anew, unasked, what has finished under other conditions."""
        newest = {one.identity: one for one in reversed(finished)}
        stale = [entry for entry in self.entries if entry.number is None and entry.run.identity in newest]
        if stale:
            changed = differences(newest[stale[0].run.identity].conditions, stale[0].conditions)
            raise GradusError(
                f"{shown_name(stale[0].run)}{f' and {len(stale) - 1} more' if len(stale) > 1 else ''} finished under other "
                f"conditions in {self.store.path}: what differs is {', '.join(changed)}; train anew with again=True "
                f"(--again), or take what is there with keep=True (--keep)"
            )

    def _found_among(self, sweeps: Sequence[StoredSweep]) -> int | None:
        """The newest sweep that has just the runs that are taken over, and lacks those that are still to begin."""
        taken = {entry.number for entry in self.entries if entry.number is not None}
        for sweep in reversed(sweeps):
            own = {one.id for one in self.store.runs(sweep.id)}
            if own | set(sweep.settings.get("taken", ())) == taken:
                return sweep.id
        return None

    def _begun(self, kind: str, settings: Mapping[str, Any]) -> int:
        taken = [entry.number for entry in self.entries if entry.number is not None]
        return self.store.begin_sweep(kind, "", {**settings, "taken": taken})

    # What happens

    def record(self, place: int, event: Event) -> None:
        """Enter what has happened to a run, in the store first.

        Args:
            place: the run's, in `todo`.
            event: what has happened.
        """
        entry = self.todo[place]
        if entry.number is None:  # it begins, or its process has died before it could
            entry.number = self.store.begin(self.sweep, entry.run, dict(entry.conditions))
        elif isinstance(event, RunStarted):
            self.store.resume(entry.number)
        if isinstance(event, RunStarted):
            entry.status = "running"
            _log.info("%s begins, or goes on", entry)
        elif isinstance(event, Row):
            self._enter(entry, entry.number, event)
        elif isinstance(event, RunEnded):
            self.store.end(entry.number, event.status, event.message)
            entry.status, entry.message = event.status, event.message
            _log.info("%s: %s %s", entry, event.status, event.message)

    def _enter(self, entry: Entry, number: int, row: Row) -> None:
        """Enter a row, unless the store has it: a run that goes on gives its earlier rows again, or goes on after them."""
        if entry.rows.get(row.step) == row:
            return
        earlier = {step: before for step, before in entry.rows.items() if step < row.step}
        # Others are there where a device doesn't repeat its bits, and the last checkpoint was older than they.
        self.store.add(number, row, replacing=len(earlier) < len(entry.rows))
        entry.rows = {**earlier, row.step: row}

    def requests(self) -> Iterator[Request]:
        """What has been asked of these runs since the last look, by their places in `todo`."""
        places = {entry.number: place for place, entry in enumerate(self.todo) if entry.number is not None}
        for request in self.store.requests():
            if request.run in places:
                _log.info("asked to %s run %d", request.wish, request.run)
                self.store.answered(request.id)
                yield Request(places[request.run], request.wish)

    def finish(self) -> None:
        """Enter that the sweep has come to its end."""
        statuses = {entry.status for entry in self.entries}
        ended: Status = "paused" if "paused" in statuses else "stopped" if "stopped" in statuses else "finished"
        self.store.end_sweep(self.sweep, ended)

    def interrupt(self) -> None:
        """Enter that the sweep and the runs still running have been cut short."""
        self.store.interrupt()
        self.store.end_sweep(self.sweep, "interrupted")


def _asks_for(sweep: StoredSweep, runs: Sequence[Sequence[str]]) -> bool:
    """Whether a sweep was asked for just these runs; settings that can't be read ask for nothing."""
    try:
        return bool(sweep.settings.get("runs") == runs)
    except GradusError:
        return False
