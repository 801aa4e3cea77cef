"""The pairs of L-BFGS, piece by piece: what is done with a piece of a vector is done while it lies in a core's cache."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from gradus.backends.cpu.kernels import Kernel, compiled
from gradus.backends.cpu.team import run_together
from gradus.backends.pairs import Line, Pairs

__all__ = ["Piecewise"]

# A job is numbers and addresses: the next piece to claim, how many pieces, elements of a vector and of a piece, places, the
# place of the first pair and how many pairs; then where there lie the pairs, the gradient, the numbers that go in, those
# that come out of each piece, and other vectors.
_HEAD = '''"""{title}"""

from gradus.backends.cpu.language import *


@kernel
def run(pointer):
    job = elements(pointer, 15)
    pieces, size, length, places, first, kept = job[1], job[2], job[3], job[4], job[5], job[6]
    piece = claimed(pointer)
    while piece < pieces:
        begin = piece * length
        count = min(length, size - begin)
        gradient = elements(at_{real}(job[8], begin), count)
{body}
        piece = claimed(pointer)
'''
_PAIR = """\
            place = (first + pair) % places
            step = elements(at_{real}(job[7], 2 * place * size + begin), count)
            change = elements(at_{real}(job[7], (2 * place + 1) * size + begin), count)"""
_WRITE = """\
        direction, old = elements(at_{real}(job[11], begin), count), elements(at_{real}(job[12], begin), count)
        step, change = elements(at_{real}(job[13], begin), count), elements(at_{real}(job[14], begin), count)
        t = at_{real}(job[9], 0)[0]
        for i in range(count):
            step[i] = t * direction[i]
            change[i] = gradient[i] - old[i]
        found = elements(at_float64(job[10], 2 * piece), 2)
        found[0], found[1] = dots(change, step, change)"""
_PRODUCTS = """\
        found = elements(at_float64(job[10], 2 * piece * kept), (kept, 2))
        for pair in range(kept):
{pair}
            found[pair, 0], found[pair, 1] = dots(gradient, step, change)"""
_LINE = """\
        numbers = elements(at_{real}(job[9], 0), 2 * kept + 1)
        direction = elements(at_{real}(job[11], begin), count)
        scale = numbers[2 * kept]
        for i in range(count):
            direction[i] = scale * gradient[i]
        for pair in range(kept):
{pair}
            a, b = numbers[2 * pair], numbers[2 * pair + 1]
            for i in range(count):
                direction[i] += a * step[i] + b * change[i]
        found = elements(at_float64(job[10], 2 * piece), 2)
        found[0] = dots(gradient, direction, direction)[0]
        found[1] = greatest(direction)"""
_KERNELS = {
    "write": ("A step and a change of gradient, and their products, piece by piece.", _WRITE),
    "products": ("The products of pairs of vectors with a gradient, piece by piece.", _PRODUCTS),
    "line": ("A gradient and pairs of vectors added up, piece by piece.", _LINE),
}
_PIECE = 1 << 13  # elements of a piece, at most
_SHARE = 1 << 14  # elements to read that are worth a thread


@cache
def _kernel(name: str, real: str) -> Kernel:
    title, body = _KERNELS[name]
    return compiled(_HEAD.format(title=title, real=real, body=body.format(real=real, pair=_PAIR.format(real=real))))


class Piecewise(Pairs):
    """Pairs in single or double precision on the CPU. All sums are in double precision."""

    def __init__(self, like: Tensor) -> None:
        super().__init__(like)
        self._size, self._real = like.numel(), str(like.dtype).removeprefix("torch.")
        # Pieces of one length in even number: two threads have as much to do, and any number of them the same sums.
        even = 2 * -(-self._size // (2 * _PIECE))
        self._length = 16 * -(-self._size // (16 * even)) if even else 1
        self._pieces = -(-self._size // self._length)

    def write(self, place: int, direction: Tensor, t: float, gradient: Tensor, old: Tensor) -> tuple[float, float]:
        numbers = np.array([t], dtype=self._real)
        found = self._run("write", place, 1, gradient, numbers, 2, direction, old, *self[place])
        curvature, square = found.sum(axis=0).tolist()
        return curvature, square

    def products(self, first: int, kept: int, vector: Tensor) -> np.ndarray:
        found = self._run("products", first, kept, vector, np.empty(0), 2 * kept)
        products: np.ndarray = found.sum(axis=0).reshape(kept, 2)
        return products

    def line(self, first: int, coefficients: np.ndarray, scale: float, gradient: Tensor, out: Tensor) -> Line:
        numbers = np.append(coefficients, scale).astype(self._real)
        found = self._run("line", first, len(coefficients), gradient, numbers, 2, out)
        return Line(out, float(found[:, 0].sum()), float(found[:, 1].max(initial=0.0)))

    def _run(
        self, name: str, first: int, kept: int, gradient: Tensor, numbers: np.ndarray, sums: int, *vectors: Tensor
    ) -> np.ndarray:
        """Run a kernel over pairs from a place on, and give what it finds of each piece."""
        found = np.empty((self._pieces, sums))
        addresses = [self._rows.data_ptr(), gradient.data_ptr(), numbers.ctypes.data, found.ctypes.data]
        addresses += [vector.data_ptr() for vector in vectors]
        where = (0, self._pieces, self._size, self._length, len(self), first, kept)
        job = np.array([*where, *addresses], dtype=np.int64)
        threads = min(torch.get_num_threads(), self._pieces, 1 + kept * self._size // _SHARE)
        run_together(_kernel(name, self._real), job.ctypes.data, threads)
        return found
