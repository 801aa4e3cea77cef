"""Adam on an embedding table of which a batch touches a part: whole training steps, and the update alone, against torch's.

python benchmarks/sparse.py    # two minutes
"""

import random
import statistics
import time
import warnings
from collections.abc import Callable

import torch

import gradus.optim

TABLES = ((50_000, 128), (300_000, 16))  # rows and elements of each
SHARES = (0.001, 0.01, 0.15, 0.5, 1.0)  # of the rows, that a batch touches
ROUNDS = 15
MAKERS: dict[str, Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]] = {
    "ours": gradus.optim.SparseAdam,
    "torch's SparseAdam": torch.optim.SparseAdam,
    "torch's fused Adam, whole table": lambda params: torch.optim.Adam(params, fused=True),
}


def batch(rows: int, share: float, entries: int) -> torch.Tensor:
    """The rows that a batch looks up: so many times each of those that it touches, in any order."""
    touched = torch.randperm(rows)[: round(rows * share)].repeat(entries)
    return touched[torch.randperm(len(touched))]


def training(rows: int, width: int, share: float, entries: int) -> dict[str, Callable[[], object]]:
    """A training step for each candidate: the lookup, the backward pass and the update."""
    words = batch(rows, share, entries)
    weights = torch.randn(len(words), width)

    def step_of(name: str) -> Callable[[], object]:
        table = torch.nn.Embedding(rows, width, sparse="Sparse" in name or name == "ours")
        optimizer = MAKERS[name]([table.weight])

        def step() -> None:
            optimizer.zero_grad()
            table(words).backward(weights)
            optimizer.step()

        return step

    return {name: step_of(name) for name in MAKERS}


def updating(rows: int, width: int, share: float, entries: int) -> dict[str, Callable[[], object]]:
    """An update for each candidate, with a gradient that is there already."""
    words = batch(rows, share, entries)
    values = torch.randn(len(words), width)
    sparse = torch.sparse_coo_tensor(words[None], values, (rows, width), check_invariants=False)

    def step_of(name: str) -> Callable[[], object]:
        table = torch.nn.Parameter(torch.randn(rows, width) * 0.1)
        table.grad = torch.randn(rows, width) if "whole" in name else sparse
        return MAKERS[name]([table]).step

    return {name: step_of(name) for name in MAKERS}


def medians(candidates: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The median of each candidate's milliseconds, in turns, in any order."""
    seen: dict[str, list[float]] = {name: [] for name in candidates}
    order = list(candidates)
    for _ in range(ROUNDS + 1):  # the first makes state and code
        random.shuffle(order)  # who follows on a large one finds the caches full of it
        for name in order:
            start = time.perf_counter()
            candidates[name]()
            seen[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(times[1:]) for name, times in seen.items()}


def report(candidates: Callable[[int, int, float, int], dict[str, Callable[[], object]]]) -> None:
    """Print a table."""
    print(f"| table | rows touched | entries a row | {' | '.join(MAKERS)} | whole table / ours |\n|---|{'--:|' * 6}")
    for rows, width in TABLES:
        for entries in (1, 4):
            for share in SHARES:
                if rows * width * share * entries > 1e7:
                    continue
                times = list(medians(candidates(rows, width, share, entries)).values())
                cells = " | ".join(f"{value:.2f}" for value in times)
                print(f"| {rows:,} × {width} | {share:.1%} | {entries} | {cells} | {times[2] / times[0]:.2f} |", flush=True)


def main() -> None:
    """Print the tables."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    print("\nA training step: lookup, backward pass, update\n")
    report(training)
    print("\nThe update alone\n")
    report(updating)


if __name__ == "__main__":
    main()
