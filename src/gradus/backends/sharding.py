"""Tensors that are sharded among processes (DTensor): the local shard, and sums over all shards."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["all_reduced", "copy_shard", "full_tensor", "is_sharded", "local", "placement", "shard_of", "summed"]


def is_sharded(tensor: Tensor) -> bool:
    """Whether a tensor is a DTensor; asked without importing it, which takes long."""
    return type(tensor).__name__ == "DTensor"


def local(tensor: Any) -> Tensor:
    """The local shard of a tensor; the tensor itself if it isn't sharded."""
    part: Tensor = tensor._local_tensor if is_sharded(tensor) else tensor
    return part


def placement(tensor: Any) -> Any:
    """Over which processes a tensor is sharded, and how; None if it isn't."""
    return (tensor.device_mesh, tuple(tensor.placements)) if is_sharded(tensor) else None


def full_tensor(tensor: Any) -> Tensor:
    """A tensor with the parts of all processes, which must all call this; one that isn't sharded is what it is."""
    whole: Tensor = tensor.detach().full_tensor() if is_sharded(tensor) else tensor
    return whole


def copy_shard(shared: Any, whole: Tensor) -> None:
    """Write a whole tensor into one that may be sharded, of which each process keeps its part."""
    local(shared).copy_(shard_of(shared, whole))


def shard_of(shared: Any, whole: Tensor) -> Tensor:
    """The local shard of a full tensor, sharded as another one is; all of it if that one isn't sharded."""
    if not is_sharded(shared):
        return whole
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = shared.device_mesh, shared.placements
    return local(distribute_tensor(whole.detach(), mesh, placements, src_data_rank=None))  # no process sends


def summed(parts: Iterable[tuple[Tensor, float]]) -> float:
    """The sum of a number of each tensor's part, over all processes that hold parts."""
    listed = list(parts)
    numbers = torch.tensor([number for _, number in listed], dtype=torch.float64)
    return float(all_reduced([tensor for tensor, _ in listed], numbers[:, None]).sum())


def all_reduced(tensors: Sequence[Tensor], numbers: Tensor) -> Tensor:
    """Numbers of each tensor's shard, `[tensors, n]`, added up over all processes that hold shards of it."""
    together: defaultdict[Any, list[int]] = defaultdict(list)
    for index, tensor in enumerate(tensors):
        together[placement(tensor)].append(index)
    for shared, members in together.items():
        if shared is not None:
            mesh, placements = shared
            everywhere = numbers[members].to(mesh.device_type)
            for dimension, place in enumerate(placements):
                if place.is_shard():
                    torch.distributed.all_reduce(everywhere, group=mesh.get_group(dimension))
            numbers[members] = everywhere.to(numbers.device)
    return numbers
