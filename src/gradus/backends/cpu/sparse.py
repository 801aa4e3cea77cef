"""Sparse gradients: the rows that they touch, found by address, so that nothing is gathered or scattered."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["Touched", "touched"]


class Touched:
    """The touched rows of some parameters, each a piece of its own.

    Args:
        addresses: where each row of the parameter, the gradient and each slot begins: one column a row.
        owners: the number of the parameter that each row is of.
        pieces: (row, 0, elements) of each row.
        values: the gradients' values, which must outlive their addresses.
    """

    def __init__(self, addresses: np.ndarray, owners: np.ndarray, pieces: np.ndarray, values: list[Tensor]) -> None:
        self.addresses, self.owners, self.pieces, self.values = addresses, owners, pieces, values


@torch.no_grad()
def touched(params: Sequence[Tensor], grads: Sequence[Tensor], slots: Sequence[Sequence[Tensor]]) -> Touched:
    """The rows that sparse gradients touch.

    Args:
        params: contiguous parameters.
        grads: a sparse gradient for each; entries for the same row are added up.
        slots: the tensors of each slot, laid out like the parameters.
    """
    columns, owners, widths, values = [], [], [], []
    for index, (param, grad) in enumerate(zip(params, grads, strict=True)):
        entries = grad.coalesce()
        value = entries.values().contiguous()
        rows, width = _linear(entries), value[0].numel() if len(value) else 0
        first = rows * width
        columns.append(
            np.stack(
                [
                    param.data_ptr() + first * param.element_size(),
                    value.data_ptr() + np.arange(len(rows)) * width * value.element_size(),
                    *(slot[index].data_ptr() + first * slot[index].element_size() for slot in slots),
                ]
            )
        )
        owners.append(np.full(len(rows), index))
        widths.append(np.full(len(rows), width))
        values.append(value)
    which, counts = np.concatenate(owners), np.concatenate(widths)
    pieces = np.stack([np.arange(len(which)), np.zeros_like(which), counts], axis=1)
    return Touched(np.ascontiguousarray(np.concatenate(columns, axis=1)), which, pieces, values)


def _linear(entries: Tensor) -> np.ndarray:
    """The number of each entry's row, where the sparse dimensions are counted as one."""
    rows = np.zeros(entries.indices().shape[1], dtype=np.int64)
    for size, index in zip(entries.shape, entries.indices().numpy(), strict=False):
        rows = rows * size + index
    return rows
