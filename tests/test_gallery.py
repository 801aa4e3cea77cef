"""Laws of the gallery: what is shown is what trains, and pictures hold their data in either language, on either paper."""

import ast
import functools
import inspect
import io
import pickle
import re
import subprocess
import sys
import warnings
from fractions import Fraction
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.ttLib.tables._g_l_y_f import Glyph
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

import gradus.optim
import gradus.schedules as all_of
from gradus import cli, gallery
from gradus.errors import GradusError, InvalidInput
from gradus.gallery import captions
from gradus.gallery.demonstrations.condition import ravine
from gradus.gallery.demonstrations.momentum import contraction, critical_momentum, overshoot
from gradus.gallery.demonstrations.race import ends, found_rate
from gradus.gallery.demonstrations.schedules import CATALOGUE, SHAPES
from gradus.gallery.entrants import ENTRANTS
from gradus.gallery.landscapes import LANDSCAPES
from gradus.gallery.training import DeepNet, SmallNet, one_thread, small_task
from gradus.gallery.walk import iterates
from gradus.plots import Picture
from gradus.randomness import seed_for
from gradus.rules import classical
from gradus.runs import Run
from gradus.schedules import epochs
from gradus.sweep import REFERENCE

DOCS = Path(__file__).parent.parent / "docs"

# Each demonstration, in a size that takes a moment.
SMALL = {
    "descent": gallery.descent,
    "averages": gallery.averages,
    "momentum": gallery.momentum,
    "condition": gallery.condition,
    "race": lambda: gallery.race(["himmelblau", "noisy"], ["SGD", "Adam"], steps=20, points=100),
    "schedules": lambda: gallery.schedules(rates=[1.0], epochs=5, reference_epochs=1, deep_updates=4),
    "rate-and-batch": lambda: gallery.rate_and_batch(rates=[0.25, 1.0], batches=[128, 512], epochs=1),
}


@functools.cache
def made(name):
    """What a demonstration gives, made once for all tests."""
    return SMALL[name]()


@functools.cache
def drawn(name, picture):
    """One of its pictures, laid out once for all tests that look at it."""
    figure = made(name).figure(picture)
    figure.draw_without_rendering()
    return figure


@functools.cache
def drawn_in_chinese_on_dark(name, picture):
    """The same picture as those have it who differ most, and its pixels."""
    figure = made(name).figure(picture, lang="zh", dark=True)
    figure.set_dpi(20)  # nobody reads it
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Glyph")
        canvas.draw()
    return figure, np.asarray(canvas.buffer_rgba())


@pytest.fixture(params=gallery.DEMONSTRATIONS)
def shown(request):
    """What each demonstration gives."""
    return made(request.param)


