"""Loading an optimizer's state: all of it is matched and checked before anything is changed."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from gradus.backends.tensor_group import scalar_tensor, step_tensor
from gradus.checks import shown
from gradus.errors import InvalidInput
from gradus.optim.foreign import own_group, own_state
from gradus.optim.plan import empty_slot, used_slots
from gradus.rules.rule import Rule

if TYPE_CHECKING:
    from gradus.optim.optimizer import Optimizer

__all__ = [
    "RULE",
    "Difference",
    "between_hooks",
    "count",
    "fill",
    "load",
    "number",
    "saved_groups",
    "unshared",
    "with_unmade_slots",
]

RULE = "gradus.rule"  # the key of the rule's name in a state; torch ignores it
_NOT_RESTORED = {
    "params",
    "param_names",
    "foreach",
    "fused",
    "capturable",
    "differentiable",
}  # chosen here


_COUNTED = frozenset(("k", "step", "lr_max", "weight_sum"))  # in groups elsewhere, with each parameter here


class Difference(NamedTuple):
    """The parameters that are on one side only: names, or (group, parameter) indices where there are no names."""

    missing: list[Any]
    unexpected: list[Any]


def load(optimizer: "Optimizer", given: Mapping[str, Any], strict: bool) -> Difference:
    """Load a state; see `Optimizer.load_state_dict`."""
    difference: Difference = between_hooks(optimizer, given, lambda given: _load(optimizer, given, strict))
    return difference


def between_hooks(
    optimizer: torch.optim.Optimizer, given: Mapping[str, Any], take: Callable[[Mapping[str, Any]], Any]
) -> Any:
    """Call the pre hooks, `take` with the state that they leave, and the post hooks; returns what `take` returns."""
    given = dict(given)
    for before in optimizer._optimizer_load_state_dict_pre_hooks.values():
        given = before(optimizer, given) or given
    taken = take(given)
    for after in optimizer._optimizer_load_state_dict_post_hooks.values():
        after(optimizer)
    return taken


def _load(optimizer: "Optimizer", given: Mapping[str, Any], strict: bool) -> Difference:
    groups, saved = optimizer.param_groups, saved_groups(given)
    name = optimizer.rule.name
    if given.get(RULE, name) != name:
        raise InvalidInput(f"the saved state is of the rule {shown(given[RULE])}, and this optimizer's is {name!r}")
    pairs, difference = _matched(groups, saved)
    if strict and any(difference):
        here, there = ([len(group["params"]) for group in some] for some in (groups, saved))
        raise InvalidInput(
            f"the saved state has other parameters: missing {difference.missing}, unexpected {difference.unexpected}, of "
            f"groups of {there} parameters for {here}; strict=False loads what both have"
        )
    if strict and len(groups) != len(saved):
        raise InvalidInput(
            f"the saved state has {len(saved)} parameter groups, this optimizer {len(groups)}; strict=False loads it"
        )
    saved = [own_group(optimizer.rule, old) for old in saved]
    for old in saved:
        _check_group(optimizer, old)
    group_of = {param: group for group in groups for param in group["params"]}
    saved_of = {key: old for old in saved for key in old["params"]}
    states = {}
    for key, param in pairs:
        if key in given["state"]:
            rule, whole = optimizer.rule_for(param, group_of[param]), {**group_of[param], **saved_of[key]}
            kept = own_state(rule, saved_of[key], given["state"][key])
            states[param] = _state(rule, param, whole, kept, ours=RULE in given)
    # With another number of groups, no group can be matched.
    for group, old in zip(groups, saved, strict=True) if len(groups) == len(saved) else ():
        fill(group, {name: value for name, value in old.items() if name not in _COUNTED or name in group})
    optimizer._take(states)
    return difference


def saved_groups(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The groups of a state, after checking its form."""
    if not isinstance(given.get("state"), Mapping) or not isinstance(given.get("param_groups"), list):
        raise InvalidInput("this is no optimizer's state: it must have 'state' and 'param_groups'")
    groups: list[dict[str, Any]] = given["param_groups"]
    for number, group in enumerate(groups):
        if not _is_group(group):
            raise InvalidInput(
                f"parameter group {number} of the saved state must have a list of parameters, and as many names if any"
            )
    if not all(isinstance(kept, Mapping) for kept in given["state"].values()):
        raise InvalidInput("the saved state must have a dict for each parameter")
    return groups


