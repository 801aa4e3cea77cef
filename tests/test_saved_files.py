"""Files that earlier versions have saved: they load, and mean what they meant.

`python tests/test_saved_files.py` adds new kinds of schedules to the file of the present format; a new version of the format
gets files of its own.
"""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from gradus.errors import GradusError, InvalidInput
from gradus.rows import Row
from gradus.scheduler import Scheduler
from gradus.schedules import Cosine, Plateau, Schedule, Step, warmup
from gradus.store import Store, network
from gradus.store.repair import repair_store
from registry import SCHEDULES, TEMPLATES
from stores import mounted

ASSETS = Path(__file__).parent / "assets"
DEFINITIONS = {**SCHEDULES, **{f"template {name}": template for name, (template, _) in TEMPLATES.items()}}


def a_scheduler() -> Scheduler:
    """Two groups, two hyperparameters, and a factor that has seen metrics."""
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": 0.1 * (index + 1)} for index in range(2)]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.1)
    return Scheduler(optimizer, lr=(warmup(5) >> Cosine(20)) * Plateau(patience=0), weight_decay={1: Step(4)})


def schedules_of(version: int) -> dict[str, str]:
    """The saved schedules of a version of the format."""
    saved: dict[str, str] = json.loads((ASSETS / f"schedules_v{version}.json").read_text())
    return saved


@pytest.mark.parametrize("name", schedules_of(1))
def test_a_schedule_saved_by_an_earlier_version_loads(name: str) -> None:
    """It has the values of the schedule of that name in the registry, however that is composed today."""
    saved = Schedule.from_json(schedules_of(1)[name], trusted=True)
    assert _values(saved) == pytest.approx(_values(DEFINITIONS[name]), rel=1e-12)
    assert Schedule.from_json(saved.to_json(), trusted=True) == saved


def _values(schedule: Schedule) -> list[float]:
    """The first values, in a run that makes a template concrete."""
    concrete = schedule.resolve(1000, steps_per_epoch=100, samples_per_step=32, tokens_per_step=2048)
    return [concrete(step) for step in (*range(40), 99, 100, 500, 950, 1000)]


def test_every_schedule_has_been_saved() -> None:
    """A new kind of schedule goes into the saved files too."""
    assert set(schedules_of(1)) == set(DEFINITIONS)


def test_a_scheduler_saved_by_an_earlier_version_loads() -> None:
    """Its groups hold what they held."""
    saved = json.loads((ASSETS / "scheduler_v1.json").read_text())
    scheduler = a_scheduler()
    scheduler.load_state_dict(saved["state"])
    groups = scheduler.optimizer.param_groups
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [tuple(pair) for pair in saved["groups"]]
    assert scheduler.state_dict() == saved["state"]


def _without(state: dict[str, Any], field: str) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key != field}


