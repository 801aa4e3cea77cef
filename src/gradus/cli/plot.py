"""`gradus plot`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from gradus.cli.app import app
from gradus.cli.options import named_schedules
from gradus.cli.printing import print_wrapped
from gradus.errors import InvalidInput
from gradus.files import RESULTS, make_ignored_folder, write_whole
from gradus.schedules import Schedule, check, explain

__all__ = ["plot"]


@app.command()
def plot(
    schedules: Annotated[
        list[str],
        typer.Argument(metavar="SCHEDULE", help='Such as "warmup(5) >> Cosine(15, end=0.03)"; NAME="..." names it.'),
    ],
    steps: Annotated[
        int | None, typer.Option(help="How many steps to show; a little more than the longest schedule by default.")
    ] = None,
    steps_per_epoch: Annotated[float | None, typer.Option(help="What epochs are counted by.")] = None,
    tokens_per_step: Annotated[float | None, typer.Option(help="What tokens are counted by.")] = None,
    axis: Annotated[
        Literal["steps", "epochs", "tokens"], typer.Option(help="The horizontal axis of the picture.")
    ] = "steps",
    log: Annotated[bool, typer.Option("--log", help="Draw the values on a logarithmic axis.")] = False,
    budget: Annotated[bool, typer.Option(help="Draw the sum of the values too.")] = True,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The picture to write.")] = RESULTS / "schedules.png",
) -> None:
    """Show schedules in the terminal and as PNG, without training.

    Under the plot a sentence describes each, with likely mistakes and notes; --steps shows more of it.
    """
    if steps is not None and not 1 <= steps <= 2**53:
        raise InvalidInput(f"--steps must be a whole number from 1; got {steps}")
    if out.suffix.lower() != ".png":
        raise InvalidInput(f"--out must name a .png file; got {out}")
    named = named_schedules(schedules, unnamed=True)
    units = {"steps_per_epoch": steps_per_epoch, "tokens_per_step": tokens_per_step}
    shown = {name: _resolved(schedule, steps, units) for name, schedule in named.items()}
    from gradus.plots import compare_schedules, length_to_show, png, terminal_plot  # matplotlib, which `runs` doesn't need

    until = steps or length_to_show(shown.values())
    picture = compare_schedules(shown, until, log=log, budget=budget, axis=axis, **units)
    typer.echo(terminal_plot(shown, until, width=min(Console().width, 100)))
    for name, schedule in shown.items():
        print_wrapped(f"{name}: {explain(schedule)}" if len(shown) > 1 else explain(schedule))
        for finding in check(schedule, steps, steps_per_epoch=steps_per_epoch):
            print_wrapped(f"  {finding.rank}: {finding}")
    if out.parent == RESULTS:
        make_ignored_folder(out.parent)
    write_whole(out, png(picture))
    typer.echo(f"wrote {out}")


def _resolved(schedule: Schedule, steps: int | None, units: Mapping[str, float | None]) -> Schedule:
    try:
        return schedule.resolve(steps, **units)
    except InvalidInput as error:
        raise InvalidInput(f"{error} (here: --steps, --steps-per-epoch, --tokens-per-step)") from None