def _is_group(group: Any) -> bool:
    if not isinstance(group, dict) or not isinstance(params := group.get("params"), list):
        return False
    names = group.get("param_names", [str(param) for param in params])
    return (
        all(isinstance(param, (int, str)) for param in params)
        and isinstance(names, list)
        and len(names) == len(params)
        and all(isinstance(name, str) for name in names)
    )


def _check_group(optimizer: "Optimizer", saved: Mapping[str, Any]) -> None:
    name = type(optimizer).__name__
    for hyper, described in optimizer.hypers.items():
        if hyper not in saved:
            # Later versions added flags, but no numbers; and torch's Muon has no AdamW options.
            if hyper in optimizer.rule.hypers and not isinstance(described.default, bool):
                raise InvalidInput(f"the saved state isn't of {name}: its groups have no {hyper!r}")
            continue
        adams = hyper == "decoupled_weight_decay" and "first_lr" not in optimizer.rule.hypers  # Lion's means another thing
        decoupled = saved[hyper] if adams else None
        if isinstance(decoupled, bool) and decoupled != optimizer.defaults[hyper]:
            raise InvalidInput(
                f"the saved state decays weights {'apart from' if decoupled else 'within'} the gradient, as "
                f"{'AdamW' if decoupled else 'Adam'} does; build that optimizer and load it there"
            )
        if described.check is not None:
            described.check(f"the saved {hyper}", saved[hyper])
    optimizer._check_saved(saved)


def _matched(groups: list[dict[str, Any]], saved: list[dict[str, Any]]) -> tuple[list[tuple[Any, Tensor]], Difference]:
    """Pairs of saved and present parameters, and those on one side only."""
    if all("param_names" in group for group in (*groups, *saved)):
        here = dict(_named(groups))
        there = dict(_named(saved))
        shared = [name for name in there if name in here]
        missing, unexpected = [name for name in here if name not in there], [name for name in there if name not in here]
        return [(there[name], here[name]) for name in shared], Difference(missing, unexpected)
    pairs: list[tuple[Any, Tensor]] = []
    difference = Difference([], [])
    # By position, only groups of equal size match: a layer may have been inserted.
    nothing: dict[str, Any] = {"params": []}
    for number, (group, old) in enumerate(zip_longest(groups, saved, fillvalue=nothing)):
        if len(groups) == len(saved) and len(group["params"]) == len(old["params"]):
            pairs += zip(old["params"], group["params"], strict=True)
        else:
            difference.missing.extend((number, place) for place in range(len(group["params"])))
            difference.unexpected.extend((number, place) for place in range(len(old["params"])))
    return pairs, difference


