"""Laws of `gradus.compare`: what it says, what it keeps, and how it goes on where it was cut short."""

import json
import os
import signal
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from scipy import stats

import gradus.comparison
import gradus.sweep.executors
from gradus.comparison import HEADINGS, Comparison, Finished, Summary, compare, train_one
from gradus.comparison.results import comparison_picture
from gradus.errors import GradusError, InvalidInput
from gradus.files import locked
from gradus.runs import Row, Run
from gradus.schedules import Constant, Cosine, absolute, epochs, rest, tokens, warmup
from gradus.store import STORE_FILE, Store
from gradus.sweep import REFERENCE, Ended, Machine, Started, reference_runs
from gradus.tasks import Split, digits

WILD = {"wild": absolute(Constant(300.0))}
SETTINGS = {"only": ["constant", "cosine"], "epochs": 2, "seeds": 2, "workers": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of the comparison below."""
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def whole(folder):
    """Three schedules, one of which diverges, with two seeds each."""
    return compare(**SETTINGS, schedules=WILD, out=folder)


@pytest.fixture(scope="module")
def document(whole, folder):  # noqa: ARG001  # it writes what is read here
    """What another program reads."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads((folder / "results.json").read_text(), parse_constant=refuse)


class Interrupting:
    """A view under which the user presses Ctrl-C after so many rows."""

    def __init__(self, rows):
        self.left = rows

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def on(self, _, event):
        self.left -= isinstance(event, Row)
        if self.left < 0 or (self.left == 0 and isinstance(event, Row)):
            raise KeyboardInterrupt


def cut_short(monkeypatch, after, **settings):
    """Begin a comparison and interrupt it after so many rows; with 0, as soon as a run begins."""
    with monkeypatch.context() as patch:
        patch.setattr(gradus.comparison, "pick_view", lambda *_: Interrupting(after if after else -1))
        with pytest.raises(KeyboardInterrupt):
            compare(**settings)


def values(comparison):
    """All that a repetition must reproduce."""
    return [(one.run, one.status, [row.values() for row in one.rows]) for one in comparison.runs]


def test_each_schedule_runs_with_each_seed_and_each_is_summarised(whole):
    """There is a run for each schedule and seed, and a summary for each schedule in the order it was named."""
    assert {(one.run.name, one.run.seed) for one in whole.runs} == {
        (name, seed) for name in ("constant", "cosine", "wild") for seed in (0, 1)
    }
    assert [one.name for one in whole.summaries()] == ["constant", "cosine", "wild"]


def test_a_diverged_run_is_told_at_its_step_and_the_others_go_on(whole):
    """A rate of 300 diverges and says at which step; the other schedules finish all their epochs."""
    for one in whole.runs:
        assert (one.status == "diverged") == (one.run.name == "wild")
        assert len(one.rows) == (0 if one.run.name == "wild" else 2)
        assert ("diverged at step " in one.message) == (one.run.name == "wild")
    assert any(remark.startswith("wild: 2 of 2 runs did not finish: diverged at step") for remark in whole.remarks())


@pytest.mark.parametrize("metric", ["train_loss", "train_accuracy", "test_accuracy"])
def test_a_summary_is_the_mean_with_students_interval(document, metric):
    """Means and half-widths in results.json are those of SciPy's t distribution over the seeds' last rows."""
    for summary in document["summary"]:
        last = [one["rows"][-1][metric] for one in document["runs"] if one["run"]["name"] == summary["name"] and one["rows"]]
        if not last:
            assert summary[metric] is None
            continue
        low, high = stats.t.interval(0.95, len(last) - 1, loc=np.mean(last), scale=stats.sem(last))
        assert summary[metric]["mean"] == pytest.approx(np.mean(last), rel=1e-12)
        assert summary[metric]["half_width"] == pytest.approx((high - low) / 2, rel=1e-9)


def test_times_and_best_epoch_follow_from_the_rows(document):
    """Seconds, images per second and the best epoch of the mean test accuracy are recomputed from the rows alone."""
    for summary in document["summary"]:
        seeds = [one["rows"] for one in document["runs"] if one["run"]["name"] == summary["name"] and one["rows"]]
        if not seeds:
            assert summary["seconds"] is summary["images_per_second"] is summary["best_epoch"] is None
            continue
        seconds = [sum(row["seconds"] for row in rows) for rows in seeds]
        accuracy = np.mean([[row["test_accuracy"] for row in rows] for rows in seeds], axis=0)
        assert summary["seconds"] == pytest.approx(np.mean(seconds))
        assert summary["images_per_second"] == pytest.approx(np.mean([1437 * 2 / one for one in seconds]))
        assert summary["best_epoch"] == 1 + np.argmax(accuracy)


def test_results_json_has_the_documented_fields_and_gives_back_the_runs(whole, document):
    """results.json is strict JSON with the fields its docstring names, and its runs and rows are read back equal."""
    named = {"gradus.comparison", "task", "conditions", "seconds", "kept", "images", "steps_per_epoch", "chance"}
    named |= {"summary", "runs"}
    assert set(document) == named
    assert all(f"`{name}`" in type(whole).to_json.__doc__ for name in named)
    assert all(set(summary) == {field.name for field in fields(Summary)} for summary in document["summary"])
    for one, written in zip(whole.runs, document["runs"], strict=True):
        assert Run.from_json(json.dumps(written["run"])) == one.run
        assert tuple(Row(**row) for row in written["rows"]) == one.rows
        assert (written["status"], written["message"]) == (one.status, one.message)
        assert written["schedule"] == repr(one.run.schedule)


def test_the_folder_holds_the_picture_the_results_and_the_store_and_git_passes_over_it(whole, folder):
    """A comparison writes curves.png, results.json and the store, with a .gitignore that covers them, and nothing else."""
    assert {path.name for path in folder.iterdir()} == {".gitignore", "curves.png", "results.json", STORE_FILE, ".lock"}
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert (folder / ".gitignore").read_text() == "*\n"
    with Store(folder / STORE_FILE, create=False) as store:
        assert [store.rows(one.id) for one in store.runs()] == [list(one.rows) for one in whole.runs]


def test_a_comparison_shows_itself_shortly_and_in_a_notebook_as_its_table(whole):
    """Its repr is one short line; its HTML has the headings, a line a schedule and the remarks."""
    assert repr(whole) == "<Comparison of 3 schedules on digits: 4 of 6 runs finished>"
    shown = whole._repr_html_()
    assert all(f"<th>{heading}</th>" in shown for heading in HEADINGS)
    assert shown.count("<tr>") == 1 + 3
    assert all(remark in shown for remark in whole.remarks())


def hole():
    """A task with an example that is no number, which one update of each epoch meets."""
    task = digits()
    inputs = task.train.inputs[:300].clone()
    inputs[7] = torch.nan
    return replace(task, train=Split(inputs, task.train.targets[:300]))


@pytest.mark.parametrize(
    ("policy", "finished", "said"),
    [
        ("stop", 0, "constant: 2 of 2 runs did not finish: the loss was nan at step "),
        ("skip", 2, "constant: 2 of 2 runs met a number that isn't finite: skipped an update: the loss was nan at step "),
        ("back-off", 0, "constant: 2 of 2 runs did not finish: the loss was nan at step "),
        (None, 0, "constant: 2 of 2 runs did not finish: diverged at step "),
    ],
)
def test_what_is_not_finite_is_met_as_was_asked_and_told(policy, finished, said, tmp_path):
    """Each run follows the policy; the step and the rate are in a remark, in the results, and in the store."""
    settings = {"only": ["constant"], "epochs": 1, "seeds": 2, "workers": 1, "out": tmp_path}
    comparison = compare("test_comparison:hole", on_nonfinite=policy, **settings)
    (summary,) = comparison.summaries()
    assert summary.finished == finished
    assert comparison.remarks()[0].startswith(said)
    assert "at learning rate 0." in comparison.remarks()[0]
    messages = [one["message"] for one in json.loads((tmp_path / "results.json").read_text())["runs"]]
    with Store(tmp_path / STORE_FILE, create=False) as store:
        assert [one.message for one in store.runs()] == messages
    assert comparison.remarks()[0].endswith(messages[0])


def test_html_shows_names_as_they_are(tmp_path):
    """A schedule's name that looks like HTML is shown, not obeyed."""
    comparison = compare(only=[], schedules={"<b>x</b>": Constant()}, epochs=1, workers=1, out=tmp_path)
    assert "<b>" not in comparison._repr_html_()
    assert "<td>&lt;b&gt;x&lt;/b&gt;</td>" in comparison._repr_html_()


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_tables_line_has_intervals_exactly_with_several_seeds(whole, seeds, tmp_path):
    """Loss and both accuracies stand as mean ± half-width with several seeds, and as the mean with one."""
    comparison = whole if seeds > 1 else compare(only=["constant"], epochs=1, workers=1, out=tmp_path)
    cells = dict(zip(HEADINGS, comparison.summaries()[0].cells(), strict=True))
    assert {heading for heading, cell in cells.items() if " ± " in cell} == (
        {"train loss", "train %", "test %"} if seeds > 1 else set()
    )


def test_a_table_has_dashes_where_nothing_finished(whole):
    """A schedule none of whose seeds finished keeps its line in the table, without numbers."""
    assert whole.summaries()[2].cells() == ["wild", *"––––––"]


def test_the_picture_says_who_diverged(whole):
    """A schedule whose seeds diverged keeps its place in the picture's legend, which says how many."""
    labels = [text.get_text() for text in whole.figure().legends[0].get_texts()]
    assert labels == ["constant", "cosine", "wild (2 of 2 diverged)"]


def test_the_picture_draws_what_the_table_says():
    """Where some seeds finished, a curve is their mean alone, as in the table; while none has, it is all seeds'."""
    run = Run("a", "digits", Constant(), 0.3, 3, 64)
    row = [Row(epoch, epoch, 0.3, float(loss), 0.5, 1.0, 0.5, 1.0) for epoch, loss in ((1, 4), (2, 3), (3, 2))]
    done, lost = Finished(run, tuple(row), "finished", ""), Finished(run, (row[1],), "diverged", "why")
    running = Finished(run, tuple(row[:1]), "running", "")
    for seeds, drawn in (((done, lost), [4.0, 3.0, 2.0]), ((running, lost), [3.5])):
        axes = comparison_picture("digits", seeds, 23).axes[0]
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), drawn)


