"""What is trained: data sets and models by name, and a user's own by import path."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from torch import nn

from gradus.errors import GradusError, InvalidInput
from gradus.names import current_folder_first, did_you_mean, imported
from gradus.tasks.digits import digits
from gradus.tasks.fashion_mnist import Progress, fashion_mnist
from gradus.tasks.models import DigitsNet, LeNet
from gradus.tasks.task import Split, Task

__all__ = ["MODELS", "TASKS", "DigitsNet", "LeNet", "Split", "Task", "digits", "fashion_mnist", "load_model", "load_task"]

TASKS = ("digits", "fashion-mnist")
MODELS: dict[str, Callable[[], nn.Module]] = {"lenet": LeNet, "digits-net": DigitsNet}

_Kind = TypeVar("_Kind")


def load_task(name: str, data_dir: str | Path | None = None, *, progress: Progress | None = None) -> Task:
    """The task of that name, with its data.

    Args:
        name: "digits", "fashion-mnist", or "package.module:function" for a function of your own that takes nothing and
            returns a `Task`.
        data_dir: where the files of Fashion-MNIST lie; the user's cache unless given.
        progress: told of every piece of a download.

    Raises:
        InvalidInput: there is no such task, or a function of your own can't be imported, fails, or doesn't return one.
        GradusError: its data can't be had.
    """
    if name == "digits":
        return digits()
    if name == "fashion-mnist":
        return fashion_mnist(data_dir, progress=progress)
    if ":" not in name:
        raise _unknown("task", name, TASKS)
    return _own("task", name, Task)


def load_model(name: str) -> nn.Module:
    """A fresh network of that name; called under a seed, as it draws its weights from torch's global generator.

    Args:
        name: "lenet", "digits-net", or "package.module:function" for a function or class of your own that takes nothing.

    Raises:
        InvalidInput: there is no such model, or one of your own can't be imported, fails, or isn't an `nn.Module`.
    """
    if name in MODELS:
        return MODELS[name]()
    if ":" not in name:
        raise _unknown("model", name, MODELS)
    return _own("model", name, nn.Module)


def _unknown(what: str, name: str, known: Iterable[str]) -> InvalidInput:
    hint = did_you_mean(name, known)
    return InvalidInput(
        f"unknown {what} {name!r}{hint}; known are {', '.join(known)}, or package.module:function of your own"
    )


def _own(what: str, name: str, kind: type[_Kind]) -> _Kind:
    """What the function of that import path makes, which must be of that kind."""
    make = imported(name, what)
    if not callable(make):
        raise InvalidInput(f"{what} {name!r} must be a function that takes nothing; it is {type(make).__name__}")
    try:
        with current_folder_first():  # it may import what lies beside it
            made = make()
    except GradusError:
        raise
    except Exception as error:
        raise InvalidInput(f"{what} {name!r} can't be made: {type(error).__name__}: {error}") from error
    if not isinstance(made, kind):
        raise InvalidInput(f"{what} {name!r} must return a {kind.__name__}; it returned {type(made).__name__}")
    return made
