"""Files made to cost time or memory: every reader refuses or reads them within seconds and some hundred megabytes.

Each is read in a process whose memory and time the system limits.
"""

import gzip
import json
import os
import struct
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gradus
from faults import limited
from gradus.checkpoint import latest, load
from gradus.checkpoint.file import HEADER, packed
from gradus.errors import GradusError
from gradus.rangetest.found import findings
from gradus.rows import Row
from gradus.runs import Run
from gradus.schedules import Constant, Schedule, parse
from gradus.store import Store
from gradus.store.repair import repair_store
from gradus.tasks.idx import read_idx
from test_checkpoint import TREE, rewritten, saved
from test_checkpoint import packed as sealed


def folded(kind: Callable[[list[Any]], Any], times: int = 30, width: int = 10) -> Any:
    """A container of ten times the same, of ten times the same, and so on: small in a pickle, and 10^30 when it is gone
    through.
    """
    one: Any = kind([0])
    for _ in range(times):
        one = kind([one] * width)
    return one


def alike(count: int) -> bytes:
    """A dict with keys of one hash, which takes the square of their number."""
    keys = (number * (2**61 - 1) for number in range(1, count))
    return b"\x80\x02}(" + b"".join(b"\x8a\x0b" + key.to_bytes(11, "little") + b"K\x00" for key in keys) + b"u."


def as_key() -> bytes:
    """A dict whose key is a pair of a pair of a pair, each twice the same: its hash takes 2^60 steps."""
    pairs = b"".join(b"q\x01h\x01\x86" for _ in range(60))
    return b"\x80\x02}K\x01" + pairs + b"K\x00s."


def views(count: int) -> list[torch.Tensor]:
    """Views of one storage of a megabyte, each of nearly all of it."""
    whole = torch.zeros(2**18)
    return [whole[index % 7 :] for index in range(count)]


def write_checkpoint(tree: Any) -> Callable[[Path], None]:
    def write(place: Path) -> None:
        (place / "step-000000000001.ckpt").write_bytes(sealed(saved(TREE | {"extra": tree()})))

    return write


def write_pickle(pickled: bytes) -> Callable[[Path], None]:
    def write(place: Path) -> None:
        payload = rewritten(saved(TREE), zipfile.ZIP_STORED, pickled)
        (place / "step-000000000001.ckpt").write_bytes(sealed(payload))

    return write


