"""`Scheduler`: schedules applied to the parameter groups of a torch optimizer."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from gradus.errors import InvalidInput
from gradus.schedules import Absolute, Schedule

__all__ = ["Scheduler"]

_VERSION = 1


class Scheduler(LRScheduler):
    """Schedules for the hyperparameters of an optimizer's groups, by name.

    After `k` calls of `step()` each group holds base · schedule(k), where base is the group's own value when it was
    first seen; with `absolute(schedule)` it holds schedule(k). Groups that are added later join with their own base.
    The optimizer is never patched, and nothing is kept but the step, the definitions and the bases, so that building and
    loading in any order gives the same values.

    Args:
        optimizer: a `torch.optim.Optimizer`, or anything else with `param_groups`, a list of dicts.
        **schedules: a `Schedule` or `absolute(Schedule)` for each hyperparameter, by its name in the groups: `lr`,
            `momentum`, `weight_decay`, and members of tuples as `**{"betas[0]": ...}`. Values may be numbers or tensors
            of no dimensions; a tensor is filled in place and stays the same object.

    Raises:
        InvalidInput: no schedules; a hyperparameter that a group lacks, or that is no number; a template.

    >>> import torch
    >>> from gradus.schedules import Cosine, warmup
    >>> optimizer = torch.optim.SGD([torch.zeros(3, requires_grad=True)], lr=0.3)
    >>> scheduler = Scheduler(optimizer, lr=warmup(5) >> Cosine(15))
    >>> for _ in range(5):
    ...     optimizer.step()
    ...     scheduler.step()
    >>> optimizer.param_groups[0]["lr"]
    0.3
    """

    def __init__(self, optimizer: Any, **schedules: Schedule) -> None:
        # torch's own constructor isn't called: it wraps optimizer.step and writes into the groups.
        groups = getattr(optimizer, "param_groups", None)
        if not isinstance(groups, list) or not groups:
            raise InvalidInput(f"a Scheduler needs an optimizer with param_groups; got {optimizer!r}")
        if not schedules:
            raise InvalidInput("a Scheduler needs at least one schedule, such as lr=Cosine(1000)")
        self.optimizer = optimizer
        self._step = 0
        self._schedules = {name: _concrete(name, schedule) for name, schedule in schedules.items()}
        self._handles = {name: _Handle(name) for name in schedules}
        self._bases: dict[str, list[float]] = {
            name: [handle.read(group, index) for index, group in enumerate(groups)] for name, handle in self._handles.items()
        }
        self._apply()

    def _apply(self) -> None:
        """Write the values of the current step into every group."""
        groups, step = self.optimizer.param_groups, self._step
        for name, schedule in self._schedules.items():
            handle, bases = self._handles[name], self._bases[name]
            for index in range(len(bases), len(groups)):  # groups that have joined since
                bases.append(handle.read(groups[index], index))
            value = schedule(step)
            if type(schedule) is Absolute:
                handle.write(groups, [value] * len(groups))
            else:
                handle.write(groups, [base * value for base in bases])

    def step(self, epoch: int | None = None) -> None:
        """One update further; or, as in torch, to the given position."""
        if epoch is None:
            self._step += 1
            self._apply()
        else:
            self.set_step(epoch)

    def set_step(self, step: int) -> None:
        """To the position after `step` updates, from wherever it is."""
        if isinstance(step, bool) or not isinstance(step, int) or step < 0:
            raise InvalidInput(f"set_step takes a whole number of updates from 0; got {step!r}")
        self._step = step
        self._apply()

    # torch's names

    @property
    def last_epoch(self) -> int:  # type: ignore[override]  # torch keeps a field; here it is one with the step
        """How many updates have been done; torch's name for it."""
        return self._step

    @property
    def base_lrs(self) -> list[float]:  # type: ignore[override]  # torch keeps a field; here it is one with the bases
        """Each group's own learning rate, which its schedule multiplies."""
        return list(self._bases.get("lr", []))

    def get_lr(self) -> list[float | Tensor]:
        """The learning rates of the current step, computed anew."""
        if "lr" not in self._schedules:
            return self.get_last_lr()
        factor, absolute = self._schedules["lr"](self._step), type(self._schedules["lr"]) is Absolute
        return [factor if absolute else base * factor for base in self._bases["lr"]]

    def get_last_lr(self) -> list[float | Tensor]:
        """The learning rates as they stand in the groups."""
        return [group["lr"] for group in self.optimizer.param_groups]

    # State

    def state_dict(self) -> dict[str, Any]:
        """The whole state, of JSON's types: the step, the definitions and each group's base values.

        Raises:
            InvalidInput: a schedule holds a function that has no name to be found by.
        """
        return {
            "gradus.scheduler": _VERSION,
            "step": self._step,
            "schedules": {name: schedule.to_json() for name, schedule in self._schedules.items()},
            "bases": {name: list(bases) for name, bases in self._bases.items()},
        }

    def load_state_dict(self, state_dict: Mapping[str, Any], *, on_change: Literal["keep", "new"] | None = None) -> None:
        """Take up a saved state and write its values into the groups.

        Args:
            state_dict: what `state_dict` gave.
            on_change: what to do where the saved schedules aren't this scheduler's: "keep" the saved ones, or go on
                with the "new" ones from the saved step.

        Raises:
            InvalidInput: the state is no scheduler's or of an unknown version; or the definitions differ and `on_change`
                doesn't say which holds. Nothing is changed then.
        """
        state = _checked_state(state_dict)
        if on_change not in (None, "keep", "new"):
            raise InvalidInput(f'on_change must be "keep" or "new"; got {on_change!r}')
        schedules = self._schedules
        saved = state["schedules"]
        if saved != {name: schedule.to_json() for name, schedule in schedules.items()}:
            if on_change is None:
                raise InvalidInput(_difference(saved, schedules))
            if on_change == "keep":
                schedules = {name: Schedule.from_json(text) for name, text in saved.items()}
        handles = {name: _Handle(name) for name in schedules}
        bases = {}
        for name, handle in handles.items():
            own = [handle.read(group, index) for index, group in enumerate(self.optimizer.param_groups)]
            known = state["bases"].get(name, self._bases.get(name, []))
            bases[name] = [*known, *own[len(known) :]]
        self._step, self._schedules, self._handles, self._bases = state["step"], schedules, handles, bases
        self._apply()


