"""The speed of `step()` of torch's schedulers and of their drop-ins, as ratios taken in one run.

python benchmarks/drop_ins.py         # under two minutes; prints the table of benchmarks/drop_ins.md
"""

import statistics
import sys
import time
import timeit
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch.optim.swa_utils import SWALR

import gradus.lr_scheduler

TORCH = SimpleNamespace(**{**vars(torch.optim.lr_scheduler), "SWALR": SWALR})
ROUNDS = 61
LONG = 10**7  # steps; the benchmark stays within them

MAKE: dict[str, Callable[[Any, Any], Any]] = {
    "LambdaLR": lambda m, o: m.LambdaLR(o, lambda t: 1 / (1 + t)),
    "MultiplicativeLR": lambda m, o: m.MultiplicativeLR(o, lambda _: 0.99999),
    "StepLR": lambda m, o: m.StepLR(o, 100),
    "MultiStepLR": lambda m, o: m.MultiStepLR(o, [100, 200, 300]),
    "ConstantLR": lambda m, o: m.ConstantLR(o, total_iters=LONG),
    "LinearLR": lambda m, o: m.LinearLR(o, total_iters=LONG),
    "ExponentialLR": lambda m, o: m.ExponentialLR(o, 0.99999),
    "PolynomialLR": lambda m, o: m.PolynomialLR(o, LONG, 1.5),
    "CosineAnnealingLR": lambda m, o: m.CosineAnnealingLR(o, LONG, 1e-3),
    "CosineAnnealingWarmRestarts": lambda m, o: m.CosineAnnealingWarmRestarts(o, 100, 2),
    "CyclicLR": lambda m, o: m.CyclicLR(o, 0.01, 0.1, 100),
    "OneCycleLR": lambda m, o: m.OneCycleLR(o, 0.1, LONG),
    "SequentialLR": lambda m, o: m.SequentialLR(o, [m.LinearLR(o), m.CosineAnnealingLR(o, LONG)], [5]),
    "ChainedScheduler": lambda m, o: m.ChainedScheduler([m.LinearLR(o), m.CosineAnnealingLR(o, LONG)]),
    "ReduceLROnPlateau": lambda m, o: m.ReduceLROnPlateau(o),
    "SWALR": lambda m, o: m.SWALR(o, 0.01, LONG),
}


def an_optimizer(groups: int, tensors: bool) -> torch.optim.Optimizer:
    """An optimizer of so many groups, each with a rate of its own, as a float or as a tensor."""
    rates = [0.1 * (1 + index / groups) for index in range(groups)]
    return torch.optim.SGD(
        [{"params": [torch.zeros(1, requires_grad=True)], "lr": torch.tensor(rate) if tensors else rate} for rate in rates],
        momentum=0.5,
    )


def ratio(name: str, groups: int, tensors: bool) -> float:
    """Our median time of a step over torch's, the two taking turns."""
    steps = []
    for module in (TORCH, gradus.lr_scheduler):
        optimizer = an_optimizer(groups, tensors)
        scheduler = MAKE[name](module, optimizer)
        optimizer.step()
        arguments = (1.0,) if name == "ReduceLROnPlateau" else ()  # its metric
        steps.append(lambda scheduler=scheduler, arguments=arguments: scheduler.step(*arguments))
    number = max(3, (100 if tensors else 1000) // groups)
    times: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for step, seen in zip(steps, times, strict=True):
            seen.append(timeit.timeit(step, number=number, timer=time.thread_time))  # others' work doesn't count
    theirs, ours = map(statistics.median, times)
    return ours / theirs


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # torch's sequence remarks on its own members
    cells = [(groups, tensors) for tensors in (False, True) for groups in (1, 10, 100)]
    print("| step() | " + " | ".join(f"{groups} {'tensor' if tensors else 'float'}" for groups, tensors in cells) + " |")
    print("|---|" + "--:|" * len(cells))
    for name in MAKE:
        print(f"| {name} | " + " | ".join(f"{ratio(name, *cell):.2f}" for cell in cells) + " |", flush=True)
    print(f"\nPython {sys.version.split()[0]}, torch {torch.__version__}")
