"""`compare` and `train_run`: runs executed, watched, stored, tabulated and drawn."""

import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gradus.errors import GradusError, InvalidInput
from gradus.files import RESULTS, locked, make_ignored_folder, refuse_full_disk
from gradus.names import hinting
from gradus.progress import DownloadBars, pick_view, print_mistakes
from gradus.report import Comparison, Finished, TaskInfo
from gradus.rows import Row
from gradus.runs import Run
from gradus.store import STORE_FILE, Store
from gradus.sweep import Executor, Resources, Session, Weights, conditions, executor_named, reference_runs
from gradus.sweep.conditions import digest
from gradus.sweep.events import Event, Progress, Request, RunEnded, RunStarted
from gradus.sweep.resources import cores
from gradus.sweep.session import refuse_twins
from gradus.sweep.weights import check_name
from gradus.tasks import Task, load
from gradus.training import check_every, check_run, completed, pick_device
from gradus.training.setup import fresh_model

__all__ = ["compare", "train_run"]

_CHECKPOINTS = "checkpoints"  # the folder, beside the store
# A checkpoint has the weights, and as a rule two more numbers for each; up to three of them are there at once.
_CHECKPOINTS_IN_WEIGHTS = 3 * 3
_log = logging.getLogger(__name__)


@hinting
def compare(
    runs: str | Run | Sequence[Run] = "digits",
    *,
    data_dir: str | Path | None = None,
    device: str | None = None,
    executor: str | Executor | None = None,
    workers: int | None = None,
    threads: int | None = None,
    checkpoint_every: int | None = None,
    again: bool = False,
    keep: bool = False,
    out: str | Path = RESULTS,
) -> Comparison:
    """Train runs side by side and say how each fared.

    Runs that differ in the seed alone are one line of the table. With the same seed they have the same initial weights and
    the same batches, whatever else differs. A run that diverges or fails ends alone.

    Rows are stored as they come. Runs that have finished in the folder before, in whatever sweep, are kept if they were made
    under the same conditions: versions, device, threads, the task's source and data. Those that were cut short go on from
    their last checkpoints.

    Args:
        runs: what to train, such as `gradus.grid` makes; or a task's name, for the reference experiment's six on it.
        data_dir: where tasks find their files.
        device: torch's name of it; the best there is unless given.
        executor: a name in `gradus.sweep.EXECUTORS`, a function of your own, or its import path; "processes" unless given,
            or "serial" where there is one run or one worker.
        workers: processes side by side: one a core on the CPU unless given, one on any other device.
        threads: of torch in each process; unless given, 1, or more where there are fewer runs than cores. A run's last bits
            depend on them, and not on the workers.
        checkpoint_every: updates between two checkpoints of a run; one at each evaluation unless given.
        again: whether to train anew what has finished before.
        keep: whether to keep what has finished before under other conditions, too.
        out: the folder of the store, `results.json`, `curves.png` and the weights; if it is new, git is told to ignore it.

    Raises:
        InvalidInput: an argument or a run can't be used.
        GradusError: data can't be had, a file can't be written, or runs have finished under other conditions.

    >>> import tempfile
    >>> from gradus.schedules import epochs
    >>> from gradus.sweep import grid
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     runs = grid(Run("diabetes", length=epochs(2)), optimizer=["SGD", "AdamW"])
    ...     compare(runs, workers=1, out=folder)
    <Comparison on diabetes: 2 runs in 2 groups, 2 finished>
    """
    tasks = _Tasks(data_dir)
    given = reference_runs(runs, tasks[runs]) if isinstance(runs, str) else [runs] if isinstance(runs, Run) else runs
    work = _Work(given, tasks, device=device, workers=workers, threads=threads, every=checkpoint_every, executor=executor)
    with work.session("compare", Path(out), again=again, keep=keep) as session:
        kept, start = len(session.entries) - len(session.todo), time.perf_counter()
        work.execute(session)
        comparison = work.comparison(session, seconds=time.perf_counter() - start, kept=kept)
        comparison.write(Path(out))
        session.finish()
    return comparison


@hinting
def train_run(
    run: Run,
    *,
    data_dir: str | Path | None = None,
    device: str | None = None,
    executor: str | Executor = "serial",
    threads: int | None = None,
    checkpoint_every: int | None = None,
    again: bool = False,
    keep: bool = False,
    out: str | Path = RESULTS,
) -> tuple[Finished, Path | None]:
    """One run, watched and stored. If it has finished in the folder before, it is kept; if it was cut short, it goes on.

    Args:
        run: what to train.
        data_dir: where the task finds its files.
        device: torch's name of it; the best there is unless given.
        executor: as `compare` takes it.
        threads: of torch; one a core unless given.
        checkpoint_every: updates between two checkpoints; one at each evaluation unless given.
        again: whether to train anew if it has finished before.
        keep: whether to keep what has finished before under other conditions, too.
        out: the folder of the store and of the weights.

    Returns:
        What came of it, and the file of its weights, a plain state dict; None where there are none: it hasn't finished, or a
        training function of your own saved no checkpoint.

    Raises:
        InvalidInput: an argument or the run can't be used.
        GradusError: data can't be had, a file can't be written, or it has finished under other conditions.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     done, weights = train_run(Run("digits", length=5), device="cpu", threads=1, out=folder)
    ...     print(done.status, weights is not None and weights.exists())
    ...
    finished True
    """
    work = _Work(
        [run], _Tasks(data_dir), device=device, workers=1, threads=threads, every=checkpoint_every, executor=executor
    )
    with work.session("train", Path(out), again=again, keep=keep) as session:
        work.execute(session)
        session.finish()
    (done,) = _finished(session)
    weights = Weights(Path(out), done.run, done.conditions).path
    return done, weights if done.status == "finished" and weights.exists() else None


