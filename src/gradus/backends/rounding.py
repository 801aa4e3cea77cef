"""Stochastic rounding: to one of a number's two neighbours in half precision, the nearer more often, and right on average.

Gupta, Agrawal, Gopalakrishnan and Narayanan, "Deep Learning with Limited Numerical Precision" (ICML 2015), section 3.1.
The draw is a function of the step, the tensor and the element (the finalizer of Appleby's MurmurHash3 over them), so every
backend draws the same, and a resumed training draws what the uninterrupted one would have.
"""

import torch
from torch import Tensor

__all__ = ["HALF", "round_stochastically"]

HALF = {torch.bfloat16: 16, torch.float16: 13}  # how many bits of a float32 each has no room for
_WORD = 0xFFFFFFFF
_LEAST = 2.0**-14  # of float16's normal numbers, below which neighbours are 2⁻²⁴ apart


def round_stochastically(x: Tensor, seed: int, number: int, dtype: torch.dtype) -> Tensor:
    """A float32 tensor rounded to half precision stochastically; infinities and NaN are what they are.

    Args:
        x: what to round.
        seed: what to draw from, below 2^24.
        number: the tensor's number among those that share the seed.
        dtype: bfloat16 or float16, in which the result can be written without loss.
    """
    lost = HALF[dtype]
    draw = hash32(x, seed, number) & ((1 << lost) - 1)
    bits = x.contiguous().view(torch.int32)
    rounded = (((bits + draw.to(torch.int32)) >> lost) << lost).view(torch.float32)
    if dtype == torch.float16:
        small = torch.floor(x.abs() * 2.0**24 + draw.float() * 2.0**-13) * 2.0**-24
        rounded = torch.where(x.abs() < _LEAST, small.copysign(x), rounded)
    return torch.where(x.isfinite(), rounded, x)


def hash32(x: Tensor, seed: int, number: int) -> Tensor:
    """32 bits for each element."""
    index = torch.arange(x.numel(), device=x.device).view(x.shape)
    draw = (index * 0x9E3779B9 + (seed * 0x85EBCA6B + number * 0xC2B2AE35)) & _WORD
    draw = ((draw ^ (draw >> 16)) * 0x85EBCA6B) & _WORD
    draw = ((draw ^ (draw >> 13)) * 0xC2B2AE35) & _WORD
    return draw ^ (draw >> 16)
