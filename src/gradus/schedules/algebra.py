"""The algebra of schedules: every composition of schedules is a schedule again, to any depth.

Composites hold members (`a >> b`, `a * b`); wrappers hold one schedule and change its clock (`a.delay(5)`).
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import reduce
from typing import Annotated, Any, ClassVar, cast

from gradus.checks import Positive, one_of
from gradus.errors import InvalidInput
from gradus.schedules.evaluation import SCALARS
from gradus.schedules.fields import PLAIN, Length, Period, RepeatCount
from gradus.schedules.schedule import KINDS, Schedule
from gradus.schedules.spans import LENGTH_LIMIT, Span, Units

__all__ = [
    "Absolute",
    "After",
    "Delay",
    "Difference",
    "Maximum",
    "Minimum",
    "Power",
    "Product",
    "Quotient",
    "Repeat",
    "Sequence",
    "Skip",
    "Staircase",
    "Stretch",
    "Sum",
    "Take",
]


# The checks of members


def _outermost(what: str, value: Any) -> Schedule:
    if isinstance(value, Absolute):
        raise InvalidInput(f"absolute(...) says how a whole schedule is applied, so it goes outermost; {what} is {value!r}")
    if not isinstance(value, Schedule):
        raise InvalidInput(f"{what} must be a schedule; got {value!r}")
    return value


def _member(what: str, value: Any) -> Schedule:
    member = _outermost(what, value)
    if member._follows_metric():
        raise InvalidInput(f"a factor that follows a metric stands in the outermost product; {what} is {member!r}")
    return member


def _factors(what: str, value: Any) -> tuple[Schedule, ...]:
    """The members of a product, among which factors that follow a metric may be."""
    return _some(what, (_factor(f"each of {what}", one) for one in value))


def _factor(what: str, value: Any) -> Schedule:
    return _outermost(what, value) if getattr(value, "_metric_driven", False) else _member(what, value)


def _some(what: str, members: Iterable[Schedule]) -> tuple[Schedule, ...]:
    some = tuple(members)
    if not some:
        raise InvalidInput(f"{what} must hold at least one schedule; got none")
    return some


def _ending(what: str, value: Any) -> Schedule:
    member = _member(what, value)
    if member.is_endless:
        raise InvalidInput(f"{what} must have an end, and {member!r} has none; give it one: .take(steps)")
    return member


def _members(what: str, value: Any) -> tuple[Schedule, ...]:
    return _some(what, (_member(f"each of {what}", member) for member in value))


def _phases(what: str, value: Any) -> tuple[Schedule, ...]:
    phases = _members(what, value)
    for phase in phases[:-1]:
        if phase.is_endless:
            raise InvalidInput(f"{phase!r} has no end, so nothing can follow it; say how long it lasts: .take(steps)")
    return phases


PLAIN[Schedule] = _member
Member = Annotated[Schedule, _member]
EndingMember = Annotated[Schedule, _ending]
Members = Annotated[tuple[Schedule, ...], _members]
Factors = Annotated[tuple[Schedule, ...], _factors]
Outermost = Annotated[Schedule, _outermost]
Phases = Annotated[tuple[Schedule, ...], _phases]


class _Node(Schedule):
    """A schedule made of others; its length follows from theirs."""

    def _extent(self, count: Callable[[int | Span], float]) -> float | None:
        raise NotImplementedError

    @property
    def length(self) -> int | None:
        self._require_concrete()
        return cast("int | None", self._extent(_as_it_is))

    @property
    def is_endless(self) -> bool:
        raise NotImplementedError


def _as_it_is(length: Any) -> Any:
    return length


class _Composite(_Node):
    members: Members

    _symbol: ClassVar[str]  # between the members as they are printed, where it isn't a call
    _flat: ClassVar[int | None] = None  # how many members of its own kind are flattened: (a >> b) >> c equals a >> (b >> c)

    def __post_init__(self) -> None:
        if isinstance(self.members, (tuple, list)):
            own, others = self.members[: self._flat], self.members[len(self.members[: self._flat]) :]
            flat = [inner for one in own for inner in (one.members if type(one) is type(self) else (one,))]
            object.__setattr__(self, "members", (*flat, *others))
        super().__post_init__()
        if hasattr(self, "_symbol") and len(self.members) < 2:
            raise InvalidInput(
                f"{type(self).__name__} needs two members at least; got {self.members[0]!r} alone, which will do"
            )

    def __repr__(self) -> str:
        return f" {self._symbol} ".join(member._parenthesized(self._precedence + 1) for member in self.members)


class Sequence(_Composite):
    """`a >> b`: each member over its own length, then the next from its own 0; the last one goes on past its end.

    >>> from gradus.schedules import Constant, Linear
    >>> schedule = Linear(10, start=0.0, end=1.0) >> Constant(0.5)
    >>> [schedule(t) for t in (0, 5, 9, 10)]
    [0.0, 0.5, 0.9, 0.5]
    """

    members: Phases

    _symbol: ClassVar[str] = ">>"
    _precedence: ClassVar[int] = 1
    _starts: ClassVar[tuple[int, ...]]

    def validate(self) -> None:
        starts = [0]
        for phase in self.members[:-1]:
            starts.append(starts[-1] + len(phase))
        object.__setattr__(self, "_starts", tuple(starts))

    @property
    def starts(self) -> tuple[int, ...]:
        """The step at which each member begins."""
        self._require_concrete()
        return self._starts

    def at(self, t: Any, ops: Any) -> Any:
        return ops.pieces(t, self._starts, self.members)

    @property
    def is_endless(self) -> bool:
        return self.members[-1].is_endless

    def _extent(self, count: Callable[[int | Span], float]) -> float | None:
        return _none_or(sum, [member._extent(count) for member in self.members])

    def _resolved(self, units: Units) -> Schedule:
        """The phases tile the run: each begins at the whole step that is nearest to its true beginning.

        So two halves of 3 steps take 2 and 1. What follows the phase with `rest()` is laid from the end of the run; that
        one gets what is left, cut or held where it can't fill it (three whole repetitions in 10 steps).
        """
        waiting = [index for index, phase in enumerate(self.members) if phase._takes_rest()]
        if len(waiting) > 1:
            raise InvalidInput(f"only one phase of a sequence can take rest(); here {len(waiting)} do: {self!r}")
        if not waiting:
            return Sequence(tuple(_laid(self.members, units)))
        (index,) = waiting
        before, after = self.members[:index], self.members[index + 1 :]
        last = sum(phase._extent(units.count) or 0.0 for phase in after)
        whole = math.floor(last + 0.5)
        start, end = _laid(before, units), _laid(after, units.with_carry(whole - last).with_budget(whole))
        left = units.less(sum(len(phase) for phase in (*start, *end) if not phase.is_endless), repr(self)).with_carry(0.0)
        middle = self.members[index]._resolved(left)
        if not middle.is_endless and len(middle) != left.budget and (after or len(middle) < (left.budget or 0)):
            middle = middle.take(left.budget or 0)
        return Sequence((*start, middle, *end))


def _laid(phases: tuple[Schedule, ...], units: Units) -> list[Schedule]:
    """Phases one after the other, none of which takes what the others leave."""
    laid = []
    for phase in phases:
        resolved = phase._resolved(units)
        laid.append(resolved)
        if not resolved.is_endless:
            units = units.with_carry(units.carry + (phase._extent(units.count) or 0.0) - len(resolved))
            units = units.with_budget(None if units.budget is None else max(units.budget - len(resolved), 0))
    return laid


def _none_or(combine: Callable[[Any], Any], lengths: list[float | None]) -> float | None:
    """Lengths combined into one; None if one of them has no end."""
    return None if None in lengths else combine(lengths)


class _Pointwise(_Composite):
    """Members that act at the same step. It lasts as long as its longest member; constants don't count."""

    def _varying(self) -> list[Schedule]:
        return [member for member in self.members if type(member) is not KINDS["Constant"] and not member._metric_driven]

    @property
    def is_endless(self) -> bool:
        varying = self._varying()
        return not varying or any(member.is_endless for member in varying)

    def _extent(self, count: Callable[[int | Span], float]) -> float | None:
        return _none_or(max, [member._extent(count) for member in self._varying()] or [None])

    def _combine(self, ops: Any, a: Any, b: Any) -> Any:
        raise NotImplementedError

    def at(self, t: Any, ops: Any) -> Any:
        return reduce(lambda a, b: self._combine(ops, a, b), (member.at(t, ops) for member in self.members))


