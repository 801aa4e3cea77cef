"""The Scheduler: what it writes into groups, what it saves, and what it leaves alone."""

import copy
import itertools
import json
import math
import pickle
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler

import gradus
from gradus.errors import InvalidInput
from gradus.scheduler import Scheduler
from gradus.schedules import Constant, Cosine, Exponential, Lambda, Linear, Schedule, Step, absolute, epochs, warmup
from gradus.schedules.metric import Greedy, Plateau
from registry import COMPOSITIONS, DEEP, DEPTH, SCHEDULES, Refused, depth

# Schedules and bases are drawn, and some are what a Scheduler warns of: test_schedule_mistake.py is about that.
pytestmark = pytest.mark.filterwarnings("ignore::gradus.errors.ScheduleMistake")


def an_optimizer(groups: int = 2, tensors: bool = False, **options: Any) -> torch.optim.Optimizer:
    rates = [0.1 * (index + 1) for index in range(groups)]
    return torch.optim.AdamW(
        [
            {
                "params": [torch.zeros(2, requires_grad=True)],
                "lr": torch.tensor(rate, dtype=torch.float64) if tensors else rate,
            }
            for rate in rates
        ],
        **options,
    )


def rates(optimizer: Any) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


def run(optimizer: torch.optim.Optimizer, scheduler: Any, steps: int) -> None:
    for _ in range(steps):
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("tensors", [False, True])
def test_groups_hold_base_times_schedule(name: str, tensors: bool) -> None:
    """After k steps each group holds its own base times schedule(k), or schedule(k) itself where it is absolute."""
    optimizer = an_optimizer(groups=7, tensors=tensors)
    schedule, bases = SCHEDULES[name], rates(optimizer)
    scheduler = Scheduler(optimizer, lr=schedule)
    for k in range(30):
        factors = [1.0] * 7 if name == "absolute" else bases
        assert rates(optimizer) == [factor * schedule(k) for factor in factors]
        assert scheduler.get_lr() == [factor * schedule(k) for factor in factors]
        assert scheduler.last_epoch == k
        scheduler.step()


@given(schedule=COMPOSITIONS)
@settings(max_examples=50)
def test_it_is_lambda_lr(schedule: Schedule) -> None:
    """Any composition does to the groups what torch's LambdaLR does with it as a function."""
    ours, theirs = an_optimizer(), an_optimizer()
    mine, torchs = Scheduler(ours, lr=schedule), LambdaLR(theirs, schedule)
    for _ in range(20):
        assert rates(ours) == rates(theirs)
        run(ours, mine, 1)
        run(theirs, torchs, 1)


def test_tensor_rates_are_filled_in_place() -> None:
    """A tensor rate stays the same object, so that compiled steps and CUDA graphs see its new value."""
    optimizer = an_optimizer(tensors=True)
    before = [group["lr"] for group in optimizer.param_groups]
    run(optimizer, Scheduler(optimizer, lr=Cosine(10)), 5)
    assert all(group["lr"] is tensor for group, tensor in zip(optimizer.param_groups, before, strict=True))
    assert rates(optimizer) == pytest.approx([0.05, 0.1])


def test_any_hyperparameter_can_be_scheduled() -> None:
    """Several hyperparameters move at once, members of tuples included; the other members stay."""
    optimizer = an_optimizer(weight_decay=0.2, betas=(0.9, 0.99))
    scheduler = Scheduler(
        optimizer, lr=Cosine(10), weight_decay=Linear(10), **{"betas[0]": absolute(Linear(10, start=0.85, end=0.95))}
    )
    run(optimizer, scheduler, 5)
    for group, base in zip(optimizer.param_groups, (0.1, 0.2), strict=True):
        assert group["lr"] == pytest.approx(base / 2)
        assert group["weight_decay"] == pytest.approx(0.1)
        assert group["betas"] == (pytest.approx(0.9), 0.99)


