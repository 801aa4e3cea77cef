"""L-BFGS against torch's, and against the least that an iteration must move: its history, twice, and a dozen vectors.

python benchmarks/lbfgs.py    # two minutes
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch

import gradus.optim
from gradus.backends.cpu.intrinsics import atomic_next, pointer_float32, pointer_float64, real_float32, view
from gradus.backends.cpu.threads import Task, parallel_run

SIZES = ((10_000, 100), (1_000_000, 10), (1_000_000, 100))  # parameters and pairs
ROUNDS = 25
# Vectors that an iteration must read or write beside its history: the gradient as it is given and as it is kept; it, the
# one before and the direction, for the new pair, and that pair; the gradient and the new direction; that and the parameters,
# which are read and written.
VECTORS = 12
SHARES = 64  # of the memory to read, so that all threads are busy to the end


def iteration(make: Any, size: int, pairs: int) -> Callable[[], float]:
    """The time of an iteration on a bowl, with the history full; that of the closure is left out."""
    generator = torch.Generator().manual_seed(0)
    point = torch.nn.Parameter(torch.randn(size, generator=generator))
    gradients = [torch.randn(size, generator=generator) for _ in range(2)]
    optimizer = make([point], lr=1e-3, max_iter=1, history_size=pairs, tolerance_grad=-1, tolerance_change=-float("inf"))
    point.grad = torch.empty(size)
    turn, outside = 0, 0.0

    def closure() -> torch.Tensor:
        nonlocal turn, outside
        start = time.perf_counter()
        turn += 1
        assert point.grad is not None
        torch.add(gradients[turn % 2], point.detach(), out=point.grad)  # pairs whose curvature isn't positive are left out
        outside = time.perf_counter() - start
        return torch.zeros(())

    def timed_step() -> float:
        start = time.perf_counter()
        optimizer.step(closure)
        return time.perf_counter() - start - outside

    for _ in range(3 * pairs):
        timed_step()
    return timed_step


@numba.cfunc(numba.void(numba.types.CPointer(numba.int64)), fastmath=True)
def read(pointer: Any) -> None:
    """Add up all there is in two stretches of memory, side by side, by shares that threads claim."""
    job = view(pointer, 6)  # the next share, how many, elements of one, where each stretch begins, and where sums go
    share = atomic_next(pointer)
    while share < job[1]:
        one, other = pointer_float32(job[3], share * job[2]), pointer_float32(job[4], share * job[2])
        total = real_float32(0)
        for i in range(job[2]):
            total += one[i] + other[i]
        pointer_float64(job[5], share)[0] = total
        share = atomic_next(pointer)


def floor(size: int, pairs: int) -> Callable[[], float]:
    """Reading as much twice, on all threads, as fast as the machine's memory gives it."""
    rows = pairs + VECTORS // 4
    steps, changes, sums = torch.randn(rows, size), torch.randn(rows, size), np.zeros(SHARES)
    kernel = Task(read.address)

    def twice() -> None:
        for _ in range(2):
            places = steps.data_ptr(), changes.data_ptr(), sums.ctypes.data
            job = np.array([0, SHARES, steps.numel() // SHARES, *places], dtype=np.int64)
            parallel_run(kernel, job.ctypes.data, torch.get_num_threads())

    return timed(twice)


def products(size: int, pairs: int) -> Callable[[], float]:
    """What torch reads it with: two products with all its vectors, and two sums of them."""
    steps, changes, vector = torch.randn(pairs, size), torch.randn(pairs, size), torch.randn(size)

    def twice() -> None:
        one, other = steps @ vector, changes @ vector
        torch.addmv(torch.addmv(vector, changes.T, one), steps.T, other)

    return timed(twice)


def timed(run: Callable[[], object]) -> Callable[[], float]:
    """The time that something takes."""

    def time_of() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    return time_of


def main() -> None:
    """Print a table."""
    columns = (
        "parameters",
        "pairs",
        "ours",
        "torch's",
        "the floor",
        "at GB/s",
        "four products",
        "torch / ours",
        "ours / floor",
    )
    print("| " + " | ".join(columns) + " |\n|" + "--:|" * len(columns))
    for size, pairs in SIZES:
        candidates = {
            "ours": iteration(gradus.optim.LBFGS, size, pairs),
            "torch": iteration(torch.optim.LBFGS, size, pairs),
            "floor": floor(size, pairs),
            "products": products(size, pairs),
        }
        seen: dict[str, list[float]] = {name: [] for name in candidates}
        for _ in range(ROUNDS):
            for name, run in candidates.items():
                seen[name].append(1e3 * run())
        ours, torchs, least, four = (statistics.median(seen[name]) for name in candidates)
        speed = 4 * size * (4 * pairs + VECTORS) / least / 1e6
        print(
            f"| {size:,} | {pairs} | {ours:.2f} | {torchs:.2f} | {least:.2f} | {speed:.0f} | {four:.2f} "
            f"| {torchs / ours:.2f} | {ours / least:.2f} |"
        )


if __name__ == "__main__":
    main()
