"""What a range test's curve says: pure functions of the rates, and of the losses or metrics that were measured at them.

Rates grow from one point to the next. Curves are smoothed ones, but for `smooth` and `noise`, which take them as measured.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

__all__ = ["CLEAR", "interval", "metric_turn", "middle", "minimum", "noise", "smooth", "steepest", "valley"]

CLEAR = 2.5  # times the noise of one measurement: a smoothed curve that falls less may do so by chance
_TENTH = 0.1

Curve = Sequence[float] | NDArray[np.float64]


def smooth(values: Curve, smoothing: float) -> NDArray[np.float64]:
    """The mean over neighbours to both sides, with weights that fall by a factor a point: s_i = Σ β^|i−j|·v_j / Σ β^|i−j|.

    Unlike a running mean it doesn't lag, so a fall stays at the rate where it was; and the division, which is the running
    mean's correction of bias, lets the ends have as much weight as they have neighbours.

    Args:
        values: as measured, of shape `[n]`.
        smoothing: β, from 0 (not at all) to below 1.

    >>> smooth([1.0, 1.0, 4.0], 0.5).round(3).tolist()
    [1.429, 1.75, 2.714]
    """
    places = np.arange(len(values))
    weights = float(smoothing) ** np.abs(places[:, None] - places)
    smoothed: NDArray[np.float64] = (weights @ np.asarray(values, dtype=np.float64)) / weights.sum(axis=1)
    return smoothed


def noise(values: Curve) -> float:
    """How far a single measurement is off, by the differences between neighbours: median |v_{i+1} − v_i| / 0.954.

    For independent normal errors of standard deviation σ that is σ, and a slow fall under them adds little.

    >>> noise([1.0, 1.0, 1.0, 1.0])
    0.0
    """
    return median(np.abs(np.diff(values)).tolist()) / 0.954 if len(values) > 1 else 0.0


def minimum(rates: Curve, smoothed: Curve) -> float:
    """A tenth of the rate at which the loss is lowest, by the old rule of thumb.

    >>> minimum([0.01, 0.1, 1.0, 10.0], [2.0, 1.0, 0.5, 3.0])
    0.1
    """
    return float(rates[int(np.argmin(smoothed))]) / 10


def steepest(rates: Curve, smoothed: Curve) -> float:
    """The rate at which the loss falls most for each factor of the rate: the least d loss / d log rate.

    It is looked for before the lowest loss, for what falls beyond it is falling back from a blow-up.

    >>> steepest([0.01, 0.1, 1.0, 10.0, 100.0], [2.0, 1.9, 1.0, 0.5, 3.0])
    1.0
    """
    slopes = np.gradient(np.asarray(smoothed, dtype=np.float64), np.log(np.asarray(rates, dtype=np.float64)))
    return float(rates[int(np.argmin(slopes[: int(np.argmin(smoothed)) + 1]))])


def valley(rates: Curve, smoothed: Curve) -> float:
    """The middle, on the logarithmic axis, of the longest valley: the longest subsequence of losses that fall.

    Source: fastai's `valley`, 2021, its default suggestion.

    >>> valley([0.001, 0.01, 0.1, 1.0, 10.0], [2.0, 1.5, 1.0, 0.5, 3.0])
    0.1
    """
    longest = _longest_falling(smoothed)
    return float(rates[longest[len(longest) // 2]])


def _longest_falling(values: Curve) -> list[int]:
    """The places of the longest strictly falling subsequence."""
    tails: list[float] = []  # of the best subsequence of each length, its last value with the sign turned
    ends: list[int] = []
    before: list[int] = []
    for place, value in enumerate(values):
        length = bisect_left(tails, -value)
        before.append(ends[length - 1] if length else -1)
        tails[length : length + 1], ends[length : length + 1] = [-value], [place]
    places = [ends[-1]]
    while before[places[-1]] >= 0:
        places.append(before[places[-1]])
    return places[::-1]


def metric_turn(rates: Curve, smoothed_metrics: Curve) -> tuple[float, float]:
    """Smith's criterion: where the metric begins to rise, and the last rate before it begins to fall.

    The first is where a tenth of its rise is done. The two are bounds for a cyclic schedule; the second is the suggestion.

    Source: Smith, Cyclical Learning Rates for Training Neural Networks, 2017, section 3.3.

    >>> metric_turn([0.001, 0.01, 0.1, 1.0, 10.0], [0.1, 0.11, 0.3, 0.6, 0.1])
    (0.1, 1.0)
    """
    metrics = np.asarray(smoothed_metrics, dtype=np.float64)
    top = int(np.argmax(metrics))
    bottom = float(metrics[0])
    risen = np.flatnonzero(metrics[: top + 1] >= bottom + _TENTH * (metrics[top] - bottom))
    return float(rates[int(risen[0])]), float(rates[top])


def interval(rates: Curve, smoothed: Curve, first: float) -> tuple[float, float]:
    """Where the descent starts, and where its edge is: a tenth of it is done, and a tenth of it is lost again.

    Args:
        rates: in their order.
        smoothed: the losses.
        first: the loss from which the descent starts.

    >>> interval([0.001, 0.01, 0.1, 1.0, 10.0, 100.0], [2.0, 1.95, 1.5, 0.5, 0.6, 3.0], 2.0)
    (0.1, 10.0)
    """
    losses = np.asarray(smoothed, dtype=np.float64)
    lowest = int(np.argmin(losses))
    descent = first - float(losses[lowest])
    above = np.flatnonzero(losses[: lowest + 1] > first - _TENTH * descent)
    lost = np.flatnonzero(losses[lowest:] > losses[lowest] + _TENTH * descent)
    start = int(above[-1]) + 1 if len(above) else 0
    edge = lowest + int(lost[0]) - 1 if len(lost) else len(losses) - 1
    return float(rates[min(start, lowest)]), float(rates[edge])


def middle(bounds: tuple[float, float]) -> float:
    """The middle of an interval on the logarithmic axis: √(low·high).

    >>> middle((0.5, 2.0))
    1.0
    """
    return math.sqrt(bounds[0] * bounds[1])
