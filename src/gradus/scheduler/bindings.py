"""Schedules bound to the groups of an optimizer: for each hyperparameter, which group follows which, and from which base."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gradus.errors import InvalidInput
from gradus.names import did_you_mean
from gradus.scheduler.accessor import Accessor, Group, Value
from gradus.schedules import Absolute, Schedule
from gradus.schedules.metric import MetricFactor, State, factors_of

__all__ = ["Bound", "Definition", "Hyperparameter", "Which", "is_same"]

Which = int | str | Callable[[Group], bool] | frozenset[int]


@dataclass(frozen=True, eq=False)
class Definition:
    """Schedules, and which groups follow each: those that its key fits and no earlier one; `keys` None: all the only one."""

    schedules: tuple[Schedule, ...]
    keys: tuple[Which, ...] | None = None

    def schedule_of(self, index: int, group: Group) -> int | None:
        """The number of the schedule that a group follows; None where it is left alone."""
        if self.keys is None:
            return 0
        return next((number for number, key in enumerate(self.keys) if _fits(key, index, group)), None)

    def __str__(self) -> str:
        return " and ".join(map(repr, self.schedules))


def _fits(key: Which, index: int, group: Group) -> bool:
    """Whether a key of a mapping means this group."""
    if isinstance(key, frozenset):
        return index in key
    if isinstance(key, int):
        return index == key
    return bool(key(group)) if callable(key) else group.get("name") == key


def is_same(text: str, schedule: Schedule, trusted: bool) -> bool:
    """Whether a saved schedule is this one."""
    if text == schedule.to_json():
        return True
    try:
        return Schedule.from_json(text, trusted=trusted) == schedule  # saved by a version that wrote it otherwise
    except InvalidInput:
        return False


class Bound:
    """One schedule with what its metric-driven factors have seen."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.is_absolute = isinstance(schedule, Absolute)
        self.factors: tuple[MetricFactor, ...] = factors_of(schedule)
        self.states: list[State] = [factor.initial() for factor in self.factors]

    def at(self, step: int) -> float:
        """Its value, metric-driven factors included."""
        value: float = self.schedule(step)
        for state in self.states:
            value *= state["factor"]
        return value

    def observed(self, metric: float) -> list[State]:
        """What its factors will have seen after one more metric."""
        pairs = zip(self.factors, self.states, strict=True)
        return [factor.observed(state, metric) for factor, state in pairs]

    def load(self, seen: list[Mapping[str, Any]], trusted: bool) -> None:
        """Go on from what the same factors had seen.

        Raises:
            InvalidInput: it was seen by others, or can't be.
        """
        if len(seen) != len(self.factors) or not all(
            is_same(one["factor"], factor, trusted) for one, factor in zip(seen, self.factors, strict=True)
        ):
            raise InvalidInput(f"what metric-driven factors had seen must fit {self.schedule!r}; got {seen!r}")
        self.states = [factor.checked(one["state"]) for one, factor in zip(seen, self.factors, strict=True)]

    def adopt(self, seen: list[Mapping[str, Any]], trusted: bool) -> None:
        """Go on from what other factors had seen: each from what an equal one had, or else the next of its kind.

        Raises:
            InvalidInput: it can't have been seen.
        """
        left = list(seen)
        for index in self._took_from_equals(left, trusted):
            for position, one in enumerate(left):
                before = Schedule.from_json(one["factor"], trusted=trusted)
                if isinstance(before, MetricFactor) and type(before) is type(self.factors[index]):
                    self.states[index] = self.factors[index].retuned(before.checked(one["state"]), before)
                    del left[position]
                    break

    def _took_from_equals(self, left: list[Mapping[str, Any]], trusted: bool) -> list[int]:
        """Which factors have found no equal one among those seen; the others have taken theirs."""
        without = []
        for index, factor in enumerate(self.factors):
            found = next((i for i, one in enumerate(left) if is_same(one["factor"], factor, trusted)), None)
            if found is None:
                without.append(index)
            else:
                self.states[index] = factor.checked(left.pop(found)["state"])
        return without

    def state(self) -> list[dict[str, Any]]:
        """What its factors have seen, as JSON's types."""
        pairs = zip(self.factors, self.states, strict=True)
        return [{"factor": factor.to_json(), "state": dict(state)} for factor, state in pairs]


