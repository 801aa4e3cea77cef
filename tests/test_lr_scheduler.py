"""torch's schedulers as drop-ins: torch's values, states and interfaces, and none of its troubles."""

import copy
import inspect
import itertools
import math
import pickle
import warnings
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.swa_utils import SWALR as TORCHS_SWALR

import gradus.lr_scheduler as ours
from gradus.errors import InvalidInput
from gradus.scheduler import Scheduler
from gradus.schedules import Cosine, Schedule
from registry import Refused

torchs = SimpleNamespace(
    **{name: getattr(torch.optim.lr_scheduler, name, None) for name in ours.__all__ if name != "SWALR"}, SWALR=TORCHS_SWALR
)
FIFTEEN = sorted(set(torch.optim.lr_scheduler.__all__) - {"LRScheduler"})


def halving(t: int) -> float:
    return 0.5 ** (t / 4)


def shrinking(t: int) -> float:
    return 1 - 0.01 * t


def rising(x: float) -> float:
    return 1 / (1 + x)


class Scaled:
    """A callable object, whose content is part of the state."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, t: int) -> float:
        return self.scale**t


Make = Callable[[Any, Any], Any]  # (torch's module or ours, optimizer) -> scheduler


def sequence(m: Any, o: Any) -> Any:
    return m.SequentialLR(
        o, [m.LinearLR(o, 0.1, total_iters=4), m.StepLR(o, 3, 0.5), m.CosineAnnealingLR(o, 6, 1e-3)], milestones=[4, 11]
    )


def chain(m: Any, o: Any) -> Any:
    return m.ChainedScheduler([m.LinearLR(o, 0.1, total_iters=4), m.ExponentialLR(o, 0.9), m.MultiStepLR(o, [3, 9])])


LEAVES: dict[str, Make] = {
    "LambdaLR": lambda m, o: m.LambdaLR(o, [halving, shrinking]),
    "LambdaLR of an object": lambda m, o: m.LambdaLR(o, Scaled(0.9)),
    "MultiplicativeLR": lambda m, o: m.MultiplicativeLR(o, [shrinking, lambda _: 1.01]),
    "StepLR": lambda m, o: m.StepLR(o, 4, 0.3),
    "MultiStepLR": lambda m, o: m.MultiStepLR(o, [2, 5, 5, 9], 0.5),
    "ConstantLR": lambda m, o: m.ConstantLR(o, 0.25, 6),
    "LinearLR": lambda m, o: m.LinearLR(o, 0.2, 0.7, 9),
    "LinearLR's defaults": lambda m, o: m.LinearLR(o),
    "ExponentialLR": lambda m, o: m.ExponentialLR(o, 0.8),
    "PolynomialLR": lambda m, o: m.PolynomialLR(o, 25, 1.7),
    "CosineAnnealingLR": lambda m, o: m.CosineAnnealingLR(o, 7, 0.01),
    "CosineAnnealingLR of 5.5 steps": lambda m, o: m.CosineAnnealingLR(o, 5.5, 0.01),
    "CosineAnnealingWarmRestarts": lambda m, o: m.CosineAnnealingWarmRestarts(o, 3, 2, 1e-3),
    "CosineAnnealingWarmRestarts, even": lambda m, o: m.CosineAnnealingWarmRestarts(o, 5),
    "CyclicLR": lambda m, o: m.CyclicLR(o, [0.01, 0.02], 0.3, 3, 5),
    "CyclicLR, triangular2": lambda m, o: m.CyclicLR(o, 0.01, [0.3, 0.2], 4, mode="triangular2", base_momentum=[0.7, 0.6]),
    "CyclicLR, exp_range": lambda m, o: m.CyclicLR(o, 0.01, 0.3, 2.5, 4, mode="exp_range", gamma=0.93),
    "CyclicLR, scaled": lambda m, o: m.CyclicLR(o, 0.01, 0.3, 4, scale_fn=rising, scale_mode="iterations"),
    "CyclicLR, scaled by cycle": lambda m, o: m.CyclicLR(o, 0.01, 0.3, 4, scale_fn=Scaled(0.5), cycle_momentum=False),
    "OneCycleLR": lambda m, o: m.OneCycleLR(o, [0.5, 0.3], 25),
    "OneCycleLR, three phases": lambda m, o: m.OneCycleLR(
        o, 0.5, epochs=5, steps_per_epoch=5, pct_start=0.4, anneal_strategy="linear", three_phase=True, div_factor=10
    ),
    "SWALR": lambda m, o: m.SWALR(o, [0.01, 0.02], 8),
    "SWALR, linear": lambda m, o: m.SWALR(o, 0.01, 8, "linear"),
}
COMPOSED: dict[str, Make] = {"SequentialLR": sequence, "ChainedScheduler": chain}
CASES = LEAVES | COMPOSED
STEPS = 24


def an_optimizer(tensors: bool = False, adam: bool = False) -> torch.optim.Optimizer:
    groups = [
        {"params": [torch.zeros(2, requires_grad=True)], "lr": torch.tensor(rate, dtype=torch.float64) if tensors else rate}
        for rate in (0.1, 0.25)
    ]
    return torch.optim.AdamW(groups) if adam else torch.optim.SGD(groups, momentum=0.5)


def held(optimizer: Any) -> list[float]:
    """Everything that schedulers write: rates, and momentum or beta1."""
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    return rates + [float(group["betas"][0] if "betas" in group else group["momentum"]) for group in optimizer.param_groups]


def advance(optimizer: Any, scheduler: Any, steps: int = 1) -> None:
    for _ in range(steps):
        optimizer.step()
        scheduler.step()


def followed(optimizer: Any, scheduler: Any, steps: int = STEPS) -> list[list[float]]:
    """What the groups hold at each of the next steps, the present one first."""
    seen = [held(optimizer)]
    for _ in range(steps):
        advance(optimizer, scheduler)
        seen.append(held(optimizer))
    return seen


def through(optimizer: Any, scheduler: Any, steps: int, *also: Any) -> None:
    """So many steps of a scheduler, with others called after it each time."""
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        for other in also:
            other.step()


def close(a: list[list[float]], b: list[list[float]], rel: float = 1e-12) -> bool:
    return len(a) == len(b) and all(x == pytest.approx(y, rel=rel, abs=1e-16) for x, y in zip(a, b, strict=True))


# Values


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", ["floats", "tensors", "betas"])
def test_values_are_torchs(name: str, kind: str) -> None:
    """Stepped from 0, every group's rate and momentum are torch's, to 12 digits."""
    mine, theirs = (an_optimizer(tensors=kind == "tensors", adam=kind == "betas") for _ in range(2))
    pairs = followed(mine, CASES[name](ours, mine)), followed(theirs, CASES[name](torchs, theirs))
    assert close(*pairs)


@pytest.mark.parametrize("name", CASES)
def test_tensor_rates_are_filled_in_place(name: str) -> None:
    """A tensor rate stays the same object, and what is handed out is a copy."""
    optimizer = an_optimizer(tensors=True)
    tensors = [group["lr"] for group in optimizer.param_groups]
    scheduler = CASES[name](ours, optimizer)
    advance(optimizer, scheduler, 3)
    assert all(group["lr"] is tensor for group, tensor in zip(optimizer.param_groups, tensors, strict=True))
    assert all(
        torch.equal(last, tensor) and last is not tensor
        for last, tensor in zip(scheduler.get_last_lr(), tensors, strict=True)
    )


@pytest.mark.parametrize("name", CASES)
def test_it_says_which_schedule_it_is(name: str) -> None:
    """`schedules` are Gradus schedules whose values are the groups' rates."""
    optimizer = an_optimizer()
    scheduler = CASES[name](ours, optimizer)
    schedules = scheduler.schedules
    assert all(isinstance(schedule, Schedule) for schedule in schedules)
    for t in range(STEPS):
        assert held(optimizer)[:2] == pytest.approx([schedule(t) for schedule in schedules], rel=1e-13)
        assert scheduler.get_lr() == held(optimizer)[:2]
        advance(optimizer, scheduler)


