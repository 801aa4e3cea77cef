"""Optimizers of recent papers, each against its paper's formula, written out in NumPy."""

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gradus.optim
from gradus.errors import InvalidInput
from gradus.optim import AdamWScheduleFree, RAdamScheduleFree, SGDScheduleFree, SophiaG, SophiaH, cautious
from gradus.rules import Rule, classical
from optim_registry import CLASSES, give_gradients, params

Array = np.ndarray
Run = Iterator[Array]  # the parameter after each update
SCHEDULE_FREE = [SGDScheduleFree, AdamWScheduleFree, RAdamScheduleFree]
SHAPES: list[tuple[int, ...]] = [(), (0,), (5,), (3, 4), (2, 3, 2)]
STEPS = 30


def _lion(w: Array, grads: list[Array], lr: float, betas: Any, weight_decay: float) -> Run:
    m = np.zeros_like(w)
    for g in grads:
        u = np.sign(betas[0] * m + (1 - betas[0]) * g)
        w = w - lr * (u + weight_decay * w)
        m = betas[1] * m + (1 - betas[1]) * g
        yield w


def _adan(w: Array, grads: list[Array], lr: float, betas: Any, weight_decay: float, eps: float) -> Run:
    b1, b2, b3 = betas
    m = v = n = np.zeros_like(w)
    before = grads[0]
    for t, g in enumerate(grads, 1):
        change, before = g - before, g
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * change
        n = b3 * n + (1 - b3) * (g + b2 * change) ** 2
        update = (m / (1 - b1**t) + b2 * v / (1 - b2**t)) / (np.sqrt(n / (1 - b3**t)) + eps)
        w = (w - lr * update) / (1 + lr * weight_decay)
        yield w


def _ademamix(
    w: Array,
    grads: list[Array],
    lr: float,
    betas: Any,
    alpha: float,
    weight_decay: float,
    alpha_warmup: int | None = None,
    beta3_warmup: int | None = None,
) -> Run:
    b1, b2, b3 = betas
    m1 = m2 = v = np.zeros_like(w)
    for t, g in enumerate(grads, 1):
        a = alpha * t / alpha_warmup if alpha_warmup and t < alpha_warmup else alpha
        slow = b3
        if beta3_warmup and t < beta3_warmup:
            part = t / beta3_warmup
            slow = math.exp(math.log(b1) * math.log(b3) / ((1 - part) * math.log(b3) + part * math.log(b1)))
        m1, m2 = b1 * m1 + (1 - b1) * g, slow * m2 + (1 - slow) * g
        v = b2 * v + (1 - b2) * g**2
        update = (m1 / (1 - b1**t) + a * m2) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
        w = w - lr * (update + weight_decay * w)
        yield w


def _lars(w: Array, grads: list[Array], lr: float, momentum: float, weight_decay: float, trust_coefficient: float) -> Run:
    v = np.zeros_like(w)
    for g in grads:
        size, slope = np.linalg.norm(w), np.linalg.norm(g)
        trust = trust_coefficient * size / (slope + weight_decay * size) if size * slope > 0 else 1.0
        v = momentum * v + lr * trust * (g + weight_decay * w)
        w = w - v
        yield w


def _lamb(w: Array, grads: list[Array], lr: float, betas: Any, weight_decay: float, eps: float) -> Run:
    b1, b2 = betas
    m = v = np.zeros_like(w)
    for t, g in enumerate(grads, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        u = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps) + weight_decay * w
        size, length = np.linalg.norm(w), np.linalg.norm(u)
        w = w - lr * (size / length if size * length > 0 else 1.0) * u
        yield w


