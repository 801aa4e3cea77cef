"""Batches of any kind: tensors, arrays, numbers and text, in tuples, lists and mappings of these."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradus.errors import InvalidInput

__all__ = ["converted", "examples_in", "kind_of", "mapped", "moved"]


def mapped(batch: Any, change: Callable[[Any], Any]) -> Any:
    """The batch with each of its leaves changed; tuples, lists and dicts stay what they are.

    Args:
        batch: any batch.
        change: takes a tensor, an array, or whatever else is no tuple, list or mapping, or moves by itself.
    """
    if hasattr(batch, "to"):  # tensors, packed sequences, transformers' batches
        return change(batch)
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):  # a named tuple
        return type(batch)(*(mapped(one, change) for one in batch))
    if isinstance(batch, (tuple, list)):
        return type(batch)(mapped(one, change) for one in batch)
    if isinstance(batch, Mapping):
        return {name: mapped(one, change) for name, one in batch.items()}
    return change(batch)


def moved(batch: Any, device: torch.device) -> Any:
    """The batch on a device, its NumPy arrays as tensors; whatever has no `to` stays where it is.

    Args:
        batch: any batch.
        device: where.
    """

    def move(leaf: Any) -> Any:
        if isinstance(leaf, np.ndarray) and leaf.dtype.kind in "biufc":
            leaf = torch.as_tensor(leaf if leaf.flags.writeable else leaf.copy())
        return leaf.to(device) if hasattr(leaf, "to") else leaf

    return mapped(batch, move)


def converted(batch: Any, dtype: torch.dtype) -> Any:
    """The batch with its real numbers in one precision: NumPy's are double, and a network's parameters seldom.

    Args:
        batch: any batch.
        dtype: a floating type.
    """
    if isinstance(batch, Tensor):  # nearly always
        return batch.to(dtype) if batch.is_floating_point() else batch
    if isinstance(batch, Mapping) and hasattr(batch, "to"):  # transformers' batches: their values are converted in place
        for name, value in batch.items():
            batch[name] = converted(value, dtype)  # type: ignore[index]
        return batch
    return mapped(batch, lambda leaf: converted(leaf, dtype) if isinstance(leaf, Tensor) else leaf)


def examples_in(batch: Any) -> int:
    """How many examples a batch has: the length of the first tensor, array or list of single things in it.

    Args:
        batch: any batch.

    Raises:
        InvalidInput: there is none.

    >>> examples_in({"texts": ["a", "b", "c"], "labels": torch.zeros(3)})
    3
    """
    count = _length(batch)
    if count is None:
        raise InvalidInput(
            f"a batch must hold a tensor, an array or a list, whose length is its number of examples; got {kind_of(batch)}"
        )
    return count


def _length(batch: Any) -> int | None:
    if isinstance(batch, (Tensor, np.ndarray)):
        return len(batch) if batch.ndim else None
    if isinstance(batch, Mapping):
        batch = tuple(batch.values())
    if isinstance(batch, list) and batch and not isinstance(batch[0], (Tensor, np.ndarray, Mapping, tuple, list)):
        return len(batch)
    if isinstance(batch, (tuple, list)):
        return next((count for one in batch if (count := _length(one)) is not None), None)
    return len(batch) if hasattr(batch, "to") and hasattr(batch, "__len__") else None


def kind_of(batch: Any) -> str:
    """What a batch is made of, whatever the number of its examples; batches of one training are of one kind.

    Args:
        batch: any batch.

    >>> kind_of((torch.zeros(8, 3), torch.zeros(8, dtype=torch.int64)))
    '(float32 [*, 3], int64 [*])'
    """
    if isinstance(batch, Mapping):
        return "{" + ", ".join(f"{name!r}: {kind_of(one)}" for name, one in batch.items()) + "}"
    if isinstance(batch, (Tensor, np.ndarray)):
        sizes = ", ".join(["*", *map(str, batch.shape[1:])][: batch.ndim])
        return f"{str(batch.dtype).removeprefix('torch.')} [{sizes}]"
    if isinstance(batch, (tuple, list)):
        kinds = [kind_of(one) for one in batch]
        if isinstance(batch, list) and len(kinds) > 2 and len(set(kinds)) == 1:  # of texts, say
            return f"[{kinds[0]}, ...]"
        return f"({', '.join(kinds)})"
    return type(batch).__name__
