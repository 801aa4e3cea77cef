"""Noise that has no state: each value is a function of the seed and the step alone."""

import math
from functools import partial
from typing import Annotated, Any

from gradus.checks import NonNegative, Real, one_of, whole
from gradus.schedules.schedule import Schedule

__all__ = ["Noise"]

_START = (0x9E37, 0x79B9)  # any words would do; the golden ratio's are customary
_SECOND = 0x85EB  # what tells a step's second number from its first


class Noise(Schedule):
    """Another value at each step, the same ones for the same seed: η(t) = center + spread·x(seed, t).

    x is spread evenly over −1…1 ("uniform") or normally with deviation 1 ("normal"; `.clip` cuts its tails). It is
    computed from the seed and the step alone, to the same bits in NumPy, torch and JAX and in every order, so it needs no
    state. As a factor: `Cosine(90) * Noise(0.1)`; once in an epoch: `Noise(0.1).staircase(epochs(1))`.

    Args:
        spread: how far from the center it reaches (uniform), or its standard deviation (normal); 0 or more.
        seed: a whole number from 0 to 2³² − 1.
        center: its mean; 1, as for a factor.
        distribution: "uniform" or "normal".

    Source: the hash is the last step of MurmurHash3 (Appleby, 2011), once for each half of the step and once for the seed;
    normal: Box and Muller, A Note on the Generation of Random Normal Deviates, 1958.

    >>> [round(Noise(0.1, seed=7)(t), 3) for t in range(4)]
    [0.913, 0.983, 1.05, 0.906]
    """

    spread: NonNegative
    seed: Annotated[int, partial(whole, most=2**32 - 1)] = 0
    center: Real = 1.0
    distribution: Annotated[str, one_of("uniform", "normal")] = "uniform"

    def at(self, t: Any, ops: Any) -> Any:
        words = _hashed(self.seed, ops.whole(t))
        even = _unit(words, ops)
        if self.distribution == "uniform":
            return self.center + self.spread * (2 * even - 1)
        turn = _unit(_mixed(words, (_SECOND, 0)), ops)
        return self.center + self.spread * ops.sqrt(-2 * ops.log(even)) * ops.cos(2 * math.pi * turn)


# 32-bit words are pairs (high, low) of 16-bit ones. Their products have 32 bits, whose lower and upper halves `&` and `>>`
# find in any integers of 32 bits or more, wrapped around or not: so Python's, NumPy's, torch's and JAX's agree.


def _hashed(seed: int, t: Any) -> tuple[Any, Any]:
    words = _mixed(_START, (t >> 16, t))
    words = _mixed(words, (t >> 16 >> 16 >> 16, t >> 16 >> 16))  # a shift by 32 is undefined in 32 bits
    return _mixed(words, (seed >> 16, seed))


def _mixed(words: tuple[Any, Any], new: tuple[Any, Any]) -> tuple[Any, Any]:
    """`words` with `new` stirred in, so that each bit depends on all bits of both (MurmurHash3's fmix32)."""
    high, low = words[0] ^ (new[0] & 0xFFFF), words[1] ^ (new[1] & 0xFFFF)
    high, low = _times(high, low ^ high, 0x85EB, 0xCA6B)
    high, low = high ^ (high >> 13), low ^ ((high << 3) & 0xFFFF) ^ (low >> 13)  # x ^ x >> 13
    high, low = _times(high, low, 0xC2B2, 0xAE35)
    return high, low ^ high


def _times(high: Any, low: Any, by_high: int, by_low: int) -> tuple[Any, Any]:
    product = low * by_low
    return ((product >> 16) + low * by_high + high * by_low) & 0xFFFF, product & 0xFFFF


def _unit(words: tuple[Any, Any], ops: Any) -> Any:
    """A word as a number between 0 and 1, never 0 itself."""
    return (ops.real(words[0]) + (ops.real(words[1]) + 0.5) / 65536) / 65536
