"""What frameworks do with a Scheduler: answer and resolve in the constructor, hand over metrics, wrap the optimizer.

Numbers are issues of pytorch/pytorch, unless another project is named.
"""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.errors import InvalidInput
from gradus.scheduler import Scheduler
from gradus.schedules import (
    Constant,
    Cosine,
    Greedy,
    Linear,
    Plateau,
    Schedule,
    Step,
    absolute,
    epochs,
    fraction,
    rest,
    samples,
    warmup,
)


def an_optimizer(rate: float = 1.0) -> torch.optim.Optimizer:
    """SGD with one group."""
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)


def rate(scheduler: Any) -> float:
    """What is in the first group."""
    return float(scheduler.optimizer.param_groups[0]["lr"])


# Templates

TEMPLATE = warmup(epochs(2)) >> Cosine(rest(), end=0.1)


def test_templates_resolve_from_the_constructor() -> None:
    """The constructor's lengths make templates concrete, in mappings and `absolute` too."""
    lengths: Any = {"total_steps": 100, "steps_per_epoch": 10}
    concrete = TEMPLATE.resolve(100, steps_per_epoch=10)
    for template, expected in (
        (TEMPLATE, concrete),
        (absolute(TEMPLATE), absolute(concrete)),
        ({0: TEMPLATE}, {0: concrete}),
        (concrete, concrete),
    ):
        ours = Scheduler(an_optimizer(), lr=template, **lengths)
        assert ours.state_dict() == Scheduler(an_optimizer(), lr=expected).state_dict()


@pytest.mark.parametrize(
    ("template", "lengths", "message"),
    [
        (
            TEMPLATE,
            {},
            r".resolve\(steps_per_epoch=..., total_steps=...\), or pass steps_per_epoch=..., total_steps=... to",
        ),
        (TEMPLATE, {"total_steps": 9}, r".resolve\(steps_per_epoch=...\), or pass steps_per_epoch=... to the Scheduler"),
        (Cosine(fraction(0.5)), {"steps_per_epoch": 9}, r"or pass total_steps=... to the Scheduler"),
        (Cosine(samples(9)), {"total_steps": 9}, r"make it concrete first: .resolve\(samples_per_step=...\)$"),
        (TEMPLATE, {"total_steps": 9, "steps_per_epoch": 8}, "the other phases take"),
        (Cosine(9), {"total_steps": 0}, "total_steps must be a finite number above 0"),
        (Cosine(9), {"total_steps": "9"}, "total_steps must be a finite number above 0"),
        (Cosine(9), {"steps_per_epoch": -1.0}, "steps_per_epoch must be a finite number above 0"),
    ],
)
def test_what_a_template_lacks(template: Schedule, lengths: dict[str, Any], message: str) -> None:
    """An error says what is missing and where it can be given; the optimizer is left alone."""
    optimizer = an_optimizer()
    with pytest.raises(InvalidInput, match=message):
        Scheduler(optimizer, lr=template, **lengths)
    assert "initial_lr" not in optimizer.param_groups[0]


# Answers

ANSWERS = ("keep", "new", "rescale", "splice")


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_constructors_answer_is_the_loads(answer: Any) -> None:
    """What the constructor is told holds for a framework's plain load, and an answer there goes before it."""
    saved = Scheduler(an_optimizer(), lr=Cosine(100))
    saved.set_step(30)
    for told, asked in ((None, answer), (answer, None), ("keep", answer), ("new", answer)):
        scheduler = Scheduler(an_optimizer(), lr=Cosine(200, end=0.5), on_change=told)
        scheduler.load_state_dict(saved.state_dict(), **({} if asked is None else {"on_change": asked}))
        expected = {"keep": Cosine(100)(30), "splice": 1.0}
        step = 60 if answer == "rescale" else 30
        assert rate(scheduler) == expected.get(answer, Cosine(200, end=0.5)(step))


def test_an_answer_is_one_of_four() -> None:
    """The constructor refuses another answer, as the load does."""
    with pytest.raises(InvalidInput, match=r'on_change must be "keep", "new", "rescale" or "splice"; got \'stretch\''):
        Scheduler(an_optimizer(), lr=Cosine(9), on_change="stretch")  # type: ignore[arg-type]


# Metrics

METRICS: list[Any] = [0.5, 3, True, np.float32(0.5), np.array(0.5), torch.tensor(0.5), torch.tensor([0.5]), float("nan")]


