"""Whatever is read from outside is taken or refused: by the documented errors alone, in seconds, in little memory.

`make fuzz` tries 100,000 cases of each; GRADUS_FUZZ_CASES says another number.
"""

import contextlib
import copy
import gzip
import io
import json
import logging
import math
import os
import resource
import sqlite3
import struct
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gradus
import gradus.optim
from gradus.checkpoint import latest, load, save
from gradus.checkpoint.file import HEADER, MAGIC, packed
from gradus.errors import GradusError, InvalidInput
from gradus.rows import Row
from gradus.runs import Run
from gradus.schedules import Greedy, Plateau, Schedule, parse, warmup
from gradus.store import Store
from gradus.store.repair import repair_store
from gradus.store.tables import TABLES, Table
from gradus.tasks.idx import read_idx
from optim_registry import CLASSES
from registry import SCHEDULES, TEMPLATES

CASES = int(os.environ.get("GRADUS_FUZZ_CASES", "1000"))
MEGABYTES = 300  # of which 200 go to the compiler, where kernels are yet to be compiled
fuzzed = settings(max_examples=CASES, deadline=5000, suppress_health_check=list(HealthCheck), database=None)

# Stores are flushed to the disk again and again.
fuzzed_files = settings(fuzzed, max_examples=CASES if "GRADUS_FUZZ_CASES" in os.environ else 150)

