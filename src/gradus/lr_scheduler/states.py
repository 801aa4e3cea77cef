"""What a saved state of a scheduler may be; it is checked as a whole before anything is loaded."""

import math
from collections.abc import Collection, Mapping
from numbers import Real
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from gradus.checks import is_whole, shown
from gradus.errors import InvalidInput

__all__ = ["IGNORED", "is_number", "require_like", "stand_in"]

# Fields of torch's states that aren't a scheduler's own; they are ignored.
IGNORED = {"_is_initial", "_get_lr_called_within_step", "_scale_fn_ref", "anneal_func", "verbose", "is_better"}
LONGEST = 10**6  # of lists, and of what a mapping counts


def require_like(scheduler: Any, state: Any, elsewhere: Collection[str] = ()) -> None:
    """Refuse what can't be a state of this scheduler: its fields must be of the kinds that the scheduler's own are.

    Args:
        scheduler: the one that is to load the state.
        state: what was saved.
        elsewhere: fields that are looked at otherwise.

    Raises:
        InvalidInput: no mapping, a field that would hide one of the class's own, or one of another kind.
    """
    name = type(scheduler).__name__
    if not isinstance(state, Mapping):
        raise InvalidInput(f"this is no state of a {name}: a state is a mapping; got a {type(state).__name__}")
    own = vars(scheduler)
    for key, value in state.items():
        hides = not isinstance(key, str) or key == "optimizer" or (hasattr(type(scheduler), key) and key not in own)
        if key not in IGNORED and key not in elsewhere and (hides or (key in own and not _is_like(value, own[key]))):
            raise InvalidInput(f"a {name}'s state can't have {shown(key, 40)}: {shown(value)}")


def _is_like(given: Any, own: Any) -> bool:
    """Whether a value is of the same kind as one's own: a flag, a finite number, a text, a list or a mapping of those."""
    if isinstance(own, (list, tuple)):
        first = own[0] if own else 0.0
        return isinstance(given, (list, tuple)) and len(given) <= LONGEST and all(_is_like(one, first) for one in given)
    if isinstance(own, Mapping):
        return isinstance(given, Mapping) and all(_is_like(one, own.get(key, 0)) for key, one in given.items())
    if own is None or isinstance(own, (bool, str)):
        return own is None or type(given) is type(own)
    if isinstance(own, (int, float, Tensor)):
        return is_number(given) and (math.isfinite(given) or not math.isfinite(own))
    return True


def is_number(value: Any) -> bool:
    """Whether this is a number that a float can be, or a tensor of one."""
    if isinstance(value, Tensor):
        return value.numel() == 1 and not value.is_complex()
    if isinstance(value, int):
        return is_whole(value, 1 - 2**63, 2**63 - 1)
    return isinstance(value, Real)


def stand_in(optimizer: Any) -> Any:
    """Something with an optimizer's groups, to try on what may fail."""
    groups = [
        {key: value.clone() if isinstance(value, Tensor) else value for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]
    return SimpleNamespace(param_groups=groups, defaults=optimizer.defaults)
