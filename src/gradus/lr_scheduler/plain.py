"""The drop-ins whose schedule is a factor of each group's own rate, and the cosine between two rates."""

import types
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch.optim import Optimizer

from gradus.errors import InvalidInput
from gradus.lr_scheduler.base import DropIn, lengthwise
from gradus.schedules import Constant, Cosine, Exponential, Lambda, Linear, MultiStep, Polynomial, Schedule, Step

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "PolynomialLR",
    "StepLR",
]

Factor = Callable[[int], float]


class _Factor(DropIn):
    """Each group's own rate times one schedule."""

    def _factor(self, index: int) -> Schedule:
        raise NotImplementedError

    def _rate(self, index: int) -> Schedule:
        return self.base_lrs[index] * self._factor(index)


class StepLR(_Factor):
    """η(t) = base · gamma^⌊t/step_size⌋: `gradus.schedules.Step`.

    Args:
        optimizer: whose groups' rates are set.
        step_size: the length of a stair.
        gamma: the factor from one stair to the next.
        last_epoch: the position to go on from; -1 starts anew.

    Raises:
        InvalidInput: an argument that `Step` refuses.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    >>> StepLR(optimizer, 30).schedules
    [Constant(0.5) * Step(30)]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self, index: int) -> Schedule:  # noqa: ARG002 - the same for all groups, as in most of these
        return Step(self.step_size, gamma=self.gamma)


class MultiStepLR(_Factor):
    """η(t) = base · gamma^(how many milestones aren't after t): `gradus.schedules.MultiStep`.

    Args:
        optimizer: whose groups' rates are set.
        milestones: the steps from which the next stair holds; one named twice counts twice.
        gamma: the factor from one stair to the next.
        last_epoch: the position to go on from; -1 starts anew.

    Raises:
        InvalidInput: an argument that `MultiStep` refuses.
    """

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.milestones = Counter(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self, index: int) -> Schedule:  # noqa: ARG002
        return MultiStep(tuple(sorted(self.milestones.elements())), gamma=self.gamma)


class ConstantLR(_Factor):
    """η(t) = base · factor before total_iters, then base.

    Args:
        optimizer: whose groups' rates are set.
        factor: from 0 to 1.
        total_iters: how many steps it lasts.
        last_epoch: the position to go on from; -1 starts anew.

    Raises:
        InvalidInput: a factor below 0 or above 1, or a length that is none.
    """

    def __init__(self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1) -> None:
        _require_unit("factor", factor)
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self, index: int) -> Schedule:  # noqa: ARG002
        return lengthwise([self.total_iters], lambda length: Constant(self.factor).take(length) >> Constant(1.0))


class LinearLR(_Factor):
    """η(t) = base · (start_factor + (end_factor − start_factor)·t/total_iters), then held: `gradus.schedules.Linear`.

    Args:
        optimizer: whose groups' rates are set.
        start_factor: the factor at step 0, above 0 and at most 1.
        end_factor: the factor from step total_iters on, from 0 to 1.
        total_iters: the length of the way.
        last_epoch: the position to go on from; -1 starts anew.

    Raises:
        InvalidInput: a factor out of its range, or a length that is none.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise InvalidInput(f"start_factor must be above 0 and at most 1; got {start_factor!r}")
        _require_unit("end_factor", end_factor)
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self, index: int) -> Schedule:  # noqa: ARG002
        return lengthwise([self.total_iters], lambda length: Linear(length, start=self.start_factor, end=self.end_factor))


class ExponentialLR(_Factor):
    """η(t) = base · gamma^t: `gradus.schedules.Exponential`.

    Args:
        optimizer: whose groups' rates are set.
        gamma: the factor from one step to the next.
        last_epoch: the position to go on from; -1 starts anew.

    Raises:
        InvalidInput: a gamma that is negative or no number.
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self, index: int) -> Schedule:  # noqa: ARG002
        return Exponential(self.gamma)


class PolynomialLR(_Factor):
    """η(t) = base · (1 − t/total_iters)^power, then 0: `gradus.schedules.Polynomial`.

    Args:
        optimizer: whose groups' rates are set.
        total_iters: the length of the way down.
        power: above 0; 1 is a straight line.
        last_epoch: the position to go on from; -1 starts anew.

    Raises:
        InvalidInput: an argument that `Polynomial` refuses.
    """

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def _factor(self, index: int) -> Schedule:  # noqa: ARG002
        return lengthwise([self.total_iters], lambda length: Polynomial(length, power=self.power))


class CosineAnnealingLR(DropIn):
    """η(t) = eta_min + (base − eta_min)·(1 + cos(π·t/T_max))/2: `gradus.schedules.Cosine`, mirrored.

    As torch documents, t goes on past T_max, so the rate rises again, as steeply as it fell.

    Args:
        optimizer: whose groups' rates are set.
        T_max: the length of the way down.
        eta_min: the rate at step T_max.
        last_epoch: the position to go on from; -1 starts anew.

    Raises:
        InvalidInput: an argument that `Cosine` refuses.

    Source: Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017, eq. 5.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:  # noqa: N803
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    @property
    def _low(self) -> float:
        return self.eta_min

    def _rate(self, index: int) -> Schedule:
        base = self.base_lrs[index]
        return lengthwise([self.T_max], lambda length: Cosine(length, start=base, end=self.eta_min).after("mirror"))


