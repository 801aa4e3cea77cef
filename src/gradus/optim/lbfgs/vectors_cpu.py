"""`HistoryVectors` in kernels: all work on a piece of a vector is done while the piece is in a core's cache."""

from functools import cache
from textwrap import indent
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradus.backends.cpu.kernels import Kernel, compiled
from gradus.backends.cpu.threads import parallel_run
from gradus.optim.lbfgs.vectors import Direction, HistoryVectors

__all__ = ["HistoryVectorsCpu"]

# A job is int64 [14]. Numbers: 0 the next piece to claim, 1 pieces, 2 elements of a vector, 3 elements of a piece, 4 slots,
# 5 the first pair's slot, 6 pairs, 7 rows that each piece writes. Addresses: 8 the pairs [slots, 2, elements], 9 the
# gradient, 10 the coefficients, 11 the results float64 [pieces, rows, 2], 12 and 13 further vectors.
_HEAD = '''"""{title}"""

from gradus.backends.cpu.intrinsics import *


@kernel
def run(pointer):
    job = view(pointer, 14)
    pieces, size, length, places, first, kept, rows = job[1], job[2], job[3], job[4], job[5], job[6], job[7]
    piece = atomic_next(pointer)
    while piece < pieces:
        begin = piece * length
        count = min(length, size - begin)
        gradient = view(pointer_{real}(job[9], begin), count)
        found = view(pointer_float64(job[11], 2 * rows * piece), (rows, 2))
{before}
        for pair in range(kept):
            place = (first + pair) % places
            step = view(pointer_{real}(job[8], 2 * place * size + begin), count)
            change = view(pointer_{real}(job[8], (2 * place + 1) * size + begin), count)
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
direction, old = view(pointer_{real}(job[12], begin), count), view(pointer_{real}(job[13], begin), count)
t = pointer_{real}(job[10], 0)[0]""",
        f"{_WRITE}\n{_PRODUCTS}",
    ),
    "combine": _Pass(
        "A linear combination of the gradient and the pairs, piece by piece.",
        """\
direction, numbers = view(pointer_{real}(job[12], begin), count), view(pointer_{real}(job[10], 0), 2 * kept + 1)
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
    return compiled(_HEAD.format(title=title, real=real, before=before, each=each, after=after))


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
        addresses = [self._rows.data_ptr(), gradient.data_ptr(), numbers.ctypes.data, found.ctypes.data]
        addresses += [vector.data_ptr() for vector in vectors]
        job = np.array([0, self._pieces, self._size, self._length, len(self), first, kept, rows, *addresses], dtype=np.int64)
        threads = min(torch.get_num_threads(), self._pieces, 1 + kept * self._size // _PER_THREAD)
        parallel_run(_kernel(name, self._real), job.ctypes.data, threads)
        return found


def _summed(found: np.ndarray) -> np.ndarray:
    """Results summed over the pieces."""
    together: np.ndarray = found.sum(axis=0)
    return together
