"""Plots as characters, without colours, so that they can be piped."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotext
from matplotlib.ticker import MaxNLocator

from gradus.plots.style import sampled
from gradus.schedules import Schedule

__all__ = ["terminal_plot", "terminal_range"]

_MARKS = ["o", "x", "+", "*", "#", "@", "%", "&"]


def terminal_plot(schedules: Mapping[str, Schedule], steps: int, width: int = 78, height: int = 18) -> str:
    """Schedules over steps 0 to `steps` as characters, without colours, so that they can be piped.

    Args:
        schedules: concrete ones by name. Under the plot, each has a line with its mark, its first value and its last.
        steps: the last step shown.
        width: of the plot, in characters.
        height: of the plot, in lines.

    >>> from gradus.schedules import Linear
    >>> terminal_plot({"linear": Linear(100)}, 100).splitlines()[-1]
    'linear: 1 at step 0, 0 at step 100'
    """
    shown = sampled(steps, 4 * width)
    values = {name: schedule(shown) for name, schedule in schedules.items()}
    marks = [_MARKS[index % len(_MARKS)] for index in range(len(values))] if len(values) > 1 else ["braille"]
    low, high = MaxNLocator().nonsingular(min(map(np.min, values.values())), max(map(np.max, values.values())))
    plotext.clear_figure()
    plotext.limit_size(False, False)  # the size is the caller's matter
    plotext.plotsize(width, height)
    for mark, curve in zip(marks, values.values(), strict=True):
        plotext.plot(shown.tolist(), curve.tolist(), marker=mark)
    plotext.ylim(low, high)
    plotext.xticks(*_ticks(MaxNLocator(5, integer=True), 0, steps))
    plotext.yticks(*_ticks(MaxNLocator(6), low, high))
    plotext.xlabel("step")
    lines = plotext.uncolorize(plotext.build()).splitlines()
    plotext.clear_figure()
    for mark, (name, curve) in zip(marks, values.items(), strict=True):
        shape = f"{mark}  " if len(values) > 1 else ""
        lines.append(f"{shape}{name}: {curve[0]:.4g} at step 0, {curve[-1]:.4g} at step {steps}")
    return "\n".join(line.rstrip() for line in lines)


def terminal_range(lrs: Sequence[float], smoothed: Sequence[float], chosen: float | None, width: int = 78) -> str:
    """A range test's smoothed loss over the rate as characters, without colours.

    Args:
        lrs: the rates.
        smoothed: the loss at each.
        chosen: a rate to mark with a line.
        width: in characters.

    >>> "learning rate" in terminal_range([0.001, 0.01, 0.1], [2.0, 1.0, 3.0], chosen=0.01)
    True
    """
    places = np.log10(np.asarray(lrs)).tolist()
    low, high = MaxNLocator().nonsingular(min(smoothed), max(smoothed))
    plotext.clear_figure()
    plotext.limit_size(False, False)  # the size is the caller's matter
    plotext.plotsize(width, 18)
    plotext.plot(places, list(smoothed), marker="braille")
    if chosen is not None:
        plotext.vline(float(np.log10(chosen)))
    plotext.ylim(low, high)
    decades = range(int(np.ceil(min(places))), int(np.floor(max(places))) + 1)
    plotext.xticks(list(decades), [f"1e{decade}" for decade in decades])
    plotext.yticks(*_ticks(MaxNLocator(6), low, high))
    plotext.xlabel("learning rate")
    lines = plotext.uncolorize(plotext.build()).splitlines()
    plotext.clear_figure()
    return "\n".join(line.rstrip() for line in lines)


def _ticks(locator: MaxNLocator, low: float, high: float) -> tuple[list[float], list[str]]:
    places = [float(tick) for tick in locator.tick_values(low, high) if low <= tick <= high]
    return places, [f"{tick:.6g}" for tick in places]
