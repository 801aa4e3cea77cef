"""How tests are run: which cases Hypothesis tries, and where Triton's kernels are."""

import os

import torch
from hypothesis import settings

# A failure says something about the change at hand: each run tries the same cases. Faults that nobody has met yet are looked
# for by `make fuzz`.
settings.register_profile("repeatable", derandomize=True)
if "GRADUS_FUZZ_CASES" not in os.environ:
    settings.load_profile("repeatable")

if not torch.cuda.is_available():  # they are interpreted, which must be asked for before Triton is imported
    os.environ.setdefault("TRITON_INTERPRET", "1")
