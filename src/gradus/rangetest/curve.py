"""A range test's curve, and what is read off it."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gradus.rangetest.findings import is_unbounded
from gradus.rangetest.suggestions import CLEAR, interval, metric_turn, middle, minimum, noise, smooth, steepest, valley

__all__ = ["Curve", "ShortRun", "good_interval", "mean_of", "near_best"]

_FEWEST = 20  # points: of fewer, the noise isn't known well enough to tell it from a fall
_ROUNDING = 1e-9  # of a loss: a fall as small as this is none
_NEARLY = 0.015  # the part of the best descent that a good rate may lack


@dataclass(frozen=True)
class ShortRun:
    """What a short training gave.

    Args:
        lrs: the rate of each update.
        losses: before the first update, and after each.
        metrics: likewise.
        reason: why it ended.
        diverged: whether that was the losses' doing.
    """

    lrs: list[float]
    losses: list[float]
    metrics: list[float | None]
    reason: str
    diverged: bool


@dataclass(frozen=True)
class Curve:
    """A curve with what is read off it.

    Args:
        lrs: the rate of each update.
        losses: after each.
        smoothed: the same, smoothed.
        metrics: after each update, smoothed; empty where none is measured.
        first: where the losses begin: the median of the first fifth.
        noise: of a single loss.
        reason: why it ended.
        diverged: whether that was the losses' doing.
    """

    lrs: list[float]
    losses: list[float]
    smoothed: list[float]
    metrics: list[float]
    first: float
    noise: float
    reason: str
    diverged: bool

    @staticmethod
    def of(several: list[ShortRun], smoothing: float) -> "Curve":
        """The mean of some curves, as far as the shortest of them goes."""
        shortest = min(several, key=lambda one: len(one.losses))
        columns = zip(*(one.losses for one in several), strict=False)
        before, *losses = [statistics.fmean(column) for column in columns]
        metrics = [
            statistics.fmean(column)
            for column in zip(*(one.metrics[1:] for one in several), strict=False)
            if None not in column
        ]
        beginning = [before, *losses][: _beginning(losses)]
        first = statistics.median(beginning)
        capped = [min(loss, max(beginning)) for loss in losses]  # how high it blew up says nothing of where it broke
        smoothed = smooth(capped, smoothing).tolist() if capped else []
        metrics = smooth(metrics, smoothing).tolist() if metrics else []
        return Curve(shortest.lrs, losses, smoothed, metrics, first, noise(beginning), shortest.reason, shortest.diverged)

    @property
    def clear(self) -> bool:
        """Whether it falls by more than chance."""
        least = max(CLEAR * self.noise, _ROUNDING * abs(self.first))
        return len(self.losses) >= _FEWEST and self.first - min(self.smoothed) > least

    @property
    def constant(self) -> bool:
        """Whether no rate has any effect."""
        return len(self.losses) >= 2 and set(self.losses) == {self.first}

    @property
    def unbounded(self) -> bool:
        """Whether it falls without end."""
        return self.reason.endswith("-inf") or is_unbounded(self.lrs, self.losses, self.first, self.noise)

    @property
    def interval(self) -> tuple[float, float]:
        return interval(self.lrs, self.smoothed, self.first)

    @property
    def edge(self) -> float:
        """Where to look from: the edge of the descent, or the last rate where there is none to be seen."""
        return self.interval[1] if self.clear else self.lrs[-1]

    def suggestions(self) -> dict[str, float]:
        """A rate by each rule; none where the curve says nothing."""
        if not self.clear:
            return {}
        rates, smoothed = self.lrs, self.smoothed
        found = {
            "steepest": steepest(rates, smoothed),
            "valley": valley(rates, smoothed),
            "minimum/10": minimum(rates, smoothed),
            "middle": middle(self.interval),
        }
        if self.metrics:
            found["smith"] = metric_turn(rates, self.metrics)[1]
        return found

    def remark(self) -> str:
        """What is wrong with it; nothing where it falls."""
        if self.clear:
            return ""
        if self.constant:
            why = "there is nothing left to learn" if self.first == 0 else "nothing that the optimizer moves changes it"
            return f"The loss stayed at {self.first:.4g}, whatever the rate: {why}."
        if len(self.losses) < _FEWEST:
            way = "start lower" if self.diverged else "give more data"
            return f"The curve has only {len(self.losses)} points, too few to say anything ({self.reason}); {way}."
        if self.diverged:
            return f"The loss never fell before the test ended ({self.reason}); start lower, or take more steps."
        return "The loss never fell by more than its noise; take more steps, larger batches, or a higher end."


def _beginning(losses: Sequence[float]) -> int:
    """How many losses, with that before them, say where the curve begins: a fifth."""
    return 1 + max(4, len(losses) // 5)


def mean_of(trials: Sequence[Mapping[float, float]]) -> dict[float, float]:
    """The mean loss of the trainings of several seeds, at the rates that all of them tried."""
    shared = set.intersection(*(set(one) for one in trials)) if trials else set()
    return {rate: statistics.fmean(one[rate] for one in trials) for rate in sorted(shared)}


def near_best(trials: Mapping[float, float], curve: Curve, doubt: float = 1.0) -> list[float]:
    """The rates whose loss has fallen nearly as far as the best one's, in their order; none where none has clearly fallen.

    Args:
        trials: the loss at each rate.
        curve: where it began, and the noise of a single loss.
        doubt: the noise of the fall, as a part of that.
    """
    best = min(trials.values(), default=math.inf)
    if not curve.first - best > CLEAR * doubt * curve.noise:
        return []
    return sorted(rate for rate, loss in trials.items() if loss <= _limit(trials, curve))


def good_interval(trials: Mapping[float, float], curve: Curve) -> tuple[float, float] | None:
    """From the lowest good rate to the highest, also between those that were tried; None where there is none.

    Losses are smoothed, and between two rates the loss is taken for a straight line over the logarithm of the rate.
    """
    levels = _smoothed(trials, curve)
    # A median of n losses is off by 1.25/√n of what one of them is, and a level, the mean of half a training, by less.
    good, rates = near_best(levels, curve, doubt=1.25 / math.sqrt(_beginning(curve.losses))), sorted(levels)
    if not good:
        return None
    low, high = rates.index(good[0]), rates.index(good[-1])

    def end(inside: float, outside: list[float]) -> float:
        if not outside:
            return inside
        part = (_limit(levels, curve) - levels[inside]) / (levels[outside[0]] - levels[inside])
        return float(inside * (outside[0] / inside) ** part)

    return end(good[0], rates[:low][-1:]), end(good[-1], rates[high + 1 :][:1])


def _smoothed(trials: Mapping[float, float], curve: Curve) -> dict[float, float]:
    """The mean of each rate's loss and those of the two beside it, at half the weight; none above where the curve begins.

    Chance lets one of two rates that are near to each other learn well and the other one badly, or break.
    """
    rates, weights = sorted(trials), (1, 2, 1)
    losses = [min(trials[rate], curve.first) for rate in rates]
    means = np.convolve(losses, weights)[1:-1] / np.convolve(np.ones(len(rates)), weights)[1:-1]
    return dict(zip(rates, means.tolist(), strict=True))


def _limit(trials: Mapping[float, float], curve: Curve) -> float:
    """The highest loss that is nearly the best."""
    best = min(trials.values())
    return best + _NEARLY * (curve.first - best)
