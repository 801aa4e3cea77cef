"""The picture of a range test."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np

from gradus.plots.style import COLOURS, LINES, Picture, line_style, style

__all__ = ["range_figure"]


def range_figure(
    lrs: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    metrics: Sequence[float],
    *,
    trials: Sequence[tuple[float, float]],
    suggestions: Mapping[str, float],
    chosen: float | None,
    interval: tuple[float, float] | None,
    top: float,
) -> Picture:
    """A range test: the loss over the rate, the short trainings, and what each rule suggests.

    Args:
        lrs: the rates.
        losses: the loss at each.
        smoothed: the same, smoothed.
        metrics: the metric at each; empty where there is none.
        trials: the rate of each short training and the loss that it came to.
        suggestions: the rates to mark, by name.
        chosen: the one of them to highlight.
        interval: the rates to shade.
        top: the loss where the curve begins; higher losses are cut off.

    >>> losses = [2.0, 1.0, 3.0]
    >>> figure = range_figure(
    ...     [0.001, 0.01, 0.1], losses, losses, [], trials=[], suggestions={}, chosen=None, interval=None, top=3.0
    ... )
    >>> figure.axes[0].get_xlabel()
    'learning rate'
    """
    with mpl.rc_context(style()):
        figure = Picture(figsize=(8, 4.6), layout="constrained")
        axes = figure.subplots()
        axes.plot(lrs, losses, ".", color="0.75", markersize=4, label="loss")
        axes.plot(lrs, smoothed, color=COLOURS[0], linewidth=1.8, label="loss, smoothed")
        ended = [(rate, loss) for rate, loss in trials if np.isfinite(loss)]
        if ended:
            marks: dict[str, Any] = {"color": COLOURS[6], "markersize": 5, "linewidth": 0.9}
            axes.plot(*zip(*sorted(ended), strict=True), "o--", label="short trainings", **marks)
        if metrics:
            right = axes.twinx()
            right.plot(lrs, metrics, color=COLOURS[2], linewidth=1.2, linestyle="-.", label="metric")
            right.set_ylabel("metric, smoothed")
            right.spines["right"].set_visible(True)
            right.grid(visible=False)
        if interval is not None:
            axes.axvspan(*interval, color=COLOURS[0], alpha=0.12, lw=0, label="interval")
        for index, (name, rate) in enumerate(suggestions.items(), 1):
            weight = 2.2 if rate == chosen else 1.2
            label = f"{name}: {rate:.2g}"
            axes.axvline(rate, **line_style(index) | {"linewidth": weight, "linestyle": LINES[1 + index % 3]}, label=label)
        lowest = min([*losses, *smoothed, *(loss for _, loss in ended)])
        margin = 0.08 * (top - lowest) if top > lowest else 0.5
        axes.set_ylim(lowest - margin, top + 4 * margin)
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        handles, labels = axes.get_legend_handles_labels()
        if metrics:
            handles, labels = [*handles, *right.lines], [*labels, "metric, smoothed"]
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure
