"""`Summary`: what the seeds of a run say together, in numbers only; and what tells one group of seeds from another."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from statistics import fmean
from typing import Any

from gradus.frozen import Frozen
from gradus.metric_names import metric_of, part_of
from gradus.report.finished import Finished, TaskInfo, metrics_in
from gradus.runs import Run
from gradus.sweep.statistics import Interval, interval
from gradus.tasks import Objective

__all__ = ["Summary", "differences", "grouped", "summaries"]

_SHARED = ("seed", "name", "record_every")  # no difference between two groups
_OPENED = ("schedules", "options")  # mappings, each of whose values is a difference of its own
_SAID_ALONE = ("task", "optimizer", "model", "schedules.lr")  # whose values say what they are
_PARTS_BY_WEIGHT = ("valid", "test", "train", None)


@dataclass(frozen=True)
class Summary:
    """What the runs that differ in the seed alone say together, over the seeds that finished.

    Args:
        name: the group's: its runs' name, or what differs.
        differs: what differs between this group and the others of its comparison, by the Run's fields; of schedules and
            options each by itself, as "schedules.lr" and "options.momentum".
        seeds: how many runs there are.
        finished: how many of them finished.
        last: of each number that the task gives, the mean of its last values and the half-width of the 95 % t-interval. The
            objective comes first, then the same metric of the other parts of the data.
        objective: the number that the runs are chosen by; None where nobody has said.
        maximize: whether more of it is better.
        best_step: the update after which the objective's mean was best.
        best: that mean.
        seconds: wall-clock time of a run, their mean.
        examples_per_second: training examples per second of that time, their mean.
        message: why seeds didn't finish.

    >>> Summary("cosine", {}, seeds=3, finished=2).finished
    2
    """

    name: str
    differs: Mapping[str, Any]
    seeds: int
    finished: int
    last: Mapping[str, Interval] = field(default_factory=Frozen)
    objective: str | None = None
    maximize: bool = False
    best_step: int | None = None
    best: float | None = None
    seconds: float | None = None
    examples_per_second: float | None = None
    message: str = ""

    def to_json(self) -> dict[str, Any]:
        """Its fields, as JSON has them; an interval is `{"mean", "half_width"}`."""
        last = {name: value._asdict() for name, value in self.last.items()}
        return {one.name: getattr(self, one.name) for one in fields(self)} | {"differs": dict(self.differs), "last": last}


def summaries(runs: Sequence[Finished], tasks: Mapping[str, TaskInfo]) -> list[Summary]:
    """One for each group of runs that differ in the seed alone, in the order of the runs.

    Args:
        runs: the runs.
        tasks: what is known of their tasks, by name.
    """
    groups = grouped(runs)
    differing = differences([seeds[0].run for seeds in groups])
    return [
        _summary(seeds, differs, tasks.get(seeds[0].run.task, TaskInfo()))
        for seeds, differs in zip(groups, differing, strict=True)
    ]


def grouped(runs: Iterable[Finished]) -> list[list[Finished]]:
    """The runs that differ in the seed alone, together, in the order of the runs."""
    groups: dict[Run, list[Finished]] = {}
    for one in runs:
        groups.setdefault(one.run.replace(seed=0, record_every=None), []).append(one)
    return list(groups.values())


def differences(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Of each run the fields in which they aren't all equal, as text and numbers.

    Args:
        runs: the runs.

    >>> differences([Run("digits", "SGD", lr=0.1), Run("digits", "AdamW", lr=0.1)])
    [{'optimizer': 'SGD'}, {'optimizer': 'AdamW'}]
    """
    facts = [_facts(run) for run in runs]
    names = dict.fromkeys(name for one in facts for name in one)
    differing = [name for name in names if len({repr(one.get(name)) for one in facts}) > 1]
    return [{name: one.get(name) for name in differing} for one in facts]


def _facts(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in fields(run):
        value = getattr(run, one.name)
        if one.name in _OPENED:
            found |= {f"{one.name}.{key}": _plain(inner) for key, inner in (value or {}).items()}
        elif one.name not in _SHARED:
            found[one.name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def _summary(seeds: Sequence[Finished], differs: Mapping[str, Any], task: TaskInfo) -> Summary:
    run, done = seeds[0].run, [one for one in seeds if one.status == "finished"]
    objective = task.objective_of(run)
    name = None if objective is None else objective.name
    best_step, best = _best(done, objective) if objective is not None else (None, None)
    return Summary(
        name=run.name or _named(differs) or run.task,
        differs=differs,
        seeds=len(seeds),
        finished=len(done),
        last=_last(done, name),
        objective=name,
        maximize=objective is not None and objective.maximize,
        best_step=best_step,
        best=best,
        seconds=_mean(one.seconds for one in done),
        examples_per_second=_mean(_rate(one, task.examples) for one in done),
        message=next((one.message for one in seeds if one.status != "finished" and one.message), ""),
    )


def _named(differs: Mapping[str, Any]) -> str:
    """A name for a group whose runs have none."""
    said = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in differs.items()}
    return ", ".join(
        value if name in _SAID_ALONE else f"{name.partition('.')[2] or name} {value}" for name, value in said.items()
    )


def _last(done: Sequence[Finished], objective: str | None) -> dict[str, Interval]:
    """The interval of each number's last values, the most telling first."""
    names = dict.fromkeys(name for one in done for name in metrics_in(one.run, one.rows))
    found = {name: [value for one in done if (value := one.last(name)) is not None] for name in names}

    def weight(name: str) -> tuple[bool, bool, int]:
        is_other = objective is None or metric_of(name) != metric_of(objective)
        return name != objective, is_other, _PARTS_BY_WEIGHT.index(part_of(name))

    return {name: interval(found[name]) for name in sorted(found, key=weight)}


def _best(done: Sequence[Finished], objective: Objective) -> tuple[int | None, float | None]:
    """The step that every seed has scored at and where their mean was best, and that mean."""
    scores = [{row.step: row[objective.name] for row in one.rows if objective.name in row} for one in done]
    best_step, best = None, math.nan
    for step in scores[0] if scores else ():
        if all(step in one for one in scores):
            mean = sum(one[step] for one in scores) / len(scores)
            if objective.better(mean, best):
                best_step, best = step, mean
    return best_step, None if best_step is None else best


def _rate(one: Finished, examples: int | None) -> float | None:
    passes = one.last("epoch")
    return examples * passes / one.seconds if examples and passes and one.seconds else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
