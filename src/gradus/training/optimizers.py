"""A run's optimizer: its class by name, its parameter groups by patterns, and the Scheduler of its schedules."""

import inspect
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

import gradus.optim
from gradus.errors import InvalidInput
from gradus.names import did_you_mean, hint_for_argument, imported
from gradus.runs import FROZEN, Run
from gradus.scheduler import Scheduler
from gradus.scheduler.mistakes import unwarned
from gradus.schedules import Absolute, Constant, Schedule, absolute

__all__ = ["build_optimizer", "build_scheduler", "default_rate", "factors_of", "is_same_class"]

_TORCHS = "torch.optim."


def optimizer_class(name: str) -> Any:
    """The class that a run's optimizer names.

    Args:
        name: as `Run` takes it.

    Raises:
        InvalidInput: there is none of that name.
    """
    if ":" in name:
        kind = imported(name, "the optimizer")
    elif name.startswith(_TORCHS):
        kind = getattr(torch.optim, name.removeprefix(_TORCHS), None)
    else:
        kind = getattr(gradus.optim, name, None)
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)) or kind.__name__ == "Optimizer":
        torchs = [one for one in dir(torch.optim) if isinstance(getattr(torch.optim, one), type) and one != "Optimizer"]
        known = [f"{_TORCHS}{one}" for one in torchs]
        hint = did_you_mean(name, [*gradus.optim.__all__, *known])
        raise InvalidInput(
            f"the optimizer must be the name of a class in gradus.optim, such as AdamW; torch.optim.AdamW for torch's own; "
            f"or package.module:Class of yours; got {name!r}{hint}"
        )
    return kind


def is_same_class(one: str, other: str) -> bool:
    """Whether two names are of the same optimizer; torch's and ours of one name do the same."""
    return one.removeprefix(_TORCHS) == other.removeprefix(_TORCHS)


def default_rate(name: str) -> float | None:
    """The optimizer's own default of the learning rate; None where it sets that itself.

    Raises:
        InvalidInput: it must be given one, or there is no such optimizer.
    """
    lr = inspect.signature(optimizer_class(name)).parameters.get("lr")
    if lr is not None and lr.default is inspect.Parameter.empty and lr.kind is not inspect.Parameter.VAR_KEYWORD:
        raise InvalidInput(f"{name} has no learning rate by default, so the run must have one; give lr= (--lr)")
    given = None if lr is None else lr.default
    return float(given) if isinstance(given, (int, float)) and not isinstance(given, bool) else None


def build_optimizer(run: Run, model: nn.Module) -> torch.optim.Optimizer:
    """The run's optimizer over a network's parameters; those that are frozen get no gradient any more.

    Args:
        run: with its optimizer named.
        model: the network.

    Raises:
        InvalidInput: there is no such optimizer, it can't be made so, or a group is empty.
    """
    assert run.optimizer is not None
    kind = optimizer_class(run.optimizer)
    if run.clip_norm is not None and (run.options or {}).get("clip_norm") is not None:
        raise InvalidInput("clip_norm is given twice, to the run and to its optimizer; leave one of them out")
    if not run.groups:
        return _made(kind, model.parameters(), run, {})
    groups = _groups(run, model)
    for group in groups:  # torch takes any option of a group, and passes over those that it doesn't know
        own = {name: value for name, value in group.items() if name != "params"}
        _made(kind, group["params"], run, own)
    return _made(kind, groups, run, {})


def _made(kind: Any, params: Any, run: Run, changes: Mapping[str, Any]) -> torch.optim.Optimizer:
    rate = {} if run.lr is None else {"lr": run.lr}
    given = {**rate, **dict(run.options or {}), **changes}
    try:
        optimizer: torch.optim.Optimizer = kind(params, **given)
    except (TypeError, ValueError) as error:
        hint = "" if "did you mean" in str(error) else hint_for_argument(kind, given)
        shown = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise InvalidInput(f"{run.optimizer} can't be made with {shown or 'no arguments'}: {error}{hint}") from None
    return optimizer


def _groups(run: Run, model: nn.Module) -> list[dict[str, Any]]:
    """The parameter groups: one for each pattern that isn't frozen, and one of all that no pattern matches."""
    assert run.groups is not None
    members: dict[str | None, list[nn.Parameter]] = {pattern: [] for pattern in run.groups}
    names = [name for name, _ in model.named_parameters()]
    for name, parameter in model.named_parameters():
        place = next((pattern for pattern in run.groups if fnmatchcase(name, pattern)), None)
        members.setdefault(place, []).append(parameter)
        parameter.requires_grad_(parameter.requires_grad and (place is None or run.groups[place] != FROZEN))
    if empty := [pattern for pattern in run.groups if not members[pattern]]:
        raise _empty(empty[0], names)
    groups = []
    for place, params in members.items():
        options = {} if place is None else run.groups[place]
        if options != FROZEN:
            groups.append({"params": params, **_options_of(options, run)})
    if not groups:
        raise InvalidInput(f"the groups {', '.join(run.groups)} freeze all parameters; leave some to be trained")
    return groups


def _options_of(options: Mapping[str, Any], run: Run) -> dict[str, Any]:
    own = {name: value for name, value in options.items() if name != "factor"}
    if "factor" not in options:
        return own
    if run.lr is None:
        raise InvalidInput(f"a group's factor is a part of the learning rate, and {run.optimizer} has none here; give lr=")
    return own | {"lr": run.lr * options["factor"]}


def _empty(pattern: str, names: list[str]) -> InvalidInput:
    matched = [name for name in names if fnmatchcase(name, pattern)]
    if matched:
        return InvalidInput(
            f"group {pattern!r} is left without parameters: all that it matches, such as {matched[0]}, belong to groups "
            f"before it; put it before them, or leave it out"
        )
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return InvalidInput(
        f"group {pattern!r} matches no parameter{did_you_mean(pattern, names)}; the network has {shown or 'none'}"
    )


def factors_of(run: Run) -> list[float]:
    """Each group's part of the learning rate, in the order of the optimizer's groups but for the last, of all the rest."""
    return [float(one.get("factor", 1.0)) for one in (run.groups or {}).values() if one != FROZEN]


def build_scheduler(run: Run, optimizer: torch.optim.Optimizer, schedules: Mapping[str, Schedule]) -> Scheduler | None:
    """The Scheduler of a run; None where there is nothing to schedule.

    Args:
        run: the run.
        optimizer: its optimizer.
        schedules: its schedules, in updates or epochs.

    Raises:
        InvalidInput: the optimizer has no such hyperparameter.
    """
    given: dict[str, Any] = dict(schedules)
    if optimizer.param_groups[0].get("lr") is not None:  # it is always written, so that a return can halve it
        given.setdefault("lr", Constant())
    if not given:
        return None
    factors = factors_of(run)
    if isinstance(given.get("lr"), Absolute) and set(factors) - {1.0}:  # which would set all groups to one rate
        factors += [1.0] * (len(optimizer.param_groups) - len(factors))
        inner = given["lr"].schedule
        given["lr"] = {place: absolute(Constant(factor) * inner) for place, factor in enumerate(factors)}
    with unwarned():  # `Run.mistakes` has what looks like one, and whoever has the run has shown it
        return Scheduler(optimizer, **given)
