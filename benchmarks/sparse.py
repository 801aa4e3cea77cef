"""Adam on an embedding table whose gradient touches a part of its rows, against torch and against updating the whole table.

python benchmarks/sparse.py    # a minute
"""

import statistics
import time
import warnings

import torch

import gradus.optim

TABLES = ((50_000, 128), (300_000, 16))  # rows and elements of each
SHARES = (0.001, 0.01, 0.15, 0.5, 1.0)  # of the rows, that a gradient touches
ROUNDS = 15


def gradient(rows: int, width: int, share: float, entries: int) -> torch.Tensor:
    """A gradient as `nn.Embedding(sparse=True)` makes it: so many entries for each row that it touches, in any order."""
    touched = torch.randperm(rows)[: round(rows * share)].repeat(entries)
    touched = touched[torch.randperm(len(touched))]
    values = torch.randn(len(touched), width)
    return torch.sparse_coo_tensor(touched[None], values, (rows, width), check_invariants=False)


def measure(rows: int, width: int, share: float, entries: int) -> dict[str, float]:
    """The median of each candidate's milliseconds a step, in turns."""
    table = torch.nn.Parameter(torch.randn(rows, width) * 0.1)
    sparse, dense = gradient(rows, width, share, entries), torch.randn(rows, width)
    candidates = {
        "ours": (gradus.optim.SparseAdam([table]), sparse),
        "torch's SparseAdam": (torch.optim.SparseAdam([table]), sparse),
        "torch's fused Adam, whole table": (torch.optim.Adam([table], fused=True), dense),
    }
    seen: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(ROUNDS + 1):  # the first makes state and code
        for name, (optimizer, grad) in candidates.items():
            table.grad = grad
            start = time.perf_counter()
            optimizer.step()
            seen[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(times[1:]) for name, times in seen.items()}


def main() -> None:
    """Print a table."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    head = ["ours", "torch's SparseAdam", "torch's fused Adam, whole table"]
    print(f"| table | rows touched | entries a row | {' | '.join(head)} | whole table / ours |\n|---|{'--:|' * 6}")
    for rows, width in TABLES:
        for entries in (1, 4):
            for share in SHARES:
                if rows * width * share * entries > 1e7:
                    continue
                times = measure(rows, width, share, entries)
                cells = " | ".join(f"{times[name]:.2f}" for name in head)
                ratio = times[head[2]] / times["ours"]
                print(f"| {rows:,} × {width} | {share:.1%} | {entries} | {cells} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
