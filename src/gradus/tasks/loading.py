"""What is trained, by name: the registries of tasks and networks, and a user's own by import path."""

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from gradus.errors import GradusError, InvalidInput
from gradus.names import current_folder_first, did_you_mean, imported
from gradus.tasks.diabetes import diabetes
from gradus.tasks.digits import digits
from gradus.tasks.fashion_mnist import Progress, fashion_mnist
from gradus.tasks.models import DiabetesNet, DigitsNet, LeNet
from gradus.tasks.task import Task
from gradus.tasks.topics import topics

__all__ = ["MODELS", "TASKS", "load", "load_model", "load_task"]

# Registries: whoever adds a function to one has it known by that name.
TASKS: dict[str, Callable[..., Task]] = {
    "digits": digits,
    "fashion-mnist": fashion_mnist,
    "diabetes": diabetes,
    "topics": topics,
}
MODELS: dict[str, Callable[[], nn.Module]] = {"lenet": LeNet, "digits-net": DigitsNet, "diabetes-net": DiabetesNet}

_Kind = TypeVar("_Kind")


def load(name: str, data_dir: str | Path | None = None, *, progress: Progress | None = None) -> Any:
    """What a run's `task` names: a Task, or a training function `f(run, context)` of one's own.

    Args:
        name: as for `load_task`; or "package.module:function" for a training function, recognized by its two
            required arguments.
        data_dir: as for `load_task`.
        progress: as for `load_task`.

    Raises:
        InvalidInput: there is no such task or function, or it can't be made.
        GradusError: its data can't be had.

    >>> load("digits").name
    'digits'
    """
    if name in TASKS:
        return _task(name, TASKS[name], getattr(TASKS[name], "__module__", None), data_dir, progress)
    if ":" not in name:
        raise _unknown("task", name, TASKS)
    found = imported(name, "task")
    return found if _needs_two(found) else _task(name, found, name.partition(":")[0], data_dir, progress)


def load_task(name: str, data_dir: str | Path | None = None, *, progress: Progress | None = None) -> Task:
    """The task of that name, with its data.

    Args:
        name: a name in `TASKS`; or "package.module:function" for a function of your own that returns a `Task` and takes
            nothing, or `data_dir`.
        data_dir: where the files of a task are; the user's cache unless given.
        progress: called with each piece of a download.

    Raises:
        InvalidInput: there is no such task, or a function of your own can't be imported, fails, or doesn't return one.
        GradusError: its data can't be had.

    >>> load_task("digits").batch_size
    64
    """
    found = load(name, data_dir, progress=progress)
    if not isinstance(found, Task):
        raise InvalidInput(
            f"task {name!r} is a training function (it takes a run and a context); here a task is needed: a function that "
            f"takes nothing and returns a Task"
        )
    return found


def load_model(name: str) -> nn.Module:
    """A fresh network of that name; called under a seed, as it draws its weights from torch's global generator.

    Args:
        name: a name in `MODELS`; or "package.module:function" for a function or class of your own that takes nothing.

    Raises:
        InvalidInput: there is no such model, or one of your own can't be imported, fails, or isn't an `nn.Module`.

    >>> type(load_model("digits-net")).__name__
    'DigitsNet'
    """
    if name in MODELS:
        return _made(f"model {name!r}", MODELS[name], nn.Module)
    if ":" not in name:
        raise _unknown("model", name, MODELS)
    return _made(f"model {name!r}", imported(name, "model"), nn.Module)


def _unknown(what: str, name: str, known: Iterable[str]) -> InvalidInput:
    hint = did_you_mean(name, known)
    return InvalidInput(
        f"unknown {what} {name!r}{hint}; known are {', '.join(known)}, or package.module:function of your own"
    )


def _needs_two(function: Any) -> bool:
    """Whether a function must be given two arguments by position."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(one.kind in positional and one.default is one.empty for one in parameters) == 2


def _task(name: str, found: Any, module: str | None, data_dir: str | Path | None, progress: Progress | None) -> Task:
    """A task, or the one that a function makes, which is given what it asks for by name."""
    ready = isinstance(found, Task)
    task: Task = found if ready else _made(f"task {name!r}", found, Task, data_dir=data_dir, progress=progress)
    object.__setattr__(task, "source", module)  # it is known here alone, and belongs to the digest
    return task


def _made(what: str, make: Any, kind: type[_Kind], **offered: Any) -> _Kind:
    """What a function makes, which must be of that kind."""
    if not callable(make):
        raise InvalidInput(f"{what} must be a function that takes nothing; it is {type(make).__name__}")
    try:
        with current_folder_first():  # it may import modules next to it
            made = make(**{name: value for name, value in offered.items() if _takes(make, name)})
    except GradusError:
        raise
    except Exception as error:
        raise InvalidInput(f"{what} can't be made: {type(error).__name__}: {error}") from error
    if not isinstance(made, kind):
        raise InvalidInput(f"{what} must return a {kind.__name__}; it returned {type(made).__name__}")
    return made


def _takes(function: Any, name: str) -> bool:
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
