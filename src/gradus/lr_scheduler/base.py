"""The base class of the drop-ins: a position, the groups' base rates, and the way from one position to the next."""

import contextlib
import math
import operator
import warnings
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from operator import is_, itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import EPOCH_DEPRECATION_WARNING, LRScheduler

from gradus.checks import is_whole, shown
from gradus.errors import InvalidInput
from gradus.lr_scheduler.states import IGNORED, is_number, require_like, stand_in
from gradus.names import hinting
from gradus.schedules import Schedule
from gradus.schedules.evaluation import SCALARS

__all__ = [
    "UNSTARTED",
    "DropIn",
    "Values",
    "all_or_nothing",
    "changes",
    "checked_optimizer",
    "floats",
    "own_rate",
    "per_group",
    "rates_of",
    "require_position",
    "same",
    "set_value",
    "with_lengths",
    "written_rates",
]

Values = tuple[list[float], list[float] | None]  # of all groups: rates, and momentums where they are scheduled

_NUMBERS = {"base_lrs", "_last_lr", "max_lrs", "base_momentums", "max_momentums"}  # where torch may have tensors

_OVERRIDDEN = {"get_lr", "step", "_get_closed_form_lr"}  # what torch's own code goes by

_UNSAVED = {"optimizer", "_evaluate", "_counted"}  # what a state leaves out

UNSTARTED = -1  # the position before the first value; there each group holds what it was given


