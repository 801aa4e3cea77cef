"""Digests of source files: whether what is trained is what was trained."""

import ast
import functools
import hashlib
import inspect
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

import gradus
from gradus.names import current_folder_first
from gradus.tasks.hashing import digest_of

__all__ = ["digest_of_source"]


def digest_of_source(things: Iterable[Any]) -> str:
    """16 hexadecimal digits of the files that functions, classes and objects are defined in, and of those they import.

    What is installed isn't looked into, and Gradus counts by its version.

    Args:
        things: functions, classes, objects of classes, or names of modules.
    """
    waiting, found = {_module(one) for one in things}, dict[str, str]()
    while waiting:
        module = waiting.pop()
        file = _file(module)
        found[module], imports = ("", set[str]()) if file is None else _read(file, module)
        waiting |= imports - found.keys()
    return digest_of([gradus.__version__, sorted((module, content) for module, content in found.items() if content)])


def _module(thing: Any) -> str:
    """The name of the module that defines a thing."""
    while isinstance(thing, functools.partial):
        thing = thing.func
    if isinstance(thing, str):
        return thing
    if callable(thing):
        thing = inspect.unwrap(thing)
    return getattr(thing, "__module__", None) or type(thing).__module__


def _file(module: str) -> Path | None:
    """A module's file, if it is one of the user's own."""
    top, _, _ = module.partition(".")
    if top == "gradus" or top in sys.stdlib_module_names:
        return None
    file = Path(_origin(module) or "")
    return file if file.suffix == ".py" and not {"site-packages", "dist-packages"} & set(file.parts) else None


def _origin(module: str) -> str | None:
    if module in sys.modules:
        return getattr(sys.modules[module], "__file__", None)
    if module.rpartition(".")[0] not in {"", *sys.modules}:  # looking would import what it is in
        return None
    try:
        with current_folder_first():
            spec = find_spec(module)
    except (ImportError, ValueError, AttributeError):  # a function in a module, say
        return None
    return spec.origin if spec else None


def _read(file: Path, module: str) -> tuple[str, set[str]]:
    """A file's digest, and the modules that it may import, wherever in it."""
    try:
        content = file.read_bytes()
        tree = ast.parse(content)
    except (OSError, SyntaxError, ValueError):  # it has been changed or moved since it was imported
        return "unreadable", set()
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    return hashlib.sha256(content).hexdigest(), set(_imports(tree, package))


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            if node.level and (not package or package.count(".") < node.level - 1):
                continue  # beyond the top: it fails where it is met
            base = resolve_name(name, package) if node.level else name
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
