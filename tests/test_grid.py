"""Laws of `grid` and of the reference experiment: which runs there are, what they are called, and their rates."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from gradus.errors import InvalidInput
from gradus.runs import Run
from gradus.schedules import (
    Constant,
    Cosine,
    Exponential,
    InverseSqrt,
    Linear,
    MultiStep,
    Schedule,
    absolute,
    epochs,
    rest,
    warmup,
)
from gradus.sweep import REFERENCE, classic, grid, reference_run, reference_runs
from gradus.tasks import digits, load_task

BASE = Run("digits")


@pytest.mark.parametrize(
    ("axes", "names"),
    [
        (
            {"optimizer": ["SGD", "AdamW"], "lr": [0.1, 1e-3]},
            ["SGD, lr 0.1", "SGD, lr 0.001", "AdamW, lr 0.1", "AdamW, lr 0.001"],
        ),
        ({"optimizer": ["Lion"], "lr": [0.1, 1.0]}, ["lr 0.1", "lr 1"]),
        ({"schedules": {"falling": Cosine(rest())}}, ["falling"]),
        ({"schedules": [Cosine(9), {"momentum": Linear(9)}]}, ["Cosine(9)", "momentum Linear(9)"]),
        ({"length": [epochs(3), 100], "batch_size": [8]}, ["3 epochs", "100 updates"]),
        ({"options": [{"momentum": 0.9}, {}]}, ["momentum 0.9", "no options"]),
        ({"options": [None, {"momentum": 0.9}]}, ["None", "momentum 0.9"]),
        (
            {"accumulate": (1, 2), "lr": {"low": 0.1, "high": 1.0}},
            ["accumulate 1, low", "accumulate 1, high", "accumulate 2, low", "accumulate 2, high"],
        ),
        ({"groups": [{"a.*": {"factor": 0.1, "weight_decay": 0.0}, "b.*": "frozen"}, None]}, ["groups 1", "groups None"]),
        ({"seed": range(2)}, [None, None]),
        ({}, [None]),
    ],
)
def test_a_runs_name_says_what_differs(axes: dict[str, Any], names: list[str | None]) -> None:
    """Labels, or the values of axes with several, are a run's name; the seed isn't; a text too long to read is its place."""
    assert [run.name for run in grid(BASE, **axes)] == names
    named = [run.name for run in grid(BASE.replace(name="mine"), **axes)]
    assert named == [f"mine, {name}" if name else "mine" for name in names]


def test_every_combination_is_there_once_and_seeds_vary_slowest() -> None:
    """The runs are the product of the axes, with the seeds outermost wherever they are named; all else is the base's."""
    base = BASE.replace(model="digits-net", batch_size=32)
    runs = grid(base, optimizer=["SGD", "AdamW"], seed=range(3), lr=[0.1, 0.2])
    assert [(run.seed, run.optimizer, run.lr) for run in runs] == [
        (seed, optimizer, lr) for seed in range(3) for optimizer in ("SGD", "AdamW") for lr in (0.1, 0.2)
    ]
    assert len({run.identity for run in runs}) == 12
    assert {(run.model, run.batch_size) for run in runs} == {("digits-net", 32)}


@pytest.mark.parametrize("make", [list, tuple, np.asarray, torch.tensor, iter], ids=lambda make: make.__name__)
def test_an_axis_is_any_collection_in_order(make: Any) -> None:
    """Lists, arrays, tensors and iterators of numbers are axes, and their elements come out as Python's own."""
    runs = grid(BASE, lr=make([0.25, 0.5]), seed=make([3, 1]))
    assert [(run.seed, run.lr) for run in runs] == [(3, 0.25), (3, 0.5), (1, 0.25), (1, 0.5)]
    assert {(type(run.seed), type(run.lr)) for run in runs} == {(int, float)}
    assert [run for run in runs if Run.from_json(run.to_json()) != run] == []


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"optimiser": ["SGD"]}, "a Run has no 'optimiser' to vary (did you mean optimizer?)"),
        ({"optimizer": "SGD"}, "the axis optimizer must be a list of values, or a mapping from labels to values; got 'SGD'"),
        ({"seed": 5}, "the axis seed must be a list of values"),
        ({"schedules": Cosine(3)}, "the axis schedules must be a list of values"),
        ({"lr": {0.1, 0.2}}, "the axis lr must be a list of values"),
        ({"lr": []}, "the axis lr is empty; give it at least one value"),
        ({"lr": {}}, "the axis lr is empty"),
        ({"lr": {"": 0.1}}, "each value of lr needs a label, one line of text; got ''"),
        ({"lr": {0.1: 0.1}}, "each value of lr needs a label, one line of text; got 0.1"),
        ({"lr": [0.1, -1]}, "the learning rate must be a finite number above 0; got -1"),
        ({"schedules": {"momentum": Linear(3)}}, "could be a label, or the schedule of momentum: give a list"),
        ({"options": {"momentum": 0.9}}, "an optimizer's options must be given by name"),
    ],
)
def test_what_is_no_axis_is_refused(axes: dict[str, Any], said: str) -> None:
    """A wrong name, something that is no collection, an empty one or a value that Run refuses is named, with the way out."""
    with pytest.raises(InvalidInput) as caught:
        grid(BASE, **axes)
    assert said in str(caught.value)


# The reference experiment

