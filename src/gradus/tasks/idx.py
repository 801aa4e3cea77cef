"""IDX files, the format of MNIST and its kin: a magic number, the sizes, then the bytes; gzipped or not.

Nothing in a file is believed before it is checked, and no more is read than its header says.
"""

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from gradus.errors import GradusError
from gradus.files import open_file

__all__ = ["read_idx"]

_UNSIGNED_BYTES = 0x08
_LARGEST = 2**28  # bytes: Fashion-MNIST's largest file has 47 million


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an IDX file.

    Args:
        path: the file; gzipped if its name ends in .gz.
        dimensions: how many the array must have: 3 for images `[n, height, width]`, 1 for labels `[n]`.

    Raises:
        GradusError: the file can't be read, is no such IDX file, is cut short, or holds more than its header says.
    """
    try:
        with open_file(path) as raw, cast(BinaryIO, gzip.open(raw)) if path.suffix == ".gz" else raw as file:
            shape = _shape(path, file, dimensions)
            count = math.prod(shape)
            content = bytearray(count)
            read = _fill(file, memoryview(content)) + len(file.read(1))  # one more, to see whether there is more
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise GradusError(f"{path} is damaged or cut short: {error}") from None
    except OSError as error:
        raise GradusError(f"{path} can't be read: {error.strerror or error}") from None
    if read != count:
        what = "is cut short" if read < count else "holds more than its header says"
        raise GradusError(f"{path} {what}: {count:,} bytes are announced, {read:,} read")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _fill(file: BinaryIO, place: memoryview) -> int:
    """Read into a place until it is full or the file ends; how many bytes there were."""
    filled = 0
    while filled < len(place) and (more := file.readinto(place[filled : filled + 2**20])):  # type: ignore[attr-defined]
        filled += more
    return filled


def _shape(path: Path, file: BinaryIO, dimensions: int) -> list[int]:
    """What the header says, if it can be believed."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:3] != bytes([0, 0, _UNSIGNED_BYTES]):
        raise GradusError(f"{path} is no IDX file of bytes: it begins with {magic!r}")
    if magic[3] != dimensions:
        raise GradusError(f"{path} must hold {dimensions} dimension(s) and has {magic[3]}: are images and labels swapped?")
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise GradusError(f"{path} is cut short, within its header")
    shape = [int(size) for size in np.frombuffer(sizes, dtype=">u4")]
    if not 0 < math.prod(shape) <= _LARGEST:
        raise GradusError(f"{path} says it holds {math.prod(shape):,} bytes; from 1 to {_LARGEST:,} are believed")
    return shape
