"""The race: every optimizer on every landscape, with single paths and with a population of start points."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from gradus.errors import InvalidInput
from gradus.gallery.entrants import ENTRANTS, Entrant
from gradus.gallery.landscapes import LANDSCAPES, Landscape
from gradus.gallery.shown import Draw, Film, MakeFilm, Shown, Style, StyledFigure
from gradus.gallery.training import one_thread
from gradus.names import did_you_mean, hinting

__all__ = ["Course", "Race", "ends", "found_rate", "race"]


_RATES = np.geomspace(1e-4, 1e2, 25)
_SCOUTS = 8  # starts along each side, from which rates are tried
# An optimizer that runs one point after the other gets fewer scouts and starts along each side, and one rate in several.
_SCOUTS_ALONE, _RATE_ALONE, _ALONE = 2, 8, 6
_LOWEST, _HIGHEST = -8.0, 4.0  # decimal logarithms of the loss, clipped to these
_CAUGHT = 0.5  # distance from a minimum that counts as there
_COLUMNS = 4
# In inches: the height of a row of panels, the margins above and below, and the colour bar's height and place.
_ROW, _ABOVE, _BELOW, _BAR, _BAR_AT = 1.5, 0.75, 0.55, 0.75, 0.5
_LEFT, _RIGHT = 0.09, 0.98  # fractions of the width: the panels' left and right edges
_FRAMES = 30
_TOGETHER = 7  # optimizers in one panel of a film at most, each with a colour of its own


@dataclass(frozen=True)
class Course:
    """What happened on one landscape.

    Args:
        landscape: where.
        rates: each optimizer's learning rate.
        paths: each one's places from the landscape's start, `[updates + 1, 2]`.
        starts: of the population, in rows and columns, `[2, k, k]`.
        ends: where each start ends with each optimizer, `[2, k, k]`; of fewer starts where points run one by one.
    """

    landscape: Landscape
    rates: dict[str, float]
    paths: dict[str, np.ndarray]
    starts: np.ndarray
    ends: dict[str, np.ndarray]

    def caught(self, entrant: str) -> np.ndarray:
        """The number of the minimum that each start ended at, from 0, and −1 where it is none, `[k, k]`."""
        minima = np.array(self.landscape.minima).T[:, :, None, None]
        distances = np.hypot(*(self.ends[entrant][:, None] - minima))
        caught: np.ndarray = np.where((distances < _CAUGHT).any(axis=0), distances.argmin(axis=0), -1)
        return caught


@dataclass(frozen=True)
class Race(Shown):
    """Every optimizer on some landscapes.

    Args:
        courses: what happened on each landscape, by its name.
    """

    courses: dict[str, Course]

    name: ClassVar[str] = "race"

    def pictures(self) -> dict[str, Draw]:
        paths = {name: partial(_draw_paths, course) for name, course in self.courses.items()}
        maps = {f"{name}-map": partial(_draw_map, course) for name, course in self.courses.items()}
        return {picture: draw for pair in zip(paths.items(), maps.items(), strict=True) for picture, draw in pair}

    def films(self) -> dict[str, MakeFilm]:
        return {name: partial(_film, course) for name, course in self.courses.items()}


@hinting
def race(
    landscapes: Sequence[str] = tuple(LANDSCAPES),
    optimizers: Sequence[str] = tuple(ENTRANTS),
    steps: int = 150,
    points: int = 10_000,
    seed: int = 0,
) -> Race:
    """Run optimizers over landscapes, from one start each and from a population that fills the picture.

    The rate of each is found by one rule for all: of 25 rates from 0.0001 to 100, the one with the lowest mean logarithm of
    the loss after all updates, over 64 starts; of equals, the one that is nearest to 1. L-BFGS searches along lines, and so
    runs one point after the other: it tries 4 of the rates over 4 starts, and ends from at most 36.

    Args:
        landscapes: names of `LANDSCAPES`.
        optimizers: names of `ENTRANTS`.
        steps: the updates of each.
        points: how many starts, a square number from 4.
        seed: of the noise, where there is some.

    Raises:
        InvalidInput: an unknown name, none at all, no steps, or a number of points that is no square.

    >>> shown = race(["saddle"], ["SGD", "Adam"], points=100)
    >>> shown.courses["saddle"].ends["Adam"].shape
    (2, 10, 10)
    """
    for kind, names, known in (("landscape", landscapes, LANDSCAPES), ("optimizer", optimizers, ENTRANTS)):
        if not names:
            raise InvalidInput(f"a race needs at least one {kind} of {', '.join(known)}")
        if unknown := [name for name in names if name not in known]:
            raise InvalidInput(
                f"unknown {kind} {unknown[0]!r}{did_you_mean(unknown[0], known)}; there is {', '.join(known)}"
            )
    if steps < 1:
        raise InvalidInput(f"steps must be a whole number from 1; got {steps!r}")
    if points < 4 or math.isqrt(points) ** 2 != points:
        raise InvalidInput(f"points must be a square number from 4, such as 10,000; got {points!r}")
    with one_thread():
        return Race({name: _course(LANDSCAPES[name], optimizers, steps, math.isqrt(points), seed) for name in landscapes})


def _course(landscape: Landscape, optimizers: Sequence[str], steps: int, side: int, seed: int) -> Course:
    course = Course(landscape, {}, {}, _grid(landscape, side), {})
    for name in optimizers:
        entrant = ENTRANTS[name]
        rate = course.rates[name] = found_rate(entrant, landscape, steps, seed)
        starts = _grid(landscape, min(side, _ALONE)) if entrant.alone else course.starts
        everyone = np.column_stack([landscape.start, starts.reshape(2, -1)])
        path = []
        for places in entrant.places(landscape, everyone, steps, rate, seed):
            path.append(places[:, 0].copy())
        course.paths[name], course.ends[name] = np.array(path), places[:, 1:].reshape(starts.shape)
    return course


def ends(entrant: Entrant, landscape: Landscape, starts: np.ndarray, steps: int, rate: Any, seed: int = 0) -> np.ndarray:
    """Where points end, all run as one population.

    Args:
        entrant: the optimizer.
        landscape: where.
        starts: places, `[2, ...]`.
        steps: how many updates.
        rate: the learning rate, or rates that are broadcast against a component of `starts`.
        seed: of the noise.
    """
    where: np.ndarray = starts
    for where in entrant.places(landscape, starts, steps, rate, seed):  # noqa: B007 - the last is what counts
        pass
    return where


def found_rate(entrant: Entrant, landscape: Landscape, steps: int, seed: int = 0) -> float:
    """The learning rate that the race gives an optimizer on a landscape.

    Args:
        entrant: the optimizer.
        landscape: where.
        steps: how many updates.
        seed: of the noise.
    """
    rates, side = (_RATES[::_RATE_ALONE], _SCOUTS_ALONE) if entrant.alone else (_RATES, _SCOUTS)
    scouts = np.repeat(_grid(landscape, side).reshape(2, 1, -1), len(rates), axis=1)
    reached = ends(entrant, landscape, scouts, steps, rates[:, None], seed)
    means = _height(landscape, reached).mean(axis=1)
    best = rates[means == means.min()]
    return float(best[np.abs(np.log(best)).argmin()])


def _grid(landscape: Landscape, side: int) -> np.ndarray:
    """Places in rows and columns that fill the landscape's box, `[2, side, side]`."""
    left, right, bottom, top = landscape.box
    return np.stack(np.meshgrid(np.linspace(left, right, side), np.linspace(bottom, top, side)))


