"""A rule at work outside of any network: the iterates of one point, or of a population of points at once."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gradus.errors import InvalidInput
from gradus.rules import Rule

__all__ = ["Gradient", "iterates"]

Gradient = Callable[[Any, int], Any]  # (where, number of the update from 1) -> the gradient there


def iterates(rule: Rule, start: Any, gradient: Gradient, steps: int, **hypers: Any) -> Iterator[Any]:
    """The places that a rule goes through, the start first.

    The rule is the one that `gradus.optim` trains with. On a float it is plain arithmetic; on an array every element is
    a point of its own, and a hyperparameter may be an array that is broadcast against it.

    Args:
        rule: an elementwise rule.
        start: a float, or an array of any shape.
        gradient: `gradient(where, step)`, of the shape of `start`; steps are counted from 1.
        steps: how many updates.
        hypers: the rule's hyperparameters; its defaults hold for the others.

    Raises:
        InvalidInput: the rule is of whole tensors, or a hyperparameter is unknown or out of its range.

    >>> from gradus.rules.classical import sgd
    >>> list(iterates(sgd, 2.0, lambda x, step: 8 * x, 2, lr=1.0))
    [2.0, -14.0, 98.0]
    """
    if rule.of_tensors:
        raise InvalidInput(f"{rule.name} is a rule of whole tensors and can't be run on points; take an elementwise one")
    for name, value in hypers.items():
        if name not in rule.hypers:
            raise InvalidInput(f"{rule.name} has no hyperparameter {name!r}; it has {', '.join(rule.hypers)}")
        check = rule.hypers[name].check
        for one in value.ravel() if isinstance(value, np.ndarray) else (value,):
            if check is not None:
                check(name, one)
    return _walk(rule, start, gradient, steps, {name: hyper.default for name, hyper in rule.hypers.items()} | hypers)


def _walk(rule: Rule, where: Any, gradient: Gradient, steps: int, hypers: dict[str, Any]) -> Iterator[Any]:
    starts = {slot: rule.start.get(slot, 0.0) for slot in rule.slots}
    slots = {slot: hypers[start] if isinstance(start, str) else start for slot, start in starts.items()}
    yield where
    for step in range(1, steps + 1):
        with np.errstate(all="ignore"):  # who diverges passes through infinity
            where, slots = rule.updated(where, gradient(where, step), slots, step, hypers)
        yield where
