"""Descent on a parabola: what each rate does, and where the critical ones are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator

from gradus.errors import InvalidInput
from gradus.gallery.shown import Draw, Shown, Style, StyledFigure
from gradus.gallery.walk import iterates
from gradus.rules.classical import sgd

__all__ = ["HEIGHT", "RANGES", "RATES", "Descent", "Step", "curvature", "descent", "gradient", "value"]

HEIGHT = 4.0  # of the parabola y = 4x²
RATES = (1.0, 0.5, 0.25, 0.2, 0.125)
RANGES = ((0.01, 0.2), (0.01, 0.5))
_LONG = 100  # updates, of the families of rates
_FAMILY = 10
_DENSE = 491  # rates from one end to the other: every thousandth
_SHOWN = (1e-30, 1e30)  # losses that are drawn
_TINY = 1e-300  # stands for 0 on a logarithmic axis, far below what is drawn
_NEAR = 1e-3  # a loss below which the axis runs on to 0
_SEEN = 3  # updates of a path that runs away


def value(x: float | np.ndarray) -> float | np.ndarray:
    """y = 4x²."""
    return HEIGHT * x * x


def gradient(x: float | np.ndarray, _: int = 0) -> float | np.ndarray:
    """dy/dx = 8x."""
    return 2 * HEIGHT * x


def curvature() -> float:
    """L, the second derivative, as the difference of the gradient over an interval; of a parabola that is exact."""
    return float(gradient(1.0) - gradient(-1.0)) / 2


@dataclass(frozen=True)
class Step:
    """A line of the table of iterates."""

    x: float
    y: float
    gradient: float


@dataclass(frozen=True)
class Descent(Shown):
    """Gradient descent on y = 4x².

    Args:
        paths: the iterates at each rate, the start first.
        families: for each range of rates, its rates `[k]` and their losses `[updates + 1, k]`.
        ends: many rates `[k]`, and the loss of each after the last update `[k]`.
        settling: 1/L, up to which a path stays on its side of the minimum; at it, one update is enough.
        critical: 2/L, up to which a path comes nearer.
    """

    paths: dict[float, list[Step]]
    families: list[tuple[np.ndarray, np.ndarray]]
    ends: tuple[np.ndarray, np.ndarray]
    settling: float
    critical: float

    name: ClassVar[str] = "descent"

    def table(self, rate: float) -> str:
        """The iterates at a rate as lines of text: update, x, y, gradient.

        Args:
            rate: one of `paths`.

        Raises:
            InvalidInput: there is no path at that rate.
        """
        if rate not in self.paths:
            raise InvalidInput(f"there is no path at the rate {rate!r}; there is {', '.join(map(repr, self.paths))}")
        lines = [f"{'update':>6} {'x':>14} {'y':>14} {'gradient':>14}"]
        for index, step in enumerate(self.paths[rate]):
            lines.append(f"{index:>6} {step.x:>14.7g} {step.y:>14.7g} {step.gradient:>14.7g}")
        return "\n".join(lines)

    def tables(self) -> str:
        return "".join(f"rate {rate:g}: {self.fate(rate)}\n{self.table(rate)}\n" for rate in self.paths)

    def pictures(self) -> dict[str, Draw]:
        return {"paths": self._draw_paths, "rates": self._draw_rates}

    def fate(self, rate: float) -> str:
        """In words, what a rate leads to."""
        if rate > self.critical:
            return "runs away"
        if rate == self.critical:
            return "bounces for ever"
        if rate == self.settling:
            return "lands in one update"
        return "jumps to and fro, and comes in" if rate > self.settling else "comes in from one side"

    def _draw_paths(self, style: Style) -> StyledFigure:
        figure = style.figure(1.75 * len(self.paths) + 0.4, "Gradient descent on y = 4x²: one start, several learning rates")
        rows = figure.subplots(len(self.paths), 2, squeeze=False, width_ratios=[3, 2])
        for index, (rate, path) in enumerate(self.paths.items()):
            self._draw_path(style, rows[index][0], rate, path)
            _draw_losses(style, rows[index][1], path)
        style.label(rows[-1][0], "x")
        style.label(rows[-1][1], "update")
        return figure

    def _draw_path(self, style: Style, axes: Axes, rate: float, path: list[Step]) -> None:
        shown = path[: _SEEN + 1] if rate > self.critical else path
        reach = 1.15 * max(abs(step.x) for step in shown)
        curve = np.linspace(-reach, reach, 200)
        axes.plot(curve, value(curve), color=style.faint, linewidth=1)
        axes.plot([s.x for s in shown], [s.y for s in shown], marker="o", markersize=4, **style.line(0) | {"linewidth": 1})
        axes.plot(shown[0].x, shown[0].y, marker="s", markersize=6, color=style.line(1)["color"])
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_formatter("{x:g}")
        style.label(axes, y="y", title="rate {rate:g}: {fate}", rate=rate, fate=style.text(self.fate(rate)))

    def _draw_rates(self, style: Style) -> StyledFigure:
        figure = style.figure(6.4, "Gradient descent on y = 4x²: many rates, {updates} updates", updates=_LONG)
        panels = figure.subplot_mosaic([["narrow", "wide"], ["ends", "ends"]], height_ratios=[3, 2])
        widest = max(float(rates[-1]) for rates, _ in self.families)
        colours = ScalarMappable(Normalize(0, widest), style.colours)
        for name, (rates, losses) in zip(("narrow", "wide"), self.families, strict=True):
            for index, rate in enumerate(rates):
                panels[name].plot(np.maximum(losses[:, index], _TINY), color=colours.to_rgba(rate), linewidth=1.3)
            _make_logarithmic(panels[name])
            style.label(panels[name], "update", title="rates {low:g} to {high:g}", low=rates[0], high=rates[-1])
        panels["wide"].sharey(panels["narrow"])
        style.label(panels["narrow"], y="loss y")
        bar = figure.colorbar(colours, ax=panels["wide"], label=style.text("learning rate"))
        bar.ax.axhline(self.settling, color="white", linewidth=1.5)
        bar.ax.axhline(self.critical, color="white", linewidth=1.5, linestyle="--")
        self._draw_ends(style, panels["ends"])
        return figure

    def _draw_ends(self, style: Style, axes: Axes) -> None:
        axes.plot(self.ends[0], np.maximum(self.ends[1], _TINY), **style.line(0))
        for rate, text, index in ((self.settling, "1/L = {rate:g}", 2), (self.critical, "2/L = {rate:g}", 1)):
            axes.axvline(rate, **style.line(index), label=style.text(text, rate=rate))
        _make_logarithmic(axes)
        axes.legend(loc="lower right")
        style.label(axes, "learning rate", "loss after {updates} updates", updates=_LONG)


def descent(rates: Sequence[float] = RATES, start: float = 2.0, steps: int = 10) -> Descent:
    """Gradient descent on y = 4x² at several rates: x ← x − γ·8x = (1 − γL)x, with L = 8.

    Args:
        rates: the learning rates γ, each with a path of its own; no two alike.
        start: where every path begins; not 0, where there is nothing to descend.
        steps: the updates of each path.

    Raises:
        InvalidInput: no rates, one twice or one that isn't above 0 and finite, a start at 0, or no steps.

    >>> shown = descent()
    >>> [step.x for step in shown.paths[1.0]][:3], shown.paths[0.125][1].x
    ([2.0, -14.0, 98.0], 0.0)
    >>> shown.settling, shown.critical
    (0.125, 0.25)
    """
    if not rates or len(set(rates)) < len(rates) or not all(0 < rate < math.inf for rate in rates):
        raise InvalidInput(f"the rates must be different finite numbers above 0, such as {RATES}; got {rates!r}")
    if not 0 < abs(start) < math.inf:
        raise InvalidInput(f"the start must be a finite number other than 0; got {start!r}")
    if steps < 1:
        raise InvalidInput(f"steps must be a whole number from 1; got {steps!r}")
    dense = np.linspace(RANGES[0][0], RANGES[-1][1], _DENSE)
    return Descent(
        paths={rate: _path(rate, float(start), steps) for rate in rates},
        families=[(some, _losses(some, start)) for some in (np.linspace(*ends, _FAMILY) for ends in RANGES)],
        ends=(dense, _losses(dense, start)[-1]),
        settling=1 / curvature(),
        critical=2 / curvature(),
    )


def _path(rate: float, start: float, steps: int) -> list[Step]:
    return [Step(x, float(value(x)), float(gradient(x))) for x in iterates(sgd, start, gradient, steps, lr=rate)]


def _losses(rates: np.ndarray, start: float) -> np.ndarray:
    """The losses of a population of rates, `[updates + 1, k]`."""
    places = iterates(sgd, np.full(len(rates), start), gradient, _LONG, lr=rates)
    losses: np.ndarray = value(np.array(list(places)))  # type: ignore[assignment]  # of an array it is one
    return losses


def _make_logarithmic(axes: Axes) -> None:
    axes.set(yscale="log", ylim=_SHOWN)
    axes.yaxis.set_major_locator(LogLocator(numticks=7))
    axes.yaxis.set_minor_locator(NullLocator())


def _draw_losses(style: Style, axes: Axes, path: list[Step]) -> None:
    """The losses by update on a logarithmic axis, which has a 0 where one is reached."""
    losses = [step.y for step in path]
    axes.plot(losses, marker="o", markersize=3, **style.line(0))
    if min(losses) < _NEAR:
        axes.set_yscale("symlog", linthresh=_NEAR)
        axes.yaxis.set_major_locator(FixedLocator([0, 1e-3, 1e-1, 10]))
        axes.set_ylim(-_NEAR / 2, 100)
    else:
        axes.set(yscale="log", ylim=(min(losses) / 10, max(losses) * 10))
        axes.yaxis.set_major_locator(LogLocator(numticks=4))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    style.label(axes, y="loss y")
