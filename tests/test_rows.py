"""Laws of `Row`: named numbers at a step, equal bit for bit but for the times."""

import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradus.errors import InvalidInput
from gradus.rows import Row

numbers = st.dictionaries(st.sampled_from(["lr", "train/loss", "valid/accuracy", "time/seconds", "ξ"]), st.floats())
rows = st.builds(Row, st.integers(0, 2**63 - 1), numbers)


@given(rows)
def test_a_row_comes_back_from_a_pickle(row: Row) -> None:
    """A row that was sent to another process equals the one at home, its times included."""
    again = pickle.loads(pickle.dumps(row))
    assert again == row
    assert [value.hex() for value in again.values()] == [value.hex() for value in row.values()]


@given(rows)
def test_only_the_time_may_differ_between_repetitions(row: Row) -> None:
    """Rows are equal whatever their times, and differ in any other number, NaN and the sign of a zero included."""
    assert Row(row.step, {**row, "time/seconds": 7.0}) == row
    assert hash(Row(row.step, {**row, "time/seconds": 7.0})) == hash(row)
    assert "time/seconds" not in row.results()
    for name, value in row.results().items():
        other = 1.0 if math.isnan(value) else -value
        assert Row(row.step, {**row, name: other}) != row


def test_rows_of_other_steps_differ() -> None:
    """The step is part of a row."""
    assert Row(1, {"lr": 0.1}) != Row(2, {"lr": 0.1})
    assert Row(1, {"lr": 0.1}) != {"lr": 0.1}


@pytest.mark.parametrize("value", [0.5, 1, True, np.float32(0.5), np.array(0.5), torch.tensor(0.5), torch.ones(1)], ids=repr)
def test_anything_that_is_one_number_will_do(value: Any) -> None:
    """A number may be Python's, NumPy's or a tensor; the row has it as a float."""
    assert type(Row(0, {"loss": value})["loss"]) is float
    assert Row(0, {"loss": value})["loss"] == float(value)


@pytest.mark.parametrize(
    ("given", "row"),
    [
        ({"valid/loss": 0.5}, Row(3, {"valid/loss": 0.5})),
        ({"valid/loss": 0.5, "step": 20}, Row(20, {"valid/loss": 0.5})),
        ({"valid/loss": 0.5, "step": torch.tensor(20)}, Row(20, {"valid/loss": 0.5})),
        ({"step": 20.0}, Row(20, {})),
        (Row(7, {"a": 1}), Row(7, {"a": 1})),
    ],
)
def test_what_a_training_function_yields_is_a_row(given: Any, row: Row) -> None:
    """A mapping is the row at the step that it names, or else at the one that is counted for it."""
    assert Row.of(given, otherwise=3) == row


REFUSED: list[tuple[Any, Any, str]] = [
    (-1, {}, "a row's step must be a whole number from 0; got -1"),
    (2**63, {}, "a row's step must be a whole number from 0"),
    (1.5, {}, "a row's step must be a whole number from 0; got 1.5"),
    (True, {}, "a row's step must be a whole number from 0; got True"),
    ("3", {}, "a row's step must be a whole number from 0; got '3'"),
    (0, {"": 1}, "a number's name must be one line of text of at most 200 characters; got ''"),
    (0, {"a\nb": 1}, "a number's name must be one line of text"),
    (0, {"a" * 201: 1}, "a number's name must be one line of text"),
    (0, {3: 1}, "a number's name must be one line of text.*; got 3"),
    (0, {"loss": "low"}, "'loss' must be one number; got str low"),
    (0, {"loss": torch.ones(2)}, "'loss' must be one number; got Tensor"),
    (0, {"loss": [1]}, "'loss' must be one number; got list"),
    (0, {"loss": None}, "'loss' must be one number; got NoneType"),
    (0, {"loss": 10**400}, "'loss' must be one number; got int"),
]


@pytest.mark.parametrize(("step", "numbers", "message"), REFUSED)
def test_what_is_no_row_is_refused(step: Any, numbers: Any, message: str) -> None:
    """A step that isn't one, a name that no table can show and a value that isn't one number are refused, by name."""
    with pytest.raises(InvalidInput, match=message):
        Row(step, numbers)


@pytest.mark.parametrize("given", [None, 0.5, [("loss", 0.5)], "loss"])
def test_a_training_function_yields_named_numbers(given: Any) -> None:
    """What is no mapping is refused, with an example of one."""
    with pytest.raises(InvalidInput, match="a training function yields named numbers"):
        Row.of(given, otherwise=1)
