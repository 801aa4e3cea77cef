"""The random numbers that a user's data code draws: Python's, NumPy's and torch's global generators, seeded."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

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
    python, numpy, torchs = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed_generators(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(torchs)
