"""Checkpoints of sharded parameters (FSDP2): they come back on any number, bit for bit."""

import copy
import errno
import itertools
import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as multiprocessing
from torch import nn

import faults
import gradus
from gradus.checkpoint import Checkpoints, DamagedCheckpoint, latest, load, save
from gradus.checkpoint.file import packed, read
from gradus.checkpoint.state import tree_map
from gradus.errors import GradusError, InvalidInput
from gradus.files import write_whole
from gradus.schedules import Cosine
from processes import spawned

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch can't distribute")

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
    "AdamW": lambda params: torch.optim.AdamW(params, lr=0.01, amsgrad=True),
    "gradus AdamW": lambda params: gradus.optim.AdamW(params, lr=0.01),
    "gradus Lion": lambda params: gradus.optim.Lion(params, lr=0.001),
    "gradus schedule-free": lambda params: gradus.optim.AdamWScheduleFree(params, lr=0.01),
}


class Training:
    """A network whose tensors don't divide evenly, alone (0 processes), or sharded by FSDP2 across some."""

    def __init__(self, optimizer: str, world: int, seed: int) -> None:
        torch.manual_seed(seed)
        self.model: nn.Module = nn.Sequential(nn.Linear(4, 7), nn.LayerNorm(7), nn.Dropout(0.5), nn.Linear(7, 1))
        if world:
            from torch.distributed.device_mesh import init_device_mesh
            from torch.distributed.fsdp import fully_shard

            mesh = init_device_mesh("cpu", (world,))
            self.model = fully_shard(self.model, mesh=mesh)
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        self.scheduler = gradus.Scheduler(self.optimizer, lr=Cosine(20))

    @property
    def parts(self) -> dict[str, Any]:
        return {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}

    def go_on(self, steps: int) -> None:
        for _ in range(steps):
            self.optimizer.zero_grad()
            self.model(torch.randn(8, 4)).square().mean().backward()
            self.optimizer.step()
            self.scheduler.step()

    def bits(self) -> dict[str, Any]:
        """All of the state to the last bit, with whole tensors; all processes must call this."""
        return {name: bits(part.state_dict()) for name, part in self.parts.items()}


def bits(value: Any) -> Any:
    """All of a state to the last bit; a single number is one whether an optimizer keeps it as a tensor or not."""
    if isinstance(value, torch.Tensor) and value.shape == () and not value.is_complex():
        return value.item()
    if isinstance(value, torch.Tensor):
        whole = value.full_tensor() if hasattr(value, "full_tensor") else value
        return str(whole.dtype), tuple(whole.shape), whole.detach().contiguous().flatten().view(torch.uint8).tolist()
    if isinstance(value, dict):
        return {str(key): bits(member) for key, member in value.items()}
    return [bits(member) for member in value] if isinstance(value, (list, tuple)) else value


# On other numbers of processes


def _save_all(rank: int, world: int, folder: Path) -> None:
    """Save a training with each optimizer, what it is, and what becomes of it."""
    for name in OPTIMIZERS:
        training = Training(name, world, seed=rank)
        training.go_on(3)
        weight = next(training.model.parameters()).detach().clone()
        save(folder / f"{name}.ckpt", **training.parts, position=3, extra={"average": [weight]})
        now = training.bits() | {"extra": bits(weight)}
        training.go_on(3)
        later = training.bits()
        if rank == 0:
            torch.save({"now": now, "later": later}, folder / f"{name}.truth")


def _load_all(rank: int, world: int, folders: dict[int, Path]) -> None:
    """Load all of them into other trainings, which go on where they can be the same."""
    for origin, folder in folders.items():
        for name in OPTIMIZERS:
            truth = torch.load(folder / f"{name}.truth")
            training = Training(name, world, seed=10 + rank)
            training.go_on(1)
            same = origin == world
            position, extra = load(folder / f"{name}.ckpt", **training.parts, rng=same)
            assert position == 3
            assert training.bits() | {"extra": bits(extra["average"][0])} == truth["now"], (origin, name)
            if same:
                training.go_on(3)
                assert training.bits() == truth["later"], name