READ = [*SCHEDULES.values(), *(template for template, _ in TEMPLATES.values()), warmup(3) * Plateau() * Greedy()]
TEXTS = [repr(schedule) for schedule in READ]
JSONS = [json.loads(schedule.to_json()) for schedule in READ]
SNIPPETS = [
    ">>",
    "*",
    "+",
    "-",
    "/",
    "own:Saw(",
    "rest() - ",
    "**",
    "(",
    ")",
    ".take(",
    "rest()",
    "fraction(",
    "9**9",
    "1e308",
    "-1",
    "10**60",
    "Lambda(",
    "[",
    "'",
]
NUMBERS = st.sampled_from([0, -1, 1, 2**31, 2**53, 2**64, 10**400, 0.5, -0.0, 1e308, 5e-324, True, None, "", "NaN", [], {}])
SCRAPS = st.recursive(
    NUMBERS | st.text(max_size=5) | st.floats() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """No test here makes the process grow by more than 300 MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < MEGABYTES * (2**20 if sys.platform == "darwin" else 2**10)


@st.composite
def damaged(draw: Any, wholes: list[Any]) -> Any:
    """A text or bytes with up to four pieces cut out, doubled or put in."""
    text = draw(st.sampled_from(wholes))
    for _ in range(draw(st.integers(0, 4))):
        first = draw(st.integers(0, len(text)))
        last = draw(st.integers(first, min(len(text), first + 20)))
        scrap = st.sampled_from(SNIPPETS) | st.text(max_size=4) if isinstance(text, str) else st.binary(max_size=8)
        piece = draw(st.one_of(scrap, st.just(text[first:last] * 2), st.just(text[:0])))
        text = text[:first] + piece + text[last:]
    return text


@st.composite
def changed(draw: Any, trees: list[Any], scraps: Any = SCRAPS) -> Any:
    """A tree of dicts and lists in which something is replaced, left out or added."""
    tree = copy.deepcopy(draw(st.sampled_from(trees)))
    for _ in range(draw(st.integers(1, 3))):
        node = tree
        while isinstance(node, (dict, list)) and len(node):
            key = draw(st.sampled_from(list(node) if isinstance(node, dict) else list(range(len(node)))))
            if not isinstance(node[key], (dict, list)) or not len(node[key]) or draw(st.booleans()):
                break
            node = node[key]
        if not len(node) or (isinstance(node, dict) and draw(st.integers(0, 4)) == 0):
            node[draw(st.text(max_size=5))] = draw(scraps) if isinstance(node, dict) else None
        elif draw(st.integers(0, 3)) == 0:
            del node[key]
        else:
            node[key] = draw(scraps)
    return tree


def use(schedule: Schedule) -> None:
    """Ask a schedule that has been read for what everybody asks."""
    assert parse(repr(schedule)) == schedule
    assert Schedule.from_json(schedule.to_json()) == schedule
    with contextlib.suppress(InvalidInput):
        resolved = schedule.resolve(1000, steps_per_epoch=10, samples_per_step=8, tokens_per_step=100)
        resolved(np.arange(5))
        resolved(2**53 - 1)


@fuzzed
@given(damaged(TEXTS) | st.text(max_size=60))
def test_a_schedules_text(text: str) -> None:
    """A text is a schedule, which can be printed, saved and asked, or is refused with a reason."""
    try:
        schedule = parse(text)
    except InvalidInput:
        return
    use(schedule)


@fuzzed
@given(changed(JSONS).map(json.dumps) | damaged([json.dumps(tree) for tree in JSONS]))
def test_a_schedules_json(text: str) -> None:
    """A JSON text is a schedule, which can be printed, saved and asked, or is refused with a reason."""
    try:
        schedule = Schedule.from_json(text)
    except InvalidInput:
        return
    use(schedule)


def idx(*sizes: int, content: int) -> bytes:
    return bytes([0, 0, 8, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes) + bytes(content)


FILES = [idx(3, 4, 5, content=60), idx(7, content=7), idx(2**32 - 1, 2**32 - 1, 2**32 - 1, content=9), idx(2**28, content=5)]
BOMB = gzip.compress(idx(2**20, content=2**20))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@fuzzed
@given(damaged([*FILES, *map(gzip.compress, FILES), BOMB]), st.sampled_from([1, 3]), st.booleans())
def test_an_idx_file(place: Path, content: bytes, dimensions: int, zipped: bool) -> None:
    """A file is an array of as many dimensions as were asked for, or is refused; what it announces isn't believed."""
    path = place / ("file.gz" if zipped else "file")
    path.write_bytes(content)
    with contextlib.suppress(GradusError):
        assert read_idx(path, dimensions).ndim == dimensions


A_RUN = Run(
    "digits", "SGD", schedules=warmup(2, start=0.1), lr=0.1, length=3, batch_size=8, options={"momentum": 0.9}, name="a run"
)


def store_file(path: Path) -> bytes:
    with Store(path) as store:
        for status in ("finished", None):
            number = store.begin(store.begin_sweep("train", "a sweep", {"seeds": [1]}), A_RUN, {"threads": 1})
            for step in range(1, 4):
                store.add(number, Row(step, {"lr": 0.1, "train/loss": 1.0 / step, "valid/loss": math.nan}))
            store.note(number, "noted")
            if status is None:
                store.request(number, "stop")
            else:
                store.end(number, "finished")
    return path.read_bytes()


@pytest.fixture(scope="module")
def stores(place: Path) -> list[bytes]:
    """Stores of every version."""
    return [store_file(place / "whole.sqlite"), (Path(__file__).parent / "assets" / "store_v1.sqlite").read_bytes()]


def look_at_store(path: Path) -> list[str]:
    """Read all that is in a store, and what its check says."""
    with Store(path, create=False) as store:
        for run in store.runs():
            assert isinstance(run.created, float)
            assert isinstance(run.rows, int)
            for read in (lambda run=run: store.rows(run.id), lambda run=run: run.conditions, lambda run=run: run.run):
                with contextlib.suppress(GradusError):
                    read()
        for sweep in store.sweeps():
            with contextlib.suppress(GradusError):
                sweep.settings  # noqa: B018
        with contextlib.suppress(GradusError):
            store.requests()
        return store.check()


def fresh(place: Path) -> Path:
    """Where no store is."""
    for beside in place.glob("store.sqlite*"):
        beside.unlink()
    return place / "store.sqlite"


@fuzzed_files
@given(
    st.integers(0, 1),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), max_size=4),
    st.floats(0, 1),
)
def test_a_store(place: Path, stores: list[bytes], which: int, scraps: list[tuple[float, bytes]], kept: float) -> None:
    """A store's file, an old one's too, is read or refused; what is read is of its kinds, and what is repaired is well."""
    path = fresh(place)
    whole = bytearray(stores[which])
    written = [index for index, byte in enumerate(whole) if byte]  # most of a page is empty
    for where, scrap in scraps:
        first = written[int(where * len(written))]
        whole[first : first + len(scrap)] = scrap
    path.write_bytes(whole[: int(len(whole) * max(kept, 0.5) * 1.01)])
    with contextlib.suppress(GradusError):
        look_at_store(path)
    with contextlib.suppress(GradusError):
        repair_store(path)
        assert look_at_store(path) == []


