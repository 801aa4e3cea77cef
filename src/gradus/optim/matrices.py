"""Optimizers that see a parameter as a matrix: Adafactor, Muon and SOAP. Their rules are of whole tensors."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from gradus.errors import InvalidInput
from gradus.optim.optimizer import Optimizer
from gradus.rules import ops
from gradus.rules.classical import adamw
from gradus.rules.fields import Betas, Decay, Flag, NonNegative, NonPositive, Positive, Whole, one_of, several
from gradus.rules.rule import Shape, rule, tensor_rule

__all__ = ["SOAP", "Adafactor", "Muon"]


def _rows(shape: Shape, _: Mapping[str, Any]) -> Shape | None:
    return (*shape[:-1], 1) if len(shape) > 1 else None


def _columns(shape: Shape, _: Mapping[str, Any]) -> Shape | None:
    return (*shape[:-2], 1, shape[-1]) if len(shape) > 1 else None


def _epsilons(name: str, value: Any) -> None:
    if not isinstance(value, (tuple, list)) or len(value) != 2 or not all(x is None or x >= 0 for x in value):
        raise InvalidInput(f"{name} must be two numbers that aren't negative, or None for the dtype's own; got {value!r}")


@tensor_rule(row_var=_rows, col_var=_columns, variance=lambda shape, _: None if len(shape) > 1 else shape)
def adafactor(
    param: Tensor,
    grad: Tensor,
    row_var: Any,
    col_var: Any,
    variance: Any,
    *,
    step: int,
    lr: NonNegative = 1e-2,
    beta2_decay: NonPositive = -0.8,
    eps: Annotated[tuple[float | None, float], _epsilons] = (None, 1e-3),
    d: Positive = 1.0,
    weight_decay: NonNegative = 0.0,
    maximize: Flag = False,
) -> tuple[Any, ...]:
    """θ ← θ − α g/√V̂, V̂ of rank one, clipped to a root mean square of d, α relative to θ's own."""
    eps1, eps2 = torch.finfo(param.dtype).eps if eps[0] is None else eps[0], eps[1]
    grad = -grad if maximize else grad
    share = float(step) ** beta2_decay
    size = torch.linalg.vector_norm(param) / max(1, param.numel()) ** 0.5
    rate = size.clamp(min=eps2) * ops.minimum(lr, step**-0.5)
    if weight_decay != 0:
        param = param * (1 - lr * weight_decay)
    squares = grad * grad
    if grad.dim() > 1:
        row_var = row_var + share * (squares.mean(-1, keepdim=True) - row_var)
        col_var = col_var + share * (squares.mean(-2, keepdim=True) - col_var)
        estimate = row_var @ col_var / row_var.mean(-2, keepdim=True).clamp(min=eps1)
    else:
        variance = variance + share * (squares - variance)
        estimate = variance
    update = grad * estimate.clamp(min=eps1 * eps1).rsqrt()
    spread = torch.linalg.vector_norm(update) / (max(1, update.numel()) ** 0.5 * d)
    return param - rate / spread.clamp(min=1.0) * update, row_var, col_var, variance


class Adafactor(Optimizer, rule=adafactor):
    """Adam's second moment kept as one row and one column of a matrix, and no first moment.

    R ← R + (mean over columns of g² − R)·t^c, C likewise over rows; V̂ = RC/mean(R); u = g/√V̂;
    θ ← θ − max(ε₂, RMS(θ))·min(γ, 1/√t) · u/max(1, RMS(u)/d).

    Kept for each parameter: row_var and col_var, one number for each row and each column; variance for a vector.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: γ, the greatest relative rate.
        beta2_decay: c, how fast the averages slow down.
        eps: ε₁, below which averages aren't divided by (None: the dtype's own), and ε₂, the least size of a parameter.
        d: the greatest root mean square of an update.
        weight_decay: λ; γλθ is taken off θ itself.
        maximize: whether to climb instead.

    Source: Shazeer and Stern 2018, Algorithms 4 and 5; torch's variant.

    >>> param = torch.nn.Parameter(torch.ones(2, 3))
    >>> param.grad = torch.full((2, 3), 0.5)
    >>> optimizer = Adafactor([param], lr=0.1)
    >>> optimizer.step()
    >>> param[0].tolist(), tuple(optimizer.state[param]["row_var"].shape)
    ([0.8999999761581421, 0.8999999761581421, 0.8999999761581421], (2, 1))
    """

    _takes_sparse = False


