"""SQLite's own calls of the system that fail, write a part, or are a process's last: `torn_writes.c`, compiled."""

import atexit
import errno
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["TEARS", "shim"]

TEARS = {
    "no space": (0, errno.ENOSPC),
    "input/output error": (0, errno.EIO),
    "a part": (1, 0),
    "killed before": (2, 0),
    "killed within": (3, 0),
    "killed after": (4, 0),
}


@cache
def shim() -> Path | None:
    """What stands between SQLite and the system in every victim; None where it can't be made."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or compiler is None:
        return None
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = Path(folder) / "torn.so"
    source = Path(__file__).parent / "torn_writes.c"
    done = subprocess.run([compiler, "-shared", "-fPIC", "-o", made, source, "-ldl"], capture_output=True, check=False)
    return made if done.returncode == 0 else None
