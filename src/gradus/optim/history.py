"""`History`: the pairs of L-BFGS, and the inverse Hessian that they stand for."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["History"]


class History:
    """The last pairs of a step s and a change of gradient y.

    The two loops of L-BFGS need the vectors only in the products s·g, y·g, s·y and y·y. So they are run on those numbers,
    in double precision, as two triangular systems (Byrd, Nocedal and Schnabel 1994, section 3), and give the coefficients
    of the direction. And since y is a difference of gradients, s·y and y·y follow from s·g and y·g of this iteration and
    the one before: the vectors are read once for the products and once for the direction, which is the least there is.

    Args:
        size: how many pairs are kept.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._added = 0
        self._steps = self._changes = torch.empty(0, 0)
        self._sy = self._yy = np.empty((0, 0))  # s·y where y isn't the older one, and y·y
        self._sg = self._yg = np.empty(0)  # with the gradient of the last direction
        self._new: tuple[float, float] | None = None
        self._apart: tuple[Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return min(self._added, self.size)

    def _order(self) -> np.ndarray:
        """The places of the pairs, from the oldest."""
        return np.arange(self._added - len(self), self._added) % self.size

    def room(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Where to write the next s and y: in their own places, or apart while all are taken, for they may not be kept."""
        if len(self) < self.size:
            self._make_place(like)
            return self._steps[self._added], self._changes[self._added]
        if self._apart is None:
            self._apart = torch.empty_like(like), torch.empty_like(like)
        return self._apart

    def _make_place(self, like: Tensor) -> None:
        if len(self) == len(self._steps) < self.size:
            self._grow(like)

    def add(self, step: Tensor, change: Tensor, curvature: float, mix: tuple[float, float] = (1.0, -1.0)) -> None:
        """Keep a pair, in place of the oldest where all places are taken.

        Args:
            step: s.
            change: y.
            curvature: s·y.
            mix: what y is of the gradient that comes next and of the one before.
        """
        self._make_place(step)
        place = self._added % self.size
        for row, vector in ((self._steps[place], step), (self._changes[place], change)):
            if row.data_ptr() != vector.data_ptr():
                row.copy_(vector)
        self._sy[place, place], self._yy[place, place] = curvature, float(change.dot(change))
        self._added += 1
        self._new = mix

    def _grow(self, like: Tensor) -> None:
        """Make room for twice as many pairs, so that a history which stays short costs no more."""
        room = min(self.size, max(4, 2 * len(self)))
        self._steps, self._changes = (
            _widened(old, like.new_empty(room, like.numel())) for old in (self._steps, self._changes)
        )
        self._sy, self._yy = (_widened(old, np.zeros((room, room))) for old in (self._sy, self._yy))
        self._sg, self._yg = (_widened(old, np.zeros(room)) for old in (self._sg, self._yg))

    @np.errstate(all="ignore")  # who diverges passes through infinity
    def newton(self, gradient: Tensor) -> Tensor:
        """−H·gradient."""
        if not self._added:
            return -gradient
        kept, order = len(self), self._order()
        steps, changes = self._steps[:kept], self._changes[:kept]
        sg, yg = torch.cat([steps @ gradient, changes @ gradient]).double().cpu().numpy().reshape(2, kept)
        if self._new is not None:
            self._enter(order, sg, yg, *self._new)
            self._new = None
        self._sg[:kept], self._yg[:kept] = sg, yg
        upper, among = np.triu(self._sy[order[:, None], order]), self._yy[order[:, None], order]
        curvatures = upper.diagonal()
        # Newest first: q = −g − Σ αy. Then oldest first: direction = γq + Σ ws.
        alpha = _solved(upper, -sg[order], upper=True)
        q_y = -yg[order] - among @ alpha
        gamma = curvatures[-1] / among[-1, -1]
        weight = _solved(upper.T, curvatures * alpha - gamma * q_y, upper=False)
        coefficients = np.empty((2, kept))
        coefficients[:, order] = weight, -gamma * alpha
        of_steps, of_changes = torch.from_numpy(coefficients).to(gradient)
        direction = torch.addmv(gradient, changes.T, of_changes, beta=-float(gamma))
        return direction.addmv_(steps.T, of_steps)

    def _enter(self, order: np.ndarray, sg: np.ndarray, yg: np.ndarray, now: float, before: float) -> None:
        """Enter the products of the older pairs with the newest y."""
        older, newest = order[:-1], order[-1]
        self._sy[older, newest] = now * sg[older] + before * self._sg[older]
        self._yy[older, newest] = self._yy[newest, older] = now * yg[older] + before * self._yg[older]

    # State, in torch's form

    def as_lists(self) -> dict[str, Any]:
        """The pairs as torch's LBFGS keeps them."""
        order, like = self._order(), self._steps
        scale = self._sy[order[-1], order[-1]] / self._yy[order[-1], order[-1]] if len(order) else 1.0
        return {
            "old_stps": [self._steps[place].clone() for place in order],
            "old_dirs": [self._changes[place].clone() for place in order],
            "ro": [like.new_tensor(1 / self._sy[place, place]) for place in order],
            "H_diag": like.new_tensor(scale),
        }

    def load(self, steps: Sequence[Tensor], changes: Sequence[Tensor], gradient: Tensor | None) -> None:
        """Take up pairs, the oldest first, and the gradient of the last direction."""
        for step, change in zip(steps, changes, strict=True):
            self.add(step, change, float(step.dot(change)))
        self._new, kept = None, len(self)
        if gradient is None or not kept:
            return
        s, y = self._steps[:kept], self._changes[:kept]
        self._sy[:kept, :kept], self._yy[:kept, :kept] = (s @ y.T).cpu(), (y @ y.T).cpu()
        self._sg[:kept], self._yg[:kept] = (s @ gradient).cpu(), (y @ gradient).cpu()

    def products(self) -> dict[str, Any]:
        """What was found without the vectors, to the last bit, and how many pairs there have been."""
        order = self._order()
        pairs, single = (self._sy, self._yy), (self._sg, self._yg)
        numbers = [one[order[:, None], order].tolist() for one in pairs] + [one[order].tolist() for one in single]
        return {"added": self._added, "numbers": numbers}

    def put_products(self, products: Mapping[str, Any]) -> None:
        """Take up what `products` gave for the loaded pairs, and put each of them in the place that it had."""
        kept, before = len(self), self._order()
        if min(products["added"], self.size) != kept:
            return  # they are of others
        self._added = products["added"]
        order = self._order()
        for vectors in (self._steps, self._changes):
            vectors[order] = vectors[before]
        sy, yy, sg, yg = (np.array(one, dtype=np.float64) for one in products["numbers"])
        for mine, given in ((self._sy, sy), (self._yy, yy)):
            mine[order[:, None], order] = given.reshape(kept, kept)
        self._sg[order], self._yg[order] = sg.reshape(kept), yg.reshape(kept)


def _widened(old: Any, new: Any) -> Any:
    if len(old):
        new[tuple(slice(size) for size in old.shape)] = old
    return new


def _solved(matrix: np.ndarray, right: np.ndarray, *, upper: bool) -> np.ndarray:
    given = torch.from_numpy(np.ascontiguousarray(matrix)), torch.from_numpy(right)[:, None]
    solution: np.ndarray = torch.linalg.solve_triangular(*given, upper=upper)[:, 0].numpy()
    return solution
