"""`Schedule` and its algebra: every composition of schedules is a schedule again, to any depth."""

import importlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields, replace
from functools import partial, reduce
from types import NoneType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np

from gradus.checks import Check, Positive, is_number, one_of, shown
from gradus.errors import InvalidInput
from gradus.names import hinting
from gradus.schedules import codec
from gradus.schedules.evaluation import SCALARS, STEP_LIMIT, clock, finished, over_arrays
from gradus.schedules.fields import PLACES, PLAIN, Length, Period, RepeatCount, check_of
from gradus.schedules.spans import LENGTH_LIMIT, Span, Units

__all__ = [
    "KINDS",
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
    "Schedule",
    "Sequence",
    "Skip",
    "Staircase",
    "Stretch",
    "Sum",
    "Take",
    "joined",
]

KINDS: dict[str, type["Schedule"]] = {}  # Gradus's own kinds by their names; others go by "module:name" in JSON and text


@dataclass_transform(frozen_default=True, eq_default=False, field_specifiers=(field,))
class Schedule:
    """A pure function of an integer step, as a value: it compares, hashes, prints, and saves as JSON.

    `schedule(t)` is the value for update `t`, counted from 0. An `int` gives a `float`; an array of integers (NumPy,
    torch, JAX) gives an array of the same kind, in float64 or the widest floats its library has there.

    Schedules compose: `a >> b` runs a, then b from its own 0; `+ - * / **` act step by step, and so do
    `gradus.schedules.min` and `max`; a number stands for a constant.

    A subclass is a new kind: its annotations are its fields, and `at` is its formula.

    Raises:
        InvalidInput: a step that is no integer, or negative, or at which the value isn't finite (a division by 0, say); a
            template that hasn't been resolved.

    >>> from gradus.schedules import Cosine, warmup
    >>> schedule = warmup(5) >> Cosine(15, end=0.03)
    >>> schedule(5), schedule(20)
    (1.0, 0.03)
    >>> schedule.length
    20
    """

    _precedence: ClassVar[int] = 5  # how tightly its printed form binds: >> 1, + and - 2, * and / 3, ** 4, a call 5
    _driven: ClassVar[bool] = False  # whether it is a factor that follows a metric, and so no function of the step alone
    __array_ufunc__: ClassVar[None] = None  # so that a NumPy number on the left leaves the operation to the schedule
    _missing: frozenset[str]  # what `resolve` must be told before this schedule can be evaluated

    if TYPE_CHECKING:  # leaves have it as a field, which a property of the base would shadow

        @property
        def length(self) -> int | Span | None:
            """The step from which it holds its last value; None where it goes on for ever."""

    _checks: ClassVar[tuple[tuple[str, Check], ...]]

    def __init_subclass__(cls, *, abstract: bool = False) -> None:
        """Make the subclass a frozen dataclass whose fields are checked; `abstract` ones are no kind of their own."""
        ours = cls.__module__.startswith("gradus.")
        if not ours:
            _refuse_overrides(cls)
        try:
            dataclass(frozen=True, repr=False, eq=False)(cls)
        except (TypeError, ValueError) as error:  # a default that can be changed, or one missing after another
            raise InvalidInput(f"{cls.__name__} can't be a schedule: {error}") from None
        cls.__init__ = hinting(cls.__init__)  # type: ignore[method-assign]  # the one that dataclass has made
        cls._checks = _checks_of(cls)
        if not ours and "at" in vars(cls):
            cls.at = over_arrays(cls.at)  # type: ignore[assignment, method-assign]
        for name in ("__repr__", "__eq__", "__hash__"):  # so a decorator of the user's, @dataclass, changes nothing
            setattr(cls, name, getattr(cls, name))
        del cls.__setattr__, cls.__delattr__  # those of the base will do
        if ours and not abstract and not cls.__name__.startswith("_"):
            KINDS[cls.__name__] = cls

    def __post_init__(self) -> None:
        for name, check in self._checks:
            object.__setattr__(self, name, check(f"{type(self).__name__}'s {name}", getattr(self, name)))
        if not hasattr(type(self), "length") and "length" not in vars(self):
            object.__setattr__(self, "length", None)
        object.__setattr__(self, "_missing", frozenset().union(*(span.needs for span in self._spans())))
        if not self._missing:
            self.validate()
            if not self.endless and cast(int, self.length) > LENGTH_LIMIT:
                raise InvalidInput(
                    f"a schedule lasts for at most 2^53 steps; {self!r} lasts for longer, so let it have no end"
                )

    def __setattr__(self, name: str, value: Any) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    # Written once here: dataclass would compile a pair for each kind, at a third of this package's import time.

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and type(self) is type(other) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in fields(cast(Any, self)))

    # What each kind of schedule says of itself

    def at(self, t: Any, ops: Any) -> Any:  # noqa: ARG002 - for those who define it
        """The formula: the value at t, which is 0 or later and may be between two steps, in the operations of `ops`.

        It is called with one number, and with whole arrays; `gradus.schedules.evaluation` has the operations.
        """
        raise InvalidInput(f"{type(self).__name__} has no formula; define its method at(self, t, ops)")

    def validate(self) -> None:
        """Check the fields against each other, and prepare what evaluation needs; called when no spans are left.

        Raises:
            InvalidInput: of the kind's own.
        """

    @property
    def endless(self) -> bool:
        """Whether it goes on for ever, so that nothing can follow it."""
        return self.length is None

    def __len__(self) -> int:
        if not isinstance(self.length, int):
            raise TypeError(f"{self!r} {'has no end' if self.endless else 'is a template'}, so it has no length")
        return self.length

    def __bool__(self) -> bool:
        return True  # without this, one of no steps would count as false

    def _resolved(self, units: Units) -> "Schedule":
        level = units.with_carry(0.0)

        def steps_of(check: Check) -> Callable[[Any], Any]:
            here = units if check in PLACES else level  # a period isn't longer for where it begins
            return lambda part: part.steps(here) if isinstance(part, Span) else part._resolved(units)

        changed = {name: _changed(getattr(self, name), steps_of(check)) for name, check in self._checks}
        return cast(Schedule, replace(cast(Any, self), **changed))

    def _extent(self, count: "Callable[[int | Span], float]") -> float | None:
        """Its length, with spans as `count` counts them; None where it has no end."""
        return None if self.length is None else count(self.length)

    def _fills(self) -> bool:
        """Whether it holds a `rest()` that takes what the run has left."""
        return any(part.unit == "rest" if isinstance(part, Span) else part._fills() for part in self._parts())

    def _follows_metric(self) -> bool:
        return self._driven or any(part._follows_metric() for part in self._parts() if isinstance(part, Schedule))

    # Evaluation

    def __call__(self, t: Any) -> Any:
        if type(t) is int and 0 <= t < STEP_LIMIT and not self._missing:
            try:
                value = self.at(t, SCALARS)
            except ArithmeticError:
                value = math.nan
            return value if type(value) is float and value - value == 0 else finished(self, value, t, SCALARS)
        self._require_concrete()
        steps, ops = clock(t)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # what comes of it is looked at in the end
            return finished(self, self.at(steps, ops), steps, ops)

    def _require_concrete(self) -> None:
        if self._missing:
            units = ", ".join(f"{name}=..." for name in sorted(self._missing))
            raise InvalidInput(f"{self!r} is a template; make it concrete first: .resolve({units})")

    # Composition

    def __rshift__(self, other: "Schedule | float") -> "Schedule":
        return joined(Sequence, self, other)

    def __rrshift__(self, other: float) -> "Schedule":
        return joined(Sequence, other, self)

    def __mul__(self, other: "Schedule | float") -> "Schedule":
        return joined(Product, self, other)

    def __rmul__(self, other: float) -> "Schedule":
        return joined(Product, other, self)

    def __add__(self, other: "Schedule | float") -> "Schedule":
        return joined(Sum, self, other)

    def __radd__(self, other: float) -> "Schedule":
        return joined(Sum, other, self)

    def __sub__(self, other: "Schedule | float") -> "Schedule":
        return joined(Difference, self, other)

    def __rsub__(self, other: float) -> "Schedule":
        return joined(Difference, other, self)

    def __truediv__(self, other: "Schedule | float") -> "Schedule":
        return joined(Quotient, self, other)

    def __rtruediv__(self, other: float) -> "Schedule":
        return joined(Quotient, other, self)

    def __pow__(self, other: "Schedule | float") -> "Schedule":
        return joined(Power, self, other)

    def __rpow__(self, other: float) -> "Schedule":
        return joined(Power, other, self)

    def __neg__(self) -> "Schedule":
        return joined(Product, -1.0, self)

    @hinting
    def clip(self, low: "Schedule | float | None" = None, high: "Schedule | float | None" = None) -> "Schedule":
        """Never below `low` nor above `high`: max(low, min(high, schedule)).

        >>> from gradus.schedules import Linear
        >>> Linear(10).clip(0.2, 0.8)(0), Linear(10).clip(0.2, 0.8)(10)
        (0.8, 0.2)
        """
        for bound in (low, high):
            if not (bound is None or is_number(bound) or isinstance(bound, (Schedule, np.number))):
                raise InvalidInput(f"clip's bounds must be numbers or schedules; got {shown(bound)}")
        numbers = not isinstance(low, (Schedule, NoneType)) and not isinstance(high, (Schedule, NoneType))
        if numbers and low > high:  # type: ignore[operator]  # as was looked at
            raise InvalidInput(f"clip needs low <= high; got low={low!r}, high={high!r}")
        below = self if high is None else joined(Minimum, self, high)
        return below if low is None else joined(Maximum, below, low)

    @hinting
    def repeat(self, times: int | None = None) -> "Schedule":
        """Start again at each end, so many times in all or for ever: schedule(t mod length)."""
        return Repeat(self, times)

    @hinting
    def delay(self, steps: int | Span) -> "Schedule":
        """Hold the first value for so many steps, then run: schedule(max(t - steps, 0)).

        With `rest()` it ends with the run:

        >>> from gradus.schedules import Linear, rest
        >>> Linear(100).delay(rest()).resolve(1000)
        Linear(100).delay(900)
        """
        return Delay(self, steps)

    @hinting
    def stretch(self, factor: float) -> "Schedule":
        """The same curve over `factor` times the steps: schedule(t / factor)."""
        return Stretch(self, factor)

    @hinting
    def skip(self, steps: int | Span) -> "Schedule":
        """Without its first so many steps: schedule(t + steps).

        >>> from gradus.schedules import Linear
        >>> Linear(4).skip(1)(0)
        0.75
        """
        return Skip(self, steps)

    @hinting
    def staircase(self, every: int | Span) -> "Schedule":
        """The same curve in stairs, for a value that changes once in `every` steps: schedule(every·⌊t/every⌋).

        >>> from gradus.schedules import Linear
        >>> [Linear(4).staircase(2)(t) for t in range(5)]
        [1.0, 1.0, 0.5, 0.5, 0.0]
        """
        return Staircase(self, every)

    @hinting
    def take(self, steps: int | Span) -> "Schedule":
        """Its first so many steps, then held: schedule(min(t, steps)). It gives an endless schedule an end.

        What is taken of a template is what it is in the whole run: `Cosine(rest()).take(500)` stops halfway in one of 1,000.

        >>> from gradus.schedules import Constant, Linear
        >>> Constant().take(80) >> Linear(20)
        Constant().take(80) >> Linear(20)
        """
        return Take(self, steps)

    @hinting
    def after(self, mode: Literal["hold", "repeat", "mirror", "raise"]) -> "Schedule":
        """What comes after the end: the last value (as it is anyway), the same again, there and back, or an error."""
        one_of("hold", "repeat", "mirror", "raise")("after's mode", mode)
        if mode == "hold":
            return self
        return Repeat(self) if mode == "repeat" else After(self, mode)

    # Templates

    @hinting
    def resolve(
        self,
        total_steps: int | None = None,
        *,
        steps_per_epoch: float | None = None,
        samples_per_step: float | None = None,
        tokens_per_step: float | None = None,
    ) -> "Schedule":
        """The same schedule with every span counted in steps.

        Args:
            total_steps: the length of the run, in steps; for `fraction` and `rest`.
            steps_per_epoch: optimizer updates in one pass over the data; for `epochs`.
            samples_per_step: training examples in one update, over all processes; for `samples`.
            tokens_per_step: tokens in one update, over all processes; for `tokens`.

        Raises:
            InvalidInput: a span lacks what it is counted by, or the phases don't fit into the run.

        >>> from gradus.schedules import Cosine, fraction, rest, warmup
        >>> (warmup(fraction(0.05)) >> Cosine(rest(), end=0.01)).resolve(total_steps=10_000)
        Linear(500, start=0.0, end=1.0) >> Cosine(9500, end=0.01)
        """
        units = Units(total_steps, steps_per_epoch, samples_per_step, tokens_per_step)
        units = units.with_budget(units.total_steps)
        return self._resolved(units) if self._missing else self

    def _parts(self) -> "Iterator[Span | Schedule]":
        """The spans and schedules among the fields."""
        yield from _parts_of(self._values())

    def _spans(self) -> Iterator[Span]:
        for part in self._parts():
            if isinstance(part, Span):
                yield part
            else:
                yield from part._spans()

    def _rebuilt(self, change: Callable[[Any], Any]) -> "Schedule":
        """The same kind of schedule with `change` done to each span and schedule among its fields."""
        changed = {name: _changed(getattr(self, name), change) for name, _ in self._checks}
        return cast(Schedule, replace(cast(Any, self), **changed))

    # Into other libraries

    def to_callable(self, base: float = 1.0) -> "Callable[[Any], Any]":
        """A plain function of the step, base·schedule(t), for whatever asks for a function; it pickles and compares.

        Args:
            base: what the values are multiplied by; leave it at 1 for torch's `LambdaLR`, which multiplies itself.

        >>> from gradus.schedules import Cosine
        >>> rate = Cosine(10).to_callable(base=0.3)
        >>> rate(0), rate(10)
        (0.3, 0.0)
        """
        self._require_concrete()
        return partial(_scaled, self, float(base))

    def to_optax(self, base: float = 1.0) -> "Callable[[Any], Any]":
        """An optax schedule: a function of the update's count that JAX can trace, in the precision that JAX is set to.

        Args:
            base: the learning rate, which the schedule multiplies.

        Raises:
            InvalidInput: a template; or a factor that follows a metric, which is no function of the count.

        >>> import jax
        >>> from gradus.schedules import Cosine, warmup
        >>> rate = (warmup(10) >> Cosine(90)).to_optax(base=3e-4)       # optax.adam(learning_rate=rate)
        >>> float(jax.jit(rate)(10)) == float(jax.numpy.float32(3e-4))
        True
        """
        if self._follows_metric():
            raise InvalidInput(f"a factor that follows a metric is no function of the count; leave it out of {self!r}")
        return self.to_callable(base)

    # Seeing

    def plot(self, steps: int | None = None, **options: Any) -> Any:
        """A picture of it, and of the budget it spends; see `gradus.compare_schedules` for the options."""
        # Pictures stand floors above, and need matplotlib, so they are imported when one is asked for.
        return importlib.import_module("gradus.plots").compare_schedules({repr(self): self}, steps, **options)

    # Text and JSON

    def __repr__(self) -> str:
        return f"{codec.name_of(type(self), KINDS) or type(self).__name__}({self._arguments()})"

    def _arguments(self) -> str:
        arguments = []
        for position, one in enumerate(fields(cast(Any, self))):
            value = getattr(self, one.name)
            if one.default is MISSING or value != one.default:
                arguments.append(f"{one.name}={value!r}" if position or one.kw_only else repr(value))
        return ", ".join(arguments)

    def _bracketed(self, precedence: int) -> str:
        return f"({self!r})" if self._precedence < precedence else repr(self)

    def to_json(self) -> str:
        """The definition as JSON; `Schedule.from_json` gives back an equal schedule.

        Raises:
            InvalidInput: it holds a `Lambda` of a function, or is of a class, that can't be found again by its name.
        """
        return codec.dumps(self, KINDS)

    @staticmethod
    def from_json(text: str, *, trusted: bool = False) -> "Schedule":
        """Read what `to_json` wrote.

        Args:
            text: the JSON.
            trusted: import the functions and classes that it names. Importing runs code, so only for text of your own.

        Raises:
            InvalidInput: the text is no schedule, or of an unknown version, kind or field; each is named.

        >>> from gradus.schedules import Cosine
        >>> Schedule.from_json(Cosine(20).to_json()) == Cosine(20)
        True
        """
        schedule: Schedule = codec.loads(text, Schedule, KINDS, trusted=trusted)
        return schedule


