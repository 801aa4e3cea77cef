"""Update rules of one element from recent papers; each optimizer's docstring has the formula and the source."""

from typing import Annotated, Any

from gradus.checks import (
    Betas,
    Decay,
    Flag,
    NonNegative,
    Positive,
    UnitInside,
    decays,
    each_by,
    nonnegative,
    optional,
    unit_below_one,
    unit_inside,
)
from gradus.rules import ops
from gradus.rules.rule import Scalar, rule

__all__ = [
    "adan",
    "ademamix",
    "lamb",
    "lars",
    "lion",
    "lion_decay",
    "schedule_free_adamw",
    "schedule_free_radam",
    "schedule_free_sgd",
    "sophia",
    "sophia_h",
]

Three = Annotated[tuple[float, float, float], decays(3)]
Warmup = Annotated[float | None, optional(nonnegative)]
# What a schedule-free rule mixes by: the average x follows from y = (1 − β)z + βx only if β is above 0.
MixAndDecay = Annotated[tuple[float, float], each_by("two numbers below 1, the first above 0", unit_inside, unit_below_one)]


def lion_decay(lr: Any, weight_decay: Any, decoupled_weight_decay: bool, first_lr: Any) -> Any:
    """What Lion takes off a parameter: γλ, or as decoupled by its share of the first rate, (γ/γ₀)λ."""
    return lr / first_lr * weight_decay if decoupled_weight_decay else lr * weight_decay


@rule
def lion(
    param,
    grad,
    exp_avg,
    *,
    lr: NonNegative = 1e-4,
    betas: Betas = (0.9, 0.99),
    weight_decay: NonNegative = 0.0,
    decoupled_weight_decay: Flag = False,
    first_lr: Positive = 1.0,
    maximize: Flag = False,
):
    """θ ← θ − γ(sign(β₁m + (1 − β₁)g) + λθ); m ← β₂m + (1 − β₂)g."""
    beta1, beta2 = betas
    grad = -grad if maximize else grad
    if weight_decay != 0:
        param = param * (1 - lion_decay(lr, weight_decay, decoupled_weight_decay, first_lr))
    return param - lr * ops.sign(beta1 * exp_avg + (1 - beta1) * grad), beta2 * exp_avg + (1 - beta2) * grad


@rule
def adan(
    param,
    grad,
    exp_avg,
    exp_avg_diff,
    exp_avg_sq,
    pre_grad,
    *,
    step,
    lr: NonNegative = 1e-3,
    betas: Three = (0.98, 0.92, 0.99),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    no_prox: Flag = False,
    maximize: Flag = False,
):
    """Adam's update with Nesterov's momentum, estimated from differences of gradients."""
    beta1, beta2, beta3 = betas
    grad = -grad if maximize else grad
    change = grad - ops.where(step == 1, grad, pre_grad)
    ahead = grad + beta2 * change
    exp_avg = beta1 * exp_avg + (1 - beta1) * grad
    exp_avg_diff = beta2 * exp_avg_diff + (1 - beta2) * change
    exp_avg_sq = beta3 * exp_avg_sq + (1 - beta3) * ahead * ahead
    momentum = 1 / (1 - beta1**step) * exp_avg + beta2 / (1 - beta2**step) * exp_avg_diff
    update = momentum / (ops.sqrt(exp_avg_sq) * (1 / ops.sqrt(1 - beta3**step)) + eps)
    if no_prox:
        return param * (1 - lr * weight_decay) - lr * update, exp_avg, exp_avg_diff, exp_avg_sq, grad
    return (param - lr * update) * (1 / (1 + lr * weight_decay)), exp_avg, exp_avg_diff, exp_avg_sq, grad


