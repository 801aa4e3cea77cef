"""Where several processes train together: two of them, over gloo. They are started once, and do everything in turn."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import gradus.optim
from gradus import distributed
from gradus.schedules import Constant, Plateau
from processes import spawned

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch can't distribute")
STEPS = 10


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 11), nn.Tanh(), nn.Linear(11, 3))


def _wrapped(kind: str) -> Any:
    net = _net()
    if kind == "DDP":
        return nn.parallel.DistributedDataParallel(net)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

    if kind == "FSDP2":
        return fully_shard(net, mesh=init_device_mesh("cpu", (2,)))
    inner = FullyShardedDataParallel(net[2], device_id=torch.device("cpu"), use_orig_params="original" in kind)
    whole = nn.Sequential(net[0], net[1], inner)
    return FullyShardedDataParallel(whole, device_id=torch.device("cpu"), use_orig_params="original" in kind)


def _batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 6, generator=generator), torch.randn(8, 3, generator=generator)) for _ in range(STEPS)]


def _alone(clip: float | None) -> list[torch.Tensor]:
    """The parameters after training in one process, with torch's optimizer and torch's clipping."""
    net = _net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    for inputs, targets in _batches():
        optimizer.zero_grad()
        ((net(inputs) - targets) ** 2).mean().backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimizer.step()
    return [param.detach() for param in net.parameters()]


def _train(rank: int, world: int, kind: str, backend: str, clip: float | None) -> list[torch.Tensor]:
    """What each process does: half of every batch, and a save and a load in the middle."""
    net = _wrapped(kind)
    optimizer = gradus.optim.AdamW(net.parameters(), lr=0.01, backend=backend, clip_norm=clip)
    for step, (inputs, targets) in enumerate(_batches()):
        optimizer.zero_grad()
        ((net(inputs[rank::world]) - targets[rank::world]) ** 2).mean().backward()
        optimizer.step()
        if step == STEPS // 2:
            saved = optimizer.state_dict()
            optimizer = gradus.optim.AdamW(net.parameters(), lr=0.01, backend=backend, clip_norm=clip)
            optimizer.load_state_dict(saved)
    params = [param.full_tensor() if hasattr(param, "full_tensor") else param for param in net.parameters()]
    return [param.detach() for param in params]


def _take_steps(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for inputs, targets in _batches():

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss: torch.Tensor = ((net(inputs) - targets) ** 2).mean()  # noqa: B023 - called in this turn
            loss.backward()
            return loss

        optimizer.step(closure)


def _train_whole(_: int, __: int, name: str) -> list[torch.Tensor]:
    """What each process does, on the whole of every batch, since SOAP's axes turn on the last bit of a gradient."""
    net = _wrapped("FSDP2")
    _take_steps(net, getattr(gradus.optim, name)(net.parameters(), lr=0.01))
    return [param.full_tensor().detach() for param in net.parameters()]


def _observe(rank: int, _: int) -> list[float]:
    """Each process sees metrics of its own."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = gradus.Scheduler(optimizer, lr=Constant() * Plateau(patience=0, factor=0.5))
    rates = []
    for metric in ([3.0, 2.0, 2.5, 1.0, 1.5], [1.0, 2.0, 3.0, 4.0, 5.0])[rank]:
        scheduler.observe(metric)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


class Failing(torch.autograd.Function):
    """Nothing forward; an error in the pass backward."""

    @staticmethod
    def forward(_: Any, value: torch.Tensor) -> torch.Tensor:
        return value.clone()

    @staticmethod
    def backward(_: Any, __: torch.Tensor) -> None:
        raise RuntimeError("injected")


def _find(rank: int, world: int, kind: str) -> tuple[str, list[list[Any]]]:
    """Each process tests the range on batches of its own, and keeps what it found and what it was left with.

    Further tests are broken off in the loss, in the pass forward and in the pass backward. After each a twin that was left
    alone trains on with it.
    """
    pairs = []
    for _ in range(2):
        net = _wrapped(kind)
        pairs.append((net, torch.optim.AdamW(net.parameters(), lr=0.01)))
    net, optimizer = pairs[0]
    batches = [(inputs[rank::world], targets[rank::world]) for inputs, targets in _batches()[: STEPS - rank]]

    def tensors(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
        params = optimizer.param_groups[0]["params"]
        found = [*params, *(param.grad for param in params if param.grad is not None)]
        found += [slot for state in optimizer.state.values() for slot in state.values()]
        return [getattr(one, "_local_tensor", one).detach().clone() for one in found]

    def loss_fn(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        calls.append(None)
        if place == "loss" and len(calls) == 20:
            raise RuntimeError("injected")
        if place == "backward" and len(calls) == 20:
            output = Failing.apply(output)  # type: ignore[no-untyped-call]
        return torch.nn.functional.mse_loss(output, target)

    def fail_forward(*_: Any) -> None:
        if place == "forward" and len(calls) == 20:
            raise RuntimeError("injected")

    next(one for one in net.modules() if isinstance(one, nn.Tanh)).register_forward_hook(fail_forward)
    found, same = "", []
    for place in ("nowhere", "loss", "forward", "backward"):
        before, calls = tensors(optimizer), list[None]()
        options: dict[str, Any] = {"steps": 20, "start": 0.01, "end": 1.0, "progress": False}
        if place == "nowhere":
            found = gradus.range_test(net, optimizer, loss_fn, batches, **options).to_json()
        else:
            with pytest.raises(RuntimeError, match="injected"):
                gradus.range_test(net, optimizer, loss_fn, batches, **options, verify=False)
        place, after = "nowhere", tensors(optimizer)
        for model, its_optimizer in pairs:
            for inputs, targets in batches[:2]:
                its_optimizer.zero_grad()
                torch.nn.functional.mse_loss(model(inputs), targets).backward()
                its_optimizer.step()
        same += [before, after], [tensors(its_optimizer) for _, its_optimizer in pairs]
    return found, same


def _act_as_one(rank: int, world: int) -> dict[str, Any]:
    """What each process sees of the others, and of their failures."""
    return {
        "up": distributed.is_up(),
        "main": distributed.is_main(),
        "gathered": distributed.all_gather(rank),
        "world": (distributed.world_size(), world),
        "broadcast": distributed.broadcast(f"of {rank}"),
        "made": distributed.made_by_main(lambda: f"by {rank}"),
        "mean": distributed.mean_over_processes(torch.tensor([float(rank), 1.0])).tolist(),
        "failures": [_failure(lambda: distributed.all_or_none(lambda: 1 // (1 - rank))), _failure(lambda: _of_main(rank))],
    }


def _of_main(rank: int) -> Any:
    return distributed.made_by_main(lambda: [][rank])


def _failure(make: Any) -> str:
    try:
        make()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "none"


TRAINED = [(kind, *how) for kind in ("DDP", "FSDP2") for how in (("auto", 0.1), ("reference", None), ("reference", 0.1))]
KINDS = ["DDP", "FSDP1", "FSDP1, original parameters", "FSDP2"]
DEEDS: dict[str, Callable[[int, int], Any]] = {
    "as one": _act_as_one,
    "metrics": _observe,
    **{f"found {kind}": partial(_find, kind=kind) for kind in KINDS},
    **{f"trained {how}": partial(_train, kind=how[0], backend=how[1], clip=how[2]) for how in TRAINED},
}


def _do_all(rank: int, world: int, out: str, whole: list[str]) -> None:
    deeds = {**DEEDS, **{f"whole {name}": partial(_train_whole, name=name) for name in whole}}
    torch.save({name: deed(rank, world) for name, deed in deeds.items()}, f"{out}/{rank}.pt")


@pytest.fixture(scope="module")
def whole() -> list[str]:
    """The optimizers that must see whole tensors."""
    from optim_registry import CLASSES, OF_ELEMENTS, program_of  # which takes long, and every process imports this module

    with_norms = [name for name in OF_ELEMENTS if program_of(CLASSES[name]([torch.zeros(2)], lr=0.1)).passes[1:]]
    return ["LBFGS", *(name for name in CLASSES if name not in OF_ELEMENTS), *with_norms]


@pytest.fixture(scope="module")
def done(whole: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What came of each deed, by process."""
    folder = tmp_path_factory.mktemp("done")
    spawned(_do_all, 2, str(folder), whole)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("how", TRAINED, ids=str)
