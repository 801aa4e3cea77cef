"""How many runs are executed: one after the other, or side by side in processes. Both give the same rows.

An executor is a function of runs and a `Machine`. It yields pairs (index of the run, what happened): `Started`, then a
`Row` an epoch, then one `Ended`. A run that fails or diverges ends alone; the others go on.
"""

import contextlib
import hashlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import Literal

import torch

from gradus.checkpoint import Checkpoints
from gradus.errors import GradusError
from gradus.runs import Row, Run
from gradus.tasks import Task, load_task
from gradus.training import Diverged, pick_device, train

__all__ = ["EXECUTORS", "Ended", "Event", "Machine", "Started", "processes", "serial"]


@dataclass(frozen=True)
class Machine:
    """What a run is executed with.

    Args:
        device: torch's name of it; the best there is unless given.
        threads: torch's threads in each process. A run's last bits depend on it, so every executor holds to it.
        workers: processes side by side; `serial` has one.
        data_dir: where tasks find their files.
        checkpoints: the folder in which each run has a folder of its own for checkpoints, to go on from; none unless given.
        checkpoint_every: updates between two checkpoints; one at each epoch's end unless given.
    """

    device: str | None = None
    threads: int = 1
    workers: int = 1
    data_dir: str | None = None
    checkpoints: str | None = None
    checkpoint_every: int | None = None

    def checkpoints_of(self, run: Run) -> Path | None:
        """The folder of a run's checkpoints."""
        if self.checkpoints is None:
            return None
        return Path(self.checkpoints) / hashlib.sha256(run.to_json().encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Started:
    """A run has begun."""


@dataclass(frozen=True)
class Ended:
    """A run has come to its end, with a message where that needs one."""

    status: Literal["finished", "diverged", "failed"]
    message: str = ""


Event = Started | Row | Ended
Events = Generator[tuple[int, Event], None, None]
Executor = Callable[[Sequence[Run], Machine], Events]


def serial(runs: Sequence[Run], machine: Machine) -> Events:
    """One run after the other, in this process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(machine.threads)
    try:
        for index, run in enumerate(runs):
            for event in _events(run, machine):
                yield index, event
    finally:
        torch.set_num_threads(threads)


def processes(runs: Sequence[Run], machine: Machine) -> Events:
    """Several runs at a time, each in a process of its own that takes the next run when it is done.

    A process that dies fails its run only; another takes its place.
    """
    waiting = list(enumerate(runs))[::-1]
    workers: dict[Connection, _Worker] = {}
    try:
        for _ in range(min(machine.workers, len(runs))):
            _hire(workers, machine, waiting)
        while workers:
            for connection in wait(list(workers)):
                assert isinstance(connection, Connection)
                worker = workers[connection]
                event = worker.receive()
                yield worker.index, event
                if isinstance(event, Ended):
                    _occupy(workers, connection, machine, waiting)
    finally:
        for worker in workers.values():
            worker.dismiss()


EXECUTORS: dict[str, Executor] = {"serial": serial, "processes": processes}


def _events(run: Run, machine: Machine) -> Iterator[Event]:
    """One run from start to end, whatever becomes of it."""
    yield Started()
    incidents: list[str] = []
    try:
        yield from _rows(run, machine, incidents.append)
    except Diverged as error:
        yield Ended("diverged", str(error))
    except GradusError as error:
        yield Ended("failed", str(error))
    except Exception as error:  # a user's task may raise anything, and the other runs must go on
        yield Ended("failed", f"{type(error).__name__}: {error}")
    else:
        yield Ended("finished", _summary(incidents))


def _summary(incidents: list[str]) -> str:
    """What happened on the way, at the length of a message."""
    more = f"; and {len(incidents) - 3} more" if len(incidents) > 3 else ""
    return "; ".join(incidents[:3]) + more


def _rows(run: Run, machine: Machine, on_incident: Callable[[str], None]) -> Iterator[Row]:
    task, device, folder = _task(run.task, machine.data_dir), pick_device(machine.device), machine.checkpoints_of(run)
    if folder is None:
        yield from train(run, task, device=device, on_incident=on_incident)
        return
    with Checkpoints(folder, asynchronous=True) as checkpoints:
        every = machine.checkpoint_every
        yield from train(run, task, device=device, checkpoints=checkpoints, checkpoint_every=every, on_incident=on_incident)


@lru_cache(maxsize=2)
def _task(name: str, data_dir: str | None) -> Task:
    return load_task(name, data_dir)


class _Worker:
    """A process that executes the runs it is sent."""

    def __init__(self, machine: Machine) -> None:
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, machine), daemon=True)
        with _environment(OMP_NUM_THREADS=str(machine.threads)), _no_main_module(), _interrupts_ignored():
            self.process.start()
        theirs.close()
        self.index = -1

    def send(self, index: int, run: Run) -> None:
        self.index = index
        with contextlib.suppress(BrokenPipeError):  # it has died; receiving will say so
            self.connection.send(run)

    def receive(self) -> Event:
        try:
            event: Event = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            return Ended("failed", f"its process died with exit code {self.process.exitcode}")
        return event

    def dismiss(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _hire(workers: dict[Connection, _Worker], machine: Machine, waiting: list[tuple[int, Run]]) -> None:
    worker = _Worker(machine)
    workers[worker.connection] = worker
    worker.send(*waiting.pop())


def _occupy(
    workers: dict[Connection, _Worker], connection: Connection, machine: Machine, waiting: list[tuple[int, Run]]
) -> None:
    """Give a worker that has ended a run the next one; replace it if it has died."""
    worker = workers[connection]
    if waiting and worker.process.is_alive():
        worker.send(*waiting.pop())
        return
    worker.dismiss()
    del workers[connection]
    if waiting:
        _hire(workers, machine, waiting)


def _work(connection: Connection, machine: Machine) -> None:
    """The life of a worker: receive a run, send its events, until the other end is closed."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    torch.set_num_threads(machine.threads)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone, and so is the work
        while True:
            for event in _events(connection.recv(), machine):
                connection.send(event)


def _leave_with_parent() -> None:
    """End this process when its parent has been killed: nobody waits for what it does, and another may begin it anew."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Variables for the processes started inside; what the user has set holds."""
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@contextlib.contextmanager
def _no_main_module() -> Iterator[None]:
    """Processes started inside don't run the user's script anew.

    A spawned process imports the script it was started from. A worker needs nothing of it, and a script without the
    customary guard would start comparisons without end; one read from standard input couldn't be found at all.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes started inside ignore Ctrl-C from their first moment.

    It reaches the whole group of processes, and the parent decides what it means.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread may say so
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
