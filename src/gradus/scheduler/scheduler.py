"""The class itself: its clock, its metrics, torch's names, and its state."""

import contextlib
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any

from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from gradus.checks import as_whole, whole
from gradus.distributed import broadcast
from gradus.errors import InvalidInput
from gradus.names import did_you_mean
from gradus.scheduler.accessor import Accessor
from gradus.scheduler.bindings import Bound, Definition, Hyperparameter, Which
from gradus.scheduler.loading import OnChange, checked_answer, load
from gradus.scheduler.mistakes import warn_of_cycled_base, warn_of_mistakes
from gradus.scheduler.state import VERSION, SavedState
from gradus.schedules import Schedule
from gradus.schedules.evaluation import STEP_LIMIT
from gradus.schedules.spans import Units

__all__ = ["Scheduler"]

# Where wrappers keep the optimizer that they forward to: Accelerate and most others; SAM and Lookahead; Opacus.
_WRAPPED = ("optimizer", "base_optimizer", "original_optimizer")


class Scheduler(LRScheduler):
    """Schedules for the hyperparameters of an optimizer's groups, by name.

    After `k` calls of `step()` each group holds base · schedule(k); with `absolute(schedule)` it holds schedule(k). The
    base is the group's own value: what stood there before anything scheduled it. The Scheduler keeps it in the group as
    "initial_<name>" ("initial_lr" is torch's own), and takes it from there, so that a cell run twice, a second stage and a
    change from torch's schedulers or back go by the same base. Groups that are added later join with their own.
    The optimizer is never patched, and nothing else is kept but the step, the definitions, the bases and what
    metric-driven factors have seen, so that building and loading in any order gives the same values.

    Args:
        optimizer: a `torch.optim.Optimizer`, or anything else with `param_groups`, a list of dicts.
        start_step: the position to begin at.
        rebase: take the present values for the bases, though something has scheduled them before.
        count_updates: whether `step()` goes to the number of updates that the optimizer has really done, so that those
            which a GradScaler skips don't count; they are counted by torch's public hook, of the optimizer that does them
            where this one is a wrapper of it (its `optimizer`, as in Accelerate).
        on_change: what `load_state_dict` does where the state differs, unless it is given there; see there.
        total_steps: the optimizer updates of the run, if known; with `steps_per_epoch` it makes templates concrete.
        steps_per_epoch: the updates in one pass over the data, if known.
        **schedules: a `Schedule` or `absolute(Schedule)` for each hyperparameter, by its name in the groups: `lr`,
            `momentum`, `weight_decay`, and members of tuples as `**{"betas[0]": ...}`. Or a mapping from groups to
            schedules: by a group's index, its "name", or a function of the group; groups that no key fits are left alone.
            Values may be numbers or tensors of one element; a tensor is filled in place and stays the same object.

    Raises:
        InvalidInput: no schedules; a hyperparameter that a group lacks, or that is no finite number; a template that the
            given lengths don't make concrete; a key that fits no group; an optimizer whose updates can't be counted.

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
        rebase: bool = False,
        count_updates: bool = False,
        on_change: OnChange | None = None,
        total_steps: int | None = None,
        steps_per_epoch: float | None = None,
        **schedules: Schedule | Mapping[Which, Schedule],
    ) -> None:
        # torch's own constructor isn't called: it wraps optimizer.step and writes into the groups.
        groups = getattr(optimizer, "param_groups", None)
        if not isinstance(groups, list) or not groups:
            raise InvalidInput(f"a Scheduler needs an optimizer with param_groups; got {optimizer!r}")
        if not schedules:
            raise InvalidInput("a Scheduler needs at least one schedule, such as lr=Cosine(1000)")
        self.optimizer = optimizer
        self._step = self._updates_done = whole("start_step", start_step, most=STEP_LIMIT - 1)
        self._clock: str | None = None
        self._counts_updates = count_updates
        self._on_change = checked_answer(on_change)
        units = Units(total_steps, steps_per_epoch)
        definitions = {name: _definition(name, given, units) for name, given in schedules.items()}
        self._follow({name: Hyperparameter(Accessor(name), one) for name, one in definitions.items()})
        for hyperparameter in self._hyperparameters.values():
            hyperparameter.add_groups(groups, rebase=rebase)
            hyperparameter.require_every_key_fits(groups)
        values = self._values_at(self._step)
        for name, hyperparameter in self._hyperparameters.items():
            warn_of_mistakes(name, hyperparameter.followed(), units.total_steps, units.steps_per_epoch)
            if not rebase and (group := hyperparameter.cycled_group(groups)) is not None:
                warn_of_cycled_base(name, group, hyperparameter.bases[group])
        self._count_updates()
        self._write_bases()
        self._write(values)
        if "lr" in self._hyperparameters:
            with contextlib.suppress(AttributeError):  # some wrappers take no attributes
                optimizer._gradus_scheduled = True  # a drop-in that is built next begins at the base

    def _values_at(self, step: int) -> list[list[float]]:
        """The values of all schedules at a step. What can't be evaluated is met here, before anything is written."""
        groups = self.optimizer.param_groups
        return [hyperparameter.at(groups, step) for hyperparameter in self._hyperparameters.values()]

    def _write(self, values: list[list[float]]) -> None:
        """Write what follows from the schedules' values into every group."""
        groups = self.optimizer.param_groups
        for hyperparameter, at in zip(self._hyperparameters.values(), values, strict=True):
            hyperparameter.write(groups, at)

    def _write_bases(self) -> None:
        for hyperparameter in self._hyperparameters.values():
            hyperparameter.write_bases(self.optimizer.param_groups)

    def _follow(self, hyperparameters: dict[str, Hyperparameter]) -> None:
        self._hyperparameters = hyperparameters
        first = next(iter(hyperparameters.values()), None)
        self._only = first if len(hyperparameters) == 1 and first is not None and first.scales_all else None

    def _go(self, step: int) -> None:
        """Write the values of a step into every group, and be there."""
        if self._only is not None:
            self._only.scale(self.optimizer.param_groups, step)
        else:
            self._write(self._values_at(step))
        self._step = step

    # The clock

    def step(  # type: ignore[override]  # torch's takes an epoch only
        self, x: float | Tensor | None = None, *, epoch: int | None = None, metrics: float | Tensor | None = None
    ) -> None:
        """Go on by one update; or do what frameworks and torch mean by an argument.

        Args:
            x: a metric, where a schedule follows one: it is observed, and the position goes one further. Where none does, a
                position, as in torch; only a whole number is one.
            epoch: a position.
            metrics: a metric, under the name that it has in torch's `ReduceLROnPlateau`.

        Raises:
            InvalidInput: a number that is no position, where no schedule follows a metric; more than one argument.

        >>> import torch
        >>> from gradus.schedules import Constant, Plateau
        >>> optimizer = torch.optim.SGD([torch.zeros(3, requires_grad=True)], lr=1.0)
        >>> scheduler = Scheduler(optimizer, lr=Constant() * Plateau(patience=0, factor=0.5))
        >>> for loss in (0.9, 0.8, 0.8):
        ...     scheduler.step(loss)
        >>> optimizer.param_groups[0]["lr"], scheduler.last_epoch
        (0.5, 3)
        """
        if x is not None or epoch is not None or metrics is not None:
            self._step_by(x, epoch, metrics)
            return
        if self._clock != "steps":
            self._require_clock("steps")
        self._go(self._updates_done if self._counts_updates else self._step + 1)
        self._clock = "steps"

    def _step_by(self, x: Any, epoch: Any, metrics: Any) -> None:
        """`step` with an argument."""
        if sum(one is not None for one in (x, epoch, metrics)) > 1:
            raise InvalidInput(f"step takes one argument at most; got {x!r}, epoch={epoch!r}, metrics={metrics!r}")
        if metrics is not None or (x is not None and self._followers()):
            self._observe(x if metrics is None else metrics, self.step)
            return
        position = x if epoch is None else epoch
        if not isinstance(position, Integral) or as_whole(position) is None:  # an array or a tensor may be a metric
            raise InvalidInput(
                f"step takes a position, a whole number, as long as no schedule follows a metric; got {position!r}. Leave "
                f"it out, step(), or multiply a schedule by a factor that follows it, such as Plateau()"
            )
        self.set_step(int(position))

    def set_step(self, step: int) -> None:
        """Go to the position after `step` updates."""
        self._go(whole("set_step's step", step, most=STEP_LIMIT - 1))
        self._updates_done = self._step

    def advance(self, *, samples: int | None = None, tokens: int | None = None) -> None:
        """Go on by a number of samples or tokens, on a clock that counts those; the schedules' lengths are in them too.

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
        self._require_clock(unit)
        self._go(whole("the position", self._step + whole(f"advance's {unit}", count), most=STEP_LIMIT - 1))
        self._clock = unit

    def _require_clock(self, unit: str) -> None:
        if self._clock not in (None, unit):
            raise InvalidInput(f"this scheduler's clock counts {self._clock}, and can't go on in {unit}")

    def _count_updates(self) -> None:
        """Have the optimizer's own updates counted, where that is asked for."""
        if not self._counts_updates:
            return
        counted = _innermost(self.optimizer)
        try:
            counted.register_step_post_hook(self._count_one)
        except AttributeError:
            raise InvalidInput(
                f"count_updates=True needs an optimizer that calls hooks after its updates (register_step_post_hook), as "
                f"torch's do, or a wrapper with such a one for its `optimizer`; got {type(counted).__name__}. Leave it out, "
                f"and call step() after each update that was done"
            ) from None

    def _count_one(self, *_: object) -> None:
        self._updates_done += 1

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Copies and pickles of an optimizer come without its hooks.
        self.__dict__.update(state)
        self._count_updates()

    # Metrics

    def observe(self, metric: float | Tensor) -> None:
        """Pass a metric to the metric-driven factors and write the values that follow; the position stays.

        So a warmup per update works with a plateau per epoch: `step()` after an update, `observe(metric)` after an epoch.
        Under torch.distributed every process must call it, and all go by the first one's metric, so that they agree.

        Args:
            metric: a number, or a tensor of one element. One that is no number counts as bad.

        Raises:
            InvalidInput: no schedule has a metric-driven factor; the metric is neither a number nor a tensor of one element.
        """
        self._observe(metric, lambda: self._go(self._step))

    def _observe(self, metric: Any, go: Callable[[], None]) -> None:
        """Record a metric and write the values that follow, or do neither."""
        followers = self._followers()
        if not followers:
            raise InvalidInput("no schedule here follows a metric; multiply one by a factor such as Plateau()")
        agreed = broadcast(_metric(metric))
        before = [follower.states for follower in followers]
        for follower in followers:
            follower.states = follower.observed(agreed)
        try:
            go()
        except BaseException:
            for follower, states in zip(followers, before, strict=True):
                follower.states = states
            raise

    def _followers(self) -> list[Bound]:
        """The schedules that follow a metric."""
        return [bound for one in self._hyperparameters.values() for bound in one.bounds if bound.factors]

    # torch's names

    @property
    def last_epoch(self) -> int:  # torch keeps a field; here it is one with the step
        """The position; torch's name for it."""
        return self._step

    @last_epoch.setter
    def last_epoch(self, step: int) -> None:
        raise InvalidInput(
            f"a Scheduler goes to a position by set_step({step!r}), which writes the values too; torch's SequentialLR sets "
            f"last_epoch and can't hold a Scheduler: compose the schedules instead, first >> second"
        )

    @property
    def _step_count(self) -> int:
        return self._step + 1

    @_step_count.setter
    def _step_count(self, _: int) -> None:
        # Accelerate adds 1 where gradients are accumulated, to keep torch's warnings right. There are none here.
        pass

    @property
    def base_lrs(self) -> list[float]:  # type: ignore[override]  # torch keeps a field; here it is one with the bases
        """Each group's own learning rate, which its schedule multiplies."""
        groups = self.optimizer.param_groups
        bases = self._hyperparameters["lr"].bases if "lr" in self._hyperparameters else [None] * len(groups)
        return [float(group["lr"]) if base is None else base for base, group in zip(bases, groups, strict=False)]

    def get_lr(self) -> list[float | Tensor]:
        """The learning rates of the current step, computed anew."""
        last = self.get_last_lr()
        if "lr" not in self._hyperparameters:
            return last
        rate = self._hyperparameters["lr"]
        values = rate.values(rate.at(self.optimizer.param_groups, self._step))
        return [old if value is None else value for value, old in zip(values, last, strict=False)]

    def get_last_lr(self) -> list[float | Tensor]:
        """The groups' present learning rates; tensors are copies."""
        rates = [group["lr"] for group in self.optimizer.param_groups]
        return [rate.detach().clone() if isinstance(rate, Tensor) else rate for rate in rates]

    # State

    def state_dict(self) -> dict[str, Any]:
        """The whole state, of JSON's types: the step, and for each hyperparameter the definitions, which group follows
        which, each group's base, and what metric-driven factors have seen.

        Raises:
            InvalidInput: a schedule holds a function that has no name to be found by.
        """
        return {
            "gradus.scheduler": VERSION,
            "step": self._step,
            "clock": self._clock,
            "hyperparameters": {name: one.state() for name, one in self._hyperparameters.items()},
        }

    def load_state_dict(
        self, state_dict: Mapping[str, Any], *, on_change: OnChange | None = None, trusted: bool = False
    ) -> None:
        """Take up a saved state and write its values into the groups.

        A base has changed if the group's value, when this Scheduler was built, was neither the saved base nor the saved
        value at the saved step, within the rounding of its dtype (of float32 at least). So it doesn't matter in which order
        the optimizer and its Scheduler are built and loaded. Groups that the state doesn't know keep their own bases.
        Where something has changed, load the optimizer first: its state brings back the old values, up to the next step.

        Args:
            state_dict: what `state_dict` gave.
            on_change: what to do where the saved schedules or bases aren't this Scheduler's; by default, what its
                constructor was given, and otherwise it is an error. "keep": go on with the saved schedules on the saved
                bases. "new": go on with these from the saved step, where a base has changed on the new one. "rescale": the
                same from the step at which these are as far through as the saved ones were. "splice": what was followed up
                to here, then these from their 0; a state that was saved after that is known again, and not spliced twice.
                What metric-driven factors have reached is kept, by the rule of each (`Plateau`, `Greedy`); a kind that the
                saved schedules don't have begins at 1.
            trusted: import the functions that a saved `Lambda` names, where "keep" or "splice" needs them. Importing runs
                code, so only for a state of your own.

        Raises:
            InvalidInput: the state is no scheduler's or of an unknown version, or can't be one; or the definitions or bases
                differ and `on_change` doesn't say which hold, or can't be done. Nothing is changed then.
        """
        answer = checked_answer(on_change) or self._on_change
        groups = self.optimizer.param_groups
        saved = SavedState.read(state_dict)
        step, hyperparameters = load(self._hyperparameters, saved, groups, answer, trusted)
        values = [one.at(groups, step) for one in hyperparameters.values()]
        self._step = self._updates_done = step
        self._clock = saved.clock
        self._follow(hyperparameters)
        self._write_bases()
        self._write(values)