def test_two_processes_train_as_one(how: tuple[str, str, float | None], done: list[dict[str, Any]]) -> None:
    """Under DDP and FSDP2 (parameters as DTensors), clipping and a resume included, two processes do what one does."""
    for each in done:
        for got, want in zip(each[f"trained {how}"], _alone(how[2]), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


def test_rules_of_whole_tensors_see_the_whole_of_sharded_ones(whole: list[str], done: list[dict[str, Any]]) -> None:
    """Under FSDP2, unevenly sharded matrices and vectors included, norms and factors are of the tensor and not of a part."""
    for name in whole:
        net = _net()
        _take_steps(net, getattr(gradus.optim, name)(net.parameters(), lr=0.01))
        for each in done:
            for got, want in zip(each[f"whole {name}"], net.parameters(), strict=True):
                torch.testing.assert_close(got, want.detach(), msg=lambda text, name=name: f"{name}: {text}")


def test_a_metric_is_judged_once_for_all_processes(done: list[dict[str, Any]]) -> None:
    """However the processes' metrics differ, all go by the first one's, so that their rates are the same."""
    for each in done:
        assert each["metrics"] == [1.0, 1.0, 0.5, 0.5, 0.25]


@pytest.mark.parametrize("kind", KINDS)
def test_a_range_test_decides_alike_everywhere_and_puts_back_each_part(kind: str, done: list[dict[str, Any]]) -> None:
    """Whatever batches each process has, all find the same, have everything back, also after errors, and train on alike."""
    one, other = (each[f"found {kind}"] for each in done)
    assert one[0] == other[0] != ""
    for _, same in (one, other):
        assert len(same) == 8
        for ours, theirs in same:
            for mine, twins in zip(ours, theirs, strict=True):
                assert torch.equal(mine, twins)


def test_processes_act_as_one(done: list[dict[str, Any]]) -> None:
    """All have what the main one has, gather in the order of ranks, and fail where one of them fails."""
    first, second = (dict(each["as one"]) for each in done)
    assert first.pop("main")
    assert not second.pop("main")
    failures = (first.pop("failures"), second.pop("failures"))
    assert (
        first
        == second
        == {"up": True, "gathered": [0, 1], "world": (2, 2), "broadcast": "of 0", "made": "by 0", "mean": [0.5, 1.0]}
    )
    division, indexing = "integer division or modulo by zero", "list index out of range"
    assert failures == (
        [f"GradusError: process 1: {division}", f"IndexError: {indexing}"],
        [f"ZeroDivisionError: {division}", f"GradusError: process 0: {indexing}"],
    )


def test_a_process_alone_acts_by_itself() -> None:
    """Without torch.distributed everything is this process's own."""
    assert (distributed.is_up(), distributed.rank(), distributed.world_size(), distributed.is_main()) == (False, 0, 1, True)
    assert distributed.all_gather(1) == [1]
    assert distributed.broadcast(1) == distributed.made_by_main(lambda: 1) == 1
    with pytest.raises(ZeroDivisionError):
        distributed.all_or_none(lambda: 1 // 0)
