"""The first hundred bytes of a store's file, of which SQLite needs every one: what must be in them, and made anew.

The fields are those of https://www.sqlite.org/fileformat2.html, section 1.3.
"""

import sqlite3
import struct
from collections.abc import Iterator

from gradus.store.tables import APPLICATION_ID, VERSION

__all__ = ["LENGTH", "damages", "made_anew", "page_sizes"]

LENGTH = 100
# What a store has there from its first day: the place, the bytes that may stand there, and what they say.
_FIXED: list[tuple[int, tuple[bytes, ...], str]] = [
    (0, (b"SQLite format 3\0",), "that it is an SQLite file"),
    (18, (b"\2\2", b"\1\1"), "how it is written"),
    (20, (b"\0\x40\x20\x20",), "how a page is divided"),
    (44, (b"\0\0\0\4",), "the form of its tables"),
    (52, (bytes(4),), "that its pages don't move"),
    (56, (b"\0\0\0\1",), "how text is written"),
    (64, (bytes(4),), "that its pages don't move"),
    (72, (bytes(20),), "nothing"),
]


def damages(header: bytes) -> Iterator[str]:
    """What is wrong with a store's header, though SQLite may open it."""
    if len(header) < LENGTH:
        return
    for place, known, meaning in _FIXED:
        found = header[place : place + len(known[0])]
        if found not in known:
            yield f"its header is damaged: bytes {place} to {place + len(found) - 1}, which say {meaning}, are {found.hex()}"


def page_sizes(header: bytes) -> list[int]:
    """The sizes that a store's pages may have, the likeliest first."""
    (stated,) = struct.unpack_from(">H", header, 16)
    every = [2**power for power in range(9, 17)]
    return sorted(every, key=lambda size: (size % 65536 != stated, size != 4096))


def made_anew(page_size: int, length: int) -> bytes:
    """The header of a store in write-ahead mode, whose free pages are forgotten.

    Args:
        page_size: bytes of a page.
        length: bytes of the file.
    """
    major, minor, patch = sqlite3.sqlite_version_info
    return struct.pack(
        ">16sH6B12I20x2I",
        b"SQLite format 3\0",
        page_size % 65536,
        *(2, 2, 0, 64, 32, 32),
        *(1, length // page_size, 0, 0, 1, 4, 0, 0, 1, VERSION, 0, APPLICATION_ID),
        *(1, 1_000_000 * major + 1000 * minor + patch),
    )
