"""The optimizers, against torch's: the same updates, on every backend, for every layout and dtype."""

import copy
import io
import shutil
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing._internal.common_optimizers import OptimizerErrorEnum, optim_db

import gradus.optim
from gradus.backends.cpu import threads
from gradus.errors import InvalidInput
from optim_registry import ALL, BY_NAME, Case, give_gradients, params

BACKENDS = ["reference", "cpu"]
# torch keeps NAdam's product and ASGD's rate in float32, whatever the parameter's dtype.
TOLERANCE = {"NAdam": 1e-6, "ASGD": 1e-6}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", ALL, ids=str)
def test_fifty_steps_are_torchs(case: Case, backend: str) -> None:
    """In double precision, fifty updates of tensors of all shapes go where torch's go."""
    ours, theirs = params(), params()
    got, want = case.ours(ours, backend=backend), case.theirs(theirs)
    for step in range(50):
        give_gradients(ours, theirs, step=step)
        got.step()
        want.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=TOLERANCE.get(case.name, 1e-10), atol=TOLERANCE.get(case.name, 1e-12))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", ALL, ids=str)
def test_single_precision_is_as_exact_as_torchs(case: Case, backend: str) -> None:
    """In single precision, the error against the double-precision run is at most a few times torch's own."""
    exact, ours, theirs = params(), params(torch.float32), params(torch.float32)
    with torch.no_grad():
        for a, b in zip(exact, ours, strict=True):
            a.copy_(b)
    truth, got, want = case.theirs(exact), case.ours(ours, backend=backend), case.theirs(theirs)
    for step in range(10):
        give_gradients(ours, theirs, step=step)
        for a, b in zip(exact, ours, strict=True):
            a.grad = b.grad.double()
        for optimizer in (truth, got, want):
            optimizer.step()
    for a, b, c in zip(exact, ours, theirs, strict=True):
        if a.numel():
            mine, torchs = (a - b).abs().mean().item(), (a - c).abs().mean().item()
            assert mine <= 4 * torchs + 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", BY_NAME)
def test_half_precision_is_calculated_in_single(name: str, dtype: torch.dtype) -> None:
    """A half-precision parameter is rounded once an update, and its slots are single: both backends do the same."""
    ours, other = params(dtype), params(dtype)
    got, want = BY_NAME[name].ours(ours, backend="cpu"), BY_NAME[name].ours(other, backend="reference")
    for step in range(10):
        give_gradients(ours, other, step=step)
        got.step()
        want.step()
    for a, b in zip(ours, other, strict=True):
        torch.testing.assert_close(a.float(), b.float(), rtol=2 * torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)
        slots = got.state[a].keys() - got.rule.scalars - {"step"}
        assert all(got.state[a][slot].dtype == torch.float32 for slot in slots)


def layouts() -> dict[str, Any]:
    """Ways for a gradient or a parameter to lie in memory."""
    return {
        "transposed": lambda x: x.mT.contiguous().mT,
        "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
        "strided": lambda x: torch.stack([x, x], dim=-1)[..., 0],
        "expanded": lambda x: x.mean(dim=0, keepdim=True).expand_as(x),
        "plain": lambda x: x,
    }


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("grad_layout", layouts())
@pytest.mark.parametrize("param_layout", [name for name in layouts() if name != "expanded"])
def test_any_layout_is_right(param_layout: str, grad_layout: str, backend: str) -> None:
    """Parameter and gradient may lie in memory as they like; gradients are never written (#106951, #110758, #126585)."""
    (base,) = params(shapes=[(4, 3, 6, 5)])
    param = nn.Parameter(layouts()[param_layout](base.detach().clone()))
    optimizer, want = gradus.optim.Adam([param], lr=0.1, backend=backend), torch.optim.Adam([base], lr=0.1)
    for step in range(5):
        give_gradients([base], step=step)
        base.grad = layouts()[grad_layout](base.grad).contiguous()
        param.grad = layouts()[grad_layout](base.grad)
        before = param.grad.clone()
        optimizer.step()
        want.step()
        assert torch.equal(param.grad, before)
    torch.testing.assert_close(param, base)


@pytest.mark.parametrize(
    "move", [lambda x: x.double(), lambda x: x.contiguous(memory_format=torch.channels_last), lambda x: x.mT.contiguous().mT]
)
def test_a_parameter_may_be_moved(move: Any) -> None:
    """Moved to another dtype or memory format in the middle, a parameter takes its state along."""
    (ours,), (theirs,) = params(torch.float32, [(4, 3, 6, 5)]), params(torch.float32, [(4, 3, 6, 5)])
    got, want = gradus.optim.Adam([ours], lr=0.1), torch.optim.Adam([theirs], lr=0.1)
    for step in range(6):
        if step == 3:
            ours.grad = None
            ours.data = move(ours.data)
        give_gradients([ours], [theirs], step=step)
        got.step()
        want.step()
    torch.testing.assert_close(ours.float(), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", ALL, ids=str)
def test_complex_parameters(case: Case) -> None:
    """A complex parameter goes the way of a real one that holds its parts."""
    start = torch.randn(4, 3, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    whole, parts = nn.Parameter(start.clone()), nn.Parameter(torch.view_as_real(start).clone())
    got, want = case.ours([whole]), case.ours([parts], backend="reference")
    for step in range(5):
        whole.grad = torch.randn(4, 3, dtype=torch.complex128, generator=torch.Generator().manual_seed(step))
        parts.grad = torch.view_as_real(whole.grad)
        got.step()
        want.step()
    torch.testing.assert_close(torch.view_as_real(whole.detach()), parts.detach(), rtol=0, atol=0)


@pytest.mark.parametrize(
    "name", ["Adafactor", "SOAP", "Prodigy", "SGDScheduleFree", "AdamWScheduleFree", "RAdamScheduleFree"]
)
def test_sparse_gradients_are_refused_by_who_keeps_more_than_rows(name: str) -> None:
    """Who can't update the touched rows alone says so, and changes nothing, at whatever step a gradient is sparse."""
    dense, table = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(4, 2))
    optimizer = getattr(gradus.optim, name)([dense, table])
    for param in (dense, table):
        param.grad = torch.ones_like(param)
    optimizer.step()
    before = [param.detach().clone() for param in (dense, table)]
    table.grad = None
    table.grad = torch.eye(4, 2).to_sparse(1)
    with pytest.raises(InvalidInput, match=rf"{name} needs dense gradients, .*; got a sparse one of shape \(4, 2\)\. Make"):
        optimizer.step()
    assert all(map(torch.equal, (dense, table), before))


@pytest.mark.parametrize("backend", BACKENDS)
def test_autograd_sees_an_update(backend: str) -> None:
    """Going backward once more through what an update has changed is an error, as in torch, and no wrong gradient."""
    param = nn.Parameter(torch.ones(3))
    optimizer = gradus.optim.SGD([param], lr=0.5, backend=backend)
    loss = param.square().sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_cleared_gradients_take_no_memory(turned: bool, backend: str) -> None:
    """A gradient that `zero_grad` has let go of after a step is freed, and so is what it was laid out anew as."""
    param = nn.Parameter(torch.ones(30, 20).t() if turned else torch.ones(20, 30))
    optimizer = gradus.optim.SGD([param], lr=0.5, clip_norm=1.0, backend=backend)
    for _ in range(2):
        param.grad = torch.ones(20, 30)
        gone = weakref.ref(param.grad)
        optimizer.step()
        optimizer.zero_grad()
        assert gone() is None


def test_what_is_kept_is_no_gradient() -> None:
    """A gradient that a differentiable update keeps for the next is kept apart from it."""
    param = nn.Parameter(torch.ones(3))
    optimizer = gradus.optim.Adan([param], differentiable=True)
    param.grad = torch.ones(3)
    optimizer.param_groups[0]["params"] = [inner := param.clone()]
    inner.grad = torch.full((3,), 2.0)  # of no leaf, as whoever differentiates an update has it
    optimizer.step()
    inner.grad.zero_()
    assert optimizer.state[inner]["pre_grad"].tolist() == [2.0] * 3


@pytest.mark.parametrize("which", ["parameter", "gradient"])
@pytest.mark.parametrize(
    "build",
    [
        lambda some: gradus.optim.Adam(some, clip_norm=1.0),
        gradus.optim.LBFGS,
        lambda some: gradus.optim.LBFGS(some, line_search_fn="strong_wolfe"),
    ],
)
def test_numbers_that_are_yet_to_be_conjugated(build: Any, which: str) -> None:
    """A parameter or gradient of torch's `conj`, which copies nothing, is the conjugate numbers."""
    start, goal = torch.randn(2, 5, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    after = []
    for lazy in (True, False):
        given = start.clone().conj() if lazy else start.conj().resolve_conj()
        param = nn.Parameter(given if which == "parameter" else start.clone())
        odd = nn.Parameter(torch.ones(1, dtype=torch.float64))  # after which pairs begin at an odd place
        optimizer = build([odd, param])

        def closure(param: Any = param, odd: Any = odd, lazy: bool = lazy) -> Any:
            """(‖θ − goal‖² + odd²)/2, and its gradients."""
            odd.grad, param.grad = odd.detach(), param.detach() - goal
            if which == "gradient" and lazy:
                param.grad = param.grad.conj().resolve_conj().conj()
            return (float((param.detach() - goal).abs().square().sum()) + float(odd.detach()) ** 2) / 2

        for _ in range(3):
            with torch.no_grad():
                optimizer.step(closure)
        assert (param if which == "parameter" else param.grad).is_conj() == lazy
        after.append(param.detach().resolve_conj())
    torch.testing.assert_close(*after)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "kind", [list, lambda betas: tuple(map(torch.tensor, betas)), lambda betas: [*map(torch.tensor, betas)]]
)
def test_hyperparameters_may_change_in_place(kind: Any, backend: str) -> None:
    """A list's number, or a tensor within a tuple, that is changed where it is holds from the next step on."""
    (ours,), (theirs,) = params(shapes=[(7,)]), params(shapes=[(7,)])
    got = gradus.optim.Adam([ours], betas=kind([0.5, 0.75]), backend=backend)
    want = torch.optim.Adam([theirs], betas=(0.5, 0.75))
    for step in range(6):
        give_gradients([ours], [theirs], step=step)
        if step == 3:
            betas = got.param_groups[0]["betas"]
            if isinstance(betas, list):
                betas[0] = 0.25
            else:
                betas[0].fill_(0.25)
            want.param_groups[0]["betas"] = (0.25, 0.75)
        got.step()
        want.step()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("beta2", [0.0, 1 / 3, 0.6])
def test_short_memories_are_torchs(beta2: float, backend: str) -> None:
    """RAdam goes torch's way where its rectification would be divided by zero, if it were used."""
    ours, theirs = params(), params()
    got = gradus.optim.RAdam(ours, betas=(0.9, beta2), backend=backend)
    want = torch.optim.RAdam(theirs, betas=(0.9, beta2))
    for step in range(8):
        give_gradients(ours, theirs, step=step)
        got.step()
        want.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "options"), [("SGD", {}), ("Adagrad", {"lr_decay": 0.1}), ("SparseAdam", {"lr": 0.1})])
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # torch's own Adagrad makes tensors without them
def test_sparse_gradients_update_the_rows_they_touch(name: str, options: dict[str, Any], backend: str) -> None:
    """Sparse gradients, with entries for the same row and of any width, do what torch's optimizers for them do."""
    shapes: list[tuple[int, ...]] = [(50, 8), (9,), (7, 3, 2)]
    ours, theirs = params(shapes=shapes), params(shapes=shapes)
    got, want = getattr(gradus.optim, name)(ours, backend=backend, **options), getattr(torch.optim, name)(theirs, **options)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        for a, b in zip(ours, theirs, strict=True):
            rows = torch.randint(0, len(a), (1, 6), generator=generator)
            values = torch.randn((6, *a.shape[1:]), generator=generator, dtype=torch.float64)
            grad = torch.sparse_coo_tensor(rows, values, a.shape, check_invariants=True)
            a.grad, b.grad = grad, grad.clone()
        got.step()
        want.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", BY_NAME)
