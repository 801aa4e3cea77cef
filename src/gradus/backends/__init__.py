"""The backends: how a rule is executed over tensors, by name in `BACKENDS`.

- `torch` runs the rule itself in torch's operations: any dtype and device, differentiable. The others agree with it.
- `cpu` and `cuda` run a kernel that is made from the rule's `Program`, once for all tensors.

**A backend of your own** is a `Backend` under a name of its own: `BACKENDS["mine"] = Backend(supports, batch)`. From then on
`backend="mine"` chooses it for any optimizer, and with `automatic_on="cpu"` every tensor on the CPU that it supports goes to
it by default. Its `batch(groups, program, stochastic)` gives a `Batch`, or None where it can't run that program, which the
`torch` backend does then. What it gets:

- `groups`: a list of `TensorGroup`, each of tensors that share the constants of the step: `.params` and `.states`, lists of
  equal length, the parameters and their states with the slots by name, tensors that are to be changed in place; `.rule`;
  `.param_group`; `.step`, the number of updates done; `.scalars`, the scalar slots by name. All tensors of a batch have one
  rule's program, `kind_of` and capturable in common.
- `program`: what to do with each element: `program.passes`, of which the last one writes. A kernel reads an element of each
  tensor in `reads`, does the `nodes` in order, each with its operation's key in `operations.OPERATIONS`, and writes the
  elements in `writes`. Names that are neither elements nor results are constants, the same for a whole group.
- `tensor_group.fill(table, program, groups, scale)` writes these into `table`, NumPy `[groups, len(program.names)]` of the
  dtype in which they are computed, and returns the new scalar slots of each group, or None.
- `stochastic`: half-precision parameters are to be rounded as `rounding.round_stochastically` does with `group.seed()` and
  the tensor's number in the batch; give None if the backend doesn't.

**A step calls a batch's methods in this order**, each at most once:

1. `is_current()`, at each step but the first. True as long as everything that the batch has cached holds: addresses, shapes
   and dtypes of parameters and states, and each parameter has a gradient (`param.grad`, often a new tensor) like the one
   before. On False the batch is dropped and made anew, so anything may be cached that is checked here.
2. `squares()`, only to clip by the norm or to skip non-finite updates: the sum of the gradients' squares, a float, or a
   tensor where the device must not be waited for.
3. `prepare(scale)`: read the hyperparameters and compute the step's constants; `scale` multiplies each gradient, None means
   1. It must not change any tensor. False means that the program is no longer the right one (a condition on a hyperparameter
   has another outcome), and the batch is made anew.
4. `update()`: change the parameters and slots in place, then call `group.advance(scalars)` once for each group. A group's
   step and scalars are changed by nobody else while its batch lives.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from gradus.backends import cuda
from gradus.backends.sharding import is_sharded
from gradus.backends.tensor_group import TensorGroup
from gradus.backends.torch_batch import TorchBatch
from gradus.backends.trace import Program
from gradus.errors import InvalidInput
from gradus.names import did_you_mean
from gradus.rules.rule import Rule

__all__ = ["BACKENDS", "Backend", "Batch", "choose_backend", "kind_of", "make_batch", "require_real"]


class Batch(Protocol):
    """Tensors that a backend updates together; the module's docstring says when each method is called."""

    def is_current(self) -> bool:
        """True if no tensor moved and the gradients fit as before; binds the gradients."""

    def squares(self) -> Any:
        """The sum of the gradients' squares, a float or a 0-dimensional tensor."""

    def prepare(self, scale: Any) -> bool:
        """Compute the constants of the step; whether the batch is made for them. Nothing is changed yet."""

    def update(self) -> None:
        """One update of every tensor."""


@dataclass(frozen=True)
class Backend:
    """How rules are executed over tensors.

    Args:
        supports: `supports(rule, param)`: whether it updates a parameter, with its gradient as it is, by a rule.
        batch: `batch(groups, program, stochastic)`: a `Batch` of tensors that it supports; None where it can't run
            the program.
        automatic_on: the type of device on which `backend="auto"` considers it, before those that were there earlier.
        capturable: whether a CUDA graph can capture its batches.
        differentiable: whether autograd can follow its updates.
        missing: says what is missing on this machine ("needs Triton, ..."); an empty text if nothing is.
    """

    supports: Callable[[Rule, Tensor], bool]
    batch: Callable[[Sequence[TensorGroup], Program, bool], Batch | None]
    automatic_on: str | None = None
    capturable: bool = False
    differentiable: bool = False
    missing: Callable[[], str] = str


