"""`Pairs`: the vectors of L-BFGS, and all that it does with each of their elements."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["Line", "Pairs", "greatest"]


class Line(NamedTuple):
    """A direction, its product with the gradient, and its greatest element."""

    direction: Tensor
    slope: float
    greatest: float

    @classmethod
    def of(cls, direction: Tensor, gradient: Tensor) -> "Line":
        """A direction as it is seen from a gradient."""
        return cls(direction, float(gradient.dot(direction)), greatest(direction))


def greatest(vector: Tensor) -> float:
    """The greatest size of an element."""
    if not vector.numel():
        return 0.0
    low, high = torch.aminmax(vector)  # on a CPU thirty times as fast as a norm
    return float(torch.maximum(-low, high))


class Pairs:
    """Places for pairs of a step s and a change of gradient y, and what is done with them in torch's operations.

    Kernels of a backend do the same in fewer passes.

    Args:
        like: a vector of their size, dtype and device.
    """

    def __init__(self, like: Tensor) -> None:
        self._rows = like.new_empty(0, 2, like.numel())

    def __len__(self) -> int:
        return len(self._rows)

    def grow(self, places: int) -> None:
        """Make room for so many pairs; those that there are keep their places."""
        rows = self._rows.new_empty(places, *self._rows.shape[1:])
        rows[: len(self)] = self._rows
        self._rows = rows

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        """The s and the y in a place, to read or to write."""
        step, change = self._rows[place]
        return step, change

    def write(self, first: int, kept: int, direction: Tensor, t: float, gradient: Tensor, old: Tensor) -> np.ndarray:
        """Write s = t · direction and y = gradient − old into the place after so many pairs, which begin in a place.

        Returns:
            The gradient's products with each s and y, one pair a row, the new one's too; and in a row more, s·y and y·y.
        """
        step, change = self[(first + kept) % len(self)]
        torch.mul(direction, t, out=step)
        torch.sub(gradient, old, out=change)
        of_pair = [[float(step.dot(change)), float(change.dot(change))]]
        return np.concatenate([self.products(first, kept + 1, gradient), of_pair])

    def products(self, first: int, kept: int, vector: Tensor) -> np.ndarray:
        """A vector's products with each s and y of so many pairs; after the last place they go on in the first."""
        found = [rows @ vector for rows in self._runs(first, kept)]
        products: np.ndarray = torch.cat(found).double().cpu().numpy().reshape(kept, 2)
        return products

    def line(self, first: int, coefficients: np.ndarray, scale: float, gradient: Tensor, out: Tensor) -> Line:
        """scale · gradient + Σ a·s + b·y over pairs from a place on, written to `out`; coefficients are all a and all b."""
        torch.mul(gradient, scale, out=out)
        begin, numbers = 0, torch.from_numpy(coefficients.T.reshape(-1)).to(gradient)
        for rows in self._runs(first, coefficients.shape[1]):
            out.addmv_(rows.T, numbers[begin : begin + len(rows)])
            begin += len(rows)
        return Line.of(out, gradient)

    def _runs(self, first: int, kept: int) -> Iterator[Tensor]:
        """The vectors of pairs from a place on, as one matrix; as two where they go on in the first place."""
        for pairs in (self._rows[first : first + kept], self._rows[: max(0, first + kept - len(self))]):
            if len(pairs):
                yield pairs.flatten(0, 1)