@pytest.mark.parametrize("metric", METRICS, ids=repr)
@pytest.mark.parametrize("by_name", [False, True])
def test_a_metric_by_the_calls_of_frameworks(metric: Any, by_name: bool) -> None:
    """step(x) and step(metrics=x) observe x and go one further, where a schedule follows a metric (#68978)."""
    schedule = (warmup(4) >> Constant()) * Plateau(patience=0, factor=0.5)
    ours, apart = Scheduler(an_optimizer(), lr=schedule), Scheduler(an_optimizer(), lr=schedule)
    for _ in range(6):
        ours.step(metrics=metric) if by_name else ours.step(metric)
        apart.observe(metric)
        apart.step()
    assert ours.state_dict() == apart.state_dict()
    assert ours.last_epoch == 6
    assert rate(ours) == rate(apart) < 1


@given(
    st.lists(st.floats(-3, 3) | st.just(float("nan")), min_size=1, max_size=40),
    st.sampled_from(["min", "max"]),
    st.integers(0, 3),
)
@settings(max_examples=50, deadline=None)
def test_it_steps_as_reduce_lr_on_plateau(metrics: list[float], mode: Any, patience: int) -> None:
    """`scheduler.step(metric)` is what it is for torch's ReduceLROnPlateau."""
    ours = Scheduler(an_optimizer(), lr=Constant() * Plateau(mode=mode, patience=patience, factor=0.5))
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(an_optimizer(), mode, factor=0.5, patience=patience)
    for metric in metrics:
        ours.step(metric)
        theirs.step(metric)
        assert rate(ours) == rate(theirs)


def test_a_position_is_a_whole_number() -> None:
    """Without a factor that follows a metric an int is a position as in torch, NumPy's too."""
    scheduler = Scheduler(an_optimizer(), lr=Linear(10))
    for position in (3, np.int64(5), 0):
        scheduler.step(position)
        assert rate(scheduler) == Linear(10)(int(position))
    followed = Scheduler(an_optimizer(), lr=Linear(10) * Plateau())
    followed.step(epoch=4)
    assert (followed.last_epoch, rate(followed)) == (4, 0.6)


@pytest.mark.parametrize(
    "given", [0.5, 2.0, torch.tensor(2.0), torch.tensor(2), np.float64(2), np.array(2), True, "2", -1], ids=repr
)
def test_a_metric_is_never_taken_for_a_position(given: Any) -> None:
    """What is no whole number is refused with the way out, and nothing moves."""
    scheduler = Scheduler(an_optimizer(), lr=Linear(10))
    with pytest.raises(InvalidInput, match=r"(takes a position, a|must be a) whole number"):
        scheduler.step(given)
    assert scheduler.last_epoch == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda one: one.step("0.5"), "a metric must be a number, or a tensor of one element; got '0.5'"),
        (lambda one: one.step(torch.zeros(2)), "a metric must be a number"),
        (lambda one: one.observe(None), "a metric must be a number"),
        (lambda one: one.step(0.5, epoch=3), "step takes one argument at most"),
        (lambda one: one.step(10**400), "a metric must be a number"),
    ],
)
def test_what_is_no_metric(call: Any, message: str) -> None:
    """A metric is a number; what isn't is refused, and nothing moves."""
    scheduler = Scheduler(an_optimizer(), lr=Linear(10) * Plateau())
    before = scheduler.state_dict()
    with pytest.raises(InvalidInput, match=message):
        call(scheduler)
    assert scheduler.state_dict() == before
    with pytest.raises(InvalidInput, match="no schedule here follows a metric"):
        Scheduler(an_optimizer(), lr=Linear(10)).step(metrics=0.5)


@pytest.mark.parametrize("call", [lambda one: one.step(), lambda one: one.step(2.0), lambda one: one.set_step(9)])
def test_a_step_that_cannot_be_done_changes_nothing(call: Any) -> None:
    """Past an end that raises, the position, the groups and what factors have seen stay as they were."""
    lr = Linear(2).after("raise") * Plateau(patience=0)
    scheduler = Scheduler(an_optimizer(), momentum=Linear(9), lr=lr)
    scheduler.step(1.0)
    scheduler.step(1.5)
    before = copy.deepcopy((scheduler.state_dict(), scheduler.optimizer.param_groups[0]["momentum"], rate(scheduler)))
    with pytest.raises(InvalidInput):
        call(scheduler)
    assert (scheduler.state_dict(), scheduler.optimizer.param_groups[0]["momentum"], rate(scheduler)) == before


# A factor that is tuned on resume