class DropIn(LRScheduler):
    """A scheduler with torch's name, signature, attributes and state, which can name its schedule.

    Each drop-in inherits torch's class of its name too, and has two ways to step.

    - By its values: the position is one integer, `last_epoch`, and the values follow from it in closed form. So it goes
      as long as the groups hold what the drop-in wrote and nothing of it has been set by hand.
    - By torch's own `get_lr`, which makes the next rate from the one in the group. So it goes where other code
      has changed the rate, or an attribute (`_follows` says where torch documents that this counts), and in
      subclasses that override `get_lr`, `step` or `_get_closed_form_lr` (`_overrides`).
    """

    _follows = True  # whether changes made to the rate by others are kept, as torch documents it
    _sets_rate = False  # whether the rate is given outright, not as a factor of each group's own
    _schedules_momentum: bool | property = False
    _overrides = False  # whether a user's subclass overrides the rates, or how to step
    _torch_class: Any  # torch's class of the same name
    _evaluate: Any = None  # the curve's formula, once it has been asked for
    _part: float | property = 0  # how far the position is past `last_epoch`, where torch lets it stand between two steps

    optimizer: Optimizer
    base_lrs: list[float]  # type: ignore[assignment]  # torch has tensors among them, which cost a wait on a GPU
    last_epoch: int
    _last_lr: list[float]  # type: ignore[assignment]  # as numbers; `get_last_lr` makes the tensors
    verbose: bool = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._torch_class = next(kind for kind in cls.__mro__ if kind.__module__.startswith("torch."))
        if cls.__module__.startswith("gradus.lr_scheduler"):
            cls.__init__ = hinting(cls.__init__)  # type: ignore[method-assign]  # as torch's, but for the hint
        else:
            cls._overrides = cls._overrides or not vars(cls).keys().isdisjoint(_OVERRIDDEN)

    def __init__(
        self, optimizer: Optimizer, last_epoch: int = -1, verbose: Any = False, *, bases: list[float] | None = None
    ) -> None:
        # torch's own constructor isn't called: it wraps optimizer.step and takes the rate for what it may not be.
        self.optimizer, groups = checked_optimizer(optimizer), optimizer.param_groups
        require_position(last_epoch, "last_epoch must be a whole number, or -1 to start anew")
        for index, group in enumerate(groups):
            if last_epoch != UNSTARTED and "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{index}] when resuming scheduler with last_epoch "
                    f">= 0; load the optimizer's state first, or leave last_epoch out and load the scheduler's"
                )
        if verbose is True:  # torch's default was "deprecated" for a while
            self.verbose = True
        with all_or_nothing(optimizer):
            self.base_lrs = [self._base_of(group) for group in groups] if bases is None else bases
            self.last_epoch = last_epoch
            for index in range(len(groups)):
                self._rate(index)  # making the schedules refuses what can't be one
            for group in groups:
                group.setdefault("initial_lr", _copied(group["lr"]))
            self._start(last_epoch)

    def __setattr__(self, name: str, value: Any) -> None:
        """Whatever is set by hand counts from the rates that there are, as in torch: the closed form says others."""
        super().__setattr__(name, value)
        self.__dict__.pop("_evaluate", None)
        if "optimizer" in self.__dict__:
            written_rates(self.optimizer).written_by = None

    # What each drop-in defines

    def _rate(self, index: int) -> Schedule:
        """The learning rate of group `index`, as a schedule."""
        raise NotImplementedError

    def _curve(self) -> Schedule:
        """What all groups have in common, and `_values` follow from: a factor, or what is left of the way from the base."""
        raise NotImplementedError

    def _values(self, position: float) -> Values:
        """The same for all groups at a position from 0, as floats; and their momentums, if they are scheduled."""
        raise NotImplementedError

    def _curve_at(self, position: float) -> float:
        """The curve's value at a position; the curve is made anew once something has been set."""
        evaluate = self._evaluate
        if evaluate is None:
            evaluate = self.__dict__["_evaluate"] = self._curve().at
        return evaluate(position, SCALARS)  # type: ignore[no-any-return]

    def _base_of(self, group: dict[str, Any]) -> float:
        """The base rate of a group that joins."""
        return own_rate(group)

    def _set_position(self, position: Any, rates: list[float]) -> None:
        """Record a position, and the rates that have been written there."""
        own = self.__dict__  # not set by hand
        own["last_epoch"], own["_step_count"], own["_last_lr"] = position, position + 1, rates

    @property
    def _steps_as_torch(self) -> bool:
        """Whether torch's own code makes the steps."""
        return self._overrides

    @property
    def schedules(self) -> list[Schedule]:
        """Each group's learning rate as a `Schedule`: to print, to plot, to save, to use in a `gradus.Scheduler`."""
        if self._steps_as_torch:
            raise InvalidInput(
                f"{type(self).__name__} says its rates itself, step by step, so they are no schedule; a function of the "
                f"step that gives its factor is one: Lambda(function)"
            )
        self._add_groups()
        return [self._rate(index) for index in range(len(self.base_lrs))]

    # Moving

    def step(self, epoch: float | None = None) -> None:
        """Go on by one update; or, as torch still allows, to the position `epoch`.

        Raises:
            InvalidInput: `epoch` is no whole number from 0.
        """
        record, groups = written_rates(self.optimizer), self.optimizer.param_groups
        if epoch is None and record.written_by is self._last_lr and record.is_held(groups):  # the short way
            after = self.last_epoch + self._part + 1
            rates, momentums = self._values(after)
            record.rewrite(groups, rates)
            if momentums is not None:
                set_momentums(groups, momentums)
            self._set_position(after, rates)
        elif self._steps_as_torch:
            self._step_as_torch(epoch)
        else:
            self._update_lr(None if epoch is None else self._checked_epoch(epoch))

    def _step_as_torch(self, epoch: Any = None) -> None:
        """A step of a subclass that overrides how: by torch's own code, which asks `get_lr`."""
        before = rates_of(self.optimizer.param_groups)
        if self._torch_class.step is not LRScheduler.step:
            self._torch_class.step(self, *(() if epoch is None else (epoch,)))
        else:  # it would complain of optimizer.step, which isn't wrapped here
            self._step_count += 1
            if epoch is not None:
                warnings.warn(EPOCH_DEPRECATION_WARNING, UserWarning, stacklevel=3)
            super()._update_lr(epoch)
        written_rates(self.optimizer).note(self.optimizer.param_groups)
        if self.verbose:
            self._print_changes(before)

    def _checked_epoch(self, epoch: Any) -> float:
        """A position that `step` is given, if it is one."""
        warnings.warn(EPOCH_DEPRECATION_WARNING, UserWarning, stacklevel=3)
        try:
            whole = operator.index(epoch)
        except TypeError:
            whole = -1
        if whole < 0:
            raise InvalidInput(f"step takes no epoch, or a whole number of updates from 0; got {epoch!r}")
        return whole

    def _update_lr(self, epoch: float | None = None) -> None:
        if self._steps_as_torch:  # another scheduler of torch's calls this
            super()._update_lr(epoch)  # type: ignore[arg-type]
            return
        self._add_groups()
        before = self.last_epoch + self._part
        after = before + 1 if epoch is None else epoch
        values, momentums = self._values(after)
        rates, known = values, len(self._last_lr)
        if epoch is None and self._follows:  # otherwise the groups' rates needn't be read, which on a GPU is a wait
            found = rates_of(self.optimizer.param_groups[:known])
            rates = self._rescale_external(found, before, after, values) + values[known:]
        self._write(after, rates, momentums, values)

    def _rescale_external(self, rates: list[float], before: float, after: float, values: list[float]) -> list[float]:
        """The rates at position `after`, where the schedules give `values`, for rates found at position `before`."""
        if not self._follows:
            return values
        kinds = [group["lr"] for group in self.optimizer.param_groups]
        untouched = list(map(same, rates, self._scheduled_rates(before), kinds))
        if all(untouched):
            return values
        triples = zip(untouched, values, self._torch_rates(before, after))  # noqa: B905 - groups may have joined
        return [value if as_written else its for as_written, value, its in triples]

    def _scheduled_rates(self, position: float) -> list[float]:
        """The rates that the schedules leave at a position, the one before the first included."""
        return self.base_lrs if position == UNSTARTED else self._values(position)[0]

    def _rates_on_entry(self, rates: list[float], values: list[float]) -> list[float]:  # noqa: ARG002
        """The rates at the beginning of a later phase of a sequence, which finds `rates`: its own, as in torch."""
        return values

    def _torch_rates(self, before: float, after: float) -> list[float]:
        """What torch's own `get_lr` makes of the rates in the groups."""
        own = dict(self.__dict__)
        moved = {"last_epoch": after, "_step_count": after + 1, "_is_initial": before == UNSTARTED}
        self.__dict__.update(moved, _get_lr_called_within_step=True)
        try:
            return floats(self._torch_class.get_lr(self))
        except ZeroDivisionError:  # of a constant factor 0 there is no way back
            return self._values(after)[0]
        finally:
            self.__dict__.clear()
            self.__dict__.update(own)

    def _start(self, last_epoch: int, *, composed: bool = False) -> None:
        """Enter the position after `last_epoch`, from the rates that the groups have been given.

        Schedulers that are built side by side multiply; a composed one takes the place of its members. A rate that an
        earlier scheduler has left behind isn't the user's choice, so a new one starts from the base rates.
        """
        groups, left = self.optimizer.param_groups, written_rates(self.optimizer)
        scheduled = vars(self.optimizer).pop("_gradus_scheduled", False)  # by a `gradus.Scheduler`, which left its rate
        ours, rates = scheduled or left.is_untouched(groups), rates_of(groups)
        if ours and left.origin is not None and not (composed and last_epoch >= 0):
            origin, start = left.origin, left.origin if composed else rates
        else:
            origin = start = list(self.base_lrs) if ours or last_epoch >= 0 else rates
        if start != rates:
            left.write(groups, start)
        if self._steps_as_torch:
            self.__dict__["_last_lr"] = []
            self._initial_step()
        else:
            values, momentums = self._values(last_epoch + 1)
            self._write(last_epoch + 1, self._rescale_external(start, UNSTARTED, last_epoch + 1, values), momentums, values)
        left.origin = origin

    def _write(self, position: float, rates: list[float], momentums: list[float] | None, values: list[float]) -> None:
        """Write rates and momentums into the groups and record the position; `values` are the schedules' own rates there."""
        groups, record = self.optimizer.param_groups, written_rates(self.optimizer)
        before = rates_of(groups) if self.verbose else None
        record.write(groups, rates)
        if before is not None:
            self._print_changes(before)
        if before is not None or values != rates:
            record.written_by = None  # so the next step goes the long way, too
        if momentums is not None:
            set_momentums(groups, momentums)
        self._set_position(position, rates)

    def _print_changes(self, before: list[float]) -> None:
        """Print torch's line for each group with a changed rate."""
        for index, rate in changes(self.optimizer, before):
            print(f"Adjusting learning rate of group {index} to {rate:.4e}.")  # noqa: T201 - asked for

    def _add_groups(self) -> None:
        """Add the groups that have been added to the optimizer."""
        for group in self.optimizer.param_groups[len(self.base_lrs) :]:
            self._add_group(group)

    def _add_group(self, group: dict[str, Any]) -> None:
        group.setdefault("initial_lr", _copied(group["lr"]))
        self.base_lrs = [*self.base_lrs, self._base_of(group)]

    # Rates

    def get_lr(self) -> list[float | Tensor]:
        """The rates that the schedules give at the present position, computed anew.

        Called by a subclass's own `get_lr` it is torch's: the next rates from those in the groups.
        """
        if self._steps_as_torch:
            return super().get_lr()
        self._add_groups()
        return [*self._values(self.last_epoch + self._part)[0]]

    def get_last_lr(self) -> list[float | Tensor]:
        """The rates that were last written into the groups; tensors are copies."""
        return [
            torch.full_like(group["lr"], float(rate)) if isinstance(group["lr"], Tensor) else rate
            for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=False)
        ]

    def restore(self) -> None:
        """Give the groups back the rate and the momentum that they had before the first scheduler."""
        for group in self.optimizer.param_groups:
            set_value(group, "lr", own_rate(group))
            group["initial_lr"] = _copied(group["lr"])
            group.pop("user_lr", None)
            if "user_momentum" in group:
                set_momentum(group, float(group.pop("user_momentum")))

    # State

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer, under torch's names: torch's scheduler of this name can load it."""
        present = [_copied(group["lr"]) for group in self.optimizer.param_groups]  # others may have changed them
        return {key: value for key, value in vars(self).items() if key not in _UNSAVED} | {"_last_lr": present}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a state, Gradus's or torch's, and write its rates into the groups.

        The optimizer and its scheduler may be built and loaded in any order.

        Raises:
            InvalidInput: this is no state of this scheduler. Nothing is changed then.
        """
        self._check_state(state_dict)
        if not self._steps_as_torch:
            self._rehearse(state_dict)
        self._load(state_dict)

    def _load(self, state: Mapping[str, Any]) -> None:
        self._update_from(state)
        last = floats(state.get("_last_lr", []))
        if self._steps_as_torch:
            for group, rate in zip(self.optimizer.param_groups, last, strict=False):
                set_value(group, "lr", rate)
            return
        self._add_groups()
        position = self.last_epoch + self._part
        values, momentums = (self.base_lrs, None) if position == UNSTARTED else self._values(position)
        rates = list(values)
        for index, (saved, kind) in enumerate(zip(last, state.get("_last_lr", []))):  # noqa: B905 - one list
            if index < len(rates) and not same(saved, rates[index], kind, self.base_lrs[index]):
                rates[index] = saved  # others had changed it
        self._write(position, rates, momentums, values)

    _elsewhere: tuple[str, ...] = ()  # fields of the state that are looked at by the class itself

    def _check_state(self, state: Any) -> None:
        """Refuse what is no state of this scheduler, before anything is changed."""
        require_like(self, state, self._elsewhere)
        name = type(self).__name__
        require_position(state.get("last_epoch"), f"this is no state of a {name}: it has no whole number 'last_epoch'")
        for key in _NUMBERS & state.keys():
            if len(state[key]) > len(self.optimizer.param_groups) or (
                key != "_last_lr" and any(rate < 0 for rate in state[key])
            ):
                raise InvalidInput(f"a {name}'s state can't have {key!r}: {shown(state[key])}")

    def _rehearse(self, state: Mapping[str, Any]) -> None:
        """Load a state into a copy and let it make a step, so that what fails does so before anything is changed."""
        try:
            twin = self._twin(stand_in(self.optimizer))
            twin._update_from(state)
            twin._add_groups()
            for index in range(len(twin.base_lrs)):
                twin._rate(index)
            twin._load(state)
            twin._update_lr()
            numbers = [value for group in twin.optimizer.param_groups for value in _hyperparameters(group)]
            if twin.last_epoch < 0 or not all(map(math.isfinite, numbers)):
                raise InvalidInput("its rates aren't finite")
        except Exception as error:
            raise InvalidInput(f"this can't be a state of a {type(self).__name__}: {error!r}"[:300]) from error

    def _twin(self, optimizer: Any) -> "DropIn":
        """A copy over an optimizer's stand-in."""
        twin = object.__new__(type(self))
        twin.__dict__.update({key: value for key, value in vars(self).items() if key != "verbose"}, optimizer=optimizer)
        return twin

    def _update_from(self, state: Mapping[str, Any]) -> None:
        """Load a state into the attributes; nothing is written into the groups."""
        taken = {key: value for key, value in state.items() if key not in IGNORED}
        self.__dict__.update(taken)
        self.__dict__.update({name: floats(state[name]) for name in _NUMBERS & state.keys()})
        self.__dict__.pop("_evaluate", None)


