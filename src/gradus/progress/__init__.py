"""Watching runs while they are trained: bars in a terminal, lines in a log, curves in a notebook.

A view takes events and knows nothing of how runs are executed; several views can take the same events.
"""

from gradus.progress.bars import BarView, DownloadBars, StepBar
from gradus.progress.lines import LineView
from gradus.progress.mistakes import print_mistakes
from gradus.progress.notebook import NotebookView
from gradus.progress.views import View, Views, pick_view

__all__ = [
    "BarView",
    "DownloadBars",
    "LineView",
    "NotebookView",
    "StepBar",
    "View",
    "Views",
    "pick_view",
    "print_mistakes",
]
