"""The manual: its pictures are its own lines', and what is public is in it."""

import importlib
import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import gradus.cli
import gradus.schedules

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


ROOMS = {
    *("schedules", "scheduler", "lr_scheduler", "integrations", "tasks", "training", "sweep", "store", "plots", "report"),
    *("runs", "rows", "experiments", "randomness"),
}
# Public names without an example, and why.
NO_EXAMPLE = {
    "fashion_mnist": "it downloads its data",
    "processes": "the processes that it starts import the main module anew, which a doctest isn't",
    "Session": "the store, the folder and the runs that it joins are made by `compare`, whose example runs it",
    "StoredRun": "`Store.runs` gives them, and the store's example shows one",
    "Split": "a name for the types that a split may have",
}


@pytest.mark.parametrize("name", sorted(ROOMS))
def test_public_names_have_an_example_that_runs(name: str) -> None:
    """Each class and function that a room offers has an example, which the doctests run, or a reason why it has none."""
    room: Any = importlib.import_module(f"gradus.{name}")
    public = {name: getattr(room, name) for name in room.__all__}
    made = {name: one for name, one in public.items() if inspect.isclass(one) or inspect.isfunction(one)}
    ours = {name: one for name, one in made.items() if one.__module__.startswith("gradus.")}
    assert [name for name, one in ours.items() if ">>>" not in (one.__doc__ or "") and name not in NO_EXAMPLE] == []