_ARGUMENTS = ("start_step", "rebase", "count_updates", "on_change", "total_steps", "steps_per_epoch")


def _definition(name: str, given: Any, units: Units) -> Definition:
    """What a user gives for a hyperparameter, checked and made concrete."""
    if not isinstance(given, Mapping):
        return Definition((_concrete(name, given, units),))
    if not given:
        raise InvalidInput(f"{name} must have a schedule for one group at least; got {given!r}")
    return Definition(tuple(_concrete(name, schedule, units) for schedule in given.values()), tuple(given))


def _concrete(name: str, schedule: Any, units: Units) -> Schedule:
    if not isinstance(schedule, Schedule):
        hint = did_you_mean(name, _ARGUMENTS)
        raise InvalidInput(f"{name}{hint} must be a schedule, such as Cosine(1000); got {schedule!r}")
    missing = sorted(need for need in schedule._needs if getattr(units, need) is None)
    if missing:
        arguments = ", ".join(f"{need}=..." for need in missing)
        ours = ", ".join(f"{need}=..." for need in missing if need in ("total_steps", "steps_per_epoch"))
        raise InvalidInput(
            f"{name}'s {schedule!r} is a template; make it concrete first: .resolve({arguments})"
            + (f", or pass {ours} to the Scheduler" if ours else "")
        )
    return schedule.resolve(units.total_steps, steps_per_epoch=units.steps_per_epoch)


def _innermost(optimizer: Any) -> Any:
    """The optimizer that does the updates, where this one is a wrapper, or a wrapper of a wrapper, of it."""
    seen = [optimizer]
    while True:
        inner = next((one for name in _WRAPPED if (one := getattr(seen[-1], name, None)) is not None), None)
        if not hasattr(inner, "param_groups") or any(inner is one for one in seen):
            return seen[-1]
        seen.append(inner)


def _metric(metric: Any) -> float:
    try:
        return float("text" if isinstance(metric, (str, bytes)) else metric)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise InvalidInput(f"a metric must be a number, or a tensor of one element; got {metric!r}") from None
