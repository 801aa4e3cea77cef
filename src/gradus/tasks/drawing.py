"""The random numbers that a user's data code draws: Python's, NumPy's and torch's global generators, seeded."""

import ctypes
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.random import mtrand

__all__ = ["seed_generators", "seeded"]


def seed_generators(seed: int) -> None:
    """Seed the global generators that code on the CPU draws from.

    Args:
        seed: from 0, below 2^63.
    """
    random.seed(seed)
    np.random.seed(seed & 0xFFFF_FFFF)
    torch.default_generator.manual_seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The global generators are seeded inside, and afterwards as they were before.

    Args:
        seed: as for `seed_generators`.
    """
    python, numpys, torchs = random.getstate(), _NumPyState.now(), torch.get_rng_state()
    seed_generators(seed)
    try:
        yield
    finally:
        random.setstate(python)
        numpys.put_back()
        torch.set_rng_state(torchs)


class _NumPyState:
    """The state of NumPy's global generator, kept for as long as it isn't drawn from.

    NumPy's `get_state` and `set_state` take 0.1 ms together, for they make an array number by number; that is more than all
    else that a batch costs us. The Mersenne Twister's words are in memory at an address that NumPy names, so a state that
    is still the one that was kept last is known by comparing them, and is put back by copying them. A second normal number,
    which is kept next to the words, can be used up without moving them: then NumPy's own functions do it.
    """

    _BYTES = 625 * 4  # 624 words, and the place of the next
    _last: "_NumPyState | None" = None

    def __init__(self, generator: Any) -> None:
        self._generator, self._state = generator, np.random.get_state(legacy=False)
        self._words = self._words_of(generator)

    @classmethod
    def _words_of(cls, generator: Any) -> bytes:
        return ctypes.string_at(generator.ctypes.state_address, cls._BYTES)

    @classmethod
    def now(cls) -> "_NumPyState":
        """The present state."""
        generator, last = mtrand.get_bit_generator(), cls._last
        if last is None or not last._is_plain or last._generator is not generator or last._words != cls._words_of(generator):
            last = cls._last = cls(generator)
        return last

    @property
    def _is_plain(self) -> bool:
        """Whether the words are all there is to it."""
        return isinstance(self._generator, np.random.MT19937) and not self._state["has_gauss"]

    def put_back(self) -> None:
        """Make it the generator's state."""
        if self._is_plain and mtrand.get_bit_generator() is self._generator:
            np.random.seed(0)  # it forgets a second normal number
            ctypes.memmove(self._generator.ctypes.state_address, self._words, self._BYTES)
        else:
            mtrand.set_bit_generator(self._generator)
            np.random.set_state(self._state)
