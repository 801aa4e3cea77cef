"""Update rules that see a parameter as a whole: a matrix, or a part of one vector of all parameters.

They are written in torch's operations, which they take from the tensors that they are given, so this room doesn't import
torch. θ is a parameter, g its gradient, t the number of the update from 1.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any

from array_api_compat import array_namespace

from gradus.checks import (
    Betas,
    Decay,
    Flag,
    NonNegative,
    NonPositive,
    Positive,
    Whole,
    as_float,
    at_least,
    each_by,
    nonnegative,
    one_of,
    optional,
    several,
    unit_below_one,
)
from gradus.errors import InvalidInput
from gradus.rules import ops
from gradus.rules.classical import adamw
from gradus.rules.rule import Shape, matrix_rule, rule

__all__ = ["adafactor", "correction", "estimated", "muon", "muon_adamw", "prodigy", "soap"]


def _rows(shape: Shape, _: Mapping[str, Any]) -> Shape | None:
    return (*shape[:-1], 1) if len(shape) > 1 else None


def _columns(shape: Shape, _: Mapping[str, Any]) -> Shape | None:
    return (*shape[:-2], 1, shape[-1]) if len(shape) > 1 else None


_EPSILONS = each_by("two numbers that aren't negative, the first or None", optional(nonnegative), nonnegative)


def _if_first_moment(shape: Shape, hypers: Mapping[str, Any]) -> Shape | None:
    return None if hypers["beta1"] is None else shape


@matrix_rule(
    row_var=_rows,
    col_var=_columns,
    variance=lambda shape, _: None if len(shape) > 1 else shape,
    exp_avg=_if_first_moment,
)
def adafactor(
    param: Any,
    grad: Any,
    row_var: Any,
    col_var: Any,
    variance: Any,
    exp_avg: Any,
    *,
    step: int,
    lr: NonNegative = 1e-2,
    beta2_decay: NonPositive = -0.8,
    eps: Annotated[tuple[float | None, float], _EPSILONS] = (None, 1e-3),
    d: Annotated[float, at_least(1.0)] = 1.0,
    weight_decay: NonNegative = 0.0,
    maximize: Flag = False,
    scale_parameter: Flag = True,
    relative_step: Flag = True,
    warmup_init: Flag = False,
    beta1: Annotated[float | None, optional(unit_below_one)] = None,
) -> tuple[Any, ...]:
    """θ ← θ − α g/√V̂, V̂ of rank one, clipped to a root mean square of d, α relative to θ's own."""
    eps1, eps2 = array_namespace(param).finfo(param.dtype).eps if eps[0] is None else eps[0], eps[1]
    grad = -grad if maximize else grad
    share = float(step) ** beta2_decay
    rate = ops.minimum(lr, 1e-6 * step) if warmup_init else lr
    if relative_step:
        rate = ops.minimum(rate, step**-0.5)
    if scale_parameter:
        rate = rate * (ops.norm(param) / max(1, param.numel()) ** 0.5).clamp(min=eps2)
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
    spread = ops.norm(update) / (max(1, update.numel()) ** 0.5 * d)
    update = rate / spread.clamp(min=1.0) * update
    if beta1 is not None:
        update = exp_avg = exp_avg + (1 - beta1) * (update - exp_avg)
    return param - update, row_var, col_var, variance, exp_avg


def _as_matrices(tensor: Any, batched: bool) -> Any:
    """A tensor as one matrix, what comes after the first dimension in one; or as a batch of those in its last dimensions."""
    if tensor.dim() == 2:
        return tensor
    return tensor.flatten(0, -3) if batched else tensor.flatten(1)


