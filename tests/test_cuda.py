"""The CUDA backend: in Triton's interpreter where there is no GPU, through Triton's compiler in any case."""

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gradus.optim
from gradus.errors import GradusError, InvalidInput
from gradus.rules import ops, rule
from optim_registry import ALL, BY_NAME, OF_ELEMENTS, Case, give_gradients, params

pytest.importorskip("triton", reason="there is no Triton for this machine")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
on_a_gpu = pytest.mark.skipif(DEVICE == "cpu", reason="there is no GPU here")
SHAPES: list[tuple[int, ...]] = [(), (1,), (0,), (7,), (3, 5), (4, 0, 2), (2, 3, 4, 5), (1100,)]
# torch keeps NAdam's product and ASGD's rate in float32, whatever the parameter's dtype.
TOLERANCE = {"NAdam": 1e-6, "ASGD": 1e-6}


def some(dtype: torch.dtype = torch.float64, shapes: list[tuple[int, ...]] = SHAPES) -> list[nn.Parameter]:
    """Random parameters on the GPU, if there is one."""
    return [nn.Parameter(param.detach().to(DEVICE)) for param in params(dtype, shapes)]


def agree(ours: list[nn.Parameter], theirs: list[nn.Parameter], tolerance: float) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance / 10)


@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("case", ALL, ids=str)
def test_updates_are_torchs(case: Case, capturable: bool) -> None:
    """In double precision, updates of tensors of all shapes go where torch's go, whoever calculates a step's numbers."""
    ours, theirs = some(), some()
    got, want = case.ours(ours, backend="cuda", capturable=capturable), case.theirs(theirs)
    for step in range(5):
        give_gradients(ours, theirs, step=step)
        got.step()
        want.step()
    agree(ours, theirs, TOLERANCE.get(case.name, 1e-9))


