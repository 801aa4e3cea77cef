"""The values of schedules, against torch's schedulers stepped 0…N and against the papers' formulas."""

import itertools
import math
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from gradus.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Cyclic,
    Exponential,
    InverseSqrt,
    Linear,
    MultiStep,
    Noise,
    OneCycle,
    Piecewise,
    Polynomial,
    RAdamWarmup,
    Rex,
    Schedule,
    Step,
    Tanh,
    cooldown,
    noam,
    one_cycle,
    parse,
    sgdr,
    warmup,
    wsd,
    wsd_s,
)
from gradus.schedules.json import FORMER_NAMES

STEPS = 60
lengths = st.integers(1, 50)
rates = st.floats(1e-4, 1.0)
gammas = st.floats(0.05, 1.0)


def torch_rates(make: Callable[[torch.optim.Optimizer], Any], base: float) -> list[float]:
    """What torch's scheduler puts into the group at steps 0…N."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=base, momentum=0.9)
    seen = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch remarks on its own internals
        scheduler = make(optimizer)
        for _ in range(STEPS + 1):
            seen.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()
            scheduler.step()
    return seen


def assert_same(schedule: Schedule, base: float, expected: list[float], upto: int = STEPS) -> None:
    ours = [base * schedule(t) for t in range(upto + 1)]
    assert ours == pytest.approx(expected[: upto + 1], rel=1e-12, abs=1e-12 * base)


@given(base=rates, length=lengths, start=st.floats(0.01, 1), end=st.floats(0.01, 1))
@settings(max_examples=30)
def test_linear_is_torchs(base: float, length: int, start: float, end: float) -> None:
    """Linear(n, start, end) times the base is LinearLR(start_factor, end_factor, total_iters=n)."""
    expected = torch_rates(lambda o: lr_scheduler.LinearLR(o, start, end, total_iters=length), base)
    assert_same(Linear(length, start=start, end=end), base, expected)


@given(base=rates, length=lengths, ratio=st.floats(0, 1))
@settings(max_examples=30)
def test_cosine_is_torchs(base: float, length: int, ratio: float) -> None:
    """Cosine(n, end) times the base is CosineAnnealingLR(T_max=n, eta_min=base·end) up to step n; after it ours holds."""
    expected = torch_rates(lambda o: lr_scheduler.CosineAnnealingLR(o, length, eta_min=base * ratio), base)
    assert_same(Cosine(length, end=ratio), base, expected, upto=length)
    assert Cosine(length, end=ratio)(length + 7) == ratio


@given(base=rates, length=lengths, power=st.floats(0.5, 4))
@settings(max_examples=30)
def test_polynomial_is_torchs(base: float, length: int, power: float) -> None:
    """Polynomial(n, power) times the base is PolynomialLR(total_iters=n, power)."""
    expected = torch_rates(lambda o: lr_scheduler.PolynomialLR(o, total_iters=length, power=power), base)
    assert_same(Polynomial(length, power=power), base, expected)


@given(base=rates, gamma=gammas)
@settings(max_examples=30)
def test_exponential_is_torchs(base: float, gamma: float) -> None:
    """Exponential(gamma) times the base is ExponentialLR(gamma)."""
    assert_same(Exponential(gamma), base, torch_rates(lambda o: lr_scheduler.ExponentialLR(o, gamma), base))


@given(base=rates, every=lengths, gamma=gammas)
@settings(max_examples=30)
def test_step_is_torchs(base: float, every: int, gamma: float) -> None:
    """Step(every, gamma) times the base is StepLR(step_size=every, gamma)."""
    assert_same(Step(every, gamma=gamma), base, torch_rates(lambda o: lr_scheduler.StepLR(o, every, gamma), base))


@given(base=rates, milestones=st.lists(lengths, max_size=5).map(sorted), gamma=gammas)
@settings(max_examples=30)
def test_multi_step_is_torchs(base: float, milestones: list[int], gamma: float) -> None:
    """MultiStep(milestones, gamma) times the base is MultiStepLR(milestones, gamma), one named twice counting twice."""
    expected = torch_rates(lambda o: lr_scheduler.MultiStepLR(o, milestones, gamma), base)
    assert_same(MultiStep(milestones, gamma=gamma), base, expected)


@given(
    low=st.floats(0.001, 0.1),
    high=st.floats(0.1, 1),
    up=st.integers(1, 15),
    down=st.integers(1, 15),
    mode=st.sampled_from(["triangular", "triangular2", "exp_range"]),
    gamma=st.floats(0.9, 1),
)
@settings(max_examples=50)
def test_cyclic_is_torchs(low: float, high: float, up: int, down: int, mode: Any, gamma: float) -> None:
    """Cyclic(up, down, low, high, mode, gamma) is CyclicLR(base_lr=low, max_lr=high, …) in each of its modes."""

    def make(optimizer: torch.optim.Optimizer) -> lr_scheduler.CyclicLR:
        return lr_scheduler.CyclicLR(optimizer, low, high, up, down, mode=mode, gamma=gamma, cycle_momentum=False)

    assert_same(Cyclic(up, down, low=low, high=high, mode=mode, gamma=gamma), 1.0, torch_rates(make, low))


@given(
    peak=rates,
    total=st.integers(STEPS + 2, 200),
    pct=st.floats(0.1, 0.45),
    anneal=st.sampled_from(["cos", "linear"]),
    three=st.booleans(),
)
@settings(max_examples=50)
def test_one_cycle_is_torchs(peak: float, total: int, pct: float, anneal: Any, three: bool) -> None:
    """OneCycle(N − 1) with its peak at pct·N − 1 is OneCycleLR(total_steps=N, pct_start=pct), which counts from one."""

    def make(optimizer: torch.optim.Optimizer) -> lr_scheduler.OneCycleLR:
        return lr_scheduler.OneCycleLR(
            optimizer, peak, total, pct_start=pct, anneal_strategy=anneal, three_phase=three, cycle_momentum=False
        )

    ours = OneCycle(
        total - 1,
        start=1 / 25,
        end=1 / 25 / 1e4,
        pct_start=(pct * total - 1) / (total - 1),
        anneal="cosine" if anneal == "cos" else "linear",
        three_phase=three,
    )
    assert_same(ours, peak, torch_rates(make, peak))


@given(base=rates, period=st.integers(1, 20), growth=st.integers(1, 3), ratio=st.floats(0, 1))
@settings(max_examples=50)
def test_restarts_without_endpoint_are_torchs(base: float, period: int, growth: int, ratio: float) -> None:
    """CosineRestarts(T_0, growth=T_mult, endpoint=False) times the base is CosineAnnealingWarmRestarts(T_0, T_mult)."""

    def make(optimizer: torch.optim.Optimizer) -> lr_scheduler.CosineAnnealingWarmRestarts:
        return lr_scheduler.CosineAnnealingWarmRestarts(optimizer, period, growth, eta_min=base * ratio)

    schedule = CosineRestarts(period, growth=growth, end=ratio, endpoint=False)
    assert_same(schedule, base, torch_rates(make, base))


@given(period=st.integers(2, 30), growth=st.floats(1, 3), end=st.floats(0, 0.9), cycles=st.integers(1, 6))
@settings(max_examples=50)
def test_restarts_reach_their_end_value(period: int, growth: float, end: float, cycles: int) -> None:
    """Every cycle of CosineRestarts starts at its peak and has the end value at its last step, for any growth."""
    schedule = CosineRestarts(period, growth=growth, end=end, cycles=cycles)
    begin = 0
    for cycle in range(cycles):
        exact = period * (growth ** (cycle + 1) - 1) / (growth - 1) if growth > 1 else period * (cycle + 1)
        following = math.floor(exact + 0.5)
        assert schedule(begin) == pytest.approx(1.0)
        assert schedule(following - 1) == pytest.approx(end, abs=1e-12)
        begin = following
    assert schedule.length == begin
    assert schedule(begin) == schedule(10**9) == end


@given(t=st.integers(0, 10**6))
def test_square_root_is_its_formula(t: int) -> None:
    """InverseSqrt(start=0.1) is 0.1·(t+1)^−½."""
    assert InverseSqrt(start=0.1)(t) == pytest.approx(0.1 * (t + 1) ** -0.5, rel=1e-14)


@given(t=st.integers(0, 200))
def test_factor_is_its_recursion(t: int) -> None:
    """Exponential(0.9, start=0.5, floor=0.01) is η ← max(0.01, 0.9·η) from 0.5, t times over."""
    rate = 0.5
    for _ in range(t):
        rate = max(0.01, 0.9 * rate)
    assert Exponential(0.9, start=0.5, floor=0.01)(t) == pytest.approx(rate, rel=1e-12)


@given(d_model=st.integers(1, 4096), warmup_steps=st.integers(1, 10_000), t=st.integers(0, 10**5))
def test_noam_is_the_papers(d_model: int, warmup_steps: int, t: int) -> None:
    """noam is eq. 3 of Attention Is All You Need, whose step_num is t + 1."""
    step = t + 1
    expected = d_model**-0.5 * min(step**-0.5, step * warmup_steps**-1.5)
    assert noam(d_model, warmup_steps)(t) == pytest.approx(expected, rel=1e-12)


@given(n=st.integers(1, 1000), start=st.floats(0, 1))
def test_warmup_ends_at_full_height(n: int, start: float) -> None:
    """Warmup is start + (1 − start)·t/n, and the next phase begins at n with its own start."""
    schedule = warmup(n, start=start) >> Cosine(50)
    for t in {0, n // 3, n - 1}:
        assert schedule(t) == pytest.approx(start + (1 - start) * t / n, rel=1e-12, abs=1e-15)
    assert schedule(n) == 1.0


def test_wsd_goes_up_stays_and_comes_down() -> None:
    """WSD is 0 → 1 in its warmup, 1 in its stable phase, and reaches its end at the run's last step's end."""
    schedule = wsd(10, decay=20, end=0.1).resolve(total_steps=100)
    assert [schedule(t) for t in (0, 5, 10, 50, 80)] == [0.0, 0.5, 1.0, 1.0, 1.0]
    assert schedule(90) == pytest.approx(0.55)
    assert schedule(100) == 0.1


def test_recipes_fill_the_run() -> None:
    """one_cycle and sgdr end with the run, whatever its length."""
    for total in (10, 101, 12_345):
        assert one_cycle().resolve(total_steps=total).length == total
        assert sgdr(4, growth=1.7).resolve(total_steps=total).length == total


@given(
    points=st.dictionaries(st.integers(0, 100), st.floats(-1, 1), min_size=1, max_size=6).map(lambda d: sorted(d.items())),
    t=st.integers(0, 120),
)
def test_piecewise_is_numpys_interpolation(points: list[tuple[int, float]], t: int) -> None:
    """Piecewise(points, "linear") is numpy.interp; "constant" is the value of the last point that isn't after t."""
    import numpy as np

    steps, values = zip(*points, strict=True)
    assert Piecewise(points, "linear")(t) == pytest.approx(np.interp(t, steps, values), abs=1e-12)
    before = [value for step, value in points if step <= t]
    assert Piecewise(points)(t) == (before[-1] if before else values[0])


