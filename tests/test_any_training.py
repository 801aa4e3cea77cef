"""Whatever trains, a task of any kind or a function of one's own, is compared, killed, resumed and told apart alike."""

import math
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import faults
import gradus.store
from gradus.experiments import compare, train_run
from gradus.rangetest import find_lr
from gradus.report import Comparison
from gradus.runs import Run
from gradus.schedules import Constant, Cosine, Linear, fraction, rest
from gradus.store import STORE_FILE, Store
from gradus.sweep import grid

KINDS = [
    "example_tasks.regression:task",
    "example_tasks.characters:task",
    "example_tasks.crops:task",  # two workers make its batches
    "example_tasks.dicts:task",
    "example_tasks.finetuning:task",
    "tiny:loop",
]
OPTIMIZERS = ["SGD", "AdamW", "tiny:Signum"]
SCHEDULES = {
    "constant": Constant(),
    "cosine": Cosine(rest()),
    "warm": Linear(fraction(0.5), start=0.1, end=1.0) >> Cosine(rest()),
}


def asked_for(task: str) -> list[Run]:
    """Each optimizer with each schedule, for three updates."""
    return grid(Run(task, lr=0.01, length=3, evaluate_every=3, record_every=2), optimizer=OPTIMIZERS, schedules=SCHEDULES)


def compared(task: str, folder: Path) -> Comparison:
    """All of them, one after the other."""
    return compare(asked_for(task), device="cpu", threads=1, workers=1, checkpoint_every=1, out=folder)


def killed(task: str, folder: Path, rows: int) -> None:
    """Begin that comparison, and die by SIGKILL when so many rows are stored."""
    multiprocessing.set_start_method("fork", force=True)  # as in a process that was started from a shell
    add, done = gradus.store.Store.add, []

    def add_and_die(*given: object, **named: object) -> None:
        add(*given, **named)  # type: ignore[arg-type]  # as it was called
        done.append(1)
        if len(done) == rows:
            os.kill(os.getpid(), signal.SIGKILL)

    gradus.store.Store.add = add_and_die  # type: ignore[method-assign]  # in this process, which ends with it
    compared(task, folder)


@pytest.mark.parametrize("task", KINDS)
def test_it_is_compared_told_apart_and_goes_on_after_sigkill_bit_for_bit(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three optimizers under three schedules give different runs; killed within one, the same call ends with the
    uninterrupted comparison's rows, bit for bit, and the store names each run by what it was.
    """
    runs = asked_for(task)
    process = faults.started(killed, task, tmp_path / "killed", len(runs) + 2)
    monkeypatch.setattr("gradus.report.comparison.png", lambda _: b"")  # the pictures have tests of their own
    monkeypatch.setattr(Comparison, "figure", lambda _: None)
    whole = compared(task, tmp_path / "whole")
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert [one.status for one in whole.runs] == ["finished"] * len(runs), [one.message for one in whole.runs]
    assert len({tuple(one.rows) for one in whole.runs}) == len(runs)
    resumed = compared(task, tmp_path / "killed")
    assert 0 < resumed.kept < len(runs)
    assert [(one.run, one.rows) for one in resumed.runs] == [(one.run, one.rows) for one in whole.runs]
    with Store(tmp_path / "killed" / STORE_FILE, create=False) as store:
        assert [one.name for one in store.runs()] == [run.name for run in runs]
        assert len({one.identity for one in store.runs()} | {one.name for one in store.runs()}) == 2 * len(runs)
        assert store.check() == []
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")


def weights(folder: Path) -> dict[str, Any]:
    """The weights that the finished runs have left, to the last bit."""
    return {path.name: faults.bits(torch.load(path)) for path in folder.glob("weights/*.pt")}


@pytest.mark.parametrize("task", [kind for kind in KINDS if kind != "tiny:loop"])
def test_a_rate_is_sought_with_an_optimizer_of_ones_own_and_trained_with(task: str, tmp_path: Path) -> None:
    """Each kind of task takes an optimizer by its import path in the range test, and in one training, whose weights are
    kept.
    """
    run = Run(task, "tiny:Signum", lr=0.01, length=2, evaluate_every=2)
    found = find_lr(run, device="cpu", progress=False, steps=12, verify=False)
    assert (found.run.optimizer, found.run.task) == ("tiny:Signum", task)
    assert all(math.isfinite(loss) for loss in found.test.losses)
    trained, kept = train_run(found.run, device="cpu", threads=1, out=tmp_path)
    assert (trained.status, [row.step for row in trained.rows]) == ("finished", [2])
    assert kept is not None
    assert weights(tmp_path)
