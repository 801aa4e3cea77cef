"""Laws of the tasks: no file is believed unchecked, nothing half-fetched is kept, and the data are what they say."""

import errno
import gzip
import hashlib
import http.server
import importlib
import math
import os
import socket
import struct
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import nn

from gradus import tasks
from gradus.errors import GradusError, InvalidInput
from gradus.tasks import (
    TASKS,
    DigitsNet,
    LeNet,
    Scores,
    Split,
    Task,
    digits,
    examples_in,
    fashion_mnist,
    load,
    load_model,
    load_task,
)
from gradus.tasks.idx import read_idx

module = importlib.import_module("gradus.tasks.fashion_mnist")  # the package has a function of that name
PUBLISHED = Path(__file__).parents[1].parent / "shared" / "data" / "fashion-mnist"
DIGEST = {name: digest for name, (_dimensions, digest) in module.FILES.items()}


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    """An IDX file after its specification: two zeros, the kind, the number of dimensions, the sizes, the bytes."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def images(count: int, height: int = 28, width: int = 28, seed: int = 0) -> np.ndarray:
    """Images of random bytes."""
    return np.random.default_rng(seed).integers(0, 256, (count, height, width), dtype=np.uint8)


IMAGES, LABELS = idx(images(20)), idx(np.arange(20) % 10)
SMALL = {  # a Fashion-MNIST of 20 and 10 images
    "train-images-idx3-ubyte": IMAGES,
    "train-labels-idx1-ubyte": LABELS,
    "t10k-images-idx3-ubyte": idx(images(10, seed=1)),
    "t10k-labels-idx1-ubyte": idx(np.arange(10)),
}


def put(folder: Path, **changes: bytes) -> Path:
    """A folder with the small Fashion-MNIST, some of its files changed: `train_images=...`."""
    folder.mkdir(exist_ok=True)
    for name, content in SMALL.items():
        short = "_".join(name.split("-")[:2])
        (folder / name).write_bytes(changes.get(short, content))
    return folder


# IDX files


@settings(max_examples=50)
@given(
    st.one_of(st.tuples(st.integers(1, 40)), st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9))),
    st.randoms(use_true_random=False),
)
def test_an_array_comes_back_from_its_idx_file(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...], random: Any
) -> None:
    """An array written after the specification of IDX is read again, equal, writable, plain and gzipped."""
    array = np.frombuffer(random.randbytes(math.prod(shape)), dtype=np.uint8).reshape(shape)
    folder = tmp_path_factory.mktemp("idx")
    (folder / "plain").write_bytes(idx(array))
    (folder / "packed.gz").write_bytes(gzip.compress(idx(array)))
    for name in ("plain", "packed.gz"):
        read = read_idx(folder / name, len(shape))
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, array)
        read[...] = 0


def header(*sizes: int, kind: int = 8) -> bytes:
    """The header of an IDX file, whatever follows."""
    return struct.pack(f">BBBB{len(sizes)}I", 0, 0, kind, len(sizes), *sizes)


BROKEN = {
    "empty": (b"", "is no IDX file of bytes: it begins with b''"),
    "two bytes": (IMAGES[:2], "is no IDX file of bytes"),
    "text": (b"<html><body>Not found", "is no IDX file of bytes: it begins with b'<htm'"),
    "gzip without the name": (gzip.compress(IMAGES), "is no IDX file of bytes"),
    "floats": (header(20, 28, 28, kind=0x0D) + bytes(62720), "is no IDX file of bytes"),
    "labels": (LABELS, r"must hold 3 dimension\(s\) and has 1: are images and labels swapped"),
    "two dimensions": (header(4, 4) + bytes(16), r"must hold 3 dimension\(s\) and has 2"),
    "no sizes": (IMAGES[:4], "is cut short, within its header"),
    "half the sizes": (IMAGES[:10], "is cut short, within its header"),
    "no content": (IMAGES[:16], "is cut short: 15,680 bytes are announced, 0 read"),
    "all but one byte": (IMAGES[:-1], "is cut short: 15,680 bytes are announced, 15,679 read"),
    "a byte too many": (IMAGES + b"\0", "holds more than its header says: 15,680 bytes are announced, 15,681 read"),
    "nothing announced": (header(0, 28, 28), "says it holds 0 bytes; from 1 to"),
    "4 GB announced": (header(2**22, 32, 32), "says it holds 4,294,967,296 bytes; from 1 to"),
    "more than any machine": (header(2**32 - 1, 2**32 - 1, 2**32 - 1), "says it holds .* bytes; from 1 to"),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_is_not_what_it_should_be_is_refused(tmp_path: Path, kind: str, packed: bool) -> None:
    """A file that is no IDX file of the wanted dimensions, cut short or too long, is refused by its name and fault."""
    content, message = BROKEN[kind]
    path = tmp_path / ("images.gz" if packed else "images")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(GradusError, match=rf"{path} {message}"):
        read_idx(path, 3)


PACKED = gzip.compress(IMAGES)
DAMAGED = {
    "empty": b"",
    "not gzip": IMAGES,
    "cut in its header": PACKED[:5],
    "cut in the middle": PACKED[: len(PACKED) // 2],
    "cut at the end": PACKED[:-1],
    "a wrong sum": PACKED[:-8] + bytes(4) + PACKED[-4:],
    "a byte changed": PACKED[:5000] + bytes([PACKED[5000] ^ 0xFF]) + PACKED[5001:],
    "no such block": PACKED[:10] + b"\xff" * 100,
    "something after it": PACKED + b"something",
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, kind: str) -> None:
    """A gzip file that is cut short or damaged anywhere is refused by its name."""
    path = tmp_path / "images.gz"
    path.write_bytes(DAMAGED[kind])
    with pytest.raises(GradusError, match=rf"{path} (is damaged or cut short|is no IDX file)"):
        read_idx(path, 3)


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path, name: str) -> None:
    """A folder in a file's place, or nothing at all, is refused by its name with the reason."""
    with pytest.raises(GradusError, match=rf"{tmp_path / name} can't be read: No such file or directory"):
        read_idx(tmp_path / name, 3)
    (tmp_path / name).mkdir()
    with pytest.raises(GradusError, match=rf"{tmp_path / name} can't be read: it is a folder, a pipe or a device"):
        read_idx(tmp_path / name, 3)


