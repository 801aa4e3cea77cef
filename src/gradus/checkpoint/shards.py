"""Sharded tensors (DTensor), written and read by all processes together.

torch.distributed.checkpoint plans which process writes and reads which part, on any number of processes. The files, one from
each process, and the index of their parts are in Gradus's own format, so that `gradus.checkpoint.file` checks whatever is
unpickled.
"""

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import LoadPlan, LoadPlanner, SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import StorageReader, StorageWriter, WriteResult
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.futures import Future

from gradus.checkpoint.file import HEADER, DamagedCheckpoint, packed, payload, read
from gradus.distributed import all_or_none, rank
from gradus.errors import GradusError, InvalidInput
from gradus.files import write_whole

__all__ = ["Shards", "laid_out", "write"]


def write(folder: Path, tensors: Mapping[str, DTensor]) -> dict[str, Any]:
    """Write this process's shards; all processes must call this, with tensors of equal names.

    Args:
        folder: where the files go, one from each process.
        tensors: by their names.

    Returns:
        In the first process, the table that `Shards` takes.

    Raises:
        InvalidInput: a tensor is a partial sum, not yet reduced.
        GradusError: a file can't be written, in any process.
    """
    for name, tensor in tensors.items():
        if any(place.is_partial() for place in tensor.placements):
            raise InvalidInput(f"{name} is sharded as partial sums; reduce them before saving it")
    writer, planner = _Writer(folder), DefaultSavePlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    _same_error_everywhere(lambda: state_dict_saver.save(dict(tensors), storage_writer=writer, planner=planner))
    return writer.table


def laid_out(tensor: Tensor, like: Any) -> DTensor:
    """Shard a whole tensor, which every process has, as another is; all processes must call this."""
    return distribute_tensor(tensor, like.device_mesh, like.placements)


class Shards:
    """The tensors in the files that `write` has written.

    Args:
        head: the file that the table was in; the shards' folder is next to it.
        table: the folder's name; the SHA-256 of each file in it; and of each tensor its dtype, its shape, and its parts:
            offset, size, file, and place in the file.

    Raises:
        DamagedCheckpoint: a file isn't there, or the table can't be theirs.
        GradusError: a file can't be looked at.
    """

    def __init__(self, head: Path, table: Any) -> None:
        self._places: dict[MetadataIndex, tuple[str, int, torch.Size]] = {}
        try:
            self.folder = head.parent / _single(table["folder"])
            self._digests = {_single(file): bytes.fromhex(digest) for file, digest in table["files"].items()}
            self._tensors = {name: self._described(name, *one) for name, one in table["tensors"].items()}
            held = sum((self.folder / file).stat().st_size for file in self._digests)
            if sum(math.prod(one.size) * one.properties.dtype.itemsize for one in self._tensors.values()) > held:
                raise ValueError("its tensors are larger than its files")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DamagedCheckpoint(f"{head} is not whole: {error.filename} is lost") from None
        except OSError as error:
            raise GradusError(f"{error.filename} can't be read: {error.strerror or error}") from None
        except Exception as error:  # a made-up table may be anything
            raise DamagedCheckpoint(f"{head} holds what no checkpoint holds: its shards: {error!r}") from None

    def _described(self, name: str, dtype: str, shape: Any, parts: Any) -> TensorStorageMetadata:
        kind, size = vars(torch)[dtype], torch.Size(shape)
        if not isinstance(kind, torch.dtype):
            raise TypeError(f"{dtype} is no dtype")
        chunks = [ChunkStorageMetadata(torch.Size(offset), torch.Size(sizes)) for offset, sizes, _, _ in parts]
        for chunk in chunks:
            ends = zip(chunk.offsets, chunk.sizes, size, strict=True)
            if any(not 0 <= start <= start + length <= whole for start, length, whole in ends):
                raise ValueError(f"a part of {name} is outside of it")
        if math.prod(size) != sum(math.prod(chunk.sizes) for chunk in chunks):
            raise ValueError(f"the parts of {name} don't make it up")
        torch.empty(size, dtype=kind, device="meta")  # raises for sizes that no tensor can have
        for chunk, (_, _, file, place) in zip(chunks, parts, strict=True):
            if file not in self._digests:
                raise ValueError(f"{file} isn't among its files")
            self._places[MetadataIndex(name, chunk.offsets)] = (file, place, chunk.sizes)
        return TensorStorageMetadata(TensorProperties(kind), size, chunks)

    def check(self) -> None:
        """Read every file, and compare its bytes with those that were written.

        Raises:
            DamagedCheckpoint: they differ.
            GradusError: a file can't be read.
        """
        for file, digest in self._digests.items():
            payload(self.folder / file, digest)

    def read(self, like: Callable[[str], Any], wanted: Callable[[str], bool]) -> dict[str, Tensor]:
        """Tensors by their names, each sharded as another is, or else whole; all processes must call this.

        Args:
            like: the tensor that it is loaded into; it comes whole unless this is a DTensor of its shape.
            wanted: whether to read the named one.

        Raises:
            DamagedCheckpoint: a file was changed, in any process.
            GradusError: a file can't be read, or there is no memory for a tensor, in any process.
        """
        tensors = all_or_none(lambda: {name: self._room(name, like(name)) for name in self._tensors if wanted(name)})
        reader = _Reader(Metadata(dict(self._tensors)), self._parts)
        planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # a process alone reads too
            _same_error_everywhere(lambda: state_dict_loader.load(tensors, storage_reader=reader, planner=planner))
        return tensors

    def _room(self, name: str, like: Any) -> Tensor:
        """An empty tensor to read into."""
        size, dtype = self._tensors[name].size, self._tensors[name].properties.dtype
        try:
            if isinstance(like, DTensor) and like.shape == size:
                return torch.zeros_like(like, dtype=dtype, requires_grad=False)
            return torch.zeros(size, dtype=dtype)
        except RuntimeError as error:  # out of memory, or no such dtype on this device
            reason = str(error).splitlines()[0]
            raise GradusError(f"there can't be {name} of {self.folder} here, {tuple(size)} of {dtype}: {reason}") from None

    def _parts(self, indices: Iterable[MetadataIndex]) -> Iterator[tuple[int, Tensor]]:
        """The requested parts, each with its position in the request; one file is in memory at a time."""
        by_file = defaultdict(list)
        for position, index in enumerate(indices):
            file, place, size = self._places[index]
            by_file[file].append((position, place, size))
        for file, wanted in by_file.items():
            held = read(self.folder / file, self._digests[file])
            parts = dict(enumerate(held)) if isinstance(held, list) else {}
            for position, place, size in wanted:
                part = parts.get(place)
                if not isinstance(part, Tensor) or part.shape != size:
                    raise DamagedCheckpoint(
                        f"{self.folder / file} holds what no checkpoint holds: other parts than announced"
                    )
                yield position, part