class Hyperparameter:
    """One hyperparameter of all groups: the schedules that they follow, and the base of each.

    Args:
        accessor: reads and writes it.
        definition: what is followed.
        origin: as the user has given it, if a saved state has put something else in its place.
        spliced_to: what the user had given when this was spliced to it, as JSON; the state says so, and it isn't done again.
    """

    def __init__(
        self,
        accessor: Accessor,
        definition: Definition,
        origin: "Hyperparameter | None" = None,
        *,
        spliced_to: list[str] | None = None,
    ) -> None:
        self.accessor, self.definition = accessor, definition
        self.origin, self.spliced_to = origin or self, spliced_to
        self.bounds = [Bound(schedule) for schedule in definition.schedules]
        self.schedule_of_group: list[int | None] = []
        self.bases: list[float | None] = []  # None where a group is left alone; a state may bring those of later groups
        self.found: list[Value | None] = []  # what was in each group when it was first seen
        self.scales_all = definition.keys is None and not self.bounds[0].is_absolute
        if origin is not None and definition.keys is origin.definition.keys:  # a key is asked once: groups change
            self.schedule_of_group, self.found = list(origin.schedule_of_group), list(origin.found)

    def add_groups(self, groups: list[Group], *, rebase: bool = False) -> None:
        """Bind the groups that aren't bound yet; nothing is written."""
        for index in range(len(self.schedule_of_group), len(groups)):
            which = self.definition.schedule_of(index, groups[index])
            self.found.append(None if which is None else self.accessor.value(groups[index], index))
            self.schedule_of_group.append(which)
        self.bases += [None] * (len(groups) - len(self.bases))
        for index, which in enumerate(self.schedule_of_group[: len(groups)]):
            if self.bases[index] is None and which is not None:
                self.bases[index] = self._base(groups[index], index, rebase)

    def _base(self, group: Group, index: int, rebase: bool) -> float:
        return self.accessor.value(group, index).number if rebase else self.accessor.base(group, index)

    def followed(self) -> list[tuple[Schedule, float]]:
        """Each schedule with each of the bases that it is over."""
        pairs = zip(self.schedule_of_group, self.bases, strict=False)
        return [
            (self.definition.schedules[which], base)
            for which, base in dict.fromkeys(pairs)
            if which is not None and base is not None
        ]

    def cycled_group(self, groups: list[Group]) -> int | None:
        """The first group that goes by a base which torch's OneCycleLR has written."""
        followed = (
            i for i, which in enumerate(self.schedule_of_group) if which is not None and not self.bounds[which].is_absolute
        )
        return next((index for index in followed if self.accessor.is_cycled(groups[index])), None)

    def write_bases(self, groups: list[Group], first: int = 0) -> None:
        """Keep the bases in the groups, from number `first` on, for whatever schedules them next."""
        for index in range(first, len(groups)):
            base = self.bases[index]
            if base is not None and self.schedule_of_group[index] is not None:
                self.accessor.set_base(groups[index], base)

    def at(self, groups: list[Group], step: int) -> list[float]:
        """The value of each schedule at a step; groups that have joined since are added."""
        if len(self.schedule_of_group) < len(groups):
            self._add_joined(groups)
        return [bound.at(step) for bound in self.bounds]

    def _add_joined(self, groups: list[Group]) -> None:
        known = len(self.schedule_of_group)
        self.add_groups(groups)
        if self.origin is not self:
            self.origin.add_groups(groups)
        self.write_bases(groups, known)

    def scale(self, groups: list[Group], step: int) -> None:
        """`at` and `write` in one, for the common case of one schedule that scales all groups."""
        if len(self.schedule_of_group) < len(groups):
            self._add_joined(groups)
        self.accessor.multiply(groups, self.bases, self.bounds[0].at(step))

    def values(self, at: list[float]) -> list[float | None]:
        """What each group is to hold where the schedules have these values; None where it is left alone."""
        return [
            None if which is None else self._scaled(self.bounds[which], base, at[which])
            for which, base in zip(self.schedule_of_group, self.bases, strict=False)
        ]

    @staticmethod
    def _scaled(bound: Bound, base: float | None, value: float) -> float:
        return value if bound.is_absolute or base is None else base * value

    def write(self, groups: list[Group], at: list[float]) -> None:
        """Write what follows from the schedules' values into the groups."""
        if self.scales_all:
            self.accessor.multiply(groups, self.bases, at[0])
        else:
            self.accessor.write(groups, self.values(at))

    def require_every_key_fits(self, groups: list[Group]) -> None:
        """Refuse a key of a mapping that means no group."""
        for number, key in enumerate(self.definition.keys or ()):
            if number not in self.schedule_of_group:
                hint = did_you_mean(key, [group["name"] for group in groups if "name" in group])
                known = ", ".join(repr(group.get("name", position)) for position, group in enumerate(groups))
                raise InvalidInput(
                    f"{self.accessor.name}: no group fits {key!r}{hint}, or an earlier key has taken it; there are {known}"
                )

    def groups_of_schedules(self, known: int | None = None) -> list[list[int]] | None:
        """Of the first `known` groups (or of all), those that follow each schedule; None where one is for all."""
        if self.definition.keys is None:
            return None
        known = len(self.schedule_of_group) if known is None else known
        numbers = range(len(self.bounds))
        return [[i for i, which in enumerate(self.schedule_of_group[:known]) if which == number] for number in numbers]

    def state(self) -> dict[str, Any]:
        """Its part of the Scheduler's state."""
        return {
            "schedules": [bound.schedule.to_json() for bound in self.bounds],
            "groups": self.groups_of_schedules(),
            "bases": list(self.bases),
            "seen": [bound.state() for bound in self.bounds],
            **({} if self.spliced_to is None else {"given": self.spliced_to}),
        }