DAMAGED: list[tuple[Any, str]] = [
    (lambda _: {}, "this is no state of a gradus Scheduler: it has no field 'gradus.scheduler'"),
    (lambda _: {"last_epoch": 3, "base_lrs": [0.1]}, "this is no state of a gradus Scheduler"),
    (lambda state: {**state, "gradus.scheduler": 99}, "this scheduler state has version 99; this Gradus reads version 1"),
    (lambda state: {**state, "colour": 1}, "a scheduler state has no field 'colour'"),
    (lambda state: _without(state, "step"), "a scheduler state's 'step' can't be None"),
    (lambda state: {**state, "step": -1}, "a scheduler state's 'step' can't be -1"),
    (lambda state: {**state, "hyperparameters": {"lr": 3}}, "a scheduler state's 'lr' can't be 3"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGED)
def test_a_damaged_or_foreign_state_is_refused_by_name(damage: Any, message: str) -> None:
    """What is wrong with it is said, and the scheduler stays where it was."""
    state = json.loads((ASSETS / "scheduler_v1.json").read_text())["state"]
    scheduler = a_scheduler()
    before = scheduler.state_dict()
    with pytest.raises(InvalidInput, match=message):
        scheduler.load_state_dict(damage(state))
    assert scheduler.state_dict() == before


@pytest.mark.parametrize("name", schedules_of(1))
def test_a_truncated_file_is_refused(name: str) -> None:
    """Half of a file is no schedule."""
    text = schedules_of(1)[name]
    with pytest.raises(InvalidInput):
        Schedule.from_json(text[: len(text) // 2])


# A store of version 1: two sweeps of runs that finished, diverged and were cut short


OLD_RUNS: list[dict[str, Any]] = json.loads((ASSETS / "store_v1.json").read_text())
NEW_NAMES = {
    "lr": "lr",
    "train/loss": "train_loss",
    "train/accuracy": "train_accuracy",
    "test/loss": "test_loss",
    "test/accuracy": "test_accuracy",
}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The old store, in a folder of its own."""
    return Path(shutil.copy(ASSETS / "store_v1.sqlite", tmp_path / "store.sqlite"))


def expect_all_of_the_old(store: Store) -> None:
    """A store has all that was in the old one: every number bit for bit, under its new name."""
    runs = store.runs()
    assert len(runs) == len(OLD_RUNS) == 7
    sweeps = {one.id: one for one in store.sweeps()}
    assert [one.status for one in sweeps.values()] == ["finished", "interrupted"]
    for one, before in zip(runs, OLD_RUNS, strict=True):
        sweep = sweeps[one.sweep]
        assert (sweep.name, sweep.kind) == (before["sweep"], before["sweep"].split(" ")[0])
        for name in ("id", "name", "status", "message", "created", "specification"):
            assert getattr(one, name) == before[name]
        assert one.conditions == json.loads(before["conditions"])
        assert (one.run.name, one.run.seed, one.identity) == (before["name"], before["seed"], one.run.identity)
        assert one.run.valid is False  # it was trained on all of the training data, and shown on the test data
        rows = store.rows(one.id)
        assert (one.rows, one.step) == (before["epochs"], rows[-1].step if rows else 0)
        seconds = 0.0
        for row, earlier in zip(rows, before["rows"], strict=True):
            seconds += earlier["seconds"]
            numbers = {name: earlier[old_name] for name, old_name in NEW_NAMES.items()}
            expected = Row(earlier["step"], numbers | {"epoch": earlier["epoch"]})
            assert row == expected
            assert row["time/seconds"] == seconds
    assert store.check() == []


@pytest.mark.parametrize("kind", ["ext4", "nfs4"])
def test_a_store_of_version_1_is_brought_to_todays(kind: str, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk or a network, it has every run, row and number that it had, takes new ones, and stays a store of today's."""
    monkeypatch.setattr(network, "_MOUNTS", mounted(old.parent, kind))
    with Store(old, create=False) as store:
        expect_all_of_the_old(store)
        store.resume(7)
        store.add(7, Row(24, {"train/loss": 0.5}))
        store.end(7, "finished")
    with Store(old, create=False) as store:
        assert [one.rows for one in store.runs()][-1] == 2
        assert store.check() == []


def test_a_store_of_version_1_that_can_only_be_read_is_read(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be written, it is shown as it would be, and isn't changed."""
    before = old.read_bytes()
    connect = sqlite3.connect

    def reading(path: Any, **settings: Any) -> sqlite3.Connection:
        return connect(f"{path.as_uri()}?mode=ro", uri=True, **settings) if path == old else connect(path, **settings)

    monkeypatch.setattr(sqlite3, "connect", reading)
    with Store(old, create=False) as store:
        expect_all_of_the_old(store)
        with pytest.raises(GradusError, match="attempt to write a readonly database"):
            store.note(1, "seen")
    assert old.read_bytes() == before


def test_whoever_dies_while_a_store_is_moved_leaves_the_old_one(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the move is cut short, the old store is whole, and the next attempt brings it over."""

    def fails(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gradus.store.version_1._rows", fails)
        with pytest.raises(KeyboardInterrupt):
            Store(old)
    with Store(old, create=False) as store:
        expect_all_of_the_old(store)


def test_a_damaged_store_of_version_1_is_moved_by_a_repair(old: Path) -> None:
    """Where something in it is damaged it isn't moved, and no byte of it changes; a repair saves what was entered before."""
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        connection.execute("UPDATE rows SET lr = 'fast' WHERE run = 2 AND epoch = 2")
    before = old.read_bytes()
    with pytest.raises(GradusError, match=r"is of version 1, and damaged .*gradus runs --repair"):
        Store(old)
    assert old.read_bytes() == before
    repaired = repair_store(old)
    assert repaired[:2] == (7, 8)
    assert repaired.damaged == 1
    assert repaired.old is not None
    assert repaired.old.read_bytes() == before
    with Store(old, create=False) as store:
        assert store.check() == []
        assert [one.status for one in store.runs()][1] == "interrupted"
        assert [one.rows for one in store.runs()] == [2, 1, 0, 2, 2, 0, 1]


@pytest.mark.parametrize("bit", range(3, 800, 97))
def test_a_store_of_version_1_with_a_damaged_header_is_repaired(bit: int, old: Path) -> None:
    """A flipped bit in its first hundred bytes costs it nothing."""
    content = bytearray(old.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    old.write_bytes(content)
    repair_store(old)
    with Store(old, create=False) as store:
        expect_all_of_the_old(store)


def write() -> None:
    """Add to the files of the present format what they lack; what is there stays as it was saved."""
    texts = {name: schedule.to_json() for name, schedule in DEFINITIONS.items()} | schedules_of(1)
    (ASSETS / "schedules_v1.json").write_text(json.dumps(texts, indent=1) + "\n")


if __name__ == "__main__":
    write()