def _hyperparameters(group: dict[str, Any]) -> list[float]:
    """What schedulers write into a group."""
    momentum = group["betas"][0] if "betas" in group else group.get("momentum", 0.0)
    return [float(group["lr"]), float(momentum)]


_RATE = itemgetter("lr")


class _WrittenRates:
    """What drop-ins last wrote into an optimizer's groups; one for all drop-ins of an optimizer.

    It tells who wrote the rates in the groups, and so how a scheduler may step:

        groups hold `written`?
          no  -> other code has set a rate: torch's recurrence goes on from it (`_rescale_external`)
          yes -> is `written_by` the list that this scheduler wrote last?
                   no  -> another scheduler has written, or something was set by hand: the long way
                   yes -> the short way: the values of the next position, and nothing is looked at

        `write`  at each step               written, written_by = rates; origin = None
        `note`   after torch's own code     written = what stands in the groups; written_by = origin = None
        by hand  `scheduler.gamma = 0.5`    written_by = None
        built    `StepLR(optimizer, 30)`    origin = what it started from, until a step is done: schedulers built side by
                                            side multiply, and one composed of others starts from the origin again

    It is an attribute of the optimizer, and copies and pickles of the optimizer leave it out.
    """

    def __init__(self) -> None:
        self.written: list[Any] = []  # a rate for each group: the number itself, or the tensor
        self.versions: list[float] | None = None  # of the tensors, if there are any: how often each has been changed
        self.written_by: list[float] | None = None  # `_last_lr` of the scheduler that wrote it, if from its values alone
        self.origin: list[float] | None = None  # the rates before the schedulers that were built since the last step

    def write(self, groups: list[dict[str, Any]], rates: list[float]) -> None:
        numbers = True
        for group, rate in zip(groups, rates, strict=False):
            if type(group["lr"]) is float:
                group["lr"] = rate
            else:
                set_value(group, "lr", rate)
                numbers = False
        self.written_by, self.origin = rates, None
        self.written = rates if numbers else list(map(_RATE, groups))
        self.versions = None if numbers else self._versions()

    def rewrite(self, groups: list[dict[str, Any]], rates: list[float]) -> None:
        """The same for groups that hold the very numbers that were written, in less time."""
        if self.versions is not None:
            self.write(groups, rates)
            return
        for group, rate in zip(groups, rates):  # noqa: B905 - the keyword costs as much as the rest
            group["lr"] = rate
        self.written = self.written_by = rates
        self.origin = None

    def note(self, groups: list[dict[str, Any]]) -> None:
        """Record rates that torch's own code has written for a drop-in."""
        self.written_by = self.origin = None
        self.written = list(map(_RATE, groups))
        self.versions = self._versions()

    def is_untouched(self, groups: list[dict[str, Any]]) -> bool:
        """Whether the groups hold what drop-ins wrote. No tensor has to be waited for."""
        return list(map(_RATE, groups)) == self.written and (self.versions is None or self._versions() == self.versions)

    def is_held(self, groups: list[dict[str, Any]]) -> bool:
        """Whether the groups hold the very objects that were written: the quick way to know that they are untouched."""
        written = self.written
        if len(groups) != len(written) or not all(map(is_, map(_RATE, groups), written)):
            return False
        return self.versions is None or self._versions() == self.versions

    def _versions(self) -> list[float]:
        tensors = (rate for rate in self.written if isinstance(rate, Tensor))
        return [float(rate) if rate.is_inference() else rate._version for rate in tensors]  # those don't count changes


