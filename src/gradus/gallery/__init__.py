"""The classic demonstrations of the learning rate, made with the rules that `gradus.optim` trains with.

Each function gives its data, and pictures of them:

>>> from gradus import gallery
>>> shown = gallery.descent()
>>> shown.paths[0.25][1].x, list(shown.pictures())
(-2.0, ['paths', 'rates'])
>>> figure = shown.figure("rates", dark=True)
"""

import importlib
from typing import TYPE_CHECKING, Any

from gradus.gallery.demonstrations import DEMONSTRATIONS, FORMATS, Demonstration
from gradus.names import did_you_mean

__all__ = [
    "DEMONSTRATIONS",
    "FORMATS",
    "Averages",
    "Condition",
    "Demonstration",
    "Descent",
    "Momentum",
    "Race",
    "RateAndBatch",
    "Schedules",
    "Shown",
    "Style",
    "averages",
    "condition",
    "descent",
    "momentum",
    "race",
    "rate_and_batch",
    "render",
    "schedules",
]

if TYPE_CHECKING:
    from gradus.gallery.demonstrations.averages import Averages, averages
    from gradus.gallery.demonstrations.condition import Condition, condition
    from gradus.gallery.demonstrations.descent import Descent, descent
    from gradus.gallery.demonstrations.momentum import Momentum, momentum
    from gradus.gallery.demonstrations.race import Race, race
    from gradus.gallery.demonstrations.rate_and_batch import RateAndBatch, rate_and_batch
    from gradus.gallery.demonstrations.schedules import Schedules, schedules
    from gradus.gallery.shown import Shown, Style, render

_ROOMS = {
    "Style": "shown",
    "Shown": "shown",
    "render": "shown",
    "Averages": "demonstrations.averages",
    "averages": "demonstrations.averages",
    "Condition": "demonstrations.condition",
    "condition": "demonstrations.condition",
    "Descent": "demonstrations.descent",
    "descent": "demonstrations.descent",
    "Momentum": "demonstrations.momentum",
    "momentum": "demonstrations.momentum",
    "Race": "demonstrations.race",
    "race": "demonstrations.race",
    "RateAndBatch": "demonstrations.rate_and_batch",
    "rate_and_batch": "demonstrations.rate_and_batch",
    "Schedules": "demonstrations.schedules",
    "schedules": "demonstrations.schedules",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return getattr(importlib.import_module(f"gradus.gallery.{_ROOMS[name]}"), name)
    raise AttributeError(f"module 'gradus.gallery' has no attribute {name!r}{did_you_mean(name, __all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
