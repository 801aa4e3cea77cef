"""`gradus train`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gradus.cli.app import app
from gradus.cli.definitions import OnNonfinite, OptimizerName, optimizer_options
from gradus.cli.stopping import stopping_kindly
from gradus.errors import GradusError
from gradus.files import RESULTS
from gradus.schedules import Constant, parse
from gradus.store import STORE_FILE

__all__ = ["train"]


@app.command()
def train(
    schedule: Annotated[
        str | None,
        typer.Argument(
            metavar="SCHEDULE",
            help='A factor of the learning rate, such as "warmup(5) >> Cosine(25)"; absolute(...) is the rate itself. '
            "Constant by default.",
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="What the run is called in tables and files.")] = "train",
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
    lr: Annotated[
        float | None,
        typer.Option(help="The learning rate; by default the task's own with SGD, and else the optimizer's default."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data; 30 for the built-in tasks.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples in an update; the task's own by default.")] = None,
    seed: Annotated[int, typer.Option(help="Of the weights, the order of the examples and all else drawn.")] = 0,
    per: Annotated[str, typer.Option(help="What the schedule counts: epoch, or step.")] = "epoch",
    on_nonfinite: OnNonfinite = None,
    device: Annotated[str | None, typer.Option(help="cuda, mps or cpu; the best there is by default.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads; on a CPU one a core by default.")] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(metavar="STEPS", help="Updates between two checkpoints; an epoch's by default.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the store and the checkpoints.")] = RESULTS,
) -> None:
    """Train one network, or go on where that was cut.

    Each epoch's row goes into the store, which `gradus runs` shows. The weights are in DIR/NAME-IDENTITY.ckpt in the end.
    No other run's are ever replaced.
    """
    definition = Constant() if schedule is None else parse(schedule, trusted=True)  # typed by the person who runs it
    with stopping_kindly(out / STORE_FILE):
        with Console(stderr=True).status("loading torch"):
            from gradus.comparison import train_one
        done, last = train_one(
            task,
            definition,
            name=name,
            data_dir=data_dir,
            model=model,
            optimizer=optimizer,
            options=optimizer_options(option or []),
            lr=lr,
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
            per=per,
            on_nonfinite=on_nonfinite,
            device=device,
            threads=threads,
            checkpoint_every=checkpoint_every,
            out=out,
        )
    if done.status != "finished":
        raise GradusError(done.message)
    row = done.rows[-1]
    typer.echo(
        f"{name}: {row.epoch} epochs in {done.seconds:.1f} s, train loss {row.train_loss:.4f}, "
        f"train {100 * row.train_accuracy:.2f} %, test {100 * row.test_accuracy:.2f} %"
    )
    if done.message:
        typer.echo(done.message)
    typer.echo(f"wrote {last}")
