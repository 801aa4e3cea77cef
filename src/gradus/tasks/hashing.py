"""Digests of data: whether what is learned from is what was learned from."""

import hashlib
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["digest_of"]

_DIGITS = 16  # hexadecimal: enough to tell apart what differs by mistake


def digest_of(things: Iterable[Any]) -> str:
    """16 hexadecimal digits of tensors, arrays, numbers and text, in tuples, lists and mappings of these.

    What is of no such kind counts by its type alone, for its text may hold an address.

    Args:
        things: what is digested, in this order.
    """
    found = hashlib.sha256()
    for one in things:
        _add(found, one)
    return found.hexdigest()[:_DIGITS]


def _add(found: Any, thing: Any) -> None:
    """Each kind is tagged and each length said, so that no two things look alike."""
    if isinstance(thing, Tensor):
        thing = thing.detach().cpu().contiguous()
        _say(found, f"tensor {thing.dtype} {tuple(thing.shape)}")
        found.update(thing.reshape(-1).view(torch.uint8).numpy() if thing.numel() else b"")
    elif isinstance(thing, np.ndarray) and thing.dtype.kind not in "OV":
        _say(found, f"array {thing.dtype.str} {thing.shape}")
        found.update(np.ascontiguousarray(thing).tobytes())
    elif isinstance(thing, Mapping):
        _say(found, f"mapping {len(thing)}")
        for name, value in thing.items():
            _add(found, name)
            _add(found, value)
    elif isinstance(thing, (tuple, list)):
        _say(found, f"sequence {len(thing)}")
        for value in thing:
            _add(found, value)
    elif isinstance(thing, float):
        found.update(b"float" + struct.pack("<d", thing))
    elif thing is None or isinstance(thing, (bool, int, str, bytes)):
        _say(found, f"{type(thing).__name__} {thing!r}")
    else:
        _say(found, f"a {type(thing).__module__}.{type(thing).__qualname__}")
        if hasattr(thing, "tobytes"):  # pictures, and NumPy's scalars
            found.update(thing.tobytes())


def _say(found: Any, text: str) -> None:
    content = text.encode(errors="surrogatepass")
    found.update(struct.pack("<q", len(content)) + content)
