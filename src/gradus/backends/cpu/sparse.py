"""Sparse gradients: the rows that they touch, found by address, so that nothing is gathered, sorted or scattered."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradus.backends.cpu.arguments import Arguments
from gradus.backends.cpu.kernels import compiled, memory
from gradus.backends.cpu.threads import parallel_run
from gradus.backends.kernel_batch import DTYPES

__all__ = ["Touched", "TouchedRows"]

SPARSE = Arguments(
    next="the next work item (a run of columns), which threads claim",
    items="how many work items",
    entries="how many entries the gradient has",
    width="how many elements an entry has",
    stamp="the least stamp of this call",
    rows_at="int64 [entries]: the row of each entry",
    stamps_at="int64 [rows]: when each row was last touched: stamp + its number among the distinct rows",
    numbers_at="int64 [entries]: the number of each entry's row among the distinct rows",
    distinct_at="int64 [entries]: the distinct rows",
    values_at="dtype [entries, width]: the gradient's values",
    totals_at="dtype [distinct, width]: their sums over each row",
    distinct="how many distinct rows there are, which the first kernel writes",
)
_NUMBER = f'''"""Number the distinct rows among the entries of a sparse gradient, in the order in which they first come."""

from gradus.backends.cpu.intrinsics import *


@kernel
def run(pointer):
{SPARSE.unpacked()}
    rows, numbers = view(pointer_int64(rows_at, 0), entries), view(pointer_int64(numbers_at, 0), entries)
    stamps, found, count = pointer_int64(stamps_at, 0), view(pointer_int64(distinct_at, 0), entries), 0
    for entry in range(entries):
        row = rows[entry]
        if stamps[row] < stamp:
            stamps[row] = stamp + count
            found[count] = row
            count += 1
        numbers[entry] = stamps[row] - stamp
    arguments[{SPARSE.place("distinct")}] = count
'''
_SUM = '''"""Add up the entries of a sparse gradient that are for the same row."""

from gradus.backends.cpu.intrinsics import *


@kernel
def run(pointer):
{arguments}
    numbers = view(pointer_int64(numbers_at, 0), entries)
    item = atomic_next(pointer)
    while item < items:
        first, last, count = item * width // items, (item + 1) * width // items, 0
        for entry in range(entries):
            value = view(pointer_{memory}(values_at, entry * width + first), last - first)
            total = view(pointer_{memory}(totals_at, numbers[entry] * width + first), last - first)
            if numbers[entry] == count:
                count += 1
                for i in range(last - first):
                    total[i] = value[i]
            else:
                for i in range(last - first):
                    total[i] += value[i]
        item = atomic_next(pointer)
'''
_ITEM = 1 << 16  # elements to add up that are worth a thread
_SCANNED = 32  # rows that are looked at in the time that it takes to sort one


class Touched(NamedTuple):
    """The touched rows of some parameters, each a chunk of its own.

    Args:
        addresses: int64 [2 + slots, rows], where each row of the parameter, the gradient and each slot begins.
        owners: int64 [rows], the number of each row's parameter.
        chunks: int64 [rows, 3], (row, 0, elements) of each row.
        values: the gradients' values, which must outlive their addresses.
    """

    addresses: np.ndarray
    owners: np.ndarray
    chunks: np.ndarray
    values: list[Tensor]


class TouchedRows:
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
    def find(self, grads: Sequence[Tensor]) -> Touched:
        """The rows that a sparse gradient for each parameter touches, in order; entries for the same row are added up."""
        found = [self._distinct(index, grad) for index, grad in enumerate(grads)]
        ends = np.cumsum([len(rows) for rows, *_ in found])
        total = int(ends[-1])
        addresses = np.empty((2 + len(self._slots), total), dtype=np.int64)
        chunks, owners = np.zeros((total, 3), dtype=np.int64), np.empty(total, dtype=np.int64)
        chunks[:, 0] = np.arange(total)
        for index, (end, (rows, entries, values)) in enumerate(zip(ends, found, strict=True)):
            here, width = slice(end - len(rows), end), math.prod(values.shape[1:])
            owners[here], chunks[here, 2] = index, width
            tensors = [self._params[index], values, *(slot[index] for slot in self._slots)]
            for column, tensor, numbers in zip(addresses, tensors, [rows, entries, *[rows] * len(self._slots)], strict=True):
                np.multiply(numbers, width * tensor.element_size(), out=column[here])
                column[here] += tensor.data_ptr()
        return Touched(addresses, owners, chunks, [values for *_, values in found])

    def _distinct(self, index: int, grad: Tensor) -> tuple[np.ndarray, np.ndarray, Tensor]:
        """Distinct rows, in order; the number of the value for each; and the values."""
        kind = memory(DTYPES[grad.dtype])
        if grad.is_coalesced() or kind == "uint16":  # what half precision is added up in is for torch to say
            entries = grad.coalesce()
            rows = _linear(entries, entries.indices())
            return rows, np.arange(len(rows)), entries.values().contiguous()
        rows, value = _linear(grad, grad._indices()), grad._values().contiguous()
        distinct, numbers = np.empty_like(rows), np.empty_like(rows)
        stamps = self._stamps_of(index, math.prod(grad.shape[: grad.sparse_dim()]))
        width = math.prod(value.shape[1:])
        arguments = SPARSE.packed(
            items=max(1, min(torch.get_num_threads(), value.numel() // _ITEM, width)),
            entries=len(rows),
            width=width,
            stamp=self._stamp,
            rows_at=rows,
            stamps_at=stamps,
            numbers_at=numbers,
            distinct_at=distinct,
            values_at=value.data_ptr(),
        )
        compiled(_NUMBER)(arguments.ctypes.data)
        count = int(arguments[SPARSE.place("distinct")])
        # In the order of the parameter's memory, which is read and written more often than the gradient's.
        many = count * _SCANNED > len(stamps)
        ordered = np.flatnonzero(stamps >= self._stamp) if many else np.sort(distinct[:count])
        numbers_of = stamps[ordered] - self._stamp
        self._stamp += count
        if count == len(rows):
            return ordered, numbers_of, value
        totals = value.new_empty((count, *value.shape[1:]))
        arguments[SPARSE.place("totals_at")] = totals.data_ptr()
        kernel = compiled(_SUM.format(arguments=SPARSE.unpacked(), memory=kind))
        parallel_run(kernel, arguments.ctypes.data, int(arguments[SPARSE.place("items")]))
        return ordered, numbers_of, totals

    def _stamps_of(self, index: int, rows: int) -> np.ndarray:
        """When each row of a parameter was last touched, int64 [rows]."""
        if len(self._stamps.get(index, ())) != rows:
            self._stamps[index] = np.zeros(rows, dtype=np.int64)
        return self._stamps[index]


def _linear(grad: Tensor, indices: Tensor) -> np.ndarray:
    """The number of each entry's row, where the sparse dimensions are counted as one."""
    rows = np.zeros(indices.shape[1], dtype=np.int64)
    for size, index in zip(grad.shape, indices.numpy(), strict=False):
        rows = rows * size + index
    return rows
