"""`Task`: what is trained."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from gradus.errors import InvalidInput

__all__ = ["Split", "Task"]


class Split(NamedTuple):
    """Examples as two tensors of equal length."""

    inputs: Tensor
    targets: Tensor


def _as_they_are(inputs: Tensor) -> Tensor:
    return inputs


def _correct(outputs: Tensor, targets: Tensor) -> Tensor:
    """Whether each example is classified right."""
    return outputs.argmax(dim=1) == targets


@dataclass(frozen=True, eq=False)  # tensors can't say in one word whether they are equal
class Task:
    """What is trained: data, model, loss and score, and the settings that are usual for it.

    Args:
        name: what it is called in tables and files.
        train: the examples to learn from, `(inputs, targets)`, tensors of shapes `[n, ...]` and `[n, ...]`.
        test: the examples to be scored on.
        model: makes a fresh model; called under a seed, so it may draw its weights from torch's global generator.
        loss: `loss(outputs, targets)`, a mean over the batch.
        correct: `correct(outputs, targets)`, a tensor `[n]` whose mean is the accuracy.
        prepare: turns a batch of stored inputs into what the model takes, such as bytes into floats.
        batch_size: examples in an update, unless a run says otherwise.
        epochs: passes over the data, likewise.
        lr: the learning rate, likewise.

    Raises:
        InvalidInput: a split is no pair of tensors, is empty, or its two tensors differ in length.
    """

    name: str
    train: Split
    test: Split
    model: Callable[[], nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy
    correct: Callable[[Tensor, Tensor], Tensor] = _correct
    prepare: Callable[[Tensor], Tensor] = _as_they_are
    batch_size: int = 256
    epochs: int = 30
    lr: float = 0.1

    def __post_init__(self) -> None:
        for which in ("train", "test"):
            inputs, targets = split = _pair(self.name, which, getattr(self, which))
            object.__setattr__(self, which, split)
            if len(inputs) != len(targets) or not len(inputs):
                raise InvalidInput(
                    f"task {self.name!r} needs as many inputs as targets in {which!r}, at least one; "
                    f"got {len(inputs)} and {len(targets)}"
                )

    def to(self, device: torch.device) -> "Task":
        """The same task with its data on a device.

        Args:
            device: where.
        """
        moved = {which: Split(*(part.to(device) for part in getattr(self, which))) for which in ("train", "test")}
        return replace(self, **moved)  # type: ignore[arg-type]  # both are splits

    def chance(self) -> float | None:
        """The test accuracy of naming the most frequent class every time; None where the targets aren't classes."""
        targets = self.test.targets
        if targets.dtype != torch.int64 or targets.ndim != 1:
            return None
        return float(targets.unique(return_counts=True)[1].max()) / len(targets)

    def steps_per_epoch(self, batch_size: int) -> int:
        """Updates in one pass over the training data, a short last batch included.

        Args:
            batch_size: examples in an update.
        """
        return -(-len(self.train.inputs) // batch_size)


def _pair(name: str, which: str, given: Any) -> Split:
    parts = tuple(given) if isinstance(given, (tuple, list)) else ()
    if len(parts) != 2 or not all(isinstance(part, Tensor) and part.dim() for part in parts):
        kinds = ", ".join(type(part).__name__ for part in parts) or type(given).__name__
        raise InvalidInput(
            f"task {name!r} needs two tensors in {which!r}, inputs [n, ...] and targets [n, ...]; got {kinds}"
        )
    return Split(*parts)
