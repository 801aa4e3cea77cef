"""`gradus find`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from gradus.cli.app import app
from gradus.cli.options import NETWORK, STEP, TASK, run_settings, single_options, takes
from gradus.cli.printing import print_table, print_wrapped
from gradus.files import RESULTS, make_ignored_folder, write_whole
from gradus.runs import Run

__all__ = ["find"]


@app.command()
@takes(TASK, NETWORK, STEP)
def find(
    start: Annotated[float, typer.Option(help="The lowest rate.")] = 1e-7,
    end: Annotated[float, typer.Option(help="The highest rate.")] = 10.0,
    steps: Annotated[int, typer.Option(help="Updates while the rate grows, and in each short training.")] = 100,
    mode: Annotated[Literal["exponential", "linear"], typer.Option(help="How the rate grows.")] = "exponential",
    seeds: Annotated[int, typer.Option(help="How many shuffles; from 2 on with a spread.")] = 1,
    verify: Annotated[bool, typer.Option(help="Settle the suggestion by short trainings.")] = True,
    device: Annotated[str | None, typer.Option(help="cuda, mps or cpu; the best there is by default.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for range.png and range.json.")] = RESULTS,
    given: Mapping[str, Any] = {},
) -> None:
    """Find the learning rate by a short training while it grows.

    Short trainings at constant rates settle it. The last line is --lr and the rate; `gradus train --lr found` and `gradus
    compare --lr found` take it from the same folder.
    """
    run = Run(given["task"], options=single_options(given["option"] or []), **run_settings(given))
    with Console(stderr=True).status("loading torch"):  # it takes seconds
        from gradus.plots import png, terminal_range
        from gradus.progress import StepBar
        from gradus.rangetest.found import FOUND_FILE, Found, find_lr, keep
    settings: dict[str, Any] = {"start": start, "end": end, "steps": steps, "mode": mode, "seeds": seeds, "verify": verify}
    try:
        with StepBar() as bar:
            found: Found = find_lr(run, data_dir=given["data_dir"], device=device, progress=bar, **settings)
    except KeyboardInterrupt:
        typer.echo("\nstopped; nothing was written", err=True)
        raise typer.Exit(130) from None
    test = found.test
    typer.echo(terminal_range(test.lrs, test.smoothed, test.suggestion, width=min(Console().width, 100)))
    if test.suggestions:
        print_table(("rule", "rate"), [[name, f"{rate:.3g}"] for name, rate in test.suggestions.items()])
    print_wrapped(test.remark)
    print_wrapped(f"The curve ends at rate {test.lrs[-1]:.3g}: {test.stopped_because}.")
    folder = make_ignored_folder(out)
    write_whole(folder / "range.png", png(test.plot()))
    keep(folder / FOUND_FILE, found)
    typer.echo(f"wrote {folder / 'range.png'} and {folder / FOUND_FILE}")
    if test.suggestion is None:
        raise typer.Exit(1)
    typer.echo(f"--lr {test.suggestion:.3g}")
