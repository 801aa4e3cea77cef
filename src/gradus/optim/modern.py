"""Optimizers of recent papers, each with its rule.

θ is a parameter, g its gradient, t the number of the update from 1. Each also takes the arguments of `Optimizer`.
"""

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch.amp.grad_scaler import OptState

from gradus.checks import as_float, positive, shown, whole
from gradus.errors import InvalidInput
from gradus.optim.optimizer import Optimizer
from gradus.rules import modern
from gradus.rules.cautious import cautious_adamw, cautious_lion

__all__ = ["LAMB", "LARS", "AdEMAMix", "Adan", "CautiousAdamW", "CautiousLion", "Lion", "SophiaG", "SophiaH"]


class _WithFirstRate(Optimizer):
    """Keeps the rate that it was built with in its groups, as `first_lr`, where decay is in parts of that."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, whose decay may be in parts of the rate that the optimizer was built with."""
        first = as_float(self.defaults["lr"])
        super().add_param_group({"first_lr": first or 1.0, **param_group} if isinstance(param_group, dict) else param_group)
        if first == 0 and self.param_groups[-1]["decoupled_weight_decay"]:
            self.param_groups.pop()
            raise InvalidInput(
                "decoupled_weight_decay=True takes decay in parts of the first lr, which must be above 0; got 0"
            )

    def _check_saved(self, group: Mapping[str, Any]) -> None:
        positive("the saved first_lr", group.get("first_lr", 1.0))


class Lion(_WithFirstRate, rule=modern.lion, group_keys=("first_lr",)):
    """The sign of a momentum: found by a search over programs.

    θ ← (1 − γλ)θ − γ·sign(β₁m + (1 − β₁)g); m ← β₂m + (1 − β₂)g.

    Kept for each parameter: exp_avg. Rates are 3 to 10 times lower than AdamW's, decays as much higher.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: γ.
        betas: β₁ and β₂.
        weight_decay: λ.
        decoupled_weight_decay: whether γ/γ₀ stands in γ's place before λθ, with the γ₀ that the optimizer was built with:
            then λ needn't be tuned anew with γ.
        maximize: whether to climb instead.

    Source: Chen et al. 2023, Symbolic Discovery of Optimization Algorithms, Algorithm 2.

    >>> param = torch.nn.Parameter(torch.ones(2))
    >>> param.grad = torch.tensor([5.0, -0.1])
    >>> Lion([param], lr=0.25).step()
    >>> param.tolist()
    [0.75, 1.25]
    """


class Adan(Optimizer, rule=modern.adan):
    """Adam with Nesterov's momentum, estimated from the differences of gradients.

    m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)(g − g₋₁); n ← β₃n + (1 − β₃)(g + β₂(g − g₋₁))²;
    θ ← (θ − γ(m̂ + β₂v̂)/(√n̂ + ε))/(1 + γλ), each average divided by 1 − βᵗ.

    Kept for each parameter: exp_avg, exp_avg_diff, exp_avg_sq, and pre_grad, the gradient before.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: γ.
        betas: β₁, β₂ and β₃, as decays; the paper writes 1 − β for each.
        eps: ε.
        weight_decay: λ.
        no_prox: whether γλθ is taken off θ as in AdamW, in place of the division.
        maximize: whether to climb instead.

    Source: Xie et al. 2022, Adan: Adaptive Nesterov Momentum Algorithm, Algorithm 1, with bias corrections.

    >>> param = torch.nn.Parameter(torch.ones(1))
    >>> param.grad = torch.full((1,), 2.0)
    >>> Adan([param], lr=0.1).step()
    >>> round(param.item(), 4)
    0.9
    """

    def restart_opt(self) -> None:
        """Restart: averages and steps go back to 0; parameters and groups stay (the restart condition of Algorithm 1)."""
        for kept in self.state.values():
            for name in ("step", *self.rule.slots):
                kept.pop(name, None)