@pytest.mark.parametrize("t", [2**24 + 1, 2**53 - 1])
def test_exact_past_single_precision(t: int) -> None:
    """Steps far past 2^24, where float32 counters stall, are told apart, alone and in arrays."""
    import numpy as np

    ramp = Linear(2**53, start=0.0, end=2.0**53)
    assert ramp(t) == t
    assert ramp(t - 1) == t - 1
    assert ramp(np.array([t - 1, t])).tolist() == [t - 1, t]
    late = Constant(1.0).take(t) >> Constant(2.0)
    assert [late(t - 1), late(t)] == [1.0, 2.0]
    assert late(np.array([t - 1, t])).tolist() == [1.0, 2.0]


@given(
    make=st.sampled_from([Linear, Cosine, Polynomial, Tanh, Rex]),
    n=st.integers(1, 10**6),
    start=st.floats(-1, 1),
    end=st.floats(-1, 1),
)
def test_leaves_reach_both_ends(make: Any, n: int, start: float, end: float) -> None:
    """A leaf with a length has its start at step 0 and its end from step n on, and stays between them."""
    one = make(n, start=start, end=end)
    assert one(0) == start
    assert one(n) == one(n + 1) == end
    low, high = sorted((start, end))
    assert low - 1e-12 <= one(n // 3) <= high + 1e-12


@given(
    at=st.integers(0, 500), n=st.integers(1, 100), end=st.floats(0, 1), shape=st.sampled_from(["linear", "cosine", "1-sqrt"])
)
def test_a_cooldown_starts_from_the_value_there(at: int, n: int, end: float, shape: Any) -> None:
    """A cooldown is the schedule up to its step, and leads from the value there to a part of it, for any schedule."""
    whole = warmup(100) >> InverseSqrt(100)
    cooled = cooldown(whole, at, n, end=end, shape=shape)
    assert [cooled(t) for t in (0, at // 2, at)] == [whole(t) for t in (0, at // 2, at)]
    assert cooled(at + n) == cooled(at + n + 7) == pytest.approx(end * whole(at), rel=1e-15)


def test_wsd_s_is_at_full_height_again_after_each_low() -> None:
    """WSD-S rises once; each way down ends one step short of its end value, and the next step is at full height."""
    schedule = wsd_s(5, (20, 30), 10)
    assert [schedule(t) for t in (0, 5, 24, 25, 35, 64, 65)] == [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert [schedule(t) for t in (34, 74, 75, 99)] == pytest.approx([0.1, 0.1, 0.0, 0.0])


@pytest.mark.parametrize("beta2", [0.61, 0.9, 0.999, 0.9999])
def test_rectification_is_radams(beta2: float) -> None:
    """RAdamWarmup is RAdam's r, in fifty digits, from the first update at which its ρ is above 4."""
    from decimal import Decimal, localcontext

    with localcontext(prec=50):
        beta = Decimal(beta2)
        last = 2 / (1 - beta) - 1
        rho = {s: last - 2 * s * beta**s / (1 - beta**s) for s in range(1, 3000)}
        first = min(s for s in rho if rho[s] > 4)
        for t in (0, 1, 5, 50, 2500):
            r = rho[t + first]
            exact = ((r - 4) * (r - 2) * last / ((last - 4) * (last - 2) * r)).sqrt()
            assert RAdamWarmup(beta2)(t) == pytest.approx(float(exact), rel=1e-11)


@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 100), min_size=1, max_size=20),
    distribution=st.sampled_from(["uniform", "normal"]),
)
@settings(max_examples=50)
def test_noise_is_a_function_of_seed_and_step(seed: int, steps: list[int], distribution: Any) -> None:
    """Noise has the same values alone, in NumPy, in torch and in JAX, in any order and from equal definitions."""
    import jax.numpy as jnp
    import numpy as np

    noise = Noise(0.3, seed=seed, distribution=distribution)
    alone = [Noise(0.3, seed=seed, distribution=distribution)(t) for t in steps]
    together = noise(np.array(steps))
    assert together.tolist() == pytest.approx(alone, rel=1e-12)
    assert noise(torch.tensor(steps)).tolist() == pytest.approx(alone, rel=1e-12)
    assert noise(np.array(steps[::-1])).tolist() == pytest.approx(alone[::-1], rel=1e-12)
    small = [
        t % 2**31 for t in itertools.islice(itertools.cycle(steps), 20)
    ]  # of one length, for JAX compiles anew for each
    assert noise(jnp.array(small)).tolist() == pytest.approx([noise(t) for t in small], abs=1e-5)
    if distribution == "uniform":
        assert together.tolist() == alone  # to the bit: there is no transcendental function in it
        assert all(0.7 <= value <= 1.3 for value in alone)


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_noise_is_even(distribution: Any) -> None:
    """Noise has its mean and its deviation, no step tells of the next, and another seed is other noise."""
    import numpy as np

    steps = np.arange(100_000)
    one, other = (Noise(1.0, seed=seed, center=0.0, distribution=distribution)(steps) for seed in (0, 1))
    deviation = 1.0 if distribution == "normal" else 3**-0.5
    assert abs(one.mean()) < 0.01
    assert one.std() == pytest.approx(deviation, rel=0.01)
    assert len(np.unique(one)) > 99_990
    for lag in (1, 2, 16, 256):
        assert abs(np.corrcoef(one[:-lag], one[lag:])[0, 1]) < 0.015
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.015


def test_a_former_name_is_read() -> None:
    """What an earlier Gradus has written, in JSON, as text or pickled, is read; today's name is written."""
    schedule = RAdamWarmup(0.99)
    for former, present in FORMER_NAMES.items():
        assert Schedule.from_json(schedule.to_json().replace(present, former)) == schedule
        assert parse(repr(schedule).replace(present, former)) == schedule
        assert pickle.loads(pickle.dumps(schedule, protocol=0).replace(present.encode(), former.encode())) == schedule
