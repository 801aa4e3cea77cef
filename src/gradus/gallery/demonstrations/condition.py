"""An ill-conditioned ravine: why one rate can't serve two directions, and what momentum and Adam answer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from matplotlib.axes import Axes

from gradus.errors import InvalidInput
from gradus.gallery.shown import Draw, Shown, Style, StyledFigure
from gradus.gallery.walk import Gradient, iterates
from gradus.rules import Rule
from gradus.rules.classical import adam, sgd

__all__ = ["CONDITIONS", "METHODS", "Answer", "Condition", "condition", "ravine"]

CONDITIONS = (1.0, 10.0, 100.0)
METHODS = ("plain", "momentum", "Adam", "Adam, ravine turned")
_START = (-2.0, 1.0)  # along the flat direction, along the steep one
_TURN = math.pi / 4
_NEAR = 1e-6  # the part of the first loss that counts as there
_SHOWN = 40  # updates of the paths that are drawn
_LIMIT = 1200  # updates
_ADAMS_RATES = np.geomspace(1e-3, 3, 36)
_MANY = np.geomspace(1, 300, 10).round(2)


def ravine(kappa: float, turn: float = 0.0) -> np.ndarray:
    """The second derivatives, `[2, 2]`, of ½(x² + κy²), turned by an angle.

    Args:
        kappa: κ, how many times steeper one direction is than the other.
        turn: the angle, in radians.
    """
    axes = _axes(turn)
    curvatures: np.ndarray = axes @ np.diag([1.0, kappa]) @ axes.T
    return curvatures


def _axes(turn: float) -> np.ndarray:
    """The flat direction and the steep one, as columns."""
    cosine, sine = math.cos(turn), math.sin(turn)
    return np.array([[cosine, -sine], [sine, cosine]])


@dataclass(frozen=True)
class Answer:
    """What a method does in a ravine.

    Args:
        rate: its learning rate: by theory the best for plain descent and momentum, for Adam the best of a grid.
        momentum: its momentum, 0 for those without.
        path: the places, the start first, `[updates + 1, 2]`.
        losses: theirs, `[updates + 1]`.
        needed: the updates after which the loss stays below a millionth of the first.
    """

    rate: float
    momentum: float
    path: np.ndarray
    losses: np.ndarray
    needed: int


@dataclass(frozen=True)
class Condition(Shown):
    """Three methods in ravines ½(x² + κy²).

    Args:
        answers: what each of `METHODS` does, by κ.
        kappas: more condition numbers, `[k]`.
        needed: the updates that each method needs there, `[k]`.
    """

    answers: dict[float, dict[str, Answer]]
    kappas: np.ndarray
    needed: dict[str, np.ndarray]

    name: ClassVar[str] = "condition"

    def pictures(self) -> dict[str, Draw]:
        return {"paths": self._draw_paths, "rates": self._draw_rates, "updates": self._draw_updates}

    def _draw_paths(self, style: Style) -> StyledFigure:
        figure = style.figure(
            1.7 * len(self.answers) + 0.6, "Paths in ravines ½(x² + κy²), {updates} updates", updates=_SHOWN
        )
        rows = figure.subplots(len(self.answers), 3, sharex=True, sharey=True, squeeze=False)
        for row, (kappa, answers) in zip(rows, self.answers.items(), strict=True):
            for axes, (method, answer) in zip(row, answers.items(), strict=False):
                _draw_path(style, axes, kappa, answer)
                style.label(axes, title="{method}, κ = {kappa:g}", method=style.text(method), kappa=kappa)
        style.label_grid(rows, "x", "y")
        return figure

    def _draw_rates(self, style: Style) -> StyledFigure:
        figure = style.figure(2.9, "What one update of plain descent leaves of the distance")
        panels = figure.subplots(1, len(self.answers), sharey=True, squeeze=False)[0]
        for axes, (kappa, answers) in zip(panels, self.answers.items(), strict=True):
            rates = np.linspace(0, 2.2 / kappa, 200)
            axes.plot(rates, np.abs(1 - rates), label=style.text("flat direction"), **style.line(0))
            axes.plot(rates, np.abs(1 - kappa * rates), label=style.text("steep direction"), **style.line(2))
            best = answers["plain"].rate
            axes.plot(best, abs(1 - best), "o", color=style.line(1)["color"], label=style.text("best rate"))
            axes.set_ylim(0, 1.25)
            axes.locator_params(axis="x", nbins=3)
            style.label(axes, "learning rate", title="κ = {kappa:g}", kappa=kappa)
        style.label(panels[0], y="part left")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return figure

    def _draw_updates(self, style: Style) -> StyledFigure:
        figure = style.figure(4.2, "Updates until the loss is a millionth of the first")
        axes = figure.subplots()
        for index, (method, needed) in enumerate(self.needed.items()):
            axes.plot(self.kappas, needed, marker="osD^"[index], markersize=4, label=style.text(method), **style.line(index))
        axes.set(xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
        axes.legend()
        style.label(axes, "condition number κ", "updates needed")
        return figure


def condition(kappas: Sequence[float] = CONDITIONS) -> Condition:
    """Plain descent, momentum and Adam in ravines, each at its best rate.

    Plain descent: γ = 2/(1 + κ), which leaves (κ − 1)/(κ + 1). Momentum: γ = 4/(√κ + 1)² and μ = ((√κ − 1)/(√κ + 1))²,
    which leave (√κ − 1)/(√κ + 1) (Polyak 1964). Adam: the rate of a grid with which it needs the fewest updates.

    Args:
        kappas: condition numbers of the ravines that are drawn, from 1 to 300.

    Raises:
        InvalidInput: no condition numbers, or one out of its range.

    >>> shown = condition([100.0])
    >>> [answer.needed for answer in shown.answers[100.0].values()][:2]
    [346, 58]
    """
    if not kappas or not all(1 <= kappa <= _MANY[-1] for kappa in kappas):
        raise InvalidInput(f"the condition numbers must be from 1 to {_MANY[-1]:g}, such as {CONDITIONS}; got {kappas!r}")
    many = [_answers(kappa) for kappa in _MANY]
    return Condition(
        answers={kappa: _answers(kappa) for kappa in kappas},
        kappas=_MANY,
        needed={method: np.array([answers[method].needed for answers in many]) for method in METHODS},
    )


def _answers(kappa: float) -> dict[str, Answer]:
    straight, turned = ((ravine(kappa, turn), _axes(turn) @ _START) for turn in (0.0, _TURN))  # the start turns too
    root = math.sqrt(kappa)
    answers = (
        _answer(*straight, sgd, lr=2 / (1 + kappa)),
        _answer(*straight, sgd, lr=4 / (root + 1) ** 2, momentum=((root - 1) / (root + 1)) ** 2),
        *(_answer(*one, adam, lr=_adams_rate(*one)) for one in (straight, turned)),
    )
    return dict(zip(METHODS, answers, strict=True))


def _answer(matrix: np.ndarray, start: np.ndarray, rule: Rule, *, lr: float, momentum: float = 0.0) -> Answer:
    more = {"momentum": momentum} if momentum else {}
    path = np.array(list(iterates(rule, start, _gradient_of(matrix), _LIMIT, lr=lr, **more)))
    losses = _losses(matrix, path.T)
    return Answer(lr, momentum, path, losses, int(_needed(losses)))


def _adams_rate(matrix: np.ndarray, start: np.ndarray) -> float:
    """The rate of the grid with which Adam needs the fewest updates: all are run as one population."""
    starts = np.repeat(start[:, None], len(_ADAMS_RATES), axis=1)
    places = np.array(list(iterates(adam, starts, _gradient_of(matrix), _LIMIT // 2, lr=_ADAMS_RATES)))
    return float(_ADAMS_RATES[_needed(_losses(matrix, places.transpose(1, 0, 2))).argmin()])


def _gradient_of(matrix: np.ndarray) -> Gradient:
    return lambda where, _: np.tensordot(matrix, where, 1)


def _losses(matrix: np.ndarray, where: np.ndarray) -> np.ndarray:
    """½ w·Hw at places `[2, ...]`."""
    losses: np.ndarray = 0.5 * (where * np.tensordot(matrix, where, 1)).sum(axis=0)
    return losses


def _needed(losses: np.ndarray) -> np.ndarray:
    """The first update from which on the loss stays below the part that counts as there; losses are `[updates + 1, ...]`."""
    above = losses > _NEAR * losses[0]
    needed: np.ndarray = len(losses) - above[::-1].argmax(axis=0)
    return needed


def _draw_path(style: Style, axes: Axes, kappa: float, answer: Answer) -> None:
    x, y = np.linspace(-2.4, 1.2, 120), np.linspace(-1.5, 1.5, 100)
    losses = 0.5 * (x * x + kappa * (y * y)[:, None])
    axes.contour(x, y, np.sqrt(losses), 9, colors=style.faint, linewidths=0.6)
    axes.plot(*answer.path[: _SHOWN + 1].T, marker="o", markersize=2.5, **style.line(0) | {"linewidth": 1})
    axes.plot(0, 0, "*", markersize=9, color=style.line(1)["color"])
    axes.set(xlim=(-2.4, 1.2), ylim=(-1.5, 1.5))