def _cautious_adamw(
    w: Array,
    grads: list[Array],
    lr: float,
    betas: Any,
    weight_decay: float,
    cautious_factor: float = 0.0,
    cautious_wd: bool = False,
    correct_bias: bool = True,
) -> Run:
    b1, b2 = betas
    m = v = np.zeros_like(w)
    for t, g in enumerate(grads, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        first, second = (m / (1 - b1**t), v / (1 - b2**t)) if correct_bias else (m, v)
        u = first / (np.sqrt(second) + 1e-8)
        mask = np.where(u * g > 0, 1.0, cautious_factor)
        u = u * mask / (max(mask.mean(), 1e-3) if mask.size else 1.0)
        decays = (u * w > 0) if cautious_wd else 1.0
        w = w - lr * weight_decay * decays * w - lr * u
        yield w


CASES: dict[str, tuple[str, Callable[..., Run], dict[str, Any]]] = {
    "Lion": ("Lion", _lion, {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.1}),
    "Adan": ("Adan", _adan, {"lr": 0.01, "betas": (0.98, 0.92, 0.99), "weight_decay": 0.1, "eps": 1e-8}),
    "AdEMAMix": (
        "AdEMAMix",
        _ademamix,
        {"lr": 0.01, "betas": (0.9, 0.999, 0.9999), "alpha": 5.0, "weight_decay": 0.1},
    ),
    **{
        f"AdEMAMix, warmups of {alpha_warmup} and {beta3_warmup}": (
            "AdEMAMix",
            _ademamix,
            {"lr": 0.01, "betas": (0.9, 0.99, 0.999), "alpha": 2.0, "weight_decay": 0.0}
            | {"alpha_warmup": alpha_warmup, "beta3_warmup": beta3_warmup},
        )
        for alpha_warmup, beta3_warmup in ((20, 20), (7, 20), (20, 7), (None, 20), (20, None), (0, 40))
    },
    "LARS": ("LARS", _lars, {"lr": 0.5, "momentum": 0.9, "weight_decay": 0.01, "trust_coefficient": 0.1}),
    "LAMB": ("LAMB", _lamb, {"lr": 0.01, "betas": (0.9, 0.999), "weight_decay": 0.1, "eps": 1e-6}),
    **{
        f"CautiousAdamW, {more}": (
            "CautiousAdamW",
            _cautious_adamw,
            {"lr": 0.01, "betas": (0.9, 0.999), "weight_decay": 0.1, **more},
        )
        for more in ({}, {"cautious_factor": 0.25, "cautious_wd": True}, {"correct_bias": False})
    },
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("case", CASES)
def test_it_is_the_papers(case: str, backend: str, dtype: torch.dtype) -> None:
    """Thirty updates of tensors of all shapes are the paper's, on every backend."""
    name, paper, options = CASES[case]
    some = params(dtype, SHAPES)
    starts = [param.detach().double().numpy().copy() for param in some]
    optimizer = getattr(gradus.optim, name)(some, backend=backend, **options)
    seen: list[list[Array]] = [[] for _ in some]
    for step in range(STEPS):
        give_gradients(some, step=step)
        for param, grads in zip(some, seen, strict=True):
            grads.append(param.grad.double().numpy().copy())
        optimizer.step()
    tolerance = 1e-10 if dtype == torch.float64 else 2e-4
    for param, start, grads in zip(some, starts, seen, strict=True):
        *_, want = paper(start, grads, **options)
        np.testing.assert_allclose(param.detach().double().numpy(), want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_says_which_of_its_hyperparameters_are_rates(name: str) -> None:
    """`rates` names every learning rate among a class's hyperparameters; Prodigy alone estimates its own."""
    kind = CLASSES[name]
    assert set(kind.rates) == {hyper for hyper in kind.hypers if hyper == "lr" or hyper.endswith("_lr")}
    assert kind.finds_own_rate == (name == "Prodigy")


def test_sophia_estimates_in_single_precision() -> None:
    """The estimate for a bfloat16 parameter is the one for a float32 parameter of the same gradients."""
    kept = []
    for dtype in (torch.bfloat16, torch.float32):
        param = nn.Parameter(torch.ones(5, dtype=dtype))
        optimizer = SophiaG([param])
        for step in range(1, 6):
            param.grad = torch.arange(1.0, 6.0, dtype=dtype) * 0.125 * step
            optimizer.update_hessian(batch_size=3)
        kept.append(optimizer.state[param]["hessian"])
    assert kept[0].dtype == torch.float32
    torch.testing.assert_close(*kept)


def test_ademamix_may_do_without_its_first_momentum() -> None:
    """With β₁ = 0 the warm-up of β₃ is its limit, β₃^(T/t)."""
    (param,) = params(shapes=[(6,)])
    optimizer = gradus.optim.AdEMAMix(
        [param], lr=0.01, betas=(0.0, 0.99, 0.999), alpha=2.0, alpha_warmup=20, beta3_warmup=20
    )
    w, slow, v = param.detach().numpy().copy(), np.zeros(6), np.zeros(6)
    for t in range(1, STEPS + 1):
        give_gradients([param], step=t)
        assert param.grad is not None
        g, b3 = param.grad.numpy(), 0.999 ** (20 / min(t, 20))
        slow, v = b3 * slow + (1 - b3) * g, 0.99 * v + 0.01 * g**2
        w = w - 0.01 * (g + min(t / 20, 1) * 2.0 * slow) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)
        optimizer.step()
    np.testing.assert_allclose(param.detach().numpy(), w)


@pytest.mark.parametrize("rule", [classical.nadam, classical.rprop, classical.asgd, classical.adagrad], ids=str)
def test_cautious_rules_begin_as_the_rules_do(rule: Rule) -> None:
    """Where no element moves against its gradient, a cautious rule is the rule, slots that begin elsewhere than at 0 too."""
    options = {"initial_accumulator_value": 4.0} if rule is classical.adagrad else {}
    ours, theirs = params(shapes=[(5,)]), params(shapes=[(5,)])
    got, want = (_optimizer_of(one)(some, lr=0.1, **options) for one, some in ((cautious(rule), ours), (rule, theirs)))
    for _ in range(5):
        for some in (*ours, *theirs):
            some.grad = torch.arange(1.0, 6.0, dtype=torch.float64)
        got.step()
        want.step()
    torch.testing.assert_close(ours[0], theirs[0])


def _optimizer_of(one: Rule) -> Any:
    class Made(gradus.optim.Optimizer, rule=one):
        pass

    return Made


def test_sophia_is_the_papers() -> None:
    """Twelve updates with a new estimate every fourth are Algorithm 3 of Liu et al. 2023."""
    (param,) = params(shapes=[(6,)])
    w, m, h = param.detach().numpy().copy(), np.zeros(6), np.zeros(6)
    optimizer = SophiaG([param], lr=0.01, betas=(0.9, 0.95), rho=0.5, weight_decay=0.1)
    for step in range(12):
        give_gradients([param], step=step)
        g = param.grad.numpy().copy()
        if step % 4 == 0:
            optimizer.update_hessian(batch_size=8)
            h = 0.95 * h + 0.05 * 8 * g * g
        optimizer.step()
        m = 0.9 * m + 0.1 * g
        w = w * (1 - 0.01 * 0.1) - 0.01 * np.clip(m / np.maximum(0.5 * h, 1e-15), -1, 1)
        np.testing.assert_allclose(param.detach().numpy(), w, rtol=1e-12)


def _curved(param: torch.Tensor) -> torch.Tensor:
    """A loss with a Hessian that isn't diagonal, and changes."""
    return (param.exp() * torch.linspace(0.5, 2, 6, dtype=param.dtype)).sum() + param.sum().square() / 10


@pytest.mark.parametrize("samples", [1, 3])
def test_sophia_h_is_pytorch_optimizers(samples: int) -> None:
    """Updates with a new estimate every fourth are pytorch_optimizer's, which writes ρ as a factor of the rate."""
    theirs = pytest.importorskip("pytorch_optimizer")
    (ours,), (others,) = params(shapes=[(6,)]), params(shapes=[(6,)])
    got = SophiaH([ours], lr=0.06 * 0.01, betas=(0.96, 0.9), rho=0.01, eps=0.01 * 1e-12, weight_decay=0.0)
    want = theirs.SophiaH([others], lr=0.06, betas=(0.96, 0.9), p=0.01, update_period=4, num_samples=samples, foreach=False)
    for step in range(12):
        for optimizer, param in ((got, ours), (want, others)):
            torch.manual_seed(step)
            optimizer.zero_grad()
            loss = _curved(param)
            if optimizer is got and step % 4 == 0:
                optimizer.update_hessian(loss, samples)
            (param.grad,) = torch.autograd.grad(loss, param, create_graph=optimizer is want)
            optimizer.step()
    torch.testing.assert_close(ours, others, rtol=1e-10, atol=1e-12)


def test_a_hessians_estimate_is_right_on_average() -> None:
    """The mean of many samples is the Hessian's diagonal, negated for an ascent; gradients stay as they are."""
    diagonal = torch.autograd.functional.hessian(_curved, params(shapes=[(6,)])[0].detach()).diagonal()
    for maximize in (False, True):
        (param,) = params(shapes=[(6,)])
        loose = nn.Parameter(torch.ones(2))  # the loss doesn't depend on it
        straight = nn.Parameter(torch.ones(2))  # nor its gradient on this
        optimizer = SophiaH([param, loose, straight], betas=(0.9, 0.0), maximize=maximize)
        generator = torch.Generator().manual_seed(0)
        optimizer.update_hessian(_curved(param) + straight.sum(), 3000, generator)
        assert param.grad is None
        assert "hessian" not in optimizer.state[loose]
        assert optimizer.state[straight]["hessian"].tolist() == [0.0, 0.0]
        want = -diagonal if maximize else diagonal
        torch.testing.assert_close(optimizer.state[param]["hessian"], want, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("loss", [1.0, torch.ones(()), torch.ones(2, requires_grad=True) * 2], ids=str)
def test_what_is_no_loss_gives_no_estimate(loss: Any) -> None:
    """What has several elements or no graph is refused, and so are complex parameters."""
    param = nn.Parameter(torch.ones(2))
    optimizer = SophiaH([param])
    with pytest.raises(InvalidInput, match="a tensor of one element with its graph"):
        optimizer.update_hessian(loss)
    imaginary = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    with pytest.raises(InvalidInput, match=r"takes real parameters; got one of torch\.complex64"):
        SophiaH([imaginary]).update_hessian(imaginary.abs().sum())
    assert not optimizer.state


def test_adan_restarts() -> None:
    """After `restart_opt` an Adan goes on as a new one would, and what somebody else keeps in its state stays."""
    ours, others = params(shapes=[(3, 4)]), params(shapes=[(3, 4)])
    got = gradus.optim.Adan(ours, lr=0.01)
    for step in range(5):
        give_gradients(ours, step=step)
        got.step()
    got.state[ours[0]]["note"] = 7
    got.restart_opt()
    with torch.no_grad():
        others[0].copy_(ours[0])
    _agree(got, gradus.optim.Adan(others, lr=0.01), ours, others)
    assert got.state[ours[0]]["note"] == 7


def _schedule_free(
    w: Array, grads: list[Array], lr: float, beta: float, betas2: float | None, warmup: int
) -> tuple[Array, Array]:
    """(y, x) of Defazio et al. 2024 after all gradients, with x kept and y made of it."""
    x = z = w
    v, total, greatest = np.zeros_like(w), 0.0, 0.0
    for t, g in enumerate(grads, 1):
        rate = lr * min(1.0, t / warmup) if warmup else lr
        greatest = max(greatest, rate)
        total += greatest**2
        if betas2 is not None:
            v = betas2 * v + (1 - betas2) * g * g
            g = g / (np.sqrt(v / (1 - betas2**t)) + 1e-8)
        z = z - rate * g
        x = x + greatest**2 / total * (z - x)
    return (1 - beta) * z + beta * x, x


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("warmup", [0, 7])
@pytest.mark.parametrize("kind", [SGDScheduleFree, AdamWScheduleFree])
def test_schedule_free_is_the_papers(kind: Any, warmup: int, backend: str) -> None:
    """The parameters are y in training and x within `averaged`, as the paper has them."""
    (param,) = params(shapes=[(6,)])
    start, grads = param.detach().numpy().copy(), []
    optimizer = kind([param], lr=0.1, warmup_steps=warmup, backend=backend)
    for step in range(20):
        give_gradients([param], step=step)
        grads.append(param.grad.numpy().copy())
        optimizer.step()
    y, x = _schedule_free(start, grads, 0.1, 0.9, 0.999 if kind is AdamWScheduleFree else None, warmup)
    np.testing.assert_allclose(param.detach().numpy(), y, rtol=1e-9)
    with optimizer.averaged():
        np.testing.assert_allclose(param.detach().numpy(), x, rtol=1e-9)
    np.testing.assert_allclose(param.detach().numpy(), y, rtol=1e-9)


@pytest.mark.parametrize("saved_in", ["train", "eval"])
@pytest.mark.parametrize("loaded_in", ["train", "eval"])
@pytest.mark.parametrize("kind", SCHEDULE_FREE)
def test_schedule_free_comes_back_in_the_mode_it_was_saved_in(kind: Any, saved_in: str, loaded_in: str) -> None:
    """A state saved in either mode, with its parameters, goes on as if nothing had been, whatever mode it is loaded in."""
    param = nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = kind([param], lr=0.5)

    def train() -> None:
        for _ in range(3):
            param.grad = param.detach() - 3
            optimizer.step()

    train()
    getattr(optimizer, saved_in)()
    saved, there = copy.deepcopy(optimizer.state_dict()), param.item()
    optimizer.train()
    train()
    gone = param.item()
    getattr(optimizer, loaded_in)()
    optimizer.load_state_dict(saved)
    param.data.fill_(there)
    if saved_in == "eval":
        with pytest.raises(InvalidInput, match=r"call optimizer\.train\(\) first"):
            optimizer.step()
    optimizer.train()
    train()
    assert param.item() == pytest.approx(gone, rel=1e-12)


def test_a_saved_mode_that_cannot_be_is_refused() -> None:
    """A state of no known mode, or of two, is refused, and the mode stays."""
    optimizer = SGDScheduleFree([{"params": [nn.Parameter(torch.ones(1))]}, {"params": [nn.Parameter(torch.ones(1))]}])
    optimizer.eval()
    for modes, message in ((("sleep", "sleep"), "the saved mode must be"), (("train", "eval"), "must all be in one mode")):
        bad = optimizer.state_dict()
        for group, mode in zip(bad["param_groups"], modes, strict=True):
            group["mode"] = mode
        with pytest.raises(InvalidInput, match=message):
            optimizer.load_state_dict(bad)
        assert [group["mode"] for group in optimizer.param_groups] == ["eval", "eval"]


def _combined(**choices: list[Any]) -> list[dict[str, Any]]:
    """Every combination of options."""
    return [dict(zip(choices, combination, strict=True)) for combination in itertools.product(*choices.values())]


AVERAGING = {"lr": [0.1], "weight_decay": [0.0, 0.1], "r": [0.0, 1.5], "weight_lr_power": [0.0, 2.0]}
SCHEDULE_FREE_OPTIONS = {
    SGDScheduleFree: _combined(**AVERAGING, warmup_steps=[0, 6], momentum=[0.9, 0.6]),
    AdamWScheduleFree: _combined(**AVERAGING, warmup_steps=[0, 6], betas=[(0.9, 0.99), (0.6, 0.99)], eps=[1e-6]),
    RAdamScheduleFree: _combined(**AVERAGING, betas=[(0.9, 0.999), (0.6, 0.9)], eps=[1e-6], silent_sgd_phase=[False, True])
    + _combined(**AVERAGING, betas=[(0.9, 0.55)], silent_sgd_phase=[False]),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", SCHEDULE_FREE_OPTIONS)
def test_every_option_of_schedule_free_is_its_authors(kind: Any, dtype: torch.dtype) -> None:
    """Twenty updates under every combination of options, and the averages in between, are schedulefree's."""
    theirs = getattr(pytest.importorskip("schedulefree"), kind.__name__)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    for options in SCHEDULE_FREE_OPTIONS[kind]:
        ours, others = params(dtype, [(3, 4)]), params(dtype, [(3, 4)])
        got, want = kind(ours, **options), theirs(others, **options)
        for step in range(20):
            for optimizer, some in ((got, ours), (want, others)):
                optimizer.train()
                give_gradients(some, step=step)
                optimizer.step()
                if step % 4 == 0:
                    optimizer.eval()
            torch.testing.assert_close(ours[0], others[0], rtol=tolerance, atol=tolerance, msg=f"{options} at {step}")


@pytest.mark.parametrize("kind", SCHEDULE_FREE)
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_schedulefrees_own_states_go_on_here(mode: str, kind: Any) -> None:
    """A state of the authors' package, saved in either mode with its parameters, goes on as it does there."""
    theirs = pytest.importorskip("schedulefree")
    ours, others = params(shapes=[(3, 4)]), params(shapes=[(3, 4)])
    want, got = getattr(theirs, kind.__name__)(others, lr=0.05), kind(ours, lr=0.5)
    for step in range(16):
        if step == 7:
            getattr(want, mode)()
            ours[0].data.copy_(others[0].data)
            got.load_state_dict(copy.deepcopy(want.state_dict()))
            got.train()
        for optimizer, some in ((want, others), *([(got, ours)] if step >= 7 else [])):
            optimizer.train()
            give_gradients(some, step=step)
            optimizer.step()
    torch.testing.assert_close(ours[0], others[0], rtol=1e-10, atol=1e-10)


def test_a_silent_phase_without_end_is_refused() -> None:
    """Where the second moment is never trusted, a silent phase would last for ever, and a group of it isn't taken."""
    optimizer = RAdamScheduleFree(params(shapes=[(2,)]))
    with pytest.raises(InvalidInput, match=r"betas\[1\] up to 0\.6 a silent SGD phase never ends"):
        optimizer.add_param_group({"params": params(shapes=[(2,)]), "betas": (0.9, 0.6)})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.0, 0.5)])
def test_lion_is_lion_pytorchs(betas: Any, weight_decay: float, decoupled: bool) -> None:
    """Thirty updates are lion-pytorch's, and a cautious Lion's those of its cautious one, under every option."""
    plain, cautious_one = pytest.importorskip("lion_pytorch"), pytest.importorskip("lion_pytorch.cautious_lion")
    shared = {"lr": 0.01, "betas": betas, "weight_decay": weight_decay, "decoupled_weight_decay": decoupled}
    ours, theirs = params(shapes=SHAPES), params(shapes=SHAPES)
    _agree(gradus.optim.Lion(ours, **shared), plain.Lion(theirs, **shared), ours, theirs, then=0.002)
    for factor, wd in itertools.product([0.0, 0.3, 1.0], [False, True]):
        ours, theirs = params(shapes=[(3, 4), (5,)]), params(shapes=[(3, 4), (5,)])
        got = gradus.optim.CautiousLion(ours, **shared, cautious_factor=factor, cautious_wd=wd)
        want = cautious_one.Lion(theirs, **shared, cautious_factor=factor, cautious_wd=wd)
        single = 2e-6 if wd else 1e-9  # its mask is in single precision
        _agree(got, want, ours, theirs, then=0.002, rtol=single)


def test_lions_decay_is_in_parts_of_its_first_rate_after_a_resume_too() -> None:
    """A state keeps the rate that decoupled decay is in parts of, whatever the rate of the optimizer that loads it."""
    whole, parted = params(shapes=[(3, 4)]), params(shapes=[(3, 4)])
    options = {"weight_decay": 0.1, "decoupled_weight_decay": True}
    first, second = gradus.optim.Lion(whole, lr=0.01, **options), gradus.optim.Lion(parted, lr=0.01, **options)
    for step in range(8):
        if step == 4:
            state = copy.deepcopy(second.state_dict())
            second = gradus.optim.Lion(parted, lr=0.5)
            second.load_state_dict(state)
        for optimizer in (first, second):
            optimizer.param_groups[0]["lr"] = 0.01 / (step + 1)
        give_gradients(whole, parted, step=step)
        first.step()
        second.step()
    assert torch.equal(whole[0], parted[0])


@pytest.mark.parametrize("name", ["Lion", "CautiousLion"])
def test_decay_in_parts_of_no_rate_is_refused(name: str) -> None:
    """Decoupled decay with a first rate of 0 is refused, and so is a saved first rate that can't be one."""
    with pytest.raises(InvalidInput, match="in parts of the first lr, which must be above 0"):
        getattr(gradus.optim, name)(params(shapes=[(2,)]), lr=0.0, decoupled_weight_decay=True)
    optimizer = getattr(gradus.optim, name)(params(shapes=[(2,)]), lr=0.0)
    for bad in (0.0, -1.0, float("nan"), "a"):
        saved = optimizer.state_dict()
        saved["param_groups"][0]["first_lr"] = bad
        with pytest.raises(InvalidInput, match="the saved first_lr must be a finite number above 0"):
            optimizer.load_state_dict(saved)


def _agree(
    got: Any,
    want: Any,
    ours: list[nn.Parameter],
    theirs: list[nn.Parameter],
    then: float | None = None,
    rtol: float = 1e-9,
) -> None:
    """Thirty updates agree, with another rate for the later half."""
    for step in range(STEPS):
        if step == STEPS // 2 and then is not None:
            for group in (*got.param_groups, *want.param_groups):
                group["lr"] = then
        give_gradients(ours, theirs, step=step)
        got.step()
        want.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=rtol / 100)


