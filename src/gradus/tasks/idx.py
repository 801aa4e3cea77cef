"""IDX files, the format of MNIST and its kin: a magic number, the sizes, then the bytes; gzipped or not.

Nothing in a file is believed before it is checked, and no more is read than its header says.
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from gradus.errors import GradusError

__all__ = ["read_idx"]

_UNSIGNED_BYTES = 0x08
_LARGEST = 2**31  # bytes: MNIST's kin are below 50 MB


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The array of unsigned bytes in an IDX file.

    Args:
        path: the file; gzipped if its name ends in .gz.
        dimensions: how many the array must have: 3 for images `[n, height, width]`, 1 for labels `[n]`.

    Raises:
        GradusError: the file is no such IDX file, is cut short, or holds more than its header says.
    """
    opened = gzip.open(path) if path.suffix == ".gz" else path.open("rb")
    try:
        with opened as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != _UNSIGNED_BYTES:
                raise GradusError(f"{path} is no IDX file of bytes: it begins with {magic!r}")
            if magic[3] != dimensions:
                raise GradusError(
                    f"{path} must hold {dimensions} dimension(s) and has {magic[3]}: "
                    f"are images and labels swapped?"
                )
            sizes = file.read(4 * dimensions)
            if len(sizes) < 4 * dimensions:
                raise GradusError(f"{path} is cut short, within its header")
            shape = [int(size) for size in np.frombuffer(sizes, dtype=">u4")]
            count = math.prod(shape)
            if not 0 < count <= _LARGEST:
                raise GradusError(f"{path} says it holds {count:,} bytes; from 1 to {_LARGEST:,} are believed")
            content = file.read(count + 1)  # one more, to see whether there is more
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise GradusError(f"{path} is damaged or cut short: {error}") from None
    if len(content) != count:
        what = "is cut short" if len(content) < count else "holds more than its header says"
        raise GradusError(f"{path} {what}: {count:,} bytes are announced, {len(content):,} read")
    return np.frombuffer(bytearray(content), dtype=np.uint8).reshape(shape)  # a copy that may be written to