def _scaled(schedule: Schedule, base: float, t: Any) -> Any:
    return base * schedule(t)


_INSTEAD = {
    "__init__": "declare its fields",
    "__post_init__": "check them in validate(self)",
    "__call__": "define its formula, at(self, t, ops)",  # compositions ask that
}


def _refuse_overrides(kind: type) -> None:
    for name, instead in _INSTEAD.items():
        if name in vars(kind):
            raise InvalidInput(f"{kind.__name__} can't have a {name} of its own: a schedule is a value; {instead} instead")


_TAKEN = frozenset({*dir(Schedule), *Schedule.__annotations__} - {"length"})


def _checks_of(kind: Any) -> tuple[tuple[str, Check], ...]:
    declared = fields(kind)
    hints: dict[str, Any] = {}
    if any(isinstance(one.type, str) for one in declared):  # under `from __future__ import annotations`
        try:
            hints = get_type_hints(kind, include_extras=True)
        except (NameError, TypeError, SyntaxError) as error:
            raise InvalidInput(f"the annotations of {kind.__name__} can't be read: {error}") from None
    for one in declared:
        if not one.init:
            raise InvalidInput(f"{kind.__name__}'s {one.name} must be given when it is made; make what follows a property")
        if one.name == "kind" or one.name in _TAKEN:
            raise InvalidInput(
                f"{kind.__name__} can't have a field {one.name!r}: a schedule has something else by that name"
            )
    return tuple((one.name, _check_of(kind, one.name, hints.get(one.name, one.type))) for one in declared)


