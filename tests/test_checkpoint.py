"""Checkpoints: everything comes back bit for bit, files are whole, and hostile ones run nothing."""

import io
import os
import pickle
import random
import re
import struct
import threading
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gradus
from gradus.checkpoint import Checkpoints, DamagedCheckpoint, latest, load, save
from gradus.errors import GradusError, InvalidInput
from gradus.files import write_whole
from gradus.schedules import Constant, Cosine, Plateau
from processes import spawned

HEADER = struct.Struct("<8sIQ32s")


def net(width: int = 8) -> nn.Module:
    """A small network with dropout and with buffers."""
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, 2))


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
    "AdamW": lambda params: torch.optim.AdamW(params, lr=0.01, amsgrad=True),
    "gradus SGD": lambda params: gradus.optim.SGD(params, lr=0.1, momentum=0.9),
    "gradus AdamW": lambda params: gradus.optim.AdamW(params, lr=0.01),
    "gradus Lion": lambda params: gradus.optim.Lion(params, lr=0.001),
}
SCHEDULERS: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "gradus": lambda optimizer: gradus.Scheduler(optimizer, lr=Cosine(20) * Plateau(patience=1)),
    "torch": lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20),
    "torch in sequence": lambda optimizer: torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [torch.optim.lr_scheduler.LinearLR(optimizer), torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)],
        milestones=[3],
    ),
}


class Training:
    """A loop that draws from every global generator."""

    def __init__(self, optimizer: str = "AdamW", scheduler: str = "gradus") -> None:
        self.model = net()
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        self.scheduler = SCHEDULERS[scheduler](self.optimizer)

    @property
    def parts(self) -> dict[str, Any]:
        return {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}

    def go_on(self, steps: int) -> None:
        for _ in range(steps):
            inputs = torch.randn(16, 4) * random.random() + np.random.rand()
            self.optimizer.zero_grad()
            self.model(inputs).square().mean().backward()
            self.optimizer.step()
            self.scheduler.step()


