"""Prodigy, against its paper and its authors' package."""

import contextlib
import copy
import io
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradus.errors import InvalidInput
from gradus.optim import Prodigy


def _problem() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.rand(10, dtype=torch.float64) + 0.5, torch.randn(10, dtype=torch.float64) * 3


def _by_the_paper(steps: int, lr: float) -> tuple[Tensor, float]:
    """Algorithm 4 of Mishchenko and Defazio 2023, for the loss Σ curvature·(θ − target)²/2."""
    curvature, target = _problem()
    start = x = torch.zeros(10, dtype=torch.float64)
    m, v, s, r, d = torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x), 0.0, 1e-6
    for _ in range(steps):
        g = curvature * (x - target)
        m, v = 0.9 * m + 0.1 * d * g, 0.999 * v + 0.001 * d * d * g * g
        r = math.sqrt(0.999) * r + lr * d * d * float(g @ (start - x))
        s = math.sqrt(0.999) * s + lr * d * d * g
        before, d = d, max(d, r / float(s.abs().sum()))
        x = x - lr * before * m / (v.sqrt() + d * 1e-8)  # the paper has the old d before ε, its authors' package the new one
    return x, d


def _trained(optimizer: Prodigy, params: list[nn.Parameter], steps: int) -> None:
    curvature, target = _problem()
    for _ in range(steps):
        at = torch.cat([param.detach() for param in params])
        for param, grad in zip(params, (curvature * (at - target)).split([len(param) for param in params]), strict=True):
            param.grad = grad.clone()
        optimizer.step()


def _parts(sizes: list[int]) -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(size, dtype=torch.float64)) for size in sizes]


@pytest.mark.parametrize("lr", [1.0, 0.5])
@pytest.mark.parametrize("grouped", [False, True])
def test_it_is_the_papers(lr: float, grouped: bool) -> None:
    """Two hundred steps are the paper's, whether the vector is one tensor or lies in several groups."""
    params = _parts([3, 5, 2]) if grouped else _parts([10])
    optimizer = Prodigy([{"params": [param]} for param in params], lr=lr)
    _trained(optimizer, params, 200)
    want, d = _by_the_paper(200, lr)
    torch.testing.assert_close(torch.cat([param.detach() for param in params]), want)
    assert optimizer.param_groups[0]["d"] == pytest.approx(d)


def test_it_finds_a_rate_that_solves() -> None:
    """From d = 1e-6 it comes to the solution, with no rate given, and d stays below the distance to it."""
    params = _parts([10])
    optimizer = Prodigy(params)
    _trained(optimizer, params, 400)
    _, target = _problem()
    assert float((params[0].detach() - target).abs().max()) < 1e-2
    assert 1e-3 < optimizer.param_groups[0]["d"] < float(target.abs().max())


@pytest.mark.parametrize("by", ["scale", "clip_norm", "clip_value"])
def test_its_estimate_follows_the_gradients_that_it_updates_by(by: str) -> None:
    """A GradScaler's scale, or clipping while gradients are read, gives the estimate that mended gradients give."""
    curvature, target = _problem()
    ours, plain = _parts([10]), _parts([10])
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=by == "scale")
    first, second = Prodigy(ours, **({} if by == "scale" else {by: 0.5})), Prodigy(plain)
    for _ in range(100):
        for param in (*ours, *plain):
            param.grad = None
            (curvature * (param - target).square() / 2).sum().mul(
                1024 if by == "scale" and param is ours[0] else 1
            ).backward()
        scaler.scale(torch.zeros(()))  # it makes its scale when it is first asked for
        scaler.step(first)
        scaler.update()
        if by == "clip_norm":
            nn.utils.clip_grad_norm_(plain, 0.5)
        elif by == "clip_value":
            nn.utils.clip_grad_value_(plain, 0.5)
        second.step()
    assert first.param_groups[0]["d"] == pytest.approx(second.param_groups[0]["d"])
    torch.testing.assert_close(ours[0], plain[0])