def _orthogonal(matrix: Any, coefficients: tuple[float, ...], steps: int, eps: float) -> Any:
    """UVᵀ of a matrix UΣVᵀ, or of each of a batch, nearly, by Newton and Schulz's iteration of degree five."""
    a, b, c = coefficients
    xp = array_namespace(matrix)
    flat = matrix.size(-2) > matrix.size(-1)
    added = xp.addmm if matrix.dim() == 2 else xp.baddbmm
    x = matrix.bfloat16()
    x = x.mT if flat else x
    x = x / xp.linalg.vector_norm(x, axis=(-2, -1), keepdims=True).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = added(x, added(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if flat else x


@matrix_rule()
def muon(
    param: Any,
    grad: Any,
    momentum_buffer: Any,
    *,
    lr: NonNegative = 1e-3,
    weight_decay: NonNegative = 0.1,
    momentum: Decay = 0.95,
    nesterov: Flag = True,
    ns_coefficients: Annotated[tuple[float, float, float], several(3)] = (3.4445, -4.775, 2.0315),
    eps: NonNegative = 1e-7,
    ns_steps: Whole = 5,
    adjust_lr_fn: Annotated[str | None, one_of(None, "original", "match_rms_adamw")] = None,
    batched: Flag = False,
) -> tuple[Any, Any]:
    """θ ← (1 − γλ)θ − γ′·orthogonal(momentum), whose singular values are all about 1."""
    if param.numel() == 0:
        return param, momentum_buffer
    momentum_buffer = momentum_buffer + (1 - momentum) * (grad - momentum_buffer)
    update = _as_matrices(grad + momentum * (momentum_buffer - grad) if nesterov else momentum_buffer, batched)
    rows, columns = update.shape[-2:]
    ratio = 0.2 * math.sqrt(max(rows, columns)) if adjust_lr_fn == "match_rms_adamw" else math.sqrt(max(1.0, rows / columns))
    update = _orthogonal(update, ns_coefficients, ns_steps, eps).to(param.dtype).view_as(param)
    return param * (1 - lr * weight_decay) - lr * ratio * update, momentum_buffer


@rule
def muon_adamw(
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


def _merged(shape: Shape, most: int, data_format: str) -> Shape:
    """A shape with dimensions that follow each other taken together, as long as their product isn't above a bound."""
    if data_format == "channels_last" and len(shape) == 4:
        shape = tuple(shape[axis] for axis in _CHANNELS_FIRST)
    merged: list[int] = []
    current = 1
    for size in shape:
        if current * size <= most:
            current *= size
        elif current > 1:
            merged, current = [*merged, current], size
        else:
            merged, current = [*merged, size], 1
    return (*merged, current) if current > 1 or not merged else tuple(merged)


_CHANNELS_FIRST, _CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)


def _folded_shape(shape: Shape, hypers: Mapping[str, Any]) -> Shape:
    return _merged(shape, hypers["max_precond_dim"], hypers["data_format"]) if hypers["merge_dims"] and shape else shape


def _sides(shape: Shape, hypers: Mapping[str, Any]) -> list[int | None]:
    """The size of each dimension, or None where it has no preconditioner."""
    most = hypers["max_precond_dim"]
    if len(shape) == 1 and not (hypers["precondition_1d"] and shape[0] <= most):
        return [None]
    return [size if size <= most else None for size in _folded_shape(shape, hypers)]


def _squares(shape: Shape, hypers: Mapping[str, Any]) -> Shape | None:
    """A square matrix for each preconditioned dimension, all of them in one vector."""
    total = sum(size * size for size in _sides(shape, hypers) if size is not None)
    return (total,) if total else None


class _Folding:
    """A tensor's preconditioned dimensions: how it is folded, turned into their bases and back.

    Args:
        shape: the parameter's.
        hypers: SOAP's that decide on it.
    """

    def __init__(self, shape: Shape, **hypers: Any) -> None:
        self._shape, self._folded = shape, _folded_shape(shape, hypers)
        self._permuted = bool(hypers["merge_dims"]) and hypers["data_format"] == "channels_last" and len(shape) == 4
        self.sides = _sides(shape, hypers)

    def fold(self, tensor: Any) -> Any:
        return (tensor.permute(_CHANNELS_FIRST) if self._permuted else tensor).reshape(self._folded)

    def unfold(self, tensor: Any) -> Any:
        if not self._permuted:
            return tensor.reshape(self._shape)
        return tensor.reshape([self._shape[axis] for axis in _CHANNELS_FIRST]).permute(_CHANNELS_LAST)

    def matrices(self, together: Any) -> list[Any]:
        """The square matrices in a vector, None for a dimension without one."""
        found: list[Any] = []
        begin = 0
        for size in self.sides:
            if size is None or together is None:
                found.append(None)
            else:
                found.append(together[begin : begin + size * size].reshape(size, size))
                begin += size * size
        return found

    def turned(self, tensor: Any, bases: list[Any], *, back: bool = False) -> Any:
        """A tensor in the bases, or out of them."""
        xp, folded = array_namespace(tensor), self.fold(tensor)
        for basis in bases:  # each turns the first dimension, and moves it to the end
            folded = folded.movedim(0, -1) if basis is None else xp.tensordot(folded, basis, axes=([0], [int(back)]))
        return self.unfold(folded)

    def grams(self, tensor: Any) -> Any:
        """The Gram matrix over each preconditioned dimension, all of them in one vector."""
        xp, folded, found = array_namespace(tensor), self.fold(tensor), []
        for axis, size in enumerate(self.sides):
            if size is not None:
                rows = folded.movedim(axis, 0).reshape(size, -1)
                found.append((rows @ rows.T).reshape(-1))
        return xp.concat(found)

    def followed(self, sides: list[Any], bases: list[Any], squares: Any) -> tuple[Any, Any]:
        """The bases after one step of the power method, and the second moment, both in the order of the eigenvalues."""
        xp, folded, new = array_namespace(squares), self.fold(squares), []
        for axis, (side, basis) in enumerate(zip(sides, bases, strict=True)):
            if side is None or basis is None:
                continue
            ahead = side @ basis
            order = (basis * ahead).sum(0).argsort(descending=True)
            folded = folded.index_select(axis, order)
            new.append(xp.linalg.qr(ahead.index_select(1, order)).Q.reshape(-1))
        return xp.concat(new), self.unfold(folded)


def _eigenbasis(matrix: Any) -> Any:
    """The eigenvectors of a symmetric matrix, largest eigenvalue first."""
    finite = ops.where(matrix.isfinite(), matrix, 0.0)  # or it would raise after other parameters were updated
    return array_namespace(matrix).linalg.eigh(finite).eigenvectors.flip(-1)


@matrix_rule(preconditioner=_squares, basis=_squares)
def soap(
    param: Any,
    grad: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    preconditioner: Any,
    basis: Any,
    *,
    step: int,
    lr: NonNegative = 3e-3,
    betas: Betas = (0.95, 0.95),
    shampoo_beta: Annotated[float | None, optional(unit_below_one)] = None,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 1e-2,
    precondition_frequency: Whole = 10,
    max_precond_dim: Whole = 10_000,
    merge_dims: Flag = False,
    precondition_1d: Flag = False,
    normalize_grads: Flag = False,
    data_format: Annotated[str, one_of("channels_first", "channels_last")] = "channels_first",
    correct_bias: Flag = True,
    maximize: Flag = False,
) -> tuple[Any, ...]:
    """Adam's update in the eigenbasis of Shampoo's preconditioner, from the second gradient on."""
    if param.numel() == 0:
        return param, exp_avg, exp_avg_sq, preconditioner, basis
    grad = -grad if maximize else grad
    folding = _Folding(
        tuple(param.shape),
        max_precond_dim=max_precond_dim,
        merge_dims=merge_dims,
        precondition_1d=precondition_1d,
        data_format=data_format,
    )
    share = 1 - (betas[1] if shampoo_beta is None else shampoo_beta)
    bases = folding.matrices(basis)
    if step > 1:
        beta1, beta2 = betas
        exp_avg = exp_avg + (1 - beta1) * (grad - exp_avg)
        turned = folding.turned(grad, bases)
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * turned * turned
        update = folding.turned(folding.turned(exp_avg, bases) / (exp_avg_sq.sqrt() + eps), bases, back=True)
        if normalize_grads:
            update = update / (1e-30 + (update * update).mean().sqrt())
        size = lr * (math.sqrt(1 - beta2 ** (step - 1)) / (1 - beta1 ** (step - 1)) if correct_bias else 1.0)
        param = (param - size * update) * (1 - lr * weight_decay)
    if preconditioner is not None:
        preconditioner = preconditioner + share * (folding.grams(grad) - preconditioner)
        sides = folding.matrices(preconditioner)
        if step == 1:  # the axes are found, and nothing is done: in those of its own, a gradient is its round-off
            basis = array_namespace(param).concat([_eigenbasis(side).reshape(-1) for side in sides if side is not None])
        elif (step - 1) % precondition_frequency == 0:
            basis, exp_avg_sq = folding.followed(sides, bases, exp_avg_sq)
    return param, exp_avg, exp_avg_sq, preconditioner, basis


def _growth(name: str, value: Any) -> None:
    if isinstance(value, (bool, str)) or not hasattr(value, "__float__") or not as_float(value) >= 1:
        raise InvalidInput(f"{name} must be a number of at least 1, or infinity for no bound; got {value!r}")


def _every_pth(shape: Shape, hypers: Mapping[str, Any]) -> Shape:
    every = hypers["slice_p"]
    return shape if every == 1 else (-(-math.prod(shape) // every),)


@matrix_rule(s=_every_pth, p0=_every_pth)
def prodigy(
    param: Any,
    grad: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    s: Any,
    p0: Any,
    *,  # the unused ones are read where the estimate is made
    lr: NonNegative = 1.0,
    betas: Betas = (0.9, 0.999),
    beta3: Annotated[float | None, optional(unit_below_one)] = None,  # noqa: ARG001
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    bias_correction: Flag = False,
    decouple: Flag = True,
    safeguard_warmup: Flag = False,  # noqa: ARG001
    d0: Positive = 1e-6,  # noqa: ARG001
    d_coef: Positive = 1.0,  # noqa: ARG001
    growth_rate: Annotated[float, _growth] = math.inf,  # noqa: ARG001
    slice_p: Whole = 1,  # noqa: ARG001
    d: Positive = 1e-6,
    d_next: Positive = 1e-6,
    k: NonNegative = 0,
) -> tuple[Any, ...]:
    """Adam's update with gradients d times as large, at the rate d·γ; s and p0 are refreshed from outside."""
    beta1, beta2 = betas
    rate = d * lr * correction(betas, k, bias_correction)
    if not decouple:
        grad = grad + weight_decay * param
    first = beta1 * exp_avg + (1 - beta1) * d * grad
    second = beta2 * exp_avg_sq + (1 - beta2) * d * d * grad * grad
    kept = param * (1 - weight_decay * rate) if decouple else param
    moment = first if beta1 > 0 else d_next * grad  # the authors' code has the new d here
    new = kept - rate * moment / (ops.sqrt(second) + d_next * eps)
    moves = lr > 0  # a group without a rate takes no part
    return ops.where(moves, new, param), ops.where(moves, first, exp_avg), ops.where(moves, second, exp_avg_sq), s, p0


def correction(betas: tuple[float, float], updates: float, wanted: bool) -> float:
    """Adam's factor √(1 − β₂ᵗ)/(1 − β₁ᵗ) after `updates` updates; 1 unless `wanted`."""
    return math.sqrt(1 - betas[1] ** (updates + 1)) / (1 - betas[0] ** (updates + 1)) if wanted else 1.0


def estimated(
    d: Any, d_max: Any, numerator: Any, size: Any, *, d0: float, d_coef: float = 1.0, growth_rate: float = math.inf
) -> tuple[Any, Any]:
    """The next estimate and the largest d̂ = c·r/‖s‖₁ so far; numbers, or arrays of them.

    Args:
        d: the estimate before.
        d_max: the largest d̂ before.
        numerator: r, with this update's part.
        size: ‖s‖₁ of all tensors, with this update's part.
        d0: where the estimate began.
        d_coef: c.
        growth_rate: the largest factor between estimates, once they have left d₀.
    """
    found = d_coef * numerator / ops.where(size > 0, size, math.inf)
    begun = ops.where(d == d0, ops.maximum(d, found), d)
    d_max = ops.maximum(d_max, found)
    return ops.minimum(d_max, begun * growth_rate), d_max
