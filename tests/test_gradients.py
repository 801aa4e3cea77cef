"""Gradients and parameters as kernels meet them, when something about them changes between two steps."""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradus.optim
from gradus.backends.cpu import grad_pointers
from gradus.backends.cpu.grad_pointers import GradPointers
from gradus.errors import InvalidInput

SHAPES = [(4, 4), (), (300,), (0,)]


def _set_grad(change: Callable[[Tensor], Tensor]) -> Callable[[nn.Parameter], None]:
    def act(param: nn.Parameter) -> None:
        assert param.grad is not None
        param.grad = change(param.grad)

    return act


def _other_dtype(param: nn.Parameter) -> None:
    param.grad_dtype = None
    param.grad = param.grad.bfloat16()  # type: ignore[union-attr]


def _moved(param: nn.Parameter) -> None:
    param.data = param.data.clone()


def _turned(param: nn.Parameter) -> None:
    param.data = param.data.T if param.dim() == 2 else param.data


def _swapped(param: nn.Parameter) -> None:
    torch.utils.swap_tensors(param, nn.Parameter(param.detach() + 1))
    param.grad = torch.ones_like(param)


CHANGES: dict[str, Callable[[nn.Parameter], None]] = {
    "nothing": _set_grad(lambda grad: grad),
    "a gradient of another dtype": _other_dtype,
    "a gradient to be negated": _set_grad(lambda grad: torch.complex(grad, grad).conj().imag),
    "a gradient of zeros that aren't there": _set_grad(lambda grad: torch._efficientzerotensor(grad.shape)),
    "a gradient in another order": _set_grad(lambda grad: grad.T.contiguous().T if grad.dim() == 2 else grad),
    "a gradient that is expanded": _set_grad(lambda grad: grad.new_ones(()).expand(grad.shape)),
    "a gradient within another tensor": _set_grad(lambda grad: torch.stack([grad, grad])[1]),
    "a gradient that is a parameter": _set_grad(nn.Parameter),
    "a sparse gradient": _set_grad(lambda grad: grad.to_sparse() if grad.dim() == 1 else grad),
    "no gradient": lambda param: setattr(param, "grad", None),
    "a parameter elsewhere": _moved,
    "a parameter turned around": _turned,
    "parameters swapped": _swapped,
}
WAYS = ["reference", "cpu", "cpu without a finder", "cuda"]


@pytest.fixture
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A backend by name; the CPU's also as it is where libtorch can't be asked."""
    if request.param == "cpu without a finder":
        monkeypatch.setattr(GradPointers, "is_there", lambda: False)
    return "auto" if "cpu" in request.param else str(request.param)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("backend", WAYS, indirect=True)
def test_what_changes_between_steps_is_noticed(change: str, backend: str) -> None:
    """Whatever happens to a parameter or its gradient between two steps, the next does what torch's does."""
    if backend == "cuda" and change == "a sparse gradient":
        pytest.skip("asked for by name, the CUDA backend refuses sparse gradients")

    def train(make: Callable[..., Any], **options: Any) -> list[Tensor]:
        generator = torch.Generator().manual_seed(0)
        params = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
        optimizer = make(params, lr=0.1, momentum=0.9, **options)
        for step in range(5):
            for param in params:
                param.grad = torch.randn(param.shape, generator=generator)
                if step == 2:
                    CHANGES[change](param)
            optimizer.step()
        return [param.detach() for param in params]

    theirs = train(torch.optim.SGD, foreach=False)
    for mine, wanted in zip(train(gradus.optim.SGD, backend=backend), theirs, strict=True):
        torch.testing.assert_close(mine, wanted)


@pytest.mark.parametrize("backend", WAYS, indirect=True)
def test_a_parameter_of_fewer_elements_is_refused(backend: str) -> None:
    """A parameter that has become a part of itself no longer fits its state, and nothing is written beyond its end."""
    param = nn.Parameter(torch.ones(8))
    whole = param.data
    optimizer = gradus.optim.SGD([param], lr=1.0, momentum=0.9, backend=backend)
    param.grad = torch.ones(8)
    optimizer.step()
    param.data = param.data[:4]
    param.grad = torch.ones(4)
    with pytest.raises(InvalidInput, match=r"the state's momentum_buffer must have the shape .* got \(8,\)"):
        optimizer.step()
    assert whole.tolist() == [0.0] * 8


@pytest.mark.parametrize("backend", WAYS, indirect=True)
def test_parameters_that_share_memory_are_updated_in_turn(backend: str) -> None:
    """Of parameters over the same memory each adds its update to the others', on however many threads."""

    def train(make: Callable[..., Any], **options: Any) -> Tensor:
        memory = torch.zeros(40_000)
        params = [nn.Parameter(memory), nn.Parameter(memory.view(40, 1000)), nn.Parameter(memory[20_000:])]
        optimizer = make(params, lr=0.5, **options)
        for _ in range(4):
            for param in params:
                param.grad = torch.ones_like(param)
            optimizer.step()
        return memory

    assert torch.equal(train(gradus.optim.SGD, backend=backend), train(torch.optim.SGD, foreach=False))


def test_libtorch_can_be_asked_here() -> None:
    """Where this library's own tests run, gradients are found by libtorch and not one by one."""
    assert GradPointers.is_there()


def test_a_finder_says_what_it_cant_find() -> None:
    """It finds contiguous gradients of its dtype for parameters that stay, and says of others that it doesn't."""
    params, found = [nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(()))], np.zeros(2, dtype=np.int64)
    one = GradPointers(params, torch.float32, found)
    grads: list[Any] = [torch.ones(2, 3), torch.ones(())]
    assert one.find(grads)
    assert found.tolist() == [grad.data_ptr() for grad in grads]
    for wrong in (None, torch.ones(3, 2).T, torch.ones(2, 3).half(), torch.ones(7), nn.Parameter(torch.ones(2, 3)), 1.0):
        assert not one.find([wrong, grads[1]])
    params[1].data = params[1].data.clone()
    assert not one.find(grads)


@pytest.mark.parametrize("reason", ["no such function", "another interpreter", "a pointer elsewhere"])
def test_where_libtorch_cant_be_asked_there_is_no_finder(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A libtorch without these questions, or a Python whose objects lie otherwise, has no finder."""
    if reason == "no such function":
        monkeypatch.setattr(grad_pointers, "_AOTI_GETTERS", ("layout", "is_flat", "numel", "dtype", "data_ptr"))
    elif reason == "another interpreter":
        monkeypatch.setattr(grad_pointers.sys.implementation, "name", "pypy")
    else:
        one = ctypes.c_int64(1)
        elsewhere = type("c_int64", (), {"from_address": staticmethod(lambda _: one)})
        monkeypatch.setattr(grad_pointers.ctypes, "c_int64", elsewhere)
    grad_pointers._access.cache_clear()
    GradPointers.is_there.cache_clear()
    try:
        assert not GradPointers.is_there()
    finally:
        monkeypatch.undo()
        grad_pointers._access.cache_clear()
        GradPointers.is_there.cache_clear()
