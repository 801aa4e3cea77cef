"""What is seen while runs are trained: bars, lines, and pictures in a notebook."""

import io
import re

import nbclient
import nbformat
import pytest
from rich.console import Console

from gradus.progress import BarView, LineView, NotebookView, StepBar, Views, pick_view, print_mistakes
from gradus.progress.numbers import counted, shown
from gradus.rows import Row
from gradus.runs import Run
from gradus.schedules import Cosine, epochs
from gradus.sweep.events import RunEnded, RunStarted
from gradus.training.progress import Progress

STEPS = 690  # thirty epochs of 23 updates
NAMES = ["cosine with warmup", "a name that is far too long for any terminal of this width" * 2]


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self):
        return True


def some_runs(number, *, seeds=1, name="cosine with warmup"):
    """So many runs with so many seeds."""
    names = [name if index == 0 else f"{name} {index}" for index in range(number)]
    return [Run("digits", "SGD", lr=0.3, name=one, seed=seed) for seed in range(seeds) for one in names]


def row(epoch, seconds=2.0, **more):
    """The row of an evaluation after so many epochs, of so many seconds each."""
    numbers = {"epoch": epoch, "lr": 0.2982, "train/loss": 1.2345, "train/accuracy": 0.4321, "valid/loss": 1.3}
    return Row(23 * epoch, numbers | {"valid/accuracy": 0.5678, "time/seconds": seconds * epoch} | more)


def progress(step, total=STEPS, resumed_from=None):
    """What a training tells between its rows."""
    return Progress(step, total, 1.1111, 0.2222, resumed_from)


class Now:
    """A clock that is set by hand."""

    def __init__(self):
        self.time = 1000.0

    def __call__(self):
        return self.time


def lines_of(events, *, runs=None, every=0.0, **options):
    """What a pipe gets of events that come so many seconds after each other."""
    file, now, runs = io.StringIO(), Now(), runs or some_runs(1, name="a")
    with LineView(runs, Console(file=file, width=80), clock=now, **{"totals": [STEPS] * len(runs), **options}) as view:
        for index, event in events:
            now.time += every
            view.on(index, event)
    assert all(character.isprintable() for line in file.getvalue().splitlines() for character in line)
    return file.getvalue().splitlines()


def screen(view, width=80):
    """What the bars look like at this moment."""
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(view.progress.get_renderable())
    return console.export_text().rstrip("\n").splitlines()


def bar_view(runs, width=80, height=24, now=None, **options):
    """Bars on a terminal of that size, with a clock of their own."""
    console = Console(file=Terminal(), width=width, height=height, force_terminal=True)
    view = BarView(runs, console, **{"totals": [STEPS] * len(runs), **options})
    if now is not None:
        view.progress.get_time = now
        for task in view.progress.tasks:
            task._get_time = now
    return view


# Lines.


def test_a_pipe_gets_a_line_at_each_evaluation_with_its_numbers():
    """An evaluation is one aligned line of at most 80 characters: name, step, rate, loss and the score in per cent."""
    events = [(0, RunStarted()), (0, row(3)), (1, row(12)), (0, RunEnded("finished"))]
    lines = lines_of(events, runs=some_runs(2))
    assert lines == [
        "cosine with warmup    step  69/690  lr 0.298     loss 1.234    valid accuracy 56.78 %",
        "cosine with warmup 1  step 276/690  lr 0.298     loss 1.234    valid accuracy 56.78 %",
    ]


@pytest.mark.parametrize(("every", "lines"), [(0.5, 1), (1.0, 2), (3.0, 5), (10.0, 20)])
def test_between_evaluations_there_is_a_line_every_ten_seconds(every, lines):
    """Of progress, and of rows of training alone, a run says no more than a line in ten seconds."""
    events = [progress(step) if step % 2 else Row(step, {"lr": 0.1, "train/loss": 1.0}) for step in range(1, 21)]
    found = lines_of([(0, RunStarted()), *((0, event) for event in events)], every=every)
    assert len(found) == lines
    assert all(
        re.fullmatch(r"a  step +\d+/690  lr \S+ +loss \S+( +\S+ steps/s  \d:\d\d:\d\d left)?", line) for line in found
    )