@pytest.mark.parametrize("answer", ["new", "rescale"])
@pytest.mark.parametrize("in_constructor", [False, True])
def test_a_tuned_plateau_keeps_its_reductions(answer: Any, in_constructor: bool) -> None:
    """Another patience on resume leaves the rate where it was, and counts from then on."""
    before, after = (Linear(100, end=1.0) * Plateau(patience=patience, factor=0.1) for patience in (0, 1))
    saved = Scheduler(an_optimizer(), lr=before)
    for loss in (1.0, 1.0, 1.0):
        saved.step(loss)
    assert rate(saved) == pytest.approx(0.01)
    scheduler = Scheduler(an_optimizer(), lr=after, on_change=answer if in_constructor else None)
    scheduler.load_state_dict(saved.state_dict(), on_change=None if in_constructor else answer)
    seen = []
    for loss in (1.0, 1.0, 1.0, 1.0):
        seen.append(rate(scheduler))
        scheduler.step(loss)
    assert seen == pytest.approx([0.01, 0.01, 0.001, 0.001])


LOW = {"factor": 0.01, "best": 0.5, "bad": 3, "cooling": 4}
HIGH = {"factor": 4.0, "seen": [0.5, 0.4, 0.3], "before": 0.4, "good": 2, "bad": 0}


@pytest.mark.parametrize(
    ("before", "after", "state", "expected"),
    [
        (Plateau(cooldown=5), Plateau(patience=2, cooldown=5), LOW, LOW),
        (Plateau(), Plateau(threshold_mode="abs", threshold=0.1, factor=0.5, cooldown=4), LOW, LOW),
        (Plateau(cooldown=5), Plateau(cooldown=1), LOW, {**LOW, "cooling": 1}),
        (Plateau(), Plateau(cooldown=9, min_factor=0.1), LOW, LOW),
        (Plateau(), Plateau(mode="max"), LOW, {"factor": 0.01, "best": None, "bad": 0, "cooling": 0}),
        (Greedy(window=3), Greedy(window=2), HIGH, {**HIGH, "seen": [0.4, 0.3]}),
        (Greedy(window=3), Greedy(window=3, max_factor=2.0), HIGH, {**HIGH, "factor": 2.0}),
        (Greedy(window=3), Greedy(window=9, patience=1), HIGH, HIGH),
        (Greedy(), Greedy(mode="max"), HIGH, {"factor": 4.0, "seen": [], "before": None, "good": 0, "bad": 0}),
    ],
)
def test_what_a_tuned_factor_keeps(before: Any, after: Any, state: Any, expected: Any) -> None:
    """The factor reached is kept, and of the rest what still means the same."""
    assert after.retuned(before.checked(state), before) == expected
    assert after.checked(expected) == expected


def test_factors_are_found_again() -> None:
    """Of several factors each goes on from its equal, else from the next of its kind; another kind begins anew."""
    saved = Scheduler(an_optimizer(), lr=Plateau(patience=0, factor=0.5) * Plateau(patience=1, factor=0.1) * Greedy())
    for loss in (1.0, 2.0, 3.0):
        saved.step(loss)
    tuned = Plateau(patience=1, factor=0.1) * Plateau(patience=9, factor=0.5)
    scheduler = Scheduler(an_optimizer(), lr=tuned)
    scheduler.load_state_dict(saved.state_dict(), on_change="new")
    (seen,) = scheduler.state_dict()["hyperparameters"]["lr"]["seen"]
    assert [one["state"]["factor"] for one in seen] == [0.1, 0.25]
    other = Scheduler(an_optimizer(), lr=Constant() * Greedy(patience=0))
    other.load_state_dict(Scheduler(an_optimizer(), lr=Constant() * Plateau()).state_dict(), on_change="new")
    assert rate(other) == 1.0


def test_a_tuned_factor_of_some_groups() -> None:
    """A schedule goes on from what that of its first group had seen, under whichever key it stands now."""
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": 1.0} for _ in range(2)]
    plateau = Plateau(patience=0, factor=0.1)
    saved = Scheduler(torch.optim.SGD(copy.deepcopy(groups)), lr={0: Constant(), 1: Constant() * plateau})
    for _ in range(2):
        saved.step(1.0)
    scheduler = Scheduler(torch.optim.SGD(groups), lr={1: Constant() * Plateau(patience=5), 0: Step(9)})
    scheduler.load_state_dict(saved.state_dict(), on_change="new")
    assert [group["lr"] for group in scheduler.optimizer.param_groups] == [1.0, 0.1]


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=30), st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_any_metrics_can_be_observed_and_saved(metrics: list[float], window: int) -> None:
    """Whatever number is observed, huge and infinite ones too, the state that follows can be taken up."""
    factors: list[Any] = [Plateau(patience=0), Greedy(patience=0, window=window), Plateau(mode="max"), Greedy(mode="max")]
    for factor in factors:
        state = factor.initial()
        for metric in metrics:
            state = factor.observed(state, metric)
        assert factor.checked(state) == state
        assert 0 <= state["factor"] < float("inf")


# Wrappers


