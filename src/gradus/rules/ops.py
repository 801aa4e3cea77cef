"""What a rule may call, apart from + - * / and comparisons: the same names for numbers, arrays, tensors and traces.

A rule says `ops.sqrt(x)`; what that is depends on what `x` is, so one plain function runs on floats, on NumPy arrays, on
torch tensors, and on the traces that kernels are made from. Another type of number joins by `register`.
"""

import math
import sys
from functools import cache
from numbers import Real
from types import SimpleNamespace
from typing import Any

import numpy as np

from gradus.errors import InvalidInput

__all__ = ["abs", "exp", "log", "maximum", "mean", "minimum", "norm", "power", "register", "sign", "sqrt", "where"]


def sqrt(x: Any) -> Any:
    """√x; below 0 it is NaN."""
    return _float_sqrt(x) if type(x) is float else _functions_for(x).sqrt(x)


def exp(x: Any) -> Any:
    """eˣ."""
    return _functions_for(x).exp(x)


def log(x: Any) -> Any:
    """The natural logarithm; of 0 it is −∞, below 0 NaN."""
    return _functions_for(x).log(x)


def abs(x: Any) -> Any:
    """|x|."""
    return _functions_for(x).abs(x)


def sign(x: Any) -> Any:
    """−1, 0 or 1."""
    return _functions_for(x).sign(x)


def power(x: Any, exponent: Any) -> Any:
    """x to the power of a number."""
    return _functions_for(x, exponent).power(x, exponent)


def maximum(a: Any, b: Any) -> Any:
    """The greater of two; NaN if one is."""
    return _functions_for(a, b).maximum(a, b)


def minimum(a: Any, b: Any) -> Any:
    """The lesser of two; NaN if one is."""
    return _functions_for(a, b).minimum(a, b)


def norm(x: Any) -> Any:
    """√Σx² over all elements of the tensor that is updated; for a number, which is a tensor of one, |x|."""
    return _functions_for(x).norm(x)


def mean(x: Any) -> Any:
    """The mean over all elements of the tensor that is updated; of a condition, the share of those for which it holds."""
    return _functions_for(x).mean(x)


def where(condition: Any, a: Any, b: Any) -> Any:
    """`a` where the condition holds, else `b`; both are computed."""
    if type(condition) is bool and type(a) is float and type(b) is float:
        return a if condition else b
    return _functions_for(condition, a, b).where(condition, a, b)


# Which functions compute these for which type. `sqrt` and `where` look for floats first: a small step asks them often.


def register(kind: type, functions: Any) -> None:
    """Have rules take another type of number.

    Args:
        kind: the type. A later registration comes before earlier ones, and before what is built in.
        functions: an object with `sqrt`, `exp`, `log`, `abs`, `sign`, `power`, `maximum`, `minimum`, `where`, `norm` and
            `mean`, which take one argument of this type, or several of which one is.
    """
    _REGISTERED.insert(0, (kind, functions))
    _functions_of.cache_clear()


def _functions_for(*values: Any) -> Any:
    """The functions for the first argument that isn't a plain number."""
    for value in values:
        if type(value) not in _PLAIN:
            functions = _functions_of(type(value))  # type: ignore[arg-type]
            if functions is not _FLOATS:
                return functions
    return _FLOATS


@cache
def _functions_of(kind: type) -> Any:
    """The functions for a type. torch is asked for only where it is loaded: without it there are no tensors."""
    for known, functions in _REGISTERED:
        if issubclass(kind, known):
            return functions
    if issubclass(kind, np.ndarray):
        return _ARRAYS
    if issubclass(kind, (Real, np.bool_)):
        return _FLOATS
    torch = sys.modules.get("torch")
    if torch is not None and issubclass(kind, torch.Tensor):
        return _tensor_functions(torch)
    raise InvalidInput(
        f"gradus.rules.ops takes numbers, NumPy arrays and torch tensors; got one of type {kind.__module__}."
        f"{kind.__qualname__}; convert it, or give ops its functions by gradus.rules.ops.register(type, functions)"
    )


def _float_sqrt(x: float) -> float:
    return math.sqrt(x) if x >= 0 else math.nan


def _float_log(x: float) -> float:
    return math.log(x) if x > 0 else (-math.inf if x == 0 else math.nan)


def _float_exp(x: float) -> float:
    return math.exp(x) if x < 709.782712893384 else math.inf


def _float_extreme(a: float, b: float, first: bool) -> float:
    return math.nan if a != a or b != b else (a if first else b)


_FLOATS = SimpleNamespace(
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
_REGISTERED: list[tuple[type, Any]] = []


def _tensor_functions(torch: Any) -> Any:
    """The functions for torch's tensors, of torch itself."""

    def full(number: float, dtype: Any, device: Any) -> Any:
        # Filled on the device: a CUDA graph can't repeat a copy from the CPU.
        return torch.full((), number, dtype=dtype, device=device)

    def either(function: Any) -> Any:
        """A function of two tensors, of which one may be a number."""

        def call(a: Any, b: Any) -> Any:
            like = a if isinstance(a, torch.Tensor) else b
            return function(*(x if isinstance(x, torch.Tensor) else full(x, like.dtype, like.device) for x in (a, b)))

        return call

    def where(condition: Any, a: Any, b: Any) -> Any:
        if not isinstance(condition, torch.Tensor):
            return a if condition else b
        if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
            return torch.where(condition, a, b)
        return torch.where(condition, *(full(x, torch.float64, condition.device) for x in (a, b)))  # or it would be float32

    return SimpleNamespace(
        **{name: getattr(torch, name) for name in ("sqrt", "exp", "log", "abs", "sign")},
        power=torch.pow,
        maximum=either(torch.maximum),
        minimum=either(torch.minimum),
        where=where,
        norm=torch.linalg.vector_norm,
        mean=lambda x: torch.mean(x if x.is_floating_point() else x.double()),
    )
