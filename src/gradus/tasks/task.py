"""`Task`: what is trained."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

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


@dataclass(frozen=True)
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
        InvalidInput: a split is empty, or its two tensors differ in length.
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
            inputs, targets = getattr(self, which)
            object.__setattr__(self, which, Split(inputs, targets))
            if len(inputs) != len(targets) or not len(inputs):
                raise InvalidInput(
                    f"task {self.name!r} needs as many inputs as targets in {which!r}, at least one; "
                    f"got {len(inputs)} and {len(targets)}"
                )

    def to(self, device: torch.device) -> "Task":
        """The same task with its data on a device."""
        moved = {which: Split(*(part.to(device) for part in getattr(self, which))) for which in ("train", "test")}
        return replace(self, **moved)  # type: ignore[arg-type]  # both are splits

    def steps_per_epoch(self, batch_size: int) -> int:
        """Updates in one pass over the training data, a short last batch included."""
        return -(-len(self.train.inputs) // batch_size)
