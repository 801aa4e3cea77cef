"""The drop-ins that go between given rates: triangles, one cycle, warm restarts, and the way to the averaging rate."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim import lr_scheduler as torch_lr
from torch.optim import swa_utils as torch_swa

from gradus.checks import shown, unit, whole
from gradus.errors import InvalidInput
from gradus.lr_scheduler.base import (
    UNSTARTED,
    DropIn,
    Values,
    all_or_nothing,
    checked_optimizer,
    floats,
    own_rate,
    per_group,
    require_position,
    set_value,
    with_lengths,
)
from gradus.lr_scheduler.plain import callable_state, copied
from gradus.lr_scheduler.states import is_number
from gradus.names import did_you_mean
from gradus.schedules import Cosine, CosineRestarts, Cyclic, Exponential, Lambda, Linear, OneCycle, Schedule
from gradus.schedules.evaluation import SCALARS

progress: Callable[[float, float], float] = SCALARS.progress

__all__ = ["SWALR", "CosineAnnealingWarmRestarts", "CyclicLR", "OneCycleLR"]


class _WithMomentum(DropIn):
    """Rates that are given outright, and momentum that goes the other way."""

    _follows = False
    _sets_rate = True

    cycle_momentum: bool

    @property
    def _schedules_momentum(self) -> bool:  # type: ignore[override]
        return self.cycle_momentum

    def _require_momentum(self, optimizer: Optimizer) -> None:
        if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
            raise InvalidInput(
                f"cycle_momentum needs an optimizer with momentum or betas, and {type(optimizer).__name__} has neither; "
                f"pass cycle_momentum=False"
            )
        self.use_beta1 = "betas" in optimizer.defaults

    def _keep_momentum(self, group: dict[str, Any], base: Any, top: Any) -> None:
        """Give a group its momentums, where torch has them, and keep what the user gave."""
        own = group["betas"][0] if "betas" in group else group["momentum"]
        group.setdefault("user_momentum", float(own))
        group["max_momentum"], group["base_momentum"] = top, base


class CyclicLR(_WithMomentum, torch_lr.CyclicLR):
    """Triangles between base_lr and max_lr: `gradus.schedules.Cyclic`; momentum goes down where the rate goes up.

    Args:
        base_lr: the rate at a triangle's feet, or a list, one a group.
        max_lr: the rate at the first tip, or a list.
        step_size_up: steps from base_lr to max_lr.
        step_size_down: steps back; as many as up unless given.
        mode: "triangular", "triangular2" (half as high each cycle) or "exp_range" (gamma^t as high).
        gamma: for "exp_range".
        scale_fn: a factor on the height, instead of a mode.
        scale_mode: whether scale_fn takes the "cycle", counted from 1, or the "iterations".
        cycle_momentum: whether momentum, or beta1, is scheduled too.
        base_momentum: at the tips, or a list.
        max_momentum: at the feet, or a list.

    Raises:
        InvalidInput: an unknown mode, a list of the wrong length, no momentum to cycle.

    Source: Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017, section 3.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    >>> rate, = CyclicLR(optimizer, 0.1, 0.5, step_size_up=2, cycle_momentum=False).schedules
    >>> [round(rate(t), 3) for t in range(5)]
    [0.1, 0.3, 0.5, 0.3, 0.1]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: Literal["cycle", "iterations"] = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8,
        max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
        verbose: Any = False,
    ) -> None:
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise InvalidInput(
                f"mode must be one of 'triangular', 'triangular2', 'exp_range' without scale_fn; "
                f"got {mode!r}{did_you_mean(mode, ('triangular', 'triangular2', 'exp_range'))}"
            )
        lows = floats(per_group("base_lr", checked_optimizer(optimizer), base_lr), "base_lr")
        self.max_lrs = floats(per_group("max_lr", optimizer, max_lr), "max_lr")
        down = step_size_up if step_size_down is None else step_size_down
        if not all(is_number(length) and 0 < length < math.inf for length in (step_size_up, down)):
            raise InvalidInput(
                f"step_size_up and step_size_down must be above 0; got {step_size_up!r} and {step_size_down!r}"
            )
        self.total_size: float = float(step_size_up) + float(down)  # type: ignore[assignment]  # torch's is one too
        self.step_ratio = step_size_up / self.total_size
        self.mode, self.gamma = mode, gamma
        self._scale_fn_custom = scale_fn
        self.scale_mode = scale_mode if scale_fn is not None else "iterations" if mode == "exp_range" else "cycle"
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._require_momentum(optimizer)
            self.base_momentums = floats(per_group("base_momentum", optimizer, base_momentum), "base_momentum")
            self.max_momentums = floats(per_group("max_momentum", optimizer, max_momentum), "max_momentum")
        with all_or_nothing(optimizer):
            if cycle_momentum and last_epoch == -1:
                for group, base, top in zip(optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True):
                    self._keep_momentum(group, base, top)
            super().__init__(optimizer, last_epoch, verbose, bases=lows)

    def _initial_step(self) -> None:
        for group, low in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            set_value(group, "lr", low)
        super()._initial_step()

    def _base_of(self, group: dict[str, Any]) -> float:
        return own_rate(group) * (self.base_lrs[0] / self.max_lrs[0] if self.max_lrs[0] else 1.0)

    def _add_group(self, group: dict[str, Any]) -> None:
        """A group that is added later has its own rate for its tips."""
        self.max_lrs.append(own_rate(group))
        if self.cycle_momentum:
            self.base_momentums.append(self.base_momentums[0])
            self.max_momentums.append(self.max_momentums[0])
            self._keep_momentum(group, self.base_momentums[0], self.max_momentums[0])
        super()._add_group(group)

    def _values(self, position: float) -> Values:
        height = self._curve_at(position)
        rates = [low + (high - low) * height for low, high in zip(self.base_lrs, self.max_lrs)]  # noqa: B905 - for speed
        if not self.cycle_momentum:
            return rates, None
        pairs = zip(self.max_momentums, self.base_momentums)  # noqa: B905
        return rates, [top + (base - top) * height for top, base in pairs]

    def _curve(self) -> Schedule:
        """The height: 0 at the feet, 1 at the first tip."""
        up, custom = self.total_size * self.step_ratio, self._scale_fn_custom
        mode = "triangular2" if custom is None and self.mode == "triangular2" else "triangular"
        triangles = with_lengths([up, self.total_size - up], partial(Cyclic, mode=mode))
        if custom is not None:
            return triangles * Lambda(partial(_by_cycle, custom, self.total_size) if self.scale_mode == "cycle" else custom)
        return triangles * Exponential(self.gamma) if self.mode == "exp_range" else triangles

    def _rate(self, index: int) -> Schedule:
        low, high = float(self.base_lrs[index]), float(self.max_lrs[index])
        return low + (high - low) * self._curve()

    def scale_fn(self, x: float) -> float:
        """The factor on the height, of the cycle or of the iterations, whichever `scale_mode` says."""
        return self._scale_fn_ref(x) if self._scale_fn_custom is None else self._scale_fn_custom(x)

    @property
    def _scale_fn_ref(self) -> Callable[[float], float]:  # type: ignore[override]  # torch keeps a field
        gamma = self.gamma
        modes: dict[str, Callable[[float], float]] = {
            "triangular": lambda _: 1.0,
            "triangular2": lambda cycle: 0.5 ** (cycle - 1),
            "exp_range": lambda t: gamma**t,
        }
        return modes[self.mode]

    def state_dict(self) -> dict[str, Any]:
        """The state; of a scale_fn, what a callable object holds."""
        custom = self._scale_fn_custom
        return {**super().state_dict(), "_scale_fn_custom": None if custom is None else callable_state(custom)}

    _elsewhere = ("_scale_fn_custom",)

    def _check_state(self, state: Any) -> None:
        super()._check_state(state)
        held = state.get("_scale_fn_custom")
        if not (held is None or (isinstance(held, Mapping) and all(isinstance(key, str) for key in held))):
            raise InvalidInput(f"a CyclicLR's state can't have '_scale_fn_custom': {shown(held)}")
        lists = ["base_lrs", "max_lrs", *(["base_momentums", "max_momentums"] if self.cycle_momentum else [])]
        if len({len(state.get(key, ())) for key in lists}) > 1:
            raise InvalidInput(f"a CyclicLR's state has one value a group in {', '.join(lists)}")

    def _twin(self, optimizer: Any) -> DropIn:
        twin = super()._twin(optimizer)
        twin.__dict__["_scale_fn_custom"] = copied(self._scale_fn_custom)
        return twin

    def _update_from(self, state: Mapping[str, Any]) -> None:
        custom, held = self._scale_fn_custom, state.get("_scale_fn_custom")
        super()._update_from(state)
        self._scale_fn_custom = custom
        if custom is not None and held:
            vars(custom).update(held)


