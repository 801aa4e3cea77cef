"""Executors give the same rows, and one run's end is no other's; they can be asked to stop; statistics against SciPy."""

import gc
import multiprocessing
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradus.errors import InvalidInput
from gradus.rows import Row
from gradus.runs import Run
from gradus.schedules import Constant, Cosine, absolute, epochs, rest
from gradus.sweep import (
    EXECUTORS,
    Progress,
    Request,
    Resources,
    RunEnded,
    RunStarted,
    executor_named,
    grid,
    interval,
    run_events,
)
from gradus.tasks import load
from gradus.training import completed

Outcome = dict[int, tuple[list[Row], str, str]]


def finished(*runs: Run) -> list[Run]:
    """Runs with what they leave to their tasks filled in."""
    return [completed(run, load(run.task)) for run in runs]


POINTS = Run("tiny:points", length=epochs(2), record_every=3)
GOOD = finished(*grid(POINTS, optimizer=["SGD", "tiny:Signum"], schedules=[Cosine(rest())], seed=range(2)))
OTHERS = [Run("tiny:counting"), *finished(Run("tiny:items", length=2, evaluate_every=1))]
WILD = POINTS.replace(lr=1e6, name="wild", schedules=absolute(Constant(1e30)))
BAD = {
    "diverged": (finished(WILD)[0], "diverged at step "),
    "unmade": (finished(Run("tiny:unmade"))[0], "can't be made: RuntimeError: no such disk"),
    "raising": (Run("tiny:raising"), "ZeroDivisionError: no such number"),
    "turning": (Run("tiny:turning"), "a row's step must be above that of the row before; got 3 after 5"),
}


def outcome(events: Iterator[tuple[int, Any]]) -> Outcome:
    """The rows of each run and how it ended; each begins once, before anything else, and ends once."""
    found: Outcome = {}
    for index, event in events:
        rows, status, message = found.get(index, ([], "", ""))
        assert not status
        assert isinstance(event, RunStarted) == (index not in found) or isinstance(event, RunEnded)
        if isinstance(event, RunEnded):
            status, message = event.status, event.message
        found[index] = ([*rows, *([event] if isinstance(event, Row) else [])], status, message)
    assert all(status for _, status, _ in found.values())
    return found


def resources(folder: Path | None = None, **changes: Any) -> Resources:
    """The CPU with two workers."""
    return Resources("cpu", workers=2, checkpoints=None if folder is None else str(folder), **changes)


@pytest.fixture(scope="module")
def alone() -> Outcome:
    """What comes of the good runs, of a training function and of a Dataset, one after the other."""
    return outcome(EXECUTORS["serial"]([*GOOD, *OTHERS], resources()))


def test_a_run_gives_rows_and_ends_finished(alone: Outcome) -> None:
    """Each run begins, gives its rows in order and ends; runs of other seeds and optimizers differ."""
    assert sorted(alone) == list(range(6))
    assert {status for _, status, _ in alone.values()} == {"finished"}
    assert len({tuple(rows) for rows, _, _ in alone.values()}) == 6
    assert [row.step for row in alone[4][0]] == [1, 2, 3, 4, 5]


