"""Digests of data and of source files: whether what is trained is what was trained."""

import hashlib
import inspect
import struct
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import gradus

__all__ = ["digest_of", "digest_of_source"]

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


def digest_of_source(things: Iterable[Any]) -> str:
    """16 hexadecimal digits of the source files of functions, classes and objects.

    A file in a package that has a version, such as Gradus, torch or Python itself, counts by its package alone.

    Args:
        things: functions, classes, objects of classes, or names of modules.
    """
    modules = {_module(one) for one in things} - {None}
    return digest_of(sorted(_content(str(name)) for name in modules))


def _module(thing: Any) -> str | None:
    thing = inspect.unwrap(getattr(thing, "func", thing)) if callable(thing) else thing  # what a partial is of
    if isinstance(thing, str):
        return thing
    return getattr(thing, "__module__", None) or type(thing).__module__


def _content(module: str) -> str:
    top = module.partition(".")[0]
    if top == "gradus":
        return f"gradus {gradus.__version__}"
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or not file.endswith(".py") or _is_installed(Path(file), top):
        return top
    try:
        return f"{module} {hashlib.sha256(Path(file).read_bytes()).hexdigest()}"
    except OSError:  # it has been moved since
        return module


def _is_installed(file: Path, top: str) -> bool:
    return top in sys.stdlib_module_names or "site-packages" in file.parts or "dist-packages" in file.parts