COLUMNS = [(table, column) for table in TABLES for column in table.columns]
TEXTS_IN_STORES = SCRAPS.map(json.dumps) | damaged(['{"train/loss": 0.5, "valid/loss": "nan"}', A_RUN.to_json()])


@fuzzed_files
@given(st.lists(st.tuples(st.sampled_from(COLUMNS), NUMBERS | TEXTS_IN_STORES), min_size=1, max_size=3))
def test_a_crafted_store(place: Path, stores: list[bytes], changes: list[tuple[tuple[Table, str], Any]]) -> None:
    """Where somebody has changed values and made the hashes anew, a store is read, or is refused by errors of Gradus; if its
    check finds nothing, all of it can be read.
    """
    path = fresh(place)
    path.write_bytes(stores[0])
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for (table, column), value in changes:
            record = connection.execute(f"SELECT * FROM {table.name}").fetchone()
            if record is None:
                continue
            values = [value if name == column else old for name, old in table.named(record).items()]
            with contextlib.suppress(sqlite3.Error, OverflowError, TypeError):  # no such value
                old = record[: len(table.key)]
                connection.execute(f"UPDATE {table.name} SET {column} = ? WHERE {table.selection}", (value, *old))
                new = values[: len(table.key)]
                connection.execute(f"UPDATE {table.name} SET hash = ? WHERE {table.selection}", (table.digest(values), *new))
    with contextlib.suppress(GradusError):
        if look_at_store(path) == []:
            read_all(path)
    with contextlib.suppress(GradusError):
        repair_store(path)
        assert look_at_store(path) == []
        read_all(path)


def read_all(path: Path) -> None:
    """Read what a check has found well: nothing in it is refused."""
    with Store(path, create=False) as store:
        for run in store.runs():
            assert len(store.rows(run.id)) == run.rows
            assert isinstance(run.conditions, dict)
        assert all(isinstance(sweep.settings, dict) for sweep in store.sweeps())
        store.requests()


@fuzzed
@given(changed([json.loads(A_RUN.to_json())]).map(json.dumps) | damaged([A_RUN.to_json()]))
def test_a_runs_json(text: str) -> None:
    """A JSON text is a run, which can be saved, or is refused with a reason."""
    with contextlib.suppress(InvalidInput):
        run = Run.from_json(text)
        assert Run.from_json(run.to_json()) == run


OPTIMIZERS = [*CLASSES, "LBFGS"]


def an_optimizer(name: str = "Adam") -> Any:
    layer = torch.nn.Linear(2, 3)
    groups = [{"params": [layer.weight]}, {"params": [layer.bias], "lr": 0.1}]
    return getattr(gradus.optim, name)(groups, lr=1e-3)


def stepped(optimizer: Any) -> Any:
    for group in optimizer.param_groups:
        for param in group["params"]:
            param.grad = torch.ones_like(param)
    optimizer.step(lambda: 1.0)
    return optimizer


def optimizer_and_scheduler() -> tuple[Any, Any]:
    optimizer = an_optimizer()
    rate, decay = warmup(3, start=0.1) * Plateau() * Greedy(), gradus.absolute(warmup(2, start=0.1))
    return optimizer, gradus.Scheduler(optimizer, lr=rate, weight_decay={0: decay})


