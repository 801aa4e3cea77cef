"""What is killed, and what is made to fail: victims and ways to hurt them."""

import ctypes
import errno
import importlib
import io
import itertools
import json
import multiprocessing
import os
import random
import resource
import runpy
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gradus.cli
import gradus.store
from gradus import schedules
from gradus.checkpoint.restore import tree_of
from gradus.errors import GradusError
from gradus.experiments import compare, train_run
from gradus.runs import Run
from gradus.schedules import Cosine, rest
from gradus.sweep import reference_runs
from gradus.tasks import Task
from torn_writes import TEARS, shim

EXAMPLES = Path(__file__).parent.parent / "examples"
# A process that has imported torch once, and has no threads, forks the victims: a death needs no seconds of importing.
_PROCESSES = multiprocessing.get_context("forkserver")
torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # the first one imports much of torch, and so does it here


def points() -> Task:
    """Forty points in two classes for a network with dropout; the last batch of an epoch is short."""
    inputs = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    targets = (inputs.sum(dim=1) > 0).long()
    return Task(
        name="points",
        train=(inputs[:30], targets[:30]),
        test=(inputs[30:], targets[30:]),
        model=lambda: nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2)),
        batch_size=8,
        length=schedules.epochs(6),
        lr=0.1,
    )


# The victims: each can be begun again in the same folder, and ends


def train_victim(folder: Path, epochs: int = 6) -> None:
    """One run with checkpoints within its epochs."""
    run = Run("faults:points", "AdamW", schedules={"lr": Cosine(rest())}, length=schedules.epochs(epochs), name="train")
    train_run(run, device="cpu", threads=1, checkpoint_every=3, out=folder)


def compare_victim(folder: Path) -> None:
    """Two runs, one after the other."""
    runs = reference_runs("faults:points", only=["constant", "cosine"], length=schedules.epochs(4))
    compare(runs, device="cpu", threads=1, workers=1, out=folder)


def command_victim(folder: Path) -> None:
    """The command line, and what it says."""
    with (folder / "told").open("a") as told:
        os.dup2(told.fileno(), 2)
    sys.argv = ["gradus", "train", "Cosine(8)", "--task", "faults:points", "--optimizer", "gradus.optim.AdamW"]
    sys.argv += ["--epochs", "8", "--checkpoint-every", "6", "--threads", "1", "--device", "cpu", "--out", str(folder)]
    gradus.cli.main()


def loop_victim(folder: Path, example: str = "survives", *given: str) -> None:
    """One of the manual's own loops."""
    torch.set_num_threads(1)
    random.seed(0)
    np.random.seed(0)
    sys.argv = [f"{example}.py", str(folder / "loop"), *given]
    runpy.run_path(str(EXAMPLES / f"{example}.py"), run_name="__main__")


def loader_victim(start_method: str) -> Callable[[Path], None]:
    """The loop with a DataLoader's workers, started so."""
    return lambda folder: loop_victim(folder, "survives_loader", start_method)


VICTIMS: dict[str, Callable[[Path], None]] = {
    "train": train_victim,
    "compare": compare_victim,
    "loop": loop_victim,
    "forked workers": loader_victim("fork"),
    "spawned workers": loader_victim("spawn"),
}
_COMMAND: dict[str, Callable[[Path], None]] = {"command": command_victim}  # which is stopped, too


def _victim(name: str, folder: Path, tear: tuple[str, int] | None) -> None:
    """Do what a victim does, unheard; errors of Gradus end it with 3."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, these tests among them
    if tear is not None:
        _arm(folder, *tear)
    try:
        (VICTIMS | _COMMAND)[name](folder)
    except GradusError:
        sys.exit(3)
    finally:
        if tear is not None:
            (folder / "calls").write_text(str(_preloaded().torn_calls()))


def begin(victim: str, folder: Path, tear: tuple[str, int] | None = None) -> Any:
    """A victim in a process of its own."""
    return started(_victim, victim, folder, tear)


def started(target: Callable[..., None], *given: Any) -> Any:
    """A function in a process of its own."""
    _PROCESSES.set_forkserver_preload(["faults"])
    process = _PROCESSES.Process(target=target, args=given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # what is imported before victims are forked is found by it
        if shim() is not None:
            patch.setenv("LD_PRELOAD", str(shim()))
        process.start()
    return process


def run(victim: str, folder: Path, kill_after: float | None = None) -> bool:
    """Run a victim in a process of its own, killed after so many seconds; whether it came to its end before."""
    process = begin(victim, folder)
    process.join(kill_after)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return bool(process.exitcode == 0)


def stopped(folder: Path, sent: list[tuple[signal.Signals, float]]) -> int:
    """Run the command, which is sent signals when it has begun, each after so many seconds; its exit code."""
    process = begin("command", folder)
    while process.is_alive() and not (folder / gradus.store.STORE_FILE).exists():
        time.sleep(0.001)
    for number, after in sent:
        process.join(after)
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
    process.join()
    return int(process.exitcode)


# Calls of SQLite's own that fail, write a part, or are the last that a process makes


def _preloaded() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _arm(folder: Path, how: str, at: int) -> None:
    """Have a call of SQLite's fare so, and each row that the store has acknowledged noted elsewhere."""
    add = gradus.store.Store.add

    def noted(store: gradus.store.Store, run: int, row: Any, **named: Any) -> None:
        add(store, run, row, **named)
        with (folder / "acknowledged").open("a") as file:
            file.write(json.dumps([run, row.step, row.results()]) + "\n")

    gradus.store.Store.add = noted  # type: ignore[method-assign, assignment]  # in this process, which ends with it
    _preloaded().torn_arm(ctypes.c_long(at), *TEARS[how])


