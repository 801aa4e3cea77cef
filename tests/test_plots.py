"""What the pictures must hold: their structure and their data, never their pixels."""

import io
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from gradus.errors import InvalidInput
from gradus.plots import Curve, compare_schedules, comparison_figure, png, range_figure, terminal_plot, terminal_range
from gradus.rows import Row
from gradus.schedules import Constant, Cosine, Exponential, Linear, Step, warmup


def row(epoch, loss=1.0, split="test", **more):
    """An evaluation's numbers after so many epochs of ten updates, of two seconds each."""
    numbers = {"epoch": epoch, "lr": 0.1, "train/loss": loss, f"{split}/loss": 2 * loss, f"{split}/accuracy": 1 / (1 + loss)}
    return Row(10 * epoch, numbers | {"time/seconds": 2.0 * epoch} | more)


def rows(*losses, **options):
    """A row for each loss."""
    return [row(epoch, loss, **options) for epoch, loss in enumerate(losses, 1)]


def curve(*seeds, rates=(0.1,), epochs=3):
    """A run of so many epochs of ten updates."""
    return Curve(list(seeds), rates, 10 * epochs, 10.0)


def panels_of(figure):
    """A figure's panels by what they show."""
    return {axes.get_ylabel(): axes for axes in figure.axes}


# Trainings.


def test_a_picture_has_a_panel_for_each_metric_and_the_rates_under_them_all_by_epoch():
    """A metric's numbers of training and of scores share a panel, the learning rate has one below; all axes are labelled."""
    figure = comparison_figure({"a": curve(rows(2.0, 1.0), rates=[0.1, 0.2], epochs=2)}, "title")
    assert list(panels_of(figure)) == ["loss", "test accuracy", "learning rate"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"epoch"}
    assert figure.get_suptitle().splitlines() == ["title", "thick lines: test; thin: train"]
    train, test = panels_of(figure)["loss"].lines
    assert train.get_linewidth() < test.get_linewidth()
    assert train.get_color() == test.get_color()


@pytest.mark.parametrize("name", ["reward", "a/b", "train/bleu", "valid/r2"])
def test_any_number_has_its_panel(name):
    """A number of whatever name is drawn under that name, positions, times and rates aren't."""
    seed = [Row(step, {"epoch": step, "lr": 0.1, name: 0.5, "time/seconds": 1.0}) for step in (1, 2)]
    panels = panels_of(comparison_figure({"a": Curve([seed])}, ""))
    assert list(panels) == [name.replace("/", " "), "learning rate"]


def test_where_there_are_validation_scores_the_test_at_the_end_is_no_curve():
    """Test scores that come in the last row alone aren't drawn beside validation scores."""
    seed = [*rows(2.0, 1.0, split="valid"), row(3, 0.5, split="valid", **{"test/loss": 0.7, "test/accuracy": 0.6})]
    figure = comparison_figure({"a": curve(seed)}, "")
    assert list(panels_of(figure)) == ["loss", "valid accuracy", "learning rate"]
    assert [len(axes.lines) for axes in figure.axes] == [2, 1, 1]


def test_points_within_an_epoch_are_drawn_where_they_are():
    """A training's own numbers have a point at each row, scores one at each evaluation."""
    within = [Row(step, {"epoch": step / 10, "lr": 0.1, "train/loss": 1.0}) for step in (2, 4, 6, 8)]
    train, test = panels_of(comparison_figure({"a": curve([*within, row(1)])}, ""))["loss"].lines
    np.testing.assert_allclose(train.get_xdata(), [0.2, 0.4, 0.6, 0.8, 1.0])
    np.testing.assert_allclose(test.get_xdata(), [1.0])


@pytest.mark.parametrize("name", ["test/loss", "test/accuracy", "train/loss"])
def test_a_line_is_the_mean_and_its_band_spans_lowest_to_highest(name):
    """At each point the line holds the seeds' mean, and the band reaches from the lowest seed to the highest."""
    seeds = [rows(2.0, 1.0, 0.4), rows(1.0, 0.5, 0.1), rows(1.5, 1.0, 0.9)]
    axes = panels_of(comparison_figure({"a": curve(*seeds)}, "", metrics=[name]))[name.replace("/", " ")]
    values = np.array([[one[name] for one in seed] for seed in seeds])
    (line,), (band,) = axes.lines, axes.collections
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(line.get_ydata(), values.mean(axis=0))
    corners = band.get_paths()[0].vertices
    for epoch in (1, 2, 3):
        at = corners[corners[:, 0] == epoch, 1]
        assert (at.min(), at.max()) == (values[:, epoch - 1].min(), values[:, epoch - 1].max())


