"""The schedules that everything else is composed of.

A leaf with a length n goes from `start` at t = 0 to `end` at t = n and holds `end` after; the others go on for ever.
"""

import math
from collections.abc import Callable
from itertools import count, pairwise
from typing import Annotated, Any, ClassVar

from gradus.checks import NonNegative, Positive, Real, UnitBelowOne, number, one_of, shown
from gradus.errors import InvalidInput
from gradus.names import imported
from gradus.schedules.evaluation import SCALARS, between
from gradus.schedules.fields import Length, Milestones, Period, Points
from gradus.schedules.json import importable_name
from gradus.schedules.schedule import Schedule
from gradus.schedules.spans import Span

__all__ = [
    "Constant",
    "Cosine",
    "Exponential",
    "InverseSqrt",
    "Lambda",
    "Linear",
    "Logarithmic",
    "MultiStep",
    "Piecewise",
    "Polynomial",
    "PowerLaw",
    "RAdamWarmup",
    "Rex",
    "Step",
    "Tanh",
]


class Constant(Schedule):
    """Always the same: η(t) = value.

    Args:
        value: a finite number.

    >>> Constant(0.3)(10**12)
    0.3
    """

    value: Real = 1.0

    def at(self, t: Any, ops: Any) -> Any:
        return ops.full(t, self.value)


class Linear(Schedule):
    """A straight line: η(t) = start + (end − start)·t/n, then `end`.

    Args:
        length: n, in steps or as a span.
        start: the value at step 0.
        end: the value from step n on.

    >>> [Linear(4)(t) for t in range(6)]
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """

    length: Length
    start: Real = 1.0
    end: Real = 0.0

    def at(self, t: Any, ops: Any) -> Any:
        return between(self.start, self.end, ops.progress(t, self.length))


class Cosine(Schedule):
    """Half a wave: η(t) = end + (start − end)·((1 + cos(π·(t/n)^k))/2)^power, then `end`.

    Args:
        length: n, in steps or as a span.
        start: the value at step 0.
        end: the value from step n on.
        k: of k-decay, above 0; more keeps it high for longer.
        power: above 0; more falls earlier.

    Source: Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017, eq. 5; k: Zhang and Li,
    k-decay: A New Method for Learning Rate Schedule, 2020.

    >>> [round(Cosine(4)(t), 3) for t in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """

    length: Length
    start: Real = 1.0
    end: Real = 0.0
    k: Positive = 1.0
    power: Positive = 1.0

    def at(self, t: Any, ops: Any) -> Any:
        wave = (1 + ops.cos(math.pi * ops.progress(t, self.length) ** self.k)) * 0.5
        return between(self.end, self.start, wave**self.power)


class Polynomial(Schedule):
    """A power of what is left: η(t) = end + (start − end)·(1 − (t/n)^k)^power, then `end`.

    Args:
        length: n, in steps or as a span.
        start: the value at step 0.
        end: the value from step n on.
        power: above 0; 1 is a straight line, more falls early, less falls late.
        k: of k-decay, above 0; more keeps it high for longer. With ½ it is the cooldown 1 − √(t/n).

    Source: k: Zhang and Li, k-decay: A New Method for Learning Rate Schedule, 2020; 1 − √: Hägele et al., Scaling Laws and
    Compute-Optimal Training Beyond Fixed Training Durations, 2024.

    >>> [Polynomial(4, power=2)(t) for t in range(5)]
    [1.0, 0.5625, 0.25, 0.0625, 0.0]
    >>> [round(Polynomial(4, k=0.5)(t), 3) for t in range(5)]
    [1.0, 0.5, 0.293, 0.134, 0.0]
    """

    length: Length
    start: Real = 1.0
    end: Real = 0.0
    power: Positive = 1.0
    k: Positive = 1.0

    def at(self, t: Any, ops: Any) -> Any:
        return between(self.end, self.start, (1 - ops.progress(t, self.length) ** self.k) ** self.power)


