"""What a rule may call besides + - * / and comparisons: the same names for numbers, arrays, tensors and traces.

A rule says `ops.sqrt(x)`; what that is depends on what `x` is, so one plain function runs on floats, on NumPy arrays, on
torch tensors, and on the traces that kernels are made from.
"""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

__all__ = ["FLOATS", "abs", "exp", "log", "machine", "maximum", "mean", "minimum", "norm", "power", "sign", "sqrt", "where"]


def sqrt(x: Any) -> Any:
    """√x; below 0 it is NaN."""
    return _machine_of(x).sqrt(x)


def exp(x: Any) -> Any:
    """eˣ."""
    return _machine_of(x).exp(x)


def log(x: Any) -> Any:
    """The natural logarithm; of 0 it is −∞, below 0 NaN."""
    return _machine_of(x).log(x)


def abs(x: Any) -> Any:
    """|x|."""
    return _machine_of(x).abs(x)


def sign(x: Any) -> Any:
    """−1, 0 or 1."""
    return _machine_of(x).sign(x)


def power(x: Any, exponent: Any) -> Any:
    """x to the power of a number."""
    return _machine_of(x, exponent).power(x, exponent)


def maximum(a: Any, b: Any) -> Any:
    """The greater of two; NaN if one is."""
    return _machine_of(a, b).maximum(a, b)


def minimum(a: Any, b: Any) -> Any:
    """The lesser of two; NaN if one is."""
    return _machine_of(a, b).minimum(a, b)


def norm(x: Any) -> Any:
    """√Σx² over all elements of the tensor that is updated; for a number, which is a tensor of one, |x|."""
    return _machine_of(x).norm(x)


def mean(x: Any) -> Any:
    """The mean over all elements of the tensor that is updated; of a condition, the share of those for which it holds."""
    return _machine_of(x).mean(x)


def where(condition: Any, a: Any, b: Any) -> Any:
    """`a` where the condition holds, else `b`; both are computed."""
    return _machine_of(condition, a, b).where(condition, a, b)


# The machines: who computes these for which type. torch and the traces enter themselves, where they are imported.


def _float_sqrt(x: float) -> float:
    return math.sqrt(x) if x >= 0 else math.nan


def _float_log(x: float) -> float:
    return math.log(x) if x > 0 else (-math.inf if x == 0 else math.nan)


def _float_exp(x: float) -> float:
    return math.exp(x) if x < 709.782712893384 else math.inf


def _float_extreme(a: float, b: float, first: bool) -> float:
    return math.nan if a != a or b != b else (a if first else b)


FLOATS = SimpleNamespace(
    sqrt=_float_sqrt,
    exp=_float_exp,
    log=_float_log,
    abs=math.fabs,
    norm=math.fabs,
    mean=float,
    sign=lambda x: float((x > 0) - (x < 0)) if x == x else math.nan,
    power=lambda x, exponent: x**exponent,
    maximum=lambda a, b: _float_extreme(a, b, a > b),
    minimum=lambda a, b: _float_extreme(a, b, a < b),
    where=lambda condition, a, b: a if condition else b,
)
_ARRAYS = SimpleNamespace(
    **{name: getattr(np, name) for name in ("sqrt", "exp", "log", "abs", "sign", "power", "maximum", "minimum", "where")},
    norm=np.linalg.norm,
    mean=np.mean,
)
_PLAIN = frozenset((float, int, bool))
_MACHINES: list[tuple[type, Any]] = [(np.ndarray, _ARRAYS)]


def machine(kind: type, names: Any) -> None:
    """Have the functions of `names` used wherever an argument is of this kind; later kinds come first."""
    _MACHINES.insert(0, (kind, names))


def _machine_of(*values: Any) -> Any:
    for value in values:
        if type(value) in _PLAIN:
            continue
        for kind, names in _MACHINES:
            if isinstance(value, kind):
                return names
    return FLOATS
