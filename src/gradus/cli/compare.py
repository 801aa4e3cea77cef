"""`gradus compare`."""

from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from gradus.cli.app import app
from gradus.cli.options import MACHINE, TASK, TRAINING, named_schedules, options_of, run_settings, takes
from gradus.cli.printing import print_table, print_wrapped
from gradus.cli.stopping import stopping_kindly
from gradus.errors import InvalidInput
from gradus.runs import Run
from gradus.schedules import Schedule
from gradus.store import STORE_FILE

if TYPE_CHECKING:
    from gradus.report import Comparison

__all__ = ["compare"]


@app.command()
@takes(TASK, TRAINING, MACHINE)
def compare(
    optimizer: Annotated[
        list[str] | None,
        typer.Option(
            help="A class of gradus.optim, such as AdamW; torch.optim.AdamW; or package.module:Class; repeatable. "
            "The task's own by default."
        ),
    ] = None,
    lr: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RATE",
            help="A learning rate, which each schedule multiplies; a grid such as 0.001..1:7; or found for what find found; "
            "repeatable.",
        ),
    ] = None,
    schedule: Annotated[
        list[str] | None,
        typer.Option(
            metavar='NAME="..."',
            help="A further schedule, a factor of the learning rate; absolute(...) is the rate itself. Repeatable. Example: "
            'mine="warmup(fraction(0.1)) >> Cosine(rest())".',
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Of the six and of --schedule's, train under this one; repeatable."),
    ] = None,
    without: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Leave this one out; repeatable.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="An argument of the optimizer, such as momentum=0.9; of one of several, AdamW:weight_decay=0.1. "
            "Repeatable: several values of a name are compared.",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Another network than the task's: lenet, or package.module:function; repeatable."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many seeds; from 2 on with 95 % intervals.")] = 1,
    executor: Annotated[
        str | None, typer.Option(help="serial, processes, or package.module:function; the machine decides by default.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes side by side; on a CPU one a core by default.")] = None,
    given: Mapping[str, Any] = {},
) -> None:
    """Train under several schedules, optimizers, rates, side by side.

    There is a run for each combination with each seed. The six schedules: constant, square-root, factor, multi-factor,
    cosine, cosine with warmup. Finished runs are kept: the same command again trains what is missing, unless --again.
    """
    named = named_schedules(schedule or [], unnamed=False)
    if seeds < 1:
        raise InvalidInput(f"--seeds must be a whole number from 1; got {seeds}")
    settings = run_settings(given)
    with stopping_kindly(given["out"] / STORE_FILE):
        with Console(stderr=True).status("loading torch"):  # it takes seconds, and the other commands don't need it
            from gradus.experiments import compare as run_comparison
            from gradus.sweep import grid
        base = _base(given, settings)
        axes = {"schedules": _chosen(only, without, named), **({"model": model} if model else {}), "seed": range(seeds)}
        runs = []
        for one, rate in _starts(base, optimizer or [], option or [], lr or [], given):
            runs += grid(one, **({"lr": rate} if rate else {}), **axes)
        machine = {name: given[name] for name in ("data_dir", *MACHINE)}
        runs.sort(key=lambda run: run.seed)
        comparison = run_comparison(runs, executor=executor, workers=workers, **machine)
    _print_comparison(comparison, given)
    if not any(summary.finished for summary in comparison.summaries()):
        raise typer.Exit(1)


def _base(given: Mapping[str, Any], settings: Mapping[str, Any]) -> Run:
    """What all runs have in common."""
    from gradus.sweep import reference_run
    from gradus.tasks import Task, load

    task = load(given["task"], given["data_dir"])
    return reference_run(given["task"], task, **settings) if isinstance(task, Task) else Run(given["task"], **settings)


def _chosen(only: list[str] | None, without: list[str] | None, named: dict[str, Schedule]) -> dict[str, Schedule]:
    """The schedules to compare: of the six and those given, what is asked for."""
    from gradus.sweep import classic

    others = {name: one for name, one in named.items() if (not only or name in only) and name not in (without or ())}
    return classic(
        None if not only else [name for name in only if name not in named],
        [name for name in without or () if name not in named],
        others,
    )


def _starts(
    base: Run, optimizers: list[str], options: list[str], lrs: list[str], given: Mapping[str, Any]
) -> list[tuple[Run, list[float]]]:
    """A run for each optimizer with each of its options, and the rates to train it at."""
    from gradus.cli.rates import rates

    starts = []
    asked: list[str | None] = [*optimizers] or [None]
    for optimizer in asked:
        own = options_of(_options_for(optimizer, optimizers, options))
        for values in product(*own.values()):
            chosen = dict(zip(own, values, strict=True))
            several = [optimizer] if len(optimizers) > 1 and optimizer else []
            several += [f"{name} {value}" for name, value in chosen.items() if len(own[name]) > 1]
            one = base.replace(optimizer=optimizer, options=chosen or None, name=", ".join(several) or None)
            starts.append((one, rates(lrs, one, given)))
    return starts


def _options_for(optimizer: str | None, optimizers: list[str], options: list[str]) -> list[str]:
    """Those for every optimizer, and those for this one."""
    found = []
    for text in options:
        owner, colon, rest = text.rpartition(":") if ":" in text.partition("=")[0] else ("", "", text)
        if colon and owner not in optimizers:
            raise InvalidInput(f"--option {text}: {owner!r} is none of the optimizers; give --optimizer {owner}")
        if owner in ("", optimizer):
            found.append(rest)
    return found


def _print_comparison(comparison: "Comparison", given: Mapping[str, Any]) -> None:
    table = comparison.table().fitting(Console().width)
    print_table(table.headings, table.lines)
    for remark in comparison.remarks():
        print_wrapped(remark)
    typer.echo(f"wrote {given['out'] / 'curves.png'} and {given['out'] / 'results.json'}")