def test_processes_give_the_same_rows_and_a_run_that_fails_diverges_or_dies_ends_alone(
    alone: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Side by side, and beside runs that diverge, fail or kill their process, the rows are the same, bit for bit; those
    of a Dataset, too, that can be sent to no process, and whose batches workers make.
    """
    monkeypatch.setenv("GRADUS_TINY_UNMADE", "1")
    monkeypatch.setenv("GRADUS_TINY_DYING", "1")
    dying = finished(POINTS.replace(model="tiny:dying"))[0]
    bad = [run for run, _ in BAD.values()]
    found = outcome(EXECUTORS["processes"]([dying, *bad, *GOOD, *OTHERS], resources()))
    assert found[0] == ([], "failed", "its process died with exit code -9")
    for place, (status, (_, said)) in enumerate(BAD.items(), 1):
        assert found[place][1] == ("diverged" if status == "diverged" else "failed")
        assert said in found[place][2]
    assert {place: found[place + 1 + len(bad)] for place in alone} == alone


def test_in_one_process_a_run_that_fails_or_diverges_ends_alone(alone: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run raises is its end, in a sentence, and the next one's rows are as without it."""
    monkeypatch.setenv("GRADUS_TINY_UNMADE", "1")
    found = outcome(EXECUTORS["serial"]([*(run for run, _ in BAD.values()), GOOD[0]], resources()))
    for place, (status, (_, said)) in enumerate(BAD.items()):
        assert found[place][1] == ("diverged" if status == "diverged" else "failed")
        assert said in found[place][2]
    assert found[len(BAD)] == alone[0]


def asked(executor: str, runs: Sequence[Run], given: Resources, *requests: Request) -> Outcome:
    """The outcome where requests are made as soon as the first run has given something."""
    generator: Any = EXECUTORS[executor](runs, given)
    waiting = list(requests)

    def events() -> Iterator[tuple[int, Any]]:
        request = None
        while True:
            try:
                index, event = generator.send(request)
            except StopIteration:
                return
            yield index, event
            is_due = waiting and index == 0 and isinstance(event, (Progress, Row))
            request = waiting.pop(0) if is_due else None

    return outcome(events())


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_run_that_is_asked_to_pauses_or_stops_and_goes_on_later(
    executor: str, alone: Outcome, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Runs end as they were asked, those that wait too, and the others as ever; a paused one has a checkpoint, from which
    it gives an unstopped run's rows, bit for bit.
    """
    long = finished(POINTS.replace(length=60, record_every=None, evaluate_every=5, model="tiny:slow"))[0]
    runs, folder = [long, Run("tiny:waiting"), GOOD[0], GOOD[1]], resources(tmp_path)
    with monkeypatch.context() as patch:
        patch.setenv("GRADUS_TINY_SLOW", "1")
        done = asked(executor, runs, folder, Request(3, "stop"), Request(1, "stop"), Request(0, "pause"))
    assert [done[place][1] for place in range(4)] == ["paused", "stopped", "finished", "stopped"]
    assert (done[2], done[3]) == (alone[0], ([], "stopped", ""))
    assert 0 < len(done[0][0]) < 12
    assert any(folder.checkpoints_of(long).iterdir())  # type: ignore[union-attr]
    again, whole = (outcome(EXECUTORS["serial"]([long], given))[0] for given in (folder, resources()))
    assert again[0][: len(done[0][0])] == done[0][0]
    assert again == whole


def test_nothing_is_left_behind() -> None:
    """A consumer that stops early leaves no process, and torch's threads are as they were."""
    threads = torch.get_num_threads()
    for execute in EXECUTORS.values():
        events: Any = execute(GOOD, Resources("cpu", threads=threads + 1))
        next(events)
        events.close()
    gc.collect()  # with a task go the workers that made its batches
    assert multiprocessing.active_children() == []
    assert torch.get_num_threads() == threads


UNGUARDED = """
from gradus.runs import Run
from gradus.sweep import EXECUTORS, Resources, RunEnded
runs = [Run("tiny:counting", seed=seed) for seed in range(2)]
events = EXECUTORS["processes"](runs, Resources(device="cpu"))
print([event.status for _, event in events if isinstance(event, RunEnded)])
"""


def test_a_script_needs_no_guard() -> None:
    """A script without `if __name__ == "__main__"`, even from standard input, executes its runs once each."""
    command, here = [sys.executable, "-"], Path(__file__).parent
    found = subprocess.run(command, input=UNGUARDED, capture_output=True, text=True, check=True, cwd=here)
    assert found.stdout.strip() == "['finished', 'finished']"


# The door


def backwards(runs: Sequence[Run], given: Resources) -> Iterator[tuple[int, Any]]:
    """An executor of the user's own: the last run first."""
    for index in reversed(range(len(runs))):
        for event in run_events(runs[index], given, lambda: None):
            yield index, event


def test_an_executor_is_found_by_name_by_import_path_or_as_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is registered from outside, or named by its import path, or given, is the executor; each has a name to show."""
    monkeypatch.setitem(EXECUTORS, "backwards", backwards)
    assert executor_named("backwards") == ("backwards", backwards)
    assert executor_named("serial") == ("serial", EXECUTORS["serial"])
    named, found = executor_named(f"{__name__}:backwards")
    assert (named, found.__code__) == (f"{__name__}:backwards", backwards.__code__)
    assert executor_named(backwards) == ("backwards", backwards)


@pytest.mark.parametrize(
    ("executor", "said"),
    [
        (
            "serail",
            "unknown executor 'serail' (did you mean serial?); known are serial, processes, or package.module:function",
        ),
        ("math:pi", "an executor is a function of runs and resources; got 'math:pi'"),
        (3, "an executor is a function of runs and resources; got 3"),
        ("nowhere:f", "there is no module 'nowhere'"),
    ],
)
def test_what_is_no_executor_is_refused(executor: Any, said: str) -> None:
    """An unknown name and what can't be called are refused with the way out."""
    with pytest.raises(InvalidInput) as caught:
        executor_named(executor)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["workers", "threads"])
@pytest.mark.parametrize("value", [0, 1025, True, 1.5])
def test_resources_are_whole_numbers(name: str, value: Any) -> None:
    """Workers and threads are whole numbers from 1 to 1024."""
    with pytest.raises(InvalidInput, match=f"{name} must be a whole number from 1 to 1024; got"):
        Resources(**{name: value})


def test_each_run_has_checkpoints_of_its_own_under_its_conditions(tmp_path: Path) -> None:
    """Runs that differ in anything, and the same run under other conditions, have other folders; without a folder, none."""
    named = resources(tmp_path)
    changed = resources(tmp_path, conditions={GOOD[0].identity: "other"})
    places = {*(named.checkpoints_of(run) for run in GOOD), named.checkpoints_of(GOOD[0].replace(name="x"))}
    assert len(places | {changed.checkpoints_of(GOOD[0])}) == len(GOOD) + 2
    assert changed.checkpoints_of(GOOD[1]) == named.checkpoints_of(GOOD[1])
    assert resources().checkpoints_of(GOOD[0]) is None


# Statistics


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