class Product(_Pointwise):
    """`a * b`: the product of the values at each step. Factors that follow a metric may be among its members."""

    members: Factors

    _symbol: ClassVar[str] = "*"
    _precedence: ClassVar[int] = 3

    def _combine(self, ops: Any, a: Any, b: Any) -> Any:  # noqa: ARG002 - Python's own operator will do
        return a * b


class Sum(_Pointwise):
    """`a + b`: the sum of the values at each step."""

    _symbol: ClassVar[str] = "+"
    _precedence: ClassVar[int] = 2

    def _combine(self, ops: Any, a: Any, b: Any) -> Any:  # noqa: ARG002 - Python's own operator will do
        return a + b


class Difference(_Pointwise):
    """`a - b`: the difference of the values at each step; `a - b - c` takes c from it as well."""

    _symbol: ClassVar[str] = "-"
    _precedence: ClassVar[int] = 2
    _flat: ClassVar[int | None] = 1

    def _combine(self, ops: Any, a: Any, b: Any) -> Any:  # noqa: ARG002 - Python's own operator will do
        return a - b


class Quotient(_Pointwise):
    """`a / b`: the quotient of the values at each step. A step at which b is 0 is refused when it is asked for.

    >>> from gradus.schedules import Linear
    >>> half = Linear(4, start=1.0, end=3.0) / 2
    >>> half(0), half(4)
    (0.5, 1.5)
    """

    _symbol: ClassVar[str] = "/"
    _precedence: ClassVar[int] = 3
    _flat: ClassVar[int | None] = 1

    def validate(self) -> None:
        for divisor in self.members[1:]:
            if type(divisor) is KINDS["Constant"] and divisor.at(0, SCALARS) == 0:
                raise InvalidInput(f"nothing can be divided by 0; got {self!r}")

    def _combine(self, ops: Any, a: Any, b: Any) -> Any:
        return ops.divided(a, b)


