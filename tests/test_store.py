"""Laws of the store: what was entered stays, comes back exactly, and no other file is touched."""

import itertools
import math
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradus.store as gradus_store
from gradus.errors import GradusError, InvalidInput
from gradus.files import locked
from gradus.rows import Row
from gradus.schedules import Constant, Lambda
from gradus.store import Status, Store, StoredRun, network
from gradus.store.network import network_type
from gradus.store.tables import ROWS, TABLES
from stores import FILES, RUN, begun, contents, exactly, mounted, python, row

ENDS = [one for one in get_args(Status) if one not in ("running", "damaged")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new store."""
    with Store(tmp_path / "store.sqlite") as opened:
        yield opened


# What is entered comes back


NAMES = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable() and bool(text.strip()))
SPECIAL = [-0.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 0.1, 2.0**53 + 2, math.nan, math.inf, -math.inf]
NUMBERS = st.dictionaries(NAMES, st.sampled_from(SPECIAL) | st.floats(), max_size=6)


@settings(max_examples=60)
@given(st.lists(st.builds(Row, st.integers(0, 2**63 - 1), NUMBERS), unique_by=lambda one: one.step))
def test_rows_come_back_bit_for_bit(rows: list[Row]) -> None:
    """Rows come back in the order of their steps with every name and every bit: signs of zeros, infinities and NaN too."""
    rows.sort(key=lambda one: one.step)
    with Store(":memory:") as store:
        run = begun(store)
        for one in rows:
            store.add(run, one)
        assert exactly(store.rows(run)) == exactly(rows)
        assert store.check() == []


def test_a_run_comes_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was entered is running, has no rows, and says what it and its sweep were entered with."""
    monkeypatch.setattr("time.time", lambda: 1234.5)
    sweep = store.begin_sweep("compare", "my sweep", {"seeds": [1, 2]})
    number = store.begin(sweep, RUN, {"threads": 1, "device": "cpu"})
    conditions = '{"device": "cpu", "threads": 1}'
    text = RUN.to_json()
    expected = StoredRun(number, sweep, "cosine", RUN.identity, "running", "", 1234.5, None, conditions, text, 0, 0, "")
    (stored,) = store.runs()
    assert stored == expected
    assert (stored.run, stored.conditions) == (RUN, {"threads": 1, "device": "cpu"})
    (one,) = store.sweeps()
    assert (one.id, one.kind, one.name, one.status, one.created) == (sweep, "compare", "my sweep", "running", 1234.5)
    assert one.settings == {"seeds": [1, 2]}
    store.end_sweep(sweep, "finished")
    assert [one.status for one in store.sweeps()] == ["finished"]


def test_a_run_needs_no_name(store: Store) -> None:
    """A run without a name is entered with an empty one, and its specification has none."""
    begun(store, RUN.replace(name=None))
    (stored,) = store.runs()
    assert (stored.name, stored.run.name) == ("", None)


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    """What was entered is there when the store is opened again, with or without the right to make one."""
    path = tmp_path / "deep" / "er" / "store.sqlite"
    with Store(path) as store:
        run = begun(store)
        store.add(run, row(1))
        store.note(run, "looks odd")
        store.end(run, "diverged", "at step 3")
        before = contents(store)
    for create in (True, False):
        with Store(path, create=create) as store:
            store._begun = {table: {1} for table in TABLES}  # as if it were the same process
            assert contents(store) == before


def test_runs_are_chosen_by_sweep(store: Store) -> None:
    """Runs come in the order they were entered, chosen by their sweep; rows belong to one run, and are counted."""
    sweeps = [store.begin_sweep("compare", name, {}) for name in "ab"]
    numbers = [store.begin(sweeps[index], RUN, {}) for index in (0, 1, 0)]
    store.add(numbers[2], row(10))
    store.add(numbers[2], row(25))
    assert [one.id for one in store.runs()] == numbers
    assert [one.id for one in store.runs(sweeps[0])] == [numbers[0], numbers[2]]
    assert [(one.step, one.rows) for one in store.runs()] == [(0, 0), (0, 0), (25, 2)]
    assert store.runs(99) == []
    assert store.rows(numbers[0]) == []


def test_rows_are_read_from_a_step_on(store: Store) -> None:
    """Who has seen the rows up to a step reads the later ones alone."""
    run = begun(store)
    for step in (0, 3, 7):
        store.add(run, Row(step, {}))
    seen = {after: [one.step for one in store.rows(run, after=after)] for after in (None, -1, 0, 3, 5, 7)}
    assert seen == {None: [0, 3, 7], -1: [0, 3, 7], 0: [3, 7], 3: [7], 5: [7], 7: []}


def test_listing_runs_does_not_read_their_rows(store: Store) -> None:
    """A list of runs takes SQLite as many steps with two thousand rows as with twenty."""
    run, taken = begun(store), []
    for count in (20, 2000):
        with store._file.writing():
            for step in range(len(store.rows(run)), count):
                store._file.insert(ROWS, run, step, step + 1, "{}")
        steps: list[int] = []
        store._file.connection.set_progress_handler(lambda steps=steps: steps.append(1), 1)
        list(store._file.connection.execute(gradus_store._RUNS))
        store._file.connection.set_progress_handler(None, 0)
        taken.append(len(steps))
        assert (store.runs()[0].step, store.runs()[0].rows) == (count - 1, count)
    assert taken[0] == taken[1]


@pytest.mark.parametrize("status", ENDS)
def test_a_run_ends_as_was_said(store: Store, status: Status) -> None:
    """Each way to end comes back with its message and its moment, for that run alone."""
    run, other = begun(store), begun(store)
    store.end(run, status, "why: 'quoted'; é")
    ended, running = store.runs()
    assert (ended.id, ended.status, ended.message) == (run, status, "why: 'quoted'; é")
    assert ended.ended is not None
    assert ended.ended >= ended.created
    assert (running.id, running.status, running.message, running.ended) == (other, "running", "", None)


def test_a_message_may_quote_anything(store: Store) -> None:
    """Texts with halves of characters, as file names may have, are entered with them spelled out."""
    run = store.begin(store.begin_sweep("train", "caf\udce9", {}), RUN, {"data": "caf\udce9"})
    store.note(run, "see caf\udce9")
    store.end(run, "failed", "no file caf\udce9")
    (stored,) = store.runs()
    assert (stored.message, stored.note) == (r"no file caf\udce9", r"see caf\udce9")
    assert (store.sweeps()[0].name, stored.conditions) == (r"caf\udce9", {"data": "caf\udce9"})
    assert store.check() == []


def test_a_resumed_run_keeps_its_rows(store: Store) -> None:
    """A run that goes on is running, without message and with its rows, of which it replaces those it gives otherwise."""
    run, other = begun(store), begun(store)
    for step in (1, 2, 3):
        store.add(run, row(step))
    store.add(other, row(1))
    for number in (run, other):
        store.end(number, "failed", "why")
    store.resume(run)
    assert [(one.status, one.message, one.rows) for one in store.runs()] == [("running", "", 3), ("failed", "why", 1)]
    assert store.rows(run) == [row(1), row(2), row(3)]
    store.add(run, row(2, lr=9.0), replacing=True)
    assert store.rows(run) == [row(1), row(2, lr=9.0)]
    store.add(run, row(4))
    store.end(run, "finished")
    assert [one.rows for one in store.runs()] == [3, 1]
    assert store.rows(other) == [row(1)]
    assert store.check() == []


def test_an_interruption_marks_what_runs(store: Store) -> None:
    """Of what is interrupted the running runs and sweeps are marked, and no other."""
    for status in (None, "finished", None, "failed"):
        run = begun(store)
        if status:
            store.end(run, status)  # type: ignore[arg-type]
    store.end_sweep(2, "finished")
    store.interrupt()
    assert [one.status for one in store.runs()] == ["interrupted", "finished", "interrupted", "failed"]
    assert [one.status for one in store.sweeps()] == ["interrupted", "finished", "interrupted", "interrupted"]


# What others ask for, note and delete


def test_requests_are_pending_until_they_are_answered(store: Store) -> None:
    """A request is seen by every process until it is answered, or its run has ended or is resumed."""
    runs = [begun(store) for _ in range(3)]
    with Store(store.path) as other, locked(store.path.parent):
        asked = [other.request(run, wish) for run, wish in zip(runs, ("stop", "pause", "pause"), strict=True)]
        assert [(one.id, one.run, one.wish) for one in store.requests()] == [
            (asked[0], runs[0], "stop"),
            (asked[1], runs[1], "pause"),
            (asked[2], runs[2], "pause"),
        ]
        store.answered(asked[0])
        store.end(runs[1], "paused")
        assert [one.id for one in other.requests()] == [asked[2]]
        store.resume(runs[2])
        assert other.requests() == []


@pytest.mark.parametrize(
    ("run", "wish", "message"),
    [
        (1, "stop", r"run 1 in .*store.sqlite is finished; only a running one can be asked to stop"),
        (2, "merry", 'a run can be asked to "stop" or to "pause"; got \'merry\''),
        (99, "pause", r"there is no run 99 in .*store.sqlite"),
    ],
)
def test_a_request_that_nobody_can_answer_is_refused(run: int, wish: Any, message: str, store: Store) -> None:
    """Only a running run can be asked, and only for what there is; otherwise nothing is entered."""
    store.end(begun(store), "finished")
    begun(store)
    with pytest.raises(GradusError, match=message):
        store.request(run, wish)
    assert store.requests() == []


def test_a_note_takes_the_place_of_the_one_before(store: Store) -> None:
    """A run has one note, which can be changed and taken away while another process trains it."""
    run = begun(store)
    with Store(store.path) as other:
        for text in ("odd", "odd: 'quoted'; é\nin two lines", ""):
            other.note(run, text)
            assert [one.note for one in store.runs()] == [text]
        store.add(run, row(1))
    assert store.check() == []


def test_what_belongs_to_a_run_goes_with_it(store: Store) -> None:
    """Rows, notes and requests of a deleted run go; other runs stay as they are, and its number is never given again."""
    runs = [begun(store) for _ in range(3)]
    for run in runs:
        store.add(run, row(1))
        store.note(run, "noted")
        store.request(run, "stop")
    for run in runs[:2]:
        store.end(run, "stopped")
    before = store.runs()[2]
    store.delete(runs[:2])
    assert store.runs() == [before]
    held = [store._file.asked(f"SELECT count(*) FROM {name}")[0][0] for name in ("rows", "notes", "requests")]
    assert held == [1, 1, 1]
    store.end(runs[2], "finished")
    store.delete(runs[2:])
    with Store(store.path) as again:
        assert begun(again) == 4
        assert again.check() == []


@pytest.mark.parametrize(("runs", "message"), [([1, 2], "run 2 in .* is running; stop it first"), ([1, 99], "no run 99 in")])
def test_a_deletion_is_whole_or_refused(runs: list[int], message: str, store: Store) -> None:
    """Where one of several runs is running or isn't there, none is deleted."""
    store.end(begun(store), "finished")
    begun(store)
    with pytest.raises(GradusError, match=message):
        store.delete(runs)
    assert [one.id for one in store.runs()] == [1, 2]


# What is refused


def test_rows_come_in_order(store: Store) -> None:
    """A row of a step that the run has passed is refused, and so is one of a run that has ended; earlier ones are kept."""
    run = begun(store)
    store.add(run, row(5))
    for step in (5, 3):
        with pytest.raises(GradusError, match=rf"has a row of step 5, so that of step {step} can't be added"):
            store.add(run, row(step, lr=9.0))
    store.end(run, "finished")
    with pytest.raises(GradusError, match=r"run 1 in .*store.sqlite isn't running; resume it first"):
        store.add(run, row(6))
    assert store.rows(run) == [row(5)]


UNKNOWN: dict[str, Callable[[Store], object]] = {
    "add": lambda store: store.add(99, row(1)),
    "end": lambda store: store.end(99, "finished"),
    "resume": lambda store: store.resume(99),
    "note": lambda store: store.note(99, "odd"),
    "begin": lambda store: store.begin(99, RUN, {}),
    "end_sweep": lambda store: store.end_sweep(99, "finished"),
    "answered": lambda store: store.answered(99),
}


@pytest.mark.parametrize("use", UNKNOWN)
def test_what_was_not_entered_is_refused(store: Store, use: str) -> None:
    """Nothing is entered for a run, a sweep or a request that the store doesn't know."""
    with pytest.raises(GradusError, match=r"there is no (run|sweep|request) 99 in .*store.sqlite"):
        UNKNOWN[use](store)
    assert contents(store) == ([], [], [])


@pytest.mark.parametrize("status", ["merry", "running", "damaged"])
def test_a_run_ends_in_a_known_way(store: Store, status: Any) -> None:
    """A status that is no end is refused by its name, for runs and sweeps, and nothing is changed."""
    run = begun(store)
    for end in (store.end, store.end_sweep):
        with pytest.raises(InvalidInput, match=rf"ended as one of finished, .*; got '{status}'"):
            end(run, status)
    assert [one.status for one in (*store.runs(), *store.sweeps())] == ["running", "running"]


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

    run = begun(store)
    store.add(run, row(1))
    with monkeypatch.context() as patch:
        patch.setattr("gradus.store.numbers_of", fails)
        with pytest.raises(kind, match="in the middle"):
            store.add(run, row(1, lr=9.0), replacing=True)  # the old row is deleted by then
    assert store.rows(run) == [row(1)]
    store.add(run, row(2))
    assert store.rows(run) == [row(1), row(2)]


PLACES = pytest.mark.parametrize("kind", ["ext4", "nfs4"])


@PLACES
def test_a_killed_writer_loses_nothing_it_had_entered(kind: str, tmp_path: Path) -> None:
    """A process killed in the middle of writing rows, on a disk or on a network, loses none that it had entered, and the
    store opens and goes on.
    """
    program = """
store = Store(sys.argv[1])
run = begun(store)
step = 0
while True:
    step += 1
    store.add(run, row(step))
    print(step, flush=True)
"""
    path = tmp_path / "folder" / "store.sqlite"
    with python(program, path, mounts=mounted(path.parent, kind)) as process:
        assert process.stdout is not None
        entered = [int(process.stdout.readline()) for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        entered += [int(line) for line in process.stdout.read().splitlines() if line]
    assert process.returncode == -signal.SIGKILL
    with Store(path, create=False) as store:
        (run,) = store.runs()
        rows = store.rows(run.id)
        assert rows[: len(entered)] == [row(step) for step in entered]
        assert rows[len(entered) :] in ([], [row(len(entered) + 1)])  # entered, but not yet told
        store.end(run.id, "interrupted")
        assert store.check() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="one process becomes sixteen by fork")
@PLACES
def test_many_processes_make_and_fill_stores_at_once(kind: str, tmp_path: Path) -> None:
    """Sixteen processes that make the same new stores and write to them, on a disk or on a network, lose no row and enter
    none twice.
    """
    program = """
wait, release = os.pipe()
children = []
for index in range(16):
    if (child := os.fork()) == 0:
        os.close(release)
        os.read(wait, 1)  # which ends for all at once
        for name in sys.argv[2:]:
            Store(name).close()
        with Store(sys.argv[2]) as store:
            run = store.begin(store.begin_sweep("train", str(index), {}), RUN, {})
            for step in range(1, int(sys.argv[1]) + 1):
                store.add(run, row(step))
            store.end(run, "finished")
        os._exit(0)
    children.append(child)
os.close(release)
print([os.waitpid(child, 0)[1] for child in children])
"""
    steps = 30 if kind == "ext4" else 3  # on a network one waits for the other
    paths = [tmp_path / "folder" / f"{index}.sqlite" for index in range(25)]  # the moment of making is the risky one
    with python(program, steps, *paths, mounts=mounted(paths[0].parent, kind)) as process:
        told, _ = process.communicate()
    assert told == f"{[0] * 16}\n"
    with Store(paths[0], create=False) as store:
        assert sorted(sweep.name for sweep in store.sweeps()) == sorted(map(str, range(16)))
        for run in store.runs():
            assert run.status == "finished"
            assert store.rows(run.id) == [row(step) for step in range(1, steps + 1)]
        assert store.check() == []


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
    run = begun(store)
    store.add(run, row(1))
    with store._file.writing():
        store._file.remove(ROWS, "run = ?", run)
        with Store(tmp_path / "store.sqlite", create=False) as reader:
            assert reader.rows(run) == [row(1)]
    assert store.rows(run) == []


# Files of others


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
        begun(store)
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


def test_where_nothing_can_be_written_a_store_is_read_and_none_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that can't be written to can be read; writing and making one are refused by its name, and no byte changes."""
    path, empty = tmp_path / "store.sqlite", tmp_path / "empty.sqlite"
    with Store(path) as store:
        run = begun(store)
        store.add(run, row(1))
    empty.write_bytes(b"")
    before = path.read_bytes()
    read_only(monkeypatch)
    with Store(path, create=False) as store:
        with pytest.raises(GradusError, match=r"store.sqlite can't be used: attempt to write a readonly database.*kept"):
            store.add(run, row(2))
        assert store.rows(run) == [row(1)]
    with pytest.raises(GradusError, match=r"empty.sqlite can't be used: attempt to write a readonly database"):
        Store(empty)
    assert (path.read_bytes(), empty.read_bytes()) == (before, b"")


@pytest.mark.parametrize("what", ["deleted", "replaced", "folder"])
def test_a_store_that_has_vanished_takes_no_rows(what: str, tmp_path: Path) -> None:
    """Rows aren't written into a file that has no name any more, or has made way for another: the error says so."""
    path = tmp_path / "folder" / "store.sqlite"
    with Store(path) as store:
        run = begun(store)
        if what == "folder":
            path.parent.rename(tmp_path / "elsewhere")
        else:
            path.unlink()
        if what == "replaced":
            path.write_bytes(b"")
        with pytest.raises(GradusError, match="has been moved, deleted or replaced since it was opened; open it anew"):
            store.add(run, row(1))


def fill(store: Store, run: int) -> None:
    """Rows without end."""
    for step in itertools.count(1):
        store.add(run, row(step))


def test_a_full_disk_keeps_what_was_entered(store: Store) -> None:
    """When the space ends, the error names the store, what was entered before is kept, and later rows are taken again."""
    run = begun(store)
    pages = store._file.connection.execute("PRAGMA page_count").fetchone()[0]
    store._file.connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(GradusError, match=r"store.sqlite can't be used: database or disk is full; what was in it"):
        fill(store, run)
    entered = len(store.rows(run))
    assert store.rows(run) == [row(step) for step in range(1, entered + 1)]
    store._file.connection.execute("PRAGMA max_page_count = 100000")
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
    sweep = store.begin_sweep("train", "a sweep", {})
    with pytest.raises(GradusError):
        store.begin(sweep, RUN.replace(schedules=Constant() * Lambda(lambda t: 1 / (1 + t))), {})
    assert store.runs() == []


# On a network


TABLE = r"""
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:5 / /home rw,relatime shared:2 master:1 - nfs4 server:/home rw,vers=4.2
23 22 8:2 / /home/me/my\040disk rw - xfs /dev/sdb1 rw
24 21 0:6 / /mnt rw - cifs //server/share rw
25 24 8:3 / /mnt rw - ext4 /dev/sdc1 rw
26 21 0:7 / /far rw - fuse.sshfs me@server:/ rw
27 21 8:4 / /windows rw - fuseblk /dev/sdd1 rw
28 21 0:8 / /scratch rw - lustre server:/scratch rw
29 21 0:9 / /old rw - autofs
what isn't a mount
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/tmp/store.sqlite", ""),
        ("/home/me/store.sqlite", "nfs4"),
        ("/homes/me/store.sqlite", ""),
        ("/home/me/my disk/runs/store.sqlite", ""),
        ("/home/me/my/store.sqlite", "nfs4"),
        ("/home/../tmp/store.sqlite", ""),
        ("/mnt/store.sqlite", ""),  # the later mount hides the earlier one
        ("/far/away/store.sqlite", "fuse.sshfs"),
        ("/windows/store.sqlite", ""),
        ("/scratch", "lustre"),
    ],
)
def test_a_files_mount_is_that_of_its_longest_folder(
    path: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is on a network if the last mount at the nearest folder above it is; without a table nothing is known to be."""
    (tmp_path / "table").write_text(TABLE)
    monkeypatch.setattr(network, "_MOUNTS", tmp_path / "table")
    assert network_type(Path(path)) == expected
    monkeypatch.setattr(network, "_MOUNTS", tmp_path / "absent")
    assert network_type(Path(path)) == ""


@pytest.fixture
def on_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on a network."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setattr(network, "_MOUNTS", mounted(folder))
    return folder


def is_write_ahead(path: Path) -> bool:
    """Whether a store has a log, by its header."""
    with Store(path, create=False) as store:
        store.runs()
        beside = {f"{path.name}{ending}" for ending in ("-wal", "-shm")} & {one.name for one in path.parent.iterdir()}
    assert path.read_bytes()[18:20] == (b"\2\2" if beside else b"\1\1")
    return bool(beside)


def test_a_store_on_a_network_has_no_log(on_network: Path) -> None:
    """A store that is made on a network has a rollback journal, and several connections read and write what others wrote;
    elsewhere it has a log.
    """
    path = on_network / "store.sqlite"
    with Store(path) as store, Store(path) as other:
        run = begun(store)
        store.add(run, row(1))
        other.note(run, "seen")
        assert other.rows(run) == [row(1)]
        assert store.runs()[0].note == "seen"
        assert {one.name for one in on_network.iterdir()} == {"store.sqlite"}
    assert not is_write_ahead(path)
    elsewhere = on_network.parent / "store.sqlite"
    Store(elsewhere).close()
    assert is_write_ahead(elsewhere)


KILLED = """
store = Store(sys.argv[1])
run = begun(store)
for step in range(1, 11):
    store.add(run, row(step))
print("done", flush=True)
sys.stdin.readline()
"""


def test_a_log_that_comes_onto_a_network_is_taken_in(on_network: Path) -> None:
    """A store on a network with a log that a killed process has left loses the log, and nothing that is in it."""
    path = on_network / "store.sqlite"
    with python(KILLED, path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        process.kill()
    assert path.read_bytes()[18:20] == b"\2\2"
    with Store(path, create=False) as store:
        assert store.rows(1) == [row(step) for step in range(1, 11)]
        store.end(1, "interrupted")
        assert store.check() == []
    assert not is_write_ahead(path)


def test_a_log_in_use_on_a_network_is_refused(on_network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store on a network whose log another process uses is refused in a sentence; when that is gone, it can be opened."""
    path = on_network / "store.sqlite"
    with python(KILLED, path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        monkeypatch.setattr("gradus.store.opening._BUSY_SECONDS", 0.1)
        with pytest.raises(
            GradusError, match=r"network file system \(nfs4\), where it can't have .* log, and another process"
        ):
            Store(path, create=False)
        process.communicate("\n")
    assert not is_write_ahead(path)