def test_one_optimizer_takes_sparse_and_dense(name: str) -> None:
    """A parameter may have a sparse gradient in one step and a dense one in the next; rows without one stand still."""
    (param,) = params(shapes=[(6, 4)])
    optimizer = BY_NAME[name].ours([param])
    untouched = param.detach()[2:].clone()
    param.grad = torch.sparse_coo_tensor([[0, 1]], torch.ones(2, 4, dtype=torch.float64), (6, 4), check_invariants=True)
    optimizer.step()
    assert torch.equal(param[2:], untouched)
    param.grad = torch.ones(6, 4, dtype=torch.float64)
    optimizer.step()
    assert not torch.equal(param[2:], untouched)


# State


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", ALL, ids=str)
def test_state_moves_between_torchs_and_ours(case: Case, backend: str) -> None:
    """Saved by either in the middle and loaded by the other, training goes on as if nothing had happened."""
    ours, theirs = params(), params()
    got, want = case.ours(ours, backend=backend), case.theirs(theirs)
    for step in range(20):
        if step == 7:
            states = copy.deepcopy((got.state_dict(), want.state_dict()))
            got, want = case.ours(ours, backend=backend), case.theirs(theirs)
            want.load_state_dict(states[0])
            got.load_state_dict(states[1])
        give_gradients(ours, theirs, step=step)
        got.step()
        want.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_resumed_run_is_the_uninterrupted_one(name: str) -> None:
    """Through a file that torch reads with weights_only, a resumed run equals the uninterrupted one bit for bit."""
    whole, parted = params(torch.float32), params(torch.float32)
    first, second = BY_NAME[name].ours(whole), BY_NAME[name].ours(parted)
    for step in range(10):
        if step == 4:
            file = io.BytesIO()
            torch.save(second.state_dict(), file)
            second = BY_NAME[name].ours(parted)
            second.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
        give_gradients(whole, parted, step=step)
        first.step()
        second.step()
    for a, b in zip(whole, parted, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_copy_goes_its_own_way(name: str) -> None:
    """A deep copy of model and optimizer trains on as the original does, and apart from it."""
    some = params(shapes=[(3, 2), (4,)])
    optimizer = BY_NAME[name].ours(some)
    give_gradients(some, step=0)
    optimizer.step()
    others, copied = copy.deepcopy((some, optimizer))
    give_gradients(others, step=1)
    copied.step()
    assert not torch.equal(some[0], others[0])
    give_gradients(some, step=1)
    optimizer.step()
    assert torch.equal(some[0], others[0])


def test_what_is_changed_in_the_state_holds() -> None:
    """Who looks at the state gets steps and slots as they are, and what they change holds from the next step on."""
    (param,) = params(shapes=[(3,)])
    optimizer = gradus.optim.SGD([param], lr=1.0, momentum=0.5)
    for step in range(3):
        give_gradients([param], step=step)
        optimizer.step()
    assert optimizer.state[param]["step"] == 3
    optimizer.state[param]["momentum_buffer"] = torch.zeros(3, dtype=torch.float64)
    before, grad = param.detach().clone(), param.grad.clone()
    optimizer.step()
    torch.testing.assert_close(param.detach(), before - grad)


# The pass


@pytest.mark.parametrize("openmp", [True, False])
def test_work_is_shared_among_threads(openmp: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above some size shares of the work are taken by several threads, torch's or Python's, and each is done once."""
    if not openmp:
        monkeypatch.setattr(threads, "_openmp", lambda: None)
    (ours,), (theirs,) = params(torch.float32, [(1_500_000,)]), params(torch.float32, [(1_500_000,)])
    got, want = gradus.optim.Adam([ours]), torch.optim.Adam([theirs])
    for step in range(3):
        give_gradients([ours], [theirs], step=step)
        got.step()
        want.step()
    torch.testing.assert_close(ours, theirs)
    items = got._plan.batches[0]._work
    assert [first for first, _ in items[1:]] == [last for _, last in items[:-1]]
    assert len(items) > 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("clip", [0.1, 1.0, 1e6])
@pytest.mark.parametrize(
    ("option", "torchs"), [("clip_norm", nn.utils.clip_grad_norm_), ("clip_value", nn.utils.clip_grad_value_)]
)
def test_clipping_is_torchs(option: str, torchs: Any, clip: float, backend: str) -> None:
    """Gradients are clipped as torch's functions do, changed from step to step too, but stay as they are (#309, #56843)."""
    ours, theirs = params(), params()
    got, want = gradus.optim.SGD(ours, lr=0.1, backend=backend, **{option: 3.0}), torch.optim.SGD(theirs, lr=0.1)
    for step in range(3):
        setattr(got, option, clip / (1 + step))
        give_gradients(ours, theirs, step=step)
        before = [param.grad.clone() for param in ours]
        torchs(theirs, clip / (1 + step))
        got.step()
        want.step()
        assert all(torch.equal(param.grad, grad) for param, grad in zip(ours, before, strict=True))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_updates_that_are_not_finite_are_left_out(bad: float, backend: str) -> None:
    """With `skip_nonfinite` an infinity or a NaN in any gradient leaves everything as it was, the step's count too."""
    some = params(shapes=[(3,), (4,)])
    optimizer = gradus.optim.Adam(some, skip_nonfinite=True, backend=backend)
    give_gradients(some, step=0)
    optimizer.step()
    before = [param.detach().clone() for param in some]
    some[1].grad[2] = bad
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(some, before, strict=True))
    assert optimizer.state[some[0]]["step"] == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_grad_scalers_scale_is_taken_out_in_passing(backend: str) -> None:
    """Under a GradScaler the update is that of the plain gradients, clipped after the scale is out (#90752)."""
    ours, theirs = params(torch.float32, [(5,), (2, 2)]), params(torch.float32, [(5,), (2, 2)])
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    got, want = gradus.optim.Adam(ours, clip_norm=0.5, backend=backend), torch.optim.Adam(theirs)
    for _ in range(4):
        got.zero_grad()
        want.zero_grad()
        scaler.scale(sum((param**2).sum() for param in ours)).backward()
        sum((param**2).sum() for param in theirs).backward()
        nn.utils.clip_grad_norm_(theirs, 0.5)
        scaler.step(got)
        scaler.update()
        want.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("compiled", ["model", "step"])
def test_compiled_models_and_steps(compiled: str) -> None:
    """A compiled model is trained as the model itself, and a step that somebody compiles is the step, made once."""
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    theirs = copy.deepcopy(ours)
    got, want = gradus.optim.Adam(ours.parameters(), lr=0.01), torch.optim.Adam(theirs.parameters(), lr=0.01)
    model = torch.compile(ours, backend="eager") if compiled == "model" else ours
    step = torch.compile(got.step, backend="eager") if compiled == "step" else got.step
    torch._dynamo.utils.counters.clear()
    for index in range(12):
        inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(index))
        for net, optimizer, advance in ((model, got, step), (theirs, want, want.step)):
            optimizer.zero_grad()
            net(inputs).square().mean().backward()
            optimizer.param_groups[0]["lr"] = 0.01 / (index + 1)
            advance()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 1
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_hooks_run_as_in_torch() -> None:
    """Hooks run before and after a step with its arguments, and a pre-hook may change them."""
    (param,) = params(shapes=[(2,)])
    optimizer = gradus.optim.SGD([param], lr=0.1)
    seen: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))

    def closure() -> float:
        seen.append("closure")
        give_gradients([param], step=0)
        return 7.0

    assert optimizer.step(closure) == 7.0
    assert seen == ["before", "closure", "after"]


