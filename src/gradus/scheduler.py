"""`Scheduler`: schedules applied to the parameter groups of a torch optimizer."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from gradus.errors import InvalidInput
from gradus.schedules import Absolute, Schedule
from gradus.schedules.metric import MetricFactor, factors_of

__all__ = ["Scheduler"]

_VERSION = 1

Group = dict[str, Any]
Which = int | str | Callable[[Group], bool] | frozenset[int]
OnChange = Literal["keep", "new", "rescale", "splice"]


class Scheduler(LRScheduler):
    """Schedules for the hyperparameters of an optimizer's groups, by name.

    After `k` calls of `step()` each group holds base · schedule(k), where base is the group's own value when it was
    first seen; with `absolute(schedule)` it holds schedule(k). Groups that are added later join with their own base.
    The optimizer is never patched, and nothing is kept but the step, the definitions, the bases and what metric-driven
    factors have seen, so that building and loading in any order gives the same values.

    Args:
        optimizer: a `torch.optim.Optimizer`, or anything else with `param_groups`, a list of dicts.
        start_step: the position to begin at. The groups' values are taken for their bases all the same.
        count_updates: whether `step()` goes to the number of updates that the optimizer has really done, so that those
            which a GradScaler skips don't count; they are counted by torch's public hook.
        **schedules: a `Schedule` or `absolute(Schedule)` for each hyperparameter, by its name in the groups: `lr`,
            `momentum`, `weight_decay`, and members of tuples as `**{"betas[0]": ...}`. Or a mapping from groups to
            schedules: by a group's index, its "name", or a function of the group; groups that no key fits are left alone.
            Values may be numbers or tensors of one element; a tensor is filled in place and stays the same object.

    Raises:
        InvalidInput: no schedules; a hyperparameter that a group lacks, or that is no number; a template; a key that fits
            no group.

    >>> import torch
    >>> from gradus.schedules import Cosine, warmup
    >>> optimizer = torch.optim.SGD([torch.zeros(3, requires_grad=True)], lr=0.3)
    >>> scheduler = Scheduler(optimizer, lr=warmup(5) >> Cosine(15))
    >>> for _ in range(5):
    ...     optimizer.step()
    ...     scheduler.step()
    >>> optimizer.param_groups[0]["lr"]
    0.3
    """

    def __init__(
        self,
        optimizer: Any,
        *,
        start_step: int = 0,
        count_updates: bool = False,
        **schedules: Schedule | Mapping[Which, Schedule],
    ) -> None:
        # torch's own constructor isn't called: it wraps optimizer.step and writes into the groups.
        groups = getattr(optimizer, "param_groups", None)
        if not isinstance(groups, list) or not groups:
            raise InvalidInput(f"a Scheduler needs an optimizer with param_groups; got {optimizer!r}")
        if not schedules:
            raise InvalidInput("a Scheduler needs at least one schedule, such as lr=Cosine(1000)")
        self.optimizer = optimizer
        self._step = _position("start_step", start_step)
        self._clock: str | None = None
        self._counts_updates = count_updates
        self._tracks = {name: _Track.of(name, given, groups) for name, given in schedules.items()}
        self._count_updates()
        self._apply()

    def _apply(self) -> None:
        """Write the values of the current step into every group."""
        for track in self._tracks.values():
            track.write(self.optimizer.param_groups, self._step)

    # The clock

    def step(self, epoch: int | None = None) -> None:
        """One update further; or, as in torch, to the given position."""
        if epoch is not None:
            self.set_step(epoch)
            return
        self._on_clock("steps")
        self._step = self._updates_done if self._counts_updates else self._step + 1
        self._apply()

    def set_step(self, step: int) -> None:
        """To the position after `step` updates, from wherever it is."""
        self._step = self._updates_done = _position("set_step", step)
        self._apply()

    def advance(self, *, samples: int | None = None, tokens: int | None = None) -> None:
        """So many samples or tokens further, on a clock that counts those; the schedules' lengths are in them too.

        Args:
            samples: training examples of the update, over all processes.
            tokens: its tokens, over all processes; one of the two is given, and always the same one.

        Raises:
            InvalidInput: none or both are given, or the clock has counted something else so far.

        >>> import torch
        >>> from gradus.schedules import Linear
        >>> optimizer = torch.optim.SGD([torch.zeros(3, requires_grad=True)], lr=1.0)
        >>> scheduler = Scheduler(optimizer, lr=Linear(10**9))
        >>> scheduler.advance(tokens=250_000_000)
        >>> optimizer.param_groups[0]["lr"]
        0.75
        """
        given = {unit: count for unit, count in (("samples", samples), ("tokens", tokens)) if count is not None}
        if len(given) != 1:
            raise InvalidInput(f"advance takes either samples=... or tokens=...; got {given or 'neither'}")
        ((unit, count),) = given.items()
        self._on_clock(unit)
        self._step += _position(unit, count)
        self._apply()

    def _on_clock(self, unit: str) -> None:
        if self._clock is None:
            self._clock = unit
        elif self._clock != unit:
            raise InvalidInput(f"this scheduler's clock counts {self._clock}, and can't go on in {unit}")

    def _count_updates(self) -> None:
        """Have the optimizer's own updates counted, where that is asked for."""
        self._updates_done = self._step
        if self._counts_updates:
            self.optimizer.register_step_post_hook(self._count_one)

    def _count_one(self, *_: object) -> None:
        self._updates_done += 1

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Copies and pickles of an optimizer come without its hooks.
        self.__dict__.update(state)
        if self._counts_updates:
            self.optimizer.register_step_post_hook(self._count_one)

    # Metrics

    def observe(self, metric: float | Tensor) -> None:
        """Tell the metric-driven factors what has been measured, and write the values that follow.

        Under torch.distributed every process must call it, and all go by the first one's metric, so that they agree.

        Args:
            metric: a number, or a tensor of one element. One that is no number counts as bad.

        Raises:
            InvalidInput: no schedule has a metric-driven factor.
        """
        followers = [follower for track in self._tracks.values() for follower in track.followers if follower.factors]
        if not followers:
            raise InvalidInput("no schedule here follows a metric; multiply one by a factor such as Plateau()")
        agreed = _agreed(float(metric))
        for follower in followers:
            follower.observe(agreed)
        self._apply()

    # torch's names

    @property
    def last_epoch(self) -> int:  # type: ignore[override]  # torch keeps a field; here it is one with the step
        """The position; torch's name for it."""
        return self._step

    @property
    def base_lrs(self) -> list[float]:  # type: ignore[override]  # torch keeps a field; here it is one with the bases
        """Each group's own learning rate, which its schedule multiplies."""
        bases = self._tracks["lr"].bases if "lr" in self._tracks else []
        return [
            float(group["lr"]) if base is None else base
            for base, group in zip(bases, self.optimizer.param_groups, strict=False)
        ]

    def get_lr(self) -> list[float | Tensor]:
        """The learning rates of the current step, computed anew."""
        if "lr" not in self._tracks:
            return self.get_last_lr()
        values = self._tracks["lr"].values(self.optimizer.param_groups, self._step)
        return [last if value is None else value for value, last in zip(values, self.get_last_lr(), strict=False)]

    def get_last_lr(self) -> list[float | Tensor]:
        """The learning rates as they stand in the groups."""
        return [group["lr"] for group in self.optimizer.param_groups]

    # State

    def state_dict(self) -> dict[str, Any]:
        """The whole state, of JSON's types: the step, and for each hyperparameter the definitions, which group follows
        which, each group's base, and what metric-driven factors have seen.

        Raises:
            InvalidInput: a schedule holds a function that has no name to be found by.
        """
        return {
            "gradus.scheduler": _VERSION,
            "step": self._step,
            "clock": self._clock,
            "hyperparameters": {name: track.state() for name, track in self._tracks.items()},
        }

    def load_state_dict(
        self, state_dict: Mapping[str, Any], *, on_change: OnChange | None = None, trusted: bool = False
    ) -> None:
        """Take up a saved state and write its values into the groups.

        Args:
            state_dict: what `state_dict` gave.
            on_change: what to do where the saved schedules aren't this scheduler's. "keep": go on with the saved ones.
                "new": go on with these from the saved step. "rescale": go on with these from the step at which they are
                as far through as the saved ones were. "splice": what was followed up to here, then these from their 0.
            trusted: import the functions that a saved `Lambda` names, where "keep" or "splice" needs them. Importing runs
                code, so only for a state of your own.

        Raises:
            InvalidInput: the state is no scheduler's or of an unknown version; or the definitions differ and `on_change`
                doesn't say which holds, or can't be done. Nothing is changed then.
        """
        state = _checked_state(state_dict)
        if on_change not in (None, "keep", "new", "rescale", "splice"):
            raise InvalidInput(f'on_change must be "keep", "new", "rescale" or "splice"; got {on_change!r}')
        saved, step, groups = state["hyperparameters"], state["step"], self.optimizer.param_groups
        changed = [
            name
            for name in {**saved, **self._tracks}
            if name not in saved or name not in self._tracks or not self._tracks[name].is_defined_as(saved[name])
        ]
        if changed and on_change is None:
            raise InvalidInput(self._difference(saved, changed))
        tracks = {}
        for name in saved if on_change == "keep" else self._tracks:
            track = self._tracks.get(name) or _Track(name, [], [], groups)
            tracks[name] = track
            if name in saved:
                tracks[name] = track.loaded(saved[name], groups, on_change if name in changed else None, step, trusted)
        if changed and on_change == "rescale":
            step = self._rescaled(saved, step, trusted)
        self._step = self._updates_done = step
        self._clock, self._tracks = state["clock"], tracks
        self._apply()

    def _difference(self, saved: Mapping[str, Any], names: list[str]) -> str:
        differences = "; ".join(
            f"{name} was {_printed(saved[name]['schedules']) if name in saved else 'not scheduled'} "
            f"and is {self._tracks.get(name, 'not scheduled')} now"
            for name in names
        )
        return (
            f'the saved schedules differ: {differences}; pass on_change="keep" to go on as saved, "new" for the ones here '
            f'from the saved step, "rescale" for them from the same part, or "splice" to begin them now'
        )

    def _rescaled(self, saved: Mapping[str, Any], step: int, trusted: bool) -> int:
        """The step at which the schedules here are as far through as the saved ones at theirs."""
        before = [Schedule.from_json(text, trusted=trusted) for entry in saved.values() for text in entry["schedules"]]
        after = [follower.schedule for track in self._tracks.values() for follower in track.followers]
        if not (_longest(before) and _longest(after)):
            raise InvalidInput('on_change="rescale" needs an end, before and after; give the schedules one: .take(steps)')
        return round(step * _longest(after) / _longest(before))


