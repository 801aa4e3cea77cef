"""`cautious`: a rule that moves no element against its gradient."""

import functools
import inspect
import math
from collections.abc import Mapping
from typing import Any

from gradus.checks import Flag, Unit
from gradus.rules import ops
from gradus.rules.classical import adamw
from gradus.rules.modern import lion, lion_decay
from gradus.rules.rule import Rule

__all__ = ["cautious", "cautious_adamw", "cautious_lion"]


def cautious(plain: Rule) -> Rule:
    """A rule that moves no element against its gradient: its updates where their signs agree, scaled up for the others.

    u is the rule's update without decay; φ = [u·g > 0] + c·[u·g ≤ 0]; θ ← (1 − γλ)θ − u·φ/max(mean φ, 0.001).

    Beside the rule's own hyperparameters it has two:

    - cautious_factor: c, what is left of an update where the signs disagree; 0 unless given.
    - cautious_wd: whether only those elements decay that the update makes smaller (Chen et al. 2025, Cautious Weight Decay).

    Args:
        plain: any rule of elements. Its weight decay, if it has one, is taken off the parameter itself.

    Source: Liang et al. 2024, Cautious Optimizers, Algorithms 1 and 2.

    >>> from gradus.rules.modern import lion
    >>> param, momentum = cautious(lion)(1.0, 2.0, 0.5, lr=0.1)
    >>> param, cautious(lion)(1.0, 2.0, -5.0, lr=0.1)[0]
    (0.9, 1.0)
    """
    defaults = {name: hyper.default for name, hyper in plain.hypers.items()}

    def masked(
        param: Any, grad: Any, *slots: Any, cautious_factor: Any = 0.0, cautious_wd: Any = False, **hypers: Any
    ) -> Any:
        hypers = {**defaults, **hypers}
        without = {**hypers, "weight_decay": 0.0} if "weight_decay" in hypers else hypers
        new, *kept = plain(param, grad, *slots, **without)
        update = param - new
        agrees = update * (-grad if hypers.get("maximize") else grad) > 0
        spread = ops.maximum(cautious_factor + (1 - cautious_factor) * ops.mean(agrees), 1e-3)
        moved = ops.where(agrees, update, cautious_factor * update if cautious_factor else 0.0) / spread
        decayed = _decay(hypers) * param
        if cautious_wd:
            decayed = ops.where(moved * param > 0, decayed, 0.0)
        return param - decayed - moved, *kept

    return _extended(masked, plain, f"cautious_{plain.name}", cautious_factor=(Unit, 0.0), cautious_wd=(Flag, False))


def _decay(hypers: Mapping[str, Any]) -> Any:
    """What a rule with these hyperparameters takes off a parameter in parts of it."""
    lr, weight_decay = hypers["lr"], hypers.get("weight_decay", 0.0)
    if "first_lr" in hypers:
        return lion_decay(lr, weight_decay, hypers["decoupled_weight_decay"], hypers["first_lr"])
    return lr * weight_decay


def _extended(function: Any, plain: Rule, name: str, **more: tuple[Any, Any]) -> Rule:
    """A function as a rule with another rule's arguments, and hyperparameters more: the check and default of each."""
    functools.update_wrapper(function, plain.function)
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [inspect.Parameter(hyper, keyword, default=default) for hyper, (_, default) in more.items()]
    signature = inspect.signature(plain.function)
    function.__name__ = name
    function.__annotations__ = {**plain.function.__annotations__, **{hyper: check for hyper, (check, _) in more.items()}}
    function.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *added])
    return Rule(function, plain.start)


def _correcting(*args: Any, step: Any, correct_bias: bool = True, **hypers: Any) -> Any:
    """AdamW, whose averages may stay uncorrected: after infinitely many updates there is no bias to correct."""
    return adamw(*args, step=step if correct_bias else math.inf, **hypers)


cautious_adamw = cautious(_extended(_correcting, adamw, "adamw", correct_bias=(Flag, True)))
cautious_lion = cautious(lion)