def _check_of(kind: type, name: str, annotation: Any) -> Check:
    if name == "length" and get_origin(annotation) is not Annotated:  # whatever it is called, it is counted in steps
        annotation = int | Span | None if NoneType in get_args(annotation) else Length
    return check_of(f"{kind.__name__}'s {name}", annotation)


def _parts_of(value: Any) -> Iterator[Span | Schedule]:
    if isinstance(value, (Span, Schedule)):
        yield value
    elif isinstance(value, tuple):
        for member in value:
            yield from _parts_of(member)


def _changed(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, tuple):
        return tuple(_changed(member, change) for member in value)
    return change(value) if isinstance(value, (Span, Schedule)) else value


# The algebra


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
    each = f"each of {what}"
    return _some(what, (_outermost(each, one) if getattr(one, "_driven", False) else _member(each, one) for one in value))


def _some(what: str, members: Iterable[Schedule]) -> tuple[Schedule, ...]:
    some = tuple(members)
    if not some:
        raise InvalidInput(f"{what} must hold at least one schedule; got none")
    return some


def _ending(what: str, value: Any) -> Schedule:
    member = _member(what, value)
    if member.endless:
        raise InvalidInput(f"{what} must have an end, and {member!r} has none; give it one: .take(steps)")
    return member


def _members(what: str, value: Any) -> tuple[Schedule, ...]:
    return _some(what, (_member(f"each of {what}", member) for member in value))


