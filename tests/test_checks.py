"""The checks of arguments: what each takes, keeps and refuses."""

import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradus import checks
from gradus.errors import InvalidInput

# Each annotation with an interval: its ends, and whether each end is taken.
INTERVALS: dict[str, tuple[float, float, bool, bool]] = {
    "NonNegative": (0, math.inf, True, False),
    "NonPositive": (-math.inf, 0, False, True),
    "Positive": (0, math.inf, False, False),
    "AtLeastOne": (1, math.inf, True, False),
    "Unit": (0, 1, True, True),
    "UnitAboveZero": (0, 1, False, True),
    "UnitBelowOne": (0, 1, True, False),
    "UnitInside": (0, 1, False, False),
}
NUMBERS = [*(getattr(checks, name) for name in (*INTERVALS, "Real", "Flag", "Betas")), checks.Decay]


def _check(annotation: Any) -> Any:
    return get_args(annotation)[1]


def _takes(check: Any, value: Any) -> bool:
    try:
        check("x", value)
    except InvalidInput:
        return False
    return True


@pytest.mark.parametrize("name", INTERVALS)
@given(value=st.one_of(st.floats(-2, 2), st.sampled_from([0.0, 1.0, -1.0, math.inf, -math.inf, math.nan])))
def test_an_interval_is_as_its_name_says(name: str, value: float) -> None:
    """A number is taken if and only if it lies in the interval, ends as the name says."""
    low, high, with_low, with_high = INTERVALS[name]
    inside = low < value < high or (with_low and value == low) or (with_high and value == high)
    assert _takes(_check(getattr(checks, name)), value) == inside


@pytest.mark.parametrize("annotation", NUMBERS, ids=range(len(NUMBERS)))  # their texts hold addresses
@pytest.mark.parametrize("value", ["1", b"1", None, [0.5], object(), float("nan"), torch.ones(2), np.ones(3), 10**400])
def test_no_number_is_refused(annotation: Any, value: Any) -> None:
    """What is no finite number is refused by every check, in one line that names the argument."""
    with pytest.raises(InvalidInput, match=r"^[^\n]*x[^\n]*$"):
        _check(annotation)("x", value)


@pytest.mark.parametrize(
    "value", [0.5, np.float32(0.5), np.array(0.5), torch.tensor(0.5), torch.tensor([0.5]), np.array([0.5])]
)
def test_numbers_of_every_library_are_kept_as_floats(value: Any) -> None:
    """A number of NumPy's or torch's is kept as a Python float."""
    kept = checks.positive("x", value)
    assert type(kept) is float
    assert kept == 0.5


@given(value=st.integers(-(2**70), 2**70), least=st.integers(-3, 3), more=st.integers(0, 2**65))
def test_a_whole_number_is_between_its_limits(value: int, least: int, more: int) -> None:
    """`whole` takes ints from least to most, and `is_whole` says the same."""
    takes = _takes(lambda name, one: checks.whole(name, one, least, least + more), value)
    assert takes == (least <= value <= least + more) == checks.is_whole(value, least, least + more)


@pytest.mark.parametrize("value", [True, False, 1.0, "1", None, np.True_, [1]])
def test_no_whole_number_is_refused(value: Any) -> None:
    """Bools, floats and the like are no whole numbers."""
    assert not checks.is_whole(value)
    with pytest.raises(InvalidInput, match="n must be a whole number from 0 to 2\\^53, as it counts; got "):
        checks.whole("n", value, most=2**53, why=", as it counts")


def test_whole_numbers_are_kept_as_ints() -> None:
    """NumPy's integers are kept as Python's, but refused where they would stay in an optimizer's group."""
    kept = checks.whole("n", np.int64(3), least=1)
    assert type(kept) is int
    with pytest.raises(InvalidInput):
        checks.python_whole("n", np.int64(3))


@pytest.mark.parametrize("value", [1, 1.0, "min ", None, torch.ones(2)])
def test_choices_are_told_by_type_too(value: Any) -> None:
    """A choice is taken only if it is of its choice's type: 1 isn't True, and nothing is compared with a tensor."""
    with pytest.raises(InvalidInput, match="x must be one of True, 'min'; got "):
        checks.one_of(True, "min")("x", value)


def test_whatever_is_given_can_be_shown() -> None:
    """A value is shown on one short line, even if its repr is long, has newlines, or fails."""

    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError

    assert checks.shown(Mute()) == "a Mute that can't be printed"
    assert checks.shown("a" * 1000) == f"'{'a' * 196}..."
    assert "\n" not in checks.shown(np.zeros((3, 3)))