def written_rates(optimizer: Any) -> _WrittenRates:
    """What drop-ins last wrote into this optimizer's groups."""
    try:
        record: _WrittenRates = optimizer._gradus_record
    except AttributeError:
        record = optimizer._gradus_record = _WrittenRates()
    return record


def checked_optimizer(optimizer: Any) -> Optimizer:
    """The optimizer, if it is one.

    Raises:
        TypeError: it isn't; torch raises it too.
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
    return optimizer


def require_position(position: Any, message: str) -> None:
    """Refuse what isn't a whole number from -1."""
    if not is_whole(position, UNSTARTED):
        raise InvalidInput(f"{message}; got {shown(position)}")


@contextlib.contextmanager
def all_or_nothing(optimizer: Optimizer) -> Iterator[None]:
    """Leave the optimizer's groups as they were where what is done with them is refused."""
    before = [dict(group) for group in optimizer.param_groups]
    try:
        yield
    except BaseException:
        for group, own in zip(optimizer.param_groups, before, strict=True):
            group.clear()
            group.update(own)
        raise


def own_rate(group: dict[str, Any]) -> float:
    """The rate that the user gave to a group. OneCycleLR puts its own into "initial_lr", where torch looks for it."""
    return float(group.get("user_lr", group.get("initial_lr", group["lr"])))


