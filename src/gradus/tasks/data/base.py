"""What all kinds of data have in common: batches that are a function of (seed, epoch, number)."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor

from gradus.errors import InvalidInput
from gradus.randomness import generator
from gradus.tasks.hashing import digest_of

__all__ = ["CPU", "DRAW", "Data", "order_of"]

CPU = torch.device("cpu")
DRAW = (
    "draw with the global generators of torch, NumPy or random, which are seeded for each batch, or with one made anew in "
    "each call from (seed, epoch)"
)


def order_of(count: int, seed: int, epoch: int, shuffle: bool) -> Tensor:
    """The order of an epoch's examples, a tensor `[count]` of their numbers.

    Args:
        count: how many there are.
        seed: the run's.
        epoch: counted from 0.
        shuffle: whether it is drawn.
    """
    return torch.randperm(count, generator=generator(seed, "order", epoch)) if shuffle else torch.arange(count)


class Data(ABC):
    """One split of a task's data.

    Args:
        name: what error messages call it.
        examples: how many there are; None where only going through them tells.

    >>> from gradus.tasks import load_task
    >>> data = load_task("digits").data("test")
    >>> len(next(iter(data.batches(0, 0, batch_size=32)))[0])
    32
    """

    def __init__(self, name: str, examples: int | None) -> None:
        self.name, self.examples = name, examples

    def __str__(self) -> str:
        return self.name

    @abstractmethod
    def batches(
        self, seed: int, epoch: int, batch_size: int, *, start: int = 0, device: torch.device = CPU, shuffle: bool = True
    ) -> Generator[Any, None, None]:
        """The batches of an epoch from a number on: a function of seed, epoch and number alone.

        Args:
            seed: the run's.
            epoch: counted from 0.
            batch_size: examples in a batch; the last may have fewer.
            start: the number of the first batch that is given, counted from 0.
            device: where the batches are to be.
            shuffle: whether the examples come in an order that is drawn, or as they are stored.
        """

    @abstractmethod
    def batches_per_epoch(self, batch_size: int) -> int:
        """Batches in one pass, a short last one included.

        Args:
            batch_size: examples in a batch.
        """

    def steps_per_epoch(self, batch_size: int, accumulate: int = 1) -> int:
        """Updates in one pass, a last one of fewer batches included.

        Args:
            batch_size: examples in a batch.
            accumulate: batches in an update.
        """
        return -(-self.batches_per_epoch(batch_size) // accumulate)

    @property
    def tokens_per_example(self) -> int | None:
        """Tokens in an example, where each example's targets are a row of whole numbers; else None."""
        return None

    def to(self, device: torch.device) -> "Data":
        """The same with what is kept in memory on a device.

        Args:
            device: where.
        """
        del device
        return self

    def split(self, fraction: float) -> "tuple[Data, Data]":
        """The greater part and a fraction held out of it, the same for every seed; each in the order that is stored.

        Args:
            fraction: in (0, 1).

        Raises:
            InvalidInput: there are too few examples, or they can't be told apart before they are made.
        """
        if self.examples is None:
            raise InvalidInput(
                f"no part of {self} can be held out for validation, for it is a function; give the task valid= data of its "
                f"own, or train with valid=False and be scored on test"
            )
        count = max(1, round(self.examples * fraction))
        if count >= self.examples:
            raise InvalidInput(
                f"a part of {self.examples} example(s) can't be held out for validation; give more, or valid data of its own"
            )
        order = torch.randperm(self.examples, generator=generator(0, "valid split"))
        return self.chosen(order[count:].sort().values), self.chosen(order[:count].sort().values)

    def chosen(self, indices: Tensor) -> "Data":
        """The examples of these numbers alone, where examples have numbers.

        Args:
            indices: a tensor `[n]` of whole numbers.
        """
        raise NotImplementedError(f"{self} has no {len(indices)} examples that could be chosen")

    @abstractmethod
    def digest(self) -> str:
        """16 hexadecimal digits of the data."""

    def replayed(self, batch_size: int) -> Any:
        """The first batch, when it has been made twice and was the same.

        Args:
            batch_size: examples in it, where it can be chosen.

        Raises:
            InvalidInput: it wasn't, or there is none.
        """
        one, again = (list(itertools.islice(self.batches(0, 0, batch_size), 1)) for _ in range(2))
        if not one:
            raise InvalidInput(f"{self} gives no batch")
        if digest_of(one) != digest_of(again):
            raise InvalidInput(
                f"{self} gives other examples when it is asked again, so no training could be resumed; {DRAW}"
            )
        return one[0]