@pytest.mark.parametrize("schedule", [Cosine(rest()), warmup(epochs(1)) >> Cosine(rest()), absolute(Cosine(epochs(2)))])
@pytest.mark.parametrize("per", ["epoch", "step"])
def test_the_picture_draws_every_rate_that_the_schedule_gives(schedule, per):
    """The lower panel holds the rate of each epoch, or of each update where rates move at each."""
    run = Run("a", "digits", schedule, 0.3, 3, 64, per=per)
    (line,) = comparison_picture("digits", (Finished(run, (), "running", ""),), 23).axes[-1].lines
    steps = 3 if per == "epoch" else 3 * 23
    factor = 1.0 if repr(schedule).startswith("absolute") else 0.3
    concrete = schedule.resolve(steps, steps_per_epoch=steps // 3)
    np.testing.assert_allclose(line.get_ydata()[:-1], [factor * concrete(step) for step in range(steps)], rtol=1e-12)


@pytest.mark.parametrize("after", [0, 2, 3, 7])
def test_a_comparison_cut_short_goes_on_to_the_same_rows_bit_for_bit(after, monkeypatch, whole, tmp_path):
    """After an interruption anywhere, the same call keeps what had finished and ends as if it had never been cut."""
    settings = {**SETTINGS, "schedules": WILD, "out": tmp_path}
    cut_short(monkeypatch, after, **settings)
    assert not (tmp_path / "results.json").exists()
    with Store(tmp_path / STORE_FILE, create=False) as store:
        assert sum(len(store.rows(one.id)) for one in store.runs()) == after
        assert "running" not in {one.status for one in store.runs()}
    resumed = compare(**settings)
    # in the order of execution: constant, cosine, wild with the first seed, then with the second
    ended_by = {0: 0, 2: 0, 3: 1, 7: 4}  # a run's end comes after its last row
    assert resumed.kept == ended_by[after]
    assert values(resumed) == values(whole)
    with Store(tmp_path / STORE_FILE, create=False) as store:
        assert len(store.runs()) == len(whole.runs)
    kept = f"({ended_by[after]} kept from before)"
    assert (kept in resumed.remarks()[-1]) == bool(resumed.kept)


def test_a_killed_comparison_goes_on_too(monkeypatch, tmp_path):
    """What a process that dies without a word was at is shown as interrupted, and is done again."""
    monkeypatch.setattr(Store, "interrupt", lambda *_: None)
    settings = {"only": ["constant", "cosine"], "epochs": 1, "workers": 1, "out": tmp_path}
    cut_short(monkeypatch, 2, **settings)
    with Store(tmp_path / STORE_FILE, create=False) as store:
        assert [one.status for one in store.runs()] == ["finished", "interrupted"]
    assert compare(**settings).kept == 1


def test_a_comparison_cut_short_before_its_results_were_written_writes_them(monkeypatch, tmp_path):
    """Where all runs had finished and the results weren't written, the same call trains nothing and writes them."""

    def interrupted(*_):
        raise KeyboardInterrupt

    settings = {"only": ["constant"], "epochs": 1, "workers": 1, "out": tmp_path}
    with monkeypatch.context() as patch:
        patch.setattr("gradus.comparison.Comparison.write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            compare(**settings)
    assert compare(**settings).kept == 1
    assert (tmp_path / "results.json").exists()
    assert not (tmp_path / ".unfinished").exists()


@pytest.mark.parametrize(
    "change", [{"epochs": 3}, {"data_dir": "elsewhere"}, {"lr": 0.2}, {"only": ["constant"]}, {"per": "step"}]
)
def test_another_comparison_keeps_nothing(change, monkeypatch, tmp_path):
    """What was cut short is gone on with only where the same is asked for under the same conditions."""
    settings = {"only": ["constant", "cosine"], "epochs": 2, "workers": 1, "out": tmp_path}
    cut_short(monkeypatch, 3, **settings)
    with Store(tmp_path / STORE_FILE, create=False) as store:
        before = [(one, store.rows(one.id)) for one in store.runs()]
    assert compare(**{**settings, **change}).kept == 0
    with Store(tmp_path / STORE_FILE, create=False) as store:
        assert [(one, store.rows(one.id)) for one in store.runs()][: len(before)] == before


def test_a_finished_comparison_is_done_anew_and_both_stay_in_the_store(tmp_path):
    """The same call after a whole comparison trains again, to the same values."""
    first, second = (compare(only=["constant"], epochs=1, workers=1, out=tmp_path) for _ in range(2))
    assert second.kept == 0
    assert values(first) == values(second)
    with Store(tmp_path / STORE_FILE, create=False) as store:
        assert len({one.sweep for one in store.runs()}) == 2


def test_a_run_whose_process_dies_before_it_begins_is_entered_as_failed(monkeypatch, tmp_path):
    """Whatever an executor says of a run first, the run is in the store with its end, and the others go on."""
    row = Row(1, 23, 0.3, 1.0, 0.5, 1.0, 0.5, 1.0)
    events = [(0, Ended("failed", "its process died")), (1, Started()), (1, row), (1, Ended("finished"))]
    monkeypatch.setitem(gradus.comparison.EXECUTORS, "serial", lambda *_: (event for event in events))
    comparison = compare(only=["constant", "cosine"], epochs=1, workers=1, out=tmp_path)
    assert [one.status for one in comparison.runs] == ["failed", "finished"]
    with Store(tmp_path / STORE_FILE, create=False) as store:
        assert {one.name: one.status for one in store.runs()} == {"constant": "failed", "cosine": "finished"}


def test_an_interrupted_comparison_leaves_no_executor_behind(monkeypatch, tmp_path):
    """By the time the interruption reaches the caller, the executor has been closed, and with it its processes."""
    closed = []

    def executor(*_):
        try:
            yield 0, Started()
        finally:
            closed.append(True)

    monkeypatch.setitem(gradus.comparison.EXECUTORS, "serial", executor)
    monkeypatch.setattr(gradus.comparison, "pick_view", lambda *_: Interrupting(-1))
    with pytest.raises(KeyboardInterrupt) as caught:
        compare(only=["constant"], epochs=1, workers=1, out=tmp_path)
    assert closed
    assert caught.tb  # the traceback still holds the frames, so it wasn't the garbage collector that closed it


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"task": "nope"}, "unknown task 'nope'"),
        ({"epochs": 0}, "epochs must be a whole number from 1"),
        ({"lr": float("nan")}, "the learning rate must be a finite number above 0; got nan"),
        ({"seeds": 0}, "seeds must be a whole number from 1; got 0"),
        ({"only": ["nope"]}, "unknown schedule 'nope'"),
        ({"without": list(REFERENCE)}, "there is nothing to compare"),
        ({"schedules": {"cosine": Constant()}}, "'cosine' is taken"),
        ({"per": "week"}, 'per "epoch" or per "step"'),
        ({"workers": 0}, "workers must be a whole number from 1 to 1024; got 0"),
        ({"workers": True}, "workers must be a whole number"),
        ({"threads": 1.5}, "threads must be a whole number"),
        ({"device": "nope"}, "device 'nope' can't be used here"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_written(settings, said, tmp_path):
    """Unusable input is an InvalidInput that says what must hold, and leaves not even a folder."""
    with pytest.raises(InvalidInput) as caught:
        compare(**settings, out=tmp_path / "out")
    assert said in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_to_is_refused_before_training(tmp_path):
    """Where a file stands in the way of the folder, a sentence names it, and the file stays as it was."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(GradusError, match=r"file.* can't be written"):
        compare(out=tmp_path / "file" / "out")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_has_one_writer(tmp_path):
    """While one comparison writes to a folder, another is refused and told to wait or to go elsewhere."""
    with locked(tmp_path), pytest.raises(GradusError, match=r"another process is writing its results to .*; wait for it"):
        compare(epochs=1, only=["constant"], out=tmp_path)


def test_runs_share_the_cores(monkeypatch):
    """Fewer runs than cores have more threads each; how many doesn't depend on the workers, and the user's word holds."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    cpu = torch.device("cpu")
    assert gradus.comparison._machine(cpu, None, None, None, 2).threads == 4
    assert gradus.comparison._machine(cpu, 1, None, None, 18) == Machine("cpu", threads=1, workers=1)
    assert gradus.comparison._machine(cpu, 3, 5, None, 18) == Machine("cpu", threads=5, workers=3)


def test_another_model_can_be_named(tmp_path):
    """A run trains the model that it names, and one that can't be had is refused before anything is written."""
    settings = {"epochs": 1, "only": ["constant"]}
    own = compare(**settings, model="test_comparison:linear", out=tmp_path / "own")
    usual = compare(**settings, out=tmp_path / "usual")
    assert own.runs[0].run.model == "test_comparison:linear"
    assert own.runs[0].rows[0].values() != usual.runs[0].rows[0].values()
    for wrong, message in (
        ("resnet", "unknown model 'resnet'.*; known are lenet, digits-net"),
        ("math:pi", "must be a function that takes nothing; it is float"),
    ):
        with pytest.raises(InvalidInput, match=message):
            compare(**settings, model=wrong, out=tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()


def linear():
    """A network of the user's own."""
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))