def rates_of(groups: list[dict[str, Any]]) -> list[float]:
    """The rates in the groups."""
    return [float(group["lr"]) for group in groups]


def changes(optimizer: Optimizer, before: list[float]) -> list[tuple[int, float]]:
    """The groups' numbers and rates, where these aren't what they were before."""
    after = rates_of(optimizer.param_groups)
    return [(index, rate) for index, (rate, old) in enumerate(zip(after, before, strict=True)) if rate != old]


def floats(values: Sequence[Any], name: str = "a rate") -> list[float]:
    """Numbers and tensors of one element, as numbers.

    Raises:
        InvalidInput: something else.
    """
    if not all(map(is_number, values)):
        raise InvalidInput(f"{name} must be a number, or a tensor of one; got {shown(values)}")
    return [float(value) for value in values]


def per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """A value for each group: a list's own, or the same for all; tensors are copied.

    Raises:
        InvalidInput: a list of another length.
    """
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [_copied(value) for _ in range(groups)]
    if len(value) != groups:
        raise InvalidInput(f"{name} must have one value for each of the optimizer's {groups} groups; got {len(value)}")
    return [_copied(member) for member in value]


def set_value(group: dict[str, Any], key: str, value: float) -> None:
    """Write a number into a group; a tensor is filled in place and stays the same object."""
    if isinstance(group[key], Tensor):
        group[key].fill_(value)
    elif group[key] != value:  # an int stays one as long as it can, as in torch
        group[key] = value


