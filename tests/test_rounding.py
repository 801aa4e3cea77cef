"""Rounding by chance: right on average, the same on every backend, and the same again."""

import importlib.util
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import gradus.optim
from gradus.backends.rounding import round_stochastically
from gradus.errors import InvalidInput

BACKENDS = ["reference", "cpu", *(["cuda"] if importlib.util.find_spec("triton") else [])]


HALF = [torch.bfloat16, torch.float16]


def stepped(backend: str, dtype: torch.dtype, steps: int, start: Any, **options: Any) -> torch.Tensor:
    """A parameter in half precision after so many updates of AdamW with gradients of 0, which decay it and no more."""
    param = nn.Parameter(torch.as_tensor(start).to(dtype))
    optimizer = gradus.optim.AdamW([param], backend=backend, stochastic_rounding=True, **options)
    for _ in range(steps):
        param.grad = torch.zeros_like(param)
        optimizer.step()
    return param.detach()


@pytest.mark.parametrize("dtype", HALF)
@given(st.floats(width=32, allow_nan=False) | st.floats(-70000, 70000, width=32), st.integers(0, 2**24 - 1))
def test_the_result_is_a_neighbour(dtype: torch.dtype, x: float, seed: int) -> None:
    """A number becomes one of the two numbers of half precision between which it lies, by torch's own; one of them stays."""
    nearest = torch.tensor(x).to(dtype)
    rounded = round_stochastically(torch.tensor([x]), seed, 0, dtype).to(dtype)[0]
    if float(nearest) == x:
        assert rounded.item() == x
    else:
        towards = torch.tensor(float("inf") if float(nearest) < x else -float("inf"), dtype=dtype)
        assert rounded in (nearest, torch.nextafter(nearest, towards))


@pytest.mark.parametrize("dtype", HALF)
def test_nan_and_infinity_stay(dtype: torch.dtype) -> None:
    """What is no number stays none, whatever its bits are."""
    odd = torch.tensor([0x7F800001, 0x7F800000], dtype=torch.int32).view(torch.float32)
    rounded = [round_stochastically(odd, seed, 0, dtype).to(dtype).tolist() for seed in range(50)]
    assert all(nan != nan and infinite == float("inf") for nan, infinite in rounded)


@pytest.mark.parametrize("size", [1.0, 2.0**-16], ids=["normal", "subnormal in float16"])
@pytest.mark.parametrize("dtype", HALF)
def test_it_is_right_on_average(dtype: torch.dtype, size: float) -> None:
    """The mean over many draws lies within five standard errors of the number itself."""
    one = torch.tensor(size, dtype=dtype)
    apart = float(torch.nextafter(one, torch.tensor(2.0, dtype=dtype)) - one)
    x = torch.full((100_000,), size + 0.3 * apart)
    mean = round_stochastically(x, 1, 0, dtype).double().mean().item()
    assert abs(mean - float(x[0])) < 5 * apart * (0.3 * 0.7 / 100_000) ** 0.5


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_every_backend_draws_the_same(backend: str, dtype: torch.dtype) -> None:
    """Over several updates of numbers of all sizes, the bits are the reference's."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3000, generator=generator) * 10.0 ** torch.randint(-9, 5, (3000,), generator=generator)
    start[:2] = torch.tensor([0.0, -0.0])
    one, other = (stepped(which, dtype, 5, start, lr=0.3) for which in (backend, "reference"))
    assert torch.equal(one.view(torch.int16), other.view(torch.int16))


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("backend", BACKENDS[:2])
def test_small_steps_add_up(backend: str, dtype: torch.dtype) -> None:
    """A thousand decays by a ten-thousandth take a weight of 1 to 0.905 within 1 %, where rounding to nearest leaves 1."""
    decayed = stepped(backend, dtype, 1000, torch.ones(2000), lr=0.01, weight_decay=0.01)
    assert decayed.double().mean().item() == pytest.approx((1 - 1e-4) ** 1000, rel=0.01)
    assert len(decayed.unique()) > 2


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("backend", BACKENDS[:2])
def test_a_resumed_training_draws_what_the_uninterrupted_one_would(backend: str, dtype: torch.dtype) -> None:
    """Saved and loaded in the middle, the bits are the same, for the draw depends on the step alone."""
    whole = nn.Parameter(torch.randn(500, generator=torch.Generator().manual_seed(1)).to(dtype))
    halves = nn.Parameter(whole.detach().clone())
    make = lambda param: gradus.optim.Adam([param], backend=backend, stochastic_rounding=True)  # noqa: E731
    one, other = make(whole), make(halves)
    for step in range(6):
        for param in (whole, halves):
            param.grad = torch.randn(500, generator=torch.Generator().manual_seed(step)).to(dtype)
        if step == 3:
            saved = other.state_dict()
            other = make(halves)
            other.load_state_dict(saved)
        one.step()
        other.step()
    assert torch.equal(whole, halves)


def test_single_precision_is_left_alone() -> None:
    """Parameters in single precision are updated as without it."""
    pair = [nn.Parameter(torch.ones(4)) for _ in range(2)]
    for param, chance in zip(pair, (True, False), strict=True):
        param.grad = torch.full((4,), 0.3)
        gradus.optim.SGD([param], stochastic_rounding=chance).step()
    assert torch.equal(*pair)


def test_it_cannot_be_differentiated() -> None:
    """What autograd should follow isn't rounded by chance."""
    with pytest.raises(InvalidInput, match="differentiable=True and stochastic_rounding=True exclude each other"):
        gradus.optim.SGD([nn.Parameter(torch.ones(1))], differentiable=True, stochastic_rounding=True)
