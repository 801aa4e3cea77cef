"""`gradus gallery`."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from gradus.cli.app import app
from gradus.cli.printing import print_wrapped
from gradus.errors import InvalidInput
from gradus.files import RESULTS, make_ignored_folder, write_whole
from gradus.gallery.captions import translated
from gradus.gallery.demonstrations import DEMONSTRATIONS, FORMATS
from gradus.names import did_you_mean

__all__ = ["gallery"]

_SIDE_BY_SIDE = 2  # processes, when all demonstrations are drawn


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
    if name is not None and name not in DEMONSTRATIONS:
        raise InvalidInput(
            f"unknown demonstration {name!r}{did_you_mean(name, DEMONSTRATIONS)}; there is {', '.join(DEMONSTRATIONS)}"
        )
    if name is not None and every:
        raise InvalidInput("give a demonstration's name or --all, not both")
    if unknown := sorted(set(formats or ()) - set(FORMATS)):
        hint = did_you_mean(unknown[0], FORMATS)
        raise InvalidInput(f"--format must be {', '.join(FORMATS[:-1])} or {FORMATS[-1]}; got {unknown[0]!r}{hint}")
    if name is None and not every:
        for each, demonstration in DEMONSTRATIONS.items():
            _print(f"{each}: {translated(demonstration.question, lang)}", lang)
        return
    if formats == ["gif"] and name is not None and not DEMONSTRATIONS[name].has_animation:
        raise InvalidInput(f"nothing of {name} moves; --format is png or svg")
    from gradus.gallery import Style  # matplotlib, which a list doesn't need

    Style(lang, dark)  # refused now, before anything is computed
    if out.parent == RESULTS:
        make_ignored_folder(out.parent)
    draw = partial(_drawn, lang=lang, dark=dark, formats=formats or ("png", "gif"), out=out)
    if name is not None:
        _report(*draw(name), lang)
        return
    from concurrent.futures import ProcessPoolExecutor

    parts = [(each, part) for each, demonstration in DEMONSTRATIONS.items() for part in demonstration.parts]
    # Processes are spawned, as a limit of tasks has it: a fork of a process with threads may hang. So may a pool whose limit
    # is reached (CPython's issue 115634), so it is as many as there are.
    with ProcessPoolExecutor(_SIDE_BY_SIDE, max_tasks_per_child=len(parts)) as pool:
        for index, (caption, _, paths) in enumerate(pool.map(draw, *zip(*parts, strict=True))):
            again = index > 0 and parts[index - 1][0] == parts[index][0]
            _report("" if again else caption, "", paths, lang)


def _drawn(
    name: str, arguments: Sequence[Any] = (), *, lang: str, dark: bool, formats: Sequence[str], out: Path
) -> tuple[str, str, list[Path]]:
    """The caption and the tables of a demonstration, and the files that its pictures have been written to."""
    from gradus.gallery import render

    shown, paths = DEMONSTRATIONS[name].make(*arguments), []
    for format_ in formats:
        for picture in shown.films() if format_ == "gif" else shown.pictures():
            paths.append(out / f"{name}-{picture}.{format_}")
            write_whole(paths[-1], render(shown, picture, format_, lang=lang, dark=dark))
    return shown.caption(lang), shown.tables(), paths


def _report(caption: str, tables: str, paths: Sequence[Path], lang: str) -> None:
    for line in caption.splitlines():
        _print(line, lang)
    typer.echo(tables, nl=False)
    for path in paths:
        typer.echo(f"wrote {path}")


def _print(line: str, lang: str) -> None:
    print_wrapped(line) if lang == "en" else typer.echo(line)  # Chinese has no spaces to break lines at