class OneCycleLR(_WithMomentum, torch_lr.OneCycleLR):
    """Up to max_lr, then far down, in total_steps steps: `gradus.schedules.OneCycle`; momentum goes the other way.

    It begins at max_lr/div_factor, is at max_lr at step pct_start·total_steps − 1, and ends at step total_steps − 1 with
    the initial rate/final_div_factor. Where there is no step to rise in, it begins at max_lr. The groups hold the rates,
    as in torch; what the user had given stays under "user_lr" and "user_momentum", and `restore()` puts it back.

    Args:
        max_lr: the highest rate, or a list, one a group.
        total_steps: the length; or `epochs` times `steps_per_epoch`.
        epochs: with steps_per_epoch, instead of total_steps.
        steps_per_epoch: with epochs.
        pct_start: the part of the cycle spent rising; at most ½ in three phases.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: whether momentum, or beta1, is scheduled too.
        base_momentum: where the rate is highest, or a list.
        max_momentum: at the beginning and the end, or a list.
        div_factor: max_lr over the initial rate.
        final_div_factor: the initial rate over the last one.
        three_phase: whether to come down to the initial rate as it went up, and then to the last one.

    Raises:
        InvalidInput: no length, an argument out of its range, no momentum to cycle, or a step past total_steps.

    Source: Smith and Topin, Super-Convergence, 2018, section 3; the cosine form is fastai's.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    >>> rate, = OneCycleLR(optimizer, max_lr=0.5, total_steps=11, cycle_momentum=False).schedules
    >>> [round(rate(t), 3) for t in (0, 2, 10)]
    [0.02, 0.48, 0.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
        verbose: Any = False,
    ) -> None:
        checked_optimizer(optimizer)
        self.total_steps = _total(total_steps, epochs, steps_per_epoch)
        pct_start = unit("pct_start", pct_start)
        self._schedule_phases = _phases(pct_start * self.total_steps - 1, self.total_steps - 1, three_phase)
        self._anneal_func_type = _checked_strategy(anneal_strategy)
        tops = per_group("max_lr", optimizer, max_lr)
        lows = per_group("base_momentum", optimizer, base_momentum)
        highs = per_group("max_momentum", optimizer, max_momentum)
        floats([*tops, *lows, *highs, div_factor, final_div_factor], "each rate, momentum and factor")
        if div_factor == 0 or final_div_factor == 0:
            raise InvalidInput(f"div_factor and final_div_factor can't be 0; got {div_factor!r} and {final_div_factor!r}")
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._require_momentum(optimizer)
        with all_or_nothing(optimizer):
            if last_epoch == -1:
                for group, top, low, high in zip(optimizer.param_groups, tops, lows, highs, strict=True):
                    _set_rates(group, top, div_factor, final_div_factor)
                    if cycle_momentum:
                        self._keep_momentum(group, low, high)
            super().__init__(optimizer, last_epoch, verbose)

    def _base_of(self, group: dict[str, Any]) -> float:
        return float(group["initial_lr"])

    def _add_group(self, group: dict[str, Any]) -> None:
        """A group that is added later has its own rate for its highest."""
        first = self.optimizer.param_groups[0]
        if "max_lr" not in group:
            initial, top = float(first["initial_lr"]), float(first["max_lr"])
            _set_rates(group, own_rate(group), top / initial, initial / float(first["min_lr"]))
        if self.cycle_momentum and "max_momentum" not in group:
            self._keep_momentum(group, first["base_momentum"], first["max_momentum"])
        super()._add_group(group)

    def _values(self, position: float) -> Values:
        if position > self.total_steps:
            raise InvalidInput(
                f"this OneCycleLR was made for {self.total_steps} steps, and step {position} was asked for; "
                f"give it the total_steps that the run has"
            )
        begin = 0.0
        for phase in self._schedule_phases:
            if position < phase["end_step"]:
                break
            begin = max(begin, phase["end_step"])
        done = progress(position - begin, phase["end_step"] - begin)
        if self._anneal_func_type == "cos":
            done = (1 - math.cos(math.pi * done)) * 0.5
        left, groups, start, end = 1 - done, self.optimizer.param_groups, phase["start_lr"], phase["end_lr"]
        rates = [float(left * group[start] + done * group[end]) for group in groups]
        if not self.cycle_momentum:
            return rates, None
        start, end = phase["start_momentum"], phase["end_momentum"]
        return rates, [float(left * group[start] + done * group[end]) for group in groups]

    def _rate(self, index: int) -> Schedule:
        group, length = self.optimizer.param_groups[index], self.total_steps - 1
        return OneCycle(
            length,
            start=group["initial_lr"],
            peak=group["max_lr"],
            end=group["min_lr"],
            pct_start=max(0.0, self._schedule_phases[0]["end_step"]) / length if length else 0.0,
            anneal="cosine" if self._anneal_func_type == "cos" else "linear",
            three_phase=len(self._schedule_phases) == 3,
        )

    _elsewhere = ("_schedule_phases",)

    def _check_state(self, state: Any) -> None:
        super()._check_state(state)
        phases, last = state.get("_schedule_phases", self._schedule_phases), state.get("total_steps", self.total_steps) - 1
        try:
            peak, whole = float(phases[0]["end_step"]), _count("total_steps", last + 1)
            known = phases == _phases(peak, last, len(phases) == 3) and math.isfinite(peak) and peak < whole
        except (TypeError, KeyError, IndexError, ValueError, AttributeError) as error:
            raise InvalidInput("a OneCycleLR's state has its phases and the whole number total_steps") from error
        if not known or state.get("_anneal_func_type", "cos") not in ("cos", "linear"):
            raise InvalidInput("a OneCycleLR's state has phases that end one after the other, by 'cos' or 'linear'")

    def _update_from(self, state: Mapping[str, Any]) -> None:
        state = dict(state)
        if "anneal_func" in state and "_anneal_func_type" not in state:  # saved by a torch that kept the function itself
            state["_anneal_func_type"] = "linear" if "linear" in state["anneal_func"].__name__ else "cos"
        super()._update_from(state)


def _by_cycle(function: Callable[[float], float], length: float, t: float) -> float:
    """A function of the cycle, counted from 1, at step t."""
    return function(1 + t // length)


def _total(total_steps: Any, epochs: Any, steps_per_epoch: Any) -> int:
    if total_steps is not None:
        return _count("total_steps", total_steps)
    if epochs is None or steps_per_epoch is None:
        raise InvalidInput("OneCycleLR needs its length: total_steps, or epochs and steps_per_epoch")
    return _count("epochs", epochs) * _count("steps_per_epoch", steps_per_epoch)


_count = partial(whole, least=1, most=2**63 - 1)


def _checked_strategy(strategy: Any) -> Literal["cos", "linear"]:
    if strategy not in ("cos", "linear"):
        raise InvalidInput(
            f"anneal_strategy must be 'cos' or 'linear'; got {strategy!r}{did_you_mean(strategy, ('cos', 'linear'))}"
        )
    return strategy  # type: ignore[no-any-return]  # one of the two, as checked


def _phases(peak: float, last: int, three_phase: bool) -> list[Any]:
    """The phases: where each ends, and the keys in the groups of the values from and to which it goes."""
    knots = [(0.0, "initial_lr", "max_momentum"), (peak, "max_lr", "base_momentum"), (last, "min_lr", "max_momentum")]
    if three_phase:
        knots.insert(2, (2 * peak, "initial_lr", "max_momentum"))
    return [
        {
            "end_step": float(step),
            "start_lr": rate,
            "end_lr": to_rate,
            "start_momentum": momentum,
            "end_momentum": to_momentum,
        }
        for (_, rate, momentum), (step, to_rate, to_momentum) in pairwise(knots)
    ]


def _set_rates(group: dict[str, Any], top: Any, div_factor: float, final_div_factor: float) -> None:
    """Put one cycle's rates where torch has them, and keep what the user gave."""
    group.setdefault("user_lr", own_rate(group))
    group["max_lr"] = top
    group["initial_lr"] = top / div_factor
    group["min_lr"] = group["initial_lr"] / final_div_factor