def test_steps_can_be_differentiated() -> None:
    """With differentiable=True autograd goes through the updates, slots and a rate that is a tensor included."""
    rate = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    param = torch.ones(3, dtype=torch.float64).requires_grad_().clone()
    optimizer = gradus.optim.SGD([param], lr=rate, momentum=0.9, differentiable=True)
    for step in range(3):
        param.grad = torch.full((3,), step + 1.0, dtype=torch.float64)
        optimizer.step()
    (slope,) = torch.autograd.grad(param.square().sum(), rate)
    way = 1 + (0.9 + 2) + (0.81 + 1.8 + 3)  # the sum of the three momenta
    assert slope.item() == pytest.approx(3 * 2 * (1 - 0.1 * way) * -way)


def test_the_number_that_a_slot_holds_can_be_differentiated() -> None:
    """With differentiable=True autograd goes through NAdam's product of momenta as through its other slots (gradcheck)."""
    start = torch.linspace(-1, 1, 4, dtype=torch.float64)

    def updated(product: Tensor) -> Tensor:
        param = start.clone().requires_grad_().clone()
        optimizer = gradus.optim.NAdam([param], lr=0.9, differentiable=True)
        slots = {"exp_avg": start.square(), "exp_avg_sq": start.square() + 0.1, "mu_product": product.clone()}
        optimizer.state[param].update(step=torch.tensor(10.0), **slots)
        param.grad = start.cos()
        optimizer.step()
        return param

    assert torch.autograd.gradcheck(updated, torch.tensor(0.5, dtype=torch.float64, requires_grad=True))


