"""Lengths that depend on the run: so many epochs, a fraction of the run, so many samples or tokens, or what is left.

A schedule with spans is a template: one definition serves runs of every length, and `Schedule.resolve` makes it concrete.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

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

    def __post_init__(self) -> None:
        for name in ("total_steps", "steps_per_epoch", "samples_per_step", "tokens_per_step"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, (bool, str)) or not (math.isfinite(value) and value > 0):
                raise InvalidInput(f"{name} must be a finite number above 0; got {value!r}")
            if name == "total_steps" and value != int(value):
                raise InvalidInput(f"total_steps must be a whole number of steps; got {value!r}")

    def with_budget(self, budget: int | None) -> "Units":
        """The same run with so many steps free for `rest()`."""
        return replace(self, budget=budget)

    def less(self, steps: int, where: str) -> "Units":
        """The same run after so many steps are spoken for."""
        if self.budget is None:
            return self
        if steps > self.budget:
            raise InvalidInput(
                f"nothing is left for rest(): the other phases take {steps} of {self.budget} steps in {where}; "
                f"shorten them or train longer"
            )
        return self.with_budget(self.budget - steps)

    def shared(self, times: int) -> "Units":
        """The same run with its free steps split into so many equal parts."""
        return self if self.budget is None else self.with_budget(self.budget // times)

    def slowed(self, factor: float) -> "Units":
        """The run on a clock that ticks once in `factor` steps."""
        if self.total_steps is None or self.budget is None:
            return self
        return replace(self, total_steps=math.floor(self.total_steps / factor), budget=math.floor(self.budget / factor))


_NEEDS = {
    "epochs": "steps_per_epoch",
    "fraction": "total_steps",
    "samples": "samples_per_step",
    "tokens": "tokens_per_step",
    "rest": "budget",
}


@dataclass(frozen=True, repr=False)
class Span:
    """A length in another unit than steps. Made by `epochs`, `fraction`, `samples`, `tokens` and `rest`."""

    unit: str
    amount: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.unit, str) or self.unit not in _NEEDS:
            raise InvalidInput(f"a span's unit must be one of {', '.join(_NEEDS)}; got {self.unit!r}")
        if self.unit == "rest":
            if self.amount is not None:
                raise InvalidInput(f"rest() takes no amount: it is what the other phases leave; got {self.amount!r}")
            return
        amount = self.amount
        if isinstance(amount, bool) or not isinstance(amount, (int, float)) or not 0 <= amount <= LENGTH_LIMIT:
            raise InvalidInput(f"{self.unit}(...) takes a number from 0 to 2^53; got {amount!r}")
        if self.unit == "fraction" and amount > 1:
            raise InvalidInput(f"fraction(...) is a part of the whole run, from 0 to 1; got {amount!r}")

    def __repr__(self) -> str:
        return f"{self.unit}({'' if self.amount is None else repr(self.amount)})"

    @property
    def needs(self) -> str:
        """The argument of `Schedule.resolve` that makes this span concrete."""
        return "total_steps" if self.unit == "rest" else _NEEDS[self.unit]

    def steps(self, units: Units) -> int:
        """The span in whole steps, the nearest one (half a step counts as one)."""
        known: Any = getattr(units, _NEEDS[self.unit])
        if known is None:
            raise InvalidInput(f"{self!r} can't be counted in steps without {self.needs}; pass .resolve({self.needs}=...)")
        if self.amount is None:
            return int(known)
        per_step = self.unit in ("samples", "tokens")
        return math.floor(float(self.amount / known if per_step else self.amount * known) + 0.5)


def epochs(count: float) -> Span:
    """So many passes over the training data; `.resolve(steps_per_epoch=...)` counts them in steps.

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
    """So many training examples; `.resolve(samples_per_step=...)` (the batch size, over all processes) counts them."""
    return Span("samples", count)


def tokens(count: float) -> Span:
    """So many tokens; `.resolve(tokens_per_step=...)` counts them in steps."""
    return Span("tokens", count)


def rest() -> Span:
    """What the other phases of the schedule leave of the run; `.resolve(total_steps=...)` counts it in steps.

    >>> from gradus.schedules import Cosine, warmup
    >>> (warmup(100) >> Cosine(rest())).resolve(total_steps=1000)
    Linear(100, start=0.0, end=1.0) >> Cosine(900)
    """
    return Span("rest")
