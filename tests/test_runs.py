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
from gradus.frozen import Frozen
from gradus.runs import Run
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
    samples,
    tokens,
    warmup,
)

RUN = Run("digits", schedules=Cosine(20, end=0.03), lr=0.3, length=epochs(30), per="epoch", batch_size=64, name="cosine")

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
counts = st.integers(1, 2**63 - 1)
options = st.dictionaries(st.text().filter(lambda name: name != "lr"), plain | st.lists(plain) | st.tuples(plain, plain))
groups = st.dictionaries(
    st.text(min_size=1).filter(str.strip),
    st.just("frozen") | st.builds(dict, factor=st.floats(min_value=1e-9, max_value=1e9), weight_decay=st.just(0.0)),
)
lengths = counts | st.builds(
    lambda unit, amount: unit(amount), st.sampled_from([epochs, samples, tokens]), st.floats(min_value=1e-3, max_value=1e9)
)
positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False) | st.integers(1, 10**300)
runs = st.builds(
    Run,
    task=lines,
    optimizer=st.none() | lines,
    lr=st.none() | positive,
    schedules=st.sampled_from(SCHEDULES) | st.dictionaries(lines, st.sampled_from(SCHEDULES), max_size=3),
    options=st.none() | options,
    groups=st.none() | groups,
    length=st.none() | lengths,
    per=st.sampled_from(["epoch", "step"]),
    batch_size=st.none() | counts,
    accumulate=counts,
    precision=st.sampled_from(["float32", "bfloat16", "float16", "float64"]),
    clip_norm=st.none() | positive,
    valid=st.booleans(),
    evaluate_every=lengths,
    model=st.none() | lines,
    seed=st.integers(0, 2**63 - 1),
    on_nonfinite=st.sampled_from([None, "stop", "skip", "back-off"]),
    record_every=st.none() | counts,
    name=st.none() | lines,
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
    "task": "fashion-mnist",
    "optimizer": "Adam",
    "lr": math.nextafter(0.3, 1),
    "schedules": {"lr": Cosine(21, end=0.03)},
    "options": {"momentum": 0.9},
    "groups": {"*.bias": {"weight_decay": 0.0}},
    "length": epochs(31),
    "per": "step",
    "batch_size": 65,
    "accumulate": 2,
    "precision": "bfloat16",
    "clip_norm": 1.0,
    "valid": False,
    "evaluate_every": 100,
    "model": "lenet",
    "seed": 1,
    "on_nonfinite": "skip",
    "record_every": 50,
    "name": "other",
}
FIELDS = [field.name for field in dataclasses.fields(Run)]


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_tells_runs_apart(field: str) -> None:
    """Runs that differ in one field are different runs, also as JSON."""
    other = changed(**{field: DIFFERENT[field]})
    assert other != RUN
    assert other.to_json() != RUN.to_json()


@pytest.mark.parametrize("field", FIELDS)
def test_an_identity_is_all_that_decides_what_is_trained(field: str) -> None:
    """Two runs have one identity unless they differ in something that changes the training, which a name doesn't."""
    same = changed(**{field: DIFFERENT[field]}).identity == RUN.identity
    assert same == (field in ("name", "record_every"))


@pytest.mark.parametrize("field", FIELDS)
def test_a_run_cannot_be_changed(field: str) -> None:
    """No field of a run can be set after it is made."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(RUN, field, DIFFERENT[field])


@pytest.mark.parametrize("field", FIELDS)
def test_replace_changes_one_field_alone(field: str) -> None:
    """`replace` gives a run with the new value and every other as before."""
    other = RUN.replace(**{field: DIFFERENT[field]})
    assert other == changed(**{field: DIFFERENT[field]})
    assert other.replace(**{field: getattr(RUN, field)}) == RUN


def test_replace_knows_the_names() -> None:
    """An argument that a run doesn't have is refused with the one that was meant."""
    with pytest.raises(
        InvalidInput, match=r"a Run has no 'bacth_size' \(did you mean batch_size\?\); it has task, optimizer"
    ):
        RUN.replace(bacth_size=3)


