"""Compositions that have a name of their own. Each is an ordinary schedule, which prints as what it is made of."""

from typing import Literal

from gradus.errors import InvalidInput
from gradus.schedules.leaves import Constant, Cosine, InverseSqrt, Linear
from gradus.schedules.schedule import Absolute, Maximum, Minimum, Schedule, joined
from gradus.schedules.spans import Span, fraction, rest

__all__ = ["absolute", "max", "min", "noam", "one_cycle", "sgdr", "warmup", "warmup_cosine", "wsd"]


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
    return joined(Minimum, *_given(schedules))


def max(*schedules: Schedule | float) -> Schedule:  # noqa: A001 - the algebra's own name
    """The highest value at each step.

    >>> from gradus.schedules import Linear
    >>> max(Linear(10), 0.5)(10)
    0.5
    """
    return joined(Maximum, *_given(schedules))


def _given(schedules: tuple[Schedule | float, ...]) -> tuple[Schedule | float, ...]:
    for schedule in schedules:
        if isinstance(schedule, bool) or not isinstance(schedule, (Schedule, int, float)):
            raise InvalidInput(f"min and max take schedules and numbers; got {schedule!r}")
    return schedules


def warmup(length: int | Span, start: float = 0.0) -> Linear:
    """A straight line up to full height: start + (1 − start)·t/n, so at t = n the next phase begins at its own start.

    Args:
        length: n, in steps or as a span.
        start: the factor at step 0; with 0 the first update moves nothing.

    Source: Goyal et al., Accurate, Large Minibatch SGD, 2017, section 2.2.

    >>> warmup(4)
    Linear(4, start=0.0, end=1.0)
    """
    return Linear(length, start=start, end=1.0)


def warmup_cosine(warmup_length: int | Span, length: int | Span | None = None, end: float = 0.0) -> Schedule:
    """Linear warmup, then a cosine to `end` over `length` more steps, or over the rest of the run.

    >>> warmup_cosine(5, 15, end=0.03)
    Linear(5, start=0.0, end=1.0) >> Cosine(15, end=0.03)
    """
    return warmup(warmup_length) >> Cosine(rest() if length is None else length, end=end)


def wsd(
    warmup_length: int | Span,
    stable: int | Span | None = None,
    decay: int | Span | None = None,
    end: float = 0.0,
    shape: Literal["linear", "cosine"] = "linear",
) -> Schedule:
    """Warmup, stable, decay: up, level, and down to `end` in the last part of the run.

    Args:
        warmup_length: of the way up, in steps or as a span.
        stable: of the level part; what the other two leave of the run unless given.
        decay: of the way down; a fifth of the run unless given.
        end: the factor at the end.
        shape: of the way down.

    Source: Hu et al., MiniCPM, 2024, section 4.

    >>> wsd(100).resolve(total_steps=1000)
    Linear(100, start=0.0, end=1.0) >> Constant().take(700) >> Linear(200)
    """
    if shape not in ("linear", "cosine"):
        raise InvalidInput(f'wsd\'s shape must be "linear" or "cosine"; got {shape!r}')
    down = (Linear if shape == "linear" else Cosine)(fraction(0.2) if decay is None else decay, end=end)
    return warmup(warmup_length) >> Constant().take(rest() if stable is None else stable) >> down


def one_cycle(start: float = 0.04, end: float = 4e-6, pct_start: float = 0.3) -> Schedule:
    """One cosine cycle over the whole run: `start` → 1 in its first part, then 1 → `end`.

    The leaf `OneCycle` is the same over a given number of steps, with its other forms.

    Source: Smith and Topin, Super-Convergence, 2018, section 3; cosine as in fastai.

    >>> one_cycle().resolve(total_steps=100)
    Cosine(30, start=0.04, end=1.0) >> Cosine(70, end=4e-06)
    """
    return Cosine(fraction(pct_start), start=start, end=1.0) >> Cosine(rest(), end=end)


def sgdr(cycles: int, growth: float = 2.0, end: float = 0.0) -> Schedule:
    """So many cosine cycles that fill the run, each `growth` times as long as the one before.

    The leaf `CosineRestarts` is the same with a given first cycle, and can go on for ever.

    Source: Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017, section 3.

    >>> sgdr(3).resolve(total_steps=700)
    Cosine(100) >> Cosine(200) >> Cosine(400)
    """
    if isinstance(cycles, bool) or not isinstance(cycles, int) or not 1 <= cycles <= 100:
        raise InvalidInput(f"sgdr takes a whole number of cycles from 1 to 100; got {cycles!r}")
    if not 1 <= growth <= 10:
        raise InvalidInput(f"sgdr's growth must be a number from 1 to 10; got {growth!r}")
    whole = sum(growth**i for i in range(cycles))
    schedule: Schedule = Cosine(rest(), end=end)
    for i in reversed(range(cycles - 1)):
        schedule = Cosine(fraction(growth**i / whole), end=end) >> schedule
    return schedule


def noam(d_model: int, warmup_steps: int) -> Schedule:
    """The Transformer's rate, counted from its first update: d_model^−½ · min((t+1)^−½, (t+1)·warmup_steps^−1.5).

    Args:
        d_model: the model's width, 1 or more.
        warmup_steps: updates until the peak (d_model·warmup_steps)^−½, 1 or more.

    Source: Vaswani et al., Attention Is All You Need, 2017, eq. 3 (its step_num is t + 1).

    >>> noam(512, 4000)(3999)
    0.0006987712429686843
    """
    for name, value in (("d_model", d_model), ("warmup_steps", warmup_steps)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidInput(f"noam's {name} must be a whole number from 1; got {value!r}")
    peak = (d_model * warmup_steps) ** -0.5
    rise = Linear(warmup_steps - 1, start=peak / warmup_steps, end=peak)
    return rise >> InverseSqrt(warmup_steps, start=peak)
