"""Drop-ins against torch, drawn at random: options, kinds of rates, changes by hand, jumps, states exchanged both ways.

`GRADUS_DRAWN_SCHEDULERS=2000 pytest tests/test_drop_in_draw.py` draws more. What differs for a reason is in `DIFFERENCES`,
each with the words of `docs/from_torch.md` that say so.
"""

import copy
import functools
import math
import os
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.optim.swa_utils import SWALR

import gradus.lr_scheduler as ours

CASES = int(os.environ.get("GRADUS_DRAWN_SCHEDULERS", "240"))
torchs = SimpleNamespace(**{**vars(torch.optim.lr_scheduler), "SWALR": SWALR})
STEPS = 24

Action = tuple[str, Any]


@dataclass
class Case:
    """A scheduler as a tree of names and options, its optimizer, and what happens at each step."""

    tree: Any
    rates: list[float]
    kind: str = "float"
    adam: bool = False
    actions: list[Action] = field(default_factory=list)

    @property
    def leaves(self) -> list[Any]:
        return list(leaves(self.tree))

    @property
    def names(self) -> set[str]:
        return {leaf[0] for leaf in self.leaves}

    @property
    def is_composed(self) -> bool:
        return bool(self.tree[0] in ("SequentialLR", "ChainedScheduler"))

    def happens(self, *kinds: str) -> bool:
        return any(kind in kinds for kind, _ in self.actions)


def leaves(tree: Any) -> Any:
    if tree[0] in ("SequentialLR", "ChainedScheduler"):
        for member in tree[1]:
            yield from leaves(member)
    else:
        yield tree


def waves(t: float, period: float) -> float:
    return 0.5 + 0.4 * math.sin(t / period)


def shrinks(_: int, by: float) -> float:
    return by


def falls(x: float, power: float) -> float:
    return float((1 + x) ** -power)


def a_leaf(r: random.Random, groups: int) -> Any:
    """A scheduler's name and options."""

    def each(draw: Callable[[], Any]) -> Any:
        return draw() if r.random() < 0.6 else [draw() for _ in range(groups)]

    def a_cycle() -> dict[str, Any]:
        options: dict[str, Any] = {
            "base_lr": each(lambda: r.uniform(1e-4, 0.05)),
            "max_lr": each(lambda: r.uniform(0.06, 0.5)),
            "step_size_up": r.randint(1, 9),
            "step_size_down": r.choice([None, r.randint(1, 9)]),
            "mode": r.choice(["triangular", "triangular2", "exp_range"]),
            "gamma": r.uniform(0.9, 1.0),
            "cycle_momentum": r.random() < 0.7,
        }
        if r.random() < 0.25:
            options["scale_fn"] = functools.partial(falls, power=r.uniform(0.2, 1))
            options["scale_mode"] = r.choice(["cycle", "iterations"])
        return options

    makes: dict[str, Callable[[], dict[str, Any]]] = {
        "LambdaLR": lambda: {"lr_lambda": each(lambda: functools.partial(waves, period=r.uniform(1, 9)))},
        "MultiplicativeLR": lambda: {"lr_lambda": each(lambda: functools.partial(shrinks, by=r.uniform(0.7, 1.05)))},
        "StepLR": lambda: {"step_size": r.randint(1, 9), "gamma": r.choice([0.1, r.uniform(0.1, 1), 1.2])},
        "MultiStepLR": lambda: {
            "milestones": r.choices(range(1, 20), k=r.randint(0, 4)),
            "gamma": r.uniform(0.1, 1),
        },
        "ConstantLR": lambda: {"factor": r.choice([1 / 3, 1.0, r.uniform(0.05, 1)]), "total_iters": r.randint(0, 9)},
        "LinearLR": lambda: {
            "start_factor": r.uniform(0.01, 1),
            "end_factor": r.choice([1.0, 0.0, r.uniform(0, 1)]),
            "total_iters": r.randint(1, 12),
        },
        "ExponentialLR": lambda: {"gamma": r.uniform(0.5, 1.1)},
        "PolynomialLR": lambda: {"total_iters": r.randint(1, 20), "power": r.choice([1.0, 2.0, r.uniform(0.3, 3)])},
        "CosineAnnealingLR": lambda: {"T_max": r.randint(2, 20), "eta_min": r.choice([0.0, r.uniform(0, 0.02)])},
        "CosineAnnealingWarmRestarts": lambda: {
            "T_0": r.randint(1, 9),
            "T_mult": r.randint(1, 3),
            "eta_min": r.choice([0.0, r.uniform(0, 0.02)]),
        },
        "CyclicLR": a_cycle,
        "OneCycleLR": lambda: {
            "max_lr": each(lambda: r.uniform(0.06, 0.5)),
            "total_steps": 2 * STEPS + r.randint(0, 20),
            "pct_start": r.uniform(0.15, 0.45),
            "anneal_strategy": r.choice(["cos", "linear"]),
            "cycle_momentum": r.random() < 0.7,
            "div_factor": r.uniform(2, 30),
            "three_phase": r.random() < 0.4,
        },
        "SWALR": lambda: {
            "swa_lr": each(lambda: r.uniform(0.001, 0.3)),
            "anneal_epochs": r.randint(0, 12),
            "anneal_strategy": r.choice(["cos", "linear"]),
        },
    }
    name = r.choice(list(makes))
    return name, makes[name]()