class _Tasks(dict[str, Any]):
    """Tasks and training functions by name, loaded when they are first asked for."""

    def __init__(self, data_dir: str | Path | None) -> None:
        super().__init__()
        self.data_dir = None if data_dir is None else str(data_dir)

    def __missing__(self, name: str) -> Any:
        bars = DownloadBars()
        try:
            self[name] = load(name, self.data_dir, progress=bars)
        finally:
            bars.close()
        return self[name]


class _Work:
    """Runs and what they are executed with; all is checked before anything is written.

    Args:
        runs: the runs; what they leave to their tasks is filled in.
        tasks: their tasks, by name.
        device: as `compare` takes it, like the rest.
        workers: see there.
        threads: see there.
        every: updates between two checkpoints.
        executor: see there.
    """

    def __init__(
        self,
        runs: Iterable[Run],
        tasks: _Tasks,
        *,
        device: str | None,
        workers: int | None,
        threads: int | None,
        every: int | None,
        executor: str | Executor | None,
    ) -> None:
        check_every(every)
        picked = pick_device(device)
        given = _as_runs(runs)
        spread = Resources(  # refused now
            str(picked),
            threads=max(1, cores() // len(given)) if threads is None else threads,
            workers=(cores() if picked.type == "cpu" else 1) if workers is None else workers,
            data_dir=tasks.data_dir,
            checkpoint_every=every,
        )
        several = spread.workers > 1 and len(given) > 1
        self.executor = executor_named(("processes" if several else "serial") if executor is None else executor)
        self.tasks, self.runs = tasks, [completed(run, tasks[run.task]) for run in given]
        refuse_twins(self.runs)
        for run in self.runs:
            check_name(run)
        for run in {run.replace(seed=0).identity: run for run in self.runs}.values():
            if isinstance(tasks[run.task], Task):
                check_run(run, tasks[run.task])
        kinds = {_sources(run): run for run in self.runs}
        found = {kind: conditions(run, tasks[run.task], spread) for kind, run in kinds.items()}
        self.conditions = [found[_sources(run)] for run in self.runs]
        digests = {run.identity: digest(one) for run, one in zip(self.runs, self.conditions, strict=True)}
        self.resources = replace(spread, conditions=digests)
        _log.info("%d runs, executed by %s with %s", len(self.runs), self.executor[0], spread)

    @property
    def settings(self) -> dict[str, Any]:
        """What is to be known of the sweep beside its runs."""
        infos = {run.task: self._info(run).to_json() for run in self.runs}
        return {"executor": self.executor[0], "workers": self.resources.workers, "tasks": infos}

    def _info(self, run: Run) -> TaskInfo:
        task = self.tasks[run.task]
        if not isinstance(task, Task):
            return TaskInfo()
        return TaskInfo(str(task.objective), task.chance(), task.data("train", valid=run.valid).examples)

    @contextmanager
    def session(self, kind: str, out: Path, *, again: bool, keep: bool) -> Iterator[Session]:
        """The runs in the store of a folder, which is locked meanwhile."""
        if again and keep:
            raise InvalidInput("again=True trains anew what has finished, and keep=True keeps it; give one of them")
        folder = make_ignored_folder(out)
        self.resources = replace(self.resources, checkpoints=str(folder / _CHECKPOINTS))
        with locked(folder), Store(folder / STORE_FILE) as store:
            yield Session(store, self.runs, self.conditions, kind, self.settings, again=again, keep=keep)

    def _refuse_full_disk(self, folder: Path, runs: Sequence[Run]) -> None:
        """Refuse to begin what will find no room for its checkpoints and weights."""
        networks = {(run.task, run.model): run for run in runs}
        sizes = {network: self._bytes_of_weights(run) for network, run in networks.items()}
        weights = sum(sizes[run.task, run.model] for run in runs)
        needed = weights + _CHECKPOINTS_IN_WEIGHTS * min(self.resources.workers, len(runs)) * max(sizes.values())
        refuse_full_disk(folder, needed, "the runs' checkpoints and weights need")

    def _bytes_of_weights(self, run: Run) -> int:
        task = self.tasks[run.task]
        if not isinstance(task, Task):
            return 0
        held = fresh_model(run, task).state_dict().values()
        return sum(one.numel() * one.element_size() for one in held if isinstance(one, torch.Tensor))

    def execute(self, session: Session) -> None:
        """Do what is left of a session, watched; whatever cuts it short, no process goes on behind its back."""
        for entry in session.entries:
            if entry not in session.todo:
                self._remove_checkpoints(entry.run)  # if it was cut short between its end and this
        if not session.todo:
            return
        runs = [entry.run for entry in session.todo]
        self._refuse_full_disk(session.store.path.parent, runs)
        print_mistakes([run for run in runs if isinstance(self.tasks[run.task], Task)], self._steps_per_epoch)
        try:
            totals, objectives = [self._total(run) for run in runs], [self._objective(run) for run in runs]
            with pick_view(runs, lambda: self.comparison(session).figure(), totals=totals, objectives=objectives) as view:
                for place, event in self._events(runs, session):
                    self._record(session, place, event)
                    with suppress(OSError):  # what is trained is stored, whether or not anybody can read of it
                        view.on(place, event)
        except BaseException:
            session.interrupt()
            raise

    def _events(self, runs: Sequence[Run], session: Session) -> Iterator[tuple[int, Event]]:
        """What the executor says, which is sent what the runs are asked meanwhile."""
        name, execute = self.executor
        events, requests = iter(execute(runs, self.resources)), list[Request]()
        try:
            while (found := _next(events, requests)) is not None:
                yield _checked(found, len(runs), name)
                requests += session.requests()
        finally:
            if hasattr(events, "close"):
                events.close()
        for place, entry in enumerate(session.todo):
            if entry.status in ("waiting", "running"):
                yield place, RunEnded("failed", f"the executor {name} ended without it")

    def _record(self, session: Session, place: int, event: Event) -> None:
        """Enter an event. A run's checkpoints go when it has come to its end, but for its weights."""
        entry = session.todo[place]
        if isinstance(event, RunEnded) and event.status == "finished":
            Weights(session.store.path.parent, entry.run, entry.conditions).keep(self.resources.checkpoints_of(entry.run))
        session.record(place, event)
        if isinstance(event, RunEnded) and event.status in ("finished", "diverged"):
            self._remove_checkpoints(entry.run)

    def _remove_checkpoints(self, run: Run) -> None:
        """Remove a run's checkpoints, and the folder above that is empty then. What can't be removed does no harm."""
        checkpoints = self.resources.checkpoints_of(run)
        if checkpoints is not None:
            shutil.rmtree(checkpoints, ignore_errors=True)
            with suppress(OSError):
                checkpoints.parent.rmdir()

    def _steps_per_epoch(self, run: Run) -> int:
        data = self.tasks[run.task].data("train", valid=run.valid)
        return int(data.steps_per_epoch(run.batch_size, run.accumulate))

    def _total(self, run: Run) -> int | None:
        """Updates of a run; None where nobody can tell."""
        if isinstance(self.tasks[run.task], Task):
            tokens = self.tasks[run.task].tokens_per_step(run.batch_size, run.accumulate)
            return run.total_steps(self._steps_per_epoch(run), tokens)
        return run.length if isinstance(run.length, int) else None

    def _objective(self, run: Run) -> str | None:
        """The number that a run is judged by; None where nobody can tell."""
        found = self._info(run).objective_of(run)
        return None if found is None else found.name

    def comparison(self, session: Session, *, seconds: float | None = None, kept: int = 0) -> Comparison:
        """What has come of the runs so far."""
        settings = self.settings
        infos = {name: TaskInfo(**info) for name, info in settings.pop("tasks").items()}
        return Comparison(_finished(session), infos, seconds=seconds, kept=kept, settings=settings)


def _sources(run: Run) -> tuple[str | None, ...]:
    """All that a run's conditions depend on of its specification."""
    return run.task, run.optimizer, run.model


def _as_runs(runs: Iterable[Run]) -> list[Run]:
    given = list(runs) if isinstance(runs, Iterable) else [runs]
    if not given or not all(isinstance(run, Run) for run in given):
        wrong = next((run for run in given if not isinstance(run, Run)), None)
        raise InvalidInput(f"there must be at least one Run, such as gradus.grid makes; got {wrong!r}")
    return given


def _finished(session: Session) -> list[Finished]:
    return [Finished(one.run, tuple(one.rows.values()), one.status, one.message, one.conditions) for one in session.entries]


def _next(events: Any, requests: list[Request]) -> Any:
    """An executor's next event, for the next request; one that is no generator can't be asked for anything."""
    if not hasattr(events, "send"):
        return next(events, None)
    try:
        return events.send(requests.pop(0) if requests else None)
    except StopIteration:
        return None


def _checked(found: Any, runs: int, name: str) -> tuple[int, Event]:
    """What an executor has yielded, if it is a pair of a run's place and an event."""
    if isinstance(found, tuple) and len(found) == 2:
        place, event = found
        if type(place) is int and 0 <= place < runs and isinstance(event, (RunStarted, Progress, Row, RunEnded)):
            return place, event
    raise GradusError(f"the executor {name} must yield pairs of a run's place, below {runs}, and an event; got {found!r}")
