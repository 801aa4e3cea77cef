"""The command line's root: what the commands hang from."""

from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    name="gradus",
    help="The step size: design its schedule, see it, and compare schedules honestly.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if version:
        from gradus import __version__

        typer.echo(f"gradus {__version__}")
        raise typer.Exit