@pytest.mark.parametrize("name", [name for name in CASES if name not in COMPOSED])
def test_a_position_can_be_named(name: str) -> None:
    """`step(epoch)` warns as torch does (but for warm restarts) and gives the values of that many steps."""
    jumped, stepped = an_optimizer(), an_optimizer()
    scheduler, other = CASES[name](ours, jumped), CASES[name](ours, stepped)
    advance(stepped, other, 9)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scheduler.step(15)
        scheduler.step(9)
    assert {str(one.message) for one in caught} == (set() if "Restarts" in name else {ours.EPOCH_DEPRECATION_WARNING})
    assert held(jumped) == pytest.approx(held(stepped), rel=1e-12)
    assert scheduler.last_epoch == 9


# Interfaces


@pytest.mark.parametrize("name", [*FIFTEEN, "SWALR"])
def test_signatures_are_torchs(name: str) -> None:
    """The arguments have torch's names, order and defaults, and it is torch's class as well, with all that that has.

    `verbose`, which torch has dropped, is still taken in its old place, the last.
    """

    def shape(kind: Any) -> list[tuple[str, Any]]:
        return [(p.name, p.default) for p in inspect.signature(kind).parameters.values()]

    without = ("ChainedScheduler", "SWALR")  # never had it
    verbose = [] if name in without else [("verbose", False)]
    assert shape(getattr(ours, name)) == shape(getattr(torchs, name)) + verbose
    assert issubclass(getattr(ours, name), getattr(torchs, name))


@pytest.mark.parametrize("name", CASES)
def test_it_is_torchs_kind_of_scheduler(name: str) -> None:
    """Frameworks that ask for an LRScheduler get one, with torch's attributes; `step` of the optimizer isn't patched."""
    optimizer = an_optimizer()
    scheduler = CASES[name](ours, optimizer)
    assert isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler)
    assert ours.LRScheduler is torch.optim.lr_scheduler.LRScheduler
    assert (scheduler.optimizer, scheduler.last_epoch, len(scheduler.base_lrs)) == (optimizer, 0, 2)
    assert scheduler.get_last_lr() == held(optimizer)[:2]
    assert "step" not in vars(optimizer)


def test_plateau_is_torchs() -> None:
    """ReduceLROnPlateau is torch's for isinstance, steps on the metric, and gives torch's rates."""
    mine, theirs = an_optimizer(), an_optimizer()
    ours_, torchs_ = (m.ReduceLROnPlateau(o, patience=1, factor=0.5) for m, o in ((ours, mine), (torchs, theirs)))
    assert isinstance(ours_, torch.optim.lr_scheduler.ReduceLROnPlateau)
    for metric in (3, 2, 2, 2, 2, 2, 1, 5, 5, 5, math.nan, math.nan, 5):
        ours_.step(metric)
        torchs_.step(metric)
        assert held(mine) == held(theirs)


@pytest.mark.parametrize("name", CASES)
def test_attributes_take_effect(name: str) -> None:
    """A base rate that is set holds from the next step on, where the schedule is a factor of it."""
    optimizer = an_optimizer()
    scheduler = CASES[name](ours, optimizer)
    if "base_lrs" in vars(scheduler) and not scheduler._follows and not scheduler._sets_rate:
        scheduler.base_lrs[0] = 10.0
        advance(optimizer, scheduler)
        assert held(optimizer)[0] == scheduler.schedules[0](1) > 1


def test_a_changed_length_takes_effect() -> None:
    """T_max, gamma and other attributes may be set while training, as in torch, members of compositions included."""
    optimizer = an_optimizer()
    cosine = ours.CosineAnnealingLR(optimizer, 10)
    scheduler = ours.SequentialLR(optimizer, [ours.ConstantLR(optimizer), ours.ChainedScheduler([cosine])], [5])
    cosine.T_max = 20
    with pytest.warns(UserWarning, match="epoch parameter"):
        scheduler.step(15)
    assert held(optimizer)[:2] == pytest.approx([0.05, 0.125])


# State


def saved(optimizer: Any, scheduler: Any) -> Any:
    return pickle.loads(pickle.dumps((optimizer.state_dict(), scheduler.state_dict())))


ORDERS = [
    order
    for order in itertools.permutations(["load optimizer", "build scheduler", "load scheduler"])
    if order.index("build scheduler") < order.index("load scheduler")
]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("tensors", [False, True])
def test_any_load_order_gives_the_same_values(name: str, order: tuple[str, ...], tensors: bool) -> None:
    """Interrupted anywhere and resumed in any order, the rates are the uninterrupted run's.

    Trouble 1: pytorch/pytorch#119168, #65342, #60265.
    """
    for interruption in (0, 1, 5, 11, 16):
        whole = an_optimizer(tensors)
        running = CASES[name](ours, whole)
        advance(whole, running, interruption)
        states = saved(whole, running)
        resumed, scheduler = an_optimizer(tensors), None
        for action in order:
            if action == "load optimizer":
                resumed.load_state_dict(states[0])
            elif action == "build scheduler":
                scheduler = CASES[name](ours, resumed)
            else:
                scheduler.load_state_dict(states[1])
        assert scheduler.last_epoch == interruption
        assert close(followed(resumed, scheduler, 8), followed(whole, running, 8))


