"""The catalogue: each row of docs/catalogue.md, against the peer's own values where it is installed, else its formula."""

# The formulas take the names and arguments of theirs.
# ruff: noqa: N802, N803, ARG001, ARG005

import importlib.util
import math
import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as torch_lr

from gradus.schedules import Absolute, Schedule, parse
from registry import halving

STEPS = 60
RATE = 0.5
CATALOGUE = Path(__file__).parent.parent / "docs" / "catalogue.md"
Values = list[float]


def _rows() -> list[tuple[str, str, str]]:
    """(peer, theirs, ours) of every row of every table."""
    rows, peer = [], ""
    for line in CATALOGUE.read_text().splitlines():
        if line.startswith("## "):
            peer = line.removeprefix("## ")
        elif row := re.fullmatch(r"\| `(.+)` \| `(.+)` \|", line):
            rows.append((peer, *row.groups()))
    return rows


ROWS = _rows()


# How each library is asked for its values at steps 0…60.

Names = dict[str, Any]


def _values(schedule: Callable[[int], Any], length: int = STEPS + 1) -> Values:
    return [float(schedule(step)) for step in range(length)]


def _optimizer() -> torch.optim.Optimizer:
    return torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=RATE, betas=(0.9, 0.9375))


def _by_step(text: str, names: Names) -> Values:
    optimizer = _optimizer()
    scheduler = eval(text, {**names, "o": optimizer})

    def after(step: int) -> float:
        if step:
            optimizer.step()
            scheduler.step()
        return optimizer.param_groups[0]["lr"]

    return _values(after)


def _by_epoch(text: str, names: Names) -> Values:
    """timm's: told the step."""
    optimizer = _optimizer()
    scheduler = eval(text, {**names, "o": optimizer})
    return _values(lambda step: scheduler.step(step) or optimizer.param_groups[0]["lr"])


def _by_call(text: str, names: Names) -> Values:
    """ignite's: each call writes the value of the next event."""
    optimizer = _optimizer()
    scheduler = eval(text, {**names, "o": optimizer})
    return _values(lambda _: scheduler(None) or optimizer.param_groups[0]["lr"])


def _by_dampening(text: str, names: Names) -> Values:
    """pytorch_warmup's: a factor on what the rate is."""
    optimizer = _optimizer()
    warmup = eval(text, {**names, "adam": optimizer})

    def after(step: int) -> float:
        if step:
            with warmup.dampening():
                pass
        return optimizer.param_groups[0]["lr"]

    return _values(after)


def _by_state(text: str, names: Names) -> Values:
    """composer's: a function of the trainer's state."""
    core = importlib.import_module("composer.core")
    scheduler, length = eval(text, names), core.Time.from_timestring(f"{STEPS}ba")

    def at(step: int) -> float:
        state = SimpleNamespace(timestamp=core.Timestamp(batch=step), max_duration=length, dataloader_len=None)
        return RATE * scheduler(state)

    return _values(at, STEPS)  # at the end of a run some of its schedules jump


def _by_progress(text: str, names: Names) -> Values:
    """fvcore's and fastai's: a function of the part of the run that is over."""
    schedule = eval(text, names)
    return _values(lambda step: schedule(step / STEPS), STEPS)


def _by_length(text: str, names: Names) -> Values:
    """OLMo-core's: a function of the rate, the step and the run's length."""
    scheduler = eval(text, names)
    return _values(lambda step: scheduler.get_lr(RATE, step, STEPS))


def _by_its_own_step(text: str, names: Names) -> Values:
    """pytorch_optimizer's: some are torch's, others return the present step's rate from their step."""
    optimizer = _optimizer()
    scheduler = eval(text, {**names, "o": optimizer})
    values = [] if not hasattr(scheduler, "step_t") else [scheduler.get_lr()] * isinstance(scheduler, torch_lr.LRScheduler)

    def after(step: int) -> float:
        if hasattr(scheduler, "step_t"):
            return values.pop() if values else scheduler.step()
        if step:
            optimizer.step()
            scheduler.step()
        return optimizer.param_groups[0]["lr"]

    return _values(after)


def _as_function(text: str, names: Names) -> Values:
    return _values(eval(text, names))


@dataclass(frozen=True)
class Peer:
    """A library: where its schedules are, how they are asked, whether for a rate of ½, and how exact it is."""

    module: str
    ask: Callable[[str, Names], Values]
    scaled: bool
    tolerance: float = 1e-12