def bomb(start: bytes, megabytes: int) -> bytes:
    """A small gzip file that swells to many megabytes of zeros."""
    pack = zlib.compressobj(9, wbits=31)
    return pack.compress(start) + b"".join(pack.compress(bytes(2**20)) for _ in range(megabytes)) + pack.flush()


def peak_of(work: Callable[[], object]) -> int:
    """The most memory that Python held at once during the work, in bytes."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_takes_no_memory(tmp_path: Path) -> None:
    """Of a file that swells to 200 MB no more is unpacked than its header announces."""
    path = tmp_path / "images.gz"
    path.write_bytes(bomb(header(20, 28, 28), 200))

    def read() -> None:
        with pytest.raises(GradusError, match="holds more than its header says"):
            read_idx(path, 3)

    assert peak_of(read) < 10 * 2**20


# Fashion-MNIST from files


def test_files_are_read_as_they_are(tmp_path: Path) -> None:
    """The task holds the files' bytes and labels in their order, and gives the model numbers from 0 to 1."""
    task = fashion_mnist(put(tmp_path))
    assert torch.equal(task.train.inputs, torch.as_tensor(images(20)).reshape(20, 1, 28, 28))
    assert torch.equal(task.train.targets, torch.arange(20) % 10)
    assert torch.equal(task.test.inputs, torch.as_tensor(images(10, seed=1)).reshape(10, 1, 28, 28))
    assert torch.equal(task.test.targets, torch.arange(10))
    prepared = task.prepare(task.train.inputs)
    torch.testing.assert_close(prepared, torch.as_tensor(images(20) / 255).float().unsqueeze(1), rtol=1e-6, atol=0)
    assert task.train.inputs.dtype == torch.uint8