class Holding:
    """A wrapper in Accelerate's way: torch's class in name only, with the optimizer inside."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.is_skipping = False

    @property
    def param_groups(self) -> Any:
        return self.optimizer.param_groups

    def step(self) -> None:
        if not self.is_skipping:
            self.optimizer.step()


class Subclassing(Holding, torch.optim.Optimizer):
    """The same as a subclass of torch's Optimizer whose constructor isn't called, which is Accelerate's."""


class Forwarding:
    """A wrapper that forwards what it doesn't have."""

    def __init__(self, optimizer: Any) -> None:
        self._inner = optimizer

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    def step(self) -> None:
        self._inner.step()


class TwoSteps(torch.optim.Optimizer):
    """A wrapper in the way of sharpness-aware minimization: an Optimizer of its own, whose inner one does the updates."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__(optimizer.param_groups, {})
        self.base_optimizer = optimizer
        self.param_groups = optimizer.param_groups

    def second_step(self) -> None:
        self.base_optimizer.step()


WRAPPERS = {
    "none": lambda one: one,
    "holding": Holding,
    "subclassing": Subclassing,
    "forwarding": Forwarding,
    "holding forwarding": lambda one: Holding(Forwarding(one)),
    "forwarding subclassing": lambda one: Forwarding(Subclassing(one)),
    "three deep": lambda one: Subclassing(Holding(Forwarding(one))),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_updates_are_counted_through_wrappers(name: str) -> None:
    """With count_updates the updates of the optimizer inside count, whatever is around it (accelerate#963)."""
    inner = an_optimizer()
    wrapped: Any = WRAPPERS[name](inner)
    scheduler = Scheduler(wrapped, lr=Linear(10), count_updates=True)
    for is_done in (True, False, False, True, True):
        if is_done:
            wrapped.step()
        scheduler.step()
        scheduler.step()  # once for each process, as Accelerate does
    assert (scheduler.last_epoch, rate(scheduler)) == (3, 0.7)


def test_an_update_in_two_steps_is_counted() -> None:
    """An optimizer that has another one do its updates is counted by that one."""
    optimizer = TwoSteps(an_optimizer())
    scheduler = Scheduler(optimizer, lr=Linear(10), count_updates=True)
    for _ in range(2):
        optimizer.second_step()
        scheduler.step()
    assert rate(scheduler) == 0.8


def test_an_update_that_a_wrapper_skips_does_not_count() -> None:
    """A wrapper that leaves an update out leaves the position alone."""
    wrapped = Subclassing(an_optimizer())
    scheduler = Scheduler(wrapped, lr=Linear(10), count_updates=True)
    for wrapped.is_skipping in (False, True, False):
        wrapped.step()
        scheduler.step()
    assert scheduler.last_epoch == 2


def test_wrapped_later() -> None:
    """A framework that wraps the optimizer later, and puts the wrapper in the Scheduler, changes nothing."""
    inner = an_optimizer()
    scheduler = Scheduler(inner, lr=Linear(10), count_updates=True)
    scheduler.optimizer = Subclassing(inner)
    scheduler._step_count += 1  # as Accelerate does where it accumulates
    scheduler.optimizer.step()
    scheduler.step()
    assert (scheduler.last_epoch, scheduler._step_count, rate(scheduler)) == (1, 2, 0.9)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_count_through_wrappers(copied: Any) -> None:
    """A copy of a Scheduler with its wrapped optimizer counts the copy's updates, once each."""
    scheduler = Scheduler(Holding(an_optimizer()), lr=Linear(10), count_updates=True)
    again = copied(scheduler)
    again.optimizer.step()
    again.step()
    scheduler.step()
    assert (again.last_epoch, scheduler.last_epoch) == (1, 0)


def test_what_cannot_be_counted() -> None:
    """An optimizer without hooks is refused with the way out, and is left alone."""

    class Bare:
        param_groups = [{"lr": 1.0}]  # noqa: RUF012 - what one looks like

    Bare.optimizer = Bare  # type: ignore[attr-defined]  # one that names itself
    with pytest.raises(InvalidInput, match=r"count_updates=True needs an optimizer that calls hooks after its updates"):
        Scheduler(Bare, lr=Linear(10), count_updates=True)
    assert Bare.param_groups == [{"lr": 1.0}]


def test_rates_that_were_read_stay_as_they_were() -> None:
    """A list of rates read in turn holds each of them, of tensors too."""
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=torch.tensor(1.0))
    scheduler = Scheduler(optimizer, lr=Linear(4))
    seen = []
    for _ in range(3):
        seen.append(scheduler.get_last_lr()[0])
        scheduler.step()
    assert [float(one) for one in seen] == [1.0, 0.75, 0.5]