def test_the_optimizer_is_left_alone() -> None:
    """Nothing is patched or wrapped; the bases go where torch's schedulers keep them, and the optimizer gets a mark."""
    optimizer = an_optimizer()
    keys, names = [set(group) for group in optimizer.param_groups], set(vars(optimizer))
    Scheduler(optimizer, lr=Cosine(10))
    assert [set(group) for group in optimizer.param_groups] == [one | {"initial_lr"} for one in keys]
    assert set(vars(optimizer)) == names | {"_gradus_scheduled"}  # which a drop-in that is built next asks for
    assert "step" not in vars(optimizer)


def test_it_is_torchs_kind_of_scheduler() -> None:
    """Frameworks that ask for an LRScheduler get one, with torch's attributes."""
    scheduler = Scheduler(an_optimizer(), lr=Cosine(10))
    assert isinstance(scheduler, LRScheduler)
    assert scheduler.base_lrs == [0.1, 0.2]
    assert scheduler.get_last_lr() == [0.1, 0.2]
    scheduler.step(10)  # torch's older form: an absolute position
    assert scheduler.last_epoch == 10
    assert scheduler.get_last_lr() == [0.0, 0.0]


def test_groups_added_later_keep_their_own_base() -> None:
    """A group that joins at step k holds its own base times schedule(k + 1) after the next step."""
    optimizer = an_optimizer()
    scheduler = Scheduler(optimizer, lr=Linear(10))
    run(optimizer, scheduler, 4)
    optimizer.add_param_group({"params": [torch.zeros(1, requires_grad=True)], "lr": 0.7})
    run(optimizer, scheduler, 1)
    assert rates(optimizer) == pytest.approx([0.05, 0.1, 0.35])
    assert scheduler.base_lrs == [0.1, 0.2, 0.7]


def test_it_works_on_anything_with_groups() -> None:
    """An optimizer is whatever has param_groups, a list of dicts."""

    class Duck:
        param_groups = [{"lr": 1.0}]  # noqa: RUF012 - what a duck looks like

    scheduler = Scheduler(Duck(), lr=Step(2, gamma=0.5))
    scheduler.set_step(5)
    assert Duck.param_groups == [{"lr": 0.25, "initial_lr": 1.0}]


@pytest.mark.parametrize("name", SCHEDULES)
def test_any_position_is_reached_directly(name: str) -> None:
    """set_step(k) from anywhere leaves the same values as k steps from 0."""
    stepped, jumped = an_optimizer(), an_optimizer()
    scheduler, seeker = Scheduler(stepped, lr=SCHEDULES[name]), Scheduler(jumped, lr=SCHEDULES[name])
    run(stepped, scheduler, 23)
    for position in (40, 3, 23):
        seeker.set_step(position)
    assert rates(jumped) == rates(stepped)


# Groups, clocks and metrics


def test_groups_follow_schedules_of_their_own() -> None:
    """A mapping gives groups their schedules by index, by name or by a function; the first key that fits holds."""
    optimizer = an_optimizer(4)
    optimizer.param_groups[1]["name"] = "head"
    scheduler = Scheduler(
        optimizer, lr={0: Linear(10), "head": absolute(Constant(0.7)), (lambda group: group["lr"] > 0.35): Constant(0.5)}
    )
    scheduler.set_step(5)
    assert rates(optimizer) == pytest.approx([0.05, 0.7, 0.3, 0.2])
    state = json.loads(json.dumps(scheduler.state_dict()))
    again = an_optimizer(4)
    again.param_groups[1]["name"] = "head"
    other = Scheduler(again, lr={0: Linear(10), "head": absolute(Constant(0.7)), 3: Constant(0.5)})
    other.load_state_dict(state)
    assert rates(again) == rates(optimizer)
    other = Scheduler(again, lr={2: Linear(10), "head": absolute(Constant(0.7)), 3: Constant(0.5)})
    with pytest.raises(InvalidInput, match="the saved schedules differ"):
        other.load_state_dict(state)


def test_a_start_in_the_middle() -> None:
    """start_step=k begins where k steps lead."""
    stepped, started = an_optimizer(), an_optimizer()
    run(stepped, Scheduler(stepped, lr=Cosine(20)), 7)
    assert Scheduler(started, lr=Cosine(20), start_step=7).last_epoch == 7
    assert rates(started) == rates(stepped)


