"""The known troubles of schedulers, each by its name: what happens elsewhere, and doesn't here.

Numbers are issues of pytorch/pytorch, unless another project is named.
"""

import copy
import itertools
import json
import math
import warnings
from typing import Any

import pytest
import torch

import gradus
from gradus.errors import InvalidInput
from gradus.lr_scheduler import ConstantLR, CosineAnnealingLR, ExponentialLR, LinearLR, OneCycleLR, SequentialLR
from gradus.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    Linear,
    OneCycle,
    Plateau,
    Schedule,
    Step,
    absolute,
    epochs,
    rest,
    warmup,
)


def optimizer_of(*rates: float, tensors: bool = False) -> torch.optim.Optimizer:
    """Adam with a group for each rate."""
    kind = torch.tensor if tensors else float
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": kind(rate)} for rate in rates]
    return torch.optim.Adam(groups, lr=1.0)


def rates(optimizer: torch.optim.Optimizer) -> list[float]:
    """What stands in the groups."""
    return [float(group["lr"]) for group in optimizer.param_groups]


def stepped(scheduler: Any, steps: int) -> Any:
    """A scheduler after so many steps."""
    for _ in range(steps):
        scheduler.optimizer.step()
        scheduler.step()
    return scheduler


ORDERS = [  # a state is loaded into a scheduler that is there
    order
    for order in itertools.permutations(("scheduler", "optimizer state", "scheduler state"))
    if order.index("scheduler") < order.index("scheduler state")
]


@pytest.mark.parametrize("order", ORDERS)
def test_01_load_order_corrupts_the_rate(order: tuple[str, ...]) -> None:
    """Built, and loaded in any order, the rate is the schedule's at the saved step (#119168, #65342, #60265)."""
    schedule = Linear(20, start=0.1, end=1.0) >> Cosine(80)
    saved = stepped(gradus.Scheduler(optimizer_of(0.1), lr=schedule), 50)
    states = saved.optimizer.state_dict(), saved.state_dict()
    optimizer, scheduler = optimizer_of(0.1), None
    for event in order:
        if event == "scheduler":
            scheduler = gradus.Scheduler(optimizer, lr=schedule)
        elif event == "optimizer state":
            optimizer.load_state_dict(copy.deepcopy(states[0]))
        else:
            assert scheduler is not None
            scheduler.load_state_dict(copy.deepcopy(states[1]))
    assert scheduler is not None
    scheduler.set_step(scheduler.last_epoch)  # what the next step would do, were the optimizer loaded last
    assert rates(optimizer) == [0.1 * schedule(50)]


def test_02_a_sequence_resumes_in_the_wrong_phase() -> None:
    """Resumed by its position alone, a sequence is in the phase that the position says (#162591, #168044)."""
    ours = gradus.Scheduler(optimizer_of(1.0), lr=Constant(0.1).take(2) >> Exponential(0.9), start_step=4)
    assert rates(ours.optimizer) == pytest.approx([0.81])
    optimizer = optimizer_of(1.0)
    optimizer.param_groups[0]["initial_lr"] = 1.0
    SequentialLR(optimizer, [ConstantLR(optimizer, 0.1, total_iters=2), ExponentialLR(optimizer, 0.9)], [2], last_epoch=3)
    assert rates(optimizer) == pytest.approx([0.81])


def test_03_composites_do_not_nest() -> None:
    """A sequence within a product within a sequence is a schedule like any other (#196243, #67957, #132745)."""
    inner = (warmup(3) >> Cosine(7)) * Step(4, gamma=0.5)
    nested = Constant(0.5).take(5) >> inner.take(10) >> (inner + 0.1)
    for t in range(30):
        expected = 0.5 if t < 5 else inner(t - 5) if t < 15 else inner(t - 15) + 0.1
        assert nested(t) == expected


def test_04_members_pollute_each_other() -> None:
    """Building the members of a sequence leaves the rate as the sequence has it (#72874, #185872, #67586)."""
    optimizer = optimizer_of(1.0)
    gradus.Scheduler(optimizer, lr=Linear(5, start=0.1, end=1.0) >> Constant(0.3))
    assert rates(optimizer) == [0.1]
    optimizer = optimizer_of(1.0)
    SequentialLR(optimizer, [LinearLR(optimizer, 0.1, total_iters=5), ConstantLR(optimizer, 0.3)], [5])
    assert rates(optimizer) == pytest.approx([0.1])


def test_05_plateau_cannot_be_warmed_up() -> None:
    """A plateau is a factor of any schedule, warmup included (#68978)."""
    scheduler = gradus.Scheduler(optimizer_of(1.0), lr=(warmup(4) >> Constant()) * Plateau(patience=0, factor=0.5))
    stepped(scheduler, 2)
    scheduler.observe(1.0)
    scheduler.observe(2.0)
    assert rates(scheduler.optimizer) == [0.5 * 2 / 4]
    stepped(scheduler, 2)
    assert rates(scheduler.optimizer) == [0.5]


