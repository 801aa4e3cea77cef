"""The classical update rules: read `sgd`, `adam`, then the rest.

Each is its paper's rule; where torch defines it differently, torch's. θ is a parameter, g its gradient, γ the learning rate,
t = `step` the number of the update, from 1. What depends only on `step` and hyperparameters is computed once a step.
"""

from typing import Annotated, Any

from gradus.checks import Betas, Decay, Flag, NonNegative, each_by, nonnegative, number, one_of
from gradus.errors import InvalidInput
from gradus.rules import ops
from gradus.rules.rule import Scalar, rule

__all__ = [
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "asgd",
    "nadam",
    "radam",
    "rmsprop",
    "rprop",
    "sgd",
    "sparse_adam",
]


def _step_sizes(name: str, values: Any) -> Any:
    must = "two numbers, the least step and the greatest"
    smallest, largest = each_by(must, nonnegative, nonnegative)(name, values)
    if smallest > largest:
        raise InvalidInput(f"{name} must be {must}; got {values!r}")
    return smallest, largest


_shrinking = number("above 0 and below 1, for steps shrink by it", lambda x: 0 < x < 1)
_growing = number("a finite number above 1, for steps grow by it", lambda x: x > 1)
Etas = Annotated[tuple[float, float], each_by("two numbers, below and above 1", _shrinking, _growing)]
StepSizes = Annotated[tuple[float, float], _step_sizes]
Always = Annotated[bool, one_of(True)]


def _descending(param, grad, weight_decay, maximize):
    """The gradient to descend along: the objective's, and that of weight_decay/2 · ‖param‖²."""
    if maximize:
        grad = -grad
    if weight_decay != 0:
        grad = grad + weight_decay * param
    return grad


def _decayed(param, grad, lr, weight_decay, maximize, decoupled):
    """Param and gradient after weight decay, apart from the gradient (Loshchilov and Hutter 2019) or within it."""
    if not decoupled:
        return param, _descending(param, grad, weight_decay, maximize)
    if weight_decay != 0:
        param = param * (1 - lr * weight_decay)
    return param, _descending(param, grad, 0.0, maximize)


@rule
def sgd(
    param,
    grad,
    momentum_buffer,
    *,
    step,
    lr: NonNegative = 1e-3,
    momentum: NonNegative = 0,
    dampening: NonNegative = 0,
    weight_decay: NonNegative = 0,
    nesterov: Flag = False,
    maximize: Flag = False,
):
    """g ← g + λθ; b ← μb + (1 − τ)g; θ ← θ − γb, or with Nesterov θ − γ(g + μb).

    Sutskever, Martens, Dahl and Hinton 2013, On the importance of initialization and momentum in deep learning, eqs. 1 to 4;
    torch has the rate outside the buffer.
    """
    grad = _descending(param, grad, weight_decay, maximize)
    if momentum != 0:
        # The first gradient is taken whole, whatever the dampening.
        momentum_buffer = momentum * momentum_buffer + ops.where(step == 1, 1.0, 1 - dampening) * grad
        grad = grad + momentum * momentum_buffer if nesterov else momentum_buffer
    return param - lr * grad, momentum_buffer


@rule(sum="initial_accumulator_value")
def adagrad(
    param,
    grad,
    sum,  # noqa: A002 - torch's name
    *,
    step,
    lr: NonNegative = 1e-2,
    lr_decay: NonNegative = 0,
    weight_decay: NonNegative = 0,
    initial_accumulator_value: NonNegative = 0,  # noqa: ARG001 - what `sum` starts from
    eps: NonNegative = 1e-10,
    maximize: Flag = False,
):
    """s ← s + g²; θ ← θ − γ/(1 + (t − 1)η) · g/(√s + ε).

    Duchi, Hazan and Singer 2011, Adaptive Subgradient Methods, with the diagonal of the matrix.
    """
    grad = _descending(param, grad, weight_decay, maximize)
    sum = sum + grad * grad  # noqa: A001
    return param - lr / (1 + (step - 1) * lr_decay) * grad / (ops.sqrt(sum) + eps), sum


@rule
def rmsprop(
    param,
    grad,
    square_avg,
    momentum_buffer,
    grad_avg,
    *,
    lr: NonNegative = 1e-2,
    alpha: Decay = 0.99,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0,
    momentum: NonNegative = 0,
    centered: Flag = False,
    maximize: Flag = False,
):
    """v ← αv + (1 − α)g²; θ ← θ − γ g/(√v + ε); centered, v less the square of the average gradient.

    Tieleman and Hinton 2012, Neural Networks for Machine Learning, lecture 6e; centered and with momentum, Graves 2013,
    Generating Sequences With Recurrent Neural Networks, eqs. 38 to 45.
    """
    grad = _descending(param, grad, weight_decay, maximize)
    square_avg = alpha * square_avg + (1 - alpha) * grad * grad
    variance = square_avg
    if centered:
        grad_avg = grad_avg + (1 - alpha) * (grad - grad_avg)
        variance = square_avg - grad_avg * grad_avg
    update = grad / (ops.sqrt(variance) + eps)
    if momentum != 0:
        update = momentum_buffer = momentum * momentum_buffer + update
    return param - lr * update, square_avg, momentum_buffer, grad_avg


