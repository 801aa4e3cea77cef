"""Nothing lost: processes are killed, disks are full, files are damaged, and the end is the uninterrupted one's.

`make faults` kills and stops hundreds of times; the tests take a sample.
"""

import errno
import json
import os
import random
import shutil
import signal
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import faults
from gradus.checkpoint import DamagedCheckpoint
from gradus.checkpoint import folder as folder_module
from gradus.checkpoint.restore import check
from gradus.errors import GradusError
from gradus.rows import Row
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
    """After SIGKILL at one or two random moments: every row once, and rows, weights, slots and random states bit for bit
    those of the uninterrupted run.
    """
    expected, seconds = whole(victim)
    moments = random.Random(f"{victim} {number}")
    for _ in range(1 if victim == "spawned workers" else 2):  # these begin slowly
        if faults.run(victim, tmp_path, kill_after=moments.uniform(0, seconds)):
            break  # it was faster this time
    else:
        assert faults.run(victim, tmp_path)
    assert faults.outcome(tmp_path) == expected
    assert not list(tmp_path.rglob(".step-*"))


HUNG_UP = getattr(signal, "SIGHUP", signal.SIGTERM)


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("number", range(-(-KILLS // 6)))
@pytest.mark.parametrize(
    "sent", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT), (HUNG_UP,), (HUNG_UP, HUNG_UP)], ids=str
)
def test_stopped_once_or_twice_at_random_moments_the_command_goes_on(
    sent: tuple[signal.Signals, ...], number: int, whole: Any, tmp_path: Path
) -> None:
    """Ctrl-C, SIGTERM and SIGHUP end the command with their exit code, and a second one at whatever moment, saving or not,
    ends it at once: no traceback, nothing half written, and the same command goes on to the uninterrupted run's bits.
    """
    expected, seconds = whole("command")
    moments = random.Random(f"{sent} {number}")
    later = [(one, moments.uniform(0, 0.1)) for one in sent[1:]]
    code = faults.stopped(tmp_path, [(sent[0], moments.uniform(0, seconds)), *later])
    told = (tmp_path / "told").read_text()
    assert "Traceback" not in told
    assert "Exception" not in told
    assert code in {0, 128 + sent[0], *(128 + one for one in sent[1:]), *(-one for one in sent[1:])}
    assert ("the same command again" in told) == (code > 0)
    assert torn(tmp_path) == []
    assert faults.run("command", tmp_path)
    assert faults.outcome(tmp_path) == expected


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How often SQLite writes, flushes and cuts the files of the run whose calls are made to fare badly."""
    if faults.shim() is None:
        pytest.skip("it needs Linux and a C compiler")
    folder = tmp_path_factory.mktemp("calls")
    process = faults.begin("train", folder, tear=("no space", -1))
    process.join()
    assert process.exitcode == 0
    return int((folder / "calls").read_text())


@pytest.mark.parametrize("number", range(max(2, KILLS // 6)))
@pytest.mark.parametrize("how", faults.TEARS)
def test_whatever_becomes_of_sqlites_own_writes_no_acknowledged_row_is_lost(
    how: str, number: int, calls: int, whole: Any, tmp_path: Path
) -> None:
    """Where one of SQLite's own writes, flushes or cuts fails, is done in part, or is a killed process's last, the store
    opens, is sound, holds each row it has acknowledged, and the same command ends with the uninterrupted run's rows.
    """
    assert calls > 20
    expected, _ = whole("train")
    at = random.Random(f"{how} {number}").randrange(calls)
    process = faults.begin("train", tmp_path, tear=(how, at))
    process.join()
    assert process.exitcode in {"no space": (0, 3), "input/output error": (0, 3), "a part": (0,)}.get(how, (-9,)), at
    found = shutil.copytree(tmp_path, tmp_path / "copy")  # a look at it mends it, too
    noted = found / "acknowledged"
    acknowledged = [json.loads(line) for line in noted.read_text().splitlines()] if noted.exists() else []
    if (found / STORE_FILE).exists():
        with Store(found / STORE_FILE, create=False) as store:
            assert store.check() == []
            for run, step, numbers in acknowledged:
                assert Row(step, numbers) in store.rows(run), at
    assert faults.run("train", tmp_path)
    with Store(tmp_path / STORE_FILE, create=False) as store:
        assert store.check() == []
        for one in store.runs():
            rows = store.rows(one.id)
            assert rows == expected["train 0"][: len(rows)], at
        assert len(rows) == len(expected["train 0"])


def test_a_second_ctrl_c_while_saving_leaves_nothing_half_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both signals come while a checkpoint is written: the training ends at once, the file is whole, and the folder free."""
    write = folder_module.write_whole
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupted(path: Path, content: Any) -> None:
        if path.name == "step-000000000006.ckpt":
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.05)
        write(path, content)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(folder_module, "write_whole", interrupted)
            with pytest.raises(KeyboardInterrupt):
                faults.train_victim(tmp_path, epochs=2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert torn(tmp_path) == []
    assert not list(tmp_path.rglob(".step-*"))
    assert any(tmp_path.rglob("step-000000000006.ckpt"))
    faults.train_victim(tmp_path, epochs=2)  # in this process, which has let the folder go


def torn(folder: Path) -> list[Path]:
    """Checkpoints that aren't whole."""
    bad = []
    for path in folder.rglob("step-*.ckpt"):
        try:
            check(path)
        except DamagedCheckpoint:
            bad.append(path)
    return bad


def rows_stored(folder: Path) -> int:
    if not (folder / STORE_FILE).exists():
        return 0
    with Store(folder / STORE_FILE, create=False) as store:
        assert store.check() == []
        return max((one.rows for one in store.runs()), default=0)


@pytest.fixture(scope="module")
def expected_rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """The rows of the run whose calls are made to fail."""
    folder = tmp_path_factory.mktemp("rows")
    faults.train_victim(folder, epochs=2)
    (rows,) = (value for name, value in faults.outcome(folder).items() if name == "train 0")
    return rows


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename", "commit"])
def test_whichever_call_fails_nothing_is_torn_or_lost(call: str, expected_rows: list[Row], tmp_path: Path) -> None:
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
        before = rows_stored(folder)
        faults.train_victim(folder, epochs=2)
        with Store(folder / STORE_FILE, create=False) as store:
            runs = store.runs()
            assert runs[-1].status == "finished"
            assert store.rows(runs[-1].id) == expected_rows
            assert max(one.rows for one in runs) >= before
            for one in runs:
                assert store.rows(one.id) == expected_rows[: one.rows]


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[len(content) // 2] ^= 4
    return bytes(changed)


@pytest.mark.parametrize("damage", [cut, flipped])
def test_a_damaged_newest_checkpoint_costs_no_row(damage: Any, expected_rows: list[Row], tmp_path: Path) -> None:
    """Where the newest checkpoint is cut or a bit of it has changed, the run goes on from the one before, with a message."""
    with faults.failing("commit", 6, errno.EIO), pytest.raises(GradusError, match="disk I/O error"):  # the second row's
        faults.train_victim(tmp_path, epochs=2)
    newest = max(tmp_path.rglob("step-*.ckpt"))
    newest.write_bytes(damage(newest.read_bytes()))
    with pytest.warns(UserWarning, match=f"{newest} is .*; the checkpoint before it is used"):
        faults.train_victim(tmp_path, epochs=2)
    with Store(tmp_path / STORE_FILE, create=False) as store:
        assert store.rows(store.runs()[-1].id) == expected_rows


@pytest.mark.parametrize("example", ["survives", "survives_loader"])
def test_the_manual_shows_the_example(example: str) -> None:
    """The loops in the manual are the files that are killed here, the first of thirty lines or so."""
    text = (faults.EXAMPLES / f"{example}.py").read_text()
    assert f"```python\n{text}```" in (faults.EXAMPLES.parent / "docs" / "reliability.md").read_text()
    assert len(text.splitlines()) <= (35 if example == "survives" else 60)