NAMES: dict[str, Make] = {
    **CASES,
    "LambdaLR": lambda m, o: m.LambdaLR(o, halving),
    "MultiplicativeLR": lambda m, o: m.MultiplicativeLR(o, shrinking),
    "CyclicLR": lambda m, o: m.CyclicLR(o, 0.01, 0.3, 3, 5),
    "OneCycleLR": lambda m, o: m.OneCycleLR(o, 0.5, 25),
    "ReduceLROnPlateau": lambda m, o: m.ReduceLROnPlateau(o, patience=1),
    "SWALR": lambda m, o: m.SWALR(o, 0.01, 8),
}  # for any number of groups


@pytest.mark.parametrize("name", [*FIFTEEN, "SWALR"])
@pytest.mark.parametrize("groups", [1, 7])
@pytest.mark.parametrize("tensors", [False, True])
def test_any_load_order_for_any_number_of_groups(name: str, groups: int, tensors: bool) -> None:
    """One group or seven, each of the names gives the uninterrupted run's rates after loading in any order."""

    def optimizer_of_groups() -> Any:
        rates = [0.1 * 2**index for index in range(groups)]
        values = [torch.tensor(rate) if tensors else rate for rate in rates]
        return torch.optim.SGD(
            [{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in values], momentum=0.5
        )

    def run(optimizer: Any, scheduler: Any, steps: int) -> list[list[float]]:
        seen = [held(optimizer)]
        for _ in range(steps):
            optimizer.step()
            scheduler.step(*([1.0] if name == "ReduceLROnPlateau" else []))  # its metric
            seen.append(held(optimizer))
        return seen

    for order in ORDERS:
        whole = optimizer_of_groups()
        running = NAMES[name](ours, whole)
        run(whole, running, 6)
        states = saved(whole, running)
        resumed, scheduler = optimizer_of_groups(), None
        for action in order:
            if action == "load optimizer":
                resumed.load_state_dict(states[0])
            elif action == "build scheduler":
                scheduler = NAMES[name](ours, resumed)
            else:
                scheduler.load_state_dict(states[1])
        assert close(run(resumed, scheduler, 5), run(whole, running, 5), rel=1e-6 if tensors else 1e-12)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("tensors", [False, True])
@pytest.mark.parametrize("direction", ["to torch", "from torch"])
def test_states_are_exchanged_with_torch(name: str, tensors: bool, direction: str) -> None:
    """Interrupted anywhere, torch goes on from our state and we from torch's, with the uninterrupted run's rates."""
    before, after = (ours, torchs) if direction == "to torch" else (torchs, ours)
    for interruption in (0, 1, 4, 10, 11, 16):
        first = an_optimizer(tensors)
        scheduler = CASES[name](before, first)
        advance(first, scheduler, interruption)
        states = saved(first, scheduler)
        second = an_optimizer(tensors)
        successor = CASES[name](after, second)
        second.load_state_dict(states[0])
        successor.load_state_dict(states[1])
        second.step()  # torch warns where it isn't called first
        assert close(followed(second, successor, 8), followed(first, scheduler, 8), rel=1e-10), interruption


@pytest.mark.parametrize("name", CASES)
def test_a_state_has_torchs_names(name: str) -> None:
    """Whatever torch's state holds, ours holds under the same name; and it loads with weights_only."""
    optimizer, other = an_optimizer(), an_optimizer()
    scheduler, model = CASES[name](ours, optimizer), CASES[name](torchs, other)
    advance(optimizer, scheduler, 3)
    advance(other, model, 3)
    internal = {"_is_initial", "_get_lr_called_within_step"}
    assert set(model.state_dict()) - internal <= set(scheduler.state_dict())
    assert "optimizer" not in scheduler.state_dict()


@pytest.mark.parametrize("name", CASES)
def test_a_copy_goes_its_own_way(name: str) -> None:
    """A deep copy of an optimizer and its scheduler steps like the original and doesn't touch it."""
    optimizer = an_optimizer()
    scheduler = CASES[name](ours, optimizer)
    advance(optimizer, scheduler, 5)
    before = held(optimizer)
    other, again = copy.deepcopy((optimizer, scheduler))
    steps = followed(other, again, 8)
    assert held(optimizer) == before
    assert followed(optimizer, scheduler, 8) == steps


@pytest.mark.parametrize("name", [name for name in CASES if name != "MultiplicativeLR"])  # which has a bare lambda
def test_it_survives_pickle(name: str) -> None:
    """Pickled with its optimizer in the middle of a run, it goes on as if it hadn't been."""
    optimizer = an_optimizer()
    scheduler = CASES[name](ours, optimizer)
    advance(optimizer, scheduler, 5)
    other, again = pickle.loads(pickle.dumps((optimizer, scheduler)))
    assert followed(other, again, 8) == followed(optimizer, scheduler, 8)


def test_loading_leaves_the_state_alone() -> None:
    """A state that is loaded is the caller's still: it isn't changed, and can be loaded again."""
    for make in CASES.values():
        optimizer = an_optimizer()
        scheduler = make(ours, optimizer)
        advance(optimizer, scheduler, 3)
        state = scheduler.state_dict()
        before = copy.deepcopy({key: value for key, value in state.items() if key != "_last_lr"})
        other = make(ours, an_optimizer())
        other.load_state_dict(state)
        advance(other.optimizer, other, 2)
        assert {key: value for key, value in state.items() if key != "_last_lr"} == before


def test_a_callable_objects_content_is_saved() -> None:
    """What a callable object holds is part of the state, as torch documents; functions are not.

    Trouble 11: pytorch/pytorch#42376, #106243, #94450.
    """
    optimizer = an_optimizer()
    scheduler = ours.LambdaLR(optimizer, [Scaled(0.5), halving])
    assert scheduler.state_dict()["lr_lambdas"] == [{"scale": 0.5}, None]
    again = ours.LambdaLR(an_optimizer(), [Scaled(9.0), halving])
    again.load_state_dict(scheduler.state_dict())
    assert again.lr_lambdas[0].scale == 0.5  # type: ignore[attr-defined]
    assert ours.LambdaLR(an_optimizer(), Cosine(10)).state_dict()["lr_lambdas"] == [None, None]


def test_plateau_loads_in_any_order() -> None:
    """Loading a plateau's state writes its rates, whatever the optimizer holds (trouble 1, pytorch/pytorch#119168)."""
    optimizer = an_optimizer()
    scheduler = ours.ReduceLROnPlateau(optimizer, patience=0)
    for metric in (1, 2, 3):
        scheduler.step(metric)
    other = an_optimizer()
    ours.ReduceLROnPlateau(other, patience=0).load_state_dict(scheduler.state_dict())
    assert held(other) == held(optimizer)


# Composition

factors = st.one_of(
    st.builds(lambda every, gamma: ("StepLR", (every, gamma)), st.integers(1, 5), st.floats(0.1, 1)),
    st.builds(lambda gamma: ("ExponentialLR", (gamma,)), st.floats(0.5, 1)),
    st.builds(lambda start, length: ("LinearLR", (start, 1.0, length)), st.floats(0.1, 1), st.integers(1, 9)),
    st.builds(lambda length: ("CosineAnnealingLR", (length,)), st.integers(3, 9)),
    st.builds(lambda length: ("PolynomialLR", (length,)), st.integers(3, 9)),
    st.just(("LambdaLR", (halving,))),
)


def composed(members: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(members, min_size=1, max_size=3)
    milestones = st.lists(st.integers(0, 12), min_size=2, max_size=2).map(sorted)
    return st.one_of(
        st.builds(lambda parts, at: ("SequentialLR", parts, at[: len(parts) - 1]), several, milestones),
        st.builds(lambda parts: ("ChainedScheduler", parts), several),
    )


TREES = composed(st.one_of(factors, composed(st.one_of(factors, composed(factors)))))


def built(tree: Any, optimizer: Any) -> Any:
    kind = getattr(ours, tree[0])
    if tree[0] == "SequentialLR":
        return kind(optimizer, [built(part, optimizer) for part in tree[1]], tree[2])
    if tree[0] == "ChainedScheduler":
        return kind([built(part, optimizer) for part in tree[1]])
    return kind(optimizer, *tree[1])


def factor(tree: Any, t: int) -> float:
    """What a tree means, from single schedulers of torch's and arithmetic alone."""
    if tree[0] == "SequentialLR":
        index = sum(milestone <= t for milestone in tree[2])
        return factor(tree[1][index], t - ([0, *tree[2]][index]))
    if tree[0] == "ChainedScheduler":
        return math.prod(factor(part, t) for part in tree[1])
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = getattr(torchs, tree[0])(optimizer, *tree[1])
    through(optimizer, scheduler, t)
    return float(optimizer.param_groups[0]["lr"])


@given(tree=TREES, interruption=st.integers(0, 9))
@settings(max_examples=60)
def test_compositions_nest(tree: Any, interruption: int) -> None:
    """A composition to depth 3 is what its definition says at each step, and after a resume in any order.

    Trouble 3: pytorch/pytorch#196243, #67957, #132745.
    """
    optimizer = an_optimizer()
    scheduler = built(tree, optimizer)
    expected = [[base * factor(tree, t) for base in (0.1, 0.25)] for t in range(interruption + 4)]
    for t in range(interruption):
        assert held(optimizer)[:2] == pytest.approx(expected[t], rel=1e-9, abs=1e-15)
        advance(optimizer, scheduler)
    other = an_optimizer()
    other.load_state_dict(optimizer.state_dict())
    again = built(tree, other)
    again.load_state_dict(pickle.loads(pickle.dumps(scheduler.state_dict())))
    for t in range(interruption, interruption + 4):
        assert held(other)[:2] == pytest.approx(expected[t], rel=1e-9, abs=1e-15)
        advance(other, again)


@pytest.mark.parametrize("first", ["StepLR", "LinearLR", "ConstantLR", "ExponentialLR", "CosineAnnealingLR", "MultiStepLR"])
@pytest.mark.parametrize("second", ["StepLR", "LinearLR", "ConstantLR", "MultiplicativeLR"])
def test_schedulers_side_by_side_multiply(first: str, second: str) -> None:
    """Two schedulers stepped one after the other give torch's rates, the product of their factors."""
    mine, theirs = an_optimizer(), an_optimizer()
    a, b = LEAVES[first](ours, mine), LEAVES[second](ours, mine)
    c, d = LEAVES[first](torchs, theirs), LEAVES[second](torchs, theirs)
    for _ in range(6):
        through(mine, a, 1, b)
        through(theirs, c, 1, d)
        assert held(mine) == pytest.approx(held(theirs), rel=1e-12)


def test_others_may_change_the_rate() -> None:
    """A rate that is changed from outside goes on from there by the schedule's ratio, as torch documents."""
    optimizer = an_optimizer()
    scheduler = ours.ExponentialLR(optimizer, 0.5)
    plateau = ours.ReduceLROnPlateau(optimizer, patience=0, factor=0.1)
    plateau.step(1)
    advance(optimizer, scheduler)
    plateau.step(2)
    advance(optimizer, scheduler)
    assert held(optimizer)[:2] == pytest.approx([0.1 * 0.25 * 0.1, 0.25 * 0.25 * 0.1])
    states = saved(optimizer, scheduler)
    resumed = an_optimizer()
    again = ours.ExponentialLR(resumed, 0.5)
    again.load_state_dict(states[1])
    assert held(resumed) == held(optimizer)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_changed_tensor_is_noticed(replaced: bool) -> None:
    """A tensor rate that is changed in place, or replaced by another, goes on from there like a number."""
    optimizer = an_optimizer(tensors=True)
    scheduler = ours.ExponentialLR(optimizer, 0.5)
    advance(optimizer, scheduler, 2)
    for group in optimizer.param_groups:
        if replaced:
            group["lr"] = group["lr"] * 3
        else:
            group["lr"].mul_(3)
    advance(optimizer, scheduler, 2)
    assert held(optimizer)[:2] == pytest.approx([3 * 0.1 / 16, 3 * 0.25 / 16])


def test_a_tensor_of_inference_mode() -> None:
    """A tensor rate that was made in inference mode, which keeps no count of changes, is followed like any other."""
    with torch.inference_mode():
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=torch.tensor(0.8))
        scheduler = ours.ExponentialLR(optimizer, 0.5)
        scheduler.step()
        optimizer.param_groups[0]["lr"].mul_(3)
        scheduler.step()
        assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(3 * 0.8 / 4)


def test_groups_may_share_a_tensor() -> None:
    """One tensor as the rate of all groups, as torch gives it to them, has each step's value once."""
    rate = torch.tensor(0.8)
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)]}], lr=rate)
    scheduler = ours.ExponentialLR(optimizer, 0.5)
    for t in range(4):
        assert float(rate) == pytest.approx(0.8 * 0.5**t)
        scheduler.step()
    assert all(group["lr"] is rate for group in optimizer.param_groups)