@rule
def adadelta(
    param,
    grad,
    square_avg,
    acc_delta,
    *,
    lr: NonNegative = 1.0,
    rho: Decay = 0.9,
    eps: NonNegative = 1e-6,
    weight_decay: NonNegative = 0,
    maximize: Flag = False,
):
    """v ← ρv + (1 − ρ)g²; Δ = √(u + ε)/√(v + ε) · g; u ← ρu + (1 − ρ)Δ²; θ ← θ − γΔ.

    Zeiler 2012, ADADELTA, Algorithm 1.
    """
    grad = _descending(param, grad, weight_decay, maximize)
    square_avg = rho * square_avg + (1 - rho) * grad * grad
    delta = ops.sqrt(acc_delta + eps) / ops.sqrt(square_avg + eps) * grad
    acc_delta = rho * acc_delta + (1 - rho) * delta * delta
    return param - lr * delta, square_avg, acc_delta


@rule
def adam(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    max_exp_avg_sq,
    *,
    step,
    lr: NonNegative = 1e-3,
    betas: Betas = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0,
    amsgrad: Flag = False,
    maximize: Flag = False,
    decoupled_weight_decay: Flag = False,
):
    """m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; θ ← θ − γ/(1 − β₁ᵗ) · m/(√(v/(1 − β₂ᵗ)) + ε).

    Kingma and Ba 2015, Adam, Algorithm 1; amsgrad, Reddi, Kale and Kumar 2018, On the Convergence of Adam and Beyond,
    Algorithm 2.
    """
    beta1, beta2 = betas
    param, grad = _decayed(param, grad, lr, weight_decay, maximize, decoupled_weight_decay)
    exp_avg = exp_avg + (1 - beta1) * (grad - exp_avg)
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad * grad
    second = exp_avg_sq
    if amsgrad:
        second = max_exp_avg_sq = ops.maximum(max_exp_avg_sq, exp_avg_sq)
    denominator = ops.sqrt(second) * (1 / ops.sqrt(1 - beta2**step)) + eps
    return param - lr / (1 - beta1**step) * exp_avg / denominator, exp_avg, exp_avg_sq, max_exp_avg_sq


# θ ← (1 − γλ)θ, then Adam's update. Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization, Algorithm 2.
adamw = adam.with_defaults("adamw", {"decoupled_weight_decay": Always}, weight_decay=1e-2, decoupled_weight_decay=True)


@rule
def adamax(
    param,
    grad,
    exp_avg,
    exp_inf,
    *,
    step,
    lr: NonNegative = 2e-3,
    betas: Betas = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0,
    maximize: Flag = False,
):
    """m ← β₁m + (1 − β₁)g; u ← max(β₂u, |g| + ε); θ ← θ − γ/(1 − β₁ᵗ) · m/u.

    Kingma and Ba 2015, Adam, Algorithm 2; torch has ε within the maximum.
    """
    beta1, beta2 = betas
    grad = _descending(param, grad, weight_decay, maximize)
    exp_avg = exp_avg + (1 - beta1) * (grad - exp_avg)
    exp_inf = ops.maximum(beta2 * exp_inf, ops.abs(grad) + eps)
    return param - lr / (1 - beta1**step) * exp_avg / exp_inf, exp_avg, exp_inf


@rule(mu_product=1.0)
def nadam(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    mu_product: Scalar,
    *,
    step,
    lr: NonNegative = 2e-3,
    betas: Betas = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0,
    momentum_decay: NonNegative = 4e-3,
    decoupled_weight_decay: Flag = False,
    maximize: Flag = False,
):
    """Adam's update with Nesterov's look ahead: momentum μₜ = β₁(1 − ½·0.96^(tψ)).

    Dozat 2016, Incorporating Nesterov Momentum into Adam.
    """
    beta1, beta2 = betas
    param, grad = _decayed(param, grad, lr, weight_decay, maximize, decoupled_weight_decay)
    mu = beta1 * (1 - 0.5 * 0.96 ** (step * momentum_decay))
    mu_next = beta1 * (1 - 0.5 * 0.96 ** ((step + 1) * momentum_decay))
    mu_product = mu_product * mu
    exp_avg = exp_avg + (1 - beta1) * (grad - exp_avg)
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad * grad
    denominator = ops.sqrt(exp_avg_sq / (1 - beta2**step)) + eps
    ahead = lr * (1 - mu) / (1 - mu_product) * grad + lr * mu_next / (1 - mu_product * mu_next) * exp_avg
    return param - ahead / denominator, exp_avg, exp_avg_sq, mu_product


