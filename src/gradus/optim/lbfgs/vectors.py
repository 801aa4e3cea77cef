"""`HistoryVectors`: the vectors in L-BFGS's history, and the passes over them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["Direction", "HistoryVectors", "max_abs"]


class Direction(NamedTuple):
    """A search direction, its product with the gradient, and its largest element in absolute value."""

    vector: Tensor
    slope: float
    largest: float

    @classmethod
    def of(cls, vector: Tensor, gradient: Tensor) -> "Direction":
        """A vector as a direction from a point with this gradient."""
        return cls(vector, float(gradient.dot(vector)), max_abs(vector))


def max_abs(vector: Tensor) -> float:
    """The largest absolute value of an element; 0 for an empty vector."""
    if not vector.numel():
        return 0.0
    low, high = torch.aminmax(vector)  # on a CPU thirty times as fast as an infinity norm
    return float(torch.maximum(-low, high))


class HistoryVectors:
    """Slots for pairs of a step s and a gradient change y, with the passes over them in torch operations.

    `HistoryVectorsCpu` does the same in fewer passes.

    Args:
        like: a vector of the size, dtype and device of each s and y.
    """

    def __init__(self, like: Tensor) -> None:
        self._rows = like.new_empty(0, 2, like.numel())  # [slots, s or y, elements]

    def __len__(self) -> int:
        return len(self._rows)

    def grow(self, slots: int) -> None:
        """Make room for `slots` pairs; the present ones keep their slots."""
        rows = self._rows.new_empty(slots, *self._rows.shape[1:])
        rows[: len(self)] = self._rows
        self._rows = rows

    def __getitem__(self, slot: int) -> tuple[Tensor, Tensor]:
        """The s and y in a slot, as views to read or write."""
        step, change = self._rows[slot]
        return step, change

    def write(self, first: int, kept: int, direction: Tensor, t: float, gradient: Tensor, old: Tensor) -> np.ndarray:
        """Write s = t · direction and y = gradient − old into the slot after the `kept` pairs that start at slot `first`.

        Returns:
            float64 `[kept + 2, 2]`: the gradient's products with each s and y, oldest first, the new pair's included;
            then s·y and y·y of the new pair.
        """
        step, change = self[(first + kept) % len(self)]
        torch.mul(direction, t, out=step)
        torch.sub(gradient, old, out=change)
        of_pair = [[float(step.dot(change)), float(change.dot(change))]]
        return np.concatenate([self.products(first, kept + 1, gradient), of_pair])

    def products(self, first: int, kept: int, vector: Tensor) -> np.ndarray:
        """A vector's products with each s and y of `kept` pairs from slot `first` on: float64 `[kept, 2]`."""
        found = [rows @ vector for rows in self._runs(first, kept)]
        products: np.ndarray = torch.cat(found).double().cpu().numpy().reshape(kept, 2)
        return products

    def combine(self, first: int, coefficients: np.ndarray, scale: float, gradient: Tensor, out: Tensor) -> Direction:
        """Write scale · gradient + Σ a·s + b·y over pairs from slot `first` on to `out`; `coefficients` is [[a], [b]]."""
        torch.mul(gradient, scale, out=out)
        begin, numbers = 0, torch.from_numpy(coefficients.T.reshape(-1)).to(gradient)
        for rows in self._runs(first, coefficients.shape[1]):
            out.addmv_(rows.T, numbers[begin : begin + len(rows)])
            begin += len(rows)
        return Direction.of(out, gradient)

    def _runs(self, first: int, kept: int) -> Iterator[Tensor]:
        """The vectors of `kept` pairs from slot `first` on, as one matrix, or two where they wrap around."""
        for pairs in (self._rows[first : first + kept], self._rows[: max(0, first + kept - len(self))]):
            if len(pairs):
                yield pairs.flatten(0, 1)
