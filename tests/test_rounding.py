"""Rounding by chance: right on average, the same on every backend, and the same again."""

import importlib.util
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import gradus.optim
from gradus.backends.rounding import rounded_by_chance
from gradus.errors import InvalidInput

BACKENDS = ["reference", "cpu", *(["cuda"] if importlib.util.find_spec("triton") else [])]


def stepped(backend: str, steps: int, start: Any, **options: Any) -> torch.Tensor:
    """A bfloat16 parameter after so many updates of AdamW with gradients of 0, which decay it and no more."""
    param = nn.Parameter(torch.as_tensor(start).to(torch.bfloat16))
    optimizer = gradus.optim.AdamW([param], backend=backend, stochastic_rounding=True, **options)
    for _ in range(steps):
        param.grad = torch.zeros_like(param)
        optimizer.step()
    return param.detach()


@given(st.floats(width=32, allow_nan=False), st.integers(0, 2**24 - 1))
def test_the_result_is_a_neighbour(x: float, seed: int) -> None:
    """A number becomes one of the two bfloat16 numbers between which it lies; one of them stays as it is."""
    (rounded,) = rounded_by_chance(torch.tensor([x]), seed, 0).tolist()
    below, above = (torch.tensor([x]).view(torch.int32) & ~0xFFFF).view(torch.float32), torch.tensor([x])
    if not torch.equal(below, above):
        above = ((below.view(torch.int32)) + 0x10000).view(torch.float32)
    assert rounded in (float(below), float(above))


def test_nan_and_infinity_stay() -> None:
    """What is no number stays none, whatever its bits are."""
    odd = torch.tensor([0x7F800001, 0x7F800000, 0x7F7FFFFF], dtype=torch.int32).view(torch.float32)
    rounded = [rounded_by_chance(odd, seed, 0).bfloat16().tolist() for seed in range(50)]
    assert all(nan != nan and infinite == float("inf") for nan, infinite, _ in rounded)


def test_it_is_right_on_average() -> None:
    """The mean over many draws lies within five standard errors of the number itself."""
    x = torch.full((100_000,), 1.0 + 0.3 * 2**-7)
    mean = rounded_by_chance(x, 1, 0).double().mean().item()
    assert abs(mean - float(x[0])) < 5 * 2**-7 * (0.3 * 0.7 / 100_000) ** 0.5


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_every_backend_draws_the_same(backend: str) -> None:
    """Over several updates, the bits are the reference's."""
    start = torch.randn(3000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(stepped(backend, 5, start), stepped("reference", 5, start))


@pytest.mark.parametrize("backend", BACKENDS[:2])
def test_small_steps_add_up(backend: str) -> None:
    """A thousand decays by a ten-thousandth take a weight of 1 to 0.905 within 1 %, where rounding to nearest leaves 1."""
    start = torch.ones(2000)
    decayed = stepped(backend, 1000, start, lr=0.01, weight_decay=0.01)
    assert decayed.double().mean().item() == pytest.approx((1 - 1e-4) ** 1000, rel=0.01)
    assert len(decayed.unique()) > 2


@pytest.mark.parametrize("backend", BACKENDS[:2])
def test_a_resumed_training_draws_what_the_uninterrupted_one_would(backend: str) -> None:
    """Saved and loaded in the middle, the bits are the same, for the draw depends on the step alone."""
    whole = nn.Parameter(torch.randn(500, generator=torch.Generator().manual_seed(1)).bfloat16())
    halves = nn.Parameter(whole.detach().clone())
    make = lambda param: gradus.optim.Adam([param], backend=backend, stochastic_rounding=True)  # noqa: E731
    one, other = make(whole), make(halves)
    for step in range(6):
        for param in (whole, halves):
            param.grad = torch.randn(500, generator=torch.Generator().manual_seed(step)).bfloat16()
        if step == 3:
            saved = other.state_dict()
            other = make(halves)
            other.load_state_dict(saved)
        one.step()
        other.step()
    assert torch.equal(whole, halves)


def test_single_precision_is_left_alone() -> None:
    """Parameters that aren't bfloat16 are updated as without it."""
    pair = [nn.Parameter(torch.ones(4)) for _ in range(2)]
    for param, chance in zip(pair, (True, False), strict=True):
        param.grad = torch.full((4,), 0.3)
        gradus.optim.SGD([param], stochastic_rounding=chance).step()
    assert torch.equal(*pair)


def test_it_cannot_be_differentiated() -> None:
    """What autograd should follow isn't rounded by chance."""
    with pytest.raises(InvalidInput, match="differentiable=True and stochastic_rounding=True exclude each other"):
        gradus.optim.SGD([nn.Parameter(torch.ones(1))], differentiable=True, stochastic_rounding=True)
