"""`gradus compare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from gradus.cli.app import app
from gradus.cli.definitions import OnNonfinite, named_schedules
from gradus.cli.printing import print_table
from gradus.cli.stopping import stopping_kindly
from gradus.errors import InvalidInput
from gradus.files import RESULTS
from gradus.store import STORE_FILE

if TYPE_CHECKING:
    from gradus.comparison import Comparison

__all__ = ["compare"]


@app.command()
def compare(
    task: Annotated[str, typer.Option(help="digits, fashion-mnist, or package.module:function of your own.")] = "digits",
    data_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where the files of Fashion-MNIST lie; the user's cache by default.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data; 30 for the built-in tasks.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples in an update; the task's own by default.")] = None,
    lr: Annotated[
        str | None,
        typer.Option(
            metavar="RATE", help="One learning rate for all, which each schedule multiplies; found for what find found."
        ),
    ] = None,
    schedule: Annotated[
        list[str] | None,
        typer.Option(
            metavar='NAME="..."',
            help="A further schedule, a factor of the learning rate (the task's, or --lr); absolute(...) is the rate "
            'itself. Repeatable. Example: mine="warmup(5) >> Cosine(25, end=0.03)".',
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Another network than the task's: lenet, digits-net, or package.module:function.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Of the six, train this one; repeatable.")] = None,
    without: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Of the six, leave this one out; repeatable.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many seeds; from 2 on with 95 % intervals.")] = 1,
    per: Annotated[str, typer.Option(help="What the schedules count: epoch, or step.")] = "epoch",
    on_nonfinite: OnNonfinite = None,
    device: Annotated[str | None, typer.Option(help="cuda, mps or cpu; the best there is by default.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes side by side; on a CPU one a core by default.")] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads in each process; by default 1, or more where runs are few.")
    ] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(metavar="STEPS", help="Updates between two checkpoints of a run; an epoch's by default.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for curves.png, results.json and the store.")] = RESULTS,
) -> None:
    """Train one network under each classic schedule, side by side.

    The six: constant, square-root, factor, multi-factor, cosine, cosine with warmup.
    """
    named = named_schedules(schedule or [], unnamed=False)
    with stopping_kindly(out / STORE_FILE):
        with Console(stderr=True).status("loading torch"):  # it takes seconds, and the other commands don't need it
            from gradus.comparison import compare as run_comparison
        rate = None if lr is None else _rate(lr, out, task, model, batch_size)
        comparison = run_comparison(
            task,
            data_dir=data_dir,
            only=only,
            without=without,
            schedules=named,
            model=model,
            lr=rate,
            epochs=epochs,
            batch_size=batch_size,
            seeds=seeds,
            per=per,
            on_nonfinite=on_nonfinite,
            device=device,
            workers=workers,
            threads=threads,
            checkpoint_every=checkpoint_every,
            out=out,
        )
    _print_comparison(comparison, out)
    if not any(summary.finished for summary in comparison.summaries()):
        raise typer.Exit(1)


def _rate(lr: str, out: Path, task: str, model: str | None, batch_size: int | None) -> float:
    """The rate that was typed, or found."""
    if lr == "found":
        from gradus.rangetest.of_task import FOUND_FILE, Found

        return Found.read(out / FOUND_FILE).rate_for(task, model, batch_size)
    try:
        return float(lr)
    except ValueError:
        raise InvalidInput(f'--lr takes a number, or "found" after `gradus find`; got {lr!r}') from None


def _print_comparison(comparison: "Comparison", out: Path) -> None:
    from gradus.comparison import HEADINGS

    print_table(HEADINGS, [summary.cells() for summary in comparison.summaries()])
    for remark in comparison.remarks():
        typer.echo(remark)
    typer.echo(f"wrote {out / 'curves.png'} and {out / 'results.json'}")
