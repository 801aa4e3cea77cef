"""From a trainer to what its range test says: the rising rates, the short trainings, and the judgement."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from gradus.errors import InvalidInput
from gradus.rangetest.bars import Bar, shown_bar
from gradus.rangetest.checks import check_numbers, check_range
from gradus.rangetest.curve import Curve, good_interval, mean_of
from gradus.rangetest.findings import finds_its_own_step, is_unbounded, of_optimizer
from gradus.rangetest.result import RangeTest
from gradus.rangetest.suggestions import metric_turn
from gradus.rangetest.trainer import Trainer
from gradus.rangetest.trials import Trials
from gradus.schedules import Exponential, Linear, Schedule
from gradus.snapshot import Snapshot

__all__ = ["Mode", "Settings", "found_by"]

Mode = Literal["exponential", "linear"]


@dataclass(frozen=True)
class Settings:
    """How a range test is done; the arguments of `range_test` of these names.

    Raises:
        InvalidInput: one can't be used.
    """

    start: float = 1e-7
    end: float = 10.0
    steps: int = 100
    mode: Mode = "exponential"
    smoothing: float = 0.7
    stop_factor: float = 4.0
    seeds: int = 1
    verify: bool = True
    memory_limit: int = 2**32

    def __post_init__(self) -> None:
        check_range(self.start, self.end, self.steps, self.mode)
        check_numbers(self.smoothing, self.stop_factor, self.seeds, self.memory_limit)

    @property
    def schedule(self) -> Schedule:
        """The rates as they rise."""
        if self.mode == "linear":
            return Linear(self.steps - 1, start=self.start, end=self.end)
        return Exponential((self.end / self.start) ** (1 / (self.steps - 1)), start=self.start)


def found_by(trainer: Trainer, settings: Settings, progress: bool | Bar) -> RangeTest:
    """What the range test of a trainer says; everything is put back.

    Args:
        trainer: trains and measures.
        settings: how.
        progress: as for `range_test`.

    Raises:
        InvalidInput: the data or the loss can't be used.
        GradusError: what is to be put back can't be kept.
    """
    optimizer, smoothing, seeds = trainer.optimizer, settings.smoothing, settings.seeds
    said, own_step = list(of_optimizer(optimizer)), finds_its_own_step(optimizer)
    verify = settings.verify and not own_step
    generators = _generators_of(trainer.loader)
    kept = [trainer.model, optimizer, trainer.amp, generators]
    with shown_bar(progress) as bar, Snapshot(kept, memory_limit=settings.memory_limit) as snapshot:
        trials = Trials(trainer, snapshot, generators, bar, settings.steps, settings.stop_factor, seeds, verify)
        trained = [trials.run(settings.schedule, "rising rate", seed) for seed in range(seeds)]
        curve = Curve.of(trained, smoothing)
        if not curve.lrs:
            if not curve.diverged:
                raise InvalidInput("the data end after the first update; give more")
            raise InvalidInput(f"the first update, at rate {settings.start:g}, ended the test: {curve.reason}; start lower")
        verified = trials.verify(curve, settings.start, settings.end, seeds) if verify and not curve.constant else []
    found = _judged(curve, [Curve.of([one], smoothing) for one in trained], verified, snapshot.nbytes)
    return _with_findings(found, curve, said, settings.end, own_step)


def _with_findings(found: RangeTest, curve: Curve, said: list[str], end: float, own_step: bool) -> RangeTest:
    """With what else there is to say; without a suggestion where there can be none."""
    remark, suggestion = found.remark, found.suggestion
    if curve.unbounded or is_unbounded(*_columns(found.trials), curve.first, curve.noise):
        suggestion = None
        remark = (
            f"The loss falls without end, the faster the higher the rate, to {min(curve.losses):.3g} and on, so no rate is "
            f"best: give a loss that has a lowest value. If yours has one, take a higher end or more steps."
        )
    elif own_step:
        suggestion, remark = None, ""
    elif suggestion is not None and found.interval is not None and found.interval[1] > 0.99 * end:
        remark += f" Of the rates up to {end:g}, the highest learned best; take a higher end."
    return replace(found, suggestion=suggestion, remark=" ".join([remark, *said]).strip())


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [one for one, _ in pairs], [other for _, other in pairs]


def _generators_of(loader: Iterable[Any]) -> list[Any]:
    """The random generators that a loader draws from, besides the global ones."""
    sources = [loader, *(getattr(loader, name, None) for name in ("sampler", "batch_sampler", "dataset"))]
    sources.append(getattr(sources[2], "sampler", None))
    kinds = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)
    held = [value for source in sources for value in getattr(source, "__dict__", {}).values()]
    return [value for value in held if isinstance(value, kinds)]


def _judged(curve: Curve, alone: list[Curve], trials: list[dict[float, float]], nbytes: int) -> RangeTest:
    found, remark = curve.suggestions(), curve.remark()
    means = mean_of(trials)
    bounds = curve.interval if curve.clear else None
    each = [one.suggestions().get("middle") for one in alone]
    suggestion = found.get("middle")
    if trials:
        good = good_interval(means, curve)
        suggestion, bounds = (good[0], good) if good else (None, bounds)
        each = [one[0] if one else None for one in (good_interval(trial, curve) for trial in trials)]
        if good:
            found["verified"] = good[0]
        else:
            remark = f"No rate learned anything in short trainings; take more steps. {remark}".strip()
    if suggestion is not None:
        how = "the lowest that learns nearly as fast as the fastest" if trials else "the middle of the interval"
        remark = f"Train with a rate of {suggestion:.3g}, {how}."
    said = [rate for rate in each if rate is not None]
    spread = (min(said), max(said)) if len(each) > 1 and said else None
    if spread is not None:
        remark += f" Of {len(each)} shuffles, each alone says {spread[0]:.3g} to {spread[1]:.3g}."
    return RangeTest(
        lrs=tuple(curve.lrs),
        losses=tuple(curve.losses),
        smoothed=tuple(curve.smoothed),
        metrics=tuple(curve.metrics),
        first=curve.first,
        suggestion=suggestion,
        suggestions=found,
        interval=bounds,
        spread=spread,
        cycle=metric_turn(curve.lrs, curve.metrics) if curve.metrics and curve.clear else None,
        trials=tuple(means.items()),
        stopped_because=curve.reason,
        remark=remark,
        snapshot_bytes=nbytes,
    )
