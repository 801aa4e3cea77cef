"""A schedule in one sentence."""

from collections.abc import Sequence as Several
from dataclasses import replace
from functools import singledispatch
from typing import Any

from gradus.schedules import algebra, cycles, leaves, metric, noise
from gradus.schedules.schedule import Schedule
from gradus.schedules.spans import Span

__all__ = ["explain", "length_in_words", "number"]


def explain(schedule: Schedule) -> str:
    """What a schedule does, in one sentence.

    Args:
        schedule: any schedule, a template too.

    >>> from gradus.schedules import Constant, Cosine, warmup
    >>> explain(warmup(500) >> Constant().take(1000) >> Cosine(8500, end=0.01))
    'Warms up linearly from 0 to 1 over 500 steps, holds 1 for 1,000 steps, then falls along a cosine from 1 to 0.01 over 8,500 steps and holds 0.01.'
    """  # noqa: E501 - a sentence as it comes
    words = _words(schedule)
    words = f"first {words}" if words.startswith("(") else words
    return f"{words[0].upper()}{words[1:]}{_end(schedule, words)}."


def number(value: float) -> str:
    """A number as people write it: 8500 as 8,500, and 0.30000000000000004 as 0.3."""
    value += 0.0  # there is no −0 among people
    return f"{value:,.0f}" if abs(value) < 1e15 and value == int(value) else f"{value:.6g}"


def length_in_words(length: int | Span) -> str:
    """A length as people say it."""
    if not isinstance(length, Span):
        return "1 step" if length == 1 else f"{number(length)} steps"
    if length.unit == "rest":
        return f"the rest of the run{' but its last ' if length.less else ''}{_listed([*map(length_in_words, length.less)])}"
    assert length.amount is not None
    if length.unit == "fraction":
        return f"{number(100 * length.amount)} % of the run"
    return f"{number(length.amount)} {length.unit if length.amount != 1 else length.unit.rstrip('s')}"


def _listed(words: Several[str]) -> str:
    return "".join(words) if len(words) < 2 else f"{', '.join(words[:-1])} and {words[-1]}"


def _inner(schedule: Schedule) -> str:
    """A part of a longer sentence; in brackets where its own commas would mix with the others."""
    words = _words(schedule)
    return f"({words})" if _is_long(words) else words


def _is_long(words: str) -> bool:
    return ", " in words or "; " in words


def _with(schedule: Schedule, *additions: str) -> str:
    """A schedule's words with what is done to it, set apart as far as they need."""
    words = _words(schedule)
    apart = "; " if _is_long(words) else ", "
    return apart.join((words, *additions))


def _end(schedule: Schedule, words: str) -> str:
    """What comes after the end."""
    inner: Any = schedule.schedule if isinstance(schedule, algebra.Absolute) else schedule
    last = inner.members[-1] if isinstance(inner, algebra.Sequence) else inner
    if inner.is_endless or isinstance(last, (algebra.After, algebra.Take)):
        held = None
    elif inner._needs:
        held = getattr(last, "end", None)
    else:
        held = inner(len(inner))
    if held is None:
        return ""
    plain = isinstance(inner, algebra.Sequence) or not (_is_long(words))
    return f"{' and' if plain else ', then'} holds {number(held)}"


@singledispatch
def _words(schedule: Schedule) -> str:
    """What a kind of schedule does; every kind has its own below, but for a class of the user's own."""
    name, length = f"follows {type(schedule).__name__}", schedule.length
    over = "" if length is None else f" over {length_in_words(length)}"
    if schedule._needs:
        return name + over
    end = "" if schedule.is_endless else f" to {number(schedule(len(schedule)))}"
    return f"{name} from {number(schedule(0))}{end}{over}"


def _way(schedule: Any, along: str) -> str:
    """From a start to an end, over a length."""
    if schedule.start == schedule.end:
        return f"holds {number(schedule.start)} for {length_in_words(schedule.length)}"
    verb = "rises" if schedule.end > schedule.start else "falls"
    over = length_in_words(schedule.length)
    return f"{verb} {along} from {number(schedule.start)} to {number(schedule.end)} over {over}"


def _bent(schedule: Any, name: str) -> str:
    """The name of a curve, with the exponents that bend it."""
    bends = [f"{which} = {number(getattr(schedule, which))}" for which in ("k", "power") if getattr(schedule, which) != 1]
    return f"{name} with {_listed(bends)}" if bends else name


@_words.register
def _(schedule: leaves.Constant) -> str:
    return f"holds {number(schedule.value)}"


@_words.register
def _(schedule: leaves.Linear) -> str:
    return _way(schedule, "linearly")


@_words.register
def _(schedule: leaves.Logarithmic) -> str:
    return _way(schedule, "along a logarithm")


