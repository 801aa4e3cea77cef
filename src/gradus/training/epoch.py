"""What an epoch has given so far."""

import math
import time
from typing import Any

import torch
from torch import Tensor

from gradus.training.trouble import Diverged

__all__ = ["Epoch"]


class Epoch:
    """The updates of an epoch so far: their rates and losses, and how many examples were classified right.

    Losses and scores stay on the device until they are asked for, to spare it the wait.
    """

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.correct = 0
        self.skipped: list[int] = []  # the updates that were left out
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._seconds = 0.0  # before the clock was started
        self._start = 0.0

    def start_clock(self) -> None:
        """Count the seconds from here on, besides those of the time before a checkpoint."""
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall-clock time so far."""
        return self._seconds + time.perf_counter() - self._start

    def note(self, rate: float, loss: Tensor, correct: Tensor) -> None:
        """Note an update.

        Args:
            rate: its learning rate.
            loss: its loss.
            correct: how many of its examples were classified right.
        """
        self.rates.append(rate)
        self._waiting.append((loss, correct))

    def skip(self) -> None:
        """Note that the update that is noted next is left out."""
        self.skipped.append(len(self.rates))

    def fetch(self) -> None:
        """Wait for the device, and take over what is there."""
        if self._waiting:
            losses, correct = map(torch.stack, zip(*self._waiting, strict=True))
            self.losses += losses.tolist()
            self.correct += int(correct.sum())
            self._waiting = []

    @property
    def counted(self) -> list[int]:
        """The updates that were done."""
        return [index for index in range(len(self.rates)) if index not in self.skipped]

    def refuse_divergence(self, first: int, bound: float) -> None:
        """Raise Diverged where an update's loss is no number, or beyond the bound.

        Args:
            first: the number of the epoch's first update.
            bound: the highest loss that is allowed.
        """
        for index in self.counted:
            if not self.losses[index] <= bound:  # a loss that is no number isn't within the bound either
                raise Diverged(first + index, self.rates[index], self.losses[index])

    def train_loss(self, sizes: list[int]) -> float:
        """The mean over examples, from the means over the batches.

        Args:
            sizes: how many examples each batch has.
        """
        counted = self.counted
        return math.fsum(self.losses[one] * sizes[one] for one in counted) / sum(sizes[one] for one in counted)

    def saved(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        self.fetch()
        return {
            "rates": torch.tensor(self.rates, dtype=torch.float64),
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "correct": self.correct,
            "skipped": self.skipped,
            "seconds": self.seconds if self.rates else 0.0,
        }

    def take_over(self, saved: dict[str, Any]) -> None:
        """Go on from what `saved` gave."""
        self.rates, self.losses = saved["rates"].tolist(), saved["losses"].tolist()
        self.correct, self.skipped, self._seconds = (saved[name] for name in ("correct", "skipped", "seconds"))