def test_06_chained_is_no_product() -> None:
    """`*` multiplies, whatever the kinds of its members (#129565)."""
    product = Cosine(10) * CosineRestarts(4) * Step(3)
    assert [product(t) for t in range(20)] == [Cosine(10)(t) * CosineRestarts(4)(t) * Step(3)(t) for t in range(20)]


def test_07_cosine_rises_again() -> None:
    """A cosine holds its end, and one that is built anew at a later step stands there at once (#78003, #40971, #152081)."""
    assert [Cosine(10, end=0.1)(t) for t in (10, 15, 20, 10**6)] == [0.1] * 4
    assert rates(gradus.Scheduler(optimizer_of(1.0), lr=Cosine(10), start_step=4).optimizer) == [Cosine(10)(4)]


def test_08_two_formulas_drift_apart() -> None:
    """A float32 tensor's rate after 100,000 steps is the closed form's, for nothing is accumulated (#20086, #68332)."""
    schedule = Exponential(0.99999)
    scheduler = gradus.Scheduler(optimizer_of(0.1, tensors=True), lr=schedule)
    for _ in range(100_000):
        scheduler.step()
    assert rates(scheduler.optimizer)[0] == pytest.approx(0.1 * math.pow(0.99999, 100_000), rel=1e-7)


def test_09_training_longer_than_planned() -> None:
    """A state under another length is refused until the user says what holds (#38170, mmengine#1565, xtuner#211)."""
    state = stepped(gradus.Scheduler(optimizer_of(1.0), lr=Cosine(10)), 5).state_dict()
    longer = gradus.Scheduler(optimizer_of(1.0), lr=Cosine(20))
    with pytest.raises(InvalidInput, match="the saved schedules differ"):
        longer.load_state_dict(state)
    for choice, expected in (("keep", Cosine(10)(5)), ("new", Cosine(20)(5)), ("rescale", Cosine(20)(10)), ("splice", 1.0)):
        scheduler = gradus.Scheduler(optimizer_of(1.0), lr=Cosine(20))
        scheduler.load_state_dict(state, on_change=choice)
        assert rates(scheduler.optimizer) == [expected]


def test_10_one_cycle_rewrites_what_the_user_chose() -> None:
    """One cycle leaves beta1 alone unless it is scheduled too; short ones are defined (#127649, #28216, #84485)."""
    optimizer = optimizer_of(0.5)
    stepped(gradus.Scheduler(optimizer, lr=OneCycle(10)), 3)
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)
    gradus.Scheduler(optimizer, **{"betas[0]": absolute(OneCycle(10, start=0.95, peak=0.85, end=0.95))})
    assert optimizer.param_groups[0]["betas"] == (0.95, 0.999)
    for length in (0, 1, 2):
        assert all(math.isfinite(OneCycle(length)(t)) for t in range(4))
    optimizer = optimizer_of(0.5)
    stepped(OneCycleLR(optimizer, 0.5, total_steps=2), 1)
    assert all(map(math.isfinite, rates(optimizer)))


def halve(t: int) -> float:
    """A function that can be found by its name."""
    return 0.5**t


def test_11_state_without_the_schedule_or_with_too_much() -> None:
    """The state is JSON with the schedule in it, and without the optimizer (#42376, #106243, #94450)."""
    scheduler = stepped(gradus.Scheduler(optimizer_of(1.0), lr=gradus.schedules.Lambda(halve) * Cosine(9)), 2)
    text = json.dumps(scheduler.state_dict())
    assert "Lambda" in text
    assert "halve" in text
    assert "params" not in text
    again = gradus.Scheduler(optimizer_of(1.0), lr=gradus.schedules.Lambda(halve) * Cosine(9))
    again.load_state_dict(json.loads(text))
    assert rates(again.optimizer) == rates(scheduler.optimizer)


@pytest.mark.parametrize("built_first", [True, False])
def test_12_tensor_rates_and_compiled_steps(built_first: bool) -> None:
    """A tensor rate keeps its identity, and a patched step is left alone (#107076, #120934, #163103, #195984)."""
    optimizer = optimizer_of(0.5, tensors=True)
    tensor, step = optimizer.param_groups[0]["lr"], optimizer.step
    if built_first:
        scheduler = gradus.Scheduler(optimizer, lr=Cosine(10))
        optimizer.step = lambda *args: step(*args)  # type: ignore[method-assign]  # as torch.compile(optimizer.step) does
    else:
        optimizer.step = lambda *args: step(*args)  # type: ignore[method-assign]
        scheduler = gradus.Scheduler(optimizer, lr=Cosine(10))
    mine = optimizer.step
    stepped(scheduler, 4)
    assert optimizer.param_groups[0]["lr"] is tensor
    assert optimizer.step is mine
    assert float(tensor) == pytest.approx(0.5 * Cosine(10)(4))


