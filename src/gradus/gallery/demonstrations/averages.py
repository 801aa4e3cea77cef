"""Exponentially weighted averages: what they remember, and where they begin."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gradus.errors import InvalidInput
from gradus.gallery.shown import Draw, Shown, Style, StyledFigure
from gradus.gallery.walk import Walk
from gradus.rules.classical import adam

__all__ = ["BETAS", "Averages", "averages"]

BETAS = (0.98, 0.95, 0.9, 0.8)
_AGES = 150  # days back for which weights are given
_BEGINNING = 60  # days, of the panel on bias correction


@dataclass(frozen=True)
class Averages(Shown):
    """Exponentially weighted averages of a noisy daily series.

    Args:
        betas: β of each average, `[k]`.
        weights: (1 − β)βᵗ, what a value t days old counts, `[ages, k]`.
        sums: of the weights up to each age, 1 − βᵗ⁺¹, `[ages, k]`.
        memory: 1/(1 − β), the days after which a value counts 1/e of what it did, nearly, `[k]`.
        series: the daily values, `[days]`.
        plain: the averages, which begin at 0, `[days, k]`.
        corrected: the same, divided by 1 − βᵗ, `[days, k]`.
    """

    betas: np.ndarray
    weights: np.ndarray
    sums: np.ndarray
    memory: np.ndarray
    series: np.ndarray
    plain: np.ndarray
    corrected: np.ndarray

    name: ClassVar[str] = "averages"

    def pictures(self) -> dict[str, Draw]:
        return {"weights": self._draw_weights, "series": self._draw_series}

    def _draw_weights(self, style: Style) -> StyledFigure:
        figure = style.figure(5.6, "The weights (1 − β)βᵗ of an exponentially weighted average")
        upper, lower = figure.subplots(2, sharex=True)
        for index, beta in enumerate(self.betas):
            look, memory = style.line(index), self.memory[index]
            text = style.text("β = {beta:g}: memory {memory:.3g} days", beta=beta, memory=memory)
            upper.plot(self.weights[:, index], label=text, **look)
            upper.plot(memory, (1 - beta) * beta**memory, "o", color=look["color"])
            lower.plot(self.sums[:, index], **look)
            lower.plot(memory, 1 - beta ** (memory + 1), "o", color=look["color"])
        upper.legend(title=style.text("dots: the memory 1/(1 − β)"))
        style.label(upper, y="weight")
        style.label(lower, "age t of the value, days", "sum of the weights")
        return figure

    def _draw_series(self, style: Style) -> StyledFigure:
        figure = style.figure(6.6, "A noisy daily series and its exponentially weighted averages")
        upper, lower = figure.subplots(2)
        days, longest = np.arange(1, len(self.series) + 1), int(self.betas.argmax())
        for axes, until in ((upper, len(days)), (lower, _BEGINNING)):
            axes.plot(days[:until], self.series[:until], ".", color=style.faint, markersize=3)
        for index, beta in enumerate(self.betas):
            upper.plot(days, self.corrected[:, index], label=f"β = {beta:g}", **style.line(index))
        upper.legend(ncols=len(self.betas), loc="upper center")
        looks = (style.line(1), style.line(0))
        for (text, averages), look in zip((("uncorrected", self.plain), ("corrected", self.corrected)), looks, strict=True):
            lower.plot(days[:_BEGINNING], averages[:_BEGINNING, longest], label=style.text(text), **look)
        lower.legend(loc="lower right")
        style.label(upper, y="temperature, °C", title="with bias correction")
        style.label(
            lower, "day", "temperature, °C", "β = {beta:g}, with and without bias correction", beta=self.betas[longest]
        )
        return figure


def averages(betas: Sequence[float] = BETAS, days: int = 365, seed: int = 0) -> Averages:
    """Averages v ← βv + (1 − β)θ of a year's temperatures, computed as Adam computes its first moment.

    Args:
        betas: β of each, at least 0 and below 1.
        days: how long the series is, from 60.
        seed: of its noise.

    Raises:
        InvalidInput: no β, one out of its range, or too short a series.

    >>> shown = averages()
    >>> shown.memory.round(9).tolist()
    [50.0, 20.0, 10.0, 5.0]
    >>> shown.weights[:3, 2].round(4).tolist()
    [0.1, 0.09, 0.081]
    """
    if not betas or not all(0 <= beta < 1 for beta in betas):
        raise InvalidInput(f"betas must be numbers from 0 and below 1, such as {BETAS}; got {betas!r}")
    if days < _BEGINNING:
        raise InvalidInput(f"days must be a whole number from {_BEGINNING}; got {days!r}")
    several, ages = np.array(betas, dtype=float), np.arange(_AGES)[:, None]
    series = _temperatures(days, seed)
    plain = np.array([_averaged(series, float(beta)) for beta in betas]).T
    weights = (1 - several) * several**ages
    return Averages(
        betas=several,
        weights=weights,
        sums=np.cumsum(weights, axis=0),
        memory=1 / (1 - several),
        series=series,
        plain=plain,
        corrected=plain / (1 - several ** np.arange(1, days + 1)[:, None]),
    )


def _temperatures(days: int, seed: int) -> np.ndarray:
    """A year that begins in summer, in °C, with noise from day to day."""
    noise = np.random.default_rng(seed).normal(0, 3, days)
    mean: np.ndarray = 12 + 9 * np.cos(2 * math.pi * np.arange(days) / 365)
    return mean + noise


def _averaged(series: np.ndarray, beta: float) -> list[float]:
    """The slot `exp_avg` of Adam, whose gradients are the series."""
    walk, kept = Walk(adam, 0.0, betas=(beta, 0.0)), []
    for _ in series:
        walk.update(lambda _, day: float(series[day - 1]))
        kept.append(walk.slots["exp_avg"])
    return kept