def _phases(what: str, value: Any) -> tuple[Schedule, ...]:
    phases = _members(what, value)
    for phase in phases[:-1]:
        if phase.endless:
            raise InvalidInput(f"{phase!r} has no end, so nothing can follow it; say how long it lasts: .take(steps)")
    return phases


PLAIN[Schedule] = _member
Member = Annotated[Schedule, _member]
EndingMember = Annotated[Schedule, _ending]
Members = Annotated[tuple[Schedule, ...], _members]
Factors = Annotated[tuple[Schedule, ...], _factors]
Outermost = Annotated[Schedule, _outermost]
Phases = Annotated[tuple[Schedule, ...], _phases]


def joined(kind: type["_Composite"], *operands: Any) -> Schedule:
    """The operands as one composite."""
    members: list[Schedule] = []
    for operand in operands:
        if isinstance(operand, Schedule):
            members.append(operand)
        elif is_number(operand) or isinstance(operand, np.number):
            members.append(KINDS["Constant"](operand))  # type: ignore[call-arg]  # a leaf, so it stands above this module
        else:
            return NotImplemented  # type: ignore[no-any-return]  # Python's way to let the other operand try
    return kind(tuple(members))


class _Node(Schedule):
    """A schedule made of others; its length follows from theirs."""

    def _extent(self, count: Callable[[int | Span], float]) -> float | None:
        raise NotImplementedError

    @property
    def length(self) -> int | None:
        self._require_concrete()
        return cast("int | None", self._extent(_as_it_is))

    @property
    def endless(self) -> bool:
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
        return f" {self._symbol} ".join(member._bracketed(self._precedence + 1) for member in self.members)


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
    def endless(self) -> bool:
        return self.members[-1].endless

    def _extent(self, count: Callable[[int | Span], float]) -> float | None:
        return _none_or(sum, [member._extent(count) for member in self.members])

    def _resolved(self, units: Units) -> Schedule:
        """The phases tile the run: each begins at the whole step that is nearest to its true beginning.

        So two halves of 3 steps take 2 and 1. What follows the phase with `rest()` is laid from the end of the run; that
        one gets what is left, cut or held where it can't fill it (three whole repetitions in 10 steps).
        """
        waiting = [index for index, phase in enumerate(self.members) if phase._fills()]
        if len(waiting) > 1:
            raise InvalidInput(f"only one phase of a sequence can take rest(); here {len(waiting)} do: {self!r}")
        if not waiting:
            return Sequence(tuple(_laid(self.members, units)))
        (index,) = waiting
        before, after = self.members[:index], self.members[index + 1 :]
        last = sum(phase._extent(units.count) or 0.0 for phase in after)
        whole = math.floor(last + 0.5)
        start, end = _laid(before, units), _laid(after, units.with_carry(whole - last).with_budget(whole))
        left = units.less(sum(len(phase) for phase in (*start, *end) if not phase.endless), repr(self)).with_carry(0.0)
        middle = self.members[index]._resolved(left)
        if not middle.endless and len(middle) != left.budget and (after or len(middle) < (left.budget or 0)):
            middle = middle.take(left.budget or 0)
        return Sequence((*start, middle, *end))


