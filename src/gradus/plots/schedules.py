"""Schedules on one picture, without training anything: their values, and the budget that each has spent."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator, ScalarFormatter

from gradus.errors import InvalidInput
from gradus.names import did_you_mean
from gradus.plots.style import Picture, legend_columns, line_style, sampled, shortened, style
from gradus.schedules import Absolute, Schedule
from gradus.schedules.algebra import Delay, Skip, Stretch, Take
from gradus.schedules.algebra import Sequence as Phases

__all__ = ["Axis", "compare_schedules", "length_to_show"]

Axis = Literal["steps", "epochs", "tokens"]

_SUMMED = 2_000_000  # steps up to which a budget is added up exactly
_POINTS = 600  # of a curve: more than a picture's width can show


def compare_schedules(
    schedules: Mapping[str, Schedule],
    steps: int | None = None,
    *,
    log: bool = False,
    budget: bool = True,
    axis: Axis = "steps",
    steps_per_epoch: float | None = None,
    tokens_per_step: float | None = None,
) -> Picture:
    """Schedules on one picture, without training anything: their values, and the budget that each has spent.

    The budget after t updates is Σ schedule(k) over k < t, so how far plain gradient descent could have gone. With one
    schedule, its phases are named.

    Args:
        schedules: by the name each is to have in the legend; templates are resolved with `steps` and what else is given.
        steps: the last step shown; a little more than the longest schedule by default.
        log: whether values are drawn on a logarithmic axis.
        budget: whether the budget is drawn.
        axis: the horizontal axis, "steps", "epochs" or "tokens".
        steps_per_epoch: optimizer updates in an epoch.
        tokens_per_step: tokens in an update.

    Raises:
        InvalidInput: no schedules, a template that lacks what it is counted by, or an axis that does.

    >>> from gradus.schedules import Cosine, InverseSqrt, warmup
    >>> picture = compare_schedules({"cosine": warmup(50) >> Cosine(450), "root": warmup(50) >> InverseSqrt(50)}, 600)
    >>> [axes.get_ylabel() for axes in picture.axes]
    ['value', 'budget spent']
    """
    if not schedules:
        raise InvalidInput('compare_schedules needs a schedule to show, such as {"cosine": Cosine(1000)}')
    units = {"steps_per_epoch": steps_per_epoch, "tokens_per_step": tokens_per_step}
    shown = {name: schedule.resolve(steps, **units) for name, schedule in schedules.items()}
    until = steps or length_to_show(shown.values())
    per_unit = _per_unit(axis, **units)
    with mpl.rc_context(style()):
        columns = legend_columns([shortened(name) for name in shown], 100)
        figure = Picture(figsize=(8, 3.6 + 2.2 * budget + 0.2 * -(-len(shown) // columns)), layout="constrained")
        panels = figure.subplots(1 + budget, sharex=True, squeeze=False, height_ratios=[3, 2][: 1 + budget])[:, 0]
        for index, (name, schedule) in enumerate(shown.items()):
            places = sampled(until, _POINTS)
            line = {"drawstyle": _drawn(until), **line_style(index)}
            panels[0].plot(places / per_unit, schedule(places), label=shortened(name), **line)
            if budget:
                panels[1].plot(places / per_unit, _spent(schedule, places), **line)
        panels[0].set_ylabel("value")
        if log:
            panels[0].set_yscale("log", nonpositive="mask")
        if budget:
            panels[1].set_ylabel("budget spent")
            panels[1].set_ylim(bottom=min(0, panels[1].get_ylim()[0]))
        panels[-1].set_xlabel(axis.removesuffix("s") if axis != "tokens" else axis)
        panels[-1].xaxis.set_major_formatter(EngFormatter(sep="") if axis == "tokens" else ScalarFormatter())
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=axis == "steps", min_n_ticks=1, steps=[1, 2, 2.5, 5, 10]))
        panels[-1].set_xlim(0, 1.02 * until / per_unit)
        if len(shown) == 1:
            _name_phases(list(panels), next(iter(shown.values())), until, per_unit)
        figure.legend(loc="outside lower center", ncols=columns)
    return figure


def length_to_show(schedules: Iterable[Schedule]) -> int:
    """A little more than the longest of some schedules; 100 where none has an end.

    >>> from gradus.schedules import Linear
    >>> length_to_show([Linear(100)])
    110
    """
    lengths = [schedule.length for schedule in schedules if isinstance(schedule.length, int)]
    return max(1, round(max(lengths) * 1.1)) if lengths else 100


def _per_unit(axis: Axis, steps_per_epoch: float | None, tokens_per_step: float | None) -> float:
    """Steps per unit of an axis."""
    if axis == "epochs" and steps_per_epoch is not None:
        return steps_per_epoch
    if axis == "tokens" and tokens_per_step is not None:
        return 1 / tokens_per_step
    if axis == "steps":
        return 1.0
    needed = {"epochs": "steps_per_epoch", "tokens": "tokens_per_step"}
    if axis not in needed:
        raise InvalidInput(
            f'the axis must be "steps", "epochs" or "tokens"; got {axis!r}{did_you_mean(axis, ("steps", *needed))}'
        )
    raise InvalidInput(f"an axis of {axis} needs {needed[axis]}=...")


def _spent(schedule: Schedule, places: np.ndarray) -> np.ndarray:
    """The sum of the values before each of these steps; of very long runs, estimated from the steps that are shown."""
    last = int(places[-1])
    if last <= _SUMMED:
        every = np.cumsum(schedule(np.arange(last)))
        spent: np.ndarray = np.concatenate([[0.0], every])[places]
        return spent
    values = schedule(places)
    return np.concatenate([[0.0], np.cumsum((values[1:] + values[:-1]) / 2 * np.diff(places))])


def _name_phases(panels: Sequence[Axes], schedule: Schedule, until: int, per_unit: float) -> None:
    """Mark where the phases of a sequence begin, and name those that there is room for."""
    inner = schedule.schedule if isinstance(schedule, Absolute) else schedule
    if not isinstance(inner, Phases):
        return
    starts = [start for start in inner.starts if start < until]
    for panel in panels:
        for start in starts[1:]:
            panel.axvline(start / per_unit, color="0.6", linewidth=0.8, linestyle=":")
    free = -float(until)  # where the last name ends; the first may stand out to the left
    for start, end, phase in zip(starts, [*starts[1:], until], inner.members, strict=False):
        name = _phase_name(phase)
        middle, half = (start + end) / 2, until * (0.01 + 0.006 * len(name))
        if middle - half >= free:
            free = middle + half
            panels[0].annotate(
                name, (middle / per_unit, 1), (0, 3), xycoords=("data", "axes fraction"), textcoords="offset points",
                ha="center", va="bottom", fontsize=8, color="0.35",
            )  # fmt: skip


def _phase_name(phase: Schedule) -> str:
    """What a phase is called: by its kind, and a rise by what it is."""
    while isinstance(phase, (Take, Delay, Stretch, Skip)):
        phase = phase.schedule
    if not phase.is_endless and phase(len(phase)) > phase(0):
        return "warmup"
    return {"Constant": "hold"}.get(type(phase).__name__, type(phase).__name__.lower())


def _drawn(steps: int) -> str:
    """Few steps are drawn as the stairs they are; of many, no stair can be seen."""
    return "steps-post" if steps <= 50 else "default"
