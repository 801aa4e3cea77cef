"""The classic mistakes of schedules, each found where it is and not where it isn't."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradus.errors import InvalidInput
from gradus.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Cyclic,
    Exponential,
    InverseSqrt,
    Lambda,
    Linear,
    MultiStep,
    OneCycle,
    Schedule,
    Step,
    absolute,
    check,
    cooldown,
    epochs,
    fraction,
    noam,
    parse,
    rest,
    sgdr,
    warmup,
    warmup_cosine,
    wsd,
    wsd_s,
)
from gradus.schedules.check import LAWS, Law
from registry import SCHEDULES

START = {"start": 0.01}


def codes(schedule: Schedule, steps: int | None, rank: str | None = None, **options: Any) -> list[str]:
    """The codes of what is found, of one rank or both."""
    return [finding.code for finding in check(schedule, steps, **options) if rank in (None, finding.rank)]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: f"{law.code}, {law.rank}")
def test_each_law_has_its_example(law: Law) -> None:
    """A law's example has what the law is about, of its rank, and has nothing else that is of a mistake's rank."""
    found = check(parse(law.schedule), **law.options)
    assert (law.code, law.rank) in [(finding.code, finding.rank) for finding in found]
    assert {finding.code for finding in found if finding.rank == "mistake"} <= {law.code}


# What is near a mistake and is none, by the mistake's code.
NEAR: dict[str, tuple[Schedule, dict[str, Any]]] = {
    "ends-early": (warmup(10, **START) >> Cosine(950), {}),
    "ends-early, stairs": (MultiStep((100, 200)), {}),
    "ends-early, a level written out": (Cosine(200, end=0.1) >> Constant(0.1), {}),
    "ends-early, a floor that cuts the curve": (Cosine(1000).clip(low=0.1), {}),
    "ends-late": (warmup(10, **START) >> Cosine(1050), {}),
    "ends-late, a milestone at the run's end": (MultiStep((500, 1000)), {}),
    "vanishes": (Step(100, gamma=0.5), {}),
    "hardly-falls": (Exponential(0.9999), {}),
    "rises-again": (Cosine(1000).after("mirror"), {}),
    "rises-again, cut before it turns": (Cosine(500).after("mirror").take(500) >> Linear(500, start=0.1), {}),
    "ends-mid-cycle": (CosineRestarts(100), {}),
    "jump": (warmup(100, **START) >> Cosine(900, start=0.95), {}),
    "jump, a constant warmup": (Constant(0.1).take(100) >> Cosine(900), {}),
    "jump, levels": (Constant().take(500) >> Constant(0.1), {}),
    "jump, a restart": (Cosine(500) >> Cosine(500, start=0.5), {}),
    "rate-as-factor": (0.01 * Cosine(1000), {"base": 3e-4}),
    "rate-as-factor, over 1": (absolute(Cosine(1000, start=3e-4)).schedule, {"base": 1.0}),
    "factor-as-rate": (absolute(Cosine(1000)), {"base": 1.0}),
    "end-as-rate": (Cosine(1000, end=0.1), {"base": 3e-4}),
    "grows": (Linear(1000, start=1.0, end=25.0), {}),
    "floor-not-reached": (Exponential(0.99, floor=0.01), {}),
    "long-warmup": (warmup(200, **START) >> Cosine(800), {"beta2": 0.99}),
}


@pytest.mark.parametrize("case", NEAR)
def test_what_is_near_a_mistake_is_none(case: str) -> None:
    """A schedule on the right side of each line has nothing said against it."""
    schedule, options = NEAR[case]
    assert check(schedule, 1000, **options) == []


@pytest.mark.parametrize(
    "hidden",
    [
        Cosine(500),
        absolute(Cosine(500)),
        Cosine(250).stretch(2),
        Cosine(400).delay(100),
        Cosine(600).skip(100),
        Cosine(500) * 0.3,
        0.3 * (Cosine(500) * Linear(400)),
        Cosine(500).staircase(10),
        warmup(10) >> (Cosine(490) + 0.0),
        Cosine(500).after("mirror"),
        absolute(Constant(0.1) * (warmup(10) >> Cosine(490).after("mirror"))),
        Cosine(500).after("raise"),
        Cosine(500).clip(0.0, 0.8),
    ],
    ids=repr,
)
def test_a_mistake_is_seen_behind_compositions(hidden: Schedule) -> None:
    """A fall that is over in half of the run is a mistake, whatever it is wrapped in."""
    assert any(finding.rank == "mistake" for finding in check(hidden, 1000))
    (late,) = [finding.code for finding in check(hidden, 200) if finding.rank == "mistake"]
    assert late == "ends-late"


@pytest.mark.parametrize("step", [10, 30, 90])
@pytest.mark.parametrize("make", [Cosine, Linear, OneCycle, lambda n: warmup(n // 10) >> Linear(n - n // 10)])
def test_a_length_in_the_wrong_unit_is_named(step: int, make: Callable[[int], Schedule]) -> None:
    """A length of as many steps as the run has epochs is a mistake either way round, and the message names the unit."""
    (early,) = [finding for finding in check(make(step), step * 500, steps_per_epoch=500) if finding.rank == "mistake"]
    (late,) = [finding for finding in check(make(step * 500), step, steps_per_epoch=500) if finding.rank == "mistake"]
    assert (early.code, late.code) == ("ends-early", "ends-late")
    assert f"epochs({step}) counts them" in str(early)
    assert "updates" in str(late)


@pytest.mark.parametrize("name", ["lr", "momentum"])
def test_a_run_that_will_be_stopped_is_told_of(name: str) -> None:
    """Where `after("raise")` allows fewer steps than the run has, that is a mistake, of any hyperparameter."""
    schedule = (warmup(100, **START) >> Constant().take(900)).after("raise")
    (found,) = check(schedule, 1500, name=name)
    assert (found.code, found.rank, found.step) == ("ends-early", "mistake", 1000)
    assert check(schedule, 1001, name=name) == []


@pytest.mark.parametrize(
    "schedule",
    [Step(100), MultiStep((100,)), CosineRestarts(100), Cyclic(50), Linear(100).repeat(), noam(512, 100), InverseSqrt(3000)],
    ids=repr,
)
def test_what_has_no_end_may_be_too_slow_too(schedule: Schedule) -> None:
    """Stairs, cycles, warmups and decays that do nothing yet in a short run are found, and in a long one they aren't."""
    assert codes(schedule, 10, rank="mistake") != []
    assert codes(schedule, 220, rank="mistake") == []


