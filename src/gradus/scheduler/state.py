"""A saved state of a `Scheduler`, read and checked before anything is changed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradus.checks import is_number, is_whole
from gradus.errors import InvalidInput
from gradus.names import did_you_mean
from gradus.scheduler.accessor import Accessor
from gradus.schedules.evaluation import STEP_LIMIT

__all__ = ["VERSION", "SavedHyperparameter", "SavedState"]

VERSION = 1

_FIELDS = {"gradus.scheduler": int, "step": int, "clock": (str, type(None)), "hyperparameters": Mapping}
_OF_HYPERPARAMETER = {"schedules": list, "groups": (list, type(None)), "bases": list, "seen": list}


@dataclass(frozen=True)
class SavedHyperparameter:
    """What a state says of one hyperparameter; see `Scheduler.state_dict`."""

    schedules: list[str]
    groups: list[list[int]] | None
    bases: list[float | None]
    seen: list[list[Mapping[str, Any]]]
    given: list[str] | None = None

    def schedule_of(self, index: int) -> int | None:
        """The number of the schedule that a group followed; None where it was left alone."""
        if self.groups is None:
            return 0
        return next((number for number, one in enumerate(self.groups) if index in one), None)

    def groups_below(self, known: int) -> list[list[int]] | None:
        """Of the first `known` groups, those that followed each schedule; None where one was for all."""
        return None if self.groups is None else [[index for index in one if index < known] for one in self.groups]


@dataclass(frozen=True)
class SavedState:
    """A whole state."""

    step: int
    clock: str | None
    hyperparameters: dict[str, SavedHyperparameter]

    @staticmethod
    def read(state: Any) -> "SavedState":
        """The state, if it is one.

        Raises:
            InvalidInput: it isn't, or is of another version.
        """
        if not isinstance(state, Mapping) or "gradus.scheduler" not in state:
            raise InvalidInput("this is no state of a gradus Scheduler: it has no field 'gradus.scheduler'")
        if type(state["gradus.scheduler"]) is not int or state["gradus.scheduler"] != VERSION:
            raise InvalidInput(
                f"this scheduler state has version {state['gradus.scheduler']!r}; this Gradus reads version {VERSION}"
            )
        _check_fields(state, _FIELDS)
        if isinstance(state["step"], bool) or not 0 <= state["step"] < STEP_LIMIT:
            raise InvalidInput(f"a scheduler state's 'step' can't be {state['step']!r}")
        if state["clock"] not in (None, "steps", "samples", "tokens"):
            raise InvalidInput(f"a scheduler state's clock counts steps, samples or tokens; not {state['clock']!r}")
        saved = {name: _hyperparameter(name, one) for name, one in state["hyperparameters"].items()}
        return SavedState(state["step"], state["clock"], saved)


def _hyperparameter(name: Any, saved: Any) -> SavedHyperparameter:
    Accessor(name)  # refuses what can't be a name
    if not isinstance(saved, Mapping):
        raise InvalidInput(f"a scheduler state's {name!r} can't be {saved!r}")
    _check_fields(saved, _OF_HYPERPARAMETER | ({"given": list} if "given" in saved else {}))
    for field in ("schedules", "given"):
        if not all(isinstance(text, str) for text in saved.get(field, [])):
            raise InvalidInput(f"a scheduler state's schedules must be JSON texts; {name!r} has {saved[field]!r}")
    count = len(saved["schedules"])
    if len(saved.get("given", saved["schedules"])) != count:
        raise InvalidInput(f"a scheduler state's schedules and what they were given as must match; {name!r} has {saved!r}")
    _check_groups(name, saved["groups"], count)
    if len(saved["seen"]) != count or not all(isinstance(one, list) and all(map(_is_seen, one)) for one in saved["seen"]):
        raise InvalidInput(f"a scheduler state says what metric-driven factors had seen; {name!r} has {saved['seen']!r}")
    one = SavedHyperparameter(**{**saved, "bases": [_base(name, base) for base in saved["bases"]]})
    if any(base is None and one.schedule_of(index) is not None for index, base in enumerate(one.bases)):
        raise InvalidInput(f"each group that follows a schedule has a base; {name!r} has {one.bases!r}")
    return one


def _check_groups(name: str, groups: list[Any] | None, schedules: int) -> None:
    """Refuse groups that don't say of each schedule which groups follow it."""
    if groups is None:
        if schedules != 1:
            raise InvalidInput(f"one schedule is for all groups where a state names none; {name!r} has {schedules}")
    elif len(groups) != schedules or not all(map(_are_indices, groups)):
        raise InvalidInput(f"a scheduler state's groups must be lists of indices; {name!r} has {groups!r}")
    elif len({index for one in groups for index in one}) < sum(map(len, groups)):
        raise InvalidInput(f"a group follows one schedule; {name!r} has {groups!r}")


def _are_indices(value: Any) -> bool:
    return isinstance(value, list) and all(is_whole(index, 0) for index in value)


def _base(name: str, base: Any) -> float | None:
    if base is not None and not (is_number(base) and _is_finite(base)):
        raise InvalidInput(f"a scheduler state's bases must be lists of finite numbers; {name!r} has {base!r}")
    return None if base is None else float(base)


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer beyond all floats
        return False


def _is_seen(value: Any) -> bool:
    """Whether this is what `Bound.state` says of one factor."""
    return (
        isinstance(value, Mapping)
        and value.keys() == {"factor", "state"}
        and isinstance(value["factor"], str)
        and isinstance(value["state"], Mapping)
    )


def _check_fields(state: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    if unknown := state.keys() - kinds.keys():
        first = min(map(str, unknown))
        raise InvalidInput(f"a scheduler state has no field {first!r}{did_you_mean(first, kinds)}")
    for field, kind in kinds.items():
        if field not in state or not isinstance(state[field], kind):
            raise InvalidInput(f"a scheduler state's {field!r} can't be {state.get(field)!r}")
