"""Pictures. The only room that imports matplotlib and plotext."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import plotext
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gradus.runs import Row
from gradus.schedules import Schedule

__all__ = ["Curve", "comparison_figure", "png", "schedules_figure", "terminal_plot"]

# Okabe and Ito's eight colours, which the colour-blind can tell apart; line styles tell them apart in grey.
_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C00"]
_STYLES = ["-", "--", "-.", ":"]
_STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.titlesize": "medium",
    "legend.frameon": False,
    "figure.dpi": 120,
    "font.size": 10,
}
_MARKERS = ["o", "x", "+", "*", "#", "@", "%", "&"]
_POINTS = 600  # of a curve: more than a picture's width can show


@dataclass(frozen=True)
class Curve:
    """One schedule's part of a comparison: its learning rates by epoch, and the rows of each seed."""

    rates: Sequence[float]
    rows: Sequence[Sequence[Row]]


def comparison_figure(curves: Mapping[str, Curve], title: str) -> Figure:
    """Train loss, train accuracy and test accuracy by epoch, and the schedules under them.

    Lines are means over the seeds, bands run from the lowest to the highest.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(11, 7.4), layout="constrained")
        panels = figure.subplot_mosaic([["train_loss", "train_accuracy", "test_accuracy"], ["rate"] * 3], height_ratios=[3, 2])
        titles = {"train_loss": "train loss", "train_accuracy": "train accuracy", "test_accuracy": "test accuracy"}
        for metric, name in titles.items():
            _metric(panels[metric], curves, metric)
            panels[metric].set(title=name, xlabel="epoch")
        if any(rows for curve in curves.values() for rows in curve.rows):
            panels["train_loss"].set_yscale("log")
        for index, (name, curve) in enumerate(curves.items()):
            epochs = np.arange(len(curve.rates) + 1)
            panels["rate"].step(epochs, [*curve.rates, curve.rates[-1]], where="post", label=name, **_look(index))
        panels["rate"].set(title="learning rate", xlabel="epoch", ylim=(0, None))
        for panel in panels.values():
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        handles, labels = panels["rate"].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 6))
        figure.suptitle(title)
    return figure


def _metric(axes: Axes, curves: Mapping[str, Curve], metric: str) -> None:
    for index, curve in enumerate(curves.values()):
        seeds = [[getattr(row, metric) for row in rows] for rows in curve.rows if rows]
        if not seeds:
            continue
        shared = min(map(len, seeds))  # a seed that is behind, or has diverged, ends the mean
        values = np.array([seed[:shared] for seed in seeds])
        epochs = np.arange(1, shared + 1)
        axes.plot(epochs, values.mean(axis=0), marker="." if shared == 1 else None, **_look(index))
        if len(seeds) > 1:
            axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=_COLOURS[index % 8], alpha=0.15, lw=0)


def _look(index: int) -> dict[str, str | float]:
    return {"color": _COLOURS[index % 8], "linestyle": _STYLES[index // 2 % 4], "linewidth": 1.6}


def schedules_figure(schedules: Mapping[str, Schedule], steps: int) -> Figure:
    """Schedules over their steps, without training anything."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 4), layout="constrained")
        axes = figure.add_subplot()
        shown = _sampled(steps)
        for index, (name, schedule) in enumerate(schedules.items()):
            axes.plot(shown, schedule(shown), label=name, drawstyle=_drawn(steps), **_look(index))
        axes.set(xlabel="step", ylabel="value")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside lower center")
    return figure


def _drawn(steps: int) -> str:
    """Few steps are drawn as the stairs they are; of many, no stair can be seen."""
    return "steps-post" if steps <= 50 else "default"


def _sampled(steps: int) -> np.ndarray:
    return np.unique(np.linspace(0, steps, min(steps, _POINTS) + 1).astype(np.int64))


def terminal_plot(schedules: Mapping[str, Schedule], steps: int, width: int = 78, height: int = 18) -> str:
    """The same as characters, for a terminal of the given size; no colours, so that it can be piped."""
    plotext.clear_figure()
    plotext.plotsize(width, height)
    shown = np.unique(np.linspace(0, steps, min(steps, 4 * width) + 1).astype(np.int64))
    markers = ["braille"] if len(schedules) == 1 else _MARKERS
    for index, (name, schedule) in enumerate(schedules.items()):
        label = name if len(schedules) > 1 else None
        plotext.plot(shown.tolist(), schedule(shown).tolist(), label=label, marker=markers[index % len(markers)])
    ticks = [int(tick) for tick in MaxNLocator(6, integer=True).tick_values(0, steps) if 0 <= tick <= steps]
    plotext.xticks(ticks, [str(tick) for tick in ticks])
    plotext.xlabel("step")
    text: str = plotext.uncolorize(plotext.build())
    plotext.clear_figure()
    return "\n".join(line.rstrip() for line in text.splitlines())


def png(figure: Figure) -> bytes:
    """A figure as the contents of a PNG file."""
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
