"""`gradus runs`: what is in a store, and what can be done with it."""

import csv
import io
import json
import operator
import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any

import typer

from gradus.cli.app import app
from gradus.cli.listing import Listed, differences, listed, pictured, table_of, whole
from gradus.cli.printing import print_table, print_wrapped
from gradus.errors import GradusError, InvalidInput
from gradus.files import RESULTS, locked, write_whole
from gradus.metric_names import counted
from gradus.names import did_you_mean
from gradus.store import STORE_FILE, Store, StoredRun
from gradus.store.repair import repair_store

__all__ = ["runs"]

_COMPARISONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_WITHOUT_RESULT = ("failed", "interrupted", "stopped")  # a run that diverged is a result


@app.command()
def runs(
    numbers: Annotated[
        list[int] | None, typer.Argument(metavar="RUN", help="One run to show whole, or several to compare.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Runs of this task; * matches anything, here and below.")] = None,
    name: Annotated[str | None, typer.Option(help="Runs of this name.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="Runs with this optimizer.")] = None,
    schedule: Annotated[str | None, typer.Option(help="Runs under this schedule of the rate, as it is printed.")] = None,
    lr: Annotated[float | None, typer.Option(help="Runs at this learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Runs with this batch size.")] = None,
    seed: Annotated[int | None, typer.Option(help="Runs with this seed.")] = None,
    status: Annotated[
        str | None, typer.Option(help="Runs of this status, such as finished, running or interrupted.")
    ] = None,
    objective: Annotated[
        str | None, typer.Option(metavar="BOUND", help='Runs whose objective is like that, as it is stored: ">0.9".')
    ] = None,
    seconds: Annotated[
        str | None, typer.Option(metavar="BOUND", help='Runs that took as long as that: "<60", ">=3600".')
    ] = None,
    sort: Annotated[
        str, typer.Option(metavar="COLUMN", help="What to sort by: run, objective, seconds, or any other column.")
    ] = "run",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every number.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, a line for each run.")] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the curves of these runs as PNG.")] = None,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the weights of a finished run as a torch state dict, or .safetensors."),
    ] = None,
    stop: Annotated[bool, typer.Option("--stop", help="Ask whoever trains these runs to stop them.")] = False,
    pause: Annotated[bool, typer.Option("--pause", help="Ask to stop them until the same command is given again.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete these runs, with their rows.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete every run that failed, was interrupted or stopped.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Say what is wrong with the store, if anything is.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Save what can be read of a damaged store; the old file is kept next to it.")
    ] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder of the store.")] = RESULTS,
) -> None:
    """List stored runs; show, compare, draw, stop or delete some.

    The number of one run shows it whole; several are compared.
    """
    if repair:
        _repair(out)
        return
    asked = {"--stop": stop, "--pause": pause, "--delete": delete, "--prune": prune, "--check": check}
    if len(chosen := [option for option, given in asked.items() if given]) > 1:
        raise InvalidInput(f"give one of {', '.join(chosen)}, not several")
    with Store(out / STORE_FILE, create=False) as store:
        if check:
            _check(store)
            return
        patterns = {"task": task, "name": name, "optimizer": optimizer, "schedule": schedule, "status": status}
        exact = {"rate": lr, "batch": batch_size, "seed": seed}
        bounds = {"objective": objective, "seconds": seconds}
        found = _filtered(listed(store, _numbered(store, numbers or [])), patterns, exact, bounds)
        if chosen:
            _change(store, [one.stored for one in found], numbers or [], chosen[0])
        elif weights is not None:
            _write_weights(found, weights, out)
        elif plot is not None:
            _plot(store, found, plot)
        elif as_json:
            typer.echo(json.dumps([one.plain(store.rows(one.stored.id)) for one in found], indent=1, allow_nan=False))
        elif as_csv:
            _print_csv(found)
        else:
            _show(store, found, numbers or [], sort)


def _numbered(store: Store, numbers: Sequence[int]) -> list[StoredRun]:
    """The runs of these numbers, in this order; all where there are none."""
    stored = {one.id: one for one in store.runs()}
    for number in numbers:
        if number not in stored:
            raise InvalidInput(f"there is no run {number} in {store.path}; `gradus runs` lists them")
    return [stored[number] for number in numbers or stored]


def _filtered(
    found: list[Listed], patterns: dict[str, str | None], exact: dict[str, Any], bounds: dict[str, str | None]
) -> list[Listed]:
    within = {name: _bound(name, text) for name, text in bounds.items() if text is not None}

    def fits(one: Listed) -> bool:
        known = one.columns()
        texts = all(pattern is None or fnmatch(str(known[name]), pattern) for name, pattern in patterns.items())
        values = all(value is None or known[name] == value for name, value in exact.items())
        return texts and values and all(known[name] is not None and holds(known[name]) for name, holds in within.items())

    return [one for one in found if fits(one)]


