"""Schedules that go up and down: triangles, one cycle, warm restarts."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any

from gradus.checks import AtLeastOne, Flag, Positive, Real, Unit, UnitAboveZero, is_whole, one_of, shown
from gradus.errors import InvalidInput
from gradus.schedules.evaluation import SCALARS, between
from gradus.schedules.fields import Length, MaybePeriod, Period, RepeatCount
from gradus.schedules.schedule import Schedule
from gradus.schedules.spans import Span

__all__ = ["Chebyshev", "CosineRestarts", "Cyclic", "OneCycle"]


class Cyclic(Schedule):
    """Triangles: from `low` up to `high` and back, for ever.

    With the cycle c = ⌊t/(up + down)⌋ and the height h of the triangle at t (0 at its feet, 1 at its tip),
    η(t) = low + (high − low)·h·s, where s is 1 ("triangular"), 2^−c ("triangular2") or gamma^t ("exp_range").

    Args:
        up: steps (or a span) from low to high.
        down: steps (or a span) back; as many as `up` unless given.
        low: the value at a triangle's feet.
        high: the value at the first tip.
        mode: "triangular", "triangular2" or "exp_range".
        gamma: the factor a step of "exp_range", above 0 and at most 1.

    Source: Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017, section 3.

    >>> [Cyclic(2, low=0.1, high=0.5)(t) for t in range(5)]
    [0.1, 0.3, 0.5, 0.3, 0.1]
    """

    up: Period
    down: MaybePeriod = None
    low: Real = 0.0
    high: Real = 1.0
    mode: Annotated[str, one_of("triangular", "triangular2", "exp_range")] = "triangular"
    gamma: UnitAboveZero = 1.0

    def at(self, t: Any, ops: Any) -> Any:
        up: Any = self.up
        down: Any = self.up if self.down is None else self.down
        cycle = t // (up + down)
        position = t - cycle * (up + down)
        height = ops.where(position < up, ops.real(position) / up, 1 - ops.real(position - up) / down)
        if self.mode == "triangular2":
            height = height * ops.power(0.5, cycle)
        elif self.mode == "exp_range":
            height = height * ops.power(self.gamma, t)
        return between(self.low, self.high, height)


class OneCycle(Schedule):
    """One cycle, then an end far below the start: `start` → `peak` at p = pct_start·n → `end` at n, held after.

    In three phases it returns to `start` at 2p before it falls to `end`.

    Args:
        length: n, in steps or as a span.
        start: the value at step 0.
        peak: the value at p, which may be between two steps.
        end: the value from step n on.
        pct_start: the part of the cycle spent rising, from 0 to 1 (to ½ in three phases).
        anneal: "cosine" or "linear".
        three_phase: whether to come down as symmetrically as it went up, then fall.

    Source: Smith and Topin, Super-Convergence, 2018, section 3 (three phases, linear); the two cosine phases are fastai's.

    >>> [round(OneCycle(10)(t), 3) for t in (0, 3, 10)]
    [0.04, 1.0, 0.0]
    """

    length: Length
    start: Real = 0.04
    peak: Real = 1.0
    end: Real = 4e-6
    pct_start: Unit = 0.3
    anneal: Annotated[str, one_of("cosine", "linear")] = "cosine"
    three_phase: Flag = False

    def validate(self) -> None:
        if self.three_phase and self.pct_start > 0.5:
            raise InvalidInput(f"with three_phase, pct_start must be at most 0.5: it is spent twice; got {self.pct_start}")

    def at(self, t: Any, ops: Any) -> Any:
        n: Any = self.length
        t = ops.real(t)  # the peak may be between two steps
        knots = [(0, self.start), (self.pct_start * n, self.peak), (n, self.end)]
        if self.three_phase:
            knots.insert(2, (2 * self.pct_start * n, self.start))
        value = None
        for (at, a), (until, b) in pairwise(knots):
            done = ops.progress(t - at, until - at)
            here = between(a, b, done if self.anneal == "linear" else (1 - ops.cos(math.pi * done)) * 0.5)
            value = here if value is None else ops.where(t < at, value, here)
        return value


class CosineRestarts(Schedule):
    """Cosine cycles that start again at the top: SGDR.

    Cycle i begins at step B(i) = round(n·(gᵢ − 1)/(g − 1)), with gᵢ = growthⁱ, or i·n without growth. At position k of
    its m steps, η = endᵢ + (start·decayⁱ − endᵢ)·(1 + cos(π·k/(m − 1)))/2 with endᵢ = end·end_decayⁱ, so its last step has
    the end value; with `endpoint=False` k is divided by m, as in the paper and in torch, and the end value is never reached.

    Args:
        period: n, the length of the first cycle, in steps or as a span.
        start: the value at the first cycle's start.
        end: the value at each cycle's end.
        growth: how many times longer each cycle is than the one before, 1 or more; needn't be whole.
        decay: the factor on each next cycle's start, above 0 and at most 1.
        end_decay: the factor on each next cycle's end; as much as `decay` where the lows are to shrink with their peaks.
        cycles: how many; after the last the end value is held. None goes on for ever.
        endpoint: whether a cycle's last step has the end value. A cycle of a single step has its start value.

    Source: Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017, eq. 5.

    >>> [round(CosineRestarts(3, growth=2)(t), 3) for t in range(10)]
    [1.0, 0.5, 0.0, 1.0, 0.905, 0.655, 0.345, 0.095, 0.0, 1.0]
    """

    period: Period
    start: Real = 1.0
    end: Real = 0.0
    growth: AtLeastOne = 1.0
    decay: UnitAboveZero = 1.0
    cycles: RepeatCount = None
    endpoint: Flag = True
    end_decay: UnitAboveZero = 1.0

    @property
    def length(self) -> int | Span | None:
        if self.cycles is None or isinstance(self.period, Span):
            return None if self.cycles is None else self.period
        return int(self._begin(self.cycles, SCALARS))

    def _extent(self, count: Callable[[int | Span], float]) -> float | None:
        if self.cycles is None or not isinstance(self.period, Span):
            return super()._extent(count)
        times = self.cycles if self.growth == 1 else (self.growth**self.cycles - 1) / (self.growth - 1)
        return count(self.period) * times

    def _begin(self, cycle: Any, ops: Any) -> Any:
        """The step at which a cycle begins."""
        if self.growth == 1:
            return cycle * self.period
        return ops.floor(self.period * (ops.power(self.growth, cycle) - 1) / (self.growth - 1) + 0.5)

    def _cycle(self, t: Any, ops: Any) -> Any:
        """The cycle that t is in."""
        if self.growth == 1:
            cycle = t // self.period
        else:  # solved for real numbers, then put right where rounding moved a beginning across t
            exact = ops.log1p(ops.real(t) * (self.growth - 1) / self.period) / math.log(self.growth)
            cycle = ops.floor(exact)
            cycle = ops.where(self._begin(cycle + 1, ops) <= t, cycle + 1, cycle)
            cycle = ops.where(self._begin(cycle, ops) > t, cycle - 1, cycle)
        return cycle if self.cycles is None else ops.clip(cycle, 0, self.cycles - 1)

    def at(self, t: Any, ops: Any) -> Any:
        cycle = self._cycle(t, ops)
        begin, following = self._begin(cycle, ops), self._begin(cycle + 1, ops)
        last = following - begin - 1 if self.endpoint else following - begin
        done = ops.real(t - begin) / ops.maximum(last, 1 + 0 * last)
        peak = self.start * ops.power(self.decay, cycle)
        end = self.end if self.end_decay == 1 else self.end * ops.power(self.end_decay, cycle)
        value = end + (peak - end) * (1 + ops.cos(math.pi * done)) * 0.5
        return value if self.cycles is None else ops.where(t < following, value, ops.full(t, 1.0) * end)


def _power_of_two(what: str, value: Any) -> int:
    if not is_whole(value, 1, 2**53) or value & (value - 1):
        raise InvalidInput(f"{what} must be a power of two from 1 to 2^53; got {shown(value)}")
    return int(value)


class Chebyshev(Schedule):
    """The step sizes of Chebyshev's iteration, in the fractal order that keeps it stable, over and over.

    Node k of N is 2/((high + low) − (high − low)·cos(π·(k + ½)/N)), between 1/high and 1/low. Step t has node σ(t mod N),
    where σ of 2N puts 2N − 1 − σ(j) of N after each σ(j).

    Args:
        nodes: N, a power of two.
        low: the least curvature, above 0; the longest step is 1/low.
        high: the greatest curvature; the shortest step is 1/high.

    Raises:
        InvalidInput: `low` above `high`.

    Source: Agarwal, Goel and Zhang, Acceleration via Fractal Learning Rate Schedules, ICML 2021, sections 2 and 3.

    >>> [round(Chebyshev(4)(t), 2) for t in range(5)]
    [11.61, 1.04, 2.91, 1.41, 11.61]
    """

    nodes: Annotated[int, _power_of_two]
    low: Positive = 0.05
    high: Positive = 1.0

    def validate(self) -> None:
        if self.low > self.high:
            raise InvalidInput(f"Chebyshev needs low <= high; got {self.low} and {self.high}")

    def at(self, t: Any, ops: Any) -> Any:
        t = ops.whole(t) % self.nodes
        node, levels = 0 * t, self.nodes.bit_length() - 1
        for level in range(1, levels + 1):
            second = (t >> (levels - level)) & 1
            node = ops.where(second == 1, 2**level - 1 - node, node)
        wave = ops.cos(math.pi * (ops.real(node) + 0.5) / self.nodes)
        return 2 / ((self.high + self.low) - (self.high - self.low) * wave)
