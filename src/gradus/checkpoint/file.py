"""A file of tensors, numbers and text: written whole, checked by its hash, and safe to load from untrusted sources.

It is a header (magic number, version of the format, length and SHA-256 of the payload), then the payload: a tree, written by
`torch.save`.
"""

import io
import os
import pickle
import pickletools
import re
import struct
import zipfile
from collections import defaultdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gradus.errors import GradusError
from gradus.files import open_file

__all__ = ["HEADER", "MAGIC", "DamagedCheckpoint", "packed", "payload", "read"]

MAGIC = b"\x89gradus\n"  # not valid text, and a transfer that converts line ends breaks it
HEADER = struct.Struct("<8sIQ32s")  # magic number, version, length of the payload, its SHA-256
_VERSION = 1
# Globals that a payload's pickle may name: those that rebuild tensors. torch refuses code, and this refuses everything else.
_REBUILDS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_tensor_v[23]|torch \w+Storage|torch\.storage UntypedStorage"
    r"|torch (?:u?int|float|bfloat|complex)\d\w*"
)
# The opcodes in a payload's pickle, by their names in pickletools.
_PUTS, _GETS, _TEXTS = {"BINPUT", "LONG_BINPUT"}, {"BINGET", "LONG_BINGET"}, {"BINUNICODE", "GLOBAL"}
_NUMBERS = {"LONG1", "LONG4", "BINFLOAT"}
_USED = {
    *("PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "REDUCE", "BINPERSID"),
    *("EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "APPEND", "APPENDS"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *_PUTS,
    *_GETS,
    *_TEXTS,
    *_NUMBERS,
}
_MOST_ALIKE = 100  # different numbers with equal hashes


class DamagedCheckpoint(GradusError):
    """The file isn't a whole checkpoint: it is cut short, changed, or something else."""


def packed(tree: Any) -> memoryview:
    """The content of a file.

    Args:
        tree: dicts, lists and tuples of dense tensors on the CPU, numbers, text and None.
    """
    buffer = io.BytesIO()
    buffer.write(bytes(HEADER.size))
    torch.save(tree, buffer)
    content = buffer.getbuffer()
    inside = content[HEADER.size :]
    HEADER.pack_into(content, 0, MAGIC, _VERSION, len(inside), sha256(inside).digest())
    return content


def read(path: Path, digest: bytes | None = None) -> Any:
    """The tree in a file. No code runs from it, and it takes no more memory than the file's size.

    Args:
        path: the file.
        digest: the SHA-256 that its payload must have, if known.

    Raises:
        DamagedCheckpoint: the file isn't whole, or isn't a checkpoint.
        GradusError: it can't be read, or a newer Gradus wrote it.
    """
    inside = payload(path, digest)
    try:
        _refuse_bombs(inside)
        tree = torch.load(io.BytesIO(inside), map_location="cpu", weights_only=True)
        _refuse_expanded(tree, len(inside))
    except Exception as error:  # made-up bytes may raise anything
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DamagedCheckpoint(f"{path} holds what no checkpoint holds: {reason}") from None
    return tree


def payload(path: Path, digest: bytes | None = None) -> bytes:
    """The bytes after the header, checked against its length and SHA-256. See `read`."""
    try:
        with open_file(path) as file:
            header = file.read(HEADER.size)
            if header[: len(MAGIC)] != MAGIC:
                raise DamagedCheckpoint(f"{path} is no checkpoint of Gradus, or its beginning is lost")
            if len(header) < HEADER.size:
                raise DamagedCheckpoint(f"{path} is cut short, within its header")
            _, version, length, announced = HEADER.unpack(header)
            if version > _VERSION:
                raise GradusError(f"{path} was written by a newer Gradus (checkpoint version {version}); update Gradus")
            held = os.fstat(file.fileno()).st_size - HEADER.size
            if held != length:
                raise DamagedCheckpoint(
                    f"{path} is cut short or too long: {length:,} bytes are announced, {held:,} are there"
                )
            inside = file.read(length)
    except OSError as error:
        raise GradusError(f"{path} can't be read: {error.strerror or error}") from None
    except MemoryError:
        raise GradusError(f"{path} can't be read: the memory can't hold its {length:,} bytes") from None
    if sha256(inside).digest() != announced or announced != (digest or announced):
        raise DamagedCheckpoint(f"{path} is damaged: its bytes aren't those that were written")
    return inside


def _refuse_bombs(inside: bytes) -> None:
    """Refuse an archive that grows when opened, or whose pickle names more than what rebuilds tensors."""
    with zipfile.ZipFile(io.BytesIO(inside)) as archive:
        members = archive.infolist()
        if len({one.filename for one in members}) < len(members):
            raise pickle.UnpicklingError("its archive has a name twice")
        if any(one.compress_type != zipfile.ZIP_STORED for one in members):
            raise pickle.UnpicklingError("its archive is compressed")
        if sum(one.file_size for one in members) > len(inside):
            raise pickle.UnpicklingError("its archive is larger than itself")
        for one in members:
            if one.filename.endswith(".pkl"):
                _refuse_tricks(archive.read(one))


def _refuse_tricks(pickled: bytes) -> None:
    """Refuse a pickle that does more than put numbers, text and tensors into dicts, lists and tuples, each in one place.

    A value used in several places makes a small file large to walk through, and a dict whose keys have equal hashes is slow.
    """
    texts: set[Any] = set()  # memo entries that may be used again
    before, numbers = "", defaultdict[int, set[float]](set)
    for opcode, argument, _ in pickletools.genops(pickled):
        name = opcode.name
        if name == "GLOBAL" and not _REBUILDS.fullmatch(str(argument)):
            raise pickle.UnpicklingError(f"it names {argument} to be called")
        if name not in _USED:
            raise pickle.UnpicklingError(f"it does what no checkpoint does: {name}")
        if name in _GETS and argument not in texts:
            raise pickle.UnpicklingError("a part of it is used in two places")
        if name in _PUTS:
            (texts.add if before in _TEXTS else texts.discard)(argument)
        if name in _NUMBERS and argument == argument:
            numbers[hash(argument)].add(argument)  # type: ignore[arg-type]
            if len(numbers[hash(argument)]) > _MOST_ALIKE:
                raise pickle.UnpicklingError("its numbers are made to be alike")
        before = name


def _refuse_expanded(tree: Any, room: int) -> None:
    """Refuse tensors with repeated elements: a copy of them would take more memory than the file's size."""
    left = [tree]
    while left:
        value = left.pop()
        if isinstance(value, Tensor):
            room -= value.numel() * value.element_size()
            if room < 0:
                raise pickle.UnpicklingError("its tensors are larger than its bytes")
        elif isinstance(value, (dict, list, tuple)):
            left.extend(value.values() if isinstance(value, dict) else value)
