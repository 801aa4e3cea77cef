"""Laws of `Run`, the specification of one training: a value, exact as JSON, refusing what no training could use."""

import dataclasses
import json
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradus.errors import InvalidInput
from gradus.runs import Row, Run
from gradus.schedules import (
    Constant,
    Cosine,
    Exponential,
    Lambda,
    MultiStep,
    Schedule,
    absolute,
    epochs,
    fraction,
    parse,
    rest,
    warmup,
)

RUN = Run("cosine", "digits", Cosine(20, end=0.03), lr=0.3, epochs=30, batch_size=64)

SCHEDULES: list[Schedule] = [
    Constant(),
    Cosine(rest(), end=0.1 + 0.2),
    warmup(fraction(0.05)) >> Cosine(rest()),
    absolute(Exponential(0.9, every=epochs(1))),
    MultiStep((epochs(15), 400), gamma=1 / 3),
    Constant(5e-324) * 2 + Constant(1e308),
]


def changed(**fields: Any) -> Run:
    """The run above with other fields."""
    return dataclasses.replace(RUN, **fields)


def strictly(text: str) -> Any:
    """JSON as its standard has it, which has no NaN and no Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


lines = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1).filter(str.strip)
plain = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
runs = st.builds(
    Run,
    name=lines,
    task=lines,
    schedule=st.sampled_from(SCHEDULES),
    lr=st.floats(min_value=0, exclude_min=True, allow_infinity=False) | st.integers(1, 10**300),
    epochs=st.integers(1, 2**63 - 1),
    batch_size=st.integers(1, 2**63 - 1),
    seed=st.integers(0, 2**63 - 1),
    per=st.sampled_from(["epoch", "step"]),
    optimizer=lines,
    options=st.dictionaries(st.text(), plain | st.lists(plain) | st.tuples(plain, plain)),
)


@given(runs)
def test_a_run_comes_back_from_json(run: Run) -> None:
    """A run read from its JSON equals it, hashes as it does, and writes the same JSON."""
    text = run.to_json()
    again = Run.from_json(text)
    assert again == run
    assert hash(again) == hash(run)
    assert again.to_json() == text
    assert isinstance(strictly(text), dict)


@given(runs)
def test_a_run_comes_back_from_a_pickle(run: Run) -> None:
    """A run that was sent to another process equals the one at home."""
    assert pickle.loads(pickle.dumps(run)) == run


DIFFERENT = {
    "model": "lenet",
    "name": "other",
    "task": "fashion-mnist",
    "schedule": Cosine(21, end=0.03),
    "lr": math.nextafter(0.3, 1),
    "epochs": 31,
    "batch_size": 65,
    "seed": 1,
    "per": "step",
    "optimizer": "Adam",
    "options": {"momentum": 0.9},
    "on_nonfinite": "skip",
}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Run)])
def test_every_field_tells_runs_apart(field: str) -> None:
    """Runs that differ in one field are different runs, also as JSON."""
    other = changed(**{field: DIFFERENT[field]})
    assert other != RUN
    assert other.to_json() != RUN.to_json()


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Run)])
def test_a_run_cannot_be_changed(field: str) -> None:
    """No field of a run can be set after it is made."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(RUN, field, DIFFERENT[field])


def test_options_are_a_value() -> None:
    """Options are equal whatever their order and whether they were a mapping, pairs, lists or tuples."""
    one = changed(options={"momentum": 0.9, "betas": [0.9, 0.99]})
    two = changed(options=(("betas", (0.9, 0.99)), ("momentum", 0.9)))
    assert one == two
    assert hash(one) == hash(two)
    assert dict(one.options) == {"betas": (0.9, 0.99), "momentum": 0.9}