def test_tokens_are_nothing_that_a_run_can_count(tmp_path):
    """A schedule in tokens is refused with what a run can count."""
    with pytest.raises(InvalidInput, match="a run has no tokens to count, only epochs and samples"):
        compare(schedules={"mine": Cosine(tokens(5))}, out=tmp_path)


def test_runs_that_learned_nothing_are_named():
    """A run that finishes no better than naming the most frequent class is called what it is, beside its row."""
    run = reference_runs(digits(), "digits", only=["constant"], epochs=1)[0]
    rows = {accuracy: Row(1, 23, 0.3, 2.3, accuracy, 2.3, accuracy, 1.0) for accuracy in (0.1, 0.11, 0.5)}
    runs = tuple(Finished(run, (row,), "finished", "") for row in rows.values())
    conditions = {"device": "cpu", "workers": 2}
    comparison = Comparison("digits", runs, 1437, 23, digits().chance(), conditions, 3.0, 0)
    assert comparison.remarks()[0] == "constant: 2 of 3 runs ended no better than chance"
    assert not any("chance" in remark for remark in replace(comparison, chance=None).remarks())
    assert digits().chance() == np.bincount(digits().test.targets).max() / 360


def test_another_command_in_between_makes_it_forget_nothing(monkeypatch, tmp_path):
    """What a comparison had finished before it was cut short is kept, whatever else is trained in the folder meanwhile."""
    settings = {"only": ["constant", "cosine"], "epochs": 1, "workers": 1, "out": tmp_path}
    cut_short(monkeypatch, 2, **settings)  # constant has finished
    train_one("digits", Constant(), epochs=1, out=tmp_path)
    compare(only=["constant"], epochs=1, lr=0.2, workers=1, out=tmp_path)
    cut_short(monkeypatch, 0, only=["square-root"], epochs=1, workers=1, out=tmp_path)
    assert compare(**settings).kept == 1
    assert not any(one.status == "running" for one in Store(tmp_path / STORE_FILE, create=False).runs())


