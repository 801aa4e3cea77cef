"""The base that a schedule multiplies: whoever has scheduled the group before, and whatever was loaded when.

Numbers are issues of pytorch/pytorch, unless another project is named.
"""

import copy
import itertools
import pickle
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler as torch_lr

import gradus
from gradus import lr_scheduler as drop_ins
from gradus.errors import InvalidInput, ScheduleMistake
from gradus.scheduler import Scheduler
from gradus.schedules import Constant, Cosine, Lambda, Linear, Plateau, Schedule, absolute, warmup

Make = Any


def an_optimizer(*rates: float, dtype: torch.dtype | None = None, **options: Any) -> torch.optim.Optimizer:
    """AdamW with a group for each rate, tensors where a dtype is given."""
    groups = [
        {"params": [torch.zeros(2, requires_grad=True)], "lr": rate if dtype is None else torch.tensor(rate, dtype=dtype)}
        for rate in rates or (0.1,)
    ]
    return torch.optim.AdamW(groups, **options)


def rates(optimizer: Any) -> list[float]:
    """What is in the groups."""
    return [float(group["lr"]) for group in optimizer.param_groups]


def run(scheduler: Any, steps: int) -> Any:
    """The scheduler after so many updates."""
    for _ in range(steps):
        scheduler.optimizer.step()
        scheduler.step()
    return scheduler


RECIPE = warmup(10) >> Cosine(90)

# Something has scheduled the optimizer before.

BEFORE: dict[str, Make] = {
    "the same cell": lambda o: Scheduler(o, lr=RECIPE),
    "the same cell, in mid-run": lambda o: run(Scheduler(o, lr=RECIPE), 30),
    "a first stage that ended at 0": lambda o: run(Scheduler(o, lr=Linear(5)), 9),
    "an absolute schedule": lambda o: run(Scheduler(o, lr=absolute(Linear(5, start=7.0, end=3.0))), 3),
    "a plateau": lambda o: run(Scheduler(o, lr=Constant() * Plateau()), 3),
    "torch's CosineAnnealingLR": lambda o: run(torch_lr.CosineAnnealingLR(o, 20), 7),
    "torch's LinearLR": lambda o: torch_lr.LinearLR(o, 0.1, total_iters=5),
    "torch's LambdaLR": lambda o: run(torch_lr.LambdaLR(o, lambda t: 0.5**t), 4),
    "torch's SequentialLR": lambda o: torch_lr.SequentialLR(
        o, [torch_lr.LinearLR(o, 0.1, total_iters=5), torch_lr.ExponentialLR(o, 0.9)], milestones=[5]
    ),
    "CosineAnnealingLR": lambda o: run(drop_ins.CosineAnnealingLR(o, 20), 20),
    "OneCycleLR": lambda o: run(drop_ins.OneCycleLR(o, 5.0, total_steps=20), 7),
    "CyclicLR": lambda o: run(drop_ins.CyclicLR(o, 1.0, 5.0, cycle_momentum=False), 7),
}


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("dtype", [None, torch.float64])
def test_a_second_scheduler_has_the_users_base(before: str, dtype: torch.dtype | None) -> None:
    """Whatever has scheduled the groups, a new Scheduler multiplies the rates that the user gave (#78003)."""
    optimizer = an_optimizer(0.3, 0.01, dtype=dtype)
    BEFORE[before](optimizer)
    scheduler = Scheduler(optimizer, lr=RECIPE)
    assert scheduler.base_lrs == [0.3, 0.01]
    assert rates(run(scheduler, 40).optimizer) == [base * RECIPE(40) for base in (0.3, 0.01)]


@pytest.mark.parametrize("before", BEFORE)
def test_a_second_scheduler_may_begin_anywhere(before: str) -> None:
    """With start_step it is where so many steps lead, from the same base."""
    optimizer = an_optimizer(0.3)
    BEFORE[before](optimizer)
    assert rates(Scheduler(optimizer, lr=RECIPE, start_step=50).optimizer) == [0.3 * RECIPE(50)]