def test_gzipped_files_are_equal_to_plain_ones(tmp_path: Path) -> None:
    """A folder of gzipped files gives the same task as one of plain files; and a folder may be named by a string."""
    plain = fashion_mnist(put(tmp_path / "plain"))
    packed = tmp_path / "packed"
    packed.mkdir()
    for name, content in SMALL.items():
        (packed / f"{name}.gz").write_bytes(gzip.compress(content))
    gzipped = load_task("fashion-mnist", str(packed))
    for one, other in zip((*plain.train, *plain.test), (*gzipped.train, *gzipped.test), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_labels": idx(np.arange(19) % 10)}, "the train files .* don't belong together: 20 images and 19 labels"),
        ({"t10k_images": IMAGES}, "the t10k files .* don't belong together: 20 images and 10 labels"),
        ({"train_labels": idx(np.arange(20))}, "the train files .* aren't Fashion-MNIST's: .* labels to 19"),
        ({"t10k_labels": idx(np.full(10, 255))}, "the t10k files .* aren't Fashion-MNIST's: .* labels to 255"),
        ({"train_images": idx(images(20, 32, 32))}, "the train files .* aren't .* they hold images of 32 × 32"),
        ({"train_images": idx(images(20, 28, 27))}, "the train files .* aren't .* they hold images of 28 × 27"),
        ({"train_images": LABELS}, "train-images-idx3-ubyte must hold 3 dimension.*swapped"),
        ({"t10k_labels": IMAGES}, "t10k-labels-idx1-ubyte must hold 1 dimension.*swapped"),
    ],
)
def test_files_that_are_not_fashion_mnist_are_refused(tmp_path: Path, changes: dict[str, bytes], message: str) -> None:
    """Files that don't belong together, or hold other images or labels, are refused; the message names the folder."""
    with pytest.raises(GradusError, match=message) as caught:
        fashion_mnist(put(tmp_path, **changes))
    assert str(tmp_path) in str(caught.value)


published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"the files of Fashion-MNIST aren't in {PUBLISHED}")


@published
@pytest.mark.parametrize("name", module.FILES)
def test_the_digests_are_those_of_the_published_files(name: str) -> None:
    """Each published file, unpacked, has the sha256 that a download must have."""
    content = gzip.decompress((PUBLISHED / f"{name}.gz").read_bytes())
    assert hashlib.sha256(content).hexdigest() == DIGEST[name]


@published
def test_the_published_files_are_the_published_task() -> None:
    """Fashion-MNIST has 60,000 and 10,000 images of 28 × 28, evenly over 10 classes."""
    task = load_task("fashion-mnist", PUBLISHED)
    assert task.train.inputs.shape == (60_000, 1, 28, 28)
    assert task.test.inputs.shape == (10_000, 1, 28, 28)
    assert task.train.targets.bincount().tolist() == [6000] * 10
    assert task.test.targets.bincount().tolist() == [1000] * 10


# Fashion-MNIST from the network

Answer = Callable[[http.server.BaseHTTPRequestHandler, bytes], None]


class Server(http.server.ThreadingHTTPServer):
    """A web server on this machine that answers as a test says and remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: Answer = give
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the gzipped file of that name."""

    def do_GET(self) -> None:  # the name is the library's
        assert isinstance(self.server, Server)
        name = self.path.removeprefix("/").removesuffix(".gz")
        self.server.asked.append(name)
        self.server.answer(self, gzip.compress(SMALL[name]))

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""


