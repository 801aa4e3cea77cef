"""The backends: how a rule is run over tensors. Each takes batches of rows; all agree with the reference."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from gradus.backends import cuda
from gradus.backends.local import is_shared
from gradus.backends.reference import Reference
from gradus.backends.row import Row
from gradus.errors import InvalidInput
from gradus.rules.rule import Rule
from gradus.rules.trace import Program

__all__ = ["Batch", "batch_for", "kind_for", "require_real"]


class Batch(Protocol):
    """Tensors that a backend updates together."""

    def holds(self) -> bool:
        """Whether everything lies where it lay, and has a gradient; the gradients are taken note of."""

    def squares(self) -> Any:
        """The sum of the gradients' squares, a float or a tensor."""

    def prepare(self, scale: Any) -> bool:
        """Calculate the numbers of the step; whether the batch is made for them. Nothing is changed yet."""

    def update(self) -> None:
        """One update of every tensor."""


def kind_for(rule: Rule, param: Tensor, backend: str) -> str:
    """The backend that updates a parameter by a rule.

    Raises:
        InvalidInput: the backend that was asked for doesn't take it, or the rule doesn't.
    """
    require_real(rule, param)
    if backend == "reference" or param.grad is None or (rule.of_tensors and backend == "auto"):
        return "reference"
    if rule.of_tensors:
        raise InvalidInput(
            f"the {backend} backend doesn't take {rule.name}, a rule of whole tensors, which runs in torch's operations "
            f"wherever they lie; leave backend out"
        )
    shared = ", shared out" if is_shared(param) else ""
    if backend in ("auto", "cuda") and (backend == "cuda" or param.is_cuda) and cuda.takes(param, param.grad):
        return f"cuda on {param.device}{shared}"
    if backend in ("auto", "cpu") and param.device.type == "cpu":
        from gradus.backends import cpu  # Numba takes a third of a second to import, which only those pay who need it

        if cpu.takes(param, param.grad):
            return "cpu, sparse" if param.grad.is_sparse else f"cpu{shared}"
    if backend != "auto":
        needs = "" if backend == "cpu" or cuda.is_installed() else ", and needs Triton, which isn't installed here"
        raise InvalidInput(
            f"the {backend} backend doesn't take a {param.dtype} tensor of layout {param.layout} on {param.device}{needs}; "
            f"leave backend out, and the fastest that takes it is used"
        )
    return "reference"


def require_real(rule: Rule, param: Tensor) -> None:
    """Refuse a complex parameter to a rule of whole tensors, whose bases and norms are of real numbers."""
    if rule.of_tensors and param.is_complex():
        raise InvalidInput(
            f"{rule.name}, a rule of whole tensors, takes real parameters; got one of {param.dtype} and shape "
            f"{tuple(param.shape)}. Train its real and imaginary parts as two parameters, or give it another optimizer"
        )


def batch_for(kind: str, rows: Sequence[Row], program: Program, *, stochastic: bool) -> Batch:
    """The tensors of some rows as a backend's batch.

    Args:
        kind: what `kind_for` said of each of them.
        rows: the tensors, by group and step.
        program: what their rule does to an element.
        stochastic: whether parameters in half precision are rounded up or down by chance.
    """
    if kind.startswith("cuda") and cuda.can(program):
        return cuda.OneLaunch(rows, program, stochastic=stochastic)
    # Rows of sparse gradients would draw by their places in the gradient, not in the parameter.
    if kind.startswith("cpu") and not (stochastic and kind == "cpu, sparse"):
        from gradus.backends import cpu

        return cpu.OnePass(rows, program, stochastic=stochastic)
    return Reference(rows, program, stochastic=stochastic)
