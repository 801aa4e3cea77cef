"""`compare`: one network trained under each schedule, watched, stored, tabulated and drawn."""

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import gradus
from gradus.comparison.results import HEADINGS, Comparison, Finished, Summary, comparison_picture
from gradus.comparison.resume import StoredSweep
from gradus.comparison.weights import Weights, check_name
from gradus.errors import InvalidInput
from gradus.files import RESULTS, locked, make_ignored_folder
from gradus.names import hinting
from gradus.plots import Picture
from gradus.progress import DownloadBars, pick_view, print_mistakes
from gradus.runs import Run
from gradus.schedules import Schedule
from gradus.store import STORE_FILE, Store
from gradus.sweep import EXECUTORS, Ended, Machine, reference_runs
from gradus.tasks import Task, load_task
from gradus.training import check_every, check_run, pick_device, rate_for

__all__ = ["HEADINGS", "Comparison", "Finished", "Summary", "compare", "train_one"]


@hinting
def compare(
    task: str = "digits",
    *,
    data_dir: str | Path | None = None,
    only: list[str] | None = None,
    without: list[str] | None = None,
    schedules: Mapping[str, Schedule] | None = None,
    model: str | None = None,
    lr: float | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    seeds: int = 1,
    per: str = "epoch",
    on_nonfinite: str | None = None,
    device: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    checkpoint_every: int | None = None,
    out: str | Path = RESULTS,
) -> Comparison:
    """Train one network under each schedule and say how each fared.

    The same initial weights and the same batches for each schedule; a run that diverges or fails ends alone. Rows are
    stored as they come; if a comparison in the same folder was cut short and asked for the same, or for a part of it, its
    finished runs are kept and the others go on from their last checkpoints.

    Args:
        task: a task's name, as `gradus.tasks.load_task` takes it.
        data_dir: where the task finds its files.
        only: which schedules of the reference experiment; all unless given.
        without: which of them to leave out.
        schedules: further ones by name, factors of the learning rate.
        model: another network than the task's, as `gradus.tasks.load_model` takes it.
        lr: one learning rate for all.
        epochs: passes over the data; the task's own unless given, as is the next.
        batch_size: examples in an update.
        seeds: how many seeds each schedule is trained with.
        per: "epoch" holds a rate over an epoch, "step" moves it at each update.
        on_nonfinite: what to do at a loss or gradient that is no finite number, as `Run` takes it.
        device: torch's name of it; the best there is unless given.
        workers: processes side by side: one a core on the CPU unless given, one on any other device.
        threads: of torch in each process; unless given, 1, or more where there are fewer runs than cores. A run's last bits
            depend on them, and not on the workers.
        checkpoint_every: updates between two checkpoints of a run; one at each epoch's end unless given.
        out: the folder of the store, `results.json` and `curves.png`; if it is new, git is told to ignore it.

    Raises:
        InvalidInput: an argument can't be used.
        GradusError: data can't be had, a file can't be written.
    """
    picked = pick_device(device)
    _check_counts(workers=workers, threads=threads)
    check_every(checkpoint_every)
    loaded = _load_task(task, data_dir)
    runs = reference_runs(
        loaded,
        task,
        only=only,
        without=without,
        schedules=schedules,
        model=model,
        lr=lr,
        epochs=epochs,
        batch_size=batch_size,
        seeds=seeds,
        per=per,
        on_nonfinite=on_nonfinite,
    )
    for run in runs:
        check_name(run)
    machine = _machine(picked, workers, threads, data_dir, len(runs))
    folder = make_ignored_folder(Path(out))
    machine, conditions = _with_checkpoints(machine, folder, checkpoint_every)
    steps = loaded.steps_per_epoch(runs[0].batch_size)
    with locked(folder), Store(folder / STORE_FILE) as store:
        sweep = StoredSweep(store, runs, conditions)
        kept = len(runs) - len(sweep.left())
        print_mistakes([entry.run for entry in sweep.left()], steps)
        start = time.perf_counter()
        _execute(sweep, machine, lambda: comparison_picture(task, sweep.so_far(), steps))
        seconds = time.perf_counter() - start
        conditions = conditions | {"workers": machine.workers}
        images, chance = len(loaded.train.inputs), loaded.chance()
        comparison = Comparison(task, sweep.so_far(), images, steps, chance, conditions, seconds, kept)
        comparison.write(folder)
        sweep.close()
    return comparison