@pytest.mark.parametrize("unit", ["samples", "tokens"])
def test_a_clock_of_samples_or_tokens(unit: str) -> None:
    """advance moves a clock that counts samples or tokens, and a clock keeps to its unit, in its state too."""
    optimizer = an_optimizer()
    scheduler = Scheduler(optimizer, lr=Linear(10**6))
    for count in (100_000, 1, 399_999):
        scheduler.advance(**{unit: count})
    assert rates(optimizer) == pytest.approx([0.05, 0.1])
    again = Scheduler(an_optimizer(), lr=Linear(10**6))
    again.load_state_dict(scheduler.state_dict())
    for one in (scheduler, again):
        with pytest.raises(InvalidInput, match=f"this scheduler's clock counts {unit}, and can't go on in steps"):
            one.step()


def test_skipped_updates_do_not_count() -> None:
    """With count_updates, steps that a GradScaler skips leave the schedule where it is.

    pytorch/pytorch#44511, #55585, #67590: torch warns instead, and warns falsely.
    """
    optimizer = an_optimizer()
    scheduler = Scheduler(optimizer, lr=Linear(10), count_updates=True)
    for is_finite in (True, False, True, False, False):
        if is_finite:  # what GradScaler.step does
            optimizer.step()
        scheduler.step()
    assert scheduler.last_epoch == 2
    other, again = copy.deepcopy((optimizer, scheduler))
    run(other, again, 3)
    assert (again.last_epoch, scheduler.last_epoch) == (5, 2)


def test_a_compiled_step_sees_every_rate() -> None:
    """Building before or after torch.compile(optimizer.step) works: the step itself is never touched."""
    optimizer = an_optimizer()
    optimizer.step = torch.compile(optimizer.step, backend="eager")  # type: ignore[method-assign]
    compiled = optimizer.step
    Scheduler(optimizer, lr=Linear(10)).set_step(5)
    assert optimizer.step is compiled
    assert rates(optimizer) == pytest.approx([0.05, 0.1])


metrics = st.lists(st.floats(-5, 5) | st.just(math.nan), min_size=1, max_size=60)


@given(
    seen=metrics,
    mode=st.sampled_from(["min", "max"]),
    threshold_mode=st.sampled_from(["rel", "abs"]),
    patience=st.integers(0, 4),
    cooldown=st.integers(0, 3),
    threshold=st.floats(0, 0.5),
)
@settings(max_examples=100)
def test_plateau_is_torchs(
    seen: list[float], mode: Any, threshold_mode: Any, patience: int, cooldown: int, threshold: float
) -> None:
    """Constant() * Plateau(...) does to the groups what torch's ReduceLROnPlateau does, for any metrics."""
    ours, theirs = an_optimizer(1), an_optimizer(1)
    common = {"mode": mode, "factor": 0.5, "patience": patience, "cooldown": cooldown}
    common |= {"threshold": threshold, "threshold_mode": threshold_mode}
    scheduler = Scheduler(ours, lr=Constant() * Plateau(**common, min_factor=0.01, eps=1e-7))
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **common, min_lr=0.1 * 0.01, eps=0.1 * 1e-7)
    for metric in seen:
        scheduler.observe(metric)
        torchs.step(metric)
        assert rates(ours) == pytest.approx(rates(theirs), rel=1e-9)


@pytest.mark.parametrize("factor", [Plateau(patience=1, factor=0.5), Greedy(patience=1, factor=0.5, window=2)])
def test_metric_driven_factors_multiply_any_schedule(factor: Schedule) -> None:
    """The factor multiplies warmup and all, its state is saved, and resuming goes on as if nothing had happened.

    pytorch/pytorch#68978: torch's plateau can't be composed or warmed up.
    """
    schedule = (warmup(5) >> Cosine(20)) * factor * 0.5
    seen = [1.0, 0.9, 0.8, 0.7, 0.7, 0.8, 0.9, math.nan, 0.9, 0.95, 0.6, 0.6]
    whole = an_optimizer()
    running = Scheduler(whole, lr=schedule)
    state = factor.initial()  # type: ignore[attr-defined]
    for step, metric in enumerate(seen):
        resumed = an_optimizer()
        again = Scheduler(resumed, lr=schedule)
        again.load_state_dict(json.loads(json.dumps(running.state_dict())))
        for optimizer, scheduler in ((whole, running), (resumed, again)):
            scheduler.step()
            scheduler.observe(torch.tensor(metric))
            assert scheduler.last_epoch == step + 1, optimizer
        state = factor.observed(state, float(torch.tensor(metric)))  # type: ignore[attr-defined]
        expected = schedule(step + 1) * state["factor"]
        assert rates(whole) == rates(resumed) == pytest.approx([0.1 * expected, 0.2 * expected])
    assert state["factor"] != 1.0