_PACKAGED: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("AdEMAMix", "AdEMAMix", {"weight_decay": 0.1, "alpha": 2.0}, {"weight_decouple": True}),
    ("AdEMAMix", "AdEMAMix", {"alpha": 5.0, "betas": (0.8, 0.99, 0.999)}, {"t_alpha_beta3": 20.0}),
    ("Adan", "Adan", {"weight_decay": 0.1}, {"weight_decouple": False}),
    ("Adan", "Adan", {"weight_decay": 0.1, "betas": (0.9, 0.8, 0.95)}, {"weight_decouple": False}),
    ("Adan, no_prox", "Adan", {"weight_decay": 0.1}, {"weight_decouple": True}),
    *(
        ("LARS", "LARS", {"weight_decay": 0.01, "trust_coefficient": 0.1, **more}, {})
        for more in (
            {},
            {"momentum": 0.0, "nesterov": True, "dampening": 0.5},
            {"nesterov": True},
            {"dampening": 0.3},
            {"nesterov": True, "dampening": 0.5, "momentum": 0.5},
            {"maximize": True, "nesterov": True},
        )
    ),
]


@pytest.mark.parametrize(("name", "other", "shared", "theirs_alone"), _PACKAGED)
def test_it_is_pytorch_optimizers(name: str, other: str, shared: dict[str, Any], theirs_alone: dict[str, Any]) -> None:
    """Thirty updates of matrices are pytorch_optimizer's, under the options that mean the same."""
    theirs = pytest.importorskip("pytorch_optimizer")
    ours, others = params(shapes=[(3, 4), (2, 3, 2)]), params(shapes=[(3, 4), (2, 3, 2)])
    warmup = theirs_alone.get("t_alpha_beta3")  # one for both
    own = {} if warmup is None else {"alpha_warmup": warmup, "beta3_warmup": warmup}
    own |= {"no_prox": True} if "no_prox" in name else {}
    got = getattr(gradus.optim, name.split(",")[0])(ours, lr=0.01, **shared, **own)
    want = getattr(theirs, other)(others, lr=0.01, foreach=False, **shared, **theirs_alone)
    _agree(got, want, ours, others)


