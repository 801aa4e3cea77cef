"""Nothing lost: processes are killed, disks are full, files are damaged, and the end is the uninterrupted one's.

`make faults` kills 200 times; the tests take a sample.
"""

import errno
import os
import random
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import faults
from gradus.checkpoint import DamagedCheckpoint
from gradus.checkpoint.filling import check
from gradus.errors import GradusError
from gradus.store import STORE_FILE, Store

KILLS = int(os.environ.get("GRADUS_KILLS", "6"))
ERRORS = [errno.ENOSPC, errno.EIO, errno.EINTR]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What each victim leaves that nobody hurts, and how long it takes."""

    @cache
    def left(victim: str) -> tuple[dict[str, Any], float]:
        folder = tmp_path_factory.mktemp(victim)
        start = time.perf_counter()
        assert faults.run(victim, folder)
        return faults.outcome(folder), time.perf_counter() - start

    return left


@pytest.mark.parametrize("number", range(-(-KILLS // 3 // 2)))
@pytest.mark.parametrize("victim", faults.VICTIMS)
def test_killed_at_random_moments_it_ends_as_if_nobody_had(victim: str, number: int, whole: Any, tmp_path: Path) -> None:
    """After SIGKILL at two random moments: every row once, and rows, weights, slots and random states bit for bit those of
    the uninterrupted run.
    """
    expected, seconds = whole(victim)
    moments = random.Random(f"{victim} {number}")
    for _ in range(2):
        if faults.run(victim, tmp_path, kill_after=moments.uniform(0, seconds)):
            break  # it was faster this time
    else:
        assert faults.run(victim, tmp_path)
    assert faults.outcome(tmp_path) == expected
    assert not list(tmp_path.rglob(".step-*"))


def torn(folder: Path) -> list[Path]:
    """Checkpoints that aren't whole."""
    bad = []
    for path in folder.rglob("step-*.ckpt"):
        try:
            check(path)
        except DamagedCheckpoint:
            bad.append(path)
    return bad


def epochs_stored(folder: Path) -> int:
    if not (folder / STORE_FILE).exists():
        return 0
    with Store(folder / STORE_FILE, create=False) as store:
        assert store.check() == []
        return max((one.epochs for one in store.runs()), default=0)


@pytest.fixture(scope="module")
def expected_rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, float]]:
    """The rows of the run whose calls are made to fail."""
    folder = tmp_path_factory.mktemp("rows")
    faults.train_victim(folder, epochs=2)
    (rows,) = (value for name, value in faults.outcome(folder).items() if name == "train 0")
    return rows


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename", "commit"])
def test_whichever_call_fails_nothing_is_torn_or_lost(
    call: str, expected_rows: list[dict[str, float]], tmp_path: Path
) -> None:
    """Each call of open, write, fsync, rename and SQLite's commit fails in turn: no file is torn, no epoch that was stored
    is lost, nothing but an error of Gradus is raised, and the next attempt ends with the uninterrupted run's rows.
    """
    with faults.failing(call, -1, errno.EIO) as counted:
        faults.train_victim(tmp_path / "counted", epochs=2)
    assert counted.made > 2
    for at in range(counted.made):
        folder = tmp_path / str(at)
        with faults.failing(call, at, ERRORS[at % len(ERRORS)]), suppress(GradusError):
            faults.train_victim(folder, epochs=2)
        assert torn(folder) == []
        before = epochs_stored(folder)
        faults.train_victim(folder, epochs=2)
        with Store(folder / STORE_FILE, create=False) as store:
            runs = store.runs()
            assert runs[-1].status == "finished"
            assert [row.values() for row in store.rows(runs[-1].id)] == expected_rows
            assert max(one.epochs for one in runs) >= before
            for one in runs:
                assert [row.values() for row in store.rows(one.id)] == expected_rows[: one.epochs]


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[len(content) // 2] ^= 4
    return bytes(changed)


@pytest.mark.parametrize("damage", [cut, flipped])
def test_a_damaged_newest_checkpoint_costs_no_row(
    damage: Any, expected_rows: list[dict[str, float]], tmp_path: Path
) -> None:
    """Where the newest checkpoint is cut or a bit of it has changed, the run goes on from the one before, with a message."""
    with faults.failing("commit", 4, errno.EIO), pytest.raises(GradusError, match="disk I/O error"):
        faults.train_victim(tmp_path, epochs=2)
    newest = max(tmp_path.rglob("step-*.ckpt"))
    newest.write_bytes(damage(newest.read_bytes()))
    with pytest.warns(UserWarning, match=f"{newest} is .*; the checkpoint before it is used"):
        faults.train_victim(tmp_path, epochs=2)
    with Store(tmp_path / STORE_FILE, create=False) as store:
        assert [row.values() for row in store.rows(store.runs()[-1].id)] == expected_rows


def test_the_manual_shows_the_example() -> None:
    """The loop in the manual is the file that is killed here, of thirty lines or so."""
    text = faults.EXAMPLE.read_text()
    assert f"```python\n{text}```" in (faults.EXAMPLE.parent.parent / "docs" / "reliability.md").read_text()
    assert len(text.splitlines()) <= 35
