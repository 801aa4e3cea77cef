"""Laws of the store: what was entered stays, comes back exactly, and no other file is touched."""

import dataclasses
import io
import itertools
import math
import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.errors import GradusError
from gradus.files import locked
from gradus.runs import Row, Run
from gradus.schedules import Constant, Cosine, Lambda
from gradus.store import Status, Store
from gradus.store.repair import repair_store

RUN = Run("cosine", "digits", Cosine(20, end=0.03), lr=0.3, epochs=30, batch_size=64, seed=7)
NUMBERS = [field.name for field in dataclasses.fields(Row)]


def row(epoch: int, **changes: Any) -> Row:
    """The row of an epoch, some of its numbers changed."""
    return dataclasses.replace(Row(epoch, 23 * epoch, 0.1, 2.0 / epoch, 0.2, 1.9 / epoch, 0.3, 0.5), **changes)


def bits(one: Row) -> bytes:
    """All of a row, to the last bit."""
    return struct.pack("<qq6d", *dataclasses.astuple(one))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new store."""
    with Store(tmp_path / "store.sqlite") as opened:
        yield opened


# What is entered comes back


finite = st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: math.copysign(1, x) > 0 or x != 0)
SPECIAL = [0.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -1.0, 0.1, 2.0**53 + 2, 1e15 + 0.5, -(2.0**62)]


@settings(max_examples=30)
@given(st.lists(st.builds(Row, *[st.integers(1, 2**63 - 1)] * 2, *[st.sampled_from(SPECIAL) | finite] * 6), unique_by=id))
def test_rows_come_back_bit_for_bit(rows: list[Row]) -> None:
    """Rows come back in the order of their epochs with every bit, subnormal and huge numbers included."""
    rows = list({one.epoch: one for one in rows}.values())
    with Store(":memory:") as store:
        run = store.begin("sweep", RUN, {})
        for one in rows:
            store.add(run, one)
        again = store.rows(run)
    assert again == sorted(rows, key=lambda one: one.epoch)
    assert [bits(one) for one in again] == [bits(one) for one in sorted(rows, key=lambda one: one.epoch)]


def test_a_zero_loses_its_sign_only(store: Store) -> None:
    """SQLite keeps −0.0 as 0.0, which is equal to it."""
    run = store.begin("sweep", RUN, {})
    store.add(run, row(1, train_loss=-0.0))
    assert store.rows(run) == [row(1, train_loss=-0.0)]


def test_a_run_comes_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was entered is running, has no epochs, and says what it was entered with."""
    monkeypatch.setattr("time.time", lambda: 1234.5)
    number = store.begin("my sweep", RUN, {"threads": 1, "device": "cpu"})
    (stored,) = store.runs()
    assert dataclasses.asdict(stored) == {
        "id": number,
        "sweep": "my sweep",
        "name": "cosine",
        "seed": 7,
        "specification": RUN.to_json(),
        "conditions": '{"device": "cpu", "threads": 1}',
        "status": "running",
        "message": "",
        "created": 1234.5,
        "epochs": 0,
    }
    assert Run.from_json(stored.specification) == RUN


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    """What was entered is there when the store is opened again, with or without the right to make one."""
    path = tmp_path / "deep" / "er" / "store.sqlite"
    with Store(path) as store:
        run = store.begin("sweep", RUN, {})
        store.add(run, row(1))
        store.end(run, "diverged", "at step 3")
        before = store.runs(), store.rows(run)
    for create in (True, False):
        with Store(path, create=create) as store:
            assert (store.runs(), store.rows(run)) == before


def test_runs_are_chosen_by_sweep(store: Store) -> None:
    """Runs come in the order they were entered; a sweep's name chooses its own, and rows belong to one run."""
    numbers = [store.begin(sweep, RUN, {}) for sweep in ("a", "b", "a")]
    store.add(numbers[2], row(1))
    store.add(numbers[2], row(2))
    assert [one.id for one in store.runs()] == numbers
    assert [one.id for one in store.runs("a")] == [numbers[0], numbers[2]]
    assert [one.epochs for one in store.runs()] == [0, 0, 2]
    assert store.runs("c") == []
    assert store.rows(numbers[0]) == []