def _sophia_under_a_scaler(**how: Any) -> tuple[Any, Any, nn.Parameter]:
    param = nn.Parameter(torch.ones(3))
    return SophiaG([param], lr=0.1, **how), torch.amp.GradScaler("cpu", init_scale=1024.0), param


@pytest.mark.parametrize("unscaled", [False, True])
@pytest.mark.parametrize("how", [{}, {"clip_norm": 10.0}])
def test_sophias_estimate_is_free_of_a_scalers_scale(how: dict[str, Any], unscaled: bool) -> None:
    """Under a GradScaler that it is told of, the estimate is that of the gradients themselves, unscaled before or not."""
    optimizer, scaler, param = _sophia_under_a_scaler(**how)
    scaler.scale((param * torch.tensor([1.0, 2.0, 3.0])).sum()).backward()
    if unscaled:
        scaler.unscale_(optimizer)
    optimizer.update_hessian(batch_size=4, scaler=scaler)
    torch.testing.assert_close(optimizer.state[param]["hessian"], 0.01 * 4 * torch.tensor([1.0, 4.0, 9.0]))
    scaler.step(optimizer)
    scaler.update()


@pytest.mark.parametrize("how", [{}, {"clip_norm": 10.0}])
@pytest.mark.parametrize("first", ["step", "estimate"])
def test_sophia_refuses_an_estimate_that_may_carry_a_scale(first: str, how: dict[str, Any]) -> None:
    """Where a GradScaler steps it and isn't named, the estimate is refused, or the first step where that comes after."""
    optimizer, scaler, param = _sophia_under_a_scaler(**how)
    scaler.scale(param.sum()).backward()
    if first == "step":
        scaler.step(optimizer)
        with pytest.raises(InvalidInput, match=r"update_hessian\(batch_size, scaler=scaler\)"):
            optimizer.update_hessian(batch_size=4)
        optimizer.update_hessian(batch_size=4, scaler=None)
        return
    optimizer.update_hessian(batch_size=4)
    with pytest.raises(InvalidInput, match=r"update_hessian\(batch_size, scaler=scaler\)"):
        scaler.step(optimizer)
    assert torch.equal(param, torch.ones(3))


