"""The classic mistakes of schedules, each found where it is and not where it isn't."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradus.errors import InvalidInput
from gradus.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    InverseSqrt,
    Linear,
    OneCycle,
    Schedule,
    absolute,
    check,
    cooldown,
    epochs,
    fraction,
    rest,
    sgdr,
    warmup,
    warmup_cosine,
    wsd,
    wsd_s,
)
from registry import SCHEDULES

START = {"start": 0.01}

# What has the mistake, what is near it and has none, and a part of what is said.
CASES: dict[str, tuple[Schedule, Schedule, dict[str, Any], str]] = {
    "ends-early": (
        warmup(10, **START) >> Cosine(590),
        warmup(10, **START) >> Cosine(950),
        {},
        "it ends at step 600 of 1,000 and holds 0 from there",
    ),
    "ends-late": (
        warmup(10, **START) >> Cosine(1990),
        warmup(10, **START) >> Cosine(1050),
        {},
        "it needs 2,000 steps and the run has 1,000",
    ),
    "starts-at-zero": (
        warmup(100) >> Cosine(900),
        warmup(100, start=0.01) >> Cosine(900),
        {},
        "the first update does nothing, for the value at step 0 is 0",
    ),
    "jump": (
        warmup(100, **START) >> Cosine(900, start=0.3),
        warmup(100, **START) >> Cosine(900, start=0.6),
        {},
        "it jumps from 1 to 0.3 at step 100",
    ),
    "floor-not-reached": (
        Exponential(0.9999, floor=0.01),
        Exponential(0.99, floor=0.01),
        {},
        "it is to fall to 0.01, and in 1,000 steps comes down to 0.904",
    ),
    "long-warmup": (
        warmup(300, **START) >> Cosine(700),
        warmup(200, **START) >> Cosine(800),
        {"beta2": 0.99},
        "it warms up over 300 steps, and the memory of beta2 = 0.99 asks for 200",
    ),
}


def codes(schedule: Schedule, steps: int, **options: Any) -> list[str]:
    """The codes of what is found."""
    return [finding.code for finding in check(schedule, steps, **options)]


@pytest.mark.parametrize("code", CASES)
def test_each_mistake_is_named(code: str) -> None:
    """The mistake, and no other, is found; its sentence says where it is, and what near it is none."""
    wrong, right, options, words = CASES[code]
    (finding,) = check(wrong, 1000, **options)
    assert finding.code == code
    assert words in str(finding)
    assert check(right, 1000, **options) == []


@pytest.mark.parametrize(
    "schedule",
    [
        warmup(50, **START) >> Cosine(rest()),
        Constant(),
        InverseSqrt(100),
        warmup(fraction(0.1), **START),
        OneCycle(rest()),
        CosineRestarts(100),
        sgdr(3),
        wsd(0, 800, 200),
        wsd_s(0, [300, 300], 200),
        cooldown(Constant(), 800, 200),
        absolute(Linear(1000, start=0.1)),
        Linear(500).repeat(),
    ],
    ids=repr,
)
def test_what_is_meant_is_no_mistake(schedule: Schedule) -> None:
    """The usual schedules, restarts among them, have nothing said against them."""
    assert check(schedule, 1000) == []


@pytest.mark.parametrize(
    "schedule", [Cosine(rest()), OneCycle(rest()), sgdr(3), CosineRestarts(10), wsd(0, rest(), 10)], ids=repr
)
@pytest.mark.parametrize("steps", [100_000, 1_000_000, 10**12])
def test_a_long_run_is_no_mistake(schedule: Schedule, steps: int) -> None:
    """What comes down at the end of a run, or in cycles of it, is seen to however long the run is."""
    assert check(schedule, steps) == []


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 7, 40])
def test_any_schedule_can_be_checked(name: str, steps: int) -> None:
    """Every kind of schedule can be looked at, in runs shorter and longer than itself."""
    for finding in check(SCHEDULES[name], steps, beta2=0.9):
        assert 0 <= finding.step <= steps
        assert str(finding)


@given(st.floats(0.01, 1.0), st.floats(0.01, 1.0), st.floats(1.0, 20.0))
def test_a_jump_is_a_ratio_above_the_factor(before: float, after: float, factor: float) -> None:
    """Two constant phases are a jump where their ratio, either way up, is above the factor."""
    schedule = Constant(before).take(10) >> Constant(after)
    high, low = max(before, after), min(before, after)
    assert ("jump" in codes(schedule, 20, factor=factor)) == (high > factor * low)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_a_length_is_judged_by_a_tenth_of_the_run(length: int, steps: int) -> None:
    """A fall to 0 ends early below nine tenths of the run, late above ten ninths of it, and otherwise with it."""
    found = set(codes(Linear(length), steps)) & {"ends-early", "ends-late"}
    if length < 0.9 * steps:
        assert found == {"ends-early"}
    else:
        assert found == ({"ends-late"} if 0.9 * length > steps else set())


def test_templates_are_made_for_the_run() -> None:
    """A template that the run's length makes concrete is checked as it then is; another names what it lacks."""
    assert check(warmup_cosine(fraction(0.1), rest(), end=0.1), 1000) == check(warmup_cosine(100, 900, end=0.1), 1000)
    with pytest.raises(InvalidInput, match="steps_per_epoch"):
        check(Cosine(epochs(3)), 1000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"total_steps": 0}, "check's total_steps must be a whole number above 0; got 0"),
        ({"total_steps": 2.5}, r"check's total_steps must be a whole number above 0; got 2\.5"),
        ({"total_steps": 10, "beta2": 1.0}, r"check's beta2 must be at least 0 and below 1; got 1\.0"),
    ],
)
def test_refused_with_a_reason(arguments: dict[str, Any], message: str) -> None:
    """What can't be is refused, with what must hold and what was given."""
    with pytest.raises(InvalidInput, match=message):
        check(Cosine(10), **arguments)
