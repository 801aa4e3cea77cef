"""A saved state of a Scheduler that can't be one: refused by the documented error, and nothing is half-changed."""

import copy
import json
import math
import os
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradus.errors import InvalidInput
from gradus.scheduler import Scheduler
from gradus.schedules import Constant, Cosine, Greedy, Linear, Plateau, absolute, warmup

CASES = int(os.environ.get("GRADUS_FUZZ_CASES", "150"))


def an_optimizer(groups: int = 2) -> torch.optim.Optimizer:
    """AdamW with some groups."""
    return torch.optim.AdamW(
        [{"params": [torch.zeros(1, requires_grad=True)], "lr": 0.1 * (index + 1)} for index in range(groups)]
    )


def a_scheduler(groups: int = 2) -> Scheduler:
    """One of everything: factors that follow metrics, groups by key, an absolute one, a member of a tuple."""
    schedules: Any = {
        "lr": (warmup(3, start=0.1) >> Cosine(9)) * Plateau(patience=0) * Greedy(),
        "weight_decay": {0: Linear(4), 1: absolute(Constant(0.2))},
        "betas[0]": absolute(Linear(5, start=0.9, end=0.8)),
    }
    return Scheduler(an_optimizer(groups), **schedules)


def trained() -> dict[str, Any]:
    """A state that is one."""
    scheduler = a_scheduler()
    for _ in range(3):
        scheduler.step(0.5)
    state: dict[str, Any] = json.loads(json.dumps(scheduler.state_dict()))
    return state


STATE = trained()


def all_of(scheduler: Scheduler) -> Any:
    """Whatever a load may change, exactly."""
    groups = [{**group, "params": None} for group in scheduler.optimizer.param_groups]
    return repr((scheduler.state_dict(), groups, scheduler._updates_done))


def of_lr(**fields: Any) -> dict[str, Any]:
    """The state with other fields for the rate."""
    state = copy.deepcopy(STATE)
    state["hyperparameters"]["lr"].update(fields)
    return state


def of_factor(index: int, **fields: Any) -> dict[str, Any]:
    """The state with other numbers for a metric-driven factor."""
    seen = copy.deepcopy(STATE["hyperparameters"]["lr"]["seen"])
    seen[0][index]["state"].update(fields)
    return of_lr(seen=seen)


