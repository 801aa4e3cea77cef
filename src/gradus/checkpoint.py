"""Checkpoints: the whole state of a training in one file, which is whole or absent, and from which no code runs.

A file is a header (magic number, version of the format, length and SHA-256 of what follows) and then what `torch.save` makes
of the state. It is read only if all of that fits, holds tensors, numbers and text alone, and says nothing to run.
"""

import io
import math
import os
import pickle
import pickletools
import random
import re
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from gradus.errors import GradusError, InvalidInput
from gradus.files import locked, make_ignored_folder, write_whole
from gradus.scheduler import OnChange, Scheduler

__all__ = ["Checkpoints", "DamagedCheckpoint", "Loaded", "latest", "load", "save"]

_MAGIC = b"\x89gradus\n"  # no text begins so, and a transfer that changes line ends changes this
_VERSION = 1
_HEADER = struct.Struct("<8sIQ32s")  # magic number, version, length of the payload, its SHA-256
_NAME = "step-{:012d}.ckpt"
_NAMES = re.compile(r"step-\d{12}\.ckpt")
_BEST = "best.ckpt"
_PATIENCE = 5.0  # seconds: a process whose parent was killed takes a moment to go
_FIELDS: dict[str, Any] = {"position": int, "metric": (float, type(None)), "parts": dict, "random": list}
# What a payload's pickle may name: what tensors are rebuilt by. torch refuses what could run, and this all the rest.
_REBUILDS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_tensor_v[23]|torch \w+Storage|torch\.storage UntypedStorage"
    r"|torch (?:u?int|float|bfloat|complex)\d\w*"
)

_Made = TypeVar("_Made")


class DamagedCheckpoint(GradusError):
    """A file isn't the whole checkpoint that somebody wrote."""


