"""Atomic writes, locks, and where files go."""

import contextlib
import errno
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import filelock

from gradus.errors import GradusError

__all__ = [
    "RESULTS",
    "is_locked",
    "locked",
    "make_ignored_folder",
    "open_file",
    "refuse_full_disk",
    "user_cache",
    "write_whole",
]

RESULTS = Path("gradus-runs")  # the default for results, in the current folder
_LOCK = ".lock"


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading: a pipe could block, and a device has no end.

    Args:
        path: the file.

    Raises:
        OSError: it can't be opened, or isn't a regular file.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is a folder, a pipe or a device, and no file")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def refuse_full_disk(folder: Path, needed: int, what: str) -> None:
    """Refuse a folder that has less room than is needed.

    Args:
        folder: where something is going to be written; it may be yet to be made.
        needed: bytes.
        what: needs them, as the message calls it.

    Raises:
        GradusError: there is less.
    """
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise GradusError(
            f"{folder} has {free / 1e6:,.0f} MB free, and {what} about {needed / 1e6:,.0f} MB; make room there, or give "
            f"another folder"
        )


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a temporary file, flush it to disk and rename it: the old file or the new one, never half of one.

    Args:
        path: the file; its folders are made as needed.
        content: its bytes.

    Raises:
        GradusError: it can't be written; what was there before is kept.
    """
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise GradusError(f"{path} can't be written: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):  # it is gone once renamed
            temporary.unlink()
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """Make the new name survive a power cut, where the system can; the file is in its place either way."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def user_cache() -> Path:
    """The folder for downloads and compiled code, in the user's cache.

    Raises:
        GradusError: the user has no home folder, as in some containers.
    """
    import platformdirs  # which few commands need

    folder = platformdirs.user_cache_path("gradus")
    if not folder.is_absolute():  # it would be a folder named ~
        raise GradusError("there is no home folder to keep anything in; set HOME")
    return folder


def make_ignored_folder(folder: Path) -> Path:
    """A folder for results with a `.gitignore` of its own, so that git ignores it wherever it is.

    A folder that isn't empty is left unchanged: it may be a project, which git must not ignore.

    Args:
        folder: the folder; made, with its parents, if absent.

    Returns:
        The same folder.

    Raises:
        GradusError: it can't be read or written to, or is a file.
    """
    try:
        empty = not folder.exists() or not any(folder.iterdir())
    except OSError as error:
        raise GradusError(f"{folder} can't be used as a folder: {error.strerror or error}") from None
    if empty:
        write_whole(folder / ".gitignore", b"*\n")
    return folder


def is_locked(folder: Path) -> bool:
    """Whether a process is writing its results to a folder; True if unsure. It needs no right to write there.

    Args:
        folder: the folder.
    """
    try:
        with (folder / _LOCK).open("rb") as file:
            if sys.platform == "win32":
                return True
            import fcntl

            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # closing the file releases it
    except OSError as error:
        return error.errno != errno.ENOENT
    return False


@contextlib.contextmanager
def locked(folder: Path, *, patience: float = 0.5) -> Iterator[None]:
    """Lock a folder of results for one writer; the system releases the lock if the process dies.

    Args:
        folder: the folder.
        patience: seconds to wait for another writer; `is_locked` holds the lock for a moment.

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
