"""The drop-ins whose schedule is a factor of each group's own rate, and the cosine between two rates."""

import copy
import types
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim import lr_scheduler as torch_lr

from gradus.checks import shown
from gradus.errors import InvalidInput
from gradus.lr_scheduler.base import DropIn, Values, checked_optimizer, per_group, with_lengths
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
    "callable_state",
    "copied",
]

Factor = Callable[[int], float]
LONGEST = 10**7  # the farthest position that is reached by a running product


class _Factor(DropIn):
    """Each group's own rate times one factor, the curve."""

    def _values(self, position: float) -> Values:
        factor = self._curve_at(position)
        return [base * factor for base in self.base_lrs], None

    def _rate(self, index: int) -> Schedule:
        return self.base_lrs[index] * self._curve()


class StepLR(_Factor, torch_lr.StepLR):
    """η(t) = base · gamma^⌊t/step_size⌋: `gradus.schedules.Step`.

    Args:
        step_size: the length of a stair.
        gamma: the factor from one stair to the next.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    >>> StepLR(optimizer, 30).schedules
    [Constant(0.5) * Step(30)]
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1, verbose: Any = False
    ) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch, verbose)

    def _curve(self) -> Schedule:
        return Step(self.step_size, gamma=self.gamma)


class MultiStepLR(_Factor, torch_lr.MultiStepLR):
    """η(t) = base · gamma^(how many milestones aren't after t): `gradus.schedules.MultiStep`.

    Args:
        milestones: the steps from which the next stair holds; one named twice counts twice.
        gamma: the factor from one stair to the next.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    >>> MultiStepLR(optimizer, [30, 60]).schedules
    [Constant(0.5) * MultiStep((30, 60))]
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1, verbose: Any = False
    ) -> None:
        self.milestones, self.gamma = Counter(milestones), gamma
        _require_counts(self.milestones.values())
        super().__init__(optimizer, last_epoch, verbose)

    def _check_state(self, state: Any) -> None:
        super()._check_state(state)
        _require_counts(state.get("milestones", self.milestones).values())

    def _curve_at(self, position: float) -> float:
        if dict.__ne__(self.milestones, self.__dict__.get("_counted", {})):  # they can be changed in place
            self.__dict__["_counted"] = dict(self.milestones)
            self.__dict__.pop("_evaluate", None)
        return super()._curve_at(position)

    def _curve(self) -> Schedule:
        return MultiStep(tuple(sorted(self.milestones.elements())), gamma=self.gamma)


class ConstantLR(_Factor, torch_lr.ConstantLR):
    """η(t) = base · factor before total_iters, then base.

    Args:
        factor: from 0 to 1.
        total_iters: how many steps it lasts.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    >>> ConstantLR(optimizer, factor=0.5, total_iters=4).schedules
    [Constant(0.5) * (Constant(0.5).take(4) >> Constant())]
    """

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1, verbose: Any = False
    ) -> None:
        _require_unit("factor", factor)
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch, verbose)

    def _curve(self) -> Schedule:
        return with_lengths([self.total_iters], lambda length: Constant(self.factor).take(length) >> Constant(1.0))


class LinearLR(_Factor, torch_lr.LinearLR):
    """η(t) = base · (start_factor + (end_factor − start_factor)·t/total_iters), then held: `gradus.schedules.Linear`.

    Args:
        start_factor: the factor at step 0, above 0 and at most 1.
        end_factor: the factor from step total_iters on, from 0 to 1.
        total_iters: the length of the way.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    >>> LinearLR(optimizer, start_factor=0.1, total_iters=5).schedules
    [Constant(0.5) * Linear(5, start=0.1, end=1.0)]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
        verbose: Any = False,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise InvalidInput(f"start_factor must be above 0 and at most 1; got {start_factor!r}")
        _require_unit("end_factor", end_factor)
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch, verbose)

    def _curve(self) -> Schedule:
        return with_lengths([self.total_iters], lambda length: Linear(length, start=self.start_factor, end=self.end_factor))


class ExponentialLR(_Factor, torch_lr.ExponentialLR):
    """η(t) = base · gamma^t: `gradus.schedules.Exponential`.

    Args:
        gamma: the factor from one step to the next, 0 or more.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    >>> ExponentialLR(optimizer, gamma=0.9).schedules
    [Constant(0.5) * Exponential(0.9)]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1, verbose: Any = False) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch, verbose)

    def _curve(self) -> Schedule:
        return Exponential(self.gamma)


