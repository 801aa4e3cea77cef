"""L-BFGS against torch's, and against the least that an iteration must read: its history, twice.

python benchmarks/lbfgs.py    # a minute
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

import gradus.optim

SIZES = ((10_000, 100), (1_000_000, 10), (1_000_000, 100))  # parameters and pairs
ROUNDS = 9


def iteration(make: Any, size: int, pairs: int) -> Callable[[], object]:
    """One iteration on a bowl whose gradient costs nothing, with the history full."""
    generator = torch.Generator().manual_seed(0)
    point = torch.nn.Parameter(torch.randn(size, generator=generator))
    gradients = [torch.randn(size, generator=generator) for _ in range(2)]
    optimizer = make([point], lr=1e-3, max_iter=1, history_size=pairs, tolerance_grad=-1, tolerance_change=-float("inf"))
    point.grad = torch.empty(size)
    turn = 0

    def closure() -> torch.Tensor:
        nonlocal turn
        turn += 1
        point.grad.copy_(gradients[turn % 2])  # a copy is what it costs; pairs whose curvature isn't positive are left out
        point.grad.add_(point.detach())
        return torch.zeros(())

    for _ in range(3 * pairs):
        optimizer.step(closure)
    return lambda: optimizer.step(closure)


def floor(size: int, pairs: int) -> Callable[[], object]:
    """Reading the history twice: two products with all its vectors, and two sums of them."""
    steps, changes, vector = torch.randn(pairs, size), torch.randn(pairs, size), torch.randn(size)

    def read() -> None:
        one, other = steps @ vector, changes @ vector
        torch.addmv(torch.addmv(vector, changes.T, one), steps.T, other)

    return read


def main() -> None:
    """Print a table."""
    print("| parameters | pairs | ours | torch's | the floor | torch / ours | ours / floor |\n|--:|--:|--:|--:|--:|--:|--:|")
    for size, pairs in SIZES:
        candidates = {
            "ours": iteration(gradus.optim.LBFGS, size, pairs),
            "torch": iteration(torch.optim.LBFGS, size, pairs),
            "floor": floor(size, pairs),
        }
        seen: dict[str, list[float]] = {name: [] for name in candidates}
        for _ in range(ROUNDS):
            for name, run in candidates.items():
                start = time.perf_counter()
                run()
                seen[name].append(1e3 * (time.perf_counter() - start))
        ours, torchs, least = (statistics.median(seen[name]) for name in candidates)
        print(f"| {size:,} | {pairs} | {ours:.2f} | {torchs:.2f} | {least:.2f} | {torchs / ours:.2f} | {ours / least:.2f} |")


if __name__ == "__main__":
    main()
