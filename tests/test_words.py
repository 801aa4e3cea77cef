"""A schedule in one sentence."""

import re

import pytest
from hypothesis import given

from gradus.schedules import (
    Constant,
    Cosine,
    Lambda,
    Linear,
    Plateau,
    Schedule,
    absolute,
    epochs,
    explain,
    rest,
    warmup,
    wsd,
)
from gradus.schedules.explain import _words, number
from gradus.schedules.schedule import KINDS
from registry import COMPOSITIONS, SCHEDULES, TEMPLATES

ALL = {**SCHEDULES, **{f"template {name}": template for name, (template, *_) in TEMPLATES.items()}}


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"MetricFactor"}))  # what Plateau and Greedy share
def test_every_kind_has_its_words(kind: str) -> None:
    """A kind of schedule says what it does in its own words; a new one without any is noticed here."""
    assert _words.dispatch(KINDS[kind]) is not _words.dispatch(object)


@pytest.mark.parametrize("name", ALL)
def test_it_is_one_sentence(name: str) -> None:
    """It begins with a capital, ends with the one full stop, and closes what it opens."""
    sentence = explain(ALL[name])
    assert re.fullmatch(r"[A-Z][^\n]*[^.]\.", sentence)
    assert not re.search(r"\. |  |\( | \)|, ,", sentence)
    assert sentence.count("(") == sentence.count(")")


@given(COMPOSITIONS)
def test_every_composition_can_be_explained(schedule: Schedule) -> None:
    """However deep a composition is, it has its sentence."""
    assert explain(schedule).endswith(".")


@pytest.mark.parametrize(
    ("schedule", "sentence"),
    [
        (Constant(0.1 + 0.2), "Holds 0.3."),
        (warmup(1), "Rises linearly from 0 to 1 over 1 step and holds 1."),
        (Linear(8_500_000, end=0.5), "Falls linearly from 1 to 0.5 over 8,500,000 steps and holds 0.5."),
        (
            wsd(500, 1000, 8500, end=0.01),
            "Warms up linearly from 0 to 1 over 500 steps, holds 1 for 1,000 steps, then falls linearly from 1 to 0.01 "
            "over 8,500 steps and holds 0.01.",
        ),
        (
            warmup(epochs(1)) >> Cosine(rest(), end=0.01),
            "Warms up linearly from 0 to 1 over 1 epoch, then falls along a cosine from 1 to 0.01 over the rest of the run "
            "and holds 0.01.",
        ),
        (
            Cosine(10) * Plateau(patience=3),
            "Falls along a cosine from 1 to 0 over 10 steps, times a factor that is multiplied by 0.1 when the metric "
            "hasn't fallen for 3 observations, then holds 0.",
        ),
        (absolute(Linear(4, start=0.3)), "As the value itself, falls linearly from 0.3 to 0 over 4 steps, then holds 0."),
        (Lambda(abs), "Follows the function abs."),
        (Linear(4).repeat(), "Falls linearly from 1 to 0 over 4 steps, for ever."),
    ],
)
def test_it_says_what_is_there(schedule: Schedule, sentence: str) -> None:
    """Its numbers are the schedule's, as people write them."""
    assert explain(schedule) == sentence


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1 + 0.2, "0.3"), (8500.0, "8,500"), (1e-7, "1e-07"), (0.0, "0"), (-2.0, "-2"), (2.0**60, "1.15292e+18")],
)
def test_numbers_are_written_as_people_write_them(value: float, text: str) -> None:
    """Whole numbers have commas, others six digits."""
    assert number(value) == text
