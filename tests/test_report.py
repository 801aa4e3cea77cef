"""Laws of reports: numbers first, any metric by name, all of it rebuilt from JSON and from the store."""

import json
import math
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gradus.errors import GradusError, InvalidInput
from gradus.plots import png
from gradus.report import Comparison, Finished, Summary, Table, TaskInfo
from gradus.report.summary import differences
from gradus.rows import Row
from gradus.runs import Run
from gradus.schedules import Constant, Cosine, absolute, epochs, rest, warmup
from gradus.store import STORE_FILE, Store

DIGITS = Run("digits", "SGD", lr=0.3, batch_size=64, length=epochs(2))
INFO = {"digits": TaskInfo("valid/accuracy max", chance=0.1, examples=1437)}


def row(step, accuracy, loss=1.0, split="valid", **more):
    """The row of an evaluation, a tenth of a second an update after the beginning."""
    scores = {f"{split}/loss": loss + 0.1, f"{split}/accuracy": accuracy}
    numbers = {"epoch": step / 23, "lr": 0.1, "train/loss": loss, "train/accuracy": accuracy, **scores}
    return Row(step, numbers | {"time/seconds": step / 10} | more)


def finished(run, *accuracies, status="finished", message="", **more):
    """A run with an evaluation after each epoch."""
    rows = [row(23 * number, accuracy, **more) for number, accuracy in enumerate(accuracies, 1)]
    return Finished(run, rows, status, message)


def seeds(run, *seeds_accuracies):
    """The run with seed after seed, each with its accuracies."""
    return [finished(run.replace(seed=seed), *accuracies) for seed, accuracies in enumerate(seeds_accuracies)]


def comparison():
    """Two optimizers with three seeds each; one run has diverged."""
    adam = DIGITS.replace(optimizer="AdamW", lr=0.001)
    runs = [*seeds(DIGITS, (0.5, 0.8), (0.6, 0.7), (0.7, 0.9)), *seeds(adam, (0.9, 0.85), (0.8, 0.75))]
    lost = finished(adam.replace(seed=2), 0.2, status="diverged", message="diverged at step 30")
    return Comparison([*runs, lost], INFO, seconds=3.0, kept=1, settings={"workers": 2})


# Summaries.


def test_runs_that_differ_in_the_seed_alone_are_one_group():
    """There is a summary for each specification but for seed and record_every, in the order of the runs."""
    runs = [
        finished(DIGITS.replace(lr=lr, seed=seed, record_every=every), 0.5)
        for seed, every in ((0, None), (1, 5))
        for lr in (0.1, 0.2)
    ]
    assert [(one.name, one.seeds, one.finished) for one in Comparison(runs).summaries()] == [
        ("lr 0.1", 2, 2),
        ("lr 0.2", 2, 2),
    ]


def test_two_names_of_one_specification_are_two_groups():
    """A sweep may hold one run under two names, and each has its own line."""
    runs = [finished(DIGITS.replace(name=name), 0.5) for name in ("a", "b")]
    assert [one.name for one in Comparison(runs).summaries()] == ["a", "b"]


@pytest.mark.parametrize("name", ["valid/accuracy", "train/loss", "reward"])
def test_a_summary_is_the_mean_with_students_interval(name):
    """Of every number, whatever its name, the last values have SciPy's t-interval over the seeds that finished."""
    values = [0.3, 0.1, 0.4, 0.15]
    runs = [
        Finished(DIGITS.replace(seed=seed), [Row(1, {name: 9.0}), Row(2, {name: value}), Row(3, {"other": 1.0})], "finished")
        for seed, value in enumerate(values)
    ]
    runs.append(Finished(DIGITS.replace(seed=9), [Row(2, {name: 77.0})], "failed"))
    (summary,) = Comparison(runs).summaries()
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert summary.last[name].mean == pytest.approx(np.mean(values), rel=1e-12)
    assert summary.last[name].half_width == pytest.approx((high - low) / 2, rel=1e-9)