INVALID = [
    ({"name": ""}, "a run's name must be one line of text; got ''"),
    ({"name": " \t"}, "a run's name must be one line"),
    ({"name": "two\nlines"}, "a run's name must be one line"),
    ({"name": "\x1b[2J"}, "a run's name must be one line"),
    ({"name": "half \udcff"}, "a run's name must be one line"),
    ({"name": 3}, "a run's name must be one line of text; got 3"),
    ({"task": None}, "a run's task must be one line of text; got None"),
    ({"optimizer": torch.optim.SGD}, "a run's optimizer must be one line of text"),
    ({"schedule": 0.1}, "a run's schedule must be a Schedule; got 0.1"),
    ({"schedule": "Cosine(20)"}, "a run's schedule must be a Schedule; got 'Cosine"),
    ({"lr": 0}, "the learning rate must be a finite number above 0; got 0"),
    ({"lr": -0.1}, "the learning rate must be a finite number above 0; got -0.1"),
    ({"lr": math.nan}, "the learning rate must be .*; got nan"),
    ({"lr": math.inf}, "the learning rate must be .*; got inf"),
    ({"lr": 10**400}, "the learning rate must be a finite number above 0"),
    ({"lr": True}, "the learning rate must be .*; got True"),
    ({"lr": "0.1"}, "the learning rate must be .*; got '0.1'"),
    ({"epochs": 0}, r"epochs must be a whole number from 1, below 2\^63; got 0"),
    ({"epochs": 2.0}, "epochs must be a whole number from 1.*; got 2.0"),
    ({"epochs": True}, "epochs must be a whole number from 1.*; got True"),
    ({"batch_size": 0}, "batch_size must be a whole number from 1.*; got 0"),
    ({"batch_size": None}, "batch_size must be a whole number from 1.*; got None"),
    ({"seed": -1}, "seed must be a whole number from 0.*; got -1"),
    ({"seed": 2**63}, "seed must be a whole number from 0.*; got 9223372036854775808"),
    ({"per": "batch"}, """a schedule counts per "epoch" or per "step"; got 'batch'"""),
    ({"on_nonfinite": "hope"}, """on_nonfinite must be "stop", "skip", "back-off" or None; got 'hope'"""),
    ({"options": "momentum"}, "options must be given by name"),
    ({"options": 3}, "options must be given by name"),
    ({"options": {1: 2}}, "options must be given by name"),
    ({"options": {"lambd": math.nan}}, "option 'lambd' must be a finite number.*; got nan"),
    ({"options": {"betas": [0.9, math.inf]}}, "option 'betas' must be a finite number"),
    ({"options": {"betas": [[0.9]]}}, "option 'betas' must be a finite number"),
    ({"options": {"rate": torch.tensor(0.1)}}, "option 'rate' must be a finite number"),
]


@pytest.mark.parametrize(("fields", "message"), INVALID)
def test_what_no_training_can_use_is_refused(fields: dict[str, Any], message: str) -> None:
    """An argument that can't be used is refused when the run is made; the message says what must hold and what was given."""
    with pytest.raises(InvalidInput, match=message):
        changed(**fields)


def edited(**fields: Any) -> str:
    """Its JSON with other fields."""
    return json.dumps(json.loads(RUN.to_json()) | fields)


def without(field: str) -> str:
    """Its JSON without a field."""
    return json.dumps({name: value for name, value in json.loads(RUN.to_json()).items() if name != field})


NOT_RUNS: list[tuple[Any, str]] = [
    (None, "a run is read from JSON text; got NoneType"),
    (b"{}", "a run is read from JSON text; got bytes"),
    ("", "this is not JSON"),
    ("{", "this is not JSON"),
    ("[" * 100_000, "this is not JSON"),
    ("[]", "this JSON is no run"),
    ("{}", "this JSON is no run"),
    (Cosine(20).to_json(), "this JSON is no run"),
    (edited(**{"gradus.run": 2}), "this run has version 2; this Gradus reads version 1"),
    (edited(**{"gradus.run": True}), "this run has version True"),
    (edited(**{"gradus.run": None}), "this run has version None"),
    (edited(speed=3), "a run's JSON has no field 'speed'"),
    (without("lr"), "a run's JSON needs the field 'lr'"),
    (without("schedule"), "a run's JSON needs the field 'schedule'"),
    (edited(schedule=None), "this JSON is no schedule"),
    (edited(schedule={"gradus.schedule": 1, "schedule": {"kind": "Spline"}}), "unknown kind of schedule: 'Spline'"),
    (edited(lr=math.nan), "the learning rate must be .*; got nan"),
    (edited(epochs="30"), "epochs must be a whole number from 1.*; got '30'"),
    (edited(options="abc"), "options must be given by name"),
]


@pytest.mark.parametrize(("text", "message"), NOT_RUNS)
def test_what_is_no_run_is_refused(text: Any, message: str) -> None:
    """Text that is no run of a known version with known fields is refused, by name."""
    with pytest.raises(InvalidInput, match=message):
        Run.from_json(text)