@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("name", OF_ELEMENTS)
def test_updates_are_the_references(name: str, capturable: bool) -> None:
    """In double precision every rule of elements, be it with norms of their tensors, goes where the reference goes."""
    ours, other = some(), some()
    kind = getattr(gradus.optim, name)
    got, want = kind(ours, lr=0.01, backend="cuda", capturable=capturable), kind(other, lr=0.01, backend="reference")
    for step in range(5):
        give_gradients(ours, other, step=step)
        got.step()
        want.step()
    agree(ours, other, 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", OF_ELEMENTS)
def test_precisions_agree_with_the_reference(name: str, dtype: torch.dtype) -> None:
    """In single precision, and in half precision calculated in single, it agrees with the reference."""
    ours, other = some(dtype), some(dtype)
    kind = getattr(gradus.optim, name)
    got, want = kind(ours, lr=0.01, backend="cuda"), kind(other, lr=0.01, backend="reference")
    for step in range(3):
        give_gradients(ours, other, step=step)
        got.step()
        want.step()
    agree(ours, other, {torch.float32: 1e-4, torch.bfloat16: 8e-3, torch.float16: 2e-3}[dtype])
    for a, b in zip(ours, other, strict=True):
        for slot, value in got.state[a].items():
            assert getattr(value, "dtype", None) == getattr(want.state[b][slot], "dtype", None)


def test_kernels_compile_for_gpus() -> None:
    """Each rule's kernel becomes machine code in each dtype, with roots and quotients as IEEE 754 has them."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from gradus.backends.cuda.kernels import BLOCK, TOTALS, compiled, kernel_source
from gradus.backends.trace import NORM
from optim_registry import CLASSES, OF_ELEMENTS, params, program_of

def machine_code(source, **kinds):
    source = ASTSource(compiled(source), signature=dict(kinds, BLOCK="constexpr"), constexprs=dict(BLOCK=BLOCK))
    return triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm

assert machine_code(TOTALS, sums="*fp64", ends="*i64", totals="*fp64", results="i32")["cubin"]
for dtype in ("float32", "float64", "bfloat16", "float16"):
    wide = "float64" if dtype == "float64" else "float32"
    real = "*fp64" if dtype == "float64" else "*fp32"
    kinds = dict(addresses="*i64", chunks="*i64", sizes="*i64", group_of="*i64", constants=real, reduced=real, sums="*fp64")
    for name in OF_ELEMENTS:
        program = program_of(CLASSES[name](params(getattr(torch, dtype), [(5,)]), lr=0.01), 1.0)
        dtypes = {{"param": dtype, "grad": dtype, **dict.fromkeys(program.slots, wide)}}
        *reductions, update = program.passes
        sources = [kernel_source(update, program, dtypes, name, stochastic=dtype == "bfloat16")]
        sources += [kernel_source(one, program, dtypes, name) for one in reductions]
        if name == "SGD":
            sources.append(kernel_source(NORM, None, dtypes, "norms"))
        for source in sources:
            made = machine_code(source, **kinds, tensors="i32", columns="i32")
            assert made["cubin"] and "approx" not in made["ptx"] and "div.full" not in made["ptx"], name
"""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_a_rate_may_be_a_tensor_and_change_without_compiling() -> None:
    """A hundred rates in one tensor are a hundred updates by the kernel that there was at the first."""
    from gradus.backends.cuda import kernels

    ours, theirs = some(shapes=[(3, 4)]), some(shapes=[(3, 4)])
    rate = torch.tensor(0.1, device=DEVICE)
    got, want = gradus.optim.Adam(ours, lr=rate, backend="cuda", capturable=True), torch.optim.Adam(theirs, lr=0.1)
    for step in range(100):
        give_gradients(ours, theirs, step=step)
        rate.fill_(0.1 / (step + 1))
        want.param_groups[0]["lr"] = float(rate)
        got.step()
        want.step()
        if step == 0:
            made = kernels.compiled.cache_info().misses
    assert kernels.compiled.cache_info().misses == made
    agree(ours, theirs, 1e-9)


def test_what_a_graph_counts_on_stays_where_it_is() -> None:
    """Steps and scalar slots of a capturable optimizer stay the same tensors, after a look at the state too."""
    ours, theirs = some(shapes=[(3,), (2, 2)]), some(shapes=[(3,), (2, 2)])
    got, want = gradus.optim.NAdam(ours, backend="cuda", capturable=True), torch.optim.NAdam(theirs)
    seen: list[Any] = []
    for step in range(4):
        give_gradients(ours, theirs, step=step)
        got.step()
        want.step()
        if step % 2:
            seen.append([id(got.state[param][name]) for param in ours for name in ("step", "mu_product")])
    assert seen[0] == seen[1]
    assert float(got.state[ours[0]]["step"]) == 4
    agree(ours, theirs, 1e-6)


def test_a_capturable_step_is_counted_for_each_tensor() -> None:
    """A tensor that is left out for a while keeps its own count of steps, whomever it has shared it with before."""
    ours, theirs = some(shapes=[(3,), (2, 2)]), some(shapes=[(3,), (2, 2)])
    got, want = gradus.optim.Adam(ours, backend="cuda", capturable=True), torch.optim.Adam(theirs)
    for step in range(9):
        give_gradients(ours, theirs, step=step)
        if step in (3, 4):
            ours[1].grad = theirs[1].grad = None
        got.step()
        want.step()
    assert [float(got.state[param]["step"]) for param in ours] == [9, 7]
    agree(ours, theirs, 1e-9)


@pytest.mark.parametrize("capturable", [False, True])
def test_state_moves_between_torchs_and_ours(capturable: bool) -> None:
    """A state goes from torch to here and back, and the training goes on as if nothing had happened."""
    ours, theirs = some(), some()
    got, want = gradus.optim.NAdam(ours, backend="cuda", capturable=capturable), torch.optim.NAdam(theirs)
    for step in range(9):
        give_gradients(ours, theirs, step=step)
        if step in (3, 6):
            for group in got.param_groups:
                group["capturable"] = False  # torch's takes it on a GPU alone
            there, here = got.state_dict(), copy.deepcopy(want.state_dict())
            got = gradus.optim.NAdam(ours, backend="cuda", capturable=capturable)
            want = torch.optim.NAdam(theirs)
            got.load_state_dict(here)
            want.load_state_dict(copy.deepcopy(there))
        got.step()
        want.step()
    agree(ours, theirs, 1e-6)


@pytest.mark.parametrize("capturable", [False, True])
def test_clipping_is_torchs(capturable: bool) -> None:
    """Gradients are scaled down together, and stay as they are."""
    ours, theirs = some(), some()
    got = gradus.optim.SGD(ours, lr=0.1, clip_norm=0.5, backend="cuda", capturable=capturable)
    want = torch.optim.SGD(theirs, lr=0.1)
    for step in range(3):
        give_gradients(ours, theirs, step=step)
        before = [param.grad.clone() for param in ours]
        got.step()
        assert all(torch.equal(param.grad, grad) for param, grad in zip(ours, before, strict=True))
        nn.utils.clip_grad_norm_(theirs, 0.5)
        want.step()
    agree(ours, theirs, 1e-9)


def test_updates_that_are_not_finite_are_left_out() -> None:
    """With skip_nonfinite, one NaN among the gradients leaves everything as it is."""
    ours = some()
    optimizer = gradus.optim.Adam(ours, skip_nonfinite=True, backend="cuda")
    give_gradients(ours, step=0)
    before = [param.detach().clone() for param in ours]
    ours[3].grad[2] = float("nan")
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, before, strict=True))
    give_gradients(ours, step=0)
    optimizer.step()
    assert not torch.equal(ours[3], before[3])


