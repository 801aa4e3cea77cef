"""`TensorGroup`: tensors of one parameter group at the same step, which share the step's constants; and tables of these."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from gradus.backends.trace import Program, flattened, trace
from gradus.checks import as_float
from gradus.errors import InvalidInput
from gradus.rules.rule import Rule

__all__ = ["TensorGroup", "fill", "fill_on_device", "scalar_tensor", "step_tensor"]

_KNOWN: WeakKeyDictionary[Rule, dict[Any, list[Program]]] = WeakKeyDictionary()
_SEVERAL = 8  # groups from which on it is cheaper to calculate with arrays


class TensorGroup:
    """Tensors of one parameter group at the same step.

    Args:
        rule: the rule that updates them.
        param_group: the parameter group, whose hyperparameters are read anew at each step. Where it is capturable, tensors
            among them stay on their device, and their values aren't read.
        step: how many updates they have had. Where the group is capturable, it and the scalar slots are tensors, which are
            changed in place.
        scalars: the values of their scalar slots.
        bound: gradients are clipped to [-bound, bound], element by element; None for no clipping.
    """

    def __init__(
        self, rule: Rule, param_group: Mapping[str, Any], step: Any, scalars: dict[str, Any], bound: float | None = None
    ) -> None:
        self.rule, self.param_group, self.step = rule, param_group, step
        self.scalars, self.bound = scalars, bound
        self.params: list[Tensor] = []
        self.states: list[dict[str, Any]] = []
        self._getter = operator.itemgetter(*rule.hypers)
        self._values: Any = None
        self._changeable = False
        self._fixed: Any = None
        self.refresh()

    def refresh(self) -> bool:
        """Read the hyperparameters; whether those that a program is made for are as they were.

        Raises:
            InvalidInput: one is out of its range.
        """
        values = self._getter(self.param_group)
        if not self._changeable and values == self._values:
            return True
        hypers = self.hypers()
        # What can be changed in place may be another the next time, and still be equal to itself.
        self._changeable = any(isinstance(value, list) or _has_tensors(value) for value in hypers.values())
        for name, hyper in self.rule.hypers.items():
            if hyper.check is not None and not self._stays(hypers[name]):
                hyper.check(name, hypers[name])
        before = self._fixed
        numbers, self._fixed = flattened(hypers)
        self._numbers = [self._number(number) for number in numbers]
        self._values = values
        return bool(self._fixed == before)

    def _stays(self, value: Any) -> bool:
        return self.param_group["capturable"] and _has_tensors(value)

    def _number(self, value: Any) -> Any:
        return value.detach().double() if self._stays(value) else as_float(value)

    def hypers(self) -> dict[str, Any]:
        """The hyperparameters, as they stand in the group."""
        return {name: self.param_group[name] for name in self.rule.hypers}

    def seed(self) -> Any:
        """What the next update draws from where it rounds stochastically: its number, as far as single precision has it."""
        return (self.step + 1) % 2**24

    def constant_inputs(self, scale: Any) -> list[Any]:
        """The arguments of `Program.constants` for the next update."""
        inputs = [self.step + 1, *self._numbers, *self.scalars.values()]
        if scale is not None:
            inputs.append(scale)
        if self.bound is not None:
            inputs.append(self.bound)
        return inputs

    def program(self, scale: float | None) -> Program:
        """The program for the next update, made when it is first asked for.

        Raises:
            InvalidInput: a constant of the update is too large for double precision, or a division by 0.
        """
        incoming = {"scaled": scale is not None, "bounded": self.bound is not None}
        known = _KNOWN.setdefault(self.rule, {}).setdefault((self._fixed, *incoming.values()), [])
        try:
            for program in known:
                if program.constants(*self.constant_inputs(scale)) is not None:
                    return program
            program = trace(self.rule, self.hypers(), self.step + 1, self.scalars, **incoming)
        except ArithmeticError as error:
            raise self.out_of_range(error) from error
        known.append(program)
        return program

    def out_of_range(self, error: ArithmeticError) -> InvalidInput:
        """What to raise where a number of the next update can't be calculated."""
        given = ", ".join(f"{name}={value!r}" for name, value in {**self.hypers(), **self.scalars}.items())
        return InvalidInput(
            f"{self.rule.name}'s update number {self.step + 1} has no finite numbers ({error.args[-1]}) with {given}; "
            "nothing is changed; give it hyperparameters of an ordinary size"
        )

    def advance(self, scalars: Sequence[Any]) -> None:
        """An update has been done, and left these in the scalar slots."""
        self.step += 1
        for name, scalar in zip(self.scalars, scalars, strict=True) if scalars else ():
            self.scalars[name] = self.scalars[name].copy_(scalar) if self.param_group["capturable"] else scalar

    def write_back(self) -> None:
        """Write the step and the scalar slots into the tensors' states, as tensors of each state's own, like torch's."""
        for state in self.states:
            if self.param_group["capturable"]:  # they are tensors, on which a captured graph counts on
                state.update(step=self.step, **self.scalars)
            else:
                state.update(
                    step=step_tensor(self.step), **{name: scalar_tensor(value) for name, value in self.scalars.items()}
                )


