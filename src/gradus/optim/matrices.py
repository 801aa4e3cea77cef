"""Optimizers that treat a parameter as a matrix: Adafactor, Muon and SOAP."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gradus.errors import InvalidInput
from gradus.optim.optimizer import Optimizer
from gradus.rules import matrix

__all__ = ["SOAP", "Adafactor", "Muon"]


class Adafactor(Optimizer, rule=matrix.adafactor):
    """Adam's second moment kept as one row and one column of a matrix, and no first moment unless asked.

    R ← R + (mean over columns of g² − R)·t^c, C the same over rows; V̂ = RC/mean(R); u = g/√V̂;
    θ ← θ − max(ε₂, RMS(θ))·min(γ, 1/√t) · u/max(1, RMS(u)/d).

    Kept for each parameter: row_var and col_var, one number for each row and each column; variance for a vector;
    exp_avg with beta1.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: γ, the largest relative rate.
        beta2_decay: c, how fast the averages slow down.
        eps: ε₁, below which averages aren't divided by (None: the dtype's own), and ε₂, the least size of a parameter.
        d: the largest root mean square of an update, at least 1, as in torch.
        weight_decay: λ; γλθ is taken off θ itself.
        maximize: whether to climb instead.
        scale_parameter: whether the rate is relative to a parameter's size: else the factor max(ε₂, RMS(θ)) is left out.
        relative_step: whether the rate is at most 1/√t; else it is γ.
        warmup_init: whether the rate is at most 10⁻⁶t too, a warmup of 10,000 updates with the default γ.
        beta1: β₁ of an average of the updates, which then takes the update's place; None for none.

    Source: Shazeer and Stern 2018, Algorithms 4 and 5; torch's variant, with the last four options of Transformers'.

    >>> param = torch.nn.Parameter(torch.ones(2, 3))
    >>> param.grad = torch.full((2, 3), 0.5)
    >>> optimizer = Adafactor([param], lr=0.1)
    >>> optimizer.step()
    >>> param[0].tolist(), tuple(optimizer.state[param]["row_var"].shape)
    ([0.8999999761581421, 0.8999999761581421, 0.8999999761581421], (2, 1))
    """

    _takes_sparse = False


def _is_muons(param: Tensor, group: Mapping[str, Any]) -> bool:
    chosen = group.get("muon")
    return param.dim() >= 2 if chosen is None else bool(chosen)


class Muon(Optimizer, rule=matrix.muon, fallback=matrix.muon_adamw, uses_rule=_is_muons, group_keys=("muon",)):
    """Orthogonalized momentum for matrices, and AdamW for everything else, in one optimizer.

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


class SOAP(Optimizer, rule=matrix.soap):
    """Adam in the slowly turning eigenbasis of Shampoo's preconditioner.

    L ← βL + (1 − β)GGᵀ, R ← βR + (1 − β)GᵀG, and so for each further dimension; every f updates, Q_L and Q_R follow their
    eigenvectors by one step of the power method and a QR decomposition; in between, Adam runs on Q_LᵀGQ_R and its update is
    turned back: θ ← (1 − γλ)(θ − γ√(1 − β₂ᵗ)/(1 − β₁ᵗ)·m/(√v + ε)).

    The first gradient finds the axes and updates nothing: along axes of its own, all of it but one diagonal is round-off,
    which Adam would blow up to full size. This, the places of ε and λ, and each dimension's own preconditioner are the
    authors' code's (nikhilvyas/SOAP); Algorithm 3 has matrices only.

    Kept for each parameter: exp_avg, exp_avg_sq, and 2Σn² numbers in preconditioner and basis, over the dimensions n that
    are preconditioned. **The default is expensive for embeddings**: one of 2,000 × 16 has a state of 252 times its
    own size. Give them `max_precond_dim=1000`, in a group of their own or for all; it is twice their size then, as Adam's.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: γ.
        betas: β₁ and β₂ of Adam.
        shampoo_beta: β of the preconditioner; None for β₂.
        eps: ε of Adam.
        weight_decay: λ; γλθ is taken off θ itself.
        precondition_frequency: f.
        max_precond_dim: the largest dimension that is preconditioned; other dimensions keep their axes.
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