def _cpu_supports(rule: Rule, param: Tensor) -> bool:
    if rule.needs_whole_tensor or param.grad is None or param.device.type != "cpu":
        return False
    from gradus.backends import cpu  # Numba takes a third of a second to import, which only those pay who need it

    return cpu.supports(param, param.grad)


def _cpu_batch(groups: Sequence[TensorGroup], program: Program, stochastic: bool) -> Batch | None:
    from gradus.backends import cpu

    # Rows of sparse gradients would draw by their places in the gradient, not in the parameter.
    if stochastic and groups[0].params[0].grad.is_sparse:  # type: ignore[union-attr]
        return None
    return cpu.CpuBatch(groups, program, stochastic=stochastic)


def _cuda_supports(rule: Rule, param: Tensor) -> bool:
    return not rule.needs_whole_tensor and param.grad is not None and cuda.supports(param, param.grad)


def _cuda_batch(groups: Sequence[TensorGroup], program: Program, stochastic: bool) -> Batch | None:
    return cuda.CudaBatch(groups, program, stochastic=stochastic) if cuda.supports_program(program) else None


def _torch_batch(groups: Sequence[TensorGroup], program: Program, stochastic: bool) -> Batch:
    return TorchBatch(groups, program, stochastic=stochastic)


def _needs_triton() -> str:
    return "" if cuda.is_installed() else "needs Triton, which isn't installed here"


_TORCH = Backend(lambda *_: True, _torch_batch, differentiable=True)
BACKENDS = {
    "torch": _TORCH,
    "reference": _TORCH,  # the name that it had, which saved optimizers still have
    "cpu": Backend(_cpu_supports, _cpu_batch, automatic_on="cpu"),
    "cuda": Backend(_cuda_supports, _cuda_batch, automatic_on="cuda", capturable=True, missing=_needs_triton),
}


def choose_backend(rule: Rule, param: Tensor, asked: str = "auto") -> str:
    """The name of the backend that updates a parameter by a rule.

    Args:
        rule: the rule.
        param: the parameter, with its gradient.
        asked: a name in `BACKENDS`; or "auto": the latest that is automatic on the parameter's device and supports it, and
            `torch` if none does.

    Raises:
        InvalidInput: there is no backend of that name, or it doesn't support the parameter or the rule.
    """
    require_real(rule, param)
    if asked == "auto":
        device = param.device.type
        names = [name for name, one in BACKENDS.items() if one.automatic_on == device and one.supports(rule, param)]
        return names[-1] if names else "torch"
    if asked not in BACKENDS:
        raise InvalidInput(f"there is no backend {asked!r}{did_you_mean(asked, BACKENDS)}; there are {', '.join(BACKENDS)}")
    backend = BACKENDS[asked]
    if backend.supports(rule, param):
        return asked
    if rule.needs_whole_tensor:
        raise InvalidInput(
            f"the {asked} backend doesn't take {rule.name}, a rule of whole tensors, which runs in torch's operations "
            f"on any device; leave backend out"
        )
    missing = backend.missing()
    raise InvalidInput(
        f"the {asked} backend doesn't take a {param.dtype} tensor of layout {param.layout} on {param.device}"
        f"{f', and {missing}' if missing else ''}; "
        f"leave backend out, and the fastest that takes it is used"
    )


def require_real(rule: Rule, param: Tensor) -> None:
    """Refuse a complex parameter to a rule of whole tensors, whose bases and norms are of real numbers."""
    if rule.needs_whole_tensor and param.is_complex():
        raise InvalidInput(
            f"{rule.name}, a rule of whole tensors, takes real parameters; got one of {param.dtype} and shape "
            f"{tuple(param.shape)}. Train its real and imaginary parts as two parameters, or give it another optimizer"
        )


def kind_of(param: Tensor) -> tuple[Any, ...]:
    """What the tensors of a batch have in common: device, dtypes, the gradient's layout, and whether they are sharded."""
    grad = param.grad
    assert grad is not None
    return param.device, param.dtype, grad.dtype, grad.layout, is_sharded(param)


def make_batch(name: str, groups: Sequence[TensorGroup], program: Program, *, stochastic: bool) -> Batch:
    """The tensors of some groups as a backend's batch; as torch's where the backend can't run the program.

    Args:
        name: what `choose_backend` gave for each of them.
        groups: the tensors, by parameter group and step.
        program: what their rule does to an element.
        stochastic: whether parameters in half precision are rounded stochastically.
    """
    return BACKENDS[name].batch(groups, program, stochastic) or _torch_batch(groups, program, stochastic)
