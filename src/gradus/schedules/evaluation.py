"""The few operations a formula is written in, over one Python number or over a whole array.

A schedule writes its formula once, as `at(t, ops)`. Given `SCALARS`, `t` is an `int` and the answer a `float`; given
an `Arrays`, `t` is an array of steps and the answer an array of the same kind (NumPy, torch, JAX and whatever else
follows the array API, tracers included). The clock stays in integers until a formula divides it, so no step is lost to
rounding; the arithmetic is float64 wherever the array library has it.
"""

import math
import sys
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import wraps
from types import SimpleNamespace
from typing import Any

import numpy as np

from gradus.errors import InvalidInput

__all__ = ["SCALARS", "STEP_LIMIT", "Arrays", "between", "clock", "finished", "over_arrays"]

STEP_LIMIT = 2**63  # steps are 64-bit integers in every array library
_LOG_LARGEST = 600.0  # e^600 is about 1e260: growth stops here, with room for a factor before it overflows


def _exponent_bound(base: float) -> float:
    return _LOG_LARGEST / math.log(base)


def _progress(t: float, length: float) -> float:
    if 0 <= t < length:
        return t / length
    return 1.0 if t >= length or not length else 0.0


def _power(base: float, exponent: float) -> float:
    return float(base ** (min(exponent, _exponent_bound(base)) if base > 1 else exponent))


def _or_no_number(function: Callable[[float], float]) -> Callable[[float], float]:
    """The function, which outside its domain is no number, as over arrays."""

    def of(x: float) -> float:
        try:
            return function(x)
        except ValueError:
            return math.nan

    return of


def _divided(a: float, b: float) -> float:
    if b:
        return a / b
    return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)


def _raised(a: float, b: float) -> float:
    try:
        return math.pow(a, b)
    except (OverflowError, ValueError):  # too large a power, a root of a negative number, 0 to a power below 0
        return math.inf if a > 1 or a < -1 or a == 0 else math.nan


def _pieces(t: float, starts: Sequence[int], phases: Sequence[Any]) -> Any:
    index = bisect_right(starts, t) - 1
    return phases[index].at(t - starts[index], SCALARS)


def between(start: float, end: float, done: Any) -> Any:
    """From start (done = 0) to end (done = 1), exact at both."""
    return (1 - done) * start + done * end


SCALARS: Any = SimpleNamespace(
    progress=_progress,
    power=_power,
    pieces=_pieces,
    full=lambda _, value: value,
    real=lambda t: t,
    whole=math.floor,
    clip=lambda t, low, high: max(t, low) if high is None else min(max(t, low), high),
    where=lambda condition, a, b: a if condition else b,
    minimum=lambda a, b: a if a < b or a != a else b,  # what is no number stays none, as in arrays
    maximum=lambda a, b: a if a > b or a != a else b,
    divided=_divided,
    raised=_raised,
    floor=math.floor,
    sin=math.sin,
    cos=math.cos,
    tanh=math.tanh,
    sqrt=_or_no_number(math.sqrt),
    exp=math.exp,
    log=_or_no_number(math.log),
    log1p=_or_no_number(math.log1p),
    expm1=math.expm1,
    count=lambda t, boundaries: bisect_right(boundaries, t),
    each=lambda function, t: function(t),
    largest=lambda t: t,
)


class Arrays:
    """The same operations over arrays of one library; each has the meaning of its namesake in `SCALARS`."""

    def __init__(self, xp: Any, real: Any) -> None:
        self.xp, self.dtype = xp, real
        self.sin, self.cos, self.tanh, self.sqrt = xp.sin, xp.cos, xp.tanh, xp.sqrt
        self.exp, self.log, self.log1p, self.expm1 = xp.exp, xp.log, xp.log1p, xp.expm1
        self.floor = xp.floor
        self.minimum, self.maximum, self.where, self.clip = xp.minimum, xp.maximum, xp.where, xp.clip

    def real(self, t: Any) -> Any:
        """The clock as real numbers."""
        return self.xp.astype(t, self.dtype)

    def whole(self, t: Any) -> Any:
        """The clock as whole numbers again, where `stretch` has put it between two steps."""
        if self.xp.isdtype(t.dtype, "integral"):
            return t
        return self.xp.astype(self.floor(t), _whole_dtype(self.xp, t))

    def full(self, t: Any, value: float) -> Any:
        return self.xp.full_like(t, value, dtype=self.dtype)

    def progress(self, t: Any, length: float) -> Any:
        """How far from 0 to `length`: t / length, held at 0 before and at 1 after; 1 at once where there is no length."""
        if not length:
            return self.full(t, 1.0)
        return self.clip(self.real(t) / length, 0, 1)

    def power(self, base: float, exponent: Any) -> Any:
        """base^exponent, stopping short of overflow."""
        exponent = self.real(exponent)
        if base > 1:
            exponent = self.xp.minimum(exponent, self.full(exponent, _exponent_bound(base)))
        return base**exponent

    def divided(self, a: Any, b: Any) -> Any:
        """a / b, infinite or no number where b is 0; a step at which the whole formula is so is refused in the end."""
        return a / b

    def raised(self, a: Any, b: Any) -> Any:
        """a^b, as `divided` is."""
        return a**b

    def pieces(self, t: Any, starts: Sequence[int], phases: Sequence[Any]) -> Any:
        """Phase k at the time since starts[k], wherever starts[k] is the last start that isn't after t; starts[0] is 0."""
        value = None
        for index, (start, phase) in enumerate(zip(starts, phases, strict=True)):
            until = starts[index + 1] - start if index + 1 < len(starts) else None
            here = phase.at(self.clip(t - start, 0, until), self)
            value = here if value is None else self.where(t < start, value, here)
        return value

    def count(self, t: Any, boundaries: Sequence[int]) -> Any:
        """How many of the boundaries aren't after t."""
        passed = self.full(t, 0.0)
        for boundary in boundaries:
            passed = passed + self.real(t >= boundary)
        return passed

    def each(self, function: Callable[[Any], float], t: Any) -> Any:
        """A Python function of one number, over every element; a tracer has none yet and is handed on whole."""
        if _is_traced(t):
            return function(t)
        values = [function(element) for element in np.asarray(t).ravel().tolist()]
        return self.xp.reshape(self.xp.asarray(values, dtype=self.dtype), t.shape)

    def largest(self, t: Any) -> float:
        """The latest step asked for; 0 where that can't be known (no steps, or a tracer)."""
        if _is_traced(t) or 0 in t.shape:
            return 0
        return float(self.xp.max(t))