# What is refused

one = nn.Parameter(torch.ones(2))
REFUSED: list[tuple[Any, str]] = [
    (lambda: gradus.optim.SGD([one], lr=-1.0), r"lr must be a finite number that isn't negative; got -1\.0"),
    (lambda: gradus.optim.Adam([one], betas=(0.9, 1.0)), r"betas\[1\] must be at least 0 and below 1; got 1\.0"),
    (lambda: gradus.optim.Adam([one], betas=0.9), r"betas must be two numbers, each at least 0 and below 1; got 0\.9"),
    (lambda: gradus.optim.Adam([one], lr=torch.ones(2)), r"Tensor lr must be 1-element; got one of shape \(2,\)"),
    (
        lambda: gradus.optim.Rprop([one], etas=(1.0, 0.5)),
        r"etas\[0\] must be above 0 and below 1, for steps shrink by it; got",
    ),
    (lambda: gradus.optim.Rprop([one], etas=(0.5, 1.0)), r"etas\[1\] must be a finite number above 1, for steps grow by it"),
    (lambda: gradus.optim.Rprop([one], step_sizes=(2, 1)), r"step_sizes must be two numbers, the least step and the great"),
    (lambda: gradus.optim.SGD([one], nesterov=True), "Nesterov momentum requires a momentum and zero dampening; got mom"),
    (
        lambda: gradus.optim.SGD([{"params": [one], "nesterov": True, "dampening": 0.1}], momentum=0.9),
        r"Nesterov momentum requires a momentum and zero dampening; got momentum=0\.9, dampening=0\.1",
    ),
    (lambda: gradus.optim.Adam([one], eps=float("nan")), "eps must be a finite number that isn't negative; got nan"),
    (lambda: gradus.optim.Adam([one], amsgrad="yes"), "amsgrad must be True or False; got 'yes'"),
    (
        lambda: gradus.optim.Adam([one], beta1=0.9),
        r"Adam: got an unexpected keyword argument 'beta1' \(did you mean betas\?\)",
    ),
    (
        lambda: gradus.optim.Adam([{"params": [one], "weight_decy": 0.1}]),
        "Adam has no hyperparameter 'weight_decy'; did you mean 'weight_decay'",
    ),
    (
        lambda: gradus.optim.Adam([one], backend="gpu"),
        'backend must be "auto", "torch", "reference", "cpu" or "cuda"; got \'gpu\'',
    ),
    (lambda: gradus.optim.Adam([one], clip_norm=0.0), r"clip_norm must be above 0, or None for no clipping; got 0\.0"),
    (lambda: gradus.optim.Adam([one], foreach=True, fused=True), "foreach=True and fused=True exclude each other"),
    (lambda: gradus.optim.Adam([one], clip_value=-1.0), "clip_value must be above 0, or None for no clipping; got -1.0"),
    (lambda: gradus.optim.Adam([one], clip_value=1.0, clip_norm=1.0), "clip_norm and clip_value exclude each other"),
    (lambda: gradus.optim.Adam([one], differentiable=True, fused=True), "differentiable=True takes the torch backend"),
]