def test_the_objective_comes_first_and_positions_and_times_never():
    """The order is objective, its metric elsewhere, the others; epoch, lr, what is scheduled and times aren't results."""
    run = DIGITS.replace(schedules={"momentum": Constant()})
    (summary,) = Comparison([finished(run, 0.5, **{"momentum": 0.9, "test/accuracy": 0.4})], INFO).summaries()
    assert list(summary.last) == ["valid/accuracy", "test/accuracy", "train/accuracy", "valid/loss", "train/loss"]


@pytest.mark.parametrize(
    ("objective", "best"),
    [("valid/accuracy max", 46), ("valid/accuracy min", 23), ("valid/loss min", 69), ("none max", None)],
)
def test_the_best_step_is_the_means_best_by_the_objective(objective, best):
    """Over the steps that all seeds have scored at, the step of the best mean, as the objective says."""
    accuracies = [(0.2, 0.9, 0.5, 0.99), (0.3, 0.6, 0.6)]
    runs = [
        Finished(DIGITS.replace(seed=seed), [row(23 * n, a, loss=1 / n) for n, a in enumerate(each, 1)], "finished")
        for seed, each in enumerate(accuracies)
    ]
    (summary,) = Comparison(runs, {"digits": TaskInfo(objective)}).summaries()
    assert summary.best_step == best
    assert summary.maximize == objective.endswith("max")


def test_without_a_part_for_validation_test_scores_stand_in():
    """Where nothing is held out, the objective reads test scores, and where something is, never."""
    run = DIGITS.replace(valid=False)
    (summary,) = Comparison([finished(run, 0.5, 0.4, split="test")], INFO).summaries()
    assert (summary.objective, summary.best_step, summary.best) == ("test/accuracy", 23, 0.5)
    (summary,) = Comparison([finished(DIGITS, 0.5, split="test")], INFO).summaries()
    assert (summary.objective, summary.best_step) == ("valid/accuracy", None)


def test_no_number_that_is_none_is_ever_best():
    """A mean that is NaN is no best, and a group of them has none."""
    for values, best in (((math.nan, 0.1), 46), ((math.nan, math.nan), None)):
        assert Comparison([finished(DIGITS, *values)], INFO).summaries()[0].best_step == best


def test_times_follow_from_the_rows():
    """Seconds are the last row's, and examples per second the passes over the data in them; without times there are none."""
    (summary,) = Comparison([finished(DIGITS, 0.1, 0.2), finished(DIGITS.replace(seed=1), 0.1)], INFO).summaries()
    assert summary.seconds == pytest.approx((4.6 + 2.3) / 2)
    assert summary.examples_per_second == pytest.approx(1437 / 2.3)
    (summary,) = Comparison([Finished(DIGITS, [Row(1, {"loss": 1.0})], "finished")]).summaries()
    assert (summary.seconds, summary.examples_per_second, summary.objective) == (None, None, None)


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"lr": 0.1}, {"lr": 0.1}),
        ({"options": {"momentum": 0.9}}, {"options.momentum": 0.9}),
        ({"schedules": Cosine(rest())}, {"schedules.lr": "Cosine(rest())"}),
        ({"schedules": {"momentum": Cosine(9)}}, {"schedules.momentum": "Cosine(9)"}),
        ({"length": epochs(3)}, {"length": "epochs(3)"}),
        ({"groups": {"a*": "frozen"}}, {"groups": "{'a*': 'frozen'}"}),
        ({"seed": 4, "record_every": 3, "name": "x"}, {}),
    ],
)
def test_what_differs_is_told_by_the_runs_fields(changes, differs):
    """Between two runs exactly the changed fields differ, options and schedules each by itself, and seeds don't."""
    before, after = differences([DIGITS, DIGITS.replace(**changes)])
    assert after == differs
    assert before.keys() == after.keys()


def test_a_group_in_which_nothing_finished_keeps_its_line():
    """Where no seed finished there are no numbers, but the group and the reason."""
    lost = Finished(DIGITS, [], "failed", "no")
    (summary,) = Comparison([lost], INFO).summaries()
    assert (summary.seeds, summary.finished, summary.last, summary.best_step, summary.message) == (1, 0, {}, None, "no")


