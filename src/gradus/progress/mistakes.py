"""What looks like a mistake in schedules, said before anything is trained."""

from collections.abc import Callable, Sequence

from gradus.runs import Run
from gradus.untouched import random_untouched

with random_untouched():
    from rich.console import Console

__all__ = ["print_mistakes"]


def print_mistakes(
    runs: Sequence[Run], steps_per_epoch: float | Callable[[Run], float], console: Console | None = None
) -> None:
    """Say what looks like a mistake in the runs' schedules, once for runs that differ in the seed alone.

    Args:
        runs: what is going to be executed.
        steps_per_epoch: updates in one pass over the training data, of all or as a function of the run.
        console: where it goes; standard error unless given.
    """
    console = console or Console(stderr=True)
    for run in dict.fromkeys(run.replace(seed=0) for run in runs):
        steps = steps_per_epoch(run) if callable(steps_per_epoch) else steps_per_epoch
        for finding in run.mistakes(steps):
            text = f"{run.name or run.task}: this looks like a mistake: {finding}"
            console.print(text, soft_wrap=True, highlight=False, markup=False)
