"""The known troubles of optimizers, each by its number and name: what happens elsewhere, and doesn't here.

Numbers with # are issues of pytorch/pytorch, unless another project is named.
"""

import copy
import tracemalloc
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import gradus.optim
from gradus.backends.cpu import CpuBatch, kernels
from gradus.errors import InvalidInput
from gradus.rules.classical import adam
from optim_registry import BY_NAME, give_gradients, params

BACKENDS = ["reference", "cpu"]


def agree(ours: list[nn.Parameter], theirs: list[nn.Parameter]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_01_many_small_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five hundred tensors of one element are updated by one call of one kernel (#3929, #134191)."""
    ours, theirs = params(shapes=[(1,)] * 500), params(shapes=[(1,)] * 500)
    got, want = gradus.optim.AdamW(ours), torch.optim.AdamW(theirs)
    calls: list[Any] = []
    run = CpuBatch._run
    monkeypatch.setattr(CpuBatch, "_run", lambda self, *args: (calls.append(args), run(self, *args)))
    for step in range(3):
        give_gradients(ours, theirs, step=step)
        got.step()
        want.step()
    assert len(calls) == 3
    agree(ours, theirs)


@pytest.mark.parametrize("name", BY_NAME)
def test_02_kernels_for_four_rules_only(name: str) -> None:
    """Every elementwise rule has a kernel of one pass, made from the rule itself (#108491)."""
    (param,) = params(torch.float32, shapes=[(5,)])
    give_gradients([param], step=0)
    optimizer = BY_NAME[name].ours([param], backend="cpu")
    optimizer.step()
    assert [type(batch) for batch in optimizer._plan.batches] == [CpuBatch]


def test_03_temporaries() -> None:
    """A step makes nothing as large as a parameter (#97712, torchtune#389): its own arrays are a few thousand bytes."""
    some = params(torch.float32, [(1_000_000,)])
    optimizer = gradus.optim.Adam(some)
    give_gradients(some, step=0)
    optimizer.step()
    tracemalloc.start()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        optimizer.step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(event.self_cpu_memory_usage for event in profile.key_averages() if event.self_cpu_memory_usage > 0) < 10_000
    assert peak < 1_000_000


def test_04_a_rate_that_changes_recompiles() -> None:
    """Hyperparameters are data: a rate that changes each step, number or tensor, compiles nothing (#107076)."""
    some = params(torch.float32, shapes=[(5,)])
    optimizer = gradus.optim.Adam(some)
    give_gradients(some, step=0)
    optimizer.step()
    before = kernels.compiled.cache_info().misses
    for step in range(100):
        optimizer.param_groups[0]["lr"] = 1e-3 / (step + 1) if step % 2 else torch.tensor(1e-3 / (step + 1))
        optimizer.param_groups[0]["betas"] = (0.9 - step / 1000, 0.999)
        optimizer.step()
    assert kernels.compiled.cache_info().misses == before


def test_05_compiling_takes_a_minute_for_each_model() -> None:
    """Kernels are compiled for a rule and its dtypes: another model compiles nothing (#110506)."""
    made = []
    for shapes in ([(3,)], [(7, 2)] * 40):
        some = params(torch.float32, shapes)
        give_gradients(some, step=0)
        gradus.optim.Adam(some).step()
        made.append(kernels.compiled.cache_info().misses)
    assert made[0] == made[1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_06_loading_casts_the_state(dtype: torch.dtype) -> None:
    """A state in single precision of a parameter in half precision is loaded bit for bit (#43706, #75224, ao#3314)."""
    (param,) = params(dtype, shapes=[(50,)])
    give_gradients([param], step=0)
    first, second = gradus.optim.Adam([param]), gradus.optim.Adam([param])
    first.step()
    second.load_state_dict(first.state_dict())
    for slot in ("exp_avg", "exp_avg_sq"):
        assert second.state[param][slot].dtype == torch.float32
        assert torch.equal(second.state[param][slot], first.state[param][slot])


def test_07_loading_ignores_names_and_shapes() -> None:
    """States find their parameters by name, and a shape that doesn't fit is refused unharmed (#1489, #3852)."""
    weight, bias = params(shapes=[(4, 3), (4,)])
    named = gradus.optim.Adam([("weight", weight), ("bias", bias)])
    give_gradients([weight, bias], step=0)
    named.step()
    turned = gradus.optim.Adam([("bias", bias), ("weight", weight)])
    turned.load_state_dict(named.state_dict())
    assert all(torch.equal(turned.state[p]["exp_avg"], named.state[p]["exp_avg"]) for p in (weight, bias))
    permuted = gradus.optim.Adam([bias, weight])
    unnamed = gradus.optim.Adam([weight, bias])
    give_gradients([weight, bias], step=0)
    unnamed.step()
    with pytest.raises(InvalidInput, match=r"a parameter of shape \(4,\) has a exp_avg of shape \(4,\); the saved one's is"):
        permuted.load_state_dict(unnamed.state_dict())
    assert not permuted.state
    missing = named.load_state_dict(gradus.optim.Adam([("weight", weight)]).state_dict(), strict=False)
    assert missing == (["bias"], [])


def test_08_a_checkpoint_turns_adam_into_adamw() -> None:
    """Another rule's state is refused, groups stay the same objects, and the backend stays as chosen (#119168, apex#766)."""
    (param,) = params(shapes=[(3,)])
    give_gradients([param], step=0)
    adamw, optimizer = gradus.optim.AdamW([param]), gradus.optim.Adam([param], backend="reference")
    with pytest.raises(InvalidInput, match="adamw"):
        optimizer.load_state_dict(adamw.state_dict())
    group = optimizer.param_groups[0]
    saved = gradus.optim.Adam([param], lr=0.5, backend="cpu").state_dict()
    saved["param_groups"][0]["foreach"] = True
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0] is group
    assert (group["lr"], group["foreach"], optimizer.backend) == (0.5, None, "reference")


@pytest.mark.parametrize("backend", BACKENDS)
def test_09_bfloat16_swallows_small_steps(backend: str) -> None:
    """A thousand decays by 1e-4 leave 0.905 of a bfloat16 weight of 1 on average, and v reaches its limit (#120376)."""
    weight = nn.Parameter(torch.ones(4000, dtype=torch.bfloat16))
    optimizer = gradus.optim.AdamW([weight], lr=0.01, weight_decay=0.01, backend=backend, stochastic_rounding=True)
    for _ in range(1000):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
    assert weight.double().mean().item() == pytest.approx(0.905, rel=0.01)
    still = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    optimizer = gradus.optim.Adam([still], lr=0.0, backend=backend)
    for _ in range(5000):
        still.grad = torch.ones_like(still)
        optimizer.step()
    assert optimizer.state[still]["exp_avg_sq"].item() == pytest.approx(1 - 0.999**5000, rel=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_10_small_numbers_underflow_and_large_ones_stick(backend: str) -> None:
    """In float16 eps keeps 0/0 away, and a step is counted past 2^24 (optax#1754, ao#4915)."""
    (param,) = params(torch.float16, shapes=[(5,)])
    before = param.detach().clone()
    optimizer = gradus.optim.Adam([param], backend=backend)
    param.grad = torch.zeros_like(param)
    optimizer.step()
    assert torch.equal(param, before)
    optimizer.state[param]["step"] = 2**24
    for _ in range(2):
        optimizer.step()
    assert optimizer.state[param]["step"] == 2**24 + 2


LAYOUTS = ["whole", "transposed", "strided", "sliced", "expanded"]


def laid_out(values: Tensor, layout: str) -> Tensor:
    """The same values, lying in another order or apart; `expanded` takes the first column for all."""
    if layout == "transposed":
        return values.T.contiguous().T
    if layout == "strided":
        return torch.stack([values, torch.full_like(values, 7.0)], dim=-1)[..., 0]
    if layout == "sliced":
        return torch.cat([torch.full_like(values, 7.0), values, torch.full_like(values, 7.0)])[len(values) : 2 * len(values)]
    return values[:, :1].expand_as(values) if layout == "expanded" else values


@given(
    st.sampled_from(LAYOUTS[:-1]), st.sampled_from(LAYOUTS), st.integers(0, 6), st.integers(1, 6), st.sampled_from(BACKENDS)
)
def test_11_layouts_that_differ(of_param: str, of_grad: str, rows: int, columns: int, fast: bool) -> None:
    """Wherever elements lie, each gets its own gradient, and memory between them stays (#106951, #110758, #126585)."""
    values, gradient = torch.randn(rows, columns), torch.randn(rows, columns)
    ours = nn.Parameter(values.clone())
    ours.data = laid_out(values.clone(), of_param)
    theirs = nn.Parameter(values.clone())
    ours.grad = laid_out(gradient.clone(), of_grad)
    theirs.grad = ours.grad.clone(memory_format=torch.contiguous_format)
    gradus.optim.Adam([ours], lr=0.1, backend="auto" if fast else "reference").step()
    torch.optim.Adam([theirs], lr=0.1).step()
    torch.testing.assert_close(ours.detach().contiguous(), theirs.detach())
    if of_param == "strided":
        whole = torch.as_strided(ours.detach(), (rows, columns, 2), (2 * columns, 2, 1))
        assert bool((whole[..., 1] == 7).all())


def test_12_unscaling_and_clipping_in_the_wrong_order() -> None:
    """A GradScaler's scale is divided out before the norm is clipped, and the gradients stay as they are (#90752)."""
    ours, theirs = params(torch.float32, shapes=[(4, 3)]), params(torch.float32, shapes=[(4, 3)])
    scaler, other = (torch.amp.GradScaler("cpu", init_scale=1024.0) for _ in range(2))
    got, want = gradus.optim.Adam(ours, clip_norm=0.5), torch.optim.Adam(theirs)
    for step in range(4):
        for some, its in ((ours, scaler), (theirs, other)):
            some[0].grad = None
            generator = torch.Generator().manual_seed(step)
            its.scale((some[0] * torch.randn(4, 3, generator=generator)).sum()).backward()
        kept = ours[0].grad.clone()
        scaler.step(got)
        scaler.update()
        assert torch.equal(ours[0].grad, kept)
        other.unscale_(want)
        nn.utils.clip_grad_norm_(theirs, 0.5)
        other.step(want)
        other.update()
    agree(ours, theirs)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", BY_NAME)
def test_13_gradients_are_written(name: str, backend: str) -> None:
    """No rule, option or backend changes a gradient; torch's Nesterov SGD does."""
    some = params(torch.float32, shapes=[(6,), (2, 3)])
    options = {"momentum": 0.9, "nesterov": True} if name == "SGD" else {}
    optimizer = getattr(gradus.optim, name)(some, backend=backend, clip_norm=0.1, maximize=True, **options)
    for step in range(2):
        give_gradients(some, step=step)
        kept = [param.grad.clone() for param in some]
        optimizer.step()
        assert all(torch.equal(param.grad, grad) for param, grad in zip(some, kept, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_14_a_gradient_that_appears_late_crashes(backend: str) -> None:
    """A parameter whose gradient comes later begins then, and one that is frozen stays; torch's fused SGD crashes."""
    ours, theirs = params(shapes=[(3,), (4,), (5,)]), params(shapes=[(3,), (4,), (5,)])
    got, want = gradus.optim.Adam(ours, backend=backend), torch.optim.Adam(theirs)
    for step in range(12):
        give_gradients(ours, theirs, step=step)
        for some in (ours, theirs):
            some[0].grad = None
            if step < 5 or step == 8:
                some[1].grad = None
        got.step()
        want.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
    assert ours[0] not in got.state
    assert got.state[ours[1]]["step"] == 6


def test_15_groups_options_are_ignored_misspelt_and_shared() -> None:
    """A group's own initial value holds, a misspelt key is refused by name, and groups given twice are copied."""
    first, second = params(shapes=[(2,), (2,)])
    groups = [{"params": [first], "initial_accumulator_value": 0.5}, {"params": [second]}]
    optimizer, other = gradus.optim.Adagrad(groups), gradus.optim.Adagrad(groups)
    first.grad, second.grad = torch.zeros_like(first), torch.zeros_like(second)
    optimizer.step()
    assert optimizer.state[first]["sum"].tolist() == [0.5, 0.5]
    assert optimizer.state[second]["sum"].tolist() == [0.0, 0.0]
    optimizer.param_groups[0]["lr"] = 7.0
    assert other.param_groups[0]["lr"] == 0.01
    assert groups[0].keys() == {"params", "initial_accumulator_value"}
    with pytest.raises(InvalidInput, match="Adagrad has no hyperparameter 'weigth_decay'; did you mean 'weight_decay'"):
        gradus.optim.Adagrad([{"params": [first], "weigth_decay": 0.1}])


@pytest.mark.parametrize("backend", [*BACKENDS, *(["cuda"] if find_spec("triton") else [])])
@pytest.mark.parametrize(
    ("option", "clip"), [("clip_norm", nn.utils.clip_grad_norm_), ("clip_value", nn.utils.clip_grad_value_)]
)
def test_16_clipping_by_hand(option: str, clip: Any, backend: str) -> None:
    """Gradients are clipped by norm or value as they are read, as torch's functions would before (#309, #56843)."""
    ours, theirs = params(shapes=[(5,), (2, 3)]), params(shapes=[(5,), (2, 3)])
    got, want = gradus.optim.Adam(ours, **{option: 0.3}, backend=backend), torch.optim.Adam(theirs)
    for step in range(3):
        give_gradients(ours, theirs, step=step)
        got.step()
        clip(theirs, 0.3)
        want.step()
    agree(ours, theirs)


def test_17_many_groups_kill_batching() -> None:
    """Many groups with their own rates are one batch, and do what they would alone (#1402, rf-detr#1409)."""
    ours, alone = params(shapes=[(3,)] * 20), params(shapes=[(3,)] * 20)
    optimizer = gradus.optim.AdamW(
        [{"params": [p], "lr": 0.01 * (i + 1), "weight_decay": 0.1 * i} for i, p in enumerate(ours)]
    )
    others = [torch.optim.AdamW([p], lr=0.01 * (i + 1), weight_decay=0.1 * i) for i, p in enumerate(alone)]
    for step in range(5):
        give_gradients(ours, alone, step=step)
        optimizer.step()
        for other in others:
            other.step()
    assert len(optimizer._plan.batches) == 2  # without weight decay there is less to do
    for a, b in zip(ours, alone, strict=True):
        torch.testing.assert_close(a, b)


def test_18_muon_needs_a_second_optimizer() -> None:
    """Matrices go to Muon and the rest to AdamW in one optimizer with one state dict (Muon#11)."""
    make = lambda: params(torch.float32, shapes=[(4, 3), (4,)])  # noqa: E731
    ours, theirs = make(), make()
    got = gradus.optim.Muon(ours, lr=0.02)
    muon = torch.optim.Muon(theirs[:1], lr=0.02)
    group = got.param_groups[0]
    adamw = {key: group[f"adamw_{key}"] for key in ("lr", "betas", "eps", "weight_decay")}
    rest = torch.optim.AdamW(theirs[1:], **adamw)
    for step in range(3):
        give_gradients(ours, theirs, step=step)
        for optimizer in (got, muon, rest):
            optimizer.step()
        if step == 1:
            saved = got.state_dict()
            got = gradus.optim.Muon(ours, lr=0.02)
            got.load_state_dict(saved)
    torch.testing.assert_close(ours[1], theirs[1])
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_19_sparse_gradients_have_an_optimizer_of_their_own(backend: str) -> None:
    """One Adam with decay takes an embedding's sparse gradient and a layer's dense one (#25484, #1285)."""
    table, layer = nn.Embedding(10, 3, sparse=True, dtype=torch.float64), nn.Linear(3, 2, dtype=torch.float64)
    untouched = table.weight.detach()[5:].clone()
    optimizer = gradus.optim.AdamW([*table.parameters(), *layer.parameters()], weight_decay=0.1, backend=backend)
    touched, theirs = nn.Parameter(table.weight.detach()[:2].clone()), copy.deepcopy(layer)
    want = torch.optim.AdamW([touched, *theirs.parameters()], weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        want.zero_grad()
        layer(table(torch.tensor([0, 1, 1]))).square().sum().backward()
        theirs(touched[[0, 1, 1]]).square().sum().backward()
        optimizer.step()
        want.step()
    torch.testing.assert_close(table.weight.detach()[:2], touched.detach())
    agree([*layer.parameters()], [*theirs.parameters()])
    assert torch.equal(table.weight.detach()[5:], untouched)


def test_20_lbfgs_ends_in_nan() -> None:
    """L-BFGS with a line search steps back from where the loss is no number, and takes several groups (#5953, #6838)."""
    a, b = nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([2.0]))
    optimizer = gradus.optim.LBFGS([{"params": [a]}, {"params": [b], "lr": 0.5}], line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (a - 0.1 - torch.log(a) * 0.1 + (b - 1).square()).sum()  # no number where a < 0
        loss.backward()
        return loss

    for _ in range(10):
        optimizer.step(closure)
    torch.testing.assert_close(torch.cat([a, b]).detach(), torch.tensor([0.1, 1.0]), rtol=0, atol=1e-3)


def test_21_schedule_free_saves_the_wrong_weights() -> None:
    """Averages are looked at within `averaged()`; a step there is an error, and a state says it (schedule_free#22, #48)."""
    (param,) = params(shapes=[(3,)])
    optimizer = gradus.optim.AdamWScheduleFree([param])
    give_gradients([param], step=0)
    optimizer.step()
    training = param.detach().clone()
    with optimizer.averaged():
        with pytest.raises(InvalidInput, match=r"call optimizer\.train\(\) first"):
            optimizer.step()
        assert optimizer.state_dict()["param_groups"][0]["mode"] == "eval"
    torch.testing.assert_close(param.detach(), training)
    optimizer.step()


def test_22_dtensors_among_tensors_crash(tmp_path: Path) -> None:
    """Tensors and DTensors in one list are updated, each where it lies (#183207, #126670)."""
    if not torch.distributed.is_available():
        pytest.skip("this torch can't distribute")
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        ours, theirs = params(shapes=[(4, 3), (5,)]), params(shapes=[(4, 3), (5,)])
        shared = nn.Parameter(distribute_tensor(ours[0].detach(), mesh, [Shard(0)]))
        got, want = gradus.optim.Adam([shared, ours[1]]), torch.optim.Adam(theirs)
        for step in range(3):
            give_gradients(ours, theirs, step=step)
            shared.grad = distribute_tensor(ours[0].grad, mesh, [Shard(0)])
            got.step()
            want.step()
        torch.testing.assert_close(shared.full_tensor().detach(), theirs[0].detach())
        torch.testing.assert_close(ours[1], theirs[1])
    finally:
        torch.distributed.destroy_process_group()


def test_23_several_models_with_their_own_rates() -> None:
    """Rates of shape [K, 1] train K models by one call of the rule, each as it would alone (functorch#782, #54147)."""
    rates = np.array([[1e-3], [1e-2], [0.1]])
    population = np.tile(np.linspace(-1.0, 1.0, 5), (3, 1))
    m, v = np.zeros_like(population), np.zeros_like(population)
    alone = [nn.Parameter(torch.linspace(-1.0, 1.0, 5, dtype=torch.float64)) for _ in range(3)]
    others = [torch.optim.Adam([param], lr=float(rate)) for param, (rate,) in zip(alone, rates, strict=True)]
    for step in range(1, 11):
        for param, other in zip(alone, others, strict=True):
            param.grad = 3 * param.detach() + 1
            other.step()
        population, m, v, _ = adam(population, 3 * population + 1, m, v, np.zeros_like(v), step=step, lr=rates)
    np.testing.assert_allclose(population, [param.detach().numpy() for param in alone], rtol=1e-10)
