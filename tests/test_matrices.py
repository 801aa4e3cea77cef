"""Adafactor, Muon and SOAP, against torch's and against what their papers say."""

import copy
import itertools
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


@pytest.mark.parametrize("scale_parameter", [True, False])
@pytest.mark.parametrize("pace", [{"relative_step": False}, {"relative_step": True}, {"warmup_init": True}], ids=str)
@pytest.mark.parametrize("beta1", [None, 0.9])
def test_adafactor_takes_transformers_options(beta1: float | None, pace: dict[str, Any], scale_parameter: bool) -> None:
    """Thirty updates under Transformers' options, which pytorch_optimizer has too, go where its optimizer goes."""
    theirs = pytest.importorskip("pytorch_optimizer")
    ours, others = _params([*SHAPES, (4,)]), _params([*SHAPES, (4,)])
    shared = {"lr": 1e-2, "scale_parameter": scale_parameter, **pace}
    got = Adafactor(ours, eps=(1e-30, 1e-3), beta1=beta1, **shared)
    want = theirs.AdaFactor(others, betas=(beta1, 0.999), momentum_dtype=torch.float64, foreach=False, **shared)
    for step in range(30):
        _step(got, step)
        _step(want, step)
    for a, b in zip(ours, others, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    assert all(("exp_avg" in kept) == (beta1 is not None) for kept in got.state.values())


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
    """Forty steps are those of Algorithm 3 of Vyas et al. 2024 from the second gradient on, written out in NumPy."""
    lr, beta, second, eps, decay, every = 0.01, 0.9, 0.95, 1e-8, 0.1, 5
    (param,) = _params([(4, 4)])  # square, for the null space of another has no axes of its own
    optimizer = SOAP([param], lr=lr, betas=(beta, second), eps=eps, weight_decay=decay, precondition_frequency=every)
    w = param.detach().numpy().copy()
    m, v, left, right, ql, qr = (np.zeros((4, 4)) for _ in range(6))
    for t in range(41):
        _step(optimizer, t)
        g = param.grad.numpy()
        if t > 0:
            m = beta * m + (1 - beta) * g
            v = second * v + (1 - second) * (ql.T @ g @ qr) ** 2
            n = ql.T @ m @ qr / (np.sqrt(v) + eps)
            w = (w - lr * np.sqrt(1 - second**t) / (1 - beta**t) * ql @ n @ qr.T) * (1 - lr * decay)
        left, right = second * left + (1 - second) * g @ g.T, second * right + (1 - second) * g.T @ g
        if t == 0:
            ql, qr = np.linalg.eigh(left)[1][:, ::-1], np.linalg.eigh(right)[1][:, ::-1]
        elif t % every == 0:
            by_row = np.argsort(-np.diag(ql.T @ left @ ql))
            by_column = np.argsort(-np.diag(qr.T @ right @ qr))
            v = v[by_row][:, by_column]
            ql, qr = np.linalg.qr(left @ ql[:, by_row])[0], np.linalg.qr(right @ qr[:, by_column])[0]
    np.testing.assert_allclose(param.detach().numpy(), w, rtol=1e-6, atol=1e-8)


# Full ranks alone: the null space of a first gradient has no axes of its own, so that any two programs differ in it.
_SOAP_SHAPES = [(4, 4), (3, 4, 5), (2, 3, 3, 4), (6, 5), (7,)]


@pytest.mark.parametrize("merge_dims", [False, True])
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_every_option_of_soap_is_the_authors(merge_dims: bool, data_format: Any) -> None:
    """Ten updates under every combination of options are pytorch_optimizer's, but for its single-precision QR."""
    theirs = pytest.importorskip("pytorch_optimizer")
    for most, normalize, correct in itertools.product([10_000, 4], [False, True], [True, False]):
        if merge_dims and most == 10_000:
            continue  # whole tensors would be vectors, of rank one
        ours, others = _params(_SOAP_SHAPES), _params(_SOAP_SHAPES)
        shared = {"lr": 0.01, "precondition_frequency": 3, "shampoo_beta": 0.9, "merge_dims": merge_dims}
        shared |= {"data_format": data_format, "correct_bias": correct}
        got = SOAP(ours, max_precond_dim=most, normalize_grads=normalize, **shared)
        want = theirs.SOAP(others, max_precondition_dim=most, normalize_gradient=normalize, **shared)
        for step in range(10):
            _step(got, step)
            _step(want, step)
        for a, b in zip(ours, others, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_soap_preconditions_vectors_where_asked() -> None:
    """With `precondition_1d` a vector has a basis, and where gradients keep one direction the update lies along it."""
    (param,) = _params([(5,)])
    optimizer = SOAP([param], lr=0.1, precondition_1d=True, weight_decay=0.0)
    before, direction = param.detach().clone(), torch.tensor([3.0, 0.0, 4.0, 0.0, 0.0], dtype=torch.float64)
    for _ in range(2):
        param.grad = direction.clone()
        optimizer.step()
    assert optimizer.state[param]["basis"].shape == (25,)
    torch.testing.assert_close(before - param.detach(), 0.1 * direction / 5, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_soap_finds_its_axes_before_it_moves(dtype: torch.dtype) -> None:
    """The first gradient moves nothing; the first update of 16 × 16 has a norm of about 16, not of 1,109."""
    (param,) = _params([(16, 16)], dtype)
    optimizer = SOAP([param], lr=1.0, weight_decay=0.0)
    before = param.detach().clone()
    _step(optimizer, 0)
    assert torch.equal(param, before)
    _step(optimizer, 1)
    assert 8 < float((param.detach() - before).norm()) < 32


@pytest.mark.parametrize(
    ("shape", "options", "numbers"),
    [
        ((3, 4), {}, 9 + 16),
        ((3, 4), {"merge_dims": True}, 144),
        ((3, 4), {"merge_dims": True, "max_precond_dim": 11}, 9 + 16),
        ((2, 5, 3, 3), {}, 4 + 25 + 9 + 9),
        ((2, 5, 3, 3), {"merge_dims": True, "max_precond_dim": 10}, 100 + 81),
        ((2, 3, 3, 5), {"merge_dims": True, "max_precond_dim": 10, "data_format": "channels_last"}, 100 + 81),
        ((7,), {}, 0),
        ((7,), {"precondition_1d": True}, 49),
        ((7,), {"precondition_1d": True, "max_precond_dim": 6}, 0),
        ((), {"merge_dims": True}, 0),
    ],
)
def test_soap_keeps_a_square_for_each_dimension(shape: tuple[int, ...], options: dict[str, Any], numbers: int) -> None:
    """The preconditioner has a square matrix for each dimension that is left of merging and of the bound."""
    (param,) = _params([shape])
    optimizer = SOAP([param], precondition_frequency=1, **options)
    for step in range(3):
        _step(optimizer, step)
    kept = optimizer.state[param].get("preconditioner")
    assert (0 if kept is None else kept.numel()) == numbers
    assert bool(param.isfinite().all())


def test_soaps_state_of_an_embedding_is_bounded() -> None:
    """`max_precond_dim` leaves long dimensions as they are: the state of 2,000 × 16 is twice its size and two 16 × 16."""
    param = nn.Parameter(torch.zeros(2000, 16))
    optimizer = SOAP([param], max_precond_dim=1000)
    param.grad = torch.randn(2000, 16)
    optimizer.step()
    kept = sum(slot.numel() for name, slot in optimizer.state[param].items() if name != "step")
    assert kept == 2 * (2000 * 16 + 16 * 16)


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        (SOAP, {"max_precond_dim": 10}, {"max_precond_dim": 3}),
        (SOAP, {"merge_dims": False}, {"merge_dims": True}),
        (gradus.optim.Prodigy, {"slice_p": 1}, {"slice_p": 2}),
    ],
)
def test_what_decides_on_shapes_stays(kind: Any, before: dict[str, Any], after: dict[str, Any]) -> None:
    """A hyperparameter that slots have their shapes from can't be changed between updates, and nothing is changed then."""
    some = _params([(5, 4), (3,)])
    optimizer = kind(some, **before)
    _step(optimizer, 0)
    optimizer.param_groups[0].update(after)
    kept = [param.detach().clone() for param in some]
    with pytest.raises(InvalidInput, match="can't be changed between updates"):
        _step(optimizer, 1)
    assert all(map(torch.equal, some, kept))


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in OF_ELEMENTS])
def test_complex_parameters_are_refused_when_they_are_given(name: str) -> None:
    """A rule of whole tensors refuses complex parameters when it is built and in a later group, and stays whole."""
    kind = getattr(gradus.optim, name)
    odd, plain = nn.Parameter(torch.ones(2, 2, dtype=torch.complex64)), nn.Parameter(torch.ones(2, 2))
    with pytest.raises(InvalidInput, match="takes real parameters"):
        kind([odd])
    optimizer = kind([plain])
    with pytest.raises(InvalidInput, match="takes real parameters"):
        optimizer.add_param_group({"params": [odd]})
    assert len(optimizer.param_groups) == 1
    plain.grad = torch.ones(2, 2)
    optimizer.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", CLASSES)
