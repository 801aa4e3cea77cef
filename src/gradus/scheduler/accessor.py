"""Where a hyperparameter's value and its base are in an optimizer's group, and how they are read and written."""

import math
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradus.checks import is_number
from gradus.errors import InvalidInput
from gradus.names import did_you_mean

__all__ = ["Accessor", "Group", "Value"]

Group = dict[str, Any]

# The drop-ins for OneCycleLR and CyclicLR overwrite the user's values, `initial_lr` included, and keep them here.
_USERS = {"lr": "user_lr", "momentum": "user_momentum", "betas[0]": "user_momentum"}
_CYCLED = {"lr": "max_lr", "momentum": "max_momentum", "betas[0]": "max_momentum"}  # what torch's OneCycleLR leaves there
_SINGLE = 1e-6  # a few roundings of float32, in which a base may have been before


@dataclass(frozen=True)
class Value:
    """A number that was found in a group, and the dtype it had if it was a tensor."""

    number: float
    dtype: torch.dtype | None = None

    def is_near(self, other: float) -> bool:
        """Whether another number is this one, within the roundings of its dtype (of float32 at least)."""
        relative, least = _SINGLE, 0.0
        if self.dtype is not None:
            info = torch.finfo(self.dtype)
            relative, least = max(_SINGLE, info.eps), info.smallest_normal * info.eps
        return abs(self.number - other) <= max(relative * max(abs(self.number), abs(other)), least)


class Accessor:
    """Reads and writes one hyperparameter of a group: the value under a key, or a member of the tuple there.

    The base that schedules multiply is kept in the group, under "initial_<name>", as torch's schedulers keep it.
    """

    def __init__(self, name: Any) -> None:
        match = re.fullmatch(r"(\w+)(?:\[(\d{1,9})\])?", name) if isinstance(name, str) else None
        if match is None or match[1] == "params":
            raise InvalidInput(f'a hyperparameter is named as "lr" or "betas[0]"; got {name!r}')
        self.name, self.key, self.initial = name, match[1], f"initial_{name}"
        self.member = None if match[2] is None else int(match[2])

    # Reading

    def value(self, group: Group, index: int) -> Value:
        """What is in a group.

        Raises:
            InvalidInput: the group lacks it, or it is no finite number.
        """
        value = group.get(self.key)
        if self.member is not None and isinstance(value, (tuple, list)) and self.member < len(value):
            value = value[self.member]
        elif self.key not in group or self.member is not None:
            names = sorted(str(key) for key in group if key != "params")
            hint = did_you_mean(self.key, [name for name in names if name != self.key])
            raise InvalidInput(f"group {index} has no hyperparameter {self.name!r}{hint}; it has {', '.join(names)}")
        return _number(value, f"{self.name!r} of group {index}", "to be scheduled")

    def base(self, group: Group, index: int) -> float:
        """A group's own value: what was there before anything scheduled it.

        Raises:
            InvalidInput: it is no finite number.
        """
        for key in (_USERS.get(self.name), self.initial):
            if key in group:
                way_out = "to be a base; set it, or take the present value for the base: rebase=True"
                return _number(group[key], f"{key!r} of group {index}", way_out).number
        return self.value(group, index).number

    def is_cycled(self, group: Group) -> bool:
        """Whether torch's OneCycleLR has put a value of its own in the place of the user's, which is lost."""
        has_base = self.initial in group and self.name != "lr"  # it writes to `initial_lr` itself
        return _CYCLED.get(self.name) in group and _USERS[self.name] not in group and not has_base

    # Writing

    def set_base(self, group: Group, base: float) -> None:
        """Keep a group's base where the next scheduler looks for it."""
        group[self.initial] = base
        users = _USERS.get(self.name)
        if users in group:
            group[users] = base

    def multiply(self, groups: list[Group], bases: list[float | None], factor: float) -> None:
        """Write each group's base times a factor: what `write` does, in one loop, for the common case."""
        key = self.key
        for group, base in zip(groups, bases):  # noqa: B905 - the keyword costs as much as a group
            old = group[key]
            if type(old) is float:
                group[key] = base * factor  # type: ignore[operator]  # one schedule for all leaves no group alone
            elif isinstance(old, Tensor):
                old.fill_(base * factor)  # type: ignore[operator]
            else:
                self.write([group], [base * factor])  # type: ignore[operator]

    def write(self, groups: list[Group], values: list[float | None]) -> None:
        """Write a value into each group; None leaves one alone. A tensor is filled in place."""
        key = self.key
        for group, value in zip(groups, values, strict=False):
            if value is None:
                continue
            old = group[key]
            if type(old) is float:  # asked first, because it is the common case and the cheap question
                group[key] = value
            elif self.member is not None:
                group[key] = self._with_member(old, value)
            elif isinstance(old, Tensor):
                old.fill_(value)
            else:
                group[key] = value

    def _with_member(self, members: Any, value: float) -> Any:
        if isinstance(members[self.member], Tensor):
            members[self.member].fill_(value)
            return members
        return type(members)(value if index == self.member else old for index, old in enumerate(members))


def _number(value: Any, what: str, purpose: str) -> Value:
    """A number, or a tensor of one element and of a floating dtype, if it is finite."""
    is_tensor = isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point()
    if not (is_tensor or is_number(value)):
        raise InvalidInput(f"{what} must be a number {purpose}; it is {value!r}")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond all floats
        number = math.inf
    if not math.isfinite(number):
        raise InvalidInput(f"{what} must be a finite number {purpose}; it is {number!r}")
    return Value(number, value.dtype if is_tensor else None)