@pytest.fixture(scope="module")
def chinese(tmp_path_factory):
    """A font that has the signs of the captions, and no other: drawing a sign that is in no font is a warning."""
    signs = sorted({sign for text in captions.CHINESE.values() for sign in text if ord(sign) > 0x2E00})
    names = [".notdef", *(f"uni{ord(sign):04X}" for sign in signs)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(sign): name for sign, name in zip(signs, names[1:], strict=True)})
    builder.setupGlyf({name: Glyph() for name in names})
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=880, descent=-120)
    builder.setupNameTable({"familyName": captions.FONTS[0], "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=880)
    builder.setupPost()
    path = tmp_path_factory.mktemp("fonts") / "signs.ttf"
    builder.save(path)
    known = list(font_manager.fontManager.ttflist)
    font_manager.fontManager.addfont(path)
    yield
    font_manager.fontManager.ttflist[:] = known


def visible_texts(figure):
    """Every text that can be seen in a figure that has been laid out."""
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def panels(figure):
    """The panels that hold data."""
    return [axes for axes in figure.axes if axes.axison]


# What every demonstration must hold.


def test_every_demonstration_is_held_here():
    """The laws hold for each demonstration there is."""
    assert SMALL.keys() == gallery.DEMONSTRATIONS.keys()


def test_every_panel_says_what_it_shows(shown):
    """Each picture has a title; each column of panels names its x axis, each row its y axis, each colour bar its scale."""
    for picture in shown.pictures():
        figure = drawn(shown.name, picture)
        assert figure.get_suptitle()
        for axes in panels(figure):
            place = axes.get_subplotspec()
            if place is None:
                assert axes.get_xlabel() or axes.get_ylabel()
                continue
            assert axes.has_data()
            assert axes.get_xlabel() or not place.is_last_row()
            assert axes.get_ylabel() or not place.is_first_col()


def test_no_text_lies_on_another(shown):
    """The titles, axis labels and numbers of a picture don't overlap."""
    for picture in shown.pictures():
        figure = drawn(shown.name, picture)
        boxes = []
        for axes in panels(figure):
            numbers = [tick.label1 for axis in (axes.xaxis, axes.yaxis) for tick in axis.get_major_ticks()]
            low, high = axes.get_window_extent().min - 2, axes.get_window_extent().max + 2
            for text in [axes.title, axes.xaxis.label, axes.yaxis.label, *numbers]:
                box = text.get_window_extent()
                if text.get_visible() and text.get_text() and (text not in numbers or _beside(box, low, high)):
                    boxes.append((text.get_text(), box.padded(-1)))
        for index, (one, box) in enumerate(boxes):
            for other, its in boxes[:index]:
                assert not box.overlaps(its), (picture, one, other)


def _beside(box, low, high):
    """Whether a number stands within the span of its axis: matplotlib makes some that lie beyond, and doesn't draw them."""
    middle = (box.min + box.max) / 2
    return bool((middle[0] >= low[0] and middle[0] <= high[0]) or (middle[1] >= low[1] and middle[1] <= high[1]))


@pytest.mark.usefixtures("chinese")
def test_chinese_pictures_have_no_english_sentence_and_no_missing_sign(shown):
    """With lang="zh" every text that has a translation is translated, and every sign is in a font."""
    for picture in shown.pictures():
        english = set(visible_texts(drawn(shown.name, picture)))
        for text in visible_texts(drawn_in_chinese_on_dark(shown.name, picture)[0]):
            assert text not in english or text in CATALOGUE or not _is_prose(text), text
    assert all(
        english != ours for english, ours in zip(*(shown.caption(lang).split("\n") for lang in ("en", "zh")), strict=True)
    )


def _is_prose(text):
    """Two small English words in a row, or one long one; names and formulas aren't."""
    words = [word for word in text.replace("-", " ").split() if word.isascii() and word.isalpha() and word.islower()]
    return len(words) > 1 or any(len(word) > 4 for word in words)


@pytest.mark.usefixtures("chinese")
def test_dark_pictures_are_light_on_dark(shown):
    """Dark paper is dark, and every text on it is light, but for the numbers in the light cells of a map."""
    for picture in shown.pictures():
        figure, pixels = drawn_in_chinese_on_dark(shown.name, picture)
        assert pixels[2, 2, :3].max() < 64
        in_cells = [text for axes in figure.axes if axes.images for text in axes.texts]
        for text in figure.findobj(Text):
            if text.get_visible() and text.get_text() and text not in in_cells:
                assert text.get_color() not in ("black", "k", "#000000"), text.get_text()


@pytest.mark.parametrize("name", ["averages", "race", "schedules", "rate-and-batch"])
def test_a_demonstration_gives_the_same_each_time(name):
    """A demonstration that draws by chance or trains gives the same data when it is made again, bit for bit."""
    assert pickle.dumps(_plain(vars(SMALL[name]()))) == pickle.dumps(_plain(vars(made(name))))


def _plain(value):
    """Data as lists and bytes, which say in one word whether they are equal."""
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.tobytes()
    if isinstance(value, dict):
        return [(name, _plain(each)) for name, each in value.items()]
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return _plain(vars(value)) if hasattr(value, "__dict__") and not callable(value) else repr(value)


@pytest.mark.parametrize(("name", "picture"), [("descent", "rates"), ("averages", "series")])
@pytest.mark.parametrize("format_", ["png", "svg"])
def test_pictures_are_the_same_bytes_each_time(name, picture, format_):
    """Equal data give the same files, bit for bit."""
    assert gallery.render(made(name), picture, format_) == gallery.render(SMALL[name](), picture, format_)


def test_what_is_unknown_is_refused(shown):
    """A picture, film, format or language that isn't there is named, with those that are."""
    with pytest.raises(InvalidInput, match="unknown picture 'nope'; there is"):
        shown.figure("nope")
    with pytest.raises(InvalidInput, match=r"has no film|unknown film 'nope'"):
        shown.film("nope")
    with pytest.raises(InvalidInput, match='the language must be "en" or "zh"; got \'fr\''):
        shown.figure(lang="fr")
    with pytest.raises(InvalidInput, match="the format must be png, svg or gif; got 'bmp'"):
        gallery.render(shown, next(iter(shown.pictures())), "bmp")


def test_without_a_chinese_font_the_fonts_are_named(monkeypatch):
    """Where no font has Chinese signs, nothing is drawn, and the message says which fonts were looked for."""
    monkeypatch.setattr(font_manager, "get_font_names", lambda: ["DejaVu Sans"])
    with pytest.raises(GradusError, match=r"none is installed: Noto Sans CJK SC, .*SimHei"):
        made("descent").figure(lang="zh")


def test_the_gallery_is_built_on_what_everybody_can_use():
    """The gallery imports the rooms of the reference alone, but for hints in messages and the seeds of trainings."""
    public = set(re.findall(r"^::: gradus\.(\w+)", (DOCS / "reference.md").read_text(), flags=re.M))
    folder = Path(gallery.__file__).parent
    imported = {
        room
        for path in folder.rglob("*.py")
        for room in re.findall(r"^ *(?:from|import) gradus\.(\w+)", path.read_text(), flags=re.M)
    }
    assert imported - public == {"names", "randomness"}


# Walks.


RULES = [name for name in classical.__all__ if name != "sparse_adam"]
OPTIMIZERS = {
    name: next(one for one in vars(gradus.optim).values() if getattr(one, "rule", None) is getattr(classical, name))
    for name in RULES
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("backend", ["torch", "reference", "cpu"])
def test_points_go_where_optimizers_go(name, backend):
    """A walk on floats, one in a population, and an optimizer of torch or of ours go to the same places."""
    start, rates = 1.5, np.array([0.01, 0.07])
    crowd = list(iterates(getattr(classical, name), np.full(2, start), lambda x, _: 8 * x, 12, lr=rates))
    for index, rate in enumerate(rates):
        alone = list(iterates(getattr(classical, name), start, lambda x, _: 8 * x, 12, lr=float(rate)))
        np.testing.assert_allclose([where[index] for where in crowd], alone, rtol=1e-13, atol=1e-15)
        param = torch.nn.Parameter(torch.tensor([start], dtype=torch.float64))
        kind = OPTIMIZERS[name]
        if backend == "torch":
            optimizer = getattr(torch.optim, kind.__name__)([param], lr=float(rate))
        else:
            optimizer = kind([param], lr=float(rate), backend=backend)
        for where in alone[1:]:
            param.grad = 8 * param.detach()
            optimizer.step()
            # torch keeps ASGD's rate and NAdam's product of momenta in single precision.
            assert param.item() == pytest.approx(where, rel=1e-6 if backend == "torch" else 1e-10, abs=1e-13)


@pytest.mark.parametrize(
    ("rule", "hypers", "message"),
    [
        (classical.sgd, {"lr": -1.0}, "lr must be a finite number that isn't negative; got -1.0"),
        (classical.sgd, {"lr": np.array([0.1, np.nan])}, "lr must be a finite number that isn't negative"),
        (classical.sgd, {"rate": 0.1}, "sgd has no hyperparameter 'rate'; it has lr, momentum"),
        (gradus.optim.LAMB.rule, {}, "is a rule of whole tensors"),
    ],
)
def test_a_walk_refuses_what_its_rule_refuses(rule, hypers, message):
    """A walk holds hyperparameters to the rule's own checks, before its first update."""
    with pytest.raises(InvalidInput, match=message):
        iterates(rule, 1.0, lambda x, _: x, 3, **hypers)


# Descent.


@pytest.mark.parametrize("rate", made("descent").paths)
def test_descent_agrees_with_hand_arithmetic_to_the_last_digit(rate):
    """The iterates are those of exact arithmetic: x ← x − γ·8x in fractions, rounded once where floats round at all."""
    exact, factor = Fraction(2), Fraction(rate)
    for step in made("descent").paths[rate]:
        if rate == 0.2:  # no binary fraction: each update rounds
            assert step.x == pytest.approx(float(exact), rel=1e-13)
        else:
            assert (step.x, step.y, step.gradient) == (exact, float(4 * exact**2), 8 * exact)
        exact -= factor * 8 * exact


def test_descent_begins_as_in_the_textbook():
    """At rate 1 the path is 2, −14, 98, −686; at 0.125 it is at 0 after one update."""
    paths = made("descent").paths
    assert [step.x for step in paths[1.0][:4]] == [2.0, -14.0, 98.0, -686.0]
    assert [step.x for step in paths[0.25][:3]] == [2.0, -2.0, 2.0]
    assert [step.x for step in paths[0.125]] == [2.0] + [0.0] * 10


@pytest.mark.parametrize("backend", ["torch", "cpu"])
def test_descent_is_what_the_optimizers_do(backend):
    """SGD of torch, and ours in one pass, go through the same points in double precision."""
    for rate, path in made("descent").paths.items():
        param = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
        sgd = torch.optim.SGD([param], lr=rate) if backend == "torch" else gradus.optim.SGD([param], lr=rate, backend="cpu")
        for step in path[1:]:
            param.grad = 8 * param.detach()
            sgd.step()
            assert param.item() == pytest.approx(step.x, rel=1e-12, abs=1e-15)


def test_critical_rates_part_the_fates():
    """Losses fall below 2/L, stay at it and grow beyond it, and are least at 1/L."""
    shown = made("descent")
    rates, ends = shown.ends
    first = 16.0
    assert (shown.settling, shown.critical) == (0.125, 0.25)
    assert (ends[rates < 0.2495] < first).all()
    assert (ends[rates > 0.2505] > first).all()
    assert ends.min() == ends[np.abs(rates - 0.125).argmin()] == 0.0


def test_the_picture_of_paths_holds_the_iterates():
    """Beside each curve lie the losses of all iterates, and on it their places."""
    shown = made("descent")
    figure = shown.figure("paths")
    for index, path in enumerate(shown.paths.values()):
        on_curve, losses = figure.axes[2 * index].lines[1], figure.axes[2 * index + 1].lines[0]
        np.testing.assert_array_equal(losses.get_ydata(), [step.y for step in path])
        places = on_curve.get_xdata()
        np.testing.assert_array_equal(places, [step.x for step in path][: len(places)])


def test_the_picture_of_rates_marks_the_critical_ones():
    """The lower panel has 1/L and 2/L where they lie."""
    *_, ends = (axes for axes in made("descent").figure("rates").axes if axes.get_legend())
    assert [line.get_xdata()[0] for line in ends.lines[1:]] == [0.125, 0.25]
    assert [text.get_text() for text in ends.get_legend().get_texts()] == ["1/L = 0.125", "2/L = 0.25"]


def test_descent_takes_other_rates_and_tables_them():
    """A table has a line for each iterate: its number, x, y and the gradient."""
    shown = gallery.descent(rates=[0.1], start=1.0, steps=2)
    *_, last = shown.table(0.1).splitlines()
    assert last.split() == ["2", "0.04", "0.0064", "0.32"]
    with pytest.raises(InvalidInput, match=r"no path at the rate 1\.0; there is 0\.1"):
        shown.table(1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rates": []}, "the rates must be different finite numbers above 0"),
        ({"rates": [0.1, 0.1]}, "the rates must be different finite numbers above 0"),
        ({"rates": [-0.1]}, "the rates must be different finite numbers above 0"),
        ({"start": 0.0}, "the start must be a finite number other than 0; got 0.0"),
        ({"steps": 0}, "steps must be a whole number from 1; got 0"),
    ],
)
def test_descent_refuses_what_shows_nothing(arguments, message):
    """Without rates, distance or steps there is nothing to see."""
    with pytest.raises(InvalidInput, match=message):
        gallery.descent(**arguments)


# Averages.


def test_an_average_is_the_sum_of_its_weights_times_the_values():
    """Each average is Σ (1 − β)βᵗ·θ over the values so far, and its correction divides by the weights' sum."""
    shown = gallery.averages(days=100)
    for day in (1, 2, 60, 100):
        latest_first = shown.series[:day][::-1]
        sums = latest_first @ shown.weights[:day]
        np.testing.assert_allclose(shown.plain[day - 1], sums, rtol=1e-12)
        np.testing.assert_allclose(shown.corrected[day - 1], sums / shown.weights[:day].sum(axis=0), rtol=1e-12)


def test_weights_sum_to_one_less_their_next_power():
    """The weights up to age t sum to 1 − βᵗ⁺¹, and after the memory 1/(1 − β) a value counts a third of what it did."""
    shown = made("averages")
    ages = np.arange(len(shown.sums))[:, None]
    np.testing.assert_allclose(shown.sums, 1 - shown.betas ** (ages + 1), rtol=1e-12)
    np.testing.assert_allclose(shown.memory, [50, 20, 10, 5], rtol=1e-12)
    assert ((shown.betas**shown.memory > 0.32) & (shown.betas**shown.memory < 1 / np.e)).all()


def test_averages_are_the_first_moments_of_torchs_adam():
    """torch's Adam, given the series as gradients, keeps the same averages."""
    shown = gallery.averages(days=60)
    for index, beta in enumerate(shown.betas):
        param = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        adam = torch.optim.Adam([param], betas=(float(beta), 0.999))
        for value, average in zip(shown.series, shown.plain[:, index], strict=True):
            param.grad = torch.tensor([value])
            adam.step()
            assert adam.state[param]["exp_avg"].item() == pytest.approx(average, rel=1e-12)


def test_the_pictures_of_averages_hold_weights_sums_and_averages():
    """Each β has a curve of weights, a curve of sums and a curve through the series, in one colour."""
    shown = made("averages")
    upper, lower = shown.figure("weights").axes
    series, beginning = shown.figure("series").axes
    for index in range(4):
        np.testing.assert_array_equal(upper.lines[2 * index].get_ydata(), shown.weights[:, index])
        np.testing.assert_array_equal(lower.lines[2 * index].get_ydata(), shown.sums[:, index])
        np.testing.assert_array_equal(series.lines[1 + index].get_ydata(), shown.corrected[:, index])
        assert (
            upper.lines[2 * index].get_color() == lower.lines[2 * index].get_color() == series.lines[1 + index].get_color()
        )
    np.testing.assert_array_equal(beginning.lines[1].get_ydata(), shown.plain[:60, 0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"betas": []}, "betas must be numbers from 0 and below 1"),
        ({"betas": [1.0]}, "betas must be numbers from 0 and below 1"),
        ({"days": 59}, "days must be a whole number from 60; got 59"),
    ],
)
def test_averages_refuse_what_shows_nothing(arguments, message):
    """An average needs a β that forgets, and days to average."""
    with pytest.raises(InvalidInput, match=message):
        gallery.averages(**arguments)


