"""Factors that follow a metric: the one part of a schedule that isn't a function of the step alone.

A factor stands in a product with any schedule, warmup included: `(warmup(500) >> Constant()) * Plateau()`. Its definition is
a value like every schedule's. What it has seen is kept by its `gradus.Scheduler`, as a small JSON-able state
that `observed` maps to the next one.
"""

import math
import sys
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar

from gradus.checks import AtLeastOne, NonNegative, UnitInside, one_of, whole
from gradus.errors import InvalidInput
from gradus.schedules.algebra import Absolute, Product
from gradus.schedules.schedule import Schedule

__all__ = ["Greedy", "MetricFactor", "Plateau", "State", "factors_of"]

State = dict[str, Any]


_Count = Annotated[int, partial(whole, most=2**53)]
_Mode = Annotated[str, one_of("min", "max")]
_ThresholdMode = Annotated[str, one_of("rel", "abs")]


class MetricFactor(Schedule, abstract=True):
    """A factor that moves when a metric is observed. As a schedule it has its value before the first metric: 1."""

    _metric_driven: ClassVar[bool] = True

    def at(self, t: Any, ops: Any) -> Any:
        return ops.full(t, 1.0)

    def initial(self) -> State:
        """The state before the first metric."""
        raise NotImplementedError

    def observed(self, state: State, metric: float) -> State:
        """The state after one more metric. Its `factor` is what the schedule is multiplied by from now on."""
        raise NotImplementedError

    def checked(self, state: Any) -> State:
        """A saved state of this factor, checked.

        Raises:
            InvalidInput: it can't be one.
        """
        fields = self.initial()
        if not isinstance(state, Mapping) or state.keys() != fields.keys():
            raise InvalidInput(f"the state of {self!r} has {', '.join(fields)}; it can't be {state!r}")
        if wrong := [name for name in fields if not self._can_be(name, state[name])]:
            raise InvalidInput(f"the state of {self!r} can't have {state[wrong[0]]!r} for its {wrong[0]!r}")
        return dict(state)

    def _can_be(self, name: str, value: Any) -> bool:
        """Whether a field of the state may hold this: something of the type that `initial` has there, if that is any."""
        if name == "factor":
            return _is_number(value) and 0 <= value < math.inf
        first = self.initial()[name]
        return first is None or type(value) is type(first)

    def retuned(self, state: State, before: Any) -> State:  # noqa: ARG002 - kinds look at it
        """What another factor of this kind, with other parameters, has seen, as this one goes on from it.

        The factor that has been reached is always kept. What else is kept, each kind says.
        """
        return {**self.initial(), "factor": state["factor"]}

    def _improves(self: Any, metric: float, best: float | None) -> bool:
        """Whether a metric is better than the best one by more than the threshold. One that is no number never is."""
        sign = 1 if self.mode == "min" else -1  # a comparison with a number that is none is false
        if best is None:
            return sign * metric < math.inf
        if self.threshold_mode == "rel":
            return bool(sign * metric < sign * best * (1 - sign * self.threshold))
        return bool(sign * metric < sign * best - self.threshold)


class Plateau(MetricFactor):
    """Lower the factor when a metric has stopped improving: factor ← max(factor·f, min_factor) after `patience` bad metrics.

    A metric is bad when it isn't better than the best one by more than the threshold: best·(1 − threshold) with "rel",
    best − threshold with "abs", the other way round where `mode` is "max". A metric that is no number is bad.

    Args:
        mode: "min" where the metric should fall, "max" where it should rise.
        factor: f, above 0 and below 1.
        patience: how many bad metrics in a row are allowed.
        threshold: by how much a metric must be better.
        threshold_mode: "rel" or "abs".
        cooldown: how many metrics after a change aren't counted as bad.
        min_factor: the lowest factor.
        eps: a change by no more than this is left out.

    A saved one that goes on with other parameters keeps the factor that it has reached, even below a new
    `min_factor`; unless `mode` has changed, it keeps the best metric and the count of bad ones too, and what is left of a
    cooldown, if that is no more than the new one.

    Source: torch's `ReduceLROnPlateau`, with `min_lr` and `eps` of the rate where these are of its factor.

    >>> from gradus.schedules import Constant, warmup
    >>> (warmup(500) >> Constant()) * Plateau(patience=3)
    (Linear(500, start=0.0, end=1.0) >> Constant()) * Plateau(patience=3)
    """

    mode: _Mode = "min"
    factor: UnitInside = 0.1
    patience: _Count = 10
    threshold: NonNegative = 1e-4
    threshold_mode: _ThresholdMode = "rel"
    cooldown: _Count = 0
    min_factor: NonNegative = 0.0
    eps: NonNegative = 1e-8

    def initial(self) -> State:
        return {"factor": 1.0, "best": None, "bad": 0, "cooling": 0}

    def observed(self, state: State, metric: float) -> State:
        better = self._improves(metric, state["best"])
        best = metric if better else state["best"]
        cooling = max(state["cooling"] - 1, 0)
        bad = 0 if better or state["cooling"] else state["bad"] + 1
        if bad <= self.patience:
            return {"factor": state["factor"], "best": best, "bad": bad, "cooling": cooling}
        lower = max(state["factor"] * self.factor, self.min_factor)
        factor = lower if state["factor"] - lower > self.eps else state["factor"]
        return {"factor": factor, "best": best, "bad": 0, "cooling": self.cooldown}

    def _can_be(self, name: str, value: Any) -> bool:
        return _is_number_or_none(value) if name == "best" else super()._can_be(name, value) and value >= 0

    def retuned(self, state: State, before: Any) -> State:
        if before.mode != self.mode:
            return super().retuned(state, before)
        return {**state, "cooling": min(state["cooling"], self.cooldown)}