@pytest.mark.parametrize(("seeds", "bands"), [(1, 0), (2, 1)])
def test_bands_and_the_sentence_about_them_are_there_only_with_several_seeds(seeds, bands):
    """One seed has no band, and the title speaks of bands only where there are some."""
    figure = comparison_figure({"a": curve(*[rows(1.0, 0.5)] * seeds)}, "title")
    assert [len(axes.collections) for axes in figure.axes] == [2 * bands, bands, 0]
    assert ("bands" in figure.get_suptitle()) == bool(bands)


def test_a_seed_that_is_behind_ends_the_mean():
    """A live mean is taken only over steps that every seed with rows has reached."""
    figure = comparison_figure({"a": curve(rows(3.0, 2.0, 1.0), rows(1.0), [])}, "", metrics=["test/loss"])
    (line,) = panels_of(figure)["test loss"].lines
    np.testing.assert_array_equal(line.get_ydata(), [4.0])
    assert line.get_marker() == "o"  # a line of one point would not be seen


@pytest.mark.parametrize(
    ("along", "label", "places"),
    [("epochs", "epoch", [1, 2, 3]), ("steps", "step", [10, 20, 30]), ("seconds", "seconds", [2, 4, 6])],
)
def test_everything_lies_along_the_same_unit(along, label, places):
    """Curves and schedules are drawn by epoch, step or second: at each row where its numbers say."""
    figure = comparison_figure({"a": curve(rows(3.0, 2.0, 1.0), rates=[0.3, 0.2, 0.1])}, "", along=along)
    assert {axes.get_xlabel() for axes in figure.axes} == {label}
    *metrics, rate = figure.axes
    for axes in metrics:
        for line in axes.lines:
            np.testing.assert_allclose(line.get_xdata(), places)
    np.testing.assert_allclose(rate.lines[0].get_xdata(), [0, *places])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"along": "days"}, 'a picture is drawn along "epochs", "steps" or "seconds"; got \'days\''),
        ({"along": "epochs"}, 'not all of these runs say how long an epoch is; draw them along "steps"'),
    ],
)
def test_an_axis_that_cannot_be_drawn_is_refused(options, message):
    """Another unit, and epochs where nobody knows them, are refused with the way out."""
    with pytest.raises(InvalidInput, match=message):
        comparison_figure({"a": Curve([rows(1.0)])}, "", **options)


@pytest.mark.parametrize("rates", [[0.3, 0.2, 0.1], [0.3, 0.25, 0.2, 0.15, 0.1, 0.05]])
def test_rates_are_stairs_of_equal_width_over_the_run(rates):
    """However many rates an epoch has, the lower panel holds each of them for its share of the run."""
    (line,) = panels_of(comparison_figure({"a": curve(rates=rates)}, ""))["learning rate"].lines
    assert line.get_drawstyle() == "steps-post"
    np.testing.assert_allclose(line.get_xdata(), np.arange(len(rates) + 1) * 3 / len(rates))
    np.testing.assert_array_equal(line.get_ydata(), [*rates, rates[-1]])


def test_a_run_of_a_million_updates_is_drawn_by_a_part_of_its_rates():
    """Long schedules are drawn by no more points than a picture can show, the first and the last among them."""
    rates = np.linspace(1, 0, 10**6)
    (line,) = comparison_figure({"a": Curve([], rates, 10**6)}, "").axes[-1].lines
    assert len(line.get_xdata()) < 5000
    assert (line.get_ydata()[0], line.get_ydata()[-1]) == (1, 0)
    assert (line.get_xdata()[0], line.get_xdata()[-1]) == (0, 10**6)


