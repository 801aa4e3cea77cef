"""What is seen while a comparison runs: lines, bars, and pictures in a notebook."""

import io
import re

import nbclient
import nbformat
import pytest
from rich.console import Console

from gradus.progress import BarView, LineView, pick_view
from gradus.runs import Row, Run
from gradus.schedules import Constant
from gradus.sweep import Ended, Started


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self):
        return True


def some_runs(number, *, seeds=1, epochs=30, name="cosine with warmup"):
    """So many runs with so many seeds."""
    names = [name if index == 0 else f"{name} {index}" for index in range(number)]
    return [Run(one, "digits", Constant(), 0.3, epochs, 64, seed) for seed in range(seeds) for one in names]


def row(epoch, seconds=2.0):
    """An epoch's numbers."""
    return Row(epoch, 23 * epoch, 0.2982, 1.2345, 0.4321, 1.3, 0.5678, seconds)


def screen(view, width=80):
    """What the bars look like at this moment."""
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(view.progress.get_renderable())
    return console.export_text().rstrip("\n").splitlines()


def bar_view(runs, width=80, height=24):
    """Bars on a terminal of that size."""
    return BarView(runs, Console(file=Terminal(), width=width, height=height, force_terminal=True))


def test_a_pipe_gets_a_line_for_each_epoch_with_all_its_numbers_and_no_control_characters():
    """Where there is no terminal, an epoch is one printable line: name, epoch, rate, loss and both accuracies."""
    file = io.StringIO()
    with LineView(some_runs(2), Console(file=file, width=80)) as view:
        view.on(0, Started())
        view.on(0, row(3))
        view.on(1, row(12))
        view.on(0, Ended("finished"))
    lines = file.getvalue().splitlines()
    assert len(lines) == 2
    assert all(character.isprintable() for line in lines for character in line)
    for part in ("cosine with warmup", "epoch 3/30", "0.2982", "1.23", "43.21 %", "56.78 %"):
        assert part in lines[0]


@pytest.mark.parametrize(
    ("ended", "said"),
    [(Ended("diverged", "diverged at step 7: so"), "a  diverged at step 7: so"), (Ended("failed", "no"), "a  failed: no")],
)
def test_a_pipe_is_told_why_a_run_did_not_finish(ended, said):
    """A run that ends badly gets one line with its reason."""
    file = io.StringIO()
    with LineView(some_runs(1, name="a"), Console(file=file)) as view:
        view.on(0, ended)
    assert file.getvalue() == f"{said}\n"


def test_lines_show_names_as_they_are():
    """A name that looks like Rich's markup is shown, not obeyed."""
    file = io.StringIO()
    with LineView(some_runs(1, name="[bold]x[/bold]"), Console(file=file)) as view:
        view.on(0, row(1))
    assert file.getvalue().startswith("[bold]x[/bold]  epoch")


@pytest.mark.parametrize(
    ("file", "environment", "kind"),
    [
        (io.StringIO, {}, LineView),
        (io.StringIO, {"FORCE_COLOR": "1"}, LineView),
        (Terminal, {"TERM": "xterm"}, BarView),
        (Terminal, {"TERM": "dumb"}, LineView),
    ],
)
def test_bars_are_for_terminals_that_can_move_the_cursor(file, environment, kind, monkeypatch):
    """A real terminal gets bars; a file, a coloured log and a dumb terminal get lines."""
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert type(pick_view(some_runs(1), lambda: None, Console(file=file()))) is kind


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", ["cosine with warmup", "a name that is far too long for any terminal of this width" * 2])
def test_each_run_has_one_line_with_all_its_numbers(width, name):
    """At 80 columns and more, a run is one whole line: epoch, rate, loss, both accuracies and the time left."""
    view = bar_view(some_runs(2, seeds=3, name=name), width=width)
    for index in range(6):
        view.on(index, Started())
        view.on(index, row(12, seconds=24.0))
    lines = screen(view, width)
    bars = [line for line in lines if "12/30" in line]
    assert len(bars) == 6
    assert max(map(len, lines)) <= width
    assert len(lines) <= 6 + 2  # headings may take two
    for line in bars:
        assert re.search(r"12/30 +0\.2982 +1\.23\d +43\.2 +56\.8 +0:00:3\d", line)
        assert line.startswith(name[:15])
    for heading in ("epoch", "rate", "loss", "train", "test", "left"):
        assert any(heading in line for line in lines[:2])


def test_runs_that_have_not_begun_are_not_shown():
    """The screen has a line for each run that has begun, in the order of the runs, and headings only with one."""
    view = bar_view(some_runs(5, name="a"))
    assert "".join(screen(view)).strip() == ""
    for index in (3, 1):
        view.on(index, Started())
    assert [line.split("0/30")[0].strip() for line in screen(view) if "0/30" in line] == ["a 1", "a 3"]


def test_time_left_follows_from_the_epochs_so_far_and_runs_down():
    """After 2 of 30 epochs of 3 s on average, 84 s are left, and 10 s later 74."""
    now = [1000.0]
    view = bar_view(some_runs(1))
    view.progress.get_time = lambda: now[0]
    view.progress.tasks[0]._get_time = lambda: now[0]
    view.on(0, Started())
    view.on(0, row(1, seconds=4.0))
    view.on(0, row(2, seconds=2.0))
    assert screen(view)[-1].endswith("0:01:24")
    now[0] += 10
    assert screen(view)[-1].endswith("0:01:14")


@pytest.mark.parametrize(("status", "said"), [("finished", "done"), ("diverged", "diverged"), ("failed", "failed")])
def test_a_bar_says_how_its_run_ended(status, said):
    """The place of the time left holds the run's end, also where its process died before it began."""
    view = bar_view(some_runs(1))
    view.on(0, Ended(status, "because"))
    assert screen(view)[-1].endswith(said)


def test_in_a_low_terminal_the_running_runs_stay_in_sight():
    """With more runs than lines, ended ones make room, so that every running one is seen."""
    view = bar_view(some_runs(40, name="run"), height=10)
    for index in range(40):
        view.on(index, Started())
        lines = screen(view)
        assert len(lines) < 10
        assert f"run {index} " in lines[-1] or index == 0
        if index != 2:  # a slow one
            view.on(index, Ended("finished"))
        assert index < 2 or any("run 2 " in line for line in screen(view))


class _Watched(nbclient.NotebookClient):
    """A notebook client that counts how often a shown picture is replaced."""

    updates = 0

    def process_message(self, msg, cell, cell_index):
        self.updates += msg["msg_type"] == "update_display_data"
        return super().process_message(msg, cell, cell_index)


@pytest.mark.filterwarnings("default::DeprecationWarning", "default::ResourceWarning")  # Jupyter's own
def test_a_notebook_shows_one_picture_that_is_replaced_in_place(tmp_path):
    """In a notebook without `%matplotlib inline` there is one PNG that follows the runs, then the table, then a figure."""
    cells = [
        f"import gradus\ncomparison = gradus.compare(epochs=2, only=['constant'], workers=1, out={str(tmp_path / 'out')!r})",
        "comparison",
        "comparison.figure()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = _Watched(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    (live,), (table,), (figure,) = (cell.outputs for cell in notebook.cells)
    assert client.updates >= 2
    assert "image/png" in live["data"]
    assert "<td>constant</td>" in table["data"]["text/html"]
    assert len(table["data"]["text/plain"]) < 100
    assert "image/png" in figure["data"]
