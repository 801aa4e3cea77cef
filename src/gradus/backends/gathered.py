"""`Gathered`: the tensors of some rows as a kernel meets them, and which tensors kernels can have at all."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from gradus.backends.local import completed, is_shared, local, placement
from gradus.backends.rounding import HALF
from gradus.backends.row import Row
from gradus.rules import ops
from gradus.rules.trace import Program

__all__ = ["DTYPES", "Gathered", "suits"]

DTYPES = {getattr(torch, name): name for name in ("float32", "float64", "bfloat16", "float16")}


def suits(param: Tensor, grad: Tensor) -> bool:
    """Whether kernels can have a parameter and its gradient, wherever they lie: real, strided, shared out alike."""
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


class Gathered:
    """The tensors of some rows, in columns: the parameters, their gradients, and each slot.

    Who inherits from it says how gradients are taken note of, in `note`.

    Args:
        rows: the tensors, by group and step.
        program: what to do with each element.
        stochastic: whether parameters in half precision are rounded up or down by chance; others aren't in any case.
    """

    def __init__(self, rows: Sequence[Row], program: Program, *, stochastic: bool = False) -> None:
        self.rows, self.program = rows, program
        self.given = [param for row in rows for param in row.params]
        self.shared = is_shared(self.given[0])
        self.params = [local(param) for param in self.given]
        self.grads: list[Any] = [local(param.grad) for param in self.given]  # they must outlive an update that reads them
        states = [state for row in rows for state in row.states]
        self.slots = [[local(state[name]) for state in states] for name in program.slots]
        self._places = [*map(_place, self.params)]
        self._grad_kind = self.grads[0].layout, self.grads[0].dtype
        columns = zip(("param", "grad", *program.slots), [self.params, self.grads, *self.slots], strict=True)
        self.dtypes = {name: DTYPES[column[0].dtype] for name, column in columns}
        self.title = f"{rows[0].rule.name}, {', '.join(f'{name} {dtype}' for name, dtype in self.dtypes.items())}"
        self.stochastic = stochastic and self.params[0].dtype in HALF

    @torch.no_grad()
    def holds(self) -> bool:
        """Whether the parameters lie where they lay, and have such gradients as they had, which are taken note of."""
        if self.shared:
            self.params = [local(param) for param in self.given]
        if [*map(_place, self.params)] != self._places:
            return False
        grads: list[Any] = [local(param.grad) for param in self.given]
        if not all(map(self._is_expected, grads, self.params)):
            return False
        self.note(grads)
        return True

    def _is_expected(self, grad: Tensor | None, param: Tensor) -> bool:
        return grad is not None and (grad.layout, grad.dtype, grad.shape) == (*self._grad_kind, param.shape)

    def addresses(self) -> np.ndarray:
        """Where the tensors begin: a row for the parameters, one for gradients, yet to be noted, and the slots'."""
        rows = [[tensor.data_ptr() for tensor in column] for column in (self.params, *self.slots)]
        return np.insert(np.array(rows, dtype=np.int64), 1, 0, axis=0)

    def note(self, grads: list[Tensor]) -> None:
        """Take note of the parameters' gradients."""
        raise NotImplementedError

    def totals(self, sums: Tensor) -> Tensor:
        """Sums over each tensor, `[tensors, n]`, over all processes where tensors are shared out."""
        return completed(self.given, sums) if self.shared else sums

    @staticmethod
    def reduced(op: str, totals: Any, sizes: Any) -> Any:
        """The norm or the mean of each tensor, of what was added up for it and how many elements it has."""
        return ops.sqrt(totals) if op == "norm" else totals / sizes

    def done(self, scalars: Sequence[Sequence[Any]]) -> None:
        """Count an update that has been done, which left these in the scalar slots of each row."""
        increment_version(self.given)  # so that autograd sees that what it has saved has been changed
        if not self.rows[0].group["capturable"]:  # a captured graph reads them again
            self.grads = []  # whoever clears a gradient has its memory at once
        for row, new in zip(self.rows, scalars, strict=True):
            row.done(new)


def _place(param: Tensor) -> tuple[Any, ...]:
    """Where a parameter's elements lie, and how they are to be read."""
    return param.data_ptr(), param.shape, param.stride(), param.dtype
