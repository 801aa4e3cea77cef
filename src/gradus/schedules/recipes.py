"""Compositions that have a name of their own. Each is an ordinary schedule, which prints as what it is made of."""

import math
from collections.abc import Iterable
from functools import reduce
from operator import rshift
from typing import Literal, get_args

from gradus.checks import is_number, unit_below_one, whole
from gradus.errors import InvalidInput
from gradus.names import did_you_mean, hinting
from gradus.schedules.algebra import Absolute
from gradus.schedules.leaves import Constant, Cosine, Exponential, InverseSqrt, Linear, Logarithmic, Polynomial
from gradus.schedules.schedule import Schedule, joined
from gradus.schedules.spans import Span, fraction, rest

__all__ = [
    "absolute",
    "cooldown",
    "hyperbolic",
    "max",
    "min",
    "noam",
    "one_cycle",
    "sgdr",
    "untuned_exponential",
    "untuned_linear",
    "warmup",
    "warmup_cosine",
    "wsd",
    "wsd_s",
]

Rise = Literal["linear", "cosine", "exponential", "logarithmic"]
Fall = Literal["linear", "cosine", "1-sqrt", "exponential"]
_RISES: dict[str, type[Linear | Cosine | Logarithmic]] = {"linear": Linear, "cosine": Cosine, "logarithmic": Logarithmic}


def _known(what: str, shape: str, known: object) -> None:
    choices = [f'"{name}"' for name in get_args(known)]
    if f'"{shape}"' not in choices:
        hint = did_you_mean(shape, get_args(known))
        raise InvalidInput(f"{what}'s shape must be {', '.join(choices[:-1])} or {choices[-1]}; got {shape!r}{hint}")


def _above_zero(what: str, value: float) -> float:
    """What an exponential curve starts from or leads to: it multiplies, so it never leaves 0 and never gets there."""
    if not is_number(value) or not value > 0:
        raise InvalidInput(
            f"an exponential shape multiplies, so {what} must be a number above 0 (such as 0.01); got {value!r}"
        )
    return float(value)


def _fall(what: str, length: int | Span, end: float, shape: Fall) -> Schedule:
    """From full height down to `end`."""
    _known(what, shape, Fall)
    if shape == "exponential":
        return _above_zero(f"{what}'s end", end) ** Linear(length, start=0.0, end=1.0)
    if shape == "1-sqrt":
        return Polynomial(length, end=end, k=0.5)
    return (Linear if shape == "linear" else Cosine)(length, end=end)


def absolute(schedule: Schedule) -> Absolute:
    """The schedule as the value itself: attached to an optimizer, it replaces each group's own value.

    >>> from gradus.schedules import Cosine
    >>> absolute(Cosine(20, start=0.3, end=0.01))
    absolute(Cosine(20, start=0.3, end=0.01))
    """
    return Absolute(schedule)


def min(*schedules: Schedule | float) -> Schedule:  # noqa: A001 - the algebra's own name
    """The lowest value at each step.

    >>> from gradus.schedules import Linear
    >>> min(Linear(10), 0.5)(0)
    0.5
    """
    return joined("Minimum", *_given(schedules))


def max(*schedules: Schedule | float) -> Schedule:  # noqa: A001 - the algebra's own name
    """The highest value at each step.

    >>> from gradus.schedules import Linear
    >>> max(Linear(10), 0.5)(10)
    0.5
    """
    return joined("Maximum", *_given(schedules))


def _given(schedules: tuple[Schedule | float, ...]) -> tuple[Schedule | float, ...]:
    for schedule in schedules:
        if not isinstance(schedule, Schedule) and not is_number(schedule):
            raise InvalidInput(f"min and max take schedules and numbers; got {schedule!r}")
    return schedules


