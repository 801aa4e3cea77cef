"""The Scheduler's one warning: when it is given, when it isn't, and what it leaves alone."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import gradus
from gradus.errors import ScheduleMistake
from gradus.scheduler import mistakes
from gradus.schedules import Constant, Cosine, Lambda, Schedule, Step, absolute, noam, warmup
from test_schedule_corpus import MISTAKES, RECIPES, an_optimizer, the_schedule


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins as a process does, with nothing told."""
    monkeypatch.setattr(mistakes, "_warned", set())


@pytest.fixture
def caught() -> Iterator[list[warnings.WarningMessage]]:
    """The warnings that are given, all of them."""
    with warnings.catch_warnings(record=True) as some:
        warnings.simplefilter("always")
        yield some


def adamw(lr: float = 3e-4, groups: int = 1) -> torch.optim.Optimizer:
    return torch.optim.AdamW([{"params": [torch.zeros(1, requires_grad=True)]} for _ in range(groups)], lr=lr)


def told(some: list[warnings.WarningMessage]) -> list[str]:
    assert all(one.category is ScheduleMistake for one in some)
    return [str(one.message) for one in some]


@pytest.mark.parametrize("mistake", [one for one in MISTAKES if one["code"] != "refused"], ids=lambda one: one["about"])
def test_a_published_mistake_gives_one_warning(mistake: dict[str, Any], caught: list[warnings.WarningMessage]) -> None:
    """With the run's length known, each published mistake gives one warning, of the class that can be filtered."""
    schedule, optimizer = the_schedule(mistake), an_optimizer(mistake)
    caught.clear()  # torch's own scheduler may have said something
    lengths = {"total_steps": mistake["steps"], "steps_per_epoch": mistake.get("epoch")}
    gradus.Scheduler(optimizer, lr=schedule, **lengths)
    assert len(told(caught)) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda one: one["about"])
def test_a_published_recipe_gives_none(recipe: dict[str, Any]) -> None:
    """A published recipe gives no warning, whether the run's length is known or not."""
    name = recipe.get("name", "lr")
    gradus.Scheduler(an_optimizer(recipe), **{name: the_schedule(recipe)}, total_steps=recipe["steps"])
    gradus.Scheduler(an_optimizer(recipe), **{name: the_schedule(recipe).resolve(recipe["steps"])})


@pytest.mark.parametrize("schedule", [Cosine(1000, start=3e-4, end=3e-5), noam(512, 4000)], ids=["cosine", "noam"])
def test_a_rate_as_a_factor_is_found_without_a_length(schedule: Schedule, caught: list[warnings.WarningMessage]) -> None:
    """Base and factor are known to a Scheduler, so it warns of a product that is next to nothing."""
    gradus.Scheduler(adamw(), lr=schedule)
    (message,) = told(caught)
    assert message.startswith("lr: it is a factor of the value 0.0003")
    assert "absolute(...)" in message
    gradus.Scheduler(adamw(), lr=absolute(schedule))
    gradus.Scheduler(adamw(lr=1.0), lr=schedule)
    assert len(caught) == 1


@pytest.mark.parametrize(
    "schedule", [Cosine(500), Step(30), Cosine(100).after("mirror"), warmup(10) >> Cosine(9, start=0.5)]
)
def test_without_a_length_nothing_else_is_said(schedule: Schedule) -> None:
    """What only a run's length shows is no matter for a Scheduler that doesn't know it."""
    gradus.Scheduler(adamw(), lr=schedule)
    gradus.Scheduler(adamw(), lr=schedule, steps_per_epoch=100)


def test_a_definition_is_told_of_once(caught: list[warnings.WarningMessage]) -> None:
    """The same definition over the same base warns once, however often it is built; another one warns anew."""
    for _ in range(3):
        gradus.Scheduler(adamw(), lr=Cosine(500), total_steps=1000)
    assert len(told(caught)) == 1
    gradus.Scheduler(adamw(), lr=Cosine(400), total_steps=1000)
    assert len(told(caught)) == 2


def test_several_mistakes_give_a_single_warning(caught: list[warnings.WarningMessage]) -> None:
    """A schedule with several mistakes gives one warning, of the first in the run."""
    gradus.Scheduler(adamw(), lr=warmup(100) >> Cosine(400, start=0.5), total_steps=1000)
    (message,) = told(caught)
    assert "step 100" in message


def test_a_group_of_several_may_be_meant(caught: list[warnings.WarningMessage]) -> None:
    """One group of several may stop early or stay small; a mistake in all of them is one."""
    meant = {0: Cosine(1000), 1: Cosine(500)}
    gradus.Scheduler(adamw(groups=2), lr=meant, total_steps=1000)
    gradus.Scheduler(adamw(groups=2), lr={0: Cosine(1000), 1: Cosine(1000, start=1e-3)}, total_steps=1000)
    assert caught == []
    gradus.Scheduler(adamw(groups=2), lr={0: Cosine(400), 1: Cosine(500)}, total_steps=1000)
    assert len(told(caught)) == 1


def test_it_can_be_filtered(caught: list[warnings.WarningMessage]) -> None:
    """The class of the warning is public, so that who means it can say so."""
    warnings.simplefilter("ignore", ScheduleMistake)
    gradus.Scheduler(adamw(), lr=Cosine(500), total_steps=1000)
    assert caught == []


def test_as_an_error_it_changes_nothing() -> None:
    """Where warnings are errors, the optimizer is as it was."""
    optimizer = adamw()
    before = dict(optimizer.param_groups[0])
    with pytest.raises(ScheduleMistake):
        gradus.Scheduler(optimizer, lr=warmup(10) >> Cosine(490), total_steps=1000)
    assert optimizer.param_groups[0] == before


@pytest.mark.parametrize("rank", [0, 1])
def test_only_the_first_process_tells(
    rank: int, monkeypatch: pytest.MonkeyPatch, caught: list[warnings.WarningMessage]
) -> None:
    """Under torch.distributed the first process warns, and the others don't."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
    gradus.Scheduler(adamw(), lr=Cosine(500), total_steps=1000)
    assert len(told(caught)) == (1 if rank == 0 else 0)


def test_a_function_that_refuses_to_be_asked_ahead_is_left_alone() -> None:
    """A user's function that raises for later steps is met by the run, not by the warning."""
    gradus.Scheduler(adamw(), lr=Lambda([1.0, 0.5].__getitem__), total_steps=1000)


@pytest.mark.parametrize("name", ["weight_decay", "betas[0]"])
def test_other_hyperparameters_are_looked_at_too(name: str, caught: list[warnings.WarningMessage]) -> None:
    """A value given as a factor of itself is found in every hyperparameter."""
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], weight_decay=0.04, betas=(0.04, 0.99))
    gradus.Scheduler(optimizer, lr=Constant(), **{name: Cosine(100, start=0.01, end=0.04)})
    (message,) = told(caught)
    assert message.startswith(f"{name}: it is a factor of the value 0.04")


def test_a_range_test_up_to_one_gives_none() -> None:
    """A range test tries rates on purpose, a rate of exactly 1 over a small one among them."""
    model = torch.nn.Linear(3, 1)
    inputs = torch.randn(320, 3, generator=torch.Generator().manual_seed(0))
    batches = list(zip(inputs.split(32), inputs.sum(1, keepdim=True).split(32), strict=True))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    gradus.range_test(model, optimizer, torch.nn.functional.mse_loss, batches, start=1e-3, end=1.0, steps=10, progress=False)