def _single(name: str) -> str:
    """The name, checked to be of a file or folder right there."""
    if Path(name).name != name or name in ("", ".", ".."):
        raise ValueError(f"{name!r} is no file's name")
    return name


def _same_error_everywhere(act: Callable[[], object]) -> None:
    """Run torch.distributed.checkpoint; an error in one process is raised in all, as an error of Gradus."""
    try:
        act()
    except CheckpointException as error:
        number, (cause, _) = min(error.failures.items())
        kind = DamagedCheckpoint if isinstance(cause, DamagedCheckpoint) else GradusError
        where = "" if number == rank() else f"process {number}: "
        raise kind(f"{where}{cause}") from cause


class _Writer(StorageWriter):
    """One file from each process that has something to write; the table in the first process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.table: dict[str, Any] = {}

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        results = []
        if plan.items:
            file = f"{rank()}.shard"
            parts = [planner.resolve_data(item) for item in plan.items]
            content = packed([part.detach().to("cpu", copy=True).contiguous() for part in parts])  # type: ignore[union-attr]
            write_whole(self._folder / file, content)
            *_, digest = HEADER.unpack_from(content)
            results = [
                WriteResult(item.index, len(content), (file, place, digest.hex())) for place, item in enumerate(plan.items)
            ]
        return _done(results)

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        stored = {one.index: one.storage_data for several in results for one in several}
        tensors = {}
        for name, described in metadata.state_dict_metadata.items():
            assert isinstance(described, TensorStorageMetadata)
            parts = []
            for chunk in described.chunks:
                file, place, _ = stored[MetadataIndex(name, chunk.offsets)]
                parts.append((tuple(chunk.offsets), tuple(chunk.sizes), file, place))
            tensors[name] = (str(described.properties.dtype).removeprefix("torch."), tuple(described.size), parts)
        files = {file: digest for file, _, digest in stored.values()}
        self.table = {"folder": self._folder.name, "files": files, "tensors": tensors}

    # Parts of the interface that need nothing done

    def reset(self, checkpoint_id: Any = None) -> None: ...

    def set_up_storage_writer(self, is_coordinator: bool, *given: Any, **named: Any) -> None: ...

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        return plans

    @classmethod
    def validate_checkpoint_id(cls, _: Any) -> bool:
        return False  # it is made with its folder, not by a name


class _Reader(StorageReader):
    """Copies saved parts into the tensors here."""

    def __init__(self, metadata: Metadata, parts: Callable[[Iterable[MetadataIndex]], Iterator[tuple[int, Tensor]]]) -> None:
        self._metadata, self._parts = metadata, parts

    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        return self._metadata

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        for position, part in self._parts(item.storage_index for item in plan.items):
            item = plan.items[position]
            for dimension, (start, length) in enumerate(zip(item.storage_offsets, item.lengths, strict=True)):
                part = part.narrow(dimension, start, length)
            target = planner.resolve_tensor(item).detach()
            target.copy_(part)
            planner.commit_tensor(item, target)
        return _done(None)

    # Parts of the interface that need nothing done

    def reset(self, checkpoint_id: Any = None) -> None: ...

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *given: Any, **named: Any) -> None: ...

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        return plans

    @classmethod
    def validate_checkpoint_id(cls, _: Any) -> bool:
        return False


def _done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future
