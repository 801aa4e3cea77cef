"""A comparison's picture: each group of seeds by its rows, with the rates that it is to have."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from gradus.errors import InvalidInput
from gradus.plots import Along, Curve, Picture
from gradus.plots import comparison_figure as drawn
from gradus.report.finished import Finished, TaskInfo, metrics_in
from gradus.report.summary import grouped, summaries
from gradus.runs import Run
from gradus.schedules import Absolute

__all__ = ["comparison_figure"]


def comparison_figure(
    runs: Sequence[Finished], tasks: Mapping[str, TaskInfo], *, along: Along | None = None, log: bool | None = None
) -> Picture:
    """Each group by the seeds of its line in the table; by all, while none has finished.

    Args:
        runs: the runs.
        tasks: what is known of their tasks, by name.
        along: the horizontal axis.
        log: as `gradus.plots.comparison_figure` takes it.
    """
    curves: dict[str, Curve] = {}
    for summary, seeds in zip(summaries(runs, tasks), grouped(runs), strict=True):
        label = _label(summary.name, seeds)
        done = [one for one in seeds if one.status == "finished"]
        curves[_unused(label, curves)] = _curve(done or seeds, tasks.get(seeds[0].run.task, TaskInfo()))
    names = dict.fromkeys(name for one in runs for name in metrics_in(one.run, one.rows))
    return drawn(curves, _title(runs, len(curves)), metrics=list(names), along=along, log=log)


def _title(runs: Sequence[Finished], groups: int) -> str:
    tasks, seeds = ", ".join(dict.fromkeys(one.run.task for one in runs)), len({one.run.seed for one in runs})
    return f"{tasks or 'nothing'}: {groups} run{'s' * (groups != 1)}{f' with {seeds} seeds each' if seeds > 1 else ''}"


def _label(name: str, seeds: Sequence[Finished]) -> str:
    diverged = sum(one.status == "diverged" for one in seeds)
    which = "" if len(seeds) == 1 else f"{diverged} of {len(seeds)} "
    return f"{name} ({which}diverged)" if diverged else name


def _unused(label: str, taken: Mapping[str, Curve]) -> str:
    """The label, or with a number where another group has it."""
    number = 2
    while label in taken:
        label, number = f"{label.removesuffix(f' ({number - 1})')} ({number})", number + 1
    return label


def _curve(seeds: Sequence[Finished], task: TaskInfo) -> Curve:
    run = seeds[0].run
    per_epoch = next((one.steps_per_epoch for one in seeds if one.steps_per_epoch), None) or _expected(run, task)
    rates, steps = _rates(run, per_epoch)
    scheduled = [name for name in run.schedules if name != "lr"]
    return Curve([one.rows for one in seeds], rates, steps, per_epoch, scheduled)


def _expected(run: Run, task: TaskInfo) -> float | None:
    """Updates in an epoch, before a row has said so."""
    if task.examples is None or run.batch_size is None:
        return None
    batches = -(-task.examples // run.batch_size)
    return float(-(-batches // run.accumulate))


@lru_cache(maxsize=64)  # a live view asks again and again
def _rates(run: Run, steps_per_epoch: float | None) -> tuple[list[float], int]:
    """The rates that a run is to have, and the updates that they last; none where that can't be known."""
    if steps_per_epoch is None or (run.lr is None and not isinstance(run.schedules.get("lr"), Absolute)):
        return [], 0
    try:
        rates, steps = run.rates(steps_per_epoch), run.total_steps(steps_per_epoch)
    except InvalidInput:
        return [], 0
    return rates, steps if run.per == "step" else round(len(rates) * steps_per_epoch)
