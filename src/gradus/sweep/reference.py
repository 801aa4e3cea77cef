"""The reference experiment of every course on learning rates: one network under each classic schedule."""

from collections.abc import Mapping
from typing import NamedTuple

from gradus.errors import InvalidInput
from gradus.names import did_you_mean
from gradus.runs import Run
from gradus.schedules import Constant, Cosine, Exponential, InverseSqrt, MultiStep, Schedule, epochs, warmup
from gradus.tasks import Task, load_model

__all__ = ["REFERENCE", "Reference", "reference_runs"]


class Reference(NamedTuple):
    """A schedule of the reference experiment: its shape, and the learning rate that the shape multiplies."""

    lr: float
    schedule: Schedule


_COSINE = Cosine(epochs(20), end=0.01 / 0.3)

# The textbook's six (Zhang et al., Dive into Deep Learning, section 12.11), as shapes over their own heights.
REFERENCE: Mapping[str, Reference] = {
    "constant": Reference(0.3, Constant()),
    "square-root": Reference(0.1, InverseSqrt(epochs(1))),
    "factor": Reference(0.5, Exponential(0.9, floor=0.01 / 0.5, every=epochs(1))),
    "multi-factor": Reference(0.5, MultiStep((epochs(15), epochs(30)), gamma=0.5)),
    "cosine": Reference(0.3, _COSINE),
    "cosine with warmup": Reference(0.3, warmup(epochs(5)) >> Cosine(epochs(15), end=0.01 / 0.3)),
}


def reference_runs(
    task: Task,
    task_name: str,
    *,
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
) -> list[Run]:
    """The runs of a comparison: each schedule with each seed; all schedules of the first seed come first.

    Args:
        task: what is trained; its usual settings hold where none are given.
        task_name: the name it was loaded by.
        only: which of the reference's schedules; all unless given.
        without: which of them to leave out.
        schedules: further ones by name, factors of `lr`.
        model: another network than the task's, by name.
        lr: one learning rate for all; each schedule's own, and 0.3 for further ones, unless given.
        epochs: passes over the data.
        batch_size: examples in an update.
        seeds: how many, counted from 0.
        per: "epoch" or "step", which the schedules count.
        on_nonfinite: what to do at a loss or gradient that is no finite number, as `Run` takes it.

    Raises:
        InvalidInput: a name isn't known, is taken, or nothing is left to compare; a schedule can't be counted; a policy
            isn't known.
    """
    chosen = {name: REFERENCE[name] for name in _known(only if only is not None else list(REFERENCE))}
    for name in _known(without or []):
        chosen.pop(name, None)
    for name, schedule in (schedules or {}).items():
        if not name.strip() or name in chosen:
            raise InvalidInput(f"each schedule needs a name of its own; {name!r} is {'taken' if name else 'empty'}")
        chosen[name] = Reference(task.lr, schedule)
    if not chosen:
        raise InvalidInput("there is nothing to compare: name at least one schedule")
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise InvalidInput(f"seeds must be a whole number from 1; got {seeds!r}")
    runs = [
        Run(
            name=name,
            task=task_name,
            schedule=reference.schedule,
            lr=reference.lr if lr is None else lr,
            epochs=task.epochs if epochs is None else epochs,
            batch_size=task.batch_size if batch_size is None else batch_size,
            seed=seed,
            per=per,
            model=model,
            on_nonfinite=on_nonfinite,
        )
        for seed in range(seeds)
        for name, reference in chosen.items()
    ]
    if model is not None:
        load_model(model)  # refused now, before anything is trained, as are the schedules
    for run in runs[: len(chosen)]:
        run.resolved(task.steps_per_epoch(run.batch_size))
    return runs


def _known(names: list[str]) -> list[str]:
    for name in names:
        if name not in REFERENCE:
            hint = did_you_mean(name, REFERENCE)
            raise InvalidInput(f"unknown schedule {name!r}{hint}; the reference experiment has {', '.join(REFERENCE)}")
    return names
