"""What there is to say of an optimizer, of a batch and of a loss, where a rate alone would mislead."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["finds_its_own_step", "holds", "is_unbounded", "maximizes", "of_optimizer"]

# Prodigy, D-Adaptation, DoG, DoWG, COCOB and Mechanic estimate the step's length, ours and other packages' alike.
_OWN_STEP = re.compile(r"prodigy|d_?adapt|^l?dog$|^dowg$|cocob|mechanic", re.IGNORECASE)
_OWN_STEP_KEYS = {"d0", "d_coef"}
_RATE = re.compile(r"(^|_)lr(_|$)")
# What a schedule or an optimizer notes in a group, and factors and powers of a rate.
_NO_RATES = {
    "lr",
    "lr_max",
    "lr_decay",
    "lr_scale",
    "lr_mult",
    "lr_ratio",
    "weight_lr_power",
    "scheduled_lr",
    "adjust_lr_fn",
}
_WRITTEN = re.compile(r"^(initial|min|max|swa|base)_")
_FAR = 10  # times where the loss begins and its noise: no loss that has a bottom near there falls as far
_DOUBLED = 1.8  # of the descent at half the rate, where a loss falls in proportion to the rate


def finds_its_own_step(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the rate is a factor of a step's length that the optimizer estimates itself, and is to stay at 1."""
    named = any(_OWN_STEP.search(kind.__name__) for kind in type(optimizer).__mro__)
    return named or any(not _OWN_STEP_KEYS.isdisjoint(group) for group in optimizer.param_groups)


def of_optimizer(optimizer: torch.optim.Optimizer) -> Iterator[str]:
    """Sentences on what the rate that was moved isn't all of.

    Args:
        optimizer: as it was before the test.
    """
    groups, name = optimizer.param_groups, type(optimizer).__name__
    if finds_its_own_step(optimizer):
        yield (
            f"{name} finds the length of its step itself, and its rate is a factor that is to stay at 1, which trainings so "
            f"short can't judge: train with lr=1."
        )
    others = {key: value for group in groups for key, value in group.items() if _is_another_rate(key, value)}
    if others:
        values = ", ".join(f"{key}={float(value):.3g}" for key, value in sorted(others.items()))
        yield f"Only lr was moved; {values} stayed as set."
    rates = [float(group["lr"]) for group in groups]
    if len(set(rates)) > 1 and max(rates) > 0:
        yield (
            f"It is the rate of the group whose own is highest; the other groups' were kept in proportion, from "
            f"{min(rates) / max(rates):.3g} times that."
        )
    if maximizes(optimizer):
        yield f"{name} maximizes, so the losses shown are the negative of yours."


def maximizes(optimizer: torch.optim.Optimizer) -> bool:
    """Whether all groups go up the loss."""
    return all(group.get("maximize", False) for group in optimizer.param_groups)


def _is_another_rate(key: Any, value: Any) -> bool:
    if not isinstance(key, str) or key in _NO_RATES or _WRITTEN.match(key) or not _RATE.search(key):
        return False
    return not isinstance(value, bool) and isinstance(value, (int, float, Tensor)) and float(value) > 0


def holds(batch: Any) -> str:
    """What in a batch is no finite number, such as "its input holds nan"; empty where all is finite."""
    names = ("input", "target") if isinstance(batch, (tuple, list)) and len(batch) == 2 else ()
    parts = dict(zip(names, batch, strict=True)) if names else {"batch": batch}
    found = [f"its {name} holds {kind}" for name, part in parts.items() if (kind := _kind(part))]
    return " and ".join(found).replace("its batch", "it")


def _kind(part: Any) -> str:
    if isinstance(part, Tensor):
        if not (part.is_floating_point() or part.is_complex()) or bool(part.isfinite().all()):
            return ""
        return "nan" if bool(part.isnan().any()) else "inf"
    inside = part.values() if isinstance(part, Mapping) else part if isinstance(part, (tuple, list)) else ()
    return next((kind for one in inside if (kind := _kind(one))), "")


def is_unbounded(rates: Sequence[float], losses: Sequence[float], first: float, noise: float) -> bool:
    """Whether a loss falls below 0 and on, in proportion to the rate or faster, as far as rates give a number at all.

    A loss may well be negative, a density's logarithm for one; but it has a bottom, and its descent slows before that.

    Args:
        rates: in their order.
        losses: at each.
        first: the loss from which the descent starts.
        noise: of a single loss.
    """
    known = [(rate, loss) for rate, loss in zip(rates, losses, strict=True) if math.isfinite(loss)]
    if len(known) < 2:
        return False
    top, lowest = known[-1]
    before = [loss for rate, loss in known if rate <= top / 1.9]
    if not before or lowest >= 0 or first - lowest <= _FAR * (abs(first) + noise):
        return False
    return first - lowest >= _DOUBLED * (first - before[-1])