# Tables.


def test_a_table_has_a_line_for_each_group_and_a_column_for_each_number():
    """Names say what differs, numbers have intervals with several seeds, and accuracies are in per cent."""
    table = comparison().table()
    assert table.headings[:3] == ("run", "valid accuracy %", "train accuracy %")
    assert table.headings[-3:] == ("best step", "seconds", "examples/s")
    assert [line[0] for line in table.lines] == ["SGD, lr 0.3", "AdamW, lr 0.001"]
    assert table.lines[0][1] == "80.00 ± 24.84"
    assert all(len(line) == len(table.headings) for line in table.lines)


def test_names_of_their_own_have_what_differs_beside_them():
    """What names don't say has a column, if it is short; a schedule's long text hasn't, and the name stands for it."""
    long = warmup(epochs(5)) >> Cosine(rest(), end=0.01)
    runs = [
        finished(DIGITS.replace(name=name, lr=lr, schedules=schedule), 0.5)
        for name, lr, schedule in (("plain", 0.3, {}), ("slow", 0.1, long))
    ]
    table = Comparison(runs).table()
    assert table.headings[:2] == ("schedule", "lr")
    assert [line[:2] for line in table.lines] == [("plain", "0.3"), ("slow", "0.1")]
    said = [run.replace(name=f"lr {run.lr:g}") for run in (DIGITS, DIGITS.replace(lr=0.1))]
    assert Comparison([finished(run, 0.5) for run in said]).table().headings[:2] == ("lr", "valid loss")


def test_a_table_has_dashes_where_nothing_finished():
    """A group that has no numbers has a dash in every column of numbers."""
    runs = [finished(DIGITS, 0.5), Finished(DIGITS.replace(lr=0.1), [], "diverged")]
    first, second = Comparison(runs, INFO).table().lines
    assert "–" not in first
    assert set(second[1:]) == {"–"}


@pytest.mark.parametrize(
    ("values", "cell"),
    [
        ((0.41234, 0.42345), "0.418 ± 0.071"),
        ((3021.0, 3084.0), "3052 ± 400"),
        ((1e-9, 1.1e-9), "1.05e-09 ± 6.35e-10"),
        ((2e9, 2e9 + 4), "2.00e+09 ± 2.54e+01"),
        ((0.25, 0.25), "0.25 ± 0"),
        ((0.123456,), "0.1235"),
        ((math.nan, 1.0), "nan ± nan"),
        ((math.inf,), "inf"),
    ],
)
def test_an_interval_shows_the_digits_that_count(values, cell):
    """Half-widths have two digits and means the same places; very large and small ones have powers of ten."""
    runs = [Finished(DIGITS.replace(seed=seed), [Row(1, {"loss": value})], "finished") for seed, value in enumerate(values)]
    assert Comparison(runs).table().lines[0][1] == cell


@pytest.mark.parametrize("width", [10, 60, 80, 120, 1000])
def test_a_fitting_table_keeps_names_and_ends(width):
    """Columns go from the least telling on until all fit; what differs, best step and times stay."""
    whole = comparison().table()
    table = whole.fitting(width)
    kept = [heading for heading in whole.headings if heading in table.headings]
    assert list(table.headings) == kept
    assert (table.headings[0], table.headings[-3:]) == (whole.headings[0], whole.headings[-3:])
    cells = [max(len(line[column]) for line in table.lines) for column in range(len(table.headings))]
    assert sum(cells) + 3 * len(cells) <= width or len(cells) == 4
    assert table == whole or width < 200


@given(st.text(max_size=30))
def test_a_table_can_be_ascii_alone(name):
    """Whatever names hold, an ASCII table is ASCII, with its signs spelled out, and HTML obeys no name."""
    run = DIGITS.replace(name="x" + "".join(sign for sign in name if sign.isprintable()))
    table = Comparison([*seeds(run, (0.5,), (0.6,))]).table()
    assert all(cell.isascii() for line in (table.in_ascii().headings, *table.in_ascii().lines) for cell in line)
    assert "+-" in table.in_ascii().lines[0][1]
    assert table.to_html().count("<") == table.to_html().count(">") == 2 * (5 + 2 * len(table.headings))


