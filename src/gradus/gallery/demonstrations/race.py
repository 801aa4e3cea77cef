"""The race: every elementwise optimizer on every landscape, with single paths and with a population of start points."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.image import AxesImage

from gradus.errors import InvalidInput
from gradus.gallery.landscapes import LANDSCAPES, Landscape
from gradus.gallery.shown import Draw, Film, MakeFilm, Pen, Plate, Shown
from gradus.gallery.walk import iterates
from gradus.rules import Rule, classical, modern

__all__ = ["RACERS", "Course", "Race", "Racer", "ends", "found_rate", "race"]


@dataclass(frozen=True)
class Racer:
    """An optimizer in the race: its rule, and its hyperparameters where they aren't the defaults."""

    rule: Rule
    hypers: Mapping[str, Any]


def _racer(rule: Rule, **hypers: Any) -> Racer:
    return Racer(rule, hypers)


# SparseAdam is Adam where all gradients are dense; Sophia wants second derivatives; the others see whole tensors.
RACERS: Mapping[str, Racer] = {
    "SGD": _racer(classical.sgd),
    "momentum": _racer(classical.sgd, momentum=0.9),
    "Nesterov": _racer(classical.sgd, momentum=0.9, nesterov=True),
    "ASGD": _racer(classical.asgd),
    "Adagrad": _racer(classical.adagrad),
    "RMSprop": _racer(classical.rmsprop),
    "Adadelta": _racer(classical.adadelta),
    "Rprop": _racer(classical.rprop),
    "Adam": _racer(classical.adam),
    "AdamW": _racer(classical.adamw),
    "Adamax": _racer(classical.adamax),
    "NAdam": _racer(classical.nadam),
    "RAdam": _racer(classical.radam),
    "Lion": _racer(modern.lion),
    "Adan": _racer(modern.adan),
    "AdEMAMix": _racer(modern.ademamix),
    "SF-SGD": _racer(modern.schedule_free_sgd),
    "SF-AdamW": _racer(modern.schedule_free_adamw),
}
_IN_FILMS = ("SGD", "momentum", "Nesterov", "RMSprop", "Rprop", "Adam", "Lion", "Adan")  # as many as there are colours
_RATES = np.geomspace(1e-4, 1e2, 25)
_SCOUTS = 8  # starts along each side, from which rates are tried
_LOWEST, _HIGHEST = -8.0, 4.0  # decimal logarithms of the loss that are told apart
_CAUGHT = 0.5  # distance from a minimum that counts as there
_COLUMNS = 4
# In inches: what lies over the panels and under them, what a colour bar takes there, and where it lies.
_ABOVE, _BELOW, _BAR, _BAR_AT = 0.75, 0.55, 0.75, 0.5
_LEFT, _RIGHT = 0.09, 0.98  # parts of the width between which panels lie
_FRAMES = 40


@dataclass(frozen=True)
class Course:
    """What happened on one landscape.

    Args:
        landscape: where.
        rates: each optimizer's learning rate.
        paths: each one's places from the landscape's start, `[updates + 1, 2]`.
        starts: of the population, in rows and columns, `[2, k, k]`.
        ends: where each start ends with each optimizer, `[2, k, k]`.
    """

    landscape: Landscape
    rates: dict[str, float]
    paths: dict[str, np.ndarray]
    starts: np.ndarray
    ends: dict[str, np.ndarray]

    def caught(self, racer: str) -> np.ndarray:
        """The number of the minimum that each start ended at, from 0, and −1 where it is none, `[k, k]`."""
        minima = np.array(self.landscape.minima).T[:, :, None, None]
        distances = np.hypot(*(self.ends[racer][:, None] - minima))
        caught: np.ndarray = np.where((distances < _CAUGHT).any(axis=0), distances.argmin(axis=0), -1)
        return caught


@dataclass(frozen=True)
class Race(Shown):
    """Every optimizer on some landscapes.

    Args:
        courses: what happened on each landscape, by its name.
    """

    courses: dict[str, Course]

    question: ClassVar[str] = "Where do the optimizers go, from one start and from ten thousand?"
    lesson: ClassVar[str] = (
        "Each has its rate found by the same rule, and still none wins everywhere. Which minimum is reached depends on the "
        "start, the optimizer and the rate; momentum shoots over, and noise keeps most from coming to rest."
    )
    moves: ClassVar[bool] = True

    def pictures(self) -> dict[str, Draw]:
        paths = {name: partial(_draw_paths, course) for name, course in self.courses.items()}
        maps = {f"{name}-map": partial(_draw_map, course) for name, course in self.courses.items()}
        return {picture: draw for pair in zip(paths.items(), maps.items(), strict=True) for picture, draw in pair}

    def films(self) -> dict[str, MakeFilm]:
        return {name: partial(_film, course) for name, course in self.courses.items()}


def race(
    landscapes: Sequence[str] = tuple(LANDSCAPES),
    optimizers: Sequence[str] = tuple(RACERS),
    steps: int = 150,
    points: int = 10_000,
    seed: int = 0,
) -> Race:
    """Run optimizers over landscapes, from one start each and from a population that fills the picture.

    The rate of each is found by one rule for all: of 25 rates from 0.0001 to 100, the one with the lowest mean logarithm of
    the loss after all updates, over 64 starts.

    Args:
        landscapes: names of `LANDSCAPES`.
        optimizers: names of `RACERS`.
        steps: the updates of each.
        points: how many starts, a square number from 4.
        seed: of the noise, where there is some.

    Raises:
        InvalidInput: an unknown name, none at all, no steps, or a number of points that is no square.

    >>> shown = race(["saddle"], ["SGD", "Adam"], points=100)
    >>> shown.courses["saddle"].ends["Adam"].shape
    (2, 10, 10)
    """
    for kind, names, known in (("landscape", landscapes, LANDSCAPES), ("optimizer", optimizers, RACERS)):
        if not names:
            raise InvalidInput(f"a race needs at least one {kind} of {', '.join(known)}")
        if unknown := [name for name in names if name not in known]:
            raise InvalidInput(f"unknown {kind} {unknown[0]!r}; there is {', '.join(known)}")
    if steps < 1:
        raise InvalidInput(f"steps must be a whole number from 1; got {steps!r}")
    if points < 4 or math.isqrt(points) ** 2 != points:
        raise InvalidInput(f"points must be a square number from 4, such as 10,000; got {points!r}")
    return Race({name: _course(LANDSCAPES[name], optimizers, steps, math.isqrt(points), seed) for name in landscapes})


def _course(landscape: Landscape, optimizers: Sequence[str], steps: int, side: int, seed: int) -> Course:
    rates = {name: found_rate(RACERS[name], landscape, steps, seed) for name in optimizers}
    start, starts = np.array(landscape.start), _grid(landscape, side)
    return Course(
        landscape=landscape,
        rates=rates,
        paths={name: np.array(list(_run(RACERS[name], landscape, start, steps, rates[name], seed))) for name in optimizers},
        starts=starts,
        ends={name: ends(RACERS[name], landscape, starts, steps, rates[name], seed) for name in optimizers},
    )


def _run(racer: Racer, landscape: Landscape, start: np.ndarray, steps: int, rate: Any, seed: int) -> Any:
    return iterates(racer.rule, start, landscape.gradient(seed), steps, lr=rate, **racer.hypers)


def ends(racer: Racer, landscape: Landscape, starts: np.ndarray, steps: int, rate: Any, seed: int = 0) -> np.ndarray:
    """Where points end, all run as one population.

    Args:
        racer: the optimizer.
        landscape: where.
        starts: places, `[2, ...]`.
        steps: how many updates.
        rate: the learning rate, or rates that are broadcast against a component of `starts`.
        seed: of the noise.
    """
    where: np.ndarray = starts
    for where in _run(racer, landscape, starts, steps, rate, seed):  # noqa: B007 - the last is what counts
        pass
    return where


def found_rate(racer: Racer, landscape: Landscape, steps: int, seed: int = 0) -> float:
    """The learning rate that the race gives an optimizer on a landscape.

    Args:
        racer: the optimizer.
        landscape: where.
        steps: how many updates.
        seed: of the noise.
    """
    scouts = np.repeat(_grid(landscape, _SCOUTS).reshape(2, 1, -1), len(_RATES), axis=1)
    reached = ends(racer, landscape, scouts, steps, _RATES[:, None], seed)
    return float(_RATES[_height(landscape, reached).mean(axis=1).argmin()])


def _grid(landscape: Landscape, side: int) -> np.ndarray:
    """Places in rows and columns that fill the landscape's box, `[2, side, side]`."""
    left, right, bottom, top = landscape.box
    return np.stack(np.meshgrid(np.linspace(left, right, side), np.linspace(bottom, top, side)))


def _height(landscape: Landscape, where: np.ndarray) -> np.ndarray:
    """The decimal logarithm of the loss above the lowest point, within what is told apart; who ran away is at the top."""
    with np.errstate(all="ignore"):
        height = np.log10(landscape.excess(where))
    clipped: np.ndarray = np.clip(np.nan_to_num(height, nan=_HIGHEST), _LOWEST, _HIGHEST)
    return clipped


def _draw_paths(course: Course, pen: Pen) -> Plate:
    plate, panels = _panels(pen, course, _BELOW, "From one start: {landscape}")
    for axes, (racer, path) in zip(panels, course.paths.items(), strict=True):
        _draw_landscape(pen, axes, course.landscape, 90)
        axes.plot(*path.T, **pen.look(1) | {"linewidth": 1.2})
        axes.plot(*path[0], "s", markersize=4, color=pen.look(1)["color"])
        axes.plot(*path[-1], "o", markersize=4, color=pen.look(1)["color"], markeredgecolor=pen.ink)
        pen.label(axes, title="{racer}\nγ = {rate:.2g}", racer=pen.say(racer), rate=course.rates[racer])
    return plate