@pytest.mark.parametrize("library", [torch.optim, gradus.optim])
def test_13_false_warnings_under_a_grad_scaler(library: Any) -> None:
    """Nothing is said when a scaler skips an update, and with count_updates it doesn't count (#44511, #55585, #67590)."""
    param = torch.nn.Parameter(torch.ones(1))
    optimizer = library.SGD([param], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scheduler = gradus.Scheduler(optimizer, lr=Linear(10), count_updates=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for gradient in (float("inf"), 1.0, float("inf"), 1.0):
            optimizer.zero_grad()
            scaler.scale((param * gradient).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
    assert rates(optimizer) == [Linear(10)(2)]


def test_14_missing_or_stale_bases() -> None:
    """No `initial_lr` has to be there, and what is there is the base of the state that was taken up (#160626, #156846)."""
    saved = stepped(gradus.Scheduler(optimizer_of(0.3, 0.1), lr=Linear(10)), 5).state_dict()
    optimizer = optimizer_of(0.7, 0.7)
    assert all("initial_lr" not in group for group in optimizer.param_groups)
    scheduler = gradus.Scheduler(optimizer, lr=Linear(10), start_step=3)
    scheduler.load_state_dict(saved, on_change="keep")
    assert rates(optimizer) == [0.3 * 0.5, 0.1 * 0.5]
    assert [group["initial_lr"] for group in optimizer.param_groups] == [0.3, 0.1]


def test_15_groups_added_later() -> None:
    """A group that is added later joins with its own base (#53712, #79888, Lightning#12141)."""
    scheduler = stepped(gradus.Scheduler(optimizer_of(0.3), lr=Linear(10)), 4)
    scheduler.optimizer.add_param_group({"params": [torch.zeros(1, requires_grad=True)], "lr": 0.01})
    stepped(scheduler, 1)
    assert rates(scheduler.optimizer) == [0.3 * Linear(10)(5), 0.01 * Linear(10)(5)]


def test_16_accumulation_changes_the_clock() -> None:
    """The clock is the number of updates, or what it is set to, however many batches made one (accelerate#963, #1382)."""
    param = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([param], lr=1.0)
    scheduler = gradus.Scheduler(optimizer, lr=Linear(10), count_updates=True)
    for batch in range(12):
        param.grad = torch.ones(1)
        if batch % 4 == 3:
            optimizer.step()
        scheduler.step()  # once a batch, as in a loop that knows nothing of accumulation
    assert rates(optimizer) == [Linear(10)(3)]
    scheduler.set_step(7)
    assert rates(optimizer) == [Linear(10)(7)]


def test_17_epoch_means_three_things() -> None:
    """A length has a unit, and is refused without what counts it; another run's is found out (#9560, #120735)."""
    template = warmup(epochs(1), start=0.1) >> Cosine(rest())
    with pytest.raises(InvalidInput, match="steps_per_epoch"):
        gradus.Scheduler(optimizer_of(1.0), lr=template)
    concrete = template.resolve(1000, steps_per_epoch=100)
    assert concrete == warmup(100, start=0.1) >> Cosine(900)
    assert [finding.code for finding in gradus.check(concrete, 10)] == ["ends-late"]  # stepped once an epoch


def test_18_absolute_floors_raise_small_groups() -> None:
    """A floor is a part of each group's own rate, so none is ever raised; `absolute` says otherwise (#67761, #63488)."""
    scheduler = stepped(gradus.Scheduler(optimizer_of(0.1, 1e-5), lr=Cosine(10, end=0.01)), 10)
    assert rates(scheduler.optimizer) == pytest.approx([1e-3, 1e-7])
    scheduler = stepped(gradus.Scheduler(optimizer_of(0.1, 1e-5), lr=absolute(Cosine(10, start=0.1, end=1e-3))), 10)
    assert rates(scheduler.optimizer) == pytest.approx([1e-3, 1e-3])


def test_19_only_the_rate_can_be_scheduled() -> None:
    """Any hyperparameter can, and members of tuples (#22343, #83159)."""
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=1.0, weight_decay=0.1)
    half: Schedule = Linear(10)
    scheduler = gradus.Scheduler(optimizer, lr=half, weight_decay=half, eps=half, **{"betas[1]": absolute(Constant(0.95))})
    stepped(scheduler, 5)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"], group["eps"], group["betas"]) == (0.5, 0.05, 5e-9, (0.9, 0.95))


def test_20_warmup_is_off_by_one() -> None:
    """Endpoints are met: full height at the hand-over, and each cycle's end (#86454, #47560, #95122, timm#1242)."""
    schedule = warmup(5) >> Cosine(10, end=0.1)
    assert [schedule(t) for t in (0, 4, 5, 15)] == [0.0, 0.8, 1.0, 0.1]
    restarts = CosineRestarts(5, end=0.1, growth=1.5)
    assert min(restarts(t) for t in range(40)) == pytest.approx(0.1)
    drop_in = stepped(CosineAnnealingLR(optimizer_of(1.0), 10, eta_min=0.1), 10)
    assert rates(drop_in.optimizer) == pytest.approx([0.1])


def test_every_trouble_is_here() -> None:
    """There are twenty."""
    numbers = {name[5:7] for name in globals() if name.startswith("test_") and name[5:7].isdigit()}
    assert numbers == {f"{number:02}" for number in range(1, 21)}