class Greedy(MetricFactor):
    """Raise the factor while a metric improves and lower it while it doesn't: factor/f after `patience` good metrics in a
    row, factor·f after as many bad ones, between `min_factor` and `max_factor`.

    Metrics are smoothed by the mean of the last `window`. One that is no finite number is bad, and is left out of the mean.

    Args:
        mode: "min" where the metric should fall, "max" where it should rise.
        factor: f, above 0 and below 1.
        patience: how many good or bad metrics in a row change nothing.
        threshold: by how much a metric must be better than the one before.
        threshold_mode: "rel" or "abs".
        window: how many metrics are averaged, 1 or more.
        min_factor: the lowest factor.
        max_factor: the highest factor, 1 or more.

    A saved one that goes on with other parameters keeps the factor that it has reached, between the new bounds; unless
    `mode` has changed, it keeps what it has seen too, as much as the new `window` takes.

    Source: Subramanian, Krishnamoorthy and Murthy, Dynamic Learning Rate Scheduling based on Loss Changes Leads to Faster
    Convergence, 2025 (arXiv:2512.14527), algorithm 1: the rate is divided by F where the loss falls and multiplied by it
    where it doesn't; patience, window and bounds as its section 3 adds them.

    >>> greedy = Greedy(patience=0, factor=0.5, max_factor=4.0)
    >>> state = greedy.initial()
    >>> for loss in (1.0, 0.9, 0.8, 0.85):
    ...     state = greedy.observed(state, loss)
    >>> state["factor"]
    2.0
    """

    mode: _Mode = "min"
    factor: UnitInside = 0.95
    patience: _Count = 10
    threshold: NonNegative = 1e-4
    threshold_mode: _ThresholdMode = "rel"
    window: Annotated[int, partial(whole, least=1, most=2**53)] = 1
    min_factor: NonNegative = 1e-3
    max_factor: AtLeastOne = 10.0

    def initial(self) -> State:
        return {"factor": 1.0, "seen": [], "before": None, "good": 0, "bad": 0}

    def observed(self, state: State, metric: float) -> State:
        seen = list(filter(math.isfinite, [*state["seen"], metric]))[-self.window :]
        smooth = math.fsum(one / len(seen) for one in seen) if math.isfinite(metric) else math.nan
        if state["before"] is None and seen:
            return {**state, "seen": seen, "before": smooth}
        better = self._improves(smooth, state["before"])
        good, bad = (state["good"] + 1, 0) if better else (0, state["bad"] + 1)
        factor = state["factor"]
        if good > self.patience:
            factor, good = min(factor / self.factor, self.max_factor), 0
        elif bad > self.patience:
            factor, bad = max(factor * self.factor, self.min_factor), 0
        before = state["before"] if math.isnan(smooth) else smooth
        return {"factor": factor, "seen": seen, "before": before, "good": good, "bad": bad}

    def _can_be(self, name: str, value: Any) -> bool:
        if name == "before":
            return _is_number_or_none(value)
        if name == "seen":
            return isinstance(value, list) and all(map(_is_number, value))
        return super()._can_be(name, value) and value >= 0

    def retuned(self, state: State, before: Any) -> State:
        reached = min(max(state["factor"], self.min_factor), self.max_factor)
        kept = state if before.mode == self.mode else self.initial()
        return {**kept, "factor": reached, "seen": kept["seen"][-self.window :]}


def _is_number(value: Any) -> bool:
    """Whether this is one that a float can hold, infinite ones included."""
    whole = type(value) is int and abs(value) <= sys.float_info.max
    return whole or (isinstance(value, float) and not math.isnan(value))


def _is_number_or_none(value: Any) -> bool:
    return value is None or _is_number(value)


def factors_of(schedule: Schedule) -> tuple[MetricFactor, ...]:
    """The metric-driven factors of a schedule: members of its outermost product."""
    if isinstance(schedule, Absolute):
        return factors_of(schedule.schedule)
    members = schedule.members if isinstance(schedule, Product) else (schedule,)
    return tuple(member for member in members if isinstance(member, MetricFactor))
