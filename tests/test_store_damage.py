"""Laws of a damaged store: damage is found, what is whole is saved, and a crafted file costs nothing."""

import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gradus.errors import GradusError
from gradus.files import locked
from gradus.rows import Row
from gradus.store import Store, network
from gradus.store.repair import repair_store
from gradus.store.tables import RUNS, TABLES
from stores import FILES, RUN, begun, contents, foreign, mounted, python, row
from torn_writes import TEARS, shim


def filled(path: Path) -> dict[int, list[Row]]:
    """A store of many pages; the rows of each run."""
    with Store(path) as store:
        store._file.connection.execute("PRAGMA synchronous = OFF")  # nobody cuts the power here
        runs = [begun(store) for _ in range(40)]
        for run in runs:
            for step in range(1, 31):
                store.add(run, row(step))
            store.end(run, "finished")
        return {run: store.rows(run) for run in runs}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[int, list[Row]]]:
    """The file of a store of many pages, and the rows of each run."""
    path = tmp_path_factory.mktemp("many") / "store.sqlite"
    held = filled(path)
    return path.read_bytes(), held


# What is damaged is found


def test_a_store_that_is_well_is_left_alone(many: tuple[bytes, Any], tmp_path: Path) -> None:
    """A repair of a store that is well changes no byte."""
    path = tmp_path / "store.sqlite"
    path.write_bytes(many[0])
    assert repair_store(path) == (0, 0, None, 0)
    assert path.read_bytes() == many[0]
    assert [one.name for one in tmp_path.iterdir()] == ["store.sqlite"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a store with two runs that have ended, and one that is running and has been asked something; all noted."""
    path = tmp_path_factory.mktemp("small") / "store.sqlite"
    with Store(path) as store:
        for _ in range(3):
            run = begun(store, RUN, threads=1)
            for step in range(1, 16):
                store.add(run, row(10 * step))
            store.note(run, "noted")
            if run < 3:
                store.end(run, "finished", "why")
            else:
                store.request(run, "stop")
    return path.read_bytes()


@pytest.fixture
def small(whole: bytes, tmp_path: Path) -> Path:
    """Such a store."""
    path = tmp_path / "store.sqlite"
    path.write_bytes(whole)
    return path


def seen(store: Store) -> Any:
    """What can be read of a store; None where that is refused."""
    try:
        return contents(store)
    except GradusError:
        return None


EVERY = 1 if "GRADUS_KILLS" in os.environ else 167  # of the bits that aren't in an empty part of the file


def test_every_flipped_bit_that_changes_what_is_read_is_found(whole: bytes, small: Path) -> None:
    """Whichever bit of the file is flipped: the store is refused, reads the same, or is damaged by its check."""
    with Store(small) as store:
        held = contents(store)
    found = 0
    for bit in [8 * place + bit for place, byte in enumerate(whole) if byte for bit in range(8)][::EVERY]:
        for beside in small.parent.iterdir():
            beside.unlink()
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        small.write_bytes(content)
        try:
            store = Store(small, create=False)
        except GradusError:
            continue
        with store:
            if seen(store) != held:
                found += 1
                assert (bit, store.check()) != (bit, [])
    assert found > 100


FIRST = {"rows": "number = 1 AND run"}  # how one record is told
COLUMNS = [(table.name, column) for table in TABLES for column in (*table.columns, "hash")]


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_a_record_is_sealed_in_every_column(table: str, column: str, small: Path) -> None:
    """Another value in whichever column of whichever table is found."""
    with Store(small) as store:
        store._file.connection.execute("PRAGMA foreign_keys = OFF")
        value = store._file.asked(f"SELECT {column} FROM {table} LIMIT 1")[0][0]
        other = 99 if isinstance(value, int) else 1234.5 if isinstance(value, float) else '{"gradus.run": 1}'
        store._file.connection.execute(f"UPDATE {table} SET {column} = ? WHERE {FIRST.get(table, 'rowid')} = 1", [other])
        assert any("isn't as it was written" in told for told in store.check())


SPOILED: dict[str, tuple[str, str]] = {
    "a row in the middle": ("DELETE FROM rows WHERE run = 1 AND step = 30", "run 1: not all of its rows are there"),
    "the last row": ("DELETE FROM rows WHERE run = 1 AND step = 150", "run 1: it had 15 rows when it ended, and has 14"),
    "all rows": ("DELETE FROM rows WHERE run = 1", "run 1: it had 15 rows when it ended, and has 0"),
    "a table": ("ALTER TABLE notes RENAME COLUMN text TO words", "its tables aren't those of a store"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_what_is_missing_is_found(what: str, small: Path) -> None:
    """Records that have gone without a trace are missed, for rows are numbered and counted."""
    command, message = SPOILED[what]
    with Store(small) as store:
        assert store.check() == []
        store._file.connection.execute(command)
        assert message in store.check()


def test_entries_of_nobody_are_found(small: Path) -> None:
    """Rows whose run isn't there are found."""
    with Store(small) as store:
        store._file.connection.execute("PRAGMA foreign_keys = OFF")
        store._file.connection.execute("DELETE FROM runs WHERE id = 2")
        assert "an entry in rows belongs to none of the runs" in store.check()


def test_damaged_runs_are_listed_and_their_rows_read(small: Path) -> None:
    """A run whose entry is damaged, in a value or its kind, doesn't stop the list of runs, and is called damaged in it."""
    with Store(small) as store:
        store._file.connection.execute("UPDATE runs SET specification = replace(specification, 'digits', 'digitt')")
        store._file.connection.execute("UPDATE runs SET conditions = x'ff00', created = 'long ago' WHERE id = 2")
        listed = store.runs()
        assert [one.status for one in listed] == ["damaged"] * 3
        assert [one.created > 0 for one in listed] == [True, False, True]
        assert [one.rows for one in listed] == [15] * 3
        with pytest.raises(GradusError, match=r"the conditions of run 2 can't be read: the store is damaged"):
            listed[1].conditions  # noqa: B018
        assert len(store.rows(2)) == 15


REFUSED: dict[str, Callable[[Store], object]] = {
    "rows": lambda store: store.rows(3),
    "add": lambda store: store.add(3, row(1000)),
    "end": lambda store: store.end(3, "finished"),
    "requests": lambda store: store.requests(),
    "answered": lambda store: store.answered(1),
}


@pytest.mark.parametrize("use", REFUSED)
def test_nothing_is_built_on_what_is_damaged(use: str, small: Path) -> None:
    """A damaged row or request is refused by its name, and isn't sealed anew by a change."""
    with Store(small) as store:
        store._file.connection.execute("UPDATE rows SET numbers = '{}' WHERE run = 3 AND step = 150")
        store._file.connection.execute("UPDATE requests SET wish = 'pause'")
        before = store.check()
        with pytest.raises(
            GradusError, match=r"is damaged: the entry of (run 3, step 150 in rows|id 1 in requests) isn't as"
        ):
            REFUSED[use](store)
        assert store.check() == before


# What is whole is saved


@pytest.mark.parametrize("page", [12, 18, 25, 33, 47])  # the first are the trees' roots
def test_a_repair_saves_what_can_be_read(page: int, many: tuple[bytes, dict[int, list[Row]]], tmp_path: Path) -> None:
    """With a page overwritten, a check says so; after the repair the store is well, no row is made up, and runs that have
    lost their last rows are interrupted.
    """
    path = tmp_path / "store.sqlite"
    content = bytearray(many[0])
    content[page * 4096 : (page + 1) * 4096] = bytes(range(256)) * 16
    path.write_bytes(content)
    with Store(path, create=False) as store:
        assert store.check()
    repaired = repair_store(path)
    assert repaired.old is not None
    assert repaired.old.read_bytes() == content
    with Store(path, create=False) as store:
        assert store.check() == []
        saved = store.runs()
        assert len(saved) == repaired.runs > 0
        assert sum(one.rows for one in saved) == repaired.rows > 0
        for one in saved:
            rows, before = store.rows(one.id), many[1][one.id]
            assert one.status == ("finished" if rows[-1:] == before[-1:] else "interrupted")
            assert [row for row in before if row in rows] == rows
            assert one.status == "finished" or rows == before[: len(rows)]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["store.sqlite", repaired.old.name]


def test_damaged_rows_are_kept_apart(small: Path) -> None:
    """Rows and runs that aren't as they were written stay in the old file, and are counted; a run that had ended keeps its
    other rows and says how many it lacks; a run that goes on keeps those before.
    """
    with Store(small) as store:
        before = [store.rows(run) for run in (1, 2, 3)]
        store._file.connection.execute("UPDATE rows SET numbers = '{}' WHERE run != 2 AND step = 30")
        store._file.connection.execute("UPDATE runs SET name = 'other' WHERE id = 2")
    repaired = repair_store(small)
    assert repaired[:2] == (2, 14 + 2)
    assert repaired.damaged == 1 + 15 + 1 + 13  # run 2 with its rows, a row of run 1, and run 3 from its damaged row on
    with Store(small) as store:
        first, third = store.runs()
        assert (first.id, first.status, first.message) == (1, "finished", "why; damaged rows left out: 1")
        assert (third.id, third.status) == (3, "interrupted")
        assert store.rows(1) == before[0][:2] + before[0][3:]
        assert store.rows(3) == before[2][:2]
        assert [one.note for one in store.runs()] == ["noted", "noted"]
        assert [one.run for one in store.requests()] == [3]
        store.resume(3)
        store.add(3, row(30))
        assert store.check() == []


def test_the_number_of_a_lost_run_is_not_given_again(small: Path) -> None:
    """Where a repair has left the last run out, the next one has a number of its own."""
    with Store(small) as store:
        store._file.connection.execute("UPDATE runs SET name = 'other' WHERE id = 3")
    assert repair_store(small)[:2] == (2, 30)
    with Store(small) as store:
        assert begun(store) == 4


def test_runs_outlive_their_sweep(small: Path) -> None:
    """Where the entry of a sweep is damaged, its runs are kept, in a sweep that says that it was lost."""
    with Store(small) as store:
        store._file.connection.execute("UPDATE sweeps SET name = 'other' WHERE id = 2")
    assert repair_store(small)[:2] == (3, 45)
    with Store(small) as store:
        assert [(one.id, one.kind) for one in store.sweeps()] == [(1, "train"), (2, "lost"), (3, "train")]
        assert [one.id for one in store.runs(2)] == [2]
        assert store.check() == []


def test_a_repair_on_a_network_makes_no_log(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged store that has come onto a network with a log is repaired without one."""
    with Store(small) as store:
        held = [store.rows(run) for run in (1, 3)]
        store._file.connection.execute("UPDATE runs SET name = 'other' WHERE id = 2")
    monkeypatch.setattr(network, "_MOUNTS", mounted(small.parent))
    assert repair_store(small)[:2] == (2, 30)
    with Store(small) as store:
        assert [store.rows(run) for run in (1, 3)] == held
        assert store.check() == []
    assert small.read_bytes()[18:20] == b"\1\1"


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_store_is_not_repaired(kind: str, tmp_path: Path) -> None:
    """Another program's file, or a newer store, is refused, and not a byte of it changes."""
    make, message = FILES[kind]
    path = tmp_path / "some file.db"
    make(path)
    before = path.read_bytes()
    with pytest.raises(GradusError, match=rf"some file.db.*{message}"):
        repair_store(path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["some file.db"]


def test_entries_of_a_table_that_has_lost_a_column_are_not_entered(small: Path) -> None:
    """Where a damaged definition gives entries of fewer values, a repair leaves them out, and the new store is well."""
    with closing(sqlite3.connect(small)) as connection:
        connection.execute("ALTER TABLE runs DROP COLUMN message")
    assert repair_store(small)[:2] == (0, 0)
    with Store(small, create=False) as repaired:
        assert repaired.check() == []


# Headers


EVERY_BIT = 1 if "GRADUS_KILLS" in os.environ else 31  # of the header's 800


@pytest.mark.parametrize("first", range(min(EVERY_BIT, 4)))
def test_a_flipped_bit_in_the_header_costs_nothing(first: int, whole: bytes, small: Path) -> None:
    """Whichever bit of the first hundred bytes is flipped, after a repair every run and row is there and rows are taken."""
    with Store(small) as store:
        held = contents(store)
    for bit in range(first * 7, 800, EVERY_BIT):
        path = small.with_name(f"{bit}.sqlite")
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        repair_store(path)
        with Store(path, create=False) as store:
            assert (bit, store.check()) == (bit, [])
            assert contents(store) == held
            store.add(begun(store), row(1))


def test_another_programs_header_is_not_made_anew(tmp_path: Path) -> None:
    """A file with a damaged header that has other tables than a store is refused, and not a byte of it changes."""
    foreign(path := tmp_path / "songs.db")
    content = bytearray(path.read_bytes())
    content[17] ^= 4
    path.write_bytes(content)
    with pytest.raises(GradusError, match="file is not a database"):
        repair_store(path)
    assert path.read_bytes() == content
    assert [one.name for one in tmp_path.iterdir()] == ["songs.db"]


# Logs


KILLED = """
store = Store(sys.argv[1])
run = begun(store)
for step in range(1, 11):
    store.add(run, row(step))
print("done", flush=True)
sys.stdin.readline()
"""


def killed(path: Path) -> None:
    """Leave a store of ten rows as a process does that is killed: with its log."""
    with python(KILLED, path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        process.send_signal(signal.SIGKILL)


def frames_of(log: bytes) -> int:
    return (len(log) - 32) // (24 + 4096)


CUTS: dict[str, tuple[Callable[[bytes], bytes | None], bool, str]] = {
    "whole": (lambda log: log, True, ""),
    "whole, without an index": (lambda log: log, False, ""),
    "an entry": (lambda log: log[: 32 + (frames_of(log) - 3) * 4120], True, "pages in its log .* are lost"),
    "within a page": (lambda log: log[:-4000], True, "pages in its log .* are lost"),
    "within a page, without an index": (lambda log: log[:-4000], False, "its log ends within an entry, which is lost"),
    "gone": (lambda _: None, True, "pages in its log .* are lost"),
    "empty": (lambda _: b"", True, "pages in its log .* are lost"),
    "a bit": (lambda log: log[:9000] + bytes([log[9000] ^ 1]) + log[9001:], True, "pages in its log .* are lost"),
    "a bit, without an index": (
        lambda log: log[:9000] + bytes([log[9000] ^ 1]) + log[9001:],
        False,
        "pages in its log .* are lost",
    ),
    "a bit of its header": (lambda log: log[:17] + bytes([log[17] ^ 1]) + log[18:], False, "pages in its log .* are lost"),
    "what a kill leaves within an entry": (lambda log: log + log[-4120:-4000], True, ""),
}


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a killed process has left."""
    folder = tmp_path_factory.mktemp("left")
    killed(folder / "store.sqlite")
    return folder


@pytest.mark.parametrize("cut", CUTS)
def test_a_log_that_has_lost_entries_says_so(cut: str, left: Path, tmp_path: Path) -> None:
    """A log that is cut, gone or damaged is told of when the store is opened, and by its check; what a kill alone leaves is
    whole.
    """
    damage, indexed, message = CUTS[cut]
    path = tmp_path / "store.sqlite"
    for ending in ("", "-wal", "-shm"):
        shutil.copyfile(f"{left}/store.sqlite{ending}", f"{path}{ending}")
    log = damage(Path(f"{path}-wal").read_bytes())
    Path(f"{path}-wal").unlink() if log is None else Path(f"{path}-wal").write_bytes(log)
    if not indexed:
        Path(f"{path}-shm").unlink()
    if message:
        with pytest.warns(UserWarning, match=f"store.sqlite has lost something: .*{message}"):
            store = Store(path, create=False)
        assert store.check()[0] == store._file.lost
    else:
        store = Store(path, create=False)
        assert store.check() == []
        assert [len(store.rows(one.id)) for one in store.runs()] == [10]
    store.close()


# Torn writes


TORN = """
import ctypes, json
from gradus.errors import GradusError
def work(folder, at, how, error):
    preloaded.torn_arm(ctypes.c_long(at), how, error)
    try:
        with Store(folder / "store.sqlite") as store, (folder / "entered").open("w") as entered:
            run = begun(store)
            for step in range(1, 7):
                store.add(run, row(step), replacing=step == 4)
                print(step, file=entered, flush=True)
            store.note(run, "noted")
            store.end(run, "finished")
            print("ended", file=entered, flush=True)
    except GradusError:
        return 3
    finally:
        (folder / "calls").write_text(str(preloaded.torn_calls()))
    return 0
preloaded = ctypes.CDLL(None)
for case in json.loads(sys.argv[1]):
    folder = Path(case.pop(0))
    folder.mkdir(parents=True)
    if (child := os.fork()) == 0:
        os._exit(work(folder, *case))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def torn(cases: list[tuple[str, int, int, int]], folder: Path, kind: str) -> list[int]:
    """The exit codes of processes that fill a store while one of SQLite's calls of the system fares so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_PRELOAD", str(shim()))
        with python(TORN, json.dumps(cases), mounts=mounted(folder, kind)) as process:
            told, _ = process.communicate()
    return [int(line) for line in told.split()]


@pytest.mark.skipif(shim() is None, reason="it needs Linux and a C compiler")
@pytest.mark.parametrize("kind", ["ext4", "nfs4"])
def test_whichever_of_sqlites_writes_is_torn_nothing_entered_is_lost(kind: str, tmp_path: Path) -> None:
    """Where one of SQLite's own writes, flushes or cuts fails, is done in part, or is a killed process's last, on a disk or
    a network, the store opens, is well, has every row that was told of, and takes the rest.
    """
    folder = tmp_path / "stores"
    assert torn([(str(folder / "whole"), -1, *TEARS["no space"])], folder, kind) == [0]
    calls = int((folder / "whole" / "calls").read_text())
    assert calls > 50
    cases = [(f"{how} {at}", at, *TEARS[how]) for how in TEARS for at in range(calls)][
        :: 1 if "GRADUS_KILLS" in os.environ else 23
    ]
    codes = torn([(str(folder / name), *rest) for name, *rest in cases], folder, kind)
    assert set(codes) <= {0, 3, -signal.SIGKILL}
    assert codes.count(-signal.SIGKILL) > 5
    for (name, *_), code in zip(cases, codes, strict=True):
        path = folder / name / "store.sqlite"
        entered = (path.parent / "entered").read_text().split() if (path.parent / "entered").exists() else []
        with Store(path) as store:
            assert (name, store.check()) == (name, [])
            runs = store.runs()
            rows = store.rows(runs[0].id) if runs else []
            assert rows == [row(step) for step in range(1, len(rows) + 1)]
            assert len(rows) >= len(set(entered) - {"ended"})
            assert ("ended" in entered) <= (runs != [] and runs[0].status == "finished")
            assert code != 0 or "ended" in entered
            run = runs[0].id if runs else begun(store)
            store.resume(run)
            store.add(run, row(1), replacing=True)
            assert store.rows(run) == [row(1)]


# Crafted files


def endless(connection: sqlite3.Connection) -> None:
    connection.execute("DROP TABLE runs")
    connection.execute(
        "CREATE VIEW runs AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n)"
        f" SELECT {', '.join('id ' + name if name == 'id' else 'NULL ' + name for name in (*RUNS.columns, 'hash'))} FROM n"
    )


def computed(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE runs ADD COLUMN more TEXT AS (hex(zeroblob(400000000)))")


def triggered(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TRIGGER more AFTER UPDATE ON runs BEGIN DELETE FROM rows; END")


@pytest.mark.parametrize("change", [endless, computed, triggered])
def test_a_store_that_computes_is_refused(change: Callable[[sqlite3.Connection], None], tmp_path: Path) -> None:
    """A crafted store in which a view, a column or a trigger computes is refused before it is asked."""
    path = tmp_path / "store.sqlite"
    Store(path).close()
    connection = sqlite3.connect(path)
    change(connection)
    connection.commit()
    connection.close()
    for use in (lambda: Store(path, create=False), lambda: repair_store(path)):
        with pytest.raises(GradusError, match="isn't a store of Gradus"):
            use()


def test_a_killed_writers_run_is_not_running_for_ever(left: Path, tmp_path: Path) -> None:
    """What a killed process was at is interrupted; what a living one is at, which has the folder's lock, is running."""
    folder = shutil.copytree(left, tmp_path / "copy")
    with Store(folder / "store.sqlite", create=False) as store:
        assert [one.status for one in store.runs()] == ["interrupted"]
        with locked(folder):
            assert [one.status for one in store.runs()] == ["running"]
        assert begun(store)
        assert [one.status for one in store.runs()] == ["interrupted", "running"]
        assert [one.status for one in store.sweeps()] == ["interrupted", "running"]


READING = """
os.setgid(65534)
os.setuid(65534)
with Store(sys.argv[1], create=False) as store:
    print([(one.status, one.rows) for one in store.runs()], store.check(), flush=True)
    try:
        store.note(1, "seen")
    except Exception as error:
        print(error, flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become nobody")
@pytest.mark.parametrize("kind", ["ext4", "nfs4"])
@pytest.mark.parametrize("lost", [(), ("-shm",), ("-wal", "-shm")], ids=["killed", "without an index", "closed"])
def test_nobody_can_list_a_store_in_a_folder_that_is_read_only(
    lost: tuple[str, ...], kind: str, left: Path, tmp_path: Path
) -> None:
    """Who may only read a folder, on a disk or on a network, sees every run and row, those in the log too, and leaves it as
    it is.
    """
    folder = shutil.copytree(left, tmp_path / "copy")
    path = folder / "store.sqlite"
    if "-wal" in lost:
        Store(path).close()
    else:
        for ending in lost:
            Path(f"{path}{ending}").unlink()
    for one in (folder, *folder.parents):
        if not one.stat().st_mode & 0o001:  # pytest's folders are its user's alone
            one.chmod(one.stat().st_mode | 0o055)
    before = {one.name: one.stat().st_size for one in folder.iterdir()}
    with python(READING, path, mounts=mounted(folder, kind)) as process:
        told, _ = process.communicate()
    assert told.splitlines()[0] == "[('interrupted', 10)] []"
    assert "attempt to write a readonly database" in told
    assert {one.name: one.stat().st_size for one in folder.iterdir()} == before
