"""The manual: its pictures are its own lines', and what is public is in it."""

import importlib
import importlib.util
import re
import runpy
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import gradus.cli
import gradus.schedules
from test_architecture import FLOORS

DOCS = Path(__file__).parent.parent / "docs"
FAMILIES = sorted((DOCS / "families").glob("*.md"))


def _pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", FAMILIES, ids=lambda page: page.stem)
def test_a_picture_is_drawn_from_its_pages_lines(page: Path) -> None:
    """The lines on a page are schedules, its picture was drawn from them, and is small and shown there."""
    pictures, picture = _pictures(), page.with_suffix(".png")
    lines = pictures.plotted(page)
    assert all(schedule(0) >= 0 for schedule in pictures.schedules_in(lines).values())
    assert pictures.drawn_from(picture) == lines, "run python docs/pictures.py"
    assert picture.stat().st_size < 60_000
    assert f"]({picture.name})" in page.read_text()


def test_every_schedule_has_its_family() -> None:
    """Each public kind of schedule and each recipe is on a page."""
    text = "".join(page.read_text() for page in [*FAMILIES, DOCS / "schedules.md"])
    types = {"Absolute", "Finding", "Schedule", "Span"}  # what functions of other names make
    missing = {name for name in gradus.schedules.__all__ if not re.search(rf"\b{name}\b", text)}
    assert missing <= types | {"parse"}


def test_every_page_is_in_the_manual() -> None:
    """Each page is in the table of contents, and each link of a page leads somewhere."""
    contents = (DOCS.parent / "mkdocs.yml").read_text()
    for page in DOCS.rglob("*.md"):
        assert f"- {page.relative_to(DOCS)}" in contents, page
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[\w-]+)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_every_public_room_is_in_the_reference() -> None:
    """What `gradus` offers is in the reference."""
    reference = (DOCS / "reference.md").read_text()
    for room in {*gradus._ROOMS.values(), "checkpoint", "lr_scheduler", "optim", "schedules"}:
        assert f"::: gradus.{room}\n" in reference, room


ROOMS = [importlib.import_module(f"gradus.{room}") for room in ("schedules", "scheduler", "lr_scheduler", "integrations")]


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__)
def test_public_names_have_an_example_that_runs(room: Any) -> None:
    """Each class and function that a room of schedules offers has an example, which the doctests run."""
    public = {name: getattr(room, name) for name in room.__all__}
    ours = {name: one for name, one in public.items() if callable(one) and one.__module__.startswith("gradus.")}
    assert [name for name, one in ours.items() if ">>>" not in (one.__doc__ or "")] == []


OWN = (DOCS / "extending.md").read_text()
COMMANDS = re.findall(r"^(?:gradus|python) .*", OWN, re.MULTILINE)
SIGNS = {"train": " updates", "compare": "2 runs", "plot": "Saw", "tools.py": "finished"}  # of work that was done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's files, in which its commands are run one after the other."""
    folder = tmp_path_factory.mktemp("own")
    for name, text in re.findall(r'```python title="(\w+\.py)"\n(.*?)```', OWN, re.DOTALL):
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_ones_own_enters_from_outside(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command of the page on one's own things does its work in a folder that has the page's files and nothing else."""
    program, *arguments = shlex.split(command)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(gradus.cli.app, "registered_commands", [*gradus.cli.app.registered_commands])
    monkeypatch.setattr("gradus.report.comparison.png", lambda _: b"")  # pictures have tests of their own
    monkeypatch.setattr(sys, "argv", ["gradus", *arguments] if program == "gradus" else arguments)
    with pytest.raises(SystemExit) as left:
        gradus.cli.main() if program == "gradus" else runpy.run_path(arguments[0], run_name="__main__")
    assert not left.value.code
    assert SIGNS[arguments[0]] in capsys.readouterr().out


def test_the_house_is_drawn_as_it_is() -> None:
    """The drawing of the floors has every room on its floor in its order, and each concept's place is there."""
    page = (DOCS.parent / "CONTRIBUTING.md").read_text()
    drawn = re.findall(r"^(\d) [a-z' ]+?  +(.*)$", page, re.MULTILINE)
    assert [(room, int(floor)) for floor, rooms in reversed(drawn) for room in rooms.split()] == list(FLOORS.items())
    for place in re.findall(r"`([\w/.]+)`(?:, `\S+`)? \|$", page, re.MULTILINE):
        assert any((DOCS.parent / "src" / "gradus" / f"{place}{end}").exists() for end in ("", ".py")), place
