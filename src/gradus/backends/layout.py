"""What tensors' elements are, where they are in memory, and how they are cut into chunks of work."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["aligned", "chunked", "has_memory", "is_dense", "overlapping", "paired", "real"]


def real(tensor: Tensor) -> Tensor:
    """Complex numbers as pairs of real ones; to be read, for of those yet to be conjugated it is a copy."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def paired(values: Tensor, like: Tensor) -> Tensor:
    """The numbers of a tensor's kind that `real` would give these for."""
    return torch.complex(*values.unbind(-1)) if like.is_complex() else values


def has_memory(tensor: Tensor) -> bool:
    """Whether a tensor's elements lie in memory, in strides; stand-ins' (meta, fake) don't."""
    return type(tensor) in (Tensor, torch.nn.Parameter) and tensor.layout is torch.strided and not tensor.is_meta


def is_dense(tensor: Tensor) -> bool:
    """Whether a tensor's elements lie side by side, in whatever order of its dimensions."""
    return tensor.is_contiguous() or torch.empty_like(tensor, device="meta").stride() == tensor.stride()


@torch.no_grad()
def aligned(grad: Tensor, param: Tensor) -> Tensor:
    """A gradient whose elements lie as its parameter's do, as they are; copied where they don't."""
    same = grad.stride() == param.stride() or (grad.is_contiguous() and param.is_contiguous())
    # Elements that are to be negated, or zeros that aren't there, become so by being copied.
    there = not grad.is_neg() and not grad._is_zerotensor()
    return grad if same and there else torch.empty_like(param, dtype=grad.dtype).copy_(grad)


def overlapping(tensors: Sequence[Tensor]) -> set[int]:
    """The places of those that share memory with one before them, in the order of their addresses."""
    spans = sorted((tensor.data_ptr(), place) for place, tensor in enumerate(tensors) if tensor.numel())
    found, end = set[int](), 0
    for begin, place in spans:
        tensor = tensors[place]
        if begin < end:
            found.add(place)
        reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)) + 1
        end = max(end, begin + reach * tensor.element_size())
    return found


def chunked(sizes: Sequence[int], piece: int) -> np.ndarray:
    """Tensors cut into chunks of at most n elements, int64 [chunks, 3]: (tensor, first element, how many)."""
    pieces = [
        (tensor, begin, min(piece, size - begin)) for tensor, size in enumerate(sizes) for begin in range(0, size, piece)
    ]
    return np.array(pieces, dtype=np.int64).reshape(len(pieces), 3)
