"""The doors to and from other libraries: what comes through is what went in."""

import copy
import math
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as torch_lr

import gradus
from gradus.errors import InvalidInput
from gradus.schedules import Constant, Cosine, Plateau, Schedule, rest, warmup
from registry import SCHEDULES, halving

STEPS = 60


def _optimizer(rates: list[float], tensors: bool) -> torch.optim.Optimizer:
    groups = [
        {"params": [torch.zeros(1, requires_grad=True)], "lr": torch.tensor(rate) if tensors else rate} for rate in rates
    ]
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9)


Build = Callable[[torch.optim.Optimizer], Any]
TORCHS: dict[str, Build] = {
    "LambdaLR": lambda o: torch_lr.LambdaLR(o, halving),
    "LambdaLR, one a group": lambda o: torch_lr.LambdaLR(
        o, [lambda t, k=k: 1 / (1 + k * t) for k in range(len(o.param_groups))]
    ),
    "MultiplicativeLR": lambda o: torch_lr.MultiplicativeLR(o, lambda t: 0.9 if t % 3 else 1.05),
    "StepLR": lambda o: torch_lr.StepLR(o, 7, gamma=0.5),
    "MultiStepLR": lambda o: torch_lr.MultiStepLR(o, [5, 5, 30], gamma=0.3),
    "ConstantLR": lambda o: torch_lr.ConstantLR(o, 0.25, total_iters=9),
    "LinearLR": lambda o: torch_lr.LinearLR(o, 0.25, 0.75, total_iters=20),
    "ExponentialLR": lambda o: torch_lr.ExponentialLR(o, 0.93),
    "PolynomialLR": lambda o: torch_lr.PolynomialLR(o, 40, power=1.7),
    "CosineAnnealingLR": lambda o: torch_lr.CosineAnnealingLR(o, 25, eta_min=0.01),
    "CosineAnnealingWarmRestarts": lambda o: torch_lr.CosineAnnealingWarmRestarts(o, 7, T_mult=2, eta_min=0.01),
    "CyclicLR": lambda o: torch_lr.CyclicLR(o, 0.01, 0.5, 5, 8, mode="triangular2"),
    "CyclicLR, exp_range": lambda o: torch_lr.CyclicLR(o, 0.01, 0.5, 6, mode="exp_range", gamma=0.98, cycle_momentum=False),
    "OneCycleLR": lambda o: torch_lr.OneCycleLR(o, 0.5, total_steps=STEPS + 1),
    "OneCycleLR, three phases": lambda o: torch_lr.OneCycleLR(
        o, 0.5, total_steps=STEPS + 1, three_phase=True, anneal_strategy="linear", pct_start=0.2
    ),
    "SWALR": lambda o: torch.optim.swa_utils.SWALR(o, 0.05, anneal_epochs=10),
    "SequentialLR": lambda o: torch_lr.SequentialLR(
        o,
        [torch_lr.LinearLR(o, 0.1, total_iters=5), torch_lr.CosineAnnealingLR(o, 30), torch_lr.ConstantLR(o, 0.5, 4)],
        [5, 35],
    ),
    "ChainedScheduler": lambda o: torch_lr.ChainedScheduler(
        [torch_lr.LinearLR(o, 0.1, total_iters=9), torch_lr.StepLR(o, 20)]
    ),
}


def _stepped(scheduler: Any, name: str, steps: int = STEPS) -> list[list[float]]:
    """What each group holds at each step of a scheduler, itself stepped."""
    seen = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no optimizer steps here
        for _ in range(steps + 1):
            seen.append([float(group[name]) for group in scheduler.optimizer.param_groups])
            if len(seen) <= steps:
                scheduler.step()
    return seen


def _built(name: str, rates: list[float], tensors: bool = False) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TORCHS[name](_optimizer(rates, tensors))


def _values(found: Any, groups: int, steps: int = STEPS) -> list[list[float]]:
    each = [found] * groups if isinstance(found, Schedule) else [found[index] for index in range(groups)]
    return [[schedule(t) for schedule in each] for t in range(steps + 1)]


@pytest.mark.parametrize("tensors", [False, True])
@pytest.mark.parametrize("rates", [[0.5], [0.5, 0.1, 0.02]])
@pytest.mark.parametrize("name", TORCHS)
def test_a_torch_scheduler_is_read_as_it_steps(name: str, rates: list[float], tensors: bool) -> None:
    """The schedule's values are those that torch's own steps give each group."""
    found = gradus.from_torch(_built(name, rates, tensors))
    want = _stepped(_built(name, rates, tensors), "lr")
    np.testing.assert_allclose(_values(found, len(rates)), want, rtol=1e-5 if tensors else 1e-9, atol=1e-12)


@pytest.mark.parametrize("name", TORCHS)
def test_it_is_read_in_the_middle_and_not_touched(name: str) -> None:
    """Wherever it stands, the whole schedule is found, and scheduler, optimizer and groups are as they were."""
    scheduler = _built(name, [0.5, 0.1])
    want = _values(gradus.from_torch(scheduler), 2)
    _stepped(scheduler, "lr", 11)
    groups = [{**group, "params": None} for group in scheduler.optimizer.param_groups]
    before = copy.deepcopy(groups), {key: value for key, value in vars(scheduler).items() if not callable(value)}
    np.testing.assert_allclose(_values(gradus.from_torch(scheduler), 2), want, rtol=1e-9, atol=1e-12)
    assert groups == before[0]
    assert {key: value for key, value in vars(scheduler).items() if not callable(value)} == before[1]


@pytest.mark.parametrize("name", TORCHS)
def test_training_goes_on_in_ours(name: str) -> None:
    """A gradus Scheduler started where torch's stands holds what torch's would have held."""
    scheduler = _built(name, [0.5, 0.1])
    want = _stepped(_built(name, [0.5, 0.1]), "lr")
    _stepped(scheduler, "lr", 20)
    ours = gradus.Scheduler(scheduler.optimizer, lr=gradus.from_torch(scheduler), start_step=20)
    for step in range(20, STEPS):
        np.testing.assert_allclose(
            [group["lr"] for group in scheduler.optimizer.param_groups], want[step], rtol=1e-9, atol=1e-12
        )
        ours.step()


@pytest.mark.parametrize("name", ["OneCycleLR", "OneCycleLR, three phases", "CyclicLR"])
def test_what_it_does_to_the_momentum_is_found_too(name: str) -> None:
    """The momentum that OneCycleLR and CyclicLR set is a schedule of its own."""
    found = gradus.from_torch(_built(name, [0.5, 0.1]), "momentum")
    np.testing.assert_allclose(_values(found, 2), _stepped(_built(name, [0.5, 0.1]), "momentum"), rtol=1e-9)


def test_our_own_drop_ins_are_read_too() -> None:
    """A scheduler of gradus.lr_scheduler is read as torch's is."""
    optimizer = _optimizer([0.5], tensors=False)
    found = gradus.from_torch(gradus.lr_scheduler.CosineAnnealingLR(optimizer, 25))
    assert found == gradus.from_torch(torch_lr.CosineAnnealingLR(_optimizer([0.5], tensors=False), 25))


def test_a_plateau_is_read_as_a_factor() -> None:
    """ReduceLROnPlateau comes out as a Plateau that does what it does, its floor as a part of each group's rate."""
    metrics = [1.0, 0.9, 0.9, 0.9, 0.9, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8]
    theirs = torch_lr.ReduceLROnPlateau(
        _optimizer([0.5, 0.1], False), patience=1, factor=0.3, min_lr=[0.02, 0.01], cooldown=1
    )
    optimizer = _optimizer([0.5, 0.1], tensors=False)
    ours = gradus.Scheduler(optimizer, lr=gradus.from_torch(theirs))
    for metric in metrics:
        theirs.step(metric)
        ours.observe(metric)
        want = [group["lr"] for group in theirs.optimizer.param_groups]
        np.testing.assert_allclose([group["lr"] for group in optimizer.param_groups], want, rtol=1e-12)


class StepLR(torch_lr.LambdaLR):
    """A user's own, with a name of torch's."""


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (
            lambda o: gradus.from_torch(StepLR(o, halving)),
            r"from_torch reads the schedulers of torch.*StepLR is of.*Lambda\(function\)",
        ),
        (lambda _: gradus.from_torch(object()), "from_torch reads the schedulers of torch"),
        (lambda o: gradus.from_torch(torch_lr.StepLR(o, 3), "beta"), 'from_torch reads "lr" or "momentum"; got \'beta\''),
        (lambda o: gradus.from_torch(torch_lr.StepLR(o, 3), "momentum"), "this StepLR does nothing to the momentum"),
    ],
)
def test_what_is_not_torchs_is_refused(read: Callable[[Any], Any], message: str) -> None:
    """Another scheduler, or a hyperparameter that it doesn't set, is refused with the way out."""
    with pytest.raises(InvalidInput, match=message):
        read(_optimizer([0.5], tensors=False))


# Transformers' formulas, by its names: progress is p, warmup steps w, training steps n.


def _cos(p: float, cycles: float = 0.5) -> float:
    return 0.5 * (1 + math.cos(2 * math.pi * cycles * p))


TRANSFORMERS: dict[str, tuple[str, dict[str, Any], Callable[[int], float]]] = {
    "constant": ("constant", {}, lambda _: 1.0),
    "constant_with_warmup": ("constant_with_warmup", {"num_warmup_steps": 10}, lambda t: min(1, t / 10)),
    "linear": (
        "linear",
        {"num_warmup_steps": 10, "num_training_steps": 50},
        lambda t: t / 10 if t < 10 else max(0, (50 - t) / 40),
    ),
    "no warmup": ("linear", {"num_warmup_steps": 0, "num_training_steps": 50}, lambda t: max(0, (50 - t) / 50)),
    "cosine": (
        "cosine",
        {"num_warmup_steps": 10, "num_training_steps": 50},
        lambda t: t / 10 if t < 10 else _cos((t - 10) / 40),
    ),
    "cosine, waves": (
        "cosine",
        {"num_warmup_steps": 10, "num_training_steps": 50, "num_cycles": 1.3},
        lambda t: t / 10 if t < 10 else _cos((t - 10) / 40, 1.3),
    ),
    "cosine_with_restarts": (
        "cosine_with_restarts",
        {"num_warmup_steps": 10, "num_training_steps": 50, "num_cycles": 3},
        lambda t: t / 10 if t < 10 else (0.0 if t >= 50 else _cos(3 * (t - 10) / 40 % 1)),
    ),
    "polynomial": (
        "polynomial",
        {"num_warmup_steps": 10, "num_training_steps": 50, "lr": 0.5, "lr_end": 0.05, "power": 2.0},
        lambda t: t / 10 if t < 10 else 0.9 * max(0, 1 - (t - 10) / 40) ** 2 + 0.1,
    ),
    "inverse_sqrt": (
        "inverse_sqrt",
        {"num_warmup_steps": 10, "timescale": 25},
        lambda t: t / 10 if t < 10 else 1 / math.sqrt((t + 15) / 25),
    ),
    "cosine_with_min_lr": (
        "cosine_with_min_lr",
        {"num_warmup_steps": 10, "num_training_steps": 50, "min_lr": 0.05, "lr": 0.5},
        lambda t: t / 10 if t < 10 else 0.1 + 0.9 * _cos((t - 10) / 40),
    ),
    "cosine_warmup_with_min_lr": (
        "cosine_warmup_with_min_lr",
        {"num_warmup_steps": 10, "num_training_steps": 50, "min_lr_rate": 0.1, "warmup_lr_rate": 0.2},
        lambda t: 0.2 + 0.8 * t / 9 if t < 10 else 0.1 + 0.9 * _cos((t - 9) / 40),
    ),
    "cosine_warmup_with_min_lr, from 1": (
        "cosine_warmup_with_min_lr",
        {"num_warmup_steps": 10, "num_training_steps": 50, "min_lr_rate": 0.1},
        lambda t: (t + 1) / 10 if t < 10 else 0.1 + 0.9 * _cos((t - 9) / 40),
    ),
    "warmup_stable_decay": (
        "warmup_stable_decay",
        {
            "num_warmup_steps": 10,
            "num_decay_steps": 20,
            "num_training_steps": 50,
            "decay_type": "1-sqrt",
            "min_lr_ratio": 0.1,
        },
        lambda t: 0.1 + 0.9 * (t / 10 if t < 10 else 1 if t < 30 else max(0, 1 - math.sqrt((t - 30) / 20))),
    ),
    "warmup_stable_decay, waves": (
        "warmup_stable_decay",
        {"num_warmup_steps": 10, "num_decay_steps": 20, "num_stable_steps": 20, "warmup_type": "1-sqrt", "num_cycles": 1.5},
        lambda t: 1 - math.sqrt(1 - t / 10) if t < 10 else 1 if t < 30 else _cos((t - 30) / 20, 1.5) if t < 50 else 0,
    ),
}


@pytest.mark.parametrize("case", TRANSFORMERS)
def test_a_name_of_transformers_is_its_formula(case: str) -> None:
    """Each name of Transformers' gives the values of its formula, past the end too."""
    name, arguments, formula = TRANSFORMERS[case]
    schedule = gradus.from_transformers(name, **arguments)
    assert [schedule(t) for t in range(71)] == pytest.approx([formula(t) for t in range(71)], abs=1e-12)


@pytest.mark.parametrize("case", TRANSFORMERS)
def test_a_name_of_transformers_is_transformers(case: str) -> None:
    """The values are Transformers' own, where it is installed."""
    transformers = pytest.importorskip("transformers")
    name, arguments, _ = TRANSFORMERS[case]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    kept = {key: value for key, value in arguments.items() if key not in ("num_warmup_steps", "num_training_steps", "lr")}
    theirs = transformers.get_scheduler(
        name, optimizer, arguments.get("num_warmup_steps"), arguments.get("num_training_steps"), kept
    )
    want = [rate / 0.5 for (rate,) in _stepped(theirs, "lr")]
    schedule = gradus.from_transformers(name, **arguments)
    assert [schedule(t) for t in range(STEPS + 1)] == pytest.approx(want, abs=1e-12)


def test_transformers_plateau_is_ours() -> None:
    """The name "reduce_lr_on_plateau" is a Plateau with torch's options."""
    schedule = gradus.from_transformers("reduce_lr_on_plateau", patience=3, min_lr=0.05, lr=0.5)
    assert schedule == Constant() * Plateau(patience=3, min_factor=0.1, eps=1e-8 / 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("warm",), "Transformers has no schedule 'warm'; it has linear, cosine,"),
        (("greedy",), r"choose a Greedy\(\.\.\.\)"),
        (("linear", 10), r"'linear' needs num_training_steps=\.\.\."),
        (("polynomial", 10, 50), r"'polynomial' needs lr=\.\.\."),
        (
            ("linear", None, "10", 50),
            "Linear's length must be a whole number of steps .*; got '10'|'linear' can't be made of",
        ),
        (("linear", None, 10, 50, 3), r"scheduler_specific_kwargs must be a dict such as .'num_cycles': 2.; got 3"),
        (("linear", None, 10, 50, {"num_cycle": 2}), "'linear' takes no num_cycle; it takes"),
        (("cosine", None, 10, 50, {"num_cycle": 2}), r"'cosine' takes no num_cycle .did you mean num_cycles"),
        (("linea", None, 10, 50), r"has no schedule 'linea' .did you mean linear"),
        (("cosine_with_min_lr", 10, 50), "one of min_lr and min_lr_rate says how low the rate falls"),
        (("warmup_stable_decay", 10), r"'warmup_stable_decay' needs num_decay_steps=\.\.\."),
    ],
)
def test_what_transformers_lacks_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    """An unknown name, or a missing argument, is refused by name."""
    with pytest.raises(InvalidInput, match=message):
        gradus.from_transformers(*arguments)


@pytest.mark.parametrize("case", TRANSFORMERS)
def test_get_schedulers_own_call_is_taken(case: str) -> None:
    """The names and the order of `get_scheduler`'s arguments give the same schedule as the arguments by themselves."""
    name, arguments, _ = TRANSFORMERS[case]
    want = gradus.from_transformers(name, **arguments)
    optimizer = _optimizer([arguments.get("lr", 0.5)], tensors=False)
    lengths = {key: arguments[key] for key in ("num_warmup_steps", "num_training_steps") if key in arguments}
    specific = {key: value for key, value in arguments.items() if key not in (*lengths, "lr")}
    named = gradus.from_transformers(name=name, optimizer=optimizer, **lengths, scheduler_specific_kwargs=specific)
    assert named == want
    in_order = (lengths.get("num_warmup_steps"), lengths.get("num_training_steps"))
    assert gradus.from_transformers(name, optimizer, *in_order, specific) == want
    assert [group["lr"] for group in optimizer.param_groups] == [arguments.get("lr", 0.5)]


def test_a_rate_is_read_where_all_groups_have_it() -> None:
    """A `min_lr` is a part of the optimizer's rate; of one with several rates the caller says which."""
    given = {"num_warmup_steps": 10, "num_training_steps": 50, "scheduler_specific_kwargs": {"min_lr": 0.05}}
    one = gradus.from_transformers("cosine_with_min_lr", _optimizer([0.5, 0.5], tensors=True), **given)
    assert one(50) == pytest.approx(0.1)
    with pytest.raises(InvalidInput, match=r"min_lr is a rate, so lr=\.\.\."):
        gradus.from_transformers("cosine_with_min_lr", _optimizer([0.5, 0.1], tensors=False), **given)
    with pytest.raises(InvalidInput, match="min_lr is given twice, in scheduler_specific_kwargs and by itself"):
        gradus.from_transformers("cosine_with_min_lr", **given, min_lr=0.1)


def test_an_argument_too_many_is_refused() -> None:
    """An argument that a name doesn't take is named, with those it takes."""
    with pytest.raises(InvalidInput, match="'linear' takes no num_cycles; it takes num_warmup_steps, num_training_steps"):
        gradus.from_transformers("linear", 10, 50, num_cycles=2)


CALLABLE = {name: schedule for name, schedule in SCHEDULES.items() if "lambda" not in name}


@pytest.mark.parametrize("name", CALLABLE)
def test_a_function_gives_the_schedules_values(name: str) -> None:
    """`to_callable` is base times the schedule, a Python float for each step, and comes back from a pickle."""
    function = pickle.loads(pickle.dumps(CALLABLE[name].to_callable(base=0.3)))
    for step in (0, 1, 7, 40):
        assert type(function(step)) is float
        assert function(step) == 0.3 * CALLABLE[name](step)


@pytest.mark.parametrize("name", CALLABLE)
def test_optax_schedules_are_traced(name: str) -> None:
    """`to_optax` runs under jit and vmap, and agrees with NumPy's values to JAX's precision."""
    schedule = CALLABLE[name]
    traced = jax.jit(jax.vmap(schedule.to_optax(base=0.3)))(jax.numpy.arange(40))
    np.testing.assert_allclose(np.asarray(traced), 0.3 * schedule(np.arange(40)), rtol=2e-4, atol=2e-6)


def test_torchs_lambda_takes_a_function_of_ours() -> None:
    """A schedule's function in torch's LambdaLR gives base times schedule."""
    schedule = warmup(5) >> Cosine(15)
    theirs = torch_lr.LambdaLR(_optimizer([0.5], tensors=False), schedule.to_callable())
    assert [rate for (rate,) in _stepped(theirs, "lr", 25)] == pytest.approx([0.5 * schedule(t) for t in range(26)])


@pytest.mark.parametrize(
    ("convert", "message"),
    [
        (lambda: Cosine(rest()).to_callable(), r"is a template; make it concrete first"),
        (lambda: (Cosine(10) * Plateau()).to_optax(), "a factor that follows a metric is no function of the count"),
    ],
)
def test_what_is_no_function_is_refused(convert: Callable[[], Any], message: str) -> None:
    """A template, or a factor that follows a metric, is no function of the step."""
    with pytest.raises(InvalidInput, match=message):
        convert()
