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
from gradus.rules.fields import (
    Betas,
    Decay,
    Flag,
    NonNegative,
    NonPositive,
    Whole,
    at_least,
    one_of,
    optional_decay,
    several,
)
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
    d: Annotated[float, at_least(1.0)] = 1.0,
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
        d: the greatest root mean square of an update, at least 1, as torch wants it.
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


def _as_matrices(tensor: Tensor, batched: bool) -> Tensor:
    """A tensor as one matrix, what comes after the first dimension in one; or as a batch of those in its last dimensions."""
    if tensor.dim() == 2:
        return tensor
    return tensor.flatten(0, -3) if batched else tensor.flatten(1)


def _orthogonal(matrix: Tensor, coefficients: tuple[float, ...], steps: int, eps: float) -> Tensor:
    """UVᵀ of a matrix UΣVᵀ, or of each of a batch, nearly, by Newton and Schulz's iteration of degree five."""
    a, b, c = coefficients
    flat = matrix.size(-2) > matrix.size(-1)
    added = torch.addmm if matrix.dim() == 2 else torch.baddbmm
    x = matrix.bfloat16()
    x = x.mT if flat else x
    x = x / torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = added(x, added(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if flat else x


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
    batched: Flag = False,
) -> tuple[Tensor, Tensor]:
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

    Parameters of two or more dimensions are matrices (what follows the first dimension counts as one, unless `batched`),
    others AdamW's.
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
        batched: whether a parameter of three dimensions or more is a batch of matrices in its last two, such as the experts
            of a layer: each is made orthogonal by itself, and its own rows and columns count. A group may say so; for three
            dimensions, which may be either, its group must.
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

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; see `Optimizer.add_param_group`.

        Raises:
            InvalidInput: a parameter has three dimensions, and nobody has said whether it is one matrix or several.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if "batched" in param_group or group["batched"]:
            return
        for param in group["params"]:
            if param.dim() == 3 and param.numel() and _is_muons(param, group):
                self.param_groups.pop()
                raise InvalidInput(
                    f"Muon can't tell whether a parameter of shape {tuple(param.shape)} is a batch of matrices or one; give "
                    f"its group batched=True (experts), batched=False (a convolution's kernel), or muon=False for AdamW"
                )


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

    def fold(self, tensor: Tensor) -> Tensor:
        return (tensor.permute(_CHANNELS_FIRST) if self._permuted else tensor).reshape(self._folded)

    def unfold(self, tensor: Tensor) -> Tensor:
        if not self._permuted:
            return tensor.reshape(self._shape)
        return tensor.reshape([self._shape[axis] for axis in _CHANNELS_FIRST]).permute(_CHANNELS_LAST)

    def matrices(self, together: Tensor | None) -> list[Tensor | None]:
        """The square matrices that lie in a vector, None for a dimension without one."""
        found: list[Tensor | None] = []
        begin = 0
        for size in self.sides:
            if size is None or together is None:
                found.append(None)
            else:
                found.append(together[begin : begin + size * size].reshape(size, size))
                begin += size * size
        return found

    def turned(self, tensor: Tensor, bases: list[Tensor | None], *, back: bool = False) -> Tensor:
        """A tensor in the bases, or out of them."""
        folded = self.fold(tensor)
        for basis in bases:  # each turns the first dimension, and moves it to the end
            folded = folded.movedim(0, -1) if basis is None else torch.tensordot(folded, basis, dims=([0], [int(back)]))
        return self.unfold(folded)

    def grams(self, tensor: Tensor) -> Tensor:
        """The Gram matrix over each preconditioned dimension, all of them in one vector."""
        folded, found = self.fold(tensor), []
        for axis, size in enumerate(self.sides):
            if size is not None:
                rows = folded.movedim(axis, 0).reshape(size, -1)
                found.append((rows @ rows.T).reshape(-1))
        return torch.cat(found)

    def followed(self, sides: list[Tensor | None], bases: list[Tensor | None], squares: Tensor) -> tuple[Tensor, Tensor]:
        """The bases after one step of the power method, and the second moment, both in the order of the eigenvalues."""
        folded, new = self.fold(squares), []
        for axis, (side, basis) in enumerate(zip(sides, bases, strict=True)):
            if side is None or basis is None:
                continue
            ahead = side @ basis
            order = torch.argsort((basis * ahead).sum(0), descending=True)
            folded = folded.index_select(axis, order)
            new.append(torch.linalg.qr(ahead.index_select(1, order)).Q.reshape(-1))
        return torch.cat(new), self.unfold(folded)


def _eigenbasis(matrix: Tensor) -> Tensor:
    """The eigenvectors of a symmetric matrix, that of the greatest eigenvalue first."""
    finite = torch.where(matrix.isfinite(), matrix, 0.0)  # else it raises, when other parameters have been updated
    vectors: Tensor = torch.linalg.eigh(finite).eigenvectors
    return vectors.flip(-1)


@tensor_rule(preconditioner=_squares, basis=_squares)
def soap(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    preconditioner: Any,
    basis: Any,
    *,
    step: int,
    lr: NonNegative = 3e-3,
    betas: Betas = (0.95, 0.95),
    shampoo_beta: Annotated[float | None, optional_decay] = None,
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
            basis = torch.cat([_eigenbasis(side).reshape(-1) for side in sides if side is not None])
        elif (step - 1) % precondition_frequency == 0:
            basis, exp_avg_sq = folding.followed(sides, bases, exp_avg_sq)
    return param, exp_avg, exp_avg_sq, preconditioner, basis


class SOAP(Optimizer, rule=soap):
    """Adam in the slowly turning eigenbasis of Shampoo's preconditioner.

    L ← βL + (1 − β)GGᵀ, R ← βR + (1 − β)GᵀG, and so for each further dimension; every f updates, Q_L and Q_R follow their
    eigenvectors by one step of the power method and a QR decomposition; in between, Adam runs on Q_LᵀGQ_R and its update is
    turned back: θ ← (1 − γλ)(θ − γ√(1 − β₂ᵗ)/(1 − β₁ᵗ)·m/(√v + ε)).

    The first gradient finds the axes and updates nothing: along axes of its own, all of it but one diagonal is round-off,
    which Adam would blow up to full size. This, the places of ε and λ, and each dimension's own preconditioner are the
    authors' code's (nikhilvyas/SOAP); Algorithm 3 has matrices only.

    Kept for each parameter: exp_avg, exp_avg_sq, and 2Σn² numbers in preconditioner and basis, over the dimensions n that
    are preconditioned. **The default is dear for embeddings**: one of 2,000 × 16 has a state of 252 times its own size. Give
    them `max_precond_dim=1000`, in a group of their own or for all; it is twice their size then, as Adam's.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: γ.
        betas: β₁ and β₂ of Adam.
        shampoo_beta: β of the preconditioner; None for β₂.
        eps: ε of Adam.
        weight_decay: λ; γλθ is taken off θ itself.
        precondition_frequency: f.
        max_precond_dim: the largest dimension that is preconditioned; along others the axes stay as they are.
        merge_dims: whether dimensions that follow each other count as one, as long as their product isn't above
            `max_precond_dim`: a matrix of 64 × 64 then has one preconditioner of 4,096 × 4,096.
        precondition_1d: whether vectors are preconditioned; else Adam updates them.
        normalize_grads: whether each tensor's update is divided by its root mean square.
        data_format: "channels_last" where the kernels of convolutions have their channels last; for `merge_dims`.
        correct_bias: whether Adam's averages are corrected for their start at 0.
        maximize: whether to climb instead.

    Source: Vyas et al. 2024, Algorithms 3 and 4, as their authors run them.

    >>> param = torch.nn.Parameter(torch.eye(2))
    >>> optimizer = SOAP([param], lr=0.1, weight_decay=0.0)
    >>> param.grad = torch.tensor([[3.0, 0.0], [0.0, -2.0]])
    >>> optimizer.step()
    >>> param.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    >>> optimizer.step()
    >>> [[round(x, 4) for x in row] for row in param.tolist()]
    [[0.9, 0.0], [0.0, 1.1]]
    """

    _takes_sparse = False
