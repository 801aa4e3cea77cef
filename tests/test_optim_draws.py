"""Optimizers drawn at random, with options, dtypes, groups, late gradients and changes by hand, against torch's.

GRADUS_DRAWS says how many are drawn, such as 1000. The seeds are fixed.
"""

import copy
import os
import random
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

import gradus.optim

DRAWS = int(os.environ.get("GRADUS_DRAWS", "60"))

BETAS = [(0.9, 0.999), (0.0, 0.9), (0.5, 0.0), (0.95, 0.95)]
FLAGS = [False, True]
OPTIONS: dict[str, dict[str, list[Any]]] = {
    "SGD": {"momentum": [0, 0.9], "dampening": [0, 0.3], "weight_decay": [0, 0.1], "nesterov": FLAGS, "maximize": FLAGS},
    "Adagrad": {"lr_decay": [0, 0.1], "weight_decay": [0, 0.1], "initial_accumulator_value": [0, 0.5], "maximize": FLAGS},
    "RMSprop": {"alpha": [0.99, 0.5], "momentum": [0, 0.9], "centered": FLAGS, "weight_decay": [0, 0.1], "maximize": FLAGS},
    "Adadelta": {"rho": [0.9, 0.5], "weight_decay": [0, 0.1], "maximize": FLAGS},
    "Adam": {"betas": BETAS, "weight_decay": [0, 0.1], "amsgrad": FLAGS, "maximize": FLAGS, "decoupled_weight_decay": FLAGS},
    "AdamW": {"betas": BETAS, "weight_decay": [0, 0.1], "amsgrad": FLAGS, "maximize": FLAGS},
    "Adamax": {"betas": BETAS[:2], "weight_decay": [0, 0.1], "maximize": FLAGS},
    "NAdam": {"betas": BETAS, "weight_decay": [0, 0.1], "momentum_decay": [4e-3, 0.1], "decoupled_weight_decay": FLAGS},
    "RAdam": {"betas": BETAS, "weight_decay": [0, 0.1], "decoupled_weight_decay": FLAGS, "maximize": FLAGS},
    "ASGD": {"lambd": [1e-4, 0.1], "alpha": [0.75, 0.5], "t0": [1e6, 3], "weight_decay": [0, 0.1], "maximize": FLAGS},
    "Rprop": {"etas": [(0.5, 1.2), (0.3, 2.0)], "step_sizes": [(1e-6, 50), (1e-3, 0.1)], "maximize": FLAGS},
    "Adafactor": {"beta2_decay": [-0.8, -0.5], "d": [1.0, 2.0], "weight_decay": [0, 0.1], "maximize": FLAGS},
}
# Where single precision decides: torch keeps NAdam's product and ASGD's rate so, whatever the parameter's dtype.
TOLERANCE = {"NAdam": 2e-5, "ASGD": 2e-5}
# What is known to differ, and why: (what it is of, how far apart things may be).
KNOWN = {
    torch.bfloat16: ("slots are kept in single precision here, and rounded to bfloat16 after each operation there", 0.1),
    torch.float32: ("operations are done in another order, and signs of nearly nothing decide for Rprop", 2e-4),
}


@dataclass
class Drawn:
    """Two optimizers of the same class, options and parameters, and what is done with them."""

    name: str
    options: dict[str, Any]
    dtype: torch.dtype
    seed: int

    def __str__(self) -> str:
        return f"{self.seed}-{self.name}-{str(self.dtype).removeprefix('torch.')}"


def drawn(seed: int) -> Drawn:
    chance = random.Random(seed)
    name = chance.choice(list(OPTIONS))
    options = {key: chance.choice(values) for key, values in OPTIONS[name].items() if chance.random() < 0.5}
    if options.get("nesterov"):
        options.update(momentum=0.9, dampening=0)
    dtype = chance.choices([torch.float64, torch.float32, torch.bfloat16], [6, 3, 1])[0]
    return Drawn(name, options, dtype, seed)


def made(library: Any, one: Drawn) -> tuple[Any, list[nn.Parameter]]:
    """An optimizer of one of the libraries, over two groups, the second with a rate of its own."""
    chance, generator = random.Random(one.seed), torch.Generator().manual_seed(one.seed)
    empty = [] if one.name == "Adafactor" else [(0,)]  # of which torch's raises ZeroDivisionError
    shapes = chance.choices([(), (1,), (5,), (3, 4), (2, 3, 2), *empty], k=4)
    some = [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(one.dtype)) for shape in shapes]
    rate: Any = chance.choice([0.01, 0.1])
    if chance.random() < 0.2 and one.name != "Rprop":
        rate = torch.tensor(rate, dtype=torch.float64)
    groups = [{"params": some[:2]}, {"params": some[2:], "lr": 0.05}]
    return getattr(library, one.name)(groups, lr=rate, **one.options), some


def gradients(one: Drawn, step: int, some: list[nn.Parameter]) -> None:
    """Gradients, that of one parameter late and now and then none."""
    chance, generator = random.Random(one.seed * 1000 + step), torch.Generator().manual_seed(one.seed * 1000 + step)
    for number, param in enumerate(some):
        grad = torch.randn(param.shape, generator=generator, dtype=torch.float64).to(param.dtype)
        late = number == one.seed % 4 and step < 3
        param.grad = None if late or chance.random() < 0.05 else grad


def by_hand(one: Drawn, step: int, optimizer: Any) -> None:
    """What people change between steps."""
    chance = random.Random(one.seed * 77 + step)
    if chance.random() < 0.3:
        group = chance.choice(optimizer.param_groups)
        group["lr"] = group["lr"] * 0.5
    if chance.random() < 0.1 and "weight_decay" in one.options:
        optimizer.param_groups[0]["weight_decay"] = 0.05


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("one", [*map(drawn, range(DRAWS))], ids=str)
def test_any_of_them_goes_torchs_way(one: Drawn) -> None:
    """Whatever is drawn, parameters go where torch's go, through changes by hand and states that are exchanged both ways."""
    (got, ours), (want, theirs) = made(gradus.optim, one), made(torch.optim, one)
    for step in range(12):
        gradients(one, step, ours)
        gradients(one, step, theirs)
        got.step()
        want.step()
        for optimizer in (got, want):
            by_hand(one, step, optimizer)
        if step == 7:
            mine, its = copy.deepcopy(got.state_dict()), copy.deepcopy(want.state_dict())
            got, want = made(gradus.optim, one)[0], made(torch.optim, one)[0]
            for optimizer, some in ((got, ours), (want, theirs)):
                for group, members in zip(optimizer.param_groups, (some[:2], some[2:]), strict=True):
                    group["params"] = members
                optimizer.state.clear()
            got.load_state_dict(its)
            want.load_state_dict(mine)
    tolerance = KNOWN[one.dtype][1] if one.dtype in KNOWN else TOLERANCE.get(one.name, 1e-9)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
