"""The state of a training, copied from its objects."""

import random
import secrets
import shutil
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from gradus.backends.sharding import is_sharded
from gradus.checkpoint.file import packed
from gradus.checks import whole
from gradus.distributed import all_gather, all_or_none, is_main, made_by_main
from gradus.errors import GradusError, InvalidInput

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

__all__ = [
    "SHARDS",
    "State",
    "are_sharded",
    "parts_of",
    "random_state",
    "set_random_state",
    "state_of",
    "to_cpu",
    "tree_map",
]

SHARDS = "{}.shards-{}"  # the folder of a file's shards, next to it


def parts_of(model: Any, optimizer: Any, scheduler: Any, scaler: Any) -> dict[str, Any]:
    """The given objects, in the order of loading: a scheduler writes into its optimizer.

    Raises:
        InvalidInput: the model is wrapped by FSDP1, which isn't supported.
    """
    given = {"model": _unwrapped(model), "optimizer": optimizer, "scheduler": scheduler, "scaler": scaler}
    return {name: part for name, part in given.items() if part is not None}


def _unwrapped(model: Any) -> Any:
    model = getattr(model, "_orig_mod", model)  # torch.compile's wrapping
    if isinstance(model, nn.Module) and any(
        type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()
    ):
        raise InvalidInput(
            "the model is wrapped by FullyShardedDataParallel; take torch.distributed.fsdp.fully_shard instead"
        )
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


class State:
    """The state of a training, copied to the CPU in the first process; random states come from all of them.

    Sharded tensors aren't copied: each process has its own in `shards`, by their places in the state.
    """

    def __init__(self, parts: Mapping[str, Any], position: int, rng: bool, extra: Any, metric: float | None = None) -> None:
        position = whole("a checkpoint's position", position, most=10**12 - 1, why=", counted in updates")
        self.position, self.metric = position, None if metric is None else float(metric)
        self.shards: dict[str, DTensor] = {}
        self._tree: dict[str, Any] = {"position": self.position, "metric": self.metric}
        self._tree["random"] = all_gather(random_state()) if rng else []
        sharded = are_sharded(parts)
        all_or_none(
            lambda: self._copy(parts, extra, self._keep_shard if sharded else to_cpu) if sharded or is_main() else None
        )
        if len(set(all_gather(tuple(self.shards)))) > 1:  # the first process's tree needs a place for each
            raise InvalidInput("each process has different sharded tensors; all must save the same ones")

    def _copy(self, parts: Mapping[str, Any], extra: Any, leaf: Callable[[Any, str], Any]) -> None:
        self._tree["extra"] = tree_map(extra, "extra", leaf)
        self._tree["parts"] = {name: tree_map(state_of(name, part), name, leaf) for name, part in parts.items()}

    def _keep_shard(self, value: Any, where: str) -> Any:
        if not is_sharded(value):
            return to_cpu(value, where)
        self.shards[where] = value.detach()
        return None

    def write_shards(self, head: Path) -> None:
        """Write the shards, if there are any, into a new folder beside the file to be; all processes must call this."""
        if self.shards:
            from gradus.checkpoint.shards import write  # slow to import, and rarely needed

            folder = made_by_main(lambda: head.parent / SHARDS.format(head.name, secrets.token_hex(4)))
            try:
                self._tree["shards"] = write(folder, self.shards)
            except GradusError:
                if is_main():
                    shutil.rmtree(folder, ignore_errors=True)
                raise

    def packed(self) -> memoryview:
        """The content of the file."""
        return packed(self._tree)


def are_sharded(parts: Mapping[str, Any]) -> bool:
    """Whether parameters are sharded."""
    groups = parts["optimizer"].param_groups if "optimizer" in parts else []
    model = parts["model"].state_dict().values() if "model" in parts else []  # FSDP2's own parameters are whole at times
    return any(map(is_sharded, chain(model, *(group["params"] for group in groups))))


def state_of(name: str, part: Any) -> Any:
    """The state of one of the parts."""
    state = part.state_dict()
    return [state, getattr(state, "_metadata", {})] if name == "model" else state  # the versions of its modules' states


def tree_map(value: Any, where: str, leaf: Callable[[Any, str], Any]) -> Any:
    """New dicts, lists and tuples with each leaf replaced.

    Args:
        value: the tree.
        where: the name of its place.
        leaf: takes a leaf and its place, and returns what replaces it.
    """
    if isinstance(value, Mapping):
        members = {key.item() if isinstance(key, np.generic) else key: member for key, member in value.items()}
        for key in members:
            if type(key) not in (int, str):
                raise InvalidInput(f"{where} has the key {key!r}; the keys of a checkpoint are whole numbers and text")
        return {key: tree_map(member, f"{where}[{key!r}]", leaf) for key, member in members.items()}
    if isinstance(value, (list, tuple)):
        several = [tree_map(member, f"{where}[{index}]", leaf) for index, member in enumerate(value)]
        return several if isinstance(value, list) else tuple(several)
    return leaf(value, where)


def to_cpu(value: Any, where: str) -> Any:
    """A copy on the CPU; refuses what can't be loaded again unchanged."""
    if isinstance(value, Tensor):
        copy = value.detach().to("cpu", copy=True)
        if type(copy) is not Tensor or copy.layout is not torch.strided or copy.is_quantized:
            raise InvalidInput(
                f"{where} is a {type(copy).__name__} of {copy.layout}; a checkpoint holds whole, dense tensors"
            )
        return copy
    if isinstance(value, np.generic):
        value = value.item()  # Python's number; a long double stays one
    elif isinstance(value, PurePath):
        value = str(value)
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if value is None:
        return None
    raise InvalidInput(
        f"{where} is of type {type(value).__name__}; a checkpoint holds numbers, text, paths, tensors, and "
        f"dicts, lists and tuples of these"
    )


def random_state() -> dict[str, Any]:
    """Of torch (CPU, CUDA, MPS), Python and NumPy, as tensors, numbers and text."""
    version, words, gauss = random.getstate()
    kind, keys, *rest = cast(tuple[Any, ...], np.random.get_state())
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
        "python": (version, torch.tensor(words), gauss),
        "numpy": (kind, torch.tensor(keys.astype(np.int64)), *rest),
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Restore the generators' state from `random_state`.

    Raises:
        ValueError: a generator would accept it and fail later, or read out of bounds.
    """
    version, words, gauss = state["python"]
    kind, keys, *rest = state["numpy"]
    place, has_gauss, second = rest
    if not (gauss is None or isinstance(gauss, float)) or not isinstance(second, float):
        raise ValueError("a generator's half of a pair of normal numbers must be a number")
    if type(place) is not int or not 0 <= place <= len(keys) or has_gauss not in (0, 1):
        raise ValueError("a generator's place must be among its words")
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    if state["mps"] is not None:
        torch.mps.set_rng_state(state["mps"])
    random.setstate((version, tuple(words.tolist()), gauss))
    np.random.set_state((kind, keys.numpy(), *rest))