# Momentum.


@pytest.mark.parametrize("rate", [0.01, 0.03])
@pytest.mark.parametrize("amount", [0.0, 0.63, 0.9])
def test_momentum_is_the_recurrence_it_solves(rate, amount):
    """A path is a·r₁ᵗ + b·r₂ᵗ with the roots of r² − (1 + μ − γL)r + μ = 0, and the greater is what an update leaves."""
    path = made("momentum").paths[rate][amount]
    roots = np.roots([1, -(1 + amount - 8 * rate), amount]).astype(complex)
    both = np.linalg.solve(np.vander(roots, 2, increasing=True).T, np.array(path[:2], dtype=complex))
    solved = (both * roots ** np.arange(len(path))[:, None]).sum(axis=1)
    np.testing.assert_allclose(path, solved.real, atol=1e-12)
    assert contraction(np.array(rate), np.array(amount)) == pytest.approx(np.abs(roots).max(), rel=1e-7)


@pytest.mark.parametrize("rate", [0.01, 0.03, 0.1])
def test_critical_momentum_is_the_fastest_and_the_last_without_overshoot(rate):
    """No other momentum leaves less of the distance in the long run; with it a path doesn't overshoot, with more it does."""
    momenta = np.linspace(0, 0.99, 1000)
    best = momenta[contraction(np.full(1000, rate), momenta).argmin()]
    critical = critical_momentum(rate)
    assert best == pytest.approx(critical, abs=2e-3)
    shown = gallery.momentum(rates=[rate], momenta=[critical + 0.1], steps=200)
    above, at = shown.paths[rate].values()
    assert overshoot(above) > 1e-4
    assert overshoot(at) < 1e-12


