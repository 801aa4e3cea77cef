"""The speed of schedules and of the scheduler, as ratios against their peers taken in one run.

python benchmarks/schedules.py        # about a minute; prints the tables of benchmarks/schedules.md

timm, pytorch-ignite, transformers and optax have columns where they are installed.
"""

import itertools
import os
import statistics
import subprocess
import sys
import time
import timeit
import warnings
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

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


Steps = Callable[[], object]


def peers_of(optimizer: Callable[[], torch.optim.Optimizer], length: int) -> dict[str, Steps]:
    """One step() of a cosine over `length` steps, of ours and of each library that is installed; an optimizer for each."""
    steps: dict[str, Steps] = {"Gradus": gradus.Scheduler(optimizer(), lr=Cosine(length)).step}
    steps["torch"] = CosineAnnealingLR(optimizer(), length).step
    if find_spec("timm"):
        from timm.scheduler import CosineLRScheduler

        count, timms = itertools.count(1), CosineLRScheduler(optimizer(), t_initial=length)
        steps["timm"] = lambda: timms.step(next(count))
    if find_spec("ignite"):
        from ignite.handlers.param_scheduler import CosineAnnealingScheduler

        ignites = CosineAnnealingScheduler(optimizer(), "lr", 0.1, 0.0, cycle_size=2 * length)
        steps["ignite"] = lambda: ignites(None)
    if find_spec("transformers"):
        from transformers import get_cosine_schedule_with_warmup

        steps["Transformers"] = get_cosine_schedule_with_warmup(optimizer(), 0, length).step
    return steps


def million_from_peers() -> dict[str, float]:
    """Seconds for a million values: an array from ours and from optax, a step at a time from the others."""
    schedule, steps = Cosine(MILLION), np.arange(MILLION)
    candidates: dict[str, Callable[[], float]] = {"Gradus": lambda: timed(lambda: schedule(steps))}
    if find_spec("optax"):
        import jax
        import optax

        theirs, counts = jax.jit(optax.cosine_decay_schedule(1.0, MILLION)), jax.numpy.arange(MILLION)
        theirs(counts).block_until_ready()
        candidates["optax (traced)"] = lambda: timed(lambda: theirs(counts).block_until_ready())
    part = MILLION // 100
    for name, step in peers_of(lambda: an_optimizer(1, tensors=False), MILLION).items():
        if name != "Gradus":
            candidates[name] = lambda step=step: 100 * timed(lambda: [step() for _ in range(part)])
    return dict(zip(candidates, interleaved(*candidates.values(), rounds=5), strict=True))


def an_optimizer(groups: int, tensors: bool) -> torch.optim.Optimizer:
    """An optimizer of so many groups, with rates as floats or as tensors."""
    rate = torch.tensor(0.1) if tensors else 0.1
    return torch.optim.SGD(
        [{"params": [torch.zeros(1, requires_grad=True)], "lr": rate.clone() if tensors else rate} for _ in range(groups)],
        lr=0.1,
    )


def step_times(groups: int, tensors: bool) -> dict[str, float]:
    """Seconds of one step() of each library; left out where it puts a number in place of a tensor."""
    made: list[torch.optim.Optimizer] = []

    def optimizer() -> torch.optim.Optimizer:
        made.append(an_optimizer(groups, tensors))
        made[-1].step()
        return made[-1]

    steps = peers_of(optimizer, 10**6)
    for step in steps.values():
        step()
    kept = {
        name: step
        for (name, step), one in zip(steps.items(), made, strict=True)
        if not tensors or isinstance(one.param_groups[0]["lr"], torch.Tensor)
    }
    number = max(20, 4000 // groups)
    timers = [lambda step=step: timeit.timeit(step, number=number) / number for step in kept.values()]
    return dict(zip(kept, interleaved(*timers), strict=True))


def row(what: str, peer: str, theirs: float, ours: float) -> None:
    """Print one row of the first table."""
    print(f"| {what} | {peer} | {theirs * 1e3:,.1f} ms | {ours * 1e3:,.1f} ms | {ours / theirs:.2f} |")


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # torch's remarks on the order of calls
    print("| what | peer | peer's | ours | ours / peer's |\n|---|---|--:|--:|--:|")
    numpy_import, our_import = interleaved(lambda: import_time("numpy"), lambda: import_time("gradus.schedules"), rounds=11)
    row("import", "import numpy", numpy_import, our_import)
    row("a million values, one array", "NumPy by hand", *million_values())
    million = million_from_peers()
    mine = million.pop("Gradus")
    for peer, seconds in million.items():
        row("a million values of a cosine", peer, seconds, mine)
    for groups in (1, 10, 100):
        for tensors in (False, True):
            times = step_times(groups, tensors)
            if (groups, tensors) == (1, False):
                libraries = list(times)
                print(f"\n| step(), µs | {' | '.join(libraries)} | torch / ours |\n|---|{'--:|' * (len(libraries) + 1)}")
            cells = [f"{1e6 * times[name]:,.1f}" if name in times else "–" for name in libraries]
            ratio = times["torch"] / times["Gradus"]
            print(f"| {groups} {'tensor' if tensors else 'float'} | {' | '.join(cells)} | {ratio:.2f} |", flush=True)
    print(f"\nPython {sys.version.split()[0]}, NumPy {np.__version__}, torch {torch.__version__}")