@pytest.mark.parametrize(("build", "message"), REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_refused_with_a_reason(build: Any, message: str) -> None:
    """What can't be is refused, with what must hold, what was given and the way out."""
    with pytest.raises(InvalidInput, match=message):
        build()


# What torch can't do in one of its forms, and what its Muon and SparseAdam leave to other optimizers, is done here.
DONE_HERE = ("foreach=True", "both floats or both Tensors", "2D parameters", "SparseAdam")
TORCH_REFUSES = [
    (info.optim_cls.__name__, error)
    for info in optim_db
    for error in info.optim_error_inputs_func(device="cpu", dtype=torch.float32)
    if error.error_on is OptimizerErrorEnum.CONSTRUCTION_ERROR
    and not any(what in error.error_regex for what in DONE_HERE)
    and issubclass(error.error_type, Exception)
    and hasattr(gradus.optim, info.optim_cls.__name__)
]


@pytest.mark.parametrize(
    ("name", "error"), TORCH_REFUSES, ids=[f"{name}: {error.error_regex[:40]}" for name, error in TORCH_REFUSES]
)
def test_what_torch_refuses_is_refused(name: str, error: Any) -> None:
    """Whatever torch's own registry says an optimizer must refuse, or warn of, is refused or warned of by the same kind."""
    given = error.optimizer_error_input
    some = [nn.Parameter(torch.ones(2, 2))] if given.params is None else given.params
    with (
        pytest.warns(UserWarning, match="duplicate") if error.error_type is UserWarning else pytest.raises(error.error_type)
    ):
        getattr(gradus.optim, name)(some, **given.kwargs)


def test_a_rate_that_turns_bad_is_refused_before_anything_changes() -> None:
    """A hyperparameter set out of its range between steps is refused at the next one, with nothing changed."""
    some = params(shapes=[(2,), (3,)])
    optimizer = gradus.optim.Adam([{"params": [some[0]]}, {"params": [some[1]]}])
    give_gradients(some, step=0)
    optimizer.step()
    before = [param.detach().clone() for param in some]
    optimizer.param_groups[1]["lr"] = -0.1
    with pytest.raises(InvalidInput, match=r"lr must be a finite number that isn't negative; got -0\.1"):
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(some, before, strict=True))


