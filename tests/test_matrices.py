"""Adafactor, Muon and SOAP, against torch's and against what their papers say."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gradus.optim
from gradus.errors import InvalidInput
from gradus.optim import SOAP, Adafactor, Muon
from optim_registry import CLASSES, OF_ELEMENTS

SHAPES = [(6, 5), (20, 8), (7, 9)]


def _params(shapes: list[tuple[int, ...]], dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape, dtype=dtype) * 0.1) for shape in shapes]


def _step(optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for group in optimizer.param_groups:
        for param in group["params"]:
            param.grad = torch.randn(param.shape, generator=generator, dtype=torch.float64).to(param.dtype)
    optimizer.step()


AGAINST_TORCH: list[tuple[str, dict[str, Any], list[tuple[int, ...]], float]] = [
    ("Adafactor", {}, [*SHAPES, (4,), (2, 3, 5)], 1e-12),
    ("Adafactor", {"weight_decay": 0.1, "beta2_decay": -1.0, "d": 1.5}, [*SHAPES, (4,)], 1e-12),
    ("Adafactor", {"maximize": True, "lr": 0.1}, [*SHAPES, ()], 1e-12),
    ("Muon", {}, SHAPES, 1e-3),  # torch iterates in bfloat16
    ("Muon", {"nesterov": False, "weight_decay": 0.0, "momentum": 0.8}, SHAPES, 1e-3),
    ("Muon", {"adjust_lr_fn": "match_rms_adamw", "ns_steps": 3}, SHAPES, 1e-3),
]


@pytest.mark.parametrize(("name", "options", "shapes", "tolerance"), AGAINST_TORCH)
def test_it_is_torchs(name: str, options: dict[str, Any], shapes: list[tuple[int, ...]], tolerance: float) -> None:
    """Fifty steps go where torch's go, and states move between the two on the way."""
    if not hasattr(torch.optim, name):
        pytest.skip(f"this torch has no {name}")
    ours, theirs = _params(shapes), _params(shapes)
    got, want = getattr(gradus.optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for step in range(50):
        _step(got, step)
        _step(want, step)
        if step == 24:
            states = copy.deepcopy((got.state_dict(), want.state_dict()))
            got, want = getattr(gradus.optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
            got.load_state_dict(states[1])
            want.load_state_dict(states[0])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def test_muon_updates_are_orthogonal() -> None:
    """A matrix moves by lr times a matrix whose singular values all lie about 1 (Jordan et al. 2024: from 0.7 to 1.2)."""
    (param,) = _params([(8, 8)])
    before = param.detach().clone()
    _step(Muon([param], lr=0.5, weight_decay=0.0), 0)
    singular = torch.linalg.svdvals((before - param.detach()) / 0.5)
    assert 0.5 < float(singular.min()) <= float(singular.max()) < 1.5


def test_muon_gives_the_rest_to_adamw() -> None:
    """Vectors, and groups that say so, are AdamW's, in the same optimizer and the same state."""
    matrix, vector, embedding = _params([(4, 3), (3,), (5, 3)])
    (twin, table) = (nn.Parameter(vector.detach().clone()), nn.Parameter(embedding.detach().clone()))
    optimizer = Muon([{"params": [matrix, vector]}, {"params": [embedding], "muon": False}], adamw_lr=0.01)
    adamw = torch.optim.AdamW([twin, table], lr=0.01, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0)
    for step in range(10):
        _step(optimizer, step)
        twin.grad, table.grad = vector.grad.clone(), embedding.grad.clone()
        adamw.step()
    torch.testing.assert_close(vector, twin)
    torch.testing.assert_close(embedding, table)
    assert "momentum_buffer" in optimizer.state[matrix]
    again = Muon([{"params": [matrix, vector]}, {"params": [embedding], "muon": False}], adamw_lr=0.01)
    again.load_state_dict(optimizer.state_dict())
    assert torch.equal(again.state[embedding]["exp_avg"], optimizer.state[embedding]["exp_avg"])


@pytest.mark.parametrize("shape", [(3, 0), (0, 3), (0, 0), (2, 0, 3), (0,), ()])
@pytest.mark.parametrize("name", ["Adafactor", "Muon", "SOAP"])
def test_nothing_is_taken(name: str, shape: tuple[int, ...]) -> None:
    """A parameter without elements beside others is updated to itself, and the others as if it weren't there."""
    after = []
    for shapes in ([shape, (2, 3)], [(2, 3)]):
        some = [nn.Parameter(torch.ones(one)) for one in shapes]
        optimizer = getattr(gradus.optim, name)(some)
        for _ in range(2):
            for param in some:
                param.grad = torch.ones_like(param)
            optimizer.step()
        after.append(some[-1].detach())
    assert torch.equal(*after)


def test_soap_is_the_papers() -> None:
    """Forty steps are those of Algorithm 3 of Vyas et al. 2024, written out in NumPy."""
    lr, beta, second, eps, decay, every = 0.01, 0.9, 0.95, 1e-8, 0.1, 5
    (param,) = _params([(4, 4)])  # square, for the null space of another has no axes of its own
    optimizer = SOAP([param], lr=lr, betas=(beta, second), eps=eps, weight_decay=decay, precondition_frequency=every)
    w = param.detach().numpy().copy()
    m, v, left, right = np.zeros((4, 4)), np.zeros((4, 4)), None, None
    for t in range(1, 41):
        _step(optimizer, t)
        g = param.grad.numpy()
        w *= 1 - lr * decay
        if left is None:
            left, right = g @ g.T, g.T @ g
            ql, qr = np.linalg.eigh(left)[1][:, ::-1], np.linalg.eigh(right)[1][:, ::-1]
        else:
            left, right = 0.95 * left + 0.05 * g @ g.T, 0.95 * right + 0.05 * g.T @ g
        m = beta * m + (1 - beta) * g
        rotated = ql.T @ g @ qr
        v = second * v + (1 - second) * rotated**2
        n = ql.T @ m @ qr / (1 - beta**t) / (np.sqrt(v / (1 - second**t)) + eps)
        w -= lr * ql @ n @ qr.T
        if t % every == 0:
            ql, qr = np.linalg.qr(left @ ql)[0], np.linalg.qr(right @ qr)[0]
    np.testing.assert_allclose(param.detach().numpy(), w, rtol=1e-6, atol=1e-8)


def test_soap_takes_vectors_and_convolutions() -> None:
    """Vectors are Adam's, and a kernel's dimensions after the first count as one."""
    vector, kernel, matrix = _params([(4,), (3, 2, 2, 2), (3, 8)])
    with torch.no_grad():
        matrix.copy_(kernel.flatten(1))
    twin = nn.Parameter(vector.detach().clone())
    soap = SOAP([vector, kernel], lr=0.01, weight_decay=0.0)
    flat, adam = SOAP([matrix], lr=0.01, weight_decay=0.0), torch.optim.Adam([twin], lr=0.01, betas=(0.95, 0.95))
    for step in range(12):
        _step(soap, step)
        matrix.grad, twin.grad = kernel.grad.flatten(1).clone(), vector.grad.clone()
        flat.step()
        adam.step()
    torch.testing.assert_close(kernel.flatten(1), matrix)
    torch.testing.assert_close(vector, twin)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda p: Adafactor([p], eps=(-1.0, 0.0)), r"eps must be two numbers that aren't negative, or None"),
        (lambda p: Muon([p], ns_steps=0), r"ns_steps must be a whole number above 0; got 0"),
        (
            lambda p: Muon([p], adjust_lr_fn="half"),
            r"adjust_lr_fn must be None or 'original' or 'match_rms_adamw'; got 'half'",
        ),
        (lambda p: Muon([p], ns_coefficients=(1, 2)), r"ns_coefficients must be 3 finite numbers; got \(1, 2\)"),
        (
            lambda p: SOAP([p], precondition_frequency=2.5),
            r"precondition_frequency must be a whole number above 0; got 2\.5",
        ),
        (lambda p: SOAP([{"params": [p], "muon": True}]), r"SOAP has no hyperparameter 'muon'"),
    ],
)
def test_refused_with_a_reason(build: Any, message: str) -> None:
    """What can't be is refused, with what must hold and what was given."""
    with pytest.raises(InvalidInput, match=message):
        build(nn.Parameter(torch.ones(2, 2)))


@pytest.mark.parametrize("backend", ["cpu", "cuda"])
@pytest.mark.parametrize("name", [name for name in CLASSES if name not in OF_ELEMENTS])
def test_a_rule_of_whole_tensors_has_no_kernel(name: str, backend: str) -> None:
    """Who asks for a kernel that there isn't is told so, and nothing is changed."""
    param = torch.nn.Parameter(torch.ones(3, 2))
    param.grad = torch.ones(3, 2)
    with pytest.raises(
        InvalidInput, match=rf"the {backend} backend doesn't take \w+, a rule of whole tensors, .* leave backend"
    ):
        getattr(gradus.optim, name)([param], lr=0.1, backend=backend).step()
    assert torch.equal(param, torch.ones(3, 2))