def a_tree(r: random.Random, groups: int) -> Any:
    form = r.random()
    if form < 0.5:
        return a_leaf(r, groups)
    members = [a_leaf(r, groups) for _ in range(r.randint(2, 3))]
    if form < 0.8:
        return "SequentialLR", members, sorted(r.sample(range(1, 16), len(members) - 1))
    if form < 0.92:
        return "ChainedScheduler", members
    inner = "SequentialLR", [a_leaf(r, groups), a_leaf(r, groups)], [r.randint(1, 9)]
    return "ChainedScheduler", [inner, members[0]]


def a_case(seed: int) -> Case:
    r = random.Random(seed)
    groups = r.randint(1, 3)
    case = Case(a_tree(r, groups), [r.uniform(0.02, 0.5) for _ in range(groups)])
    case.kind, case.adam = r.choice(["float", "float", "float", "float64", "float32"]), r.random() < 0.3
    eventful = r.random() < 0.6
    for _ in range(STEPS):
        event = r.random() if eventful else 1.0
        if event < 0.06:
            case.actions.append(("times", [r.uniform(0.1, 2) for _ in range(groups)]))
        elif event < 0.1:
            case.actions.append(("set", r.uniform(0.001, 0.3)))
        elif event < 0.14:
            case.actions.append(("exchange", None))
        elif event < 0.17 and not case.is_composed:
            case.actions.append(("jump", r.randint(0, 20)))
        case.actions.append(("step", None))
    return case


def an_optimizer(case: Case) -> Any:
    dtype = None if case.kind == "float" else getattr(torch, case.kind)
    rates = [rate if dtype is None else torch.tensor(rate, dtype=dtype) for rate in case.rates]
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in rates]
    return torch.optim.AdamW(groups) if case.adam else torch.optim.SGD(groups, momentum=0.5)


def built(module: Any, tree: Any, optimizer: Any) -> Any:
    kind = getattr(module, tree[0])
    if tree[0] == "SequentialLR":
        return kind(optimizer, [built(module, member, optimizer) for member in tree[1]], tree[2])
    if tree[0] == "ChainedScheduler":
        return kind([built(module, member, optimizer) for member in tree[1]])
    return kind(optimizer, **copy.deepcopy(tree[1]))


def held(optimizer: Any) -> list[float]:
    momentums = [group["betas"][0] if "betas" in group else group["momentum"] for group in optimizer.param_groups]
    return [float(group["lr"]) for group in optimizer.param_groups] + [float(momentum) for momentum in momentums]


def resumed(module: Any, case: Case, other: Any) -> Any:
    """A new optimizer and scheduler that go on from the other's states, loaded in the order that torch needs."""
    optimizer = an_optimizer(case)
    scheduler = built(module, case.tree, optimizer)
    optimizer.load_state_dict(copy.deepcopy(other[0].state_dict()))
    scheduler.load_state_dict(copy.deepcopy(other[1].state_dict()))
    return optimizer, scheduler


def both(case: Case) -> list[tuple[list[float], list[float]]]:
    """What torch's groups and ours hold at each step."""
    pairs = []
    for module in (torchs, ours):
        optimizer = an_optimizer(case)
        pairs.append((optimizer, built(module, case.tree, optimizer)))
    seen = [(held(pairs[0][0]), held(pairs[1][0]))]
    for kind, argument in case.actions:
        if kind == "exchange":
            pairs = [resumed(torchs, case, pairs[1]), resumed(ours, case, pairs[0])]
        for optimizer, scheduler in pairs:
            act(optimizer, scheduler, kind, argument)
        seen.append((held(pairs[0][0]), held(pairs[1][0])))
    return seen