def test_each_scheduled_hyperparameter_has_a_panel():
    """Besides the rate, each scheduled hyperparameter is drawn as the rows have it, held until the row."""
    seed = [row(epoch, momentum=0.1 * epoch) for epoch in (1, 2, 3)]
    figure = comparison_figure({"a": Curve([seed], [0.1], 30, 10.0, ["momentum"]), "b": curve(rows(1.0))}, "")
    assert list(panels_of(figure)) == ["loss", "test accuracy", "learning rate", "momentum"]
    (line,) = panels_of(figure)["momentum"].lines
    assert line.get_drawstyle() == "steps-pre"
    np.testing.assert_allclose(line.get_ydata(), [0.1, 0.2, 0.3])


@pytest.mark.parametrize(("peaks", "scale"), [((0.3, 0.5), "linear"), ((0.3, 300.0), "log"), ((0.0, 300.0), "linear")])
@pytest.mark.parametrize("end", [1.0, 0.0, 1e-9])
def test_rates_far_apart_are_drawn_on_a_logarithmic_axis(peaks, scale, end):
    """A rate that dwarfs the others doesn't press them onto the axis, which has numbers, however far the rates fall."""
    figure = comparison_figure({str(peak): curve(rates=[peak, end * peak]) for peak in peaks}, "")
    axes = panels_of(figure)["learning rate"]
    assert axes.get_yscale() == scale
    low, high = axes.get_ylim()
    assert sum(low <= tick <= high for tick in axes.get_yticks()) >= 3
    assert scale == "linear" or low >= 1e-4 * min(peaks)


@pytest.mark.parametrize(
    ("losses", "log", "scale"),
    [
        ((2.0, 1.0), None, "log"),
        ((2.0, 1.0), False, "linear"),
        ((1.0, 0.0), None, "linear"),
        ((1.0, -3.0), True, "linear"),
        ((1.0, np.nan), None, "log"),
    ],
)
def test_no_loss_falls_off_its_axis(losses, log, scale):
    """Losses are logarithmic where all are above 0, unless asked not to be, and linear where a logarithm would hide one."""
    figure = comparison_figure({"a": curve(rows(*losses), epochs=2)}, "", log=log, metrics=["train/loss", "test/loss"])
    assert panels_of(figure)["loss"].get_yscale() == scale


def test_accuracies_are_in_per_cent_and_never_logarithmic():
    """Whatever is asked, a number whose name ends in "accuracy" is in per cent on a linear axis."""
    axes = panels_of(comparison_figure({"a": curve(rows(9.0, 1.0))}, "", log=True))["test accuracy"]
    assert axes.get_yscale() == "linear"
    assert axes.yaxis.get_major_formatter()(0.5).endswith("%")


@pytest.mark.parametrize("wild", [1e4, 1e30, np.inf])
def test_a_run_that_diverges_does_not_press_the_others_onto_the_axis(wild):
    """What lies far above where the curves begin isn't followed, and what isn't finite isn't drawn."""
    curves = {"a": curve(rows(2.0, 1.0, 0.5)), "b": curve(rows(2.0, wild))}
    axes = panels_of(comparison_figure(curves, ""))["loss"]
    assert axes.get_ylim()[1] <= 40.0
    assert axes.get_ylim()[0] <= 0.5


def test_the_first_thirty_two_curves_all_look_different():
    """No two of 32 runs share both colour and kind of line, and each is in the legend."""
    names = [f"schedule {index}" for index in range(32)]
    figure = comparison_figure({name: curve() for name in names}, "")
    looks = {(line.get_color(), line.get_linestyle()) for line in panels_of(figure)["learning rate"].lines}
    assert len(looks) == 32
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names


@pytest.mark.parametrize("epochs", [1, 2, 30, 1000])
def test_epochs_are_marked_by_whole_numbers(epochs):
    """However short or long the comparison, no tick stands at a fraction of an epoch, and no two overlap."""
    seed = rows(*np.linspace(2, 1, epochs))
    figure = comparison_figure({"a": curve(seed, rates=[0.1] * epochs, epochs=epochs)}, "", metrics=["train/loss"])
    figure.draw_without_rendering()
    for axes in figure.axes:
        labels = [label for label in axes.get_xticklabels() if 0 <= label.get_position()[0] <= epochs]
        assert labels
        assert all(float(label.get_position()[0]).is_integer() for label in labels)
        boxes = sorted((box.x0, box.x1) for box in (label.get_window_extent() for label in labels))
        assert all(left[1] < right[0] for left, right in pairwise(boxes))


