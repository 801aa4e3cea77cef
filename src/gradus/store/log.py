"""What a store's write-ahead log has lost: SQLite goes on with what is left of it, and says nothing.

The formats are those of https://www.sqlite.org/walformat.html. SQLite's locks are on the store and on the index: a process
that opens and closes one of these while a connection of its own is open would lose the locks. Only the log can be looked at
any time.
"""

import struct
import sys
from pathlib import Path
from typing import BinaryIO, NamedTuple

__all__ = ["Index", "index", "lost"]

_HEADER, _FRAME, _INDEX = 32, 24, 100  # bytes: of the log's header, of a frame's before its page, of the index's
_ENOUGH = 4000  # frames whose bytes are looked at: SQLite empties a log of a thousand
_NATIVE = "<I" if sys.byteorder == "little" else ">I"
Salts = tuple[int, int]  # new each time that the log begins anew


class Index(NamedTuple):
    """What processes that share a log know of it: its salts, its frames, and how many of these are in the store by now."""

    salts: Salts
    frames: int
    moved: int


def index(store: Path) -> Index | None:
    """The index of a store's log, if there is one. No connection to the store may be open in this process."""
    try:
        with Path(f"{store}-shm").open("rb") as file:
            found = file.read(_INDEX)
    except OSError:
        return None
    if len(found) < _INDEX or not found[12]:  # it is being made
        return None
    first, second = struct.unpack_from(">II", found, 32)
    frames, moved = (struct.unpack_from(_NATIVE, found, place)[0] for place in (16, 96))
    return Index((first, second), frames, moved)


def lost(store: Path, before: Index | None) -> str:
    """What is lost of a store's log, as a sentence; nothing if all is there. To be sure, look while nobody can write to it.

    Args:
        store: the store.
        before: its index, as it was before this look.
    """
    try:
        with Path(f"{store}-wal").open("rb") as file:
            salts, held, sound, torn = _frames(file, file.read(_HEADER))
    except OSError:
        salts, held, sound, torn = None, 0, 0, False
    known = before if before is not None and salts in (None, before.salts) else None
    whole, found = max(held, known.frames if known else 0), max(sound, known.moved if known else 0)
    if whole > found:
        return f"of {whole} pages in its log {whole - found} are lost, and with them what was entered last"
    if torn and known is None and (before is None or held):  # with an index it is known that this hadn't been entered
        return "its log ends within an entry, which is lost"
    return ""


def _frames(file: BinaryIO, header: bytes) -> tuple[Salts | None, int, int, bool]:
    """The salts, how many frames there are up to the last entry's end, as many as are sound, and whether more follow."""
    if len(header) < _HEADER:
        return None, 0, 0, bool(header)
    order = ">" if header[3] & 1 else "<"
    size, *salts = struct.unpack_from(">I4xII", header, 8)
    so_far = _summed(order, header[:24], (0, 0))
    sound_yet = so_far == struct.unpack_from(">II", header, 24)
    count = held = sound = 0
    while count < _ENOUGH and (frame := file.read(_FRAME)):
        page = file.read(min(size, 65536))
        if len(frame) < _FRAME:
            count += 1
            break
        _, ends, *own = struct.unpack_from(">IIII", frame)
        if count == 0 and own[0] not in (salts[0], salts[0] - 1):
            salts = own  # those in the header are damaged: frames left over from before have 1 less
        if own != salts:
            break
        count += 1
        if len(page) < size:
            break
        so_far = _summed(order, frame[:8] + page, so_far)
        sound_yet = sound_yet and so_far == struct.unpack_from(">II", frame, 16)
        if ends:
            held, sound = count, count if sound_yet else sound
    return (salts[0], salts[1]), held, sound, count > held


def _summed(order: str, content: bytes, before: tuple[int, int]) -> tuple[int, int]:
    """SQLite's checksum, gone on with."""
    first, second = before
    words = iter(struct.unpack(f"{order}{len(content) // 4}I", content[: len(content) // 4 * 4]))
    for word, following in zip(words, words, strict=False):
        first = first + word + second & 0xFFFFFFFF
        second = second + following + first & 0xFFFFFFFF
    return first, second