@pytest.mark.parametrize("status", get_args(Status))
def test_a_run_ends_as_was_said(store: Store, status: Status) -> None:
    """Each way to end comes back with its message, for that run alone."""
    run, other = store.begin("sweep", RUN, {}), store.begin("sweep", RUN, {})
    store.end(run, status, "why: 'quoted'; é")
    assert [(one.id, one.status, one.message) for one in store.runs()] == [
        (run, status, "why: 'quoted'; é"),
        (other, "running", ""),
    ]


def test_a_message_may_quote_anything(store: Store) -> None:
    """A message with halves of characters, as file names may have, is entered with them spelled out."""
    run = store.begin("sweep", RUN, {})
    store.end(run, "failed", "no file caf\udce9")
    assert store.runs()[0].message == r"no file caf\udce9"


def test_a_resumed_run_keeps_its_rows(store: Store) -> None:
    """A run that goes on is running, without message and with its rows, of which it replaces those it gives otherwise."""
    run, other = store.begin("sweep", RUN, {}), store.begin("sweep", RUN, {})
    for number in (run, other):
        store.add(number, row(1))
        store.end(number, "failed", "why")
    for epoch in (2, 3):
        store.add(run, row(epoch))
    store.resume(run)
    assert [(one.status, one.message) for one in store.runs()] == [("running", ""), ("failed", "why")]
    assert store.rows(run) == [row(1), row(2), row(3)]
    store.add(run, row(2, train_loss=9.0), replacing=True)
    assert store.rows(run) == [row(1), row(2, train_loss=9.0)]
    assert store.rows(other) == [row(1)]


def test_an_interruption_marks_what_runs(store: Store) -> None:
    """Of what is interrupted the running ones are marked, and no other."""
    for sweep, status in (("a", "running"), ("a", "finished"), ("b", "running"), ("b", "failed")):
        store.end(store.begin(sweep, RUN, {}), status)  # type: ignore[arg-type]
    store.interrupt()
    assert [one.status for one in store.runs()] == ["interrupted", "finished", "interrupted", "failed"]


# What is refused


@pytest.mark.parametrize("number", [name for name in NUMBERS if name not in ("epoch", "step")])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_row_holds_finite_numbers_only(store: Store, number: str, value: float) -> None:
    """A row with a number that isn't finite is refused by the number's name, and nothing is entered."""
    run = store.begin("sweep", RUN, {})
    with pytest.raises(GradusError, match=rf"finite numbers only; {number} of epoch 1 is {value}"):
        store.add(run, row(1, **{number: value}))
    assert store.rows(run) == []


def test_an_epoch_is_entered_once(store: Store) -> None:
    """A second row for an epoch is refused, and the first is kept."""
    run = store.begin("sweep", RUN, {})
    store.add(run, row(1))
    with pytest.raises(GradusError, match=r"store.sqlite can't be used: UNIQUE constraint failed.*kept"):
        store.add(run, row(1, train_loss=9.0))
    assert store.rows(run) == [row(1)]


UNKNOWN: list[Callable[[Store], None]] = [
    lambda store: store.add(99, row(1)),
    lambda store: store.end(99, "finished"),
    lambda store: store.resume(99),
]


@pytest.mark.parametrize("use", UNKNOWN, ids=["add", "end", "resume"])
def test_a_run_that_was_not_entered_is_refused(store: Store, use: Callable[[Store], None]) -> None:
    """Nothing is entered for a run that the store doesn't know."""
    with pytest.raises(GradusError, match=r"there is no run 99 in .*store.sqlite|FOREIGN KEY constraint failed"):
        use(store)
    assert store.runs() == []


def test_a_closed_store_says_so(store: Store) -> None:
    """A store that was closed refuses to be used, in one sentence."""
    store.close()
    with pytest.raises(GradusError, match=r"store.sqlite can't be used: Cannot operate on a closed database"):
        store.runs()