@pytest.mark.parametrize("how", [{}, {"clip_norm": 10.0}, {"fused": True}])
def test_sophia_takes_nobody_else_for_a_scaler(how: dict[str, Any]) -> None:
    """Lightning looks who unscales gradients wherever it clips them, in bfloat16 too, without any GradScaler."""
    optimizer, _, param = _sophia_under_a_scaler(**how)
    assert getattr(optimizer, "_step_supports_amp_scaling", False) == bool(how)
    param.grad = torch.ones(3)
    optimizer.update_hessian(batch_size=4)
    optimizer.step()
    optimizer.update_hessian(batch_size=4)
    idle = torch.amp.GradScaler("cpu", enabled=False)
    idle.step(optimizer)
    optimizer.update_hessian(batch_size=4)


def test_sophia_knows_a_scaler_of_ones_own() -> None:
    """A subclass of GradScaler with a step of its own, such as FSDP's, is one."""

    class Own(torch.amp.GradScaler):
        def step(self, optimizer: Any) -> Any:  # type: ignore[override]
            assert not getattr(optimizer, "_step_supports_amp_scaling", False)
            return optimizer.step()

    optimizer, _, param = _sophia_under_a_scaler()
    param.grad = torch.ones(3)
    Own("cpu").step(optimizer)
    with pytest.raises(InvalidInput, match=r"update_hessian\(batch_size, scaler=scaler\)"):
        optimizer.update_hessian(batch_size=4)