def test_options_are_a_value() -> None:
    """Options are equal whatever their order and whether their members were lists or tuples; they can be hashed."""
    one = changed(options={"momentum": 0.9, "betas": [0.9, 0.99]})
    two = changed(options={"betas": (0.9, 0.99), "momentum": 0.9})
    assert one == two
    assert hash(one) == hash(two)
    assert one.options == {"betas": (0.9, 0.99), "momentum": 0.9}


def test_the_order_of_groups_counts() -> None:
    """The first pattern that matches decides, so groups in another order are another run."""
    one, two = {"a.*": {"factor": 0.1}}, {"*": {"factor": 0.5}}
    assert changed(groups=one | two) != changed(groups=two | one)
    assert changed(groups=one | two).identity != changed(groups=two | one).identity


def test_a_name_in_our_optimizers_may_say_so() -> None:
    """An optimizer of ours is the same with its module before its name or without, and torch's is another."""
    assert changed(optimizer="gradus.optim.AdamW") == changed(optimizer="AdamW") != changed(optimizer="torch.optim.AdamW")


def test_one_schedule_is_the_learning_rates() -> None:
    """A schedule that is given alone is that of the learning rate."""
    assert changed(schedules=Constant()) == changed(schedules={"lr": Constant()})


INVALID = [
    ({"name": ""}, "a run's name must be one line of text; got ''"),
    ({"name": " \t"}, "a run's name must be one line"),
    ({"name": "two\nlines"}, "a run's name must be one line"),
    ({"name": "\x1b[2J"}, "a run's name must be one line"),
    ({"name": "half \udcff"}, "a run's name must be one line"),
    ({"name": 3}, "a run's name must be one line of text; got 3"),
    ({"task": None}, "a run's task must be one line of text; got None"),
    ({"optimizer": torch.optim.SGD}, "a run's optimizer must be one line of text"),
    ({"model": ""}, "a run's model must be one line of text"),
    ({"schedules": 0.1}, "schedules are given by hyperparameter.*; got 0.1"),
    ({"schedules": {"lr": "Cosine(20)"}}, "the schedule of 'lr' must be a Schedule; got 'Cosine"),
    ({"schedules": {1: Constant()}}, "schedules are given by hyperparameter"),
    ({"lr": 0}, "the learning rate must be a finite number above 0; got 0"),
    ({"lr": -0.1}, "the learning rate must be a finite number above 0; got -0.1"),
    ({"lr": math.nan}, "the learning rate must be .*; got nan"),
    ({"lr": math.inf}, "the learning rate must be .*; got inf"),
    ({"lr": 10**400}, "the learning rate must be a finite number above 0"),
    ({"lr": True}, "the learning rate must be .*; got True"),
    ({"lr": "0.1"}, "the learning rate must be .*; got '0.1'"),
    ({"clip_norm": 0}, "clip_norm must be a finite number above 0; got 0"),
    ({"clip_norm": math.inf}, "clip_norm must be a finite number above 0; got inf"),
    ({"length": 0}, r"length must be a whole number of updates from 1, or epochs\(...\), samples\(...\), tokens.*; got 0"),
    ({"length": 2.5}, "length must be a whole number of updates.*; got 2.5"),
    ({"length": True}, "length must be a whole number of updates.*; got True"),
    ({"length": epochs(0)}, r"length must be .* above 0; got epochs\(0\)"),
    ({"length": rest()}, r"length must be .*; got rest\(\)"),
    ({"length": fraction(0.5)}, r"length must be .*; got fraction\(0.5\)"),
    ({"evaluate_every": 0}, "evaluate_every must be a whole number of updates from 1.*; got 0"),
    ({"evaluate_every": rest()}, r"evaluate_every must be .*; got rest\(\)"),
    ({"evaluate_every": None}, "evaluate_every must be .*; got None"),
    ({"record_every": 0}, "record_every must be a whole number from 1.*; got 0"),
    ({"batch_size": 0}, "batch_size must be a whole number from 1.*; got 0"),
    ({"batch_size": 2.0}, "batch_size must be a whole number from 1.*; got 2.0"),
    ({"accumulate": None}, "accumulate must be a whole number from 1.*; got None"),
    ({"seed": -1}, "seed must be a whole number from 0.*; got -1"),
    ({"seed": 2**63}, "seed must be a whole number from 0.*; got 9223372036854775808"),
    ({"per": "batch"}, """per must be one of "step", "epoch"; got 'batch'"""),
    ({"per": None}, """per must be one of "step", "epoch"; got None"""),
    ({"precision": "fp16"}, """precision must be one of "float32", "bfloat16", "float16", "float64"; got 'fp16'"""),
    ({"valid": 0.1}, "valid must be True or False; got 0.1"),
    ({"on_nonfinite": "hope"}, """on_nonfinite must be one of "stop", "skip", "back-off" or None; got 'hope'"""),
    ({"on_nonfinite": []}, """on_nonfinite must be one of .*; got \\[\\]"""),
    ({"options": "momentum"}, "options must be given by name"),
    ({"options": 3}, "options must be given by name"),
    ({"options": {1: 2}}, "options must be given by name"),
    ({"options": {"lr": 0.1}}, "the learning rate is the run's lr, and no option; give lr="),
    ({"options": {"lambd": math.nan}}, "option 'lambd' must be a finite number.*; got nan"),
    ({"options": {"betas": [0.9, math.inf]}}, "option 'betas' must be a finite number"),
    ({"options": {"betas": [[0.9]]}}, "option 'betas' must be a finite number"),
    ({"options": {"rate": torch.tensor(0.1)}}, "option 'rate' must be a finite number"),
    ({"groups": ["*.bias"]}, "groups are given by patterns of names"),
    ({"groups": {"": "frozen"}}, "groups are given by patterns of names"),
    ({"groups": {"*.bias": 0.1}}, """group '.*bias' must be "frozen", or options such as .*; got 0.1"""),
    ({"groups": {"*.bias": {"factor": -1}}}, "the factor of group '.*bias' must be a finite number above 0; got -1"),
    ({"groups": {"*.bias": {"lr": 0.1}}}, "a group's part of the learning rate is its factor"),
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
    (edited(**{"gradus.run": 3}), "this run has version 3; this Gradus reads versions up to 2"),
    (edited(**{"gradus.run": True}), "this run has version True"),
    (edited(**{"gradus.run": None}), "this run has version None"),
    (edited(speed=3), "a run's JSON has no field 'speed'"),
    (without("task"), "a run's JSON needs the field 'task'"),
    (edited(schedules=None), "a run's schedules must be an object; got None"),
    (edited(schedules={"lr": None}), "this JSON is no schedule"),
    (edited(schedules={"lr": {"gradus.schedule": 1, "schedule": {"kind": "Spline"}}}), "unknown kind of schedule: 'Spline'"),
    (edited(lr=math.nan), "the learning rate must be .*; got nan"),
    (edited(length="30"), "length must be a whole number of updates.*; got '30'"),
    (edited(length={"span": "epochs"}), """a length in a run's JSON has "span" and "amount"; got \\['span'\\]"""),
    (edited(length={"span": "moons", "amount": 2}), "a span's unit must be one of"),
    (edited(options="abc"), "options must be given by name"),
    (edited(groups=[]), "groups are given by patterns of names"),
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


OLD = {
    "gradus.run": 1,
    "name": "cosine",
    "task": "digits",
    "schedule": json.loads(Cosine(20, end=0.03).to_json()),
    "lr": 0.3,
    "epochs": 30,
    "batch_size": 64,
    "seed": 0,
    "per": "epoch",
    "optimizer": "SGD",
    "model": None,
    "options": {},
    "on_nonfinite": None,
}


@pytest.mark.parametrize(
    ("old", "new"), [("SGD", "torch.optim.SGD"), ("Lion", "Lion"), ("gradus.optim.SGD", "SGD"), ("own:Signum", "own:Signum")]
)
def test_a_run_of_version_1_is_the_same_training(old: str, new: str) -> None:
    """A run that an older Gradus wrote says the same today: all the training data, whole epochs, torch's optimizer first."""
    read = Run.from_json(json.dumps(OLD | {"optimizer": old}))
    assert read == changed(optimizer=new, valid=False, options={})


@pytest.mark.parametrize("field", ["name", "task", "schedule", "lr", "epochs", "batch_size"])
def test_a_run_of_version_1_needs_its_fields(field: str) -> None:
    """Of a run of version 1 that lacks a field it is said which."""
    with pytest.raises(InvalidInput, match=f"needs the field '{field}'"):
        Run.from_json(json.dumps({name: value for name, value in OLD.items() if name != field}))


def test_functions_are_imported_only_from_trusted_text() -> None:
    """A run whose schedule names a function is read only if its text is trusted."""
    run = changed(schedules=Lambda("math:sqrt"))
    with pytest.raises(InvalidInput, match="trusted=True"):
        Run.from_json(run.to_json())
    assert Run.from_json(run.to_json(), trusted=True) == run


def test_a_nameless_function_cannot_be_saved() -> None:
    """A run whose schedule can't be written down has no JSON, and says so."""
    with pytest.raises(InvalidInput):
        changed(schedules=Lambda(lambda t: 1 / (1 + t))).to_json()


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
    run = changed(schedules={"lr": parse(schedule), "momentum": parse(schedule)}, per=per)
    assert run.resolved(steps_per_epoch=23) == {"lr": parse(expected), "momentum": parse(expected)}


def test_what_cannot_be_counted_is_refused() -> None:
    """A span that a run can't count is refused when it is resolved, and so is a length that isn't there."""
    with pytest.raises(InvalidInput, match="can't be counted in steps without tokens_per_step"):
        changed(schedules=parse("Cosine(tokens(1000))")).resolved(23)
    with pytest.raises(
        InvalidInput, match=r"the run of task 'digits' has no length of its own; give one: length=epochs\(30\)"
    ):
        changed(length=None).total_steps(23)


@pytest.mark.parametrize(
    ("length", "steps"),
    [(epochs(2), 46), (epochs(0.5), 12), (7, 7), (samples(640), 10), (tokens(1000), 100), (epochs(1e-6), 1)],
)
def test_a_length_is_so_many_updates(length: Any, steps: int) -> None:
    """With 23 updates an epoch, of 64 examples and 10 tokens, a length is the nearest whole number of updates, from 1."""
    assert changed(length=length).total_steps(23, 10) == steps
    assert changed(evaluate_every=length).evaluation_steps(23, 10) == steps


def test_accumulation_makes_updates_of_more_examples() -> None:
    """An update of several batches has their examples together."""
    assert changed(length=samples(640), accumulate=5).total_steps(23) == 2


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
    for _ in range(30 * (23 if per == "step" else 1)):
        expected.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    assert changed(schedules=ours, per=per).rates(steps_per_epoch=23) == pytest.approx(expected, rel=1e-9)


def test_an_absolute_schedule_is_the_rate_itself() -> None:
    """A run's `lr` multiplies a schedule, and leaves an absolute one as it is."""
    assert changed(schedules=Constant(0.5), length=epochs(2)).rates(23) == [0.15, 0.15]
    assert changed(schedules=absolute(Constant(0.5)), length=epochs(2)).rates(23) == [0.5, 0.5]
    assert changed(schedules={}, length=epochs(2)).rates(23) == [0.3, 0.3]


def test_mistakes_are_found_in_every_schedule() -> None:
    """What looks like a mistake is said of each hyperparameter's schedule: here a warmup that never ends in the run."""
    unfinished = warmup(300) >> Constant()
    assert not RUN.mistakes(23)
    for name in ("lr", "momentum"):
        assert changed(schedules={name: unfinished}).mistakes(23)


@given(st.dictionaries(st.text(), plain))
def test_a_frozen_mapping_is_a_value(items: dict[str, Any]) -> None:
    """A frozen mapping equals its items, hashes and pickles by them, and has no way to be changed."""
    frozen = Frozen(items)
    assert frozen == items
    assert pickle.loads(pickle.dumps(frozen)) == frozen
    assert hash(Frozen(dict(reversed(items.items())))) == hash(frozen)
    assert (Frozen(dict(reversed(items.items()))) == frozen) == (len(items) < 2)
    assert not hasattr(frozen, "__setitem__")
