"""The command line: a module for each command."""

import io
import sys

import typer

from gradus.cli.app import app
from gradus.cli.compare import compare
from gradus.cli.find import find
from gradus.cli.gallery import gallery
from gradus.cli.plot import plot
from gradus.cli.runs import runs
from gradus.cli.train import train
from gradus.errors import GradusError, InvalidInput

__all__ = ["app", "compare", "find", "gallery", "main", "plot", "runs", "train"]


def main() -> None:
    """Run the command line.

    Exit codes: 2 for input that can't be used, 1 for what failed, 130 after Ctrl-C, 143 after SIGTERM.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where only ASCII can be shown, there is no "±"
    try:
        app()
    except GradusError as error:
        typer.echo(f"gradus: {error}", err=True)
        sys.exit(2 if isinstance(error, InvalidInput) else 1)