def a_schedulers_state() -> dict[str, Any]:
    optimizer, scheduler = optimizer_and_scheduler()
    for _ in range(2):
        stepped(optimizer)
        scheduler.step()
        scheduler.observe(0.5)
    state: dict[str, Any] = scheduler.state_dict()
    return state


def bits(optimizer: Any) -> Any:
    """All that an optimizer keeps, of what kind it is, and all its parameters, to the bit."""

    def inside(thing: Any) -> Any:
        if isinstance(thing, torch.Tensor):
            return str(thing.dtype), tuple(thing.shape), thing.detach().numpy().tobytes()
        if isinstance(thing, dict):
            return [(str(key), inside(value)) for key, value in thing.items()]
        if isinstance(thing, (list, tuple)):
            return type(thing), [*map(inside, thing)]
        return type(thing), repr(thing)

    return inside([list(optimizer.state.values()), optimizer.param_groups, optimizer.state_dict()])


OF_OPTIMIZERS = {name: stepped(stepped(an_optimizer(name))).state_dict() for name in OPTIMIZERS}
OF_SCHEDULER = a_schedulers_state()
TENSORS = st.sampled_from(
    [
        *(torch.full(shape, value) for shape in ((), (1,), (3,), (3, 2), (0,)) for value in (0.0, -1.0, math.inf, math.nan)),
        torch.ones(3, dtype=torch.complex64),
        torch.ones(3, dtype=torch.bool),
        torch.ones(3).to_sparse(),
        torch.ones(3, device="meta"),
    ]
)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")  # what NumPy says of a rate of 1e308 in single precision
@fuzzed
@given(st.data(), st.sampled_from(OPTIMIZERS))
def test_an_optimizers_state(data: st.DataObject, name: str) -> None:
    """A state is taken up, and the training goes on, or is refused and nothing is changed, bit for bit."""
    state, optimizer = data.draw(changed([OF_OPTIMIZERS[name]], SCRAPS | TENSORS)), stepped(an_optimizer(name))
    strict = {} if name == "LBFGS" else {"strict": data.draw(st.booleans())}
    before = bits(optimizer)
    try:
        optimizer.load_state_dict(state, **strict)
    except InvalidInput:
        assert bits(optimizer) == before
        return
    with contextlib.suppress(InvalidInput):  # a rate out of its range is looked at when it is used
        stepped(optimizer)


@fuzzed
@given(changed([OF_SCHEDULER]))
def test_a_schedulers_state(state: Any) -> None:
    """A state is taken up, and the training goes on, or is refused and nothing is changed."""
    optimizer, scheduler = optimizer_and_scheduler()
    before = [dict(group, params=None) for group in optimizer.param_groups]
    try:
        scheduler.load_state_dict(state)
    except InvalidInput:
        assert [dict(group, params=None) for group in optimizer.param_groups] == before
        return
    with contextlib.suppress(InvalidInput):  # the clock may count something else
        scheduler.step()
        scheduler.observe(0.4)


def a_checkpoint() -> bytes:
    optimizer, scheduler = optimizer_and_scheduler()
    with tempfile.TemporaryDirectory() as folder:
        save(f"{folder}/a", optimizer=optimizer, scheduler=scheduler, extra={"x": [1.5, "y", None]}, rng=False)
        return Path(folder, "a").read_bytes()


A_CHECKPOINT = a_checkpoint()
PAYLOAD = A_CHECKPOINT[HEADER.size :]


def sealed(payload: bytes) -> bytes:
    """A checkpoint's file whose hash is right, whatever is in it."""
    return HEADER.pack(MAGIC, 1, len(payload), sha256(payload).digest()) + payload