def _as_matrix(tensor: Tensor) -> Tensor:
    """A tensor as a matrix: what comes after the first dimension in one, as for a convolution's kernels."""
    return tensor if tensor.dim() == 2 else tensor.flatten(1)


def _orthogonal(matrix: Tensor, coefficients: tuple[float, ...], steps: int, eps: float) -> Tensor:
    """UVᵀ of a matrix UΣVᵀ, nearly, by Newton and Schulz's iteration with a polynomial of degree five."""
    a, b, c = coefficients
    flat = matrix.size(0) > matrix.size(1)
    x = matrix.bfloat16()
    x = x.T if flat else x
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if flat else x


@tensor_rule()
def muon(
    param: Tensor,
    grad: Tensor,
    momentum_buffer: Tensor,
    *,
    lr: NonNegative = 1e-3,
    weight_decay: NonNegative = 0.1,
    momentum: Decay = 0.95,
    nesterov: Flag = True,
    ns_coefficients: Annotated[tuple[float, float, float], several(3)] = (3.4445, -4.775, 2.0315),
    eps: NonNegative = 1e-7,
    ns_steps: Whole = 5,
    adjust_lr_fn: Annotated[str | None, one_of(None, "original", "match_rms_adamw")] = None,
) -> tuple[Tensor, Tensor]:
    """θ ← (1 − γλ)θ − γ′·orthogonal(momentum), whose singular values are all about 1."""
    if param.numel() == 0:
        return param, momentum_buffer
    momentum_buffer = momentum_buffer + (1 - momentum) * (grad - momentum_buffer)
    update = _as_matrix(grad + momentum * (momentum_buffer - grad) if nesterov else momentum_buffer)
    rows, columns = update.shape
    ratio = 0.2 * math.sqrt(max(rows, columns)) if adjust_lr_fn == "match_rms_adamw" else math.sqrt(max(1.0, rows / columns))
    update = _orthogonal(update, ns_coefficients, ns_steps, eps).to(param.dtype).view_as(param)
    return param * (1 - lr * weight_decay) - lr * ratio * update, momentum_buffer


@rule
def adamw_beside(
    param: Any,
    grad: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    *,
    step: Any,
    adamw_lr: NonNegative = 3e-4,
    adamw_betas: Betas = (0.9, 0.95),
    adamw_eps: NonNegative = 1e-10,
    adamw_weight_decay: NonNegative = 0.0,
) -> Any:
    """AdamW's update, for what isn't a matrix."""
    options = {"lr": adamw_lr, "betas": adamw_betas, "eps": adamw_eps, "weight_decay": adamw_weight_decay}
    return adamw(param, grad, exp_avg, exp_avg_sq, None, step=step, **options)[:3]


def _is_muons(param: Tensor, group: Mapping[str, Any]) -> bool:
    chosen = group.get("muon")
    return param.dim() >= 2 if chosen is None else bool(chosen)


class Muon(Optimizer, rule=muon, besides=adamw_beside, takes=_is_muons, group_keys=("muon",)):
    """Momentum made orthogonal, for matrices; and AdamW, for everything else, in the same optimizer.

    m ← βm + (1 − β)g; θ ← (1 − γλ)θ − γ√max(1, rows/columns) · UVᵀ, where UΣVᵀ = (1 − β)g + βm with Nesterov, else m.

    Parameters of two or more dimensions are matrices (what follows the first dimension counts as one), others AdamW's.
    Embeddings and a last layer are better off with AdamW: a group with `muon=False` gives all of its parameters to it,
    one with `muon=True` none.

    Kept for each parameter: momentum_buffer; AdamW's exp_avg and exp_avg_sq.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: γ of the matrices.
        weight_decay: λ of the matrices.
        momentum: β.
        nesterov: whether to look ahead by one momentum.
        ns_coefficients: of the polynomial of Newton and Schulz's iteration.
        eps: the least norm that is divided by.
        ns_steps: iterations.
        adjust_lr_fn: "original" for the factor above, or "match_rms_adamw" for 0.2√max(rows, columns), with which rates
            found for AdamW serve (Liu et al. 2025, eq. 4).
        adamw_lr, adamw_betas, adamw_eps, adamw_weight_decay: AdamW's own.

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; torch's form.

    >>> net = torch.nn.Linear(3, 2)
    >>> net(torch.ones(3)).sum().backward()
    >>> optimizer = Muon(net.named_parameters(), lr=0.02)
    >>> optimizer.step()
    >>> sorted(optimizer.state[net.weight]), sorted(optimizer.state[net.bias])
    (['momentum_buffer', 'step'], ['exp_avg', 'exp_avg_sq', 'step'])
    """

    rates = ("lr", "adamw_lr")


