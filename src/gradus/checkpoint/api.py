"""Save and load the whole state of a training in one file."""

import glob
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from gradus.checkpoint.restore import fill, remove_shards, state_dict_of, tree_of
from gradus.checkpoint.state import State, parts_of
from gradus.distributed import all_or_none, is_main
from gradus.errors import InvalidInput
from gradus.files import write_whole
from gradus.scheduler import OnChange

__all__ = ["Loaded", "load", "save", "weights_of"]


class Loaded(NamedTuple):
    """What a checkpoint gives back besides the objects' states: the position, and the `extra` that was saved."""

    position: int
    extra: Any


def save(
    path: str | Path,
    *,
    model: nn.Module | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: Any = None,
    scaler: Any = None,
    position: int = 0,
    rng: bool = True,
    extra: Any = None,
) -> None:
    """Write the state of a training into one file, atomically: a crash leaves the old file or the new one.

    Where several processes train together, all must call this; the first one writes, and all succeed or all raise. Where
    parameters are sharded (FSDP2 and other DTensors), each process writes its shards into a folder next to the file, which
    all processes must see.

    Args:
        path: the file; its folders are made as needed.
        model: an `nn.Module`; one wrapped by DDP or torch.compile is saved as what it wraps.
        optimizer: a `torch.optim.Optimizer`.
        scheduler: anything with `state_dict` and `load_state_dict`.
        scaler: a `torch.amp.GradScaler`.
        position: how many updates have been done.
        rng: whether to save the random states of torch (CPU, CUDA and MPS), Python and NumPy, each process its own.
        extra: anything else to save: numbers, text, tensors, and dicts, lists and tuples of these. NumPy's scalars
            come back as Python's numbers, and paths as text.

    Raises:
        InvalidInput: something in it is of a kind that can't be read back; nothing is written.
        GradusError: the file can't be written; what was there before is kept.

    >>> import tempfile
    >>> layer, folder = nn.Linear(2, 1), tempfile.TemporaryDirectory()
    >>> save(f"{folder.name}/a.ckpt", model=layer, position=7, extra={"epoch": 2})
    >>> load(f"{folder.name}/a.ckpt", model=nn.Linear(2, 1))
    Loaded(position=7, extra={'epoch': 2})
    >>> folder.cleanup()
    """
    state = State(parts_of(model, optimizer, scheduler, scaler), position, rng, extra)
    place = Path(path)
    try:
        state.write_shards(place)
        all_or_none(lambda: write_whole(place, state.packed()) if is_main() else None)
    finally:
        if is_main():
            remove_shards(place.parent, glob.escape(place.name), lambda: [place])


def load(
    path: str | Path,
    *,
    model: nn.Module | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: Any = None,
    scaler: Any = None,
    rng: bool = True,
    on_change: OnChange | None = None,
) -> Loaded:
    """Load the state in a checkpoint into objects. No code runs from the file.

    Where several processes train together, all must call this. Sharded tensors are
    sharded again as the objects' parameters are, on any number of processes, or come whole; those in `extra` come whole.

    Args:
        path: the file.
        model: takes the saved model's weights; the same for the others. Those left out aren't loaded.
        optimizer: an optimizer of the same kind over the same parameters.
        scheduler: a scheduler of the same kind.
        scaler: a GradScaler.
        rng: whether to restore the random states, if there are any.
        on_change: what to do where a `gradus.Scheduler` has other schedules than the saved one; see its
            `load_state_dict`.

    Returns:
        The position and the saved `extra`.

    Raises:
        DamagedCheckpoint: the file isn't whole, or isn't a checkpoint.
        InvalidInput: it doesn't fit the objects, or was written by another number of processes. Nothing is changed.
        GradusError: it can't be read, or a newer Gradus wrote it.
    """
    parts = parts_of(model, optimizer, scheduler, scaler)
    tree = all_or_none(lambda: tree_of(Path(path)))
    return Loaded(tree["position"], fill(Path(path), tree, parts, rng, on_change))


def weights_of(path: str | Path) -> dict[str, Any]:
    """The model's state dict in a checkpoint, on the CPU. No code runs from the file.

    Args:
        path: the file.

    Raises:
        DamagedCheckpoint: the file isn't whole, or isn't a checkpoint.
        InvalidInput: it holds no model, or a sharded one, which only `load` can assemble.
        GradusError: it can't be read, or a newer Gradus wrote it.
    """
    tree = tree_of(Path(path))
    if tree["shards"] is not None:
        raise InvalidInput(f"{path} holds a sharded model; load it into a model")
    if "model" not in tree["parts"]:
        raise InvalidInput(f"{path} holds no model")
    weights: dict[str, Any] = state_dict_of(tree["parts"]["model"])
    return weights