@rule
def ademamix(
    param,
    grad,
    exp_avg,
    exp_avg_slow,
    exp_avg_sq,
    *,
    step,
    lr: NonNegative = 1e-3,
    betas: Three = (0.9, 0.999, 0.9999),
    alpha: NonNegative = 5.0,
    alpha_warmup: Warmup = None,
    beta3_warmup: Warmup = None,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    maximize: Flag = False,
):
    """Adam's update with a second, much slower momentum added."""
    beta1, beta2, beta3 = betas
    grad = -grad if maximize else grad
    if alpha_warmup:
        alpha = ops.minimum(step / alpha_warmup, 1.0) * alpha
    if beta3_warmup:
        # It grows so that its memory does in a straight line: eq. 4, with both sides divided by ln β₁, which is −∞ where
        # there is no first momentum.
        part = ops.minimum(step / beta3_warmup, 1.0)
        fast, slow = ops.log(beta1), ops.log(beta3)
        beta3 = ops.exp(slow / ((1 - part) * (slow / fast) + part))
    exp_avg = beta1 * exp_avg + (1 - beta1) * grad
    exp_avg_slow = beta3 * exp_avg_slow + (1 - beta3) * grad
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad * grad
    denominator = ops.sqrt(exp_avg_sq) * (1 / ops.sqrt(1 - beta2**step)) + eps
    if weight_decay != 0:
        param = param * (1 - lr * weight_decay)
    mixed = 1 / (1 - beta1**step) * exp_avg + alpha * exp_avg_slow
    return param - lr * mixed / denominator, exp_avg, exp_avg_slow, exp_avg_sq


@rule
def sophia(
    param,
    grad,
    exp_avg,
    hessian,
    *,
    lr: NonNegative = 1e-4,
    betas: Betas = (0.965, 0.99),
    rho: NonNegative = 0.04,
    eps: NonNegative = 1e-15,
    weight_decay: NonNegative = 0.1,
    maximize: Flag = False,
):
    """θ ← (1 − γλ)θ − γ·clip(m/max(ρh, ε), 1); h is refreshed from outside."""
    beta1, _ = betas
    grad = -grad if maximize else grad
    exp_avg = beta1 * exp_avg + (1 - beta1) * grad
    ratio = exp_avg / ops.maximum(rho * hessian, eps)
    clipped = ops.maximum(ops.minimum(ratio, 1.0), -1.0)
    return param * (1 - lr * weight_decay) - lr * clipped, exp_avg, hessian


