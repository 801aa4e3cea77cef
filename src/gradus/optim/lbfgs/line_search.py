"""The line search of L-BFGS: a point along a direction that satisfies the strong Wolfe conditions."""

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

__all__ = ["Search", "Trial"]

_ENOUGH_DESCENT, _ENOUGH_FLATTENING = 1e-4, 0.9  # Nocedal and Wright's c₁ and c₂ for quasi-Newton directions
_TRIALS = 25  # of a search


class Trial(NamedTuple):
    """A point on the line, and what was found there."""

    t: float
    loss: float
    gradient: Tensor
    slope: float


class Search:
    """A line search for the strong Wolfe conditions; a loss that is no number counts as too high."""

    def __init__(self, at: Callable[[float], Trial], origin: Trial, size: float, most: int = _TRIALS) -> None:
        self.at, self.origin, self.size = at, origin, size
        self.most = min(most, _TRIALS)  # evaluations after the first
        self.evaluations = 0

    def run(self, t: float, tolerance: float) -> Trial:
        """The best point found; it satisfies the conditions unless the trials ran out."""
        low, high = self._bracket(t)
        return low if high is None else self._zoom(low, high, tolerance)

    def _try(self, t: float) -> Trial:
        self.evaluations += 1
        return self.at(t)

    def _descends(self, trial: Trial) -> bool:
        return trial.loss <= self.origin.loss + _ENOUGH_DESCENT * trial.t * self.origin.slope

    def _is_flat(self, trial: Trial) -> bool:
        return abs(trial.slope) <= -_ENOUGH_FLATTENING * self.origin.slope

    def _bracket(self, t: float) -> tuple[Trial, Trial | None]:
        """Two points between which the conditions hold somewhere; or one where they do (Algorithm 3.5)."""
        before, trial = self.origin, self._try(t)
        for count in range(self.most):
            if not self._descends(trial) or (count > 1 and trial.loss >= before.loss):
                return before, trial
            if self._is_flat(trial):
                return trial, None
            if trial.slope >= 0:
                return before, trial
            farther = _between(before, trial, trial.t + 0.01 * (trial.t - before.t), 10 * trial.t)
            before, trial = trial, self._try(farther)
        return self.origin, trial

    def _zoom(self, one: Trial, other: Trial, tolerance: float) -> Trial:
        """Narrow two points down to one that satisfies the conditions (Algorithm 3.6); `low` is always the better."""
        low, high = (one, other) if one.loss <= other.loss or not other.loss < math.inf else (other, one)
        stalled = False
        while self.evaluations <= self.most and abs(high.t - low.t) * self.size >= tolerance:
            left, right = sorted((low.t, high.t))
            t = _between(low, high, left, right)
            # A point close to an end says little: the second time, it is moved away from it.
            margin = 0.1 * (right - left)
            close = min(right - t, t - left) < margin
            if close and (stalled or not left < t < right):
                t = right - margin if right - t < t - left else left + margin
                close = False
            stalled = close
            trial = self._try(t)
            if not self._descends(trial) or trial.loss >= low.loss:
                high = trial
                if high.loss < low.loss:
                    low, high = high, low
                continue
            if self._is_flat(trial):
                return trial
            if trial.slope * (high.t - low.t) >= 0:
                high = low
            low = trial
        return low


def _between(a: Trial, b: Trial, lowest: float, highest: float) -> float:
    """The minimum of the cubic through two points with their slopes, within bounds (Nocedal and Wright 2006, eq. 3.59)."""
    if a.t > b.t:
        a, b = b, a
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if not 0 <= square < math.inf:
        return (lowest + highest) / 2
    d2 = math.sqrt(square)
    denominator = b.slope - a.slope + 2 * d2
    if denominator == 0:
        return (lowest + highest) / 2
    return min(max(b.t - (b.t - a.t) * ((b.slope + d2 - d1) / denominator), lowest), highest)
