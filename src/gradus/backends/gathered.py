"""`Gathered`: the tensors of some rows as a kernel meets them, and which tensors kernels can have at all."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradus.backends.local import is_shared, local, placement, summed
from gradus.backends.rounding import HALF
from gradus.backends.row import Row
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
        self.where = [param.data_ptr() for param in self.params]
        columns = zip(("param", "grad", *program.slots), [self.params, self.grads, *self.slots], strict=True)
        self.dtypes = {name: DTYPES[column[0].dtype] for name, column in columns}
        self.title = f"{rows[0].rule.name}, {', '.join(f'{name} {dtype}' for name, dtype in self.dtypes.items())}"
        self.stochastic = stochastic and self.params[0].dtype in HALF

    def stays(self) -> bool:
        """Whether the parameters lie where they lay."""
        if self.shared:
            self.params = [local(param) for param in self.given]
        return [*map(Tensor.data_ptr, self.params)] == self.where

    def summed(self, pieces: np.ndarray, sums: np.ndarray) -> float:
        """The sum over all pieces, and where tensors are shared out, over all processes.

        Args:
            pieces: the number of the tensor of each.
            sums: of each.
        """
        if not self.shared:
            return float(sums.sum())
        by_tensor = np.bincount(pieces, sums, len(self.given)).tolist()
        return summed(zip(self.given, by_tensor, strict=True))

    def done(self, scalars: Sequence[Sequence[Any]]) -> None:
        """Count an update that has been done, which left these in the scalar slots of each row."""
        for row, new in zip(self.rows, scalars, strict=True):
            row.done(new)