def bits(value: Any) -> Any:
    """All of a state to the last bit, comparable."""
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.detach().flatten().clone().view(torch.uint8).tolist()
    if isinstance(value, dict):
        return {key: bits(member) for key, member in value.items()}
    return [bits(member) for member in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_resumed_training_is_the_uninterrupted_one(optimizer: str, scheduler: str, tmp_path: Path) -> None:
    """Weights, buffers, slots, rates and whatever is drawn after a resume are the uninterrupted training's, bit for bit."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    whole = Training(optimizer, scheduler)
    whole.go_on(5)
    save(tmp_path / "a.ckpt", **whole.parts, position=5, extra={"losses": torch.arange(3)})
    whole.go_on(5)
    resumed = Training(optimizer, scheduler)
    resumed.go_on(2)  # another past, which must not show
    position, extra = load(tmp_path / "a.ckpt", **resumed.parts)
    assert position == 5
    assert extra["losses"].tolist() == [0, 1, 2]
    resumed.go_on(5)
    for name, part in whole.parts.items():
        assert bits(resumed.parts[name].state_dict()) == bits(part.state_dict()), name


def test_random_states_are_left_alone_if_asked(tmp_path: Path) -> None:
    """Without rng, neither saving nor loading has to do with random states."""
    for rng_saved, rng_loaded in ((False, True), (True, False)):
        save(tmp_path / "a.ckpt", rng=rng_saved)
        before = torch.get_rng_state(), random.getstate()
        torch.rand(3)
        drawn = torch.get_rng_state()
        load(tmp_path / "a.ckpt", rng=rng_loaded)
        assert torch.equal(torch.get_rng_state(), drawn)
        assert not torch.equal(drawn, before[0])


def test_a_gradscaler_comes_back(tmp_path: Path) -> None:
    """The state of a GradScaler is saved and taken up."""
    scaler = torch.amp.GradScaler("cpu", init_scale=7.0)
    save(tmp_path / "a.ckpt", scaler=scaler)
    other = torch.amp.GradScaler("cpu")
    load(tmp_path / "a.ckpt", scaler=other)
    assert other.state_dict() == scaler.state_dict()


def test_dtypes_and_layouts_come_back(tmp_path: Path) -> None:
    """Tensors of every dtype, empty ones, scalars and views come back with every bit, and without what they are views of."""
    kinds = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16]
    kinds += [torch.float32, torch.float64, torch.complex64, torch.float8_e5m2, torch.uint16, torch.uint32, torch.uint64]
    extra = {str(kind): torch.arange(6).to(kind) for kind in kinds}
    extra |= {"empty": torch.empty(0, 3), "scalar": torch.tensor(1.5), "nan": torch.tensor([float("nan"), -0.0])}
    extra |= {"view": torch.arange(10**6)[::1000], "last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)}
    save(tmp_path / "a.ckpt", extra=extra, rng=False)
    assert bits(load(tmp_path / "a.ckpt").extra) == bits(extra)
    assert (tmp_path / "a.ckpt").stat().st_size < 50_000


def test_extra_comes_back_as_it_was(tmp_path: Path) -> None:
    """Numbers, text and their dicts, lists and tuples come back equal and of the same types; NumPy's become Python's."""
    extra = {
        "a": [1, 2.5, None, True, ("x", ())],
        7: {"deep": [{}]},
        "numpy": np.float64(0.1),
        "big": 2**70,
        "inf": float("inf"),
    }
    save(tmp_path / "a.ckpt", extra=extra)
    found = load(tmp_path / "a.ckpt").extra
    assert found == extra
    assert type(found["numpy"]) is float
    assert type(found["a"][4]) is tuple


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"x": [1, object()]}, r"extra\['x'\]\[1\] is of type object; a checkpoint holds numbers, text, paths, tensors"),
        ({1.5: 0}, r"extra has the key 1\.5; the keys of a checkpoint are whole numbers and text"),
        (np.zeros(3), "extra is of type ndarray"),
        (torch.zeros(3).to_sparse(), "extra is a Tensor of torch.sparse_coo; a checkpoint holds whole, dense tensors"),
        (lambda: 0, "extra is of type function"),
    ],
)
def test_what_could_not_be_read_back_is_refused(extra: Any, message: str, tmp_path: Path) -> None:
    """What can't come back is refused when it is saved, by its place, and nothing is written."""
    with pytest.raises(InvalidInput, match=message):
        save(tmp_path / "a.ckpt", extra=extra)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("position", [-1, 1.0, True, "3", 10**12])
def test_a_position_is_a_count_of_updates(position: Any, tmp_path: Path) -> None:
    """A position that counts nothing is refused."""
    with pytest.raises(InvalidInput, match="position must be a whole number from 0 to 999999999999"):
        save(tmp_path / "a.ckpt", position=position)


MISFITS: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "no scaler": (lambda: {"scaler": torch.amp.GradScaler("cpu")}, "holds no scaler; it holds model, optimizer, scheduler"),
    "other shapes": (lambda: {"model": net(9)}, "doesn't fit, and nothing is changed: .*size mismatch"),
    "other parameters": (lambda: {"optimizer": torch.optim.SGD(net().parameters())}, "doesn't fit, and nothing is changed"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_what_does_not_fit_changes_nothing(misfit: str, tmp_path: Path) -> None:
    """Where one object doesn't fit, none is changed, those that fit and the random states included."""
    training = Training()
    training.go_on(3)
    training.optimizer.add_param_group({"params": [nn.Parameter(torch.ones(3))]})
    save(tmp_path / "a.ckpt", **training.parts)
    make, message = MISFITS[misfit]
    other = {"model": net(), **make()}
    before, drawn = {name: bits(part.state_dict()) for name, part in other.items()}, torch.get_rng_state()
    with pytest.raises(InvalidInput, match=message):
        load(tmp_path / "a.ckpt", **other)
    assert {name: bits(part.state_dict()) for name, part in other.items()} == before
    assert torch.equal(torch.get_rng_state(), drawn)


TARGETS: dict[str, Callable[[], dict[str, Any]]] = {
    **{name: lambda name=name: Training(optimizer=name).parts for name in OPTIMIZERS},
    **{f"{name} scheduler": lambda name=name: Training(scheduler=name).parts for name in SCHEDULERS},
    "drop-in": lambda: _with_scheduler(lambda one: gradus.lr_scheduler.OneCycleLR(one, 0.1, total_steps=50)),
    "drop-ins in sequence": lambda: _with_scheduler(
        lambda one: gradus.lr_scheduler.SequentialLR(
            one, [gradus.lr_scheduler.LinearLR(one), gradus.lr_scheduler.ExponentialLR(one, 0.9)], milestones=[3]
        )
    ),
    "scaler": lambda: {**Training().parts, "scaler": torch.amp.GradScaler("cpu")},
}


def _with_scheduler(make: Callable[[Any], Any]) -> dict[str, Any]:
    training = Training()
    return {"model": training.model, "optimizer": training.optimizer, "scheduler": make(training.optimizer)}


def insides(part: Any) -> Any:
    """All that an object holds, types included, to the last bit."""
    if isinstance(part, torch.optim.Optimizer):
        groups = [{name: value for name, value in group.items() if name != "params"} for group in part.param_groups]
        return [typed(group) for group in groups], [typed(state) for state in part.state.values()]
    return typed(part.state_dict())


def typed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: typed(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value), [typed(member) for member in value]
    return type(value), bits(value)


def spoiled(tree: Any, random_: random.Random) -> None:
    """Put something else in the place of one thing in a tree."""
    while True:
        key = random_.choice(list(tree) if isinstance(tree, dict) else range(len(tree)))
        if isinstance(tree[key], (dict, list)) and tree[key] and random_.random() < 0.8:
            tree = tree[key]
            continue
        junk = [None, "x", -1, float("nan"), [], {}, torch.zeros(7), torch.zeros(()), 10**400, [{}], True]
        tree[key] = random_.choice(junk)
        return


@pytest.mark.parametrize("target", TARGETS)
def test_a_refused_load_changes_nothing(target: str, tmp_path: Path) -> None:
    """Whatever has been changed in a file, where it is refused, every number, type and bit of every object and every
    generator is as it was.
    """
    from gradus.checkpoint.file import packed as packed_tree
    from gradus.checkpoint.restore import tree_of
    from gradus.checkpoint.state import random_state

    random_ = random.Random(target)
    parts = TARGETS[target]()
    for step in range(2):
        parts["model"](torch.full((4, 4), float(step))).sum().backward()
        parts["optimizer"].step()
        parts["scheduler"].step()
    save(tmp_path / "a.ckpt", **parts, position=2)
    refused = 0
    for _ in range(int(os.environ.get("GRADUS_FUZZ_CASES", "25"))):
        tree = tree_of(tmp_path / "a.ckpt")
        del tree["shards"]
        spoiled({name: tree[name] for name in ("parts", "random")}, random_)
        (tmp_path / "b.ckpt").write_bytes(packed_tree(tree))
        before, drawn = {name: insides(part) for name, part in parts.items()}, bits(random_state())
        try:
            load(tmp_path / "b.ckpt", **parts)
        except GradusError:
            refused += 1
            assert {name: insides(part) for name, part in parts.items()} == before
            assert bits(random_state()) == drawn
        else:  # torch takes what it can't use
            parts = TARGETS[target]()
            load(tmp_path / "a.ckpt", **parts)
    assert refused


def test_extra_takes_what_people_have(tmp_path: Path) -> None:
    """NumPy's scalars and paths are saved, and come back as Python's numbers and text; what has no such form is refused."""
    scalars = [np.float32(0.5), np.int64(3), np.bool_(True), np.float16(1), np.uint8(7), np.str_("a")]
    save(tmp_path / "a.ckpt", extra={np.int64(1): scalars, "path": Path("a/b"), np.str_("b"): np.float64(2)})
    found = load(tmp_path / "a.ckpt").extra
    assert found == {1: [0.5, 3, True, 1.0, 7, "a"], "path": str(Path("a/b")), "b": 2.0}
    assert [type(value) for value in found[1]] == [float, int, bool, float, int, str]
    for other in (np.longdouble(1), np.datetime64("2020-01-01"), np.complex64(1j), np.bytes_(b"a")):
        with pytest.raises(InvalidInput, match="extra is of type"):
            save(tmp_path / "b.ckpt", extra=other)


def test_the_files_of_others_are_left_alone(tmp_path: Path) -> None:
    """What lies in a folder of checkpoints and isn't one of its own, or half of one, stays."""
    mine = [".notes.ckpt.txt", ".step-7.ckpt.abcd1234", ".step-000000000007.ckpt.swp", "my.ckpt", "step-1.ckpt"]
    folders = ["step-mine.ckpt.shards-01234567", "step-000000000001.ckpt.shards-mine"]
    for name in mine:
        (tmp_path / name).write_text("mine")
    for name in folders:
        (tmp_path / name).mkdir()
    with Checkpoints(tmp_path) as checkpoints:
        for step in range(1, 5):
            checkpoints.save(step)
    assert {path.name for path in tmp_path.iterdir()} >= {*mine, *folders}


def test_a_changed_schedule_is_the_users_choice(tmp_path: Path) -> None:
    """A scheduler with another schedule than the saved one is refused, and taken with `on_change`."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = gradus.Scheduler(optimizer, lr=Cosine(10))
    scheduler.step()
    save(tmp_path / "a.ckpt", scheduler=scheduler)
    other = gradus.Scheduler(optimizer, lr=Constant(0.5))
    with pytest.raises(InvalidInput, match="the saved schedules differ"):
        load(tmp_path / "a.ckpt", scheduler=other)
    load(tmp_path / "a.ckpt", scheduler=other, on_change="new")
    assert optimizer.param_groups[0]["lr"] == 0.5


# Damaged and hostile files


def damaged(content: bytes) -> dict[str, tuple[bytes, str]]:
    """What may have become of a file, and what is said of it."""
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    return {
        "empty": (b"", "is no checkpoint of Gradus, or its beginning is lost"),
        "text": (b"hello", "is no checkpoint of Gradus"),
        "a pickle": (pickle.dumps({"a": 1}), "is no checkpoint of Gradus"),
        "header cut": (content[:20], "is cut short, within its header"),
        "cut": (content[:-1], "is cut short or too long: .* bytes are announced"),
        "half": (content[: len(content) // 2], "is cut short or too long"),
        "longer": (content + b"x", "is cut short or too long"),
        "bit flipped": (bytes(flipped), "is damaged: its bytes aren't those that were written"),
        "zeros": (content[:100] + bytes(len(content) - 100), "is damaged"),
    }


@pytest.mark.parametrize("damage", damaged(bytes(200)))
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(damage: str, tmp_path: Path) -> None:
    """Whatever has become of the newest file, loading it says what, and `latest` warns of it and takes the one before."""
    layer = nn.Linear(2, 2)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, model=layer)
        checkpoints.save(2, model=layer)
    path = tmp_path / "step-000000000002.ckpt"
    content, message = damaged(path.read_bytes())[damage]
    path.write_bytes(content)
    with pytest.raises(DamagedCheckpoint, match=f"{path} {message}"):
        load(path)
    with pytest.warns(UserWarning, match=f"{path} {message}.*; the checkpoint before it is used"):
        assert latest(tmp_path) == tmp_path / "step-000000000001.ckpt"
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.warns(UserWarning, match=message):
            assert checkpoints.load(model=layer) == (1, None)
        checkpoints.save(2, model=layer)  # the damaged one is replaced
    assert load(path, model=layer).position == 2


def packed(payload: bytes, version: int = 1) -> bytes:
    """A checkpoint's file around a payload that somebody has made."""
    return HEADER.pack(b"\x89gradus\n", version, len(payload), sha256(payload).digest()) + payload


def saved(tree: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(tree, buffer)
    return buffer.getvalue()


def rewritten(payload: bytes, compression: int, pickled: bytes | None = None) -> bytes:
    """The same archive with another compression, or another pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(payload)) as old, zipfile.ZipFile(out, "w", compression) as new:
        for one in old.infolist():
            new.writestr(one.filename, pickled if pickled and one.filename.endswith("data.pkl") else old.read(one))
    return out.getvalue()


class Command:
    """Unpickled, it would run."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("it-ran",)


BOMB = pickle.PROTO + b"\x02cbuiltins\nbytearray\n(J\xff\xff\xff\x7ftR."
TREE = {"position": 0, "metric": None, "parts": {}, "random": [], "extra": None}
HOSTILE = {
    "code": (saved(TREE | {"extra": Command()}), "holds what no checkpoint holds: it names posix mkdir to be called"),
    "a bare pickle": (pickle.dumps(TREE), "holds what no checkpoint holds: File is not a zip file"),
    "compressed": (rewritten(saved(TREE), zipfile.ZIP_DEFLATED), "its archive is compressed"),
    "two gigabytes": (rewritten(saved(TREE), zipfile.ZIP_STORED, BOMB), "names builtins bytearray to be called"),
    "a global from the stack": (
        rewritten(saved(TREE), zipfile.ZIP_STORED, pickle.dumps(Command(), protocol=4)),
        "it does what no checkpoint does: FRAME",
    ),
    "an expanded tensor": (saved(TREE | {"extra": torch.zeros(1).expand(10**9)}), "its tensors are larger than its bytes"),
    "no dict": (saved([1]), "its fields aren't a checkpoint's"),
    "fields too few": (saved({"position": 1}), "its fields aren't a checkpoint's"),
    "a wrong field": (saved(TREE | {"position": "x"}), "its position is a str"),
    "whole modules": (saved(TREE | {"extra": nn.Linear(1, 1)}), "it names torch.nn.modules.linear Linear to be called"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_checkpoint_runs_nothing(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file made to run code, to fill the memory or to be something else is refused by name, its hash being right."""
    payload, message = HOSTILE[kind]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.ckpt").write_bytes(packed(payload))
    with pytest.raises(DamagedCheckpoint, match=re.escape(message)):
        load(tmp_path / "a.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


def test_a_newer_checkpoint_is_not_guessed_at(tmp_path: Path) -> None:
    """A file of a version to come is refused, and not passed over for an older one."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1)
    (tmp_path / "step-000000000002.ckpt").write_bytes(packed(b"?", version=9))
    for use in (lambda: latest(tmp_path), lambda: load(tmp_path / "step-000000000002.ckpt")):
        with pytest.raises(GradusError, match=r"was written by a newer Gradus \(checkpoint version 9\); update Gradus"):
            use()


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    """Where there is no file the error says so, and where there is no folder there is no checkpoint."""
    with pytest.raises(GradusError, match=r"a\.ckpt can't be read: No such file or directory"):
        load(tmp_path / "a.ckpt")
    assert latest(tmp_path / "none") is None
    assert Checkpoints(tmp_path / "none").load() is None
    assert not (tmp_path / "none").exists()


# Keeping


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_last_and_the_best_are_kept(asynchronous: bool, tmp_path: Path) -> None:
    """The last N files and the one with the best finite metric are there, and a later process knows the best."""
    for folder, best, metrics in (("a", "min", (3.0, 1.0, float("nan"), 2.0)), ("b", "max", (3.0, 9.0, float("inf"), 2.0))):
        with Checkpoints(tmp_path / folder, keep=2, best=best, asynchronous=asynchronous) as checkpoints:
            for step, metric in enumerate(metrics, start=1):
                checkpoints.save(step, extra=step, metric=metric)
        with Checkpoints(tmp_path / folder, keep=3, best=best, asynchronous=asynchronous) as checkpoints:
            checkpoints.save(5, metric=2.5)
        assert names(tmp_path / folder) == ["best.ckpt", *(f"step-{step:012d}.ckpt" for step in (3, 4, 5))]
        assert load(tmp_path / folder / "best.ckpt") == (2, 2)


def test_a_best_needs_a_metric(tmp_path: Path) -> None:
    """A metric without a direction, or a direction without a metric, is refused, as are other nonsensical arguments."""
    for best, metric in ((None, 1.0), ("min", None)):
        with pytest.raises(InvalidInput, match="the best checkpoint is chosen by a metric"):
            Checkpoints(tmp_path, best=best).save(1, metric=metric)  # type: ignore[arg-type]
    for arguments, message in (({"keep": 1}, "keep must be a whole number from 2"), ({"best": "least"}, "best must be")):
        with pytest.raises(InvalidInput, match=message):
            Checkpoints(tmp_path, **arguments)  # type: ignore[arg-type]
    assert names(tmp_path) == []


def test_another_trainings_checkpoints_are_not_lost(tmp_path: Path) -> None:
    """A training that would begin anew in a folder of later positions is refused, and one in use by another too."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1000)
        with pytest.raises(GradusError, match="another process is writing its results to"):
            Checkpoints(tmp_path).save(2000)
    with pytest.raises(GradusError, match=r"000001000\.ckpt is of a later position than 10: load it and go on from there"):
        Checkpoints(tmp_path).save(10)
    assert names(tmp_path) == ["step-000000001000.ckpt"]


def test_what_a_killed_writer_left_is_cleared(tmp_path: Path) -> None:
    """Half a file beside its place is no checkpoint, and goes with the next one written."""
    torn = tmp_path / ".step-000000000007.ckpt.abcd1234"
    torn.write_bytes(b"\x89gradus\nhalf")
    assert latest(tmp_path) is None
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(8)
    assert not torn.exists()


# Writing while the training goes on


def test_an_asynchronous_checkpoint_is_of_its_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the training does after `save` has returned is not in the file, however late the thread writes."""
    gate = threading.Event()
    monkeypatch.setattr("gradus.checkpoint.folder.write_whole", lambda *given: gate.wait(30) and write_whole(*given))
    training = Training()
    training.go_on(2)
    expected = bits(training.model.state_dict()), bits(training.optimizer.state_dict())
    with Checkpoints(tmp_path, asynchronous=True) as checkpoints:
        checkpoints.save(2, **training.parts)
        training.go_on(3)
        assert names(tmp_path) == []
        gate.set()
    other = Training()
    assert load(tmp_path / "step-000000000002.ckpt", **other.parts).position == 2
    assert (bits(other.model.state_dict()), bits(other.optimizer.state_dict())) == expected
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("checkpoint")]


@pytest.mark.parametrize("then", ["save", "close"])
def test_what_the_thread_meets_is_raised_later(then: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint that couldn't be written is told of by the next save, or by closing; whole ones are kept."""

    def full(path: Path, _: object) -> None:
        raise GradusError(f"{path} can't be written: No space left on device")

    checkpoints = Checkpoints(tmp_path, asynchronous=True)
    checkpoints.save(1)
    checkpoints.wait()
    with monkeypatch.context() as patch:
        patch.setattr("gradus.checkpoint.folder.write_whole", full)
        checkpoints.save(2)
        with pytest.raises(GradusError, match=r"000000002\.ckpt can't be written: No space left"):
            checkpoints.save(3) if then == "save" else checkpoints.close()
    checkpoints.close()
    assert names(tmp_path) == ["step-000000000001.ckpt"]


# Several processes


def _two_save(rank: int, _: int, folder: str) -> None:
    """What each of two processes does under DDP."""
    torch.manual_seed(rank)
    model = nn.parallel.DistributedDataParallel(nn.Linear(2, 2))
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(3, model=model)
        drawn = torch.rand(4)
        assert checkpoints.load(model=model) == (3, None)
        assert torch.equal(torch.rand(4), drawn)  # each its own
        with pytest.raises(
            GradusError, match="extra is of type object" if rank == 0 else "process 0: extra is of type object"
        ):
            checkpoints.save(4, model=model, extra=object())
        wrong = nn.Linear(2, 2 + rank)
        with pytest.raises(GradusError, match="doesn't fit"):
            checkpoints.load(model=wrong)
    torch.save(drawn, f"{folder}/drawn{rank}")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch can't distribute")
def test_two_processes_agree(tmp_path: Path) -> None:
    """Under DDP one file is written, each process gets its own random state, and a failure of one is raised in both."""
    spawned(_two_save, 2, str(tmp_path / "saved"))
    assert names(tmp_path / "saved") == ["drawn0", "drawn1", "step-000000000003.ckpt"]
    assert not torch.equal(torch.load(tmp_path / "saved" / "drawn0"), torch.load(tmp_path / "saved" / "drawn1"))
    path = tmp_path / "saved" / "step-000000000003.ckpt"
    load(path, model=nn.Linear(2, 2), rng=False)
    with pytest.raises(InvalidInput, match="has the random states of 2 processes, and here are 1; pass rng=False"):
        load(path)
