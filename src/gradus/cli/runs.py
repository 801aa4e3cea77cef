"""`gradus runs`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gradus.cli.app import app
from gradus.cli.printing import print_table
from gradus.errors import InvalidInput
from gradus.files import RESULTS
from gradus.store import STORE_FILE, Store

__all__ = ["runs"]


@app.command()
def runs(
    number: Annotated[int | None, typer.Argument(metavar="RUN", help="The number of a run whose rows to show.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder of the store.")] = RESULTS,
) -> None:
    """List the runs in a store, or show the rows of one."""
    with Store(out / STORE_FILE, create=False) as store:
        if number is None:
            _print_runs(store)
        else:
            _print_rows(store, number)


def _print_runs(store: Store) -> None:
    lines = []
    for one in store.runs():
        rows = store.rows(one.id)
        last = f"{100 * rows[-1].test_accuracy:.2f}" if rows else "–"
        began = datetime.fromtimestamp(one.created, UTC).strftime("%Y-%m-%d %H:%M")
        lines.append([str(one.id), one.name, str(one.seed), str(one.epochs), last, one.status, began])
    print_table(("run", "schedule", "seed", "epochs", "test %", "status", "began (UTC)"), lines)


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