# Whatever happens, what was entered is kept


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, GradusError])
def test_what_is_cut_short_is_undone(store: Store, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]) -> None:
    """An error in the middle of a change undoes the whole change, and the store goes on."""

    def fails(*_: object) -> None:
        raise kind("in the middle")

    run = store.begin("sweep", RUN, {})
    store.add(run, row(1))
    with monkeypatch.context() as patch:
        patch.setattr("gradus.store.astuple", fails)
        with pytest.raises(kind, match="in the middle"):
            store.add(run, row(1, train_loss=9.0), replacing=True)  # the old row is deleted by then
    assert store.rows(run) == [row(1)]
    store.add(run, row(2))
    assert store.rows(run) == [row(1), row(2)]


def python(program: str, *arguments: str) -> "subprocess.Popen[str]":
    """A process that has the store, a run and `row(epoch)` at hand."""
    prelude = """
import sys
from gradus.runs import Row, Run
from gradus.schedules import Cosine
from gradus.store import Store
def row(epoch):
    return Row(epoch, 23 * epoch, 0.1, 2.0 / epoch, 0.2, 1.9 / epoch, 0.3, 0.5)
RUN = Run("cosine", "digits", Cosine(20, end=0.03), lr=0.3, epochs=30, batch_size=64, seed=7)
"""
    command = [sys.executable, "-c", prelude + program, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_killed_writer_loses_nothing_it_had_entered(tmp_path: Path) -> None:
    """A process killed in the middle of writing rows loses none that it had entered, and the store opens and goes on."""
    program = """
store = Store(sys.argv[1])
run = store.begin("sweep", RUN, {})
epoch = 0
while True:
    epoch += 1
    store.add(run, row(epoch))
    print(epoch, flush=True)
"""
    path = tmp_path / "store.sqlite"
    with python(program, str(path)) as process:
        assert process.stdout is not None
        entered = [int(process.stdout.readline()) for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        entered += [int(line) for line in process.stdout.read().splitlines() if line]
    assert process.returncode == -signal.SIGKILL
    with Store(path, create=False) as store:
        (run,) = store.runs()
        rows = store.rows(run.id)
        assert rows[: len(entered)] == [row(epoch) for epoch in entered]
        assert rows[len(entered) :] in ([], [row(len(entered) + 1)])  # entered, but not yet told
        store.end(run.id, "interrupted")
    check = sqlite3.connect(path)
    assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    check.close()


def test_many_processes_make_and_fill_stores_at_once(tmp_path: Path) -> None:
    """Sixteen processes that make the same new stores and write to them lose no row and enter none twice."""
    program = """
print("ready", flush=True)
sys.stdin.readline()
for name in sys.argv[2:]:
    Store(name).close()
with Store(sys.argv[2]) as store:
    run = store.begin("sweep " + sys.argv[1], RUN, {})
    for epoch in range(1, 31):
        store.add(run, row(epoch))
    store.end(run, "finished")
"""
    paths = [tmp_path / f"{index}.sqlite" for index in range(25)]  # the moment of making is the risky one
    processes = [python(program, str(index), *map(str, paths)) for index in range(16)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert isinstance(process.stdin, io.TextIOWrapper)
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate() and process.returncode for process in processes] == [0] * 16
    with Store(paths[0], create=False) as store:
        assert sorted(run.sweep for run in store.runs()) == sorted(f"sweep {index}" for index in range(16))
        for run in store.runs():
            assert run.status == "finished"
            assert store.rows(run.id) == [row(epoch) for epoch in range(1, 31)]


def test_a_store_in_the_making_is_waited_for(tmp_path: Path) -> None:
    """A file that another connection is about to write to is waited for, and is a store afterwards."""
    path = tmp_path / "store.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.2, other.execute, ["ROLLBACK"])
    release.start()
    with Store(path) as store:
        assert store.runs() == []
    release.join()
    other.close()


def test_readers_and_a_writer_do_not_wait_for_each_other(tmp_path: Path, store: Store) -> None:
    """While one process is in the middle of writing, another opens the store and reads what was entered before."""
    run = store.begin("sweep", RUN, {})
    store.add(run, row(1))
    with store._transaction():
        store._connection.execute("DELETE FROM rows")
        with Store(tmp_path / "store.sqlite", create=False) as reader:
            assert reader.rows(run) == [row(1)]
    assert store.rows(run) == []


# Files of others


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
    "newer": (lambda path: newer(path, "WAL"), r"written by a newer Gradus \(store version 99, this one knows 1\); update"),
    "newer in another mode": (lambda path: newer(path, "DELETE"), r"written by a newer Gradus \(store version 99"),
    "text": (lambda path: path.write_text("dear diary\n" * 100), "can't be used: file is not a database"),
    "damaged": (lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(4096)), "can't be used: file is not a database"),
}


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_store_is_left_as_it_is(tmp_path: Path, kind: str, create: bool) -> None:
    """A file that isn't a store of a known version is refused by its name, and not a byte of it changes."""
    make, message = FILES[kind]
    path = tmp_path / "some file.db"
    make(path)
    before = path.read_bytes()
    with pytest.raises(GradusError, match=rf"some file.db.*{message}"):
        Store(path, create=create)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["some file.db"]


