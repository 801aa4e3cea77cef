"""Laws of `compare` and `train_run`: what they keep, and how they go on where they were cut short."""

import importlib
import json
import logging
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import gradus.experiments
from gradus.errors import GradusError, InvalidInput
from gradus.experiments import compare, train_run
from gradus.files import locked
from gradus.report import Comparison
from gradus.rows import Row
from gradus.runs import Run
from gradus.schedules import Constant, Cosine, absolute, epochs, rest, warmup
from gradus.store import STORE_FILE, Store
from gradus.sweep import EXECUTORS, REFERENCE, Resources, RunEnded, RunStarted, Weights, grid
from gradus.tasks import load

POINTS = Run("tiny:points", length=epochs(2))
SCHEDULES = {"constant": Constant(), "cosine": Cosine(rest()), "wild": absolute(Constant(1e30))}
RUNS = grid(POINTS, schedules=SCHEDULES, seed=range(2))
ONE = POINTS.replace(length=epochs(1), name="one")
CPU: dict[str, Any] = {"device": "cpu", "workers": 1, "threads": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the comparison below."""
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def whole(folder: Path) -> Comparison:
    """Three schedules, one of which diverges, with two seeds each."""
    return compare(RUNS, **CPU, out=folder)


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No picture is drawn, which takes longer than a training here; but for the fixture above, which comes first."""
    monkeypatch.setattr(Comparison, "figure", lambda _: None)
    monkeypatch.setattr("gradus.report.comparison.png", lambda _: b"")


class Watching:
    """A view that does something at each row, or at the first event."""

    def __init__(self, at_row: Any = None, at_once: Any = None) -> None:
        self.at_row, self.at_once, self.rows = at_row, at_once, 0

    def __enter__(self) -> "Watching":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def on(self, _: int, event: Any) -> None:
        if self.at_once is not None:
            self.at_once()
        if isinstance(event, Row):
            self.rows += 1
            if self.at_row is not None:
                self.at_row(self.rows)


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def watched(monkeypatch: pytest.MonkeyPatch, view: Any) -> None:
    monkeypatch.setattr(gradus.experiments, "pick_view", lambda *_, **__: view)


def cut_short(monkeypatch: pytest.MonkeyPatch, after: int, runs: Any, out: Path, **settings: Any) -> None:
    """Begin a comparison and interrupt it after so many rows; with 0, as soon as a run begins."""
    view = Watching(lambda rows: interrupt() if rows == after else None) if after else Watching(at_once=interrupt)
    with monkeypatch.context() as patch:
        watched(patch, view)
        with pytest.raises(KeyboardInterrupt):
            compare(runs, **CPU, **settings, out=out)


def values(comparison: Comparison) -> list[Any]:
    """All that a repetition must reproduce."""
    return [(one.run, one.status, one.rows) for one in comparison.runs]


def stored(out: Path) -> list[Any]:
    with Store(out / STORE_FILE, create=False) as store:
        return [(one.id, one.name, one.status, tuple(store.rows(one.id))) for one in store.runs()]


# What comes of it


def test_each_run_is_there_and_one_that_diverges_is_told_and_the_others_go_on(whole: Comparison) -> None:
    """Each asked run is in the result, filled in by its task; a rate beyond reason diverges alone and says at which step."""
    assert [(one.run.name, one.run.seed) for one in whole.runs] == [
        (name, seed) for seed in (0, 1) for name in ("constant", "cosine", "wild")
    ]
    for one in whole.runs:
        assert (one.run.optimizer, one.run.lr, one.run.batch_size) == ("SGD", 0.1, 8)
        assert (one.status == "diverged") == (one.run.name == "wild")
        assert ("diverged at step " in one.message) == (one.run.name == "wild")
        assert len(one.rows) == 2 or one.run.name == "wild"


def test_the_folder_holds_results_picture_store_and_weights_and_git_passes_over_it(whole: Comparison, folder: Path) -> None:
    """A comparison leaves these, no checkpoint, and a .gitignore that covers them; the store has the very rows."""
    assert {path.name for path in folder.iterdir()} == {
        ".gitignore", "curves.png", "results.json", STORE_FILE, ".lock", "weights",
    }  # fmt: skip
    assert (folder / ".gitignore").read_text() == "*\n"
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert [rows for *_, rows in stored(folder)] == [one.rows for one in whole.runs]
    read = Comparison.from_json((folder / "results.json").read_text())
    assert values(read) == values(whole) == values(Comparison.read(folder))
    with Store(folder / STORE_FILE, create=False) as store:
        (sweep,) = store.sweeps()
        assert (sweep.kind, sweep.status) == ("compare", "finished")
        assert (sweep.settings["executor"], sweep.settings["workers"]) == ("serial", 1)


def test_each_finished_runs_weights_are_a_plain_state_dict_under_its_name(whole: Comparison, folder: Path) -> None:
    """Every finished run has a file that torch loads as it is and the model takes; one that diverged has none."""
    places = {Weights(folder, one.run, one.conditions).path for one in whole.runs if one.status == "finished"}
    assert set((folder / "weights").iterdir()) == places
    assert sorted(place.name.rpartition("-")[0] for place in places) == ["constant", "constant", "cosine", "cosine"]
    for place in places:
        load("tiny:points").model().load_state_dict(torch.load(place, weights_only=True))


@pytest.mark.parametrize(
    ("policy", "status", "said"),
    [
        ("stop", "diverged", "the loss was nan at step "),
        ("skip", "finished", "skipped an update: the loss was nan at step "),
        (None, "diverged", "diverged at step "),
    ],
)
def test_what_is_not_finite_is_met_as_was_asked_and_told(policy: Any, status: str, said: str, tmp_path: Path) -> None:
    """A run follows its policy; the step and the rate are in its message, in the results and in the store."""
    run = Run("tiny:hole", length=epochs(1), on_nonfinite=policy)
    (one,) = compare(run, **CPU, out=tmp_path).runs
    assert one.status == status
    assert said in one.message
    assert "at learning rate 0." in one.message
    assert [message["message"] for message in json.loads((tmp_path / "results.json").read_text())["runs"]] == [one.message]


def test_runs_of_any_kind_are_compared_at_once(tmp_path: Path) -> None:
    """Optimizers, own ones too, rates, models, options, groups, lengths, tasks and training functions stand in one table."""
    runs = [
        *grid(ONE, optimizer=["SGD", "AdamW", "torch.optim.Adagrad", "tiny:Signum"], lr=[0.1, 0.01]),
        *grid(ONE, model={"linear": "tiny:linear"}, options={"momentum": {"momentum": 0.9}}),
        *grid(ONE, groups={"frozen": {"0.*": "frozen"}}, length=[3], precision=["bfloat16"]),
        Run("tiny:hole", length=2, on_nonfinite="skip"),
        Run("tiny:counting", name="counting"),
    ]
    comparison = compare(runs, **CPU, out=tmp_path)
    assert {one.status for one in comparison.runs} == {"finished"}
    assert len({tuple(one.rows) for one in comparison.runs}) == len(runs)
    assert len(comparison.summaries()) == len(runs)


def test_a_tasks_name_is_the_reference_experiment_on_it(tmp_path: Path) -> None:
    """Given a task, the six classic schedules are trained on it over its own rate and length."""
    comparison = compare("tiny:points", **CPU, out=tmp_path)
    assert [one.run.name for one in comparison.runs] == list(REFERENCE)
    assert {(one.run.lr, one.run.length, one.run.valid) for one in comparison.runs} == {(0.1, epochs(3), True)}


# What is kept, and what goes on


@pytest.mark.parametrize(("after", "kept"), [(0, 0), (2, 0), (3, 1)])
def test_a_comparison_cut_short_goes_on_to_the_same_rows_bit_for_bit(
    after: int, kept: int, monkeypatch: pytest.MonkeyPatch, whole: Comparison, tmp_path: Path
) -> None:
    """After an interruption anywhere, the same call keeps what had finished and ends as if it had never been cut."""
    cut_short(monkeypatch, after, RUNS, tmp_path)
    assert not (tmp_path / "results.json").exists()
    assert sum(len(rows) for *_, rows in stored(tmp_path)) == after
    assert "running" not in {status for _, _, status, _ in stored(tmp_path)}
    resumed = compare(RUNS, **CPU, out=tmp_path)
    assert resumed.kept == kept
    assert values(resumed) == values(whole)
    assert len(stored(tmp_path)) == len(RUNS)
    assert not (tmp_path / "checkpoints").exists()
    with Store(tmp_path / STORE_FILE, create=False) as store:
        assert [one.status for one in store.sweeps()] == ["finished"]


def test_what_has_finished_is_kept_wherever_it_was_trained(whole: Comparison, folder: Path, tmp_path: Path) -> None:
    """The same call, a part of it, more of it, another order, other names and `train_run` train nothing a second time."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    count = len(RUNS)
    assert compare(RUNS, **CPU, out=tmp_path).kept == count
    assert compare(RUNS[::-1], **CPU, out=tmp_path).kept == count
    part = compare([RUNS[1].replace(name="other", record_every=1)], **CPU, out=tmp_path)
    assert (part.kept, part.runs[0].run.name, part.runs[0].rows) == (1, "other", whole.runs[1].rows)
    done, weights = train_run(RUNS[0], device="cpu", threads=1, out=tmp_path)
    assert (done.rows, weights) == (whole.runs[0].rows, Weights(tmp_path, done.run, done.conditions).path)
    more = compare([*RUNS, ONE], **CPU, out=tmp_path)
    assert (more.kept, len(stored(tmp_path))) == (count, count + 1)
    assert values(Comparison.read(tmp_path)) == values(more)
    with Store(tmp_path / STORE_FILE, create=False) as store:
        assert [len(store.runs(one.id)) for one in store.sweeps()] == [count, 0, 0, 0, 1]


@pytest.mark.parametrize("cut", [False, True])
def test_what_has_finished_is_trained_anew_on_demand(cut: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`again` trains all anew, to the same values, and both are in the store; cut short, it goes on with its own."""
    runs = grid(ONE, schedules=SCHEDULES)
    first = compare(runs, **CPU, out=tmp_path)
    if cut:
        cut_short(monkeypatch, 2, runs, tmp_path, again=True)
    again = compare(runs, **CPU, again=True, out=tmp_path)
    assert again.kept == (1 if cut else 0)
    assert values(again) == values(first)
    assert len(stored(tmp_path)) == 2 * len(runs)
    assert compare(runs, **CPU, out=tmp_path).kept == len(runs)


SOURCE = """
from tiny import points

def edited():
    return points()

def model():
    return points().model()
"""


@pytest.mark.parametrize("what", ["task", "model", "data", "threads"])
def test_what_has_finished_under_other_conditions_is_neither_kept_nor_trained_unasked(
    what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the source, the data or the machine has changed, it says what differs; `again` and `keep` decide."""
    name, out = f"edited_{what}", tmp_path / "out"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    task = {"task": f"{name}:edited", "data": "tiny:growing"}.get(what, "tiny:points")
    run = ONE.replace(task=task, model=f"{name}:model" if what == "model" else None)
    first = compare(run, **CPU, out=out)
    settings = dict(CPU)
    if what in ("task", "model"):
        (tmp_path / f"{name}.py").write_text(SOURCE + "\n# another line\n")
        importlib.invalidate_caches()
    elif what == "data":
        monkeypatch.setenv("COUNT", "40")
    else:
        settings["threads"] = 2
    said = {"task": "the task's source", "model": "the model's source", "data": "the task's data"}
    with pytest.raises(GradusError) as caught:
        compare(run, **settings, out=out)
    assert f"what differs is {said.get(what, 'threads (1 then, 2 now)')}; train anew with again=True" in str(caught.value)
    assert len(stored(out)) == 1
    kept = compare(run, **settings, keep=True, out=out)
    assert (values(kept), kept.runs[0].conditions) == (values(first), first.runs[0].conditions)
    assert len(stored(out)) == 1
    again = compare(run, **settings, again=True, out=out)
    assert (again.kept, len(stored(out))) == (0, 2)
    assert compare(run, **settings, out=out).kept == 1  # the newer one


@pytest.mark.parametrize("change", [{"length": epochs(3)}, {"lr": 0.2}, {"per": "epoch"}, {"valid": False}, {"seed": 5}])
def test_another_comparison_keeps_nothing(change: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was cut short is gone on with only where the same is asked for; it stays as it is."""
    cut_short(monkeypatch, 1, ONE, tmp_path)
    before = stored(tmp_path)
    assert compare(ONE.replace(**change), **CPU, out=tmp_path).kept == 0
    assert stored(tmp_path)[: len(before)] == before


def test_a_killed_comparison_goes_on_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a process that dies without a word was at is shown as interrupted, and goes on."""
    runs = grid(ONE, schedules=SCHEDULES)[:2]
    with monkeypatch.context() as patch:
        patch.setattr(Store, "interrupt", lambda *_: None)
        patch.setattr(Store, "end_sweep", lambda *_: None)
        cut_short(patch, 2, runs, tmp_path)
    assert [status for _, _, status, _ in stored(tmp_path)] == ["finished", "interrupted"]
    assert compare(runs, **CPU, out=tmp_path).kept == 1


def test_a_comparison_cut_short_before_its_results_were_written_writes_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where all runs had finished and the results weren't written, the same call trains nothing and writes them."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Comparison, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            compare(ONE, **CPU, out=tmp_path)
    train_run(ONE.replace(lr=0.3), device="cpu", threads=1, out=tmp_path)  # another command in between
    assert compare(ONE, **CPU, out=tmp_path).kept == 1
    assert (tmp_path / "results.json").exists()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_request_in_the_store_pauses_a_run_and_the_same_command_goes_on(
    executor: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another process's request is looked at when a row comes; the run pauses, and ends later as if it hadn't."""
    run = POINTS.replace(length=60, evaluate_every=5, model="tiny:slow")
    monkeypatch.setenv("GRADUS_TINY_SLOW", "1")

    def ask(rows: int) -> None:
        if rows == 2:
            with Store(tmp_path / STORE_FILE, create=False) as store:
                store.request(1, "pause")

    with monkeypatch.context() as patch:
        watched(patch, Watching(ask))
        paused = compare(run, **CPU, executor=executor, out=tmp_path)
    assert [one.status for one in paused.runs] == ["paused"]
    assert 2 <= len(paused.runs[0].rows) < 12
    with Store(tmp_path / STORE_FILE, create=False) as store:
        assert store.requests() == []
        assert [one.status for one in store.sweeps()] == ["paused"]
    monkeypatch.delenv("GRADUS_TINY_SLOW")
    done = compare(run, **CPU, out=tmp_path)
    assert values(done) == values(compare(run, **CPU, out=tmp_path / "other"))
    assert len(stored(tmp_path)) == 1


# Executors of one's own


def backwards(runs: Sequence[Run], resources: Resources) -> Iterator[tuple[int, Any]]:
    """The last run first."""
    for index in reversed(range(len(runs))):
        for _, event in EXECUTORS["serial"](runs[index : index + 1], resources):
            yield index, event


def test_an_executor_of_ones_own_gives_the_same(whole: Comparison, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Registered from outside, it is used by its name, its rows are the same, and the sweep says which it was."""
    monkeypatch.setitem(EXECUTORS, "backwards", backwards)
    found = compare(RUNS, **CPU, executor="backwards", out=tmp_path)
    assert values(found) == values(whole)
    assert found.settings["executor"] == "backwards"
    assert [number for number, name, *_ in stored(tmp_path) if name == "constant"] == [3, 6]


@pytest.mark.parametrize(
    ("events", "statuses"),
    [
        (
            [(0, RunEnded("failed", "its process died")), (1, RunStarted()), (1, RunEnded("finished"))],
            ["failed", "finished"],
        ),
        ([(0, RunStarted()), (1, RunStarted()), (1, RunEnded("stopped"))], ["failed", "stopped"]),
        ([], ["failed", "failed"]),
    ],
)
def test_whatever_an_executor_says_first_each_run_has_an_end(events: Any, statuses: list[str], tmp_path: Path) -> None:
    """A run that never began is entered with its end, and one that the executor forgot has failed."""
    runs = grid(ONE, lr=[0.1, 0.2])
    comparison = compare(runs, **CPU, executor=lambda *_: iter(events), out=tmp_path)
    assert [one.status for one in comparison.runs] == statuses
    assert sorted(status for _, _, status, _ in stored(tmp_path)) == sorted(statuses)
    assert all("ended without it" in one.message or one.message in ("", "its process died") for one in comparison.runs)


@pytest.mark.parametrize("wrong", [3, (5, RunStarted()), (-1, RunStarted()), (True, RunStarted()), (0, "row"), (0,)])
def test_an_executor_that_yields_what_is_no_event_is_told(wrong: Any, tmp_path: Path) -> None:
    """A wrong place or event is an error that names the executor, and the runs are marked as interrupted."""

    def confused(*_: Any) -> Iterator[Any]:
        yield 0, RunStarted()
        yield wrong

    with pytest.raises(GradusError, match="the executor confused must yield pairs of a run's place, below 1, and an event"):
        compare(ONE, **CPU, executor=confused, out=tmp_path)
    assert [status for _, _, status, _ in stored(tmp_path)] == ["interrupted"]


def test_an_interrupted_comparison_leaves_no_executor_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the time the interruption reaches the caller, the executor has been closed, and with it its processes."""
    closed = []

    def executor(*_: Any) -> Iterator[tuple[int, Any]]:
        try:
            yield 0, RunStarted()
        finally:
            closed.append(True)

    watched(monkeypatch, Watching(at_once=interrupt))
    with pytest.raises(KeyboardInterrupt) as caught:
        compare(ONE, **CPU, executor=executor, out=tmp_path)
    assert closed
    assert caught.tb  # the traceback still holds the frames, so it wasn't the garbage collector that closed it


# What is refused, and what is said


@pytest.mark.parametrize(
    ("runs", "settings", "said"),
    [
        ("nope", {}, "unknown task 'nope'"),
        ([], {}, "there must be at least one Run, such as gradus.grid makes"),
        (["digits"], {}, "there must be at least one Run, such as gradus.grid makes; got 'digits'"),
        ([ONE, ONE], {}, "two runs are the same, one: leave one out, or give each a name of its own"),
        (ONE.replace(name="n" * 300), {}, "a run's name must have at most 100 characters; got 300"),
        (ONE.replace(optimizer="Adum"), {}, "Adum"),
        (ONE.replace(model="resnet"), {}, "unknown model 'resnet'"),
        (ONE, {"workers": 0}, "workers must be a whole number from 1 to 1024; got 0"),
        (ONE, {"threads": 1.5}, "threads must be a whole number"),
        (ONE, {"device": "nope"}, "device 'nope' can't be used here"),
        (ONE, {"executor": "cluster"}, "unknown executor 'cluster'"),
        (ONE, {"checkpoint_every": 0}, "checkpoint_every must be a whole number"),
        (ONE, {"again": True, "keep": True}, "give one of them"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_written(
    runs: Any, settings: Any, said: str, tmp_path: Path
) -> None:
    """Unusable input is an InvalidInput that says what must hold, and leaves not even a folder."""
    with pytest.raises(InvalidInput) as caught:
        compare(runs, **{**CPU, **settings}, out=tmp_path / "out")
    assert said in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_too_full_is_told_before_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where checkpoints and weights won't find room, a sentence says how much there is and how much is needed."""
    compare(ONE, **CPU, out=tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(
        GradusError, match=r"has 0 MB free, and the runs' checkpoints and weights need about 0 MB; make room"
    ):
        compare(ONE.replace(seed=1), **CPU, out=tmp_path)
    assert len(stored(tmp_path)) == 1
    assert compare(ONE, **CPU, out=tmp_path).kept == 1  # what is there can be shown all the same


def test_a_folder_that_cannot_be_written_to_is_refused_before_training(tmp_path: Path) -> None:
    """Where a file stands in the way of the folder, a sentence names it, and the file stays as it was."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(GradusError, match=r"file.* can't be written"):
        compare(ONE, **CPU, out=tmp_path / "file" / "out")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    """While one comparison writes to a folder, another is refused and told to wait or to go elsewhere."""
    with locked(tmp_path), pytest.raises(GradusError, match=r"another process is writing its results to .*; wait for it"):
        compare(ONE, **CPU, out=tmp_path)


def test_runs_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer runs than cores have more threads each; how many doesn't depend on the workers, and the user's word holds."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)

    def spread(count: int, **settings: Any) -> tuple[int, int]:
        asked = {"device": "cpu", "workers": None, "threads": None, "every": None, "executor": None, **settings}
        tasks = gradus.experiments._Tasks(None)
        found = gradus.experiments._Work(grid(Run("tiny:counting"), seed=range(count)), tasks, **asked).resources
        return found.threads, found.workers

    assert spread(2) == (4, 8)
    assert spread(18, workers=1) == (1, 1)
    assert spread(18, workers=3, threads=5) == (5, 3)


def test_what_looks_like_a_mistake_is_said_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A warmup that is longer than the run is told of once, on standard error, with nothing trained yet."""
    seen: list[str] = []
    watched(monkeypatch, Watching(at_once=lambda: seen.append(capsys.readouterr().err)))
    compare(grid(POINTS, schedules={"rising": warmup(epochs(10))}, seed=range(2)), **CPU, out=tmp_path)
    assert seen[0].count("this looks like a mistake") == 1
    assert "rising" in seen[0]
    assert not any(seen[1:])


def test_a_view_that_nobody_can_read_costs_no_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where progress can't be written, all runs are trained and stored."""

    def full() -> None:
        raise OSError(28, "No space left on device")

    watched(monkeypatch, Watching(at_once=full))
    assert [one.status for one in compare(ONE, **CPU, out=tmp_path).runs] == ["finished"]


def test_the_log_says_which_runs_began_and_how_they_ended(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Under the name gradus, the standard logging has each run's beginning and end."""
    with caplog.at_level(logging.INFO, logger="gradus"):
        compare(ONE, **CPU, out=tmp_path)
    told = [record.getMessage() for record in caplog.records if record.name.startswith("gradus.")]
    assert any("run 1 (one, seed 0) begins" in one for one in told)
    assert any("run 1 (one, seed 0): finished" in one for one in told)


# Weights


def test_no_weights_are_ever_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Runs of one name keep their weights beside each other: of another rate, of a name in another script, of a task whose
    data have changed; the same run again has them already.
    """
    settings: dict[str, Any] = {"device": "cpu", "threads": 1, "again": True, "out": tmp_path}
    run = Run("tiny:growing")
    kept: dict[tuple[str, float], Any] = {}
    for name, rate in (("a", 0.1), ("a", 0.2), ("é", 0.1), ("日本", 0.1), ("a", 0.1)):
        _, path = train_run(run.replace(name=name, lr=rate), **settings)
        assert kept.setdefault((name, rate), path) == path
    assert len(set(kept.values())) == len(kept) == 4
    before = {path: path.read_bytes() for path in kept.values()}
    monkeypatch.setenv("COUNT", "40")
    _, other = train_run(run.replace(name="a", lr=0.1), **settings)
    assert other not in before
    assert {path: path.read_bytes() for path in kept.values()} == before


def test_weights_that_cannot_be_read_are_not_replaced(tmp_path: Path) -> None:
    """A file in the place of a run's weights that is damaged, or something else, stays."""
    settings: dict[str, Any] = {"device": "cpu", "threads": 1, "again": True, "out": tmp_path}
    _, path = train_run(ONE, **settings)
    assert path is not None
    path.write_bytes(b"dear diary")
    _, other = train_run(ONE, **settings)
    assert path.read_bytes() == b"dear diary"
    assert other == path.with_name(f"{path.stem}-2.pt")


def test_a_training_function_has_no_weights_and_keeps_its_folder_until_it_has_finished(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A function goes on from its own files where it was cut short; its rows are kept, and its files until the end."""
    run = Run("tiny:counting")
    cut_short(monkeypatch, 2, run, tmp_path)
    assert [len(rows) for *_, rows in stored(tmp_path)] == [2]
    done, weights = train_run(run, device="cpu", threads=1, out=tmp_path)
    assert weights is None
    assert [row.step for row in done.rows] == [1, 2, 3, 4, 5]
    assert [rows for *_, rows in stored(tmp_path)] == [done.rows]
    assert not (tmp_path / "checkpoints").exists()
