"""The style of every picture: colours, kinds of lines, axes, and the figure that notebooks show."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

__all__ = ["COLOURS", "LINES", "Picture", "legend_columns", "line_style", "log_axis", "png", "sampled", "shortened", "style"]

# Okabe and Ito's eight colours, which the colour-blind can tell apart; line styles tell them apart in grey.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C00"]
LINES = ["-", "--", "-.", ":"]
_STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "figure.dpi": 120,
    "font.size": 10,
}
_INK, _PAPER = "#E6E6E6", "#16191D"
_DARK: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor"), _PAPER),
    "grid.color": "#7A828C",
}
_FEW_DECADES = 300
_ON_DARK = {"#0072B2": "#8A8DFF", "#000000": _INK}  # for the two that dark paper swallows


def style(dark: bool = False) -> dict[Any, Any]:
    """matplotlib's settings for a picture.

    Args:
        dark: light lines on dark paper.

    >>> style()["axes.grid"]
    True
    """
    return _STYLE | _DARK if dark else dict(_STYLE)


class Picture(Figure):
    """A figure that notebooks show with or without `%matplotlib inline`.

    >>> Picture().get_axes()
    []
    """

    def _repr_png_(self) -> bytes:
        return png(self)


def line_style(index: int, dark: bool = False) -> dict[str, Any]:
    """A colour and a kind of line that no other of the first 32 curves has together.

    Args:
        index: which curve of a picture.
        dark: whether it is drawn on dark paper.

    >>> line_style(0)["color"], line_style(0, dark=True)["color"]
    ('#0072B2', '#8A8DFF')
    """
    colour = COLOURS[index % 8]
    return {
        "color": _ON_DARK.get(colour, colour) if dark else colour,
        "linestyle": LINES[(index // 2 + index // 8) % 4],
        "linewidth": 1.6,
    }


def log_axis(axes: Axes) -> None:
    """A logarithmic y axis with plain numbers on it: at 1, 2 and 5 where it spans few decades, else at powers of ten."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < _FEW_DECADES * low else (1,)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())


def legend_columns(labels: Sequence[str], room: int) -> int:
    """How many labels of a legend fit side by side."""
    widths = [len(label) + 9 for label in labels]  # in characters; nine for the line before it and the gap after
    return len(labels) if sum(widths) <= room else max(1, room // max(widths))


def shortened(name: str) -> str:
    """A name that fits under the picture, a schedule's own text being as long as it likes."""
    return name if len(name) <= 100 else f"{name[:99]}…"


def sampled(steps: int, points: int) -> np.ndarray:
    """At most `points` of the steps from 0 to `steps`."""
    return np.unique(np.linspace(0, steps, min(steps, points) + 1).astype(np.int64))


def png(figure: Figure) -> bytes:
    """A figure as the contents of a PNG file.

    >>> png(Picture())[1:4]
    b'PNG'
    """
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
