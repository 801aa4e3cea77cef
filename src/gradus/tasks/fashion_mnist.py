"""Fashion-MNIST: 70,000 grey images of clothing, 28 × 28, in 10 classes (Xiao, Rasul and Vollgraf, arXiv:1708.07747)."""

import gzip
import hashlib
import http.client
import io
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from gradus.errors import GradusError
from gradus.files import user_cache, write_whole
from gradus.schedules import epochs
from gradus.tasks.idx import read_idx
from gradus.tasks.models import LeNet
from gradus.tasks.task import Split, Task

__all__ = ["fashion_mnist"]

ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
FILES = {  # name: (dimensions, sha256 of the uncompressed file as published)
    "train-images-idx3-ubyte": (3, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    "train-labels-idx1-ubyte": (1, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    "t10k-images-idx3-ubyte": (3, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    "t10k-labels-idx1-ubyte": (1, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
}
_TIMEOUT = 30.0  # seconds without a byte
_LARGEST = 64 * 2**20  # bytes; the largest of the four has 26 million packed and 47 million unpacked

Progress = Callable[[str, int, int | None], None]  # (file, bytes so far, bytes in all if known)


def fashion_mnist(data_dir: str | Path | None = None, *, progress: Progress | None = None) -> Task:
    """Fashion-MNIST with LeNet, from its four IDX files, gzipped or not; they are downloaded where they are absent.

    Args:
        data_dir: the folder of the files; the user's cache unless given.
        progress: called with each piece of a download: the file, its bytes so far, and its bytes in all if they are known.

    Raises:
        GradusError: the files are absent and can't be downloaded or kept, or aren't what they should be.
    """
    folder = Path(data_dir) if data_dir is not None else user_cache() / "fashion-mnist"
    paths = {name: _found(folder, name) or _downloaded(folder, name, progress) for name in FILES}
    arrays = {name: torch.as_tensor(read_idx(path, FILES[name][0])) for name, path in paths.items()}
    return Task(
        name="fashion-mnist",
        train=_split(folder, "train", arrays),
        test=_split(folder, "t10k", arrays),
        model=LeNet,
        prepare=_to_unit_floats,
        batch_size=256,
        lr=0.3,
        length=epochs(30),
    )


def _to_unit_floats(images: Tensor) -> Tensor:
    """Bytes to floats from 0 to 1. They are kept as bytes, which is a quarter of the memory."""
    return images.to(torch.float32).div_(255)


def _split(folder: Path, which: str, arrays: dict[str, Tensor]) -> Split:
    images, labels = arrays[f"{which}-images-idx3-ubyte"], arrays[f"{which}-labels-idx1-ubyte"]
    if len(images) != len(labels):
        raise GradusError(
            f"the {which} files in {folder} don't belong together: {len(images):,} images and {len(labels):,} labels"
        )
    if images.shape[1:] != (28, 28) or labels.max() > 9:
        raise GradusError(
            f"the {which} files in {folder} aren't Fashion-MNIST's: they must hold images of 28 × 28 and labels to 9; "
            f"they hold images of {images.shape[1]} × {images.shape[2]} and labels to {int(labels.max())}"
        )
    return Split(images.unsqueeze(1), labels.to(torch.int64))


def _found(folder: Path, name: str) -> Path | None:
    try:
        return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    except OSError as error:
        raise GradusError(f"{folder} can't be looked into: {error.strerror or error}") from None


def _downloaded(folder: Path, name: str, progress: Progress | None) -> Path:
    """Fetch one file, check it, and put it in place in one move."""
    url, path = f"{ADDRESS}/{name}.gz", folder / f"{name}.gz"
    way_out = "give a folder that has it with --data-dir, or use --task digits, which needs no files"
    try:
        content = _fetched(url, path.name, progress)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise GradusError(f"{name} is neither in {folder} nor to be had from {url} ({_reason(error)}); {way_out}") from None
    if _digest(content) != FILES[name][1]:
        raise GradusError(f"what {url} gave is not the published file; nothing was kept; {way_out}")
    try:
        write_whole(path, content)
    except GradusError as error:
        raise GradusError(f"{name} was downloaded, but {error}; {way_out}") from None
    return path


def _fetched(url: str, name: str, progress: Progress | None) -> bytes:
    content = bytearray()
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
        size = response.headers.get("Content-Length")
        total = int(size) if size and size.isdecimal() else None
        while piece := response.read(1 << 16):
            content += piece
            if len(content) > _LARGEST:
                raise ValueError("it is far larger than it should be")
            if progress is not None:
                progress(name, len(content), total)
    if total is not None and len(content) < total:  # a connection that is cut reads like an end
        raise ValueError(f"it broke off after {len(content):,} of {total:,} bytes")
    return bytes(content)


def _reason(error: Exception) -> str:
    """What went wrong, in one line."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()  # it is an answer too, with a connection of its own
    elif isinstance(error, urllib.error.URLError):
        error = error.reason if isinstance(error.reason, Exception) else error
    return " ".join(str(error).split()) or type(error).__name__


def _digest(compressed: bytes) -> str | None:
    """The sha256 of what is compressed; None where it isn't gzip or swells beyond reason."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(compressed)) as file:
            content = file.read(_LARGEST + 1)
    except (OSError, EOFError, zlib.error):
        return None
    return hashlib.sha256(content).hexdigest() if len(content) <= _LARGEST else None
