"""Update rules of recent papers, one by one; those of whole tensors are beside their optimizers."""

from typing import Annotated

from gradus.rules import ops
from gradus.rules.fields import Betas, Decay, Flag, Mix, MixAndDecay, NonNegative, Scalar, decays
from gradus.rules.rule import rule

__all__ = ["adan", "ademamix", "lamb", "lars", "lion", "schedule_free_adamw", "schedule_free_sgd", "sophia"]

Three = Annotated[tuple[float, float, float], decays(3)]


@rule
def lion(
    param,
    grad,
    exp_avg,
    *,
    lr: NonNegative = 1e-4,
    betas: Betas = (0.9, 0.99),
    weight_decay: NonNegative = 0.0,
    maximize: Flag = False,
):
    """θ ← θ − γ(sign(β₁m + (1 − β₁)g) + λθ); m ← β₂m + (1 − β₂)g."""
    beta1, beta2 = betas
    grad = -grad if maximize else grad
    if weight_decay != 0:
        param = param * (1 - lr * weight_decay)
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
    warmup_steps: NonNegative = 0.0,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    maximize: Flag = False,
):
    """Adam's update with a second, much slower momentum added."""
    beta1, beta2, beta3 = betas
    grad = -grad if maximize else grad
    if warmup_steps != 0:
        # α grows in a straight line, and β₃ so that its memory does: eq. 4, with both sides divided by ln β₁, which is −∞
        # where there is no first momentum.
        part = ops.minimum(step / warmup_steps, 1.0)
        fast, slow = ops.log(beta1), ops.log(beta3)
        alpha, beta3 = part * alpha, ops.exp(slow / ((1 - part) * (slow / fast) + part))
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
    maximize: Flag = False,
):
    """v ← μv + γ·η‖θ‖/(‖g‖ + λ‖θ‖)·(g + λθ); θ ← θ − v."""
    grad = -grad if maximize else grad
    size, slope = ops.norm(param), ops.norm(grad)
    trust = _ratio(ops.minimum(size, slope) > 0, trust_coefficient * size, slope + weight_decay * size)
    momentum_buffer = momentum * momentum_buffer + lr * trust * (grad + weight_decay * param)
    return param - momentum_buffer, momentum_buffer


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


def _weights(step, lr, warmup_steps, r, weight_lr_power, lr_max, weight_sum):
    """An update's rate, the greatest so far, the sum of the weights, and its own share of that."""
    rate = lr
    if warmup_steps != 0:
        rate = lr * ops.minimum(step / warmup_steps, 1.0)
    lr_max = ops.maximum(rate, lr_max)
    weight = step**r * lr_max**weight_lr_power
    weight_sum = weight_sum + weight
    return rate, lr_max, weight_sum, ops.where(weight_sum == 0, 0.0, weight / ops.where(weight_sum == 0, 1.0, weight_sum))


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
    momentum: Mix = 0.9,
    weight_decay: NonNegative = 0.0,
    warmup_steps: NonNegative = 0.0,
    r: NonNegative = 0.0,
    weight_lr_power: NonNegative = 2.0,
):
    """z ← z − γg; x ← (1 − c)x + cz; the parameter is y = (1 − β)z + βx."""
    rate, lr_max, weight_sum, share = _weights(step, lr, warmup_steps, r, weight_lr_power, lr_max, weight_sum)
    z = ops.where(step == 1, param, z)
    if weight_decay != 0:
        grad = grad + weight_decay * param
    param = param + share * (z - param) + rate * (momentum * (1 - share) - 1) * grad
    return param, z - rate * grad, lr_max, weight_sum


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
    beta1, beta2 = betas
    rate, lr_max, weight_sum, share = _weights(step, lr, warmup_steps, r, weight_lr_power, lr_max, weight_sum)
    z = ops.where(step == 1, param, z)
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad * grad
    direction = grad / (ops.sqrt(exp_avg_sq) * (1 / ops.sqrt(1 - beta2**step)) + eps)
    if weight_decay != 0:
        direction = direction + weight_decay * param
    param = param + share * (z - param) + rate * (beta1 * (1 - share) - 1) * direction
    return param, z - rate * direction, exp_avg_sq, lr_max, weight_sum
