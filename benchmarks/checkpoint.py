"""What a checkpoint of LeNet every 100 updates costs, as part of the training's time, in turns in one run.

python benchmarks/checkpoint.py [ROUNDS]        # about three minutes; prints the table of benchmarks/checkpoint.md
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from gradus.checkpoint import Checkpoints
from gradus.tasks import LeNet

UPDATES, BATCH = 100, 256


class Training:
    """LeNet and Adam, which keeps two slots for each weight."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = LeNet()
        self.optimizer = torch.optim.Adam(self.model.parameters())
        self.inputs, self.targets = torch.rand(BATCH, 1, 28, 28), torch.randint(10, (BATCH,))
        self.position = 0

    def go_on(self) -> None:
        """A hundred updates."""
        for _ in range(UPDATES):
            self.optimizer.zero_grad()
            nn.functional.cross_entropy(self.model(self.inputs), self.targets).backward()
            self.optimizer.step()
        self.position += UPDATES


def nothing(_: Training) -> None:
    """No checkpoint."""


def by_torch(folder: Path) -> Callable[[Training], None]:
    """What most loops do: no flushing, no hash, no random states, and half a file after a power cut."""

    def save(training: Training) -> None:
        state = {"model": training.model.state_dict(), "optimizer": training.optimizer.state_dict()}
        torch.save(state, folder / f"{training.position}.pt")

    return save


def ours(checkpoints: Checkpoints) -> Callable[[Training], None]:
    """The last two kept, whole or absent."""

    def save(training: Training) -> None:
        checkpoints.save(training.position, model=training.model, optimizer=training.optimizer)

    return save


def main(rounds: int) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        waiting, writing = Checkpoints(folder / "a"), Checkpoints(folder / "b", asynchronous=True)
        savers = {
            "none": nothing,
            "torch.save": by_torch(folder),
            "Checkpoints": ours(waiting),
            "Checkpoints, asynchronous": ours(writing),
        }
        trainings = {mode: Training() for mode in savers}
        calls: dict[str, list[float]] = {mode: [] for mode in savers}
        blocks: dict[str, list[float]] = {mode: [] for mode in savers}
        for number in range(rounds + 1):
            for mode, save in savers.items():
                start = time.perf_counter()
                save(trainings[mode])
                saved = time.perf_counter()
                trainings[mode].go_on()
                writing.wait()
                if number:  # the first round warms up
                    calls[mode].append(saved - start)
                    blocks[mode].append(time.perf_counter() - start)
        waiting.close()
        writing.close()
    print("| every 100 updates | call, ms | 100 updates, s | call / updates | median of paired ratios |")
    print("|---|--:|--:|--:|--:|")
    plain = statistics.median(blocks["none"])
    for mode in savers:
        call, block = statistics.median(calls[mode]), statistics.median(blocks[mode])
        paired = statistics.median(mine / alone for mine, alone in zip(blocks[mode], blocks["none"], strict=True))
        print(f"| {mode} | {1000 * call:.2f} | {block:.3f} | {100 * call / plain:.2f} % | {paired:.3f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 41)