def test_defaults_may_be_absent() -> None:
    """JSON without the fields that have a default gives the run with the defaults."""
    text = json.dumps({name: value for name, value in json.loads(RUN.to_json()).items() if name not in ("seed", "options")})
    assert Run.from_json(text) == RUN


def test_functions_are_imported_only_from_trusted_text() -> None:
    """A run whose schedule names a function is read only if its text is trusted."""
    run = changed(schedule=Lambda("math:sqrt"))
    with pytest.raises(InvalidInput, match="trusted=True"):
        Run.from_json(run.to_json())
    assert Run.from_json(run.to_json(), trusted=True) == run


def test_a_nameless_function_cannot_be_saved() -> None:
    """A run whose schedule can't be written down has no JSON, and says so."""
    with pytest.raises(InvalidInput):
        changed(schedule=Lambda(lambda t: 1 / (1 + t))).to_json()


@pytest.mark.parametrize(
    ("schedule", "per", "expected"),
    [
        ("Cosine(rest())", "epoch", "Cosine(30)"),
        ("Cosine(rest())", "step", "Cosine(690)"),
        ("warmup(epochs(5)) >> Cosine(epochs(15))", "epoch", "warmup(5) >> Cosine(15)"),
        ("warmup(epochs(5)) >> Cosine(epochs(15))", "step", "warmup(115) >> Cosine(345)"),
        ("Cosine(fraction(0.5))", "epoch", "Cosine(15)"),
        ("Cosine(fraction(0.5))", "step", "Cosine(345)"),
        ("Cosine(samples(14720))", "epoch", "Cosine(10)"),  # 23 updates of 64 examples are 1,472
        ("Cosine(samples(14720))", "step", "Cosine(230)"),
        ("Cosine(7)", "epoch", "Cosine(7)"),
        ("Cosine(7)", "step", "Cosine(7)"),
    ],
)
def test_spans_are_counted_in_what_the_schedule_counts(schedule: str, per: str, expected: str) -> None:
    """Of 30 epochs with 23 updates of 64 examples, a span is as many epochs or updates as a person counts."""
    run = changed(schedule=parse(schedule), per=per)
    assert run.resolved(steps_per_epoch=23) == parse(expected)


def test_what_cannot_be_counted_is_refused() -> None:
    """A span that a run can't count is refused when it is resolved."""
    with pytest.raises(InvalidInput, match="a run has no tokens to count, only epochs and samples"):
        changed(schedule=parse("Cosine(tokens(1000))")).resolved(23)


Torch = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]

TORCH: dict[str, tuple[Schedule, Torch]] = {
    "cosine": (Cosine(690, end=0.1), lambda sgd: torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 690, eta_min=0.03)),
    "exponential": (Exponential(0.9), lambda sgd: torch.optim.lr_scheduler.ExponentialLR(sgd, 0.9)),
    "absolute": (absolute(Constant(0.3)), lambda sgd: torch.optim.lr_scheduler.ConstantLR(sgd, 1.0)),
}


@pytest.mark.parametrize("per", ["epoch", "step"])
@pytest.mark.parametrize("name", TORCH)
def test_rates_are_those_of_torch(name: str, per: str) -> None:
    """A run's rates are what torch's scheduler gives, one an epoch or one an update."""
    ours, theirs = TORCH[name]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = theirs(optimizer)
    optimizer.step()
    expected = []
    for _ in range(RUN.epochs * (23 if per == "step" else 1)):
        expected.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    assert changed(schedule=ours, per=per).rates(steps_per_epoch=23) == pytest.approx(expected, rel=1e-9)


def test_an_absolute_schedule_is_the_rate_itself() -> None:
    """A run's `lr` multiplies a schedule, and leaves an absolute one as it is."""
    assert changed(schedule=Constant(0.5), epochs=2).rates(23) == [0.15, 0.15]
    assert changed(schedule=absolute(Constant(0.5)), epochs=2).rates(23) == [0.5, 0.5]


def test_only_the_time_may_differ_between_repetitions() -> None:
    """A row's values are all its fields but the seconds."""
    row = Row(1, 23, 0.1, 2.0, 0.2, 1.9, 0.3, 4.5)
    assert row.values() == dataclasses.replace(row, seconds=9.0).values()
    assert row.values().keys() == {field.name for field in dataclasses.fields(Row)} - {"seconds"}
