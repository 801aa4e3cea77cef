"""The one warning that a `Scheduler` gives: what it was given looks like a mistake."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gradus.distributed import is_main
from gradus.errors import ScheduleMistake
from gradus.schedules import Schedule
from gradus.schedules.check import mistakes

__all__ = ["unwarned", "warn_of_cycled_base", "warn_of_mistakes"]

_ABOUT_HEIGHTS = {"rate-as-factor", "factor-as-rate"}  # found whatever the run's length is

_warned: set[str] = set()  # what has been warned of: a notebook's cell runs many times


def warn_of_mistakes(
    name: str,
    followed: Sequence[tuple[Schedule, float]],
    total_steps: int | None,
    steps_per_epoch: float | None,
) -> None:
    """Warn once of a hyperparameter's schedules, in the first process only.

    Where there are several groups, something must be found in all of them: one may be meant to stay small, or to stop early.

    Args:
        name: the hyperparameter.
        followed: each schedule with each of the bases that it is over.
        total_steps: of the run; without it only heights are looked at.
        steps_per_epoch: of the run.
    """
    if not is_main():
        return
    found = [
        mistakes(schedule, total_steps, steps_per_epoch=steps_per_epoch, base=base, name=name) for schedule, base in followed
    ]
    if total_steps is None:
        found = [[finding for finding in some if finding.code in _ABOUT_HEIGHTS] for some in found]
    if found and all(found):
        _warn_once(f"{name}={followed!r}, {total_steps}, {steps_per_epoch}", f"{name}: {found[0][0]}")


def warn_of_cycled_base(name: str, group: int, base: float | None) -> None:
    """Warn once of a base that torch's OneCycleLR has written: where its cycle begins, far below the optimizer's rate."""
    if is_main():
        message = (
            f"{name}: the base of group {group} is {base}, which torch's OneCycleLR has put in the place of the optimizer's "
            f"own value; set group['initial_{name}'] to what the schedule should multiply, or take the present value: "
            f"rebase=True"
        )
        _warn_once(message, message)


def _warn_once(definition: str, message: str) -> None:
    if definition not in _warned:
        _warned.add(definition)
        warnings.warn(ScheduleMistake(message), stacklevel=4)


@contextmanager
def unwarned() -> Iterator[None]:
    """Suppress the warning: for schedules that the library makes, or with mistakes that have been shown already."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScheduleMistake)
        yield