def test_nothing_overlaps_in_a_crowded_picture():
    """Nine runs with long names, seven metrics and two schedules leave panels, legend and title apart from each other."""
    more = {f"valid/metric {index}": 1.0 for index in range(5)}
    seeds = [rows(1.0, 0.5, momentum=0.9, **more), rows(2.0, 1.0, momentum=0.9, **more)]
    curves = {f"a run with a long name {index}": Curve(seeds, [0.1], 30, 10.0, ["momentum"]) for index in range(9)}
    figure = comparison_figure(curves, "digits: nine runs")
    figure.draw_without_rendering()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    boxes += [figure.legends[0].get_window_extent(), figure._suptitle.get_window_extent()]
    assert len(figure.axes) == 9
    assert not any(a.overlaps(b) for index, a in enumerate(boxes) for b in boxes[:index])
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1 for box in boxes)


def test_a_picture_can_be_looked_at_however_much_there_is():
    """Of a hundred metrics the first twelve are drawn, which is said; a legend of forty runs leaves panels their room."""
    many = [Row(1, {f"metric {index}": 1.0 for index in range(100)})]
    figure = comparison_figure({f"run {index}": Curve([many]) for index in range(40)}, "title")
    assert len(figure.axes) == 13
    assert "the first 12 of 100 metrics" in figure.get_suptitle()
    figure.draw_without_rendering()
    assert all(axes.bbox.height > 60 for axes in figure.axes)


def test_a_picture_of_nothing_yet_is_a_picture():
    """Before the first row, and without any run, there is the panel of rates."""
    for curves in ({}, {"a": Curve([[]])}, {"a": curve([])}):
        assert list(panels_of(comparison_figure(curves, "title"))) == ["learning rate"]


# Schedules.


SCHEDULES = {"a": warmup(5) >> Cosine(15, end=0.03), "b": Constant(0.5), "c": Exponential(0.9)}


@pytest.mark.parametrize("steps", [1, 22, 50, 51, 10_000, 10**12])
def test_a_schedules_picture_holds_the_schedules_values(steps):
    """Each line's points are the schedule's own values, from step 0 to the last."""
    axes, budget = compare_schedules(SCHEDULES, steps).axes
    for line, schedule in zip(axes.lines, SCHEDULES.values(), strict=True):
        shown = line.get_xdata()
        assert (shown[0], shown[-1]) == (0, steps)
        np.testing.assert_allclose(line.get_ydata(), [schedule(int(step)) for step in shown], rtol=1e-15)
    assert (budget.get_xlabel(), axes.get_ylabel(), budget.get_ylabel()) == ("step", "value", "budget spent")
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == list(SCHEDULES)


def test_a_picture_is_a_png_for_files_and_for_notebooks():
    """`png` and a notebook's own question both give one whole PNG image of the figure's size."""
    figure = compare_schedules(SCHEDULES, 20)
    for content in (png(figure), figure._repr_png_()):
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            assert image.format == "PNG"
            assert image.size == tuple(figure.bbox.size.astype(int))


@pytest.mark.parametrize("width", [40, 80, 100])
@pytest.mark.parametrize("steps", [1, 22, 10**12])
@pytest.mark.parametrize(
    "schedules",
    [{"a": Cosine(20)}, SCHEDULES, {"zero": Constant(0.0)}, {"low": Linear(3, start=-2.0, end=-1.0)}, {"x": Step(5)}],
)
def test_a_terminal_plot_keeps_its_width_and_its_characters(schedules, steps, width):
    """A plot is as wide as it was told, can be piped (no control characters), and says each schedule's two ends."""
    text = terminal_plot(schedules, steps, width=width)
    lines = text.splitlines()
    drawn, told = lines[: -len(schedules)], lines[-len(schedules) :]
    assert max(map(len, drawn)) == width
    assert all(character.isprintable() for line in lines for character in line)
    for (name, schedule), line in zip(schedules.items(), told, strict=True):
        assert f"{name}: {schedule(0):.4g} at step 0, {schedule(steps):.4g} at step {steps}" in line


def test_a_terminal_plot_of_several_tells_them_apart():
    """Each of several schedules has a mark of its own, which its line under the plot shows."""
    lines = terminal_plot(SCHEDULES, 22).splitlines()
    marks = [line[0] for line in lines[-3:]]
    assert len(set(marks)) == 3
    assert all(any(mark in line for line in lines[:-3]) for mark in marks)