@pytest.mark.parametrize("turned", ["parameter", "gradient", "both"])
def test_any_layout_is_right(turned: str) -> None:
    """Transposed parameters and gradients are updated element by element."""
    ours, theirs = some(shapes=[(4, 6)])[0], some(shapes=[(4, 6)])[0]
    if turned != "gradient":
        ours.data = ours.data.T.contiguous().T
    got, want = gradus.optim.Adam([ours], lr=0.1, backend="cuda"), torch.optim.Adam([theirs], lr=0.1)
    for step in range(3):
        give_gradients([ours], [theirs], step=step)
        if turned != "parameter":
            ours.grad = ours.grad.T.contiguous().T
        got.step()
        want.step()
    agree([ours], [theirs], 1e-9)


def test_what_it_cannot_take_goes_to_the_reference() -> None:
    """A rule with an operation that kernels lack is updated by the reference."""

    @rule
    def rooted(param: Any, grad: Any, *, lr: float = 0.1, p: float = 0.25) -> Any:
        return param - lr * ops.sign(grad) * ops.power(ops.abs(grad), p)

    class Rooted(gradus.optim.Optimizer, rule=rooted):
        pass

    (param,) = some(shapes=[(3,)])
    param.grad = torch.tensor([16.0, -1.0, 0.0], dtype=torch.float64, device=DEVICE)
    expected = param.detach() - 0.1 * torch.tensor([2.0, -1.0, 0.0], dtype=torch.float64, device=DEVICE)
    Rooted([param], backend="cuda").step()
    torch.testing.assert_close(param.detach(), expected)


def test_it_is_imported_where_it_is_needed_alone() -> None:
    """An optimizer's step on the CPU doesn't import what imports Triton."""
    code = """
import sys, torch, gradus.optim
param = torch.nn.Parameter(torch.ones(3)); param.grad = torch.ones(3)
gradus.optim.Adam([param]).step()
assert "gradus.backends.cuda.kernels" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


REFUSED = [
    ({"capturable": True, "skip_nonfinite": True}, "capturable=True and skip_nonfinite exclude each other"),
    ({"capturable": True, "backend": "cpu"}, "capturable=True and the cpu backend exclude each other"),
    ({"differentiable": True, "capturable": True}, "differentiable=True and capturable=True exclude each other"),
    ({"differentiable": True, "backend": "cuda"}, "differentiable=True takes the torch backend"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_options_that_exclude_each_other(options: dict[str, Any], message: str) -> None:
    """What can't be done is refused when the optimizer is made."""
    with pytest.raises(InvalidInput, match=message):
        gradus.optim.Adam([nn.Parameter(torch.ones(3))], **options)


def test_what_cannot_be_captured_is_refused() -> None:
    """A rule of whole matrices, and a tensor that kernels don't take, say so at the first step and change nothing."""
    param = nn.Parameter(torch.ones(3, 3, dtype=torch.complex64))
    param.grad = torch.ones_like(param)
    with pytest.raises(InvalidInput, match=r"adam has a torch\.complex64 parameter on cpu, which it doesn't support"):
        gradus.optim.Adam([param], capturable=True).step()
    (matrix,) = some(shapes=[(3, 3)])
    matrix.grad = torch.ones_like(matrix)
    with pytest.raises(InvalidInput, match="muon is a rule of whole matrices, which it doesn't support"):
        gradus.optim.Muon([matrix], capturable=True).step()
    with pytest.raises(InvalidInput, match=r"the cuda backend doesn't take a torch\.complex64 tensor"):
        gradus.optim.Adam([param], backend="cuda").step()
    assert torch.equal(param, torch.ones_like(param))


@on_a_gpu
@pytest.mark.parametrize("name", BY_NAME)
def test_a_captured_step_goes_on_as_an_eager_one(name: str) -> None:
    """A CUDA graph of a step repeats what the optimizer would have done, rates that change included."""
    rate = torch.tensor(0.01, device=DEVICE)
    ours, theirs = some(torch.float32), some(torch.float32)
    got, want = getattr(gradus.optim, name)(ours, lr=rate, capturable=True), getattr(gradus.optim, name)(theirs, lr=0.01)
    give_gradients(ours, theirs, step=0)
    got.step()
    want.step()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got.step()
    for step in range(1, 6):
        fresh = some(torch.float32)
        give_gradients(fresh, theirs, step=step)
        for param, other in zip(ours, fresh, strict=True):
            param.grad.copy_(other.grad)
        want.param_groups[0]["lr"] = 0.01 / step
        rate.fill_(0.01 / step)
        graph.replay()
        want.step()
    agree(ours, theirs, 1e-4)
    assert float(got.state[ours[0]]["step"]) == 6


@on_a_gpu
def test_a_first_step_is_not_captured() -> None:
    """A capture before the first step says what must come first."""
    ours = some()
    give_gradients(ours, step=0)
    optimizer = gradus.optim.Adam(ours, capturable=True)
    with pytest.raises(GradusError, match="only after an ordinary step"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        optimizer.step()