@pytest.mark.parametrize("before", BEFORE)
def test_present_values_can_be_taken(before: str) -> None:
    """With rebase=True the present value is the base, for this Scheduler and for the next."""
    optimizer = an_optimizer(0.3)
    BEFORE[before](optimizer)
    present = rates(optimizer)
    assert Scheduler(optimizer, lr=Linear(10), rebase=True).base_lrs == present
    assert Scheduler(optimizer, lr=Cosine(10)).base_lrs == present


def test_members_of_tuples_have_a_base_too() -> None:
    """A second Scheduler finds the user's weight decay and betas, not those that the first one left."""
    optimizer = an_optimizer(weight_decay=0.2, betas=(0.8, 0.99))
    schedules: Any = {"weight_decay": Linear(10), "betas[0]": Linear(10, end=0.5)}
    run(Scheduler(optimizer, **schedules), 10)
    run(Scheduler(optimizer, **schedules), 5)
    (group,) = optimizer.param_groups
    assert group["weight_decay"] == pytest.approx(0.1)
    assert group["betas"] == (pytest.approx(0.8 * 0.75), 0.99)
    assert (group["initial_weight_decay"], group["initial_betas[0]"]) == (0.2, 0.8)


def test_a_cycled_momentum_has_the_users_base() -> None:
    """The drop-ins for cycles keep the user's momentum, and that is its base."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.7)
    run(drop_ins.OneCycleLR(optimizer, 1.0, total_steps=20), 5)
    Scheduler(optimizer, momentum=Constant(0.5))
    assert optimizer.param_groups[0]["momentum"] == 0.35


def test_torchs_one_cycle_loses_the_users_base() -> None:
    """Its `initial_lr` is the base, as for torch's own schedulers, and a warning says so; a base that is set is taken."""
    make: Any = {"max_lr": 1.0, "total_steps": 20}
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3, momentum=0.7)
    run(torch_lr.OneCycleLR(optimizer, **make), 5)
    with pytest.warns(ScheduleMistake, match=r"lr: the base of group 0 is 0\.04, which torch's OneCycleLR has put in the"):
        assert Scheduler(optimizer, lr=Cosine(7)).base_lrs == [0.04]
    with pytest.warns(ScheduleMistake, match="momentum: the base of group 0 is "):
        Scheduler(optimizer, momentum=Constant(0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Scheduler(optimizer, lr=absolute(Cosine(7, start=0.3)))
        assert Scheduler(optimizer, lr=Cosine(8), rebase=True).base_lrs == [0.3]
        Scheduler(optimizer, momentum=Cosine(8))  # it is scheduled already


@pytest.mark.parametrize("steps", [0, 7, 20])
def test_from_torch_in_mid_run_and_back(steps: int) -> None:
    """From torch's scheduler to ours and back to torch's, in mid-run, the rates are those of one that went through."""
    whole = torch_lr.LambdaLR(an_optimizer(0.3, 0.1), Cosine(30))
    optimizer = an_optimizer(0.3, 0.1)
    run(torch_lr.LambdaLR(optimizer, Cosine(30)), steps)
    run(Scheduler(optimizer, lr=Cosine(30), start_step=steps), 5)
    theirs = torch_lr.LambdaLR(optimizer, Cosine(30), last_epoch=steps + 4)
    run(whole, steps + 5)
    assert rates(optimizer) == pytest.approx(rates(whole.optimizer), rel=1e-12)
    assert rates(run(theirs, 3).optimizer) == pytest.approx(rates(run(whole, 3).optimizer), rel=1e-12)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_know_their_bases(copied: Any) -> None:
    """A copied or pickled Scheduler goes on as the original, and a new one on its optimizer has the same base."""
    original = run(Scheduler(an_optimizer(0.3), lr=RECIPE, weight_decay=Linear(20)), 30)
    again = copied(original)
    assert rates(run(again, 3).optimizer) == [0.3 * RECIPE(33)]
    assert rates(original.optimizer) == [0.3 * RECIPE(30)]
    assert Scheduler(again.optimizer, lr=Cosine(4)).base_lrs == [0.3]
    again.load_state_dict(original.state_dict())
    assert again.state_dict() == original.state_dict()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tensors_base_is_exact(dtype: torch.dtype) -> None:
    """The base of a tensor rate is what it held, however often it has been scheduled."""
    optimizer = an_optimizer(0.3, dtype=dtype)
    given = rates(optimizer)
    for _ in range(3):
        assert run(Scheduler(optimizer, lr=Cosine(10)), 6).base_lrs == given


def test_a_range_test_leaves_no_base_behind() -> None:
    """The range test, which schedules too, leaves the groups as they were."""
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    keys = set(optimizer.param_groups[0])
    data = [(torch.randn(4, 2), torch.randint(2, (4,)))] * 4
    gradus.range_test(model, optimizer, torch.nn.functional.cross_entropy, data, steps=10)
    assert set(optimizer.param_groups[0]) == keys


BAD = [float("nan"), float("inf"), "0.1", None, torch.tensor(1), torch.zeros(2), 10**400, True]


@pytest.mark.parametrize("key", ["lr", "initial_lr"])
@pytest.mark.parametrize("value", BAD, ids=map(repr, BAD))
def test_a_base_is_a_finite_number(key: str, value: Any) -> None:
    """What is no finite number can't be a base, nor can an integer tensor be scheduled; nothing is changed."""
    optimizer = an_optimizer()
    optimizer.param_groups[0][key] = value
    with pytest.raises(InvalidInput, match=f"'{key}' of group 0 must be a "):
        Scheduler(optimizer, weight_decay=Linear(10), lr=Linear(10))
    assert optimizer.param_groups[0]["weight_decay"] == 0.01
    assert "initial_weight_decay" not in optimizer.param_groups[0]


# Loading

ORDERS = [
    order
    for order in itertools.permutations(["scheduler", "optimizer's state", "scheduler's state"])
    if order.index("scheduler") < order.index("scheduler's state")
]


def without_bases(state: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's state as it was saved before bases were kept in the groups."""
    groups = [{key: value for key, value in one.items() if key[:8] != "initial_"} for one in state["param_groups"]]
    return {**state, "param_groups": groups}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", [None, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("steps", [0, 3, 30, 200])
def test_every_order_gives_the_same_rates(order: Any, dtype: Any, is_old: bool, steps: int) -> None:
    """Old states and new ones load in every order without a question, and give the rates of the run that goes on."""
    schedules: Any = {"lr": RECIPE, "weight_decay": Linear(50, end=0.5), "betas[0]": absolute(Constant(0.7))}
    whole = run(Scheduler(an_optimizer(0.3, 0.01, dtype=dtype), **schedules), steps)
    of_optimizer, of_scheduler = copy.deepcopy((whole.optimizer.state_dict(), whole.state_dict()))
    optimizer: torch.optim.Optimizer = an_optimizer(0.3, 0.01, dtype=dtype)
    scheduler: Any = None
    for what in order:
        if what == "scheduler":
            scheduler = Scheduler(optimizer, **schedules)
        elif what == "optimizer's state":
            optimizer.load_state_dict(without_bases(of_optimizer) if is_old else of_optimizer)
        else:
            scheduler.load_state_dict(of_scheduler)
    for _ in range(3):
        run(whole, 1), run(scheduler, 1)
        for ours, theirs in zip(optimizer.param_groups, whole.optimizer.param_groups, strict=True):
            assert {**ours, "params": 0} == {**theirs, "params": 0} or is_old
            assert all(ours[key] == theirs[key] for key in ("lr", "weight_decay", "betas"))


@pytest.mark.parametrize("of_state", [1, 2])
def test_a_state_of_fewer_groups(of_state: int) -> None:
    """Groups of which the state doesn't know keep their own bases, as far as they have been scheduled already."""
    saved = run(Scheduler(an_optimizer(*[0.1] * of_state), lr=RECIPE), 30)
    scheduler = Scheduler(an_optimizer(0.1, 0.1, 0.7), lr=RECIPE)
    assert rates(scheduler.optimizer) == [0, 0, 0]
    scheduler.load_state_dict(saved.state_dict())
    assert scheduler.base_lrs == [0.1, 0.1, 0.7]
    assert rates(scheduler.optimizer) == [base * RECIPE(30) for base in (0.1, 0.1, 0.7)]


def test_a_state_of_fewer_groups_knows_nothing_of_the_others() -> None:
    """A mapping that means a new group too is the same for the groups that the state knows."""
    saved = Scheduler(an_optimizer(0.1, 0.2), lr={0: Linear(10), (lambda _: True): Cosine(10)})
    scheduler = Scheduler(an_optimizer(0.1, 0.2, 0.3), lr={0: Linear(10), (lambda _: True): Cosine(10)})
    scheduler.load_state_dict(run(saved, 5).state_dict())
    assert rates(scheduler.optimizer) == pytest.approx([0.05, 0.1, 0.15])


def test_a_key_is_asked_when_a_group_is_bound() -> None:
    """A group that was found by its rate is still meant when its rate has moved."""
    key: Any = lambda group: group["lr"] > 0.15  # noqa: E731 - a key as people write it
    saved = run(Scheduler(an_optimizer(0.1, 0.2), lr={key: Linear(10)}), 8)
    scheduler = run(Scheduler(an_optimizer(0.1, 0.2), lr={key: Linear(10)}), 8)
    scheduler.load_state_dict(saved.state_dict())
    assert rates(run(scheduler, 1).optimizer) == pytest.approx([0.1, 0.02])


@pytest.mark.parametrize("answer", ["keep", "new", "splice"])
def test_a_group_that_joins_between_two_loads(answer: Any) -> None:
    """After a load, whatever it was answered, a group joins with its own base, and the states that follow load again."""
    saved = run(Scheduler(an_optimizer(0.1), lr=Cosine(100)), 10).state_dict()
    scheduler = Scheduler(an_optimizer(0.1), lr={(lambda group: group["lr"] > 0.05): Linear(50)}, on_change=answer)
    scheduler.load_state_dict(saved)
    scheduler.optimizer.add_param_group({"params": [torch.zeros(1, requires_grad=True)], "lr": 0.7})
    state = run(scheduler, 5).state_dict()
    expected = rates(scheduler.optimizer)
    run(scheduler, 5).load_state_dict(state)
    assert rates(scheduler.optimizer) == expected
    assert scheduler.base_lrs == [0.1, 0.7]


# A changed base

SAVED = Cosine(100, end=0.1)


def saved_at(base: float, step: int, schedule: Schedule = SAVED) -> dict[str, Any]:
    """A state that was saved at a step under a base."""
    scheduler = Scheduler(an_optimizer(base), lr=schedule)
    scheduler.set_step(step)
    state: dict[str, Any] = scheduler.state_dict()
    return state


@pytest.mark.parametrize("in_constructor", [False, True])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("keep", 6e-4 * SAVED(20)),
        ("new", 3e-4 * SAVED(20)),
        ("rescale", 3e-4 * SAVED(20)),
        ("splice", 3e-4 * SAVED(0)),
    ],
)
def test_a_changed_base_is_a_changed_definition(answer: Any, expected: float, in_constructor: bool) -> None:
    """Another rate than the saved run had is asked about, and each answer says which holds (Megatron-LM#1138)."""
    scheduler = Scheduler(an_optimizer(3e-4), lr=SAVED, on_change=answer if in_constructor else None)
    if not in_constructor:
        with pytest.raises(InvalidInput, match=r"the base of lr in group 0 was 0\.0006 and is 0\.0003 now; pass on_change"):
            scheduler.load_state_dict(saved_at(6e-4, 20))
        assert rates(scheduler.optimizer) == [3e-4]
    scheduler.load_state_dict(saved_at(6e-4, 20), on_change=None if in_constructor else answer)
    assert rates(scheduler.optimizer) == [expected]
    base = 6e-4 if answer == "keep" else 3e-4
    assert Scheduler(scheduler.optimizer, lr=Constant()).base_lrs == [base]


def test_only_changed_bases_are_new() -> None:
    """With "new" a group whose base hasn't changed keeps the saved one."""
    saved = run(Scheduler(an_optimizer(0.1, 0.2), lr=SAVED), 10).state_dict()
    scheduler = Scheduler(an_optimizer(0.1, 0.4), lr=SAVED)
    with pytest.raises(InvalidInput, match=r"differ: the base of lr in group 1 was 0\.2 and is 0\.4 now; pass"):
        scheduler.load_state_dict(saved)
    scheduler.load_state_dict(saved, on_change="new")
    assert scheduler.base_lrs == [0.1, 0.4]


@pytest.mark.filterwarnings("ignore::gradus.errors.ScheduleMistake")  # of rates that nobody would choose
@settings(max_examples=60, deadline=None)
@given(
    st.floats(1e-6, 10),
    st.floats(1e-6, 10),
    st.integers(0, 120),
    st.sampled_from([None, torch.float64, torch.float32, torch.bfloat16, torch.float16]),
)
def test_when_a_base_has_changed(saved: float, found: float, step: int, dtype: Any) -> None:
    """It has if what was found is neither the saved base nor the saved value, beyond the dtype's rounding."""
    state = saved_at(saved, step)
    scheduler = Scheduler(an_optimizer(found, dtype=dtype), lr=SAVED)
    rounding = max(1e-6, 0 if dtype is None else torch.finfo(dtype).eps) + (6e-8 / found if dtype is torch.float16 else 0)
    distances = [abs(found - other) / max(found, other) for other in (saved, saved * SAVED(step))]
    try:
        scheduler.load_state_dict(state)
    except InvalidInput:
        assert min(distances) > rounding / 4
    else:
        assert min(distances) < rounding * 2


def test_an_absolute_schedule_asks_nothing_of_a_base() -> None:
    """Where schedules say the values themselves, another rate in the optimizer changes nothing."""
    schedule = absolute(Cosine(100, start=0.3))
    saved = run(Scheduler(an_optimizer(0.1), lr=schedule), 5)
    scheduler = Scheduler(an_optimizer(0.7), lr=schedule)
    scheduler.load_state_dict(saved.state_dict())
    assert rates(scheduler.optimizer) == rates(saved.optimizer)


def test_a_second_stage_that_was_rebased() -> None:
    """A stage on the rates of the one before resumes on them, when its optimizer is loaded first."""
    first = run(Scheduler(an_optimizer(0.1), lr=Linear(10)), 5)
    second = run(Scheduler(first.optimizer, lr=Cosine(10), rebase=True), 3)
    optimizer = an_optimizer(0.1)
    optimizer.load_state_dict(second.optimizer.state_dict())
    again = Scheduler(optimizer, lr=Cosine(10))
    again.load_state_dict(second.state_dict())
    assert again.state_dict() == second.state_dict()
    assert rates(optimizer) == [0.05 * Cosine(10)(3)]


def test_going_back_and_forth_asks_nothing() -> None:
    """States of one run load one after the other into one Scheduler, whatever it was built on."""
    states = [saved_at(0.1, step) for step in (10, 40, 20)]
    scheduler = Scheduler(an_optimizer(0.1 * SAVED(10)), lr=SAVED)
    for state in states:
        scheduler.load_state_dict(state)
        assert rates(scheduler.optimizer) == [0.1 * SAVED(state["step"])]


def halve(t: int) -> float:
    """A function that can be found by its name."""
    return 0.5**t


def test_a_function_that_is_here_needs_no_trust() -> None:
    """A base is compared under a Lambda of one's own without importing what a state names."""
    state = saved_at(0.1, 3, Lambda(halve))
    Scheduler(an_optimizer(0.1 * 0.5**3), lr=Lambda(halve)).load_state_dict(state)
    with pytest.raises(InvalidInput, match="the base of lr"):
        Scheduler(an_optimizer(0.7), lr=Lambda(halve)).load_state_dict(state)


def test_a_splice_is_done_once() -> None:
    """A run that is spliced by its constructor, and interrupted again and again, goes on from where it was."""
    state = saved_at(0.1, 30)
    for step in (30, 40, 50):
        scheduler = Scheduler(an_optimizer(0.1), lr=Linear(50), on_change="splice")
        scheduler.load_state_dict(state)
        assert rates(scheduler.optimizer) == pytest.approx([0.1 * Linear(50)(step - 30)])
        state = run(scheduler, 10).state_dict()
    Scheduler(an_optimizer(0.1), lr=Linear(50)).load_state_dict(state)
    anew = Scheduler(an_optimizer(0.1), lr=Linear(50))
    anew.load_state_dict(state, on_change="new")
    assert rates(anew.optimizer) == [0.0]
    other = Scheduler(an_optimizer(0.1), lr=Linear(60), on_change="splice")
    other.load_state_dict(state)
    assert rates(other.optimizer) == [0.1]
