"""Parameter groups by the names of parameters."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from gradus.checks import nonnegative
from gradus.errors import InvalidInput
from gradus.names import did_you_mean

__all__ = ["Groups", "groups"]


class Groups(list[dict[str, Any]]):
    """Parameter groups for an optimizer, made by `groups`; printed, they show which parameters are in which group.

    >>> import torch
    >>> print(groups(torch.nn.Linear(2, 1)))
    default: 2 tensors, 3 elements (defaults): weight, bias
    """

    def __str__(self) -> str:
        return "\n".join(_line(group) for group in self)


def _line(group: Mapping[str, Any]) -> str:
    options = ", ".join(f"{key}={value}" for key, value in group.items() if key not in ("params", "param_names", "name"))
    names, count = group["param_names"], sum(param.numel() for param in group["params"])
    shown = ", ".join(names[:3]) + (f", … {names[-1]}" if len(names) > 3 else "")
    return f"{group['name']}: {len(names)} tensors, {count:,} elements ({options or 'defaults'}): {shown}"


def groups(
    model: nn.Module,
    patterns: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    lr: float | None = None,
    layer_decay: float | None = None,
) -> Groups:
    """Parameter groups of a model, by patterns of its parameters' names.

    Each pattern is a regular expression, searched for in the names. A parameter gets the hyperparameters of every pattern
    that matches; later patterns override earlier ones. Parameters with equal hyperparameters form a group. Parameters that
    need no gradient are left out.

    Args:
        model: the module; names are those of `model.named_parameters()`.
        patterns: hyperparameters for each pattern.
        lr: the learning rate, where `layer_decay` needs one to start from.
        layer_decay: the factor on the rate from a layer to the one before: lr·decay^(L − l). A layer's l is the first number
            in its names, plus 1; parameters before the layers have l = 0, those after them the largest, L (Howard and Ruder
            2018, section 3.2).

    Raises:
        InvalidInput: a pattern matches no parameter or is no regular expression, its value isn't a dict of hyperparameters,
            `layer_decay` has no `lr`, or `model` is no module.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    >>> print(groups(net, {"bias|^1": {"weight_decay": 0.0}, "^2": {"lr": 0.01}}))
    default: 1 tensors, 12 elements (defaults): 0.weight
    bias|^1: 3 tensors, 12 elements (weight_decay=0.0): 0.bias, 1.weight, 1.bias
    ^2: 1 tensors, 8 elements (lr=0.01): 2.weight
    bias|^1 + ^2: 1 tensors, 2 elements (weight_decay=0.0, lr=0.01): 2.bias
    """
    if not isinstance(model, nn.Module):
        raise InvalidInput(
            f"groups are made of a model's named parameters; got {type(model).__name__}; give the model itself"
        )
    if lr is not None:
        nonnegative("lr", lr)
    if layer_decay is not None and (lr is None or not 0 < layer_decay <= 1):
        raise InvalidInput(f"layer_decay is a factor above 0 and at most 1 on lr=...; got {layer_decay!r} and lr={lr!r}")
    named = [(name, param) for name, param in model.named_parameters() if param.requires_grad]
    compiled = {pattern: _compiled(pattern, options) for pattern, options in (patterns or {}).items()}
    _require_fits(compiled, [name for name, _ in named], [name for name, _ in model.named_parameters()])
    layers = _layers([name for name, _ in named])
    made: dict[str, dict[str, Any]] = {}
    for name, param in named:
        fitting = [pattern for pattern, expression in compiled.items() if expression.search(name)]
        options = {key: value for pattern in fitting for key, value in (patterns or {})[pattern].items()}
        label = " + ".join(fitting) or "default"
        if layer_decay is not None:
            assert lr is not None
            label, depth = f"{label}, layer {layers[name]}", max(layers.values()) - layers[name]
            options["lr"] = options.get("lr", lr) * layer_decay**depth
        elif lr is not None:
            options.setdefault("lr", lr)
        group = made.setdefault(label, {"name": label, "params": [], "param_names": [], **options})
        group["params"].append(param)
        group["param_names"].append(name)
    return Groups(made.values())


def _compiled(pattern: str, options: Mapping[str, Any]) -> re.Pattern[str]:
    if not isinstance(pattern, str):
        raise InvalidInput(f"a pattern is a regular expression for names, a str; got {pattern!r}")
    if not isinstance(options, Mapping) or not {"params", "param_names", "name"}.isdisjoint(options):
        raise InvalidInput(f"{pattern!r} must give a dict of hyperparameters, such as dict(lr=0.01); got {options!r}")
    if "lr" in options:
        nonnegative(f"the lr of {pattern!r}", options["lr"])
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InvalidInput(f"{pattern!r} is no regular expression: {error}") from None


def _require_fits(compiled: Mapping[str, re.Pattern[str]], names: list[str], all_names: list[str]) -> None:
    for pattern, expression in compiled.items():
        if not any(map(expression.search, names)):
            if frozen := [name for name in all_names if expression.search(name)]:
                raise InvalidInput(f"{pattern!r} fits nothing that is trained: {frozen[0]} has requires_grad=False")
            hint = did_you_mean(pattern, [*names, *(part for name in names for part in name.split("."))])
            raise InvalidInput(
                f"no parameter's name fits {pattern!r}{hint}; there are, among others, {', '.join(names[:3])}"
            )


def _layers(names: list[str]) -> dict[str, int]:
    """The layer of each parameter: its first number counted from 1, or an end of the stack where it has none."""
    numbers = {name: _number(name) for name in names}
    last = max((number for number in numbers.values() if number is not None), default=-1)
    return dict(_placed(numbers, last))


def _placed(numbers: Mapping[str, int | None], last: int) -> Iterator[tuple[str, int]]:
    begun = False
    for name, number in numbers.items():
        begun = begun or number is not None
        yield name, (last + 2 if begun else 0) if number is None else number + 1


def _number(name: str) -> int | None:
    return next((int(part) for part in name.split(".") if part.isdigit()), None)