class _NumPy(Arrays):
    def pieces(self, t: Any, starts: Sequence[int], phases: Sequence[Any]) -> Any:
        """Where the steps are in order, as they mostly are, each phase sees only its own stretch of them."""
        if t.ndim != 1 or (t[1:] < t[:-1]).any():
            return super().pieces(t, starts, phases)
        value = np.empty(t.shape)
        bounds = [*np.searchsorted(t, starts), len(t)]
        for start, phase, low, high in zip(starts, phases, bounds, bounds[1:], strict=False):
            if low < high:
                value[low:high] = phase.at(t[low:high] - start, self)
        return value


def _is_traced(t: Any) -> bool:
    """Whether t is a JAX tracer: an array with a shape and no values yet."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(t, jax.core.Tracer)


_NUMPY = _NumPy(np, np.float64)


def clock(t: Any) -> tuple[Any, Any]:
    """A step or an array of steps, checked, and the operations for its kind."""
    if isinstance(t, (int, np.integer)) and not isinstance(t, bool):
        if not 0 <= t < STEP_LIMIT:
            raise InvalidInput(f"steps are counted from 0 and stay below 2^63; got {t}")
        return int(t), SCALARS
    ops = _NUMPY if isinstance(t, np.ndarray) else _foreign_operations(t)
    return _checked_array(t, ops.xp), ops


def _checked_array(t: Any, xp: Any) -> Any:
    if not xp.isdtype(t.dtype, "integral"):
        raise InvalidInput(f"a step must be an integer, the number of updates done so far; got {t.dtype} values")
    if not _is_traced(t) and 0 not in t.shape and xp.min(t) < 0:
        raise InvalidInput(f"steps are counted from 0; got {int(xp.min(t))} in the array")
    return xp.astype(t, _whole_dtype(xp, t), copy=False)


def _whole_dtype(xp: Any, t: Any) -> Any:
    """The widest whole numbers of the library where t lives; narrower ones would wrap around in a difference of steps."""
    return xp.int64 if _has_dtype(xp, "int64", t) else xp.int32


def _foreign_operations(t: Any) -> Arrays:
    import array_api_compat  # costs more to import than all of gradus.schedules, and NumPy needs none of it

    try:
        xp = array_api_compat.array_namespace(t)
    except TypeError:
        raise InvalidInput(f"a step must be an integer or an array of integers; got {t!r}") from None
    return Arrays(xp, xp.float64 if _has_dtype(xp, "float64", t) else xp.float32)


def _has_dtype(xp: Any, name: str, t: Any) -> bool:
    """Whether the library has this dtype where t lives (JAX without x64 and Apple's GPUs have no float64)."""
    try:
        known = xp.__array_namespace_info__().dtypes(device=getattr(t, "device", None))
    except (AttributeError, TypeError, ValueError, NotImplementedError):
        return hasattr(xp, name)
    return name in known


def finished(owner: Any, value: Any, t: Any, ops: Any) -> Any:
    """What a formula gave at t, as a float or an array of floats, and finite; a tracer has no values to look at."""
    if ops is SCALARS:
        return _finite_number(owner, value, t)
    if getattr(value, "shape", None) != t.shape:  # one number for all steps
        value = ops.full(t, 0.0) + value
    if not ops.xp.isdtype(value.dtype, "real floating"):
        value = ops.real(value)
    if not _is_traced(value) and not bool(ops.xp.all(ops.xp.isfinite(value))):
        wrong = int(np.asarray(t)[~np.isfinite(np.asarray(value))].ravel()[0])
        raise InvalidInput(_NOT_FINITE.format(owner=owner, t=wrong))
    return value


def over_arrays(at: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    """A user's formula, which over an array gives what it gives step by step.

    It gets the clock as real numbers where those are float64, for torch divides whole numbers in float32. One that takes
    single numbers only (Python's `if`, the module `math`) is asked once a step.
    """

    @wraps(at)
    def of(self: Any, t: Any, ops: Any) -> Any:
        if ops is SCALARS:
            return at(self, t, ops)
        try:
            value = at(self, ops.real(t) if ops.dtype == ops.xp.float64 else t, ops)
        except (TypeError, ValueError, RuntimeError, IndexError):
            if _is_traced(t):
                raise
            value = None
        if isinstance(value, (int, float, type(t))) or _is_traced(t):
            return value
        return ops.each(lambda step: finished(self, at(self, step, SCALARS), step, SCALARS), t)

    return of


_NOT_FINITE = "{owner!r} is no finite number at step {t}; look for a division by 0, a root below 0 or too large a power"


def _finite_number(owner: Any, value: Any, t: int) -> float:
    if isinstance(value, (str, bytes)) or not hasattr(value, "__float__"):
        raise InvalidInput(f"{owner!r} must give a number at step {t}; it gives {value!r}")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InvalidInput(_NOT_FINITE.format(owner=owner, t=t))
    return number
