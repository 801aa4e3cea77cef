"""`gradus runs`."""

from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gradus.cli.app import app
from gradus.cli.printing import print_table
from gradus.errors import GradusError, InvalidInput
from gradus.files import RESULTS, locked
from gradus.store import STORE_FILE, Store
from gradus.store.repair import repair_store

__all__ = ["runs"]


@app.command()
def runs(
    number: Annotated[int | None, typer.Argument(metavar="RUN", help="The number of a run whose rows to show.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Say what is wrong with the store, if anything is.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Save what can be read of a damaged store; the old file is kept beside it.")
    ] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder of the store.")] = RESULTS,
) -> None:
    """List the runs in a store, or show the rows of one."""
    if repair:
        _repair(out)
        return
    with Store(out / STORE_FILE, create=False) as store:
        if check:
            _check(store)
        elif number is None:
            _print_runs(store)
        else:
            _print_rows(store, number)


def _check(store: Store) -> None:
    if damages := store.check():
        for damage in damages:
            typer.echo(damage)
        raise GradusError(f"{store.path} is damaged; `gradus runs --repair` saves what can be read")
    runs = store.runs()
    typer.echo(f"{store.path} is well: {sum(one.epochs for one in runs)} epochs of {len(runs)} run{'s'[: len(runs) != 1]}")


def _repair(out: Path) -> None:
    with locked(out) if out.is_dir() else nullcontext():
        repaired = repair_store(out / STORE_FILE)
    if repaired.old is None:
        typer.echo(f"{out / STORE_FILE} is well, and is left as it is")
    else:
        typer.echo(f"saved {repaired.runs} runs with {repaired.rows} epochs; the old file is {repaired.old}")


def _print_runs(store: Store) -> None:
    lines = []
    for one in store.runs():
        rows = store.rows(one.id)
        last = f"{100 * rows[-1].test_accuracy:.2f}" if rows else "–"
        lines.append([str(one.id), one.name, str(one.seed), str(one.epochs), last, one.status, _day(one.created)])
    print_table(("run", "schedule", "seed", "epochs", "test %", "status", "began (UTC)"), lines)


def _day(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):  # a damaged store may say anything
        return "–"


def _print_rows(store: Store, number: int) -> None:
    if number not in {one.id for one in store.runs()}:
        raise InvalidInput(f"there is no run {number} in {store.path}; `gradus runs` lists them")
    headings = ("epoch", "step", "rate", "train loss", "train %", "test loss", "test %", "seconds")
    lines = [
        [
            str(row.epoch),
            str(row.step),
            f"{row.lr:.4g}",
            f"{row.train_loss:.4f}",
            f"{100 * row.train_accuracy:.2f}",
            f"{row.test_loss:.4f}",
            f"{100 * row.test_accuracy:.2f}",
            f"{row.seconds:.2f}",
        ]
        for row in store.rows(number)
    ]
    print_table(headings, lines)