def _laid(phases: tuple[Schedule, ...], units: Units) -> list[Schedule]:
    """Phases one after the other, none of which takes what the others leave."""
    laid = []
    for phase in phases:
        resolved = phase._resolved(units)
        laid.append(resolved)
        if not resolved.endless:
            units = units.with_carry(units.carry + (phase._extent(units.count) or 0.0) - len(resolved))
            units = units.with_budget(None if units.budget is None else max(units.budget - len(resolved), 0))
    return laid


def _none_or(combine: Callable[[Any], Any], lengths: list[float | None]) -> float | None:
    """Lengths combined into one, which there is none of where one of them has no end."""
    return None if None in lengths else combine(lengths)


class _Pointwise(_Composite):
    """Members that act at the same step. It lasts as long as its longest member; constants don't count."""

    def _varying(self) -> list[Schedule]:
        return [member for member in self.members if type(member) is not KINDS["Constant"] and not member._driven]

    @property
    def endless(self) -> bool:
        varying = self._varying()
        return not varying or any(member.endless for member in varying)

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
    def endless(self) -> bool:
        return bool(self.schedule.endless)

    def __repr__(self) -> str:
        argument = getattr(self, fields(cast(Any, self))[1].name)
        return f"{self.schedule._bracketed(5)}.{type(self).__name__.lower()}({'' if argument is None else repr(argument)})"