def test_the_forms_of_momentum_are_torchs_and_the_textbooks():
    """Torch's, dampened and Nesterov's forms are torch's SGD; the averaged one is b ← μb + (1 − μ)g from b = 0."""
    forms = gallery.momentum(steps=20).forms
    x, average = 2.0, 0.0
    for where in forms["averaged"]:
        assert where == pytest.approx(x, rel=1e-12)
        average = 0.9 * average + 0.1 * 8 * x
        x -= 0.03 * average
    options = [{}, {"dampening": 0.9}, {"nesterov": True}]
    for form, more in zip([name for name in forms if name != "averaged"], options, strict=True):
        param = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
        sgd = torch.optim.SGD([param], lr=0.03, momentum=0.9, **more)
        for where in forms[form][1:]:
            param.grad = 8 * param.detach()
            sgd.step()
            assert param.item() == pytest.approx(where, rel=1e-11)


def test_the_pictures_of_momentum_hold_their_paths():
    """Each rate has a panel with a line for each momentum, labelled with its overshoot."""
    shown = made("momentum")
    for axes, (rate, paths) in zip(shown.figure("paths").axes, shown.paths.items(), strict=True):
        assert axes.get_title() == f"rate {rate:g}"
        for line, path, text in zip(axes.lines, paths.values(), axes.get_legend().get_texts(), strict=False):
            np.testing.assert_array_equal(line.get_ydata(), path)
            assert f"overshoot {100 * overshoot(path):.0f} %" in text.get_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rates": [0.2]}, r"the rates must be above 0 and at most 1/L = 0\.125"),
        ({"rates": []}, "the rates must be above 0"),
        ({"momenta": [1.0]}, "the momenta must be numbers from 0 and below 1"),
        ({"steps": 0}, "steps must be a whole number from 1; got 0"),
    ],
)
def test_momentum_refuses_what_cannot_be_critical(arguments, message):
    """Rates beyond 1/L have no critical momentum, and a momentum of 1 never stops."""
    with pytest.raises(InvalidInput, match=message):
        gallery.momentum(**arguments)


# Condition.


@pytest.fixture(scope="module")
def ravines():
    """The demonstration of condition numbers."""
    return made("condition")


def test_the_rates_in_ravines_are_the_best_there_are():
    """No other rate of plain descent, and none of momentum with any momentum of a grid, leaves less of both directions."""
    answers = gallery.condition([10.0]).answers[10.0]
    rates = np.linspace(0.001, 0.4, 1000)
    worst = np.maximum(np.abs(1 - rates), np.abs(1 - 10 * rates))
    assert answers["plain"].rate == pytest.approx(rates[worst.argmin()], abs=1e-3)
    assert worst.min() >= (10 - 1) / (10 + 1) - 1e-3
    heavy = answers["momentum"]
    momenta = np.linspace(0, 0.99, 300)[:, None]
    # γL is what counts, so a direction of curvature c at the rate γ is the parabola's of 8 at γc/8.
    worst = np.maximum(*(contraction(rates * c / 8, momenta) for c in (1, 10)))
    at_best = [float(contraction(np.array(heavy.rate * c / 8), np.array(heavy.momentum))) for c in (1, 10)]
    assert max(at_best) == pytest.approx((10**0.5 - 1) / (10**0.5 + 1), rel=1e-6)
    assert worst.min() >= max(at_best) - 1e-9


def test_plain_descent_in_a_ravine_needs_what_theory_says(ravines):
    """From a start with equal gradients, plain descent leaves ((κ − 1)/(κ + 1))² of the loss at each update, at most."""
    for kappa, answers in ravines.answers.items():
        losses, left = answers["plain"].losses, ((kappa - 1) / (kappa + 1)) ** 2
        assert (losses[1:] <= left * losses[:-1] * (1 + 1e-9) + 1e-30).all()
        needed = answers["plain"].needed
        assert losses[needed] <= 1e-6 * losses[0] < losses[needed - 1]


