"""Pictures. The only room that imports matplotlib and plotext."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import plotext
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, PercentFormatter

from gradus.runs import Row
from gradus.schedules import Schedule

__all__ = ["Curve", "Picture", "comparison_figure", "png", "schedules_figure", "terminal_plot"]

# Okabe and Ito's eight colours, which the colour-blind can tell apart; line styles tell them apart in grey.
_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C00"]
_LINES = ["-", "--", "-.", ":"]
_STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "figure.dpi": 120,
    "font.size": 10,
}
_METRICS = ("train_loss", "train_accuracy", "test_accuracy")
_MARKS = ["o", "x", "+", "*", "#", "@", "%", "&"]
_LINEAR_UP_TO = 50  # times the lowest peak: beyond, the low curves would lie on the axis
_POINTS = 600  # of a curve: more than a picture's width can show


class Picture(Figure):
    """A figure that notebooks show whether or not they have been told `%matplotlib inline`."""

    def _repr_png_(self) -> bytes:
        return png(self)


@dataclass(frozen=True)
class Curve:
    """One schedule's part of a comparison.

    Args:
        rates: its learning rates, each held equally long.
        epochs: the epochs they last together.
        rows: the rows of each seed.
    """

    rates: Sequence[float]
    epochs: int
    rows: Sequence[Sequence[Row]]


def comparison_figure(curves: Mapping[str, Curve], title: str) -> Picture:
    """Train loss, train accuracy and test accuracy by epoch, and the learning rates under them.

    Args:
        curves: what to draw, by the name it is to have in the legend. Lines are means over the seeds, bands run from the
            lowest to the highest.
        title: the picture's.
    """
    several = any(len(curve.rows) > 1 for curve in curves.values())
    with mpl.rc_context(_STYLE):
        figure = Picture(figsize=(11, 7.4), layout="constrained")
        panels = figure.subplot_mosaic([[*_METRICS], ["rate"] * 3], height_ratios=[3, 2])
        for metric in _METRICS:
            for index, curve in enumerate(curves.values()):
                _draw_metric(panels[metric], curve.rows, metric, index)
            panels[metric].set_ylabel(metric.replace("_", " "))
        if all((np.asarray(line.get_ydata()) > 0).all() for line in panels["train_loss"].lines):
            _make_logarithmic(panels["train_loss"])
        for metric in ("train_accuracy", "test_accuracy"):
            panels[metric].yaxis.set_major_formatter(PercentFormatter(1))
        _draw_rates(panels["rate"], curves)
        longest = max(curve.epochs for curve in curves.values())
        for panel in panels.values():
            panel.set(xlabel="epoch", xlim=(0, longest + 0.02 * longest))
            panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        handles, labels = panels["rate"].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=_columns(labels, 140))
        figure.suptitle(f"{title}\nlines: means over the seeds; bands: from the lowest to the highest" if several else title)
    return figure


def _columns(labels: Sequence[str], room: int) -> int:
    """How many labels of a legend stand side by side: all if they fit, else as many as there is room for."""
    widths = [len(label) + 9 for label in labels]  # in characters; nine for the line before it and the gap after
    return len(labels) if sum(widths) <= room else max(1, room // max(widths))


def _draw_metric(axes: Axes, rows: Sequence[Sequence[Row]], metric: str, index: int) -> None:
    seeds = [[getattr(row, metric) for row in seed] for seed in rows if seed]
    if not seeds:
        return
    shared = min(map(len, seeds))  # a seed that is behind ends the mean
    values = np.array([seed[:shared] for seed in seeds])
    epochs = np.arange(1, shared + 1)
    axes.plot(epochs, values.mean(axis=0), marker="o" if shared == 1 else None, **_look(index))
    if len(seeds) > 1:
        axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=_look(index)["color"], alpha=0.15, lw=0)


def _draw_rates(axes: Axes, curves: Mapping[str, Curve]) -> None:
    for index, (name, curve) in enumerate(curves.items()):
        epochs = np.linspace(0, curve.epochs, len(curve.rates) + 1)
        axes.step(epochs, [*curve.rates, curve.rates[-1]], where="post", label=_short(name), **_look(index))
    peaks = [max(curve.rates) for curve in curves.values()]
    if 0 < _LINEAR_UP_TO * min(peaks) < max(peaks):
        _make_logarithmic(axes)
    else:
        axes.set_ylim(min(0, *(min(curve.rates) for curve in curves.values())))
    axes.set_ylabel("learning rate")


def _make_logarithmic(axes: Axes) -> None:
    """A logarithmic y axis with plain numbers on it."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())


def _look(index: int) -> dict[str, Any]:
    """A colour and a kind of line that no other of the first 32 curves has together."""
    return {"color": _COLOURS[index % 8], "linestyle": _LINES[(index // 2 + index // 8) % 4], "linewidth": 1.6}


def schedules_figure(schedules: Mapping[str, Schedule], steps: int) -> Picture:
    """Schedules over steps 0 to `steps`, without training anything.

    Args:
        schedules: concrete ones, by the name each is to have in the legend.
        steps: the last step shown.
    """
    shown = _sampled(steps, _POINTS)
    with mpl.rc_context(_STYLE):
        figure = Picture(figsize=(8, 4 + 0.2 * len(schedules)), layout="constrained")
        axes = figure.add_subplot()
        for index, (name, schedule) in enumerate(schedules.items()):
            axes.plot(shown, schedule(shown), label=_short(name), drawstyle=_drawn(steps), **_look(index))
        axes.set(xlabel="step", ylabel="value")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        figure.legend(loc="outside lower center")
    return figure


def _sampled(steps: int, points: int) -> np.ndarray:
    """The steps from 0 to `steps`, or so many of them."""
    return np.unique(np.linspace(0, steps, min(steps, points) + 1).astype(np.int64))


def _drawn(steps: int) -> str:
    """Few steps are drawn as the stairs they are; of many, no stair can be seen."""
    return "steps-post" if steps <= 50 else "default"


def _short(name: str) -> str:
    """A name that fits under the picture, a schedule's own text being as long as it likes."""
    return name if len(name) <= 100 else f"{name[:99]}…"


def terminal_plot(schedules: Mapping[str, Schedule], steps: int, width: int = 78, height: int = 18) -> str:
    """Schedules over steps 0 to `steps` as characters, without colours, so that they can be piped.

    Args:
        schedules: concrete ones by name. Under the plot, each has a line with its mark, its first value and its last.
        steps: the last step shown.
        width: of the plot, in characters.
        height: of the plot, in lines.
    """
    shown = _sampled(steps, 4 * width)
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


def _ticks(locator: MaxNLocator, low: float, high: float) -> tuple[list[float], list[str]]:
    places = [float(tick) for tick in locator.tick_values(low, high) if low <= tick <= high]
    return places, [f"{tick:.6g}" for tick in places]


def png(figure: Figure) -> bytes:
    """A figure as the contents of a PNG file."""
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