class Repeat(_Wrapper):
    """`a.repeat(times)`: a(t mod length), so many times in all or for ever; its end value is held after the last time."""

    schedule: EndingMember
    times: RepeatCount = None

    def validate(self) -> None:
        if not self.schedule.length:
            raise InvalidInput(f"a schedule of no steps can't be repeated: {self.schedule!r}")

    @property
    def endless(self) -> bool:
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
        if self.schedule._fills():
            raise InvalidInput(f"only one of a delay and what it delays can take rest(); here both do: {self!r}")
        inner = self.schedule._resolved(units)
        left = units if inner.endless else units.less(len(inner), repr(self))
        return Delay(inner, _steps_of(self.steps, left))


def _steps_of(steps: int | Span, units: Units) -> int:
    return steps.steps(units) if isinstance(steps, Span) else steps


class Stretch(_Wrapper):
    """`a.stretch(factor)`: a(t / factor), over `factor` times the steps (rounded up to whole ones)."""

    schedule: Member
    factor: Positive

    def validate(self) -> None:
        if not self.endless and len(self.schedule) * self.factor > LENGTH_LIMIT:
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
    def endless(self) -> bool:
        return False

    def _extent(self, count: Callable[[int | Span], float]) -> float | None:
        return count(self.steps)

    def at(self, t: Any, ops: Any) -> Any:
        return self.schedule.at(ops.clip(t, 0, self.steps), ops)

    def _fills(self) -> bool:
        return isinstance(self.steps, Span) and self.steps.unit == "rest"

    def _resolved(self, units: Units) -> Schedule:
        return Take(self.schedule._resolved(units), _steps_of(self.steps, units))