@_words.register
def _(schedule: leaves.Cosine) -> str:
    return _way(schedule, f"along {_bent(schedule, 'a cosine')}")


@_words.register
def _(schedule: leaves.Polynomial) -> str:
    return _way(schedule, f"along {_bent(schedule, 'a polynomial')}")


@_words.register
def _(schedule: leaves.Tanh) -> str:
    return _way(schedule, "along a hyperbolic tangent")


@_words.register
def _(schedule: leaves.Rex) -> str:
    return _way(schedule, "along REX's curve")


@_words.register
def _(schedule: leaves.Exponential) -> str:
    every = "every step" if schedule.every == 1 else f"every {length_in_words(schedule.every)}"
    floor = f", but not below {number(schedule.floor)}" if schedule.floor > 0 else ""
    return f"changes from {number(schedule.start)} by a factor of {number(schedule.gamma)} {every}{floor}"


@_words.register
def _(schedule: leaves.Step) -> str:
    every = length_in_words(schedule.every)
    return f"starts at {number(schedule.start)} and is multiplied by {number(schedule.gamma)} every {every}"


@_words.register
def _(schedule: leaves.MultiStep) -> str:
    if not schedule.milestones:
        return f"holds {number(schedule.start)}"
    places = _listed([_place(milestone) for milestone in schedule.milestones])
    return f"starts at {number(schedule.start)} and is multiplied by {number(schedule.gamma)} at {places}"


def _place(step: int | Span) -> str:
    if not isinstance(step, Span):
        return f"step {number(step)}"
    if step.unit != "rest":
        return length_in_words(step)
    before = f"{_listed([length_in_words(one) for one in step.less])} before " if step.less else ""
    return f"{before}the end of the run"


@_words.register
def _(schedule: leaves.Piecewise) -> str:
    points = _listed([f"{number(value)} at {_place(step)}" for step, value in schedule.points])
    if schedule.interpolation == "constant":
        return f"steps through {points}"
    return f"goes {'along cosines' if schedule.interpolation == 'cosine' else 'straight'} through {points}"


@_words.register
def _(schedule: leaves.PowerLaw) -> str:
    return (
        f"falls from {number(schedule.start)} as the power −{number(schedule.exponent)} of the step, "
        f"on a scale of {length_in_words(schedule.timescale)}"
    )


@_words.register
def _(schedule: leaves.InverseSqrt) -> str:
    return (
        f"falls from {number(schedule.start)} with the inverse square root of the step, "
        f"on a scale of {length_in_words(schedule.timescale)}"
    )


@_words.register
def _(schedule: leaves.RAdamWarmup) -> str:
    return f"follows RAdam's rectification of the variance for beta2 = {number(schedule.beta2)}"


@_words.register
def _(schedule: leaves.Lambda) -> str:
    function = schedule.function
    return f"follows the function {getattr(function, '__qualname__', None) or repr(function)}"


@_words.register
def _(schedule: cycles.Cyclic) -> str:
    down = schedule.up if schedule.down is None else schedule.down
    way = f"{length_in_words(schedule.up)} up and {length_in_words(down)} down"
    shrinking = {
        "triangular": "",
        "triangular2": ", half as high each time",
        "exp_range": f", lower by a factor of {number(schedule.gamma)} each step",
    }
    return f"swings between {number(schedule.low)} and {number(schedule.high)}, {way}{shrinking[schedule.mode]}"


@_words.register
def _(schedule: cycles.OneCycle) -> str:
    up = f"rises from {number(schedule.start)} to {number(schedule.peak)} in the first {number(100 * schedule.pct_start)} %"
    down = f"falls to {number(schedule.end)}"
    if schedule.three_phase:
        down = f"falls as far in as long a time, then to {number(schedule.end)}"
    shape = "along cosines" if schedule.anneal == "cosine" else "linearly"
    return f"{up} of {length_in_words(schedule.length)} and {down}, {shape}"


@_words.register
def _(schedule: cycles.CosineRestarts) -> str:
    growth = "" if schedule.growth == 1 else f", each cycle {number(schedule.growth)} times as long as the one before"
    decay = "" if schedule.decay == 1 else f", each peak {number(schedule.decay)} times the one before"
    times = "" if schedule.cycles is None else f", {number(schedule.cycles)} times in all"
    period = length_in_words(schedule.period)
    fall = f"falls along a cosine from {number(schedule.start)} to {number(schedule.end)} over {period}"
    lows = "" if schedule.end_decay == 1 else f", each low {number(schedule.end_decay)} times the one before"
    return f"{fall} and starts again{growth}{decay}{lows}{times}"


@_words.register
def _(schedule: cycles.Chebyshev) -> str:
    sizes = f"the {number(schedule.nodes)} step sizes of Chebyshev's iteration"
    return f"goes through {sizes}, between {number(1 / schedule.high)} and {number(1 / schedule.low)}, over and over"


