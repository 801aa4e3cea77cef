"""Metrics that ship: functions of (outputs, targets), and objects that see one batch after the other."""

import math
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from gradus.errors import InvalidInput
from gradus.tasks.batches import kind_of

__all__ = ["R2", "Accumulating", "Perplexity", "accuracy"]


@runtime_checkable
class Accumulating(Protocol):
    """A metric that sees one batch after the other, as those of torchmetrics do."""

    def update(self, outputs: Any, targets: Any, /) -> None:
        """See a batch."""

    def compute(self) -> Any:
        """The value for all that was seen since the last `reset`, one number."""

    def reset(self) -> None:
        """Forget what was seen."""


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Whether each example's greatest score is its class's.

    Args:
        outputs: scores `[n, classes]`.
        targets: classes `[n]`, whole numbers.

    Raises:
        InvalidInput: they have other shapes.

    >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
    tensor([ True, False])
    """
    fit = isinstance(outputs, Tensor) and isinstance(targets, Tensor) and outputs.ndim == 2
    if not fit or targets.shape != outputs.shape[:1]:
        raise InvalidInput(
            f"accuracy takes scores [n, classes] and classes [n]; got {kind_of(outputs)} and {kind_of(targets)}; give the "
            f"task metrics of its own, or metrics={{}}"
        )
    return outputs.argmax(dim=1) == targets


class R2:
    """The coefficient of determination: 1 - Σ(targets - outputs)² / Σ(targets - their mean)²; with several targets to an
    example, the mean of theirs.

    1 is perfect, and 0 what the targets' own mean would get. NaN where all targets are alike.

    >>> metric = R2()
    >>> metric.update(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [3.0]]))
    >>> metric.compute()
    0.5
    """

    _shift: Tensor | None  # a value near the targets' mean: sums around it keep their digits
    _sums: Tensor | None
    _count: int

    def __init__(self) -> None:
        self.reset()

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """See a batch.

        Args:
            outputs: real numbers `[n, ...]`.
            targets: of the same shape.

        Raises:
            InvalidInput: the shapes differ.
        """
        if outputs.shape != targets.shape:
            raise InvalidInput(
                f"R2 takes outputs and targets of one shape; got {kind_of(outputs)} and {kind_of(targets)}: "
                f"reshape one of them, as in targets.unsqueeze(1)"
            )
        real = torch.float32 if targets.device.type == "mps" else torch.float64
        wanted = targets.detach().to(real).flatten(1) if targets.ndim > 1 else targets.detach().to(real).unsqueeze(1)
        missed = wanted - outputs.detach().to(real).reshape(wanted.shape)
        if self._shift is None:
            self._shift = wanted.mean(dim=0)
        around = wanted - self._shift
        sums = torch.stack([missed.square().sum(dim=0), around.square().sum(dim=0), around.sum(dim=0)])
        self._sums = sums if self._sums is None else self._sums + sums
        self._count += len(targets)

    def compute(self) -> float:
        """The value for all that was seen."""
        if self._sums is None:
            return math.nan
        missed, squares, total = self._sums
        spread = squares - total.square() / self._count
        return float((1 - missed / torch.where(spread > 0, spread, math.nan)).mean())

    def reset(self) -> None:
        """Forget what was seen."""
        self._shift = self._sums = None
        self._count = 0

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far."""
        return {"shift": self._shift, "sums": self._sums, "count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave.

        Args:
            state: that.
        """
        self._shift, self._sums, self._count = state["shift"], state["sums"], state["count"]


class Perplexity:
    """e to the mean cross-entropy over all tokens that were seen: the number of tokens among which the model is unsure.

    Each token counts alike, whatever batch it was in: it is the exponential of the mean, and no mean of exponentials.

    >>> metric = Perplexity()
    >>> metric.update(torch.zeros(2, 5, 8), torch.zeros(2, 5, dtype=torch.int64))
    >>> round(metric.compute(), 4)
    8.0
    """

    _sum: Tensor | None
    _count: int

    def __init__(self) -> None:
        self.reset()

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """See a batch.

        Args:
            outputs: scores `[n, ..., tokens]`.
            targets: tokens `[n, ...]`, whole numbers.
        """
        loss = functional.cross_entropy(outputs.detach().flatten(0, -2).float(), targets.flatten(), reduction="sum")
        self._sum = loss if self._sum is None else self._sum + loss
        self._count += targets.numel()

    def compute(self) -> float:
        """The value for all that was seen."""
        if self._sum is None:
            return math.nan
        mean = float(self._sum) / self._count
        return math.exp(mean) if mean < 700 else math.inf

    def reset(self) -> None:
        """Forget what was seen."""
        self._sum = None
        self._count = 0

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far."""
        return {"sum": self._sum, "count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave.

        Args:
            state: that.
        """
        self._sum, self._count = state["sum"], state["count"]
