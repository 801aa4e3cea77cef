"""Prodigy: Adam that finds its own rate. One number couples all tensors, so it isn't a rule of each."""

import math
from typing import Any

import torch
from torch import Tensor

from gradus.backends.local import local, summed
from gradus.errors import InvalidInput
from gradus.optim.optimizer import Optimizer
from gradus.rules import ops
from gradus.rules.fields import Betas, Flag, NonNegative, Positive, finite
from gradus.rules.rule import tensor_rule

__all__ = ["Prodigy", "estimated"]


@tensor_rule()
def prodigy(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    s: Tensor,
    p0: Tensor,
    *,
    step: int,
    d: Positive = 1e-6,
    lr: NonNegative = 1.0,
    betas: Betas = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    bias_correction: Flag = False,
) -> tuple[Tensor, ...]:
    """Adam's update with gradients d times as large, at the rate d·γ; and s, the weighted sum of gradients."""
    beta1, beta2 = betas
    rate = d * lr * (math.sqrt(1 - beta2**step) / (1 - beta1**step) if bias_correction else 1.0)
    p0 = param if step == 1 else p0
    exp_avg = beta1 * exp_avg + (1 - beta1) * d * grad
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * d * d * grad * grad
    s = math.sqrt(beta2) * s + d * rate * grad
    new = param * (1 - weight_decay * rate) - rate * exp_avg / (exp_avg_sq.sqrt() + d * eps)
    return new, exp_avg, exp_avg_sq, s, p0


def estimated(d: Any, numerator: Any, gain: Any, size: Any, beta2: float) -> tuple[Any, Any]:
    """The estimate after an update: r ← √β₂·r + d²·Σγ⟨g, θ₀ − θ⟩, d ← max(d, r/‖s‖₁); numbers, or arrays of them.

    Args:
        d: the estimate before.
        numerator: r before.
        gain: γ⟨g, θ₀ − θ⟩ of all tensors, with θ from before the update.
        size: ‖s‖₁ of all tensors, after it.
        beta2: β₂.
    """
    numerator = math.sqrt(beta2) * numerator + d * d * gain
    found = numerator / ops.where(size > 0, size, math.inf)
    return ops.where(found > d, found, d), numerator


class Prodigy(Optimizer, rule=prodigy, group_keys=("d_numerator",)):
    """Adam whose rate follows an estimate d of the distance to the solution; leave `lr` at 1 and schedule it as a factor.

    r ← √β₂·r + γd²⟨g, θ₀ − θ⟩; s ← √β₂·s + γd²g; d̂ = r/‖s‖₁; d ← max(d, d̂), over all parameters together.
    m ← β₁m + (1 − β₁)dg; v ← β₂v + (1 − β₂)d²g²; θ ← θ − γd·m/(√v + dε), with the d from before.

    Kept for each parameter: exp_avg, exp_avg_sq, s, and p0, where it began; in every group, d and r.

    Args:
        params: tensors, pairs of name and tensor, or groups of either; all share one d.
        d: where the estimate begins, below any sensible rate.
        lr: γ, a factor of the estimated rate.
        betas: β₁ and β₂.
        eps: ε.
        weight_decay: λ; γdλθ is taken off θ itself.
        bias_correction: whether γ is multiplied by √(1 − β₂ᵗ)/(1 − β₁ᵗ), as Adam's is.

    Source: Mishchenko and Defazio 2023, Algorithm 4; s and r are divided by d₀, which leaves d̂ as it is.

    >>> param = torch.nn.Parameter(torch.zeros(1))
    >>> optimizer = Prodigy([param])
    >>> for _ in range(300):
    ...     optimizer.zero_grad()
    ...     (param - 3).abs().sum().backward()
    ...     optimizer.step()
    >>> 0.3 < optimizer.param_groups[0]["d"] <= 3
    True
    """

    finds_own_rate = True
    _takes_sparse = False  # p0 is the whole parameter at the first update

    def _update(self) -> bool:
        groups = self.param_groups
        if len({float(group["d"]) for group in groups}) > 1:
            raise InvalidInput(f"Prodigy has one d for all groups; got {[group['d'] for group in groups]}")
        numerator = groups[0].get("d_numerator", 0.0)
        finite("d_numerator", numerator)
        moved = [(param, group) for group in groups for param in group["params"] if param.grad is not None]
        before = {param: param.detach().clone() for param, _ in moved}
        if not super()._update():
            return False
        assert self._plan is not None
        gains, sizes = [], []  # of the parts that lie here, where tensors are shared out
        for param, group in moved:
            kept = self._state[param]
            way = _flat(kept["p0"]) - _flat(before[param])
            gains.append((param, float(group["lr"]) * float(torch.dot(self._plan.as_read(_flat(param.grad)), way))))
            sizes.append((param, float(local(kept["s"]).abs().sum())))
        first = groups[0]
        d, numerator = estimated(float(first["d"]), float(numerator), summed(gains), summed(sizes), first["betas"][1])
        for group in groups:
            group.update(d=d, d_numerator=numerator)
        return True


def _flat(tensor: Any) -> Tensor:
    flat: Tensor = local(tensor.detach()).reshape(-1).double()
    return flat