@pytest.mark.parametrize("times", [2, 4, 8])
def test_a_multiple_of_the_run_is_named(times: int) -> None:
    """Where a length is a multiple or a part of the run's, the message says what multiplies."""
    (early,), (late,) = check(Linear(1000), 1000 * times), check(Linear(1000 * times), 1000)
    assert f"{times} times its steps" in str(early)
    assert f"{times} times the run's steps" in str(late)


@pytest.mark.parametrize("schedule", [warmup(100) >> Cosine(900), warmup(fraction(0.05)) >> Cosine(rest(), end=0.01)])
def test_a_warmup_from_zero_is_a_note(schedule: Schedule) -> None:
    """The first update of a warmup does nothing, which is worth a note and no more."""
    (found,) = check(schedule, 1000, base=3e-4)
    assert (found.code, found.rank, found.step) == ("starts-at-zero", "note", 0)


def test_without_a_length_only_what_needs_none_is_looked_for() -> None:
    """Heights, joints and milestones are looked at without a run's length, and its end isn't."""
    assert codes(Cosine(1000, start=3e-4), None, base=3e-4) == ["rate-as-factor"]
    assert codes(warmup(10) >> Cosine(90, start=0.5), None) == ["jump"]
    assert codes(MultiStep((3, 3)), None) == ["milestone-twice"]
    assert codes(Step(30), None, base=0.1) == []


def test_a_function_of_the_users_is_asked_for_steps_of_the_run_only() -> None:
    """A table may be as long as the run; without a length it isn't asked at all."""
    table = [0.1] * 10
    schedule = Lambda(table.__getitem__)
    assert codes(schedule, 10, base=0.1) == ["rate-as-factor"]
    assert codes(schedule, None, base=0.1) == []


class Sawtooth(Schedule):
    """A kind of somebody's own: down in so many steps, and then 0."""

    steps: int

    def at(self, t: Any, ops: Any) -> Any:
        return 1 - ops.progress(t, self.steps)


def test_a_kind_of_ones_own_is_judged_by_its_curve() -> None:
    """A schedule class of the user's is looked at over the run, in compositions too."""
    for schedule in (Sawtooth(100), warmup(10) >> Sawtooth(90), absolute(0.1 * Sawtooth(100)).schedule):
        assert codes(schedule, 1000, rank="mistake") == ["vanishes"]
        assert codes(schedule, 100, rank="mistake") == []


@pytest.mark.parametrize("base", [None, 3e-4])
def test_what_has_no_value_after_the_run_can_be_checked(base: float | None) -> None:
    """A quotient that has no value at some later step is checked over the run; one that has none within it is refused."""
    undefined_at_2000 = Linear(1000) / Linear(2000)
    assert codes(undefined_at_2000, 1000, base=base) == ["ends-late"]
    with pytest.raises(InvalidInput, match="no finite number at step 2000"):
        check(undefined_at_2000, 3000, base=base)