def test_inside_torchs_own_sequence() -> None:
    """Members of torch's SequentialLR may be ours: it drives them as it does its own."""
    mine, theirs = an_optimizer(), an_optimizer()
    parts = [[m.LinearLR(o, 0.1, total_iters=4), m.ExponentialLR(o, 0.9)] for m, o in ((ours, mine), (torchs, theirs))]
    mixed, pure = (torchs.SequentialLR(o, its, [4]) for o, its in zip((mine, theirs), parts, strict=True))
    mine.step()
    assert close(followed(mine, mixed, 9), followed(theirs, pure, 9))


# The troubles


@pytest.mark.parametrize("position", range(20))
def test_trouble_2_last_epoch_at_any_phase(position: int) -> None:
    """`SequentialLR(last_epoch=N)` stands at step N + 1 of the whole. pytorch/pytorch#162591."""
    whole, resumed = an_optimizer(), an_optimizer()
    running = sequence(ours, whole)
    advance(whole, running, position + 1)
    resumed.load_state_dict(whole.state_dict())
    members = [
        ours.LinearLR(resumed, 0.1, total_iters=4),
        ours.StepLR(resumed, 3, 0.5),
        ours.CosineAnnealingLR(resumed, 6, 1e-3),
    ]
    scheduler = ours.SequentialLR(resumed, members, [4, 11], last_epoch=position)
    assert close(followed(resumed, scheduler, 5), followed(whole, running, 5))