class Tanh(Schedule):
    """A hyperbolic tangent: η(t) = end + (start − end)·(tanh high − tanh x)/(tanh high − tanh low), then `end`.

    x goes from `low` to `high` in a straight line. The paper has η = start·(1 − tanh x)/2, which starts and ends a little
    off its ends; this one is scaled to reach both.

    Args:
        length: n, in steps or as a span.
        start: the value at step 0.
        end: the value from step n on.
        low: x at step 0; the lower, the longer it stays at its start.
        high: x at step n, above `low`; the higher, the longer it stays at its end.

    Raises:
        InvalidInput: `low` and `high` so near to each other, or so far from 0, that the tangent doesn't change between them.

    Source: Hsueh, Li and Wu, Stochastic Gradient Descent with Hyperbolic-Tangent Decay, WACV 2019.

    >>> [round(Tanh(4)(t), 3) for t in range(5)]
    [1.0, 0.999, 0.952, 0.18, 0.0]
    """

    length: Length
    start: Real = 1.0
    end: Real = 0.0
    low: Real = -6.0
    high: Real = 3.0

    def validate(self) -> None:
        if not math.tanh(self.low) < math.tanh(self.high):
            raise InvalidInput(
                f"Tanh needs low < high, and both near enough to 0 for the tangent to change between them "
                f"(such as -6 and 3); got low={self.low}, high={self.high}"
            )

    def at(self, t: Any, ops: Any) -> Any:
        top, bottom = math.tanh(self.high), math.tanh(self.low)
        x = between(self.low, self.high, ops.progress(t, self.length))
        return between(self.end, self.start, (top - ops.tanh(x)) / (top - bottom))


class Rex(Schedule):
    """A reflected hyperbola: η(t) = end + (start − end)·(1 − t/n)/(1 − d·t/n), then `end`.

    Args:
        length: n, in steps or as a span.
        start: the value at step 0.
        end: the value from step n on.
        d: how much of it is held back to the end, from 0 (a straight line) to below 1; ½ is the paper's.

    Source: Chen, Wolfe and Kyrillidis, REX: Revisiting Budgeted Training with an Improved Schedule, MLSys 2022.

    >>> [round(Rex(4)(t), 3) for t in range(5)]
    [1.0, 0.857, 0.667, 0.4, 0.0]
    """

    length: Length
    start: Real = 1.0
    end: Real = 0.0
    d: UnitBelowOne = 0.5

    def at(self, t: Any, ops: Any) -> Any:
        done = ops.progress(t, self.length)
        return between(self.end, self.start, (1 - done) / (1 - self.d * done))


class Logarithmic(Schedule):
    """A logarithm of the time: η(t) = start + (end − start)·ln(1 + t)/ln(1 + n), then `end`. It is quick at first.

    Args:
        length: n, in steps or as a span.
        start: the value at step 0.
        end: the value from step n on.

    Source: DeepSpeed's `WarmupLR` with `warmup_type="log"`, whose `warmup_num_steps` is n + 1.

    >>> [round(Logarithmic(3)(t), 3) for t in range(5)]
    [1.0, 0.5, 0.208, 0.0, 0.0]
    """

    length: Length
    start: Real = 1.0
    end: Real = 0.0

    def at(self, t: Any, ops: Any) -> Any:
        n: Any = self.length
        done = ops.progress(t, n)
        if n:
            done = ops.log1p(n * done) / ops.log1p(ops.full(t, 1.0) * n)
        return between(self.start, self.end, done)


class Exponential(Schedule):
    """The same factor over and over, down to a floor: η(t) = max(floor, start·gamma^(t/every)).

    Args:
        gamma: the factor, 0 or more.
        start: the value at step 0.
        floor: the value it never falls below.
        every: in how many steps (or which span) the factor is reached once.

    >>> [round(Exponential(0.5, floor=0.2)(t), 3) for t in range(4)]
    [1.0, 0.5, 0.25, 0.2]
    """

    gamma: NonNegative
    start: Real = 1.0
    floor: Real = 0.0
    every: Period = 1

    def at(self, t: Any, ops: Any) -> Any:
        value = self.start * ops.power(self.gamma, ops.real(t) / self.every)
        return ops.maximum(value, ops.full(t, self.floor))


