"""Stores to try things on: what is entered in them, what they hold, and processes that write to them."""

import math
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradus.rows import Row
from gradus.runs import Run
from gradus.schedules import Cosine
from gradus.store import Store

__all__ = ["FILES", "RUN", "begun", "contents", "exactly", "foreign", "mounted", "python", "row"]

RUN = Run("digits", schedules=Cosine(20, end=0.03), lr=0.3, batch_size=64, seed=7, name="cosine")


def row(step: int, **changes: float) -> Row:
    """The row of a step, some of its numbers changed or more of them."""
    return Row(step, {"lr": 0.1, "train/loss": 2.0 / step, "valid/loss": 1.9 / step, "time/seconds": 0.5 * step} | changes)


def exactly(rows: list[Row]) -> list[Any]:
    """All of some rows, to the last bit and in their order; of NaN there is one."""
    return [
        (one.step, [(name, struct.pack("<d", math.nan if math.isnan(x) else x)) for name, x in one.items()]) for one in rows
    ]


def begun(store: Store, run: Run = RUN, **conditions: Any) -> int:
    """The number of a run in a sweep of its own."""
    return store.begin(store.begin_sweep("train", "a sweep", {}), run, conditions)


def contents(store: Store) -> Any:
    """All that can be read of a store."""
    return store.sweeps(), [(one, exactly(store.rows(one.id))) for one in store.runs()], store.requests()


def foreign(path: Path, *, mode: str = "DELETE", application: int = 0, version: int = 0) -> None:
    """Another program's SQLite file."""
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.execute(f"PRAGMA application_id = {application}")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("CREATE TABLE songs (title TEXT)")
    connection.execute("INSERT INTO songs VALUES ('La mer')")
    connection.commit()
    connection.close()


def newer(path: Path, mode: str) -> None:
    """A store of a version to come."""
    Store(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.execute("PRAGMA user_version = 99")
    connection.execute("ALTER TABLE runs ADD COLUMN colour TEXT")
    connection.commit()
    connection.close()


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "foreign": (foreign, "is an SQLite file, but no store of Gradus; name another file"),
    "foreign in WAL mode": (lambda path: foreign(path, mode="WAL"), "is an SQLite file, but no store of Gradus"),
    "foreign with an id": (
        lambda path: foreign(path, application=5, version=1),
        "is an SQLite file, but no store of Gradus",
    ),
    "newer": (lambda path: newer(path, "WAL"), r"written by a newer Gradus \(store version 99, this one knows 2\); update"),
    "newer in another mode": (lambda path: newer(path, "DELETE"), r"written by a newer Gradus \(store version 99"),
    "text": (lambda path: path.write_text("dear diary\n" * 100), "can't be used: file is not a database"),
    "damaged": (lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(4096)), "can't be used: file is not a database"),
}


def mounted(folder: Path, kind: str = "nfs4") -> Path:
    """A table of mounts by which a folder is on a network."""
    table = folder.parent / f"mounts of {folder.name}"
    table.write_text(f"21 1 8:1 / / rw - ext4 /dev/sda1 rw\n22 21 0:5 / {folder} rw shared:1 - {kind} server:/home rw\n")
    return table


def python(program: str, *arguments: object, mounts: Path | None = None) -> "subprocess.Popen[str]":
    """A process that has the store, a run and rows at hand, and `arguments` from `sys.argv[1]` on."""
    prelude = f"""
import os, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from gradus.store import Store, network
from stores import RUN, begun, row
if {str(mounts or "")!r}:
    network._MOUNTS = Path({str(mounts)!r})
"""
    command = [sys.executable, "-c", prelude + program, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