def test_plain_descent_needs_about_kappa_and_momentum_its_root(ravines):
    """From κ = 10 on, ten times the condition number takes plain descent ten times the updates, momentum about three."""
    large = ravines.kappas >= 10
    slopes = {
        method: np.polyfit(np.log(ravines.kappas[large]), np.log(needed[large]), 1)[0]
        for method, needed in ravines.needed.items()
    }
    assert slopes["plain"] == pytest.approx(1.0, abs=0.03)
    assert slopes["momentum"] == pytest.approx(0.5, abs=0.1)
    assert abs(slopes["Adam"]) < 0.03


def test_paths_in_ravines_are_torchs(ravines):
    """torch's SGD and Adam go the same way down the same ravine."""
    for kappa, answers in ravines.answers.items():
        matrix = torch.as_tensor(ravine(kappa))
        for method in ("plain", "momentum", "Adam"):
            answer = answers[method]
            param = torch.nn.Parameter(torch.as_tensor(answer.path[0]))
            kind, more = (torch.optim.Adam, {}) if method == "Adam" else (torch.optim.SGD, {"momentum": answer.momentum})
            optimizer = kind([param], lr=answer.rate, **more)
            for where in answer.path[1:40]:
                param.grad = matrix @ param.detach()
                optimizer.step()
                np.testing.assert_allclose(param.detach().numpy(), where, rtol=1e-9, atol=1e-12)


def test_a_turned_ravine_is_the_same_ravine():
    """Turning keeps the curvatures, and moves the directions."""
    np.testing.assert_allclose(np.linalg.eigvalsh(ravine(100.0, 0.7)), [1, 100], rtol=1e-12)
    np.testing.assert_allclose(ravine(100.0), [[1, 0], [0, 100]])


@pytest.mark.parametrize("kappas", [[], [0.5], [301.0]])
def test_condition_refuses_numbers_out_of_range(kappas):
    """A condition number is at least 1, and the demonstration goes to 300."""
    with pytest.raises(InvalidInput, match="the condition numbers must be from 1 to 300"):
        gallery.condition(kappas)


# Race.


@pytest.mark.parametrize("name", LANDSCAPES)
def test_slopes_are_the_derivatives_of_heights(name):
    """Each landscape's gradient is its height's, by central differences, and is 0 at its minima, its lowest points."""
    landscape = LANDSCAPES[name]
    left, right, bottom, top = landscape.box
    places = np.random.default_rng(0).uniform((left, bottom), (right, top), (50, 2)).T
    for axis, shift in enumerate(1e-5 * np.eye(2)):
        rise = landscape.value(places + shift[:, None]) - landscape.value(places - shift[:, None])
        np.testing.assert_allclose(landscape.slope(places)[axis], rise / 2e-5, rtol=1e-6, atol=1e-5)
    for minimum in np.array(landscape.minima):
        np.testing.assert_allclose(landscape.slope(minimum), 0, atol=1e-4)
        assert landscape.value(minimum) == pytest.approx(landscape.value(np.array(landscape.minima[0])), abs=1e-9)
    assert (landscape.value(places) >= landscape.value(np.array(landscape.minima[0]))).all()


def test_every_optimizer_races():
    """Each optimizer of `gradus.optim` is in the race, but SparseAdam and SophiaH, which are Adam and SophiaG there."""
    kinds = {one for one in vars(gradus.optim).values() if isinstance(one, type) and issubclass(one, torch.optim.Optimizer)}
    assert {entrant.optimizer for entrant in ENTRANTS.values()} == kinds - {
        gradus.optim.Optimizer,
        gradus.optim.SparseAdam,
        gradus.optim.SophiaH,
    }


@pytest.mark.parametrize("name", [name for name in ENTRANTS if name != "L-BFGS"])
def test_racers_go_where_their_optimizers_go(name):
    """A point of a population goes where its optimizer of `gradus.optim` takes it as a matrix of one column, by autograd."""
    entrant, landscape, rate = ENTRANTS[name], LANDSCAPES["beale"], 0.003
    starts = np.array([[1.0, 2.5, -0.5], [1.2, -1.0, 0.3]])
    places = np.array(list(entrant.places(landscape, starts, 25, np.array([0.01, rate, 0.001]))))
    param = torch.nn.Parameter(torch.tensor(starts[:, [1]]))
    optimizer = entrant.optimizer([param], lr=rate, **entrant.hypers)
    for step, where in enumerate(places[1:, :, 1]):
        if name == "SophiaG" and step % 10 == 0:
            curvatures = torch.autograd.functional.hessian(_beale, param.detach().flatten()).diagonal()[:, None]
            kept = optimizer.state[param]
            kept["hessian"] = 0.99 * kept.get("hessian", torch.zeros(2, 1)) + 0.01 * curvatures
        optimizer.zero_grad()
        _beale(param.flatten()).backward()
        optimizer.step()
        # Muon multiplies in bfloat16, whose sums depend on how many matrices there are.
        np.testing.assert_allclose(param.detach().numpy()[:, 0], where, rtol=1e-3 if name == "Muon" else 1e-8)


def _beale(point):
    x, y = point
    return sum((c - x + x * y**power) ** 2 for power, c in enumerate((1.5, 2.25, 2.625), 1))


