"""The reference: the rule itself, on torch tensors. Exact, differentiable, on any dtype and device."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradus.backends.layout import paired, real
from gradus.backends.local import gathered, is_shared, keep_part, local, summed
from gradus.backends.rounding import HALF, rounded_by_chance
from gradus.backends.row import Row
from gradus.rules.trace import Program

__all__ = ["Reference"]


class Reference:
    """Updates tensors one by one, by the rule as it is written.

    Args:
        rows: the tensors, by group and step.
        program: what the rule does; here only the slots that it uses with these hyperparameters.
        stochastic: whether parameters in half precision are rounded up or down by chance.
    """

    def __init__(self, rows: Sequence[Row], program: Program, *, stochastic: bool = False) -> None:
        self.rows, self.program, self._stochastic = rows, program, stochastic
        self._kinds = [(param, _kind(param)) for row in rows for param in row.params]

    def holds(self) -> bool:
        """Whether every tensor is of the kind that it was, and has a gradient that fits; where they lie doesn't matter."""
        return all(
            _kind(param) == kind and param.grad is not None and param.grad.shape == param.shape
            for param, kind in self._kinds
        )

    def squares(self) -> float:
        """The sum of the gradients' squares."""
        grads = [param.grad for row in self.rows for param in row.params if param.grad is not None]
        return summed((grad, _norm(local(grad)) ** 2) for grad in grads)

    def prepare(self, scale: float | None) -> bool:
        """Whether the rule still uses the same slots, of the same shapes."""
        self._scale = scale
        return all(
            row.read() and row.program(scale).slots == self.program.slots and self._slots_fit(row) for row in self.rows
        )

    def _slots_fit(self, row: Row) -> bool:
        """Whether the hyperparameters still give the slots their shapes, where they have any part in it."""
        return not row.rule.of_tensors or all(
            row.rule.shape(name, tuple(param.shape), row.group) == (tuple(state[name].shape) if name in state else None)
            for param, state in zip(row.params, row.states, strict=True)
            for name in self.program.slots
        )

    def update(self) -> None:
        """One update of each tensor."""
        numbers = itertools.count()
        for row in self.rows:
            hypers, scalars = row.hypers(), row.scalars
            with torch.set_grad_enabled(row.group["differentiable"]):
                for param, state in zip(row.params, row.states, strict=True):
                    scalars = self._update_one(row, param, state, hypers, next(numbers))
            row.done(list(scalars.values()))

    def _update_one(
        self, row: Row, param: Tensor, state: dict[str, Any], hypers: dict[str, Any], number: int
    ) -> dict[str, Any]:
        grad = param.grad
        assert grad is not None
        if (row.rule.of_tensors or self.program.stages) and is_shared(param):
            return self._update_whole(row, param, state, hypers)
        where: Any = None
        if grad.is_sparse:  # only the rows that it touches are updated
            entries = grad.coalesce()
            where, grad = tuple(entries.indices()), entries.values()
        slots = {name: _read(state[name], where) for name in self.program.slots if name in state}
        x = _read(param, where)
        g = _read(grad, None).to(x.dtype)
        scaled = g if self._scale is None else g * self._scale
        if row.bound is not None:
            scaled = scaled.clamp(-row.bound, row.bound)
        new_param, new = row.rule.updated(x, scaled, {**slots, **row.scalars}, row.step + 1, hypers)
        given = [x, g, *slots.values()]
        changed = {name: _apart(new[name], given) for name in slots if new[name] is not slots[name]}
        new_param = new_param if new_param is x else _apart(new_param, given)
        if self._stochastic and param.dtype in HALF:
            new_param = rounded_by_chance(new_param.to(x.dtype), row.seed(), number, param.dtype)
        _write(param, where, new_param)
        for name, value in changed.items():
            if torch.is_grad_enabled() and where is None:
                state[name] = paired(value, state[name])  # autograd has the old one
            else:
                _write(state[name], where, value)
        return {name: new[name] if isinstance(new[name], Tensor) else float(new[name]) for name in row.scalars}

    def _update_whole(self, row: Row, param: Tensor, state: dict[str, Any], hypers: dict[str, Any]) -> dict[str, Any]:
        """Update a tensor that is shared out, by a rule that must see all of it: each process does, and keeps its part."""
        whole = nn.Parameter(gathered(param))
        whole.grad = gathered(param.grad)
        slots = {name: gathered(state[name]) for name in self.program.slots if name in state}
        scalars = self._update_one(row, whole, slots, hypers, 0)
        for shared, new in ((param, whole), *((state[name], slot) for name, slot in slots.items())):
            keep_part(shared, new)
        return scalars


def _norm(tensor: Tensor) -> float:
    values = real(tensor.coalesce().values() if tensor.is_sparse else tensor)
    return float(torch.linalg.vector_norm(values, dtype=torch.float64))


def _read(tensor: Tensor, where: Any) -> Tensor:
    """A tensor's elements, or the rows of them that are asked for; half precision as single, complex numbers as pairs."""
    values = real(tensor) if where is None else real(tensor)[where]
    return values.float() if values.dtype in HALF else values


def _apart(value: Tensor, given: list[Tensor]) -> Tensor:
    """A value that isn't the memory of what is about to be written."""
    return value.clone() if any(value is other for other in given) else value


def _write(tensor: Tensor, where: Any, value: Tensor) -> None:
    if where is None:
        tensor.copy_(paired(value, tensor))
    else:
        tensor[where] = paired(value, tensor)


def _kind(param: Tensor) -> tuple[Any, ...]:
    return param.shape, param.dtype, param.device
