"""`compare`: one network trained under each schedule, watched, stored, tabulated and drawn."""

import html
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

import gradus
from gradus.errors import InvalidInput
from gradus.files import make_ignored_folder, write_whole
from gradus.plots import Curve, Picture, comparison_figure, png
from gradus.progress import DownloadBars, pick_view
from gradus.runs import Row, Run
from gradus.schedules import Schedule
from gradus.store import Store
from gradus.sweep import EXECUTORS, Ended, Event, Interval, Machine, Started, interval, reference_runs
from gradus.tasks import load_task
from gradus.training import pick_device

__all__ = ["HEADINGS", "OUT", "STORE", "Comparison", "Finished", "Summary", "compare"]

OUT = Path("gradus-runs")  # beside the user's work
STORE = "store.sqlite"
HEADINGS = ("schedule", "train loss", "train %", "test %", "best epoch", "seconds", "images/s")


@dataclass(frozen=True)
class Finished:
    """A run of a comparison with what came of it.

    Args:
        run: its specification.
        rows: a row an epoch.
        status: "finished", "diverged" or "failed".
        message: why, where it isn't "finished".
    """

    run: Run
    rows: tuple[Row, ...]
    status: str
    message: str

    @property
    def seconds(self) -> float:
        """Wall-clock time of all its epochs, scoring included."""
        return sum(row.seconds for row in self.rows)


@dataclass(frozen=True)
class Summary:
    """What a schedule's seeds say together, after the last epoch; None where no seed finished.

    Args:
        name: the schedule's name.
        finished: how many seeds finished.
        seeds: how many there are.
        train_loss: mean and half-width of the 95 % interval over the seeds that finished, as the two that follow.
        train_accuracy: from 0 to 1.
        test_accuracy: from 0 to 1.
        best_epoch: the epoch with the best test accuracy, their mean.
        seconds: wall-clock time of a run, their mean.
        images_per_second: training images per second of that time, their mean.
        message: why seeds didn't finish.
    """

    name: str
    finished: int
    seeds: int
    train_loss: Interval | None
    train_accuracy: Interval | None
    test_accuracy: Interval | None
    best_epoch: int | None
    seconds: float | None
    images_per_second: float | None
    message: str

    def cells(self) -> list[str]:
        """A line of the final table, under `HEADINGS`."""
        return [
            self.name,
            _shown(self.train_loss, 1, 4 if self.seeds == 1 else 3),
            _shown(self.train_accuracy, 100, 2),
            _shown(self.test_accuracy, 100, 2),
            "–" if self.best_epoch is None else str(self.best_epoch),
            "–" if self.seconds is None else f"{self.seconds:.1f}",
            "–" if self.images_per_second is None else f"{self.images_per_second:,.0f}",
        ]


def _shown(value: Interval | None, scale: float, digits: int) -> str:
    if value is None:
        return "–"
    mean = f"{scale * value.mean:.{digits}f}"
    return mean if value.half_width is None else f"{mean} ± {scale * value.half_width:.{digits}f}"


