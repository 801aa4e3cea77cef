"""The command line."""

import io
import re
import signal
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gradus.errors import GradusError, InvalidInput
from gradus.files import RESULTS, make_ignored_folder, write_whole
from gradus.schedules import Schedule, check, explain, parse
from gradus.store import STORE_FILE, Store

if TYPE_CHECKING:
    from gradus.comparison import Comparison

__all__ = ["app", "main"]

app = typer.Typer(
    name="gradus",
    help="The step size: design its schedule, see it, and compare schedules honestly.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line.

    Exit codes: 2 for input that can't be used, 1 for what failed, 130 after Ctrl-C, 143 after SIGTERM.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where only ASCII can be shown, there is no "±"
    try:
        app()
    except GradusError as error:
        typer.echo(f"gradus: {error}", err=True)
        sys.exit(2 if isinstance(error, InvalidInput) else 1)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if version:
        from gradus import __version__

        typer.echo(f"gradus {__version__}")
        raise typer.Exit


@app.command()
def compare(
    task: Annotated[str, typer.Option(help="digits, fashion-mnist, or package.module:function of your own.")] = "digits",
    data_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where the files of Fashion-MNIST lie; the user's cache by default.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data; 30 for the built-in tasks.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples in an update; the task's own by default.")] = None,
    lr: Annotated[float | None, typer.Option(help="One learning rate for all, which each schedule multiplies.")] = None,
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
    device: Annotated[str | None, typer.Option(help="cuda, mps or cpu; the best there is by default.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes side by side; on a CPU one a core by default.")] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads in each process; by default 1, or more where runs are few.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for curves.png, results.json and the store.")] = RESULTS,
) -> None:
    """Train one network under each classic schedule, side by side.

    The six: constant, square-root, factor, multi-factor, cosine, cosine with warmup.
    """
    named = _named_schedules(schedule or [], unnamed=False)
    if ":" in f"{task}{model}":  # a module of the user's own lies beside the user's work
        sys.path.insert(0, str(Path.cwd()))
    with _stopping_kindly(out / STORE_FILE):
        with Console(stderr=True).status("loading torch"):  # it takes seconds, and the other commands don't need it
            from gradus.comparison import compare as run_comparison
        comparison = run_comparison(
            task,
            data_dir=data_dir,
            only=only,
            without=without,
            schedules=named,
            model=model,
            lr=lr,
            epochs=epochs,
            batch_size=batch_size,
            seeds=seeds,
            per=per,
            device=device,
            workers=workers,
            threads=threads,
            out=out,
        )
    _print_comparison(comparison, out)
    if not any(summary.finished for summary in comparison.summaries()):
        raise typer.Exit(1)


class _Terminated(BaseException):
    """SIGTERM has come."""


def _terminate(*_: object) -> None:
    raise _Terminated


@contextmanager
def _stopping_kindly(store: Path) -> Iterator[None]:
    """Ctrl-C and SIGTERM end what runs inside, and say how to go on."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except (KeyboardInterrupt, _Terminated) as stop:
        typer.echo(f"\nstopped; every finished epoch is in {store}", err=True)
        typer.echo("the same command again keeps the finished runs and does the others", err=True)
        raise typer.Exit(143 if isinstance(stop, _Terminated) else 130) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _named_schedules(texts: Sequence[str], *, unnamed: bool) -> dict[str, Schedule]:
    """Each schedule under the name before its "="; where there is none, under its own text if that is allowed."""
    named: dict[str, Schedule] = {}
    for text in texts:
        match = re.fullmatch(r"\s*([^=()]+?)\s*=\s*(.+)", text, re.DOTALL)
        if match is None and not unnamed:
            raise InvalidInput(f'--schedule takes NAME="...", such as mine="Cosine(30)"; got {text!r}')
        name, definition = match.groups() if match else (text.strip(), text)
        if name in named:
            raise InvalidInput(f"each schedule needs a name of its own; {name!r} is given twice")
        named[name] = parse(definition, trusted=True)  # typed by the person who runs it
    return named


def _print_comparison(comparison: "Comparison", out: Path) -> None:
    from gradus.comparison import HEADINGS

    _print_table(HEADINGS, [summary.cells() for summary in comparison.summaries()])
    for remark in comparison.remarks():
        typer.echo(remark)
    typer.echo(f"wrote {out / 'curves.png'} and {out / 'results.json'}")


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
        Literal["steps", "epochs", "tokens"], typer.Option(help="What lies along the bottom of the picture.")
    ] = "steps",
    log: Annotated[bool, typer.Option("--log", help="Draw the values on a logarithmic axis.")] = False,
    budget: Annotated[bool, typer.Option(help="Draw the sum of the values too.")] = True,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The picture to write.")] = RESULTS / "schedules.png",
) -> None:
    """Show schedules in the terminal and as PNG, without training.

    Under the plot each is told in a sentence and, where the run's length is given, with what looks like a mistake.
    """
    if steps is not None and not 1 <= steps <= 2**53:
        raise InvalidInput(f"--steps must be a whole number from 1; got {steps}")
    if out.suffix.lower() != ".png":
        raise InvalidInput(f"--out must name a .png file; got {out}")
    named = _named_schedules(schedules, unnamed=True)
    units = {"steps_per_epoch": steps_per_epoch, "tokens_per_step": tokens_per_step}
    shown = {name: _resolved(schedule, steps, units) for name, schedule in named.items()}
    from gradus.plots import compare_schedules, length_to_show, png, terminal_plot  # matplotlib, which `runs` doesn't need

    until = steps or length_to_show(shown.values())
    picture = compare_schedules(shown, until, log=log, budget=budget, axis=axis, **units)
    typer.echo(terminal_plot(shown, until, width=min(Console().width, 100)))
    for name, schedule in shown.items():
        _print_wrapped(f"{name}: {explain(schedule)}" if len(shown) > 1 else explain(schedule))
        for finding in check(schedule, steps) if steps else ():
            _print_wrapped(f"  check: {finding}")
    if out.parent == RESULTS:
        make_ignored_folder(out.parent)
    write_whole(out, png(picture))
    typer.echo(f"wrote {out}")


def _resolved(schedule: Schedule, steps: int | None, units: Mapping[str, float | None]) -> Schedule:
    try:
        return schedule.resolve(steps, **units)
    except InvalidInput as error:
        raise InvalidInput(f"{error} (here: --steps, --steps-per-epoch, --tokens-per-step)") from None


def _print_wrapped(text: str) -> None:
    indent = " " * (len(text) - len(text.lstrip()) + 2)
    typer.echo(textwrap.fill(text, min(Console().width, 100), subsequent_indent=indent, break_on_hyphens=False))


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
    _print_table(("run", "schedule", "seed", "epochs", "test %", "status", "began (UTC)"), lines)


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
    _print_table(headings, lines)


def _print_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print a table. Where the terminal is narrow, headings and names are broken into lines, and numbers never are."""
    console = Console()
    endless = console.options.update(width=10_000)
    for padding, break_at in ((1, " "), (0, " "), (0, "\n")):
        table = _table([heading.replace(" ", break_at) for heading in headings], lines, padding)
        if console.measure(table, options=endless).maximum <= console.width:
            break
    console.print(table)


def _table(headings: Sequence[str], lines: Sequence[Sequence[str]], padding: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, padding))
    for heading in headings:
        words = heading in ("schedule", "status")
        table.add_column(heading, justify="left" if words else "right", overflow="fold", no_wrap=heading != "schedule")
    for line in lines:
        table.add_row(*map(Text, line))  # as it is: a name may look like Rich's markup
    return table
