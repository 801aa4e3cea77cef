"""What several seeds say together."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from scipy.special import stdtrit

__all__ = ["Interval", "interval"]


class Interval(NamedTuple):
    """A mean and the half-width of its 95 % confidence interval; None where one value can't tell.

    >>> Interval(mean=2.0, half_width=0.5)
    Interval(mean=2.0, half_width=0.5)
    """

    mean: float
    half_width: float | None


def interval(values: Sequence[float]) -> Interval:
    """Mean ± t(0.975, n − 1)·s/√n, Student's interval for the mean of n independent values; NaN where one isn't finite.

    Args:
        values: at least one number.

    >>> interval([1.0, 2.0, 3.0])
    Interval(mean=2.0, half_width=2.484...)
    """
    if not all(map(math.isfinite, values)):
        return Interval(sum(values) / len(values), None if len(values) < 2 else math.nan)
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, None)
    return Interval(mean, float(stdtrit(len(values) - 1, 0.975)) * statistics.stdev(values) / math.sqrt(len(values)))
