"""Sparse gradients: the rows that they touch, found by address, so that nothing is gathered, sorted or scattered."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradus.backends.cpu.kernels import ELEMENTS, compiled
from gradus.backends.cpu.team import run_together

__all__ = ["Rows", "Touched"]

# A job is numbers and addresses: the next share of columns to claim, how many shares, entries, elements of each, and the
# stamp; then where there lie the entries' rows, each row's last stamp, the entries' numbers among the distinct rows, and
# these; and the values, and their sums; last, how many distinct rows there are.
_NUMBER = '''"""Number the distinct rows among the entries of a sparse gradient, in the order in which they first come."""

from gradus.backends.cpu.language import *


@kernel
def run(pointer):
    job = elements(pointer, 12)
    entries, stamp, count = job[2], job[4], 0
    rows, numbers = elements(at_int64(job[5], 0), entries), elements(at_int64(job[7], 0), entries)
    stamps, distinct = at_int64(job[6], 0), elements(at_int64(job[8], 0), entries)
    for entry in range(entries):
        row = rows[entry]
        if stamps[row] < stamp:
            stamps[row] = stamp + count
            distinct[count] = row
            count += 1
        numbers[entry] = stamps[row] - stamp
    job[11] = count
'''
_SUM = '''"""Add up the entries of a sparse gradient that are for the same row."""

from gradus.backends.cpu.language import *


@kernel
def run(pointer):
    job = elements(pointer, 12)
    shares, entries, width = job[1], job[2], job[3]
    numbers = elements(at_int64(job[7], 0), entries)
    share = claimed(pointer)
    while share < shares:
        first, last, count = share * width // shares, (share + 1) * width // shares, 0
        for entry in range(entries):
            value = elements(at_{memory}(job[9], entry * width + first), last - first)
            total = elements(at_{memory}(job[10], numbers[entry] * width + first), last - first)
            if numbers[entry] == count:
                count += 1
                for i in range(last - first):
                    total[i] = value[i]
            else:
                for i in range(last - first):
                    total[i] += value[i]
        share = claimed(pointer)
'''
_SHARE = 1 << 16  # elements to add up that are worth a thread
_SCANNED = 32  # rows that are looked at in the time that it takes to sort one


class Touched(NamedTuple):
    """The touched rows of some parameters, each a piece of its own.

    Args:
        addresses: where each row of the parameter, the gradient and each slot begins: one column a row.
        owners: the number of the parameter that each row is of.
        pieces: (row, 0, elements) of each row.
        values: the gradients' values, which must outlive their addresses.
    """

    addresses: np.ndarray
    owners: np.ndarray
    pieces: np.ndarray
    values: list[Tensor]


class Rows:
    """Finds the rows that sparse gradients touch.

    Args:
        params: contiguous parameters.
        slots: the tensors of each slot, laid out like the parameters.
    """

    def __init__(self, params: Sequence[Tensor], slots: Sequence[Sequence[Tensor]]) -> None:
        self._params, self._slots = params, slots
        self._stamps: dict[int, np.ndarray] = {}  # of each row of a parameter, when it was last touched
        self._stamp = 1

    @torch.no_grad()
    def touched(self, grads: Sequence[Tensor]) -> Touched:
        """The rows that a sparse gradient for each parameter touches, in order; entries for the same row are added up."""
        found = [self._distinct(index, grad) for index, grad in enumerate(grads)]
        ends = np.cumsum([len(rows) for rows, *_ in found])
        total = int(ends[-1])
        addresses = np.empty((2 + len(self._slots), total), dtype=np.int64)
        pieces, owners = np.zeros((total, 3), dtype=np.int64), np.empty(total, dtype=np.int64)
        pieces[:, 0] = np.arange(total)
        for index, (end, (rows, entries, values)) in enumerate(zip(ends, found, strict=True)):
            here, width = slice(end - len(rows), end), math.prod(values.shape[1:])
            owners[here], pieces[here, 2] = index, width
            tensors = [self._params[index], values, *(slot[index] for slot in self._slots)]
            for column, tensor, numbers in zip(addresses, tensors, [rows, entries, *[rows] * len(self._slots)], strict=True):
                np.multiply(numbers, width * tensor.element_size(), out=column[here])
                column[here] += tensor.data_ptr()
        return Touched(addresses, owners, pieces, [values for *_, values in found])

    def _distinct(self, index: int, grad: Tensor) -> tuple[np.ndarray, np.ndarray, Tensor]:
        """Distinct rows, in order; the number of the value for each; and the values."""
        memory = ELEMENTS[str(grad.dtype).removeprefix("torch.")].memory
        if grad.is_coalesced() or memory == "uint16":  # what half precision is added up in is for torch to say
            entries = grad.coalesce()
            rows = _linear(entries, entries.indices())
            return rows, np.arange(len(rows)), entries.values().contiguous()
        rows, value = _linear(grad, grad._indices()), grad._values().contiguous()
        distinct, numbers = np.empty_like(rows), np.empty_like(rows)
        job, stamps = self._job(index, grad, rows, numbers, distinct, value)
        compiled(_NUMBER)(job.ctypes.data)
        count = int(job[11])
        # In the order of the parameter's memory, which is read and written more often than the gradient's.
        many = count * _SCANNED > len(stamps)
        ordered = np.flatnonzero(stamps >= self._stamp) if many else np.sort(distinct[:count])
        numbers_of = stamps[ordered] - self._stamp
        self._stamp += count
        if count == len(rows):
            return ordered, numbers_of, value
        totals = value.new_empty((count, *value.shape[1:]))
        job[10] = totals.data_ptr()
        job[1] = max(1, min(torch.get_num_threads(), value.numel() // _SHARE, int(job[3])))
        run_together(compiled(_SUM.format(memory=memory)), job.ctypes.data, int(job[1]))
        return ordered, numbers_of, totals

    def _job(self, index: int, grad: Tensor, *arrays: Any) -> tuple[np.ndarray, np.ndarray]:
        """The kernels' job, and the stamps of the parameter's rows."""
        rows, numbers, distinct, value = arrays
        count = math.prod(grad.shape[: grad.sparse_dim()])
        if len(self._stamps.get(index, ())) != count:
            self._stamps[index] = np.zeros(count, dtype=np.int64)
        places = [array.ctypes.data for array in (rows, self._stamps[index], numbers, distinct)]
        width = math.prod(value.shape[1:])
        job = np.array([0, 1, len(rows), width, self._stamp, *places, value.data_ptr(), 0, 0], dtype=np.int64)
        return job, self._stamps[index]


def _linear(grad: Tensor, indices: Tensor) -> np.ndarray:
    """The number of each entry's row, where the sparse dimensions are counted as one."""
    rows = np.zeros(indices.shape[1], dtype=np.int64)
    for size, index in zip(grad.shape, indices.numpy(), strict=False):
        rows = rows * size + index
    return rows