class Power(_Pointwise):
    """`a ** b`: a to the power of b at each step. A step at which it is no finite number is refused when asked for."""

    _symbol: ClassVar[str] = "**"
    _precedence: ClassVar[int] = 4
    _flat: ClassVar[int | None] = 0

    def validate(self) -> None:
        if len(self.members) != 2:
            raise InvalidInput(f"Power needs two members, base and exponent; got {len(self.members)}")

    def _combine(self, ops: Any, a: Any, b: Any) -> Any:
        return ops.raised(a, b)


class Minimum(_Pointwise):
    """`min(a, b)`: the lowest value at each step."""

    def __repr__(self) -> str:
        return f"min({', '.join(map(repr, self.members))})"

    def _combine(self, ops: Any, a: Any, b: Any) -> Any:
        return ops.minimum(a, b)


class Maximum(_Pointwise):
    """`max(a, b)`: the highest value at each step."""

    def __repr__(self) -> str:
        return f"max({', '.join(map(repr, self.members))})"

    def _combine(self, ops: Any, a: Any, b: Any) -> Any:
        return ops.maximum(a, b)


class _Wrapper(_Node):
    """One schedule seen through a change of its clock; printed as a method call on it."""

    schedule: Member

    @property
    def is_endless(self) -> bool:
        return bool(self.schedule.is_endless)

    def __repr__(self) -> str:
        argument = getattr(self, fields(cast(Any, self))[1].name)
        owner, method = self.schedule._parenthesized(5), type(self).__name__.lower()
        return f"{owner}.{method}({'' if argument is None else repr(argument)})"


class Repeat(_Wrapper):
    """`a.repeat(times)`: a(t mod length), `times` times in all or for ever; its end value is held after the last time."""

    schedule: EndingMember
    times: RepeatCount = None

    def validate(self) -> None:
        if not self.schedule.length:
            raise InvalidInput(f"a schedule of no steps can't be repeated: {self.schedule!r}")

    @property
    def is_endless(self) -> bool:
        return self.times is None

    def _extent(self, count: Callable[[int | Span], float]) -> float | None:
        times = self.times
        return None if times is None else _none_or(lambda lengths: lengths[0] * times, [self.schedule._extent(count)])

    def at(self, t: Any, ops: Any) -> Any:
        period = len(self.schedule)
        position = t % period
        if self.times is not None:
            position = ops.where(t < period * self.times, position, period)
        return self.schedule.at(position, ops)

    def _resolved(self, units: Units) -> Schedule:
        return Repeat(self.schedule._resolved(units.shared(self.times or 1)), self.times)


class Delay(_Wrapper):
    """`a.delay(steps)`: a(max(t - steps, 0))."""

    schedule: Member
    steps: Length

    def _extent(self, count: Callable[[int | Span], float]) -> float | None:
        return _none_or(sum, [self.schedule._extent(count), count(self.steps)])

    def at(self, t: Any, ops: Any) -> Any:
        return self.schedule.at(ops.clip(t - self.steps, 0, None), ops)

    def _resolved(self, units: Units) -> Schedule:
        if isinstance(self.steps, Span) and self.steps.unit == "rest":
            return self._resolved_to_the_end(units.with_carry(0.0))
        steps = _steps_of(self.steps, units)
        later = units.less(steps, repr(self)).with_carry(units.carry + units.count(self.steps) - steps)
        return Delay(self.schedule._resolved(later), steps)

    def _resolved_to_the_end(self, units: Units) -> Schedule:
        if self.schedule._takes_rest():
            raise InvalidInput(f"only one of a delay and what it delays can take rest(); here both do: {self!r}")
        inner = self.schedule._resolved(units)
        left = units if inner.is_endless else units.less(len(inner), repr(self))
        return Delay(inner, _steps_of(self.steps, left))