def test_markdown_has_as_many_cells_in_each_line():
    """A name with Markdown's own sign makes no cell."""
    lines = Table(("a", "b"), (("x|y", "1"),)).to_markdown().splitlines()
    assert lines == ["| a | b |", "|:--|--:|", "| x\\|y | 1 |"]


# Remarks.


def test_remarks_say_what_the_table_leaves_out():
    """Runs that didn't finish are counted with their reason, and the last remark says how all were done."""
    assert comparison().remarks() == [
        "AdamW, lr 0.001: 1 of 3 runs did not finish: diverged at step 30",
        "digits: 6 runs (1 kept from before) in 3.0 s, 2 at a time",
    ]


def test_what_is_not_finite_on_the_way_is_a_remark():
    """A run that finished with a message met something that isn't finite, and its message is told."""
    runs = [finished(DIGITS, 0.5, message="skipped an update"), finished(DIGITS.replace(seed=1), 0.5)]
    assert Comparison(runs).remarks()[0] == "digits: 1 of 2 runs met a number that isn't finite: skipped an update"


def test_runs_that_learned_nothing_are_named_where_chance_is_known():
    """A run that ends no better than naming the most frequent class is called what it is, and else no run is."""
    runs = seeds(DIGITS, (0.1,), (0.1049,), (0.5,))
    assert Comparison(runs, INFO).remarks()[0] == "digits: 2 of 3 runs ended no better than chance"
    assert not any("chance" in remark for remark in Comparison(runs).remarks())
    mse = [Finished(DIGITS, [Row(1, {"test/loss": 0.01})], "finished")]
    assert not any("chance" in remark for remark in Comparison(mse, INFO).remarks())


def test_conditions_that_differ_are_a_remark():
    """What not all runs of a task were executed with is said, for it may be what makes the difference."""
    torches = ("2.12", "2.13", "2.13")
    runs = [
        replace(one, conditions={"torch": torch, "device": "cpu"})
        for one, torch in zip(seeds(DIGITS, (0.5,), (0.5,), (0.6,)), torches, strict=True)
    ]
    told = Comparison(runs, settings={"workers": 1})
    assert told.conditions == {"device": "cpu"}
    assert told.remarks() == [
        "digits: not all runs were executed alike; torch: 2.12, 2.13",
        "digits: 3 runs on cpu, 1 at a time",
    ]


def test_no_runs_are_a_comparison_too():
    """Before anything has begun there is a table without lines, a picture and JSON."""
    empty = Comparison([])
    assert (empty.table().lines, empty.remarks()) == ((), ["nothing: 0 runs"])
    assert Comparison.from_json(empty.to_json()) == empty
    assert png(empty.figure())


# JSON.

NUMBERS = st.dictionaries(st.text("abc/_ é", min_size=1).filter(str.strip), st.floats(), max_size=4)


@given(st.lists(st.tuples(st.integers(0, 2**62), NUMBERS), max_size=3, unique_by=lambda one: one[0]), st.text(max_size=9))
def test_a_comparison_comes_back_from_its_json_bit_for_bit(rows, message):
    """JSON is strict whatever the numbers are, and gives back an equal comparison, NaN, infinities and -0 included."""
    one = Finished(DIGITS, [Row(*row) for row in sorted(rows, key=lambda row: row[0])], "failed", message, {"torch": "2"})
    before = Comparison([one], INFO, seconds=1.5, kept=1, settings={"workers": 2})
    text = before.to_json()
    json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    after = Comparison.from_json(text)
    assert after == before
    assert [[dict(row) for row in each.rows].__repr__() for each in after.runs] == [
        [dict(row) for row in each.rows].__repr__() for each in before.runs
    ]