class _Handle:
    """Where one hyperparameter lies in a group: under a key, or as a member of the tuple there."""

    def __init__(self, name: str) -> None:
        match = re.fullmatch(r"(\w+)(?:\[(\d+)\])?", name)
        if match is None:
            raise InvalidInput(f'a hyperparameter is named as "lr" or "betas[0]"; got {name!r}')
        self.name, self.key = name, match[1]
        self.member = None if match[2] is None else int(match[2])

    def read(self, group: dict[str, Any], index: int) -> float:
        value = group.get(self.key)
        if self.member is not None and isinstance(value, (tuple, list)) and self.member < len(value):
            value = value[self.member]
        elif self.key not in group or self.member is not None:
            numbers = sorted(key for key in group if key != "params")
            raise InvalidInput(f"group {index} has no hyperparameter {self.name!r}; it has {', '.join(numbers)}")
        if isinstance(value, bool) or not (isinstance(value, (int, float)) or _is_scalar_tensor(value)):
            raise InvalidInput(f"{self.name!r} of group {index} must be a number to be scheduled; it is {value!r}")
        return float(value)  # type: ignore[arg-type]  # a number, as checked

    def write(self, groups: list[dict[str, Any]], values: list[float]) -> None:
        key = self.key
        for group, value in zip(groups, values, strict=False):
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


def _is_scalar_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1


def _concrete(name: str, schedule: Any) -> Schedule:
    if not isinstance(schedule, Schedule):
        raise InvalidInput(f"{name} must be a schedule, such as Cosine(1000); got {schedule!r}")
    schedule._require_concrete()
    return schedule


def _checked_state(state: Any) -> Mapping[str, Any]:
    if not isinstance(state, Mapping) or "gradus.scheduler" not in state:
        raise InvalidInput("this is no state of a gradus Scheduler: it has no field 'gradus.scheduler'")
    if state["gradus.scheduler"] != _VERSION:
        raise InvalidInput(
            f"this scheduler state has version {state['gradus.scheduler']!r}; this Gradus reads version {_VERSION}"
        )
    kinds: dict[str, type] = {"gradus.scheduler": int, "step": int, "schedules": Mapping, "bases": Mapping}
    if unknown := state.keys() - kinds.keys():
        raise InvalidInput(f"a scheduler state has no field {sorted(unknown)[0]!r}")
    for field, kind in kinds.items():
        if not isinstance(state.get(field), kind) or (field == "step" and state[field] < 0):
            raise InvalidInput(f"a scheduler state's {field!r} can't be {state.get(field)!r}")
    for name, bases in state["bases"].items():
        if not isinstance(bases, list) or not all(isinstance(base, (int, float)) for base in bases):
            raise InvalidInput(f"a scheduler state's bases must be lists of numbers; {name!r} has {bases!r}")
    return state


def _difference(saved: Mapping[str, str], mine: Mapping[str, Schedule]) -> str:
    names = sorted(name for name in {*saved, *mine} if name not in mine or saved.get(name) != mine[name].to_json())
    described = "; ".join(
        f"{name} was {_printed(saved.get(name))} and is {repr(mine[name]) if name in mine else 'not scheduled'} now"
        for name in names
    )
    return f'the saved schedules differ: {described}; pass on_change="keep" to go on as saved, "new" for the ones here'


def _printed(text: str | None) -> str:
    if text is None:
        return "not scheduled"
    try:
        return repr(Schedule.from_json(text))
    except InvalidInput:
        return text