class Loaded(NamedTuple):
    """What a checkpoint holds beside the state of objects: the position, and what was given as `extra`."""

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
    """Write the state of a training into one file, which is whole or absent whatever happens meanwhile.

    Where several processes train together, all must call this; the first one writes, and all succeed or all raise.

    Args:
        path: the file; its folders are made as needed.
        model: an `nn.Module`; one wrapped by DDP or torch.compile is saved as what it wraps.
        optimizer: a `torch.optim.Optimizer`.
        scheduler: anything with `state_dict` and `load_state_dict`, as the next.
        scaler: a `torch.amp.GradScaler`.
        position: how many updates have been done.
        rng: whether to save the random states of torch (CPU and CUDA), Python and NumPy, each process its own.
        extra: whatever else must come back: numbers, text, tensors, and dicts, lists and tuples of these.

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
    state = _State(_parts(model, optimizer, scheduler, scaler), position, rng, extra)
    _together(lambda: state.write(Path(path)) if _is_first() else None)


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
    """Fill objects with the state in a checkpoint. No code runs from the file.

    Args:
        path: the file.
        model: takes the saved one's weights, as the next take theirs; what isn't given is left in the file.
        optimizer: an optimizer of the same kind over the same parameters.
        scheduler: a scheduler of the same kind.
        scaler: a GradScaler.
        rng: whether to take up the random states, if there are any.
        on_change: what to do where a `gradus.Scheduler` has other schedules than the saved one; see its
            `load_state_dict`.

    Returns:
        The position and what was given as `extra`.

    Raises:
        DamagedCheckpoint: the file isn't whole, or holds what no checkpoint holds.
        InvalidInput: it doesn't fit what it is to fill, or was written by another number of processes. Nothing is changed.
        GradusError: it can't be read, or a newer Gradus wrote it.
    """
    parts = _parts(model, optimizer, scheduler, scaler)
    return _together(lambda: _fill(Path(path), parts, rng, on_change))


def latest(folder: str | Path) -> Path | None:
    """The newest whole checkpoint in a folder of `Checkpoints`; None where there is none.

    A damaged file is passed over with a `UserWarning` that names it and says what is wrong with it.

    Args:
        folder: the folder.

    Raises:
        GradusError: a file can't be read, or a newer Gradus wrote it.
    """
    for path in reversed(_stored(Path(folder))):
        try:
            _payload(path)
        except DamagedCheckpoint as error:
            warnings.warn(f"{error}; the checkpoint before it is used, if there is one", stacklevel=2)
        else:
            return path
    return None


class Checkpoints:
    """A folder with the last few checkpoints of one training, and its best.

    Args:
        folder: it is made if absent, and git is told to ignore it. One training writes to it at a time.
        keep: how many of the last to keep: two or more, so that a damaged one has another before it.
        best: "min" or "max" keeps the checkpoint with the least or greatest `metric` too, as `best.ckpt`.
        asynchronous: whether the file is written by a thread while the training goes on. The state is copied before `save`
            returns; what goes wrong in writing is raised by the next `save`, or by `close`.

    Raises:
        InvalidInput: an argument isn't as said.

    >>> import tempfile
    >>> layer, temporary = nn.Linear(2, 1), tempfile.TemporaryDirectory()
    >>> with Checkpoints(f"{temporary.name}/mine", keep=2) as checkpoints:
    ...     for step in (100, 200, 300):
    ...         checkpoints.save(step, model=layer)
    >>> Checkpoints(f"{temporary.name}/mine").load(model=layer)
    Loaded(position=300, extra=None)
    >>> temporary.cleanup()
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        keep: int = 2,
        best: Literal["min", "max"] | None = None,
        asynchronous: bool = False,
    ) -> None:
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 2:
            raise InvalidInput(f"keep must be a whole number from 2, so that a damaged file has one before it; got {keep!r}")
        if best not in (None, "min", "max"):
            raise InvalidInput(f'best must be "min", "max" or None; got {best!r}')
        self.folder, self.keep, self.best = Path(folder), keep, best
        self._best_metric: float | None = None
        self.asynchronous = asynchronous
        self._claim: ExitStack | None = None  # while the folder is this one's: its lock, and the thread
        self._writer: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None

    def save(
        self,
        position: int,
        *,
        model: nn.Module | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        scheduler: Any = None,
        scaler: Any = None,
        rng: bool = True,
        extra: Any = None,
        metric: float | None = None,
    ) -> None:
        """Write a checkpoint of this position, and remove those that are no longer among the last.

        Args:
            position: how many updates have been done.
            model: as for `gradus.checkpoint.save`, like the others.
            optimizer: likewise.
            scheduler: likewise.
            scaler: likewise.
            rng: likewise.
            extra: likewise.
            metric: what the best is chosen by; one that is no finite number is never the best.

        Raises:
            InvalidInput: something can't be read back, or there is no metric to choose the best by; nothing is written.
            GradusError: this checkpoint, or asynchronously the one before, can't be written; another process is writing to
                the folder; or it holds a later position, which isn't this training's past. Whole files are kept.
        """
        if (metric is None) == (self.best is not None):
            raise InvalidInput(
                "the best checkpoint is chosen by a metric: give both Checkpoints(best=...) and save(metric=...), or neither"
            )
        state = _State(_parts(model, optimizer, scheduler, scaler), position, rng, extra, metric)
        _together(lambda: self._take(state) if _is_first() else None)

    def load(
        self,
        *,
        model: nn.Module | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        scheduler: Any = None,
        scaler: Any = None,
        rng: bool = True,
        on_change: OnChange | None = None,
    ) -> Loaded | None:
        """Fill objects from the newest whole checkpoint, as `gradus.checkpoint.load` does.

        Damaged files are passed over with a warning. Where several processes train together, the first one chooses.

        Returns:
            The position and what was given as `extra`; None, with nothing changed, where there is no checkpoint.

        Raises:
            InvalidInput: the checkpoint doesn't fit; nothing is changed.
            GradusError: it can't be read, or a newer Gradus wrote it.
        """
        path = _from_first(lambda: latest(self.folder))
        if path is None:
            return None
        return load(path, model=model, optimizer=optimizer, scheduler=scheduler, scaler=scaler, rng=rng, on_change=on_change)

    def wait(self) -> None:
        """Wait until everything is written, in this process.

        Raises:
            GradusError: the last checkpoint couldn't be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Wait until everything is written, and let the folder go.

        Raises:
            GradusError: the last checkpoint couldn't be written.
        """
        try:
            _together(self.wait)
        finally:
            self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:  # what cuts the training short matters more, and other processes may never come here
            with suppress(GradusError):
                self.wait()
            self._let_go()

    def _let_go(self) -> None:
        if self._claim is not None:
            self._claim.close()
            self._claim = None

    def _take(self, state: "_State") -> None:
        self.wait()
        if self._claim is None:
            self._lay_claim(state.position)
        if self._writer is None:
            self._write(state)
        else:
            self._pending = self._writer.submit(self._write, state)

    def _lay_claim(self, position: int) -> None:
        """Make the folder this training's own: no other may write there, and nothing of another's future stays."""
        make_ignored_folder(self.folder)
        with ExitStack() as claim:
            claim.enter_context(locked(self.folder, patience=_PATIENCE))
            for path in _stored(self.folder):
                if path.name > _NAME.format(position):
                    self._remove_damaged(path, position)
            for torn in self.folder.glob(".*.ckpt.*"):  # a process was killed while it wrote them
                torn.unlink(missing_ok=True)
            if (self.folder / _BEST).exists():
                with suppress(DamagedCheckpoint):
                    self._best_metric = _tree(self.folder / _BEST)["metric"]
            self._writer = claim.enter_context(ThreadPoolExecutor(1, "checkpoint")) if self.asynchronous else None
            self._claim = claim.pop_all()

    def _remove_damaged(self, later: Path, position: int) -> None:
        try:
            _payload(later)
        except DamagedCheckpoint:
            later.unlink(missing_ok=True)  # of no use, and `load` has told of it
        else:
            raise GradusError(
                f"{later} is of a later position than {position}: load it and go on from there, or name another folder"
            )

    def _write(self, state: "_State") -> None:
        content = state.packed()
        write_whole(self.folder / _NAME.format(state.position), content)
        if self._is_best(state.metric):
            write_whole(self.folder / _BEST, content)
            self._best_metric = state.metric
        for old in _stored(self.folder)[: -self.keep]:
            with suppress(OSError):  # one too many does no harm
                old.unlink()

    def _is_best(self, metric: float | None) -> bool:
        if metric is None or not math.isfinite(metric):
            return False
        best = self._best_metric
        return best is None or (metric < best if self.best == "min" else metric > best)


