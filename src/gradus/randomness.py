"""Randomness as a function of (seed, purpose, step).

No generator has state to carry along, so a resumed run, another process and another executor draw the same numbers.
"""

import hashlib

import torch

__all__ = ["generator", "seed_for"]


def seed_for(seed: int, purpose: str, step: int = 0) -> int:
    """A 63-bit seed for one purpose at one step of a run, different for each.

    >>> seed_for(0, "order", 1) == seed_for(0, "order", 1) != seed_for(0, "order", 2)
    True
    """
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def generator(seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """A torch generator on the CPU, seeded for one purpose at one step of a run.

    >>> one, other = generator(0, "augment", 5), generator(0, "augment", 5)
    >>> torch.equal(torch.rand(3, generator=one), torch.rand(3, generator=other))
    True
    """
    return torch.Generator().manual_seed(seed_for(seed, purpose, step))
