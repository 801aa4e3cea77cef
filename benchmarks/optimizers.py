"""The speed of the optimizers, as ratios against every mode that torch has, taken in one run.

python benchmarks/optimizers.py                          # LeNet and ResNet-18, torch's eager modes; about two minutes
python benchmarks/optimizers.py --sets gpt2 --compiled   # 124 M parameters and torch.compile; an hour and 8 GB
python benchmarks/optimizers.py --sets tiny              # what each further tensor costs
python benchmarks/optimizers.py --rules LARS LAMB CautiousAdamW CautiousLion    # against the rule in torch's operations
python benchmarks/optimizers.py --device cuda --sets lenet resnet18 gpt2 --compiled
"""

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator

import numba
import torch

import gradus.optim

RULES: dict[str, dict[str, object]] = {
    "SGD": {"momentum": 0.9},
    "Adagrad": {},
    "RMSprop": {},
    "Adadelta": {},
    "Adam": {},
    "AdamW": {},
    "Adamax": {},
    "NAdam": {},
    "RAdam": {},
    "ASGD": {},
    "Rprop": {},
}
NORMS = ("LARS", "LAMB", "CautiousAdamW", "CautiousLion")  # torch lacks them
MODES = ("foreach", "fused")


def resnet18() -> Iterator[tuple[int, ...]]:
    """The shapes of ResNet-18's parameters (He et al. 2016): 62 tensors, 11.7 million elements."""
    yield from [(64, 3, 7, 7), (64,), (64,)]
    before = 64
    for width in (64, 128, 256, 512):
        for block in range(2):
            yield from [(width, before, 3, 3), (width,), (width,), (width, width, 3, 3), (width,), (width,)]
            if block == 0 and before != width:
                yield from [(width, before, 1, 1), (width,), (width,)]
            before = width
    yield from [(1000, 512), (1000,)]


def gpt2() -> Iterator[tuple[int, ...]]:
    """The shapes of GPT-2's parameters (Radford et al. 2019): 148 tensors, 124 million elements."""
    yield from [(50257, 768), (1024, 768)]
    for _ in range(12):
        yield from [(768,), (768,), (2304, 768), (2304,), (768, 768), (768,)]
        yield from [(768,), (768,), (3072, 768), (3072,), (768, 3072), (768,)]
    yield from [(768,), (768,)]


SETS: dict[str, tuple[list[tuple[int, ...]], int, int]] = {  # shapes, how many rounds, and how many steps at a turn
    "lenet": (
        [(6, 1, 5, 5), (6,), (16, 6, 5, 5), (16,), (120, 400), (120,), (84, 120), (84,), (10, 84), (10,)],
        60,
        20,
    ),
    "resnet18": (list(resnet18()), 30, 1),
    "gpt2": (list(gpt2()), 7, 1),
    "tiny": ([(1,)] * 500, 30, 5),
}


def candidates(name: str, params: list[torch.nn.Parameter], compiled: bool) -> dict[str, Callable[[], object]]:
    """The step of ours and of each of torch's modes; they share the parameters, whose values don't matter here."""
    if name in NORMS:
        ways = {"ours": "auto", "loop": "reference"}
        return {way: getattr(gradus.optim, name)(params, lr=1e-4, backend=backend).step for way, backend in ways.items()}
    options, theirs = RULES[name], getattr(torch.optim, name)
    steps: dict[str, Callable[[], object]] = {"ours": getattr(gradus.optim, name)(params, **options).step}
    steps["loop"] = theirs(params, foreach=False, **options).step
    for mode in MODES:
        if mode in theirs.__init__.__code__.co_varnames:
            steps[mode] = theirs(params, **{mode: True}, **options).step
    if compiled:
        torch._dynamo.reset()  # after eight rules it would give up compiling
        steps["compiled"] = torch.compile(theirs(params, lr=torch.tensor(0.001, device=params[0].device), **options).step)
    return steps


def wait(device: str) -> None:
    """Wait for what a GPU has still to do."""
    if device == "cuda":
        torch.cuda.synchronize()


def first_steps(steps: dict[str, Callable[[], object]], device: str) -> dict[str, float]:
    """Seconds of each first step, in which state is made and code compiled or read."""
    seconds = {}
    for name, step in steps.items():
        start = time.perf_counter()
        step()
        wait(device)
        seconds[name] = time.perf_counter() - start
        step()
    return seconds


def interleaved(steps: dict[str, Callable[[], object]], rounds: int, burst: int, device: str) -> dict[str, float]:
    """The median of each candidate's milliseconds a step, the candidates taking turns at bursts of steps.

    Before a burst comes a step that isn't counted: it finds the caches as the candidate before it left them.
    """
    seen: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            if burst > 1:
                step()
            wait(device)
            start = time.perf_counter()
            for _ in range(burst):
                step()
            wait(device)
            seen[name].append(1e3 * (time.perf_counter() - start) / burst)
    return {name: statistics.median(values) for name, values in seen.items()}


def report(which: str, rules: list[str], compiled: bool, device: str) -> None:
    """Measure one set of parameters and print its table."""
    shapes, rounds, burst = SETS[which]
    params = [torch.nn.Parameter(torch.randn(shape, device=device) * 0.1) for shape in shapes]
    for param in params:
        param.grad = torch.randn_like(param) * 0.01
    count = sum(param.numel() for param in params)
    modes = ["ours", "loop", *MODES, *(["compiled"] if compiled else [])]
    print(f"\n{which}: {len(params)} tensors, {count:,} elements, ms a step, on {device}\n")
    print(f"| rule | {' | '.join(modes)} | best of torch / ours | first step, s |")
    print(f"|---|{'--:|' * (len(modes) + 2)}")
    for name in rules:
        steps = candidates(name, params, compiled)
        first = first_steps(steps, device)
        times = interleaved(steps, rounds, burst, device)
        best = min(value for mode, value in times.items() if mode != "ours")
        cells = [f"{times[mode]:.3f}" if mode in times else "–" for mode in modes]
        began = f"{first['ours']:.2f}" + (f" (compiled {first['compiled']:.0f})" if "compiled" in first else "")
        print(f"| {name} | {' | '.join(cells)} | {best / times['ours']:.2f} | {began} |", flush=True)


def main() -> None:
    """Print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["lenet", "resnet18"])
    parser.add_argument("--rules", nargs="+", choices=[*RULES, *NORMS], default=list(RULES))
    parser.add_argument("--compiled", action="store_true", help="torch.compile(optimizer.step) too; takes its time")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    for which in arguments.sets:
        report(which, arguments.rules, arguments.compiled, arguments.device)
    threads = torch.get_num_threads()
    print(f"\nPython {sys.version.split()[0]}, torch {torch.__version__}, Numba {numba.__version__}, {threads} threads")


if __name__ == "__main__":
    main()
