"""What a table leaves out, as sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from gradus.metric_names import counted, metric_of
from gradus.report.finished import Finished, TaskInfo, metrics_in
from gradus.report.summary import grouped, summaries

__all__ = ["remarks", "shared"]

_LITTLE = 1.05  # times chance: what is below has learned nothing


def remarks(
    runs: Sequence[Finished],
    tasks: Mapping[str, TaskInfo],
    seconds: float | None,
    kept: int,
    settings: Mapping[str, Any],
) -> list[str]:
    """The remarks of a comparison, whose fields these are."""
    remarks = []
    for summary, seeds in zip(summaries(runs, tasks), grouped(runs), strict=True):
        remarks += [f"{summary.name}: {remark}" for remark in _of_group(seeds, summary.message, tasks)]
    return [*remarks, *_different(runs), _how(runs, seconds, kept, settings)]


def _of_group(seeds: Sequence[Finished], message: str, tasks: Mapping[str, TaskInfo]) -> list[str]:
    done = [one for one in seeds if one.status == "finished"]
    met = [one.message for one in done if one.message]
    dead = sum(_is_dead(one, tasks.get(one.run.task, TaskInfo()).chance) for one in done)
    runs, why = counted(len(seeds), "run"), f": {message}" if message else ""
    remarks = [f"{len(seeds) - len(done)} of {runs} did not finish{why}"] if len(done) < len(seeds) else []
    remarks += [f"{len(met)} of {runs} met a number that isn't finite: {met[0]}"] if met else []
    return remarks + ([f"{dead} of {runs} ended no better than chance"] if dead else [])


def _is_dead(one: Finished, chance: float | None) -> bool:
    """Whether a run learned nothing, as a ReLU network does that a high rate has killed."""
    names = [name for name in metrics_in(one.run, one.rows) if metric_of(name) == "accuracy"]
    last = [value for name in names if (value := one.last(name)) is not None]
    return chance is not None and bool(last) and max(last) <= _LITTLE * chance


def _how(runs: Sequence[Finished], seconds: float | None, kept: int, settings: Mapping[str, Any]) -> str:
    """The last sentence: how much was done, how, and in what time."""
    tasks = ", ".join(dict.fromkeys(one.run.task for one in runs)) or "nothing"
    device, workers = shared(runs).get("device"), settings.get("workers")
    parts = [f"{tasks}: {counted(len(runs), 'run')}"]
    parts += [f"({kept} kept from before)"] if kept else []
    parts += [f"in {seconds:.1f} s"] if seconds is not None else []
    parts += [f"on {device}"] if device else []
    return " ".join(parts) + (f", {workers} at a time" if workers else "")


def shared(runs: Sequence[Finished]) -> dict[str, Any]:
    """The conditions that all runs share.

    Args:
        runs: the runs.
    """
    first = runs[0].conditions if runs else {}
    return {
        name: value
        for name, value in first.items()
        if all(name in one.conditions and one.conditions[name] == value for one in runs)
    }


def _different(runs: Sequence[Finished]) -> list[str]:
    """A sentence for each condition that differs among runs of one task, for then it may be what is compared."""
    remarks = []
    for task in dict.fromkeys(one.run.task for one in runs):
        of_task = [one for one in runs if one.run.task == task]
        alike = shared(of_task)
        names = dict.fromkeys(name for one in of_task for name in one.conditions if name not in alike)
        for name in names:
            values = dict.fromkeys(str(one.conditions.get(name)) for one in of_task)
            remarks.append(f"{task}: not all runs were executed alike; {name}: {', '.join(values)}")
    return remarks