def test_results_that_were_not_written_are_not_forgotten_either(monkeypatch, tmp_path):
    """Where all runs had finished and another command came before the results were written, nothing is trained anew."""
    settings = {"only": ["constant"], "epochs": 1, "workers": 1, "out": tmp_path}
    with monkeypatch.context() as patch:
        patch.setattr("gradus.comparison.Comparison.write", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            compare(**settings)
    train_one("digits", Constant(), epochs=1, out=tmp_path)
    assert compare(**settings).kept == 1


def edited():
    """A task whose data can be another's under the same name, as after an edit of its code."""
    task, count = digits(), int(os.environ.get("COUNT", "100"))
    return replace(task, train=Split(task.train.inputs[:count], task.train.targets[:count]))


def test_no_weights_are_ever_replaced(monkeypatch, tmp_path):
    """Runs of one name keep their weights beside each other: of another rate, of a name in another script, of a task whose
    data have changed; the same run again has them already.
    """
    kept = {}
    for name, rate in (("a", 0.1), ("a", 0.2), ("é", 0.1), ("è", 0.1), ("日本", 0.1), ("a", 0.1)):
        _, path = train_one("test_comparison:edited", Constant(), name=name, lr=rate, epochs=1, out=tmp_path)
        assert kept.setdefault((name, rate), path) == path
    assert len(set(kept.values())) == len(kept) == 5
    before = {path: path.read_bytes() for path in kept.values()}
    monkeypatch.setenv("COUNT", "60")
    gradus.sweep.executors._task.cache_clear()
    _, other = train_one("test_comparison:edited", Constant(), name="a", lr=0.1, epochs=1, out=tmp_path)
    assert other not in before
    assert {path: path.read_bytes() for path in kept.values()} == before


def test_weights_that_cannot_be_read_are_not_replaced(tmp_path):
    """A file in the place of a run's weights that is damaged, or something else, stays."""
    _, path = train_one("digits", Constant(), epochs=1, out=tmp_path)
    path.write_bytes(b"dear diary")
    _, other = train_one("digits", Constant(), epochs=1, out=tmp_path)
    assert path.read_bytes() == b"dear diary"
    assert other.name == f"{path.stem}-2.ckpt"


@pytest.mark.parametrize("begin", [train_one, compare])
def test_a_name_that_no_file_can_have_is_refused_before_training(begin, tmp_path):
    """A name of 300 characters is refused, and not even a folder is made."""
    given = {"schedule": Constant(), "name": "n" * 300} if begin is train_one else {"schedules": {"n" * 300: Constant()}}
    with pytest.raises(InvalidInput, match="a run's name must have at most 100 characters; got 300"):
        begin("digits", **given, out=tmp_path / "out")
    assert not list(tmp_path.iterdir())


class Unreadable(Interrupting):
    """A view whose output is full."""

    def on(self, *_):
        raise OSError(28, "No space left on device")


def test_a_view_that_nobody_can_read_costs_no_training(monkeypatch, tmp_path):
    """Where progress can't be written, all runs are trained and stored."""
    monkeypatch.setattr(gradus.comparison, "pick_view", lambda *_: Unreadable(0))
    assert compare(only=["constant"], epochs=1, workers=1, out=tmp_path).summaries()[0].finished == 1
