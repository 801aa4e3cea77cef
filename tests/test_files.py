"""Files are whole or absent: laws of `write_whole` and `make_ignored_folder`."""

import errno
import io
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gradus.errors import GradusError
from gradus.files import make_ignored_folder, write_whole

OLD, NEW = b"old" * 1000, b"new" * 5000


def names(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("content", [b"", b"\0", NEW, os.urandom(3 * 2**20)], ids=["empty", "zero", "some", "3 MB"])
@pytest.mark.parametrize("before", [None, OLD], ids=["absent", "there"])
def test_a_file_holds_what_was_written(tmp_path: Path, content: bytes, before: bytes | None) -> None:
    """What is written is read again, whether a file stood there or not, and nothing else stands beside it."""
    path = tmp_path / "file.bin"
    if before is not None:
        path.write_bytes(before)
    write_whole(path, content)
    assert path.read_bytes() == content
    assert names(tmp_path) == ["file.bin"]


def test_folders_are_made(tmp_path: Path) -> None:
    """The folders above a file are made as needed."""
    write_whole(tmp_path / "a" / "b" / "file", NEW)
    assert (tmp_path / "a" / "b" / "file").read_bytes() == NEW


def test_rights_are_those_of_any_new_file(tmp_path: Path) -> None:
    """Who may read a file is what the user's umask says, as for a file made plainly."""
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "ours", NEW)
        (tmp_path / "plain").write_bytes(NEW)
    finally:
        os.umask(before)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def no_space(*_: object, **__: object) -> None:
    """What a full disk says to everything."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullAtWrite(io.FileIO):
    """A file that can't grow."""

    write = no_space  # type: ignore[assignment]


class FullAtFlush(io.FileIO):
    """A file whose last bytes find no space."""

    flush = no_space  # type: ignore[assignment]


def fill_the_disk(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Make one step of writing a file fail, as on a full disk."""
    match step:
        case "open":
            monkeypatch.setattr(Path, "open", no_space)
        case "write":
            monkeypatch.setattr(Path, "open", lambda path, _: FullAtWrite(path, "xb"))
        case "flush":
            monkeypatch.setattr(Path, "open", lambda path, _: FullAtFlush(path, "xb"))
        case "fsync":
            monkeypatch.setattr(os, "fsync", no_space)
        case "replace":
            monkeypatch.setattr(Path, "replace", no_space)


@pytest.mark.parametrize("step", ["open", "write", "flush", "fsync", "replace"])
def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Wherever the space ends, the old content is kept, nothing is left beside it, and the error names the file."""
    path = tmp_path / "file"
    path.write_bytes(OLD)
    with monkeypatch.context() as patch:
        fill_the_disk(patch, step)
        with pytest.raises(GradusError, match=rf"{path} can't be written: No space left on device"):
            write_whole(path, NEW)
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["file"]


def test_a_limit_of_the_system_keeps_the_old_file(tmp_path: Path) -> None:
    """A write that the system itself refuses keeps the old content and leaves nothing beside it."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "file"
    path.write_bytes(OLD)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(OLD), hard))
    try:
        with pytest.raises(GradusError, match="can't be written: File too large"):
            write_whole(path, NEW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["file"]


def test_an_interruption_leaves_nothing_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while a file is written passes through, keeps the old content and leaves nothing beside it."""

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "file"
    path.write_bytes(OLD)
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, NEW)
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["file"]


def test_a_folder_that_cannot_be_flushed_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the file stands in its place it is written, even where the system can't flush folders."""
    flush = os.fsync

    def flush_files_only(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        flush(handle)

    monkeypatch.setattr(os, "fsync", flush_files_only)
    write_whole(tmp_path / "file", NEW)
    assert (tmp_path / "file").read_bytes() == NEW


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("plain/file", "File exists|Not a directory"),
        ("plain/folder/file", "Not a directory"),
        ("folder", "Is a directory"),
        ("n" * 300, "File name too long"),
    ],
)
def test_a_place_that_cannot_hold_a_file_is_named(tmp_path: Path, name: str, reason: str) -> None:
    """Where no file can be made, the error names the place and the reason, and nothing is changed."""
    (tmp_path / "plain").write_bytes(OLD)
    (tmp_path / "folder").mkdir()
    with pytest.raises(GradusError, match=rf"{tmp_path / name} can't be written: ({reason})"):
        write_whole(tmp_path / name, NEW)
    assert names(tmp_path) == ["folder", "plain"]
    assert (tmp_path / "plain").read_bytes() == OLD


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    """A process killed in the middle of writing leaves one whole content or the other."""
    program = """
import sys
from pathlib import Path
from gradus.files import write_whole
path = Path(sys.argv[1])
while True:
    for letter in (b"a", b"b"):
        write_whole(path, letter * 1_000_000)
        print(flush=True)
"""
    path = tmp_path / "file"
    for writes in (1, 4):
        with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(writes):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        assert path.read_bytes() in (b"a" * 1_000_000, b"b" * 1_000_000)


def test_many_writers_of_one_file(tmp_path: Path) -> None:
    """Of several that write the same file at once, one has the last word, whole, and no other trace is left."""
    contents = [bytes([65 + index]) * 100_000 for index in range(8)]
    threads = [threading.Thread(target=write_whole, args=(tmp_path / "file", content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "file").read_bytes() in contents
    assert names(tmp_path) == ["file"]


def git(*arguments: str) -> bytes:
    """What git says, whatever repository this session of pytest was started from."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(["git", *arguments], check=True, capture_output=True, env=environment).stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="git itself says what it ignores")
@pytest.mark.parametrize("made", [False, True], ids=["absent", "empty"])
def test_git_passes_over_a_folder_of_results(tmp_path: Path, made: bool) -> None:
    """Git sees nothing of a folder that was made for results, whatever is put into it, and all that is beside it."""
    git("init", "--quiet", str(tmp_path))
    folder = tmp_path / "deep" / "results"
    if made:
        folder.mkdir(parents=True)
    assert make_ignored_folder(folder) == folder
    (folder / "results.json").write_text("{}")
    assert make_ignored_folder(folder) == folder
    assert git("-C", str(tmp_path), "status", "--porcelain") == b""
    (tmp_path / "other").write_text("")
    assert git("-C", str(tmp_path), "status", "--porcelain") == b"?? other\n"


def test_a_folder_with_work_in_it_is_not_hidden(tmp_path: Path) -> None:
    """A folder that holds something already gets no `.gitignore`: it may be a project."""
    (tmp_path / "thesis.tex").write_text("")
    make_ignored_folder(tmp_path)
    assert names(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("plain", "plain can't be used as a folder: Not a directory"),
        ("plain/below", r"plain/below/.gitignore can't be written: (Not a directory|File exists)"),
        ("n" * 300, "can't be used as a folder: File name too long"),
    ],
)
def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, name: str, message: str) -> None:
    """Where no folder can be made, the error says where and why."""
    (tmp_path / "plain").write_bytes(OLD)
    with pytest.raises(GradusError, match=message):
        make_ignored_folder(tmp_path / name)
    assert names(tmp_path) == ["plain"]