class After(_Wrapper):
    """`a.after("mirror")` runs back and forth for ever; `a.after("raise")` refuses steps past the end.

    A JAX tracer has no values to refuse, so under `jax.jit` the last value is held instead.
    """

    schedule: EndingMember
    mode: Annotated[str, one_of("mirror", "raise")]

    @property
    def endless(self) -> bool:
        return self.mode == "mirror"

    def _extent(self, count: Callable[[int | Span], float]) -> float | None:
        return None if self.endless else self.schedule._extent(count)

    def at(self, t: Any, ops: Any) -> Any:
        length = len(self.schedule)
        if self.mode == "mirror" and length:
            there_and_back = t % (2 * length)
            return self.schedule.at(ops.where(there_and_back < length, there_and_back, 2 * length - there_and_back), ops)
        if self.mode == "raise" and ops.largest(t) > length:
            raise InvalidInput(
                f"{self!r} was told to end at step {length}, and step {ops.largest(t):.0f} was asked for; "
                f'train no longer, or let it hold its last value: .after("hold")'
            )
        return self.schedule.at(t, ops)


class Absolute(_Wrapper):
    """`absolute(a)`: attached to an optimizer, a is the value itself and not a factor of each group's own."""

    schedule: Outermost

    def _extent(self, count: Callable[[int | Span], float]) -> float | None:
        length: float | None = self.schedule._extent(count)
        return length

    def at(self, t: Any, ops: Any) -> Any:
        return self.schedule.at(t, ops)

    def __repr__(self) -> str:
        return f"absolute({self.schedule!r})"