@pytest.fixture(scope="module")
def origins(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A folder of checkpoints for each number of processes."""
    folders = {world: tmp_path_factory.mktemp(f"from{world}") for world in (0, 1, 2)}
    for world, folder in folders.items():
        spawned(_save_all, world, folder)
    return folders


@pytest.mark.parametrize("world", [0, 1, 2, 3])
def test_a_checkpoint_comes_back_on_any_number_of_processes(world: int, origins: dict[int, Path]) -> None:
    """What some processes have saved, or one without FSDP, any other number loads: model, slots, schedule and extra to the
    last bit; on the same number the random states too, so that what is trained after it is the uninterrupted training.
    """
    spawned(_load_all, world, origins)


def test_random_states_of_another_number_of_processes_are_refused(origins: dict[int, Path]) -> None:
    """The random states of several processes aren't one's, and the way out is said."""
    training = Training("SGD", 0, seed=0)
    with pytest.raises(InvalidInput, match="has the random states of 2 processes, and here are 1; pass rng=False"):
        load(origins[2] / "SGD.ckpt", **training.parts)


def test_a_network_that_does_not_fit_is_refused(origins: dict[int, Path]) -> None:
    """Shards for another network change nothing."""
    other = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Dropout(0.5), nn.Linear(8, 1))
    before = bits(other.state_dict())
    with pytest.raises(InvalidInput, match=r"doesn't fit, and nothing is changed: .*size mismatch"):
        load(origins[2] / "SGD.ckpt", model=other, rng=False)
    assert bits(other.state_dict()) == before


@pytest.mark.filterwarnings("ignore:FSDP is switching to use `NO_SHARD`")
def test_the_older_sharding_is_refused(tmp_path: Path) -> None:
    """A model that FSDP1 wraps is refused before its processes wait for each other, with what to take instead."""

    def refused(*_: Any) -> None:
        from torch.distributed.fsdp import FullyShardedDataParallel

        model = FullyShardedDataParallel(nn.Linear(2, 3), device_id=torch.device("cpu"))
        for use in (save, load):
            with pytest.raises(InvalidInput, match=r"take torch\.distributed\.fsdp\.fully_shard instead"):
                use(tmp_path / "a.ckpt", model=model)

    spawned(refused, 1)
    assert list(tmp_path.iterdir()) == []


# Whole or absent


def names(folder: Path) -> list[str]:
    """What lies in a folder, without the chance in a name."""
    return sorted(re.sub(r"[0-9a-f]{8}$", "*", path.name) for path in folder.iterdir() if path.name[0] != ".")


def _fail_in_one(rank: int, world: int, folder: Path) -> None:
    """A write fails in the second process, and then in the first, which writes the file that comes last."""
    training = Training("AdamW", world, seed=0)
    training.go_on(1)
    save(folder / "a.ckpt", **training.parts, position=1)
    kept = training.bits()
    training.go_on(1)
    for failing, file, told in ((1, "1.shard", "process 1: .*1.shard can't be written: full"), (0, "a.ckpt", "can't be")):

        def refuse(path: Path, content: Any, failing: int = failing, file: str = file) -> None:
            if rank == failing and path.name == file:
                raise GradusError(f"{path} can't be written: full")
            write_whole(path, content)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gradus.checkpoint.shards.write_whole", refuse)
            patch.setattr("gradus.checkpoint.api.write_whole", refuse)
            with pytest.raises(GradusError, match=told if rank != failing else "can't be written: full"):
                save(folder / "a.ckpt", **training.parts, position=2)
    training.go_on(1)
    with pytest.raises(InvalidInput, match="each process has different sharded tensors; all must save the same"):
        save(folder / "a.ckpt", **training.parts, extra=next(training.model.parameters()) if rank else None)
    assert load(folder / "a.ckpt", **training.parts) == (1, None)
    assert training.bits() == kept


def test_what_one_process_can_not_write_is_not_there(tmp_path: Path) -> None:
    """If one process fails to write, all raise, the checkpoint is the one before, and nothing else is left."""
    spawned(_fail_in_one, 2, tmp_path)
    assert names(tmp_path) == ["a.ckpt", "a.ckpt.shards-*"]


def _fail_each(_: int, world: int, folder: Path) -> None:
    """Each call of the system fails in turn while one checkpoint is put in another's place."""
    states = {position: Training("AdamW", world, seed=position) for position in (1, 2)}
    found = Training("AdamW", world, seed=3)
    for training in (*states.values(), found):
        training.go_on(1)
    bits_of = {position: training.bits() for position, training in states.items()}
    path = folder / "a.ckpt"
    for call in ("open", "write", "fsync", "rename"):
        with faults.failing(call, -1, errno.EIO) as counted:
            save(path, **states[1].parts, position=1)
        assert counted.made >= 2
        for at in range(counted.made):
            save(path, **states[1].parts, position=1)
            with faults.failing(call, at, errno.ENOSPC), suppress(GradusError):
                save(path, **states[2].parts, position=2)
            position, _ = load(path, **found.parts)
            assert found.bits() == bits_of[position], (call, at)
            assert names(folder) == ["a.ckpt", "a.ckpt.shards-*"], (call, at)


def test_whichever_call_fails_there_is_a_whole_checkpoint(tmp_path: Path) -> None:
    """Whichever call of open, write, fsync and rename fails, the checkpoint before is there or the new one, and no more."""
    spawned(_fail_each, 1, tmp_path)


def _die_in_the_middle(rank: int, world: int, folder: Path, victim: int) -> None:
    """A process is killed as it is about to put its second file in its place."""
    training = Training("AdamW", world, seed=0)
    training.go_on(1)
    replace, files = Path.replace, itertools.count()

    def replace_or_die(self: Path, target: Path) -> Path:
        if rank == victim and target.name == ("0.shard", "1.shard")[victim] and next(files) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    with pytest.MonkeyPatch.context() as patch, Checkpoints(folder) as checkpoints:
        patch.setattr(Path, "replace", replace_or_die)
        for step in (1, 2):
            checkpoints.save(step, **training.parts, extra=bits(training.model.state_dict()), rng=False)
            training.go_on(1)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_killed_leaves_the_checkpoint_before(victim: int, tmp_path: Path) -> None:
    """After SIGKILL of either process within a save, the checkpoint before is loaded, and the next save clears the rest."""
    with pytest.raises(multiprocessing.ProcessExitedException, match="SIGKILL") as caught:
        spawned(_die_in_the_middle, 2, tmp_path, victim)
    assert caught.value.error_index == victim
    training = Training("AdamW", 0, seed=1)
    with Checkpoints(tmp_path) as checkpoints:
        found = checkpoints.load(**training.parts)
        assert found is not None
        assert found == (1, bits(training.model.state_dict()))
        checkpoints.save(2, **training.parts)
    assert names(tmp_path) == ["step-000000000001.ckpt", "step-000000000001.ckpt.shards-*", "step-000000000002.ckpt"]


def _keep(rank: int, world: int, folder: Path) -> None:
    training = Training("gradus AdamW", world, seed=0)
    with Checkpoints(folder, keep=2, best="min") as checkpoints:
        for step, metric in enumerate([3.0, 1.0, 2.0, 4.0, 5.0], start=1):
            training.go_on(1)
            checkpoints.save(step, **training.parts, metric=metric)
        assert checkpoints.load(**training.parts) == (5, None)
    with (
        Checkpoints(folder.parent / "b", asynchronous=True) as other,
        pytest.raises(InvalidInput, match="leave asynchronous"),
    ):
        other.save(1, **training.parts)
    damaged = folder / "step-000000000005.ckpt"
    if rank == 0:
        flip(shards_of(damaged) / "1.shard")
    torch.distributed.barrier()
    with pytest.raises(DamagedCheckpoint, match=r"1\.shard is damaged"):
        load(damaged, **training.parts)  # it is the second process's own shard, and both hear of it


def shards_of(head: Path) -> Path:
    return head.parent / read(head)["shards"]["folder"]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-200] ^= 1
    path.write_bytes(content)


