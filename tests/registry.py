"""What the laws are held for: every kind of schedule, every executor, and input that must be refused."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st

from gradus.schedules import (
    Chebyshev,
    Constant,
    Cosine,
    CosineRestarts,
    Cyclic,
    Exponential,
    InverseSqrt,
    Lambda,
    Linear,
    Logarithmic,
    MultiStep,
    Noise,
    OneCycle,
    Piecewise,
    Polynomial,
    PowerLaw,
    RAdamWarmup,
    Rex,
    Schedule,
    Span,
    Step,
    Tanh,
    absolute,
    cooldown,
    epochs,
    fraction,
    hyperbolic,
    noam,
    one_cycle,
    rest,
    samples,
    sgdr,
    tokens,
    untuned_exponential,
    untuned_linear,
    warmup,
    warmup_cosine,
    wsd,
    wsd_s,
)
from gradus.schedules import max as highest
from gradus.schedules import min as lowest


class Saw(Schedule):
    """A kind of a user's own: nothing but fields and a formula."""

    length: int
    teeth: int = 3
    low: float = 0.25

    def at(self, t: Any, ops: Any) -> Any:
        return self.low + (1 - self.low) * (1 - ops.progress(t, self.length) * self.teeth % 1)


class Stairs(Schedule):
    """Another one, which goes on for ever, gives whole numbers, and has a field of each sort."""

    every: int | Span
    heights: tuple[int, int] = (1, 3)
    mode: Literal["up", "down"] = "up"
    inner: Schedule = Constant(2.0)
    name: str | None = None

    def at(self, t: Any, ops: Any) -> Any:
        low, high = self.heights if self.mode == "up" else self.heights[::-1]
        return ops.where(t // self.every % 2 == 0, low + 0 * t, high + 0 * t)


def halving(t: int) -> float:
    """A function that can be saved by its name."""
    return 0.5**t


# One of each kind, and each option of it that changes the formula. A new kind goes here, and every law holds it.
SCHEDULES: dict[str, Schedule] = {
    "constant": Constant(0.3),
    "linear": Linear(10, start=0.2, end=1.0),
    "linear, no length": Linear(0, start=0.2, end=1.0),
    "cosine": Cosine(20, start=0.3, end=0.01),
    "cosine, k and power": Cosine(20, end=0.05, k=1.5, power=0.7),
    "polynomial": Polynomial(12, end=0.1, power=2.5),
    "polynomial, k": Polynomial(12, start=0.4, power=0.9, k=2.0),
    "one minus square root": Polynomial(25, end=0.1, k=0.5),
    "tanh": Tanh(20, start=0.5, end=0.01),
    "tanh, other bounds": Tanh(20, low=-2, high=1),
    "tanh, no length": Tanh(0, end=0.3),
    "rex": Rex(20, end=0.02),
    "rex, d": Rex(20, start=0.3, d=0.9),
    "exponential": Exponential(0.9, start=0.5, floor=0.01),
    "exponential, growing": Exponential(1.1, start=1e-7),
    "exponential, every": Exponential(0.5, every=7),
    "step": Step(7, gamma=0.5),
    "multi-step": MultiStep((3, 3, 11), gamma=0.5, start=0.4),
    "piecewise constant": Piecewise(((2, 1.0), (7, 0.5), (15, 0.1))),
    "piecewise linear": Piecewise(((0, 0.0), (7, 1.0), (15, 0.1)), "linear"),
    "piecewise cosine": Piecewise(((3, 0.2), (7, 1.0)), "cosine"),
    "inverse square root": InverseSqrt(4, start=0.1),
    "power law": PowerLaw(0.51, timescale=3, start=0.7),
    "inverse time": PowerLaw(1.0).stretch(2.5),
    "power law, steep": PowerLaw(300.0),
    "rectification": RAdamWarmup(),
    "rectification, short": RAdamWarmup(0.61),
    "noise": Noise(0.3),
    "noise, seed": Noise(0.3, seed=2**32 - 1),
    "noise, normal": Noise(0.3, seed=5, center=0.0, distribution="normal"),
    "noise, slow": Noise(0.1, seed=1).stretch(3),
    "lambda": Lambda(halving),
    "own": Saw(10),
    "own, in a composition": Saw(10, low=0.5) >> Saw(7, teeth=1) * 0.5,
    "own, of whole numbers": Stairs(4, (2, 5), mode="down", name="it's (a:b(c)"),
    "triangular": Cyclic(4, low=0.1, high=0.7),
    "triangular2": Cyclic(4, 3, low=0.1, mode="triangular2"),
    "exp_range": Cyclic(3, 5, mode="exp_range", gamma=0.99),
    "one cycle": OneCycle(23),
    "one cycle, three phases": OneCycle(23, three_phase=True, anneal="linear"),
    "restarts": CosineRestarts(5, end=0.1),
    "restarts, growing": CosineRestarts(5, growth=1.5, decay=0.8),
    "restarts, ending": CosineRestarts(4, growth=2, cycles=3, end=0.05, endpoint=False),
    "sequence": Linear(5, start=0.0, end=1.0) >> Constant().take(6) >> Cosine(9, end=0.05),
    "product": Cosine(9) * Step(4) * 0.5,
    "sum": Cosine(9) + 0.1 + Linear(4),
    "difference": 1 - Cosine(9) - Linear(4, end=0.5),
    "difference of a difference": Linear(4) - (Cosine(9) - 0.1),
    "quotient": Cosine(9) / (1 + Linear(4)) / 2,
    "power": 0.1 ** Linear(7),
    "power of a power": (Linear(5) ** 2) ** (2 ** Cosine(3)),
    "negated": -Cosine(9) * 2,
    "every operator": (0.01 ** (1 - Linear(9)) / 2 - 0.1 * Cosine(5)) ** 3 >> -Linear(3),
    "min": lowest(Cosine(9), 0.4, Linear(20)),
    "max": highest(Cosine(9), 0.4),
    "clip": Linear(10).clip(0.2, 0.7),
    "repeat": Linear(6).repeat(),
    "repeat, ending": Linear(6, end=0.5).repeat(3),
    "delay": Cosine(8).delay(5),
    "stretch": (Linear(4) >> Cosine(5)).stretch(2.5),
    "skip": (Linear(4) >> Cosine(7)).skip(3),
    "skip, endless": Cyclic(4).skip(3),
    "staircase": (Linear(4) >> Cosine(7)).staircase(3),
    "staircase, endless": Noise(0.1).staircase(5),
    "take": Exponential(0.9).take(6),
    "mirror": Linear(5).after("mirror"),
    "raise": Linear(1000).after("raise"),
    "absolute": absolute(Cosine(20, start=0.3)),
    "warmup": warmup(5),
    "warmup, cosine": warmup(5, start=0.1, shape="cosine"),
    "warmup, exponential": warmup(5, start=0.01, shape="exponential"),
    "warmup_cosine": warmup_cosine(5, 15, end=0.03),
    "noam": noam(512, 10),
    "untuned_linear": untuned_linear(0.95),
    "untuned_exponential": untuned_exponential(),
    "logarithmic": Logarithmic(20, start=0.5, end=0.1),
    "logarithmic, no length": Logarithmic(0, start=0.5, end=0.1),
    "chebyshev": Chebyshev(16),
    "chebyshev, one": Chebyshev(1, low=0.1, high=0.2),
    "restarts, shrinking lows": CosineRestarts(5, end=0.1, growth=1.5, decay=0.5, end_decay=0.5, cycles=3),
    "warmup, logarithmic": warmup(5, start=0.1, shape="logarithmic"),
    "warmup from one": warmup(5, from_one=True),
    "wsd, exponential": wsd(3, 8, 9, end=0.1, shape="exponential"),
    "cooldown to a value": cooldown(InverseSqrt(4), 20, 10, end_value=0.1, shape="1-sqrt"),
    "cooldown to a value, exponential": cooldown(InverseSqrt(4), 20, 10, end_value=0.1, shape="exponential"),
    "hyperbolic": hyperbolic(30, 50, 0.1),
    "hyperbolic, exponential": hyperbolic(30, 30, 0.01, exponential=True),
    "wsd_s": wsd_s(3, (4, 9), 5, end=0.1, shape="1-sqrt"),
    "cooldown": cooldown(InverseSqrt(4), 20, 10, end=0.1, shape="cosine"),
}

# Definitions that fit any run, with what they become in one of 1,000 steps, 100 an epoch, 32 samples and 2,048 tokens each.
RUN: dict[str, Any] = {"steps_per_epoch": 100, "samples_per_step": 32, "tokens_per_step": 2048}
TEMPLATES: dict[str, tuple[Schedule, Schedule]] = {
    "epochs": (Cosine(epochs(2.5)), Cosine(250)),
    "fraction": (Linear(fraction(0.05)), Linear(50)),
    "samples": (Linear(samples(3200)), Linear(100)),
    "tokens": (Linear(tokens(2048 * 30)), Linear(30)),
    "rest alone": (Cosine(rest()), Cosine(1000)),
    "rest after": (warmup(fraction(0.05)) >> Cosine(rest()), warmup(50) >> Cosine(950)),
    "rest between": (wsd(100), warmup(100) >> Constant().take(700) >> Linear(200)),
    "rest in a phase": (
        Linear(10) >> (Linear(20) >> Cosine(rest())) * 2 >> Linear(30),
        Linear(10) >> (Linear(20) >> Cosine(940)) * 2 >> Linear(30),
    ),
    "rest before an endless end": (Cosine(rest()) >> Constant(0.1), Cosine(1000) >> Constant(0.1)),
    "rest in a product": (Cosine(rest()) * Linear(5), Cosine(1000) * Linear(5)),
    "rest delayed": (Cosine(rest()).delay(fraction(0.1)), Cosine(900).delay(100)),
    "rest repeated": (Cosine(rest()).repeat(4), Cosine(250).repeat(4)),
    "rest stretched": (Cosine(rest()).stretch(4), Cosine(250).stretch(4)),
    "taken of the rest": (Cosine(rest()).take(fraction(0.5)), Cosine(1000).take(500)),
    "delayed to the end": (Linear(epochs(2)).delay(rest()), Linear(200).delay(800)),
    "all but the last": (Linear(rest() - epochs(2) - 50) >> Linear(9), Linear(741).take(991) >> Linear(9)),
    "the last n": (
        Piecewise(((rest() - fraction(0.2), 1.0), (rest(), 0.0)), "linear"),
        Piecewise(((800, 1.0), (1000, 0.0)), "linear"),
    ),
    "rest taken": (Exponential(0.9).take(rest()), Exponential(0.9).take(1000)),
    "own": (warmup(10) >> Saw(rest()), warmup(10) >> Saw(990)),
    "own, endless": (Stairs(epochs(1)), Stairs(100)),
    "milestones": (MultiStep((epochs(3), epochs(6))), MultiStep((300, 600))),
    "points": (Piecewise(((0, 1.0), (epochs(1), 0.5))), Piecewise(((0, 1.0), (100, 0.5)))),
    "period": (CosineRestarts(epochs(1), growth=2, cycles=3), CosineRestarts(100, growth=2, cycles=3)),
    "rest skipped": (Cosine(rest()).skip(fraction(0.1)), Cosine(1100).skip(100)),
    "stairs": (Cosine(rest()).staircase(epochs(1)), Cosine(1000).staircase(100)),
    "cooldown": (
        cooldown(Cosine(2000), fraction(0.8), rest()),
        Cosine(2000).take(800) * (Constant().take(800) >> Linear(200)),
    ),
    "cooldown at the end": (
        cooldown(warmup(10) >> Cosine(rest()), rest(), epochs(2), end_value=0.1),
        (warmup(10) >> Cosine(990)).take(800) * (Constant().take(800) >> Linear(200))
        + 0.1 * (1 - (Constant().take(800) >> Linear(200))),
    ),
    "hyperbolic": (hyperbolic(epochs(3), epochs(4)), hyperbolic(300, 400)),
    "warmup, exponential": (
        warmup(epochs(1), start=0.01, shape="exponential"),
        warmup(100, start=0.01, shape="exponential"),
    ),
    "wsd_s": (wsd_s(100, (epochs(3), rest()), 50), wsd_s(100, (300, 500), 50)),
    "power": (PowerLaw(1, timescale=epochs(1)), PowerLaw(1, timescale=100)),
    "timescale": (InverseSqrt(epochs(1)), InverseSqrt(100)),
    "triangles": (Cyclic(epochs(1), epochs(2)), Cyclic(100, 200)),
    "absolute": (absolute(Cosine(rest(), start=0.3)), absolute(Cosine(1000, start=0.3))),
    "one_cycle": (one_cycle(), Cosine(300, start=0.04, end=1.0) >> Cosine(700, end=4e-6)),
    "sgdr": (sgdr(2, growth=3), Cosine(250) >> Cosine(750)),
    "warmup_cosine": (warmup_cosine(10), warmup(10) >> Cosine(990)),
}


@dataclass(frozen=True)
class Refused:
    """Input that must be refused, and what the message must say."""

    make: Callable[[], Any]
    message: str


# Hypothesis: any composition to a depth, of leaves with any settings.

_heights = st.floats(-2, 2, allow_subnormal=False)
_lengths = st.integers(0, 40)
_periods = st.integers(1, 40)
_gammas = st.floats(0, 1)

ENDING_LEAVES = st.one_of(
    st.builds(Linear, _lengths, start=_heights, end=_heights),
    st.builds(Cosine, _lengths, start=_heights, end=_heights),
    st.builds(Polynomial, _lengths, start=_heights, end=_heights, power=st.floats(0.1, 5), k=st.floats(0.1, 5)),
    st.builds(Tanh, _lengths, start=_heights, end=_heights, low=st.floats(-7, -1), high=st.floats(0, 4)),
    st.builds(Rex, _lengths, start=_heights, end=_heights, d=st.floats(0, 0.99)),
    st.builds(MultiStep, st.lists(_lengths, max_size=4).map(sorted), gamma=_gammas, start=_heights),
    st.builds(
        Piecewise,
        st.dictionaries(_lengths, _heights, min_size=1, max_size=5).map(lambda d: tuple(sorted(d.items()))),
        st.sampled_from(["constant", "linear", "cosine"]),
    ),
    st.builds(OneCycle, _lengths, pct_start=st.floats(0, 0.5), three_phase=st.booleans()),
    st.builds(CosineRestarts, _periods, growth=st.floats(1, 3), decay=st.floats(0.1, 1), cycles=st.integers(1, 5)),
)
ENDLESS_LEAVES = st.one_of(
    st.builds(Constant, _heights),
    st.builds(Exponential, _gammas, start=_heights, floor=_heights, every=_periods),
    st.builds(Step, _periods, gamma=_gammas, start=_heights),
    st.builds(InverseSqrt, _periods, start=_heights),
    st.builds(PowerLaw, st.floats(0, 5), timescale=_periods, start=_heights),
    st.builds(RAdamWarmup, st.floats(0.61, 0.9999)),
    st.builds(Noise, st.floats(0, 1), seed=st.integers(0, 2**32 - 1), distribution=st.sampled_from(["uniform", "normal"])),
    st.builds(Cyclic, _periods, _periods, low=_heights, high=_heights, mode=st.sampled_from(["triangular", "triangular2"])),
)


def _composed(members: st.SearchStrategy[Schedule]) -> st.SearchStrategy[Schedule]:
    ending = members.map(lambda s: s.take(9) if s.is_endless else s)
    repeatable = ending.map(lambda s: s if s.length else Linear(3))
    return st.one_of(
        st.tuples(ending, members).map(lambda pair: pair[0] >> pair[1]),
        st.tuples(members, members).map(lambda pair: pair[0] * pair[1]),
        st.tuples(members, members).map(lambda pair: pair[0] + pair[1]),
        st.tuples(members, members).map(lambda pair: pair[0] - pair[1]),
        st.tuples(members, members).map(lambda pair: pair[0] / highest(pair[1], 0.5)),
        st.tuples(members, st.floats(0, 2)).map(lambda pair: pair[0].clip(0.1, 2) ** pair[1]),
        members.map(lambda member: -member),
        st.tuples(members, members).map(lambda pair: lowest(*pair)),
        st.tuples(members, members).map(lambda pair: highest(*pair)),
        st.tuples(members, _heights, st.floats(0, 1)).map(lambda three: three[0].clip(three[1], three[1] + three[2])),
        st.tuples(repeatable, st.none() | st.integers(1, 4)).map(lambda pair: pair[0].repeat(pair[1])),
        st.tuples(members, _lengths).map(lambda pair: pair[0].delay(pair[1])),
        st.tuples(members, st.floats(0.25, 4)).map(lambda pair: pair[0].stretch(pair[1])),
        st.tuples(members, _lengths).map(lambda pair: pair[0].take(pair[1])),
        st.tuples(members, _lengths).map(lambda pair: pair[0].skip(pair[1])),
        st.tuples(members, _periods).map(lambda pair: pair[0].staircase(pair[1])),
        ending.map(lambda s: s.after("mirror")),
    )


LEAVES = st.one_of(ENDING_LEAVES, ENDLESS_LEAVES)
COMPOSITIONS = st.recursive(LEAVES, _composed, max_leaves=8)
DEPTH = 6
DEEP = LEAVES  # compositions of compositions, to this depth
for _ in range(DEPTH):
    DEEP = _composed(DEEP)


def depth(schedule: Schedule) -> int:
    """How many compositions lie one in the other."""
    parts = [part for part in schedule._parts() if isinstance(part, Schedule)]
    return 1 + max(map(depth, parts)) if parts else 0


def close(a: Any, b: Any, tolerance: float = 1e-12) -> bool:
    """Equal to a relative tolerance, or to the same part of 1 where the values are small."""
    return bool(np.allclose(a, b, rtol=tolerance, atol=tolerance)) and not math.isnan(np.sum(a))
