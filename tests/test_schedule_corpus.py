"""Published recipes, in which no mistake is found, and published mistakes, each of which is."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from gradus import from_torch
from gradus.errors import InvalidInput
from gradus.schedules import Schedule, check, parse

CORPUS = tomllib.loads((Path(__file__).parent / "schedule_corpus.toml").read_text())
RECIPES, MISTAKES = CORPUS["recipe"], CORPUS["mistake"]


def an_optimizer(entry: dict[str, Any]) -> torch.optim.Optimizer:
    """One whose hyperparameter is the entry's base."""
    settings = {"lr": 0.1, "momentum": 0.9, entry.get("name", "lr"): entry["base"]}
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], **settings)


def the_schedule(entry: dict[str, Any]) -> Schedule:
    """As it is written, or as it is read from torch's own scheduler."""
    if "schedule" in entry:
        return parse(entry["schedule"])
    known = {name: getattr(lr_scheduler, name) for name in lr_scheduler.__all__}
    schedule = from_torch(eval(entry["torch"], known | {"optimizer": an_optimizer(entry)}))
    assert isinstance(schedule, Schedule)
    return schedule


def mistakes(entry: dict[str, Any]) -> list[str]:
    """The codes of the mistakes that are found."""
    arguments = {"steps_per_epoch": entry.get("epoch"), "base": entry["base"], "name": entry.get("name", "lr")}
    found = check(the_schedule(entry), entry["steps"], **arguments)
    return [finding.code for finding in found if finding.rank == "mistake"]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe["about"])
def test_a_recipe_has_no_mistake(recipe: dict[str, Any]) -> None:
    """No mistake is found in a published recipe."""
    assert mistakes(recipe) == []


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake["about"])
def test_a_mistake_is_found(mistake: dict[str, Any]) -> None:
    """What went wrong for somebody is found under its code, or refused when it is built."""
    if mistake["code"] == "refused":
        with pytest.raises(InvalidInput):
            the_schedule(mistake)
    else:
        assert mistake["code"] in mistakes(mistake)


def test_the_corpus_is_large_and_has_its_sources() -> None:
    """There are at least 40 of each, no two the same, and each says where it is from, and which of its numbers are ours."""
    assert min(len(RECIPES), len(MISTAKES)) >= 40
    entries = [*RECIPES, *MISTAKES]
    assert len({entry["about"] for entry in entries}) == len(entries)
    assert all(entry["source"] and ("schedule" in entry) != ("torch" in entry) for entry in entries)
    assert all(entry.keys() >= set(entry.get("ours", [])) for entry in entries)