def test_opening_a_store_changes_nothing_in_it(tmp_path: Path) -> None:
    """A store that is opened and only read has the same bytes afterwards."""
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        store.begin("sweep", RUN, {})
    before = path.read_bytes()
    with Store(path, create=False) as store:
        assert len(store.runs()) == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "create", "message"),
    [
        ("absent", False, "there is no store at .*absent; `gradus compare` makes one, or name another file"),
        ("folder", True, "the store .*folder can't be used: unable to open database file"),
        ("folder", False, "there is no store at .*folder"),
        ("plain/store", True, r"the store .*plain/store can't be used: .*(Not a directory|File exists)"),
        ("plain/store", False, "there is no store at .*plain/store"),
        ("n" * 300, True, "can't be used: unable to open database file"),
        ("n" * 300, False, "can't be used: .*File name too long"),
    ],
)
def test_a_place_without_a_store_is_named(tmp_path: Path, name: str, create: bool, message: str) -> None:
    """Where no store is, or can be made, the error names the place, and nothing is made."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").write_text("plain")
    with pytest.raises(GradusError, match=message):
        Store(tmp_path / name, create=create)
    assert sorted(one.name for one in tmp_path.rglob("*")) == ["folder", "plain"]


def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that may not write, as to a file on a medium that can't be written to."""
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda path, **settings: connect(f"{path.as_uri()}?mode=ro", uri=True, **settings)
    )


def test_a_read_only_place_can_hold_no_new_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be written, no store is made, and the error names the file."""
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"")
    read_only(monkeypatch)
    with pytest.raises(GradusError, match=r"store.sqlite can't be used: attempt to write a readonly database"):
        Store(path)
    assert path.read_bytes() == b""


def test_a_read_only_store_is_read_and_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that can't be written to can be read; writing is refused by its name, and its bytes stay."""
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        run = store.begin("sweep", RUN, {})
        store.add(run, row(1))
    before = path.read_bytes()
    read_only(monkeypatch)
    with Store(path, create=False) as store:
        assert store.rows(run) == [row(1)]
        with pytest.raises(GradusError, match=r"store.sqlite can't be used: attempt to write a readonly database.*kept"):
            store.add(run, row(2))
        assert store.rows(run) == [row(1)]
    assert path.read_bytes() == before


def fill(store: Store, run: int) -> None:
    """Rows without end."""
    for epoch in itertools.count(1):
        store.add(run, row(epoch))


def test_a_full_disk_keeps_what_was_entered(store: Store) -> None:
    """When the space ends, the error names the store, what was entered before is kept, and later rows are taken again."""
    run = store.begin("sweep", RUN, {})
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(GradusError, match=r"store.sqlite can't be used: database or disk is full; what was in it"):
        fill(store, run)
    entered = len(store.rows(run))
    assert store.rows(run) == [row(epoch) for epoch in range(1, entered + 1)]
    store._connection.execute("PRAGMA max_page_count = 100000")
    store.add(run, row(entered + 1))
    assert len(store.rows(run)) == entered + 1


