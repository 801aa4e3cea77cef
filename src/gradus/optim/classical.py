"""The classical optimizers: torch's names, signatures and defaults, each a rule and no more.

θ is a parameter, g its gradient, t the number of the update from 1. Each also takes the arguments of
`Optimizer`. Sparse gradients update the rows that they touch.
"""

from typing import Any

import torch

from gradus.errors import InvalidInput
from gradus.optim.optimizer import Optimizer
from gradus.rules import classical

__all__ = [
    "ASGD",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SparseAdam",
]


class SGD(Optimizer, rule=classical.sgd):
    """Stochastic gradient descent, with momentum and Nesterov's look ahead.

    b ← μb + (1 − τ)g, at first b = g; θ ← θ − γb, or with Nesterov θ ← θ − γ(g + μb).

    Kept for each parameter: momentum_buffer, where momentum isn't 0.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: the learning rate γ.
        momentum: μ.
        dampening: τ.
        weight_decay: λ: λθ is added to the gradient.
        nesterov: whether to look ahead by one momentum.
        maximize: whether to climb instead.

    Raises:
        InvalidInput: a group begins with Nesterov's look ahead and no momentum, or with dampening, under which it isn't one.

    Source: Polyak 1964; Sutskever et al. 2013, eqs. 1 to 4, in the form where the rate isn't in the buffer.

    >>> import torch
    >>> param = torch.nn.Parameter(torch.ones(1))
    >>> param.grad = torch.full((1,), 2.0)
    >>> SGD([param], lr=0.1, momentum=0.9).step()
    >>> round(param.item(), 4)
    0.8
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; see `Optimizer.add_param_group`."""
        options = {**self.defaults, **param_group} if isinstance(param_group, dict) else self.defaults
        if options["nesterov"] and not (options["momentum"] > 0 and options["dampening"] == 0):
            raise InvalidInput(
                f"Nesterov momentum requires a momentum and zero dampening; got momentum={options['momentum']}, "
                f"dampening={options['dampening']}"
            )
        super().add_param_group(param_group)


class Adagrad(Optimizer, rule=classical.adagrad):
    """Rates that shrink with the gradients seen so far.

    s ← s + g²; θ ← θ − γ/(1 + (t − 1)η) · g/(√s + ε).

    Kept for each parameter: sum.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: the learning rate γ.
        lr_decay: η.
        weight_decay: λ: λθ is added to the gradient.
        initial_accumulator_value: what s starts from; groups may differ.
        eps: ε, added to the denominator.
        maximize: whether to climb instead.

    Source: Duchi, Hazan and Singer 2011, with the diagonal of the matrix.

    >>> import torch
    >>> param = torch.nn.Parameter(torch.ones(1))
    >>> param.grad = torch.full((1,), 2.0)
    >>> Adagrad([param], lr=0.1).step()
    >>> round(param.item(), 4)
    0.9
    """


class RMSprop(Optimizer, rule=classical.rmsprop):
    """Gradients divided by their running root mean square.

    v ← αv + (1 − α)g²; a ← αa + (1 − α)g and v − a² for v if centered; u = g/(√v + ε); θ ← θ − γu, or with momentum
    b ← μb + u; θ ← θ − γb.

    Kept for each parameter: square_avg; momentum_buffer with momentum; grad_avg if centered.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: the learning rate γ.
        alpha: α, the decay of the averages.
        eps: ε, added to the denominator.
        weight_decay: λ: λθ is added to the gradient.
        momentum: μ.
        centered: whether to divide by the standard deviation.
        maximize: whether to climb instead.

    Source: Tieleman and Hinton 2012, lecture 6e; centered: Graves 2013, eqs. 38 to 45.

    >>> import torch
    >>> param = torch.nn.Parameter(torch.ones(1))
    >>> param.grad = torch.full((1,), 2.0)
    >>> RMSprop([param], lr=0.01).step()
    >>> round(param.item(), 4)
    0.9
    """


class Adadelta(Optimizer, rule=classical.adadelta):
    """Updates in units of earlier updates, so that no rate is needed.

    v ← ρv + (1 − ρ)g²; Δ = √(u + ε)/√(v + ε) · g; u ← ρu + (1 − ρ)Δ²; θ ← θ − γΔ.

    Kept for each parameter: square_avg, acc_delta.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: γ; 1 is the paper's.
        rho: ρ, the decay of the averages.
        eps: ε, added to the denominator.
        weight_decay: λ: λθ is added to the gradient.
        maximize: whether to climb instead.

    Source: Zeiler 2012, Algorithm 1.

    >>> import torch
    >>> param = torch.nn.Parameter(torch.ones(1))
    >>> param.grad = torch.full((1,), 2.0)
    >>> Adadelta([param]).step()
    >>> round(param.item(), 4)
    0.9968
    """


