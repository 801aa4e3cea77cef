"""Translate saved states of other libraries' optimizers and of older versions, or refuse them with the reason."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gradus.errors import InvalidInput
from gradus.rules.rule import Rule

__all__ = ["own_group", "own_state"]

# Other libraries' names for the slots of a rule; bitsandbytes numbers them.
_NAMES: dict[str, dict[str, str]] = {
    "sgd": {"state1": "momentum_buffer"},
    "adagrad": {"state1": "sum"},
    "rmsprop": {"state1": "square_avg"},
    "lion": {"state1": "exp_avg"},
    "ademamix": {"exp_avg_fast": "exp_avg"},  # its authors'
    **{name: {"state1": "exp_avg", "state2": "exp_avg_sq"} for name in ("adam", "adamw", "lamb")},
}
_QUANTIZED = frozenset(("absmax1", "absmax2", "qmap1", "qmap2"))
# Hyperparameters that a rule got later; states from before are as with the default.
_LATER = {
    "adagrad": frozenset(("eps", "initial_accumulator_value")),
    "adafactor": frozenset(("beta1",)),
    "lars": frozenset(("dampening",)),
    "cautious_adamw": frozenset(("cautious_factor",)),
    "cautious_lion": frozenset(("cautious_factor",)),
    "prodigy": frozenset(("slice_p",)),
}
_PRODIGYS = frozenset(("use_bias_correction", "fsdp_in_use", "d_denom", "d_hat"))  # unneeded keys of its groups
_BIAS = ("bias_correction", "correct_bias")  # apex, timm, Transformers


def own_group(rule: Rule, saved: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a saved group; its counters stay in it for `own_state`.

    Raises:
        InvalidInput: it belongs to an optimizer with another update.
    """
    group = {name: rule.hypers[name].default for name in _LATER.get(rule.name, ()) if name not in saved} | dict(saved)
    for name in _BIAS:
        if name in group and name not in rule.hypers and group[name] is False:
            raise InvalidInput(
                f"the saved state is of an optimizer with {name}=False, and {rule.name} corrects the bias of its averages; "
                f"go on with that optimizer, or start without its state"
            )
    if "train_mode" in group:  # schedulefree's
        group["mode"] = "train" if group.pop("train_mode") else "eval"
    if rule.name == "prodigy" and "use_bias_correction" in group:  # prodigyopt's
        group = {name: value for name, value in group.items() if name not in _PRODIGYS}
        group |= {"bias_correction": saved["use_bias_correction"], "d_next": saved.get("d")}
    return group


def own_state(rule: Rule, group: Mapping[str, Any], saved: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a parameter's saved state.

    Args:
        rule: the rule that updates it.
        group: the saved group that it is in, where apex, timm and schedulefree count its steps.
        saved: its state.

    Raises:
        InvalidInput: it is kept in eight bits.
    """
    if quantized := sorted(_QUANTIZED & saved.keys()):
        raise InvalidInput(
            f"the saved state is kept in 8 bits (it has {quantized[0]!r}, as bitsandbytes writes it), and can't be "
            f"reconstructed from its numbers alone; save it with optim_bits=32, or start without it"
        )
    names = _NAMES.get(rule.name, {})
    state = {names.get(name, name): value for name, value in saved.items()}
    if isinstance(negative := state.get("neg_pre_grad"), Tensor) and "pre_grad" in rule.slots:  # timm's Adan
        state["pre_grad"] = -negative
        del state["neg_pre_grad"]
    if rule.name == "prodigy":
        state = _of_prodigy(state, group)
    begun = any(value is not None for value in state.values())
    if begun and "step" not in state and (count := group.get("k", group.get("step"))) is not None:
        state["step"] = count
    if begun and rule.scalars:  # schedulefree keeps them in its groups
        state = {**{name: group[name] for name in rule.slots if name in rule.scalars and name in group}, **state}
    if rule.name == "sgd" or not rule.counts_steps:  # torch counts no steps then; a slot says that one was done
        state.setdefault("step", 1 if begun else 0)
    return state


def _of_prodigy(state: dict[str, Any], group: Mapping[str, Any]) -> dict[str, Any]:
    """prodigyopt's: s is flat, p0 may be a single 0, and with β₁ = 0 there is no first moment."""
    like, s, p0 = (state.get(name) for name in ("exp_avg_sq", "s", "p0"))
    if not (isinstance(like, Tensor) and isinstance(s, Tensor) and isinstance(p0, Tensor)):
        return state
    shape = like.shape if s.numel() == like.numel() else s.shape
    if p0.numel() == 1 and not p0.is_meta and not p0.any():
        p0 = p0.reshape(()).expand(shape)
    if p0.numel() == s.numel():
        state = {**state, "s": s.reshape(shape), "p0": p0.reshape(shape)}
    return state if group["betas"][0] else {"exp_avg": like.new_zeros(like.shape), **state}
