"""Short trainings, each from the same state."""

import math
import random
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import torch

from gradus.errors import InvalidInput
from gradus.randomness import seed_for
from gradus.rangetest.bars import Bar
from gradus.rangetest.curve import Curve, ShortRun, mean_of, near_best
from gradus.rangetest.stopping import StopRule
from gradus.rangetest.trainer import Trainer, fetched
from gradus.schedules import Constant, Schedule
from gradus.snapshot import Snapshot

__all__ = ["Trials"]

_HALVINGS = 12  # of the edge: no lower rates are tried
_FINE = 0.5  # of a halving, from one rate to the next where it is settled
_LONGER = 4  # times the steps, in the trainings that settle it
_USUAL = 10  # short trainings that settle a rate, as a rule
_MISSES = 2  # rates in a row that aren't good, after which no further ones are tried


@dataclass
class Trials:
    """Short trainings, each from the same state.

    Args:
        trainer: does them.
        snapshot: the state.
        generators: the loader's own.
        bar: told of each step.
        steps: updates in each.
        stop_factor: as `StopRule` takes it.
        seeds: how often the whole is done.
        verifies: whether short trainings follow the curves.
    """

    trainer: Trainer
    snapshot: Snapshot
    generators: list[Any]
    bar: Bar
    steps: int
    stop_factor: float
    seeds: int = 1
    verifies: bool = False

    def __post_init__(self) -> None:
        self._count = 0
        self._about = self.seeds * (1 + (_USUAL if self.verifies else 0))  # trainings, as far as can be told

    def run(self, schedule: Schedule, name: str, seed: int, steps: int | None = None) -> ShortRun:
        """Train under a schedule until its end or until the losses say to stop, and put everything back.

        Args:
            schedule: the rates.
            name: what the bar calls it.
            seed: of the shuffles.
            steps: updates, where they aren't the usual number.

        Raises:
            InvalidInput: there are no batches, or the loss is no number before anything has been done.
        """
        self._reseed(seed)
        steps = steps or self.steps
        self.trainer.to_training()
        self._count += 1
        self.bar.begin(name, steps, self._count, self._about)
        watch = StopRule(self.stop_factor, rising=not isinstance(schedule, Constant))
        losses, metrics = list[float](), list[float | None]()
        loss, reason = 0.0, None
        for step, (loss, metric) in enumerate(fetched(self.trainer.train(schedule, steps))):
            reason = watch.reason(loss, self.trainer.chance)
            if step == 0 and reason is not None:
                raise InvalidInput(f"{reason} before any update; {self._found() or 'look at the data and the weights'}")
            if math.isfinite(loss):
                losses.append(loss)
                metrics.append(metric)
            if reason is not None:
                break
            self.bar.step(schedule(step), loss)
        self.snapshot.restore()
        if not math.isfinite(loss) and (found := self._found()):
            raise InvalidInput(f"whatever the rate, with the model as it was given too, {found}; leave such data out")
        if not losses:
            needed = self.trainer.accumulate
            few = "no batches" if needed == 1 else f"fewer than the {needed} batches of an update"
            raise InvalidInput(f"the loader gives {few}; give one that does")
        ended = "this was the last" if len(losses) == steps + 1 else "the data ended"
        return ShortRun(
            [schedule(step) for step in range(len(losses) - 1)], losses, metrics, reason or ended, reason is not None
        )

    def _found(self) -> str | None:
        """What isn't finite in the last batches without any update, so that no rate is to blame."""
        self.snapshot.restore()
        self.trainer.to_training()
        found = self.trainer.culprit()
        self.snapshot.restore()
        return found

    def verify(self, curve: Curve, start: float, end: float, seeds: int) -> list[dict[float, float]]:
        """Train at constant rates: briefly to see which learn, then longer, at rates closer together, from those down.

        Where none learns in so few updates, all are tried with more.

        Args:
            curve: says where to begin.
            start: the lowest rate to try.
            end: the highest.
            seeds: how often, each time with other shuffles.

        Returns:
            The loss that the training at each rate came to, for each seed.
        """

        def trained(top: float, part: float, steps: int) -> list[dict[float, float]]:
            return [self._around(top, part, steps, curve, start, end, seed) for seed in range(seeds)]

        for steps in (self.steps, _LONGER * self.steps):
            trials = trained(min(curve.edge, end), 1, steps)  # the curve's last rate may be above the end by its rounding
            if good := near_best(mean_of(trials), curve):
                return trained(good[-1], _FINE, _LONGER * self.steps)
        return trials

    def _around(
        self, top: float, part: float, steps: int, curve: Curve, start: float, end: float, seed: int
    ) -> dict[float, float]:
        """Train at constant rates from one down until learning slows; up too, where that rate itself is good.

        From one rate to the next is that part of a halving.
        """
        trials: dict[float, float] = {}
        most = round(_HALVINGS / part)

        def train_at(rates: Iterable[float]) -> None:
            misses = 0
            for rate in takewhile(lambda rate: start <= rate <= end, rates):
                trials[rate] = _score(self.run(Constant(rate), f"rate {rate:.2g}", seed, steps))
                good = near_best(trials, curve)
                misses = 0 if rate in good or not good else misses + 1
                if misses == _MISSES:
                    return

        train_at(top / 2 ** (part * power) for power in range(most))
        if top in near_best(trials, curve):
            train_at(top * 2 ** (part * power) for power in range(1, most))
        return trials

    def _reseed(self, seed: int) -> None:
        """A shuffle of its own for each seed; the first has the one that would have come."""
        if seed == 0:
            return
        number = seed_for(seed, "range test")
        torch.manual_seed(number)
        random.seed(number)
        np.random.seed(number % 2**32)  # the global one, which data sets may draw from
        for generator in self.generators:
            if isinstance(generator, torch.Generator):
                generator.manual_seed(number)


def _score(trained: ShortRun) -> float:
    """The loss that a training came to: the mean of its second half, its end being noisier; infinite where it diverged."""
    if trained.diverged:
        return math.inf
    return statistics.fmean(trained.losses[len(trained.losses) // 2 :])