@pytest.mark.parametrize("bad", [torch.inf, torch.nan, 3e38])
def test_sophia_leaves_out_gradients_that_a_scaler_overflowed(bad: float) -> None:
    """Gradients that aren't finite, or too large to square, leave the estimate under a GradScaler as it is."""
    optimizer, scaler, param = _sophia_under_a_scaler()
    scaler.scale(param.sum()).backward()
    optimizer.update_hessian(batch_size=4, scaler=scaler)
    before = optimizer.state[param]["hessian"].clone()
    assert param.grad is not None
    param.grad[1] = bad
    optimizer.update_hessian(batch_size=4, scaler=scaler)
    assert torch.equal(optimizer.state[param]["hessian"], before)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (SGDScheduleFree, {"momentum": 0.0}),
        (AdamWScheduleFree, {"betas": (0.0, 0.9)}),
        (RAdamScheduleFree, {"betas": (0.0, 0.9)}),
    ],
)
def test_schedule_free_needs_a_share_of_the_average(kind: Any, options: dict[str, Any]) -> None:
    """With β = 0 the average couldn't be told from the parameters, so it is refused."""
    with pytest.raises(InvalidInput, match=r"above 0 and below 1; got 0\.0"):
        kind([nn.Parameter(torch.ones(1))], **options)


