"""`Prodigy`: Adam that estimates its own rate, from all tensors together."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gradus.backends.sharding import full_tensor, local, summed
from gradus.checks import finite, nonnegative
from gradus.errors import InvalidInput
from gradus.optim.optimizer import Optimizer
from gradus.optim.plan import Plan
from gradus.rules import matrix

__all__ = ["Prodigy"]

# Further keys of every group: the estimate before and after an update, the largest estimate so far, its numerator, and the
# number of updates.
_KEPT = ("d", "d_next", "d_max", "d_numerator", "k")


class Prodigy(Optimizer, rule=matrix.prodigy, group_keys=_KEPT):
    """Adam whose rate follows an estimate d of the distance to the solution; leave `lr` at 1 and schedule it as a factor.

    r ← β₃r + (d/d₀)·dγ′⟨g, θ₀ − θ⟩; s ← β₃s + (d/d₀)·dγ′g; d̂ = c·r/‖s‖₁; d ← max(d, d̂), over all parameters together.
    m ← β₁m + (1 − β₁)dg; v ← β₂v + (1 − β₂)d²g²; θ ← (1 − dγ′λ)θ − dγ′·m/(√v + d₊ε), with the d from before, but for d₊,
    the new one.

    This is the authors' package (prodigyopt 1.1.2); Algorithm 4 has the old d before ε too. Groups at a rate of 0 take no
    part in an update. Groups may have different rates, each a factor of the one estimate, which the package refuses. Before
    the first gradient that isn't 0, weights decay here, and don't there.

    Kept for each parameter: exp_avg, exp_avg_sq, s, and p0, where it began; in every group, d, the greatest d̂, r, and k,
    the updates so far.

    Args:
        params: tensors, pairs of name and tensor, or groups of either; all share one d.
        lr: γ, a factor of the estimated rate.
        betas: β₁ and β₂.
        beta3: β₃ of r and s; None for √β₂.
        eps: ε.
        weight_decay: λ.
        bias_correction: whether γ′ is γ√(1 − β₂ᵗ)/(1 − β₁ᵗ), as Adam's is; else it is γ.
        decouple: whether weights decay by themselves, as in AdamW; else λθ is added to the gradient.
        safeguard_warmup: whether s leaves γ′ out, so that a warmup doesn't make d̂ too large.
        d0: where the estimate begins, below any sensible rate.
        d_coef: c; the way to tune the rate.
        growth_rate: by what d grows at most from update to update, once it has left d₀.
        slice_p: estimate from every `slice_p`-th element only, which saves memory for s and p0.

    Source: Mishchenko and Defazio 2023, Algorithm 4, as its authors run it.

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

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, which shares the estimate of those that are there."""
        if self.param_groups:
            kept = {name: self.param_groups[0][name] for name in _KEPT}
        else:
            begun = param_group.get("d0", self.defaults["d0"])
            kept = {"d": begun, "d_next": begun, "d_max": begun, "d_numerator": 0.0, "k": 0}
        super().add_param_group({**kept, **param_group} if isinstance(param_group, dict) else param_group)

    def _check_saved(self, group: Mapping[str, Any]) -> None:
        for name in _KEPT:
            if name not in group:
                raise InvalidInput(f"the saved state isn't of Prodigy: its groups have no {name!r}")
            (finite if name == "d_numerator" else nonnegative)(f"the saved {name}", group[name])

    def _update(self) -> bool:
        groups = self.param_groups
        for name in ("d", "d0", "d_coef", "growth_rate", "beta3", "betas", "bias_correction", "k"):
            if any(group[name] != groups[0][name] for group in groups):
                raise InvalidInput(f"Prodigy has one {name} for all groups; got {[group[name] for group in groups]}")
        counts = any(float(group["lr"]) > 0 for group in groups)  # at a rate of 0 nothing is done, and nothing counted
        if not super()._update():
            return False
        for group in groups:
            group.update(d=group["d_next"], k=group["k"] + counts)
        return True

    @torch.no_grad()
    def _before_update(self, plan: Plan) -> None:
        """Refresh s and p0, and estimate."""
        first = self.param_groups[0]
        parts = [
            (kept["s"], *_part(plan, row.param_group, param, kept, is_first=int(row.step) == 0))
            for row in plan.rows
            for param, kept in zip(row.params, row.states, strict=True)
        ]
        gain, size = summed((s, one) for s, one, _ in parts), summed((s, one) for s, _, one in parts)
        if not size > 0:
            for group in self.param_groups:
                group.update(d_next=group["d"])
            return
        numerator = _beta3(first) * float(first["d_numerator"]) + gain
        options = {name: float(first[name]) for name in ("d0", "d_coef", "growth_rate")}
        d_next, d_max = matrix.estimated(float(first["d"]), float(first["d_max"]), numerator, size, **options)
        for group in self.param_groups:
            group.update(d_next=d_next, d_max=d_max, d_numerator=numerator)


def _beta3(group: Mapping[str, Any]) -> float:
    return math.sqrt(group["betas"][1]) if group["beta3"] is None else float(group["beta3"])


def _part(
    plan: Plan, group: Mapping[str, Any], param: Tensor, kept: dict[str, Any], *, is_first: bool
) -> tuple[float, float]:
    """Update s and p0 of a parameter; its part of r and ‖s‖₁, in this process where it is sharded."""
    s, p0, every = local(kept["s"]), local(kept["p0"]), group["slice_p"]
    at = _elements(param, s, every)
    if is_first:
        p0.copy_(at)
    lr, d, d0 = float(group["lr"]), float(group["d"]), float(group["d0"])
    if lr == 0:
        return 0.0, 0.0
    grad = plan.as_read(_elements(param.grad, s, every))
    if not group["decouple"]:
        grad = grad + group["weight_decay"] * at
    rate = d * lr * matrix.correction(group["betas"], group["k"], group["bias_correction"])
    gain = d / d0 * rate * float(((p0 - at).double() * grad.double()).sum())
    s.mul_(_beta3(group)).add_(grad, alpha=d / d0 * (d if group["safeguard_warmup"] else rate))
    return gain, float(s.abs().double().sum())


def _elements(tensor: Any, s: Tensor, every: int) -> Tensor:
    """A tensor's elements in the precision of s: the local ones, or every `every`-th of the full tensor."""
    values = local(tensor.detach()) if every == 1 else full_tensor(tensor.detach()).reshape(-1)[::every]
    return values.to(s.dtype)