# What a checkpoint holds


class _State:
    """The state of a training, copied to the CPU in the first process; random states come from all of them."""

    def __init__(self, parts: Mapping[str, Any], position: int, rng: bool, extra: Any, metric: float | None = None) -> None:
        if isinstance(position, bool) or not isinstance(position, int) or not 0 <= position < 10**12:
            raise InvalidInput(f"a checkpoint's position is a whole number of updates, from 0; got {position!r}")
        self.position, self.metric = position, None if metric is None else float(metric)
        self._random = _from_all(_random_state()) if rng else []
        self._extra = extra
        self._parts = _together(lambda: self._copied(parts) if _is_first() else {})

    def _copied(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        self._extra = _plain(self._extra, "extra")
        return {name: _plain(_state_of(name, part), name) for name, part in parts.items()}

    def packed(self) -> memoryview:
        """The content of the file."""
        buffer = io.BytesIO()
        buffer.write(bytes(_HEADER.size))
        tree = {
            "position": self.position,
            "metric": self.metric,
            "parts": self._parts,
            "random": self._random,
            "extra": self._extra,
        }
        torch.save(tree, buffer)
        content = buffer.getbuffer()
        payload = content[_HEADER.size :]
        _HEADER.pack_into(content, 0, _MAGIC, _VERSION, len(payload), sha256(payload).digest())
        return content

    def write(self, path: Path) -> None:
        write_whole(path, self.packed())


def _parts(model: Any, optimizer: Any, scheduler: Any, scaler: Any) -> dict[str, Any]:
    """The objects that were given, in the order in which they are filled: a scheduler writes into its optimizer."""
    given = {"model": _unwrapped(model), "optimizer": optimizer, "scheduler": scheduler, "scaler": scaler}
    return {name: part for name, part in given.items() if part is not None}


def _unwrapped(model: Any) -> Any:
    model = getattr(model, "_orig_mod", model)  # torch.compile's wrapping
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def _state_of(name: str, part: Any) -> Any:
    state = part.state_dict()
    return [state, getattr(state, "_metadata", {})] if name == "model" else state  # the versions of its modules' states


def _plain(value: Any, where: str) -> Any:
    """A copy on the CPU, of the kinds that come back as they were."""
    if isinstance(value, Tensor):
        copied = value.detach().to("cpu", copy=True)
        if type(copied) is not Tensor or copied.layout is not torch.strided or copied.is_quantized:
            raise InvalidInput(
                f"{where} is a {type(copied).__name__} of {copied.layout}; a checkpoint holds whole, dense tensors"
            )
        return copied
    if isinstance(value, Mapping):
        for key in value:
            if type(key) not in (int, str):
                raise InvalidInput(f"{where} has the key {key!r}; the keys of a checkpoint are whole numbers and text")
        return {key: _plain(member, f"{where}[{key!r}]") for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        members = [_plain(member, f"{where}[{index}]") for index, member in enumerate(value)]
        return members if isinstance(value, list) else tuple(members)
    for kind in (bool, int, float, str):  # NumPy's float64 is a float, and becomes one
        if isinstance(value, kind):
            return kind(value)
    if value is None:
        return None
    raise InvalidInput(
        f"{where} is of type {type(value).__name__}; a checkpoint holds numbers, text, tensors, dicts, lists and tuples"
    )


def _random_state() -> dict[str, Any]:
    version, words, gauss = random.getstate()
    kind, keys, *rest = cast(tuple[Any, ...], np.random.get_state())
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else [],
        "python": (version, torch.tensor(words), gauss),
        "numpy": (kind, torch.tensor(keys.astype(np.int64)), *rest),
    }


def _set_random_state(state: Mapping[str, Any]) -> None:
    version, words, gauss = state["python"]
    kind, keys, *rest = state["numpy"]
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    random.setstate((version, tuple(words.tolist()), gauss))
    np.random.set_state((kind, keys.numpy(), *rest))


# Reading


def _fill(path: Path, parts: Mapping[str, Any], rng: bool, on_change: OnChange | None) -> Loaded:
    tree = _tree(path)
    saved, randoms = tree["parts"], tree["random"]
    if missing := [name for name in parts if name not in saved]:
        raise InvalidInput(f"{path} holds no {missing[0]}; it holds {', '.join(saved) or 'no state of an object'}")
    if rng and randoms and len(randoms) != _world_size():
        raise InvalidInput(
            f"{path} has the random states of {len(randoms)} processes, and here are {_world_size()}; pass rng=False"
        )
    before = {name: _plain(_state_of(name, part), name) for name, part in parts.items()}
    random_before = _random_state()
    try:
        for name, part in parts.items():
            _put(name, part, saved[name], on_change)
        if rng and randoms:
            _set_random_state(randoms[_rank()])
    except Exception as error:  # torch's objects raise whatever they meet, after they have changed a part
        for name, part in parts.items():
            _put(name, part, before[name], "keep")
        _set_random_state(random_before)
        raise InvalidInput(f"{path} doesn't fit, and nothing is changed: {' '.join(str(error).split())}") from error
    return Loaded(tree["position"], tree["extra"])


def _put(name: str, part: Any, state: Any, on_change: OnChange | None) -> None:
    if name == "model":
        tensors, metadata = state
        state = OrderedDict(tensors)
        state._metadata = metadata
    if isinstance(part, Scheduler):
        part.load_state_dict(state, on_change=on_change)
    else:
        part.load_state_dict(state)


def _tree(path: Path) -> dict[str, Any]:
    """What is in a checkpoint, if it is whole and nothing but a checkpoint."""
    payload = _payload(path)
    try:
        _refuse_bombs(payload)
        tree = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        _refuse_expanded(tree)
    except Exception as error:  # bytes that nobody has written in good faith may raise anything
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DamagedCheckpoint(f"{path} holds what no checkpoint holds: {reason}") from None
    if not isinstance(tree, dict) or tree.keys() != {*_FIELDS, "extra"}:
        raise DamagedCheckpoint(f"{path} holds what no checkpoint holds: its fields aren't a checkpoint's")
    for name, kind in _FIELDS.items():
        if not isinstance(tree[name], kind):
            raise DamagedCheckpoint(f"{path} holds what no checkpoint holds: its {name} is a {type(tree[name]).__name__}")
    return tree


def _payload(path: Path) -> bytes:
    """What follows the header, if it is what the header says; no more is read than that."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER.size)
            if header[: len(_MAGIC)] != _MAGIC:
                raise DamagedCheckpoint(f"{path} is no checkpoint of Gradus, or its beginning is lost")
            if len(header) < _HEADER.size:
                raise DamagedCheckpoint(f"{path} is cut short, within its header")
            _, version, length, digest = _HEADER.unpack(header)
            if version > _VERSION:
                raise GradusError(f"{path} was written by a newer Gradus (checkpoint version {version}); update Gradus")
            held = os.fstat(file.fileno()).st_size - _HEADER.size
            if held != length:
                raise DamagedCheckpoint(
                    f"{path} is cut short or too long: {length:,} bytes are announced, {held:,} are there"
                )
            payload = file.read(length)
    except OSError as error:
        raise GradusError(f"{path} can't be read: {error.strerror or error}") from None
    if sha256(payload).digest() != digest:
        raise DamagedCheckpoint(f"{path} is damaged: its bytes aren't those that were written")
    return payload


def _refuse_bombs(payload: bytes) -> None:
    """Refuse an archive that grows when it is opened, or whose pickle names more than tensors are rebuilt by."""
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        members = archive.infolist()
        if len({one.filename for one in members}) < len(members):
            raise pickle.UnpicklingError("a name stands twice in its archive")
        if any(one.compress_type != zipfile.ZIP_STORED for one in members):
            raise pickle.UnpicklingError("its archive is compressed")
        if sum(one.file_size for one in members) > len(payload):
            raise pickle.UnpicklingError("its archive is larger than itself")
        for one in members:
            if one.filename.endswith(".pkl"):
                _refuse_names(archive.read(one))


def _refuse_names(pickled: bytes) -> None:
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4") or (
            opcode.name == "GLOBAL" and not _REBUILDS.fullmatch(str(argument))
        ):
            raise pickle.UnpicklingError(f"it names {argument or 'something'} to be called")


def _refuse_expanded(value: Any) -> None:
    """Refuse tensors that hold an element twice: whoever copied one would need the memory that the file hasn't."""
    if isinstance(value, Tensor):
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise pickle.UnpicklingError("a tensor is larger than its bytes")
    elif isinstance(value, (dict, list, tuple)):
        for member in value.values() if isinstance(value, dict) else value:
            _refuse_expanded(member)


def _stored(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first, damaged ones included."""
    try:
        names = [path.name for path in folder.iterdir()] if folder.exists() else []
    except OSError as error:
        raise GradusError(f"{folder} can't be read: {error.strerror or error}") from None
    return [folder / name for name in sorted(names) if _NAMES.fullmatch(name)]


# Several processes


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _rank() -> int:
    return torch.distributed.get_rank() if _is_distributed() else 0


def _world_size() -> int:
    return torch.distributed.get_world_size() if _is_distributed() else 1


def _is_first() -> bool:
    return _rank() == 0


def _from_all(mine: _Made) -> list[_Made]:
    """What each process has."""
    if not _is_distributed():
        return [mine]
    everyone: list[Any] = [None] * _world_size()
    torch.distributed.all_gather_object(everyone, mine)
    return everyone


def _together(make: Callable[[], _Made]) -> _Made:
    """What is made here, if every process has made its own; what goes wrong in one is raised in all."""
    problem = None
    try:
        made = make()
    except Exception as error:  # the others must hear of it, whatever it is
        problem = error
    problems = _from_all(None if problem is None else str(problem))
    if problem is not None:
        raise problem
    for rank, told in enumerate(problems):
        if told is not None:
            raise GradusError(f"process {rank}: {told}")
    return made


def _from_first(make: Callable[[], _Made]) -> _Made:
    """What the first process makes."""
    mine = _together(lambda: make() if _is_first() else None)
    return _from_all(mine)[0]  # type: ignore[return-value]  # the first has made it