@_words.register
def _(schedule: noise.Noise) -> str:
    about = f"about {number(schedule.center)} with seed {schedule.seed}"
    if schedule.distribution == "normal":
        return f"scatters normally {about}, with a standard deviation of {number(schedule.spread)}"
    return f"scatters evenly by ±{number(schedule.spread)} {about}"


@_words.register
def _(schedule: metric.Plateau) -> str:
    better = "fallen" if schedule.mode == "min" else "risen"
    return f"is multiplied by {number(schedule.factor)} when the metric hasn't {better} for {schedule.patience} observations"


@_words.register
def _(schedule: metric.Greedy) -> str:
    factor = number(schedule.factor)
    return f"is divided by {factor} while the metric gets better and multiplied by it while it gets worse"


# Compositions


@_words.register
def _(schedule: algebra.Sequence) -> str:
    first, *rest = schedule.members
    words = [_phase(first, first=True), *map(_phase, rest)]
    return words[0] if not rest else f"{', '.join(words[:-1])}, then {words[-1]}"


def _phase(schedule: Any, first: bool = False) -> str:
    words = _inner(schedule)
    return words.replace("rises", "warms up", 1) if first and words.startswith("rises") and "," not in words else words


def _with_constants(schedule: Any, what: str, each: str) -> str:
    """A composition of one schedule or several with constants, which read better at the end."""
    constants = [number(member.value) for member in schedule.members if isinstance(member, leaves.Constant)]
    varying = [member for member in schedule.members if not isinstance(member, leaves.Constant)]
    if not varying:
        return f"holds {number(schedule(0))}"
    ends = [f"{what} {_listed(constants)}"] if constants else []
    return _with(varying[0], *(f"{each} {_inner(other)}" for other in varying[1:]), *ends)


@_words.register
def _(schedule: algebra.Product) -> str:
    return _with_constants(schedule, "all times", "times a factor that")


@_words.register
def _(schedule: algebra.Sum) -> str:
    return _with_constants(schedule, "plus", "plus a part that")


def _in_order(schedule: Any, each: str) -> str:
    """A composition whose order counts."""
    first, *others = schedule.members
    parts = [
        f"{each} {number(other.value)}" if isinstance(other, leaves.Constant) else f"{each} one that {_inner(other)}"
        for other in others
    ]
    return _with(first, *parts)


@_words.register
def _(schedule: algebra.Difference) -> str:
    return _in_order(schedule, "less")


@_words.register
def _(schedule: algebra.Quotient) -> str:
    return _in_order(schedule, "divided by")


@_words.register
def _(schedule: algebra.Power) -> str:
    base, exponent = schedule.members
    if isinstance(base, leaves.Constant) and isinstance(exponent, leaves.Linear) and base.value > 0:
        ends = {"start": base.value**exponent.start, "end": base.value**exponent.end}
        return _way(replace(exponent, **ends), "exponentially")
    return _in_order(schedule, "to the power of")


@_words.register
def _(schedule: algebra.Minimum) -> str:
    return _with_constants(schedule, "but at most", "or, where it is lower, one that")


@_words.register
def _(schedule: algebra.Maximum) -> str:
    return _with_constants(schedule, "but at least", "or, where it is higher, one that")


@_words.register
def _(schedule: algebra.Repeat) -> str:
    times = "for ever" if schedule.times is None else f"{number(schedule.times)} times"
    return _with(schedule.schedule, times)


@_words.register
def _(schedule: algebra.Delay) -> str:
    return f"waits for {length_in_words(schedule.steps)}, then {_inner(schedule.schedule)}"


@_words.register
def _(schedule: algebra.Stretch) -> str:
    return _with(schedule.schedule, f"in {number(schedule.factor)} times the steps")


@_words.register
def _(schedule: algebra.Skip) -> str:
    return _with(schedule.schedule, f"without its first {length_in_words(schedule.steps)}")


@_words.register
def _(schedule: algebra.Staircase) -> str:
    return _with(schedule.schedule, f"in stairs of {length_in_words(schedule.every)}")


@_words.register
def _(schedule: algebra.Take) -> str:
    if isinstance(schedule.schedule, leaves.Constant):
        return f"{_words(schedule.schedule)} for {length_in_words(schedule.steps)}"
    return _with(schedule.schedule, f"up to {_place(schedule.steps)}")


@_words.register
def _(schedule: algebra.After) -> str:
    past = "then back and forth" if schedule.mode == "mirror" else "and allows no later step"
    return _with(schedule.schedule, past)


@_words.register
def _(schedule: algebra.Absolute) -> str:
    return f"as the value itself, {_words(schedule.schedule)}"