@pytest.mark.parametrize("name", LEAVES)
def test_trouble_2_last_epoch(name: str) -> None:
    """A scheduler built with last_epoch=N goes on where one stands after N + 1 steps. pytorch/pytorch#60265."""
    whole, resumed = an_optimizer(), an_optimizer()
    running = LEAVES[name](ours, whole)
    advance(whole, running, 10)
    resumed.load_state_dict(whole.state_dict())
    kind, state = type(running), running.state_dict()
    going_on = SimpleNamespace(**{kind: partial(getattr(ours, kind), last_epoch=9) for kind in [*FIFTEEN, "SWALR"]})
    scheduler = LEAVES[name](going_on, resumed)
    assert isinstance(scheduler, kind)
    assert scheduler.last_epoch == state["last_epoch"] == 10
    assert close(followed(resumed, scheduler, 8), followed(whole, running, 8))


def test_trouble_4_members_dont_touch_each_other() -> None:
    """Each member of a sequence has the user's base, in whatever order they are built. pytorch/pytorch#72874, #67586."""
    ends = []
    for order in itertools.permutations(range(3)):
        optimizer = an_optimizer()
        makes = [
            lambda o: ours.LinearLR(o, 0.1, total_iters=4),
            lambda o: ours.OneCycleLR(o, 0.5, 10),
            lambda o: ours.CosineAnnealingLR(o, 6),
        ]
        members = {index: makes[index](optimizer) for index in order}
        scheduler = ours.SequentialLR(optimizer, [members[index] for index in range(3)], [4, 14])
        ends.append(followed(optimizer, scheduler))
    assert all(end == ends[0] for end in ends)
    assert ends[0][0] == pytest.approx([0.01, 0.025, 0.5, 0.5])  # the momentum is the user's until one cycle begins
    assert ends[0][4] == pytest.approx([0.02, 0.02, 0.95, 0.95])
    assert ends[0][14] == pytest.approx([0.1, 0.25, 0.5, 0.5])


def test_trouble_4_a_milestone_at_0() -> None:
    """A phase of no steps is passed over. pytorch/pytorch#185872."""
    optimizer = an_optimizer()
    members = [ours.LinearLR(optimizer, 0.1), ours.ExponentialLR(optimizer, 0.5)]
    scheduler = ours.SequentialLR(optimizer, members, [0])
    assert [rates[0] for rates in followed(optimizer, scheduler, 3)] == [0.1, 0.05, 0.025, 0.0125]


def test_trouble_5_warmup_then_plateau() -> None:
    """A warmup and a plateau stepped side by side act on one rate together. pytorch/pytorch#68978."""
    optimizer = an_optimizer()
    warmup = ours.SequentialLR(
        optimizer, [ours.LinearLR(optimizer, 0.5, total_iters=2), ours.ConstantLR(optimizer, 1.0)], milestones=[2]
    )
    plateau = ours.ReduceLROnPlateau(optimizer, factor=0.1, patience=0)
    for metric in (1, 2, 2, 2):
        optimizer.step()
        warmup.step()
        plateau.step(metric)
    assert held(optimizer)[:2] == pytest.approx([0.1e-3, 0.25e-3])


