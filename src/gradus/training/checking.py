"""Whether a run can be trained, looked at before anything is."""

import copy
from typing import Any

import torch
from torch import nn

from gradus.errors import InvalidInput
from gradus.runs import Run
from gradus.tasks import Task, check_task
from gradus.training.loop import AMP, step_for
from gradus.training.nonfinite import check_policy
from gradus.training.optimizers import build_optimizer, build_scheduler
from gradus.training.setup import CPU, completed, fresh_model
from gradus.training.step import autocast_for

__all__ = ["check_every", "check_forward", "check_run", "refuse_precision"]


def check_run(run: Run, task: Any, *, device: torch.device | None = None) -> None:
    """Refuse a run that can't be trained, before anything is. Of a training function little is known.

    Args:
        run: what is to be done.
        task: what it is to be done on.
        device: where; the CPU unless given.

    Raises:
        InvalidInput: the run's model, optimizer, groups, schedules, precision or policy can't be used, the task's parts
            don't fit together, or the run can't be saved.

    >>> from gradus.tasks import load_task
    >>> check_run(Run("digits", on_nonfinite="skip"), load_task("digits"))
    >>> check_run(Run("digits", "LBFGS", on_nonfinite="skip"), load_task("digits"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    gradus.errors.InvalidInput: ...
    """
    run.to_json()
    if not isinstance(task, Task):
        return
    run = completed(run, task)
    assert run.batch_size is not None
    place = device or CPU
    steps = task.data("train", valid=run.valid).steps_per_epoch(run.batch_size, run.accumulate)
    tokens = task.tokens_per_step(run.batch_size, run.accumulate)
    run.total_steps(steps, tokens)
    run.evaluation_steps(steps, tokens)
    refuse_precision(run, place)
    model = fresh_model(run, task).to(place)
    optimizer = build_optimizer(run, model)
    check_policy(run, optimizer)
    build_scheduler(run, optimizer, run.resolved(steps, tokens))
    step_for(run, task, model, optimizer, place)
    check_forward(run, task, model, place)


def check_forward(run: Run, task: Task, model: nn.Module, device: torch.device) -> None:
    """Try the task's parts on a few examples, with a copy of the network.

    Raises:
        InvalidInput: they don't fit together.
    """
    dtype = torch.float64 if run.precision == "float64" else torch.float32
    try:
        trial = copy.deepcopy(model)
    except Exception:  # a network of the user's may hold what can't be copied
        trial = fresh_model(run, task).to(device)
        build_optimizer(run, trial)  # which freezes what is frozen
    with autocast_for(device.type, AMP.get(run.precision)):
        check_task(task, trial, valid=run.valid, device=device, dtype=dtype)


def refuse_precision(run: Run, device: torch.device) -> None:
    """Refuse a precision that a device doesn't have.

    Args:
        run: with its precision.
        device: where it is to be trained.

    Raises:
        InvalidInput: it hasn't.
    """
    if run.precision == "float64" and device.type == "mps":
        raise InvalidInput("mps computes nothing in float64; train in float32, or on the CPU: device=cpu")
    try:
        with autocast_for(device.type, AMP.get(run.precision)):
            torch.zeros(1, 1, device=device) @ torch.zeros(1, 1, device=device)
    except RuntimeError as error:
        raise InvalidInput(f"{run.precision} can't be computed in on {device}: {error}; train in float32") from None


def check_every(updates: int | None) -> None:
    """Refuse a distance between checkpoints that counts no updates.

    Args:
        updates: updates between two checkpoints; None where it isn't said.

    Raises:
        InvalidInput: it isn't a whole number from 1.

    >>> check_every(100)
    >>> check_every(0)
    Traceback (most recent call last):
    ...
    gradus.errors.InvalidInput: checkpoint_every must be a whole number of updates, from 1; got 0
    """
    if updates is not None and (type(updates) is not int or updates < 1):
        raise InvalidInput(f"checkpoint_every must be a whole number of updates, from 1; got {updates!r}")