def test_l_bfgs_goes_where_its_optimizer_goes():
    """L-BFGS goes over Beale's function as the optimizer does with autograd, an iteration an update, and arrives."""
    entrant, start = ENTRANTS["L-BFGS"], np.array([1.0, 1.25])
    places = list(entrant.places(LANDSCAPES["beale"], start, 60, 1.0))
    param = torch.nn.Parameter(torch.tensor(start))
    optimizer = gradus.optim.LBFGS([param], lr=1.0, max_iter=1, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = _beale(param)
        loss.backward()
        return loss

    for where in places[1:]:
        optimizer.step(closure)
        np.testing.assert_allclose(where, param.detach().numpy(), rtol=1e-5)
    np.testing.assert_allclose(places[-1], (3, 0.5), rtol=1e-5)


def test_l_bfgs_sees_one_noise_in_each_search():
    """Where gradients are noisy, the loss that a line is searched along has the slope that the noisy gradient has."""
    landscape = LANDSCAPES["noisy"]
    first, second, *_ = ENTRANTS["L-BFGS"].places(landscape, np.array([2.0, 1.0]), 2, 1.0, seed=5)
    slope = landscape.gradient(5)(first, 1)
    along = second - first
    assert along[0] * slope[1] == pytest.approx(along[1] * slope[0])  # its first step is down the gradient that it sees
    tilted = [landscape.value(where) + landscape.tilt(5, 1) @ where for where in (first, second)]
    assert tilted[1] < tilted[0]


@pytest.mark.parametrize("name", LANDSCAPES)
def test_curvatures_are_the_derivatives_of_slopes(name):
    """Each landscape's curvatures are the Hessian's diagonal, by central differences of its gradient."""
    landscape = LANDSCAPES[name]
    left, right, bottom, top = landscape.box
    places = np.random.default_rng(0).uniform((left, bottom), (right, top), (50, 2)).T
    for axis, shift in enumerate(1e-5 * np.eye(2)[:, :, None]):
        rise = (landscape.slope(places + shift) - landscape.slope(places - shift))[axis]
        np.testing.assert_allclose(landscape.curvature(places)[axis], rise / 2e-5, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ENTRANTS)
def test_a_point_in_the_crowd_goes_where_it_goes_alone(name):
    """A population's ends are those of its points run one by one, under the same noise."""
    landscape, starts = LANDSCAPES["noisy"], np.random.default_rng(1).uniform(-2, 2, (2, 5))
    crowd = ends(ENTRANTS[name], landscape, starts, 30, 0.05, seed=3)
    for index in range(5):
        alone = ends(ENTRANTS[name], landscape, starts[:, index], 30, 0.05, seed=3)
        np.testing.assert_allclose(crowd[:, index], alone, rtol=1e-12)


def test_a_found_rate_is_the_best_of_its_grid():
    """No rate of the grid, tried alone, has a lower mean logarithm of the final loss from 8 × 8 starts."""
    landscape = LANDSCAPES["himmelblau"]
    starts = np.stack(np.meshgrid(np.linspace(-5, 5, 8), np.linspace(-5, 5, 8)))
    means = {}
    for rate in np.geomspace(1e-4, 1e2, 25):
        last = ends(ENTRANTS["momentum"], landscape, starts, 40, float(rate))
        with np.errstate(all="ignore"):
            losses = np.nan_to_num(landscape.value(last), nan=np.inf)
        means[float(rate)] = np.log10(np.clip(losses, 1e-8, 1e4)).mean()
    assert found_rate(ENTRANTS["momentum"], landscape, 40) == pytest.approx(min(means, key=means.get))


def test_paths_in_the_race_are_torchs():
    """torch's Adam, at the race's rate, goes the same way over Himmelblau's function."""
    course = gallery.race(["himmelblau"], ["Adam"], steps=30, points=4).courses["himmelblau"]
    param = torch.nn.Parameter(torch.tensor(course.landscape.start, dtype=torch.float64))
    adam = torch.optim.Adam([param], lr=course.rates["Adam"])
    for where in course.paths["Adam"][1:]:
        adam.zero_grad()
        x, y = param
        ((x * x + y - 11) ** 2 + (x + y * y - 7) ** 2).backward()
        adam.step()
        np.testing.assert_allclose(param.detach().numpy(), where, rtol=1e-9)


def test_ends_are_told_apart_by_their_minimum():
    """Where a start ends at a minimum, its number is that minimum's, and −1 where it ends at none, or ran away."""
    course = gallery.race(["himmelblau"], ["SGD"], steps=150, points=100).courses["himmelblau"]
    caught = course.caught("SGD")
    assert {0, 1, 2, 3} <= set(caught.flat)
    for number, minimum in enumerate(course.landscape.minima):
        there = course.ends["SGD"][:, caught == number]
        assert (np.hypot(*(there - np.array(minimum)[:, None])) < 0.5).all()
    course.ends["SGD"][:, 0, 0] = np.nan
    assert course.caught("SGD")[0, 0] == -1


def test_the_noise_is_the_seeds():
    """A seed gives the same race each time, and another seed another, where there is noise."""
    paths = [gallery.race(["noisy"], ["SGD"], 20, 4, seed).courses["noisy"].paths["SGD"] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(paths[0], paths[1])
    assert (paths[0][-1] != paths[2][-1]).all()


def test_the_pictures_of_the_race_hold_paths_and_ends():
    """Each optimizer has a panel with its path, and one with an image of where the population ends."""
    shown = made("race")
    course = shown.courses["himmelblau"]
    for axes, (entrant, path) in zip(shown.figure("himmelblau").axes, course.paths.items(), strict=True):
        name, rate = axes.get_title().split("\nγ = ")
        assert (name, float(rate)) == (entrant, pytest.approx(course.rates[entrant], rel=0.05))
        assert any(np.array_equal(line.get_xydata(), path) for line in axes.lines)
    *panels_, _ = shown.figure("himmelblau-map").axes
    for axes, entrant in zip(panels_, course.ends, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), course.caught(entrant))


def test_a_film_moves_to_where_the_paths_end():
    """A film is a GIF of several frames, has every optimizer, ends at the last update, and is the same bytes each time."""
    shown = made("race")
    film = shown.film("himmelblau")
    assert film.frames[-1] == 20
    film.move(20)
    *lines, _ = film.moving
    for line, (entrant, path) in zip(lines, shown.courses["himmelblau"].paths.items(), strict=True):
        assert line.get_label() == entrant
        np.testing.assert_array_equal(line.get_xydata(), path)
    content = gallery.render(shown, "himmelblau", "gif")
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "GIF"
        assert image.n_frames > 10
        assert image.width == 598
    assert gallery.render(shown, "himmelblau", "gif") == content


@pytest.mark.parametrize("count", [1, 7, 8, 15, 29])
def test_every_panel_of_a_film_has_its_optimizers(count):
    """Optimizers are spread over a film's panels: at most seven in one, and no panel without any."""
    names = list(ENTRANTS)[:count]
    film = gallery.race(["himmelblau"], names, steps=1, points=4).film("himmelblau")
    drawn = [[line for line in axes.lines if line in film.moving] for axes in film.figure.axes]
    assert sum(map(len, drawn)) == len(names)
    assert all(0 < len(lines) <= 7 for lines in drawn)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"landscapes": ["nope"]}, "unknown landscape 'nope'; there is rosenbrock, beale"),
        ({"optimizers": ["SparseAdam"]}, "unknown optimizer 'SparseAdam'.*; there is SGD, momentum"),
        ({"landscapes": []}, "a race needs at least one landscape of rosenbrock"),
        ({"steps": 0}, "steps must be a whole number from 1; got 0"),
        ({"points": 10}, "points must be a square number from 4, such as 10,000; got 10"),
    ],
)
def test_a_race_refuses_what_it_cannot_run(arguments, message):
    """Unknown names, no steps and points that fill no square are refused."""
    with pytest.raises(InvalidInput, match=message):
        gallery.race(**arguments)


