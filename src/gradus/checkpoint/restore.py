"""Read a checkpoint, and load its states into the objects of a training."""

import shutil
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gradus.backends.sharding import is_sharded
from gradus.checkpoint.file import DamagedCheckpoint, read
from gradus.checkpoint.state import SHARDS, are_sharded, set_random_state, tree_map
from gradus.distributed import all_or_none, rank, world_size
from gradus.errors import GradusError, InvalidInput
from gradus.scheduler import OnChange, Scheduler
from gradus.snapshot import Snapshot

if TYPE_CHECKING:
    from gradus.checkpoint.shards import Shards

__all__ = ["check", "fill", "have_equal_parts", "remove_shards", "state_dict_of", "tree_of"]

_FIELDS: dict[str, Any] = {"position": int, "metric": (float, type(None)), "parts": dict, "random": list}


def tree_of(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, after checking that it is a whole one; `shards` are `Shards`, or None.

    Raises:
        DamagedCheckpoint: it isn't whole. The bytes of its shards aren't checked here.
        GradusError: it can't be read, or a newer Gradus wrote it.
    """
    tree = read(path)
    if not isinstance(tree, dict) or tree.keys() - {"shards"} != {*_FIELDS, "extra"}:
        raise DamagedCheckpoint(f"{path} holds what no checkpoint holds: its fields aren't a checkpoint's")
    for name, kind in _FIELDS.items():
        if not isinstance(tree[name], kind):
            raise DamagedCheckpoint(f"{path} holds what no checkpoint holds: its {name} is a {type(tree[name]).__name__}")
    return tree | {"shards": _shards(path, tree["shards"]) if "shards" in tree else None}


def _shards(head: Path, table: Any) -> "Shards":
    from gradus.checkpoint.shards import Shards  # slow to import, and rarely needed

    return Shards(head, table)


def check(path: Path) -> None:
    """Check every byte of a checkpoint.

    Raises:
        DamagedCheckpoint: it isn't whole.
        GradusError: it can't be read, or a newer Gradus wrote it.
    """
    shards = tree_of(path)["shards"]
    if shards is not None:
        shards.check()


def have_equal_parts(one: Path, other: Path) -> bool:
    """Whether two checkpoints hold the same states of objects, bit for bit; shards aren't compared.

    Args:
        one: a checkpoint.
        other: another.

    Raises:
        DamagedCheckpoint: one of them isn't whole.
        GradusError: one of them can't be read, or a newer Gradus wrote it.
    """
    mine, others = _leaves(tree_of(one)["parts"]), _leaves(tree_of(other)["parts"])
    return mine.keys() == others.keys() and all(_is_equal(value, others[where]) for where, value in mine.items())


def _leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a tree, by their places."""
    found: dict[str, Any] = {}
    tree_map(tree, "", lambda value, where: found.update({where: value}))
    return found


def _is_equal(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor):
        return type(one) is type(other) and (one == other or one != one)
    alike = isinstance(other, Tensor) and one.dtype == other.dtype and one.shape == other.shape
    return alike and torch.equal(*(part.contiguous().flatten().view(torch.uint8) for part in (one, other)))


def remove_shards(folder: Path, name: str, heads: Callable[[], Iterable[Path]]) -> None:
    """Remove the folders of shards that no checkpoint refers to any more; those that can't be removed do no harm.

    Args:
        folder: the checkpoints' folder.
        name: whose shards to look for: a file's name, or a pattern for `glob`.
        heads: gives the checkpoints that may refer to them.
    """
    with suppress(OSError, GradusError):  # an unreadable checkpoint may refer to any of them
        unused = set(folder.glob(SHARDS.format(name, "[0-9a-f]" * 8)))
        for head in heads() if unused else ():
            with suppress(DamagedCheckpoint):
                shards = tree_of(head)["shards"] if head.exists() else None
                if shards is not None:
                    unused.discard(shards.folder)
        for one in unused:
            shutil.rmtree(one, ignore_errors=True)


def fill(path: Path, tree: Mapping[str, Any], parts: Mapping[str, Any], rng: bool, on_change: OnChange | None) -> Any:
    """Load a checkpoint into objects, completely and in all processes or not at all; returns the extra.

    Raises:
        InvalidInput: it doesn't fit; nothing is changed.
    """
    all_or_none(lambda: _check(path, tree, parts, rng))
    saved, extra = _with_shards(path, tree, parts)
    before = Snapshot(parts.values(), memory_limit=sys.maxsize)

    def put() -> None:
        for name, part in parts.items():
            _load(name, part, saved[name], on_change)
        if rng and tree["random"]:
            set_random_state(tree["random"][rank()])

    try:
        all_or_none(put)
    except BaseException as error:  # torch's objects may raise anything, half changed
        before.restore()
        if not isinstance(error, Exception):
            raise
        raise InvalidInput(f"{path} doesn't fit, and nothing is changed: {' '.join(str(error).split())}") from error
    return extra


def _check(path: Path, tree: Mapping[str, Any], parts: Mapping[str, Any], rng: bool) -> None:
    saved, randoms = tree["parts"], tree["random"]
    if missing := [name for name in parts if name not in saved]:
        raise InvalidInput(f"{path} holds no {missing[0]}; it holds {', '.join(saved) or 'no state of an object'}")
    if rng and randoms and len(randoms) != world_size():
        raise InvalidInput(
            f"{path} has the random states of {len(randoms)} processes, and here are {world_size()}; pass rng=False"
        )


def _with_shards(path: Path, tree: Mapping[str, Any], parts: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """The saved states and the extra, with tensors sharded as the objects' are, or else whole."""
    saved, shards = {name: tree["parts"][name] for name in parts}, tree["shards"]
    if shards is None and not are_sharded(parts):
        return saved, tree["extra"]
    like = _Templates(parts)
    read = {} if shards is None else shards.read(like, lambda name: name.split("[")[0] in (*parts, "extra"))

    def leaf(value: Any, where: str) -> Any:
        if where in read:
            return read[where]
        other = like(where)
        if isinstance(value, Tensor) and is_sharded(other) and other.shape == value.shape:
            from gradus.checkpoint.shards import laid_out

            return laid_out(value, other)
        return value

    try:
        return {name: tree_map(state, name, leaf) for name, state in saved.items()}, tree_map(tree["extra"], "extra", leaf)
    except RecursionError:
        raise DamagedCheckpoint(f"{path} holds what no checkpoint holds: it is nested too deeply") from None


class _Templates:
    """The tensor here whose sharding a saved tensor takes, by its place: the model's own, or the slot's parameter."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        state = parts["model"].state_dict() if "model" in parts else {}
        groups = parts["optimizer"].param_groups if "optimizer" in parts else []
        params = (param for group in groups for param in group["params"])
        self._tensors = {f"model[0][{name!r}]": tensor for name, tensor in state.items()}
        self._params = {f"optimizer['state'][{index}]": param for index, param in enumerate(params)}

    def __call__(self, where: str) -> Any:
        return self._tensors.get(where, self._params.get(where.rpartition("[")[0]))


def state_dict_of(saved: Any) -> Any:
    """A model's state dict as torch makes it, from its state in a checkpoint."""
    tensors, metadata = saved
    state: Any = OrderedDict(tensors)
    state._metadata = metadata
    return state


def _load(name: str, part: Any, state: Any, on_change: OnChange | None) -> None:
    if name == "model":
        state = state_dict_of(state)
    if isinstance(part, Scheduler):
        part.load_state_dict(state, on_change=on_change)
    else:
        part.load_state_dict(state)