def read_checkpoint(place: Path) -> None:
    layer = nn.Linear(2, 3)
    with suppress(GradusError):
        load(place / "step-000000000001.ckpt", model=layer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        latest(place)


def write_shards(chunks: int) -> Callable[[Path], None]:
    """A checkpoint that says that its tensors lie in many empty parts of a file."""

    def write(place: Path) -> None:
        folder = place / "step-000000000001.ckpt.shards-01234567"
        folder.mkdir()
        content = packed([torch.zeros(3, 2)])
        (folder / "0.shard").write_bytes(content)
        parts = [[[0, 0], [3, 2], "0.shard", 0], *([[0, 0], [0, 2], "0.shard", 0] for _ in range(chunks))]
        shards = {
            "folder": folder.name,
            "files": {"0.shard": HEADER.unpack_from(content)[3].hex()},
            "tensors": {"model[0]['weight']": ["float32", [3, 2], parts]},
        }
        tree = TREE | {"parts": {"model": [{"weight": None, "bias": torch.ones(3)}, {}]}, "shards": shards}
        (place / "step-000000000001.ckpt").write_bytes(packed(tree))

    return write


def write_store(change: Callable[[bytearray], None]) -> Callable[[Path], None]:
    def write(place: Path) -> None:
        path = place / "store.sqlite"
        with Store(path) as store:
            store._file.connection.execute("PRAGMA synchronous = OFF")
            run = Run("digits", schedules={"lr": Constant()}, lr=0.1, length=30, batch_size=8)
            sweep = store.begin_sweep("train", "many", {})
            for _ in range(600):
                store.add(store.begin(sweep, run, {}), Row(1, {"lr": 0.1, "train/loss": 1.0, "valid/loss": 0.5}))
        content = bytearray(path.read_bytes())
        change(content)
        path.write_bytes(content)

    return write


def repeat_pages(content: bytearray) -> None:
    """Have every page of a tree that has others under it lead to the first of these, or to itself, again and again."""
    for start in range(4096, len(content), 4096):
        if content[start] not in (2, 5):  # a page with others under it
            continue
        (cells,) = struct.unpack_from(">H", content, start + 3)
        for cell in range(cells):
            (place,) = struct.unpack_from(">H", content, start + 12 + 2 * cell)
            content[start + place : start + place + 4] = struct.pack(">I", start // 4096 + 1)
        content[start + 8 : start + 12] = struct.pack(">I", start // 4096 + 1)


def long_text(content: bytearray) -> None:
    """Have lengths of texts be 2^28."""
    place = content.find(b"digits")
    while place >= 0:
        content[max(place - 60, 0) : max(place - 56, 0)] = b"\xff\xff\xff\x7f"
        place = content.find(b"digits", place + 1)


def read_store(place: Path) -> None:
    path = place / "store.sqlite"
    with suppress(GradusError), Store(path, create=False) as store:
        for one in store.runs():
            store.rows(one.id)
    with suppress(GradusError), Store(path, create=False) as store:
        store.check()
    repair_store(path)


def write_idx(name: str, *sizes: int, content: int) -> Callable[[Path], None]:
    def write(place: Path) -> None:
        head = bytes([0, 0, 8, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)
        with gzip.open(place / name, "wb", 1) if name.endswith("gz") else (place / name).open("wb") as file:
            file.write(head)
            for _ in range(content):
                file.write(bytes(2**20))

    return write


def pipe(name: str) -> Callable[[Path], None]:
    return lambda place: os.mkfifo(place / name)


def text(name: str, content: Callable[[], str]) -> Callable[[Path], None]:
    def write(place: Path) -> None:
        (place / name).write_text(content())

    return write


def nothing(_: Path) -> None:
    """What is read isn't in a file."""


def a_scheduler() -> gradus.Scheduler:
    return gradus.Scheduler(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1), lr=gradus.schedules.Cosine(10))


def scheduler_state(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def read(_: Path) -> None:
        scheduler = a_scheduler()
        state = scheduler.state_dict()
        change(state)
        scheduler.load_state_dict(state, on_change="keep")

    return read


DEEP, LONG = 10**5, 10**6
SUM = json.loads((Constant(1) + Constant(2)).to_json())
BOMBS: dict[str, tuple[Callable[[Path], None], Callable[[Path], None]]] = {
    "checkpoint of lists": (write_checkpoint(lambda: folded(list)), read_checkpoint),
    "checkpoint of tuples": (write_checkpoint(lambda: folded(tuple)), read_checkpoint),
    "checkpoint of dicts": (write_checkpoint(lambda: folded(lambda many: dict(enumerate(many)))), read_checkpoint),
    "checkpoint of views": (write_checkpoint(lambda: views(4000)), read_checkpoint),
    "checkpoint of one tensor": (write_checkpoint(lambda: [torch.zeros(2**18)] * 4000), read_checkpoint),
    "checkpoint of keys alike": (write_pickle(alike(100_000)), read_checkpoint),
    "checkpoint of a slow key": (write_pickle(as_key()), read_checkpoint),
    "checkpoint of depth": (write_pickle(b"\x80\x02" + b"]" * DEEP + b"a" * (DEEP - 1) + b"."), read_checkpoint),
    "checkpoint of a far memo": (write_pickle(b"\x80\x02}r\xff\xff\xff\x7f."), read_checkpoint),
    "checkpoint of long numbers": (write_checkpoint(lambda: 1 << (8 * LONG)), read_checkpoint),
    "checkpoint that is a pipe": (pipe("step-000000000001.ckpt"), read_checkpoint),
    "checkpoint of many parts": (write_shards(20_000), read_checkpoint),
    "store that leads to itself": (write_store(repeat_pages), read_store),
    "store of long texts": (write_store(long_text), read_store),
    "store that is a pipe": (pipe("store.sqlite"), read_store),
    "text of brackets": (nothing, lambda _: parse("(" * DEEP + "Constant()" + ")" * DEEP)),
    "text of signs": (nothing, lambda _: parse("-" * DEEP + "1 * Constant()")),
    "text of powers": (nothing, lambda _: parse("Constant(9**9**9**9)")),
    "text of a long number": (nothing, lambda _: parse(f"Constant({'9' * LONG})")),
    "text of products": (nothing, lambda _: parse(" * ".join(["Constant()"] * 20_000))),
    "text of calls": (nothing, lambda _: parse("Constant()" + ".repeat(1000000000)" * 50)),
    "text of a long list": (nothing, lambda _: parse(f"MultiStep([{'1,' * DEEP}])")),
    "JSON of depth": (nothing, lambda _: Schedule.from_json('{"a":' * DEEP + "1" + "}" * DEEP)),
    "JSON of lists": (nothing, lambda _: Schedule.from_json("[" * DEEP + "]" * DEEP)),
    "JSON of a long number": (nothing, lambda _: Schedule.from_json(json.dumps(SUM).replace("1", "9" * LONG))),
    "a run's JSON of depth": (nothing, lambda _: Run.from_json('{"gradus.run":' * DEEP + "1" + "}" * DEEP)),
    "scheduler's state of a long step": (nothing, scheduler_state(lambda state: state.update(step=10**4000))),
    "scheduler's state of depth": (
        nothing,
        scheduler_state(lambda state: state["hyperparameters"]["lr"].update(schedules=['{"a":' * DEEP])),
    ),
    "scheduler's state of many groups": (
        nothing,
        scheduler_state(lambda state: state["hyperparameters"]["lr"].update(bases=[0.1] * LONG)),
    ),
    "range.json of depth": (text("range.json", lambda: '{"test":' * DEEP), lambda place: findings(place / "range.json")),
    "range.json of a long number": (
        text("range.json", lambda: f'{{"test": {"9" * LONG}}}'),
        lambda place: findings(place / "range.json"),
    ),
    "range.json that is a pipe": (pipe("range.json"), lambda place: findings(place / "range.json")),
    "IDX file that announces much": (write_idx("a", 2**28, content=0), lambda place: read_idx(place / "a", 1)),
    "IDX file that unpacks to much": (write_idx("a.gz", 2**10, content=600), lambda place: read_idx(place / "a.gz", 1)),
    "IDX file that unpacks to all it may": (
        write_idx("a.gz", 2**28, content=300),
        lambda place: read_idx(place / "a.gz", 1),
    ),
    "IDX file that is a pipe": (pipe("a"), lambda place: read_idx(place / "a", 1)),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_file_made_to_cost_much_costs_little(bomb: str, tmp_path: Path) -> None:
    """It is read, or is refused by an error of Gradus, within ten seconds of the processor and 400 MB."""
    BOMBS[bomb][0](tmp_path)
    limited("test_bounds", "read_bomb", bomb, str(tmp_path))


def read_bomb(bomb: str, place: str) -> None:
    with suppress(GradusError):
        BOMBS[bomb][1](Path(place))
