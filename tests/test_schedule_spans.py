"""Spans: whatever a length is measured in, the phases that come of it tile the run."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.errors import InvalidInput
from gradus.schedules import (
    Constant,
    Cosine,
    Linear,
    Schedule,
    Span,
    cooldown,
    epochs,
    fraction,
    one_cycle,
    parse,
    rest,
    samples,
    sgdr,
    tokens,
    warmup,
    warmup_cosine,
    wsd,
    wsd_s,
)

EPOCH, SAMPLES, TOKENS = 97.3, 48, 1000  # steps an epoch; samples and tokens a step
RUN: dict[str, Any] = {"steps_per_epoch": EPOCH, "samples_per_step": SAMPLES, "tokens_per_step": TOKENS}
UNITS: dict[str, Callable[[float, int], int | Span]] = {  # so many steps of a run, in each unit
    "steps": lambda steps, _: round(steps),
    "epochs": lambda steps, _: epochs(steps / EPOCH),
    "samples": lambda steps, _: samples(steps * SAMPLES),
    "tokens": lambda steps, _: tokens(steps * TOKENS),
    "fraction": lambda steps, total: fraction(min(steps / total, 1)),
}
PHASES: dict[str, Callable[[int | Span], Schedule]] = {  # what a length makes a phase of
    "a leaf": Linear,
    "warmup": warmup,
    "warmup from one": lambda length: warmup(length, from_one=True),
    "take": lambda length: Constant().take(length),
    "delay": lambda length: Linear(0).delay(length),
    "a product": lambda length: Cosine(length) * Linear(length) * 0.5,
    "a sequence": lambda length: (Linear(0) >> Linear(length)).after("raise"),
    "a cooldown": lambda length: cooldown(Constant(), 0, length),
}
units, phases = st.sampled_from(sorted(UNITS)), st.sampled_from(sorted(PHASES))


def lengths_of(schedule: Schedule) -> list[int]:
    """Of a sequence's members."""
    return [len(member) for member in schedule.members]  # type: ignore[attr-defined]


@given(
    total=st.integers(1, 100_000),
    cuts=st.lists(st.floats(0, 1), min_size=1, max_size=6).map(sorted),
    unit=units.filter(lambda unit: unit != "steps"),
    data=st.data(),
)
@settings(max_examples=100)
def test_phases_tile_the_run(total: int, cuts: list[float], unit: str, data: Any) -> None:
    """Phases whose spans add up to the run end with it, and each begins at the whole step nearest to its true beginning."""
    bounds = [0.0, *(cut * total for cut in cuts), float(total)]
    spans = [UNITS[unit](b - a, total) for a, b in pairwise(bounds)]
    members = [PHASES[data.draw(phases)](span) for span in spans]
    schedule = members[0]
    for member in members[1:]:
        schedule = schedule >> member
    resolved = schedule.resolve(total, **RUN)
    assert resolved.length == total
    begun = 0
    for length, true in zip(lengths_of(resolved) if len(members) == len(lengths_of(resolved)) else [], bounds, strict=False):
        assert abs(begun - true) <= 0.5 + 1e-6
        begun += length


@given(
    total=st.integers(200, 100_000),
    before=st.floats(0, 0.4),
    after=st.floats(0, 0.4),
    one=units,
    other=units,
    data=st.data(),
)
@settings(max_examples=100)
def test_rest_takes_what_is_left(total: int, before: float, after: float, one: str, other: str, data: Any) -> None:
    """A phase with rest() between others of any unit gets what they leave, to the step; the run ends with the last."""
    first = data.draw(phases)
    parts = PHASES[first](UNITS[one](before * total, total)), PHASES[data.draw(phases)](UNITS[other](after * total, total))
    for middle in (Cosine(rest()), Constant().take(rest()), Cosine(rest()).repeat(3), Cosine(rest()).stretch(1.7)):
        resolved = (parts[0] >> middle >> Constant(0.5).take(5) >> parts[1]).resolve(total, **RUN)
        assert resolved.length == total
        alone = parts[1].resolve(total, **RUN)
        assert resolved(total - len(alone) - 5) == resolved(max(total - len(alone) - 1, 0)) == 0.5


