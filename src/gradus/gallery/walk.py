"""A rule at work outside of any network: the iterates of one point, or of a population of points at once."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradus.backends.trace import trace
from gradus.errors import InvalidInput
from gradus.rules import Rule

__all__ = ["Gradient", "Walk", "is_of_tensors", "iterates"]

Gradient = Callable[[Any, int], Any]  # (where, number of the update from 1) -> the gradient there


def iterates(rule: Rule, start: Any, gradient: Gradient, steps: int, **hypers: Any) -> Iterator[Any]:
    """The places that a rule goes through, the start first.

    Args:
        rule: any rule; see `Walk`.
        start: a float, or an array of any shape; for a rule of whole tensors an array.
        gradient: `gradient(where, step)`, of the shape of `start`; steps are counted from 1.
        steps: how many updates.
        hypers: the rule's hyperparameters; its defaults hold for the others.

    Raises:
        InvalidInput: a rule of whole tensors has no array, or a hyperparameter is unknown or out of its range.

    >>> from gradus.rules.classical import sgd
    >>> list(iterates(sgd, 2.0, lambda x, step: 8 * x, 2, lr=1.0))
    [2.0, -14.0, 98.0]
    """
    return _iterates(Walk(rule, start, **hypers), gradient, steps)


def _iterates(walk: "Walk", gradient: Gradient, steps: int) -> Iterator[Any]:
    yield walk.where
    for _ in range(steps):
        yield walk.update(gradient)


class Walk:
    """A point on its way, or a population of points.

    The rule is the one that `gradus.optim` trains with. An elementwise one is plain arithmetic on a float; on an array every
    element is a point of its own, and a hyperparameter may be an array that is broadcast against it. A rule of whole
    tensors, or one with norms or means of them, takes an array `[n, ...]` of points with n numbers each: every point is a
    matrix of one column, `[n, 1]`, with norms, bases and averages of its own, and a hyperparameter may be an array that is
    broadcast against the points.

    Args:
        rule: any rule.
        start: where it begins.
        hypers: the rule's hyperparameters; its defaults hold for the others. They may be changed between updates.

    Raises:
        InvalidInput: a rule of whole tensors has no array, or a hyperparameter is unknown or out of its range.
    """

    def __init__(self, rule: Rule, start: Any, **hypers: Any) -> None:
        for name, value in hypers.items():
            if name not in rule.hypers:
                raise InvalidInput(f"{rule.name} has no hyperparameter {name!r}; it has {', '.join(rule.hypers)}")
            check = rule.hypers[name].check
            for one in value.ravel() if isinstance(value, np.ndarray) else (value,):
                if check is not None:
                    check(name, one)
        self.rule, self.where, self.step = rule, start, 0
        self.grad: Any = None
        self.hypers = {name: hyper.default for name, hyper in rule.hypers.items()} | hypers
        self._of_tensors = is_of_tensors(rule, self.hypers)
        if self._of_tensors and not (isinstance(start, np.ndarray) and start.ndim):
            raise InvalidInput(f"{rule.name} is a rule of whole tensors; the start must be an array; got {start!r}")
        self.slots = _slots_of_columns(rule, start, self.hypers) if self._of_tensors else _slots(rule, self.hypers)

    def update(self, gradient: Gradient) -> Any:
        """One update; the new place.

        Args:
            gradient: `gradient(where, step)`; what it gives is kept as `grad`.
        """
        self.step += 1
        updated = _columns_updated if self._of_tensors else Rule.updated
        with np.errstate(all="ignore"):  # who diverges passes through infinity
            self.grad = gradient(self.where, self.step)
            self.where, self.slots = updated(self.rule, self.where, self.grad, self.slots, self.step, self.hypers)
        return self.where


def _slots(rule: Rule, hypers: Mapping[str, Any]) -> dict[str, Any]:
    starts = {slot: rule.start.get(slot, 0.0) for slot in rule.slots}
    return {slot: hypers[start] if isinstance(start, str) else start for slot, start in starts.items()}


def is_of_tensors(rule: Rule, hypers: Mapping[str, Any]) -> bool:
    """Whether an element's update depends on others of its tensor."""
    if rule.needs_whole_tensor:
        return True
    single = {name: value.flat[0] if isinstance(value, np.ndarray) else value for name, value in hypers.items()}
    scalars = {slot: rule.begun(slot, single) for slot in rule.scalars}
    return len(trace(rule, single, 1, scalars).passes) > 1


def _slots_of_columns(rule: Rule, start: np.ndarray, hypers: Mapping[str, Any]) -> dict[str, Any]:
    shapes = {slot: () if slot in rule.scalars else rule.shape(slot, (len(start), 1), hypers) for slot in rule.slots}
    return {
        slot: torch.full((start[0].size, *shape), rule.begun(slot, hypers), dtype=torch.float64)
        for slot, shape in shapes.items()
        if shape is not None
    }


def _columns(points: np.ndarray) -> Tensor:
    """Points `[n, ...]` as matrices of one column, `[points, n, 1]`."""
    return torch.from_numpy(np.ascontiguousarray(points.reshape(len(points), -1).T))[:, :, None]


def _points(columns: Tensor, like: np.ndarray) -> np.ndarray:
    """The reverse of `_columns`."""
    return columns[:, :, 0].T.numpy().reshape(like.shape)


def _columns_updated(
    rule: Rule, where: np.ndarray, grad: np.ndarray, slots: Mapping[str, Tensor], step: int, hypers: Mapping[str, Any]
) -> tuple[np.ndarray, dict[str, Tensor]]:
    """`rule.updated` for every point by itself: `vmap` runs the rule once, over all of them."""

    def alone(param: Tensor, grad: Tensor, slots: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Any:
        new, kept = rule.updated(param, grad, slots, step, {**hypers, **own})
        return new, {name: kept[name] for name in slots}

    own = {
        name: torch.from_numpy(np.broadcast_to(value, where.shape[1:]).flatten())
        for name, value in hypers.items()
        if isinstance(value, np.ndarray)
    }
    new, kept = torch.func.vmap(alone)(_columns(where), _columns(grad), slots, own)
    return _points(new, where), kept