def test_results_json_has_the_documented_fields():
    """Its fields are those that the docstring names, and each summary's are those of `Summary`."""
    document = json.loads(comparison().to_json())
    assert set(document) == {"gradus.comparison", "tasks", "conditions", "seconds", "kept", "settings", "summary", "runs"}
    assert all(f"`{name}`" in Comparison.to_json.__doc__ for name in document)
    assert all(set(summary) == {field.name for field in fields(Summary)} for summary in document["summary"])
    assert document["summary"][0]["last"]["valid/accuracy"]["mean"] == pytest.approx(0.8)
    assert document["summary"][1]["differs"] == {"optimizer": "AdamW", "lr": 0.001}
    assert {name for run in document["runs"] for name in run} == {"run", "status", "message", "conditions", "rows"}


VERSION_1 = {
    "gradus.comparison": 1,
    "task": "digits",
    "conditions": {"device": "cpu", "workers": 2, "torch": "2.0"},
    "seconds": 3.5,
    "kept": 0,
    "images": 1437,
    "steps_per_epoch": 23,
    "chance": 0.1,
    "summary": [],
    "runs": [
        {
            "run": {
                "gradus.run": 1, "name": "constant", "task": "digits", "schedule": json.loads(Constant().to_json()),
                "lr": 0.3, "epochs": 2, "batch_size": 64, "seed": 0, "per": "epoch",
            },
            "schedule": "Constant()",
            "status": "finished",
            "message": "",
            "rows": [
                {"epoch": 1, "step": 23, "lr": 0.3, "train_loss": 2.0, "train_accuracy": 0.3, "test_loss": 2.1,
                 "test_accuracy": 0.4, "seconds": 1.5},
                {"epoch": 2, "step": 46, "lr": 0.3, "train_loss": 1.0, "train_accuracy": 0.5, "test_loss": 1.1,
                 "test_accuracy": 0.6, "seconds": 2.0},
            ],
        }
    ],
}  # fmt: skip


def test_results_of_version_1_are_read():
    """Rows of eight columns become named numbers, an epoch's seconds those of the training so far, and nothing is lost."""
    old = Comparison.from_json(json.dumps(VERSION_1))
    (one,) = old.runs
    assert one.run.name == "constant"
    assert one.rows[1] == Row(
        46,
        {"epoch": 2, "lr": 0.3, "train/loss": 1, "train/accuracy": 0.5, "test/loss": 1.1, "test/accuracy": 0.6},
    )
    assert one.seconds == 3.5
    (summary,) = old.summaries()
    assert (summary.objective, summary.best_step, summary.examples_per_second) == ("test/accuracy", 46, 1437 * 2 / 3.5)
    assert old.remarks() == ["digits: 1 run in 3.5 s on cpu, 2 at a time"]
    assert Comparison.from_json(old.to_json()) == old


def test_results_that_version_1_wrote_are_read_whole():
    """A file as Gradus 0.1.0 left it opens: its means and intervals come out as it had them."""
    text = (Path(__file__).parent / "assets" / "results_v1.json").read_text()
    before, after = json.loads(text), Comparison.from_json(text)
    for old, new in zip(before["summary"], after.summaries(), strict=True):
        assert (new.name, new.seeds, new.finished, new.message) == tuple(
            old[name] for name in ("name", "seeds", "finished", "message")
        )
        for name in ("train_loss", "train_accuracy", "test_accuracy"):
            found = new.last.get(name.replace("_", "/"))
            assert (None if found is None else found._asdict()) == (old[name] and pytest.approx(old[name]))
        assert new.best_step == (old["best_epoch"] and old["best_epoch"] * before["steps_per_epoch"])
        assert new.seconds == pytest.approx(old["seconds"])
        assert new.examples_per_second == pytest.approx(old["images_per_second"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no", "this is not JSON"),
        ("[]", 'this JSON is no comparison: it must be an object with "gradus.comparison"'),
        ('{"gradus.comparison": 3}', "has version 3; this Gradus reads versions up to 2"),
        ('{"gradus.comparison": true}', "has version True"),
        ('{"gradus.comparison": 2}', "this comparison can't be read: KeyError"),
        ('{"gradus.comparison": 1, "conditions": []}', "this comparison can't be read"),
    ],
)
def test_what_is_no_comparison_is_refused(text, message):
    """Other JSON, later versions and damaged ones are refused with what is wrong."""
    with pytest.raises(InvalidInput, match=message):
        Comparison.from_json(text)