def train_one(
    task: str,
    schedule: Schedule,
    *,
    name: str = "train",
    data_dir: str | Path | None = None,
    model: str | None = None,
    optimizer: str = "SGD",
    options: Mapping[str, Any] | None = None,
    lr: float | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    per: str = "epoch",
    on_nonfinite: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    checkpoint_every: int | None = None,
    out: str | Path = RESULTS,
) -> tuple[Finished, Path]:
    """One run, watched and stored; it goes on from its last checkpoint if it was cut short in the same folder.

    Args:
        task: a task's name, as `gradus.tasks.load_task` takes it.
        schedule: the learning rate's, a factor of it; or `absolute(schedule)`, the rate itself.
        name: what the run is called.
        data_dir: where the task finds its files.
        model: another network than the task's, as `gradus.tasks.load_model` takes it.
        optimizer: as `Run` takes it, like the next.
        options: the optimizer's further arguments.
        lr: the learning rate; the task's own unless given, as are the next two; of another optimizer than SGD, its default.
        epochs: passes over the data.
        batch_size: examples in an update.
        seed: of everything that is drawn.
        per: "epoch" or "step", which the schedule counts.
        on_nonfinite: what to do at a loss or gradient that is no finite number, as `Run` takes it.
        device: torch's name of it; the best there is unless given.
        threads: of torch; one a core unless given.
        checkpoint_every: updates between two checkpoints; one at each epoch's end unless given.
        out: the folder of the store and of the checkpoints.

    Returns:
        What came of it, and the file of its last checkpoint, weights included, if it finished. The file is named after the
        run and its identity; other weights that lie there already stay, and these go beside them.

    Raises:
        InvalidInput: an argument can't be used.
        GradusError: data can't be had, a file can't be written.
    """
    picked = pick_device(device)
    _check_counts(threads=threads)
    check_every(checkpoint_every)
    loaded = _load_task(task, data_dir)
    run = Run(
        name=name,
        task=task,
        schedule=schedule,
        lr=rate_for(optimizer, loaded) if lr is None else lr,
        epochs=loaded.epochs if epochs is None else epochs,
        batch_size=loaded.batch_size if batch_size is None else batch_size,
        seed=seed,
        per=per,
        optimizer=optimizer,
        model=model,
        options=options or {},
        on_nonfinite=on_nonfinite,
    )
    steps = loaded.steps_per_epoch(run.batch_size)
    check_name(run)
    check_run(run, loaded)  # refused now, before anything is written
    print_mistakes([run], steps)
    folder = make_ignored_folder(Path(out))
    machine, conditions = _with_checkpoints(_machine(picked, 1, threads, data_dir, 1), folder, checkpoint_every)
    weights = Weights(folder, run, conditions)
    with locked(folder), Store(folder / STORE_FILE) as store:
        sweep = StoredSweep(store, [run], conditions, kind="train")
        _execute(sweep, machine, lambda: comparison_picture(run.task, sweep.so_far(), steps), weights)
        sweep.close()
    return sweep.so_far()[0], weights.path


def _check_counts(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1024):
            raise InvalidInput(f"{name} must be a whole number from 1 to 1024; got {value!r}")


def _load_task(task: str, data_dir: str | Path | None) -> Task:
    bars = DownloadBars()
    try:
        return load_task(task, data_dir, progress=bars)
    finally:
        bars.close()


def _machine(
    device: torch.device, workers: int | None, threads: int | None, data_dir: str | Path | None, runs: int
) -> Machine:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        device=str(device),
        threads=threads or max(1, cores // runs),
        workers=workers or (cores if device.type == "cpu" else 1),
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


def _with_checkpoints(machine: Machine, folder: Path, every: int | None) -> tuple[Machine, dict[str, Any]]:
    """The machine with a folder for checkpoints, where only those made under the same conditions lie; and these."""
    conditions = _conditions(machine)
    digest = hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()[:16]
    return replace(machine, checkpoints=str(folder / "checkpoints" / digest), checkpoint_every=every), conditions


def _execute(sweep: StoredSweep, machine: Machine, draw: Callable[[], Picture], weights: Weights | None = None) -> None:
    """Do what is left of a sweep, watched; whatever cuts it short, no process goes on behind its back.

    The checkpoints of a run go when it has come to its end; the last one is kept if its weights are asked for.
    """
    left = sweep.left()
    for entry in sweep.entries:
        if entry not in left:
            _remove(machine, entry.run)  # if it was cut short between its end and this
    runs = [entry.run for entry in left]
    execute = EXECUTORS["processes" if machine.workers > 1 and len(runs) > 1 else "serial"]
    try:
        with pick_view(runs, draw) as view, closing(execute(runs, machine)) as events:
            for position, event in events:
                if weights is not None and isinstance(event, Ended) and event.status == "finished":
                    weights.keep(machine.checkpoints_of(runs[position]))
                sweep.record(left[position], event)
                if isinstance(event, Ended) and event.status in ("finished", "diverged"):
                    _remove(machine, runs[position])
                with suppress(OSError):  # what is trained is stored, whether or not anybody can read of it
                    view.on(position, event)
    except BaseException:
        sweep.interrupt()
        raise


def _remove(machine: Machine, run: Run) -> None:
    """Remove a run's checkpoints, and the folders above that are empty then. What can't be removed does no harm."""
    checkpoints = machine.checkpoints_of(run)
    if checkpoints is None:
        return
    shutil.rmtree(checkpoints, ignore_errors=True)
    with suppress(OSError):
        checkpoints.parent.rmdir()
        checkpoints.parent.parent.rmdir()