class Step(Schedule):
    """A staircase: η(t) = start·gamma^⌊t/every⌋.

    Args:
        every: the length of a stair, in steps or as a span.
        gamma: the factor from one stair to the next, 0 or more.
        start: the value of the first stair.

    >>> [Step(2, gamma=0.5)(t) for t in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """

    every: Period
    gamma: NonNegative = 0.1
    start: Real = 1.0

    def at(self, t: Any, ops: Any) -> Any:
        return self.start * ops.power(self.gamma, t // self.every)


class MultiStep(Schedule):
    """A staircase with stairs of its own: η(t) = start·gamma^(how many milestones aren't after t).

    Args:
        milestones: the steps (or spans) from which the next stair holds, in order; one named twice counts twice.
        gamma: the factor from one stair to the next, 0 or more.
        start: the value of the first stair.

    >>> [MultiStep((2, 3), gamma=0.5)(t) for t in range(5)]
    [1.0, 1.0, 0.5, 0.25, 0.25]
    """

    milestones: Milestones
    gamma: NonNegative = 0.1
    start: Real = 1.0

    def validate(self) -> None:
        _require_order(self, self.milestones, strict=False)

    @property
    def length(self) -> int | Span:
        return self.milestones[-1] if self.milestones else 0

    def at(self, t: Any, ops: Any) -> Any:
        return self.start * ops.power(self.gamma, ops.count(t, self.milestones))


class Piecewise(Schedule):
    """Through given points: the last point's value, or a line or half a wave from each point to the next.

    Before the first point it has the first value, after the last one the last.

    Args:
        points: pairs (step or span, value), in the order of their steps.
        interpolation: "constant", "linear" or "cosine".

    >>> [Piecewise(((0, 1.0), (2, 0.5)), "linear")(t) for t in range(4)]
    [1.0, 0.75, 0.5, 0.5]
    """

    points: Points
    interpolation: Annotated[str, one_of("constant", "linear", "cosine")] = "constant"

    _starts: ClassVar[tuple[int, ...]]
    _pieces: ClassVar[tuple[Schedule, ...]]

    def validate(self) -> None:
        steps: tuple[Any, ...] = tuple(step for step, _ in self.points)
        values = [value for _, value in self.points]
        _require_order(self, steps, strict=True)
        lengths = [after - before for before, after in pairwise(steps)]
        pieces = [self._piece(*piece) for piece in zip(lengths, values, values[1:], strict=False)]
        object.__setattr__(self, "_starts", (0, *steps))
        object.__setattr__(self, "_pieces", (Constant(values[0]), *pieces, Constant(values[-1])))

    def _piece(self, length: int, start: float, end: float) -> Schedule:
        if self.interpolation == "constant":
            return Constant(start)
        return (Linear if self.interpolation == "linear" else Cosine)(length, start, end)

    @property
    def length(self) -> int | Span:
        return self.points[-1][0]

    def at(self, t: Any, ops: Any) -> Any:
        return ops.pieces(t, self._starts, self._pieces)


def _require_order(owner: Schedule, steps: tuple[Any, ...], *, strict: bool) -> None:
    for before, after in pairwise(steps):
        if after < before or (strict and after == before):
            raise InvalidInput(f"the steps of {owner!r} must come in order; {after} follows {before}")


class PowerLaw(Schedule):
    """A power of the time: η(t) = start·(1 + t/timescale)^−exponent.

    With exponent 1 it is the inverse time decay, with ½ `InverseSqrt`. A time scale between two steps is a stretch:
    `PowerLaw(1).stretch(2.5)`.

    Args:
        exponent: 0 or more.
        timescale: the steps (or span) after which it has fallen to start·2^−exponent.
        start: the value at step 0.

    Source: Robbins and Monro, A Stochastic Approximation Method, 1951 (exponent 1); Shen et al., Power Scheduler, 2024.

    >>> [round(PowerLaw(1, timescale=2)(t), 3) for t in range(4)]
    [1.0, 0.667, 0.5, 0.4]
    """

    exponent: NonNegative
    timescale: Period = 1
    start: Real = 1.0

    def at(self, t: Any, ops: Any) -> Any:
        return self.start * (1 + ops.real(t) / self.timescale) ** -self.exponent


class InverseSqrt(Schedule):
    """One over the square root: η(t) = start / √(1 + t/timescale).

    Args:
        timescale: the steps (or span) after which it has fallen to start/√2.
        start: the value at step 0.

    Source: Vaswani et al., Attention Is All You Need, 2017, section 5.3 (its decay); with timescale 1, start·(t+1)^−½.

    >>> InverseSqrt()(99)
    0.1
    """

    timescale: Period = 1
    start: Real = 1.0

    exponent: ClassVar[float] = 0.5

    def at(self, t: Any, ops: Any) -> Any:
        return PowerLaw.at(self, t, ops)  # type: ignore[arg-type]  # it has the fields, one of them for the class


class RAdamWarmup(Schedule):
    """RAdam's variance rectification as a warmup: η(t) = √((ρ − 4)(ρ − 2)ρ∞ / ((ρ∞ − 4)(ρ∞ − 2)ρ)).

    Here ρ∞ = 2/(1 − beta2) − 1 and ρ = ρ∞ − 2s·beta2^s/(1 − beta2^s), with s = t + s₀ and s₀ the first s for which ρ > 4;
    before it RAdam takes unscaled steps, which no factor of a rate can be. It rises to 1 and never ends.

    Args:
        beta2: Adam's second coefficient, above 0.6 (below it nothing needs rectifying) and below 1.

    Source: Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, ICLR 2020, algorithm 2; as a warmup: Ma and
    Yarats, On the Adequacy of Untuned Warmup for Adaptive Optimization, AAAI 2021.

    >>> [round(RAdamWarmup()(t), 3) for t in (0, 10, 1000, 10**6)]
    [0.017, 0.069, 0.647, 1.0]
    """

    beta2: Annotated[float, number("a number above 0.6 and below 1", lambda x: 0.6 < x < 1)] = 0.999

    _longest: ClassVar[float]  # ρ∞
    _first: ClassVar[int]  # s₀

    def validate(self) -> None:
        longest = 2 / (1 - self.beta2) - 1
        first = next(s for s in count(1) if self._missing_length(s, SCALARS) < longest - 4)
        object.__setattr__(self, "_longest", longest)
        object.__setattr__(self, "_first", first)

    def _missing_length(self, s: Any, ops: Any) -> Any:
        """ρ∞ − ρ at update s, without a power of beta2 to cancel against 1."""
        rate = -math.log(self.beta2)
        s = ops.minimum(ops.real(s), ops.full(s, 40 / rate))  # nothing is missing from there on, to double precision
        return 2 * s / ops.expm1(s * rate)

    def at(self, t: Any, ops: Any) -> Any:
        missing, longest = self._missing_length(t + self._first, ops), self._longest
        return ops.sqrt((1 - missing / (longest - 4)) * (1 - missing / (longest - 2)) / (1 - missing / longest))


class Lambda(Schedule):
    """Whatever a Python function says: η(t) = function(t).

    Args:
        function: takes the step and gives a number; or its name, "package.module:function", to be imported from the current
            folder or Python's path. A function without such a name (a bare `lambda`) works and can't be saved. Over an
            array it is called once an element, but for a JAX tracer, which it is given whole.

    Raises:
        InvalidInput: the name can't be imported, or what it names isn't callable.

    >>> Lambda(lambda t: 0.5**t)(3)
    0.125
    >>> Lambda("math:sqrt")
    Lambda('math:sqrt')
    """

    function: Annotated[Callable[[Any], float], lambda what, value: _imported(what, value)]

    _imports: ClassVar[bool] = True

    def at(self, t: Any, ops: Any) -> Any:
        return ops.each(self.function, t)

    def __repr__(self) -> str:
        name = importable_name(self.function)
        return f"Lambda({name!r})" if name else f"Lambda({self.function!r})"

    def _saved_fields(self) -> dict[str, str]:
        name = importable_name(self.function)
        if name is None:
            raise InvalidInput(
                f"{self.function!r} can't be saved: nothing can be imported by its name; "
                f"define it with `def` at the top level of a module"
            )
        return {"function": name}


def _imported(what: str, value: Any) -> Callable[[Any], float]:
    if isinstance(value, str):
        value = imported(value, what)
    if not callable(value):
        raise InvalidInput(f"{what} must be callable; got {shown(value)}")
    return value  # type: ignore[no-any-return]  # what it returns can't be known before it is called