def _bound(name: str, text: str) -> Callable[[float], bool]:
    """What a bound such as ">0.9" says of a number."""
    match = re.fullmatch(r"\s*(<=|>=|<|>)\s*([-+]?[0-9.]+(?:[eE][-+]?\d+)?)\s*", text)
    try:
        compare, limit = _COMPARISONS[match[1]], float(match[2])  # type: ignore[index]  # None is refused below
    except (TypeError, ValueError):
        raise InvalidInput(f'--{name} takes a bound, such as ">0.9", "<=60" or ">1e3"; got {text!r}') from None
    return lambda value: compare(value, limit)


def _show(store: Store, found: list[Listed], numbers: Sequence[int], sort: str) -> None:
    if not found:
        typer.echo(f"no run in {store.path} is like that" if store.runs() else f"{store.path} has no runs yet")
    elif len(numbers) == 1:
        facts, rows, line = whole(found[0], store.rows(found[0].stored.id))
        print_table(*facts)
        if rows[1]:
            print_table(*rows)
        if line:
            typer.echo(f"to train it once more:\n  {line}")
    elif numbers:
        print_table(*differences(found))
    else:
        known = found[0].columns()
        if sort not in known:
            raise InvalidInput(f"--sort takes one of {', '.join(known)}; got {sort!r}{did_you_mean(sort, known)}")
        table, common = table_of(found, sort)
        print_table(*table)
        if common:
            print_wrapped(common)


def _print_csv(found: list[Listed]) -> None:
    text = io.StringIO()
    records = [one.plain() for one in found]
    writer = csv.DictWriter(text, list(records[0]) if records else ["run"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    typer.echo(text.getvalue(), nl=False)


def _plot(store: Store, found: list[Listed], path: Path) -> None:
    if path.suffix.lower() != ".png":
        raise InvalidInput(f"--plot must name a .png file; got {path}")
    if not found:
        raise InvalidInput(f"there is no such run in {store.path} to draw; `gradus runs` lists them")
    write_whole(path, pictured(store, found))
    typer.echo(f"wrote {path}")


def _write_weights(found: list[Listed], path: Path, out: Path) -> None:
    if len(found) != 1:
        raise InvalidInput(f"--weights takes the number of one run, as in gradus runs 3 --weights {path}; got {len(found)}")
    (one,) = found
    if one.stored.status != "finished":
        raise InvalidInput(f"run {one.stored.id} is {one.stored.status}; weights are kept of finished runs")
    if one.run is None:
        raise InvalidInput(f"the specification of run {one.stored.id} can't be read, so its weights can't be found")
    from gradus.sweep import Weights  # and torch with it

    Weights(out, one.run, one.stored.conditions).write(path)
    typer.echo(f"wrote {path}")


def _change(store: Store, found: list[StoredRun], numbers: Sequence[int], option: str) -> None:
    """Delete runs, or ask whoever trains them to stop or pause."""
    if option == "--prune":
        found = [one for one in found if one.status in _WITHOUT_RESULT]
    elif not numbers:
        raise InvalidInput(f"{option} takes the numbers of runs, as in gradus runs 3 4 {option}; `gradus runs` lists them")
    if option in ("--stop", "--pause"):
        for one in found:
            if one.status != "running":
                raise InvalidInput(f"run {one.id} is {one.status}; only a running one can be asked to {option[2:]}")
        for one in found:
            store.request(one.id, "stop" if option == "--stop" else "pause")
        typer.echo(f"asked to {option[2:]} {counted(len(found), 'run')}; what trains them looks when it next reports")
        return
    if running := [one.id for one in found if one.status == "running"]:
        raise InvalidInput(f"run {running[0]} is being trained; stop it first: gradus runs {running[0]} --stop")
    store.delete([one.id for one in found])
    typer.echo(f"deleted {counted(len(found), 'run')}")


def _check(store: Store) -> None:
    if damages := store.check():
        for damage in damages:
            typer.echo(damage)
        raise GradusError(f"{store.path} is damaged; `gradus runs --repair` saves what can be read")
    stored = store.runs()
    typer.echo(f"{store.path} is well: {counted(sum(one.rows for one in stored), 'row')} of {counted(len(stored), 'run')}")


def _repair(out: Path) -> None:
    with locked(out) if out.is_dir() else nullcontext():
        repaired = repair_store(out / STORE_FILE)
    if repaired.old is None:
        typer.echo(f"{out / STORE_FILE} is well, and is left unchanged")
    else:
        saved = f"{counted(repaired.runs, 'run')} with {counted(repaired.rows, 'row')}"
        lost = f", and {counted(repaired.damaged, 'damaged record')} kept apart" if repaired.damaged else ""
        typer.echo(f"saved {saved}{lost}; the old file is {repaired.old}")