class Adam(Optimizer, rule=classical.adam):
    """Gradients' running mean, divided by their running root mean square.

    m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; θ ← θ − γ m̂/(√v̂ + ε) with m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ).

    Kept for each parameter: exp_avg, exp_avg_sq; max_exp_avg_sq with amsgrad.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: the learning rate γ.
        betas: β₁ and β₂, the decays of the two averages.
        eps: ε, added to the denominator.
        weight_decay: λ: λθ is added to the gradient.
        amsgrad: whether v̂ is the greatest so far (Reddi et al. 2018, Algorithm 2).
        maximize: whether to climb instead.
        decoupled_weight_decay: whether λγθ is taken off θ itself, as in AdamW.

    Source: Kingma and Ba 2015, Algorithm 1.

    >>> import torch
    >>> param = torch.nn.Parameter(torch.ones(1))
    >>> param.grad = torch.full((1,), 2.0)
    >>> Adam([param], lr=0.1).step()
    >>> round(param.item(), 4)
    0.9
    """


class AdamW(Adam, rule=classical.adamw):
    """Adam with decoupled weight decay.

    θ ← (1 − γλ)θ, then Adam's update.

    Kept for each parameter: as Adam.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: the learning rate γ.
        betas: β₁ and β₂, the decays of the two averages.
        eps: ε, added to the denominator.
        weight_decay: λ.
        amsgrad: whether v̂ is the greatest so far.
        maximize: whether to climb instead.
        decoupled_weight_decay: True; Adam is the other.

    Source: Loshchilov and Hutter 2019, Algorithm 2, with the rate for their schedule multiplier.

    >>> import torch
    >>> param = torch.nn.Parameter(torch.ones(1))
    >>> param.grad = torch.full((1,), 2.0)
    >>> AdamW([param], lr=0.1).step()
    >>> round(param.item(), 4)
    0.899
    """


class Adamax(Optimizer, rule=classical.adamax):
    """Adam with the greatest recent gradient for the root mean square.

    m ← β₁m + (1 − β₁)g; u ← max(β₂u, |g| + ε); θ ← θ − γ/(1 − β₁ᵗ) · m/u.

    Kept for each parameter: exp_avg, exp_inf.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: the learning rate γ.
        betas: β₁ and β₂, the decays of the two averages.
        eps: ε, added to the denominator.
        weight_decay: λ: λθ is added to the gradient.
        maximize: whether to climb instead.

    Source: Kingma and Ba 2015, Algorithm 2; ε is torch's.

    >>> import torch
    >>> param = torch.nn.Parameter(torch.ones(1))
    >>> param.grad = torch.full((1,), 2.0)
    >>> Adamax([param], lr=0.1).step()
    >>> round(param.item(), 4)
    0.9
    """


class NAdam(Optimizer, rule=classical.nadam):
    """Adam with Nesterov's look ahead.

    θ ← θ − γ((1 − μₜ)g/(1 − Πμ) + μₜ₊₁m/(1 − Πμ·μₜ₊₁))/(√v̂ + ε), with μₜ = β₁(1 − ½·0.96^(tψ)).

    Kept for each parameter: exp_avg, exp_avg_sq; mu_product, one number.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: the learning rate γ.
        betas: β₁ and β₂, the decays of the two averages.
        eps: ε, added to the denominator.
        weight_decay: λ: λθ is added to the gradient.
        momentum_decay: ψ.
        decoupled_weight_decay: whether λγθ is taken off θ itself.
        maximize: whether to climb instead.

    Source: Dozat 2016.

    >>> import torch
    >>> param = torch.nn.Parameter(torch.ones(1))
    >>> param.grad = torch.full((1,), 2.0)
    >>> NAdam([param], lr=0.1).step()
    >>> round(param.item(), 4)
    0.8944
    """


