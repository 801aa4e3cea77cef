"""Executors give the same rows, and one run's end is no other's; statistics against SciPy."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradus.errors import InvalidInput
from gradus.runs import Row, Run
from gradus.schedules import Cosine, absolute, epochs
from gradus.sweep import EXECUTORS, REFERENCE, Ended, Machine, Started, interval, reference_runs
from gradus.tasks import Task, digits

CPU = Machine(device="cpu", workers=2)
RUNS = [
    Run(name, "digits", REFERENCE[name].schedule, lr=REFERENCE[name].lr, epochs=2, batch_size=64, seed=seed)
    for name in ("constant", "cosine with warmup")
    for seed in (0, 1)
]


def failing_task() -> Task:
    """A user's task that can't be made."""
    raise RuntimeError("no such disk")


def dying_task() -> Task:
    """A user's task that takes its whole process with it."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
    raise AssertionError


def outcome(events: Iterator[tuple[int, Any]]) -> dict[int, tuple[list[dict[str, float]], str, str]]:
    rows: dict[int, list[dict[str, float]]] = {}
    ends: dict[int, Ended] = {}
    for index, event in events:
        if isinstance(event, Started):
            rows[index] = []
        elif isinstance(event, Row):
            rows[index].append(event.values())
        else:
            ends[index] = event
    return {index: (rows.get(index, []), end.status, end.message) for index, end in ends.items()}


def test_executors_give_the_same_rows() -> None:
    """One process or several: the same rows, bit for bit, and twice the same."""
    serial = outcome(EXECUTORS["serial"](RUNS, CPU))
    assert sorted(serial) == [0, 1, 2, 3]
    assert all(status == "finished" and len(rows) == 2 for rows, status, _ in serial.values())
    assert serial[0][0] != serial[1][0]
    for execute in EXECUTORS.values():
        assert outcome(execute(RUNS, CPU)) == serial


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_run_that_fails_or_diverges_ends_alone(executor: str) -> None:
    """A run that diverges or fails is reported with its reason, and the others' rows are as without it."""
    wild = replace(RUNS[0], name="wild", schedule=absolute(Cosine(2, start=300.0)))
    broken = replace(RUNS[0], name="broken", task="test_sweep:failing_task")
    found = outcome(EXECUTORS[executor]([wild, broken, RUNS[0]], CPU))
    assert found[0][1] == "diverged"
    assert found[0][2].startswith("diverged at step ")
    assert found[1] == ([], "failed", "task 'test_sweep:failing_task' can't be made: RuntimeError: no such disk")
    assert found[2] == outcome(EXECUTORS["serial"](RUNS[:1], CPU))[0]


def test_a_process_that_dies_fails_its_run_only() -> None:
    """A killed worker's run is reported as failed with the exit code, and another worker does the rest."""
    dying = replace(RUNS[0], task="test_sweep:dying_task")
    found = outcome(EXECUTORS["processes"]([dying, RUNS[0], RUNS[1]], CPU))
    assert found[0] == ([], "failed", "its process died with exit code -9")
    assert found[1][1] == found[2][1] == "finished"


def test_nothing_is_left_behind() -> None:
    """A consumer that stops early leaves no process, and torch's threads are as they were."""
    import multiprocessing

    threads = torch.get_num_threads()
    for execute in EXECUTORS.values():
        events = execute(RUNS, CPU)
        next(events)
        events.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []
    assert torch.get_num_threads() == threads


UNGUARDED = """
from dataclasses import replace
from gradus.runs import Run
from gradus.schedules import Constant
from gradus.sweep import EXECUTORS, Ended, Machine
run = Run("a", "digits", Constant(), lr=0.1, epochs=1, batch_size=256)
events = EXECUTORS["processes"]([run, replace(run, seed=1)], Machine(device="cpu", workers=2))
print([event.status for _, event in events if isinstance(event, Ended)])
"""


