"""What is done a million times leaves nothing behind: no memory, no process, no thread, no file.

GRADUS_SOAK_COMPARISONS says how many comparisons follow each other, GRADUS_SOAK_UPDATES how many updates SGD and Adam do;
other optimizers do a twentieth. `make soak` does 24 and 200,000.
"""

import gc
import os
import resource
import sys
import threading
from pathlib import Path

import pytest
import torch

import gradus
import gradus.optim
from gradus.schedules import Cosine, epochs, warmup
from optim_registry import CLASSES

UPDATES = int(os.environ.get("GRADUS_SOAK_UPDATES", "2000"))
COMPARISONS = int(os.environ.get("GRADUS_SOAK_COMPARISONS", "2"))
KILOBYTES = 4_000 * (2**10 if sys.platform == "darwin" else 1)  # what an allocator may take along the way


def peak() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def children() -> set[str]:
    """The processes that this one has started and that are still there."""
    return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def test_a_million_scheduler_steps_keep_no_memory() -> None:
    """After a million steps a scheduler has taken no more memory than after ten thousand."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    optimizer.step()
    scheduler = gradus.Scheduler(optimizer, lr=warmup(1000) >> Cosine(999_000))
    for _ in range(10_000):
        scheduler.step()
    before = peak()
    for _ in range(990_000):
        scheduler.step()
    assert scheduler.last_epoch == 1_000_000
    assert peak() - before < KILOBYTES


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_hundred_thousand_optimizer_steps_keep_no_memory(backend: str) -> None:
    """After a hundred thousand updates an optimizer has taken no more memory than after a thousand."""
    params = [torch.nn.Parameter(torch.ones(10)) for _ in range(3)]
    optimizer = gradus.optim.Adam(params, backend=backend)

    def update(count: int) -> None:
        for _ in range(count):
            for param in params:
                param.grad = torch.ones(10)
            optimizer.step()

    update(1000)
    before = peak()
    update(99_000 if backend == "cpu" else 9_000)
    assert peak() - before < KILOBYTES


@pytest.mark.parametrize("name", [*CLASSES, "LBFGS"])
def test_updates_whose_state_is_read_keep_no_memory(name: str) -> None:
    """However many updates an optimizer does, with its state read on the way, it counts them and takes no more memory."""
    params = [torch.nn.Parameter(torch.ones(3, 2)), torch.nn.Parameter(torch.ones(4))]
    optimizer = getattr(gradus.optim, name)(params)

    def closure() -> float:
        for param in params:
            param.grad = param.detach() - 0.5
        return sum(float((param.detach() - 0.5).square().sum()) for param in params) / 2

    def update(count: int) -> None:
        for number in range(count):
            if name == "LBFGS":  # which must have somewhere to go
                with torch.no_grad():
                    params[0][0, 0] += 1
            optimizer.step(closure)
            assert all(value is not None for value in optimizer.state[params[number % 2]].values())

    count = UPDATES if name in ("SGD", "Adam") else UPDATES // 20
    update(min(count // 2, 1000))
    before = peak()
    update(count - min(count // 2, 1000))
    assert peak() - before < KILOBYTES
    assert all(bool(param.isfinite().all()) for param in params)
    if name != "LBFGS":
        assert [float(optimizer.state[param]["step"]) for param in params] == [count] * 2


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this system doesn't list open files and children there")
def test_comparisons_leave_nothing_behind(tmp_path: Path) -> None:
    """Comparisons that follow each other leave no process, no thread and no open file."""
    left = []
    for number in range(COMPARISONS):
        runs = gradus.grid(gradus.Run("digits", length=epochs(1)), lr=[0.1, 0.2])
        gradus.compare(runs, workers=2, out=tmp_path / str(number))
        gc.collect()
        left.append((len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), children()))
    assert left[1:] == left[:1] * (COMPARISONS - 1)