def test_a_store_that_is_locked_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new store that another process keeps locked is waited for, and then refused by its name."""
    monkeypatch.setattr("gradus.store.opening._BUSY_SECONDS", 0.2)
    path = tmp_path / "store.sqlite"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(GradusError, match=r"store.sqlite can't be used: database is locked"):
        Store(path)
    other.execute("ROLLBACK")
    other.close()
    Store(path).close()


def test_a_schedule_that_cannot_be_saved_is_not_entered(store: Store) -> None:
    """A run without JSON is refused before anything is entered."""
    with pytest.raises(GradusError):
        store.begin("sweep", dataclasses.replace(RUN, schedule=Constant() * Lambda(lambda t: 1 / (1 + t))), {})
    assert store.runs() == []


# Damage, and what is saved from it


def filled(path: Path) -> dict[int, list[Row]]:
    """A store of many pages; the rows of each run."""
    with Store(path) as store:
        store._connection.execute("PRAGMA synchronous = OFF")  # nobody cuts the power here
        runs = [store.begin("sweep", RUN, {}) for _ in range(60)]
        for run in runs:
            for epoch in range(1, 31):
                store.add(run, row(epoch))
            store.end(run, "finished")
        return {run: store.rows(run) for run in runs}


@pytest.mark.parametrize("page", range(4, 40, 6))
def test_a_repair_saves_what_can_be_read(page: int, tmp_path: Path) -> None:
    """With a page overwritten, a check says so; after the repair the store is well, no row is made up, and runs that have
    lost rows are interrupted.
    """
    path = tmp_path / "store.sqlite"
    before = filled(path)
    content = bytearray(path.read_bytes())
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
        assert sum(one.epochs for one in saved) == repaired.rows > 0
        for one in saved:
            assert store.rows(one.id) == before[one.id][: one.epochs]
            assert one.status == ("finished" if one.epochs == 30 else "interrupted")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["store.sqlite", repaired.old.name]


def test_a_store_that_is_well_is_left_alone(tmp_path: Path) -> None:
    """A repair of a store that is well changes no byte."""
    path = tmp_path / "store.sqlite"
    filled(path)
    before = path.read_bytes()
    assert repair_store(path) == (0, 0, None)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["store.sqlite"]


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


SPOILED = {
    "UPDATE runs SET specification = '{}'": "its specification can't be read: this JSON is no run",
    "UPDATE runs SET status = 'merry'": "its status is 'merry'",
    "DELETE FROM rows WHERE epoch = 3": "its epochs are 1, 2, 4, 5, 6",
    "DELETE FROM rows WHERE epoch = 30": "it is finished, and has 29 of 30 epochs",
}


@pytest.mark.parametrize("command", SPOILED)
def test_a_check_reads_what_is_in_the_store(command: str, store: Store) -> None:
    """A whole file whose entries contradict each other is told of, run by run."""
    run = store.begin("sweep", RUN, {})
    for epoch in range(1, 31):
        store.add(run, row(epoch))
    store.end(run, "finished")
    assert store.check() == []
    store._connection.execute(command)
    (told,) = store.check()
    assert told.startswith(f"run {run}: {SPOILED[command]}")


@pytest.mark.parametrize("what", ["deleted", "replaced", "folder"])
def test_a_store_that_has_vanished_takes_no_rows(what: str, tmp_path: Path) -> None:
    """Rows aren't written into a file that has no name any more, or has made way for another: the error says so."""
    path = tmp_path / "folder" / "store.sqlite"
    with Store(path) as store:
        run = store.begin("sweep", RUN, {})
        if what == "folder":
            path.parent.rename(tmp_path / "elsewhere")
        else:
            path.unlink()
        if what == "replaced":
            path.write_bytes(b"")
        with pytest.raises(GradusError, match="has been moved, deleted or replaced since it was opened; open it anew"):
            store.add(run, row(1))


def test_entries_of_a_table_that_has_lost_a_column_are_not_entered(store: Store) -> None:
    """Where a damaged definition gives entries of fewer values, a repair leaves them out, and the new store is well."""
    number = store.begin("a sweep", RUN, {})
    store.add(number, row(1))
    store._connection.execute("ALTER TABLE runs DROP COLUMN message")
    path = store.path
    store.close()
    assert repair_store(path)[:2] == (0, 0)
    with Store(path, create=False) as repaired:
        assert repaired.check() == []


