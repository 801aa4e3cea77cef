"""The backends: how a rule is run over tensors. Each takes batches of rows; all agree with the reference."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from gradus.backends.local import is_shared
from gradus.backends.reference import Reference
from gradus.backends.row import Row
from gradus.errors import InvalidInput
from gradus.rules.rule import Rule
from gradus.rules.trace import Program

__all__ = ["Batch", "batch_for", "kind_for"]


class Batch(Protocol):
    """Tensors that a backend updates together."""

    def holds(self) -> bool:
        """Whether everything lies where it lay, and has a gradient; the gradients are taken note of."""

    def squares(self) -> float:
        """The sum of the gradients' squares."""

    def prepare(self, scale: float | None) -> bool:
        """Calculate the numbers of the step; whether the batch is made for them. Nothing is changed yet."""

    def update(self) -> None:
        """One update of every tensor."""


def kind_for(rule: Rule, param: Tensor, backend: str) -> str:
    """The backend that updates a parameter by a rule.

    Raises:
        InvalidInput: the backend that was asked for doesn't take it.
    """
    if backend == "reference" or rule.of_tensors or param.grad is None:
        return "reference"
    from gradus.backends import cpu  # Numba takes a third of a second to import, which only those pay who need it

    if backend in ("auto", "cpu") and cpu.takes(param, param.grad):
        return "cpu, sparse" if param.grad.is_sparse else "cpu, shared out" if is_shared(param) else "cpu"
    if backend != "auto":
        raise InvalidInput(
            f"the {backend} backend doesn't take a {param.dtype} tensor of layout {param.layout} on {param.device}; "
            f"leave backend out, and the fastest that takes it is used"
        )
    return "reference"


def batch_for(kind: str, rows: Sequence[Row], program: Program) -> Batch:
    """The tensors of some rows as a backend's batch."""
    if kind.startswith("cpu"):
        from gradus.backends import cpu

        return cpu.OnePass(rows, program)
    return Reference(rows, program)