def places_in(value, path=()):
    """Every place in a JSON document."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inner:
        yield from places_in(each, (*path, name))


@pytest.mark.parametrize("value", ["x", -1, 1e400, None, [1], {"a": 1}, True], ids=str)
@pytest.mark.parametrize("version", [1, 2])
def test_a_damaged_document_is_never_more_than_refused(version, value):
    """Whatever stands in whatever place, reading ends in a refusal, or in a comparison that can be shown and written."""
    whole = json.dumps(VERSION_1) if version == 1 else Comparison(seeds(DIGITS, (0.5, 0.6)), INFO, seconds=1.0).to_json()
    for path in places_in(json.loads(whole)):
        document = json.loads(whole)
        holder = document
        for name in path[:-1]:
            holder = holder[name]
        if path:
            holder[path[-1]] = value
        with suppress(InvalidInput):
            read = Comparison.from_json(json.dumps(document if path else value))
            assert read.table().to_html()
            assert read.remarks()
            assert Comparison.from_json(read.to_json()) == read


@pytest.mark.parametrize("objective", ["accuracy", "max", "valid/loss least", " max"])
def test_an_objective_says_a_number_and_a_direction(objective):
    """What isn't a name with max or min after it is refused."""
    with pytest.raises(InvalidInput, match='an objective is a number\'s name and "min" or "max"'):
        TaskInfo(objective)


# The folder and the store.


def test_a_folder_gets_results_and_curves(tmp_path):
    """Writing gives results.json, which reads back equal, and a PNG."""
    comparison().write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "curves.png"}
    assert Comparison.from_json((tmp_path / "results.json").read_text()) == comparison()
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_it_shows_itself_shortly_and_in_a_notebook_as_its_table():
    """Its repr is one short line; its HTML has the table and the remarks, with names as they are."""
    assert repr(comparison()) == "<Comparison on digits: 6 runs in 2 groups, 5 finished>"
    shown = Comparison([finished(DIGITS.replace(name="<b>x</b>"), 0.5, status="failed", message="<i>")])._repr_html_()
    assert "<b>" not in shown
    assert "<i>" not in shown
    assert "<td>&lt;b&gt;x&lt;/b&gt;</td>" in shown


def stored(path: Path, settings=None):
    """A store with a sweep of the comparison's runs."""
    with Store(path / STORE_FILE) as store:
        shown = comparison()
        more = {"workers": 2, "tasks": {name: info.to_json() for name, info in INFO.items()}}
        sweep = store.begin_sweep("compare", "", more | (settings or {}))
        for one in shown.runs:
            number = store.begin(sweep, one.run, {"device": "cpu"})
            for each in one.rows:
                store.add(number, each)
            store.end(number, one.status, one.message)
        store.end_sweep(sweep, "finished")
    return sweep


def test_a_comparison_is_rebuilt_from_the_store_alone(tmp_path):
    """Runs, rows, what is known of the tasks, conditions and settings all come back, from the folder or the open store."""
    sweep = stored(tmp_path)
    read = Comparison.read(tmp_path, seconds=3.0, kept=1)
    assert [replace(one, conditions={}) for one in read.runs] == list(comparison().runs)
    assert (read.summaries(), read.settings) == (comparison().summaries(), comparison().settings)
    assert read.conditions == {"device": "cpu"}
    with Store(tmp_path / STORE_FILE, create=False) as store:
        assert Comparison.read(store, sweep, seconds=3.0, kept=1) == read


def test_runs_taken_from_another_sweep_belong_to_it_under_the_asked_name(tmp_path):
    """A sweep that kept runs of an earlier one has them all, in the order and under the names that were asked for."""
    stored(tmp_path)
    first, *_, last = comparison().runs
    with Store(tmp_path / STORE_FILE, create=False) as store:
        numbers = {one.identity: one.id for one in store.runs()}
        asked = [[last.run.identity, "b"], [first.run.identity, "a"]]
        store.begin_sweep("compare", "", {"runs": asked, "taken": list(numbers.values())})
    read = Comparison.read(tmp_path)
    assert [one.run for one in read.runs] == [last.run.replace(name="b"), first.run.replace(name="a")]
    assert read.settings == {}