def _steps_of(steps: int | Span, units: Units) -> int:
    return steps.steps(units) if isinstance(steps, Span) else steps


class Stretch(_Wrapper):
    """`a.stretch(factor)`: a(t / factor), over `factor` times the steps (rounded up to whole ones)."""

    schedule: Member
    factor: Positive

    def validate(self) -> None:
        if not self.is_endless and len(self.schedule) * self.factor > LENGTH_LIMIT:
            raise InvalidInput(f"a schedule can't be stretched over more than 2^53 steps; got {self!r}")

    def _extent(self, count: Callable[[int | Span], float]) -> float | None:
        length = self.schedule._extent(count)
        if length is None:
            return None
        return math.ceil(length * self.factor) if isinstance(length, int) else length * self.factor

    def at(self, t: Any, ops: Any) -> Any:
        return self.schedule.at(ops.real(t) / self.factor, ops)

    def _resolved(self, units: Units) -> Schedule:
        return Stretch(self.schedule._resolved(units.slowed(self.factor)), self.factor)


class Skip(_Wrapper):
    """`a.skip(steps)`: a(t + steps)."""

    schedule: Member
    steps: Length

    def _extent(self, count: Callable[[int | Span], float]) -> float | None:
        return _none_or(lambda lengths: max(lengths[0] - count(self.steps), 0), [self.schedule._extent(count)])

    def at(self, t: Any, ops: Any) -> Any:
        return self.schedule.at(t + self.steps, ops)

    def _resolved(self, units: Units) -> Schedule:
        steps = _steps_of(self.steps, units.with_carry(0.0))
        longer = units.with_budget(None if units.budget is None else units.budget + steps)
        return Skip(self.schedule._resolved(longer), steps)


class Staircase(_Wrapper):
    """`a.staircase(every)`: a(every·⌊t/every⌋)."""

    schedule: Member
    every: Period

    def _extent(self, count: Callable[[int | Span], float]) -> float | None:
        every = count(self.every)  # up to a whole stair
        return _none_or(lambda lengths: -(-lengths[0] // every) * every, [self.schedule._extent(count)])

    def at(self, t: Any, ops: Any) -> Any:
        return self.schedule.at(t // self.every * self.every, ops)


class Take(_Wrapper):
    """`a.take(steps)`: a(min(t, steps))."""

    schedule: Member
    steps: Length

    @property
    def is_endless(self) -> bool:
        return False

    def _extent(self, count: Callable[[int | Span], float]) -> float | None:
        return count(self.steps)

    def at(self, t: Any, ops: Any) -> Any:
        return self.schedule.at(ops.clip(t, 0, self.steps), ops)

    def _takes_rest(self) -> bool:
        return isinstance(self.steps, Span) and self.steps.unit == "rest"

    def _resolved(self, units: Units) -> Schedule:
        return Take(self.schedule._resolved(units), _steps_of(self.steps, units))


class After(_Wrapper):
    """`a.after("mirror")` runs back and forth for ever; `a.after("raise")` refuses steps past the end.

    A JAX tracer has no values to refuse, so under `jax.jit` the last value is held instead.
    """

    schedule: EndingMember
    mode: Annotated[str, one_of("mirror", "raise")]

    _end: ClassVar[int]  # the length, which a step in Python should not ask for again

    def validate(self) -> None:
        object.__setattr__(self, "_end", len(self.schedule))

    @property
    def is_endless(self) -> bool:
        return self.mode == "mirror"

    def _extent(self, count: Callable[[int | Span], float]) -> float | None:
        return None if self.is_endless else self.schedule._extent(count)

    def at(self, t: Any, ops: Any) -> Any:
        length = self._end
        if self.mode == "mirror" and length:
            return self.schedule.at(length - abs(length - t % (2 * length)), ops)
        if self.mode == "raise" and ops.largest(t) > length:
            raise InvalidInput(
                f"{self!r} ends at step {length}, and step {ops.largest(t):.0f} was asked for; "
                f'train no longer, or let it hold its last value: .after("hold")'
            )
        return self.schedule.at(t, ops)


class Absolute(_Wrapper):
    """`absolute(a)`: attached to an optimizer, a is the value itself and not a factor of each group's own.

    >>> from gradus.schedules import Linear, absolute
    >>> absolute(Linear(10, start=0.3, end=0.1))(5)
    0.2
    """

    schedule: Outermost

    def _extent(self, count: Callable[[int | Span], float]) -> float | None:
        length: float | None = self.schedule._extent(count)
        return length

    def at(self, t: Any, ops: Any) -> Any:
        return self.schedule.at(t, ops)

    def __repr__(self) -> str:
        return f"absolute({self.schedule!r})"