def _has_tensors(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, (tuple, list)) and any(map(_has_tensors, value)))


def step_tensor(step: int) -> Tensor:
    """A number of steps as torch keeps it: in single precision, for as long as that can count."""
    return torch.tensor(float(step), dtype=torch.float32 if step < 2**24 else torch.float64)


def scalar_tensor(scalar: Any) -> Tensor:
    """A scalar slot as a tensor."""
    return scalar if isinstance(scalar, Tensor) else torch.tensor(scalar, dtype=torch.float64)


def fill(
    table: np.ndarray, program: Program, groups: Sequence[TensorGroup], scale: float | None
) -> list[Sequence[float]] | None:
    """Write the constants of the step for each group into a table.

    Returns:
        The new scalar slots of each group; None where the program isn't made for one of them.

    Raises:
        InvalidInput: as `TensorGroup.program`. With many groups nothing is raised: numbers out of range are infinite or NaN.
    """
    if len(groups) >= _SEVERAL:
        return _fill_columns(table, program, groups, scale) if all(group.refresh() for group in groups) else None
    kept = []
    for index, group in enumerate(groups):
        if not group.refresh():
            return None
        try:
            result = program.constants(*group.constant_inputs(scale))
        except ArithmeticError as error:
            raise group.out_of_range(error) from error
        if result is None:
            return None
        table[index] = result[0]
        kept.append(result[1])
    return kept


def fill_on_device(table: Tensor, program: Program, groups: Sequence[TensorGroup], scale: Any) -> list[Sequence[Any]] | None:
    """`fill` by operations on the device, which a CUDA graph can repeat with whatever the groups' tensors hold then."""
    lines: list[Tensor] = []
    kept: list[Sequence[Any]] = []
    for group in groups:
        result = program.constants(*group.constant_inputs(scale)) if group.refresh() else None
        if result is None:
            return None
        lines += [_there(number, table.device) for number in result[0]]
        scalars = [_there(number, table.device) for number in result[1]]
        kept.append(torch.stack(scalars).unbind() if scalars else ())  # as copies: the slots themselves are about to change
    if lines:
        table.copy_(torch.stack(lines).view(table.shape))
    return kept


def _there(number: Any, device: torch.device) -> Tensor:
    if isinstance(number, Tensor):
        return number.to(device, torch.float64)
    return torch.full((), number, dtype=torch.float64, device=device)


def _fill_columns(
    table: np.ndarray, program: Program, groups: Sequence[TensorGroup], scale: float | None
) -> list[Sequence[float]] | None:
    columns = np.array([group.constant_inputs(scale) for group in groups], dtype=np.float64).T
    with np.errstate(all="ignore"):
        result = program.constants(*columns)
    if result is None:
        return None
    for index, column in enumerate(result[0]):
        table[:, index] = column
    kept = [np.broadcast_to(column, len(groups)).tolist() for column in result[1]]
    return list(zip(*kept, strict=True)) if kept else [()] * len(groups)