def test_a_sweep_that_is_not_there_is_named(tmp_path):
    """An empty store, an unknown sweep and an absent file are errors that say what there is."""
    with pytest.raises(GradusError, match="there is no store"):
        Comparison.read(tmp_path)
    Store(tmp_path / STORE_FILE).close()
    with pytest.raises(GradusError, match=r"there is no sweep in .*; `gradus compare` makes one"):
        Comparison.read(tmp_path)
    stored(tmp_path)
    with pytest.raises(GradusError, match=r"there is no sweep 7 in .*; it has 1"):
        Comparison.read(tmp_path, 7)


# The picture.


def panels_of(figure):
    """A figure's panels by what they show."""
    return {axes.get_ylabel(): axes for axes in figure.axes}


def test_the_picture_says_who_diverged_and_how_many():
    """A group whose seeds diverged keeps its place in the legend, which says how many; equal names are numbered."""
    runs = [
        finished(DIGITS.replace(name="a", seed=seed), 0.5, status=status)
        for seed, status in ((0, "finished"), (1, "diverged"))
    ]
    runs += [
        finished(DIGITS.replace(name="b"), 0.5, status="diverged"),
        finished(DIGITS.replace(name="b", lr=0.1), 0.5, status="diverged"),
    ]
    labels = [text.get_text() for text in Comparison(runs).figure().legends[0].get_texts()]
    assert labels == ["a (1 of 2 diverged)", "b (diverged)", "b (diverged) (2)"]


def test_the_picture_draws_what_the_table_says():
    """Where some seeds finished, a curve is their mean alone, as in the table; while none has, it is all seeds'."""
    done, lost = finished(DIGITS, 0.1, 0.2, 0.3), finished(DIGITS.replace(seed=1), 0.5, status="diverged")
    running = finished(DIGITS, 0.1, status="running")
    for runs, drawn in (((done, lost), [0.1, 0.2, 0.3]), ((running, lost), [0.3])):
        (_, valid) = panels_of(Comparison(runs, INFO).figure())["accuracy"].lines
        np.testing.assert_allclose(valid.get_ydata(), drawn)


@pytest.mark.parametrize("schedule", [Cosine(rest()), warmup(epochs(1)) >> Cosine(rest()), absolute(Cosine(epochs(2)))])
@pytest.mark.parametrize("per", ["epoch", "step"])
@pytest.mark.parametrize("rows", [0, 1])
def test_the_picture_draws_every_rate_that_the_schedule_gives(schedule, per, rows):
    """The lower panel holds the rate of each epoch, or of each update, before the first row as after it."""
    run = Run("digits", schedules=schedule, lr=0.3, length=epochs(3), batch_size=64, per=per)
    figure = Comparison([finished(run, *[0.5] * rows)], INFO).figure()
    (line,) = panels_of(figure)["learning rate"].lines
    ticks = 3 if per == "epoch" else 3 * 23
    factor = 1.0 if repr(schedule).startswith("absolute") else 0.3
    concrete = schedule.resolve(ticks, steps_per_epoch=ticks // 3)
    np.testing.assert_allclose(line.get_ydata()[:-1], [factor * concrete(tick) for tick in range(ticks)], rtol=1e-12)


def test_a_run_whose_epochs_nobody_knows_is_drawn_by_steps_with_the_rates_of_its_rows():
    """A training function of one's own that says nothing of epochs has its numbers by step, its rates as they were given."""
    rows = [Row(step, {"reward": step / 10, "lr": 0.1 * step}) for step in (1, 2, 3)]
    figure = Comparison([Finished(Run("mine:train"), rows, "finished")]).figure()
    assert {axes.get_xlabel() for axes in figure.axes} == {"step"}
    assert list(panels_of(figure)) == ["reward", "learning rate"]
    np.testing.assert_allclose(panels_of(figure)["learning rate"].lines[0].get_ydata(), [0.1, 0.2, 0.3])