class CosineAnnealingWarmRestarts(DropIn, torch_lr.CosineAnnealingWarmRestarts):
    """Cosines from the base rate to eta_min that start again: `gradus.schedules.CosineRestarts` without its end point.

    As torch documents, `step(epoch)` may stand between two steps: `step(epoch + batch / batches)`.

    Args:
        T_0: the length of the first cycle.
        T_mult: how many times longer each cycle is than the one before.
        eta_min: what each cycle falls to, though it starts again one step before it gets there.

    Raises:
        InvalidInput: a length or a factor below 1 or not whole; an eta_min that is no number; a negative epoch.

    Source: Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017, eq. 5.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    >>> CosineAnnealingWarmRestarts(optimizer, T_0=10, T_mult=2).schedules
    [CosineRestarts(10, start=0.5, growth=2.0, endpoint=False)]
    """

    _follows = False

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,  # noqa: N803 - torch's names
        T_mult: int = 1,  # noqa: N803
        eta_min: float = 0.0,
        last_epoch: int = -1,
        verbose: Any = False,
    ) -> None:
        self.T_0 = self.T_i = _count("T_0", T_0)
        self.T_mult = _count("T_mult", T_mult)
        if not isinstance(eta_min, (int, float)):
            raise InvalidInput(f"eta_min must be a number; got {eta_min!r}")
        self.eta_min = eta_min
        require_position(last_epoch, "last_epoch must be a whole number, or -1 to start anew")
        self.T_cur: float = last_epoch  # type: ignore[assignment]  # between two steps, as torch documents
        if last_epoch >= 0:
            self.T_i, self.T_cur = self._cycle_from_0(last_epoch)
        super().__init__(optimizer, last_epoch, verbose)

    def _rate(self, index: int) -> Schedule:
        return CosineRestarts(self.T_0, start=self.base_lrs[index], end=self.eta_min, growth=self.T_mult, endpoint=False)

    def _values(self, position: float) -> Values:
        period, since = self._cycle(position)
        left = 0.5 + 0.5 * math.cos(math.pi * since / period)
        low = (1 - left) * self.eta_min
        return [low + left * base for base in self.base_lrs], None

    def _cycle(self, position: float) -> tuple[int, float]:
        """The length of the cycle at a position, and how far the position is from the cycle's beginning."""
        last, present, period = self.last_epoch, self.T_cur, self.T_i
        since = position - last + present // 1
        if last >= 0 and present <= since <= present + 1:  # from where it stands, maybe set by hand
            return (period, since) if since < period else (period * self.T_mult, since - period)
        return self._cycle_from_0(position)

    def _cycle_from_0(self, position: float) -> tuple[int, float]:
        begin, period = 0, self.T_0
        if self.T_mult == 1:
            return period, position % period
        while position >= begin + period:
            begin, period = begin + period, period * self.T_mult
        return period, position - begin

    def _check_state(self, state: Any) -> None:
        super()._check_state(state)
        _count("T_i", state.get("T_i", self.T_i))
        if state.get("T_cur", 0) < UNSTARTED:
            raise InvalidInput(f"a CosineAnnealingWarmRestarts' state can't have 'T_cur': {state['T_cur']}")

    @property
    def _part(self) -> float:  # type: ignore[override]
        return self.T_cur % 1

    def _set_position(self, position: float, rates: list[float]) -> None:
        period, since = self._cycle(position) if position >= 0 else (self.T_0, 0)
        self.__dict__["T_i"], self.__dict__["T_cur"] = period, since
        DropIn._set_position(self, math.floor(position), rates)  # as super() does, which takes a tenth of a step

    def _checked_epoch(self, epoch: Any) -> float:
        if not (isinstance(epoch, (int, float)) and 0 <= epoch < math.inf):
            raise InvalidInput(f"epoch must be a number from 0; got {epoch!r}")
        return epoch


