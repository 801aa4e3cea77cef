"""Training LeNet with our optimizers and with torch's, in turns: what an optimizer's speed is worth in the whole.

python benchmarks/end_to_end.py                      # about four minutes
"""

import argparse
import copy
import random
import statistics
import time
from collections.abc import Callable

import torch
from optimizers import RULES
from torch.nn import functional

import gradus.optim
from gradus.tasks import load_model

UPDATES = 3  # in a turn: the shorter turns are, the less a shared machine's moods weigh
MODES: dict[str, dict[str, bool]] = {"default": {}, "foreach": {"foreach": True}, "fused": {"fused": True}}


def trainer(model: torch.nn.Module, optimizer: torch.optim.Optimizer, batch: int) -> Callable[[], None]:
    """A function that does a few updates on images of Fashion-MNIST's size."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(batch, 1, 28, 28, generator=generator)
    targets = torch.randint(10, (batch,), generator=generator)

    def train() -> None:
        for _ in range(UPDATES):
            optimizer.zero_grad()
            functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()

    return train


def candidates(name: str, batch: int) -> dict[str, Callable[[], None]]:
    """Ours, and each mode that torch has for the rule."""
    torch.manual_seed(0)
    model, theirs = load_model("lenet"), getattr(torch.optim, name)
    own = copy.deepcopy(model)
    made = {"ours": trainer(own, getattr(gradus.optim, name)(own.parameters(), **RULES[name]), batch)}
    for mode, options in MODES.items():
        if not options or next(iter(options)) in theirs.__init__.__code__.co_varnames:
            own = copy.deepcopy(model)
            made[mode] = trainer(own, theirs(own.parameters(), **RULES[name], **options), batch)
    return made


def milliseconds(trainers: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """The median time of an update, the candidates taking turns in any order."""
    times: dict[str, list[float]] = {mode: [] for mode in trainers}
    for train in trainers.values():
        train()
    order = list(trainers)
    for _ in range(rounds):
        random.shuffle(order)
        for mode in order:
            start = time.perf_counter()
            trainers[mode]()
            times[mode].append(time.perf_counter() - start)
    return {mode: 1e3 / UPDATES * statistics.median(seen) for mode, seen in times.items()}


def main() -> None:
    """Print a table for each batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="*", default=[256, 32])
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    for batch in arguments.batches:
        print(f"\nbatch {batch}, ms an update\n")
        print(f"| rule | ours | {' | '.join(MODES)} | best of torch / ours |\n|---|{'--:|' * (len(MODES) + 2)}")
        for name in RULES:
            found = milliseconds(candidates(name, batch), arguments.rounds)
            cells = [f"{found[mode]:.2f}" if mode in found else "–" for mode in ("ours", *MODES)]
            best = min(found[mode] for mode in MODES if mode in found)
            print(f"| {name} | {' | '.join(cells)} | {best / found['ours']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