PEERS = {
    "torch": Peer("torch.optim.lr_scheduler", _by_step, True),
    "timm": Peer("timm.scheduler", _by_epoch, True),
    "Transformers": Peer("transformers.optimization", _by_step, True),
    "optax": Peer("optax", _as_function, False, 2e-6),  # float32
    "Keras": Peer("keras.optimizers.schedules", _as_function, False, 2e-6),  # float32
    "mmengine": Peer("mmengine.optim.scheduler", _by_step, True),
    "ignite": Peer("ignite.handlers", _by_call, False),
    "composer": Peer("composer.optim", _by_state, True),
    "fvcore": Peer("fvcore.common.param_scheduler", _by_progress, False),
    "fastai": Peer("fastai.callback.schedule", _by_progress, False, 1e-6),  # its parts of a run are float32
    "OLMo-core": Peer("olmo_core.optim", _by_length, True),
    "torchtune": Peer("torchtune.training.lr_schedulers", _by_step, True),
    "pytorch_optimizer": Peer("pytorch_optimizer.lr_scheduler", _by_its_own_step, True),
    "pytorch-scheduler": Peer("pytorch_scheduler.scheduler", _by_step, True),
    "pytorch_warmup": Peer("pytorch_warmup", _by_dampening, True),
}


@cache
def _names_of(peer: str) -> Names | None:
    """What the library has, or None where it isn't installed."""
    if peer not in PEERS or importlib.util.find_spec(PEERS[peer].module.partition(".")[0]) is None:
        return None
    os.environ.setdefault("KERAS_BACKEND", "torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peers remark on their own internals
        names = dict(vars(importlib.import_module(PEERS[peer].module)))
    if peer == "torch":
        names |= {"SWALR": torch.optim.swa_utils.SWALR, "halving": halving}
    return names


def _ours(text: str, scaled: bool) -> np.ndarray:
    schedule: Schedule = parse(text, trusted=True)
    values = schedule(np.arange(STEPS + 1))
    assert values.tolist() == pytest.approx([schedule(t) for t in range(STEPS + 1)], rel=1e-13, abs=1e-15)
    return values * RATE if scaled and not isinstance(schedule, Absolute) else values


# Formulas, written out from the papers and the libraries' documents, independently of ours. Each function has the name and
# the arguments of theirs and gives a function of the step; o, the rate of ½, is theirs to scale.

Formula = Callable[[float], float]


def line(a: float, b: float, p: float) -> float:
    return a + (b - a) * min(max(p, 0.0), 1.0)


def wave(a: float, b: float, p: float, power: float = 1.0) -> float:
    return b + (a - b) * ((1 + math.cos(math.pi * min(max(p, 0.0), 1.0))) / 2) ** power


def table(steps: Any, values: Any, t: float) -> float:
    """The value whose range t lies in."""
    return values[sum(t >= step for step in steps)]


def between_knots(knots: Any, t: float, curve: Any = line) -> float:
    """Through the points, held before the first and after the last."""
    if t < knots[0][0]:
        return knots[0][1]
    for (a, x), (b, y) in pairwise(knots):
        if t < b:
            return curve(x, y, (t - a) / (b - a))
    return knots[-1][1]


def after(warmup: int, then: Formula, start: float = 0.0, top: float = 1.0) -> Formula:
    """A straight line up to `top`, then a schedule of its own clock."""
    return lambda t: line(start, top, t / warmup) if t < warmup else then(t - warmup)


def in_cycles(n: float, mul: float, limit: int, curve: Callable[[int, float], float], end: float) -> Formula:
    """Cycle i of n·mulⁱ steps has curve(i, part of it); after the last the end."""

    def at(t: float) -> float:
        for i in range(limit):
            if t < n * mul**i:
                return curve(i, t / (n * mul**i))
            t -= n * mul**i
        return end

    return at


# timm


def CosineLRScheduler(
    o, n, lr_min=0.0, warmup_t=0, warmup_prefix=False, k_decay=1.0, cycle_mul=1, cycle_decay=1.0, cycle_limit=1
):
    curve = in_cycles(
        n,
        cycle_mul,
        cycle_limit,
        lambda i, p: lr_min + (o * cycle_decay**i - lr_min) * (1 + math.cos(math.pi * p**k_decay)) / 2,
        lr_min,
    )
    return lambda t: o * t / warmup_t if t < warmup_t else curve(t - warmup_t if warmup_prefix else t)


def PolyLRScheduler(o, n, power, lr_min=0.0, k_decay=1.0, cycle_decay=1.0, cycle_limit=1):
    return in_cycles(
        n, 1, cycle_limit, lambda i, p: lr_min + (o * cycle_decay**i - lr_min) * (1 - p**k_decay) ** power, lr_min
    )


def TanhLRScheduler(o, n, lb, ub, warmup_t=0):
    curve = in_cycles(n, 1, 1, lambda _, p: o / 2 * (1 - math.tanh(lb * (1 - p) + ub * p)), 0.0)
    return lambda t: curve(warmup_t) * t / warmup_t if t < warmup_t else curve(t)


def StepLRScheduler(o, n, decay_rate, warmup_t=0):
    return after(warmup_t, lambda t: o * decay_rate ** (t // n), top=o)


def MultiStepLRScheduler(o, milestones, decay_rate):
    return lambda t: o * decay_rate ** sum(m <= t + 1 for m in milestones)


def WSDLRScheduler(
    o, n, decay, warmup_t, lr_min=0.0, decay_fn="1-sqrt", decay_power=0.5, decay_ratio=0.1, stable_fn="constant"
):
    shapes = {
        "linear": lambda p: 1 - p,
        "1-sqrt": lambda p: 1 - math.sqrt(p),
        "cosine": lambda p: wave(1, 0, p),
        "power": lambda p: 1 - p**decay_power,
        "exp": lambda p: (decay_ratio**p - decay_ratio) / (1 - decay_ratio),
    }

    def then(t):
        level = o * (1 if stable_fn == "constant" else (1 + t / warmup_t) ** -0.5)
        return lr_min + (level - lr_min) * shapes[decay_fn](min(max(t - (n - decay), 0) / decay, 1))

    return after(warmup_t, then, top=o)


# Transformers


def get_constant_schedule(o):
    return lambda _: o


def get_constant_schedule_with_warmup(o, w):
    return after(w, lambda _: o, top=o)


def get_linear_schedule_with_warmup(o, w, n):
    return after(w, lambda t: line(o, 0, t / (n - w)), top=o)


def get_cosine_schedule_with_warmup(o, w, n, num_cycles=0.5):
    return after(w, lambda t: o / 2 * (1 + math.cos(2 * math.pi * num_cycles * t / (n - w))), top=o)


def get_cosine_with_hard_restarts_schedule_with_warmup(o, w, n, num_cycles):
    return after(w, lambda t: 0.0 if t >= n - w else wave(o, 0, num_cycles * t / (n - w) % 1), top=o)


def get_polynomial_decay_schedule_with_warmup(o, w, n, lr_end, power):
    return after(w, lambda t: lr_end + (o - lr_end) * (1 - min(t / (n - w), 1)) ** power, top=o)


def get_inverse_sqrt_schedule(o, w, timescale=None):
    return after(w, lambda t: o / math.sqrt((t + (timescale or w)) / (timescale or w)), top=o)


def get_cosine_with_min_lr_schedule_with_warmup(o, w, n, min_lr_rate):
    return after(w, lambda t: wave(o, min_lr_rate * o, t / (n - w)), top=o)


def get_cosine_with_min_lr_schedule_with_warmup_lr_rate(o, w, n, min_lr_rate):
    return lambda t: o * (t + 1) / w if t < w else wave(o, min_lr_rate * o, (t - w + 1) / (n - w))


def get_wsd_schedule(o, w, d, num_stable_steps, warmup_type="linear", decay_type="cosine", min_lr_ratio=0.0):
    shapes = {"linear": lambda p: 1 - p, "cosine": lambda p: wave(1, 0, p), "1-sqrt": lambda p: 1 - math.sqrt(p)}

    def at(t):
        left = shapes[warmup_type](1 - t / w) if t < w else shapes[decay_type](min(max(t - w - num_stable_steps, 0) / d, 1))
        return o * (min_lr_ratio + (1 - min_lr_ratio) * left)

    return at


# optax


def constant_schedule(value):
    return lambda _: value


def linear_schedule(a, b, n, transition_begin=0):
    return lambda t: line(a, b, (t - transition_begin) / n)


def polynomial_schedule(a, b, power, n, transition_begin):
    return lambda t: b + (a - b) * (1 - min(max(t - transition_begin, 0) / n, 1)) ** power


def _scaled(value, scales):
    knots = [(0, value)]
    for step, scale in scales.items():
        knots.append((step, knots[-1][1] * scale))
    return knots


def piecewise_constant_schedule(value, scales):
    return lambda t: table(scales, [height for _, height in _scaled(value, scales)], t)


def piecewise_interpolate_schedule(kind, value, scales):
    return lambda t: between_knots(_scaled(value, scales), t, line if kind == "linear" else wave)


def exponential_decay(value, n, rate, transition_begin=0, staircase=False, end_value=0.0):
    def at(t):
        p = max(t - transition_begin, 0) / n
        return max(end_value, value * rate ** (math.floor(p) if staircase else p))

    return at


def cosine_decay_schedule(value, n, alpha, exponent):
    return lambda t: wave(value, alpha * value, t / n, exponent)


def warmup_constant_schedule(a, b, n):
    return lambda t: line(a, b, t / n)


def warmup_cosine_decay_schedule(a, peak, w, n, end_value=0.0):
    return after(w, lambda t: wave(peak, end_value, t / (n - w)), a, peak)


def warmup_exponential_decay_schedule(a, peak, w, n, rate):
    return after(w, lambda t: peak * rate ** (t / n), a, peak)


def cosine_onecycle_schedule(n, peak, pct=0.3, div=25.0, final=1e4):
    return lambda t: between_knots([(0, peak / div), (int(pct * n), peak), (n, peak / div / final)], t, wave)


def linear_onecycle_schedule(n, peak, pct, pct_final, div=25.0, final=1e4):
    knots = [(0, peak / div), (int(pct * n), peak), (int(pct_final * n), peak / div), (n, peak / div / final)]
    return lambda t: between_knots(knots, t)


def sgdr_schedule(cycles):
    def at(t):
        for c in cycles[:-1]:
            if t < c["decay_steps"]:
                break
            t -= c["decay_steps"]
        else:
            c = cycles[-1]
        return warmup_cosine_decay_schedule(c["init_value"], c["peak_value"], c["warmup_steps"], c["decay_steps"])(t)

    return at


def join_schedules(schedules, boundaries):
    return lambda t: table(boundaries, [s(t - b) for s, b in zip(schedules, [0, *boundaries], strict=True)], t)


# Keras


def ExponentialDecay(value, n, rate, staircase=False):
    return exponential_decay(value, n, rate, staircase=staircase)


def PiecewiseConstantDecay(boundaries, values):
    return lambda t: table([b + 1 for b in boundaries], values, t)


def PolynomialDecay(value, n, end, power=1.0, cycle=False):
    return lambda t: end + (value - end) * (1 - t / (n * max(math.ceil(t / n), 1)) if cycle else 1 - min(t / n, 1)) ** power


def InverseTimeDecay(value, n, rate, staircase=False):
    return lambda t: value / (1 + rate * (t // n if staircase else t / n))


def CosineDecay(value, n, alpha=0.0, warmup_target=None, warmup_steps=0):
    if warmup_target is None:
        return lambda t: wave(value, alpha * value, t / n)
    return after(warmup_steps, lambda t: wave(warmup_target, 0, t / n), value, warmup_target)


def CosineDecayRestarts(value, n, t_mul, m_mul):
    return in_cycles(n, t_mul, 99, lambda i, p: wave(value * m_mul**i, 0, p), 0.0)


# mmengine


def ConstantLR(o, factor, end):
    return lambda t: o * (factor if t < end - 1 else 1)


def LinearLR(o, start_factor, end):
    return lambda t: o * line(start_factor, 1, t / (end - 1))


def StepLR(o, n, gamma):
    return lambda t: o * gamma ** (t // n)


def MultiStepLR(o, milestones, gamma):
    return lambda t: o * gamma ** sum(m <= t for m in milestones)


def ExponentialLR(o, gamma):
    return lambda t: o * gamma**t


def PolyLR(o, power, eta_min, end):
    return lambda t: eta_min + (o - eta_min) * (1 - min(t / (end - 1), 1)) ** power


def CosineAnnealingLR(o, T_max, eta_min):
    return lambda t: wave(o, eta_min, t / T_max)


def CosineRestartLR(o, periods, restart_weights, eta_min):
    return join_schedules(
        [lambda t, n=n, w=w: wave(o * w, eta_min, t / n) for n, w in zip(periods, restart_weights, strict=True)], periods[:1]
    )


def OneCycleLR(o, eta_max, total_steps):
    knots = [(0, eta_max / 25), (0.3 * total_steps - 1, eta_max), (total_steps - 1, eta_max / 25 / 1e4)]
    return lambda t: between_knots(knots, t, wave)


# ignite


def LinearCyclicalScheduler(o, _, a, b, n, monotonic=False):
    return lambda t: a + (b - a) * (t / n % 1 if monotonic else 1 - abs(t / n % 1 - 0.5) * 2)


def CosineAnnealingScheduler(o, _, a, b, n, start_value_mult=1.0):
    return lambda t: wave(a * start_value_mult ** (t // n), b, t / n % 1)


def PiecewiseLinear(o, _, milestones_values):
    return lambda t: between_knots(milestones_values, t)


ConcatScheduler = join_schedules


# composer: RATE times a factor, times as "10ba"


def _batches(text):
    return int(text.removesuffix("ba"))


def _level(alpha=1.0):
    return lambda _: RATE * alpha


def _steps(milestones, gamma):
    return lambda t: RATE * gamma ** sum(_batches(m) <= t for m in milestones)


def _falling(curve):
    return lambda t=None, alpha_f=0.0: lambda step: RATE * (alpha_f + (1 - alpha_f) * curve(step / STEPS))


def _warm(curve):
    return lambda w: after(_batches(w), lambda t: RATE * curve(t / (STEPS - _batches(w))), top=RATE)


COMPOSER = {
    "ConstantScheduler": _level,
    "StepScheduler": lambda n, gamma: lambda t: RATE * gamma ** (t // _batches(n)),
    "MultiStepScheduler": _steps,
    "LinearScheduler": _falling(lambda p: 1 - p),
    "ExponentialScheduler": lambda gamma, decay_period: lambda t: RATE * gamma ** (t / _batches(decay_period)),
    "CosineAnnealingScheduler": _falling(lambda p: wave(1, 0, p)),
    "CosineAnnealingWarmRestartsScheduler": lambda n, t_mult: in_cycles(
        _batches(n), t_mult, 99, lambda _, p: wave(RATE, 0, p), 0.0
    ),
    "PolynomialScheduler": lambda power: lambda t: RATE * (1 - t / STEPS) ** power,
    "ConstantWithWarmupScheduler": _warm(lambda _: 1.0),
    "LinearWithWarmupScheduler": _warm(lambda p: 1 - p),
    "CosineAnnealingWithWarmupScheduler": _warm(lambda p: wave(1, 0, p)),
    "PolynomialWithWarmupScheduler": _warm(lambda p: (1 - p) ** 2),
    "MultiStepWithWarmupScheduler": lambda w, milestones, gamma: (
        lambda t: RATE * t / _batches(w) if t < _batches(w) else _steps(milestones, gamma)(t)
    ),
}

# fvcore and fastai: functions of the part of the run that is over

PROGRESS = {
    "ConstantParamScheduler": lambda a: lambda p: a,
    "CosineParamScheduler": lambda a, b: lambda p: wave(a, b, p),
    "ExponentialParamScheduler": lambda a, decay: lambda p: a * decay**p,
    "LinearParamScheduler": lambda a, b: lambda p: line(a, b, p),
    "PolynomialDecayParamScheduler": lambda a, power: lambda p: a * (1 - p) ** power,
    "MultiStepParamScheduler": lambda values, n, milestones: lambda p: table(milestones, values, p * n + 1e-6),
    "StepParamScheduler": lambda n, values: lambda p: values[int((p + 1e-6) * len(values))],
    "StepWithFixedGammaParamScheduler": lambda a, count, gamma, n: lambda p: a * gamma ** int((p + 1e-6) * (count + 1)),
    "CompositeParamScheduler": lambda members, parts, _: (
        lambda p: members[0](p / parts[0]) if p < parts[0] else members[1]((p - parts[0]) / parts[1])
    ),
    "SchedNo": lambda a, b: lambda p: a,
    "SchedLin": lambda a, b: lambda p: line(a, b, p),
    "SchedCos": lambda a, b: lambda p: wave(a, b, p),
    "SchedExp": lambda a, b: lambda p: a * (b / a) ** p,
    "SchedPoly": lambda a, b, power: lambda p: a + (b - a) * p**power,
    "combine_scheds": lambda parts, members: (
        lambda p: members[0](p / parts[0]) if p < parts[0] else members[1]((p - parts[0]) / parts[1])
    ),
    "combined_cos": lambda part, a, b, c: (
        lambda p: wave(a, b, p / part) if p < part else wave(b, c, (p - part) / (1 - part))
    ),
}

# OLMo-core: runs of 60 steps at a rate of ½


def _cosine_then_line(warmup, decay, decay_fraction):
    cosine = after(warmup, lambda t: RATE * wave(1, 0.1, t / (STEPS - warmup)), top=RATE)
    return lambda t: cosine(t) if t < STEPS - decay else cosine(STEPS - decay) * (STEPS - t) / decay


def _power(warmup, b, decay, decay_fraction):
    def at(t):
        level = RATE * (min(t, STEPS - decay) / warmup) ** b if t > warmup else RATE * t / warmup
        return level * min((STEPS - t) / decay, 1)

    return at


def _wsds(period_lengths, warmup, decay):
    def at(t):
        if t < warmup:
            return RATE * t / warmup
        for length in period_lengths:
            if t <= length:
                return RATE * min((length - t) / decay, 1)
            t -= length
        return 0.0

    return at


OLMO = {
    "ConstantScheduler": _level,
    "ConstantWithWarmup": lambda warmup: after(warmup, _level(), top=RATE),
    "LinearWithWarmup": lambda warmup, alpha_f: after(
        warmup, lambda t: RATE * line(1, alpha_f, t / (STEPS - warmup)), top=RATE
    ),
    "CosWithWarmup": lambda warmup, alpha_f: after(
        warmup, lambda t: RATE * wave(1, alpha_f, t / (STEPS - warmup)), top=RATE
    ),
    "HalfCosWithWarmup": lambda warmup, alpha_f: after(
        warmup, lambda t: RATE * wave(1, alpha_f, 0.5 + t / (STEPS - warmup) / 2), top=RATE * (1 + alpha_f) / 2
    ),
    "CosWithWarmupAndLinearDecay": _cosine_then_line,
    "InvSqrtWithWarmup": lambda warmup, alpha_f: after(
        warmup, lambda t: RATE * (alpha_f + (1 - alpha_f) * math.sqrt(warmup / (t + warmup))), top=RATE
    ),
    "PowerLR": _power,
    "WSD": lambda warmup, decay, decay_fraction: lambda t: RATE * min(t / warmup, 1, (STEPS - t) / decay),
    "WSDS": _wsds,
    "ExponentialScheduler": lambda lr_min: lambda t: lr_min * (RATE / lr_min) ** (t / STEPS),
}


# pytorch_warmup, for beta2 = 15/16


def _rectification(_):
    beta, longest = 0.9375, 31

    def at(t):
        rho = longest - 2 * t * beta**t / (1 - beta**t)
        return math.nan if rho <= 4 else math.sqrt((rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho))

    first = next(t for t in range(1, 99) if not math.isnan(at(t)))
    return lambda t: RATE * at(t + first)


WARMUPS = {
    "LinearWarmup": lambda _, n: lambda t: RATE * min((t + 1) / n, 1),
    "ExponentialWarmup": lambda _, n: lambda t: RATE * (1 - math.exp(-(t + 1) / n)),
    "UntunedLinearWarmup": lambda _: lambda t: RATE * min((t + 1) / 32, 1),
    "UntunedExponentialWarmup": lambda _: lambda t: RATE * (1 - math.exp(-(t + 1) / 16)),
    "RAdamWarmup": _rectification,
}

# torchtitan, torchtune, pytorch_optimizer, pytorch-scheduler: falls as functions of the part that is over, for a rate of ½

FALLS: dict[str, Callable[[float], float]] = {
    "linear": lambda p: 1 - p,
    "sqrt": lambda p: 1 - math.sqrt(p),
    "1-sqrt": lambda p: 1 - math.sqrt(p),
    "1-square": lambda p: 1 - p**2,
    "cosine": lambda p: wave(1, 0, p),
}


def _floored(fall, low):
    return lambda p: low + (1 - low) * fall(min(max(p, 0.0), 1.0))


def _trapezium(w, stable, decay, fall, start=0.0):
    return lambda t: RATE * (line(start, 1, t / w) if t < w else fall((t - w - stable) / decay) if decay else 1.0)


def linear_warmup_stable_decay(warmup_steps, stable_steps, decay_steps, lr_decay_type, min_lr_factor):
    fall = _floored(FALLS[lr_decay_type], min_lr_factor)

    def at(t):
        if t < warmup_steps:
            return (t + 1) / warmup_steps
        into = t - warmup_steps - stable_steps
        return 1.0 if into < 0 else fall((into + 1) / decay_steps)

    return at


def _restarts_with_warmup(o, n, max_lr, min_lr, warmup_steps, gamma):
    def at(t):
        k = t % n
        shape = k / warmup_steps if k < warmup_steps else wave(1, 0, (k - warmup_steps) / (n - warmup_steps))
        return min_lr + (max_lr * gamma ** (t // n) - min_lr) * shape

    return at


def fractal_chebyshev(n, low, high):
    order = [0]
    while len(order) < n:
        order = [k for one in order for k in (one, 2 * len(order) - 1 - one)]
    nodes = [2 / ((high + low) - (high - low) * math.cos(math.pi * (k + 0.5) / n)) for k in order]
    return lambda t: nodes[t % n]


def _hyperbola(n, bound):
    return lambda t: math.sqrt((n - min(t, n)) / bound * (2 - (n + min(t, n)) / bound))


def hyperbolic(n, bound, end):
    h = _hyperbola(n, bound)
    return lambda t: 1 + (1 - end) * (h(t) - h(0))


def exp_hyperbolic(n, bound, end):
    h = _hyperbola(n, bound)
    return lambda t: (1 / end) ** (h(t) - h(0))


TORCHTUNE = {
    "o": RATE,
    "get_cosine_schedule_with_warmup": lambda o, w, n, num_cycles=0.5: after(
        w, lambda t: o * max(0.0, 0.5 * (1 + math.cos(2 * math.pi * num_cycles * t / (n - w)))), top=o
    ),
}
PYTORCH_OPTIMIZER = {
    "o": RATE,
    "LinearScheduler": lambda o, n, max_lr, min_lr, init_lr, warmup_steps: after(
        warmup_steps, lambda t: line(max_lr, min_lr, t / (n - warmup_steps)), init_lr, max_lr
    ),
    "CosineScheduler": lambda o, n, max_lr, min_lr, init_lr, warmup_steps: after(
        warmup_steps, lambda t: wave(max_lr, min_lr, t / (n - warmup_steps)), init_lr, max_lr
    ),
    "CosineAnnealingWarmupRestarts": _restarts_with_warmup,
    "REXScheduler": lambda o, n, max_lr, min_lr: (
        lambda t: min_lr + (max_lr - min_lr) * (1 - min(t / n, 1)) / (1 - min(t / n, 1) / 2)
    ),
    "get_chebyshev_schedule": lambda o, n: (
        lambda t: o * fractal_chebyshev(2 ** math.ceil(math.log2(n)), 0.05, 1.0)(max(t - 2, 0))
    ),
    "get_wsd_schedule": lambda o, w, s, d, cooldown_type="1-sqrt", min_lr_ratio=0.0: _trapezium(
        w, s, d, _floored(FALLS[cooldown_type], min_lr_ratio)
    ),
}
PYTORCH_SCHEDULER = {
    "o": RATE,
    "CosineWithWarmupScheduler": lambda o, n, warmup_steps, min_lr: _trapezium(
        warmup_steps, 0, n - warmup_steps, _floored(FALLS["cosine"], min_lr / o)
    ),
    "CosineAnnealingWarmupRestarts": _restarts_with_warmup,
    "FlatCosineScheduler": lambda o, n, flat_fraction, min_lr: (
        lambda t: wave(o, min_lr, (t - flat_fraction * n) / (n - flat_fraction * n))
    ),
    "LinearDecayScheduler": lambda o, n, warmup_steps, min_lr: _trapezium(
        warmup_steps, 0, n - warmup_steps, _floored(FALLS["linear"], min_lr / o)
    ),
    "PolynomialScheduler": lambda o, n, power, min_lr, warmup_steps: _trapezium(
        warmup_steps, 0, n - warmup_steps, _floored(lambda p: (1 - p) ** power, min_lr / o)
    ),
    "PowerDecayScheduler": lambda o, n, warmup_steps, alpha, min_lr: (
        lambda t: o * t / warmup_steps if t < warmup_steps else max(o * (t / warmup_steps) ** -alpha, min_lr)
    ),
    "InverseSqrtScheduler": lambda o, warmup_steps: (
        lambda t: o * min(t / warmup_steps, math.sqrt(warmup_steps / t)) if t else 0.0
    ),
    "KDecayScheduler": lambda o, n, k, min_lr: lambda t: wave(o, min_lr, (t / n) ** k),
    "RexScheduler": lambda o, n: lambda t: o * (1 - t / n) / (1 - t / n / 2),
    "SlantedTriangularScheduler": lambda o, n, cut_frac, ratio: (
        lambda t: o * (1 + min(t / (n * cut_frac), 1 - (t - n * cut_frac) / (n - n * cut_frac)) * (ratio - 1)) / ratio
    ),
    "TanhDecayScheduler": lambda o, n, steepness: (
        lambda t: o * 0.5 * (1 - math.tanh(steepness * (2 * t / n - 1))) if t < n else 0.0
    ),
    "TrapezoidalScheduler": lambda o, n, warmup_steps, decay_steps: _trapezium(
        warmup_steps, n - warmup_steps - decay_steps, decay_steps, _floored(FALLS["linear"], 0.0)
    ),
    "WarmupHoldCosineScheduler": lambda o, n, warmup_steps, hold_steps, min_lr: _trapezium(
        warmup_steps, hold_steps, n - warmup_steps - hold_steps, _floored(FALLS["cosine"], min_lr / o)
    ),
    "WSDScheduler": lambda o, n, warmup_steps, stable_steps, decay_type: _trapezium(
        warmup_steps, stable_steps, n - warmup_steps - stable_steps, _floored(FALLS[decay_type], 0.0)
    ),
    "ChebyshevScheduler": lambda o, n: lambda t: o * (1 + math.cos(math.pi * (2 * min(t, n - 1) + 1) / (2 * n))) / 2,
    "HyperbolicLRScheduler": lambda o, n, bound, min_lr, warmup_steps=0: after(
        warmup_steps, lambda t: o * hyperbolic(n - warmup_steps, bound, min_lr / o)(t), min_lr, o
    ),
    "ExpHyperbolicLRScheduler": lambda o, n, bound, min_lr: lambda t: o * exp_hyperbolic(n, bound, min_lr / o)(t),
}

PAPERS = {
    "log_warmup": lambda n: lambda t: min(math.log(t + 1) / math.log(n), 1.0),
    "ramp_from_one": lambda n: lambda t: min((t + 1) / n, 1.0),
    "fractal_chebyshev": fractal_chebyshev,
    "hyperbolic": hyperbolic,
    "exp_hyperbolic": exp_hyperbolic,
    "shrinking_restarts": lambda n, low, decay, cycles: (
        lambda t: decay ** (t // n) * wave(1, low, t / n % 1) if t < n * cycles else low * decay ** (cycles - 1)
    ),
    "exponential_cooldown": lambda a, at, n, b: lambda t: a * (b / a) ** min(max((t - at) / n, 0.0), 1.0),
    "power_law": lambda e, n: lambda t: (1 + t / n) ** -e,
    "k_decay": lambda n, k, power: lambda t: ((1 + math.cos(math.pi * min(t, n) ** k / n**k)) / 2) ** power,
    "rex": lambda n: lambda t: (1 - min(t / n, 1)) / (0.5 + 0.5 * (1 - min(t / n, 1))),
    "tanh_decay": lambda n, low, high: lambda t: 0.5 * (1 - math.tanh(low + (high - low) * min(t / n, 1))),
    "one_minus_sqrt": lambda n: lambda t: 1 - math.sqrt(min(t / n, 1)),
    "inverse_linear": lambda n, end: lambda t: 1 / line(1, 1 / end, t / n),
    "geometric_warmup": lambda n, start: lambda t: start ** (1 - min(t / n, 1)),
    "transformer": lambda d, n: lambda t: d**-0.5 * min((t + 1) ** -0.5, (t + 1) * n**-1.5),
}

FORMULAS: dict[str, Names] = {
    **{peer: {**globals(), "o": RATE} for peer in ("timm", "Transformers", "optax", "Keras", "mmengine", "ignite")},
    "composer": COMPOSER,
    "fvcore": PROGRESS,
    "fastai": PROGRESS,
    "OLMo-core": OLMO,
    "torchtitan": {"linear_warmup_stable_decay": linear_warmup_stable_decay},
    "torchtune": TORCHTUNE,
    "pytorch_optimizer": PYTORCH_OPTIMIZER,
    "pytorch-scheduler": PYTORCH_SCHEDULER,
    "pytorch_warmup": {**WARMUPS, "adam": None},
    "Papers": PAPERS,
}


def _of_formula(peer: str, theirs: str) -> Values:
    formula = eval(theirs, dict(FORMULAS[peer]))
    if FORMULAS[peer] is PROGRESS:
        return _values(lambda step: formula(step / STEPS), STEPS)
    return _values(formula)


def _same(ours: np.ndarray, expected: Values, tolerance: float) -> None:
    assert ours[: len(expected)].tolist() == pytest.approx(expected, rel=tolerance, abs=tolerance)


NOISY = [row for row in ROWS if "noise" in row[1]]
EXACT = [row for row in ROWS if row not in NOISY]
each_row = pytest.mark.parametrize(("peer", "theirs", "ours"), EXACT, ids=[f"{peer}: {theirs}" for peer, theirs, _ in EXACT])


@each_row
def test_ours_is_its_formula(peer: str, theirs: str, ours: str) -> None:
    """Ours has the values of the formula at every step of a run, alone and in arrays. torch is always there to be asked."""
    if peer != "torch":
        _same(_ours(ours, peer in PEERS and PEERS[peer].scaled), _of_formula(peer, theirs), 1e-12)


@each_row
def test_ours_is_theirs(peer: str, theirs: str, ours: str) -> None:
    """Ours has the library's own values at every step of a run, where it is installed."""
    if peer not in PEERS:
        return
    names = _names_of(peer)
    if names is None:
        pytest.skip(f"{peer} is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = PEERS[peer].ask(theirs, names)
    _same(_ours(ours, PEERS[peer].scaled), expected, PEERS[peer].tolerance)


@pytest.mark.parametrize(("peer", "theirs", "ours"), NOISY)
def test_noise_stays_in_its_bounds(peer: str, theirs: str, ours: str) -> None:
    """Noise is other noise in another library: none before its range, in it at most its limit, nothing on average."""
    names = _names_of(peer)
    both = [_ours(ours, True), *([np.array(PEERS[peer].ask(theirs, names))] if names else [])]
    for values in both:
        noise = values[:40] / (RATE * _ours("Cosine(40)", False)[:40]) - 1
        assert np.allclose(noise[:10], 0, atol=1e-12)
        assert 0.05 < np.abs(noise[10:]).max() <= 0.1 + 1e-12
        assert abs(noise[10:].mean()) < 0.04


def test_every_library_has_its_table() -> None:
    """The catalogue has a table for each library, and no row is there twice."""
    assert {peer for peer, _, _ in ROWS} == {*PEERS, *FORMULAS}
    assert len({(peer, theirs) for peer, theirs, _ in ROWS}) == len(ROWS)