REFUSED: dict[str, Any] = {
    "a base that isn't there": of_lr(bases=[0.1, None]),
    "an infinite base": of_lr(bases=[math.inf, 0.2]),
    "a base beyond all floats": of_lr(bases=json.loads("[1e400, 0.2]")),
    "an integer beyond all floats": of_lr(bases=[10**400, 0.2]),
    "a base that is no number": of_lr(bases=[math.nan, 0.2]),
    "a base below 0": of_lr(bases=[-1.0, 0.2]),
    "a later group's base below 0": of_lr(bases=[0.1, 0.2, -1.0]),
    "a boolean base": of_lr(bases=[True, 0.2]),
    "a base in words": of_lr(bases=["0.1", 0.2]),
    "a tensor for a base": of_lr(bases=[torch.tensor(0.1), 0.2]),
    "a list for a factor": of_factor(0, factor=[0.1]),
    "a factor below 0": of_factor(0, factor=-0.1),
    "an infinite factor": of_factor(1, factor=math.inf),
    "a factor that is no number": of_factor(0, factor=math.nan),
    "no factor": of_factor(0, factor=None),
    "a count below 0": of_factor(0, bad=-1),
    "half a count": of_factor(0, cooling=0.5),
    "a boolean count": of_factor(1, good=True),
    "metrics that are none": of_factor(1, seen=[None]),
    "a best that is no number": of_factor(0, best=math.nan),
    "another field": of_factor(0, more=1),
    "a factor too few": of_lr(seen=[STATE["hyperparameters"]["lr"]["seen"][0][:1]]),
    "no factors": of_lr(seen=[[]]),
    "no schedule": of_lr(schedules=[], seen=[]),
    "two schedules for all groups": of_lr(schedules=STATE["hyperparameters"]["lr"]["schedules"] * 2, seen=[[], []]),
    "a group twice": of_lr(groups=[[0, 0]]),
    "groups of another schedule": of_lr(groups=[[0], [1]]),
    "what is no schedule": of_lr(schedules=["{}"]),
    "more that was given": of_lr(given=["{}", "{}"]),
    "a step that is no number": {**STATE, "step": math.nan},
    "a boolean step": {**STATE, "step": True},
    "a step beyond 64 bits": {**STATE, "step": 2**63},
    "a boolean version": {**STATE, "gradus.scheduler": True},
    "a tensor for a version": {**STATE, "gradus.scheduler": torch.zeros(3)},
    "a field whose name is a number": {**STATE, 3: 4},
    "a hyperparameter whose name is a number": {**STATE, "hyperparameters": {3: {}}},
    "a hyperparameter that there isn't": {
        **STATE,
        "hyperparameters": {**STATE["hyperparameters"], "momentum": STATE["hyperparameters"]["lr"]},
    },
    "the parameters themselves": {**STATE, "hyperparameters": {"params[0]": STATE["hyperparameters"]["lr"]}},
    "a member beyond all numbers": {
        **STATE,
        "hyperparameters": {f"betas[{'9' * 5000}]": STATE["hyperparameters"]["lr"]},
    },
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("answer", [None, "keep"])
def test_what_cannot_be_a_state(case: str, answer: Any) -> None:
    """It is refused, whatever is answered, and nothing is changed."""
    scheduler = a_scheduler()
    scheduler.step(0.7)
    before = all_of(scheduler)
    with pytest.raises(InvalidInput):
        scheduler.load_state_dict(REFUSED[case], on_change=answer)
    assert all_of(scheduler) == before


ODD = st.sampled_from(
    [None, True, -1, 0, 3, 2**63, 10**400, 0.5, -0.0, math.nan, math.inf, 1e308, "", "lr", "{}", [], [0], [[0]], [0.1, None]]
) | st.sampled_from([{}, {"a": 1}, torch.tensor(1.0), torch.zeros(2), object, 1j, b"x", (1,), [-1, 0.2], [[0], [1]]])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each part of a state."""
    keys: Any = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path, *(one for key in keys for one in places(value[key], (*path, key)))]


@st.composite
def mutated(draw: Any) -> Any:
    """A state with one to three parts put wrong, left out or doubled."""
    state = copy.deepcopy(STATE)
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from([one for one in places(state) if one]))
        parent = state
        for key in path:
            parent = parent[key]
        change = draw(st.sampled_from(["put", "put", "put", "remove", "double", "text"]))
        if change == "remove":
            del parent[last]
        elif change == "double" and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[last]))
        elif change == "text" and isinstance(parent[last], str):
            text, at = parent[last], draw(st.integers(0, len(parent[last])))
            parent[last] = text[:at] + draw(st.sampled_from(["", "x", "9" * 400, "\ud800", "null", "["])) + text[at + 1 :]
        else:
            parent[last] = copy.deepcopy(draw(ODD))
        if not places(state)[1:]:
            break
    return state


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutated(), st.sampled_from([None, "keep", "new", "rescale", "splice"]), st.sampled_from([2, 3]))
def test_a_mutated_state(state: Any, answer: Any, groups: int) -> None:
    """It is taken up, and training goes on and is saved again, or it is refused and nothing is changed, bit for bit."""
    scheduler = a_scheduler(groups)
    scheduler.step(0.7)
    before = all_of(scheduler)
    try:
        scheduler.load_state_dict(state, on_change=answer)
    except InvalidInput:
        assert all_of(scheduler) == before
        return
    assert all(math.isfinite(group["lr"]) for group in scheduler.optimizer.param_groups)
    again = a_scheduler(groups)
    again.load_state_dict(json.loads(json.dumps(scheduler.state_dict())), on_change="keep")
    assert again.state_dict() == scheduler.state_dict()
    position = scheduler.last_epoch
    if scheduler._clock in (None, "steps") and position < 2**62:
        scheduler.step()
        assert scheduler.last_epoch == position + 1
