"""The command line: a module for each command."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gradus.errors import GradusError, InvalidInput
from gradus.untouched import random_untouched

with random_untouched():
    import typer

    from gradus.cli.app import app
    from gradus.cli.compare import compare
    from gradus.cli.find import find
    from gradus.cli.gallery import gallery
    from gradus.cli.plot import plot
    from gradus.cli.printing import told_if_output_fails
    from gradus.cli.runs import runs
    from gradus.cli.train import train

__all__ = ["app", "compare", "find", "gallery", "main", "plot", "runs", "train"]


def main() -> None:
    """Run the command line.

    Exit codes: 2 for input that can't be used, 1 for what failed, 130 after Ctrl-C, 143 after SIGTERM, 129 after
    SIGHUP, which a closed terminal sends.
    """
    with _in_this_process(), told_if_output_fails():
        try:
            app()
        except GradusError as error:
            typer.echo(f"gradus: {error}", err=True)
            sys.exit(2 if isinstance(error, InvalidInput) else 1)


@contextmanager
def _in_this_process() -> Iterator[None]:
    """What the command line asks of Python while it runs, and not after.

    Where only ASCII can be shown, there is no "±". The user's own modules are in the current folder: those that others
    of them import later are found there, after all that is installed, so that no file takes the place of a library.
    """
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    errors, path, hook = [stream.errors for stream in streams], list(sys.path), sys.excepthook
    for stream in streams:
        stream.reconfigure(errors="replace")
    with suppress(OSError):  # the current folder may be gone
        sys.path.append(str(Path.cwd()))
    try:
        yield
    finally:
        sys.path[:], sys.excepthook = path, hook
        for stream, before in zip(streams, errors, strict=True):
            stream.reconfigure(errors=before)
