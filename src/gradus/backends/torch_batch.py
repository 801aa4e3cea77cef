"""The torch backend: the rule itself, on torch tensors. Exact, differentiable, on any dtype and device."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradus.backends.layout import paired, real
from gradus.backends.rounding import HALF, round_stochastically
from gradus.backends.sharding import copy_shard, full_tensor, is_sharded, local, summed
from gradus.backends.tensor_group import TensorGroup
from gradus.backends.trace import Program

__all__ = ["TorchBatch"]


class TorchBatch:
    """Updates tensors one by one, by the rule as it is written.

    Args:
        groups: the tensors, by parameter group and step.
        program: what the rule does; here only the slots that it uses with these hyperparameters.
        stochastic: whether parameters in half precision are rounded stochastically.
    """

    def __init__(self, groups: Sequence[TensorGroup], program: Program, *, stochastic: bool = False) -> None:
        self.groups, self.program, self._stochastic = groups, program, stochastic
        self._kinds = [(param, _kind(param)) for group in groups for param in group.params]

    def is_current(self) -> bool:
        """True if every tensor has its shape, dtype and device as before, and a gradient that fits; it may have moved."""
        return all(
            _kind(param) == kind and param.grad is not None and param.grad.shape == param.shape
            for param, kind in self._kinds
        )

    def squares(self) -> float:
        """The sum of the gradients' squares."""
        grads = [param.grad for group in self.groups for param in group.params if param.grad is not None]
        return summed((grad, _norm(local(grad)) ** 2) for grad in grads)

    def prepare(self, scale: float | None) -> bool:
        """Whether the rule still uses the same slots, of the same shapes."""
        self._scale = scale
        return all(
            group.refresh() and group.program(scale).slots == self.program.slots and self._slots_fit(group)
            for group in self.groups
        )

    def _slots_fit(self, group: TensorGroup) -> bool:
        """Whether the hyperparameters still give the slots their shapes, where they have any part in it."""
        return not group.rule.needs_whole_tensor or all(
            group.rule.shape(name, tuple(param.shape), group.param_group)
            == (tuple(state[name].shape) if name in state else None)
            for param, state in zip(group.params, group.states, strict=True)
            for name in self.program.slots
        )

    def update(self) -> None:
        """One update of each tensor."""
        numbers = itertools.count()
        for group in self.groups:
            hypers, scalars = group.hypers(), group.scalars
            with torch.set_grad_enabled(group.param_group["differentiable"]):
                for param, state in zip(group.params, group.states, strict=True):
                    scalars = self._update_one(group, param, state, hypers, next(numbers))
            group.advance(list(scalars.values()))

    def _update_one(
        self, group: TensorGroup, param: Tensor, state: dict[str, Any], hypers: dict[str, Any], number: int
    ) -> dict[str, Any]:
        grad = param.grad
        assert grad is not None
        if (group.rule.needs_whole_tensor or len(self.program.passes) > 1) and is_sharded(param):
            return self._update_whole(group, param, state, hypers)
        where: Any = None
        if grad.is_sparse:  # only the rows that it touches are updated
            entries = grad.coalesce()
            where, grad = tuple(entries.indices()), entries.values()
        slots = {name: _read(state[name], where) for name in self.program.slots if name in state}
        x = _read(param, where)
        g = _read(grad, None).to(x.dtype)
        scaled = g if self._scale is None else g * self._scale
        if group.bound is not None:
            scaled = scaled.clamp(-group.bound, group.bound)
        new_param, new = group.rule.updated(x, scaled, {**slots, **group.scalars}, group.step + 1, hypers)
        given = [x, g, *slots.values()]
        changed = {name: _apart(new[name], given) for name in slots if new[name] is not slots[name]}
        new_param = new_param if new_param is x else _apart(new_param, given)
        if self._stochastic and param.dtype in HALF:
            new_param = round_stochastically(new_param.to(x.dtype), group.seed(), number, param.dtype)
        _write(param, where, new_param)
        for name, value in changed.items():
            if torch.is_grad_enabled() and where is None:
                state[name] = paired(value, state[name])  # autograd has the old one
            else:
                _write(state[name], where, value)
        return {name: new[name] if isinstance(new[name], Tensor) else float(new[name]) for name in group.scalars}

    def _update_whole(
        self, group: TensorGroup, param: Tensor, state: dict[str, Any], hypers: dict[str, Any]
    ) -> dict[str, Any]:
        """Update a tensor that is sharded, by a rule that must see all of it: each process does, and keeps its part."""
        whole = nn.Parameter(full_tensor(param))
        whole.grad = full_tensor(param.grad)
        slots = {name: full_tensor(state[name]) for name in self.program.slots if name in state}
        scalars = self._update_one(group, whole, slots, hypers, 0)
        for shared, new in ((param, whole), *((state[name], slot) for name, slot in slots.items())):
            copy_shard(shared, new)
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