class _Follower:
    """One schedule with what its metric-driven factors have seen."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.is_absolute = isinstance(schedule, Absolute)
        self.factors: tuple[MetricFactor, ...] = factors_of(schedule)
        self.states = [factor.initial() for factor in self.factors]

    def at(self, step: int) -> float:
        """Its value, metric-driven factors included."""
        value: float = self.schedule(step)
        for state in self.states:
            value *= state["factor"]
        return value

    def over(self, bases: list[float | None], step: int) -> list[float | None]:
        """The values that it gives to groups of these bases."""
        value = self.at(step)
        if self.is_absolute:
            return [value] * len(bases)
        return [None if base is None else base * value for base in bases]

    def observe(self, metric: float) -> None:
        pairs = zip(self.factors, self.states, strict=True)
        self.states = [factor.observed(state, metric) for factor, state in pairs]

    def seen(self) -> list[dict[str, Any]]:
        pairs = zip(self.factors, self.states, strict=True)
        return [{"factor": factor.to_json(), "state": dict(state)} for factor, state in pairs]

    def recall(self, seen: list[dict[str, Any]]) -> None:
        """Take up what the same factors had seen; others begin anew."""
        if [one["factor"] for one in seen] == [factor.to_json() for factor in self.factors]:
            for one, state in zip(seen, self.states, strict=True):
                if one["state"].keys() != state.keys() or not all(map(_is_number, one["state"].values())):
                    raise InvalidInput(f"a metric-driven factor's state can't be {one['state']!r}")
            self.states = [dict(one["state"]) for one in seen]


class _Track:
    """One hyperparameter of the groups: which schedule each group follows, and from which base.

    `keys` say which groups follow which schedule, the first that fits; None where one schedule is for all.
    """

    def __init__(self, name: str, keys: list[Which] | None, schedules: list[Schedule], groups: list[Group]) -> None:
        self.handle, self.keys = _Handle(name), keys
        self.followers = [_Follower(schedule) for schedule in schedules]
        self.bases: list[float | None] = []
        self.which: list[int | None] = []  # the follower of each group; None where it is left alone
        self._welcome(groups)

    @staticmethod
    def of(name: str, given: Schedule | Mapping[Which, Schedule], groups: list[Group]) -> "_Track":
        """The track that a user asks for, checked."""
        if not isinstance(given, Mapping):
            return _Track(name, None, [_concrete(name, given)], groups)
        keys = list(given)
        track = _Track(name, keys, [_concrete(name, schedule) for schedule in given.values()], groups)
        for index, key in enumerate(keys):
            if index not in track.which:
                known = ", ".join(repr(group.get("name", position)) for position, group in enumerate(groups))
                raise InvalidInput(f"{name}: no group fits {key!r}, or an earlier key has taken it; there are {known}")
        return track

    def _welcome(self, groups: list[Group]) -> None:
        """Take note of groups that have joined."""
        for index in range(len(self.which), len(groups)):
            fitting = (which for which, key in enumerate(self.keys or []) if _fits(key, index, groups[index]))
            which = next(fitting, None) if self.keys is not None else 0
            self.which.append(which)
            if index >= len(self.bases):  # a state of more groups has brought theirs
                self.bases.append(None if which is None else self.handle.read(groups[index], index))

    def values(self, groups: list[Group], step: int) -> list[float | None]:
        """What each group is to hold; None where it is left alone."""
        if len(self.which) < len(groups):
            self._welcome(groups)
        if self.keys is None:
            return self.followers[0].over(self.bases, step)
        columns = [follower.over(self.bases, step) for follower in self.followers]
        return [None if which is None else columns[which][index] for index, which in enumerate(self.which)]

    def write(self, groups: list[Group], step: int) -> None:
        if self.keys is None and not self.followers[0].is_absolute and len(self.which) >= len(groups):
            self.handle.multiply(groups, self.bases, self.followers[0].at(step))
        else:
            self.handle.write(groups, self.values(groups, step))

    def __str__(self) -> str:
        return " and ".join(repr(follower.schedule) for follower in self.followers)

    # State

    def state(self) -> dict[str, Any]:
        groups = [[i for i, which in enumerate(self.which) if which == one] for one in range(len(self.followers))]
        return {
            "schedules": [follower.schedule.to_json() for follower in self.followers],
            "groups": None if self.keys is None else groups,
            "bases": list(self.bases),
            "seen": [follower.seen() for follower in self.followers],
        }

    def is_defined_as(self, saved: Mapping[str, Any]) -> bool:
        """Whether a saved state has these schedules, for these groups as far as they are there."""
        mine = self.state()
        known = [[index for index in one if index < len(self.which)] for one in saved["groups"] or []]
        groups = None if saved["groups"] is None else known
        return bool(mine["schedules"] == saved["schedules"] and mine["groups"] == groups)

    def loaded(
        self, saved: Mapping[str, Any], groups: list[Group], change: OnChange | None, step: int, trusted: bool
    ) -> "_Track":
        """The track with the bases of a saved state, and with what its metric-driven factors had seen."""
        schedules, keys = [follower.schedule for follower in self.followers], self.keys
        if change == "keep":
            schedules = [Schedule.from_json(text, trusted=trusted) for text in saved["schedules"]]
            keys = None if saved["groups"] is None else [frozenset(one) for one in saved["groups"]]
        elif change == "splice":
            before = [Schedule.from_json(text, trusted=trusted) for text in saved["schedules"]]
            schedules = [_spliced(before, schedule, step) for schedule in schedules]
        track = _Track(self.handle.name, keys, schedules, groups)
        track.bases[: len(saved["bases"])] = saved["bases"]
        for follower, seen in zip(track.followers, saved["seen"], strict=False):
            follower.recall(seen)
        return track


def _fits(key: Which, index: int, group: Group) -> bool:
    """Whether a key of a mapping means this group."""
    if isinstance(key, frozenset):
        return index in key
    if isinstance(key, int):
        return index == key
    return bool(key(group)) if callable(key) else group.get("name") == key


def _spliced(before: list[Schedule], after: Schedule, step: int) -> Schedule:
    """What was followed up to a step, then what is followed from there."""
    if len(before) != 1 or factors_of(before[0]):
        raise InvalidInput('on_change="splice" joins one schedule to one, without metric-driven factors before the joint')
    if isinstance(before[0], Absolute) != isinstance(after, Absolute):
        raise InvalidInput('on_change="splice" joins factors to factors and absolute(...) to absolute(...)')
    if isinstance(before[0], Absolute) and isinstance(after, Absolute):
        return Absolute(before[0].schedule.take(step) >> after.schedule)
    return before[0].take(step) >> after


class _Handle:
    """Where one hyperparameter lies in a group: under a key, or as a member of the tuple there."""

    def __init__(self, name: str) -> None:
        match = re.fullmatch(r"(\w+)(?:\[(\d+)\])?", name)
        if match is None:
            raise InvalidInput(f'a hyperparameter is named as "lr" or "betas[0]"; got {name!r}')
        self.name, self.key = name, match[1]
        self.member = None if match[2] is None else int(match[2])

    def read(self, group: Group, index: int) -> float:
        value = group.get(self.key)
        if self.member is not None and isinstance(value, (tuple, list)) and self.member < len(value):
            value = value[self.member]
        elif self.key not in group or self.member is not None:
            names = ", ".join(sorted(key for key in group if key != "params"))
            raise InvalidInput(f"group {index} has no hyperparameter {self.name!r}; it has {names}")
        if isinstance(value, bool) or not (isinstance(value, (int, float)) or _is_scalar_tensor(value)):
            raise InvalidInput(f"{self.name!r} of group {index} must be a number to be scheduled; it is {value!r}")
        return float(value)  # type: ignore[arg-type]  # a number, as checked

    def multiply(self, groups: list[Group], bases: list[float | None], factor: float) -> None:
        """Write each group's base times a factor: what `write` does, in one loop, for the common case."""
        key = self.key
        for group, base in zip(groups, bases):  # noqa: B905 - the keyword costs as much as a group
            old = group[key]
            if type(old) is float:
                group[key] = base * factor  # type: ignore[operator]  # one schedule for all leaves no group alone
            elif isinstance(old, Tensor):
                old.fill_(base * factor)  # type: ignore[operator]
            else:
                self.write([group], [base * factor])  # type: ignore[operator]

    def write(self, groups: list[Group], values: list[float | None]) -> None:
        key = self.key
        for group, value in zip(groups, values, strict=False):
            if value is None:
                continue
            old = group[key]
            if type(old) is float:  # asked first, because it is the common case and the cheap question
                group[key] = value
            elif self.member is not None:
                group[key] = self._with_member(old, value)
            elif isinstance(old, Tensor):
                old.fill_(value)
            else:
                group[key] = value

    def _with_member(self, members: Any, value: float) -> Any:
        if isinstance(members[self.member], Tensor):
            members[self.member].fill_(value)
            return members
        return type(members)(value if index == self.member else old for index, old in enumerate(members))