# Schedules.


@pytest.fixture(scope="module")
def trained():
    """The demonstration of schedules, in small."""
    return made("schedules")


def test_the_sheet_shows_every_kind_of_schedule(trained):
    """Each public kind and recipe has a panel, but those that wrap others, and Plateau and Greedy, which follow a metric."""
    kinds = {name for name in all_of.__all__ if name not in ("Absolute", "absolute", "Finding", "Schedule", "Span")}
    kinds -= {"check", "explain", "parse", "epochs", "fraction", "rest", "samples", "tokens", "Plateau", "Greedy"}
    assert CATALOGUE.keys() == trained.sheet.keys() == kinds
    for axes, (name, values) in zip(trained.figure("catalogue").axes, trained.sheet.items(), strict=True):
        assert axes.get_title() == name
        resolved = CATALOGUE[name].resolve(100)
        np.testing.assert_allclose(axes.lines[0].get_ydata(), [resolved(t) for t in range(101)], rtol=1e-12)
        assert (values >= 0).all()
        assert values.max() <= 1.4  # what the panels show


def test_the_six_are_trained_as_the_reference_experiment_says(trained):
    """The losses of the six are those of `gradus.train` on runs of the same specification."""
    assert list(trained.losses) == list(REFERENCE)
    task = small_task()
    run = Run("digits", lr=0.3, schedules=REFERENCE["cosine"], length=epochs(1), batch_size=64, valid=False)
    with one_thread():
        (row,) = gradus.train(run, task, device=torch.device("cpu"))
    assert trained.losses["cosine"] == [row["train/loss"]]
    assert trained.rates["cosine"] == run.rates(23)
    assert trained.rates["cosine"][-1] == row["lr"]


def test_the_map_is_real_training(trained):
    """A cell of the map is the test accuracy of a run under that schedule with that highest rate."""
    run = Run("digits", lr=1.0, schedules=SHAPES["linear"], length=epochs(5), batch_size=64, valid=False)
    with one_thread():
        *_, last = gradus.train(run, small_task(), device=torch.device("cpu"))
    assert trained.accuracies[list(SHAPES).index("linear"), 0] == last["test/accuracy"]
    numbers = [text.get_text() for text in trained.figure("map").axes[0].texts]
    assert numbers == [f"{100 * value:.0f}" for value in trained.accuracies.flat]


def test_a_diverged_training_is_a_dash():
    """Where a training diverges, its accuracy is no number, and its cell says so."""
    shown = gallery.rate_and_batch(rates=[1e6], batches=[64], epochs=2)
    assert np.isnan(shown.accuracies).all()
    assert [text.get_text() for text in shown.figure("batch").axes[0].texts] == ["–"]


def test_warmup_is_off_and_on_from_the_same_weights(trained):
    """The deep network has 50 layers and no normalisation, and begins alike with and without warmup."""
    modules = list(DeepNet(50, 24, 0.1).modules())
    assert sum(isinstance(module, torch.nn.Linear) for module in modules) == 50
    assert not any("Norm" in type(module).__name__ for module in modules)
    off, on = trained.deep.values()
    assert off.shape == on.shape == (3, 4, 2)
    np.testing.assert_array_equal(off[:, 0, 1], on[:, 0, 1])
    np.testing.assert_array_equal(off[:, :, 0], np.full((3, 4), 0.1))
    np.testing.assert_allclose(on[0, :, 0], [0, 0.05, 0.1, 0.1], rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rates": []}, "schedules needs at least one rate"),
        ({"rates": [-1.0]}, "the learning rate must be a finite number above 0"),
        ({"epochs": 4}, "epochs must be a whole number from 5"),
        ({"deep_updates": 1}, "deep_updates must be a whole number from 2; got 1"),
        ({"reference_epochs": 0}, "length must be a whole number of updates from 1"),
    ],
)
def test_schedules_refuse_what_cannot_be_trained(arguments, message):
    """What no run can be made of is refused before anything is trained."""
    with pytest.raises(InvalidInput, match=message):
        gallery.schedules(**arguments)


# Rate and batch.


def test_the_landscape_is_the_loss_along_the_gradient():
    """At the first network each value is L(θ − γg)/L(θ), with g of the whole training set."""
    shown, task = made("rate-and-batch"), small_task()
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(seed_for(0, "weights"))
        model = SmallNet()
        inputs, targets = task.train
        first = task.loss(model(inputs), targets)
        slopes = torch.autograd.grad(first, list(model.parameters()))
        for index in (0, 40, 70):
            moved = {
                name: param - shown.steps[index] * slope
                for (name, param), slope in zip(model.named_parameters(), slopes, strict=True)
            }
            there = task.loss(torch.func.functional_call(model, moved, inputs), targets)
            for landscapes in shown.landscapes.values():
                assert landscapes[0][index] == pytest.approx((there / first).item(), rel=1e-5)


def test_the_batch_map_is_real_training():
    """A cell is the test accuracy of a run at that rate and batch size, and circles mark the best rates."""
    shown = made("rate-and-batch")
    run = Run("digits", lr=1.0, length=epochs(1), batch_size=512, valid=False)
    with one_thread():
        *_, last = gradus.train(run, small_task(), device=torch.device("cpu"))
    assert shown.accuracies[1, 1] == last["test/accuracy"]
    circles = shown.figure("batch").axes[0].lines[0]
    np.testing.assert_array_equal(shown.rates[circles.get_xdata()], shown.best())
    assert (shown.accuracies.max(axis=1) == shown.accuracies[range(2), circles.get_xdata()]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rates": []}, "at least one rate and one batch size"),
        ({"batches": [0]}, "batch_size must be a whole number from 1"),
    ],
)
def test_rate_and_batch_refuse_what_cannot_be_trained(arguments, message):
    """What no run can be made of is refused before anything is trained."""
    with pytest.raises(InvalidInput, match=message):
        gallery.rate_and_batch(**arguments)


