"""`Row`: tensors of one group at the same step, which share every number of the step; and tables of such numbers."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from gradus.checks import as_float
from gradus.errors import InvalidInput
from gradus.rules.rule import Rule
from gradus.rules.trace import Program, flattened, trace

__all__ = ["Row", "alone", "counted", "fill", "fill_on_device"]

_KNOWN: WeakKeyDictionary[Rule, dict[Any, list[Program]]] = WeakKeyDictionary()
_SEVERAL = 8  # rows from which on it is cheaper to calculate with arrays


class Row:
    """Tensors of one group at the same step.

    Args:
        rule: the rule that updates them.
        group: the parameter group, whose hyperparameters are read anew at each step. Where it is capturable, those that
            are tensors stay on their device, and aren't looked into.
        step: how many updates they have had. Where the group is capturable, it and the scalar slots are tensors, and are
            counted on in place.
        scalars: what their scalar slots hold.
        bound: what each element of a gradient is clipped to, from above and below.
    """

    def __init__(
        self, rule: Rule, group: Mapping[str, Any], step: Any, scalars: dict[str, Any], bound: float | None = None
    ) -> None:
        self.rule, self.group, self.step, self.scalars, self.bound = rule, group, step, scalars, bound
        self.params: list[Tensor] = []
        self.states: list[dict[str, Any]] = []
        self._getter = operator.itemgetter(*rule.hypers)
        self._values: Any = None
        self._changeable = False
        self._fixed: Any = None
        self.read()

    def read(self) -> bool:
        """Read the hyperparameters; whether those that a program is made for are as they were.

        Raises:
            InvalidInput: one is out of its range.
        """
        values = self._getter(self.group)
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
        return self.group["capturable"] and _has_tensors(value)

    def _number(self, value: Any) -> Any:
        return value.detach().double() if self._stays(value) else as_float(value)

    def hypers(self) -> dict[str, Any]:
        """The hyperparameters, as they stand in the group."""
        return {name: self.group[name] for name in self.rule.hypers}

    def seed(self) -> Any:
        """What the next update draws from where it rounds by chance: its number, as far as single precision has it."""
        return (self.step + 1) % 2**24

    def inputs(self, scale: Any) -> list[Any]:
        """The arguments of `Program.numbers` for the next update."""
        inputs = [self.step + 1, *self._numbers, *self.scalars.values()]
        if scale is not None:
            inputs.append(scale)
        if self.bound is not None:
            inputs.append(self.bound)
        return inputs

    def program(self, scale: float | None) -> Program:
        """The program for the next update, made when it is first asked for.

        Raises:
            InvalidInput: a number of the update is too large for double precision, or a division by 0.
        """
        incoming = {"scaled": scale is not None, "bounded": self.bound is not None}
        known = _KNOWN.setdefault(self.rule, {}).setdefault((self._fixed, *incoming.values()), [])
        try:
            for program in known:
                if program.numbers(*self.inputs(scale)) is not None:
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

    def done(self, scalars: Sequence[Any]) -> None:
        """An update has been done, and left these in the scalar slots."""
        self.step += 1
        for name, scalar in zip(self.scalars, scalars, strict=True) if scalars else ():
            self.scalars[name] = self.scalars[name].copy_(scalar) if self.group["capturable"] else scalar

    def write_back(self) -> None:
        """Write the step and the scalar slots into the tensors' states, as tensors of each state's own, like torch's."""
        for state in self.states:
            if self.group["capturable"]:  # they are tensors, on which a captured graph counts on
                state.update(step=self.step, **self.scalars)
            else:
                state.update(step=counted(self.step), **{name: alone(value) for name, value in self.scalars.items()})


def _has_tensors(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, (tuple, list)) and any(map(_has_tensors, value)))


def counted(step: int) -> Tensor:
    """A number of steps as torch keeps it: in single precision, for as long as that can count."""
    return torch.tensor(float(step), dtype=torch.float32 if step < 2**24 else torch.float64)


def alone(scalar: Any) -> Tensor:
    """A scalar slot as a tensor."""
    return scalar if isinstance(scalar, Tensor) else torch.tensor(scalar, dtype=torch.float64)


def fill(table: np.ndarray, program: Program, rows: Sequence[Row], scale: float | None) -> list[Sequence[float]] | None:
    """Write the numbers of the step for each row into a table.

    Returns:
        The new scalar slots of each row; None where the program isn't made for one of them.

    Raises:
        InvalidInput: as `Row.program`; nothing is raised where rows are many, whose numbers are infinite then, or none.
    """
    if len(rows) >= _SEVERAL:
        return _fill_columns(table, program, rows, scale) if all(row.read() for row in rows) else None
    kept = []
    for index, row in enumerate(rows):
        if not row.read():
            return None
        try:
            result = program.numbers(*row.inputs(scale))
        except ArithmeticError as error:
            raise row.out_of_range(error) from error
        if result is None:
            return None
        table[index] = result[0]
        kept.append(result[1])
    return kept


def fill_on_device(table: Tensor, program: Program, rows: Sequence[Row], scale: Any) -> list[Sequence[Any]] | None:
    """`fill` by operations on the device, which a CUDA graph can repeat with whatever the rows' tensors hold then."""
    lines: list[Tensor] = []
    kept: list[Sequence[Any]] = []
    for row in rows:
        result = program.numbers(*row.inputs(scale)) if row.read() else None
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
    table: np.ndarray, program: Program, rows: Sequence[Row], scale: float | None
) -> list[Sequence[float]] | None:
    columns = np.array([row.inputs(scale) for row in rows], dtype=np.float64).T
    with np.errstate(all="ignore"):
        result = program.numbers(*columns)
    if result is None:
        return None
    for index, column in enumerate(result[0]):
        table[:, index] = column
    kept = [np.broadcast_to(column, len(rows)).tolist() for column in result[1]]
    return list(zip(*kept, strict=True)) if kept else [()] * len(rows)