def _is_scalar_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1


def _position(what: str, step: Any) -> int:
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step < 2**63:
        raise InvalidInput(f"{what} takes a whole number from 0; got {step!r}")
    return step


def _concrete(name: str, schedule: Any) -> Schedule:
    if not isinstance(schedule, Schedule):
        raise InvalidInput(f"{name} must be a schedule, such as Cosine(1000); got {schedule!r}")
    schedule._require_concrete()
    return schedule


def _longest(schedules: list[Schedule]) -> int:
    """The longest length among schedules; 0 where one has no end."""
    return 0 if any(schedule.endless for schedule in schedules) else max(len(schedule) for schedule in schedules)


def _agreed(metric: float) -> float:
    """The first process's metric, where several train together."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return metric
    shared = [metric]
    torch.distributed.broadcast_object_list(shared, src=0)
    return shared[0]


_STATE = {"gradus.scheduler": int, "step": int, "clock": (str, type(None)), "hyperparameters": Mapping}
_TRACK = {"schedules": list, "groups": (list, type(None)), "bases": list, "seen": list}


def _checked_state(state: Any) -> Mapping[str, Any]:
    if not isinstance(state, Mapping) or "gradus.scheduler" not in state:
        raise InvalidInput("this is no state of a gradus Scheduler: it has no field 'gradus.scheduler'")
    if state["gradus.scheduler"] != _VERSION:
        raise InvalidInput(
            f"this scheduler state has version {state['gradus.scheduler']!r}; this Gradus reads version {_VERSION}"
        )
    _check_fields(state, _STATE)
    if isinstance(state["step"], bool) or not 0 <= state["step"] <= 2**53:
        raise InvalidInput(f"a scheduler state's 'step' can't be {state['step']!r}")
    if state["clock"] not in (None, "steps", "samples", "tokens"):
        raise InvalidInput(f"a scheduler state's clock counts steps, samples or tokens; not {state['clock']!r}")
    for name, track in state["hyperparameters"].items():
        if not isinstance(track, Mapping):
            raise InvalidInput(f"a scheduler state's {name!r} can't be {track!r}")
        _check_fields(track, _TRACK)
        if not all(base is None or isinstance(base, (int, float)) for base in track["bases"]):
            raise InvalidInput(f"a scheduler state's bases must be lists of numbers; {name!r} has {track['bases']!r}")
        if not all(isinstance(text, str) for text in track["schedules"]):
            raise InvalidInput(f"a scheduler state's schedules must be JSON texts; {name!r} has {track['schedules']!r}")
        if not all(_are_indices(one) for one in track["groups"] or []):
            raise InvalidInput(f"a scheduler state's groups must be lists of indices; {name!r} has {track['groups']!r}")
        if not all(isinstance(one, list) and all(map(_is_seen, one)) for one in track["seen"]):
            raise InvalidInput(f"a scheduler state says what metric-driven factors had seen; {name!r} has {track['seen']!r}")
    return state


def _are_indices(value: Any) -> bool:
    return isinstance(value, list) and all(type(index) is int and index >= 0 for index in value)


def _is_number(value: Any) -> bool:
    """Whether this is a number, none, or a list of numbers."""
    some = value if isinstance(value, list) else [value]
    return all(one is None or (isinstance(one, (int, float)) and not isinstance(one, bool)) for one in some)


def _is_seen(value: Any) -> bool:
    """Whether this is what `_Follower.seen` says of one factor."""
    return isinstance(value, Mapping) and isinstance(value.get("factor"), str) and isinstance(value.get("state"), Mapping)


def _check_fields(state: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    if unknown := state.keys() - kinds.keys():
        raise InvalidInput(f"a scheduler state has no field {sorted(unknown)[0]!r}")
    for field, kind in kinds.items():
        if field not in state or not isinstance(state[field], kind):
            raise InvalidInput(f"a scheduler state's {field!r} can't be {state.get(field)!r}")


def _printed(texts: list[str]) -> str:
    try:
        return " and ".join(repr(Schedule.from_json(text)) for text in texts)
    except InvalidInput:
        return " and ".join(texts)
