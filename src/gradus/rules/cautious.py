"""`cautious`: a rule that moves no element against its gradient."""

import functools
import inspect
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
    """

    @functools.wraps(plain.function)
    def masked(
        param: Any, grad: Any, *slots: Any, cautious_factor: Any = 0.0, cautious_wd: Any = False, **hypers: Any
    ) -> Any:
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

    masked.__name__ = f"cautious_{plain.name}"
    masked.__annotations__ = {**plain.function.__annotations__, "cautious_factor": Unit, "cautious_wd": Flag}
    masked.__signature__ = _extended(inspect.signature(plain.function), cautious_factor=0.0, cautious_wd=False)  # type: ignore[attr-defined]
    return Rule(masked, plain.start)


def _decay(hypers: Mapping[str, Any]) -> Any:
    """What a rule with these hyperparameters takes off a parameter in parts of it."""
    lr, weight_decay = hypers["lr"], hypers.get("weight_decay", 0.0)
    if "first_lr" in hypers:
        return lion_decay(lr, weight_decay, hypers["decoupled_weight_decay"], hypers["first_lr"])
    return lr * weight_decay


def _extended(signature: inspect.Signature, **more: Any) -> inspect.Signature:
    """A signature with further hyperparameters at its end."""
    named = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default) for name, default in more.items()]
    return signature.replace(parameters=[*signature.parameters.values(), *named])


cautious_adamw, cautious_lion = cautious(adamw), cautious(lion)