def act(optimizer: Any, scheduler: Any, kind: str, argument: Any) -> None:
    if kind in ("times", "set"):
        for index, group in enumerate(optimizer.param_groups):
            rate = float(group["lr"]) * argument[index] if kind == "times" else argument
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
    elif kind != "exchange":
        optimizer.step()
        scheduler.step(*([argument] if kind == "jump" else []))


def first_difference(case: Case) -> int | None:
    """The first action after which torch's groups and ours differ."""
    rel = 3e-5 if case.kind == "float32" else 1e-8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seen = both(case)
    for index, (theirs, mine) in enumerate(seen):
        if mine != pytest.approx(theirs, rel=rel, abs=1e-9 if case.kind == "float32" else 1e-13):
            return index
    return None


SETS_RATES = {"LambdaLR", "CosineAnnealingWarmRestarts", "CyclicLR", "OneCycleLR"}


def in_chains(tree: Any) -> list[Any]:
    """The leaves that are chained to others."""
    return list(leaves(tree)) if tree[0] == "ChainedScheduler" else []


def later_phases(tree: Any) -> list[Any]:
    if tree[0] == "SequentialLR":
        return [leaf for member in tree[1][1:] for leaf in leaves(member)]
    return [leaf for member in tree[1] for leaf in later_phases(member)] if tree[0] == "ChainedScheduler" else []


def has(some: list[Any], *names: str) -> bool:
    return any(leaf[0] in names for leaf in some)


# What `docs/from_torch.md` says of a difference, and which cases may show it.
DIFFERENCES: dict[str, Callable[[Case], bool]] = {
    "`ConstantLR(total_iters=0)`": lambda case: any(
        name == "ConstantLR" and options["total_iters"] == 0 for name, options in case.leaves
    ),
    "`step(epoch)` of `MultiplicativeLR` and `SWALR`": lambda case: (
        case.happens("jump") and bool(case.names & {"MultiplicativeLR", "SWALR"})
    ),
    "In a `ChainedScheduler`, `LambdaLR`,": lambda case: has(in_chains(case.tree), *SETS_RATES),
    "A cosine in a `ChainedScheduler`": lambda case: any(
        name == "SWALR" or (name == "CosineAnnealingLR" and (options["eta_min"] > 0 or options["T_max"] < STEPS))
        for name, options in in_chains(case.tree)
    ),
    "A sequence or a chain inside another one": lambda case: (
        case.tree[0] == "ChainedScheduler" and any(member[0] == "SequentialLR" for member in case.tree[1])
    ),
    "Members of a sequence change each other's base rates": lambda case: (
        case.is_composed and bool(case.names & {"OneCycleLR", "CyclicLR"})
    ),
    "`MultiplicativeLR` as a later phase": lambda case: has(later_phases(case.tree), "MultiplicativeLR"),
}


def test_differences_are_documented() -> None:
    """Each known difference from torch is in the list of `docs/from_torch.md`, and no case may be excused otherwise."""
    page = (Path(__file__).parent.parent / "docs" / "from_torch.md").read_text()
    assert not [words for words in DIFFERENCES if words not in page]


@pytest.mark.parametrize("part", range(8))
def test_drawn_schedulers_agree_with_torch(part: int) -> None:
    """Whatever is drawn, each group's rate and momentum is torch's at each step, but where the list says otherwise."""
    for seed in range(part, CASES, 8):
        case = a_case(seed)
        if not any(may_differ(case) for may_differ in DIFFERENCES.values()):
            assert first_difference(case) is None, (seed, case)


@pytest.mark.parametrize("words", DIFFERENCES)
def test_each_difference_is_one(words: str) -> None:
    """Each entry of the list is met: a case that it alone excuses differs from torch."""
    others = [may_differ for name, may_differ in DIFFERENCES.items() if name != words]
    seeds = (seed for seed in range(4000) if DIFFERENCES[words](a_case(seed)))
    alone = (a_case(seed) for seed in seeds if not any(may_differ(a_case(seed)) for may_differ in others))
    assert any(first_difference(case) is not None for case in alone)
