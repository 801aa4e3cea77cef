"""The loss and the metrics over many batches, and what one batch gave for them."""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradus.errors import InvalidInput
from gradus.tasks.batches import kind_of
from gradus.tasks.metrics import Accumulating

__all__ = ["Metric", "Outcome", "Scores"]

Metric = Callable[[Any, Any], Any] | Accumulating


class Outcome(NamedTuple):
    """What a model did with a batch.

    Args:
        loss: the mean over the batch, a tensor `[]` with its graph.
        outputs: what the model gave; None where the task has a step of its own.
        targets: what it should have given; None there too.
        extra: the numbers that a step of one's own gave, by name.

    >>> outcome = Outcome(torch.tensor(0.5), torch.zeros(2, 1), torch.ones(2, 1), {})
    >>> float(outcome.loss)
    0.5
    """

    loss: Tensor
    outputs: Any
    targets: Any
    extra: Mapping[str, Any]


class Scores:
    """The mean loss and the metrics over the examples of all batches so far.

    Numbers stay on the device until they are asked for, to spare it the wait. Sums are exact (`math.fsum`), so it makes no
    difference whether they are saved and taken up in between.

    Args:
        metrics: the task's, by name.

    >>> scores = Scores({"error": lambda outputs, targets: (outputs - targets).abs()})
    >>> for output in (torch.tensor([1.0, 2.0]), torch.tensor([4.0])):
    ...     scores.add(Outcome(output.mean(), output, torch.zeros(len(output)), {}), len(output))
    >>> scores.values()
    {'loss': 2.3333333333333335, 'error': 2.3333333333333335}
    """

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self._functions = {name: one for name, one in metrics.items() if not isinstance(one, Accumulating)}
        self._objects = {name: copy.deepcopy(one) for name, one in metrics.items() if isinstance(one, Accumulating)}
        self._names = ("loss", *metrics)
        self._waiting: dict[str, list[Tensor]] = {}
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._waiting.clear()
        self._sums: dict[str, list[float]] = {}  # one number for each batch
        self._counts: dict[str, list[int]] = {}  # what to multiply it by: 1 for a sum, the examples for a mean
        self._examples: dict[str, int] = {}
        for metric in self._objects.values():
            metric.reset()

    @torch.no_grad()
    def add(self, outcome: Outcome, examples: int) -> None:
        """Take a batch into account.

        Args:
            outcome: what the model did with it.
            examples: how many it has.

        Raises:
            InvalidInput: a metric gives neither one number nor one for each example.
        """
        self._add("loss", outcome.loss.detach(), examples)
        for name, value in outcome.extra.items():
            self._add(name, value, examples)
        for name, function in self._functions.items():
            self._add(name, function(outcome.outputs, outcome.targets), examples)
        for name, metric in self._objects.items():
            if hasattr(metric, "to") and isinstance(outcome.outputs, Tensor):
                metric.to(outcome.outputs.device)
            metric.update(outcome.outputs, outcome.targets)
            self._examples[name] = self._examples.get(name, 0) + examples

    def _add(self, name: str, value: Any, examples: int) -> None:
        number, weight = _sum_and_weight(name, value, examples)
        self._waiting.setdefault(name, []).append(number)
        self._counts.setdefault(name, []).append(weight)
        self._examples[name] = self._examples.get(name, 0) + examples

    def _fetch(self) -> None:
        for name, numbers in self._waiting.items():
            self._sums.setdefault(name, []).extend(torch.stack(numbers).tolist())
        self._waiting.clear()

    def values(self) -> dict[str, float]:
        """The loss and each metric by name; nothing where there was no batch."""
        self._fetch()
        found = {}
        for name in dict.fromkeys((*self._names, *self._examples)):
            if name in self._sums:
                products = [number * count for number, count in zip(self._sums[name], self._counts[name], strict=True)]
                found[name] = _total(products) / self._examples[name]
            elif name in self._examples:
                found[name] = _as_number(name, self._objects[name].compute())
        return found

    def state_dict(self) -> dict[str, Any]:
        """All of it, in numbers and tensors."""
        self._fetch()
        return {
            "sums": {name: torch.tensor(numbers, dtype=torch.float64) for name, numbers in self._sums.items()},
            "counts": {name: torch.tensor(numbers) for name, numbers in self._counts.items()},
            "examples": dict(self._examples),
            "objects": {name: _state_of(name, metric) for name, metric in self._objects.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave.

        Args:
            state: that.
        """
        self.reset()
        self._sums = {name: numbers.tolist() for name, numbers in state["sums"].items()}
        self._counts = {name: numbers.tolist() for name, numbers in state["counts"].items()}
        self._examples = dict(state["examples"])
        for name, metric in self._objects.items():
            _fill(metric, state["objects"][name])


def _total(numbers: list[float]) -> float:
    try:
        return math.fsum(numbers)
    except (OverflowError, ValueError):  # beyond the largest float, or infinities of both signs
        return sum(numbers)


def _sum_and_weight(name: str, value: Any, examples: int) -> tuple[Tensor, int]:
    """A number `[]`, and what to multiply it by to have the sum over the examples."""
    if isinstance(value, (bool, int, float, np.number, np.bool_, np.ndarray)):
        value = torch.as_tensor(np.asarray(value, dtype=np.float64))
    shape = tuple(value.shape) if isinstance(value, Tensor) else None
    if shape is None or value.is_complex() or shape not in ((), (1,), (examples,)):
        raise InvalidInput(
            f"the metric {name!r} must give one number for the batch, or one for each of its {examples} examples, "
            f"[{examples}]; it gave {kind_of(value)}{_reason(shape, examples)}"
        )
    if shape == (examples,):
        return (value if value.dtype == torch.float64 or not value.is_floating_point() else value.float()).sum(), 1
    return value.detach().reshape(()), examples


def _reason(shape: tuple[int, ...] | None, examples: int) -> str:
    if shape is None:
        return ""
    if shape[:2] == (examples, examples):
        return ": outputs [n, 1] and targets [n] compared give [n, n]; squeeze(1) the one or unsqueeze(1) the other"
    return ": take its mean over all but the first dimension, as in .flatten(1).mean(1)" if len(shape) > 1 else ""


def _as_number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise InvalidInput(f"the metric {name!r} must compute one number; it gave {kind_of(value)}") from None


# The state of metrics that see one batch after the other

_STATES = "metric_state"  # torchmetrics' name of it


def _state_of(name: str, metric: Any) -> dict[str, Any]:
    if hasattr(metric, _STATES):
        return {"state": copy.deepcopy(dict(getattr(metric, _STATES))), "updates": metric.update_count}
    if callable(getattr(metric, "state_dict", None)):
        return dict(metric.state_dict())
    try:
        return copy.deepcopy(vars(metric))
    except TypeError as error:
        raise InvalidInput(f"the metric {name!r} can't be saved ({error}); give it state_dict and load_state_dict") from None


def _fill(metric: Any, state: Mapping[str, Any]) -> None:
    if hasattr(metric, _STATES):
        for name, value in state["state"].items():
            setattr(metric, name, value)
        metric._update_count = state["updates"]  # it has no other door
    elif callable(getattr(metric, "load_state_dict", None)):
        metric.load_state_dict(state)
    else:
        vars(metric).update(copy.deepcopy(dict(state)))