class _Lambdas(_Factor):
    """A Python function for each group; in the state torch's way, by what a callable object holds."""

    lr_lambdas: list[Factor]

    def __init__(self, optimizer: Optimizer, lr_lambda: Factor | list[Factor], last_epoch: int = -1) -> None:
        groups = len(optimizer.param_groups)
        several = isinstance(lr_lambda, (list, tuple))
        self.lr_lambdas = list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * groups
        if several and len(self.lr_lambdas) != groups:
            raise InvalidInput(f"lr_lambda must be one function or {groups}, one a group; got {len(self.lr_lambdas)}")
        for function in self.lr_lambdas:
            if not callable(function):
                raise TypeError(f"lr_lambda should be a function, or a list of them; got {function!r}")
        super().__init__(optimizer, last_epoch)

    def _join(self, group: dict[str, Any]) -> None:
        if len(self.lr_lambdas) == len(self.base_lrs):
            if any(function is not self.lr_lambdas[0] for function in self.lr_lambdas):
                raise InvalidInput(
                    f"group {len(self.base_lrs)} has been added, and each group has a function of its own: "
                    f"append the new one's to lr_lambdas"
                )
            self.lr_lambdas.append(self.lr_lambdas[0])
        super()._join(group)

    def state_dict(self) -> dict[str, Any]:
        """The state; of the functions, what callable objects hold, and None for others."""
        return {**super().state_dict(), "lr_lambdas": [held_by(function) for function in self.lr_lambdas]}

    def _take(self, state: Mapping[str, Any]) -> None:
        functions = self.lr_lambdas
        super()._take(state)
        self.lr_lambdas = functions
        for function, held in zip(functions, state.get("lr_lambdas", []), strict=False):
            if held:
                vars(function).update(held)


class LambdaLR(_Lambdas):
    """η(t) = base · lr_lambda(t): `gradus.schedules.Lambda`, or whatever schedule is given as the function.

    Args:
        optimizer: whose groups' rates are set.
        lr_lambda: a function of the step, or a list of them, one a group. A `Schedule` is one.
        last_epoch: the position to go on from; -1 starts anew.

    Raises:
        InvalidInput: a list of another length than there are groups.
        TypeError: what is no function; torch raises it too.
    """

    _follows = False  # torch sets the rate to the initial one times the function

    def _factor(self, index: int) -> Schedule:
        function: Any = self.lr_lambdas[index]
        return function if isinstance(function, Schedule) else Lambda(function)


class MultiplicativeLR(_Lambdas):
    """η(t) = base · lr_lambda(1) · … · lr_lambda(t).

    Args:
        optimizer: whose groups' rates are set.
        lr_lambda: a function of the step, or a list of them, one a group. Each step is asked for once.
        last_epoch: the position to go on from; -1 starts anew.

    Raises:
        InvalidInput: a list of another length than there are groups.
        TypeError: what is no function; torch raises it too.
    """

    def _factor(self, index: int) -> Schedule:
        return Lambda(_Running(self.lr_lambdas[index]))


class _Running:
    """The product of a function's values at 1 … t."""

    def __init__(self, function: Factor) -> None:
        self.function, self.products = function, [1.0]

    def __call__(self, t: int) -> float:
        for step in range(len(self.products), t + 1):
            self.products.append(self.products[-1] * self.function(step))
        return self.products[t]


def held_by(function: Any) -> dict[str, Any] | None:
    """What a callable object holds; None for functions and schedules, which are defined where they are written."""
    if isinstance(function, (types.FunctionType, Schedule)) or not hasattr(function, "__dict__"):
        return None
    return dict(vars(function))


def _require_unit(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InvalidInput(f"{name} must be from 0 to 1; got {value!r}")
