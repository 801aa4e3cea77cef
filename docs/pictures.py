"""Draws the pictures of docs/families from the pages' own lines: `python docs/pictures.py`.

A picture carries the lines that it was drawn from, so that a test can tell when a page has moved on.
"""

import re
from pathlib import Path

from PIL import Image, PngImagePlugin

from gradus.plots import compare_schedules, png
from gradus.schedules import Schedule, parse

FAMILIES = Path(__file__).parent / "families"
STEPS = 130
LINES = "gradus-schedules"


def plotted(page: Path) -> str:
    """The lines of a page that say what its picture shows."""
    found = re.search(r"```plot\n(.*?)\n```", page.read_text(), re.DOTALL)
    if found is None:
        raise ValueError(f"{page} has no block of ```plot")
    return found[1]


def schedules_in(lines: str) -> dict[str, Schedule]:
    """The schedules of such lines, by their names."""
    return {name: parse(text) for name, text in (line.split(": ", 1) for line in lines.splitlines())}


def drawn_from(picture: Path) -> str:
    """The lines that a picture was drawn from."""
    with Image.open(picture) as image:
        return str(image.info[LINES])


def draw(page: Path) -> None:
    """Draw a page's picture beside it."""
    picture, lines = page.with_suffix(".png"), plotted(page)
    picture.write_bytes(png(compare_schedules(schedules_in(lines), STEPS, budget=False)))
    note = PngImagePlugin.PngInfo()
    note.add_text(LINES, lines)
    with Image.open(picture) as image:
        image.convert("P", palette=Image.Palette.ADAPTIVE, colors=128).save(picture, pnginfo=note, optimize=True)


if __name__ == "__main__":
    for one in sorted(FAMILIES.glob("*.md")):
        draw(one)