@rule
def sophia_h(
    param,
    grad,
    exp_avg,
    hessian,
    *,
    lr: NonNegative = 1e-4,
    betas: Betas = (0.96, 0.99),
    rho: NonNegative = 0.01,
    eps: NonNegative = 1e-12,
    weight_decay: NonNegative = 0.1,
    maximize: Flag = False,
):
    """`sophia`, with the defaults for Hutchinson's estimate."""
    options = {"lr": lr, "betas": betas, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
    return sophia(param, grad, exp_avg, hessian, **options)


def _ratio(known, length, other):
    """One length over another where that is known, else 1."""
    return ops.where(known, length / ops.where(known, other, 1.0), 1.0)


@rule
def lars(
    param,
    grad,
    momentum_buffer,
    *,
    lr: NonNegative = 0.1,
    momentum: Decay = 0.9,
    weight_decay: NonNegative = 1e-4,
    trust_coefficient: NonNegative = 1e-3,
    dampening: Decay = 0.0,
    nesterov: Flag = False,
    maximize: Flag = False,
):
    """u = γ·η‖θ‖/(‖g‖ + λ‖θ‖)·(g + λθ); v ← μv + (1 − τ)u; θ ← θ − v, or with Nesterov θ − u − μv."""
    grad = -grad if maximize else grad
    size, slope = ops.norm(param), ops.norm(grad)
    trust = _ratio(ops.minimum(size, slope) > 0, trust_coefficient * size, slope + weight_decay * size)
    update = lr * trust * (grad + weight_decay * param)
    if momentum != 0:
        momentum_buffer = momentum * momentum_buffer + (1 - dampening) * update
        update = update + momentum * momentum_buffer if nesterov else momentum_buffer
    return param - update, momentum_buffer


@rule
def lamb(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    *,
    step,
    lr: NonNegative = 1e-3,
    betas: Betas = (0.9, 0.999),
    eps: NonNegative = 1e-6,
    weight_decay: NonNegative = 0.0,
    maximize: Flag = False,
):
    """θ ← θ − γ‖θ‖/‖u‖·u with u = m̂/(√v̂ + ε) + λθ."""
    beta1, beta2 = betas
    grad = -grad if maximize else grad
    exp_avg = beta1 * exp_avg + (1 - beta1) * grad
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad * grad
    root = ops.sqrt(exp_avg_sq) * (1 / ops.sqrt(1 - beta2**step))
    update = 1 / (1 - beta1**step) * exp_avg / (root + eps) + weight_decay * param
    size, length = ops.norm(param), ops.norm(update)
    trust = _ratio(ops.minimum(size, length) > 0, size, length)
    return param - lr * trust * update, exp_avg, exp_avg_sq


def _warmed_up(lr, step, warmup_steps):
    return lr * ops.minimum(step / warmup_steps, 1.0) if warmup_steps != 0 else lr


def _normalized(grad, exp_avg_sq, step, beta2, eps):
    """g/(√v̂ + ε), and v."""
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad * grad
    return grad / (ops.sqrt(exp_avg_sq) * (1 / ops.sqrt(1 - beta2**step)) + eps), exp_avg_sq


def _averaged(param, direction, z, lr_max, weight_sum, *, step, rate, beta, weight_decay, r, weight_lr_power):
    """y, z, the largest rate so far and the sum of weights, after a step of this rate along a direction."""
    lr_max = ops.maximum(rate, lr_max)
    weight = step**r * lr_max**weight_lr_power
    weight_sum = weight_sum + weight
    share = ops.where(weight_sum == 0, 0.0, weight / ops.where(weight_sum == 0, 1.0, weight_sum))
    z = ops.where(step == 1, param, z)
    if weight_decay != 0:
        direction = direction + weight_decay * param
    param = param + share * (z - param) + rate * (beta * (1 - share) - 1) * direction
    return param, z - rate * direction, lr_max, weight_sum


@rule
def schedule_free_sgd(
    param,
    grad,
    z,
    lr_max: Scalar,
    weight_sum: Scalar,
    *,
    step,
    lr: NonNegative = 1.0,
    momentum: UnitInside = 0.9,
    weight_decay: NonNegative = 0.0,
    warmup_steps: NonNegative = 0.0,
    r: NonNegative = 0.0,
    weight_lr_power: NonNegative = 2.0,
):
    """z ← z − γg; x ← (1 − c)x + cz; the parameter is y = (1 − β)z + βx."""
    rate, given = _warmed_up(lr, step, warmup_steps), {"r": r, "weight_lr_power": weight_lr_power}
    return _averaged(
        param, grad, z, lr_max, weight_sum, step=step, rate=rate, beta=momentum, weight_decay=weight_decay, **given
    )


@rule
def schedule_free_adamw(
    param,
    grad,
    z,
    exp_avg_sq,
    lr_max: Scalar,
    weight_sum: Scalar,
    *,
    step,
    lr: NonNegative = 0.0025,
    betas: MixAndDecay = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    warmup_steps: NonNegative = 0.0,
    r: NonNegative = 0.0,
    weight_lr_power: NonNegative = 2.0,
):
    """As `schedule_free_sgd`, along Adam's normalized gradient."""
    rate, given = _warmed_up(lr, step, warmup_steps), {"r": r, "weight_lr_power": weight_lr_power}
    direction, exp_avg_sq = _normalized(grad, exp_avg_sq, step, betas[1], eps)
    param, z, *sums = _averaged(
        param, direction, z, lr_max, weight_sum, step=step, rate=rate, beta=betas[0], weight_decay=weight_decay, **given
    )
    return param, z, exp_avg_sq, *sums


@rule
def schedule_free_radam(
    param,
    grad,
    z,
    exp_avg_sq,
    lr_max: Scalar,
    weight_sum: Scalar,
    *,
    step,
    lr: NonNegative = 0.0025,
    betas: MixAndDecay = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    r: NonNegative = 0.0,
    weight_lr_power: NonNegative = 2.0,
    silent_sgd_phase: Flag = True,
):
    """As `schedule_free_adamw`, with RAdam's rectified rate, and along the plain gradient while there is none."""
    # How far the second moment can be trusted yet: up to 4 not at all, and the rate is 0 or SGD's.
    beta2 = betas[1]
    rho_inf = 2 / (1 - beta2) - 1
    rho = rho_inf - 2 * step * beta2**step / (1 - beta2**step)
    divisor = ops.where(rho > 4, (rho_inf - 4) * (rho_inf - 2) * rho, 1.0)  # where it isn't used it may be 0
    rectification = ops.sqrt(ops.maximum((rho - 4) * (rho - 2) * rho_inf / divisor, 0.0))
    rate = lr * ops.where(rho > 4, rectification, 0.0 if silent_sgd_phase else 1.0)
    adapted, exp_avg_sq = _normalized(grad, exp_avg_sq, step, beta2, eps)
    direction, given = ops.where(rho > 4, adapted, grad), {"r": r, "weight_lr_power": weight_lr_power}
    param, z, *sums = _averaged(
        param, direction, z, lr_max, weight_sum, step=step, rate=rate, beta=betas[0], weight_decay=weight_decay, **given
    )
    return param, z, exp_avg_sq, *sums
