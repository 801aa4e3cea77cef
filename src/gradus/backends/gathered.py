"""`Gathered`: the tensors of some rows as a kernel meets them, and which tensors kernels can have at all."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gradus.backends.local import is_shared, local, placement
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

    def __init__(self, rows: Sequence[Row], program: Program, *, stochastic: bool) -> None:
        self.given = [param for row in rows for param in row.params]
        self.shared = is_shared(self.given[0])
        self.params = [local(param) for param in self.given]
        self.grads: list[Any] = [local(param.grad) for param in self.given]
        states = [state for row in rows for state in row.states]
        self.slots = [[local(state[name]) for state in states] for name in program.slots]
        self.where = [param.data_ptr() for param in self.params]
        columns = zip(("param", "grad", *program.slots), [self.params, self.grads, *self.slots], strict=True)
        self.dtypes = {name: DTYPES[column[0].dtype] for name, column in columns}
        self.title = f"{rows[0].rule.name}, {', '.join(f'{name} {dtype}' for name, dtype in self.dtypes.items())}"
        self.stochastic = stochastic and self.params[0].dtype in HALF