def with_lengths(lengths: Sequence[float], make: Any) -> Schedule:
    """The schedule `make(*lengths)`; lengths between two whole numbers, which torch takes, are stretched to fit."""
    if not all(is_number(length) and math.isfinite(length) and not isinstance(length, Tensor) for length in lengths):
        raise InvalidInput(f"a length must be a finite number of steps; got {', '.join(map(repr, lengths))}"[:200])
    exact = [Fraction(float(length)).limit_denominator(10**6) for length in lengths]
    parts = math.lcm(*(length.denominator for length in exact))
    schedule: Schedule = make(*(int(length * parts) for length in exact))
    return schedule if parts == 1 else schedule.stretch(1 / parts)


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def set_momentums(groups: list[dict[str, Any]], values: list[float]) -> None:
    """Write each group's momentum."""
    for group, value in zip(groups, values):  # noqa: B905 - the keyword costs as much as the rest
        if "betas" not in group and type(group["momentum"]) is float:  # the cheap question first
            group["momentum"] = value
        else:
            set_momentum(group, value)


def set_momentum(group: dict[str, Any], value: float) -> None:
    if "betas" not in group:
        set_value(group, "momentum", value)
    elif isinstance(group["betas"][0], Tensor):
        group["betas"][0].fill_(value)
    else:
        group["betas"] = (value, *group["betas"][1:])


def same(rate: float, expected: float, kind: Any, base: float = 0.0) -> bool:
    """Whether a rate is the schedule's, but for a few roundings of its own kind, and of its base's where that is given."""
    rounding = 8 * (torch.finfo(kind.dtype).eps if isinstance(kind, Tensor) else 2.0**-52)
    return abs(rate - expected) <= max(max(1e-9, rounding) * abs(expected), rounding * base)
