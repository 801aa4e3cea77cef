"""`HistoryVectors` in kernels: all work on a piece of a vector is done while the piece is in a core's cache."""

from functools import cache
from textwrap import indent
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradus.backends.cpu.arguments import Arguments
from gradus.backends.cpu.kernels import Kernel, compiled
from gradus.backends.cpu.threads import parallel_run
from gradus.optim.lbfgs.vectors import Direction, HistoryVectors

__all__ = ["HistoryVectorsCpu"]

PAIRS = Arguments(
    next="the next piece, which threads claim",
    pieces="how many pieces a vector has",
    size="how many elements a vector has",
    length="how many elements a piece has",
    places="how many slots for pairs there are",
    first="the first pair's slot",
    kept="how many pairs",
    rows="how many rows of results a piece writes",
    pairs_at="real [places, 2, size]: steps and changes of the gradient",
    gradient_at="real [size]",
    numbers_at="real: the coefficients that go in",
    found_at="float64 [pieces, rows, 2]: the results",
    direction_at="real [size]: the direction, which `combine` writes",
    old_at="real [size]: the gradient before",
)
_HEAD = '''"""{title}"""

from gradus.backends.cpu.intrinsics import *


@kernel
def run(pointer):
{arguments}
    piece = atomic_next(pointer)
    while piece < pieces:
        begin = piece * length
        count = min(length, size - begin)
        gradient = view(pointer_{real}(gradient_at, begin), count)
        found = view(pointer_float64(found_at, 2 * rows * piece), (rows, 2))
{before}
        for pair in range(kept):
            place = (first + pair) % places
            step = view(pointer_{real}(pairs_at, 2 * place * size + begin), count)
            change = view(pointer_{real}(pairs_at, (2 * place + 1) * size + begin), count)
{each}
{after}
        piece = atomic_next(pointer)
'''
_PRODUCTS = "found[pair, 0], found[pair, 1] = dot2(gradient, step, change)"
_WRITE = """\
if pair == kept - 1:
    for i in range(count):
        step[i] = t * direction[i]
        change[i] = gradient[i] - old[i]
    found[kept, 0], found[kept, 1] = dot2(change, step, change)"""
_COMBINE = """\
a, b = numbers[pair], numbers[kept + pair]
for i in range(count):
    direction[i] += a * step[i] + b * change[i]"""


class _Pass(NamedTuple):
    """A kernel's body: what it does with a piece before the pairs, for each pair, and after them."""

    title: str
    before: str
    each: str
    after: str = ""


_PASSES = {
    "products": _Pass("The products of a vector with pairs, piece by piece.", "", _PRODUCTS),
    "write": _Pass(
        "Write a pair after the others, and multiply the gradient with all of them, piece by piece.",
        """\
direction, old = view(pointer_{real}(direction_at, begin), count), view(pointer_{real}(old_at, begin), count)
t = pointer_{real}(numbers_at, 0)[0]""",
        f"{_WRITE}\n{_PRODUCTS}",
    ),
    "combine": _Pass(
        "A linear combination of the gradient and the pairs, piece by piece.",
        """\
direction, numbers = view(pointer_{real}(direction_at, begin), count), view(pointer_{real}(numbers_at, 0), 2 * kept + 1)
scale = numbers[2 * kept]
for i in range(count):
    direction[i] = scale * gradient[i]""",
        _COMBINE,
        """\
found[0, 0] = dot2(gradient, direction, direction)[0]
found[0, 1] = max_abs(direction)""",
    ),
}
_PIECE = 1 << 14  # elements of a piece, at most
_PER_THREAD = 1 << 14  # elements to read that are worth a thread


@cache
def _kernel(name: str, real: str) -> Kernel:
    title, *parts = _PASSES[name]
    before, each, after = (indent(part.format(real=real), " " * by) for part, by in zip(parts, (8, 12, 8), strict=True))
    return compiled(_HEAD.format(title=title, arguments=PAIRS.unpacked(), real=real, before=before, each=each, after=after))


class HistoryVectorsCpu(HistoryVectors):
    """History vectors in single or double precision on the CPU. All sums are in double precision."""

    def __init__(self, like: Tensor) -> None:
        super().__init__(like)
        self._size, self._real = like.numel(), str(like.dtype).removeprefix("torch.")
        # An even number of equal pieces: two threads have the same work, and the sums don't depend on the threads.
        even = 2 * -(-self._size // (2 * _PIECE))
        self._length = 16 * -(-self._size // (16 * even)) if even else 1
        self._pieces = -(-self._size // self._length)

    def write(self, first: int, kept: int, direction: Tensor, t: float, gradient: Tensor, old: Tensor) -> np.ndarray:
        numbers = np.array([t], dtype=self._real)
        return _summed(self._run("write", first, kept + 1, gradient, numbers, kept + 2, direction, old))

    def products(self, first: int, kept: int, vector: Tensor) -> np.ndarray:
        return _summed(self._run("products", first, kept, vector, np.empty(0), kept))

    def combine(self, first: int, coefficients: np.ndarray, scale: float, gradient: Tensor, out: Tensor) -> Direction:
        numbers = np.append(coefficients, scale).astype(self._real)
        found = self._run("combine", first, coefficients.shape[1], gradient, numbers, 1, out)[:, 0]
        return Direction(out, float(found[:, 0].sum()), float(found[:, 1].max(initial=0.0)))

    def _run(
        self, name: str, first: int, kept: int, gradient: Tensor, numbers: np.ndarray, rows: int, *vectors: Tensor
    ) -> np.ndarray:
        """Run a kernel over `kept` pairs from slot `first` on: its results, float64 `[pieces, rows, 2]`."""
        found = np.empty((self._pieces, rows, 2))
        arguments = PAIRS.packed(
            pieces=self._pieces,
            size=self._size,
            length=self._length,
            places=len(self),
            first=first,
            kept=kept,
            rows=rows,
            pairs_at=self._rows.data_ptr(),
            gradient_at=gradient.data_ptr(),
            numbers_at=numbers,
            found_at=found,
            **{name: vector.data_ptr() for name, vector in zip(("direction_at", "old_at"), vectors, strict=False)},
        )
        threads = min(torch.get_num_threads(), self._pieces, 1 + kept * self._size // _PER_THREAD)
        parallel_run(_kernel(name, self._real), arguments.ctypes.data, threads)
        return found


def _summed(found: np.ndarray) -> np.ndarray:
    """Results summed over the pieces."""
    together: np.ndarray = found.sum(axis=0)
    return together