def test_an_evaluation_begins_the_ten_seconds_anew():
    """After an evaluation's line the next one between comes ten seconds later."""
    found = lines_of(
        [(0, RunStarted()), (0, progress(1)), (0, row(1)), *((0, progress(step)) for step in (2, 3))], every=4.0
    )
    assert [line.split()[2] for line in found] == ["23/690"]


def test_a_resumed_run_says_from_where_once():
    """A run that goes on says from which step, before anything else of it, and once."""
    events = [(0, RunStarted()), *((0, progress(step, resumed_from=460)) for step in (461, 470, 480)), (0, row(30))]
    first, *others = lines_of(events)
    assert first == "a  goes on from step 460"
    assert len(others) == 1


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (RunEnded("diverged", "diverged at step 7: so"), ["a  diverged at step 7: so"]),
        (RunEnded("failed", "no"), ["a  failed: no"]),
        (RunEnded("stopped"), ["a  stopped"]),
        (RunEnded("paused", "at step 7"), ["a  paused: at step 7"]),
        (RunEnded("finished", "skipped"), []),
    ],
)
def test_a_pipe_is_told_why_a_run_did_not_finish(ended, said):
    """A run that doesn't finish gets one line with how it ended and why."""
    assert lines_of([(0, ended)]) == said


def test_lines_show_names_as_they_are():
    """A name that looks like Rich's markup is shown, not obeyed."""
    (line,) = lines_of([(0, row(1))], runs=some_runs(1, name="[bold]x[/bold]"))
    assert line.startswith("[bold]x[/bold]  step")


@pytest.mark.parametrize(
    ("numbers", "objective", "said"),
    [
        ({"valid/loss": 0.5, "valid/r2": 0.25, "test/r2": 0.1}, None, "valid r2 0.25"),
        ({"valid/loss": 0.5, "valid/r2": 0.25}, "valid/loss", "valid loss 0.5"),
        ({"test/loss": 0.5, "test/accuracy": 0.25}, "valid/accuracy", "test accuracy 25.00 %"),
        ({"reward": 3.25}, None, "reward 3.25"),
    ],
)
def test_the_score_is_the_objective_or_else_what_there_is(numbers, objective, said):
    """No metric's name is known: a line says the objective, or else the last metric on validation data, test data, any."""
    (line,) = lines_of([(0, Row(23, {"lr": 0.1, "train/loss": 1.0} | numbers))], objectives=[objective])
    assert line.endswith(said)


def test_a_training_function_of_ones_own_needs_nothing_but_a_number():
    """Without totals, rates and losses a line has the step and the number, and a bar moves without an end."""
    rows = [Row(step, {"reward": step / 4}) for step in (1, 2)]
    assert lines_of([(0, one) for one in rows], totals=None) == ["a  step 1  reward 0.25", "a  step 2  reward 0.5"]
    view = bar_view(some_runs(1, name="a"), totals=None)
    for one in rows:
        view.on(0, one)
    assert re.search(r"a .* 2 +0\.5 *$", screen(view)[-1])


# Bars.


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
    assert type(pick_view(some_runs(1), lambda: None, Console(file=file()), totals=[STEPS])) is kind


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", NAMES)
def test_each_run_has_one_line_with_all_its_numbers(width, name):
    """At 80 columns and more, a run is one whole line: step, rate, loss, score, speed and the time left."""
    now = Now()
    view = bar_view(some_runs(2, seeds=3, name=name), width=width, now=now)
    for index in range(6):
        view.on(index, RunStarted())
        view.on(index, row(12))
    lines = screen(view, width)
    bars = [line for line in lines if "276/690" in line]
    assert len(bars) == 6
    assert max(map(len, lines)) <= width
    assert len(lines) <= 6 + 3  # headings may take three
    for line in bars:
        assert re.search(r"276/690 +0\.298 +1\.234 +56\.78 % +12 +0:00:36$", line)
        assert line.startswith(name[:9])
    assert all(sum(f", seed {seed} " in line for line in bars) == 2 for seed in range(3))
    for heading in ("step", "lr", "loss", "valid", "accuracy", "steps/s", "left"):
        assert any(heading in line for line in lines[:3])


