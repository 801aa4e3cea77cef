"""The command line."""

import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

# Idle OpenMP threads must not spin: on a shared machine that slows small networks many times over. Read by torch's
# runtime when it is loaded, so it is set before anything below imports torch.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from gradus.errors import GradusError, InvalidInput
from gradus.files import make_ignored_folder, write_whole
from gradus.schedules import Schedule, parse

if TYPE_CHECKING:
    from gradus.comparison import Comparison
    from gradus.sweep import Interval

__all__ = ["app", "main"]

app = typer.Typer(
    name="gradus",
    help="The step size: design its schedule, see it, and compare schedules honestly.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_FOLDER = "gradus-runs"


def main() -> None:
    """Run the command line: exit code 2 for input that can't be used, 1 for what failed, 130 after Ctrl-C."""
    try:
        app()
    except GradusError as error:
        print(f"gradus: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InvalidInput) else 1)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if version:
        from gradus import __version__

        print(f"gradus {__version__}")
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
            help="A further schedule, a factor of the learning rate (0.3, or --lr); absolute(...) is the rate itself. "
            'Repeatable. Example: mine="warmup(5) >> Cosine(25, end=0.03)".',
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Of the six, train this one; repeatable.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Of the six, leave this one out; repeatable.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many seeds; from 2 on with 95 % intervals.")] = 1,
    per: Annotated[str, typer.Option(help="What the schedules count: epoch, or step.")] = "epoch",
    device: Annotated[str | None, typer.Option(help="cuda, mps or cpu; the best there is by default.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes side by side; on a CPU one a core by default.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads in each process; 1 by default.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for curves.png, results.json and the store.")] = Path(
        _FOLDER
    ),
) -> None:
    """Train one network under each classic schedule, side by side.

    The six: constant, square-root, factor, multi-factor, cosine, cosine with warmup.
    """
    named = _named_schedules(schedule or [])
    if ":" in task:  # a module of the user's own lies beside the user's work
        sys.path.insert(0, str(Path.cwd()))
    from gradus.comparison import compare as run_comparison  # imports torch, which the other commands don't need

    try:
        comparison = run_comparison(
            task,
            data_dir=data_dir,
            only=only,
            without=without,
            schedules=named,
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
    except KeyboardInterrupt:
        print(
            f"\nstopped; every finished epoch is in {out / 'store.sqlite'}. "
            "The same command again keeps the finished runs and does the others.",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
    _print_comparison(comparison, out)
    if not any(summary.finished for summary in comparison.summaries()):
        raise typer.Exit(1)


def _named_schedules(texts: list[str]) -> dict[str, Schedule]:
    named: dict[str, Schedule] = {}
    for text in texts:
        match = re.fullmatch(r"\s*([^=()]+?)\s*=\s*(.+)", text, re.DOTALL)
        if match is None:
            raise InvalidInput(f'--schedule takes NAME="...", such as mine="Cosine(30)"; got {text!r}')
        if match[1] in named:
            raise InvalidInput(f"each --schedule needs a name of its own; {match[1]!r} is given twice")
        named[match[1]] = parse(match[2], trusted=True)  # typed by the person who runs it
    return named


def _print_comparison(comparison: "Comparison", out: Path) -> None:
    console = Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("schedule", no_wrap=True)
    for heading in ("train loss", "train %", "test %", "best epoch", "seconds", "images/s"):
        table.add_column(heading, justify="right")
    for one in comparison.summaries():
        if one.finished == 0:
            table.add_row(one.name, "–", "–", "–", "–", "–", "–")
            continue
        assert one.train_loss and one.train_accuracy and one.test_accuracy  # there are some where a seed has finished
        table.add_row(
            one.name,
            _with_interval(one.train_loss, 1, 3),
            _with_interval(one.train_accuracy, 100, 2),
            _with_interval(one.test_accuracy, 100, 2),
            str(one.best_epoch),
            f"{one.seconds:.1f}",
            f"{one.images_per_second:,.0f}",
        )
    console.print(table)
    for one in comparison.summaries():
        if one.finished < one.seeds:
            print(f"{one.name}: {one.seeds - one.finished} of {one.seeds} runs did not finish: {one.message}")
    conditions = comparison.conditions
    kept = f" ({comparison.kept} kept from before)" if comparison.kept else ""
    print(
        f"{comparison.task}: {len(comparison.runs)} runs{kept} in {comparison.seconds:.1f} s on {conditions['device']}, "
        f"{conditions['workers']} at a time"
    )
    print(f"wrote {out / 'curves.png'} and {out / 'results.json'}")


def _with_interval(value: "Interval", scale: float, digits: int) -> str:
    mean = f"{scale * value.mean:.{digits}f}"
    return mean if value.half_width is None else f"{mean} ± {scale * value.half_width:.{digits}f}"


@app.command()
def plot(
    schedules: Annotated[
        list[str],
        typer.Argument(metavar="SCHEDULE...", help='Such as "warmup(5) >> Cosine(15, end=0.03)"; NAME="..." names it.'),
    ],
    steps: Annotated[
        int | None, typer.Option(help="How many steps to show; a little more than the longest schedule by default.")
    ] = None,
    steps_per_epoch: Annotated[float | None, typer.Option(help="What epochs(...) are counted by.")] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The picture to write.")] = Path(_FOLDER) / "schedules.png",
) -> None:
    """Show schedules in the terminal and as PNG, without training anything."""
    if steps is not None and not 1 <= steps <= 2**53:
        raise InvalidInput(f"--steps must be a whole number from 1; got {steps}")
    if out.suffix.lower() != ".png":
        raise InvalidInput(f"--out must name a .png file; got {out}")
    shown = {name: _resolved(schedule, steps, steps_per_epoch) for name, schedule in _texts(schedules).items()}
    until = steps or _length_to_show(shown)
    from gradus.plots import png, schedules_figure, terminal_plot  # matplotlib, which `runs` doesn't need

    print(terminal_plot(shown, until, width=min(Console().width, 100)))
    for name, schedule in shown.items():
        print(f"{name}: {schedule(0):.4g} at step 0, {schedule(until):.4g} at step {until}")
    if out.parent == Path(_FOLDER):
        make_ignored_folder(out.parent)
    write_whole(out, png(schedules_figure(shown, until)))
    print(f"wrote {out}")


def _texts(texts: list[str]) -> dict[str, Schedule]:
    """Each schedule under its name; its own text where it has none."""
    named: dict[str, Schedule] = {}
    for text in texts:
        match = re.fullmatch(r"\s*([^=()]+?)\s*=\s*(.+)", text, re.DOTALL)
        name, definition = (match[1], match[2]) if match else (text.strip(), text)
        named[name] = parse(definition, trusted=True)
    return named


def _resolved(schedule: Schedule, steps: int | None, steps_per_epoch: float | None) -> Schedule:
    try:
        return schedule.resolve(steps, steps_per_epoch=steps_per_epoch)
    except InvalidInput as error:
        raise InvalidInput(f"{error} (here: --steps, --steps-per-epoch)") from None


def _length_to_show(schedules: Mapping[str, Schedule]) -> int:
    lengths = [schedule.length for schedule in schedules.values() if isinstance(schedule.length, int)]
    return max(1, round(max(lengths) * 1.1)) if lengths else 100


@app.command()
def runs(
    number: Annotated[int | None, typer.Argument(metavar="[RUN]", help="The number of a run whose rows to show.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder of the store.")] = Path(_FOLDER),
) -> None:
    """List the runs in a store, or show the rows of one."""
    from gradus.store import Store

    with Store(out / "store.sqlite", create=False) as store:
        table = _runs_table(store) if number is None else _rows_table(store, number)
    Console().print(table)


def _runs_table(store: Any) -> Table:
    table = _table("run", "schedule", "seed", "epochs", "test acc %", "status", "began (UTC)")
    for one in store.runs():
        rows = store.rows(one.id)
        last = f"{100 * rows[-1].test_accuracy:.2f}" if rows else "–"
        began = datetime.fromtimestamp(one.created, UTC).strftime("%Y-%m-%d %H:%M")
        table.add_row(str(one.id), one.name, str(one.seed), str(one.epochs), last, one.status, began)
    return table


def _rows_table(store: Any, number: int) -> Table:
    if number not in {one.id for one in store.runs()}:
        raise InvalidInput(f"there is no run {number} in {store.path}; `gradus runs` lists them")
    table = _table("epoch", "step", "rate", "train loss", "train acc %", "test loss", "test acc %", "seconds")
    for row in store.rows(number):
        table.add_row(
            str(row.epoch),
            str(row.step),
            f"{row.lr:.4g}",
            f"{row.train_loss:.4f}",
            f"{100 * row.train_accuracy:.2f}",
            f"{row.test_loss:.4f}",
            f"{100 * row.test_accuracy:.2f}",
            f"{row.seconds:.2f}",
        )
    return table


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("schedule", "status", "began (UTC)") else "right")
    return table
