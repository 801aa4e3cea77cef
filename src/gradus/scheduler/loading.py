"""Loading a saved state: what differs from the present definitions, and what each answer to that means."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import zip_longest
from typing import Any, Literal, get_args

from gradus.errors import InvalidInput
from gradus.names import did_you_mean
from gradus.scheduler.accessor import Accessor, Group, Value
from gradus.scheduler.bindings import Bound, Definition, Hyperparameter, is_same
from gradus.scheduler.state import SavedHyperparameter, SavedState
from gradus.schedules import Absolute, Schedule
from gradus.schedules.metric import factors_of

__all__ = ["OnChange", "checked_answer", "load"]

OnChange = Literal["keep", "new", "rescale", "splice"]


def checked_answer(on_change: Any) -> OnChange | None:
    """An answer, if it is one."""
    if on_change not in (None, *get_args(OnChange)):
        hint = did_you_mean(on_change, get_args(OnChange))
        raise InvalidInput(f'on_change must be "keep", "new", "rescale" or "splice"; got {on_change!r}{hint}')
    answer: OnChange | None = on_change
    return answer


def load(
    here: Mapping[str, Hyperparameter],
    saved: SavedState,
    groups: list[Group],
    answer: OnChange | None,
    trusted: bool,
) -> tuple[int, dict[str, Hyperparameter]]:
    """The step and the hyperparameters after a state has been loaded; nothing is changed by it.

    Raises:
        InvalidInput: something differs and there is no answer, or it can't be followed.
    """
    pairs = {
        name: _Pair(name, mine, saved.hyperparameters[name], saved.step, answer, trusted)
        for name, mine in here.items()
        if name in saved.hyperparameters
    }
    if answer is None and (differences := [*_differences(here, saved, pairs)]):
        raise InvalidInput(
            f'the saved schedules differ: {"; ".join(differences)}; pass on_change="keep" to go on as saved, "new" for the '
            f'ones here from the saved step, "rescale" for them from the same part, or "splice" to begin them now'
        )
    if answer == "keep":
        names = saved.hyperparameters
        kept = {name: pairs[name] if name in pairs else _unscheduled(name, saved, groups, trusted) for name in names}
        return saved.step, {name: pair.kept(groups) for name, pair in kept.items()}
    loaded = {name: pairs[name].answered(groups) if name in pairs else mine for name, mine in here.items()}
    is_redefined = here.keys() != saved.hyperparameters.keys() or any(pair.is_redefined for pair in pairs.values())
    return _rescaled(here, saved, trusted) if answer == "rescale" and is_redefined else saved.step, loaded


def _differences(here: Mapping[str, Hyperparameter], saved: SavedState, pairs: "Mapping[str, _Pair]") -> Iterator[str]:
    for name in {**saved.hyperparameters, **here}:
        if name in pairs:
            yield from pairs[name].differences()
        elif name in here:
            yield f"{name} was not scheduled and is {here[name].origin.definition} now"
        else:
            yield f"{name} was {_printed(saved.hyperparameters[name].schedules)} and is not scheduled now"


def _unscheduled(name: str, saved: SavedState, groups: list[Group], trusted: bool) -> "_Pair":
    """A hyperparameter that only the state schedules, with itself."""
    one = saved.hyperparameters[name]
    mine = Hyperparameter(Accessor(name), _definition(one, trusted))
    mine.add_groups(groups)
    return _Pair(name, mine, one, saved.step, "keep", trusted)


def _definition(saved: SavedHyperparameter, trusted: bool) -> Definition:
    schedules = tuple(Schedule.from_json(text, trusted=trusted) for text in saved.schedules)
    return Definition(schedules, None if saved.groups is None else tuple(frozenset(one) for one in saved.groups))


class _Pair:
    """A hyperparameter's present and saved definitions."""

    def __init__(
        self,
        name: str,
        here: Hyperparameter,
        saved: SavedHyperparameter,
        step: int,
        answer: OnChange | None,
        trusted: bool,
    ) -> None:
        self.name, self.here, self.saved, self.step, self.answer, self.trusted = name, here, saved, step, answer, trusted
        self._known = min(len(here.schedule_of_group), len(saved.bases))  # groups that both sides know
        self._saved_bounds: dict[int, Bound] = {}
        for index, base in enumerate(saved.bases):
            own = here.bases[index] if index < len(here.bases) else None
            if base is not None and base < 0 and not (own is not None and own < 0):
                raise InvalidInput(f"a saved base is below 0 only where the group's own is; {name!r} has {saved.bases!r}")
        self._same = self._same_definition()
        self.is_redefined = self._same is None

    # What differs

    def _same_definition(self) -> Hyperparameter | None:
        """Which is as it was saved: what is followed here, or what the user has given, which it may have been spliced to."""
        for mine in (self.here, self.here.origin):
            if self._has(mine, self.saved.schedules):
                return mine
        spliced = self.saved.given if self.answer in (None, "splice") else None
        return self.here.origin if spliced is not None and self._has(self.here.origin, spliced) else None

    def _has(self, mine: Hyperparameter, texts: list[str]) -> bool:
        schedules = mine.definition.schedules
        return (
            len(texts) == len(schedules)
            and mine.groups_of_schedules(self._known) == self.saved.groups_below(self._known)
            and all(is_same(text, one, self.trusted) for text, one in zip(texts, schedules, strict=True))
        )

    @cached_property
    def _changed(self) -> list[int]:
        """The groups with other bases."""
        return [index for index in range(self._known) if self._is_changed(index)]

    def _is_changed(self, index: int) -> bool:
        """Whether a group's base is another one, and not for the reason that the group was scheduled when it was found."""
        mine, theirs, base = self.here.schedule_of_group[index], self.saved.schedule_of(index), self.saved.bases[index]
        own, found = self.here.bases[index], self.here.origin.found[index]
        if mine is None or theirs is None or base is None or own is None or found is None:
            return False
        if Value(own, found.dtype).is_near(base) or found.is_near(base):
            return False
        was = self._saved_bound(theirs)
        if was.is_absolute and self.here.bounds[mine].is_absolute:
            return False
        return not found.is_near(was.at(self.step) * (1 if was.is_absolute else base))

    def _saved_bound(self, number: int) -> Bound:
        """A schedule as it was saved, with what its factors had seen."""
        if number not in self._saved_bounds:
            text = self.saved.schedules[number]
            ours = (*self.here.definition.schedules, *self.here.origin.definition.schedules)  # these needn't be trusted
            schedule = next((one for one in ours if one.to_json() == text), None)
            self._saved_bounds[number] = Bound(schedule or Schedule.from_json(text, trusted=self.trusted))
            self._saved_bounds[number].load(self.saved.seen[number], self.trusted)
        return self._saved_bounds[number]

    def differences(self) -> Iterator[str]:
        """What is another than it was, in words."""
        if self.is_redefined:
            yield f"{self.name} was {_printed(self.saved.schedules)} and is {self.here.origin.definition} now"
        for index in self._changed:
            was, now = self.saved.bases[index], self.here.bases[index]
            yield f"the base of {self.name} in group {index} was {was} and is {now} now"

    # What follows

    def kept(self, groups: list[Group]) -> Hyperparameter:
        """As it was saved."""
        if self._same is not None:
            return self._unchanged(self._same.definition, groups, ())
        return self._unchanged(_definition(self.saved, self.trusted), groups, ())

    def answered(self, groups: list[Group]) -> Hyperparameter:
        """As it is here, in the way that the answer says; as it was saved where nothing is changed."""
        origin = self.here.origin
        if self.answer == "splice" and (self.is_redefined or self._changed):
            schedules = [self._spliced(schedule, number) for number, schedule in enumerate(origin.definition.schedules)]
            definition = Definition(tuple(schedules), origin.definition.keys)
            texts = [schedule.to_json() for schedule in origin.definition.schedules]
            made = Hyperparameter(self.here.accessor, definition, origin, spliced_to=texts)
            return self._filled(made, groups, self._changed)
        if self._same is not None:
            return self._unchanged(self._followed(self._same), groups, self._changed)
        made = self._filled(Hyperparameter(self.here.accessor, origin.definition, origin), groups, self._changed)
        for number, bound in enumerate(made.bounds):
            theirs = self._predecessor(made, number)
            bound.adopt([] if theirs is None else self.saved.seen[theirs], self.trusted)
        return made

    def _followed(self, same: Hyperparameter) -> Definition:
        """What was followed under a definition: itself, or what was spliced to it."""
        if self._has(same, self.saved.schedules):
            return same.definition
        return Definition(_definition(self.saved, self.trusted).schedules, same.definition.keys)

    def _unchanged(self, definition: Definition, groups: list[Group], changed: Sequence[int]) -> Hyperparameter:
        """The saved schedules, with what their factors had seen."""
        made = Hyperparameter(self.here.accessor, definition, self.here.origin, spliced_to=self.saved.given)
        for bound, seen in zip(made.bounds, self.saved.seen, strict=True):
            bound.load(seen, self.trusted)
        return self._filled(made, groups, changed)

    def _filled(self, made: Hyperparameter, groups: list[Group], changed: Sequence[int]) -> Hyperparameter:
        """With the saved bases, but for groups where they are changed or not known."""
        bases = [None if index in changed else base for index, base in enumerate(self.saved.bases)]
        pairs = zip_longest(bases, self.here.bases)
        made.bases = [own if base is None else base for base, own in pairs]
        made.add_groups(groups)
        return made

    def _predecessor(self, made: Hyperparameter, number: int) -> int | None:
        """The saved schedule that the first group of a schedule followed."""
        first = next((i for i, which in enumerate(made.schedule_of_group[: self._known]) if which == number), None)
        return None if first is None else self.saved.schedule_of(first)

    def _spliced(self, after: Schedule, number: int) -> Schedule:
        """What the groups of a schedule followed up to the saved step, then what they follow from there."""
        groups = [i for i, which in enumerate(self.here.origin.schedule_of_group[: self._known]) if which == number]
        numbers = {self.saved.schedule_of(index) for index in groups}
        text = self.saved.schedules[numbers.pop() or 0] if len(numbers) == 1 and None not in numbers else None
        before = None if text is None else Schedule.from_json(text, trusted=self.trusted)
        if before is None or factors_of(before):
            raise InvalidInput('on_change="splice" joins one schedule to one, and no metric-driven factors before the joint')
        if isinstance(before, Absolute) != isinstance(after, Absolute):
            raise InvalidInput('on_change="splice" joins factors to factors and absolute(...) to absolute(...)')
        if isinstance(before, Absolute) and isinstance(after, Absolute):
            return Absolute(before.schedule.take(self.step) >> after.schedule)
        return before.take(self.step) >> after


def _rescaled(here: Mapping[str, Hyperparameter], saved: SavedState, trusted: bool) -> int:
    """The step at which the schedules here are as far through as the saved ones at theirs."""
    texts = [text for one in saved.hyperparameters.values() for text in one.schedules]
    before = _longest([Schedule.from_json(text, trusted=trusted) for text in texts])
    after = _longest([schedule for mine in here.values() for schedule in mine.origin.definition.schedules])
    if not (before and after):
        raise InvalidInput('on_change="rescale" needs an end, before and after; give the schedules one: .take(steps)')
    return round(saved.step * after / before)


def _longest(schedules: list[Schedule]) -> int:
    """The longest length among schedules; 0 where one has no end."""
    return 0 if any(schedule.is_endless for schedule in schedules) else max(map(len, schedules), default=0)


def _printed(texts: list[str]) -> str:
    try:
        return " and ".join(repr(Schedule.from_json(text)) for text in texts)
    except InvalidInput:
        return " and ".join(texts)