def test_a_loaded_one_goes_on() -> None:
    """Its estimate is in its state: a resumed run equals the uninterrupted one."""
    whole, parted = _parts([10]), _parts([10])
    _trained(Prodigy(whole), whole, 60)
    first = Prodigy(parted)
    _trained(first, parted, 25)
    second = Prodigy(parted)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    _trained(second, parted, 35)
    assert torch.equal(whole[0], parted[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"d0": 0.0}, r"d0 must be a finite number above 0; got 0\.0"),
        ({"growth_rate": 0.9}, r"growth_rate must be a number of at least 1, or infinity for no bound; got 0\.9"),
        ({"beta3": 1.0}, r"beta3 must be at least 0 and below 1; got 1\.0"),
        ({"slice_p": 0}, r"slice_p must be a whole number from 1; got 0"),
        ({"betas": (0.9, 1.0)}, r"betas\[1\] must be at least 0"),
    ],
)
def test_refused_with_a_reason(options: dict[str, Any], message: str) -> None:
    """What can't be is refused, with what must hold and what was given."""
    with pytest.raises(InvalidInput, match=message):
        Prodigy(_parts([2]), **options)


def test_groups_share_one_estimate() -> None:
    """Groups with a d of their own are refused before anything changes."""
    params = _parts([2, 2])
    optimizer = Prodigy([{"params": [params[0]], "d": 1e-6}, {"params": [params[1]], "d": 1e-3}])
    params[0].grad = torch.ones(2, dtype=torch.float64)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(InvalidInput, match=r"Prodigy has one d for all groups; got \[1e-06, 0\.001\]"):
        optimizer.step()
    assert optimizer.state_dict() == before
    assert torch.equal(params[0], torch.zeros(2, dtype=torch.float64))


_OPTIONS: dict[str, list[Any]] = {
    "bias_correction": [False, True],
    "decouple": [True, False],
    "safeguard_warmup": [False, True],
    "growth_rate": [math.inf, 1.02],
    "d_coef": [1.0, 2.0],
    "slice_p": [1, 3],
    "beta3": [None, 0.98],
    "weight_decay": [0.0, 0.01],
    "betas": [(0.9, 0.999), (0.0, 0.99)],
}


# An orthogonal array of strength 3: the parities of a number's bits under masks any three of which are independent.
_MASKS = [mask for mask in range(32) if mask.bit_count() % 2]
_ROWS = [
    {name: values[(row & mask).bit_count() % 2] for (name, values), mask in zip(_OPTIONS.items(), _MASKS, strict=False)}
    for row in range(32)
]


def test_every_option_is_its_authors() -> None:
    """Twenty updates with a warmup and a rate of 0 are prodigyopt's, under combinations that have every three options."""
    prodigyopt = pytest.importorskip("prodigyopt")
    for options in _ROWS:
        ours, theirs = _parts([10]), _parts([10])
        got = Prodigy(ours, **options)
        named = {"use_bias_correction" if name == "bias_correction" else name: value for name, value in options.items()}
        with contextlib.redirect_stdout(io.StringIO()):  # it prints that weights decay by themselves
            want = prodigyopt.Prodigy(theirs, **named)
        for step in range(20):
            for optimizer, params in ((got, ours), (want, theirs)):
                optimizer.param_groups[0]["lr"] = 0.0 if step in (0, 7) else min(1.0, step / 5)
                _trained(optimizer, params, 1)
        torch.testing.assert_close(ours[0], theirs[0], rtol=1e-9, atol=1e-12, msg=str(options))
        assert got.param_groups[0]["d"] == pytest.approx(want.param_groups[0]["d"], rel=1e-9), options


def test_the_bias_correction_is_in_the_whole_estimate() -> None:
    """On a quadratic of 20 elements, 2 from its solution, d stays below 2; without the correction in r it comes to 2.9."""
    torch.manual_seed(0)
    target = torch.randn(20, dtype=torch.float64)
    target *= 2 / target.norm()
    param = nn.Parameter(torch.zeros(20, dtype=torch.float64))
    optimizer = Prodigy([param], bias_correction=True)
    for _ in range(300):
        param.grad = param.detach() - target
        optimizer.step()
    assert 0.01 < optimizer.param_groups[0]["d"] < 2


def test_a_saved_estimate_that_cannot_be_is_refused() -> None:
    """A state whose d, d_max, d_numerator or k can't be is refused by name, and nothing is changed."""
    params = _parts([4])
    optimizer = Prodigy(params)
    for name, value in (("d", math.nan), ("d_max", -1.0), ("d_numerator", "much"), ("k", None)):
        bad = optimizer.state_dict()
        bad["param_groups"][0][name] = value
        before = copy.deepcopy(optimizer.param_groups[0])
        with pytest.raises(InvalidInput, match=f"the saved {name} must be"):
            optimizer.load_state_dict(bad)
        assert optimizer.param_groups[0].keys() == before.keys()
        assert all(optimizer.param_groups[0][key] == before[key] for key in before if key != "params")