def test_finite_gradients_too_large_to_square_are_left_out(name: str, dtype: torch.dtype) -> None:
    """With `skip_nonfinite`, a finite gradient whose square is infinite changes nothing, and training goes on."""
    param = nn.Parameter(torch.ones(3, 2, dtype=dtype))
    optimizer = CLASSES[name]([param], lr=0.01, skip_nonfinite=True)
    for step in range(4):
        before = param.detach().clone()
        size = torch.finfo(dtype).max * 0.8 if step == 1 else 0.5
        param.grad = torch.full_like(param, size)
        optimizer.step()
        assert step != 1 or torch.equal(param, before)
    kept = [slot for slot in optimizer.state[param].values() if isinstance(slot, torch.Tensor)]
    assert all(bool(one.isfinite().all()) for one in (param, *kept))


def _newton_schulz(matrix: torch.Tensor, steps: int) -> torch.Tensor:
    """The iteration of Jordan et al. 2024 in double precision."""
    a, b, c = 3.4445, -4.775, 2.0315
    x = matrix / matrix.norm()
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


@pytest.mark.parametrize("shape", [(4, 6, 5), (3, 5, 6), (2, 3, 4, 4)])
@pytest.mark.parametrize("adjust", [None, "match_rms_adamw"])
def test_muon_takes_experts_one_by_one(shape: tuple[int, ...], adjust: Any) -> None:
    """With `batched`, each matrix of a batch moves as torch's Muon moves it alone, and as the iteration in float64 says."""
    (experts,) = _params([shape], torch.float32)
    matrices = [nn.Parameter(one.detach().clone()) for one in experts.flatten(0, -3)]
    ours = Muon([experts], lr=0.1, batched=True, adjust_lr_fn=adjust, weight_decay=0.0)
    theirs = torch.optim.Muon(matrices, lr=0.1, adjust_lr_fn=adjust, weight_decay=0.0)
    start = experts.detach().clone()
    for step in range(3):
        _step(ours, step)
        for matrix, grad in zip(matrices, experts.grad.flatten(0, -3), strict=True):
            matrix.grad = grad.clone()
        theirs.step()
        if step == 0:
            rows, columns = shape[-2:]
            ratio = 0.2 * max(rows, columns) ** 0.5 if adjust else max(1, rows / columns) ** 0.5
            moved = (start - experts.detach()).flatten(0, -3).double() / (0.1 * ratio)
            for one, grad in zip(moved, experts.grad.flatten(0, -3).double(), strict=True):
                torch.testing.assert_close(one, _newton_schulz(grad, 5), rtol=0.05, atol=0.05)  # bfloat16 has 8 bits
    for one, matrix in zip(experts.flatten(0, -3), matrices, strict=True):
        torch.testing.assert_close(one, matrix, rtol=1e-2, atol=1e-2)


