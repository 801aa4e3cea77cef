"""How many runs are executed: one after the other, or side by side in processes. Both give the same rows.

An executor is a function of runs and `Resources`. It yields pairs (index of the run, what happened): `RunStarted`, then
`Row`s and `Progress`, then one `RunEnded`. A run that fails or diverges ends alone; the others go on. A `Request` that is
sent into the generator ends one run early. `EXECUTORS` takes a user's own, or an import path names it.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Any

import torch

from gradus.checkpoint import Checkpoints
from gradus.errors import GradusError, InvalidInput
from gradus.names import did_you_mean, imported
from gradus.rows import Row
from gradus.runs import Run
from gradus.sweep.events import Event, Events, Executor, Request, RunEnded, RunStarted
from gradus.sweep.resources import Resources
from gradus.tasks import load
from gradus.training import Diverged, Stopped, events, pick_device

__all__ = ["EXECUTORS", "executor_named", "processes", "run_events", "serial"]

_LOOK_EVERY = 0.05  # seconds between two looks of a worker into its pipe, which cost as much as a small update


def serial(runs: Sequence[Run], resources: Resources) -> Events:
    """One run after the other, in this process.

    >>> for index, event in serial([Run("digits", length=2)], Resources(device="cpu")):
    ...     print(index, type(event).__name__)
    0 RunStarted
    ...
    0 RunEnded
    """
    requests: dict[int, Request] = {}
    threads, load_once = torch.get_num_threads(), lru_cache(maxsize=2)(load)
    torch.set_num_threads(resources.threads)
    try:
        for index, run in enumerate(runs):
            for event in run_events(run, resources, lambda index=index: requests.get(index), load_once):  # type: ignore[misc]
                request = yield index, event
                if request is not None:
                    requests[request.index] = request
    finally:
        torch.set_num_threads(threads)


def processes(runs: Sequence[Run], resources: Resources) -> Events:
    """Several runs at a time, each in a process of its own that takes the next run when it is done.

    A process that dies fails its run only; another takes its place.
    """
    pool = _Pool(runs, resources)
    try:
        while pool.is_busy:
            for index, event in pool.events():
                request = yield index, event
                if request is not None:
                    pool.ask(request)
    finally:
        pool.close()


EXECUTORS: dict[str, Executor] = {"serial": serial, "processes": processes}


def executor_named(executor: str | Executor) -> tuple[str, Executor]:
    """An executor and what it is called.

    Args:
        executor: a name in `EXECUTORS`, the import path of a function of your own, "package.module:function", or the
            function itself.

    Raises:
        InvalidInput: there is none of that name, or it is no function.

    >>> executor_named("serial")[0]
    'serial'
    """
    if isinstance(executor, str) and executor in EXECUTORS:
        return executor, EXECUTORS[executor]
    if isinstance(executor, str) and ":" not in executor:
        hint = did_you_mean(executor, EXECUTORS)
        raise InvalidInput(
            f"unknown executor {executor!r}{hint}; known are {', '.join(EXECUTORS)}, or package.module:function of your own"
        )
    found = imported(executor, "the executor") if isinstance(executor, str) else executor
    if not callable(found):
        raise InvalidInput(f"an executor is a function of runs and resources; got {executor!r}")
    return executor if isinstance(executor, str) else getattr(found, "__name__", repr(found)), found


# One run


def run_events(
    run: Run, resources: Resources, request: Callable[[], Request | None], load_task: Callable[..., Any] = load
) -> Iterator[Event]:
    """One run from start to end, however it ends: the building block of every executor.

    Args:
        run: what is to be done.
        resources: what with.
        request: gives what has been asked of this run, if anything has; it is called after every update.
        load_task: loads the task by its name and `data_dir`.

    >>> [type(event).__name__ for event in run_events(Run("digits", length=2), Resources(device="cpu"), lambda: None)]
    ['RunStarted', ...'Row', 'RunEnded']
    """
    yield RunStarted()
    incidents: list[str] = []
    try:
        if request() is None:
            trained = _trained(run, resources, lambda: request() is not None, load_task, incidents.append)
            yield from _in_order(trained)
        end = RunEnded("finished", _summary(incidents)) if request() is None else _as_asked(request())
    except Stopped:
        end = _as_asked(request())
    except Diverged as error:
        end = RunEnded("diverged", str(error))
    except GradusError as error:
        end = RunEnded("failed", str(error))
    except Exception as error:  # a user's task may raise anything, and the other runs must go on
        end = RunEnded("failed", f"{type(error).__name__}: {error}")
    yield end


def _as_asked(request: Request | None) -> RunEnded:
    return RunEnded("stopped" if request is None else request.status)


def _in_order(events: Iterator[Event]) -> Iterator[Event]:
    """Events whose rows come in the order of their steps, which a training function of the user's own may mix up."""
    last = -1
    with contextlib.closing(events):  # type: ignore[type-var]  # it is a generator
        for event in events:
            if isinstance(event, Row):
                if event.step <= last:
                    raise InvalidInput(f"a row's step must be above that of the row before; got {event.step} after {last}")
                last = event.step
            yield event