class SWALR(DropIn, torch_swa.SWALR):
    """From the rate it finds to swa_lr in anneal_epochs steps, then held: `gradus.schedules.Cosine` or `Linear`.

    Args:
        swa_lr: the rate for averaging, or a list, one a group.
        anneal_epochs: the length of the way; 0 is there at once.
        anneal_strategy: "cos" or "linear".

    Raises:
        InvalidInput: an unknown strategy, a length that is negative or not whole, a list of the wrong length.

    Source: Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, 2018.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    >>> SWALR(optimizer, swa_lr=0.05, anneal_epochs=5).schedules
    [Cosine(5, start=0.5, end=0.05)]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float,
        anneal_epochs: int = 10,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        last_epoch: int = -1,
    ) -> None:
        rates = per_group("swa_lr", checked_optimizer(optimizer), swa_lr)
        floats(rates, "swa_lr")
        self._anneal_strategy = _checked_strategy(anneal_strategy)
        if anneal_epochs != 0:
            _count("anneal_epochs", anneal_epochs)
        self.anneal_epochs = anneal_epochs
        with all_or_nothing(optimizer):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["swa_lr"] = rate
            super().__init__(optimizer, last_epoch)

    def _add_group(self, group: dict[str, Any]) -> None:
        group.setdefault("swa_lr", self.optimizer.param_groups[0]["swa_lr"])
        super()._add_group(group)

    def _check_state(self, state: Any) -> None:
        super()._check_state(state)
        _checked_strategy(state.get("_anneal_strategy", "cos"))

    @property
    def anneal_func(self) -> Callable[[float], float]:  # type: ignore[override]
        """How far the way is done; torch's name for it."""
        return self._cosine_anneal if self._anneal_strategy == "cos" else self._linear_anneal

    @property
    def _ends(self) -> list[float]:
        return [float(group["swa_lr"]) for group in self.optimizer.param_groups]

    def _curve(self, start: float = 1.0, end: float = 0.0) -> Schedule:
        return (Cosine if self._anneal_strategy == "cos" else Linear)(self.anneal_epochs, start=start, end=end)

    def _values(self, position: float) -> Values:
        left = self._curve_at(position)
        return [(1 - left) * end + left * base for base, end in zip(self.base_lrs, self._ends)], None  # noqa: B905

    def _rate(self, index: int) -> Schedule:
        return self._curve(self.base_lrs[index], self._ends[index])

    def _rates_on_entry(self, rates: list[float], values: list[float]) -> list[float]:
        return rates if self.anneal_epochs else values

    def _rescale_external(self, rates: list[float], before: float, after: float, values: list[float]) -> list[float]:  # noqa: ARG002
        """From whatever rates there are: what is left of the way shrinks as the schedule's does."""
        left, remaining = (self._curve_at(max(t, 0)) for t in (before, after))
        kept = remaining / left if left else 0.0
        return [end + (rate - end) * kept for rate, end in zip(rates, self._ends)]  # noqa: B905
