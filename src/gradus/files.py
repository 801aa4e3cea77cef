"""Files that are whole or absent, whatever happens while they are written."""

import os
import tempfile
from pathlib import Path

from gradus.errors import GradusError

__all__ = ["make_ignored_folder", "write_whole"]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place, flush it to disk, and rename it: the old file or the new one, never half of one.

    Folders are made as needed.

    Raises:
        GradusError: it can't be written; what was there before is kept.
    """
    beside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            beside = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(0o644)  # temporary files are made for their owner alone
        beside.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        raise GradusError(f"{path} can't be written: {error.strerror or error}") from None
    finally:
        if beside is not None:
            beside.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_ignored_folder(folder: Path) -> Path:
    """A folder for results, with a `.gitignore` of its own, so that git passes over it wherever it stands.

    Raises:
        GradusError: it can't be written to.
    """
    if not (folder / ".gitignore").exists():
        write_whole(folder / ".gitignore", b"*\n")
    return folder
