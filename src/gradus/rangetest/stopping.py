"""When a range test, or a short training of it, ends before its last step."""

import math
from statistics import median

from gradus.rangetest.suggestions import CLEAR, noise

__all__ = ["StopRule"]

_SMOOTHING = 0.8  # of the running mean: it looks back over about five losses
_SEVERAL = 5  # losses that say where the descent began, and that have to be back there
_LOST = 0.9  # the part of the descent that is lost then


class StopRule:
    """Looks at the losses as they come, and says when going on would only do harm.

    It stops when a loss is no number; when the smoothed loss passes `stop_factor` times its best; and when five losses in a
    row are back where a clear descent began. The last is needed because a network that has blown up may sit at the loss of
    chance for ever, such as ln(classes), which is seldom four times the best. At a constant rate it may come back from
    there, so that such a training has its time.

    Args:
        stop_factor: above 1.
        rising: whether the rate grows, so that nothing comes back.
    """

    def __init__(self, stop_factor: float, *, rising: bool = True) -> None:
        self.stop_factor, self.rising = stop_factor, rising
        self.losses: list[float] = []
        self.first = self.noise = math.nan  # known from the first several losses
        self.mean = self.weight = 0.0
        self.best = math.inf

    def reason(self, loss: float, chance: float | None = None) -> str | None:
        """Why to stop after this loss; None to go on.

        Args:
            loss: the loss of the next step.
            chance: the loss of a model that knows nothing, where that is known.
        """
        if not math.isfinite(loss):
            return f"the loss was {loss}"
        self.losses.append(loss)
        self.mean = _SMOOTHING * self.mean + (1 - _SMOOTHING) * loss
        self.weight = _SMOOTHING * self.weight + (1 - _SMOOTHING)
        smoothed = self.mean / self.weight
        if len(self.losses) < _SEVERAL:
            return None
        if len(self.losses) == _SEVERAL:
            self.first, self.noise = median(self.losses), noise(self.losses)
        self.best = min(self.best, smoothed)
        # Of a best near 0 every multiple is near 0 too; a part of the descent is then what counts.
        if smoothed > self.best + max((self.stop_factor - 1) * abs(self.best), self.first - self.best):
            return f"the smoothed loss passed {self.stop_factor:g} times its best, {self.best:.4g}"
        if self.rising and self._is_back(self.first if chance is None else min(self.first, chance)):
            return f"the loss was back at {min(self.losses[-_SEVERAL:]):.4g}, where its descent had begun"
        return None

    def _is_back(self, top: float) -> bool:
        descent = top - self.best
        if descent <= max(CLEAR * self.noise, 0.05 * abs(top)):
            return False
        return min(self.losses[-_SEVERAL:]) > self.best + _LOST * descent
