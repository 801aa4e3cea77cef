"""Schedules: the step size as a pure function of the step. Needs NumPy alone.

>>> from gradus.schedules import Cosine, warmup
>>> schedule = warmup(5) >> Cosine(15, end=0.03)
>>> [round(schedule(t), 2) for t in (0, 5, 20)]
[0.0, 1.0, 0.03]
"""

from typing import Any

from gradus.names import no_attribute
from gradus.schedules.algebra import Absolute
from gradus.schedules.check import Finding, check
from gradus.schedules.cycles import Chebyshev, CosineRestarts, Cyclic, OneCycle
from gradus.schedules.explain import explain
from gradus.schedules.json import FORMER_NAMES
from gradus.schedules.leaves import (
    Constant,
    Cosine,
    Exponential,
    InverseSqrt,
    Lambda,
    Linear,
    Logarithmic,
    MultiStep,
    Piecewise,
    Polynomial,
    PowerLaw,
    RAdamWarmup,
    Rex,
    Step,
    Tanh,
)
from gradus.schedules.metric import Greedy, Plateau
from gradus.schedules.noise import Noise
from gradus.schedules.parse import parse
from gradus.schedules.recipes import (
    absolute,
    cooldown,
    hyperbolic,
    noam,
    one_cycle,
    sgdr,
    untuned_exponential,
    untuned_linear,
    warmup,
    warmup_cosine,
    wsd,
    wsd_s,
)
from gradus.schedules.recipes import max as max  # noqa: A004 - the algebra's own name
from gradus.schedules.recipes import min as min  # noqa: A004 - the algebra's own name
from gradus.schedules.schedule import Schedule
from gradus.schedules.spans import Span, epochs, fraction, rest, samples, tokens

# min and max are left out: a star import must not change what Python's own mean.
__all__ = [
    "Absolute",
    "Chebyshev",
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Cyclic",
    "Exponential",
    "Finding",
    "Greedy",
    "InverseSqrt",
    "Lambda",
    "Linear",
    "Logarithmic",
    "MultiStep",
    "Noise",
    "OneCycle",
    "Piecewise",
    "Plateau",
    "Polynomial",
    "PowerLaw",
    "RAdamWarmup",
    "Rex",
    "Schedule",
    "Span",
    "Step",
    "Tanh",
    "absolute",
    "check",
    "cooldown",
    "epochs",
    "explain",
    "fraction",
    "hyperbolic",
    "noam",
    "one_cycle",
    "parse",
    "rest",
    "samples",
    "sgdr",
    "tokens",
    "untuned_exponential",
    "untuned_linear",
    "warmup",
    "warmup_cosine",
    "wsd",
    "wsd_s",
]


def __getattr__(name: str) -> Any:
    if name in FORMER_NAMES:  # in what has been pickled
        return globals()[FORMER_NAMES[name]]
    raise no_attribute(__name__, name, __all__)


def __dir__() -> list[str]:
    return sorted([*__all__, "max", "min"])


for _name in __all__:  # users import them from here
    if isinstance(globals()[_name], type) and globals()[_name].__module__.startswith(f"{__name__}."):
        globals()[_name].__module__ = __name__
