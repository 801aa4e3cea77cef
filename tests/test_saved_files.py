"""Files that earlier versions have saved: they load, and mean what they meant.

`python tests/test_saved_files.py` adds new kinds of schedules to the file of the present format; a new version of the format
gets files of its own.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gradus.errors import InvalidInput
from gradus.scheduler import Scheduler
from gradus.schedules import Cosine, Plateau, Schedule, Step, warmup
from registry import SCHEDULES, TEMPLATES

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


def write() -> None:
    """Add to the files of the present format what they lack; what is there stays as it was saved."""
    texts = {name: schedule.to_json() for name, schedule in DEFINITIONS.items()} | schedules_of(1)
    (ASSETS / "schedules_v1.json").write_text(json.dumps(texts, indent=1) + "\n")


if __name__ == "__main__":
    write()