@st.composite
def damaged_inside(draw: Any) -> bytes:
    """A checkpoint of whose archive one member is damaged, the archive and the hash being right."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(PAYLOAD)) as old, zipfile.ZipFile(out, "w") as new:
        members = old.namelist()
        chosen = draw(st.sampled_from([members[0], *members]))  # the first is the pickle
        for name in members:
            new.writestr(name, draw(damaged([old.read(name)])) if name == chosen else old.read(name))
    return sealed(out.getvalue())


@fuzzed
@given(damaged([A_CHECKPOINT]) | damaged([PAYLOAD]).map(sealed) | damaged_inside())
def test_a_checkpoint(place: Path, content: bytes) -> None:
    """A checkpoint is loaded, or is refused; `latest` takes it, or passes it over."""
    path = place / "step-000000000001.ckpt"
    path.write_bytes(content)
    optimizer, scheduler = optimizer_and_scheduler()
    with contextlib.suppress(GradusError):
        load(path, optimizer=optimizer, scheduler=scheduler)
    with contextlib.suppress(GradusError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        latest(place)


def layer_and_optimizer() -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
    layer = torch.nn.Linear(2, 3)
    return layer, torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)


def a_sharded_checkpoint(place: Path) -> dict[str, Any]:
    """What the head of a checkpoint holds two of whose tensors lie in two files beside it, written into a folder."""
    folder = place / "sharded.shards-01234567"
    folder.mkdir(exist_ok=True)
    files = {}
    for number, parts in enumerate(([torch.ones(2, 2), torch.ones(3, 2)], [torch.zeros(1, 2)])):
        content = packed(parts)
        (folder / f"{number}.shard").write_bytes(content)
        files[f"{number}.shard"] = HEADER.unpack_from(content)[3].hex()
    _, optimizer = layer_and_optimizer()
    state = optimizer.state_dict() | {"state": {0: {"momentum_buffer": None}, 1: {"momentum_buffer": torch.ones(3)}}}
    tensors = {
        "model[0]['weight']": ["float32", [3, 2], [[[0, 0], [2, 2], "0.shard", 0], [[2, 0], [1, 2], "1.shard", 0]]],
        "optimizer['state'][0]['momentum_buffer']": ["float32", [3, 2], [[[0, 0], [3, 2], "0.shard", 1]]],
    }
    return {
        "position": 1,
        "metric": None,
        "random": [],
        "extra": None,
        "parts": {"model": [{"weight": None, "bias": torch.ones(3)}, {}], "optimizer": state},
        "shards": {"folder": folder.name, "files": files, "tensors": tensors},
    }


def test_the_sharded_checkpoint_is_one(place: Path) -> None:
    """What is damaged below is a checkpoint that is loaded."""
    layer, optimizer = layer_and_optimizer()
    (place / "sharded").write_bytes(packed(a_sharded_checkpoint(place)))
    assert load(place / "sharded", model=layer, optimizer=optimizer) == (1, None)
    assert layer.weight.tolist() == [[1, 1], [1, 1], [0, 0]]
    assert optimizer.state[layer.weight]["momentum_buffer"].tolist() == [[1, 1]] * 3


@pytest.fixture
def no_logs() -> Iterator[None]:
    """torch.distributed.checkpoint tells pytest of each of its steps, which pytest keeps."""
    logging.disable(logging.DEBUG)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("no_logs")
@fuzzed
@given(st.data())
def test_a_table_of_shards(place: Path, data: Any) -> None:
    """A checkpoint that says of its shards what isn't so is loaded, or is refused and nothing is changed."""
    tree = a_sharded_checkpoint(place)
    damaged = data.draw(changed([tree]) | changed([tree["shards"]]).map(lambda table: tree | {"shards": table}))
    (place / "sharded").write_bytes(packed(damaged))
    layer, optimizer = layer_and_optimizer()
    before = layer.weight.detach().clone()
    try:
        load(place / "sharded", model=layer, optimizer=optimizer)
    except GradusError:
        assert torch.equal(layer.weight, before)
        assert not optimizer.state