def test_muon_is_its_authors() -> None:
    """Ten updates of matrices are KellerJordan/Muon's, at its momentum and decay, within bfloat16's precision."""
    muon = pytest.importorskip("muon")
    ours, theirs = _params(SHAPES, torch.float32), _params(SHAPES, torch.float32)
    got = Muon(ours, lr=0.02, weight_decay=0.1, momentum=0.9)
    want = muon.SingleDeviceMuon(theirs, lr=0.02, weight_decay=0.1, momentum=0.9)
    for step in range(10):
        _step(got, step)
        _step(want, step)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda p: Adafactor([p], eps=(-1.0, 0.0)), r"eps\[0\] must be a finite number that isn't negative"),
        (lambda p: Muon([p], ns_steps=0), r"ns_steps must be a whole number from 1; got 0"),
        (
            lambda p: Muon([p], adjust_lr_fn="half"),
            r"adjust_lr_fn must be one of None, 'original', 'match_rms_adamw'; got 'half'",
        ),
        (lambda p: Muon([p], ns_coefficients=(1, 2)), r"ns_coefficients must be 3 finite numbers; got \(1, 2\)"),
        (
            lambda p: SOAP([p], precondition_frequency=2.5),
            r"precondition_frequency must be a whole number from 1; got 2\.5",
        ),
        (lambda p: Adafactor([p], d=0.6), r"d must be a finite number of at least 1; got 0\.6"),
        (lambda p: SOAP([p], max_precond_dim=0), r"max_precond_dim must be a whole number from 1; got 0"),
        (
            lambda p: SOAP([p], data_format="nhwc"),
            r"data_format must be one of 'channels_first', 'channels_last'; got 'nhwc'",
        ),
        (lambda p: SOAP([p], shampoo_beta=-1), r"shampoo_beta must be at least 0 and below 1; got -1"),
        (lambda p: SOAP([{"params": [p], "shampo_beta": 0.9}]), r"SOAP has no hyperparameter 'shampo_beta'; did you mean"),
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