@pytest.mark.parametrize("name", ["momentum", "weight_decay", "betas[0]"])
def test_other_hyperparameters_needn_t_come_down(name: str) -> None:
    """Only a learning rate is expected to fall to the run's end."""
    for schedule in (
        Linear(300, start=0.85, end=0.95),
        Cosine(100),
        Step(30),
        Cosine(500, start=0.95, end=0.85) >> warmup(500),
    ):
        assert [finding for finding in check(absolute(schedule), 1000, name=name, base=0.9) if finding.code != "jump"] == []


def test_mistakes_come_first() -> None:
    """Mistakes come before notes, and each in the order of the run."""
    found = check(warmup(100) >> Cosine(400, start=0.5), 1000)
    assert [finding.rank for finding in found] == ["mistake", "mistake", "note"]
    assert [finding.step for finding in found] == [100, 500, 0]


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


@given(st.floats(0.01, 1.0), st.floats(0.01, 1.0), st.floats(1.05, 20.0))
def test_a_jump_is_a_ratio_above_the_factor(before: float, after: float, factor: float) -> None:
    """A rise that hands over to a fall is a jump where the ratio of their values, either way up, is above the factor."""
    schedule = Linear(10, start=0.0, end=before) >> Linear(10, start=after)
    high, low = max(before, after), min(before, after)
    assert ("jump" in codes(schedule, 20, factor=factor)) == (high > factor * low)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_a_length_is_judged_by_the_run(length: int, steps: int) -> None:
    """A fall to 0 ends early where more than a tenth of the run, and more than a step, is left, late above 1.25 times it."""
    found = set(codes(Linear(length), steps, rank="mistake")) & {"ends-early", "ends-late"}
    if length < 0.9 * steps and length < steps - 1:
        assert found == {"ends-early"}
    else:
        assert found == ({"ends-late"} if length > 1.25 * steps else set())


def test_templates_are_made_for_the_run() -> None:
    """A template that the run's length makes concrete is checked as it then is; another names what it lacks."""
    assert check(warmup_cosine(fraction(0.1), rest(), end=0.1), 1000) == check(warmup_cosine(100, 900, end=0.1), 1000)
    with pytest.raises(InvalidInput, match="steps_per_epoch"):
        check(Cosine(epochs(3)), 1000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"total_steps": 0}, "check's total_steps must be a whole number from 1; got 0"),
        ({"total_steps": 2.5}, r"check's total_steps must be a whole number from 1; got 2\.5"),
        ({"total_steps": 10, "beta2": 1.0}, r"check's beta2 must be at least 0 and below 1; got 1\.0"),
    ],
)
def test_refused_with_a_reason(arguments: dict[str, Any], message: str) -> None:
    """What can't be is refused, with what must hold and what was given."""
    with pytest.raises(InvalidInput, match=message):
        check(Cosine(10), **arguments)


def test_the_manual_has_every_law() -> None:
    """The manual's table is the table of laws, line by line."""
    page = (Path(__file__).parent.parent / "docs" / "check.md").read_text()
    table = [line for line in page.splitlines() if line.startswith("| `")]
    assert table == [
        f"| `{law.code}` | {law.rank} | {law.rule} | `{law.schedule}`, "
        f"`{', '.join(f'{name}={value!r}' for name, value in law.options.items())}` |"
        for law in LAWS
    ]


@pytest.mark.parametrize("schedule", [Constant(0.0), Linear(100, start=0.0, end=0.0), 0 * Cosine(1000)])
def test_a_rate_of_nothing_is_a_mistake(schedule: Schedule) -> None:
    """A learning rate that is 0 throughout is told of; another hyperparameter may be switched off."""
    assert codes(schedule, 1000, rank="mistake") == ["vanishes"]
    assert check(schedule, 1000, name="weight_decay") == []


@pytest.mark.parametrize(
    "wrong",
    [{"schedule": 3}, {"schedule": "Cosine(3)"}, {"base": math.nan}, {"base": math.inf}, {"base": "0.1"}, {"base": True}],
)
def test_what_can_t_be_checked_is_refused(wrong: dict[str, Any]) -> None:
    """Only a schedule is checked, and only over a base that is a finite number."""
    with pytest.raises(InvalidInput, match=r"check's base must be a finite number|check looks at a schedule"):
        check(**({"schedule": Cosine(10), "total_steps": 100} | wrong))


def test_equal_schedules_over_other_bases_are_told_apart() -> None:
    """What was found once is kept for the schedule and the run, and never for the base."""
    schedule = Cosine(1000, start=3e-4, end=3e-5)
    assert codes(schedule, 1000, rank="mistake") == []
    assert codes(schedule, 1000, rank="mistake", base=3e-4) == ["rate-as-factor"]
    assert codes(schedule, 1000, rank="mistake", base=1.0) == []
    assert codes(schedule, 500, rank="mistake", base=1.0) == ["ends-late"]
