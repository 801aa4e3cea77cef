"""`KernelBatch`: tensors as a kernel reads them, and which tensors kernels take at all."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from gradus.backends.rounding import HALF
from gradus.backends.sharding import all_reduced, is_sharded, local, placement
from gradus.backends.tensor_group import TensorGroup
from gradus.backends.trace import Program
from gradus.rules import ops

__all__ = ["DTYPES", "KernelBatch", "supports_dtypes"]

DTYPES = {getattr(torch, name): name for name in ("float32", "float64", "bfloat16", "float16")}


def supports_dtypes(param: Tensor, grad: Tensor) -> bool:
    """Whether kernels take a parameter and its gradient, on any device: real, strided, sharded alike."""
    if placement(param) != placement(grad):
        return False
    param, grad = local(param), local(grad)
    return (
        type(param) in (Tensor, torch.nn.Parameter)
        and param.dtype in DTYPES
        and grad.dtype in DTYPES
        and param.layout is torch.strided
        and not param.is_neg()
    )


class KernelBatch:
    """The tensors of some groups in columns: the parameters, their gradients, and each slot. Subclasses define `bind_grads`.

    Args:
        groups: the tensors, by parameter group and step.
        program: what to do with each element.
        stochastic: whether parameters in half precision are rounded stochastically; others never are.
    """

    def __init__(self, groups: Sequence[TensorGroup], program: Program, *, stochastic: bool = False) -> None:
        self.groups, self.program = groups, program
        self.given = [param for group in groups for param in group.params]
        self.is_sharded = is_sharded(self.given[0])
        self.params = [local(param) for param in self.given]
        self.grads: list[Any] = [local(param.grad) for param in self.given]  # they must outlive an update that reads them
        states = [state for group in groups for state in group.states]
        self.slots = [[local(state[name]) for state in states] for name in program.slots]
        self._places = [*map(_place, self.params)]
        self._grad_kind = self.grads[0].layout, self.grads[0].dtype
        columns = zip(("param", "grad", *program.slots), [self.params, self.grads, *self.slots], strict=True)
        self.dtypes = {name: DTYPES[column[0].dtype] for name, column in columns}
        self.title = f"{groups[0].rule.name}, {', '.join(f'{name} {dtype}' for name, dtype in self.dtypes.items())}"
        self.stochastic = stochastic and self.params[0].dtype in HALF

    @torch.no_grad()
    def is_current(self) -> bool:
        """True if no parameter moved and the gradients fit as before; binds the gradients."""
        if self.is_sharded:
            self.params = [local(param) for param in self.given]
        if [*map(_place, self.params)] != self._places:
            return False
        grads: list[Any] = [local(param.grad) for param in self.given]
        if not all(map(self._is_expected, grads, self.params)):
            return False
        self.bind_grads(grads)
        return True

    def _is_expected(self, grad: Tensor | None, param: Tensor) -> bool:
        return grad is not None and (grad.layout, grad.dtype, grad.shape) == (*self._grad_kind, param.shape)

    def addresses(self) -> np.ndarray:
        """Where elements begin, int64 [2 + slots, tensors]: of params, gradients (0 until bound), and each slot."""
        rows = [[tensor.data_ptr() for tensor in column] for column in (self.params, *self.slots)]
        return np.insert(np.array(rows, dtype=np.int64), 1, 0, axis=0)

    def bind_grads(self, grads: list[Tensor]) -> None:
        """Read these gradients from now on."""
        raise NotImplementedError

    def totals(self, sums: Tensor) -> Tensor:
        """Sums over each tensor, `[tensors, n]`, over all processes where tensors are sharded."""
        return all_reduced(self.given, sums) if self.is_sharded else sums

    @staticmethod
    def reduced(op: str, totals: Any, sizes: Any) -> Any:
        """The norm or the mean of each tensor, of its sums and its numbers of elements, all `[tensors]`."""
        return ops.sqrt(totals) if op == "norm" else totals / sizes

    def advance(self, scalars: Sequence[Sequence[Any]]) -> None:
        """Count an update that is done, with the new scalar slots of each group."""
        increment_version(self.given)  # autograd then sees that what it has saved has been changed
        if not self.groups[0].param_group["capturable"]:  # a captured graph reads them again
            self.grads = []  # a gradient that is cleared frees its memory at once
        for group, new in zip(self.groups, scalars, strict=True):
            group.advance(new)


def _place(param: Tensor) -> tuple[Any, ...]:
    """Where a parameter's elements are, and how they are to be read."""
    return param.data_ptr(), param.shape, param.stride(), param.dtype