def test_trouble_6_a_chain_is_a_product() -> None:
    """Members whose torch namesakes erase the others multiply, in any order. pytorch/pytorch#129565."""
    for order in ([0, 1, 2], [2, 1, 0]):
        optimizer = an_optimizer()
        makes = [
            lambda o: ours.LambdaLR(o, halving),
            lambda o: ours.CosineAnnealingWarmRestarts(o, 5),
            lambda o: ours.StepLR(o, 3, 0.5),
        ]
        scheduler = ours.ChainedScheduler([makes[index](optimizer) for index in order])
        for t in range(12):
            wave = (1 + math.cos(math.pi * (t % 5) / 5)) / 2
            assert held(optimizer)[0] == pytest.approx(0.1 * halving(t) * wave * 0.5 ** (t // 3))
            advance(optimizer, scheduler)


def test_trouble_6_a_factor_on_given_rates() -> None:
    """Chained with a scheduler that gives the rates outright, the others are factors on those."""
    optimizer = an_optimizer()
    scheduler = ours.ChainedScheduler([ours.ConstantLR(optimizer, 0.1, 3), ours.CyclicLR(optimizer, 0.2, 0.4, 2)])
    assert [rates[0] for rates in followed(optimizer, scheduler, 4)] == pytest.approx([0.02, 0.03, 0.04, 0.3, 0.2])


def test_trouble_7_a_new_cosine_starts_anew() -> None:
    """Built again on the rate 0 that its predecessor left, a schedule starts from the base. pytorch/pytorch#78003."""
    optimizer = an_optimizer()
    scheduler = ours.CosineAnnealingLR(optimizer, 10)
    advance(optimizer, scheduler, 10)
    assert held(optimizer)[:2] == [0.0, 0.0]
    scheduler = ours.CosineAnnealingLR(optimizer, 10)
    assert [rates[:2] for rates in followed(optimizer, scheduler, 10)][::5] == [[0.1, 0.25], [0.05, 0.125], [0.0, 0.0]]


@pytest.mark.parametrize("updates", [0, 5, 10])
@pytest.mark.parametrize("name", LEAVES)
def test_trouble_7_after_a_scheduler_and_back(name: str, updates: int) -> None:
    """A drop-in that follows a `gradus.Scheduler`, wherever that stands, is what it is on a new optimizer; and vice versa.

    Trouble 7: pytorch/pytorch#78003.
    """
    fresh, used = an_optimizer(), an_optimizer()
    before = Scheduler(used, lr=Cosine(10))
    for _ in range(updates):
        before.step()
    new, successor = LEAVES[name](ours, fresh), LEAVES[name](ours, used)
    assert close(followed(used, successor, 5), followed(fresh, new, 5))
    assert Scheduler(used, lr=Cosine(10)).base_lrs == [0.1, 0.25]


def test_trouble_7_a_rate_of_ones_own_is_kept() -> None:
    """A rate that was set by hand is where a new schedule starts, as in torch."""
    optimizer = an_optimizer()
    advance(optimizer, ours.StepLR(optimizer, 2), 5)
    for group in optimizer.param_groups:
        group["lr"] = 0.03
    scheduler = ours.StepLR(optimizer, 2)
    assert followed(optimizer, scheduler, 2)[2][:2] == pytest.approx([0.003, 0.003])


def test_trouble_7_cosine_goes_on_as_documented() -> None:
    """Past T_max the formula holds, which torch documents: the rate rises as it fell. pytorch/pytorch#40971, #152081."""
    optimizer = an_optimizer()
    scheduler = ours.CosineAnnealingLR(optimizer, 5, 0.01)
    for t in range(30):
        assert held(optimizer)[0] == pytest.approx(0.01 + 0.09 * (1 + math.cos(math.pi * t / 5)) / 2)
        advance(optimizer, scheduler)


def test_trouble_8_no_drift() -> None:
    """After 10⁵ steps a float32 tensor rate is the formula's, to its rounding. pytorch/pytorch#20086."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=torch.tensor(0.1))
    scheduler = ours.ExponentialLR(optimizer, 0.9999)
    for _ in range(100_000):
        scheduler.step()
    rate = optimizer.param_groups[0]["lr"]
    assert float(rate) == float(torch.tensor(float(torch.tensor(0.1)) * 0.9999**100_000))


def test_trouble_9_a_longer_run_can_be_told() -> None:
    """A state brings its length along, as in torch, and the length may be set afterwards. pytorch/pytorch#38170."""
    short, longer = an_optimizer(), an_optimizer()
    scheduler, again = ours.CosineAnnealingLR(short, 10), ours.CosineAnnealingLR(longer, 20)
    advance(short, scheduler, 5)
    again.load_state_dict(scheduler.state_dict())
    assert again.T_max == 10
    again.T_max = 20
    assert again.get_lr() == pytest.approx([Cosine(20, start=base)(5) for base in (0.1, 0.25)])


@pytest.mark.parametrize("total_steps", [1, 2, 3, 4])
@pytest.mark.parametrize("pct_start", [0.0, 0.25, 0.3, 0.5, 1.0])
def test_trouble_10_degenerate_cycles(total_steps: int, pct_start: float) -> None:
    """One cycle of very few steps is defined, and ends at its end. pytorch/pytorch#84485."""
    optimizer = an_optimizer()
    scheduler = ours.OneCycleLR(optimizer, 0.5, total_steps, pct_start=pct_start)
    seen = followed(optimizer, scheduler, total_steps - 1)
    assert all(0 < rate <= 0.5 for rates in seen for rate in rates[:2])
    assert [rates[0] for rates in seen] == pytest.approx([scheduler.schedules[0](t) for t in range(total_steps)])
    if pct_start < 1:
        assert seen[-1][0] == pytest.approx(0.5 / 25 / 1e4)


@pytest.mark.parametrize("kind", ["OneCycleLR", "CyclicLR"])
@pytest.mark.parametrize("adam", [False, True])
def test_trouble_10_the_users_own_can_be_restored(kind: str, adam: bool) -> None:
    """The user's rate and momentum come back with `restore`, even after a resume. pytorch/pytorch#127649, #28216."""
    optimizer = an_optimizer(adam=adam)
    before = held(optimizer)
    scheduler = LEAVES[kind](ours, optimizer)
    advance(optimizer, scheduler, 5)
    resumed = an_optimizer(adam=adam)
    again = LEAVES[kind](ours, resumed)
    resumed.load_state_dict(optimizer.state_dict())
    again.load_state_dict(scheduler.state_dict())
    assert held(resumed) != before
    again.restore()
    assert held(resumed) == before
    assert not {"user_lr", "user_momentum"} & set(resumed.param_groups[0])


def test_trouble_10_past_the_end() -> None:
    """Step total_steps holds the last rate, and the next is refused with nothing changed."""
    optimizer = an_optimizer()
    scheduler = ours.OneCycleLR(optimizer, 0.5, 6, anneal_strategy="linear")
    seen = followed(optimizer, scheduler, 6)
    assert seen[6] == seen[5]
    with pytest.raises(InvalidInput, match="made for 6 steps, and step 7 was asked for"):
        scheduler.step()
    assert (scheduler.last_epoch, held(optimizer)) == (6, seen[6])


def test_trouble_12_a_compiled_or_replaced_step() -> None:
    """The optimizer's step may be anything callable when a scheduler is built. pytorch/pytorch#120934, #163103."""
    optimizer = an_optimizer()
    optimizer.step = lambda: None  # type: ignore[method-assign, assignment]  # as a compiled one, it is no method
    scheduler = ours.StepLR(optimizer, 1, 0.5)
    advance(optimizer, scheduler)
    assert held(optimizer)[0] == 0.05


def test_trouble_13_no_false_warning() -> None:
    """A step that a GradScaler has skipped is no reason to warn. pytorch/pytorch#44511, #55585, #67590."""
    scheduler = ours.StepLR(an_optimizer(), 1, 0.5)
    scheduler.step()  # a warning would be an error here


def test_trouble_14_a_stale_base_rate() -> None:
    """The base rates are those of the state that is loaded, whatever the groups hold. pytorch/pytorch#160626, #156846."""
    first, second = an_optimizer(), an_optimizer()
    scheduler = ours.StepLR(first, 2, 0.5)
    advance(first, scheduler, 3)
    for group in second.param_groups:
        group["lr"] = group["initial_lr"] = 9.0
    again = ours.StepLR(second, 2, 0.5)
    again.load_state_dict(scheduler.state_dict())
    assert again.base_lrs == [0.1, 0.25]
    assert close(followed(second, again, 5), followed(first, scheduler, 5))


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("LambdaLR", "MultiplicativeLR")])
def test_trouble_15_groups_added_later(name: str) -> None:
    """A group that joins takes part from the next step on, with its own base. pytorch/pytorch#53712, #79888."""
    optimizer = an_optimizer()
    scheduler = CASES[name](ours, optimizer)
    advance(optimizer, scheduler, 2)
    optimizer.add_param_group({"params": [torch.zeros(1, requires_grad=True)], "lr": 0.7})
    advance(optimizer, scheduler)
    assert len(scheduler.get_last_lr()) == len(scheduler.base_lrs) == 3
    if scheduler._sets_rate:  # its own rate is its highest
        first = optimizer.param_groups[0]
        top = first["max_lr"] if "max_lr" in first else scheduler.max_lrs[0]
        assert held(optimizer)[2] == pytest.approx(0.7 * held(optimizer)[0] / top)
    else:
        whole = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": rate} for rate in (0.7, 0.7)], momentum=0.5)
        advance(whole, CASES[name](ours, whole), 3)
        assert held(optimizer)[2] == pytest.approx(held(whole)[0])


