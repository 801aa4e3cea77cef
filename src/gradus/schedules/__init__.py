"""Schedules: the step size as a pure function of the step. Needs NumPy alone.

>>> from gradus.schedules import Cosine, warmup
>>> schedule = warmup(5) >> Cosine(15, end=0.03)
>>> [round(schedule(t), 2) for t in (0, 5, 20)]
[0.0, 1.0, 0.03]
"""

from gradus.schedules.cycles import CosineRestarts, Cyclic, OneCycle
from gradus.schedules.leaves import (
    Constant,
    Cosine,
    Exponential,
    InverseSqrt,
    Lambda,
    Linear,
    MultiStep,
    Piecewise,
    Polynomial,
    Step,
)
from gradus.schedules.recipes import absolute, noam, one_cycle, sgdr, warmup, warmup_cosine, wsd
from gradus.schedules.recipes import max as max  # noqa: A004 - the algebra's own name
from gradus.schedules.recipes import min as min  # noqa: A004 - the algebra's own name
from gradus.schedules.schedule import Absolute, Schedule
from gradus.schedules.spans import Span, epochs, fraction, rest, samples, tokens
from gradus.schedules.text import parse

# min and max are left out: a star import must not change what Python's own mean.
__all__ = [
    "Absolute",
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Cyclic",
    "Exponential",
    "InverseSqrt",
    "Lambda",
    "Linear",
    "MultiStep",
    "OneCycle",
    "Piecewise",
    "Polynomial",
    "Schedule",
    "Span",
    "Step",
    "absolute",
    "epochs",
    "fraction",
    "noam",
    "one_cycle",
    "parse",
    "rest",
    "samples",
    "sgdr",
    "tokens",
    "warmup",
    "warmup_cosine",
    "wsd",
]