class PolynomialLR(_Factor, torch_lr.PolynomialLR):
    """η(t) = base · (1 − t/total_iters)^power, then 0: `gradus.schedules.Polynomial`.

    Args:
        total_iters: the length of the way down.
        power: above 0; 1 is a straight line.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    >>> PolynomialLR(optimizer, total_iters=100, power=2.0).schedules
    [Constant(0.5) * Polynomial(100, power=2.0)]
    """

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1, verbose: Any = False
    ) -> None:
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch, verbose)

    def _curve(self) -> Schedule:
        return with_lengths([self.total_iters], lambda length: Polynomial(length, power=self.power))


class CosineAnnealingLR(DropIn, torch_lr.CosineAnnealingLR):
    """η(t) = eta_min + (base − eta_min)·(1 + cos(π·t/T_max))/2: `gradus.schedules.Cosine`, mirrored.

    As torch documents, t goes on past T_max, so the rate rises again, as steeply as it fell.

    Args:
        T_max: the length of the way down.
        eta_min: the rate at step T_max.

    Source: Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017, eq. 5.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    >>> CosineAnnealingLR(optimizer, T_max=10, eta_min=0.1).schedules
    [Cosine(10, start=0.5, end=0.1).after('mirror')]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_max: int,  # noqa: N803 - torch's name
        eta_min: float = 0.0,
        last_epoch: int = -1,
        verbose: Any = False,
    ) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch, verbose)

    def _curve(self, start: float = 1.0, end: float = 0.0) -> Schedule:
        return with_lengths([self.T_max], lambda length: Cosine(length, start=start, end=end).after("mirror"))

    def _values(self, position: float) -> Values:
        left = self._curve_at(position)
        low = (1 - left) * self.eta_min
        return [low + left * base for base in self.base_lrs], None

    def _rate(self, index: int) -> Schedule:
        return self._curve(self.base_lrs[index], self.eta_min)


class _Lambdas(DropIn):
    """A Python function for each group; in the state torch's way, by what a callable object holds."""

    lr_lambdas: list[Factor]

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Factor | list[Factor], last_epoch: int = -1, verbose: Any = False
    ) -> None:
        self.lr_lambdas = per_group("lr_lambda", checked_optimizer(optimizer), lr_lambda)
        for function in self.lr_lambdas:
            if not callable(function):
                raise TypeError(f"lr_lambda should be a function, or a list of them; got {function!r}")
        super().__init__(optimizer, last_epoch, verbose)

    def _functions(self) -> list[Any]:
        """Each group's factor, as a function of the position."""
        return self.lr_lambdas

    def _values(self, position: float) -> Values:
        bases, functions = self.base_lrs, self._functions()
        first = functions[0]
        if functions.count(first) == len(functions):  # one for all groups is asked once
            factor = first(position)
            return [float(base * factor) for base in bases], None
        return [float(base * function(position)) for base, function in zip(bases, functions)], None  # noqa: B905 - for speed

    def _rate(self, index: int) -> Schedule:
        function = self._functions()[index]
        return self.base_lrs[index] * (function if isinstance(function, Schedule) else Lambda(function))

    def _add_group(self, group: dict[str, Any]) -> None:
        if len(self.lr_lambdas) == len(self.base_lrs):
            if any(function is not self.lr_lambdas[0] for function in self.lr_lambdas):
                raise InvalidInput(
                    f"group {len(self.base_lrs)} has been added, and each group has a function of its own: "
                    f"append the new one's to lr_lambdas"
                )
            self.lr_lambdas.append(self.lr_lambdas[0])
        super()._add_group(group)

    _elsewhere = ("lr_lambdas", "_running")

    def _check_state(self, state: Any) -> None:
        super()._check_state(state)
        held = state.get("lr_lambdas", [])
        if not isinstance(held, (list, tuple)) or len(held) > len(self.lr_lambdas) or not all(map(_is_callable_state, held)):
            raise InvalidInput(f"a {type(self).__name__}'s state can't have 'lr_lambdas': {shown(held)}")

    def _twin(self, optimizer: Any) -> DropIn:
        twin = super()._twin(optimizer)
        twin.__dict__["lr_lambdas"] = [copied(function) for function in self.lr_lambdas]
        return twin

    def state_dict(self) -> dict[str, Any]:
        """The state; of the functions, what callable objects hold, and None for others."""
        return {**super().state_dict(), "lr_lambdas": [callable_state(function) for function in self.lr_lambdas]}

    def _update_from(self, state: Mapping[str, Any]) -> None:
        functions = self.lr_lambdas
        super()._update_from({key: value for key, value in state.items() if key != "_running"})
        self.lr_lambdas = functions
        for function, held in zip(functions, state.get("lr_lambdas", []), strict=False):
            if held:
                vars(function).update(held)


