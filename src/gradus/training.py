"""Training as a generator of rows: whoever wants a progress bar, a store or an early stop takes the rows."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn

from gradus.errors import GradusError, InvalidInput
from gradus.randomness import generator, seed_for
from gradus.runs import Row, Run
from gradus.scheduler import Scheduler
from gradus.tasks import Task, load_model

__all__ = ["DIVERGED_AT", "Diverged", "pick_device", "train"]

DIVERGED_AT = 100.0  # times the first loss: no training comes back from there, whatever its last loss looks like
_SCORED_AT_ONCE = 1000  # examples: what fits into a CPU's caches scores fastest


class Diverged(GradusError):
    """The loss of a run left every reasonable range.

    Args:
        step: the update whose loss it was, counted from 0; or after which the test loss was it.
        lr: the learning rate of that update.
        loss: the loss itself.
    """

    def __init__(self, step: int, lr: float, loss: float) -> None:
        super().__init__(f"diverged at step {step}: the loss was {loss:.4g} at learning rate {lr:.4g}")
        self.step, self.lr, self.loss = step, lr, loss

    def __reduce__(self) -> tuple[type["Diverged"], tuple[int, float, float]]:
        return Diverged, (self.step, self.lr, self.loss)


def pick_device(name: str | None = None) -> torch.device:
    """The named device, or the best there is: cuda, then mps, then cpu.

    Raises:
        InvalidInput: the name is no device, or this machine has none of it.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(f"device {name!r} can't be used here: {reason}; leave it out to take the best there is") from None
    return device


def train(run: Run, task: Task, *, device: torch.device | None = None) -> Iterator[Row]:
    """Train as the run says and give a row after each epoch.

    The caller's random state is as it was, between rows and after. torch's settings for threads hold.

    Args:
        run: what to do.
        task: what to do it on: `load_task(run.task)`.
        device: where; the best there is unless given.

    Raises:
        Diverged: at the end of the epoch in which the loss stopped being a number, or passed 100 times the first loss.
        InvalidInput: the run's optimizer or schedule can't be used; before anything is trained.
    """
    device = device or pick_device()
    task = task.to(device)
    steps = task.steps_per_epoch(run.batch_size)
    model = _fresh_model(run, task).to(device)
    optimizer = _optimizer(run, model)
    scheduler = Scheduler(optimizer, lr=run.resolved(steps))
    bound = math.inf
    for epoch in range(run.epochs):
        start = time.perf_counter()
        with _own_randomness(device):
            losses, rates, correct = _epoch(run, task, model, optimizer, scheduler, epoch)
        bound = DIVERGED_AT * max(abs(losses[0]), 1.0) if epoch == 0 else bound
        _refuse_divergence(losses, rates, bound, epoch * steps)
        test_loss, test_accuracy = score(model, task)
        if not math.isfinite(test_loss):  # the epoch's last update blew up, and no training loss has seen it
            raise Diverged((epoch + 1) * steps - 1, rates[-1], test_loss)
        yield Row(
            epoch=epoch + 1,
            step=(epoch + 1) * steps,
            lr=rates[-1],
            train_loss=_mean(losses, [len(batch) for batch in task.train.targets.split(run.batch_size)]),
            train_accuracy=correct / len(task.train.inputs),
            test_loss=test_loss,
            test_accuracy=test_accuracy,
            seconds=time.perf_counter() - start,
        )


def _epoch(
    run: Run, task: Task, model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: Scheduler, epoch: int
) -> tuple[list[float], list[float], int]:
    """One pass over the training data: the loss and the rate of each update, and how many examples were right."""
    inputs, targets = task.train
    order = torch.randperm(len(inputs), generator=generator(run.seed, "order", epoch)).to(inputs.device)
    batches = order.split(run.batch_size)
    losses, rates, correct = [], [], []
    model.train()
    for index, batch in enumerate(batches):
        _reseed(seed_for(run.seed, "step", epoch * len(batches) + index), inputs.device)  # for dropout's masks
        expected = targets[batch]
        outputs = model(task.prepare(inputs[batch]))
        loss = task.loss(outputs, expected)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
        correct.append(task.correct(outputs.detach(), expected).sum())
        rates.append(float(optimizer.param_groups[0]["lr"]))
        if run.per == "step":
            scheduler.step()
    if run.per == "epoch":
        scheduler.step()
    return torch.stack(losses).tolist(), rates, int(torch.stack(correct).sum())  # the epoch's only wait for the device


@torch.inference_mode()
def score(model: nn.Module, task: Task) -> tuple[float, float]:
    """Mean loss and accuracy over the test examples."""
    model.eval()
    loss, correct = 0.0, 0
    for inputs, targets in zip(*(part.split(_SCORED_AT_ONCE) for part in task.test), strict=True):
        outputs = model(task.prepare(inputs))
        loss += task.loss(outputs, targets).item() * len(targets)
        correct += int(task.correct(outputs, targets).sum())
    return loss / len(task.test.inputs), correct / len(task.test.inputs)


def _refuse_divergence(losses: list[float], rates: list[float], bound: float, steps_before: int) -> None:
    for index, loss in enumerate(losses):
        if not loss <= bound:  # a loss that is no number isn't within the bound either
            raise Diverged(steps_before + index, rates[index], loss)


def _mean(losses: list[float], sizes: list[int]) -> float:
    """The mean over examples, from means over batches."""
    return math.fsum(loss * size for loss, size in zip(losses, sizes, strict=True)) / sum(sizes)


def _fresh_model(run: Run, task: Task) -> nn.Module:
    with _own_randomness(torch.device("cpu")):
        _reseed(seed_for(run.seed, "weights"), torch.device("cpu"))
        return task.model() if run.model is None else load_model(run.model)


def _optimizer(run: Run, model: nn.Module) -> torch.optim.Optimizer:
    kind = getattr(torch.optim, run.optimizer, None)
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)) or kind is torch.optim.Optimizer:
        raise InvalidInput(f"the optimizer must be the name of a class in torch.optim, such as SGD; got {run.optimizer!r}")
    try:
        optimizer: torch.optim.Optimizer = cast(Any, kind)(model.parameters(), lr=run.lr, **dict(run.options))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{run.optimizer} can't be made with lr={run.lr}, {dict(run.options)}: {error}") from None
    return optimizer


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """torch's global generators are free to be seeded inside, and afterwards as they were before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _reseed(seed: int, device: torch.device) -> None:
    """Seed the generators that a step on this device draws from; torch.manual_seed seeds all there are, in 0.25 ms."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