@hinting
def warmup(length: int | Span, start: float = 0.0, shape: Rise = "linear", *, from_one: bool = False) -> Schedule:
    """Up to full height, so that at t = n the next phase begins at its own start.

    Linear: start + (1 − start)·t/n; cosine: start + (1 − start)·(1 − cos(π·t/n))/2; exponential: start^(1 − t/n);
    logarithmic: start + (1 − start)·ln(1 + t)/ln(1 + n).
    `warmup(n) >> a` delays a by the warmup; `a * warmup(n)` lets both begin at once.

    Args:
        length: n, in steps or as a span.
        start: the factor at step 0; with 0 the first update moves nothing. The exponential shape needs one above 0.
        shape: of the way up.
        from_one: count updates from 1, as many training loops do: (t + 1)/n, full height at the warmup's last update.

    Raises:
        InvalidInput: another shape, or an exponential one from 0 or below.

    Source: Goyal et al., Accurate, Large Minibatch SGD, 2017, section 2.2; logarithmic: DeepSpeed.

    >>> warmup(4)
    Linear(4, start=0.0, end=1.0)
    >>> warmup(4, start=0.01, shape="exponential")
    Constant(0.01) ** Linear(4)
    >>> [warmup(4, from_one=True)(t) for t in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    _known("warmup", shape, Rise)
    if shape == "exponential":
        rise = _above_zero("warmup's start", start) ** Linear(length)
    else:
        rise = _RISES[shape](length, start=start, end=1.0)
    return rise.skip(1).take(length) if from_one else rise


@hinting
def untuned_linear(beta2: float = 0.999) -> Schedule:
    """Adam's linear warmup with nothing to tune: min(1, (t + 1)/τ) with τ = 2/(1 − beta2), to the nearest whole step.

    Meant as a factor that begins with the schedule: `Cosine(rest()) * untuned_linear(0.98)`.

    Args:
        beta2: Adam's second coefficient, from 0 and below 1.

    Source: Ma and Yarats, On the Adequacy of Untuned Warmup for Adaptive Optimization, AAAI 2021.

    >>> untuned_linear(0.99)
    Linear(199, start=0.005, end=1.0)
    """
    period = round(2 / (1 - unit_below_one("untuned_linear's beta2", beta2)))
    return Linear(period - 1, start=1 / period, end=1.0)


@hinting
def untuned_exponential(beta2: float = 0.999) -> Schedule:
    """Adam's exponential warmup with nothing to tune: 1 − exp(−(1 − beta2)·(t + 1)), which has no end.

    Meant as a factor that begins with the schedule: `Cosine(rest()) * untuned_exponential(0.98)`.

    Args:
        beta2: Adam's second coefficient, from 0 and below 1.

    Source: Ma and Yarats, On the Adequacy of Untuned Warmup for Adaptive Optimization, AAAI 2021.

    >>> round(untuned_exponential(0.99)(99), 6)
    0.632121
    """
    gamma = math.exp(unit_below_one("untuned_exponential's beta2", beta2) - 1)
    return 1 + Exponential(gamma, start=-gamma, floor=-1.0)


@hinting
def warmup_cosine(warmup_length: int | Span, length: int | Span | None = None, end: float = 0.0) -> Schedule:
    """Linear warmup, then a cosine to `end` over `length` more steps, or over the rest of the run.

    >>> warmup_cosine(5, 15, end=0.03)
    Linear(5, start=0.0, end=1.0) >> Cosine(15, end=0.03)
    """
    return warmup(warmup_length) >> Cosine(rest() if length is None else length, end=end)


@hinting
def wsd(
    warmup_length: int | Span,
    stable: int | Span | None = None,
    decay: int | Span | None = None,
    end: float = 0.0,
    shape: Fall = "linear",
) -> Schedule:
    """Warmup, stable, decay: up, level, and down to `end` in the last part of the run.

    Args:
        warmup_length: of the way up, in steps or as a span.
        stable: of the level part; what the other two leave of the run unless given.
        decay: of the way down; a fifth of the run unless given.
        end: the factor at the end.
        shape: of the way down; "1-sqrt" is 1 − √(t/n), "exponential" is end^(t/n).

    Source: Hu et al., MiniCPM, 2024, section 4; 1-sqrt: Hägele et al., Scaling Laws and Compute-Optimal Training Beyond
    Fixed Training Durations, 2024.

    >>> wsd(100).resolve(total_steps=1000)
    Linear(100, start=0.0, end=1.0) >> Constant().take(700) >> Linear(200)
    """
    down = _fall("wsd", fraction(0.2) if decay is None else decay, end, shape)
    return warmup(warmup_length) >> Constant().take(rest() if stable is None else stable) >> down


@hinting
def wsd_s(
    warmup_length: int | Span,
    stable: Iterable[int | Span],
    decay: int | Span,
    end: float = 0.0,
    shape: Fall = "linear",
) -> Schedule:
    """Warmup, then level and down to `end` again and again: a good model at each low, and the run goes on from it.

    Args:
        warmup_length: of the way up, in steps or as a span.
        stable: of each level part.
        decay: of each way down; the step after it is at full height again.
        end: the factor that each way down leads to.
        shape: of the ways down.

    Source: Wen et al., Understanding Warmup-Stable-Decay Learning Rates: A River Valley Loss Landscape Perspective, 2024
    (where 1/η rises in a straight line: the catalogue has it as a `PowerLaw`).

    >>> wsd_s(5, (20, 40), 10)
    Linear(5, start=0.0, end=1.0) >> Constant().take(20) >> Linear(10) >> Constant().take(40) >> Linear(10)
    """
    if isinstance(stable, (str, bytes)) or not isinstance(stable, Iterable):
        raise InvalidInput(f"wsd_s's stable must be a list of lengths such as (700, 700); got {stable!r}")
    down = _fall("wsd_s", decay, end, shape)
    return reduce(rshift, (part for level in stable for part in (Constant().take(level), down)), warmup(warmup_length))


@hinting
def cooldown(
    schedule: Schedule,
    at: int | Span,
    length: int | Span,
    end: float = 0.0,
    shape: Fall = "linear",
    end_value: float | None = None,
) -> Schedule:
    """The schedule up to step `at`, then down from the value that it has there.

    Args:
        schedule: what is cut short, of any kind; a template keeps the meaning that it has in the whole run.
        at: the first step of the way down, in steps or as a span. With `rest()` the way down ends with the run: it is the
            last `length` of it, in whichever unit.
        length: of the way down; with `rest()` it goes on to the end of the run.
        end: what is left at its end, as a part of the value at its start.
        shape: of the way down; "exponential" goes down by the same factor each step, and needs an end above 0.
        end_value: the value at its end itself, wherever it starts from, instead of `end`.

    Raises:
        InvalidInput: another shape; `rest()` for both `at` and `length`; both `end` and `end_value`.

    Source: Zhai et al., Scaling Vision Transformers, 2022; Hägele et al., Scaling Laws and Compute-Optimal Training Beyond
    Fixed Training Durations, 2024.

    >>> from gradus.schedules import InverseSqrt
    >>> cooldown(InverseSqrt(1000), at=8000, length=2000)
    InverseSqrt(1000).take(8000) * (Constant().take(8000) >> Linear(2000))
    >>> cooldown(InverseSqrt(1000), at=8000, length=2000)(9000)
    0.16666666666666666
    >>> cooldown(InverseSqrt(1000), at=rest(), length=2000, end_value=1e-3).resolve(10_000)(10_000)
    0.001
    """
    if not isinstance(schedule, Schedule):
        raise InvalidInput(f"cooldown's schedule must be a schedule; got {schedule!r}")
    held = schedule.take(_start_of_the_way_down(at, length))
    if end_value is None:
        return held * _down(at, _fall("cooldown", length, end, shape))
    if end != 0:
        raise InvalidInput(
            f"cooldown takes end, a part of the value at its start, or end_value, a value; got {end!r} and {end_value!r}"
        )
    if shape == "exponential":
        left = _down(at, Linear(length))
        return held**left * _above_zero("cooldown's end_value", end_value) ** (1 - left)
    left = _down(at, _fall("cooldown", length, 0.0, shape))
    return held * left + Constant(end_value) * (1 - left)


def _down(at: int | Span, fall: Schedule) -> Schedule:
    """Level up to a step, and then down; no delay, since a fall of no steps would be at its end from the beginning."""
    return Constant().take(at) >> fall


def _start_of_the_way_down(at: int | Span, length: int | Span) -> int | Span:
    if not isinstance(at, Span) or at.unit != "rest":
        return at
    if isinstance(length, Span) and length.unit == "rest":
        raise InvalidInput("only one of cooldown's at and length can be rest()")
    if at.less:
        raise InvalidInput(f"cooldown's at is rest() where the way down ends with the run; got {at!r}")
    return at - length


@hinting
def hyperbolic(length: int | Span, bound: int | Span, end: float = 0.0, *, exponential: bool = False) -> Schedule:
    """Along a hyperbola that begins alike for every length: η(t) = 1 − (1 − end)·(h(0) − h(t)).

    With h(t) = √((n − t)/U·(2 − (n + t)/U)). The exponential form is end^(h(0) − h(t)). At n it comes to 1 − (1 − end)·h(0),
    which is `end` for n = U.

    Args:
        length: n, in steps or as a span.
        bound: U, the longest length that is thought of, of the unit of `length`.
        end: the lowest value; above 0 in the exponential form.
        exponential: whether the logarithm of the value follows the hyperbola.

    Raises:
        InvalidInput: a bound of another unit, or shorter than the length.

    Source: Kim, HyperbolicLR: Epoch Insensitive Learning Rate Scheduler, 2024 (arXiv:2407.15200).

    >>> [round(hyperbolic(4, 4)(t), 3) for t in range(5)]
    [1.0, 0.75, 0.5, 0.25, 0.0]
    >>> [round(hyperbolic(4, 5)(t), 3) for t in range(5)]
    [1.0, 0.795, 0.586, 0.367, 0.02]
    """
    part = _ratio(length, bound)
    square = Linear(length, start=part) * Linear(length, start=2 - part, end=2 - 2 * part)
    gone = math.sqrt(part * (2 - part)) - square**0.5
    return _above_zero("hyperbolic's end", end) ** gone if exponential else 1 - (1 - end) * gone


def _ratio(length: int | Span, bound: int | Span) -> float:
    """A length as a part of another one of its unit."""
    units = [one.unit if isinstance(one, Span) else "steps" for one in (length, bound)]
    amounts = [one.amount if isinstance(one, Span) else one for one in (length, bound)]
    if units[0] != units[1] or None in amounts or not all(isinstance(one, (int, float)) for one in amounts):
        raise InvalidInput(f"hyperbolic's length and bound must be of one unit; got {length!r} and {bound!r}")
    part, whole = amounts
    if not 0 <= part <= whole or not whole:  # type: ignore[operator]  # numbers, as was looked at
        raise InvalidInput(f"hyperbolic's bound must be at least as long as its length; got {bound!r} for {length!r}")
    return float(part / whole)  # type: ignore[operator]


@hinting
def one_cycle(start: float = 0.04, end: float = 4e-6, pct_start: float = 0.3) -> Schedule:
    """One cosine cycle over the whole run: `start` → 1 in its first part, then 1 → `end`.

    The leaf `OneCycle` is the same over a given number of steps, with its other forms.

    Source: Smith and Topin, Super-Convergence, 2018, section 3; cosine as in fastai.

    >>> one_cycle().resolve(total_steps=100)
    Cosine(30, start=0.04, end=1.0) >> Cosine(70, end=4e-06)
    """
    return Cosine(fraction(pct_start), start=start, end=1.0) >> Cosine(rest(), end=end)


@hinting
def sgdr(cycles: int, growth: float = 2.0, end: float = 0.0) -> Schedule:
    """`cycles` cosine cycles that fill the run, each `growth` times as long as the one before.

    The leaf `CosineRestarts` is the same with a given first cycle, and can go on for ever.

    Source: Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017, section 3.

    >>> sgdr(3).resolve(total_steps=700)
    Cosine(100) >> Cosine(200) >> Cosine(400)
    """
    cycles = whole("sgdr's cycles", cycles, 1, 100)
    if not 1 <= growth <= 10:
        raise InvalidInput(f"sgdr's growth must be a number from 1 to 10; got {growth!r}")
    total = sum(growth**i for i in range(cycles))
    schedule: Schedule = Cosine(rest(), end=end)
    for i in reversed(range(cycles - 1)):
        schedule = Cosine(fraction(growth**i / total), end=end) >> schedule
    return schedule


@hinting
def noam(d_model: int, warmup_steps: int) -> Schedule:
    """The Transformer's rate, counted from its first update: d_model^−½ · min((t+1)^−½, (t+1)·warmup_steps^−1.5).

    Args:
        d_model: the model's width, 1 or more.
        warmup_steps: updates until the peak (d_model·warmup_steps)^−½, 1 or more.

    Source: Vaswani et al., Attention Is All You Need, 2017, eq. 3 (its step_num is t + 1).

    >>> noam(512, 4000)(3999)
    0.0006987712429686843
    """
    d_model, warmup_steps = whole("noam's d_model", d_model, 1), whole("noam's warmup_steps", warmup_steps, 1)
    peak = (d_model * warmup_steps) ** -0.5
    rise = Linear(warmup_steps - 1, start=peak / warmup_steps, end=peak)
    return rise >> InverseSqrt(warmup_steps, start=peak)
