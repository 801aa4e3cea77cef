"""`Schedule`: a pure function of an integer step, as a value. Its compositions are in `gradus.schedules.algebra`."""

import math
from collections.abc import Callable, Iterator
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields, replace
from functools import partial
from types import NoneType
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    cast,
    dataclass_transform,
)

import numpy as np

from gradus.checks import Check, is_number, one_of, shown
from gradus.doors import opened
from gradus.errors import InvalidInput
from gradus.names import hinting
from gradus.schedules import json
from gradus.schedules.evaluation import SCALARS, STEP_LIMIT, clock, finished, over_arrays
from gradus.schedules.fields import PLACES, checks_of, refuse_overrides
from gradus.schedules.spans import LENGTH_LIMIT, Span, Units

__all__ = ["KINDS", "Schedule", "joined"]

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
    _metric_driven: ClassVar[bool] = False  # whether it is a factor that follows a metric: no function of the step alone
    __array_ufunc__: ClassVar[None] = None  # so that a NumPy number on the left leaves the operation to the schedule
    _needs: frozenset[str]  # the arguments of `resolve` without which this schedule can't be evaluated

    if TYPE_CHECKING:  # leaves have it as a field, which a property of the base would shadow

        @property
        def length(self) -> int | Span | None:
            """The step from which it holds its last value; None where it goes on for ever."""

    _checks: ClassVar[tuple[tuple[str, Check], ...]]

    def __init_subclass__(cls, *, abstract: bool = False) -> None:
        """Make the subclass a frozen dataclass whose fields are checked; with `abstract` it isn't a kind."""
        ours = cls.__module__.startswith("gradus.")
        if not ours:
            refuse_overrides(cls)
        try:
            dataclass(frozen=True, repr=False, eq=False)(cls)
        except (TypeError, ValueError) as error:  # a default that can be changed, or one missing after another
            raise InvalidInput(f"{cls.__name__} can't be a schedule: {error}") from None
        cls.__init__ = hinting(cls.__init__)  # type: ignore[method-assign]  # the one that dataclass has made
        cls._checks = checks_of(cls, _RESERVED)
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
        object.__setattr__(self, "_needs", frozenset().union(*(span.needs for span in self._spans())))
        if not self._needs:
            self.validate()
            if not self.is_endless and cast(int, self.length) > LENGTH_LIMIT:
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

    # What each kind of schedule defines

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
    def is_endless(self) -> bool:
        """Whether it goes on for ever, so that nothing can follow it."""
        return self.length is None

    def __len__(self) -> int:
        if not isinstance(self.length, int):
            raise TypeError(f"{self!r} {'has no end' if self.is_endless else 'is a template'}, so it has no length")
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

    def _takes_rest(self) -> bool:
        """Whether it holds a `rest()` that takes what the run has left."""
        return any(part.unit == "rest" if isinstance(part, Span) else part._takes_rest() for part in self._parts())

    def _follows_metric(self) -> bool:
        return self._metric_driven or any(part._follows_metric() for part in self._parts() if isinstance(part, Schedule))

    # Evaluation

    def __call__(self, t: Any) -> Any:
        if type(t) is int and 0 <= t < STEP_LIMIT and not self._needs:
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
        if self._needs:
            units = ", ".join(f"{name}=..." for name in sorted(self._needs))
            raise InvalidInput(f"{self!r} is a template; make it concrete first: .resolve({units})")

    # Composition

    def __rshift__(self, other: "Schedule | float") -> "Schedule":
        return joined("Sequence", self, other)

    def __rrshift__(self, other: float) -> "Schedule":
        return joined("Sequence", other, self)

    def __mul__(self, other: "Schedule | float") -> "Schedule":
        return joined("Product", self, other)

    def __rmul__(self, other: float) -> "Schedule":
        return joined("Product", other, self)

    def __add__(self, other: "Schedule | float") -> "Schedule":
        return joined("Sum", self, other)

    def __radd__(self, other: float) -> "Schedule":
        return joined("Sum", other, self)

    def __sub__(self, other: "Schedule | float") -> "Schedule":
        return joined("Difference", self, other)

    def __rsub__(self, other: float) -> "Schedule":
        return joined("Difference", other, self)

    def __truediv__(self, other: "Schedule | float") -> "Schedule":
        return joined("Quotient", self, other)

    def __rtruediv__(self, other: float) -> "Schedule":
        return joined("Quotient", other, self)

    def __pow__(self, other: "Schedule | float") -> "Schedule":
        return joined("Power", self, other)

    def __rpow__(self, other: float) -> "Schedule":
        return joined("Power", other, self)

    def __neg__(self) -> "Schedule":
        return joined("Product", -1.0, self)

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
        below = self if high is None else joined("Minimum", self, high)
        return below if low is None else joined("Maximum", below, low)

    @hinting
    def repeat(self, times: int | None = None) -> "Schedule":
        """Start again at each end, `times` times in all or for ever: schedule(t mod length)."""
        return _made("Repeat", self, times)

    @hinting
    def delay(self, steps: int | Span) -> "Schedule":
        """Hold the first value for `steps` steps, then run: schedule(max(t - steps, 0)).

        With `rest()` it ends with the run:

        >>> from gradus.schedules import Linear, rest
        >>> Linear(100).delay(rest()).resolve(1000)
        Linear(100).delay(900)
        """
        return _made("Delay", self, steps)

    @hinting
    def stretch(self, factor: float) -> "Schedule":
        """The same curve over `factor` times the steps: schedule(t / factor)."""
        return _made("Stretch", self, factor)

    @hinting
    def skip(self, steps: int | Span) -> "Schedule":
        """Without its first `steps` steps: schedule(t + steps).

        >>> from gradus.schedules import Linear
        >>> Linear(4).skip(1)(0)
        0.75
        """
        return _made("Skip", self, steps)

    @hinting
    def staircase(self, every: int | Span) -> "Schedule":
        """The same curve in stairs, for a value that changes once in `every` steps: schedule(every·⌊t/every⌋).

        >>> from gradus.schedules import Linear
        >>> [Linear(4).staircase(2)(t) for t in range(5)]
        [1.0, 1.0, 0.5, 0.5, 0.0]
        """
        return _made("Staircase", self, every)

    @hinting
    def take(self, steps: int | Span) -> "Schedule":
        """Its first `steps` steps, then held: schedule(min(t, steps)). It gives an endless schedule an end.

        A template keeps the meaning that it has in the whole run: `Cosine(rest()).take(500)` stops halfway in one of 1,000.

        >>> from gradus.schedules import Constant, Linear
        >>> Constant().take(80) >> Linear(20)
        Constant().take(80) >> Linear(20)
        """
        return _made("Take", self, steps)

    @hinting
    def after(self, mode: Literal["hold", "repeat", "mirror", "raise"]) -> "Schedule":
        """What comes after the end: the last value (the default), the same again, there and back, or an error."""
        one_of("hold", "repeat", "mirror", "raise")("after's mode", mode)
        if mode == "hold":
            return self
        return self.repeat() if mode == "repeat" else _made("After", self, mode)

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
            InvalidInput: a span lacks the unit that counts it, or the phases don't fit into the run.

        >>> from gradus.schedules import Cosine, fraction, rest, warmup
        >>> (warmup(fraction(0.05)) >> Cosine(rest(), end=0.01)).resolve(total_steps=10_000)
        Linear(500, start=0.0, end=1.0) >> Cosine(9500, end=0.01)
        """
        units = Units(total_steps, steps_per_epoch, samples_per_step, tokens_per_step)
        units = units.with_budget(units.total_steps)
        return self._resolved(units) if self._needs else self

    def _parts(self) -> "Iterator[Span | Schedule]":
        """The spans and schedules among the fields."""
        yield from _parts_of(self._values())

    def _spans(self) -> Iterator[Span]:
        for part in self._parts():
            if isinstance(part, Span):
                yield part
            else:
                yield from part._spans()

    def _map(self, change: Callable[[Any], Any]) -> "Schedule":
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
        return hinting(opened("compare_schedules"))({repr(self): self}, steps, **options)  # pictures stand floors above

    # Text and JSON

    def __repr__(self) -> str:
        return f"{json.name_of(type(self), KINDS) or type(self).__name__}({self._arguments()})"

    def _arguments(self) -> str:
        arguments = []
        for position, one in enumerate(fields(cast(Any, self))):
            value = getattr(self, one.name)
            if one.default is MISSING or value != one.default:
                arguments.append(f"{one.name}={value!r}" if position or one.kw_only else repr(value))
        return ", ".join(arguments)

    def _parenthesized(self, precedence: int) -> str:
        return f"({self!r})" if self._precedence < precedence else repr(self)

    def to_json(self) -> str:
        """The definition as JSON; `Schedule.from_json` gives back an equal schedule.

        Raises:
            InvalidInput: it holds a `Lambda` of a function, or is of a class, that can't be found again by its name.
        """
        return json.dumps(self, KINDS)

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
        schedule: Schedule = json.loads(text, Schedule, KINDS, trusted=trusted)
        return schedule


def _scaled(schedule: Schedule, base: float, t: Any) -> Any:
    return base * schedule(t)


def _made(kind: str, *arguments: Any) -> Schedule:
    """A schedule of one of Gradus's own kinds, most of which are subclasses and so stand above this module."""
    return KINDS[kind](*arguments)


def joined(kind: str, *operands: Any) -> Schedule:
    """The operands, schedules and numbers, as one composite of a kind of the algebra's."""
    members: list[Schedule] = []
    for operand in operands:
        if isinstance(operand, Schedule):
            members.append(operand)
        elif is_number(operand) or isinstance(operand, np.number):
            members.append(_made("Constant", operand))
        else:
            return NotImplemented  # type: ignore[no-any-return]  # Python's way to let the other operand try
    return _made(kind, tuple(members))


_RESERVED = frozenset({*dir(Schedule), *Schedule.__annotations__} - {"length"})  # no field may have such a name


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
