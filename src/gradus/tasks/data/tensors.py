"""Data in memory: tensors of one length, kept on the device."""

from collections.abc import Callable, Generator, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradus.errors import InvalidInput
from gradus.tasks.batches import mapped
from gradus.tasks.data.base import CPU, Data, order_of
from gradus.tasks.hashing import digest_of

__all__ = ["TensorData", "tensor_data", "tensors_in"]


class TensorData(Data):
    """Tensors of one length: they are kept on the device, and a batch is a look into them.

    Args:
        parts: the tensors, in a tuple or by name; a batch is the same of theirs.
        name: what error messages call it.
    """

    def __init__(self, parts: tuple[Tensor, ...] | dict[str, Tensor], name: str) -> None:
        self.parts = parts
        super().__init__(name, len(next(iter(self._tensors()))))

    def _tensors(self) -> Iterable[Tensor]:
        return self.parts.values() if isinstance(self.parts, dict) else self.parts

    def _each(self, change: Callable[[Tensor], Tensor]) -> Any:
        if isinstance(self.parts, dict):
            return {name: change(part) for name, part in self.parts.items()}
        return tuple(change(part) for part in self.parts)

    def batches(
        self, seed: int, epoch: int, batch_size: int, *, start: int = 0, device: torch.device = CPU, shuffle: bool = True
    ) -> Generator[Any, None, None]:
        here = self.to(device)
        assert here.examples is not None
        if shuffle:
            order = order_of(here.examples, seed, epoch, shuffle).to(device)
            for indices in order.split(batch_size)[start:]:
                yield here._each(lambda part, chosen=indices: part[chosen])  # type: ignore[misc]
        else:
            for first in range(start * batch_size, here.examples, batch_size):
                yield here._each(lambda part, place=slice(first, first + batch_size): part[place])  # type: ignore[misc]

    def batches_per_epoch(self, batch_size: int) -> int:
        assert self.examples is not None
        return -(-self.examples // batch_size)

    @property
    def tokens_per_example(self) -> int | None:
        last = list(self._tensors())[-1]
        return last.shape[1] if last.dtype == torch.int64 and last.ndim == 2 else None

    def to(self, device: torch.device) -> "TensorData":
        if all(part.device == device for part in self._tensors()):
            return self
        return TensorData(self._each(lambda part: part.to(device)), self.name)

    def chosen(self, indices: Tensor) -> "TensorData":
        return TensorData(self._each(lambda part: part[indices.to(part.device)]), self.name)

    def digest(self) -> str:
        """See `Data.digest`: of all of it."""
        return digest_of([self.parts])


def tensors_in(given: Any) -> tuple[Any, ...] | dict[str, Any] | None:
    """What is given as tensors or arrays; None where it is something else. A long list of tensors is one of items.

    Args:
        given: anything.
    """
    if isinstance(given, dict):
        return given if given and all(isinstance(one, (Tensor, np.ndarray)) for one in given.values()) else None
    if not isinstance(given, (tuple, list)) or not all(isinstance(one, (Tensor, np.ndarray)) for one in given):
        return None
    return tuple(given) if len(given) == 2 or (given and isinstance(given, tuple)) else None


def tensor_data(parts: tuple[Any, ...] | dict[str, Any], name: str) -> TensorData:
    """The data of tensors or arrays.

    Args:
        parts: in a tuple, or by name.
        name: what error messages call it.

    Raises:
        InvalidInput: they aren't of one length, have no example, or aren't numbers.
    """
    tensors = mapped(parts, lambda part: _tensor(part, name))
    lengths = [len(part) if part.ndim else 0 for part in (tensors.values() if isinstance(tensors, dict) else tensors)]
    if len(set(lengths)) > 1 or not lengths[0]:
        what = "as many inputs as targets" if len(lengths) == 2 else "tensors of one length"
        raise InvalidInput(f"{name} needs {what}, at least one example; got {' and '.join(map(str, lengths))}")
    return TensorData(tensors, name)


def _tensor(part: Any, name: str) -> Tensor:
    if isinstance(part, Tensor):
        return part.detach()
    if part.dtype.kind not in "biufc":
        raise InvalidInput(f"{name} must be arrays of numbers; got one of dtype {part.dtype}")
    native = np.ascontiguousarray(part.astype(part.dtype.newbyteorder("="), copy=False))
    try:
        return torch.tensor(native)  # a copy: an array may be read-only, or change under a training
    except TypeError as error:
        raise InvalidInput(f"{name}: torch has no tensors of dtype {part.dtype} ({error}); convert it with astype") from None