def limited(module: str, function: str, *given: str, seconds: int = 10, megabytes: int = 400) -> None:
    """Call a function in a process of its own that may take so much of the processor and so much more memory than it has."""
    process = started(_within_limits, module, function, given, seconds, megabytes)
    process.join(6 * seconds)  # other processes take their part
    if process.is_alive():
        process.kill()
        process.join()
    assert process.exitcode == 0


def _within_limits(module: str, function: str, given: tuple[str, ...], seconds: int, megabytes: int) -> None:
    act = getattr(importlib.import_module(module), function)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    spent = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
    resource.setrlimit(resource.RLIMIT_AS, (held + megabytes * 2**20, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CPU, (spent + seconds, spent + seconds + 1))
    act(*given)


# What a victim leaves


def outcome(folder: Path) -> dict[str, Any]:
    """All that a victim has left: the rows of each run by name and seed, and each checkpoint to the last bit."""
    found: dict[str, Any] = {}
    if (folder / gradus.store.STORE_FILE).exists():
        with gradus.store.Store(folder / gradus.store.STORE_FILE, create=False) as store:
            assert store.check() == []
            for one in store.runs():
                assert one.status == "finished"
                name = f"{one.name} {one.run.seed}"
                assert name not in found
                found[name] = store.rows(one.id)
    for path in sorted(folder.rglob("*.ckpt")):
        tree = tree_of(path)
        found[str(path.relative_to(folder))] = bits({**tree, "extra": None})  # a run's seconds are in it
    for path in sorted(folder.rglob("*.pt")):
        found[str(path.relative_to(folder))] = bits(dict(torch.load(path, weights_only=True)))
    return found


def bits(value: Any) -> Any:
    """All of a state to the last bit, comparable."""
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.detach().flatten().clone().view(torch.uint8).tolist()
    if isinstance(value, dict):
        return {key: bits(member) for key, member in value.items()}
    return [bits(member) for member in value] if isinstance(value, (list, tuple)) else value


# Calls of the system that fail


class _Refusal:
    """Counts calls, and fails at one of them."""

    def __init__(self, at: int, error: int) -> None:
        self.calls, self.at, self.error = itertools.count(), at, error
        self.made = 0

    def __call__(self) -> None:
        self.made = next(self.calls) + 1
        if self.made - 1 == self.at:
            raise OSError(self.error, os.strerror(self.error))


@contextmanager
def failing(call: str, at: int, error: int) -> Iterator[_Refusal]:
    """Have the n-th call of that kind fail with an error of the system; -1 fails none, and counts them."""
    refusal = _Refusal(at, error)
    with pytest.MonkeyPatch.context() as patch:
        match call:
            case "open":
                _wrap(patch, Path, "open", refusal, lambda _, mode="r", *__: mode == "xb")
            case "write":
                _fail_writes(patch, refusal)
            case "fsync":
                _wrap(patch, os, "fsync", refusal)
            case "rename":
                _wrap(patch, Path, "replace", refusal)
            case "commit":
                _fail_commits(patch, refusal)
        yield refusal


def _wrap(
    patch: pytest.MonkeyPatch, owner: Any, name: str, refusal: _Refusal, counts: Callable[..., bool] = lambda *_: True
) -> None:
    original = getattr(owner, name)

    def wrapped(*given: Any, **named: Any) -> Any:
        if counts(*given):
            refusal()
        return original(*given, **named)

    patch.setattr(owner, name, wrapped)


def _fail_writes(patch: pytest.MonkeyPatch, refusal: _Refusal) -> None:
    original = Path.open

    class Failing(io.FileIO):
        def write(self, content: Any, /) -> int:
            written = super().write(memoryview(content)[: len(content) // 2])  # half of it lies there already
            refusal()
            return written + super().write(memoryview(content)[written:])

    def opened(path: Path, mode: str = "r", *given: Any, **named: Any) -> Any:
        return Failing(path, "xb") if mode == "xb" else original(path, mode, *given, **named)

    patch.setattr(Path, "open", opened)


def _fail_commits(patch: pytest.MonkeyPatch, refusal: _Refusal) -> None:
    class Failing(sqlite3.Connection):
        def execute(self, command: str, *given: Any) -> sqlite3.Cursor:
            if command == "COMMIT":
                try:
                    refusal()
                except OSError as error:
                    full = error.errno == errno.ENOSPC
                    raise sqlite3.OperationalError("database or disk is full" if full else "disk I/O error") from None
            return super().execute(command, *given)

    connect = sqlite3.connect
    patch.setattr(sqlite3, "connect", lambda *given, **named: connect(*given, factory=Failing, **named))