def _state(optimizer: Any, **changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(optimizer.state_dict()), **changes}


def test_a_state_that_does_not_fit_is_refused() -> None:
    """Another rule's state, other shapes, other groups: each is refused by name, and nothing is changed (#1489, #119168)."""
    some = params(shapes=[(2,), (3,)])
    optimizer = gradus.optim.Adam(some)
    give_gradients(some, step=0)
    optimizer.step()
    state = _state(optimizer)
    swapped = _state(optimizer)
    swapped["state"] = {0: swapped["state"][1], 1: swapped["state"][0]}
    negative, broken, sparse = _state(optimizer), _state(optimizer), _state(optimizer)
    sparse["state"][0]["exp_avg"] = torch.ones(2).to_sparse()
    negative["state"][0]["step"], broken["state"][1]["step"] = torch.tensor(-1.0), 1.5
    theirs = torch.optim.AdamW(params(shapes=[(2,), (3,)])).state_dict()
    for wrong, message in (
        ({}, "this is no optimizer's state"),
        (
            _state(optimizer, **{"gradus.rule": "lion"}),
            "the saved state is of the rule 'lion', and this optimizer's is 'adam'",
        ),
        (swapped, r"a parameter of shape \(2,\) has a exp_avg of shape \(2,\); the saved one's is \(3,\)"),
        (
            sparse,
            r"the saved exp_avg must be a dense tensor with memory, .*; got torch\.sparse_coo of torch\.float32 on cpu",
        ),
        (negative, "a saved step is a count; got -1"),
        (broken, "a saved step is a count; got 1.5"),
        (theirs, "the saved state decays weights apart from the gradient, as AdamW does"),
        (
            gradus.optim.Adam(some[:1]).state_dict(),
            r"unexpected \[\(0, 0\)\], of groups of \[1\] parameters for \[2\]; strict=False",
        ),
        (torch.optim.SGD(some).state_dict(), "the saved state isn't of Adam: its groups have no 'betas'"),
    ):
        with pytest.raises(InvalidInput, match=message):
            optimizer.load_state_dict(wrong)
        now = optimizer.state_dict()
        torch.testing.assert_close(now["state"], state["state"])
        assert now["param_groups"] == state["param_groups"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_numbers_beyond_double_precision_are_refused(backend: str) -> None:
    """Where the numbers of an update overflow, the step says of what, and changes nothing."""
    param = nn.Parameter(torch.ones(3))
    optimizer = gradus.optim.ASGD([param], backend=backend)
    for _ in range(2):  # in the first step, and in one that goes on as before
        param.grad = torch.ones(3)
        before = param.detach().clone()
        optimizer.param_groups[0]["alpha"] = 1e308
        with pytest.raises(InvalidInput, match=r"asgd's update number . has no finite numbers \(.*alpha=1e\+308.*; nothing"):
            optimizer.step()
        assert torch.equal(param.detach(), before)
        optimizer.param_groups[0]["alpha"] = 0.75
        optimizer.step()
        assert not torch.equal(param.detach(), before)


def test_parameters_are_matched_by_name() -> None:
    """With names on both sides the order doesn't matter; strict=False tells what is on one side only (#1489, #3852)."""
    some = params(shapes=[(2,), (3,), (4,)])
    saved = gradus.optim.Adam([("a", some[0]), ("b", some[1])])
    give_gradients(some, step=0)
    saved.step()
    optimizer = gradus.optim.Adam([("b", some[1]), ("c", some[2]), ("a", some[0])])
    with pytest.raises(InvalidInput, match=r"missing \['c'\], unexpected \[\]"):
        optimizer.load_state_dict(saved.state_dict())
    difference = optimizer.load_state_dict(saved.state_dict(), strict=False)
    assert difference == (["c"], [])
    assert torch.equal(optimizer.state[some[1]]["exp_avg"], saved.state[some[1]]["exp_avg"])


def test_names_are_taken_from_the_state_by_who_has_none() -> None:
    """An optimizer without names takes those of the state that it loads, as torch's does, and saves them."""
    some = params(shapes=[(2,), (3,)])
    named = gradus.optim.Adam([("a", some[0]), ("b", some[1])])
    nameless = gradus.optim.Adam(some)
    nameless.load_state_dict(named.state_dict())
    assert nameless.state_dict()["param_groups"][0]["param_names"] == ["a", "b"]


@pytest.mark.parametrize("case", ALL, ids=str)
def test_the_state_holds_what_torchs_holds(case: Case) -> None:
    """Whoever looks into the state finds under torch's names what is there with torch: tensors, each its own."""
    ours, theirs = params(), params()
    got, want = case.ours(ours), case.theirs(theirs)
    give_gradients(ours, theirs, step=0)
    got.step()
    want.step()
    for a, b in zip(ours, theirs, strict=True):
        for name, value in want.state[b].items():
            if value is not None:
                assert got.state[a][name].shape == value.shape
                torch.testing.assert_close(got.state[a][name].double(), value.double(), rtol=1e-6, atol=1e-9)
    held = [value.data_ptr() for state in got.state.values() for value in state.values() if value.numel()]
    assert len(set(held)) == len(held)


def test_groups_are_filled_in_place_and_not_shared() -> None:
    """Loading keeps the group objects and tensor rates, and two optimizers don't share a list of groups (apex#766)."""
    some = params(shapes=[(2,)])
    groups = [{"params": some, "lr": torch.tensor(0.5)}]
    first, second = gradus.optim.SGD(groups), gradus.optim.SGD(groups)
    assert first.param_groups[0] is not second.param_groups[0]
    group, rate = first.param_groups[0], first.param_groups[0]["lr"]
    saved = gradus.optim.SGD(some, lr=0.25, momentum=0.5).state_dict()
    first.load_state_dict(saved)
    assert first.param_groups[0] is group
    assert group["lr"] is rate
    assert (float(rate), group["momentum"]) == (0.25, 0.5)


_ONE_STEP = """import torch, gradus.optim
p = torch.nn.Parameter(torch.ones(3)); p.grad = torch.ones(3)
gradus.optim.SGD([p], lr=0.5).step(); print(p.tolist())
"""


def _files_after_a_step(folder: Path) -> dict[Path, int]:
    """What is kept in a folder for kernels, and since when, after a process has stepped once."""
    environment = {"GRADUS_KERNELS": str(folder)}
    done = subprocess.run([sys.executable, "-c", _ONE_STEP], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[0.5, 0.5, 0.5]\n"
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.nb?")}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for kernels after the first process that stepped."""
    folder = tmp_path_factory.mktemp("kept") / "kernels"
    assert _files_after_a_step(folder)
    return folder


def test_kernels_are_kept_between_processes(kept: Path, tmp_path: Path) -> None:
    """A second process reads the kernels that a first has compiled, and where nothing can be kept it works all the same."""
    before = {path: path.stat().st_mtime_ns for path in kept.rglob("*.nb?")}
    assert _files_after_a_step(kept) == before
    (tmp_path / "file").write_text("not a folder")
    assert not _files_after_a_step(tmp_path / "file" / "kernels")


@pytest.mark.parametrize(("ending", "damage"), [("nbi", b""), ("nbc", b"\x80\x04nonsense"), ("py", b"nonsense")])
def test_a_damaged_kernel_is_compiled_anew(ending: str, damage: bytes, kept: Path, tmp_path: Path) -> None:
    """Whatever has become of the files of a kept kernel, the next process steps as ever, and leaves them whole."""
    folder = shutil.copytree(kept, tmp_path / "kernels")
    files = list(folder.rglob(f"*.{ending}"))
    assert files
    for file in files:
        file.write_bytes(damage)
    _files_after_a_step(folder)
    assert all(file.read_bytes() != damage for file in files if file.exists())