# Headers, logs and crafted files

EVERY_BIT = 1 if "GRADUS_KILLS" in os.environ else 31  # of the header's 800


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Any]:
    """A store's file, and what is in it."""
    path = tmp_path_factory.mktemp("small") / "store.sqlite"
    with Store(path) as store:
        for _ in range(2):
            run = store.begin("sweep", RUN, {})
            for epoch in range(1, 31):
                store.add(run, row(epoch))
            store.end(run, "finished")
        held = contents(store)
    return path.read_bytes(), held


def contents(store: Store) -> Any:
    return [(one, store.rows(one.id)) for one in store.runs()]


@pytest.mark.parametrize("first", range(min(EVERY_BIT, 4)))
def test_a_flipped_bit_in_the_header_costs_nothing(first: int, small: tuple[bytes, Any], tmp_path: Path) -> None:
    """Whichever bit of the first hundred bytes is flipped, after a repair every run and row is there and rows are taken."""
    whole, held = small
    for bit in range(first * 7, 800, EVERY_BIT):
        path = tmp_path / f"{bit}.sqlite"
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        repair_store(path)
        with Store(path, create=False) as store:
            assert (bit, store.check()) == (bit, [])
            assert contents(store) == held
            store.add(store.begin("sweep", RUN, {}), row(1))


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


KILLED = """
store = Store(sys.argv[1])
run = store.begin("sweep", RUN, {})
for epoch in range(1, 11):
    store.add(run, row(epoch))
print("done", flush=True)
sys.stdin.readline()
"""


def killed(path: Path) -> None:
    """Leave a store of ten rows as a process does that is killed: with its log."""
    with python(KILLED, str(path)) as process:
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
        assert store.check()[0] == store._lost
    else:
        store = Store(path, create=False)
        assert store.check() == []
        assert [len(store.rows(one.id)) for one in store.runs()] == [10]
    store.close()


def endless(connection: sqlite3.Connection) -> None:
    connection.execute("DROP TABLE runs")
    connection.execute(
        "CREATE VIEW runs AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n)"
        " SELECT id, '' sweep, '' name, 0 seed, '' specification, '' conditions, '' status, '' message, 0.0 created FROM n"
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
        with pytest.raises(GradusError, match="holds what no store of Gradus holds"):
            use()


def test_a_killed_writers_run_is_not_running_for_ever(left: Path, tmp_path: Path) -> None:
    """What a killed process was at is interrupted; what a living one is at, which has the folder's lock, is running."""
    folder = shutil.copytree(left, tmp_path / "copy")
    with Store(folder / "store.sqlite", create=False) as store:
        assert [one.status for one in store.runs()] == ["interrupted"]
        with locked(folder):
            assert [one.status for one in store.runs()] == ["running"]
        assert store.begin("mine", RUN, {})
        assert [one.status for one in store.runs()] == ["interrupted", "running"]


READING = """
import os
os.setgid(65534)
os.setuid(65534)
with Store(sys.argv[1], create=False) as store:
    print([(one.status, one.epochs) for one in store.runs()], store.check(), flush=True)
    try:
        store.end(1, "failed")
    except Exception as error:
        print(error, flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become nobody")
@pytest.mark.parametrize("lost", [(), ("-shm",), ("-wal", "-shm")], ids=["killed", "without an index", "closed"])
def test_nobody_can_list_a_store_in_a_folder_that_is_read_only(lost: tuple[str, ...], left: Path, tmp_path: Path) -> None:
    """Who may only read a folder sees every run and row, those in the log too, writes nothing and leaves nothing there."""
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
    with python(READING, str(path)) as process:
        told, _ = process.communicate()
    assert told.splitlines()[0] == "[('interrupted', 10)] []"
    assert "attempt to write a readonly database" in told
    assert {one.name: one.stat().st_size for one in folder.iterdir()} == before