@given(
    total=st.integers(100, 100_000), part=st.floats(0, 1), unit=units, shape=st.sampled_from(["linear", "cosine", "1-sqrt"])
)
@settings(max_examples=100)
def test_a_cooldown_with_rest_is_the_last_of_the_run(total: int, part: float, unit: str, shape: Any) -> None:
    """cooldown(…, at=rest(), length) is the schedule until so much of the run is left, and comes down as the run ends."""
    last = UNITS[unit](part * total, total)
    whole = warmup(fraction(0.1)) >> Cosine(rest(), end=0.1)
    cooled, plain = cooldown(whole, rest(), last, shape=shape).resolve(total, **RUN), whole.resolve(total)
    assert cooled.length == total
    start = total - len(Linear(last).resolve(total, **RUN))
    assert abs(total - start - part * total) <= 0.5 + 1e-6
    for t in {0, start // 2, max(start - 1, 0)} - {start}:
        assert cooled(t) == plain(t)
    assert cooled(start) == pytest.approx(plain(start) if start < total else 0.0)
    assert cooled(total) == 0.0
    to = cooldown(whole, rest(), last, shape=shape, end_value=0.03).resolve(total, **RUN)
    assert to(total) == pytest.approx(0.03)
    assert to.length == total


@pytest.mark.parametrize("unit", UNITS)
def test_the_last_n_in_every_unit(unit: str) -> None:
    """The last 200 of 1,000 steps, in each unit: by a cooldown, a delay, rest() less so many, and what follows rest()."""
    run: dict[str, Any] = {"steps_per_epoch": 100, "samples_per_step": SAMPLES, "tokens_per_step": TOKENS}
    last: Any = {"epochs": epochs(2)}.get(unit, UNITS[unit](200, 1000))
    down = Constant().take(800) >> Linear(200)
    assert cooldown(Constant(), rest(), last).resolve(1000, **run) == Constant().take(800) * down
    assert Linear(last).delay(rest()).resolve(1000, **run) == Linear(200).delay(800)
    assert Constant().take(rest() - last).resolve(1000, **run) == Constant().take(800)
    assert (Constant().take(rest()) >> Linear(last)).resolve(1000, **run) == Constant().take(800) >> Linear(200)
    in_a_phase = (warmup(100) >> cooldown(Constant(), rest(), last)).resolve(1000, **run)
    assert in_a_phase == warmup(100) >> Constant().take(700) * (Constant().take(700) >> Linear(200))
    for one in (rest() - last, rest() - 1 - last):
        assert parse(repr(Linear(one))) == Linear(one) == Schedule.from_json(Linear(one).to_json())


@given(total=st.integers(30, 100_000), unit=units)
@settings(max_examples=50)
def test_recipes_end_with_the_run(total: int, unit: str) -> None:
    """A recipe with lengths of any unit ends with the run."""

    def part(of: float) -> int | Span:
        return UNITS[unit](of * total, total)

    recipes = {
        "wsd": wsd(part(0.1)),
        "wsd, decay": wsd(part(0.1), decay=part(0.33)),
        "wsd, exponential": wsd(part(0.1), decay=part(0.33), end=0.1, shape="exponential"),
        "wsd_s": wsd_s(part(0.1), (part(0.2), rest()), part(0.05)),
        "warmup_cosine": warmup_cosine(part(0.1)),
        "one_cycle": one_cycle(),
        "sgdr": sgdr(3, growth=1.7),
        "cooldown": cooldown(warmup_cosine(part(0.1)), part(0.7), rest()),
        "cooldown at the end": cooldown(warmup_cosine(part(0.1)), rest(), part(0.3)),
    }
    if unit != "steps":
        recipes["wsd, all given"] = wsd(part(0.15), part(0.55), part(0.3))
        recipes["wsd_s, all given"] = wsd_s(part(0.1), (part(0.3), part(0.4)), part(0.1))
        recipes["warmup_cosine, all given"] = warmup_cosine(part(0.15), part(0.85))
        recipes["cooldown, all given"] = cooldown(Constant(), part(0.65), part(0.35))
    for name, recipe in recipes.items():
        assert recipe.resolve(total, **RUN).length == total, name


def test_halves_of_an_odd_run() -> None:
    """Two halves of 3 steps are 2 and 1; ten tenths of 1,005 steps are 1,005."""
    assert (Linear(fraction(0.5)) >> Cosine(fraction(0.5))).resolve(3) == Linear(2) >> Cosine(1)
    tenths = Linear(fraction(0.1))
    for _ in range(9):
        tenths = tenths >> Linear(fraction(0.1))  # type: ignore[assignment]
    assert tenths.resolve(1005).length == 1005


def test_a_cooled_template_is_what_it_is_in_the_whole_run() -> None:
    """A cooldown cuts the schedule of the whole run short, and doesn't squeeze it: a cosine is high where it is cut."""
    cooled = cooldown(Cosine(rest()), fraction(0.5), fraction(0.1)).resolve(1000)
    assert cooled(500) == pytest.approx(0.5)
    assert cooled(550) == pytest.approx(0.25)


@pytest.mark.parametrize("total", [1000.0, np.int64(1000), np.float32(1000), torch.tensor(1000)])
def test_a_whole_number_of_any_kind_says_how_long_a_run_is(total: Any) -> None:
    """A run's length counts as the same whole number, whatever it is written in: lengths are ints, and saved."""
    schedule = (warmup(fraction(0.1)) >> Cosine(rest())).resolve(total)
    assert schedule == warmup(100) >> Cosine(900)
    assert Schedule.from_json(schedule.to_json()) == schedule


@pytest.mark.parametrize("total", [10**400, [1000], "1000", b"1000", 2.5, True, math.nan, -1, torch.zeros(2)])
def test_what_is_no_length_of_a_run_is_refused(total: Any) -> None:
    """What can't be counted is refused by the name of the argument."""
    with pytest.raises(InvalidInput, match=r"total_steps must be a (finite number above 0|whole number of steps); got"):
        Cosine(rest()).resolve(total)