class AdEMAMix(Optimizer, rule=modern.ademamix):
    """Adam with a second momentum that remembers tens of thousands of updates.

    m₁ ← β₁m₁ + (1 − β₁)g; m₂ ← β₃m₂ + (1 − β₃)g; v as in Adam; θ ← (1 − γλ)θ − γ(m̂₁ + αm₂)/(√v̂ + ε).

    Kept for each parameter: exp_avg, exp_avg_slow, exp_avg_sq.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: γ.
        betas: β₁, β₂ and β₃.
        alpha: α, the weight of the slow momentum.
        alpha_warmup: over how many updates α grows from 0 to its value; None for none. The authors advise as many as there
            are in the training, for both.
        beta3_warmup: over how many updates β₃ grows from β₁ to its value; None for none.
        eps: ε.
        weight_decay: λ.
        maximize: whether to climb instead.

    Source: Pagliardini, Ablin and Grangier 2024, The AdEMAMix Optimizer, Algorithm 1.

    >>> param = torch.nn.Parameter(torch.ones(1))
    >>> param.grad = torch.full((1,), 2.0)
    >>> AdEMAMix([param], lr=0.1).step()
    >>> round(param.item(), 4)
    0.9
    """


_UNSAID: Any = object()


def _unsaid() -> InvalidInput:
    return InvalidInput(
        "a GradScaler steps this optimizer, and gradients that carry its scale would make the estimate too large by its "
        "square; call update_hessian(batch_size, scaler=scaler), or scaler=None where gradients carry no scale"
    )


def _can_be_squared(grad: torch.Tensor) -> bool:
    wide = torch.promote_types(grad.dtype, torch.float32)
    return bool(grad.to(wide).square().isfinite().all())


def _scale_left(scaler: torch.amp.GradScaler, optimizer: Optimizer) -> float:
    """What a GradScaler's scale has left in an optimizer's gradients: 1 where `unscale_` has divided it out."""
    known = scaler._per_optimizer_states.get(id(optimizer))
    return 1.0 if known is not None and known["stage"] is not OptState.READY else float(scaler.get_scale())


class _Sophia(Optimizer):
    def _hessian(self, param: torch.Tensor) -> torch.Tensor:
        """A parameter's estimate, in single precision at least; 0 at first."""
        kept: dict[str, torch.Tensor] = self.state[param]
        if "hessian" not in kept:
            kept["hessian"] = torch.zeros_like(param, dtype=torch.promote_types(param.dtype, torch.float32))
        return kept["hessian"]


class SophiaG(_Sophia, rule=modern.sophia):
    """A momentum divided by an estimate of the Hessian's diagonal, and clipped.

    θ ← (1 − γλ)θ − γ·clip(m/max(ρh, ε), 1); every few updates, `update_hessian` after a backward pass whose targets were
    drawn from the model's own output: h ← β₂h + (1 − β₂)B·ĝ², by Gauss, Newton and Bartlett.

    Kept for each parameter: exp_avg, hessian.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: γ.
        betas: β₁ of the momentum and β₂ of the estimate.
        rho: ρ, how much of the update is clipped.
        eps: ε.
        weight_decay: λ.
        maximize: whether to climb instead.

    Source: Liu et al. 2023, Sophia, Algorithms 2 and 3.

    >>> param = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = SophiaG([param], lr=0.1, rho=1.0, weight_decay=0.0)
    >>> param.grad = torch.full((1,), 2.0)
    >>> optimizer.update_hessian(batch_size=4)
    >>> optimizer.step()
    >>> round(param.item(), 4)
    0.9563
    """

    _asked_by_scaler = False  # a GradScaler has taken a step
    _supports_amp_scaling = False
    _took_unsaid = False  # an estimate was made without `scaler`

    @property
    def _step_supports_amp_scaling(self) -> bool:  # a GradScaler asks for it before a step; so do frameworks that have none
        self._asked_by_scaler |= isinstance(sys._getframe(1).f_locals.get("self"), torch.amp.GradScaler)
        return self._supports_amp_scaling

    @_step_supports_amp_scaling.setter
    def _step_supports_amp_scaling(self, supports: bool) -> None:
        self._supports_amp_scaling = supports

    def _update(self) -> bool:
        if self._asked_by_scaler and self._took_unsaid:
            raise _unsaid()
        return super()._update()

    @torch.no_grad()
    def update_hessian(self, batch_size: int, scaler: Any = _UNSAID) -> None:
        """Take the present gradients into the estimate.

        Args:
            batch_size: B, the examples (tokens) that the gradients are means over.
            scaler: the GradScaler that the loss was scaled by, if any. Its scale is divided out, unless its `unscale_` has
                done so. Under it, as with `skip_nonfinite`, gradients whose squares aren't finite are left out.

        Raises:
            InvalidInput: a GradScaler steps this optimizer and isn't named here: the estimate would be its scale's square
                too large. Where the scaler's first step comes after, that step is refused. `scaler=None` says that
                gradients carry no scale.
        """
        if scaler is _UNSAID and self._asked_by_scaler:
            raise _unsaid()
        self._took_unsaid = self._took_unsaid or scaler is _UNSAID
        scale = _scale_left(scaler, self) if isinstance(scaler, torch.amp.GradScaler) else None
        grads = [param.grad for group in self.param_groups for param in group["params"] if param.grad is not None]
        if (scale is not None or self.skip_nonfinite) and not all(map(_can_be_squared, grads)):
            return
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    hessian = self._hessian(param)
                    grad = param.grad.to(hessian.dtype)
                    grad, beta = grad if scale is None else grad / scale, group["betas"][1]
                    hessian.mul_(beta).addcmul_(grad, grad, value=(1 - beta) * batch_size)


