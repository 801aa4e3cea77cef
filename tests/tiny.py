"""Tasks of a user's own that train in milliseconds, and some that fail: named by import path, `tiny:points`."""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import torch
from torch import nn

import gradus
from gradus.checkpoint import Checkpoints
from gradus.schedules import epochs
from gradus.tasks import Task


def points() -> Task:
    """Fifty points in two classes for a network with dropout; the last batch of an epoch is short."""
    inputs = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    targets = (inputs.sum(dim=1) > 0).long()
    return Task(
        name="points",
        train=(inputs[:50], targets[:50]),
        test=(inputs[50:], targets[50:]),
        model=lambda: nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2)),
        batch_size=8,
        length=epochs(3),
        lr=0.1,
    )


def items() -> Task:
    """The same points from a Dataset that can't be sent to a process, in batches that two workers make."""
    task, noise = points(), lambda: 0.1 * torch.randn(4)

    class Items(torch.utils.data.Dataset[Any]):
        """Points that are moved a little whenever they are asked for."""

        def __len__(self) -> int:
            return 50

        def __getitem__(self, index: int) -> Any:
            return task.train.inputs[index] + noise(), task.train.targets[index]

    return Task("items", Items(), task.test, task.test, model=task.model, batch_size=8, length=epochs(3), workers=2)


def growing() -> Task:
    """Points of which there are as many as the environment says, as after an edit of the data."""
    task, count = points(), int(os.environ.get("COUNT", "50"))
    return Task(
        name="growing",
        train=(task.train.inputs[:count], task.train.targets[:count]),
        test=task.test,
        model=task.model,
        batch_size=8,
        length=epochs(1),
    )


def hole() -> Task:
    """Points of which one is no number, which one update of each epoch meets."""
    task = points()
    inputs = task.train.inputs.clone()
    inputs[7] = torch.nan
    return Task(name="hole", train=(inputs, task.train.targets), test=task.test, model=task.model, batch_size=8)


def unmade() -> Task:
    """A task that can't be made in a worker; elsewhere it can."""
    if os.environ.get("GRADUS_TINY_UNMADE"):
        raise RuntimeError("no such disk")
    return points()


class Dying(nn.Linear):
    """A network that takes its whole process with it, once it trains."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training and os.environ.get("GRADUS_TINY_DYING"):
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        return super().forward(inputs)


def linear() -> nn.Module:
    """A network of the user's own."""
    return nn.Linear(4, 2)


class Slow(nn.Linear):
    """A network that learns so slowly that somebody can stop it, where the environment says so."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training and os.environ.get("GRADUS_TINY_SLOW"):
            time.sleep(0.02)
        return super().forward(inputs)


def slow() -> nn.Module:
    """A network that takes its time."""
    return Slow(4, 2)


def dying() -> nn.Module:
    """A network that kills its process where the environment says so."""
    return Dying(4, 2)


def counting(run: Any, context: Any) -> Iterator[Mapping[str, float]]:
    """A training function that goes on from a file of its own."""
    place = context.folder / "count" if context.folder else None
    begun = int(place.read_text()) if place and place.exists() else 0
    for step in range(begun + 1, 6):
        if context.should_stop():
            return
        if place:
            place.write_text(str(step))
        yield {"step": step, "valid/loss": 1 / step + run.seed}


def loop(run: Any, context: Any) -> Iterator[Mapping[str, float]]:
    """A plain loop with checkpoints of its own, by which it goes on."""
    torch.manual_seed(run.seed)
    model = nn.Linear(4, 1)
    inputs = torch.randn(40, 4)
    kind = Signum if run.optimizer.endswith("Signum") else getattr(gradus.optim, run.optimizer)
    optimizer = kind(model.parameters(), lr=run.lr)
    scheduler = gradus.Scheduler(optimizer, lr=run.resolved(steps_per_epoch=10)["lr"])
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    with Checkpoints(context.folder / "own") as checkpoints:
        found = checkpoints.load(**parts)
        for step in range(found.position if found else 0, run.total_steps()):
            if context.should_stop():
                return
            optimizer.zero_grad()
            loss = (model(inputs[step * 4 : step * 4 + 4]) - 1).square().mean()
            loss.backward()
            optimizer.step()
            scheduler.step()
            checkpoints.save(step + 1, **parts)
            yield {"step": step + 1, "train/loss": loss.item()}


def waiting(run: Any, context: Any) -> Iterator[Mapping[str, float]]:  # noqa: ARG001 - as every training function
    """A training function that waits to be stopped."""
    for step in count():
        if context.should_stop():
            return
        time.sleep(0.01)
        yield {"step": step, "loss": 1.0}


def raising(run: Any, context: Any) -> Iterator[Mapping[str, float]]:  # noqa: ARG001 - see above
    """A training function that fails on its way."""
    yield {"loss": 1.0}
    raise ZeroDivisionError("no such number")


def turning(run: Any, context: Any) -> Iterator[Mapping[str, float]]:  # noqa: ARG001 - see above
    """A training function whose steps go backwards."""
    yield {"step": 5, "loss": 1.0}
    yield {"step": 3, "loss": 1.0}


class Signum(torch.optim.Optimizer):
    """An optimizer of the user's own: the sign of the gradients' moving average."""

    def __init__(self, params: Any, lr: float = 1e-3, momentum: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One update."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for param in (one for one in group["params"] if one.grad is not None):
                average = self.state[param].setdefault("average", torch.zeros_like(param))
                average.lerp_(param.grad, 1 - group["momentum"])
                param.sub_(average.sign(), alpha=group["lr"])
        return loss