# The command.


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run `gradus gallery` in an empty folder; its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gradus", "gallery", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, err = capsys.readouterr()
        return left.value.code or 0, out, err

    return run


def test_the_command_lists_what_there_is(command):
    """Without a name, each demonstration is listed with its question, in either language, and nothing is written."""
    code, out, _ = command()
    assert code == 0
    assert [line.split(":")[0] for line in out.splitlines() if not line.startswith(" ")] == list(gallery.DEMONSTRATIONS)
    code, out, _ = command("--lang", "zh")
    assert code == 0
    assert "descent: 学习率" in out


@pytest.mark.parametrize("arguments", [[], ["--lang", "zh"], ["--help"], ["nope"], ["descent", "--format", "bmp"]])
def test_a_list_of_names_loads_neither_torch_nor_matplotlib(tmp_path, arguments):
    """What draws nothing, and `import gradus.gallery`, load nothing that draws or trains."""
    script = (
        "import sys\nimport gradus.gallery\nfrom gradus.cli import main\ntry:\n    main()\n"
        "finally:\n    assert not {'torch', 'matplotlib', 'PIL'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "gallery", *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == (2 if "nope" in arguments or "bmp" in arguments else 0)


def test_the_command_writes_each_picture(command, tmp_path):
    """Each picture is a file of its own, in each format that was asked for, and standard output names it."""
    code, out, _ = command("descent", "--format", "png", "--format", "svg", "--out", "here")
    assert code == 0
    written = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert written == ["descent-paths.png", "descent-paths.svg", "descent-rates.png", "descent-rates.svg"]
    assert all(f"wrote here/{name}" in out for name in written)
    assert "Below 1/L the path comes in" in out
    assert "-686" in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_parts_of_a_demonstration_are_all_of_it():
    """The race's parts are its landscapes, and each other demonstration is one part."""
    parts = {name: demonstration.parts for name, demonstration in gallery.DEMONSTRATIONS.items()}
    assert parts.pop("race") == tuple(([name],) for name in LANDSCAPES)
    assert set(parts.values()) == {((),)}


def test_all_are_drawn_side_by_side_and_told_in_order(command, tmp_path, monkeypatch):
    """With --all, demonstrations are drawn in processes of their own, and told in the order of a lecture."""
    two = {name: gallery.DEMONSTRATIONS[name] for name in ("descent", "averages")}
    two["descent"] = two["descent"]._replace(parts=((), ()))
    monkeypatch.setattr(sys.modules["gradus.cli.gallery"], "DEMONSTRATIONS", two)
    monkeypatch.setattr(sys.modules["gradus.cli.gallery"], "_SIDE_BY_SIDE", 1)  # each takes seconds to begin
    code, out, _ = command("--all", "--format", "svg", "--out", "here")
    assert code == 0
    assert out.count("Below 1/L") == 1
    wrote = ["descent-paths.svg", "descent-rates.svg"] * 2 + ["averages-weights.svg", "averages-series.svg"]
    assert [line for line in out.splitlines() if line.startswith("wrote")] == [f"wrote here/{name}" for name in wrote]
    assert out.index("Below 1/L") < out.index("wrote here/descent") < out.index("About the last")
    for name in set(wrote):
        assert (tmp_path / "here" / name).read_bytes() == gallery.render(
            two[name.split("-")[0]].make(), name[:-4].split("-")[1], "svg"
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nope",), "unknown demonstration 'nope'; there is descent"),
        (("descent", "--all"), "a demonstration's name or --all, not both"),
        (("descent", "--format", "bmp"), "--format must be png, svg or gif; got 'bmp'"),
        (("descent", "--lang", "fr"), 'the language must be "en" or "zh"'),
        (("descent", "--format", "gif"), "nothing of descent moves; --format is png or svg"),
    ],
)
def test_the_command_refuses_what_it_cannot_do(command, tmp_path, arguments, message):
    """Input that can't be used leaves with code 2, says why, and nothing is written."""
    code, _, err = command(*arguments)
    assert code == 2
    assert message in err
    assert not list(tmp_path.iterdir())


# The pages and the notebook.


def test_every_demonstration_has_its_page_with_small_pictures():
    """Each demonstration has a page that shows every picture of its own, and none is larger than 250 kB."""
    for name in gallery.DEMONSTRATIONS:
        page = (DOCS / "gallery" / f"{name}.md").read_text()
        shown = set(re.findall(r"\]\(([\w-]+)\.png\)", page))
        drawn = {path.stem for path in (DOCS / "gallery").glob(f"{name}-*.png")}
        assert shown == drawn
        assert len(drawn) > 1
    for picture in (DOCS / "gallery").glob("*.[pg][ni][gf]"):
        assert picture.stat().st_size < 300_000, picture


def test_the_notebook_walks_through_all_of_them_in_order(monkeypatch, capsys):
    """The notebook runs from its first cell to its last, with small demonstrations, and has each once, in the order of a
    lecture; each cell that ends in a picture gives one.
    """
    notebook = nbformat.read(DOCS / "gallery.ipynb", as_version=4)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    called = [name.replace("_", "-") for name in re.findall(r"gallery\.(\w+)\(", "\n".join(cells))]
    assert called == list(gallery.DEMONSTRATIONS)
    for name in called:
        monkeypatch.setattr(gallery, name.replace("-", "_"), _small(name), raising=False)
    names = {}
    for cell in cells:
        *statements, last = ast.parse(cell).body
        exec(compile(ast.Module(statements, []), "cell", "exec"), names)
        value = (
            eval(compile(ast.Expression(last.value), "cell", "eval"), names)
            if isinstance(last, ast.Expr)
            else exec(compile(ast.Module([last], []), "cell", "exec"), names)
        )
        assert isinstance(value, Picture) == (".figure(" in cell)
    assert "-686" in capsys.readouterr().out


def _small(name):
    """The demonstration's function, which takes what it takes and gives what the tests have made already."""
    whole = inspect.signature(getattr(gallery, name.replace("-", "_")))

    def function(*arguments, **named):
        whole.bind(*arguments, **named)
        return made(name)

    return function
