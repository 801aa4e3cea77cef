"""Lengths that depend on the run: in epochs, samples or tokens, as a fraction of the run, or the rest of it.

A schedule with spans is a template: one definition serves runs of every length, and `Schedule.resolve` makes it concrete.
"""

import math
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from gradus.checks import is_number, is_whole
from gradus.errors import InvalidInput

__all__ = ["LENGTH_LIMIT", "Span", "Units", "epochs", "fraction", "rest", "samples", "tokens"]

LENGTH_LIMIT = 2**53  # float64 tells whole numbers apart up to here


@dataclass(frozen=True)
class Units:
    """What a run says of itself, for spans to become steps. `budget` is how much of the run is still free for `rest()`."""

    total_steps: int | None = None
    steps_per_epoch: float | None = None
    samples_per_step: float | None = None
    tokens_per_step: float | None = None
    budget: int | None = None
    carry: float = 0.0  # how far the true beginning of this phase is after its whole step

    def __post_init__(self) -> None:
        for name in ("total_steps", "steps_per_epoch", "samples_per_step", "tokens_per_step"):
            value = getattr(self, name)
            if value is None:
                continue
            number = math.nan
            if not isinstance(value, (bool, str, bytes)):
                with suppress(OverflowError, TypeError, ValueError, RuntimeError):  # too large, or more than one number
                    number = float(value)
            if not (math.isfinite(number) and number > 0):
                raise InvalidInput(f"{name} must be a finite number above 0; got {value!r}")
            if name == "total_steps" and value != int(value):
                raise InvalidInput(f"total_steps must be a whole number of steps; got {value!r}")
            object.__setattr__(self, name, int(value) if name == "total_steps" else number)

    def with_carry(self, carry: float) -> "Units":
        """The same run for a phase that truly begins so far after its step."""
        return replace(self, carry=carry)

    def with_budget(self, budget: int | None) -> "Units":
        """The same run with `budget` steps free for `rest()`."""
        return replace(self, budget=budget)

    def less(self, steps: int, where: str) -> "Units":
        """The same run after other phases have used `steps` of it."""
        if self.budget is None:
            return self
        if steps > self.budget:
            raise InvalidInput(
                f"nothing is left for rest(): the other phases take {steps} of {self.budget} steps in {where}; "
                f"shorten them or train longer"
            )
        return self.with_budget(self.budget - steps)

    def count(self, length: "int | Span") -> float:
        """A length in steps, not rounded to whole ones."""
        return length.exact(self) if isinstance(length, Span) else float(length)

    def shared(self, times: int) -> "Units":
        """The same run with its free steps split into `parts` equal parts."""
        return replace(self, budget=None if self.budget is None else self.budget // times, carry=0.0)

    def slowed(self, factor: float) -> "Units":
        """The run on a clock that ticks once in `factor` steps."""
        total, budget = (None if n is None else math.floor(n / factor) for n in (self.total_steps, self.budget))
        return replace(self, total_steps=total, budget=budget, carry=0.0)


_NEEDS = {
    "epochs": "steps_per_epoch",
    "fraction": "total_steps",
    "samples": "samples_per_step",
    "tokens": "tokens_per_step",
    "rest": "budget",
}


@dataclass(frozen=True, repr=False)
class Span:
    """A length in another unit than steps. Made by `epochs`, `fraction`, `samples`, `tokens` and `rest`.

    `rest() - length` leaves out the last steps, epochs, samples or tokens, or the last part of the run.

    >>> rest() - epochs(2), (rest() - epochs(2)).unit
    (rest() - epochs(2), 'rest')
    """

    unit: str
    amount: float | None = None
    less: "tuple[int | Span, ...]" = ()

    def __post_init__(self) -> None:
        if not isinstance(self.unit, str) or self.unit not in _NEEDS:
            raise InvalidInput(f"a span's unit must be one of {', '.join(_NEEDS)}; got {self.unit!r}")
        if self.unit == "rest":
            self._check_rest()
            return
        amount = self.amount
        if not is_number(amount) or not 0 <= amount <= LENGTH_LIMIT:
            raise InvalidInput(f"{self.unit}(...) takes a number from 0 to 2^53; got {amount!r}")
        if self.unit == "fraction" and amount > 1:
            raise InvalidInput(f"fraction(...) is a part of the whole run, from 0 to 1; got {amount!r}")
        if self.less != ():
            raise InvalidInput(f"only rest() can be lessened, as in rest() - 100; got {self.unit}({amount!r})")

    def _check_rest(self) -> None:
        if self.amount is not None:
            raise InvalidInput(f"rest() takes no amount: it is what the other phases leave; got {self.amount!r}")
        if not isinstance(self.less, tuple):
            raise InvalidInput(f"what rest() is lessened by must be a tuple of lengths; got {self.less!r}")
        for one in self.less:
            if not is_whole(one, 0, LENGTH_LIMIT) and not (isinstance(one, Span) and one.unit != "rest"):
                raise InvalidInput(f"rest() is lessened by a whole number of steps or by a span; got {one!r}")

    def __sub__(self, length: "int | Span") -> "Span":
        if not isinstance(length, (int, Span)):
            return NotImplemented
        return Span(self.unit, self.amount, (*self.less, length))

    def __repr__(self) -> str:
        whole = f"{self.unit}({'' if self.amount is None else repr(self.amount)})"
        return " - ".join([whole, *map(repr, self.less)])

    @property
    def needs(self) -> frozenset[str]:
        """The arguments of `Schedule.resolve` that make this span concrete."""
        own = "total_steps" if self.unit == "rest" else _NEEDS[self.unit]
        return frozenset({own}).union(*(one.needs for one in self.less if isinstance(one, Span)))

    def exact(self, units: Units) -> float:
        """The span in steps, not rounded to whole ones; but what the last phases take is whole."""
        known: Any = getattr(units, _NEEDS[self.unit])
        if known is None:
            (needed, *_) = sorted(self.needs)
            raise InvalidInput(f"{self!r} can't be counted in steps without {needed}; pass .resolve({needed}=...)")
        if self.amount is None:
            return float(self._left(known, units))
        return float(self.amount / known if self.unit in ("samples", "tokens") else self.amount * known)

    def _left(self, budget: int, units: Units) -> int:
        left = budget - sum(math.floor(units.count(one) + 0.5) for one in self.less)
        if left < 0:
            raise InvalidInput(f"{self!r} is below 0, for {budget} steps are left; take less away, or train longer")
        return left

    def steps(self, units: Units) -> int:
        """The span in whole steps: the nearest one to its true end (half a step counts as one)."""
        carry = 0.0 if self.unit == "rest" else units.carry
        return max(math.floor(self.exact(units) + carry + 0.5), 0)


def epochs(count: float) -> Span:
    """A number of passes over the training data; `.resolve(steps_per_epoch=...)` counts them in steps.

    >>> epochs(2.5).steps(Units(steps_per_epoch=100))
    250
    """
    return Span("epochs", count)


def fraction(part: float) -> Span:
    """A part of the whole run, 0 to 1; `.resolve(total_steps=...)` counts it in steps.

    >>> fraction(0.05).steps(Units(total_steps=10_000))
    500
    """
    return Span("fraction", part)


def samples(count: float) -> Span:
    """A number of training examples; `.resolve(samples_per_step=...)` (the batch size, over all processes) counts them.

    >>> from gradus.schedules import Linear
    >>> Linear(samples(6400)).resolve(samples_per_step=64)
    Linear(100)
    """
    return Span("samples", count)


def tokens(count: float) -> Span:
    """A number of tokens; `.resolve(tokens_per_step=...)` counts them in steps.

    >>> from gradus.schedules import Linear
    >>> Linear(tokens(6400)).resolve(tokens_per_step=64)
    Linear(100)
    """
    return Span("tokens", count)


def rest() -> Span:
    """What the other phases of the schedule leave of the run; `.resolve(total_steps=...)` counts it in steps.

    `rest() - length` stops that long before the end: `Constant().take(rest() - epochs(2))`.

    >>> from gradus.schedules import Cosine, warmup
    >>> (warmup(100) >> Cosine(rest())).resolve(total_steps=1000)
    Linear(100, start=0.0, end=1.0) >> Cosine(900)
    """
    return Span("rest")