@rule
def radam(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    *,
    step,
    lr: NonNegative = 1e-3,
    betas: Betas = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0,
    decoupled_weight_decay: Flag = False,
    maximize: Flag = False,
):
    """Adam's update times its variance's rectification, or plain momentum while there is none.

    Liu et al. 2020, On the Variance of the Adaptive Learning Rate and Beyond, Algorithm 2.
    """
    beta1, beta2 = betas
    param, grad = _decayed(param, grad, lr, weight_decay, maximize, decoupled_weight_decay)
    exp_avg = exp_avg + (1 - beta1) * (grad - exp_avg)
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad * grad
    # How far the second moment can be trusted yet (eq. 5); up to 5 not at all, and the update is momentum's.
    rho_inf = 2 / (1 - beta2) - 1
    rho = rho_inf - 2 * step * beta2**step / (1 - beta2**step)
    divisor = ops.where(rho > 5, (rho_inf - 4) * (rho_inf - 2) * rho, 1.0)  # where it isn't used it may be 0
    rectification = ops.sqrt((rho - 4) * (rho - 2) * rho_inf / divisor)
    adapted = rectification * ops.sqrt(1 - beta2**step)
    factor = ops.where(rho > 5, adapted / (ops.sqrt(exp_avg_sq) + eps), 1.0)  # a root of 0 counts where it is used
    return param - lr / (1 - beta1**step) * exp_avg * factor, exp_avg, exp_avg_sq


@rule(eta="lr", mu=1.0)
def asgd(
    param,
    grad,
    ax,
    eta: Scalar,
    mu: Scalar,
    *,
    step,
    lr: NonNegative = 1e-2,
    lambd: NonNegative = 1e-4,
    alpha: NonNegative = 0.75,
    t0: NonNegative = 1e6,
    weight_decay: NonNegative = 0,
    maximize: Flag = False,
):
    """θ ← (1 − λη)θ − ηg; ax, the average of θ from t₀ on; η = γ/(1 + λγt)^α.

    Polyak and Juditsky 1992, Acceleration of Stochastic Approximation by Averaging.
    """
    grad = _descending(param, grad, weight_decay, maximize)
    param = param * (1 - lambd * eta) - eta * grad
    ax = ops.where(mu == 1, param, ax + mu * (param - ax))
    eta = lr / (1 + lambd * lr * step) ** alpha
    return param, ax, eta, 1 / ops.maximum(1.0, step - t0)


@rule(step_size="lr")
def rprop(
    param,
    grad,
    prev,
    step_size,
    *,
    lr: NonNegative = 1e-2,  # noqa: ARG001 - what `step_size` starts from
    etas: Etas = (0.5, 1.2),
    step_sizes: StepSizes = (1e-6, 50),
    maximize: Flag = False,
):
    """Each element's own step, grown while the gradient keeps its sign and shrunk when it turns.

    Riedmiller and Braun 1993, A Direct Adaptive Method for Faster Backpropagation Learning: the RPROP Algorithm; without
    backtracking, as in iRprop− of Igel and Hüsken 2003.
    """
    shrink, grow = etas
    smallest, largest = step_sizes
    grad = _descending(param, grad, 0.0, maximize)
    agreement = grad * prev
    shrunk = ops.where(agreement < 0, step_size * shrink, step_size)
    step_size = ops.where(agreement > 0, step_size * grow, shrunk)
    step_size = ops.minimum(ops.maximum(step_size, smallest), largest)
    grad = ops.where(agreement < 0, 0.0, grad)  # after overshooting a minimum, skip one update
    return param - ops.sign(grad) * step_size, grad, step_size


@rule
def sparse_adam(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    *,
    step,
    lr: NonNegative = 1e-3,
    betas: Betas = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    maximize: Flag = False,
):
    """Adam's update with ε added to √v and not to its unbiased root, as torch's SparseAdam has it.

    Kingma and Ba 2015, Adam, the end of section 2.
    """
    beta1, beta2 = betas
    grad = _descending(param, grad, 0.0, maximize)
    exp_avg = exp_avg + (1 - beta1) * (grad - exp_avg)
    exp_avg_sq = exp_avg_sq + (1 - beta2) * (grad * grad - exp_avg_sq)
    rate = lr * ops.sqrt(1 - beta2**step) / (1 - beta1**step)
    return param - rate * exp_avg / (ops.sqrt(exp_avg_sq) + eps), exp_avg, exp_avg_sq