def _named(groups: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    return chain.from_iterable(zip(group["param_names"], group["params"], strict=True) for group in groups)


def _state(rule: Rule, param: Tensor, group: Mapping[str, Any], saved: Mapping[str, Any], *, ours: bool) -> dict[str, Any]:
    """A parameter's state in our form: steps as counts, slots in their own precision on the parameter's device."""
    kept: dict[str, Any] = {}
    others: dict[str, Any] = {}  # entries of a subclass or a wrapper
    for name, value in saved.items():
        if name == "step":
            continue
        if name not in rule.slots and ours:
            others[name] = copy.deepcopy(value)
            continue
        if name not in rule.slots:
            raise InvalidInput(
                f"the saved state isn't of the rule {rule.name}: it has a slot {name!r}; {', '.join(rule.slots)} are its own"
            )
        if value is None:  # torch writes an unused slot so
            continue
        if name in rule.scalars:
            kept[name] = scalar_tensor(number(name, value))
            continue
        slot, shape = empty_slot(rule, name, param, group), tuple(getattr(value, "shape", ()))
        if slot is None or not isinstance(value, Tensor) or slot.shape != value.shape:
            expected = "none" if slot is None else f"shape {tuple(slot.shape)}"
            raise InvalidInput(
                f"a parameter of shape {tuple(param.shape)} has a {name} of {expected}; the saved one's is {shape}"
            )
        if value.layout != slot.layout or value.is_meta != slot.is_meta or value.is_complex() > slot.is_complex():
            raise InvalidInput(
                f"the saved {name} must be a dense tensor with memory, of real numbers unless the parameter is complex; got "
                f"{value.layout} of {value.dtype} on {value.device}"
            )
        kept[name] = slot.copy_(value)
    step = count("step", saved.get("step", 0))
    if kept or step:
        _require_whole(rule, param, group, saved)
    return {"step": step_tensor(step), **kept, **others}


def _require_whole(rule: Rule, param: Tensor, group: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    """Refuse a state without one of the rule's entries. A slot that isn't made yet is there, as None."""
    if missing := [name for name in ("step", *used_slots(rule, param, group)) if name not in saved]:
        raise InvalidInput(
            f"the saved state isn't of the rule {rule.name} as a whole: it has no {missing[0]} for a parameter of shape "
            f"{tuple(param.shape)}; it has {', '.join(map(str, saved))}. To start anew, load no state"
        )


def with_unmade_slots(optimizer: "Optimizer", states: Mapping[Any, dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    """Packed states with None for each slot that is in use but not made yet."""
    places = ((param, group) for group in optimizer.param_groups for param in group["params"])
    states = dict(states)
    for number, (param, group) in enumerate(places):
        if states.get(number):
            with suppress(InvalidInput):  # a hyperparameter out of its range
                used = used_slots(optimizer.rule_for(param, group), param, group)
                states[number] = states[number] | dict.fromkeys(name for name in used if name not in states[number])
    return states


def number(name: str, value: Any, *, finite: bool = True) -> float:
    """A saved number as a float; not finite only if allowed."""
    single = isinstance(value, Tensor) and value.numel() == 1 and value.layout is torch.strided and not value.is_meta
    plain = value.item() if single else value
    if not isinstance(plain, (int, float)) or ((finite or isinstance(plain, int)) and not abs(plain) < 2**63):
        raise InvalidInput(f"a saved {name} must be a finite number; got {shown(value)}")
    return float(plain)


def count(name: str, value: Any) -> int:
    """A saved count as an int."""
    found = number(name, value)
    if found < 0 or found != int(found):
        raise InvalidInput(f"a saved {name} is a count; got {found:g}")
    return int(found)


def unshared(states: Mapping[Any, dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    """States that share no tensors or memory: torch counts each parameter's steps in place."""
    seen: set[int] = set()

    def own(value: Any) -> Any:
        if isinstance(value, Tensor) and (id(value) in seen or _is_part(value)):
            return value.clone()
        seen.add(id(value))
        return value

    return {
        param: {name: own(value) for name, value in kept.items()} if isinstance(kept, dict) else kept
        for param, kept in states.items()
    }


def _is_part(value: Tensor) -> bool:
    """Whether it is a number in an array of numbers."""
    return value.layout is torch.strided and value.dim() == 0 and value.untyped_storage().nbytes() > value.element_size()


def fill(group: dict[str, Any], saved: Mapping[str, Any]) -> None:
    """Fill a group in place; a tensor stays the same object."""
    for name, value in saved.items():
        if name in _NOT_RESTORED and not (name == "param_names" and name not in group):  # a group without names takes them
            continue
        if isinstance(group.get(name), Tensor):
            group[name].fill_(float(value))
        else:
            group[name] = copy.deepcopy(value)
