"""Small trainings for the demonstrations: on scikit-learn's digits, with networks that take seconds."""

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gradus.runs import Run
from gradus.schedules import Schedule, epochs
from gradus.tasks import Task, load_task
from gradus.training import Diverged, train

__all__ = ["DeepNet", "SmallNet", "accuracy", "losses", "one_thread", "small_run", "small_task"]


class SmallNet(nn.Sequential):
    """64–32–10 with ReLU: digits in a fortieth of a second an epoch."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


class DeepNet(nn.Module):
    """A residual network of dense layers without normalisation: 64–width, then x + ReLU(Wx + b) again and again, width–10.

    Its weights are drawn after He et al. (2015), so that each layer nearly doubles the variance: what normalisation would
    undo.

    Args:
        layers: how many, the first and the last included.
        width: of each.
        part: of each layer's output that is added to its input.
    """

    def __init__(self, layers: int, width: int, part: float) -> None:
        super().__init__()
        self.first, self.last, self.part = nn.Linear(64, width), nn.Linear(width, 10), part
        self.middle = nn.ModuleList(nn.Linear(width, width) for _ in range(layers - 2))
        for layer in (self.first, *self.middle):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Images `[n, 1, 8, 8]` to scores `[n, 10]`."""
        x = functional.relu(self.first(images.flatten(1)))
        for layer in self.middle:
            x = x + self.part * functional.relu(layer(x))
        return self.last(x)  # type: ignore[no-any-return]  # torch types a module's call as Any


def small_task() -> Task:
    """scikit-learn's digits with `SmallNet`."""
    return dataclasses.replace(load_task("digits"), model=SmallNet)


def small_run(schedule: Schedule, lr: float, length: int, **settings: Any) -> Run:
    """A training on all of the training images, scored on the test images after each epoch.

    Args:
        schedule: the learning rate's.
        lr: the rate that it multiplies.
        length: epochs.
        settings: any other argument of `Run`.
    """
    return Run("digits", lr=lr, schedules={"lr": schedule}, length=epochs(length), valid=False, **settings)


@contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread, which is fastest for small networks and gives the same bits on each machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def losses(run: Run, task: Task) -> list[float]:
    """The training loss after each epoch; it ends where the run diverged."""
    found = []
    try:
        for row in train(run, task, device=torch.device("cpu")):
            found.append(row["train/loss"])  # noqa: PERF401 - what was found before an error is kept
    except Diverged:
        pass
    return found


def accuracy(run: Run, task: Task) -> float:
    """The test accuracy at the end; NaN where the run diverged."""
    try:
        *_, last = train(run, task, device=torch.device("cpu"))
    except Diverged:
        return math.nan
    return float(last["test/accuracy"])
