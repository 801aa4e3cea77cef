"""Pictures: of schedules, of trainings by their rows, of a range test; as matplotlib figures and as characters."""

from gradus.plots.curves import Along, Curve, comparison_figure
from gradus.plots.lr_finder import range_figure
from gradus.plots.schedules import Axis, compare_schedules, length_to_show
from gradus.plots.style import Picture, line_style, png, style
from gradus.plots.terminal import terminal_plot, terminal_range

__all__ = [
    "Along",
    "Axis",
    "Curve",
    "Picture",
    "compare_schedules",
    "comparison_figure",
    "length_to_show",
    "line_style",
    "png",
    "range_figure",
    "style",
    "terminal_plot",
    "terminal_range",
]