def test_the_longest_numbers_fit_eighty_columns():
    """Millions of steps, a tiny rate and a wild loss leave each run one whole line."""
    view = bar_view(some_runs(1), now=Now(), totals=[100_000_000])
    view.on(0, Row(12_345_678, {"lr": 1.234e-05, "train/loss": 12345.678, "valid/accuracy": 1.0, "time/seconds": 350_000.0}))
    *_, line = screen(view)
    assert re.search(r"12.35M/100M 1.23e-05 1.235e\+04 +100.00 % +35 28d 18h$", line)
    assert line.startswith("cosine with warmup")
    assert len(line) <= 80


def test_within_an_epoch_bars_move_with_the_speed_of_late():
    """Between rows a bar has the last update's step, rate and loss, and updates a second as they lately were."""
    now = Now()
    view = bar_view(some_runs(1, name="a"), now=now)
    view.on(0, RunStarted())
    for step in range(10, 60, 10):
        now.time += 0.5
        view.on(0, progress(step))
    assert re.search(r"50/690 +0\.222 +1\.111 +20 +0:00:32$", screen(view)[-1])


def test_what_came_before_a_resumed_run_is_no_speed():
    """It is said from where a run goes on; the rows from before, which come all at once, count for nothing in its speed."""
    now = Now()
    view = bar_view(some_runs(1, name="a"), now=now)
    with view.progress.console.capture() as told:
        for event in (RunStarted(), row(1), row(20), progress(461, resumed_from=460)):
            view.on(0, event)
        now.time += 1
        view.on(0, progress(471, resumed_from=460))
    assert "a: goes on from step 460" in told.get()
    assert re.search(r"471/690 .* 10 +0:0", screen(view)[-1])


def test_runs_that_have_not_begun_are_not_shown():
    """The screen has a line for each run that has begun, in the order of the runs, and headings only with one."""
    view = bar_view(some_runs(5, name="a"))
    assert "".join(screen(view)).strip() == ""
    for index in (3, 1):
        view.on(index, RunStarted())
    assert [line.split("0/690")[0].strip() for line in screen(view) if "0/690" in line] == ["a 1", "a 3"]


def test_time_left_follows_from_the_rows_and_runs_down():
    """After 2 of 30 epochs of 3 s on average, scoring included, 84 s are left, and 10 s later 74."""
    now = Now()
    view = bar_view(some_runs(1), now=now)
    for event in (RunStarted(), row(1, seconds=4.0), row(2, seconds=3.0)):
        view.on(0, event)
    assert screen(view)[-1].endswith("0:01:24")
    now.time += 10
    assert screen(view)[-1].endswith("0:01:14")


@pytest.mark.parametrize("status", ["finished", "diverged", "failed", "stopped", "paused"])
def test_a_bar_says_how_its_run_ended(status):
    """The place of the time left holds the run's end, also where its process died before it began."""
    view = bar_view(some_runs(1))
    view.on(0, RunEnded(status, "because"))
    assert screen(view)[-1].endswith("done" if status == "finished" else status)


def test_in_a_low_terminal_the_running_runs_stay_in_sight():
    """With more runs than lines, ended ones make room, so that every running one is seen."""
    view = bar_view(some_runs(40, name="run"), height=10)
    for index in range(40):
        view.on(index, RunStarted())
        lines = screen(view)
        assert len(lines) < 10
        assert f"run {index} " in lines[-1] or index == 0
        if index != 2:  # a slow one
            view.on(index, RunEnded("finished"))
        assert index < 2 or any("run 2 " in line for line in screen(view))


