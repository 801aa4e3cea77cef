"""`compare`: one network trained under each schedule, watched, stored, tabulated and drawn."""

import os
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

import gradus
from gradus.comparison.results import HEADINGS, Comparison, Finished, Summary, comparison_picture
from gradus.comparison.resume import StoredSweep
from gradus.errors import InvalidInput
from gradus.files import RESULTS, locked, make_ignored_folder
from gradus.plots import Picture
from gradus.progress import DownloadBars, pick_view
from gradus.schedules import Schedule
from gradus.store import STORE_FILE, Store
from gradus.sweep import EXECUTORS, Machine, reference_runs
from gradus.tasks import load_task
from gradus.training import pick_device

__all__ = ["HEADINGS", "Comparison", "Finished", "Summary", "compare"]


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
    device: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    out: str | Path = RESULTS,
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
        model: another network than the task's, as `gradus.tasks.load_model` takes it.
        lr: one learning rate for all.
        epochs: passes over the data; the task's own unless given, as is the next.
        batch_size: examples in an update.
        seeds: how many seeds each schedule is trained with.
        per: "epoch" holds a rate over an epoch, "step" moves it at each update.
        device: torch's name of it; the best there is unless given.
        workers: processes side by side: one a core on the CPU unless given, one on any other device.
        threads: of torch in each process; unless given, 1, or more where there are fewer runs than cores. A run's last bits
            depend on them, and not on the workers.
        out: the folder of the store, `results.json` and `curves.png`; if it is new, git is told to ignore it.

    Raises:
        InvalidInput: an argument can't be used.
        GradusError: data can't be had, a file can't be written.
    """
    picked = pick_device(device)
    for name, value in (("workers", workers), ("threads", threads)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1024):
            raise InvalidInput(f"{name} must be a whole number from 1 to 1024; got {value!r}")
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
        model=model,
        lr=lr,
        epochs=epochs,
        batch_size=batch_size,
        seeds=seeds,
        per=per,
    )
    machine = _machine(picked, workers, threads, data_dir, len(runs))
    steps = loaded.steps_per_epoch(runs[0].batch_size)
    conditions = _conditions(machine)
    folder = make_ignored_folder(Path(out))
    with locked(folder), Store(folder / STORE_FILE) as store:
        sweep = StoredSweep(store, runs, conditions)
        kept = len(runs) - len(sweep.left())
        start = time.perf_counter()
        _execute(sweep, machine, lambda: comparison_picture(task, sweep.so_far(), steps))
        seconds = time.perf_counter() - start
        conditions = conditions | {"workers": machine.workers}
        images, chance = len(loaded.train.inputs), loaded.chance()
        comparison = Comparison(task, sweep.so_far(), images, steps, chance, conditions, seconds, kept)
        comparison.write(folder)
    return comparison


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


def _execute(sweep: StoredSweep, machine: Machine, draw: Callable[[], Picture]) -> None:
    """Do what is left of a sweep, watched; whatever cuts it short, no process goes on behind its back."""
    left = sweep.left()
    runs = [entry.run for entry in left]
    execute = EXECUTORS["processes" if machine.workers > 1 and len(runs) > 1 else "serial"]
    try:
        with pick_view(runs, draw) as view, closing(execute(runs, machine)) as events:
            for position, event in events:
                sweep.record(left[position], event)
                view.on(position, event)
    except BaseException:
        sweep.interrupt()
        raise
