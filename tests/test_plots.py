"""What the pictures must hold: their structure and their data, never their pixels."""

import io
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from gradus.errors import InvalidInput
from gradus.plots import Curve, compare_schedules, comparison_figure, png, terminal_plot
from gradus.runs import Row
from gradus.schedules import Constant, Cosine, Exponential, Linear, Step, warmup

METRICS = ("train_loss", "train_accuracy", "test_accuracy")


def row(epoch, loss=1.0, accuracy=0.5):
    """An epoch's numbers."""
    return Row(epoch, 10 * epoch, 0.1, loss, accuracy, loss, accuracy / 2, 1.0)


def rows(*losses):
    """A row for each loss."""
    return [row(epoch, loss, 1 / (1 + loss)) for epoch, loss in enumerate(losses, 1)]


def panels_of(figure):
    """A figure's panels by what they show."""
    return {axes.get_ylabel(): axes for axes in figure.axes}


def test_a_comparison_has_three_metrics_and_the_rates_under_them_all_by_epoch():
    """The picture shows train loss, train accuracy, test accuracy and learning rate, each axis labelled."""
    figure = comparison_figure({"a": Curve([0.1, 0.2], 2, [rows(2.0, 1.0)])}, "title")
    assert list(panels_of(figure)) == ["train loss", "train accuracy", "test accuracy", "learning rate"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"epoch"}
    assert figure.get_suptitle() == "title"


@pytest.mark.parametrize("metric", METRICS)
def test_a_line_is_the_mean_and_its_band_spans_lowest_to_highest(metric):
    """At each epoch the line holds the seeds' mean, and the band reaches from the lowest seed to the highest."""
    seeds = [rows(2.0, 1.0, 0.4), rows(1.0, 0.5, 0.1), rows(1.5, 1.0, 0.9)]
    axes = panels_of(comparison_figure({"a": Curve([0.1] * 3, 3, seeds)}, ""))[metric.replace("_", " ")]
    values = np.array([[getattr(one, metric) for one in seed] for seed in seeds])
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
    figure = comparison_figure({"a": Curve([0.1], 1, [rows(1.0)] * seeds)}, "title")
    assert [len(panels_of(figure)[metric.replace("_", " ")].collections) for metric in METRICS] == [bands] * 3
    assert ("bands" in figure.get_suptitle()) == bool(bands)


def test_a_seed_that_is_behind_ends_the_mean():
    """A live mean is taken only over epochs that every seed with rows has reached."""
    curve = Curve([0.1] * 3, 3, [rows(3.0, 2.0, 1.0), rows(1.0), []])
    (line,) = panels_of(comparison_figure({"a": curve}, ""))["train loss"].lines
    np.testing.assert_array_equal(line.get_ydata(), [2.0])
    assert line.get_marker() == "o"  # a line of one point would not be seen


@pytest.mark.parametrize("rates", [[0.3, 0.2, 0.1], [0.3, 0.25, 0.2, 0.15, 0.1, 0.05]])
def test_rates_are_stairs_of_equal_width_over_the_epochs(rates):
    """However many rates an epoch has, the lower panel holds each of them for its share of the epochs."""
    (line,) = panels_of(comparison_figure({"a": Curve(rates, 3, [])}, ""))["learning rate"].lines
    assert line.get_drawstyle() == "steps-post"
    np.testing.assert_allclose(line.get_xdata(), np.arange(len(rates) + 1) * 3 / len(rates))
    np.testing.assert_array_equal(line.get_ydata(), [*rates, rates[-1]])


@pytest.mark.parametrize(("peaks", "scale"), [((0.3, 0.5), "linear"), ((0.3, 300.0), "log"), ((0.0, 300.0), "linear")])
def test_rates_far_apart_are_drawn_on_a_logarithmic_axis(peaks, scale):
    """A rate that dwarfs the others doesn't press them onto the axis."""
    figure = comparison_figure({str(peak): Curve([peak], 1, []) for peak in peaks}, "")
    assert panels_of(figure)["learning rate"].get_yscale() == scale


@pytest.mark.parametrize(("losses", "scale"), [((2.0, 1.0), "log"), ((1.0, 0.0), "linear"), ((1.0, -3.0), "linear")])
def test_no_loss_falls_off_its_axis(losses, scale):
    """Losses are logarithmic where all are above 0, and linear where a logarithm would hide one."""
    seed = [row(epoch, loss) for epoch, loss in enumerate(losses, 1)]
    figure = comparison_figure({"a": Curve([0.1, 0.1], 2, [seed])}, "")
    assert panels_of(figure)["train loss"].get_yscale() == scale


def test_the_first_thirty_two_curves_all_look_different():
    """No two of 32 schedules share both colour and kind of line, and each is in the legend."""
    names = [f"schedule {index}" for index in range(32)]
    figure = comparison_figure({name: Curve([0.1], 1, []) for name in names}, "")
    looks = {(line.get_color(), line.get_linestyle()) for line in panels_of(figure)["learning rate"].lines}
    assert len(looks) == 32
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names


@pytest.mark.parametrize("epochs", [1, 2, 30, 1000])
def test_epochs_are_marked_by_whole_numbers(epochs):
    """However short or long the comparison, no tick stands at a fraction of an epoch, and no two overlap."""
    figure = comparison_figure({"a": Curve([0.1] * epochs, epochs, [rows(*np.linspace(2, 1, epochs))])}, "")
    png(figure)  # lays it out
    for axes in figure.axes:
        labels = [label for label in axes.get_xticklabels() if 0 <= label.get_position()[0] <= epochs]
        assert labels
        assert all(float(label.get_position()[0]).is_integer() for label in labels)
        boxes = sorted((box.x0, box.x1) for box in (label.get_window_extent() for label in labels))
        assert all(left[1] < right[0] for left, right in pairwise(boxes))


def test_nothing_overlaps_in_a_crowded_picture():
    """Nine schedules with long names leave panels, legend and title apart from each other."""
    curves = {f"a schedule with a long name {index}": Curve([0.1], 1, [rows(1.0), rows(2.0)]) for index in range(9)}
    figure = comparison_figure(curves, "digits: one network under each schedule")
    png(figure)  # lays it out
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    boxes += [figure.legends[0].get_window_extent(), figure._suptitle.get_window_extent()]
    assert not any(a.overlaps(b) for index, a in enumerate(boxes) for b in boxes[:index])
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1 for box in boxes)


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
