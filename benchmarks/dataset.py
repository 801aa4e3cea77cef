"""The digits in a map-style Dataset: `gradus.train`, and the same loop in plain PyTorch, in turns.

OMP_NUM_THREADS=1 python benchmarks/dataset.py       # about a minute
"""

import argparse
import gc
import statistics
import time

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import gradus
from gradus.schedules import epochs
from gradus.tasks import DigitsNet, Task, load_task

DIGITS = load_task("digits")
EPOCHS, BATCH, RATE = 5, 64, 0.3


class Digits(Dataset[tuple[Tensor, int]]):
    """The digits, one by one."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels.tolist()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], self.labels[index]


def ours(workers: int) -> None:
    """A run of valid=False: it trains on all of train, and scores test after each epoch."""
    train, test = Digits(*DIGITS.train), Digits(*DIGITS.test)
    task = Task("digits", train, test, model=DigitsNet, workers=workers, batch_size=BATCH, lr=RATE, length=epochs(EPOCHS))
    rows = list(
        gradus.train(gradus.Run("digits", "torch.optim.SGD", lr=RATE, valid=False), task, device=torch.device("cpu"))
    )
    assert rows[-1].step == EPOCHS * 23


def plain(workers: int, persistent: bool) -> None:
    """The same as a tutorial writes it: losses and right answers are counted in training and in scoring."""
    stay = {"persistent_workers": persistent} if workers else {}
    train = DataLoader(Digits(*DIGITS.train), BATCH, shuffle=True, num_workers=workers, **stay)
    test = DataLoader(Digits(*DIGITS.test), BATCH, num_workers=workers, **stay)
    model = DigitsNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for _ in range(EPOCHS):
        model.train()
        total, right = 0.0, 0
        for images, labels in train:
            optimizer.zero_grad()
            outputs = model(images)
            loss = nn.functional.cross_entropy(outputs, labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
            right += int((outputs.argmax(1) == labels).sum())
        model.eval()
        with torch.inference_mode():
            for images, labels in test:
                outputs = model(images)
                total += nn.functional.cross_entropy(outputs, labels).item() * len(labels)
                right += int((outputs.argmax(1) == labels).sum())


def main() -> None:
    """Print the medians, and what ours is of theirs in the median turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    print("| workers | ours, s | plain, s | ours / plain | persistent workers, s | ours / persistent |")
    print("|--:|--:|--:|--:|--:|--:|")
    for workers in (0, 2):
        ways = [lambda w=workers: ours(w), lambda w=workers: plain(w, False), lambda w=workers: plain(w, True)]
        times: list[list[float]] = [[], [], []]
        for turn in range(rounds + 1):
            for way, taken in zip(ways, times, strict=True):
                gc.collect()  # loaders of the turn before, which a worker forked from here would try to end
                start = time.perf_counter()
                way()
                if turn:  # the first warms up
                    taken.append(time.perf_counter() - start)
        one, two, three = map(statistics.median, times)
        first, second = (statistics.median(a / b for a, b in zip(times[0], other, strict=True)) for other in times[1:])
        print(f"| {workers} | {one:.2f} | {two:.2f} | {first:.2f} | {three:.2f} | {second:.2f} |", flush=True)


if __name__ == "__main__":
    main()
