"""Tables and sentences, at the width of the terminal."""

import contextlib
import os
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TextIO

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_NUMBER = re.compile(r"[-+–±.,:%\d\se]*(?:nan|inf)?")

__all__ = ["print_table", "print_wrapped", "told_if_output_fails"]


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
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, padding), show_header=any(headings))
    for place, heading in enumerate(headings):
        words = any(not _NUMBER.fullmatch(line[place]) for line in lines)
        table.add_column(heading, justify="left" if words else "right", overflow="fold", no_wrap=not words)
    for line in lines:
        table.add_row(*(Text(_printable(cell)) for cell in line))  # unparsed: a name may look like Rich's markup
    return table


def _printable(text: str) -> str:
    """A text without what would command the terminal."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def print_wrapped(text: str) -> None:
    """Print a paragraph; its further lines stand two columns further in."""
    indent = " " * (len(text) - len(text.lstrip()) + 2)
    typer.echo(textwrap.fill(text, min(Console().width, 100), subsequent_indent=indent, break_on_hyphens=False))


@contextlib.contextmanager
def told_if_output_fails() -> Iterator[None]:
    """Where a full disk or a closed pipe takes no more output, leave with 1 and a sentence; what was done stays done.

    What has failed for another reason, or was stopped, keeps its exit code.
    """
    streams = [stream for stream in (sys.stdout, sys.stderr) if stream is not None]  # Typer may put others in their place
    try:
        try:
            yield
        except SystemExit as left:
            if left.code and not _are_flushed(streams):
                _silence(streams)
            raise
        finally:
            for stream in streams:
                stream.flush()
    except OSError as error:  # of output: what else fails is an error of Gradus
        with contextlib.suppress(OSError):
            typer.echo(f"gradus: the output can't be written: {error.strerror or error}", err=True)
        _silence(streams)
        sys.exit(1)


def _are_flushed(streams: Sequence[TextIO]) -> bool:
    try:
        for stream in streams:
            stream.flush()
    except OSError:
        return False
    return True


def _silence(streams: Sequence[TextIO]) -> None:
    """Have what is left of the output go nowhere, rather than fail when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # it is closed, or no file
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
