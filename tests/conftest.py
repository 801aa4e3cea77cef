"""How tests are run: which cases Hypothesis tries, and where Triton's kernels are."""

import os

import torch
from hypothesis import settings

# A failure says something about the change at hand: each run tries the same cases. Faults that nobody has met yet are looked
# for by `make fuzz`. How long a case takes says something about the machine, where nothing else is asked for.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("searching", deadline=None)
settings.load_profile("searching" if "GRADUS_FUZZ_CASES" in os.environ else "repeatable")

collect_ignore_glob = ["idioms/*", "typed/*"]  # scripts that test_idioms runs, and calls that mypy reads

if not torch.cuda.is_available():  # they are interpreted, which must be asked for before Triton is imported
    os.environ.setdefault("TRITON_INTERPRET", "1")
