"""Files that are whole or absent, whatever happens while they are written."""

import contextlib
import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import filelock

from gradus.errors import GradusError

__all__ = ["RESULTS", "is_locked", "locked", "make_ignored_folder", "open_file", "user_cache", "write_whole"]

RESULTS = Path("gradus-runs")  # where results go unless said otherwise: beside the user's work
_LOCK = ".lock"


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading, if it is one: a pipe would be waited for, and a device has no end.

    Args:
        path: the file.

    Raises:
        OSError: it can't be opened, or is no regular file.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is a folder, a pipe or a device, and no file")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file beside its place, flush it to disk, and rename it: the old file or the new one, never half of one.

    Args:
        path: the file; its folders are made as needed.
        content: all that it is to hold.

    Raises:
        GradusError: it can't be written; what was there before is kept.
    """
    beside = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise GradusError(f"{path} can't be written: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):  # after the renaming there is none
            beside.unlink()
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where the system can; the file stands in its place either way."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def user_cache() -> Path:
    """The folder for what can be had or made again, in the user's cache.

    Raises:
        GradusError: the user has no home, as in a container under a number that no name belongs to.
    """
    import platformdirs  # which few commands need

    folder = platformdirs.user_cache_path("gradus")
    if not folder.is_absolute():  # it would be a folder named ~
        raise GradusError("there is no home folder to keep anything in; set HOME")
    return folder


def make_ignored_folder(folder: Path) -> Path:
    """A folder for results with a `.gitignore` of its own, so that git passes over it wherever it stands.

    A folder that holds something already is left as it is: it may be a project, which git must not pass over.

    Args:
        folder: the folder; it is made, with those above it, where it is absent.

    Returns:
        The same folder.

    Raises:
        GradusError: it can't be looked into or written to, or a file stands in its place.
    """
    try:
        empty = not folder.exists() or not any(folder.iterdir())
    except OSError as error:
        raise GradusError(f"{folder} can't be used as a folder: {error.strerror or error}") from None
    if empty:
        write_whole(folder / ".gitignore", b"*\n")
    return folder


def is_locked(folder: Path) -> bool:
    """Whether a process writes its results to a folder, which nobody has to be allowed to write to; if unsure, yes.

    Args:
        folder: the folder.
    """
    try:
        with (folder / _LOCK).open("rb") as file:
            if sys.platform == "win32":
                return True
            import fcntl

            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # closing the file gives it back
    except OSError as error:
        return error.errno != errno.ENOENT
    return False


@contextlib.contextmanager
def locked(folder: Path, *, patience: float = 0.5) -> Iterator[None]:
    """A folder of results for one writer at a time; the lock goes with the process, however that ends.

    Args:
        folder: the folder.
        patience: seconds to wait for another writer; `is_locked` takes the lock for a moment.

    Raises:
        GradusError: another process is writing to it.
    """
    lock = filelock.FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=patience)
    except filelock.Timeout:
        raise GradusError(
            f"another process is writing its results to {folder}; wait for it, or name another folder"
        ) from None
    except OSError as error:
        raise GradusError(f"{folder} can't be written to: {error.strerror or error}; name another folder") from None
    try:
        yield
    finally:
        lock.release()
