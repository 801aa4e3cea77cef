"""Where several processes train together: two of them, over gloo."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as multiprocessing
from torch import nn

import gradus.optim
from gradus.schedules import Constant, Plateau

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
    from torch.distributed.fsdp import fully_shard

    return fully_shard(net, mesh=init_device_mesh("cpu", (2,)))


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


def _train(rank: int, meeting: str, kind: str, backend: str, clip: float | None, out: str) -> None:
    """What each process does: half of every batch, and a save and a load in the middle."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    net = _wrapped(kind)
    optimizer = gradus.optim.AdamW(net.parameters(), lr=0.01, backend=backend, clip_norm=clip)
    for step, (inputs, targets) in enumerate(_batches()):
        optimizer.zero_grad()
        ((net(inputs[rank::2]) - targets[rank::2]) ** 2).mean().backward()
        optimizer.step()
        if step == STEPS // 2:
            saved = optimizer.state_dict()
            optimizer = gradus.optim.AdamW(net.parameters(), lr=0.01, backend=backend, clip_norm=clip)
            optimizer.load_state_dict(saved)
    params = [param.full_tensor() if hasattr(param, "full_tensor") else param for param in net.parameters()]
    torch.save([param.detach() for param in params], f"{out}{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("kind", ["DDP", "FSDP2"])
@pytest.mark.parametrize(("backend", "clip"), [("auto", 0.1), ("reference", None), ("reference", 0.1)])
def test_two_processes_train_as_one(kind: str, backend: str, clip: float | None, tmp_path: Path) -> None:
    """Under DDP and FSDP2 (parameters as DTensors), clipping and a resume included, two processes do what one does."""
    arguments = (str(tmp_path / "meeting"), kind, backend, clip, str(tmp_path / "params"))
    multiprocessing.spawn(_train, arguments, nprocs=2)
    for rank in range(2):
        for got, want in zip(torch.load(tmp_path / f"params{rank}"), _alone(clip), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


def _observe(rank: int, meeting: str, out: str) -> None:
    """Each process sees metrics of its own."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = gradus.Scheduler(optimizer, lr=Constant() * Plateau(patience=0, factor=0.5))
    rates = []
    for metric in ([3.0, 2.0, 2.5, 1.0, 1.5], [1.0, 2.0, 3.0, 4.0, 5.0])[rank]:
        scheduler.observe(metric)
        rates.append(optimizer.param_groups[0]["lr"])
    torch.save(rates, f"{out}{rank}")
    torch.distributed.destroy_process_group()


def test_a_metric_is_judged_once_for_all_processes(tmp_path: Path) -> None:
    """However the processes' metrics differ, all go by the first one's, so that their rates are the same."""
    multiprocessing.spawn(_observe, (str(tmp_path / "meeting"), str(tmp_path / "rates")), nprocs=2)
    for rank in range(2):
        assert torch.load(tmp_path / f"rates{rank}") == [1.0, 1.0, 0.5, 0.5, 0.25]


def _find(rank: int, meeting: str, kind: str, out: str) -> None:
    """Each process tests the range on batches of its own, and keeps what it found and what it was left with."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    net = _wrapped(kind)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    batches = [(inputs[rank::2], targets[rank::2]) for inputs, targets in _batches()[: STEPS - rank]]

    def tensors() -> list[torch.Tensor]:
        params = [param.to_local() if hasattr(param, "to_local") else param for param in net.parameters()]
        return [param.detach().clone() for param in params]

    def fail(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        calls.append(None)
        if len(calls) == 20:
            raise RuntimeError("injected")
        return torch.nn.functional.mse_loss(output, target)

    before, calls = tensors(), list[None]()
    found = gradus.range_test(net, optimizer, torch.nn.functional.mse_loss, batches, steps=30, start=1e-4, progress=False)
    after, state = tensors(), optimizer.state_dict()["state"]
    with pytest.raises(RuntimeError, match="injected"):
        gradus.range_test(net, optimizer, fail, batches, steps=30, start=1e-4, progress=False)
    torch.save((found.to_json(), before, after, tensors(), len(state)), f"{out}{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("kind", ["DDP", "FSDP2"])
def test_a_range_test_decides_alike_everywhere_and_puts_back_each_part(kind: str, tmp_path: Path) -> None:
    """Whatever batches each process has, all stop together and find the same, and have their parameters back."""
    multiprocessing.spawn(_find, (str(tmp_path / "meeting"), kind, str(tmp_path / "found")), nprocs=2)
    one, other = (torch.load(tmp_path / f"found{rank}") for rank in range(2))
    assert one[0] == other[0]
    for _, before, after, after_failure, slots in (one, other):
        assert slots == 0
        for was, now, later in zip(before, after, after_failure, strict=True):
            assert torch.equal(was, now)
            assert torch.equal(was, later)