@given(seen=st.lists(st.floats(0.01, 5), min_size=1, max_size=80), patience=st.integers(0, 3))
def test_greedy_is_the_papers(seen: list[float], patience: int) -> None:
    """Without window and threshold, Greedy divides by F after `patience` + 1 falls in a row and multiplies after as many
    others, between its bounds.
    """
    greedy = Greedy(factor=0.5, patience=patience, threshold=0.0, min_factor=0.1, max_factor=4.0)
    state, factor, good, bad = greedy.initial(), 1.0, 0, 0
    for index, loss in enumerate(seen):
        state = greedy.observed(state, loss)
        if index == 0:
            continue
        good, bad = (good + 1, 0) if loss < seen[index - 1] else (0, bad + 1)
        if good > patience:
            factor, good = min(factor / 0.5, 4.0), 0
        elif bad > patience:
            factor, bad = max(factor * 0.5, 0.1), 0
        assert state["factor"] == factor


# State

ORDERS = list(itertools.permutations(["load optimizer", "build scheduler", "load scheduler"]))


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "lambda"])
@pytest.mark.parametrize(
    "order", [order for order in ORDERS if order.index("build scheduler") < order.index("load scheduler")]
)
@pytest.mark.parametrize("tensors", [False, True])
@pytest.mark.parametrize("groups", [1, 7])
def test_any_load_order_gives_the_same_values(name: str, order: tuple[str, ...], tensors: bool, groups: int) -> None:
    """Interrupted anywhere and resumed in any order, the rates are the uninterrupted run's, exactly.

    torch gives a wrong rate for 8 of its 16 schedulers: pytorch/pytorch#119168, #65342, #60265.
    """
    whole = an_optimizer(groups, tensors)
    running = Scheduler(whole, lr=SCHEDULES[name])
    run(whole, running, 13)
    saved = pickle.loads(pickle.dumps((whole.state_dict(), running.state_dict())))
    resumed: torch.optim.Optimizer = an_optimizer(groups, tensors)
    scheduler: Any = None
    for action in order:
        if action == "load optimizer":
            resumed.load_state_dict(saved[0])
        elif action == "build scheduler":
            scheduler = Scheduler(resumed, lr=SCHEDULES[name])
        else:
            scheduler.load_state_dict(saved[1])
    assert scheduler.base_lrs == running.base_lrs
    for _ in range(20):
        assert rates(resumed) == rates(whole)
        run(whole, running, 1)
        run(resumed, scheduler, 1)