def test_a_script_needs_no_guard() -> None:
    """A script without `if __name__ == "__main__"`, or one from standard input, executes its runs once each."""
    for arguments, text in (([], UNGUARDED), (["-c", UNGUARDED], None)):
        command = [sys.executable, *(arguments or ["-"])]
        found = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
        assert found.stdout.strip() == "['finished', 'finished']"


# The reference experiment


def test_the_reference_is_the_courses() -> None:
    """The six schedules' rates by epoch are the course's formulas."""
    import math

    from gradus.sweep import reference_runs

    formulas = {
        "constant": lambda t: 0.3,  # noqa: ARG005 - constant
        "square-root": lambda t: 0.1 * (t + 1) ** -0.5,
        "factor": lambda t: max(0.01, 0.5 * 0.9**t),
        "multi-factor": lambda t: 0.5 * 0.5 ** ((t >= 15) + (t >= 30)),
        "cosine": lambda t: 0.01 + 0.29 * (1 + math.cos(math.pi * min(t, 20) / 20)) / 2,
        "cosine with warmup": lambda t: (
            0.3 * t / 5 if t < 5 else 0.01 + 0.29 * (1 + math.cos(math.pi * min(t - 5, 15) / 15)) / 2
        ),
    }
    runs = {run.name: run for run in reference_runs(digits(), "digits", epochs=40)}
    assert list(runs) == list(formulas)
    for name, formula in formulas.items():
        assert runs[name].rates(23) == pytest.approx([formula(t) for t in range(40)], rel=1e-12)
        per_step = replace(runs[name], per="step").resolved(100)
        assert runs[name].lr * per_step(700) == pytest.approx(formula(7), rel=1e-12)


def test_runs_are_chosen_by_name() -> None:
    """Schedules are kept, left out, added and raised to one height by name; each comes with each seed, seed by seed."""
    runs = reference_runs(
        digits(), "digits", only=["constant", "cosine"], without=["cosine"], schedules={"mine": Cosine(epochs(3))}, seeds=2
    )
    assert [(run.name, run.seed, run.lr) for run in runs] == [
        ("constant", 0, 0.3),
        ("mine", 0, 0.3),
        ("constant", 1, 0.3),
        ("mine", 1, 0.3),
    ]
    assert {run.lr for run in reference_runs(digits(), "digits", lr=0.05)} == {0.05}


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
        ({"epochs": 0}, "epochs must be a whole number from 1"),
        ({"batch_size": 0}, "batch_size must be a whole number from 1"),
        ({"lr": float("nan")}, "the learning rate must be a finite number above 0; got nan"),
        ({"lr": -0.1}, "the learning rate must be a finite number above 0; got -0.1"),
        ({"per": "minute"}, 'a schedule counts per "epoch" or per "step"; got \'minute\''),
    ],
)
def test_what_cannot_be_compared_is_refused(settings: dict[str, Any], message: str) -> None:
    """Bad settings are refused before anything is trained, naming what must hold."""
    with pytest.raises(InvalidInput) as caught:
        reference_runs(digits(), "digits", **settings)
    assert message in str(caught.value)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12))
def test_intervals_are_students(values: list[float]) -> None:
    """interval(values) is SciPy's Student interval of 95 % for the mean."""
    found = interval(values)
    error = scipy.stats.sem(values)
    if error == 0:
        assert found.half_width == pytest.approx(0, abs=1e-6)
        return
    low, high = scipy.stats.t.interval(0.95, len(values) - 1, loc=sum(values) / len(values), scale=error)
    assert found.mean == pytest.approx((low + high) / 2, rel=1e-9, abs=1e-6)
    assert found.half_width == pytest.approx((high - low) / 2, rel=1e-9, abs=1e-6)


def test_one_value_has_no_interval() -> None:
    """A single seed says nothing of its spread, and none is claimed."""
    assert interval([0.5]) == (0.5, None)
