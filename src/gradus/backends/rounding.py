"""Rounding by chance: to one of a number's two neighbours in bfloat16, the nearer more often, so that on average it stays.

Gupta, Agrawal, Gopalakrishnan and Narayanan, "Deep Learning with Limited Numerical Precision" (ICML 2015), section 3.1.
The draw is a function of the step, the tensor and the element (the finalizer of Appleby's MurmurHash3 over them), so every
backend draws the same, and a resumed training draws what the uninterrupted one would have.
"""

import torch
from torch import Tensor

__all__ = ["rounded_by_chance"]

_WORD = 0xFFFFFFFF


def rounded_by_chance(x: Tensor, seed: int, number: int) -> Tensor:
    """A float32 tensor rounded to bfloat16 by chance; infinities and NaN are what they are.

    Args:
        x: what to round.
        seed: what to draw from, below 2^24.
        number: the tensor's number among those that share the seed.
    """
    index = torch.arange(x.numel(), device=x.device).view(x.shape)
    draw = (index * 0x9E3779B9 + (seed * 0x85EBCA6B + number * 0xC2B2AE35)) & _WORD
    draw = ((draw ^ (draw >> 16)) * 0x85EBCA6B) & _WORD
    draw = ((draw ^ (draw >> 13)) * 0xC2B2AE35) & _WORD
    draw = draw ^ (draw >> 16)
    bits = x.contiguous().view(torch.int32)
    up = torch.where(x.isfinite(), bits + (draw & 0xFFFF).to(torch.int32), bits)
    return torch.where(x.isnan(), x, ((up >> 16) << 16).view(torch.float32))
