"""Where there is no GPU, Triton's kernels are interpreted, which must be asked for before it is imported."""

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
