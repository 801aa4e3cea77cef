"""What a run is trained with: device, network, optimizer, and random states of its own."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

import gradus.optim
from gradus.errors import InvalidInput
from gradus.names import did_you_mean, hint_for_argument, imported
from gradus.randomness import seed_for
from gradus.runs import Run
from gradus.tasks import Task, load_model

__all__ = ["build_optimizer", "fresh_model", "needs_closure", "own_randomness", "pick_device", "rate_for", "reseed"]


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
        hint = did_you_mean("cuda" if name == "gpu" else name, ("cuda", "mps", "cpu"))
        raise InvalidInput(
            f"device {name!r}{hint} can't be used here: {reason}; leave it out to take the best there is"
        ) from None
    return device


def fresh_model(run: Run, task: Task) -> nn.Module:
    """The run's network with its first weights: a function of the seed, whatever has been drawn before."""
    with own_randomness(torch.device("cpu")):
        reseed(seed_for(run.seed, "weights"), torch.device("cpu"))
        return task.model() if run.model is None else load_model(run.model)


def build_optimizer(run: Run, model: nn.Module) -> torch.optim.Optimizer:
    """The run's optimizer over a network's parameters.

    Raises:
        InvalidInput: there is none of that name, or it can't be made so.
    """
    kind = _optimizer_class(run.optimizer)
    try:
        optimizer: torch.optim.Optimizer = kind(model.parameters(), lr=run.lr, **dict(run.options))
    except (TypeError, ValueError) as error:
        hint = "" if "did you mean" in str(error) else hint_for_argument(kind, dict(run.options))
        raise InvalidInput(f"{run.optimizer} can't be made with lr={run.lr}, {dict(run.options)}: {error}{hint}") from None
    return optimizer


def rate_for(optimizer: str, task: Task) -> float:
    """The learning rate where none is given: the task's own for SGD, which it is meant for; else the optimizer's default.

    Raises:
        InvalidInput: there is no optimizer of that name.
    """
    kind = _optimizer_class(optimizer)
    lr = inspect.signature(kind).parameters.get("lr")
    return task.lr if kind.__name__ == "SGD" or lr is None or not isinstance(lr.default, (int, float)) else float(lr.default)


def _optimizer_class(name: str) -> Any:
    if ":" in name:
        kind = imported(name, "the optimizer")
    else:
        kind = getattr(torch.optim, name, getattr(gradus.optim, name.removeprefix("gradus.optim."), None))
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)) or kind.__name__ == "Optimizer":
        hint = did_you_mean(name.rpartition(".")[2], _optimizers())
        raise InvalidInput(
            f"the optimizer must be the name of a class in torch.optim, such as SGD; or of one in gradus.optim, such as "
            f"Lion or gradus.optim.SGD; or package.module:Class of your own; got {name!r}{hint}"
        )
    return kind


def _optimizers() -> list[str]:
    """The names of all there are; torch's first, then ours."""
    named = [name for name in dir(torch.optim) if isinstance(getattr(torch.optim, name), type)]
    return [*named, *gradus.optim.__all__]


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """torch's global generators are free to be seeded inside, and afterwards as they were before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def reseed(seed: int, device: torch.device) -> None:
    """Seed the generators that a step on this device draws from; torch.manual_seed seeds all there are, in 0.25 ms."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimizer's step asks for a function that computes the loss anew."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty
