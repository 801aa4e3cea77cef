"""Classes of somebody's own that are made of the drop-ins go by torch's own code, and give torch's numbers."""

import contextlib
import io
import math
import pickle
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.optim.swa_utils import SWALR

import gradus
import gradus.lr_scheduler as ours
import gradus.optim
import gradus.schedules
from gradus.errors import InvalidInput

torchs = SimpleNamespace(**{**vars(torch.optim.lr_scheduler), "SWALR": SWALR})

OPTIONS: dict[str, dict[str, Any]] = {
    "LambdaLR": {"lr_lambda": lambda t: 1 / (1 + t)},
    "MultiplicativeLR": {"lr_lambda": lambda _: 0.8},
    "StepLR": {"step_size": 3, "gamma": 0.4},
    "MultiStepLR": {"milestones": [2, 5, 5, 9], "gamma": 0.5},
    "ConstantLR": {"factor": 0.25, "total_iters": 6},
    "LinearLR": {"start_factor": 0.2, "end_factor": 0.7, "total_iters": 9},
    "ExponentialLR": {"gamma": 0.8},
    "PolynomialLR": {"total_iters": 12, "power": 1.7},
    "CosineAnnealingLR": {"T_max": 7, "eta_min": 0.01},
    "CosineAnnealingWarmRestarts": {"T_0": 3, "T_mult": 2, "eta_min": 0.001},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 3, "step_size_down": 5},
    "OneCycleLR": {"max_lr": 0.5, "total_steps": 40},
    "SWALR": {"swa_lr": 0.02, "anneal_epochs": 8},
}


def floored(base: Any) -> Any:
    class Floored(base):  # type: ignore[misc]
        def get_lr(self) -> Any:
            return [max(0.05, rate) for rate in super().get_lr()]

    return Floored


def reading(base: Any) -> Any:
    """Reads whatever torch's schedulers have, while it steps."""

    class Reading(base):  # type: ignore[misc]
        def get_lr(self) -> Any:
            assert self._get_lr_called_within_step
            seen = self.last_epoch + self._step_count + sum(map(float, self.base_lrs))
            groups = self.optimizer.param_groups
            return [rate + 1e-3 * seen * float(group["lr"]) for rate, group in zip(super().get_lr(), groups, strict=True)]

    return Reading


def stepping(base: Any) -> Any:
    """Decays its rates after each of its steps."""

    class Stepping(base):  # type: ignore[misc]
        def step(self, *arguments: Any) -> None:
            super().step(*arguments)
            for group in self.optimizer.param_groups:
                group["lr"] *= 0.97

    return Stepping


def closed(base: Any) -> Any:
    """Says otherwise what a position's rates are."""

    class Closed(base):  # type: ignore[misc]
        def _get_closed_form_lr(self) -> Any:
            return [rate / (2 + self.last_epoch) for rate in self.base_lrs]

    return Closed


def from_scratch(base: Any) -> Any:  # noqa: ARG001 - it is made of the module's LRScheduler
    """A warmup of one's own: linear, then as one over the root of the step."""

    def of(module: Any) -> Any:
        class Warmup(module.LRScheduler):  # type: ignore[misc]
            def __init__(self, optimizer: Any, steps: int = 4, last_epoch: int = -1, **_: Any) -> None:
                self.steps = steps
                super().__init__(optimizer, last_epoch)

            def get_lr(self) -> Any:
                t = self.last_epoch + 1
                return [base * min(t / self.steps, math.sqrt(self.steps / t)) for base in self.base_lrs]

        return Warmup

    return of


KINDS: dict[str, Callable[[Any], Any]] = {
    "get_lr": floored,
    "attributes": reading,
    "step": stepping,
    "_get_closed_form_lr": closed,
}
PLACES: dict[str, Callable[[Any, Any, Callable[..., Any]], Any]] = {
    "alone": lambda _, o, make: make(o),
    "first in a sequence": lambda m, o, make: m.SequentialLR(o, [make(o), m.ExponentialLR(o, 0.9)], [7]),
    "last in a sequence": lambda m, o, make: m.SequentialLR(o, [m.LinearLR(o, 0.1, total_iters=4), make(o)], [5]),
    "in a chain": lambda m, o, make: m.ChainedScheduler([m.ExponentialLR(o, 0.95), make(o)]),
}


def made(module: Any, kind: str, name: str) -> Callable[..., Any]:
    """A maker of one's own class of a scheduler."""
    own = KINDS[kind](getattr(module, name))
    return lambda optimizer, **more: own(optimizer, **OPTIONS[name], **more)


def an_optimizer(tensors: bool = False) -> Any:
    rates = [torch.tensor(rate, dtype=torch.float64) if tensors else rate for rate in (0.1, 0.25)]
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups, momentum=0.5)


def held(optimizer: Any) -> list[float]:
    return [float(group[key]) for group in optimizer.param_groups for key in ("lr", "momentum")]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without torch's own remarks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def agree(mine: Any, theirs: Any, steps: int = 16) -> None:
    """Two schedulers give the same rates and momentums at each of the next steps."""
    with quiet():
        for _ in range(steps):
            assert held(mine.optimizer) == pytest.approx(held(theirs.optimizer), rel=1e-12)
            for scheduler in (mine, theirs):
                scheduler.optimizer.step()
                scheduler.step()
            last = [list(map(float, scheduler.get_last_lr())) for scheduler in (mine, theirs)]
            assert last[0] == pytest.approx(last[1], rel=1e-12)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("tensors", [False, True])
def test_a_subclass_gives_torchs_numbers(name: str, kind: str, place: str, tensors: bool) -> None:
    """What overrides `get_lr`, `step` or the closed form, and reads what torch has, gives torch's rates in every place."""
    if tensors and kind == "get_lr":
        pytest.skip("max of a number and a tensor isn't a tensor")
    if name in ("CyclicLR", "OneCycleLR") and place in ("first in a sequence", "in a chain"):
        pytest.skip("there it changes the others' rates in torch, as docs/from_torch.md says")
    mine, theirs = an_optimizer(tensors), an_optimizer(tensors)
    agree(PLACES[place](ours, mine, made(ours, kind, name)), PLACES[place](torchs, theirs, made(torchs, kind, name)))


@pytest.mark.parametrize("place", PLACES)
def test_a_scheduler_from_scratch_gives_torchs_numbers(place: str) -> None:
    """A class made of `LRScheduler` alone gives torch's rates, in sequences and chains of drop-ins as well."""
    pair = [PLACES[place](m, an_optimizer(), from_scratch(None)(m)) for m in (ours, torchs)]
    agree(*pair)


def test_a_floor_is_kept() -> None:
    """A cosine with a floor of one's own stays at the floor."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    scheduler = floored(ours.CosineAnnealingLR)(optimizer, 5)
    rates = []
    for _ in range(5):
        scheduler.step()
        rates.append(round(optimizer.param_groups[0]["lr"], 4))
    assert rates == [0.0905, 0.0655, 0.05, 0.05, 0.05]


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("place", PLACES)
def test_a_subclass_resumes(name: str, place: str) -> None:
    """Saved in mid-run and loaded after the optimizer or before it, one's own class goes on with the rates that it had."""
    whole = an_optimizer()
    running = PLACES[place](ours, whole, made(ours, "get_lr", name))
    with quiet():
        for _ in range(6):
            running.step()
    states = pickle.loads(pickle.dumps((whole.state_dict(), running.state_dict())))
    for first in (0, 1):
        resumed = an_optimizer()
        scheduler = PLACES[place](ours, resumed, made(ours, "get_lr", name))
        for which in (first, 1 - first):
            (resumed, scheduler)[which].load_state_dict(states[which])
        assert held(resumed)[::2] == held(whole)[::2]
    agree(scheduler, running, 5)


def test_nested_compositions_of_ones_own() -> None:
    """A chain with one's own member is a later phase of a sequence: it begins there from the base, as it does alone."""
    make = made(ours, "get_lr", "CosineAnnealingLR")
    alone, nested = an_optimizer(), an_optimizer()
    chain = ours.ChainedScheduler([ours.ExponentialLR(alone, 0.95), make(alone)])
    inner = ours.ChainedScheduler([ours.ExponentialLR(nested, 0.95), make(nested)])
    sequence = ours.SequentialLR(nested, [ours.ConstantLR(nested, 0.5, 99), inner], [3])
    with quiet():
        for _ in range(3):
            sequence.step()
        agree(sequence, chain, 8)


def test_it_has_no_schedule() -> None:
    """What the rates of one's own class will be, nobody can say beforehand: it is refused with the way out."""
    scheduler = made(ours, "get_lr", "StepLR")(an_optimizer())
    for ask in (lambda: scheduler.schedules, lambda: gradus.from_torch(scheduler)):
        with pytest.raises(InvalidInput, match="Lambda"):
            ask()


@pytest.mark.parametrize("name", [*OPTIONS, "SequentialLR", "ReduceLROnPlateau"])
def test_verbose_tells_of_changes(name: str) -> None:
    """`verbose=True`, which torch has dropped, prints torch's line for each group when its rate changes."""
    if name == "SWALR":
        pytest.skip("it never had it")
    optimizer = an_optimizer()
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        if name == "SequentialLR":
            members = [ours.ConstantLR(optimizer, 0.5), ours.ExponentialLR(optimizer, 0.5)]
            scheduler: Any = ours.SequentialLR(optimizer, members, [2], verbose=True)
        elif name == "ReduceLROnPlateau":
            scheduler = ours.ReduceLROnPlateau(optimizer, patience=0, verbose=True)
        else:
            scheduler = getattr(ours, name)(optimizer, **OPTIONS[name], verbose=True)
        for _ in range(4):
            before = [group["lr"] for group in optimizer.param_groups]
            out.truncate(0)
            out.seek(0)
            scheduler.step(*([1.0] if name == "ReduceLROnPlateau" else []))
            after = [group["lr"] for group in optimizer.param_groups]
            start = f"Epoch {scheduler.last_epoch:05d}: reducing" if name == "ReduceLROnPlateau" else "Adjusting"
            changed = [index for index in range(2) if before[index] != after[index]]
            lines = [f"{start} learning rate of group {index} to {after[index]:.4e}." for index in changed]
            assert out.getvalue().splitlines() == lines


def test_without_verbose_nothing_is_printed(capsys: Any) -> None:
    """The word that torch had for its default says nothing."""
    scheduler = ours.StepLR(an_optimizer(), 1, verbose="deprecated")
    scheduler.step()
    assert not capsys.readouterr().out


@pytest.mark.parametrize("module", [ours, gradus.schedules, gradus.optim])
def test_public_classes_name_their_module(module: Any) -> None:
    """Each public class says that it is of the module that users import it from, and is found there when it is unpickled.

    `scheduler.__module__ == lr_scheduler.__name__` is how code asks whether a scheduler is the library's.
    """
    classes = [getattr(module, name) for name in module.__all__ if isinstance(getattr(module, name), type)]
    for kind in classes:
        assert kind.__module__ in (module.__name__, "torch.optim.lr_scheduler", "torch.optim.optimizer")
        assert pickle.loads(pickle.dumps(kind)) is kind


ATTRIBUTES: dict[str, Any] = {"last_epoch": 2, "_last_lr": [7.0, 7.0], "base_lrs": [1.0, 2.0]}
CHANGED = {
    "StepLR": {"gamma": 0.7, "step_size": 2},
    "MultiStepLR": {"gamma": 0.7},
    "LinearLR": {"end_factor": 0.3},
    "ExponentialLR": {"gamma": 0.5},
    "PolynomialLR": {"power": 3.0},
    "CosineAnnealingLR": {"T_max": 11, "eta_min": 0.02},
    "CosineAnnealingWarmRestarts": {"eta_min": 0.02},
    "LambdaLR": {"lr_lambdas": [lambda t: 0.5**t] * 2},
    "OneCycleLR": {"total_steps": 50},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("attribute", [*ATTRIBUTES, "its own"])
def test_attributes_set_by_hand(name: str, attribute: str) -> None:
    """An attribute that is set in mid-run does what it does in torch."""
    if (name, attribute) == ("SWALR", "last_epoch"):
        pytest.skip("it goes by the number of its steps in torch")
    values = CHANGED.get(name, {}) if attribute == "its own" else {attribute: ATTRIBUTES[attribute]}
    pair = []
    for module in (ours, torchs):
        scheduler = getattr(module, name)(an_optimizer(), **OPTIONS[name])
        with quiet():
            for _ in range(4):
                scheduler.optimizer.step()
                scheduler.step()
        for key, value in values.items():
            setattr(scheduler, key, value)
        if attribute == "_last_lr":
            assert scheduler.get_last_lr() == [7.0, 7.0]
        scheduler.step()
        pair.append(scheduler)
    agree(*pair, 10)


def test_warm_restarts_between_two_steps() -> None:
    """`step(epoch + i / n)` of warm restarts gives torch's rates, batch by batch."""
    pair = [m.CosineAnnealingWarmRestarts(an_optimizer(), 2, 2, 1e-3) for m in (ours, torchs)]
    with quiet():
        for epoch in range(8):
            for batch in range(5):
                for scheduler in pair:
                    scheduler.optimizer.step()
                    scheduler.step(epoch + batch / 5)
                assert held(pair[0].optimizer) == pytest.approx(held(pair[1].optimizer), rel=1e-12)
                assert (pair[0].T_cur, pair[0].T_i) == pytest.approx((pair[1].T_cur, pair[1].T_i))
                assert pair[0].last_epoch == pair[1].last_epoch
