"""`History`: the pairs of L-BFGS, and the inverse Hessian that they stand for."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradus.backends import pairs_for
from gradus.backends.pairs import Line, Pairs

__all__ = ["History"]

_CURVATURE = 1e-10  # least s·y of a pair that is kept


class History:
    """The last pairs of a step s and a change of gradient y.

    The two loops of L-BFGS need the vectors only in the products s·g, y·g, s·y and y·y. So they are run on those numbers,
    in double precision, as two triangular systems (Byrd, Nocedal and Schnabel 1994, section 3), and give the coefficients
    of the direction. And since y is a difference of gradients, s·y and y·y follow from s·g and y·g of this iteration and
    the one before: the vectors are read once for the products and once for the direction, which is the least there is.
    There is a place more than pairs are kept, so that one is written where it stays, whether it is kept or not.

    Args:
        size: how many pairs are kept.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._added = 0
        self._pairs: Pairs | None = None
        # Of the pairs from the oldest: s·y where y isn't the older one, and y·y; and s·g and y·g with the last gradient.
        self._among, self._last = np.empty((2, 0, 0)), np.empty((2, 0))

    def __len__(self) -> int:
        return min(self._added, self.size)

    @np.errstate(all="ignore")  # who diverges passes through infinity
    def newton(self, direction: Tensor, t: float, gradient: Tensor, old: Tensor, out: Tensor, *, damped: bool) -> Line:
        """−H·gradient, after a step from another point, which is kept if it says something of the curvature.

        Args:
            direction: −H·old.
            t: how far the step went along it.
            gradient: what the direction is for.
            old: the gradient where the step began.
            out: where to write the direction; another vector than the others.
            damped: whether y is mended where s·y is less than a fifth of what H says.
        """
        pairs, kept = self._with_room(gradient), len(self)
        found, mix = pairs.write(self._oldest(), kept, direction, t, gradient, old), (1.0, -1.0)
        if damped:
            mix = self._mended(found, pairs[self._added % (self.size + 1)], t, gradient, old)
        if found[-1, 0] > _CURVATURE:
            self._add(found, *mix)
        else:
            self._last = found[:kept].T
        if not self._added:
            return Line.of(torch.neg(gradient, out=out), gradient)
        # Newest first: q = −g − Σ αy. Then oldest first: direction = γq + Σ ws.
        (sy, yy), (sg, yg) = self._among, self._last
        curvatures = sy.diagonal()
        alpha = _solved(sy, -sg, upper=True)
        q_y = -yg - yy @ alpha
        gamma = float(curvatures[-1] / yy[-1, -1])
        weight = _solved(sy.T, curvatures * alpha - gamma * q_y, upper=False)
        return pairs.line(self._oldest(), np.array([weight, -gamma * alpha]), -gamma, gradient, out)

    def _with_room(self, like: Tensor) -> Pairs:
        """Places for the pairs, one of which is free."""
        if self._pairs is None:
            self._pairs = pairs_for(like)
        if len(self) == len(self._pairs):  # room for twice as many, so that a history which stays short costs no more
            self._pairs.grow(min(self.size + 1, max(4, 2 * len(self))))
        return self._pairs

    def _mended(
        self, found: np.ndarray, pair: tuple[Tensor, Tensor], t: float, gradient: Tensor, old: Tensor
    ) -> tuple[float, float]:
        """What the newest y is of both gradients, after it has been mended if need be."""
        step, change = pair
        curvature, straight = found[-1, 0], -t * float(step.dot(old))  # s·Bs, for B·direction is −old
        if not curvature < 0.2 * straight:
            return 1.0, -1.0
        theta = 0.8 * straight / (straight - curvature)
        now, before = theta, -theta - (1 - theta) * t
        torch.add(now * gradient, old, alpha=before, out=change)
        found[-2, 1], found[-1] = float(change.dot(gradient)), (0.2 * straight, float(change.dot(change)))
        return now, before

    def _add(self, found: np.ndarray, now: float, before: float) -> None:
        """Count the pair that has been written, and enter its products with the older ones.

        Args:
            found: the gradient's products with the pairs, and those of the new pair.
            now: what the new y is of the gradient.
            before: what it is of the last one.
        """
        gone = len(self) + 1 - min(self._added + 1, self.size)
        self._added += 1
        if gone:
            self._among[:, :-1, :-1] = self._among[:, 1:, 1:]
        else:
            self._among = np.pad(self._among, ((0, 0), (0, 1), (0, 1)))
        last, self._last = self._last[:, gone:], found[gone:-1].T
        self._among[:, :-1, -1] = now * self._last[:, :-1] + before * last
        self._among[1, -1, :-1] = self._among[1, :-1, -1]
        self._among[:, -1, -1] = found[-1]

    def _oldest(self) -> int:
        """The place of the oldest pair."""
        return (self._added - len(self)) % (self.size + 1)

    # State, in torch's form

    def as_lists(self) -> dict[str, Any]:
        """The pairs as torch's LBFGS keeps them."""
        if self._pairs is None or not self._added:
            return {"old_stps": [], "old_dirs": [], "ro": [], "H_diag": torch.tensor(1.0)}
        pairs = [self._pairs[place] for place in self._places()]
        like, curvatures = pairs[0][0], self._among[0].diagonal()
        return {
            "old_stps": [step.clone() for step, _ in pairs],
            "old_dirs": [change.clone() for _, change in pairs],
            "ro": [like.new_tensor(1 / curvature) for curvature in curvatures],
            "H_diag": like.new_tensor(curvatures[-1] / self._among[1, -1, -1]),
        }

    def products(self) -> dict[str, Any]:
        """What was found without the vectors, to the last bit, and how many pairs there have been."""
        return {"added": self._added, "numbers": [*self._among.tolist(), *self._last.tolist()]}

    def load(
        self, steps: Sequence[Tensor], changes: Sequence[Tensor], gradient: Tensor | None, products: Mapping[str, Any]
    ) -> None:
        """Take up pairs, each in the place that it had.

        Args:
            steps: s, the oldest first.
            changes: y.
            gradient: that of the last direction.
            products: what `products` gave, as arrays `among` and `last`; if it is of other pairs, or nothing, the products
                are calculated.
        """
        steps, changes = steps[-self.size :], changes[-self.size :]
        known = min(products.get("added", -1), self.size) == len(steps)
        self._added = products["added"] if known else len(steps)
        if not steps:
            return
        self._pairs = pairs_for(steps[0])
        self._pairs.grow(min(self._added, self.size + 1))
        for place, step, change in zip(self._places(), steps, changes, strict=True):
            for row, vector in zip(self._pairs[place], (step, change), strict=True):
                row.copy_(vector)
        if known:
            self._among, self._last = products["among"], products["last"]
            return
        first, kept = self._oldest(), len(self)
        found = np.array([self._pairs.products(first, kept, self._pairs[place][1]) for place in self._places()]).T
        self._among = np.array([np.triu(found[0]), found[1]])
        if gradient is not None:
            self._last = self._pairs.products(first, kept, gradient).T

    def _places(self) -> list[int]:
        """The places of the pairs, from the oldest."""
        return [number % (self.size + 1) for number in range(self._added - len(self), self._added)]


def _solved(matrix: np.ndarray, right: np.ndarray, *, upper: bool) -> np.ndarray:
    given = torch.from_numpy(matrix), torch.from_numpy(right[:, None])
    solution: np.ndarray = torch.linalg.solve_triangular(*given, upper=upper).numpy()[:, 0]
    return solution
