"""One split of a task's data, whatever it is kept as."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from gradus.errors import InvalidInput
from gradus.tasks.batches import kind_of
from gradus.tasks.data.base import Data
from gradus.tasks.data.datasets import DatasetData
from gradus.tasks.data.functions import FunctionData
from gradus.tasks.data.tensors import TensorData, tensor_data, tensors_in

__all__ = ["Data", "DatasetData", "FunctionData", "TensorData", "data_of"]


def data_of(given: Any, name: str, *, collate: Callable[[list[Any]], Any] | None = None, workers: int = 0) -> Data:
    """The data of what a user gives as a split.

    Args:
        given: tensors or NumPy arrays of one length, in a tuple or a dict; a map-style Dataset; or a function
            `(seed, epoch) -> batches`.
        name: what error messages call it.
        collate: of a Dataset, as `DatasetData` takes it.
        workers: likewise.

    Raises:
        InvalidInput: it is none of these, is empty, or can't be gone through twice.
    """
    if type(given) is TensorDataset and collate is None:
        given = given.tensors  # it does nothing but look into them
    if (parts := tensors_in(given)) is not None:
        return tensor_data(parts, name)
    if isinstance(given, type):
        raise InvalidInput(f"{name} is a class, {given.__name__}; give an object of it")
    _refuse_once_only(given, name)
    if hasattr(given, "__getitem__") and not isinstance(given, (str, bytes, Tensor, np.ndarray, Mapping, tuple)):
        return DatasetData(_with_length(given, name), name, collate=collate, workers=workers)
    if callable(given):
        return FunctionData(_of_seed_and_epoch(given, name), name)
    raise InvalidInput(
        f"{name} must be (inputs, targets), tensors or NumPy arrays [n, ...]; a Dataset with __len__ and __getitem__; or a "
        f"function (seed, epoch) -> batches; got {kind_of(given)}"
    )


def _refuse_once_only(given: Any, name: str) -> None:
    """Refuse what can't be gone through again from where a training was cut short, with what to give instead."""
    if isinstance(given, DataLoader):
        raise InvalidInput(
            f"{name} is a DataLoader, whose order and draws can't be repeated; give its Dataset instead, and to the task "
            f"batch_size=, workers= and collate=: a loader is made of them"
        )
    if isinstance(given, IterableDataset):
        raise InvalidInput(
            f"{name} is an IterableDataset, which can't go on from where a training was cut short; give a function "
            f"(seed, epoch) -> batches, such as lambda seed, epoch: DataLoader(Mine(seed, epoch), batch_size=32)"
        )
    if hasattr(given, "__next__"):
        raise InvalidInput(
            f"{name} is a {type(given).__name__}, which can be gone through only once; give the function that makes it, "
            f"(seed, epoch) -> batches, called anew for each epoch"
        )


def _with_length(given: Any, name: str) -> Any:
    try:
        count = len(given)
    except (TypeError, NotImplementedError):
        raise InvalidInput(
            f"{name} is a {type(given).__name__} without __len__, so its epochs have no end; give it one"
        ) from None
    if not count:
        raise InvalidInput(f"{name} needs at least one example; got a {type(given).__name__} of none")
    return given


def _of_seed_and_epoch(given: Callable[..., Any], name: str) -> Callable[..., Any]:
    try:
        inspect.signature(given).bind(0, 0)
    except ValueError:  # of some functions in C nobody knows what they take
        pass
    except TypeError:
        raise InvalidInput(f"{name} is a function, which must take (seed, epoch); it takes other arguments") from None
    return given
