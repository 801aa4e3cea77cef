"""The house: arrows point down, there are no cycles, and each heavy import has one room."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "gradus"

# Each room's floor, from the ground up. A room may import only from floors below its own, from its own package, and from
# the rooms of its own floor that stand before it here.
FLOORS = {
    "errors": 0,
    "untouched": 0,
    "doors": 0,
    "metric_names": 0,
    "frozen": 0,
    "signals": 0,
    "randomness": 0,
    "names": 0,
    "checks": 0,
    "files": 0,
    "rows": 0,
    "distributed": 0,
    "snapshot": 0,
    "schedules": 1,
    "rules": 1,
    "backends": 2,
    "scheduler": 3,
    "lr_scheduler": 3,
    "optim": 3,
    "runs": 4,
    "checkpoint": 4,
    "tasks": 4,
    "training": 4,
    "store": 5,
    "rangetest": 5,
    "sweep": 5,
    "plots": 6,
    "progress": 6,
    "report": 6,
    "integrations": 7,
    "experiments": 7,
    "gallery": 7,
    "cli": 7,
    "__main__": 7,
}
_ORDER = list(FLOORS)
# Heavy imports, and the only rooms that may have them.
ROOMS_OF = {
    "torch": {
        "distributed",
        "scheduler",
        "backends",
        "optim",
        "lr_scheduler",
        "checkpoint",
        "snapshot",
        "randomness",
        "tasks",
        "training",
        "sweep",
        "experiments",
        "gallery",
        "rangetest",
        "integrations",
    },
    "matplotlib": {"plots", "gallery"},
    "plotext": {"plots"},
    "sqlite3": {"store"},
    "platformdirs": {"files"},
    "filelock": {"files"},
    "numba": {"backends"},
    "llvmlite": {"backends"},
    "scipy": {"sweep"},
    "IPython": {"progress"},
    "PIL": {"gallery"},
    "typer": {"cli"},
    "rich": {"progress", "cli"},
    "multiprocessing": {"sweep"},
    "array_api_compat": {"schedules", "rules"},
}


def _modules() -> dict[str, Path]:
    return {".".join(path.relative_to(SOURCE.parent).with_suffix("").parts): path for path in SOURCE.rglob("*.py")}


_NAMES = {module.removesuffix(".__init__") for module in _modules()}


def _imports(path: Path, *, typed: bool = False) -> set[str]:
    """Every module that a file imports, wherever in it, by a string too; if `typed`, for type checkers alone as well."""
    tree = ast.parse(path.read_text())
    found: set[str] = set()
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped and not typed:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names if names <= _NAMES else names | {str(node.module)}  # a package's modules, or what a module has
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__", "imported")):
            found |= _named(node)
    return found


def _named(call: ast.Call) -> set[str]:
    """The modules that a call imports by a string: "gradus.plots", "gradus.plots:name", or what an f-string begins with."""
    (first,) = call.args[:1] or [ast.Constant("")]
    if isinstance(first, ast.JoinedStr):
        first = first.values[0]
    text = first.value if isinstance(first, ast.Constant) else ""
    return {str(text).partition(":")[0].rstrip(".")} - {""}


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


@pytest.mark.parametrize("module", sorted(_modules()))
def test_arrows_point_down(module: str) -> None:
    """A room imports only rooms below it, and no room from the package's front door."""
    room = _room(module)
    if room == "__init__":
        return
    assert room in FLOORS, f"{room} has no floor yet"
    for imported in _imports(_modules()[module]):
        if not imported.startswith("gradus.") or _room(imported) in (room, "__version__"):
            continue
        other = _room(imported)
        below = FLOORS[other] <= FLOORS[room] and _ORDER.index(other) < _ORDER.index(room)
        assert below, f"{module} (floor {FLOORS[room]}) imports {imported} (floor {FLOORS[other]})"


def test_every_floor_is_of_a_room() -> None:
    """The floors name every room there is, and no other, from the ground up."""
    assert list(FLOORS.values()) == sorted(FLOORS.values())
    assert {_room(module) for module in _modules()} - {"__init__"} == set(FLOORS)


# Names of types that the optimizers' room and the gallery use in circles, for the type checker alone.
CIRCLES = {("gradus.optim.state_dicts", "gradus.optim.optimizer"), ("gradus.gallery.demonstrations", "gradus.gallery.shown")}


def test_there_are_no_cycles() -> None:
    """No module imports itself through others: within a room, by strings, and for the type checker alone included."""
    modules = {module.removesuffix(".__init__"): path for module, path in _modules().items()}
    arrows = {
        module: {imported for imported in _imports(path, typed=True) if imported in modules and imported != module}
        for module, path in modules.items()
        if module != "gradus"  # the front door knows every room, and no room knows it
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for imported in arrows.get(module, ()):
                if (module, imported) in CIRCLES:
                    continue
                visit(imported, (*path, module))
            done.add(module)

    for module in arrows:
        visit(module, ())


@pytest.mark.parametrize("package", ROOMS_OF)
def test_each_heavy_import_has_its_room(package: str) -> None:
    """A heavy package is imported in the rooms that are there for it, and in no other."""
    rooms = {
        _room(module)
        for module, path in _modules().items()
        if any(imported == package or imported.startswith(f"{package}.") for imported in _imports(path))
    }
    assert rooms == ROOMS_OF[package]


def test_everything_is_said_once() -> None:
    """Every module says what it is and what it offers, and offers nothing that it doesn't have."""
    for module, path in _modules().items():
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), f"{module} has no docstring"
        loaded = importlib.import_module(module)
        assert all(hasattr(loaded, name) for name in loaded.__all__), module


LOWER = ("schedules", "rules", "backends", "optim", "scheduler", "lr_scheduler", "checkpoint", "integrations")
_BY_HAND = re.compile(r"isinstance\((\w+), bool\) (or not|and) .*isinstance\(\1, \(?int")


def test_numbers_are_checked_in_one_place() -> None:
    """No room below the tasks tells numbers from bools by hand: `gradus.checks` does."""
    modules = {module: path for module, path in _modules().items() if _room(module) in LOWER}
    by_hand = {module for module, path in modules.items() if _BY_HAND.search(path.read_text())}
    assert not by_hand


def test_processes_meet_in_one_place() -> None:
    """No room below the tasks asks for itself whether torch.distributed is up."""
    asking = {module for module, path in _modules().items() if "distributed.is_initialized" in path.read_text()}
    assert {module for module in asking if _room(module) in (*LOWER, "distributed")} == {"gradus.distributed"}


_PICTURES = {"torch", "matplotlib", "scipy", "rich"}
LIGHT = {
    "gradus": {"torch", "numpy", "matplotlib"},
    "gradus.rules": {"torch", "numba"},
    "gradus.schedules": {"torch"},
    "gradus.rows": _PICTURES | {"numpy"},
    "gradus.runs": _PICTURES,
    "gradus.store": _PICTURES,
    "gradus.plots": {"torch", "rich"},
    "gradus.training": {"matplotlib", "scipy", "rich", "sqlite3"},
    "gradus.cli": {"torch", "matplotlib", "scipy"},
}


@pytest.mark.parametrize(("room", "heavy"), LIGHT.items())
def test_importing_is_light(room: str, heavy: set[str]) -> None:
    """`import gradus` imports neither torch nor NumPy, maths and stored numbers no torch, the command line no pictures."""
    code = f"import {room}, sys; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("test_*.py")), ids=lambda path: path.stem)
def test_tests_say_their_laws(path: Path) -> None:
    """Each test has a docstring that states its law."""
    silent = [
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert not silent
