"""What the optimizers' laws are held for: every class that torch has too, with every option of torch's own registry."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.testing._internal.common_optimizers import optim_db

import gradus.optim
from gradus.backends.tensor_group import TensorGroup
from gradus.backends.trace import Program

# How to run is asked for elsewhere.
_RUNNING = {"foreach", "fused", "capturable", "differentiable"}


@dataclass(frozen=True)
class Case:
    """A class with options, by torch's name."""

    name: str
    options: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value}' for key, value in self.options.items())})"

    def ours(self, params: Any, **more: Any) -> Any:
        return getattr(gradus.optim, self.name)(params, **self.options, **more)

    def theirs(self, params: Any, **more: Any) -> Any:
        return getattr(torch.optim, self.name)(params, **self.options, **more)


def _cases() -> Iterator[Case]:
    for info in optim_db:
        name = info.optim_cls.__name__
        rule = getattr(getattr(gradus.optim, name, None), "rule", None)
        if rule is None or rule.needs_whole_tensor:
            continue
        for inputs in info.optim_inputs_func(device="cpu"):
            if not any(isinstance(value, Tensor) for value in inputs.kwargs.values()):
                yield Case(name, {key: value for key, value in inputs.kwargs.items() if key not in _RUNNING})


CASES = [case for case in _cases() if case.name != "SparseAdam"]
MORE = [
    Case("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    Case("RMSprop", {"momentum": 0.9, "centered": True}),
    Case("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.5}),
    Case("ASGD", {"t0": 5, "lambd": 0.1}),
]
ALL = CASES + MORE
BY_NAME = {case.name: case for case in reversed(ALL)}  # one of each class

# Every class of this library with a rule, by name; and those of them whose rule kernels run.
CLASSES = {name: kind for name in gradus.optim.__all__ if hasattr(kind := getattr(gradus.optim, name), "rule")}
OF_ELEMENTS = [name for name, kind in CLASSES.items() if not kind.rule.needs_whole_tensor]


def program_of(optimizer: Any, scale: float | None = None) -> Program:
    """What an optimizer's rule does in its first update."""
    rule, group = optimizer.rule, optimizer.param_groups[0]
    return TensorGroup(
        rule, group, 0, {slot: rule.begun(slot, group) for slot in rule.slots if slot in rule.scalars}
    ).program(scale)


SHAPES: list[tuple[int, ...]] = [(), (1,), (0,), (7,), (3, 5), (4, 0, 2), (2, 3, 4, 5), (20_001,)]


def params(dtype: torch.dtype = torch.float64, shapes: list[tuple[int, ...]] = SHAPES, seed: int = 0) -> list[nn.Parameter]:
    """Random parameters, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)) for shape in shapes]


@lru_cache(maxsize=64)  # drawing takes longer than an update
def _gradients(shapes: tuple[torch.Size, ...], step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def give_gradients(*several: list[nn.Parameter], step: int) -> None:
    """The same random gradients for each list of parameters."""
    for some in several:
        for param, grad in zip(some, _gradients(tuple(param.shape for param in some), step), strict=True):
            param.grad = grad.to(param, copy=True) if param.requires_grad else None
