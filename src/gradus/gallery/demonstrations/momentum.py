"""Momentum on a parabola: overshoot, critical damping, and the forms that libraries and books give it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gradus.errors import InvalidInput
from gradus.gallery.demonstrations.descent import curvature, gradient
from gradus.gallery.shown import Draw, Shown, Style, StyledFigure
from gradus.gallery.walk import iterates
from gradus.rules.classical import sgd

__all__ = ["MOMENTA", "RATES", "Momentum", "contraction", "critical_momentum", "momentum", "overshoot"]

RATES = (0.01, 0.03)
MOMENTA = (0.0, 0.63, 0.9)
_START = 2.0
_MAP = 240  # points along each side


def critical_momentum(rate: float) -> float:
    """μ = (1 − √(γL))²: with less, the way is slower; with more, the path overshoots.

    Args:
        rate: γ, at most 1/L.
    """
    return (1 - math.sqrt(rate * curvature())) ** 2


def contraction(rate: np.ndarray, momentum: np.ndarray) -> np.ndarray:
    """What an update leaves of the distance in the long run: the greater root of r² − (1 + μ − γL)r + μ = 0, in size.

    Args:
        rate: γ.
        momentum: μ, of a shape that `rate` can be broadcast against.
    """
    middle = 1 + momentum - rate * curvature()
    beside = np.sqrt((middle * middle - 4 * momentum).astype(complex))
    sizes: np.ndarray = np.maximum(np.abs(middle + beside), np.abs(middle - beside)) / 2
    return sizes


def overshoot(path: Sequence[float]) -> float:
    """How far a path comes beyond the minimum at 0, as a part of the distance that it began with."""
    return max(0.0, *(-x / path[0] for x in path))


@dataclass(frozen=True)
class Momentum(Shown):
    """Gradient descent with momentum on y = 4x².

    Args:
        paths: x after each update, the start first, by rate and momentum; the last momentum of each rate is the critical.
        forms: x after each update in each form of momentum, all at the same rate and momentum.
        critical: the critical momentum of each rate.
        rates: along the map's bottom, `[k]`.
        momenta: along its side, `[k]`.
        left: what an update leaves of the distance, `[momenta, rates]`.
    """

    paths: dict[float, dict[float, list[float]]]
    forms: dict[str, list[float]]
    critical: dict[float, float]
    rates: np.ndarray
    momenta: np.ndarray
    left: np.ndarray

    name: ClassVar[str] = "momentum"

    def pictures(self) -> dict[str, Draw]:
        return {"paths": self._draw_paths, "forms": self._draw_forms, "map": self._draw_map}

    def _draw_paths(self, style: Style) -> StyledFigure:
        figure = style.figure(6.4, "Momentum on y = 4x², from x = 2")
        panels = figure.subplots(len(self.paths), sharex=True, squeeze=False)[:, 0]
        for axes, (rate, paths) in zip(panels, self.paths.items(), strict=True):
            for index, (amount, path) in enumerate(paths.items()):
                template = "{amount:.3g} (critical)" if amount == self.critical[rate] else "{amount:.3g}"
                text = style.text(template + ": overshoot {over:.0f} %", amount=amount, over=100 * overshoot(path))
                axes.plot(path, label=text, **style.line(index))
            axes.axhline(0, color=style.faint, linewidth=0.8)
            axes.legend(title=style.text("momentum"), loc="upper right")
            style.label(axes, y="x", title="rate {rate:g}", rate=rate)
        style.label(panels[-1], "update")
        return figure

    def _draw_forms(self, style: Style) -> StyledFigure:
        rate, amount = list(self.paths)[-1], MOMENTA[-1]
        figure = style.figure(3.9, "Four forms of momentum: rate {rate:g}, momentum {amount:g}", rate=rate, amount=amount)
        axes = figure.subplots()
        for index, (form, path) in enumerate(self.forms.items()):
            axes.plot(path, label=style.text(form), **style.line(index))
        axes.axhline(0, color=style.faint, linewidth=0.8)
        axes.legend(loc="upper right")
        style.label(axes, "update", "x")
        return figure

    def _draw_map(self, style: Style) -> StyledFigure:
        figure = style.figure(4.6, "What one update leaves of the distance on y = 4x²")
        axes = figure.subplots()
        levels = np.linspace(0, 1, 11)
        filled = axes.contourf(self.rates, self.momenta, self.left, levels, cmap=style.colours)
        axes.plot(self.rates, [critical_momentum(rate) for rate in self.rates], color="white", linewidth=2)
        for index, (rate, paths) in enumerate(self.paths.items()):
            look = {
                "color": style.line(1)["color"],
                "marker": "os"[index % 2],
                "markersize": 6,
                "markeredgecolor": "white",
            }
            axes.plot([rate] * len(paths), list(paths), linestyle="none", label=f"γ = {rate:g}", clip_on=False, **look)
        text = style.text("white: critical damping")
        axes.legend(title=text, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=len(self.paths))
        figure.colorbar(filled, ax=axes, label=style.text("part left after an update"))
        style.label(axes, "learning rate", "momentum")
        return figure


def momentum(rates: Sequence[float] = RATES, momenta: Sequence[float] = MOMENTA, steps: int = 60) -> Momentum:
    """Momentum on y = 4x²: b ← μb + g, x ← x − γb, as torch has it, next to other forms.

    Averaged: b ← μb + (1 − μ)g, with b = 0 at first, which is torch's form at the rate γ(1 − μ). Dampened: torch's
    `dampening=μ`, the same but for the first gradient, which is taken whole. Nesterov: x ← x − γ(g + μb).

    Args:
        rates: the learning rates γ, above 0 and at most 1/L = 0.125, where momentum can be critical.
        momenta: μ of the paths at each rate, at least 0 and below 1; the critical one is added.
        steps: the updates of each path.

    Raises:
        InvalidInput: no rates or momenta, one out of its range, or no steps.

    >>> shown = momentum()
    >>> round(shown.critical[0.01], 4), round(overshoot(shown.paths[0.01][0.9]), 2)
    (0.5143, 0.56)
    """
    highest = 1 / curvature()
    if not rates or not all(0 < rate <= highest for rate in rates):
        raise InvalidInput(f"the rates must be above 0 and at most 1/L = {highest:g}, such as {RATES}; got {rates!r}")
    if not momenta or not all(0 <= one < 1 for one in momenta):
        raise InvalidInput(f"the momenta must be numbers from 0 and below 1, such as {MOMENTA}; got {momenta!r}")
    if steps < 1:
        raise InvalidInput(f"steps must be a whole number from 1; got {steps!r}")
    critical = {rate: critical_momentum(rate) for rate in rates}
    side = np.linspace(0, 0.99, _MAP)
    along = np.linspace(0, highest, _MAP)
    return Momentum(
        paths={rate: {one: _path(steps, lr=rate, momentum=one) for one in (*momenta, critical[rate])} for rate in rates},
        forms=_forms(steps, rates[-1], MOMENTA[-1]),
        critical=critical,
        rates=along,
        momenta=side,
        left=contraction(along, side[:, None]),
    )


def _path(steps: int, **hypers: float | bool) -> list[float]:
    return list(iterates(sgd, _START, gradient, steps, **hypers))


def _forms(steps: int, rate: float, amount: float) -> dict[str, list[float]]:
    return {
        "torch's": _path(steps, lr=rate, momentum=amount),
        "averaged": _path(steps, lr=rate * (1 - amount), momentum=amount),
        "dampened: its first gradient is whole": _path(steps, lr=rate, momentum=amount, dampening=amount),
        "Nesterov's": _path(steps, lr=rate, momentum=amount, nesterov=True),
    }