@pytest.mark.parametrize(
    ("number", "about", "said"),
    [(None, None, "rate 0.1"), (3, 12, "training 3 of about 12: rate 0.1"), (13, 12, "training 13 of about 13: rate 0.1")],
)
def test_the_bar_of_a_range_test_says_how_many_trainings_are_to_come(number, about, said):
    """A short training has its number among about how many, its step, rate and loss, in 80 columns."""
    bar = StepBar(console=Console(file=Terminal(), width=80, force_terminal=True))
    bar.begin("rate 0.1", 100, number, about)
    bar.step(0.1, 2.5)
    (line,) = screen(bar)
    assert line.startswith(said)
    assert re.search(r"1/100 +lr 0\.1 +loss 2\.5", line)


# Several views, and what is said before.


class Recorded:
    """A view that keeps what it gets."""

    def __init__(self, error=None):
        self.got, self.error, self.open = [], error, False

    def __enter__(self):
        self.open = True
        return self

    def __exit__(self, *_):
        self.open = False

    def on(self, index, event):
        self.got.append((index, event))
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_several_views_get_every_event_also_where_one_fails(broken):
    """Each view is opened, gets every event and is closed; an error of one is raised when all have got the event."""
    views = [Recorded(OSError("gone") if index == broken else None) for index in range(3)]
    with Views(views) as together:
        assert all(view.open for view in views)
        with pytest.raises(OSError, match="gone"):
            together.on(4, row(1))
    assert [view.got for view in views] == [[(4, row(1))]] * 3
    assert not any(view.open for view in views)


def test_mistakes_are_said_once_for_all_seeds_and_of_every_schedule():
    """What looks like a mistake is printed before anything is trained, of rates and other hyperparameters, by name."""
    late = Cosine(epochs(300))
    runs = [Run("digits", lr=0.3, schedules={"lr": late, "momentum": late}, length=epochs(3), seed=seed) for seed in (0, 1)]
    file = io.StringIO()
    print_mistakes(runs, lambda _: 23, Console(file=file, width=80))
    lines = file.getvalue().splitlines()
    assert len(lines) == len(runs[0].mistakes(23)) > 0
    assert all(line.startswith("digits: this looks like a mistake: ") for line in lines)


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (99_999, "99999"), (100_000, "100k"), (12_345_678, "12.35M"), (3e9, "3G")]
)
def test_counts_are_short(number, text):
    """A count has at most six characters."""
    assert counted(number) == text


def test_accuracies_alone_are_in_per_cent():
    """A number is in per cent if its name ends in "accuracy"."""
    assert [shown(name, 0.5) for name in ("valid/accuracy", "top5_accuracy", "accuracy_loss")] == [
        "50.00 %",
        "50.00 %",
        "0.5",
    ]


def test_a_picture_is_drawn_no_more_than_a_fifth_of_the_time(monkeypatch):
    """However fast rows come, the picture is drawn at most once a second, and less often where drawing takes long."""
    now, drawn = Now(), []

    def draw():
        drawn.append(now.time)
        now.time += 2.0

    monkeypatch.setattr("gradus.progress.notebook.time.monotonic", now)
    view = NotebookView(draw)
    view.handle = type("Handle", (), {"update": lambda *_: None})()
    for _ in range(1000):
        now.time += 0.1
        view.on(0, row(1))
    assert 0.15 < 2.0 * len(drawn) / (now.time - 1000.0) < 0.22


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
        "import gradus\nfrom gradus.schedules import epochs\n"
        f"comparison = gradus.compare(gradus.Run('digits', length=epochs(2)), out={str(tmp_path / 'out')!r})",
        "comparison",
        "comparison.figure()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = _Watched(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    (live,), (table,), (figure,) = (cell.outputs for cell in notebook.cells)
    assert client.updates >= 2
    assert "image/png" in live["data"]
    assert "<td>digits</td>" in table["data"]["text/html"]
    assert len(table["data"]["text/plain"]) < 100
    assert "image/png" in figure["data"]