@dataclass(frozen=True, repr=False)
class Comparison:
    """The runs of a comparison and what they were executed with. A notebook shows it as its final table.

    Args:
        task: the task's name.
        runs: each schedule with each seed.
        images: how many training images an epoch has.
        steps_per_epoch: how many updates.
        conditions: device, threads, workers and versions.
        seconds: wall-clock time of what was trained this time.
        kept: how many runs were kept from a comparison that was cut short.
    """

    task: str
    runs: tuple[Finished, ...]
    images: int
    steps_per_epoch: int
    conditions: Mapping[str, Any]
    seconds: float
    kept: int

    def summaries(self) -> list[Summary]:
        """One for each schedule, in the order they were named."""
        return [_summary(name, runs, self.images) for name, runs in _by_name(self.runs).items()]

    def remarks(self) -> list[str]:
        """What the table leaves out, a sentence each: the runs that didn't finish, and how all were executed."""
        kept = f" ({self.kept} kept from before)" if self.kept else ""
        return [
            f"{one.name}: {one.seeds - one.finished} of {_counted(one.seeds, 'run')} did not finish: {one.message}"
            for one in self.summaries()
            if one.finished < one.seeds
        ] + [
            f"{self.task}: {_counted(len(self.runs), 'run')}{kept} in {self.seconds:.1f} s on "
            f"{self.conditions['device']}, {self.conditions['workers']} at a time"
        ]

    def figure(self) -> Picture:
        """The curves, with the schedules under them, as a matplotlib figure."""
        return _figure(self.task, self.runs, self.steps_per_epoch)

    def to_json(self) -> str:
        """Everything as strict JSON, for another program to read; this is what `results.json` holds.

        Its fields: `gradus.comparison` (the format's version), `task`, `conditions`, `seconds`, `kept`, `images`,
        `steps_per_epoch`; `summary`, a `Summary` for each schedule, its intervals as `{"mean", "half_width"}`; and `runs`,
        each with `run` (what `Run.from_json` reads), `schedule` (as it is printed), `status`, `message` and `rows`.
        """
        document = {
            "gradus.comparison": 1,
            "task": self.task,
            "conditions": dict(self.conditions),
            "seconds": self.seconds,
            "kept": self.kept,
            "images": self.images,
            "steps_per_epoch": self.steps_per_epoch,
            "summary": [
                {name: value._asdict() if isinstance(value, Interval) else value for name, value in vars(one).items()}
                for one in self.summaries()
            ],
            "runs": [
                {
                    "run": json.loads(one.run.to_json()),
                    "schedule": repr(one.run.schedule),
                    "status": one.status,
                    "message": one.message,
                    "rows": [asdict(row) for row in one.rows],
                }
                for one in self.runs
            ],
        }
        return json.dumps(document, indent=1, allow_nan=False)

    def write(self, out: Path) -> None:
        """Write `results.json` and `curves.png` into a folder, each whole or not at all.

        Raises:
            GradusError: one of them can't be written.
        """
        write_whole(out / "results.json", self.to_json().encode())
        write_whole(out / "curves.png", png(self.figure()))

    def __repr__(self) -> str:
        finished = sum(one.status == "finished" for one in self.runs)
        return (
            f"<Comparison of {len(self.summaries())} schedules on {self.task}: {finished} of {len(self.runs)} runs finished>"
        )

    def _repr_html_(self) -> str:
        def line(tag: str, cells: Sequence[str]) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(line("td", one.cells()) for one in self.summaries())
        remarks = "<br>".join(map(html.escape, self.remarks()))
        return f"<table><thead>{line('th', HEADINGS)}</thead><tbody>{body}</tbody></table><p>{remarks}</p>"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _by_name(runs: Sequence[Finished]) -> dict[str, list[Finished]]:
    """The seeds of each schedule, in the order the schedules were named."""
    return {name: [one for one in runs if one.run.name == name] for name in dict.fromkeys(one.run.name for one in runs)}


def _summary(name: str, seeds: Sequence[Finished], images: int) -> Summary:
    done = [one for one in seeds if one.status == "finished"]
    message = next((one.message for one in seeds if one.message), "")
    if not done:
        return Summary(name, 0, len(seeds), None, None, None, None, None, None, message)

    def last(metric: str) -> Interval:
        return interval([getattr(one.rows[-1], metric) for one in done])

    def test_accuracy(index: int) -> float:
        return fmean(one.rows[index].test_accuracy for one in done)

    return Summary(
        name=name,
        finished=len(done),
        seeds=len(seeds),
        train_loss=last("train_loss"),
        train_accuracy=last("train_accuracy"),
        test_accuracy=last("test_accuracy"),
        best_epoch=1 + max(range(len(done[0].rows)), key=test_accuracy),
        seconds=fmean(one.seconds for one in done),
        images_per_second=fmean(images * len(one.rows) / one.seconds for one in done),
        message=message,
    )


