"""The classic demonstrations of the learning rate, made with the rules that `gradus.optim` trains with.

Each function gives its data, and pictures of them:

>>> from gradus import gallery
>>> shown = gallery.descent()
>>> shown.paths[0.25][1].x, list(shown.pictures())
(-2.0, ['paths', 'rates'])
>>> figure = shown.figure("rates", dark=True)
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from gradus.gallery.averages import Averages, averages
from gradus.gallery.condition import Condition, condition
from gradus.gallery.descent import Descent, descent
from gradus.gallery.momentum import Momentum, momentum
from gradus.gallery.race import Race, race
from gradus.gallery.rate_and_batch import RateAndBatch, rate_and_batch
from gradus.gallery.schedules import Schedules, schedules
from gradus.gallery.shown import FORMATS, Pen, Shown, whole

__all__ = [
    "DEMONSTRATIONS",
    "FORMATS",
    "Averages",
    "Condition",
    "Demonstration",
    "Descent",
    "Momentum",
    "Pen",
    "Race",
    "RateAndBatch",
    "Schedules",
    "Shown",
    "averages",
    "condition",
    "descent",
    "momentum",
    "race",
    "rate_and_batch",
    "schedules",
    "whole",
]


class Demonstration(NamedTuple):
    """A function of this room, and what it gives."""

    make: Callable[[], Shown]
    gives: type[Shown]


# In the order of a lecture.
DEMONSTRATIONS: Mapping[str, Demonstration] = {
    "descent": Demonstration(descent, Descent),
    "averages": Demonstration(averages, Averages),
    "momentum": Demonstration(momentum, Momentum),
    "condition": Demonstration(condition, Condition),
    "race": Demonstration(race, Race),
    "schedules": Demonstration(schedules, Schedules),
    "rate-and-batch": Demonstration(rate_and_batch, RateAndBatch),
}
