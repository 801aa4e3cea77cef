"""Trainings by their rows: a panel for each metric, with the schedules under them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from gradus.errors import InvalidInput
from gradus.metric_names import is_accuracy, is_loss, metric_of, part_of, worded
from gradus.names import did_you_mean
from gradus.plots.style import Picture, legend_columns, line_style, log_axis, shortened, style
from gradus.rows import Row

__all__ = ["Along", "Curve", "comparison_figure"]

Along = Literal["epochs", "steps", "seconds"]

_SECONDS = "time/seconds"
_THIN = {"linewidth": 0.8, "alpha": 0.6}  # training numbers, next to scores
_ACROSS = 3  # panels side by side, at most
_MOST = 12  # panels of metrics: a picture is to be looked at
_LINEAR_UP_TO = 50  # times the lowest: beyond, the low curves would lie on the axis
_TOO_HIGH = 10  # times where curves begin: what diverges further isn't followed
_FALL = 1000  # how far down from the lowest peak a logarithmic axis of rates reaches
_POINTS = 2000  # of a schedule


@dataclass(frozen=True)
class Curve:
    """One run's part of a picture, with all its seeds.

    Args:
        rows: the rows of each seed.
        rates: its learning rates, each held equally long; where there are none, those in the rows are drawn.
        steps: the updates that the rates last together.
        steps_per_epoch: updates in one pass over the training data, where it is known.
        scheduled: further hyperparameters to be drawn, as the rows name them.

    >>> Curve([[Row(5, {"train/loss": 0.5})]]).length
    5
    """

    rows: Sequence[Sequence[Row]]
    rates: Sequence[float] = ()
    steps: int = 0
    steps_per_epoch: float | None = None
    scheduled: Sequence[str] = ()

    @property
    def length(self) -> int:
        """The last update that is drawn."""
        return max([self.steps, *(row.step for seed in self.rows for row in seed)])

    def values_of(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The steps at which every seed with rows has a number, `[n]`, and its values there, `[seeds, n]`."""
        seeds = [{row.step: row[name] for row in rows if name in row} for rows in self.rows if rows]
        steps = [step for step in seeds[0] if all(step in one for one in seeds)] if seeds else []
        return np.array(steps), np.array([[one[step] for step in steps] for one in seeds])

    def places(self, steps: Sequence[int] | np.ndarray, along: Along) -> np.ndarray:
        """The horizontal places of these steps, `[n]`."""
        steps = np.asarray(steps, dtype=float)
        if along == "steps":
            return steps
        if along == "epochs":
            return steps / (self.steps_per_epoch or 1.0)
        known, seconds = self.values_of(_SECONDS)
        return np.interp(steps, [0, *known], [0.0, *seconds.mean(axis=0)]) if len(known) else np.zeros_like(steps)