def _height(landscape: Landscape, where: np.ndarray) -> np.ndarray:
    """The decimal logarithm of the loss above the lowest point, clipped; whatever diverged is at the top."""
    with np.errstate(all="ignore"):
        height = np.log10(landscape.excess(where))
    clipped: np.ndarray = np.clip(np.nan_to_num(height, nan=_HIGHEST), _LOWEST, _HIGHEST)
    return clipped


def _draw_paths(course: Course, style: Style) -> StyledFigure:
    figure, panels = _panels(style, course, _BELOW, "From one start: {landscape}")
    for axes, (entrant, path) in zip(panels, course.paths.items(), strict=True):
        _draw_landscape(style, axes, course.landscape, 90)
        axes.plot(*path.T, **style.line(1) | {"linewidth": 1.2})
        axes.plot(*path[0], "s", markersize=4, color=style.line(1)["color"])
        axes.plot(*path[-1], "o", markersize=4, color=style.line(1)["color"], markeredgecolor=style.ink)
        _name(style, axes, course, entrant)
    return figure


def _name(style: Style, axes: Axes, course: Course, entrant: str, starts: int = 0) -> None:
    """Title a panel with the optimizer, its rate in two digits, and the number of its starts where that is its own."""
    title = "{entrant}\nγ = {rate:g}; {starts} starts" if starts else "{entrant}\nγ = {rate:g}"
    style.label(axes, title=title, entrant=style.text(entrant), rate=float(f"{course.rates[entrant]:.2g}"), starts=starts)


def _draw_map(course: Course, style: Style) -> StyledFigure:
    figure, panels = _panels(
        style, course, _BELOW + _BAR, "Where {points:,} starts end: {landscape}", points=course.starts[0].size
    )
    for axes, entrant in zip(panels, course.ends, strict=True):
        image = _draw_ends(style, axes, course, entrant)
        starts = course.ends[entrant][0].size
        _name(style, axes, course, entrant, starts if starts < course.starts[0].size else 0)
    strip = figure.add_axes((_LEFT, _BAR_AT / figure.get_figheight(), _RIGHT - _LEFT, 0.12 / figure.get_figheight()))
    bar = figure.colorbar(image, cax=strip, orientation="horizontal")
    minima = course.landscape.minima
    if len(minima) > 1:
        bar.set_ticks(range(-1, len(minima)), labels=[style.text("none"), *(f"({x:.3g}, {y:.3g})" for x, y in minima)])
        bar.set_label(style.text("the minimum that was reached"))
    else:
        bar.set_label(style.text("log₁₀ of the loss at the end"))
    return figure