def _side(index: int) -> Any:
    """The shape of a matrix's Gram matrix over its rows or its columns."""

    def shape(param: Shape, _: Mapping[str, Any]) -> Shape | None:
        if len(param) < 2:
            return None
        size = param[0] if index == 0 else math.prod(param[1:])
        return (size, size)

    return shape


@tensor_rule(left=_side(0), right=_side(1), left_basis=_side(0), right_basis=_side(1))
def soap(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    left: Any,
    right: Any,
    left_basis: Any,
    right_basis: Any,
    *,
    step: int,
    lr: NonNegative = 3e-3,
    betas: Betas = (0.95, 0.95),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 1e-2,
    shampoo_beta: Decay = 0.95,
    precondition_frequency: Whole = 10,
    maximize: Flag = False,
) -> tuple[Any, ...]:
    """Adam's update in the eigenbasis of Shampoo's preconditioner."""
    beta1, beta2 = betas
    grad = -grad if maximize else grad
    param = param * (1 - lr * weight_decay)
    exp_avg = exp_avg + (1 - beta1) * (grad - exp_avg)
    turned, momentum = grad, exp_avg
    if param.dim() >= 2:
        matrix = _as_matrix(grad)
        share = 1.0 if step == 1 else 1 - shampoo_beta  # the first gradient is the whole average
        left, right = left + share * (matrix @ matrix.T - left), right + share * (matrix.T @ matrix - right)
        if step == 1:
            left_basis, right_basis = _eigenbasis(left), _eigenbasis(right)
        turned, momentum = (left_basis.T @ _as_matrix(x) @ right_basis for x in (grad, exp_avg))
        turned, momentum = turned.view_as(param), momentum.view_as(param)
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * turned * turned
    update = momentum / (1 - beta1**step) / ((exp_avg_sq / (1 - beta2**step)).sqrt() + eps)
    if param.dim() >= 2:
        update = (left_basis @ _as_matrix(update) @ right_basis.T).view_as(param)
        if step % precondition_frequency == 0:
            # One step of the power method, and the axes made orthogonal again.
            left_basis, right_basis = torch.linalg.qr(left @ left_basis).Q, torch.linalg.qr(right @ right_basis).Q
    return param - lr * update, exp_avg, exp_avg_sq, left, right, left_basis, right_basis


def _eigenbasis(matrix: Tensor) -> Tensor:
    """The eigenvectors of a symmetric matrix, that of the greatest eigenvalue first."""
    vectors: Tensor = torch.linalg.eigh(matrix).eigenvectors
    return vectors.flip(-1)


class SOAP(Optimizer, rule=soap):
    """Adam in the slowly turning eigenbasis of Shampoo's preconditioner.

    L ← βL + (1 − β)GGᵀ, R ← βR + (1 − β)GᵀG; every f updates, Q_L and Q_R follow their eigenvectors by one step of the
    power method and a QR decomposition; in between, Adam runs on Q_LᵀGQ_R and its update is turned back.

    Vectors are updated by Adam. What follows a parameter's first dimension counts as one.

    Kept for each parameter of m rows and n columns: exp_avg, exp_avg_sq, and 2(m² + n²) numbers of the preconditioner.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: γ.
        betas: β₁ and β₂ of Adam.
        eps: ε of Adam.
        weight_decay: λ; γλθ is taken off θ itself.
        shampoo_beta: β of the preconditioner.
        precondition_frequency: f.
        maximize: whether to climb instead.

    Source: Vyas et al. 2024, Algorithms 3 and 4, with Adam's bias corrections.

    >>> param = torch.nn.Parameter(torch.eye(2))
    >>> param.grad = torch.tensor([[3.0, 0.0], [0.0, -2.0]])
    >>> SOAP([param], lr=0.1, weight_decay=0.0).step()
    >>> [[round(x, 4) for x in row] for row in param.tolist()]
    [[0.9, 0.0], [0.0, 1.1]]
    """

    _takes_sparse = False