def test_the_budget_is_the_sum_of_the_values():
    """What is drawn as spent at step t is the sum of the values before t."""
    _, budget = compare_schedules(SCHEDULES, 40).axes
    for line, schedule in zip(budget.lines, SCHEDULES.values(), strict=True):
        assert line.get_ydata() == pytest.approx([sum(schedule(k) for k in range(t)) for t in range(41)])


@pytest.mark.parametrize(
    ("axis", "units", "last"), [("epochs", {"steps_per_epoch": 8}, 5.0), ("tokens", {"tokens_per_step": 512}, 20480.0)]
)
def test_an_axis_counts_in_its_unit(axis, units, last):
    """Steps become epochs or tokens by what the run says of itself."""
    figure = compare_schedules(SCHEDULES, 40, axis=axis, **units)
    assert figure.axes[0].lines[0].get_xdata()[-1] == pytest.approx(last)
    assert figure.axes[-1].get_xlabel() == {"epochs": "epoch", "tokens": "tokens"}[axis]


def test_phases_are_named_where_there_is_room():
    """One sequence has its phases marked, and named where names don't run together; several schedules have none."""
    schedule = warmup(50) >> Constant().take(5) >> Cosine(945)
    (value, budget) = schedule.plot().axes
    assert [text.get_text() for text in value.texts] == ["warmup", "cosine"]
    assert len(value.lines) == len(budget.lines) == 3
    assert not compare_schedules({"a": schedule, "b": Cosine(10)}).axes[0].texts


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedules": {}}, "compare_schedules needs a schedule to show"),
        ({"axis": "epochs"}, "an axis of epochs needs steps_per_epoch="),
        ({"axis": "tokens"}, "an axis of tokens needs tokens_per_step="),
        ({"axis": "days"}, 'the axis must be "steps", "epochs" or "tokens"; got \'days\''),
    ],
)
def test_a_picture_is_refused_with_a_reason(options, message):
    """What can't be drawn is refused, with what must hold and what was given."""
    with pytest.raises(InvalidInput, match=message):
        compare_schedules(**{"schedules": {"one": Cosine(10)}, **options})


def test_log_and_without_a_budget():
    """Values go on a logarithmic axis when asked, and the budget is left out when asked."""
    (axes,) = compare_schedules({"one": Cosine(10)}, log=True, budget=False).axes
    assert axes.get_yscale() == "log"


# Range tests.


@pytest.mark.parametrize("metrics", [(), (0.1, 0.2, 0.3)])
def test_a_range_tests_picture_holds_its_curve_and_its_suggestions(metrics):
    """Losses, smoothed losses, short trainings and each suggestion are drawn, a metric on an axis of its own."""
    figure = range_figure(
        [0.01, 0.1, 1.0], [2.0, 1.0, 3.0], [2.0, 1.1, 2.5], metrics, trials=[(0.1, 1.0), (1.0, np.inf)],
        suggestions={"steepest": 0.05, "valley": 0.1}, chosen=0.1, interval=(0.05, 0.2), top=2.0,
    )  # fmt: skip
    axes, *others = figure.axes
    assert len(others) == bool(metrics)
    raw, smoothed, trials, *marks = axes.lines
    np.testing.assert_array_equal(raw.get_ydata(), [2.0, 1.0, 3.0])
    np.testing.assert_array_equal(smoothed.get_ydata(), [2.0, 1.1, 2.5])
    np.testing.assert_array_equal(trials.get_xdata(), [0.1])  # one ended nowhere
    assert [mark.get_xdata()[0] for mark in marks] == [0.05, 0.1]
    assert axes.get_xscale() == "log"


def test_a_range_test_in_the_terminal_keeps_its_width():
    """The plot of a range test is as wide as it was told, marks the decades and holds no control characters."""
    text = terminal_range([0.01, 0.1, 1.0], [2.0, 1.0, 3.0], 0.1, width=60)
    assert max(map(len, text.splitlines())) == 60
    assert all(character.isprintable() for line in text.splitlines() for character in line)
    assert all(decade in text for decade in ("1e-2", "1e-1", "1e0"))
