"""Tables and sentences, at the width of the terminal."""

import textwrap
from collections.abc import Sequence

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["print_table", "print_wrapped"]


def print_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print a table. Where the terminal is narrow, headings and names are broken into lines, and numbers never are."""
    console = Console()
    endless = console.options.update(width=10_000)
    for padding, break_at in ((1, " "), (0, " "), (0, "\n")):
        table = _table([heading.replace(" ", break_at) for heading in headings], lines, padding)
        if console.measure(table, options=endless).maximum <= console.width:
            break
    console.print(table)


def _table(headings: Sequence[str], lines: Sequence[Sequence[str]], padding: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, padding))
    for heading in headings:
        words = heading in ("schedule", "status")
        table.add_column(heading, justify="left" if words else "right", overflow="fold", no_wrap=heading != "schedule")
    for line in lines:
        table.add_row(*map(Text, line))  # as it is: a name may look like Rich's markup
    return table


def print_wrapped(text: str) -> None:
    """Print a paragraph; its further lines stand two columns further in."""
    indent = " " * (len(text) - len(text.lstrip()) + 2)
    typer.echo(textwrap.fill(text, min(Console().width, 100), subsequent_indent=indent, break_on_hyphens=False))
