"""The schedules that everything else is composed of.

A leaf with a length n goes from `start` at t = 0 to `end` at t = n and holds `end` after; the others go on for ever.
"""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar

from gradus.errors import InvalidInput
from gradus.schedules.evaluation import between
from gradus.schedules.fields import Factor, Length, Milestones, Period, Points, Positive, Real, one_of
from gradus.schedules.schedule import Schedule
from gradus.schedules.spans import Span

__all__ = [
    "Constant",
    "Cosine",
    "Exponential",
    "InverseSqrt",
    "Lambda",
    "Linear",
    "MultiStep",
    "Piecewise",
    "Polynomial",
    "Step",
]


@dataclass(frozen=True, repr=False, eq=False)
class Constant(Schedule):
    """Always the same: η(t) = value.

    Args:
        value: a finite number.

    >>> Constant(0.3)(10**12)
    0.3
    """

    value: Real = 1.0

    length: ClassVar[None] = None

    def _at(self, t: Any, ops: Any) -> Any:
        return ops.full(t, self.value)


@dataclass(frozen=True, repr=False, eq=False)
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

    def _at(self, t: Any, ops: Any) -> Any:
        return between(self.start, self.end, ops.progress(t, self.length))


@dataclass(frozen=True, repr=False, eq=False)
class Cosine(Schedule):
    """Half a wave: η(t) = end + (start − end)·(1 + cos(π·t/n))/2, then `end`.

    Args:
        length: n, in steps or as a span.
        start: the value at step 0.
        end: the value from step n on.

    Source: Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017, eq. 5.

    >>> [round(Cosine(4)(t), 3) for t in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """

    length: Length
    start: Real = 1.0
    end: Real = 0.0

    def _at(self, t: Any, ops: Any) -> Any:
        return between(self.end, self.start, (1 + ops.cos(math.pi * ops.progress(t, self.length))) * 0.5)


@dataclass(frozen=True, repr=False, eq=False)
class Polynomial(Schedule):
    """A power of what is left: η(t) = end + (start − end)·(1 − t/n)^power, then `end`.

    Args:
        length: n, in steps or as a span.
        start: the value at step 0.
        end: the value from step n on.
        power: above 0; 1 is a straight line, more falls early, less falls late.

    >>> [Polynomial(4, power=2)(t) for t in range(5)]
    [1.0, 0.5625, 0.25, 0.0625, 0.0]
    """

    length: Length
    start: Real = 1.0
    end: Real = 0.0
    power: Positive = 1.0

    def _at(self, t: Any, ops: Any) -> Any:
        return between(self.end, self.start, (1 - ops.progress(t, self.length)) ** self.power)


@dataclass(frozen=True, repr=False, eq=False)
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

    gamma: Factor
    start: Real = 1.0
    floor: Real = 0.0
    every: Period = 1

    length: ClassVar[None] = None

    def _at(self, t: Any, ops: Any) -> Any:
        value = self.start * ops.power(self.gamma, ops.real(t) / self.every)
        return ops.maximum(value, ops.full(t, self.floor))


@dataclass(frozen=True, repr=False, eq=False)
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
    gamma: Factor = 0.1
    start: Real = 1.0

    length: ClassVar[None] = None

    def _at(self, t: Any, ops: Any) -> Any:
        return self.start * ops.power(self.gamma, t // self.every)


@dataclass(frozen=True, repr=False, eq=False)
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
    gamma: Factor = 0.1
    start: Real = 1.0

    def _settle(self) -> None:
        _require_order(self, self.milestones, strict=False)

    @property
    def length(self) -> int | Span:
        return self.milestones[-1] if self.milestones else 0

    def _at(self, t: Any, ops: Any) -> Any:
        return self.start * ops.power(self.gamma, ops.count(t, self.milestones))


@dataclass(frozen=True, repr=False, eq=False)
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

    def _settle(self) -> None:
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

    def _at(self, t: Any, ops: Any) -> Any:
        return ops.pieces(t, self._starts, self._pieces)


def _require_order(owner: Schedule, steps: tuple[Any, ...], *, strict: bool) -> None:
    for before, after in pairwise(steps):
        if after < before or (strict and after == before):
            raise InvalidInput(f"the steps of {owner!r} must come in order; {after} follows {before}")


@dataclass(frozen=True, repr=False, eq=False)
class InverseSqrt(Schedule):
    """One over the square root: η(t) = start / √(1 + t/timescale).

    Args:
        timescale: the steps (or span) after which it has fallen to start/√2.
        start: the value at step 0.

    Source: Vaswani et al., Attention Is All You Need, 2017, section 5.3 (its decay); with timescale 1, start·(t+1)^−½.

    >>> InverseSqrt(start=0.1)(99)
    0.01
    """

    timescale: Period = 1
    start: Real = 1.0

    length: ClassVar[None] = None

    def _at(self, t: Any, ops: Any) -> Any:
        return self.start / ops.sqrt(1 + ops.real(t) / self.timescale)


@dataclass(frozen=True, repr=False, eq=False)
class Lambda(Schedule):
    """Whatever a Python function says: η(t) = function(t).

    Args:
        function: takes the step and gives a number; or its name, "package.module:function", to be imported. A function
            without such a name (a bare `lambda`) works and can't be saved. Over an array it is called once an element,
            but for a JAX tracer, which it is given whole.

    Raises:
        InvalidInput: the name can't be imported, or what it names isn't callable.

    >>> Lambda(lambda t: 0.5**t)(3)
    0.125
    >>> Lambda("math:sqrt")
    Lambda('math:sqrt')
    """

    function: Annotated[Callable[[Any], float], lambda what, value: _imported(what, value)]

    length: ClassVar[None] = None
    _imports: ClassVar[bool] = True

    def _at(self, t: Any, ops: Any) -> Any:
        return ops.each(self.function, t)

    def __repr__(self) -> str:
        name = _importable_name(self.function)
        return f"Lambda({name!r})" if name else f"Lambda({self.function!r})"

    def _saved_fields(self) -> dict[str, str]:
        name = _importable_name(self.function)
        if name is None:
            raise InvalidInput(
                f"{self.function!r} can't be saved: nothing can be imported by its name; "
                f"define it with `def` at the top level of a module"
            )
        return {"function": name}


def _imported(what: str, value: Any) -> Callable[[Any], float]:
    if isinstance(value, str):
        module, _, name = value.partition(":")
        try:
            value = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise InvalidInput(f'{what} must be a function or its name, "package.module:function": {error}') from None
    if not callable(value):
        raise InvalidInput(f"{what} must be callable; got {value!r}")
    return value  # type: ignore[no-any-return]  # what it returns can't be known before it is called


def _importable_name(function: Any) -> str | None:
    """The "module:function" under which importing finds this very function again."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not name or module == "__main__":
        return None
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None
    return f"{module}:{name}" if found is function else None