def comparison_figure(
    curves: Mapping[str, Curve],
    title: str,
    *,
    metrics: Sequence[str] | None = None,
    along: Along | None = None,
    log: bool | None = None,
) -> Picture:
    """A panel for each metric, by epoch, step or second, and the learning rates and other schedules under them.

    A training's own numbers are thin lines; its scores on validation data, or else on test data, are thick ones. Lines are
    means over the seeds, bands run from the lowest to the highest. Numbers whose names end in "accuracy" are in per cent;
    those whose names end in "loss" are on a logarithmic axis where that hides none of them.

    Args:
        curves: what to draw, by the name it is to have in the legend.
        title: the picture's.
        metrics: which numbers to draw; all that the rows have unless given.
        along: the horizontal axis; epochs unless given, where all curves know them, or else steps.
        log: True puts all panels of metrics on logarithmic axes where all is above 0, False none.

    Raises:
        InvalidInput: no such axis, or a curve that doesn't know its epochs.

    >>> rows = [Row(20, {"train/loss": 1.0, "valid/loss": 1.5}), Row(40, {"train/loss": 0.5, "valid/loss": 1.2})]
    >>> figure = comparison_figure({"constant": Curve([rows], rates=[0.1], steps=40)}, "one run")
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['loss', 'learning rate']
    """
    along = _checked(along, curves.values())
    panels = _panels(curves.values(), metrics)
    hypers = ["lr", *dict.fromkeys(name for curve in curves.values() for name in curve.scheduled if name != "lr")]
    labels = [shortened(name) for name in curves]
    with mpl.rc_context(style()):
        columns = max(1, legend_columns(labels, 140))
        figure, upper, lower = _laid_out(min(len(panels), _MOST), len(hypers), legend_lines=-(-len(labels) // columns))
        for axes, (metric, names) in zip(upper, panels.items(), strict=False):
            _draw_metric(axes, curves, metric, names, along, log)
        for axes, name in zip(lower, hypers, strict=True):
            _draw_schedule(axes, curves, name, along)
        _finish_axes([*upper, *lower], curves.values(), along)
        handles = [Line2D([], [], **line_style(index)) for index in range(len(labels))]
        figure.legend(handles, labels, loc="outside lower center", ncols=columns)
        figure.suptitle("\n".join([title, *_explained(curves.values(), panels)]))
    return figure


def _checked(along: Along | None, curves: Iterable[Curve]) -> Along:
    counted = all(curve.steps_per_epoch is not None for curve in curves)
    if along is None:
        return "epochs" if counted else "steps"
    if along not in ("epochs", "steps", "seconds"):
        hint = did_you_mean(along, ("epochs", "steps", "seconds"))
        raise InvalidInput(f'a picture is drawn along "epochs", "steps" or "seconds"; got {along!r}{hint}')
    if along == "epochs" and not counted:
        raise InvalidInput('not all of these runs say how long an epoch is; draw them along "steps"')
    return along


def _panels(curves: Iterable[Curve], metrics: Sequence[str] | None) -> dict[str, list[str]]:
    """What each panel draws, by its metric: the training's own number, and the score that there is most of."""
    rows = [row for curve in curves for seed in curve.rows for row in seed]
    hypers = {name for curve in curves for name in curve.scheduled} | {"epoch", "lr"}
    names = dict.fromkeys(name for row in rows for name in row.results() if name not in hypers)
    if metrics is not None:
        names = dict.fromkeys(name for name in metrics if name in names)
    panels: dict[str, list[str]] = {}
    for name in names:
        panels.setdefault(metric_of(name), []).append(name)
    return {metric: _chosen(of_metric) for metric, of_metric in panels.items()}


def _chosen(names: Sequence[str]) -> list[str]:
    """Where there are scores on validation data, those on test data come at the end only, and aren't a curve."""
    validated = any(part_of(name) == "valid" for name in names)
    return [name for name in names if not (validated and part_of(name) == "test")]


def _laid_out(metrics: int, hypers: int, legend_lines: int) -> tuple[Picture, list[Axes], list[Axes]]:
    """A figure with a row of panels above, and rows of panels below."""
    columns = min(max(metrics, 1), _ACROSS)
    lines = -(-metrics // columns)
    figure = Picture(figsize=(11, 2.6 + 3.6 * lines + 1.2 * hypers + 0.2 * legend_lines), layout="constrained")
    grid = figure.add_gridspec(lines + hypers, columns, height_ratios=[3.6] * lines + [2.2 if hypers == 1 else 1.6] * hypers)
    upper = [figure.add_subplot(grid[index // columns, index % columns]) for index in range(metrics)]
    return figure, upper, [figure.add_subplot(grid[lines + index, :]) for index in range(hypers)]


def _draw_metric(
    axes: Axes, curves: Mapping[str, Curve], metric: str, names: Sequence[str], along: Along, log: bool | None
) -> None:
    beside = len(names) > 1
    for name in names:
        thin = beside and part_of(name) == "train"
        for index, curve in enumerate(curves.values()):
            _draw_line(axes, curve, name, along, line_style(index) | (_THIN if thin else {}))
    axes.set_ylabel(worded(metric if beside else names[0]))
    values = _drawn_values(axes)
    if (
        values.size
        and (values > 0).all()
        and log is not False
        and not is_accuracy(metric)
        and (log or _wants_log(metric, values))
    ):
        log_axis(axes)
    if is_accuracy(metric):
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    else:
        _cut(axes)


def _draw_line(axes: Axes, curve: Curve, name: str, along: Along, look: Mapping[str, Any]) -> None:
    steps, values = curve.values_of(name)
    if not len(steps):
        return
    values = np.where(np.isfinite(values), values, np.nan)
    places = curve.places(steps, along)
    axes.plot(places, values.mean(axis=0), marker="o" if len(steps) == 1 else None, **look)
    if len(values) > 1:
        band = {"color": look["color"], "alpha": 0.15 * look.get("alpha", 1.0), "lw": 0}
        axes.fill_between(places, values.min(axis=0), values.max(axis=0), **band)


def _drawn_values(axes: Axes) -> np.ndarray:
    drawn = [np.asarray(line.get_ydata(), dtype=float) for line in axes.lines]
    values = np.concatenate(drawn) if drawn else np.zeros(0)
    return values[np.isfinite(values)]


def _wants_log(metric: str, values: np.ndarray) -> bool:
    return is_loss(metric) or bool(values.max() > _LINEAR_UP_TO * values.min())


def _cut(axes: Axes) -> None:
    """Cut off what is far above where the curves begin: one that diverges would press all others onto the axis."""
    begins = [abs(data[0]) for line in axes.lines if np.isfinite((data := np.asarray(line.get_ydata(), dtype=float))[0])]
    values = _drawn_values(axes)
    if begins and max(begins) > 0 and values.max() > _TOO_HIGH * max(begins):
        axes.set_ylim(top=_TOO_HIGH * max(begins))


def _draw_schedule(axes: Axes, curves: Mapping[str, Curve], name: str, along: Along) -> None:
    lows, peaks = [0.0], []
    for index, curve in enumerate(curves.values()):
        steps, values = _schedule_of(curve, name)
        if len(values):
            where: Literal["post", "pre"] = "post" if name == "lr" and len(curve.rates) else "pre"
            axes.step(curve.places(steps, along), values, where=where, **line_style(index))
            lows.append(values.min())
            peaks.append(values.max())
    if peaks and 0 < _LINEAR_UP_TO * min(peaks) < max(peaks):
        axes.set_ylim(min(peaks) / _FALL, 1.5 * max(peaks))
        log_axis(axes)
    else:
        axes.set_ylim(min(lows))
    axes.set_ylabel("learning rate" if name == "lr" else worded(name))


def _schedule_of(curve: Curve, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The steps where a hyperparameter's values begin to hold, and these; the last value once more at the end.

    What rows have of it is the value of the last update done, which held until there.
    """
    if name == "lr" and len(curve.rates):
        held = np.unique(np.linspace(0, len(curve.rates), min(len(curve.rates), _POINTS) + 1).astype(int))
        values = np.asarray(curve.rates)[np.minimum(held, len(curve.rates) - 1)]
        return held * curve.steps / len(curve.rates), values
    steps, values = curve.values_of(name)
    return steps, values.mean(axis=0) if len(steps) else np.zeros(0)


def _finish_axes(panels: Sequence[Axes], curves: Iterable[Curve], along: Along) -> None:
    longest = max((float(curve.places([curve.length], along)[0]) for curve in curves), default=0.0) or 1.0
    for axes in panels:
        axes.set(xlabel=along.removesuffix("s") if along != "seconds" else along, xlim=(0, 1.02 * longest))
        axes.xaxis.set_major_locator(MaxNLocator(integer=along != "seconds", min_n_ticks=1))


def _explained(curves: Iterable[Curve], panels: Mapping[str, Sequence[str]]) -> list[str]:
    """What lines and bands are, and what isn't drawn, where there is something to say."""
    said = [f"the first {_MOST} of {len(panels)} metrics"] if len(panels) > _MOST else []
    if any(len(names) > 1 for names in panels.values()):
        scored = dict.fromkeys(part_of(name) for names in panels.values() for name in names)
        said.append(f"thick lines: {' and '.join(one for one in scored if one not in (None, 'train'))}; thin: train")
    if any(len(curve.rows) > 1 for curve in curves):
        said.append("lines are means over the seeds, bands reach from the lowest to the highest")
    return said
