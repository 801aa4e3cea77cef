"""The classic mistakes of a schedule, found before anything is trained."""

from functools import lru_cache, partial
from typing import Any

from gradus.checks import finite, optional, whole
from gradus.errors import InvalidInput
from gradus.names import hinting
from gradus.schedules.check.laws import LAWS, Finding, Law
from gradus.schedules.check.plan import Plan
from gradus.schedules.check.run import PlannedRun
from gradus.schedules.schedule import Schedule

__all__ = ["LAWS", "Finding", "Law", "check", "mistakes"]


@hinting
def check(
    schedule: Schedule,
    total_steps: int | None = None,
    *,
    steps_per_epoch: float | None = None,
    base: float | None = None,
    name: str = "lr",
    beta2: float | None = None,
    factor: float = 1.1,
) -> list[Finding]:
    """What looks like a mistake in a schedule, or is worth a note; an empty list where nothing does.

    It looks through every composition. The manual's page "What check finds" has the codes with their ranks and rules.

    Args:
        schedule: concrete, or a template that the next two make concrete.
        total_steps: the steps of the run, in what the schedule counts: optimizer updates, unless it is stepped once an
            epoch. Without it only what needs no length is looked for.
        steps_per_epoch: steps in one pass over the data, for `epochs` and to tell updates from epochs.
        base: the value that the schedule multiplies, or replaces where it is `absolute`.
        name: the hyperparameter. Only a learning rate ("lr") is expected to come down.
        beta2: the optimizer's, if the warmup is to be looked at: its memory asks for 2/(1 − beta2) steps (Ma and Yarats,
            On the Adequacy of Untuned Warmup for Adaptive Optimization, 2021, section 4).
        factor: by how much neighbouring phases may differ where they meet.

    Returns:
        Mistakes first, then notes, each in the order of their steps.

    Raises:
        InvalidInput: a length that is no whole number above 0, a base that is no finite number, or a template that needs
            more than that.

    >>> from gradus.schedules import Cosine, warmup
    >>> for finding in check(warmup(100) >> Cosine(900, start=0.3), 2500):
    ...     print(f"{finding.rank}: {finding}")
    mistake: it jumps from 1 to 0.3 at step 100, where one phase hands over to the next; let the next one start at 1
    mistake: it ends at step 1,000 of 2,500 and holds 0 for 60 % of the run; let it end with the run: .resolve(...) with rest()
    note: the first update does nothing, for the value at step 0 is 0; start above it, such as warmup(n, start=1 / n)
    """  # noqa: E501 - sentences as they come
    total_steps = optional(partial(whole, least=1))("check's total_steps", total_steps)
    if not isinstance(schedule, Schedule):
        raise InvalidInput(f"check looks at a schedule, such as Cosine(1000); got {schedule!r}")
    base = optional(finite)("check's base", base)
    if beta2 is not None and not 0 <= beta2 < 1:
        raise InvalidInput(f"check's beta2 must be at least 0 and below 1; got {beta2!r}")
    concrete = schedule.resolve(total_steps, steps_per_epoch=steps_per_epoch)
    concrete._require_concrete()
    findings = [*_plan(concrete).heights(base, total_steps, name)]
    findings += _whatever_the_base(concrete, total_steps, steps_per_epoch, name, beta2, factor)
    return sorted(findings, key=lambda finding: (finding.rank, finding.step))


_plan = lru_cache(maxsize=64)(Plan)  # a population has one schedule over many bases


@lru_cache(maxsize=64)
def _whatever_the_base(
    schedule: Schedule, steps: int | None, steps_per_epoch: float | None, name: str, beta2: float | None, factor: float
) -> tuple[Finding, ...]:
    """What the schedule itself shows, and its run where that is known."""
    plan = _plan(schedule)
    run = () if steps is None else PlannedRun(plan, steps, steps_per_epoch).findings(name, beta2)
    return (*plan.jumps(steps, factor), *plan.milestones(steps), *run)


def mistakes(schedule: Schedule, total_steps: int | None = None, **options: Any) -> list[Finding]:
    """The mistakes alone, to report before a run; none where the schedule can't be asked ahead.

    Args:
        schedule: as `check` takes it.
        total_steps: as there.
        **options: as there.
    """
    try:
        found = check(schedule, total_steps, **options)
    except Exception:  # a function of the user's may refuse what it wasn't made for, and the run itself will tell
        return []
    return [finding for finding in found if finding.rank == "mistake"]