class SophiaH(_Sophia, rule=modern.sophia_h):
    """A momentum divided by Hutchinson's estimate of the Hessian's diagonal, and clipped.

    θ ← (1 − γλ)θ − γ·clip(m/max(ρh, ε), 1); every few updates, `update_hessian` with the loss, while its graph is there:
    h ← β₂h + (1 − β₂)·u⊙(∇²L·u), with u from the standard normal distribution.

    Kept for each parameter: exp_avg, hessian.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: γ.
        betas: β₁ of the momentum and β₂ of the estimate.
        rho: ρ, how much of the update is clipped.
        eps: ε.
        weight_decay: λ.
        maximize: whether to climb instead.

    Source: Liu et al. 2023, Sophia, Algorithms 1 and 3.

    >>> param = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = SophiaH([param], lr=0.1, rho=1.0, weight_decay=0.0)
    >>> for step in range(100):
    ...     optimizer.zero_grad()
    ...     loss = (param - 3).square().sum()
    ...     if step % 10 == 0:
    ...         optimizer.update_hessian(loss)
    ...     loss.backward()
    ...     optimizer.step()
    >>> 2 < param.item() < 4
    True
    """

    def update_hessian(self, loss: torch.Tensor, samples: int = 1, generator: torch.Generator | None = None) -> None:
        """Add an estimate of the loss's Hessian; gradients are unchanged. Call it before `loss.backward()`.

        It costs two backward passes, and one more for each further sample; the loss must be twice differentiable. Of a
        loss that a GradScaler scales give the unscaled one.

        Args:
            loss: a tensor of one element, with its graph.
            samples: the number of random vectors u to average over.
            generator: where u is drawn from; by default torch's own generator for the parameter's device.

        Raises:
            InvalidInput: the loss isn't one or has no graph, or a parameter is complex. Nothing is changed.
        """
        whole("samples", samples, least=1)
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or not loss.requires_grad:
            raise InvalidInput(f"update_hessian takes the loss, a tensor of one element with its graph; got {shown(loss)}")
        groups = {param: group for group in self.param_groups for param in group["params"] if param.requires_grad}
        for param in groups:
            if param.is_complex():
                raise InvalidInput(f"update_hessian takes real parameters; got one of {param.dtype}; use SophiaG")
        estimates = _hutchinson(loss, [*groups], samples, generator)
        if self.skip_nonfinite and not all(bool(estimate.isfinite().all()) for estimate in estimates.values()):
            return
        for param, estimate in estimates.items():
            beta, sign = groups[param]["betas"][1], -1 if groups[param]["maximize"] else 1
            with torch.no_grad():
                self._hessian(param).mul_(beta).add_(estimate, alpha=sign * (1 - beta))


def _hutchinson(
    loss: torch.Tensor, params: list[torch.Tensor], samples: int, generator: torch.Generator | None
) -> dict[torch.Tensor, torch.Tensor]:
    """The mean of u⊙(∇²L·u) over random u, for each parameter that the loss depends on."""
    with torch.enable_grad():
        grads = torch.autograd.grad(loss, params, create_graph=True, allow_unused=True)
    found = {param: grad for param, grad in zip(params, grads, strict=True) if grad is not None}
    estimates = {param: torch.zeros_like(param, requires_grad=False) for param in found}
    for _ in range(samples):
        noise = {param: torch.empty_like(param, requires_grad=False).normal_(generator=generator) for param in found}
        curved = [param for param in found if found[param].requires_grad]  # others have a Hessian of 0
        sources, weights = [found[param] for param in curved], [noise[param] for param in curved]
        products = torch.autograd.grad(sources, curved, weights, retain_graph=True, allow_unused=True) if curved else ()
        for param, product in zip(curved, products, strict=True):
            if product is not None:
                estimates[param] += noise[param] * product / samples
    return estimates