def _draw_map(course: Course, pen: Pen) -> Plate:
    plate, panels = _panels(
        pen, course, _BELOW + _BAR, "Where {points:,} starts end: {landscape}", points=course.starts[0].size
    )
    for axes, racer in zip(panels, course.ends, strict=True):
        image = _draw_ends(pen, axes, course, racer)
        pen.label(axes, title="{racer}\nγ = {rate:.2g}", racer=pen.say(racer), rate=course.rates[racer])
    strip = plate.add_axes((_LEFT, _BAR_AT / plate.get_figheight(), _RIGHT - _LEFT, 0.12 / plate.get_figheight()))
    bar = plate.colorbar(image, cax=strip, orientation="horizontal")
    minima = course.landscape.minima
    if len(minima) > 1:
        bar.set_ticks(range(-1, len(minima)), labels=[pen.say("none"), *(f"({x:.3g}, {y:.3g})" for x, y in minima)])
        bar.set_label(pen.say("the minimum that was reached"))
    else:
        bar.set_label(pen.say("log₁₀ of the loss at the end"))
    return plate


def _draw_ends(pen: Pen, axes: Axes, course: Course, racer: str) -> AxesImage:
    common: dict[str, Any] = {
        "extent": course.landscape.box,
        "origin": "lower",
        "aspect": "auto",
        "interpolation": "nearest",
    }
    axes.grid(False)
    minima = len(course.landscape.minima)
    if minima > 1:
        colours = ListedColormap([pen.faint, *(pen.look(index)["color"] for index in range(minima))])
        return axes.imshow(course.caught(racer), cmap=colours, vmin=-1.5, vmax=minima - 0.5, **common)
    return axes.imshow(
        _height(course.landscape, course.ends[racer]), cmap=pen.colours, vmin=_LOWEST, vmax=_HIGHEST, **common
    )


def _panels(pen: Pen, course: Course, below: float, title: str, **values: Any) -> tuple[Plate, list[Axes]]:
    """A panel for each optimizer, in rows; their places are fixed, for finding them takes seconds where they are many."""
    count, rows = len(course.paths), -(-len(course.paths) // _COLUMNS)
    plate = pen.plate(1.6 * rows + _ABOVE + below, title, landscape=pen.say(course.landscape.title), **values)
    plate.set_layout_engine("none")
    height = plate.get_figheight()
    edges = {"left": _LEFT, "right": _RIGHT, "bottom": below / height, "top": 1 - _ABOVE / height}
    grid = plate.subplots(
        rows, _COLUMNS, sharex=True, sharey=True, squeeze=False, gridspec_kw={"wspace": 0.12, "hspace": 0.42, **edges}
    )
    for axes in grid.flat[count:]:
        axes.remove()
    for index, axes in enumerate(grid.flat[:count]):
        lowest = index + _COLUMNS >= count
        axes.title.set_fontsize(8)
        axes.tick_params(labelsize=8, labelbottom=lowest)
        axes.locator_params(nbins=4, prune="both")
        pen.label(axes, "x" if lowest else "", "y" if index % _COLUMNS == 0 else "")
    return plate, list(grid.flat[:count])


def _draw_landscape(pen: Pen, axes: Axes, landscape: Landscape, side: int) -> None:
    """Contours, close together where the ground is low."""
    grid = _grid(landscape, side)
    heights = np.log10(landscape.excess(grid) + 0.01)
    axes.contour(*grid, heights, 9, cmap=pen.colours, linewidths=0.6)
    for x, y in landscape.minima:
        axes.plot(x, y, "*", markersize=6, color=pen.ink)
    left, right, bottom, top = landscape.box
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.grid(False)


def _film(course: Course, pen: Pen) -> Film:
    plate = pen.plate(5.2, "From one start: {landscape}", landscape=pen.say(course.landscape.title))
    axes = plate.subplots()
    _draw_landscape(pen, axes, course.landscape, 100)
    shown = {racer: course.paths[racer] for racer in (*_IN_FILMS, *course.paths) if racer in course.paths}
    shown = dict(list(shown.items())[: len(_IN_FILMS)])
    lines = [
        axes.plot([], [], label=pen.say(racer), marker="o", markevery=[-1], **pen.look(i))[0]
        for i, racer in enumerate(shown)
    ]
    plate.legend(loc="outside lower center", ncols=4)
    pen.label(axes, "x", "y", "update {update}", update=0)
    updates = np.unique(np.linspace(0, len(next(iter(shown.values()))) - 1, _FRAMES).round().astype(int))

    def move(update: int) -> None:
        for line, path in zip(lines, shown.values(), strict=True):
            line.set_data(*path[: update + 1].T)
        pen.label(axes, title="update {update}", update=update)

    return Film(plate, updates.tolist(), move, [*lines, axes.title])
