"""Pictures, of schedules and of comparisons; and the style of every picture."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import plotext
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter, ScalarFormatter

from gradus.errors import InvalidInput
from gradus.names import did_you_mean
from gradus.runs import Row
from gradus.schedules import Absolute, Schedule
from gradus.schedules.algebra import Delay, Skip, Stretch, Take
from gradus.schedules.algebra import Sequence as Phases

__all__ = [
    "Curve",
    "Picture",
    "compare_schedules",
    "comparison_figure",
    "length_to_show",
    "look",
    "png",
    "range_figure",
    "style",
    "terminal_plot",
    "terminal_range",
]

Axis = Literal["steps", "epochs", "tokens"]

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
_INK, _PAPER = "#E6E6E6", "#16191D"
_DARK: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor"), _PAPER),
    "grid.color": "#7A828C",
}
_ON_DARK = {"#0072B2": "#8A8DFF", "#000000": _INK}  # for the two that dark paper swallows
_METRICS = ("train_loss", "train_accuracy", "test_accuracy")
_MARKS = ["o", "x", "+", "*", "#", "@", "%", "&"]
_LINEAR_UP_TO = 50  # times the lowest peak: beyond, the low curves would lie on the axis
_SUMMED = 2_000_000  # steps up to which a budget is added up exactly
_POINTS = 600  # of a curve: more than a picture's width can show


def style(dark: bool = False) -> dict[Any, Any]:
    """matplotlib's settings for a picture.

    Args:
        dark: light lines on dark paper.
    """
    return _STYLE | _DARK if dark else dict(_STYLE)


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
    axes.plot(epochs, values.mean(axis=0), marker="o" if shared == 1 else None, **look(index))
    if len(seeds) > 1:
        axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=look(index)["color"], alpha=0.15, lw=0)


def _draw_rates(axes: Axes, curves: Mapping[str, Curve]) -> None:
    for index, (name, curve) in enumerate(curves.items()):
        epochs = np.linspace(0, curve.epochs, len(curve.rates) + 1)
        axes.step(epochs, [*curve.rates, curve.rates[-1]], where="post", label=_short(name), **look(index))
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


def look(index: int, dark: bool = False) -> dict[str, Any]:
    """A colour and a kind of line that no other of the first 32 curves has together.

    Args:
        index: which curve of a picture.
        dark: whether it is drawn on dark paper.
    """
    colour = _COLOURS[index % 8]
    return {
        "color": _ON_DARK.get(colour, colour) if dark else colour,
        "linestyle": _LINES[(index // 2 + index // 8) % 4],
        "linewidth": 1.6,
    }


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
        axis: what lies along the bottom, "steps", "epochs" or "tokens".
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
    with mpl.rc_context(_STYLE):
        columns = _columns([_short(name) for name in shown], 100)
        figure = Picture(figsize=(8, 3.6 + 2.2 * budget + 0.2 * -(-len(shown) // columns)), layout="constrained")
        panels = figure.subplots(1 + budget, sharex=True, squeeze=False, height_ratios=[3, 2][: 1 + budget])[:, 0]
        for index, (name, schedule) in enumerate(shown.items()):
            places = _sampled(until, _POINTS)
            line = {"drawstyle": _drawn(until), **look(index)}
            panels[0].plot(places / per_unit, schedule(places), label=_short(name), **line)
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
    """A little more than the longest of some schedules; 100 where none has an end."""
    lengths = [schedule.length for schedule in schedules if isinstance(schedule.length, int)]
    return max(1, round(max(lengths) * 1.1)) if lengths else 100


def _per_unit(axis: Axis, steps_per_epoch: float | None, tokens_per_step: float | None) -> float:
    """How many steps lie between two numbers of an axis."""
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


def _sampled(steps: int, points: int) -> np.ndarray:
    """The steps from 0 to `steps`, or so many of them."""
    return np.unique(np.linspace(0, steps, min(steps, points) + 1).astype(np.int64))


def _drawn(steps: int) -> str:
    """Few steps are drawn as the stairs they are; of many, no stair can be seen."""
    return "steps-post" if steps <= 50 else "default"


def _short(name: str) -> str:
    """A name that fits under the picture, a schedule's own text being as long as it likes."""
    return name if len(name) <= 100 else f"{name[:99]}…"


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
        chosen: the one of them to stand out.
        interval: the rates to shade.
        top: the loss where the curve begins; what lies far above isn't shown.
    """
    with mpl.rc_context(_STYLE):
        figure = Picture(figsize=(8, 4.6), layout="constrained")
        axes = figure.subplots()
        axes.plot(lrs, losses, ".", color="0.75", markersize=4, label="loss")
        axes.plot(lrs, smoothed, color=_COLOURS[0], linewidth=1.8, label="loss, smoothed")
        ended = [(rate, loss) for rate, loss in trials if np.isfinite(loss)]
        if ended:
            marks: dict[str, Any] = {"color": _COLOURS[6], "markersize": 5, "linewidth": 0.9}
            axes.plot(*zip(*sorted(ended), strict=True), "o--", label="short trainings", **marks)
        if metrics:
            beside = axes.twinx()
            beside.plot(lrs, metrics, color=_COLOURS[2], linewidth=1.2, linestyle="-.", label="metric")
            beside.set_ylabel("metric, smoothed")
            beside.spines["right"].set_visible(True)
            beside.grid(visible=False)
        if interval is not None:
            axes.axvspan(*interval, color=_COLOURS[0], alpha=0.12, lw=0, label="interval")
        for index, (name, rate) in enumerate(suggestions.items(), 1):
            weight = 2.2 if rate == chosen else 1.2
            label = f"{name}: {rate:.2g}"
            axes.axvline(rate, **look(index) | {"linewidth": weight, "linestyle": _LINES[1 + index % 3]}, label=label)
        lowest = min([*losses, *smoothed, *(loss for _, loss in ended)])
        margin = 0.08 * (top - lowest) if top > lowest else 0.5
        axes.set_ylim(lowest - margin, top + 4 * margin)
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        handles, labels = axes.get_legend_handles_labels()
        if metrics:
            handles, labels = [*handles, *beside.lines], [*labels, "metric, smoothed"]
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def terminal_range(lrs: Sequence[float], smoothed: Sequence[float], chosen: float | None, width: int = 78) -> str:
    """A range test's smoothed loss over the rate as characters, without colours.

    Args:
        lrs: the rates.
        smoothed: the loss at each.
        chosen: a rate to mark with a line.
        width: in characters.
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