# As it was published: each schedule's own rate, and the schedule in epochs.
PUBLISHED: dict[str, tuple[float, Schedule]] = {
    "constant": (0.3, Constant()),
    "square-root": (0.1, InverseSqrt(epochs(1))),
    "factor": (0.5, Exponential(0.9, floor=0.01 / 0.5, every=epochs(1))),
    "multi-factor": (0.5, MultiStep((epochs(15), epochs(30)), gamma=0.5)),
    "cosine": (0.3, Cosine(epochs(20), end=0.01 / 0.3)),
    "cosine with warmup": (0.3, warmup(epochs(5)) >> Cosine(epochs(15), end=0.01 / 0.3)),
}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("per", ["epoch", "step"])
def test_thirty_epochs_at_the_courses_rate_are_the_published_experiment(name: str, per: str) -> None:
    """Each rate is the published one bit for bit, and within one unit in the last place where two products differ."""
    lr, schedule = PUBLISHED[name]
    (run,) = reference_runs("digits", only=[name], lr=0.3, length=epochs(30), per=per)
    ticks, steps = (30, 1) if per == "epoch" else (30 * 235, 235)
    concrete = schedule.resolve(ticks, steps_per_epoch=steps)
    published = [lr * concrete(t) for t in range(ticks)]
    apart = [abs(a - b) / math.ulp(b) for a, b in zip(run.rates(235), published, strict=True)]
    assert max(apart) <= (1 if name in ("square-root", "factor") else 0)


@pytest.mark.parametrize("updates", [1, 2, 7, 29, 30, 64, 1000])
@pytest.mark.parametrize("lr", [0.001, 0.3])
def test_the_classic_schedules_fit_a_run_of_any_length(updates: int, lr: float) -> None:
    """Rates are multiples of the asked one; in a run of some updates the cosine reaches its end and the warmup the top."""
    runs = {run.name: run.rates(10) for run in reference_runs("digits", lr=lr, length=updates)}
    assert list(runs) == list(REFERENCE)
    assert all(0 <= rate <= lr * 5 / 3 * (1 + 1e-15) for rates in runs.values() for rate in rates)
    assert all(
        rates[0] == pytest.approx(lr * height) for (name, rates) in runs.items() if (height := HEIGHTS.get(str(name)))
    )
    if updates >= 7:
        end = lr / 30
        assert runs["cosine"][-1] == runs["cosine with warmup"][-1] == pytest.approx(end)
        assert runs["factor"][-1] == pytest.approx(max(end, lr * 5 / 3 * 0.9 ** (30 * (updates - 1) / updates)))
        assert max(runs["cosine with warmup"]) == pytest.approx(lr)
        assert runs["cosine with warmup"][0] == 0
    if updates >= 30:
        found = [one for run in reference_runs("digits", lr=lr, length=updates) for one in run.mistakes(10)]
        assert not found


HEIGHTS = {"constant": 1, "square-root": 1 / 3, "factor": 5 / 3, "multi-factor": 5 / 3, "cosine": 1}


def test_runs_are_chosen_by_name() -> None:
    """Schedules are kept, left out and added by name; each comes with each seed, seed by seed, and settings are Run's."""
    chosen = {"only": ["constant", "cosine"], "without": ["cosine"], "schedules": {"mine": absolute(Cosine(rest()))}}
    runs = reference_runs("digits", digits(), **chosen, seeds=2, optimizer="AdamW", lr=0.05, batch_size=None)  # type: ignore[arg-type]
    assert [(run.name, run.seed) for run in runs] == [("constant", 0), ("mine", 0), ("constant", 1), ("mine", 1)]
    assert {(run.optimizer, run.lr, run.batch_size, run.valid, run.per) for run in runs} == {
        ("AdamW", 0.05, None, True, "step")
    }
    assert list(classic()) == list(REFERENCE)


def test_only_the_courses_own_task_is_trained_and_shown_as_in_the_course() -> None:
    """fashion-mnist learns from all of train, with rates held over epochs from 30 on; every other task keeps a part."""
    task = load_task("digits")  # its length is the course's, too
    course, short = (reference_run("fashion-mnist", task, length=epochs(n)) for n in (30, 3))
    assert (course.valid, course.per, course.record_every) == (False, "epoch", 50)
    assert (short.valid, short.per, short.record_every) == (False, "step", 50)
    other = reference_run("digits", task)
    assert (other.valid, other.per, other.record_every, other.length) == (True, "step", None, epochs(30))
    assert reference_run("fashion-mnist", task, valid=True, per="step").valid


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"only": ["cosinus"]},
            "unknown schedule 'cosinus' (did you mean cosine?); the reference experiment has constant, square-root",
        ),
        ({"without": list(REFERENCE)}, "there is nothing to compare: name at least one schedule"),
        ({"schedules": {"cosine": Cosine(3)}}, "each schedule needs a name of its own; 'cosine' is taken"),
        ({"schedules": {" ": Cosine(3)}}, "each schedule needs a name of its own"),
        ({"seeds": 0}, "seeds must be a whole number from 1; got 0"),
        ({"seeds": True}, "seeds must be a whole number from 1; got True"),
        ({"epochs": 3}, "a Run has no 'epochs'"),
        ({"batch_size": 0}, "batch_size must be a whole number from 1"),
        ({"lr": float("nan")}, "the learning rate must be a finite number above 0; got nan"),
        ({"per": "minute"}, 'per must be one of "step", "epoch"; got \'minute\''),
    ],
)
def test_what_cannot_be_compared_is_refused(settings: dict[str, Any], message: str) -> None:
    """Bad settings are refused before anything is trained, naming what must hold."""
    with pytest.raises(InvalidInput) as caught:
        reference_runs("digits", digits(), **settings)
    assert message in str(caught.value)
