"""A sweep's runs as the store has them."""

from gradus.errors import GradusError
from gradus.report.finished import Finished
from gradus.runs import Run
from gradus.store import Store, StoredRun, StoredSweep

__all__ = ["finished_runs"]


def finished_runs(store: Store, sweep: StoredSweep, *, trusted: bool) -> list[Finished]:
    """The runs of a sweep, those that it took from others too, in the order and under the names they were asked for.

    Args:
        store: the store.
        sweep: the sweep.
        trusted: as `Run.from_json` takes it.

    Raises:
        GradusError: the store can't be read, or a run in it is damaged.
    """
    taken = set(sweep.settings.get("taken", ()))
    stored = [one for one in store.runs() if one.sweep == sweep.id or one.id in taken]
    if damaged := [str(one.id) for one in stored if one.status == "damaged"]:
        what = f"{store.path} is damaged in what it has of run {', '.join(damaged)}"
        raise GradusError(f"{what}; `gradus runs --repair` keeps what is damaged apart")
    asked = sweep.settings.get("runs")
    if asked is None:
        return [_finished(store, one, one.name or None, trusted) for one in stored]
    by_identity = {one.identity: one for one in stored}
    named = {(one.identity, one.name): one for one in stored}
    return [
        _finished(store, found, name or None, trusted)
        for identity, name in asked
        if (found := named.get((identity, name or "")) or by_identity.get(identity)) is not None
    ]


def _finished(store: Store, one: StoredRun, name: str | None, trusted: bool) -> Finished:
    run = Run.from_json(one.specification, trusted=trusted).replace(name=name)
    return Finished(run, store.rows(one.id), one.status, one.message, one.conditions)