@given(schedule=DEEP, until=st.integers(0, 60), groups=st.sampled_from([1, 7]), tensors=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_composition_resumes_anywhere(schedule: Schedule, until: int, groups: int, tensors: bool) -> None:
    """Compositions to depth six, interrupted at any step, go on through JSON as the uninterrupted run does, exactly."""
    whole, parted = an_optimizer(groups, tensors), an_optimizer(groups, tensors)
    running, first = Scheduler(whole, lr=schedule), Scheduler(parted, lr=schedule)
    for scheduler in (running, first):
        for _ in range(until):
            scheduler.step()
    state = json.loads(json.dumps(first.state_dict()))
    resumed = an_optimizer(groups, tensors)
    again = Scheduler(resumed, lr=schedule)
    again.load_state_dict(state)
    for step in range(until, until + 5):
        assert rates(resumed) == rates(whole)
        if not tensors:
            assert rates(whole) == [base * schedule(step) for base in running.base_lrs]
        running.step()
        again.step()
    again.set_step(until)
    assert rates(resumed) == rates(parted)


def test_deep_compositions_are_deep() -> None:
    """The compositions of the law above do reach depth six."""
    drawn = settings(max_examples=2000, phases=[Phase.generate])  # to simplify what is found takes long
    assert depth(find(DEEP, lambda schedule: depth(schedule) >= DEPTH, settings=drawn)) >= DEPTH


def test_state_is_json() -> None:
    """A state survives JSON, and holds the step, the definitions and the bases."""
    optimizer = an_optimizer()
    scheduler = Scheduler(optimizer, lr=warmup(5) >> Cosine(10), weight_decay=Exponential(0.9))
    run(optimizer, scheduler, 7)
    state = json.loads(json.dumps(scheduler.state_dict()))
    other = an_optimizer()
    again = Scheduler(other, lr=warmup(5) >> Cosine(10), weight_decay=Exponential(0.9))
    again.load_state_dict(state)
    assert again.state_dict() == scheduler.state_dict() == state
    assert rates(other) == rates(optimizer)


def test_a_changed_definition_is_refused_until_the_user_picks() -> None:
    """Loading under other schedules is an error that names both; "keep" goes on as saved, "new" as defined here."""
    saved = Scheduler(an_optimizer(), lr=Cosine(100))
    saved.set_step(10)
    optimizer = an_optimizer()
    scheduler = Scheduler(optimizer, lr=Cosine(200))
    with pytest.raises(InvalidInput, match=r"lr was Cosine\(100\) and is Cosine\(200\) now; pass on_change="):
        scheduler.load_state_dict(saved.state_dict())
    assert scheduler.last_epoch == 0
    scheduler.load_state_dict(saved.state_dict(), on_change="new")
    assert rates(optimizer) == [0.1 * Cosine(200)(10), 0.2 * Cosine(200)(10)]
    scheduler.load_state_dict(saved.state_dict(), on_change="keep")
    assert rates(optimizer) == [0.1 * Cosine(100)(10), 0.2 * Cosine(100)(10)]


def test_another_length_is_rescaled_or_spliced() -> None:
    """With "rescale" it goes on from the same part of the new schedule, with "splice" that begins where the old one stands.

    pytorch/pytorch#38170: in torch, loading overwrites the new length.
    """
    saved = Scheduler(an_optimizer(), lr=Cosine(100))
    saved.set_step(30)
    optimizer = an_optimizer()
    scheduler = Scheduler(optimizer, lr=Cosine(200))
    scheduler.load_state_dict(saved.state_dict(), on_change="rescale")
    assert scheduler.last_epoch == 60
    assert rates(optimizer) == pytest.approx([0.1 * Cosine(100)(30), 0.2 * Cosine(100)(30)])
    scheduler = Scheduler(optimizer, lr=Linear(50, start=0.5))
    scheduler.load_state_dict(saved.state_dict(), on_change="splice")
    assert rates(optimizer) == pytest.approx([0.05, 0.1])
    run(optimizer, scheduler, 25)
    assert scheduler.last_epoch == 55
    assert rates(optimizer) == pytest.approx([0.025, 0.05])
    again = Scheduler(an_optimizer(), lr=Cosine(100).take(30) >> Linear(50, start=0.5))
    again.load_state_dict(scheduler.state_dict())
    with pytest.raises(InvalidInput, match='"rescale" needs an end, before and after'):
        Scheduler(an_optimizer(), lr=Constant()).load_state_dict(saved.state_dict(), on_change="rescale")
    with pytest.raises(InvalidInput, match=r"joins factors to factors and absolute\(\.\.\.\) to absolute"):
        Scheduler(an_optimizer(), lr=absolute(Cosine(3))).load_state_dict(saved.state_dict(), on_change="splice")


def test_bases_are_kept_by_the_state() -> None:
    """A scheduler built on an optimizer that holds scheduled rates takes up the saved bases, not those rates."""
    saved = Scheduler(an_optimizer(), lr=Linear(10))
    saved.set_step(5)
    optimizer = an_optimizer()
    optimizer.param_groups[0]["lr"] = 0.05  # an optimizer's state of before bases were kept in the groups
    scheduler = Scheduler(optimizer, lr=Linear(10))
    scheduler.load_state_dict(saved.state_dict())
    assert rates(optimizer) == pytest.approx([0.05, 0.1])


def test_groups_missing_at_load_join_with_their_saved_base() -> None:
    """A state of more groups than there are yet gives later groups the bases that they had."""
    grown = an_optimizer(3)
    saved = Scheduler(grown, lr=Linear(10))
    saved.set_step(5)
    optimizer = an_optimizer(2)
    scheduler = Scheduler(optimizer, lr=Linear(10))
    scheduler.load_state_dict(saved.state_dict())
    optimizer.add_param_group({"params": [torch.zeros(1, requires_grad=True)], "lr": 55.0})
    scheduler.set_step(5)
    assert rates(optimizer) == rates(grown)


def test_a_copy_goes_its_own_way() -> None:
    """A deep copy of an optimizer and its scheduler steps like the original and doesn't touch it."""
    optimizer = an_optimizer()
    scheduler = Scheduler(optimizer, lr=Linear(10))
    other, again = copy.deepcopy((optimizer, scheduler))
    run(other, again, 5)
    assert rates(other) == pytest.approx([0.05, 0.1])
    assert rates(optimizer) == [0.1, 0.2]


def test_it_agrees_with_torch_in_training() -> None:
    """A training under Cosine and one under torch's CosineAnnealingLR end with the same weights."""
    ends = []
    for make in (lambda o: Scheduler(o, lr=Cosine(25)), lambda o: CosineAnnealingLR(o, 25)):
        weight = torch.tensor([2.0, -1.0], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([weight], lr=0.2, momentum=0.9)
        scheduler = make(optimizer)
        for _ in range(25):
            optimizer.zero_grad()
            (weight**2).sum().backward()
            optimizer.step()
            scheduler.step()
        ends.append(weight.detach())
    assert torch.allclose(*ends, rtol=1e-12, atol=1e-14)


def _loaded(change: dict[str, Any]) -> None:
    scheduler = Scheduler(an_optimizer(), lr=Cosine(10))
    scheduler.load_state_dict({**scheduler.state_dict(), **change})


def _loaded_track(change: dict[str, Any]) -> None:
    scheduler = Scheduler(an_optimizer(), lr=Cosine(10))
    track = {**scheduler.state_dict()["hyperparameters"]["lr"], **change}
    scheduler.load_state_dict({**scheduler.state_dict(), "hyperparameters": {"lr": track}})


def _state() -> dict[str, Any]:
    return Scheduler(an_optimizer(), lr=Cosine(3)).state_dict()


REFUSED = [
    Refused(lambda: Scheduler(an_optimizer()), "needs at least one schedule, such as lr=Cosine(1000)"),
    Refused(lambda: Scheduler(object(), lr=Cosine(1)), "needs an optimizer with param_groups"),
    Refused(lambda: Scheduler(an_optimizer(), lr=0.1), "lr must be a schedule, such as Cosine(1000); got 0.1"),
    Refused(
        lambda: Scheduler(an_optimizer(), lr=Cosine(epochs(3))),
        "is a template; make it concrete first: .resolve(steps_per_epoch",
    ),
    Refused(
        lambda: Scheduler(an_optimizer(), momentum=Cosine(3)),
        "group 0 has no hyperparameter 'momentum'; it has amsgrad, betas",
    ),
    Refused(lambda: Scheduler(an_optimizer(), **{"betas[2]": Cosine(3)}), "group 0 has no hyperparameter 'betas[2]'"),
    Refused(lambda: Scheduler(an_optimizer(), **{"betas[": Cosine(3)}), 'a hyperparameter is named as "lr" or "betas[0]"'),
    Refused(
        lambda: Scheduler(an_optimizer(), betas=Cosine(3)), "'betas' of group 0 must be a number to be scheduled; it is (0.9"
    ),
    Refused(
        lambda: Scheduler(an_optimizer(), amsgrad=Cosine(3)),
        "'amsgrad' of group 0 must be a number to be scheduled; it is False",
    ),
    Refused(
        lambda: Scheduler(an_optimizer(), lr=Cosine(3)).set_step(-1),
        "set_step's step must be a whole number from 0 to 2^63 - 1; got -1",
    ),
    Refused(lambda: Scheduler(an_optimizer(), lr=Lambda(lambda t: t + 1.0)).state_dict(), "can't be saved"),
    Refused(lambda: Scheduler(an_optimizer(), lr=Cosine(3)).load_state_dict({}), "this is no state of a gradus Scheduler"),
    Refused(lambda: _loaded({"gradus.scheduler": 99}), "has version 99; this Gradus reads version 1"),
    Refused(lambda: _loaded({"more": 1}), "a scheduler state has no field 'more'"),
    Refused(lambda: _loaded({"step": -3}), "a scheduler state's 'step' can't be -3"),
    Refused(lambda: _loaded({"step": "3"}), "a scheduler state's 'step' can't be '3'"),
    Refused(lambda: _loaded({"hyperparameters": {"lr": 3}}), "a scheduler state's 'lr' can't be 3"),
    Refused(lambda: _loaded_track({"bases": ["x"]}), "bases must be lists of finite numbers; 'lr' has 'x'"),
    Refused(lambda: _loaded_track({"schedules": [3]}), "schedules must be JSON texts; 'lr' has [3]"),
    Refused(lambda: _loaded_track({"more": 3}), "a scheduler state has no field 'more'"),
    Refused(
        lambda: Scheduler(an_optimizer(), lr={5: Cosine(3)}),
        "lr: no group fits 5, or an earlier key has taken it; there are 0, 1",
    ),
    Refused(lambda: Scheduler(an_optimizer(), lr={"head": Cosine(3)}), "no group fits 'head'"),
    Refused(
        lambda: Scheduler(an_optimizer(), lr=Cosine(3), start_step=-1),
        "start_step must be a whole number from 0 to 2^63 - 1; got -1",
    ),
    Refused(
        lambda: Scheduler(an_optimizer(), lr=Cosine(3)).advance(),
        "advance takes either samples=... or tokens=...; got neither",
    ),
    Refused(
        lambda: Scheduler(an_optimizer(), lr=Cosine(3)).observe(1.0), "no schedule here follows a metric; multiply one by"
    ),
    Refused(
        lambda: Scheduler(an_optimizer(), lr=Cosine(3)).load_state_dict(_state(), on_change="stretch"),
        'on_change must be "keep"',
    ),
]


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_a_reason(case: Refused) -> None:
    """What can't be scheduled or loaded is refused with the reason."""
    with pytest.raises(InvalidInput) as caught:
        case.make()
    assert case.message in str(caught.value)


def test_a_refused_load_changes_nothing() -> None:
    """After a refused load the step, the schedules and the groups are what they were."""
    optimizer = an_optimizer()
    scheduler = Scheduler(optimizer, lr=Cosine(10))
    run(optimizer, scheduler, 3)
    before = scheduler.state_dict(), rates(optimizer)
    for change in ({"step": math.nan}, {"hyperparameters": {}}, {"hyperparameters": {"lr": []}}):
        with pytest.raises(InvalidInput):
            scheduler.load_state_dict({**before[0], "step": 9, **change})
    assert (scheduler.state_dict(), rates(optimizer)) == before


def test_it_is_gradus_scheduler() -> None:
    """The class is where the documents say."""
    assert gradus.Scheduler is Scheduler


def test_a_position_set_by_torchs_name_is_refused_with_the_way_out() -> None:
    """Setting `last_epoch`, as torch's SequentialLR does, changes nothing and names what to do instead."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = Scheduler(optimizer, lr=Cosine(10))
    with pytest.raises(InvalidInput, match=r"by set_step\(5\)"):
        scheduler.last_epoch = 5
    with pytest.raises(InvalidInput, match=r"compose the schedules instead, first >> second"):
        torch.optim.lr_scheduler.SequentialLR(optimizer, [scheduler, scheduler], [5])  # type: ignore[list-item]
    assert (scheduler.last_epoch, optimizer.param_groups[0]["lr"]) == (0, 1.0)