def _summary(incidents: list[str]) -> str:
    """What happened on the way, at the length of a message."""
    more = f"; and {len(incidents) - 3} more" if len(incidents) > 3 else ""
    return "; ".join(incidents[:3]) + more


def _trained(
    run: Run,
    resources: Resources,
    should_stop: Callable[[], bool],
    load_task: Callable[..., Any],
    on_incident: Callable[[str], None],
) -> Iterator[Event]:
    task, folder = load_task(run.task, resources.data_dir), resources.checkpoints_of(run)
    with contextlib.nullcontext() if folder is None else Checkpoints(folder, asynchronous=True) as checkpoints:
        yield from events(
            run,
            task,
            device=pick_device(resources.device),
            checkpoints=checkpoints,
            checkpoint_every=resources.checkpoint_every,
            on_incident=on_incident,
            should_stop=should_stop,
            data_dir=resources.data_dir,
        )


# Processes


class _Pool:
    """Runs that wait, processes that execute some, and the events of the others that are still to be given."""

    def __init__(self, runs: Sequence[Run], resources: Resources) -> None:
        self._resources = resources
        self._waiting = list(enumerate(runs))[::-1]
        self._workers: dict[Connection, _Worker] = {}
        self._dropped: list[tuple[int, Event]] = []
        for _ in range(min(resources.workers, len(runs))):
            self._hire()

    @property
    def is_busy(self) -> bool:
        """Whether there is more to come."""
        return bool(self._workers or self._dropped)

    def events(self) -> Iterator[tuple[int, Event]]:
        """What has happened since, waiting until something has."""
        while self._dropped:
            yield self._dropped.pop(0)
        for connection in wait(list(self._workers)):
            assert isinstance(connection, Connection)
            worker = self._workers[connection]
            event = worker.receive()
            yield worker.index, event
            if isinstance(event, RunEnded):
                self._occupy(connection)

    def ask(self, request: Request) -> None:
        """Pass a request on to the process that executes the run, or drop a run that waits."""
        for worker in self._workers.values():
            if worker.index == request.index:
                worker.send(request)
        if any(index == request.index for index, _ in self._waiting):
            self._waiting = [(index, run) for index, run in self._waiting if index != request.index]
            self._dropped.append((request.index, RunEnded(request.status)))

    def close(self) -> None:
        """End all processes; those that train save a checkpoint first."""
        for worker in self._workers.values():
            worker.stop()

    def _hire(self) -> None:
        worker = _Worker(self._resources)
        self._workers[worker.connection] = worker
        worker.begin(*self._waiting.pop())

    def _occupy(self, connection: Connection) -> None:
        """Give a worker that has ended a run the next one; replace it if it has died."""
        worker = self._workers[connection]
        if self._waiting and worker.process.is_alive():
            worker.begin(*self._waiting.pop())
            return
        worker.stop()
        del self._workers[connection]
        if self._waiting:
            self._hire()


class _Worker:
    """A process that executes the runs it is sent."""

    def __init__(self, resources: Resources) -> None:
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_worker_main, args=(theirs, resources, multiprocessing.get_start_method()), daemon=True
        )
        with _environment(OMP_NUM_THREADS=str(resources.threads)), _no_main_module(), _interrupts_ignored():
            self.process.start()
        theirs.close()
        self.index = -1

    def begin(self, index: int, run: Run) -> None:
        self.index = index
        self.send((index, run))

    def send(self, message: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has died; receiving will say so
            self.connection.send(message)

    def receive(self) -> Event:
        try:
            event: Event = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            return RunEnded("failed", f"its process died with exit code {self.process.exitcode}")
        return event

    def stop(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _worker_main(connection: Connection, resources: Resources, start_method: str) -> None:
    """The life of a worker: receive a run, send its events, until the other end is closed.

    A DataLoader in it starts workers as one in the user's own process does, or the same Dataset would be refused here, or
    wait for each of them to import torch.
    """
    multiprocessing.set_start_method(start_method, force=True)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    multiprocessing.current_process().daemon = False  # or a DataLoader couldn't start workers in it
    torch.set_num_threads(resources.threads)
    load_once = lru_cache(maxsize=2)(load)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone, and so is the work
        while True:
            message = connection.recv()
            if isinstance(message, Request):
                continue  # it was of a run that has ended meanwhile
            index, run = message
            for event in run_events(run, resources, _Inbox(connection, index), load_once):
                connection.send(event)


class _Inbox:
    """What has been asked of the run that a worker is at."""

    def __init__(self, connection: Connection, index: int) -> None:
        self._connection, self._index = connection, index
        self._request: Request | None = None
        self._looked = 0.0

    def __call__(self) -> Request | None:
        now = time.monotonic()
        if self._request is None and now - self._looked >= _LOOK_EVERY:
            self._looked = now
            while self._connection.poll():
                message = self._connection.recv()
                if message.index == self._index:
                    self._request = message
        return self._request


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
