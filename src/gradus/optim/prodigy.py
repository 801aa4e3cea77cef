"""Prodigy: Adam that finds its own rate. One number couples all tensors, so it isn't a rule of each."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from gradus.backends.local import gathered, local, summed
from gradus.errors import InvalidInput
from gradus.optim.optimizer import Optimizer
from gradus.optim.plan import Plan
from gradus.rules import ops
from gradus.rules.fields import Betas, Flag, NonNegative, Positive, Whole, as_float, finite, nonnegative, optional_decay
from gradus.rules.rule import Shape, tensor_rule

__all__ = ["Prodigy", "estimated"]


def _growth(name: str, value: Any) -> None:
    if isinstance(value, (bool, str)) or not hasattr(value, "__float__") or not as_float(value) >= 1:
        raise InvalidInput(f"{name} must be a number of at least 1, or infinity for no bound; got {value!r}")


def _every_pth(shape: Shape, hypers: Mapping[str, Any]) -> Shape:
    every = hypers["slice_p"]
    return shape if every == 1 else (-(-math.prod(shape) // every),)


# What every group holds beside hyperparameters: the estimate before an update and after it, the greatest one found, its
# numerator, and the updates so far.
_KEPT = ("d", "d_next", "d_max", "d_numerator", "k")


@tensor_rule(s=_every_pth, p0=_every_pth)
def prodigy(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    s: Tensor,
    p0: Tensor,
    *,  # those that the estimate alone needs are read where it is made
    lr: NonNegative = 1.0,
    betas: Betas = (0.9, 0.999),
    beta3: Annotated[float | None, optional_decay] = None,  # noqa: ARG001
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
) -> tuple[Tensor, ...]:
    """Adam's update with gradients d times as large, at the rate d·γ; s and p0 are refreshed from outside."""
    beta1, beta2 = betas
    rate = d * lr * _correction(betas, k, bias_correction)
    if not decouple:
        grad = grad + weight_decay * param
    first = beta1 * exp_avg + (1 - beta1) * d * grad
    second = beta2 * exp_avg_sq + (1 - beta2) * d * d * grad * grad
    kept = param * (1 - weight_decay * rate) if decouple else param
    new = kept - rate * first / (second.sqrt() + d_next * eps)
    moves = lr > 0  # a group without a rate takes no part
    return ops.where(moves, new, param), ops.where(moves, first, exp_avg), ops.where(moves, second, exp_avg_sq), s, p0


def _correction(betas: tuple[float, float], updates: float, wanted: bool) -> float:
    return math.sqrt(1 - betas[1] ** (updates + 1)) / (1 - betas[0] ** (updates + 1)) if wanted else 1.0


def estimated(
    d: Any, d_max: Any, numerator: Any, size: Any, *, d0: float, d_coef: float = 1.0, growth_rate: float = math.inf
) -> tuple[Any, Any]:
    """The next estimate and the greatest one found: d̂ = c·r/‖s‖₁; numbers, or arrays of them.

    Args:
        d: the estimate before.
        d_max: the greatest d̂ before.
        numerator: r, with this update's part.
        size: ‖s‖₁ of all tensors, with this update's part.
        d0: where the estimate began.
        d_coef: c.
        growth_rate: by what the estimate grows at most, once it has left d₀.
    """
    found = d_coef * numerator / ops.where(size > 0, size, math.inf)
    begun = ops.where(d == d0, ops.maximum(d, found), d)
    d_max = ops.maximum(d_max, found)
    return ops.minimum(d_max, begun * growth_rate), d_max


class Prodigy(Optimizer, rule=prodigy, group_keys=_KEPT):
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
        slice_p: estimate from every so-many-th element, which saves the memory of s and p0.

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
            (kept["s"], *_part(plan, row.group, param, kept, is_first=int(row.step) == 0))
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
        d_next, d_max = estimated(float(first["d"]), float(first["d_max"]), numerator, size, **options)
        for group in self.param_groups:
            group.update(d_next=d_next, d_max=d_max, d_numerator=numerator)


def _beta3(group: Mapping[str, Any]) -> float:
    return math.sqrt(group["betas"][1]) if group["beta3"] is None else float(group["beta3"])


def _part(
    plan: Plan, group: Mapping[str, Any], param: Tensor, kept: dict[str, Any], *, is_first: bool
) -> tuple[float, float]:
    """A parameter's part in r and in ‖s‖₁, of what lies in this process where it is sharded; s and p0 are refreshed."""
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
    rate = d * lr * _correction(group["betas"], group["k"], group["bias_correction"])
    gain = d / d0 * rate * float(((p0 - at).double() * grad.double()).sum())
    s.mul_(_beta3(group)).add_(grad, alpha=d / d0 * (d if group["safeguard_warmup"] else rate))
    return gain, float(s.abs().double().sum())


def _elements(tensor: Any, s: Tensor, every: int) -> Tensor:
    """A tensor's elements in the precision of s: all that lie here, or every so-many-th of the whole."""
    values = local(tensor.detach()) if every == 1 else gathered(tensor.detach()).reshape(-1)[::every]
    return values.to(s.dtype)