def test_trouble_15_a_group_that_needs_its_own_function() -> None:
    """Where each group has a function, a new one must be given; the error says where. pytorch/pytorch#53712."""
    optimizer = an_optimizer()
    scheduler = ours.LambdaLR(optimizer, [halving, shrinking])
    optimizer.add_param_group({"params": [torch.zeros(1, requires_grad=True)], "lr": 0.7})
    with pytest.raises(InvalidInput, match="append the new one's to lr_lambdas"):
        scheduler.step()
    assert scheduler.last_epoch == 0
    scheduler.lr_lambdas.append(halving)
    advance(optimizer, scheduler)
    assert held(optimizer)[2] == 0.7 * halving(1)


def test_trouble_18_a_floor_is_a_rate() -> None:
    """eta_min is a rate, as torch documents, and raises a group below it. pytorch/pytorch#67761, #63488."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1e-5)
    scheduler = ours.CosineAnnealingLR(optimizer, 4, eta_min=1e-3)
    for _ in range(4):
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 1e-3


def test_trouble_20_no_jump_at_the_hand_off() -> None:
    """A warmup of n steps is at full height at step n, where the next phase begins. pytorch/pytorch#86454, #47560."""
    optimizer = an_optimizer()
    members = [ours.LinearLR(optimizer, 0.2, total_iters=4), ours.CosineAnnealingLR(optimizer, 6)]
    scheduler = ours.SequentialLR(optimizer, members, [4])
    rates = [rates[0] for rates in followed(optimizer, scheduler, 10)]
    assert rates[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert rates[5:] == pytest.approx([0.05 * (1 + math.cos(math.pi * t / 6)) for t in range(1, 7)])


def test_nothing_is_kept_alive() -> None:
    """A scheduler goes with its last reference, and its optimizer then too: there are no cycles."""
    import gc
    import weakref

    gc.collect()
    gc.disable()
    try:
        for make in CASES.values():
            optimizer = an_optimizer()
            scheduler = make(ours, optimizer)
            scheduler.step()
            references = weakref.ref(scheduler), weakref.ref(optimizer)
            del scheduler, optimizer
            assert references[0]() is None
    finally:
        gc.enable()


# Errors


def refused(make: Callable[[Any], Any], message: str) -> Refused:
    return Refused(lambda: make(an_optimizer()), message)


def another() -> Any:
    return ours.StepLR(an_optimizer(), 3)


def moved(o: Any) -> Any:
    scheduler = ours.StepLR(o, 3)
    scheduler.step()
    return scheduler


REFUSED = [
    refused(lambda o: ours.StepLR(o, 0), "Step's every must be a whole number of steps from 1"),
    refused(lambda o: ours.MultiStepLR(o, [1.5]), "each of MultiStep's milestones must be a whole number of steps"),
    refused(lambda o: ours.ConstantLR(o, 1.5), "factor must be from 0 to 1; got 1.5"),
    refused(lambda o: ours.LinearLR(o, 0.0), "start_factor must be above 0 and at most 1; got 0.0"),
    refused(lambda o: ours.LinearLR(o, 0.5, -1), "end_factor must be from 0 to 1; got -1"),
    refused(lambda o: ours.ExponentialLR(o, -0.1), "Exponential's gamma must be a finite number that isn't negative"),
    refused(
        lambda o: ours.LambdaLR(o, [halving]), "lr_lambda must have one value for each of the optimizer's 2 groups; got 1"
    ),
    refused(lambda o: ours.CosineAnnealingWarmRestarts(o, 0), "T_0 must be a whole number from 1 to 2^63 - 1; got 0"),
    refused(
        lambda o: ours.CosineAnnealingWarmRestarts(o, 3, 1.5), "T_mult must be a whole number from 1 to 2^63 - 1; got 1.5"
    ),
    refused(lambda o: ours.CosineAnnealingWarmRestarts(o, 3, 1, "x"), "eta_min must be a number; got 'x'"),
    refused(lambda o: ours.CosineAnnealingWarmRestarts(o, 3).step(-1), "epoch must be a number from 0; got -1"),
    refused(
        lambda o: ours.CyclicLR(o, 0.1, 0.2, mode="cats"),
        "mode must be one of 'triangular', 'triangular2', 'exp_range' without scale_fn; got 'cats'",
    ),
    refused(
        lambda o: ours.CyclicLR(o, [0.1], 0.2), "base_lr must have one value for each of the optimizer's 2 groups; got 1"
    ),
    refused(lambda o: ours.CyclicLR(o, 0.1, 0.2, 0), "step_size_up and step_size_down must be above 0; got 0 and None"),
    refused(lambda o: ours.CosineAnnealingWarmRestarts(o, 3, 2).step(math.inf), "epoch must be a number from 0; got inf"),
    refused(
        lambda _: ours.CyclicLR(torch.optim.Rprop([torch.zeros(1)]), 0.1, 0.2),
        "cycle_momentum needs an optimizer with momentum or betas, and Rprop has neither; pass cycle_momentum=False",
    ),
    refused(lambda o: ours.OneCycleLR(o, 0.1), "OneCycleLR needs its length: total_steps, or epochs and steps_per_epoch"),
    refused(lambda o: ours.OneCycleLR(o, 0.1, 0), "total_steps must be a whole number from 1 to 2^63 - 1; got 0"),
    refused(
        lambda o: ours.OneCycleLR(o, 0.1, epochs=2, steps_per_epoch=1.5), "steps_per_epoch must be a whole number from 1"
    ),
    refused(lambda o: ours.OneCycleLR(o, 0.1, 9, pct_start=1.1), "pct_start must be a number from 0 to 1; got 1.1"),
    refused(
        lambda o: ours.OneCycleLR(o, 0.1, 9, anneal_strategy="cats"), "anneal_strategy must be 'cos' or 'linear'; got 'cats'"
    ),
    refused(lambda o: ours.OneCycleLR(o, 0.1, 9, pct_start=0.9, three_phase=True), "pct_start must be at most 0.5"),
    refused(lambda o: ours.SWALR(o, 0.1, -1), "anneal_epochs must be a whole number from"),
    refused(lambda o: ours.SequentialLR(o, [], []), "SequentialLR needs at least one scheduler; got none"),
    refused(lambda _: ours.ChainedScheduler([]), "ChainedScheduler needs at least one scheduler; got none"),
    refused(lambda o: ours.SequentialLR(o, [another()], []), "must have its optimizer; number 0 has another"),
    refused(
        lambda o: ours.ChainedScheduler([ours.StepLR(o, 3), another()]), "must have its optimizer; number 1 has another"
    ),
    refused(
        lambda o: ours.ChainedScheduler([ours.StepLR(o, 3), moved(o)]), "must be at the same position; they are at [0, 1]"
    ),
    refused(
        lambda o: ours.SequentialLR(o, [ours.StepLR(o, 3)], [4]), "1 schedulers need one milestone fewer; got milestones=[4]"
    ),
    refused(
        lambda o: ours.SequentialLR(o, [ours.StepLR(o, 3)] * 3, [4, 2]),
        "milestones must be whole numbers in order, from 0; got",
    ),
    refused(lambda o: ours.ChainedScheduler([ours.ReduceLROnPlateau(o)]), "steps on a metric, so it can't be in a Chained"),
    refused(
        lambda o: ours.ChainedScheduler([Scheduler(o, lr=Cosine(3))]),
        "number 0 is a Scheduler: schedules are composed",
    ),
    refused(
        lambda o: ours.SequentialLR(o, [ours.StepLR(o, 3)] * 2, ["4"]),
        "milestones must be whole numbers in order, from 0; got",
    ),
    refused(lambda o: ours.MultiStepLR(o, ["30", "80"]), "each of MultiStep's milestones must be a whole number of steps"),
    refused(lambda o: ours.MultiStepLR(o, "30,80"), "each of MultiStep's milestones must be a whole number of steps"),
    refused(lambda o: ours.StepLR(o, "30"), "Step's every must be a whole number of steps from 1"),
    refused(
        lambda o: ours.StepLR(o, 3).load_state_dict({}), "this is no state of a StepLR: it has no whole number 'last_epoch'"
    ),
    refused(
        lambda o: sequence(ours, o).load_state_dict({"last_epoch": 1}), "this is no state of a SequentialLR of 3 schedulers"
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.message[:40])
def test_refused_with_a_reason(case: Refused) -> None:
    """What can't be scheduled, composed or loaded is refused with the reason, as a ValueError like torch's."""
    with pytest.raises(InvalidInput) as caught:
        case.make()
    assert case.message in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_an_epoch_must_be_whole() -> None:
    """`step(epoch)` refuses what is no whole number from 0."""
    scheduler = ours.StepLR(an_optimizer(), 3)
    for epoch in (-1, 1.5, "2"):
        with (
            pytest.warns(UserWarning, match="epoch parameter"),
            pytest.raises(InvalidInput, match="whole number of updates"),
        ):
            scheduler.step(epoch)  # type: ignore[arg-type]
    assert scheduler.last_epoch == 0


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda _: ours.StepLR(object(), 3), TypeError, "object is not an Optimizer"),
        (lambda _: ours.OneCycleLR(object(), 0.1, 3), TypeError, "object is not an Optimizer"),
        (lambda _: ours.LambdaLR(object(), halving), TypeError, "object is not an Optimizer"),
        (lambda o: ours.LambdaLR(o, 0.5), TypeError, "lr_lambda should be a function"),
        (lambda o: ours.MultiplicativeLR(o, [halving, 0.5]), TypeError, "lr_lambda should be a function"),
        (
            lambda o: ours.SequentialLR(o, [halving], []),
            TypeError,
            "made of schedulers, which have an `optimizer`; number 0",
        ),
        (lambda o: ours.StepLR(o, 3, last_epoch=4), KeyError, "'initial_lr' is not specified in param_groups\\[0\\]"),
    ],
)
def test_errors_of_torchs_kinds(make: Callable[[Any], Any], kind: type[Exception], message: str) -> None:
    """Where torch raises a TypeError or a KeyError, so do these."""
    with pytest.raises(kind, match=message):
        make(an_optimizer())


