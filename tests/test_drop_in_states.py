"""Damaged states of drop-ins are refused by the documented error with nothing changed, or are taken and work.

`GRADUS_FUZZ_CASES=10000 pytest tests/test_drop_in_states.py` tries so many.
"""

import copy
import math
import os
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch

import gradus.lr_scheduler as ours
from gradus.errors import InvalidInput

CASES = int(os.environ.get("GRADUS_FUZZ_CASES", "600"))
SCRAPS = [0, -1, 1, 3, 2**31, 2**64, 10**400, 0.5, -0.5, 1e9, float("inf"), float("nan"), True, None, "", "x", [], {}]
SCRAPS += [
    [None],
    [0.1],
    [0.1, None],
    [0.1, float("nan")],
    [1, 2, 3],
    {"a": 1},
    {1: 2},
    {3: 10**400},
    torch.tensor(2.0),
    object(),
]
UNPRINTABLE = Counter({1: 10**400, 2: float("inf"), 3: torch.tensor(2.0)})
KEYS = ["step", "optimizer", "_values", "base_lrs", "_follows", "get_lr", "x", "T_max", "gamma", "_last_lr", 1, None]


class Scaled:
    """A callable object, whose content is part of the state."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, t: float) -> float:
        return self.scale ** (t / 9)


MAKE: dict[str, Callable[[Any], Any]] = {
    "LambdaLR": lambda o: ours.LambdaLR(o, [Scaled(0.9), lambda t: 1 / (1 + t)]),
    "MultiplicativeLR": lambda o: ours.MultiplicativeLR(o, lambda _: 0.9),
    "StepLR": lambda o: ours.StepLR(o, 3),
    "MultiStepLR": lambda o: ours.MultiStepLR(o, [2, 5, 5]),
    "ConstantLR": lambda o: ours.ConstantLR(o),
    "LinearLR": lambda o: ours.LinearLR(o),
    "ExponentialLR": lambda o: ours.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: ours.PolynomialLR(o, 20),
    "CosineAnnealingLR": lambda o: ours.CosineAnnealingLR(o, 7, 0.01),
    "CosineAnnealingWarmRestarts": lambda o: ours.CosineAnnealingWarmRestarts(o, 3, 2),
    "CyclicLR": lambda o: ours.CyclicLR(o, 0.01, [0.3, 0.2], 3, 5, mode="exp_range", gamma=0.9),
    "CyclicLR, scaled": lambda o: ours.CyclicLR(o, 0.01, 0.3, 3, scale_fn=Scaled(0.9)),
    "OneCycleLR": lambda o: ours.OneCycleLR(o, 0.5, 40, three_phase=True),
    "SWALR": lambda o: ours.SWALR(o, 0.01),
    "ReduceLROnPlateau": lambda o: ours.ReduceLROnPlateau(o, patience=1),
    "SequentialLR": lambda o: ours.SequentialLR(o, [MAKE["LinearLR"](o), MAKE["CosineAnnealingLR"](o)], [4]),
    "ChainedScheduler": lambda o: ours.ChainedScheduler([MAKE["StepLR"](o), MAKE["LambdaLR"](o)]),
    "nested": lambda o: ours.SequentialLR(o, [MAKE["ChainedScheduler"](o), MAKE["SequentialLR"](o)], [3]),
}


def an_optimizer() -> Any:
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in (0.1, torch.tensor(0.25))]
    return torch.optim.SGD(groups, momentum=0.5)


def step(scheduler: Any) -> None:
    scheduler.optimizer.step()
    scheduler.step(*([1.0] if isinstance(scheduler, ours.ReduceLROnPlateau) else []))


def everything(scheduler: Any) -> str:
    """All that a scheduler is and has written, to the last bit."""

    def shown(thing: Any) -> str:
        if isinstance(thing, torch.Tensor):
            return f"{id(thing)}:{thing.dtype}:{thing.tolist()!r}"
        if isinstance(thing, dict):
            return "{" + ", ".join(f"{key!r}: {shown(value)}" for key, value in thing.items()) + "}"
        if isinstance(thing, (list, tuple)):
            return "[" + ", ".join(map(shown, thing)) + "]"
        if isinstance(thing, (ours.LRScheduler, Scaled)):
            return shown({key: value for key, value in vars(thing).items() if key not in ("optimizer", "_running")})
        return repr(thing)

    return shown(scheduler) + shown([{**group, "params": 0} for group in scheduler.optimizer.param_groups])


def damaged(r: random.Random, state: Any) -> Any:
    """A state in which up to three things are replaced, left out or added, at any depth."""
    state = copy.deepcopy(state)
    for _ in range(r.randint(1, 3)):
        node = state
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = r.choice(keys)
            if not isinstance(node[key], (dict, list)) or r.random() < 0.3:
                break
            node = node[key]
        action = r.random()
        if isinstance(node, dict) and (not keys or action < 0.15):
            node[r.choice(KEYS)] = copy.deepcopy(r.choice([*SCRAPS, UNPRINTABLE]))
        elif keys and action < 0.3:
            del node[key]
        elif keys:
            node[key] = copy.deepcopy(r.choice([*SCRAPS, UNPRINTABLE]))
    return state


@pytest.mark.parametrize("name", MAKE)
def test_a_damaged_state_is_refused_or_works(name: str) -> None:
    """A damaged state raises InvalidInput and changes nothing, bit for bit; or it is taken, and the scheduler goes on."""
    r = random.Random(name)
    taken = 0
    for _ in range(max(1, CASES // len(MAKE))):
        donor, scheduler = MAKE[name](an_optimizer()), MAKE[name](an_optimizer())
        for _ in range(r.randint(0, 8)):
            step(donor)
        for _ in range(r.randint(0, 3)):
            step(scheduler)
        state = damaged(r, donor.state_dict())
        before = everything(scheduler)
        try:
            scheduler.load_state_dict(state)
        except InvalidInput:
            assert everything(scheduler) == before, state
            step(scheduler)
            continue
        taken += 1
        for _ in range(3):
            step(scheduler)
            assert all(0 <= abs(float(group["lr"])) < float("inf") for group in scheduler.optimizer.param_groups), state
        scheduler.get_last_lr(), scheduler.get_lr() if name != "ReduceLROnPlateau" else None, scheduler.state_dict()
    assert taken < CASES


ARGUMENTS: dict[str, dict[str, Any]] = {
    "LambdaLR": {"lr_lambda": abs},
    "MultiplicativeLR": {"lr_lambda": abs},
    "StepLR": {"step_size": 3, "gamma": 0.1},
    "MultiStepLR": {"milestones": [3, 5], "gamma": 0.1},
    "ConstantLR": {"factor": 0.5, "total_iters": 5},
    "LinearLR": {"start_factor": 0.5, "end_factor": 1.0, "total_iters": 5},
    "ExponentialLR": {"gamma": 0.9},
    "PolynomialLR": {"total_iters": 20, "power": 1.5},
    "CosineAnnealingLR": {"T_max": 7, "eta_min": 0.01},
    "CosineAnnealingWarmRestarts": {"T_0": 3, "T_mult": 2, "eta_min": 0.01},
    "CyclicLR": {
        "base_lr": 0.01,
        "max_lr": 0.3,
        "step_size_up": 3,
        "step_size_down": 5,
        "mode": "exp_range",
        "gamma": 0.9,
        "scale_fn": None,
        "scale_mode": "cycle",
        "base_momentum": 0.7,
        "max_momentum": 0.8,
    },
    "OneCycleLR": {
        "max_lr": 0.5,
        "total_steps": 40,
        "pct_start": 0.3,
        "anneal_strategy": "cos",
        "base_momentum": 0.7,
        "max_momentum": 0.8,
        "div_factor": 25.0,
        "final_div_factor": 1e4,
    },
    "SWALR": {"swa_lr": 0.1, "anneal_epochs": 10, "anneal_strategy": "cos"},
}


@pytest.mark.parametrize(
    ("name", "argument"), [(name, key) for name, own in ARGUMENTS.items() for key in [*own, "last_epoch"]]
)
def test_an_argument_is_refused_at_once_or_works(name: str, argument: str) -> None:
    """Whatever an argument is: refused when the scheduler is made, with the groups as they were; or it makes its step.

    Not when it steps, as torch's are: by then half an epoch may be lost.
    """
    refusal = KeyError if argument == "last_epoch" else TypeError
    for scrap in [*SCRAPS, 1j, b"5", "5", -0.0, -float("inf"), [0.1, 0.2]]:
        optimizer = an_optimizer()
        before = [list(group.items()) for group in optimizer.param_groups]
        try:
            scheduler = getattr(ours, name)(optimizer, **{**ARGUMENTS[name], argument: copy.deepcopy(scrap)})
        except (InvalidInput, refusal):
            assert [list(group.items()) for group in optimizer.param_groups] == before, scrap
            continue
        step(scheduler)
        assert all(math.isfinite(rate) for rate in map(float, scheduler.get_last_lr())), scrap


@pytest.mark.parametrize("later", ["CosineAnnealingLR", "LambdaLR", "CosineAnnealingWarmRestarts", "StepLR"])
@pytest.mark.parametrize("steps", [2, 3, 4, 6])
@pytest.mark.parametrize("first", ["LinearLR", "LambdaLR", "CosineAnnealingWarmRestarts"])
def test_drop_ins_resume_in_torchs_own_sequence(first: str, later: str, steps: int) -> None:
    """torch's SequentialLR of drop-ins goes on after a load as it would have, in either phase and load order.

    Each member writes rates as it is loaded, the one whose turn it isn't as well: they must be those of the save.
    """

    def built() -> Any:
        optimizer = an_optimizer()
        members = [MAKE[first](optimizer), MAKE[later](optimizer)]
        return torch.optim.lr_scheduler.SequentialLR(optimizer, members, [4])

    whole = built()
    for _ in range(steps):
        step(whole)
    states = copy.deepcopy((whole.optimizer.state_dict(), whole.state_dict()))
    expected = [pytest.approx(next_rates(whole), rel=1e-6) for _ in range(6)]
    for order in (0, 1), (1, 0):
        resumed = built()
        for which in order:
            (resumed.optimizer, resumed)[which].load_state_dict(copy.deepcopy(states[which]))
        assert [next_rates(resumed) for _ in range(6)] == expected


def next_rates(scheduler: Any) -> list[float]:
    step(scheduler)
    return [float(group["lr"]) for group in scheduler.optimizer.param_groups]


class Slotted:
    """A callable object that has no `__dict__`."""

    __slots__ = ()

    def __call__(self, t: float) -> float:
        return 0.9**t


@pytest.mark.parametrize("function", [math.sqrt, Slotted(), abs], ids=["sqrt", "slotted", "abs"])
@pytest.mark.parametrize("name", ["LambdaLR", "MultiplicativeLR", "CyclicLR"])
def test_functions_without_content_are_left_out_of_states(name: str, function: Any) -> None:
    """Whatever a function is made of, the scheduler's own state comes back and goes on (pytorch#42376)."""
    arguments = {"scale_fn": function} if name == "CyclicLR" else {"lr_lambda": function}
    whole, resumed = (getattr(ours, name)(an_optimizer(), **{**ARGUMENTS[name], **arguments}) for _ in range(2))
    for _ in range(4):
        step(whole)
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    assert [next_rates(resumed) for _ in range(6)] == [next_rates(whole) for _ in range(6)]
