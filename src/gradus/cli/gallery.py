"""`gradus gallery`."""

from pathlib import Path
from typing import Annotated

import typer

from gradus.cli.app import app
from gradus.cli.printing import print_wrapped
from gradus.errors import InvalidInput
from gradus.files import RESULTS, make_ignored_folder, write_whole

__all__ = ["gallery"]


@app.command()
def gallery(
    name: Annotated[str | None, typer.Argument(help="The demonstration; without one, they are listed.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All demonstrations, in the order of a lecture.")] = False,
    lang: Annotated[str, typer.Option(help="The language of the captions: en or zh.")] = "en",
    dark: Annotated[bool, typer.Option("--dark", help="Light lines on dark paper.")] = False,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format", help="png, svg, or gif for what moves; repeatable. By default png, and gif for what moves."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write to.")] = RESULTS / "gallery",
) -> None:
    """Draw the classic demonstrations of what the step size does."""
    from gradus.gallery.captions import translated
    from gradus.gallery.demonstrations import DEMONSTRATIONS, FORMATS

    if name is not None and name not in DEMONSTRATIONS:
        raise InvalidInput(f"unknown demonstration {name!r}; there is {', '.join(DEMONSTRATIONS)}")
    if name is not None and every:
        raise InvalidInput("give a demonstration's name or --all, not both")
    if unknown := sorted(set(formats or ()) - set(FORMATS)):
        raise InvalidInput(f"--format must be {', '.join(FORMATS[:-1])} or {FORMATS[-1]}; got {unknown[0]!r}")
    if name is None and not every:
        for each, demonstration in DEMONSTRATIONS.items():
            _print(f"{each}: {translated(demonstration.question, lang)}", lang)
        return
    if formats == ["gif"] and name is not None and not DEMONSTRATIONS[name].moves:
        raise InvalidInput(f"nothing of {name} moves; --format is png or svg")
    from gradus.gallery import Pen, whole  # matplotlib, which a list doesn't need

    Pen(lang, dark)  # refused now, before anything is computed
    if out.parent == RESULTS:
        make_ignored_folder(out.parent)
    for each in [name] if name is not None else DEMONSTRATIONS:
        shown = DEMONSTRATIONS[each].make()
        for line in shown.caption(lang).splitlines():
            _print(line, lang)
        if not every:
            typer.echo(shown.tables(), nl=False)
        for format_ in formats or ("png", "gif"):
            for picture in shown.films() if format_ == "gif" else shown.pictures():
                path = out / f"{each}-{picture}.{format_}"
                write_whole(path, whole(shown, picture, format_, lang=lang, dark=dark))
                typer.echo(f"wrote {path}")


def _print(line: str, lang: str) -> None:
    print_wrapped(line) if lang == "en" else typer.echo(line)  # Chinese has no spaces to break lines at
