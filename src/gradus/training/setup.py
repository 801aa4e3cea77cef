"""What a run is trained with: device, network, and random states of its own; and a run with nothing left open."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from gradus.errors import InvalidInput
from gradus.names import did_you_mean
from gradus.randomness import seed_for
from gradus.runs import Run
from gradus.tasks import Task, load_model
from gradus.tasks.drawing import seed_generators, seeded
from gradus.training.optimizers import default_rate, is_same_class

__all__ = ["completed", "fresh_model", "own_randomness", "pick_device", "reseed"]

CPU = torch.device("cpu")


def pick_device(name: str | None = None) -> torch.device:
    """The named device, or the best there is: cuda, then mps, then cpu.

    Raises:
        InvalidInput: the name is no device, or this machine has none of it.

    >>> pick_device("cpu")
    device(type='cpu')
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        hint = did_you_mean("cuda" if name == "gpu" else name, ("cuda", "mps", "cpu"))
        raise InvalidInput(
            f"device {name!r}{hint} can't be used here: {reason}; leave it out to take the best there is"
        ) from None
    return device


def completed(run: Run, task: Any) -> Run:
    """The run with all that it leaves to its task filled in. A training function's run is as it was.

    The task's rate and options are meant for its own optimizer: with another, None is that optimizer's default rate and no
    options. Its groups are of its own network: with another, None is no groups.

    Args:
        run: the run.
        task: the Task, or the training function, that it names.

    Raises:
        InvalidInput: the optimizer is unknown, or has no learning rate by default and is given none.

    >>> from gradus.tasks import load_task
    >>> full = completed(Run("digits", "AdamW"), load_task("digits"))
    >>> full.optimizer, full.lr, full.batch_size, full.length
    ('AdamW', 0.001, 64, epochs(30))
    """
    if not isinstance(task, Task):
        return run
    optimizer = task.optimizer if run.optimizer is None else run.optimizer
    own = is_same_class(optimizer, task.optimizer)
    lr = run.lr
    if lr is None:
        lr = task.lr if own else default_rate(optimizer)
    options = run.options if run.options is not None else task.options if own else {}
    return run.replace(
        optimizer=optimizer,
        lr=lr,
        options=options,
        groups=(task.groups if run.model is None else {}) if run.groups is None else run.groups,
        length=task.length if run.length is None else run.length,
        batch_size=task.batch_size if run.batch_size is None else run.batch_size,
    )


def fresh_model(run: Run, task: Task) -> nn.Module:
    """The run's network with its first weights: a function of the seed, whatever has been drawn before."""
    with own_randomness(CPU):
        reseed(seed_for(run.seed, "weights"), CPU)
        model = task.model() if run.model is None else load_model(run.model)
    return model.double() if run.precision == "float64" else model


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """The global generators are free to be seeded inside, and afterwards as they were before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), seeded(0):
        yield


def reseed(seed: int, device: torch.device) -> None:
    """Seed the generators that a step on this device draws from; torch.manual_seed seeds all there are, in 0.25 ms."""
    seed_generators(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
