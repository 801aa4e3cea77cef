"""`gradus find`."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from gradus.cli.app import app
from gradus.cli.definitions import OptimizerName, optimizer_options
from gradus.cli.printing import print_table, print_wrapped
from gradus.files import RESULTS, make_ignored_folder, write_whole

__all__ = ["find"]


@app.command()
def find(
    task: Annotated[str, typer.Option(help="digits, fashion-mnist, or package.module:function of your own.")] = "digits",
    data_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where the files of Fashion-MNIST lie; the user's cache by default.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Another network than the task's: lenet, digits-net, or package.module:function.")
    ] = None,
    optimizer: OptimizerName = "SGD",
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="An argument of the optimizer, such as momentum=0.9; repeatable."),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples in an update; the task's own by default.")] = None,
    start: Annotated[float, typer.Option(help="The lowest rate.")] = 1e-7,
    end: Annotated[float, typer.Option(help="The highest rate.")] = 10.0,
    steps: Annotated[int, typer.Option(help="Updates while the rate grows, and in each short training.")] = 100,
    mode: Annotated[Literal["exponential", "linear"], typer.Option(help="How the rate grows.")] = "exponential",
    seeds: Annotated[int, typer.Option(help="How many shuffles; from 2 on with a spread.")] = 1,
    verify: Annotated[bool, typer.Option(help="Settle the suggestion by short trainings.")] = True,
    device: Annotated[str | None, typer.Option(help="cuda, mps or cpu; the best there is by default.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for range.png and range.json.")] = RESULTS,
) -> None:
    """Find the learning rate by a short training while it grows.

    Short trainings at constant rates settle it. The last line is --lr and the rate; `gradus compare --lr found` takes it
    from the same folder.
    """
    options = optimizer_options(option or [])
    with Console(stderr=True).status("loading torch"):  # it takes seconds
        from gradus.plots import png, terminal_range
        from gradus.rangetest.of_task import FOUND_FILE
        from gradus.rangetest.of_task import find as find_rate
    settings = {"start": start, "end": end, "steps": steps, "mode": mode, "seeds": seeds, "verify": verify}
    try:
        found = find_rate(
            task,
            data_dir=data_dir,
            model=model,
            optimizer=optimizer,
            options=options,
            batch_size=batch_size,
            device=device,
            **settings,
        )
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
    write_whole(folder / FOUND_FILE, found.to_json().encode())
    typer.echo(f"wrote {folder / 'range.png'} and {folder / FOUND_FILE}")
    if test.suggestion is None:
        raise typer.Exit(1)
    typer.echo(f"--lr {test.suggestion:.3g}")
