"""The speed of schedules and of the scheduler, as ratios against their peers taken in one run.

python benchmarks/schedules.py        # under a minute; prints the table of benchmarks/schedules.md
"""

import os
import statistics
import subprocess
import sys
import time
import timeit
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

import gradus
from gradus.schedules import Cosine, warmup

ROUNDS = 21
MILLION = 1_000_000


def interleaved(*candidates: Callable[[], float], rounds: int = ROUNDS) -> list[float]:
    """The median of each candidate's seconds, the candidates taking turns."""
    seen: list[list[float]] = [[] for _ in candidates]
    for _ in range(rounds):
        for candidate, values in zip(candidates, seen, strict=True):
            values.append(candidate())
    return [statistics.median(values) for values in seen]


def import_time(module: str) -> float:
    """Seconds to import a module in a fresh process, from its bytecode as usual; Python's own start left out."""
    code = f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=usual).stdout)


def timed(function: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def million_values() -> tuple[float, float]:
    """A million values of warmup >> Cosine: the NumPy expression written by hand, and the schedule."""
    t, up, down, low = np.arange(MILLION), 50_000, 900_000, 0.01
    schedule = warmup(up) >> Cosine(down, end=low)

    def by_hand() -> np.ndarray:
        wave = low + (1 - low) * 0.5 * (1 + np.cos(np.pi * np.clip((t - up) / down, 0, 1)))
        return np.where(t < up, t / up, wave)

    assert np.allclose(by_hand(), schedule(t), rtol=1e-12)
    hand, ours = interleaved(lambda: timed(by_hand), lambda: timed(lambda: schedule(t)))
    return hand, ours


def sequential_million() -> tuple[float, float]:
    """The same from torch's SequentialLR, stepped a hundredth of the way and multiplied, and from ours one by one."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    optimizer.step()
    first, second = LinearLR(optimizer, 0.01, total_iters=50_000), CosineAnnealingLR(optimizer, 900_000)
    sequence = SequentialLR(optimizer, [first, second], [50_000])
    schedule = warmup(50_000) >> Cosine(900_000)
    steps = MILLION // 100

    def theirs() -> None:
        for _ in range(steps):
            sequence.step()

    def ours() -> None:
        for t in range(steps):
            schedule(t)

    peer, mine = interleaved(lambda: 100 * timed(theirs), lambda: 100 * timed(ours), rounds=7)
    return peer, mine


def an_optimizer(groups: int, tensors: bool) -> torch.optim.Optimizer:
    """An optimizer of so many groups, with rates as floats or as tensors."""
    rate = torch.tensor(0.1) if tensors else 0.1
    return torch.optim.SGD(
        [{"params": [torch.zeros(1, requires_grad=True)], "lr": rate.clone() if tensors else rate} for _ in range(groups)],
        lr=0.1,
    )


def step_time(groups: int, tensors: bool) -> tuple[float, float]:
    """One step() of torch's CosineAnnealingLR, and of our Scheduler with the same Cosine."""
    theirs, ours = an_optimizer(groups, tensors), an_optimizer(groups, tensors)
    peer = CosineAnnealingLR(theirs, 10**6)
    theirs.step()
    mine = gradus.Scheduler(ours, lr=Cosine(10**6))
    number = max(20, 4000 // groups)
    a, b = interleaved(
        lambda: timeit.timeit(peer.step, number=number) / number, lambda: timeit.timeit(mine.step, number=number) / number
    )
    return a, b


def row(what: str, peer: str, theirs: float, ours: float, unit: float, name: str) -> None:
    """Print one row of the table."""
    print(f"| {what} | {peer} | {theirs * unit:,.1f} {name} | {ours * unit:,.1f} {name} | {ours / theirs:.2f} |")


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # torch's sequence remarks on its own members
    print("| what | peer | peer's | ours | ours / peer's |\n|---|---|--:|--:|--:|")
    numpy_import, our_import = interleaved(lambda: import_time("numpy"), lambda: import_time("gradus.schedules"), rounds=11)
    row("import", "import numpy", numpy_import, our_import, 1e3, "ms")
    row("a million values, one array", "NumPy by hand", *million_values(), 1e3, "ms")
    row("a million values, one by one", "torch SequentialLR", *sequential_million(), 1e3, "ms")
    for groups in (1, 10, 100):
        for tensors in (False, True):
            kind = "tensor" if tensors else "float"
            row(f"step(), {groups} groups, {kind} rates", "CosineAnnealingLR", *step_time(groups, tensors), 1e6, "µs")
    print(f"\nPython {sys.version.split()[0]}, NumPy {np.__version__}, torch {torch.__version__}")