def test_the_last_and_the_best_are_kept_with_their_shards(tmp_path: Path) -> None:
    """The last N and the best have their shards, each once, and no others lie there; a damaged shard is another's turn."""
    folder = tmp_path / "a"
    spawned(_keep, 2, folder)
    heads = ["best.ckpt", *(f"step-00000000000{step}.ckpt" for step in (4, 5))]
    assert names(folder) == sorted(heads + [f"step-00000000000{step}.ckpt.shards-*" for step in (2, 4, 5)])
    training = Training("gradus AdamW", 0, seed=0)
    assert load(folder / "best.ckpt", **training.parts, rng=False).position == 2
    with pytest.warns(UserWarning, match=r"1\.shard is damaged: its bytes aren't .*; the checkpoint before it is used"):
        assert latest(folder) == folder / "step-000000000004.ckpt"
    with Checkpoints(folder, best="max") as checkpoints:  # a training that isn't sharded clears up in the same way
        for step in (6, 7):
            checkpoints.save(step, **training.parts, metric=9.0 - step)
    assert names(folder) == ["best.ckpt", "step-000000000006.ckpt", "step-000000000007.ckpt"]


# Damaged and hostile


def test_shards_that_are_lost_or_cut_are_named(origins: dict[int, Path], tmp_path: Path) -> None:
    """A file that is lost, cut or another's is named, by loading and by `latest`."""
    head = tmp_path / "step-000000000003.ckpt"
    folder = shards_of(origins[2] / "SGD.ckpt")
    (tmp_path / folder.name).mkdir()
    head.write_bytes((origins[2] / "SGD.ckpt").read_bytes())
    first, second = (tmp_path / folder.name / f"{number}.shard" for number in (0, 1))
    first.write_bytes((folder / "0.shard").read_bytes())
    model = Training("SGD", 0, seed=0).model
    before = bits(model.state_dict())
    whole = (folder / "1.shard").read_bytes()
    for content, told in (
        (None, f"{head} is not whole: .*1.shard is lost"),
        (whole[:-1], f"{second} is cut short or too long"),
        (first.read_bytes(), f"{second} is damaged: its bytes aren't those that were written"),
    ):
        if content is not None:
            second.write_bytes(content)
        with pytest.raises(DamagedCheckpoint, match=told):
            load(head, model=model, rng=False)
        with pytest.warns(UserWarning, match=told):
            assert latest(tmp_path) is None
    assert bits(model.state_dict()) == before
    second.write_bytes(whole)
    assert latest(tmp_path) == head


