"""`compare`: one network trained under each schedule, watched, stored, tabulated and drawn."""

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gradus
from gradus.errors import InvalidInput
from gradus.files import make_ignored_folder, write_whole
from gradus.plots import Curve, comparison_figure, png
from gradus.progress import DownloadBars, pick_view
from gradus.runs import Row, Run
from gradus.schedules import Schedule
from gradus.store import Store
from gradus.sweep import EXECUTORS, Ended, Interval, Machine, Started, interval, reference_runs
from gradus.tasks import Task, load_task
from gradus.training import pick_device

__all__ = ["OUT", "STORE", "Comparison", "Finished", "Summary", "compare"]

OUT = Path("gradus-runs")  # beside the user's work
STORE = "store.sqlite"


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
        train_loss: mean and half-width of the 95 % interval, as all that follow.
        train_accuracy: from 0 to 1.
        test_accuracy: from 0 to 1.
        best_epoch: the epoch with the best test accuracy, the first seed's.
        seconds: wall-clock time of a run, the mean.
        images_per_second: training images per second of that time, the mean.
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


@dataclass(frozen=True)
class Comparison:
    """The runs of a comparison and what they were executed with.

    Args:
        task: the task's name.
        runs: each schedule with each seed.
        images: how many training images an epoch has.
        steps_per_epoch: how many updates.
        conditions: device, threads and versions.
        seconds: wall-clock time of the whole, of what was trained this time.
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
        return [self._summary(name) for name in dict.fromkeys(finished.run.name for finished in self.runs)]

    def _summary(self, name: str) -> Summary:
        seeds = [one for one in self.runs if one.run.name == name]
        done = [one for one in seeds if one.status == "finished"]
        last = [one.rows[-1] for one in done]

        def over(metric: str) -> Interval | None:
            return interval([getattr(row, metric) for row in last]) if last else None

        return Summary(
            name=name,
            finished=len(done),
            seeds=len(seeds),
            train_loss=over("train_loss"),
            train_accuracy=over("train_accuracy"),
            test_accuracy=over("test_accuracy"),
            best_epoch=max(done[0].rows, key=lambda row: row.test_accuracy).epoch if done else None,
            seconds=float(np.mean([one.seconds for one in done])) if done else None,
            images_per_second=(
                float(np.mean([self.images * len(one.rows) / one.seconds for one in done])) if done else None
            ),
            message=next((one.message for one in seeds if one.message), ""),
        )

    def figure(self) -> Any:
        """The curves, with the schedules under them, as a matplotlib figure."""
        return _figure(self.task, [one.run for one in self.runs], [one.rows for one in self.runs], self.steps_per_epoch)

    def to_json(self) -> str:
        """Everything, for another program to read."""
        document = {
            "gradus.comparison": 1,
            "task": self.task,
            "conditions": dict(self.conditions),
            "seconds": self.seconds,
            "images": self.images,
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
        """Write `results.json` and `curves.png` into a folder, each whole or not at all."""
        write_whole(out / "results.json", self.to_json().encode())
        write_whole(out / "curves.png", png(self.figure()))


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
    stored as they come; if the last comparison in the same folder was cut short and asked for the same, its finished runs are
    kept and the others are done again.

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
    folder = make_ignored_folder(Path(out))
    with Store(folder / STORE) as store:
        comparison = _execute(runs, machine, store, task, loaded)
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
        "machine": platform.machine(),
    }


def _execute(runs: Sequence[Run], machine: Machine, store: Store, task: str, loaded: Task) -> Comparison:
    conditions = _conditions(machine)
    sweep, numbers, kept = _entered(runs, store, conditions)
    left = [index for index in range(len(runs)) if index not in kept]
    steps = loaded.steps_per_epoch(runs[0].batch_size)
    rows: dict[int, list[Row]] = {index: list(kept[index].rows) if index in kept else [] for index in range(len(runs))}
    endings = {index: (one.status, one.message) for index, one in kept.items()}

    def draw(fresh: dict[int, list[Row]]) -> Any:
        shown = [fresh[left.index(index)] if index in left else rows[index] for index in range(len(runs))]
        return _figure(task, runs, shown, steps)

    start = time.perf_counter()
    execute = EXECUTORS["processes" if machine.workers > 1 and len(left) > 1 else "serial"]
    try:
        with pick_view([runs[index] for index in left], draw) as view:
            for position, event in execute([runs[index] for index in left], machine):
                index = left[position]
                if isinstance(event, Started):
                    numbers[index] = _begun(store, sweep, runs[index], numbers.get(index), conditions)
                elif isinstance(event, Ended):
                    store.end(numbers[index], event.status, event.message)
                    endings[index] = (event.status, event.message)
                else:
                    store.add(numbers[index], event)
                    rows[index].append(event)
                view.on(position, event)
    except BaseException:
        store.interrupt(sweep)
        raise
    finished = tuple(Finished(run, tuple(rows[index]), *endings[index]) for index, run in enumerate(runs))
    seconds = time.perf_counter() - start
    conditions = conditions | {"workers": machine.workers}
    return Comparison(task, finished, len(loaded.train.inputs), steps, conditions, seconds, len(kept))


def _entered(
    runs: Sequence[Run], store: Store, conditions: dict[str, Any]
) -> tuple[str, dict[int, int], dict[int, Finished]]:
    """The sweep to enter the runs under, the numbers of those that are in the store, and those that are kept.

    A sweep is gone on with where it was cut short and its runs are among the ones asked for, under equal conditions.
    """
    latest = store.latest_sweep()
    stored = store.runs(latest) if latest is not None else []
    wanted = {run.to_json(): index for index, run in enumerate(runs)}
    same = all(
        one.specification in wanted and one.conditions == json.dumps(conditions, sort_keys=True) for one in stored
    )
    cut_short = len(stored) < len(runs) or any(one.status in ("running", "interrupted") for one in stored)
    if latest is None or not same or not cut_short:
        return f"compare {time.strftime('%Y-%m-%d %H:%M:%S')} {os.getpid()}", {}, {}
    numbers = {wanted[one.specification]: one.id for one in stored}
    kept = {
        wanted[one.specification]: Finished(
            runs[wanted[one.specification]], tuple(store.rows(one.id)), one.status, one.message
        )
        for one in stored
        if one.status in ("finished", "diverged")
    }
    return latest, numbers, kept


def _begun(store: Store, sweep: str, run: Run, number: int | None, conditions: dict[str, Any]) -> int:
    if number is None:
        return store.begin(sweep, run, conditions)
    store.restart(number)
    return number


def _figure(task: str, runs: Sequence[Run], rows: Sequence[Sequence[Row]], steps_per_epoch: int) -> Any:
    curves = {}
    for name in dict.fromkeys(run.name for run in runs):
        mine = [index for index, run in enumerate(runs) if run.name == name]
        curves[name] = Curve(runs[mine[0]].rates(steps_per_epoch), [rows[index] for index in mine])
    return comparison_figure(curves, f"{task}: one network under each schedule")