def give(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    """The file, as a server should."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def give_without_a_size(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    """The file, its end marked by the end of the connection."""
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(content)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server with the small Fashion-MNIST in the place of the published one."""
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    files = {name: (3 if "images" in name else 1, hashlib.sha256(content).hexdigest()) for name, content in SMALL.items()}
    monkeypatch.setattr(module, "FILES", files)
    with Server() as opened:
        monkeypatch.setattr(module, "ADDRESS", opened.address)
        thread = threading.Thread(target=opened.serve_forever, args=(0.01,))
        thread.start()
        yield opened
        opened.shutdown()
        thread.join()


@pytest.mark.parametrize("answer", [give, give_without_a_size])
def test_absent_files_are_fetched_once(tmp_path: Path, server: Server, answer: Answer) -> None:
    """Absent files are downloaded into the folder, which is made, and not a second time; the task is that of the files."""
    server.answer = answer
    folder = tmp_path / "new" / "data"
    for _turn in range(2):
        task = fashion_mnist(folder)
        assert torch.equal(task.train.inputs, torch.as_tensor(images(20)).unsqueeze(1))
    assert sorted(server.asked) == sorted(SMALL)
    assert {path.name: gzip.decompress(path.read_bytes()) for path in folder.iterdir()} == {
        f"{name}.gz": content for name, content in SMALL.items()
    }


def test_only_what_is_absent_is_fetched(tmp_path: Path, server: Server) -> None:
    """Files that are there, plain or gzipped, aren't fetched."""
    put(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    fashion_mnist(tmp_path)
    assert server.asked == ["t10k-labels-idx1-ubyte"]


def test_the_cache_of_the_user_is_the_usual_place(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder the files are kept in the user's cache, and found there again."""
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "cache" / name)
    load_task("fashion-mnist")
    load_task("fashion-mnist")
    assert len(server.asked) == 4
    assert len(list((tmp_path / "cache" / "gradus" / "fashion-mnist").iterdir())) == 4


@pytest.mark.parametrize("answer", [give, give_without_a_size])
def test_progress_is_told(tmp_path: Path, server: Server, answer: Answer) -> None:
    """Of each file the bytes so far are told, rising to all there are, and the whole size where the server says it."""
    server.answer = answer
    told: dict[str, list[tuple[int, int | None]]] = {}
    load_task("fashion-mnist", tmp_path, progress=lambda name, done, size: told.setdefault(name, []).append((done, size)))
    sizes = {f"{name}.gz": len(gzip.compress(content)) for name, content in SMALL.items()}
    assert {name: pieces[-1][0] for name, pieces in told.items()} == sizes
    for name, pieces in told.items():
        assert {size for _done, size in pieces} == {sizes[name] if answer is give else None}
        assert pieces == sorted(pieces, key=lambda piece: piece[0])


def give_another_file(handler: http.server.BaseHTTPRequestHandler, _: bytes) -> None:
    """A file that would do, but isn't the published one."""
    give(handler, gzip.compress(idx(images(20, seed=9))))


def give_text(handler: http.server.BaseHTTPRequestHandler, _: bytes) -> None:
    """A page, as a hotel's network gives one for everything."""
    give(handler, b"<html>Please log in</html>")


def give_damaged(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    """A gzip file with a block of no known type."""
    give(handler, content[:10] + b"\xff" * 100)


def give_nothing(handler: http.server.BaseHTTPRequestHandler, _: bytes) -> None:
    """Not found."""
    handler.send_error(404)


def drop_midway(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    """Half of the file, then the connection closed."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])


def drop_at_once(handler: http.server.BaseHTTPRequestHandler, _: bytes) -> None:
    """The connection closed without a word."""
    handler.connection.shutdown(socket.SHUT_RDWR)


def drop_in_a_piece(handler: http.server.BaseHTTPRequestHandler, _: bytes) -> None:
    """A piece of the chunked encoding announced, and less of it sent."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"1000\r\nshort")


def speak_otherwise(handler: http.server.BaseHTTPRequestHandler, _: bytes) -> None:
    """Something that isn't HTTP."""
    handler.wfile.write(b"220 ready for mail\r\n")


def give_forever(handler: http.server.BaseHTTPRequestHandler, _: bytes) -> None:
    """More than any of the files has."""
    handler.send_response(200)
    handler.end_headers()
    try:
        for _piece in range(100):
            handler.wfile.write(bytes(2**20))
    except OSError:
        handler.close_connection = True


def redirect_in_circles(handler: http.server.BaseHTTPRequestHandler, _: bytes) -> None:
    """The same address once more."""
    handler.send_response(302)
    handler.send_header("Location", handler.path)
    handler.end_headers()


def give_a_bomb(handler: http.server.BaseHTTPRequestHandler, _: bytes) -> None:
    """A file that swells to 20 MB, four times what is believed."""
    give(handler, bomb(header(20, 28, 28), 20))


def fall_silent(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    """Half of the file, then nothing for a while."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])
    handler.wfile.flush()
    threading.Event().wait(0.6)


BAD_ANSWERS: dict[Answer, str] = {
    give_another_file: "gave is not the published file; nothing was kept",
    give_text: "gave is not the published file; nothing was kept",
    give_damaged: "gave is not the published file; nothing was kept",
    give_a_bomb: "gave is not the published file; nothing was kept",
    give_nothing: r"\(HTTP Error 404: Not Found\)",
    drop_midway: r"\(it broke off after [0-9,]+ of [0-9,]+ bytes\)",
    drop_at_once: "(closed connection|reset)",
    drop_in_a_piece: "(IncompleteRead|it broke off)",
    speak_otherwise: "220 ready for mail",
    give_forever: r"\(it is far larger than it should be\)",
    redirect_in_circles: "(infinite loop|redirect)",
    fall_silent: "timed out",
}


@pytest.mark.parametrize("answer", BAD_ANSWERS, ids=lambda answer: answer.__name__)
def test_a_download_that_fails_leaves_nothing(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    """A download that fails in any way is one sentence with the address, the fault and the way out; none of it is kept."""
    monkeypatch.setattr(module, "_LARGEST", 5 * 2**20)
    if answer is fall_silent:
        monkeypatch.setattr(module, "_TIMEOUT", 0.3)
    server.answer = answer
    with pytest.raises(GradusError, match=BAD_ANSWERS[answer]) as caught:
        fashion_mnist(tmp_path / "data")
    message = str(caught.value)
    assert f"{server.address}/train-images-idx3-ubyte.gz" in message
    assert "--data-dir" in message
    assert "--task digits" in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_bomb_from_the_network_takes_no_memory(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a download that swells to 100 MB no more is unpacked than is believed, however small it is packed."""
    monkeypatch.setattr(module, "_LARGEST", 5 * 2**20)
    content = bomb(header(20, 28, 28), 100)
    server.answer = lambda handler, _: give(handler, content)

    def load() -> None:
        with pytest.raises(GradusError, match="is not the published file"):
            fashion_mnist(tmp_path)

    assert peak_of(load) < 20 * 2**20


def test_a_refused_connection_is_told(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a server the sentence says where the file was looked for, why it isn't to be had, and the way out."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: every connection to it is refused
        monkeypatch.setattr(module, "ADDRESS", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(GradusError, match=r"is neither in .*data nor to be had from http://127.*refused.*--task digits"):
            fashion_mnist(tmp_path / "data")
    assert list(tmp_path.iterdir()) == []
    assert server.asked == []


def test_a_download_is_taken_up_where_it_failed(tmp_path: Path, server: Server) -> None:
    """Files that came whole before a download failed are kept; the next attempt fetches the others."""

    def give_images_only(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
        (give if "images" in handler.path else give_nothing)(handler, content)

    server.answer = give_images_only
    with pytest.raises(GradusError, match="train-labels-idx1-ubyte is neither"):
        fashion_mnist(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["train-images-idx3-ubyte.gz"]
    server.answer = give
    fashion_mnist(tmp_path)
    assert server.asked.count("train-images-idx3-ubyte") == 1


@pytest.mark.usefixtures("server")
def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    """What can't be kept is one sentence with the place, the reason and the way out."""
    (tmp_path / "plain").write_text("")
    with pytest.raises(GradusError, match=r"was downloaded, but .*plain/data/train.*can't be written: .*--task digits"):
        fashion_mnist(tmp_path / "plain" / "data")


@pytest.mark.usefixtures("server")
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no space for a download, nothing of it is left, and the sentence says so with the way out."""

    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(GradusError, match=r"No space left on device; .*--task digits"):
        fashion_mnist(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_download_leaves_nothing(tmp_path: Path, server: Server) -> None:
    """Ctrl-C in the middle of a download passes through and leaves nothing."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fashion_mnist(tmp_path, progress=interrupted)
    assert list(tmp_path.iterdir()) == []
    assert server.asked == ["train-images-idx3-ubyte"]


def test_a_folder_that_cannot_be_looked_into_is_named(tmp_path: Path) -> None:
    """A folder whose name no system takes is refused by that name, and nothing is fetched."""
    with pytest.raises(GradusError, match="can't be looked into: File name too long"):
        fashion_mnist(tmp_path / ("n" * 300))


# Digits


def test_digits_are_scikit_learns() -> None:
    """The 1,437 and 360 images together are scikit-learn's 1,797, each once with its label, from 0 to 1."""
    task = digits()
    assert (len(task.train.inputs), len(task.test.inputs)) == (1437, 360)
    inputs = torch.cat([task.train.inputs, task.test.inputs])
    assert inputs.shape == (1797, 1, 8, 8)
    assert inputs.dtype == torch.float32
    assert (inputs.min().item(), inputs.max().item()) == (0.0, 1.0)
    theirs, labels = load_digits(return_X_y=True)
    targets = torch.cat([task.train.targets, task.test.targets])
    ours = sorted(
        (tuple(image), label) for image, label in zip((inputs * 16).flatten(1).tolist(), targets.tolist(), strict=True)
    )
    assert ours == sorted((tuple(image), label) for image, label in zip(theirs.tolist(), labels.tolist(), strict=True))


def test_digits_are_split_the_same_each_time() -> None:
    """The split doesn't depend on torch's random state, doesn't change it, and has every class on both sides."""
    first = digits()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    second = digits()
    assert torch.equal(torch.get_rng_state(), state)
    for one, other in zip((*first.train, *first.test), (*second.train, *second.test), strict=True):
        assert torch.equal(one, other)
    for part in (first.train, first.test):
        assert part.targets.unique().tolist() == list(range(10))


# Models


def filled(textbook: nn.Sequential, model: nn.Module) -> nn.Sequential:
    """The textbook's network with our model's weights, layer by layer in their order."""
    theirs = [layer for layer in textbook if isinstance(layer, (nn.Conv2d, nn.Linear))]
    ours = [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    for one, other in zip(theirs, ours, strict=True):
        one.load_state_dict(other.state_dict())
    return textbook


def textbook_lenet() -> nn.Sequential:
    """LeNet as textbooks draw it: ReLU, then pooling."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def textbook_digits() -> nn.Sequential:
    """The same for images of 8 × 8."""
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)),
    )


MODELS = {"LeNet": (LeNet, textbook_lenet, 28, 61_706), "DigitsNet": (DigitsNet, textbook_digits, 8, 3_658)}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_the_textbooks(name: str) -> None:
    """With equal weights a model gives the scores and the gradients of the textbook's network, which pools after ReLU."""
    make, textbook, size, parameters = MODELS[name]
    torch.manual_seed(0)
    model, inputs, labels = make(), torch.rand(32, 1, size, size), torch.arange(32) % 10
    expected = filled(textbook(), model)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    torch.testing.assert_close(model(inputs), expected(inputs), rtol=1e-5, atol=1e-6)
    for network in (model, expected):
        nn.functional.cross_entropy(network(inputs), labels).backward()
    for one, other in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


BOUNDS = {  # of a layer's uniform weights: torch's own, which the published builds use, and Glorot's
    "LeNet": lambda inputs, outputs: 1 / math.sqrt(inputs),  # noqa: ARG005 - torch looks at the inputs alone
    "DigitsNet": lambda inputs, outputs: math.sqrt(6 / (inputs + outputs)),
}


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_drawn_as_documented(name: str) -> None:
    """LeNet's weights are uniform up to 1/√inputs, those of the digits up to √(6 / (inputs + outputs))."""
    make = MODELS[name][0]
    torch.manual_seed(3)
    model = make()
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            outputs, inputs = layer.weight.shape[:2]
            area = layer.weight[0, 0].numel()
            bound = BOUNDS[make.__name__](inputs * area, outputs * area)
            assert layer.weight.abs().max() <= bound
            assert layer.weight.abs().max() > 0.8 * bound
    torch.manual_seed(3)
    again = make()
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), again.parameters(), strict=True))


# Tasks of all kinds


def tiny(**changes: Any) -> Task:
    """A task of five examples."""
    settings = {
        "name": "tiny",
        "train": (torch.zeros(5, 2), torch.zeros(5, dtype=torch.int64)),
        "test": (torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64)),
        "model": lambda: nn.Linear(2, 2),
    }
    return Task(**(settings | changes))


@pytest.mark.parametrize("name", TASKS)
def test_every_task_can_be_trained(name: str, tmp_path: Path) -> None:
    """Of every task that ships, the model takes batches of each split, and the loss, metrics and objective its outputs."""
    task = load_task(name, put(tmp_path))
    assert task.name == name
    model = task.model()
    for which in ("train", "valid", "test"):
        batch = next(task.data(which).batches(0, 0, 10))
        scores = Scores(task.metrics)
        scores.add(task.loss_of(model, batch), examples_in(batch))
        values = scores.values()
        assert all(math.isfinite(value) for value in values.values())
        assert task.objective.name.partition("/")[2] in values


X, Y = torch.zeros(5, 2), torch.zeros(5)


@pytest.mark.parametrize("which", ["train", "test"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((X, Y[:4]), "'{}' needs as many inputs as targets, at least one example; got 5 and 4"),
        ((X[:0], Y[:0]), "'{}' needs as many inputs as targets, at least one example; got 0 and 0"),
        ((X, Y, Y), r"'{}' must be \(inputs, targets\); got .*; for batches of another kind give step="),
        ({"x": X, "y": Y}, r"'{}' must be \(inputs, targets\); got .*; for batches of another kind give step="),
        ((X, torch.tensor(1.0)), "'{}' needs as many inputs as targets, at least one example; got 5 and 0"),
        (X, r"'{}' must be \(inputs, targets\), tensors or NumPy arrays .*; got float32 \[\*, 2\]"),
        ((X, "labels"), r"'{}' must be \(inputs, targets\), tensors or NumPy arrays .*; got \(float32 \[\*, 2\], str\)"),
        ((X, np.array(["a"] * 5)), "'{}' must be arrays of numbers; got one of dtype <U1"),
        ("train.csv", "'{}' must be .*; got str"),
        (3, "'{}' must be .*; got int"),
    ],
)
def test_examples_come_in_pairs(which: str, given: Any, message: str) -> None:
    """A split that is empty, uneven or no pair of tensors is refused by the task's and its own name."""
    with pytest.raises(InvalidInput, match="task 'tiny': " + message.format(which)):
        tiny(**{which: given})


def test_a_pair_becomes_a_split() -> None:
    """A pair of tensors or arrays becomes a split of tensors, and a replaced task keeps all but what was replaced."""
    task = tiny(train=[X.numpy(), Y], lr=0.7)
    assert isinstance(task.train, Split)
    assert torch.equal(task.train.inputs, X)
    again = replace(task, train=(X[:3], Y[:3]))
    assert (again.lr, again.model, again.data("train", valid=False).examples) == (0.7, task.model, 3)
    assert task.data("train", valid=False).to(torch.device("meta")).parts[0].device.type == "meta"


@pytest.mark.parametrize(
    "view", [X.numpy()[::-1], X.numpy().astype(">f8"), np.broadcast_to(X[0].numpy(), (5, 2)), X.numpy().T.copy().T]
)
def test_arrays_of_any_layout_are_taken(view: np.ndarray) -> None:
    """An array of any strides and byte order gives its numbers, in a tensor that doesn't follow its changes."""
    task = tiny(train=(view, Y))
    assert np.array_equal(task.train.inputs.numpy(), view)
    assert not np.shares_memory(task.train.inputs.numpy(), view)


def test_a_task_prints_in_few_words() -> None:
    """What a task prints has none of its data."""
    assert "tensor" not in repr(tiny())


@pytest.mark.parametrize("batch_size", [1, 2, 4, 5, 6, 100])
def test_a_short_last_batch_is_an_update(batch_size: int) -> None:
    """A pass has as many updates as torch splits the examples into."""
    data = tiny().data("train", valid=False)
    assert data.steps_per_epoch(batch_size) == len(torch.zeros(5).split(batch_size))


# Tasks of the user's own

MODULE = """
import torch
from gradus.errors import GradusError
from gradus.tasks import Task

def mine():
    split = torch.zeros(5, 2), torch.zeros(5, dtype=torch.int64)
    return Task("mine", split, split, model=lambda: torch.nn.Linear(2, 2))

def from_folder(data_dir):
    split = torch.full((5, 2), float(data_dir)), torch.zeros(5, dtype=torch.int64)
    return Task("mine", split, split, model=lambda: torch.nn.Linear(2, 2))

def training(run, context):
    yield {"train/loss": 1.0}

ready = mine()

def something_else():
    return {"train": []}

def fails():
    raise KeyError("data.csv")

def has_no_data():
    raise GradusError("fetch the data first")

def needs(what, which, why):
    return mine()

number = 3
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules on Python's path: a good one, and some that can't be imported."""
    (tmp_path / "gradus_test_good.py").write_text(MODULE)
    (tmp_path / "gradus_test_raises.py").write_text("raise RuntimeError('no licence')")
    (tmp_path / "gradus_test_leaves.py").write_text("raise SystemExit(0)")
    (tmp_path / "gradus_test_syntax.py").write_text("def task(:")
    (tmp_path / "gradus_test_needs.py").write_text("import gradus_test_absent")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("modules")
def test_a_task_of_ones_own_is_found_by_its_path() -> None:
    """A task, or a function that returns one and may ask for data_dir, is loaded by module and name."""
    for name in ("mine", "ready"):
        task = load_task(f"gradus_test_good:{name}")
        assert (task.name, len(task.train.inputs)) == ("mine", 5)
    assert load_task("gradus_test_good:from_folder", "7").train.inputs[0, 0] == 7


@pytest.mark.usefixtures("modules")
def test_a_training_function_is_told_from_a_task() -> None:
    """What needs two arguments is a training function, and comes as it is; all else is a task."""
    assert callable(load("gradus_test_good:training"))
    assert isinstance(load("gradus_test_good:mine"), Task)
    assert isinstance(load("digits"), Task)


def test_the_registries_have_doors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that is put into a registry is known by its name."""
    monkeypatch.setitem(tasks.TASKS, "mine", lambda: tiny(name="mine"))
    monkeypatch.setitem(tasks.MODELS, "mine", lambda: nn.Linear(3, 3))
    assert (load_task("mine").name, load_task("mine").source) == ("mine", __name__)
    assert isinstance(load_model("mine"), nn.Linear)


OWN = [
    ("gradus_test_good:absent", "the module gradus_test_good has no 'absent'"),
    ("gradus_test_good:", "must be package.module:name"),
    ("gradus_test_absent:task", "there is no module 'gradus_test_absent'"),
    ("gradus_test_needs:task", "can't be imported: ModuleNotFoundError: No module named 'gradus_test_absent'"),
    ("gradus_test_raises:task", "can't be imported: RuntimeError: no licence"),
    ("gradus_test_leaves:task", "can't be imported: SystemExit: 0"),
    ("gradus_test_syntax:task", "can't be imported: SyntaxError: .*gradus_test_syntax.py, line 1"),
    (":task", "must be package.module:name"),
    (".relative:task", "must be package.module:name"),
    ("gradus_test_good:something_else", "must return a Task; it returned dict"),
    ("gradus_test_good:number", "must be a function that takes nothing; it is int"),
    ("gradus_test_good:needs", "can't be made: TypeError: .*missing 3 required positional arguments: 'what'"),
    ("gradus_test_good:training", r"is a training function \(it takes a run and a context\); here a task is needed"),
    ("gradus_test_good:fails", "can't be made: KeyError: 'data.csv'"),
]


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(("name", "message"), OWN)
def test_a_task_that_cannot_be_had_is_refused(name: str, message: str) -> None:
    """A function that can't be imported, fails or returns no task is refused by its path, with what Python said."""
    with pytest.raises(InvalidInput, match=f"task '{name}':? {message}"):
        load_task(name)


@pytest.mark.usefixtures("modules")
def test_an_error_written_for_a_person_is_passed_on() -> None:
    """An error of Gradus from a task of one's own is passed on as it is."""
    with pytest.raises(GradusError, match=r"^fetch the data first$"):
        load_task("gradus_test_good:has_no_data")


@pytest.mark.parametrize("name", ["", "mnist", "Digits", "gradus.tasks"])
def test_an_unknown_name_is_refused(name: str) -> None:
    """A name that is no task's is refused, and the known ones are named."""
    hint = r" \(did you mean digits\?\)" if name == "Digits" else ""
    with pytest.raises(InvalidInput, match=f"unknown task '{name}'{hint}; known are {', '.join(TASKS)}, or package.module"):
        load_task(name)