def _figure(task: str, runs: Sequence[Finished], steps_per_epoch: int) -> Picture:
    """Each schedule by the seeds that its line in the table speaks of; by all, while none has finished."""
    curves = {}
    for name, seeds in _by_name(runs).items():
        done = [one for one in seeds if one.status == "finished"]
        diverged = sum(one.status == "diverged" for one in seeds)
        which = "" if len(seeds) == 1 else f"{diverged} of {len(seeds)} "
        label = f"{name} ({which}diverged)" if diverged else name
        rates = _rates(seeds[0].run, steps_per_epoch)
        curves[label] = Curve(rates, seeds[0].run.epochs, [one.rows for one in done or seeds])
    return comparison_figure(curves, f"{task}: one network under each schedule")


@lru_cache(maxsize=64)  # a live view asks again and again
def _rates(run: Run, steps_per_epoch: int) -> list[float]:
    """The learning rate of each epoch; of each update, where it moves at each: there the updates pass for epochs."""
    if run.per == "epoch":
        return run.rates(steps_per_epoch)
    updates = replace(run, schedule=run.resolved(steps_per_epoch), epochs=run.epochs * steps_per_epoch, per="epoch")
    return updates.rates(1)


def compare(
    task: str = "digits",
    *,
    data_dir: str | Path | None = None,
    only: list[str] | None = None,
    without: list[str] | None = None,
    schedules: Mapping[str, Schedule] | None = None,
    lr: float | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    seeds: int = 1,
    per: str = "epoch",
    device: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    out: str | Path = OUT,
) -> Comparison:
    """Train one network under each schedule and say how each fared.

    The same initial weights and the same batches for each schedule; a run that diverges or fails ends alone. Rows are
    stored as they come; if the last comparison in the same folder was cut short and asked for the same, or for a part of it,
    its finished runs are kept and the others are done again.

    Args:
        task: a task's name, as `gradus.tasks.load_task` takes it.
        data_dir: where the task finds its files.
        only: which schedules of the reference experiment; all unless given.
        without: which of them to leave out.
        schedules: further ones by name, factors of the learning rate.
        lr: one learning rate for all.
        epochs: passes over the data; the task's own unless given, as is the next.
        batch_size: examples in an update.
        seeds: how many seeds each schedule is trained with.
        per: "epoch" holds a rate over an epoch, "step" moves it at each update.
        device: torch's name of it; the best there is unless given.
        workers: processes side by side: one a core on the CPU unless given, one on any other device.
        threads: of torch in each process, 1 unless given; a run's last bits depend on them.
        out: the folder of the store, `results.json` and `curves.png`; it tells git to ignore it.

    Raises:
        InvalidInput: an argument can't be used.
        GradusError: data can't be had, a file can't be written.
    """
    machine = _machine(device, workers, threads, data_dir)
    bars = DownloadBars()
    try:
        loaded = load_task(task, data_dir, progress=bars)
    finally:
        bars.close()
    runs = reference_runs(
        loaded,
        task,
        only=only,
        without=without,
        schedules=schedules,
        lr=lr,
        epochs=epochs,
        batch_size=batch_size,
        seeds=seeds,
        per=per,
    )
    steps = loaded.steps_per_epoch(runs[0].batch_size)
    conditions = _conditions(machine)
    folder = make_ignored_folder(Path(out))
    with Store(folder / STORE) as store:
        sweep = _Sweep(store, runs, conditions)
        kept = len(runs) - len(sweep.left())
        start = time.perf_counter()
        _execute(sweep, machine, lambda: _figure(task, sweep.so_far(), steps))
        seconds = time.perf_counter() - start
    conditions = conditions | {"workers": machine.workers}
    comparison = Comparison(task, sweep.so_far(), len(loaded.train.inputs), steps, conditions, seconds, kept)
    comparison.write(folder)
    return comparison


