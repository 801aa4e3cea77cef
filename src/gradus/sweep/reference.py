"""The reference experiment of every course on learning rates: one network under each classic schedule.

Each is a shape over one base rate, and its lengths are parts of the run. Thirty epochs at 0.3 are the published experiment.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from gradus.errors import InvalidInput
from gradus.names import did_you_mean
from gradus.runs import Run
from gradus.schedules import Constant, Cosine, Exponential, InverseSqrt, MultiStep, Schedule, Span, fraction, warmup
from gradus.sweep.grid import grid
from gradus.tasks import Task, load_task

__all__ = ["REFERENCE", "REFERENCE_TASK", "classic", "reference_run", "reference_runs"]

REFERENCE_TASK = "fashion-mnist"  # the course's own, which trains on all of train and shows test

_EPOCHS = 30  # of the published experiment
_BASE, _LOW, _HIGH, _END = 0.3, 0.1, 0.5, 0.01  # its rates


def _by_thirtieths(schedule: Schedule) -> Schedule:
    """A schedule in epochs of the published experiment, over a run of any length.

    Where a run has fewer than 30 updates, a thirtieth of it is no whole number of them, so the clock goes 30 times as fast.
    """
    return schedule.stretch(1 / _EPOCHS)


_EPOCH = fraction(1 / _EPOCHS)

# The textbook's six (Zhang et al., Dive into Deep Learning, section 12.11), as factors of the base rate.
REFERENCE: Mapping[str, Schedule] = {
    "constant": Constant(),
    "square-root": _by_thirtieths(InverseSqrt(_EPOCH, start=_LOW / _BASE)),
    "factor": _by_thirtieths(Exponential(0.9, start=_HIGH / _BASE, floor=_END / _BASE, every=_EPOCH)),
    "multi-factor": MultiStep((fraction(1 / 2), fraction(1.0)), gamma=0.5, start=_HIGH / _BASE),
    "cosine": Cosine(fraction(2 / 3), end=_END / _BASE),
    "cosine with warmup": warmup(fraction(1 / 6)) >> Cosine(fraction(1 / 2), end=_END / _BASE),
}


def classic(
    only: Iterable[str] | None = None, without: Iterable[str] | None = None, more: Mapping[str, Schedule] | None = None
) -> dict[str, Schedule]:
    """Schedules by name, an axis for `grid`: the classic ones, or some of them, and others.

    Args:
        only: which of the six; all unless given.
        without: which of them to leave out.
        more: further ones by name, factors of the learning rate.

    Raises:
        InvalidInput: a name isn't known, is taken or empty, or no schedule is left.

    >>> list(classic(only=["constant", "cosine"], without=["constant"], more={"mine": Constant(0.5)}))
    ['cosine', 'mine']
    """
    chosen = {name: REFERENCE[name] for name in _known(REFERENCE if only is None else only)}
    for name in _known(without or []):
        chosen.pop(name, None)
    for name, schedule in (more or {}).items():
        if not name.strip() or name in chosen:
            raise InvalidInput(f"each schedule needs a name of its own; {name!r} is {'taken' if name.strip() else 'empty'}")
        chosen[name] = schedule
    if not chosen:
        raise InvalidInput("there is nothing to compare: name at least one schedule")
    return chosen


def reference_run(task_name: str, task: Task | None = None, **settings: Any) -> Run:
    """What all runs of the reference experiment have in common, on any task.

    On fashion-mnist it is the course's: trained on all of train, scored on test, a row every 50 updates, and from 30 epochs
    on a rate that is held over each epoch. On any other task a part of train is held out, and rates move at each update.

    Args:
        task_name: the name the task was loaded by.
        task: what is trained; loaded unless given.
        **settings: any argument of `Run`. What is left out or None is the task's own.

    Raises:
        InvalidInput: `Run` can't take a setting.

    >>> reference_run("digits", lr=0.1).length
    epochs(30)
    """
    task = load_task(task_name) if task is None else task
    given = {name: value for name, value in settings.items() if value is not None}
    usual: dict[str, Any] = {"length": task.length}
    if task_name == REFERENCE_TASK:
        usual |= {"valid": False, "record_every": 50, "per": _usual_per(given.get("length", task.length))}
    return Run(task_name).replace(**(usual | given))


def _usual_per(length: int | Span) -> str:
    """Shorter, a part of the run may be less than an epoch, over which no rate can be held."""
    return "epoch" if isinstance(length, Span) and length.unit == "epochs" and (length.amount or 0) >= _EPOCHS else "step"


def reference_runs(
    task_name: str,
    task: Task | None = None,
    *,
    only: Iterable[str] | None = None,
    without: Iterable[str] | None = None,
    schedules: Mapping[str, Schedule] | None = None,
    seeds: int = 1,
    **settings: Any,
) -> list[Run]:
    """The reference experiment on any task: a run for each classic schedule with each seed, seed by seed.

    Args:
        task_name: the name the task was loaded by.
        task: what is trained; loaded unless given.
        only: which of the six schedules; all unless given.
        without: which of them to leave out.
        schedules: further ones by name, factors of the learning rate.
        seeds: how many, counted from 0.
        **settings: any further argument of `Run`, such as `lr` or `length`; see `reference_run`.

    Raises:
        InvalidInput: a schedule's name isn't known or is taken, none is left, or a setting can't be used.

    >>> from gradus.schedules import epochs
    >>> runs = reference_runs("digits", only=["constant", "cosine"], length=epochs(3), seeds=2)
    >>> [(run.name, run.seed) for run in runs]
    [('constant', 0), ('cosine', 0), ('constant', 1), ('cosine', 1)]
    """
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise InvalidInput(f"seeds must be a whole number from 1; got {seeds!r}")
    chosen = classic(only, without, schedules)
    return grid(reference_run(task_name, task, **settings), schedules=chosen, seed=range(seeds))


def _known(names: Iterable[str]) -> list[str]:
    listed = list(names)
    for name in listed:
        if name not in REFERENCE:
            hint = did_you_mean(name, REFERENCE)
            raise InvalidInput(f"unknown schedule {name!r}{hint}; the reference experiment has {', '.join(REFERENCE)}")
    return listed