class LARS(Optimizer, rule=modern.lars):
    """Momentum whose rate is, for each tensor, in proportion to its norm over its gradient's.

    u = γ·η‖θ‖/(‖g‖ + λ‖θ‖)·(g + λθ); v ← μv + (1 − τ)u; θ ← θ − v, or with Nesterov θ − u − μv. A tensor of norm 0, or
    without a gradient's, has no factor η‖θ‖/(‖g‖ + λ‖θ‖).

    Kept for each parameter: momentum_buffer. Biases and norms are usually left out: give them a group with another rule.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: γ.
        momentum: μ.
        weight_decay: λ.
        trust_coefficient: η.
        dampening: τ; 0 in the paper. It dampens the first gradient too, unlike SGD's.
        nesterov: whether to look ahead by one momentum; not in the paper.
        maximize: whether to climb instead.

    Source: You, Gitman and Ginsburg 2017, Large Batch Training of Convolutional Networks, Algorithm 1.

    >>> param = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> param.grad = torch.tensor([0.0, 10.0])
    >>> LARS([param], lr=1.0, weight_decay=0.0, trust_coefficient=0.1).step()
    >>> param.tolist()
    [3.0, 3.5]
    """


class LAMB(Optimizer, rule=modern.lamb):
    """Adam whose update is, for each tensor, as long as the tensor itself.

    u = m̂/(√v̂ + ε) + λθ; θ ← θ − γ‖θ‖/‖u‖·u. A tensor of norm 0, or without an update's, has no such factor.

    Kept for each parameter: exp_avg, exp_avg_sq.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: γ.
        betas: β₁ and β₂.
        eps: ε.
        weight_decay: λ.
        maximize: whether to climb instead.

    Source: You et al. 2020, Large Batch Optimization for Deep Learning, Algorithm 2, φ(x) = x.

    >>> param = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> param.grad = torch.tensor([0.0, 10.0])
    >>> LAMB([param], lr=0.1).step()
    >>> param.round(decimals=4).tolist()
    [3.0, 3.5]
    """


class CautiousAdamW(Optimizer, rule=cautious_adamw):
    """AdamW that moves no element against its gradient; see `gradus.optim.cautious`.

    Kept for each parameter: as AdamW.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr, betas, eps, weight_decay, amsgrad, maximize: as AdamW's.
        decoupled_weight_decay: True.
        correct_bias: whether AdamW's averages are corrected for their start at 0.
        cautious_factor: what is left of an update where its sign and the gradient's disagree.
        cautious_wd: whether only those elements decay that the update makes smaller.

    Source: Liang et al. 2024, Cautious Optimizers, Algorithm 1.

    >>> param = torch.nn.Parameter(torch.ones(2))
    >>> optimizer = CautiousAdamW([param], lr=0.1, weight_decay=0.0)
    >>> for grad in ([4.0, 4.0], [-1.0, 4.0]):
    ...     param.grad = torch.tensor(grad)
    ...     optimizer.step()
    >>> [round(x, 4) for x in param.tolist()]
    [0.9, 0.7]
    """


class CautiousLion(_WithFirstRate, rule=cautious_lion, group_keys=("first_lr",)):
    """Lion that moves no element against its gradient; see `gradus.optim.cautious`.

    Kept for each parameter: as Lion.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr, betas, weight_decay, decoupled_weight_decay, maximize: as Lion's.
        cautious_factor: what is left of an update where its sign and the gradient's disagree.
        cautious_wd: whether only those elements decay that the update makes smaller.

    Source: Liang et al. 2024, Cautious Optimizers, Algorithm 2.

    >>> param = torch.nn.Parameter(torch.ones(2))
    >>> optimizer = CautiousLion([param], lr=0.1, betas=(0.9, 0.9))
    >>> for grad in ([4.0, 4.0], [-1.0, 4.0]):
    ...     param.grad = torch.tensor(grad)
    ...     optimizer.step()
    >>> [round(x, 4) for x in param.tolist()]
    [0.9, 0.7]
    """
