"""The size of the house: ceilings that may only fall, and short functions."""

import ast
import io
import statistics
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "gradus"
# Wings of the optimizers' room that are there for compatibility, counted by themselves.
_WINGS: dict[tuple[str, ...], str] = {("optim", "lbfgs"): "lbfgs", ("optim", "state_dicts"): "state dicts"}
CORE = ("schedules", "rules", "backends", "optim", "scheduler")
COMPATIBILITY = ("lr_scheduler", "state dicts", "lbfgs")
# Code lines of each room: lines that hold a token, without docstrings and comments. Lower a ceiling when its room shrinks.
CEILINGS = {
    "__init__": 100,
    "__main__": 10,
    "backends": 1728,
    "checkpoint": 820,
    "checks": 160,
    "cli": 1220,
    "distributed": 70,
    "doors": 20,
    "errors": 10,
    "experiments": 280,
    "files": 110,
    "frozen": 30,
    "gallery": 1770,
    "integrations": 300,
    "lbfgs": 683,
    "lr_scheduler": 1378,
    "metric_names": 30,
    "names": 110,
    "optim": 1313,
    "plots": 490,
    "progress": 450,
    "randomness": 20,
    "rangetest": 1140,
    "report": 630,
    "rows": 80,
    "rules": 1146,
    "runs": 280,
    "scheduler": 828,
    "schedules": 2958,
    "signals": 50,
    "snapshot": 250,
    "state dicts": 223,
    "store": 1100,
    "sweep": 760,
    "tasks": 1690,
    "training": 1020,
    "untouched": 20,
}
CORE_CEILING, COMPATIBILITY_CEILING = 7973, 2284
MEDIAN, NINETIETH = 7, 25  # code lines of a function, its signature included
_ROOM_TO_SHRINK = 100  # code lines by which a room may be below its ceiling before the ceiling has to follow

_SILENT = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING),
    tokenize.ENDMARKER,
}
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def code_lines(text: str) -> set[int]:
    """The numbers of the lines that hold a token, without docstrings and comments."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {line for token in tokens if token.type not in _SILENT for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, _Function)) and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return lines


def _room(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return _WINGS.get(parts[:2], parts[0])


def _sizes() -> dict[str, int]:
    sizes: dict[str, int] = {}
    for path in SOURCE.rglob("*.py"):
        sizes[_room(path)] = sizes.get(_room(path), 0) + len(code_lines(path.read_text()))
    return sizes


def _functions() -> Iterator[tuple[str, int]]:
    """Each function's room and code lines."""
    for path in SOURCE.rglob("*.py"):
        text = path.read_text()
        lines = code_lines(text)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, _Function):
                yield _room(path), len(lines & set(range(node.lineno, (node.end_lineno or 0) + 1)))


def test_code_lines_are_those_that_hold_a_token() -> None:
    """Docstrings, comments and empty lines don't count; a text over several lines counts with each of them."""
    text = '"""A module."""\n\n# a comment\ndef f():\n    """A\n    function."""\n    return """a\n    b"""  # 2\n'
    assert code_lines(text) == {4, 7, 8}


SIZES = _sizes()


@pytest.mark.parametrize("room", sorted(SIZES))
def test_no_room_outgrows_its_ceiling(room: str) -> None:
    """A room has no more code lines than its ceiling, which follows where the room shrinks."""
    assert CEILINGS[room] - _ROOM_TO_SHRINK <= SIZES[room] <= CEILINGS[room], f"{room} has {SIZES[room]} code lines"


def test_the_core_stays_small() -> None:
    """The core and what is there for compatibility have no more code lines than today, and the ceilings are of rooms."""
    assert sum(SIZES[room] for room in CORE) <= CORE_CEILING
    assert sum(SIZES[room] for room in COMPATIBILITY) <= COMPATIBILITY_CEILING
    assert CEILINGS.keys() == SIZES.keys()


def test_functions_are_short() -> None:
    """Over all rooms, and in each with twenty functions, the median and the ninetieth percentile stay below bounds."""
    of_room: dict[str, list[int]] = {}
    for room, length in _functions():
        of_room.setdefault(room, []).append(length)
    everywhere = [length for lengths in of_room.values() for length in lengths]
    for room, lengths in {**of_room, "all": everywhere}.items():
        if len(lengths) >= 20:
            assert statistics.median(lengths) <= MEDIAN, room
            assert statistics.quantiles(lengths, n=10)[8] <= NINETIETH, room