def test_schedule_free_in_the_wrong_mode_is_refused() -> None:
    """A step while the averages are in the parameters is an error (schedule_free#48, accelerate#4161)."""
    (param,) = params(shapes=[(3,)])
    optimizer = SGDScheduleFree([param], lr=0.1)
    give_gradients([param], step=0)
    optimizer.step()
    optimizer.eval()
    before = param.detach().clone()
    with pytest.raises(InvalidInput, match=r"call optimizer\.train\(\) first"):
        optimizer.step()
    assert torch.equal(param, before)
    optimizer.train()
    optimizer.step()
    assert not torch.equal(param, before)


@pytest.mark.parametrize(
    "name",
    ["Lion", "Adan", "AdEMAMix", "LARS", "LAMB", "CautiousAdamW", "CautiousLion", "SGDScheduleFree", "RAdamScheduleFree"],
)
def test_a_resumed_run_is_the_uninterrupted_one(name: str) -> None:
    """A state loaded in the middle goes on bit for bit."""
    whole, parted = params(torch.float32, SHAPES), params(torch.float32, SHAPES)
    first, second = getattr(gradus.optim, name)(whole, lr=0.01), getattr(gradus.optim, name)(parted, lr=0.01)
    for step in range(12):
        if step == 5:
            state = copy.deepcopy(second.state_dict())
            second = getattr(gradus.optim, name)(parted, lr=0.01)
            second.load_state_dict(state)
        give_gradients(whole, parted, step=step)
        first.step()
        second.step()
    for a, b in zip(whole, parted, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda p: gradus.optim.Adan([p], betas=(0.9, 0.9)), "betas must be 3 numbers, each at least 0 and below 1"),
        (lambda p: gradus.optim.Lion([p], lr=-1e-4), "lr must be a finite number that isn't negative; got -0.0001"),
        (lambda p: gradus.optim.LARS([p], momentum=1.0), r"momentum must be at least 0 and below 1; got 1\.0"),
    ],
)
def test_refused_with_a_reason(build: Any, message: str) -> None:
    """What can't be is refused, with what must hold and what was given."""
    with pytest.raises(InvalidInput, match=message):
        build(nn.Parameter(torch.ones(2)))
