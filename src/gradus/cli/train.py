"""`gradus train`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from gradus.cli.app import app
from gradus.cli.options import MACHINE, NETWORK, TASK, TRAINING, named_schedules, run_settings, single_options, takes
from gradus.cli.printing import print_wrapped
from gradus.cli.stopping import stopping_kindly
from gradus.errors import GradusError, InvalidInput
from gradus.metric_names import is_accuracy, shown, worded
from gradus.runs import Run
from gradus.schedules import Schedule, parse
from gradus.store import STORE_FILE

if TYPE_CHECKING:
    from gradus.report import Finished

__all__ = ["train"]


@app.command()
@takes(TASK, NETWORK, TRAINING, MACHINE)
def train(
    schedule: Annotated[
        str | None,
        typer.Argument(
            metavar="SCHEDULE",
            help='A factor of the learning rate, such as "warmup(fraction(0.1)) >> Cosine(rest())"; absolute(...) is the '
            "rate itself. Constant by default.",
        ),
    ] = None,
    schedules: Annotated[
        list[str] | None,
        typer.Option(
            "--schedule",
            metavar='NAME="..."',
            help='Another hyperparameter\'s, such as momentum="Linear(rest(), start=0.9, end=0.99)"; repeatable.',
        ),
    ] = None,
    lr: Annotated[
        str | None,
        typer.Option(
            metavar="RATE",
            help="The learning rate, or found for what find found; by default the task's, or else the optimizer's own.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the weights, the order of the examples and all else drawn.")] = 0,
    name: Annotated[str, typer.Option(help="What the run is called in tables and files.")] = "train",
    given: Mapping[str, Any] = {},
) -> None:
    """Train one network, or resume its training.

    Each evaluation's row goes into the store, which `gradus runs` shows; `gradus runs N --weights FILE` writes the weights.
    A run that has finished is kept: the same command again trains nothing, unless --again.
    """
    run = _run(schedule, schedules or [], {**given, "seed": seed, "name": name})
    with stopping_kindly(given["out"] / STORE_FILE):
        with Console(stderr=True).status("loading torch"):
            from gradus.cli.rates import single_rate
            from gradus.experiments import train_run
        rate = None if lr is None else single_rate(lr, run, given)
        machine = {name: given[name] for name in ("data_dir", *MACHINE)}
        done, weights = train_run(run.replace(lr=rate), **machine)
    if done.status != "finished":
        raise GradusError(done.message)
    print_wrapped(_sentence(done))
    if done.message:
        print_wrapped(done.message)
    if weights is not None:
        typer.echo(f"wrote {weights}")


def _sentence(done: "Finished") -> str:
    """What has come of a run: its last value of each number."""
    last = {name: done.last(name) for row in done.rows for name in row if name.startswith(("train/", "valid/", "test/"))}
    numbers = ", ".join(
        f"{worded(name)} {shown(name, value)}{' %' * is_accuracy(name)}" for name, value in last.items() if value is not None
    )
    steps = done.rows[-1].step if done.rows else 0
    return f"{done.run.name}: {steps} updates in {done.seconds or 0:.1f} s{f', {numbers}' if numbers else ''}"


def _run(schedule: str | None, others: list[str], given: Mapping[str, Any]) -> Run:
    """The run that was typed, but for its rate, which may have to be found."""
    options = single_options(given["option"] or [])
    return Run(given["task"], schedules=_schedules(schedule, others), options=options, **run_settings(given))


def _schedules(schedule: str | None, others: list[str]) -> dict[str, Schedule]:
    named = named_schedules(others, unnamed=False)
    if schedule is None:
        return named
    if "lr" in named:
        raise InvalidInput("the learning rate's schedule is given twice: as SCHEDULE and as --schedule lr=...")
    return {"lr": parse(schedule, trusted=True), **named}  # typed by the person who runs it