def test_a_refused_load_changes_nothing() -> None:
    """After a refused load the rates and the states, the members' included, are what they were."""
    optimizer, other = an_optimizer(), an_optimizer()
    scheduler, donor = sequence(ours, optimizer), sequence(ours, other)
    advance(optimizer, scheduler, 5)
    advance(other, donor, 9)
    before, state = (held(optimizer), scheduler.state_dict()), donor.state_dict()
    members = state["_schedulers"]
    for change in ({"_schedulers": members[:1]}, {"last_epoch": None}, {"_schedulers": [members[0], {}, members[2]]}):
        with pytest.raises(InvalidInput):
            scheduler.load_state_dict({**state, **change})
        assert (held(optimizer), scheduler.state_dict()) == before


def test_one_function_for_all_groups_is_asked_once_a_step() -> None:
    """A function that all groups share is asked once a step, and groups with functions of their own are asked one by one."""
    asked: list[int] = []

    def halved(t: int) -> float:
        asked.append(t)
        return 0.5**t

    scheduler = ours.LambdaLR(an_optimizer(), halved)
    asked.clear()
    scheduler.step()
    assert asked == [1]
    assert scheduler.get_last_lr() == [0.5 * base for base in scheduler.base_lrs]


@pytest.mark.parametrize("changed", ["step", "twice"])
def test_milestones_changed_in_place_count(changed: str) -> None:
    """A milestone that is put into the Counter, or counted once more, counts from the next step on, as in torch."""
    optimizers = [an_optimizer(), an_optimizer()]
    pair = [
        kind(one, [3])
        for kind, one in zip((ours.MultiStepLR, torch.optim.lr_scheduler.MultiStepLR), optimizers, strict=True)
    ]
    for optimizer, scheduler in zip(optimizers, pair, strict=True):
        optimizer.step()
        scheduler.step()
        scheduler.milestones[2 if changed == "step" else 3] += 1
        for _ in range(3):
            scheduler.step()
    assert pair[0].get_last_lr() == pytest.approx(pair[1].get_last_lr(), rel=1e-12)