class RAdam(Optimizer, rule=classical.radam):
    """Adam that waits until its second moment can be trusted.

    θ ← θ − γ m̂ r/(√v̂ + ε) where ρₜ > 5, else θ ← θ − γ m̂; r, the rectification of the variance.

    Kept for each parameter: exp_avg, exp_avg_sq.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: the learning rate γ.
        betas: β₁ and β₂, the decays of the two averages.
        eps: ε, added to the denominator.
        weight_decay: λ: λθ is added to the gradient.
        decoupled_weight_decay: whether λγθ is taken off θ itself.
        maximize: whether to climb instead.

    Source: Liu et al. 2020, Algorithm 2.

    >>> import torch
    >>> param = torch.nn.Parameter(torch.ones(1))
    >>> param.grad = torch.full((1,), 2.0)
    >>> RAdam([param], lr=0.1).step()
    >>> round(param.item(), 4)
    0.8
    """


class ASGD(Optimizer, rule=classical.asgd):
    """Stochastic gradient descent that averages its iterates.

    θ ← (1 − λη)θ − ηg; η = γ/(1 + λγt)^α; ax, the average of θ from t₀ on.

    Kept for each parameter: ax; eta and mu, one number each.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: the learning rate γ.
        lambd: λ, of the decay.
        alpha: α, how fast the rate falls.
        t0: t₀, the update from which on averages are taken.
        weight_decay: λ: λθ is added to the gradient.
        maximize: whether to climb instead.

    Source: Polyak and Juditsky 1992; Bottou 2012, section 5.2.

    >>> import torch
    >>> param = torch.nn.Parameter(torch.ones(1))
    >>> param.grad = torch.full((1,), 2.0)
    >>> ASGD([param], lr=0.1).step()
    >>> round(param.item(), 4)
    0.8
    """


class Rprop(Optimizer, rule=classical.rprop):
    """Each element's own step, by the gradient's sign alone.

    step ← step·η⁺ where g keeps its sign, step·η⁻ where it turns (and g counts as 0 once); θ ← θ − sign(g)·step.

    Kept for each parameter: prev, step_size.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: the first step.
        etas: η⁻ and η⁺.
        step_sizes: the smallest and the largest step.
        maximize: whether to climb instead.

    Source: Riedmiller and Braun 1993; the variant without backtracking, iRprop− of Igel and Hüsken 2000.

    >>> import torch
    >>> param = torch.nn.Parameter(torch.ones(1))
    >>> param.grad = torch.full((1,), 2.0)
    >>> Rprop([param], lr=0.1).step()
    >>> round(param.item(), 4)
    0.9
    """


class SparseAdam(Optimizer, rule=classical.sparse_adam):
    """Adam for gradients that touch a few rows, of which only those are updated.

    Adam's, with γ√(1 − β₂ᵗ)/(1 − β₁ᵗ) · m/(√v + ε), for the rows that have a gradient. Dense gradients are taken too.

    Kept for each parameter: exp_avg, exp_avg_sq.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: the learning rate γ.
        betas: β₁ and β₂, the decays of the two averages.
        eps: ε, added to the denominator.
        maximize: whether to climb instead.

    Raises:
        InvalidInput: a parameter is sparse or complex, or lr or eps is 0 at first, as in torch.

    Source: Kingma and Ba 2015, section 2, the efficient order of its last paragraph.

    >>> import torch
    >>> param = torch.nn.Parameter(torch.ones(1))
    >>> param.grad = torch.full((1,), 2.0)
    >>> SparseAdam([param], lr=0.1).step()
    >>> round(param.item(), 4)
    0.9
    """

    def __init__(self, params: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(params, *args, **kwargs)
        for name in ("lr", "eps"):
            if not self.defaults[name] > 0:
                raise InvalidInput(f"SparseAdam begins with {name} above 0; got {self.defaults[name]!r}")

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; see `Optimizer.add_param_group`."""
        super().add_param_group(param_group)
        for param in self.param_groups[-1]["params"]:
            if param.layout is not torch.strided or param.is_complex():
                self.param_groups.pop()
                raise InvalidInput(
                    f"SparseAdam takes dense parameters of real numbers, whose gradients may be sparse; got one of "
                    f"{param.layout} and {param.dtype} of shape {tuple(param.shape)}"
                )

    def state_dict(self) -> dict[str, Any]:
        """The whole state, in torch's form, whose SparseAdam counts steps in whole numbers."""
        packed = super().state_dict()
        for kept in packed["state"].values():
            if "step" in kept:
                kept["step"] = int(kept["step"])
        return packed
