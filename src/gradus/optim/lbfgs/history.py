"""`History`: the steps and gradient changes of L-BFGS, and the inverse Hessian that they stand for."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradus.optim.lbfgs.vectors import Direction, HistoryVectors

__all__ = ["History", "vectors_for"]

_CURVATURE = 1e-10  # least s·y of a pair that is kept


def vectors_for(like: Tensor) -> HistoryVectors:
    """An empty store for vectors of this size, dtype and device, with kernels where there are any."""
    if like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64):
        from gradus.optim.lbfgs.vectors_cpu import HistoryVectorsCpu  # imports Numba: a third of a second

        return HistoryVectorsCpu(like)
    return HistoryVectors(like)


class History:
    """The last pairs of a step s and a gradient change y.

    The two loops of L-BFGS need the vectors only in the products s·g, y·g, s·y and y·y. They run on those numbers, in double
    precision, as two triangular systems (Byrd, Nocedal and Schnabel 1994, section 3), which give the direction's
    coefficients. Since y is a difference of gradients, s·y and y·y follow from s·g and y·g of this iteration and the last
    one. So each iteration reads the vectors twice, which is the least possible: for the products and for the direction.

    The vectors are in a ring buffer of `size + 1` slots: the newest pair is written in its slot before it is accepted.

    Args:
        size: the number of pairs to keep.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._added = 0  # pairs accepted so far
        self._vectors: HistoryVectors | None = None
        # Oldest pair first. [0] s·y on and above the diagonal, [1] y·y; and s·g, y·g with the last gradient.
        self._gram, self._projections = np.empty((2, 0, 0)), np.empty((2, 0))

    def __len__(self) -> int:
        return min(self._added, self.size)

    @np.errstate(all="ignore")  # a diverging run passes through infinity
    def direction(self, last: Tensor, t: float, gradient: Tensor, old: Tensor, out: Tensor, *, damped: bool) -> Direction:
        """−H·gradient after a step; the step becomes a pair if its curvature is positive.

        Args:
            last: the last direction, −H·old.
            t: the length of the step along it.
            gradient: the gradient after the step.
            old: the gradient before it.
            out: where to write the direction; none of the other vectors.
            damped: whether to change y where s·y is less than a fifth of what H predicts.
        """
        vectors, kept = self._with_room(gradient), len(self)
        found, mix = vectors.write(self._oldest(), kept, last, t, gradient, old), (1.0, -1.0)
        if damped:
            mix = self._damped(found, vectors[self._added % (self.size + 1)], t, gradient, old)
        if found[-1, 0] > _CURVATURE:
            self._add(found, *mix)
        else:
            self._projections = found[:kept].T
        if not self._added:
            return Direction.of(torch.neg(gradient, out=out), gradient)
        # Newest first: q = −g − Σ αy. Then oldest first: direction = γq + Σ ws.
        (sy, yy), (sg, yg) = self._gram, self._projections
        curvatures = sy.diagonal()
        alpha = _solved(sy, -sg, upper=True)
        q_y = -yg - yy @ alpha
        gamma = float(curvatures[-1] / yy[-1, -1])
        weight = _solved(sy.T, curvatures * alpha - gamma * q_y, upper=False)
        return vectors.combine(self._oldest(), np.array([weight, -gamma * alpha]), -gamma, gradient, out)

    def _with_room(self, like: Tensor) -> HistoryVectors:
        """The vectors, with a free slot."""
        if self._vectors is None:
            self._vectors = vectors_for(like)
        if len(self) == len(self._vectors):  # doubled, so that a history that stays short takes little memory
            self._vectors.grow(min(self.size + 1, max(4, 2 * len(self))))
        return self._vectors

    def _damped(
        self, found: np.ndarray, pair: tuple[Tensor, Tensor], t: float, gradient: Tensor, old: Tensor
    ) -> tuple[float, float]:
        """Damp the newest y if need be; its coefficients on the new and the old gradient."""
        step, change = pair
        curvature, predicted = found[-1, 0], -t * float(step.dot(old))  # s·Bs, since B·last is −old
        if not curvature < 0.2 * predicted:
            return 1.0, -1.0
        theta = 0.8 * predicted / (predicted - curvature)
        now, before = theta, -theta - (1 - theta) * t
        torch.add(now * gradient, old, alpha=before, out=change)
        found[-2, 1], found[-1] = float(change.dot(gradient)), (0.2 * predicted, float(change.dot(change)))
        return now, before

    def _add(self, found: np.ndarray, now: float, before: float) -> None:
        """Accept the pair that has been written, and enter its products with the older ones.

        Args:
            found: what `HistoryVectors.write` returned.
            now: the new y's coefficient on the gradient.
            before: its coefficient on the last gradient.
        """
        dropped = len(self) + 1 - min(self._added + 1, self.size)
        self._added += 1
        if dropped:
            self._gram[:, :-1, :-1] = self._gram[:, 1:, 1:]
        else:
            self._gram = np.pad(self._gram, ((0, 0), (0, 1), (0, 1)))
        last, self._projections = self._projections[:, dropped:], found[dropped:-1].T
        self._gram[:, :-1, -1] = now * self._projections[:, :-1] + before * last
        self._gram[1, -1, :-1] = self._gram[1, :-1, -1]
        self._gram[:, -1, -1] = found[-1]

    def _oldest(self) -> int:
        """The slot of the oldest pair."""
        return (self._added - len(self)) % (self.size + 1)

    # State, in torch's form

    def as_lists(self) -> dict[str, Any]:
        """The pairs as torch's LBFGS keeps them."""
        if self._vectors is None or not self._added:
            return {"old_stps": [], "old_dirs": [], "ro": [], "H_diag": torch.tensor(1.0)}
        pairs = [self._vectors[slot] for slot in self._slots()]
        like, curvatures = pairs[0][0], self._gram[0].diagonal()
        return {
            "old_stps": [step.clone() for step, _ in pairs],
            "old_dirs": [change.clone() for _, change in pairs],
            "ro": [like.new_tensor(1 / curvature) for curvature in curvatures],
            "H_diag": like.new_tensor(curvatures[-1] / self._gram[1, -1, -1]),
        }

    def products(self) -> dict[str, Any]:
        """The number of pairs accepted so far, and the products, to the last bit: two matrices and two vectors."""
        return {"added": self._added, "numbers": [*self._gram.tolist(), *self._projections.tolist()]}

    def load(
        self, steps: Sequence[Tensor], changes: Sequence[Tensor], gradient: Tensor | None, products: Mapping[str, Any]
    ) -> None:
        """Take saved pairs, each into the slot that it had.

        Args:
            steps: s, the oldest first.
            changes: y.
            gradient: the one that the last direction was for.
            products: what `products` gave, as arrays `gram` and `projections`. Without it, or if it belongs to other pairs,
                the products are computed.
        """
        steps, changes = steps[-self.size :], changes[-self.size :]
        known = min(products.get("added", -1), self.size) == len(steps)
        self._added = products["added"] if known else len(steps)
        if not steps:
            return
        self._vectors = vectors_for(steps[0])
        self._vectors.grow(min(self._added, self.size + 1))
        for slot, step, change in zip(self._slots(), steps, changes, strict=True):
            for row, vector in zip(self._vectors[slot], (step, change), strict=True):
                row.copy_(vector)
        if known:
            self._gram, self._projections = products["gram"], products["projections"]
            return
        first, kept = self._oldest(), len(self)
        found = np.array([self._vectors.products(first, kept, self._vectors[slot][1]) for slot in self._slots()]).T
        self._gram = np.array([np.triu(found[0]), found[1]])
        if gradient is not None:
            self._projections = self._vectors.products(first, kept, gradient).T

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({_RENAMED.get(name, name): value for name, value in state.items()})

    def _slots(self) -> list[int]:
        """The slots of the pairs, the oldest first."""
        return [number % (self.size + 1) for number in range(self._added - len(self), self._added)]


_RENAMED = {"_pairs": "_vectors", "_among": "_gram", "_last": "_projections"}  # in old pickles


def _solved(matrix: np.ndarray, right: np.ndarray, *, upper: bool) -> np.ndarray:
    given = torch.from_numpy(matrix), torch.from_numpy(right[:, None])
    solution: np.ndarray = torch.linalg.solve_triangular(*given, upper=upper).numpy()[:, 0]
    return solution