class LambdaLR(_Lambdas, torch_lr.LambdaLR):
    """η(t) = base · lr_lambda(t): `gradus.schedules.Lambda`, or whatever schedule is given as the function.

    Args:
        lr_lambda: a function of the step, or a list of them, one a group. A `Schedule` is one.

    Raises:
        InvalidInput: a list of another length than there are groups.
        TypeError: what is no function; torch raises it too.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    >>> rate, = LambdaLR(optimizer, lambda t: 0.9**t).schedules
    >>> rate(0), rate(2)
    (0.5, 0.405)
    """

    _follows = False  # torch sets the rate to the initial one times the function


class MultiplicativeLR(_Lambdas, torch_lr.MultiplicativeLR):
    """η(t) = base · lr_lambda(1) · … · lr_lambda(t).

    Args:
        lr_lambda: a function of the step, or a list of them, one a group. Each step is asked for once.

    Raises:
        InvalidInput: a list of another length than there are groups.
        TypeError: what is no function; torch raises it too.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    >>> rate, = MultiplicativeLR(optimizer, lambda _: 0.9).schedules
    >>> rate(0), rate(2)
    (0.5, 0.405)
    """

    def _check_state(self, state: Any) -> None:
        super()._check_state(state)
        if state["last_epoch"] > LONGEST:
            raise InvalidInput(
                f"a MultiplicativeLR goes to a position by all the factors before it, at most {LONGEST:,}; the state's "
                f"last_epoch is {state['last_epoch']}"
            )

    _running: "tuple[list[Any], list[_Running]]" = ([], [])  # the functions, and their products so far

    def _functions(self) -> list[Any]:
        of, running = self._running
        if of != self.lr_lambdas:
            products = {id(function): _Running(function) for function in self.lr_lambdas}
            of, running = [*self.lr_lambdas], [products[id(function)] for function in self.lr_lambdas]
            self.__dict__["_running"] = of, running
        return running

    def state_dict(self) -> dict[str, Any]:
        """The state, without the products, which can be made again."""
        return {key: value for key, value in super().state_dict().items() if key != "_running"}


class _Running:
    """The product of a function's values at 1 … t."""

    def __init__(self, function: Factor) -> None:
        self.function, self.products = function, [1.0]

    def __call__(self, t: int) -> float:
        products = self.products
        while t >= len(products):
            products.append(products[-1] * self.function(len(products)))
        return products[t]


def callable_state(function: Any) -> dict[str, Any] | None:
    """What a callable object holds; None for functions and schedules, which are defined where they are written."""
    if isinstance(function, (types.FunctionType, Schedule)) or not hasattr(function, "__dict__"):
        return None
    return dict(vars(function))


def copied(function: Any) -> Any:
    """A copy of a callable object, which can be changed without changing the first; functions themselves."""
    return function if callable_state(function) is None else copy.copy(function)


def _is_callable_state(held: Any) -> bool:
    """Whether this is what `callable_state` gives."""
    return held is None or (isinstance(held, Mapping) and all(isinstance(key, str) for key in held))


def _require_counts(counts: Collection[Any]) -> None:
    """Refuse milestones that are named, all together, more often than memory holds."""
    if not all(isinstance(count, int) and count >= 0 for count in counts) or sum(counts) > 10**6:
        raise InvalidInput(f"milestones are named once or a few times each; their counts are {shown([*counts])}")


def _require_unit(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InvalidInput(f"{name} must be from 0 to 1; got {value!r}")