def _edited(table: dict[str, Any], *path: Any, to: Any) -> dict[str, Any]:
    edited = inner = copy.deepcopy(table)
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return edited


NAME = "model[0]['0.weight']"
HOSTILE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no table": lambda _: 7,
    "empty": lambda _: {},
    "another folder": lambda table: _edited(table, "folder", to="../elsewhere"),
    "no folder": lambda table: _edited(table, "folder", to=""),
    "another file": lambda table: _edited(table, "files", to={"../../secret": "00" * 32}),
    "no digest": lambda table: _edited(table, "files", "0.shard", to="xyz"),
    "no dtype": lambda table: _edited(table, "tensors", NAME, to=("nn", (7, 4), [])),
    "a wide dtype": lambda table: _edited(
        table, "tensors", NAME, to=("float32", (2**40, 4), [((0, 0), (2**40, 4), "0.shard", 0)])
    ),
    "a gap": lambda table: _edited(table, "tensors", NAME, to=("float32", (7, 4), [((0, 0), (4, 4), "0.shard", 0)])),
    "outside": lambda table: _edited(table, "tensors", NAME, to=("float32", (7, 4), [((1, 0), (7, 4), "0.shard", 0)])),
    "below zero": lambda table: _edited(table, "tensors", NAME, to=("float32", (7, 4), [((8, 0), (-1, -28), "0.shard", 0)])),
    "no such file": lambda table: _edited(table, "tensors", NAME, to=("float32", (7, 4), [((0, 0), (7, 4), "9.shard", 0)])),
    "no such place": lambda table: _edited(
        table, "tensors", NAME, to=("float32", (7, 4), [((0, 0), (7, 4), "0.shard", 99)])
    ),
    "other sizes": lambda table: _edited(table, "tensors", NAME, to=("float32", (7, 4), [((0, 0), (7, 4), "0.shard", 0)])),
    "numbers as text": lambda table: _edited(table, "tensors", NAME, to=("float32", ("7", "4"), [])),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_table_reads_nothing_else(kind: str, origins: dict[int, Path], tmp_path: Path) -> None:
    """A table that leads elsewhere, to nothing or to more than there is, is refused, its hash being right."""
    head = origins[2] / "SGD.ckpt"
    tree = read(head)
    folder = tmp_path / tree["shards"]["folder"]
    folder.mkdir()
    for shard in shards_of(head).iterdir():
        (folder / shard.name).write_bytes(shard.read_bytes())
    table = tree_map(HOSTILE[kind](tree["shards"]), "", lambda value, _: value)  # Python keeps equal constants only once
    (tmp_path / "a.ckpt").write_bytes(packed(tree | {"shards": table}))
    model = Training("SGD", 0, seed=0).model
    before = bits(model.state_dict())
    with pytest.raises(
        DamagedCheckpoint, match=r"holds what no checkpoint holds: (its shards: |other parts than announced)"
    ):
        load(tmp_path / "a.ckpt", model=model, rng=False)
    assert bits(model.state_dict()) == before