def _draw_ends(style: Style, axes: Axes, course: Course, entrant: str) -> AxesImage:
    common: dict[str, Any] = {
        "extent": course.landscape.box,
        "origin": "lower",
        "aspect": "auto",
        "interpolation": "nearest",
    }
    axes.grid(False)
    minima = len(course.landscape.minima)
    if minima > 1:
        colours = ListedColormap([style.faint, *(style.line(index)["color"] for index in range(minima))])
        return axes.imshow(course.caught(entrant), cmap=colours, vmin=-1.5, vmax=minima - 0.5, **common)
    return axes.imshow(
        _height(course.landscape, course.ends[entrant]), cmap=style.colours, vmin=_LOWEST, vmax=_HIGHEST, **common
    )


def _panels(style: Style, course: Course, below: float, title: str, **values: Any) -> tuple[StyledFigure, list[Axes]]:
    """A panel for each optimizer, in rows; places and ticks are fixed, since matplotlib takes seconds to find them."""
    count, rows = len(course.paths), -(-len(course.paths) // _COLUMNS)
    figure = style.figure(_ROW * rows + _ABOVE + below, title, landscape=style.text(course.landscape.title), **values)
    figure.set_layout_engine("none")
    height = figure.get_figheight()
    figure.suptitle(figure.get_suptitle(), y=1 - 0.1 / height, fontsize=11)
    edges = {"left": _LEFT, "right": _RIGHT, "bottom": below / height, "top": 1 - _ABOVE / height}
    grid = figure.add_gridspec(rows, _COLUMNS, wspace=0.12, hspace=0.42, **edges)
    left, right, bottom, top = course.landscape.box
    along, up = (
        [tick for tick in MaxNLocator(4).tick_values(low, high) if low < tick < high]
        for low, high in ((left, right), (bottom, top))
    )
    panels = []
    for index in range(count):
        lowest, first = index + _COLUMNS >= count, index % _COLUMNS == 0
        axes = figure.add_subplot(grid[divmod(index, _COLUMNS)])
        axes.set(xlim=(left, right), ylim=(bottom, top), xticks=along if lowest else [], yticks=up if first else [])
        axes.tick_params(labelsize=8)
        axes.title.set_fontsize(8)
        style.label(axes, "x" if lowest else "", "y" if first else "")
        panels.append(axes)
    return figure, panels


def _draw_landscape(style: Style, axes: Axes, landscape: Landscape, side: int) -> None:
    """Contours, close together where the ground is low."""
    grid = _grid(landscape, side)
    heights = np.log10(landscape.excess(grid) + 0.01)
    axes.contour(*grid, heights, 9, cmap=style.colours, linewidths=0.6)
    for x, y in landscape.minima:
        axes.plot(x, y, "*", markersize=6, color=style.ink)
    axes.grid(False)


def _film(course: Course, style: Style) -> Film:
    """A few panels of some optimizers each; every one is in the film."""
    entrants = list(course.paths)
    columns = 1 if len(entrants) <= _TOGETHER else 2
    rows = -(-len(entrants) // (columns * _TOGETHER))
    groups = [group.tolist() for group in np.array_split(np.array(entrants), columns * rows)]  # every panel has its share
    figure = style.figure(0.5 + 3.6 * rows, "From one start: {landscape}", landscape=style.text(course.landscape.title))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    left, right, bottom, top = course.landscape.box
    lines = []
    for axes, group in zip(panels, groups, strict=True):
        _draw_landscape(style, axes, course.landscape, 100)
        for index, entrant in enumerate(group):
            (line,) = axes.plot(
                [], [], label=style.text(entrant), marker="o", markersize=4, markevery=[-1], **style.line(index)
            )
            lines.append(line)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=8)
        axes.set(xlim=(left, right), ylim=(bottom, top))
        style.label(axes, "x", "y")
    count = figure.text(0.99, 0.99, "", ha="right", va="top")
    updates = np.unique(np.linspace(0, len(course.paths[entrants[0]]) - 1, _FRAMES).round().astype(int))

    def move(update: int) -> None:
        for line, entrant in zip(lines, entrants, strict=True):
            line.set_data(*course.paths[entrant][: update + 1].T)
        count.set_text(style.text("update {update}", update=update))

    return Film(figure, updates.tolist(), move, [*lines, count])