def _machine(device: str | None, workers: int | None, threads: int | None, data_dir: str | Path | None) -> Machine:
    for name, value in (("workers", workers), ("threads", threads)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1024):
            raise InvalidInput(f"{name} must be a whole number from 1 to 1024; got {value!r}")
    picked = pick_device(device)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        device=str(picked),
        threads=threads or 1,
        workers=workers or (cores if picked.type == "cpu" else 1),
        data_dir=None if data_dir is None else str(data_dir),
    )


def _conditions(machine: Machine) -> dict[str, Any]:
    """What a run's bits depend on besides its specification."""
    return {
        "gradus": gradus.__version__,
        "torch": torch.__version__,
        "device": machine.device,
        "threads": machine.threads,
        "data_dir": machine.data_dir,
        "machine": platform.machine(),
    }


def _execute(sweep: "_Sweep", machine: Machine, draw: Callable[[], Picture]) -> None:
    """Do what is left of a sweep, watched; whatever cuts it short, no process goes on behind its back."""
    left = sweep.left()
    runs = [entry.run for entry in left]
    execute = EXECUTORS["processes" if machine.workers > 1 and len(runs) > 1 else "serial"]
    try:
        with pick_view(runs, draw) as view, closing(execute(runs, machine)) as events:  # type: ignore[type-var]  # generators
            for position, event in events:
                sweep.record(left[position], event)
                view.on(position, event)
    except BaseException:
        sweep.interrupt()
        raise


@dataclass
class _Entry:
    """A run on its way: its number in the store once it has one, and what has come of it so far."""

    run: Run
    number: int | None = None
    rows: list[Row] = field(default_factory=list)
    status: str = "waiting"
    message: str = ""


class _Sweep:
    """The runs of a comparison in the store.

    The latest sweep is gone on with where it was cut short, all its runs are among the ones asked for, and the conditions
    are equal. Otherwise a new one begins.
    """

    def __init__(self, store: Store, runs: Sequence[Run], conditions: dict[str, Any]) -> None:
        self.store, self.conditions = store, conditions
        self.entries = [_Entry(run) for run in runs]
        self.name = self._cut_short() or f"compare {datetime.now(UTC).isoformat()} {os.getpid()}"

    def _cut_short(self) -> str | None:
        """The name of the sweep to go on with, if there is one; its runs are taken over."""
        latest = self.store.latest_sweep()
        stored = self.store.runs(latest) if latest is not None else []
        wanted = {entry.run.to_json(): entry for entry in self.entries}
        if len(stored) == len(wanted) and all(one.status not in ("running", "interrupted") for one in stored):
            return None  # it is whole
        if any(one.specification not in wanted or json.loads(one.conditions) != self.conditions for one in stored):
            return None  # it is another
        for one in stored:
            entry = wanted[one.specification]
            entry.number = one.id
            if one.status in ("finished", "diverged"):
                entry.rows, entry.status, entry.message = self.store.rows(one.id), one.status, one.message
        return latest

    def left(self) -> list[_Entry]:
        """The runs still to be done."""
        return [entry for entry in self.entries if entry.status == "waiting"]

    def so_far(self) -> tuple[Finished, ...]:
        """What has come of each run."""
        return tuple(Finished(entry.run, tuple(entry.rows), entry.status, entry.message) for entry in self.entries)

    def record(self, entry: _Entry, event: Event) -> None:
        """Enter what has happened to a run, in the store first."""
        if entry.number is None:  # it begins, or its process has died before it could
            entry.number = self.store.begin(self.name, entry.run, self.conditions)
        elif isinstance(event, Started):
            self.store.restart(entry.number)
        if isinstance(event, Row):
            self.store.add(entry.number, event)
            entry.rows.append(event)
        elif isinstance(event, Ended):
            self.store.end(entry.number, event.status, event.message)
            entry.status, entry.message = event.status, event.message

    def interrupt(self) -> None:
        """Enter that the runs still running have been cut short."""
        self.store.interrupt(self.name)
