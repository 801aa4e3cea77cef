"""Run torch's own optimizer tests on this library's classes: python tests/torchs_own.py PYTORCH/test/test_optim.py

PYTORCH is a checkout of PyTorch's sources, which aren't a part of its packages. With `--torch` the tests run on torch's
classes, which says what a checkout of another version than the installed torch fails by itself.
"""

import runpy
import sys
from pathlib import Path

import torch
from torch.testing._internal import common_optimizers

import gradus.optim


def put_ours_in() -> None:
    """Have torch's names and its registry of optimizers mean this library's classes."""
    for info in common_optimizers.optim_db:
        name = info.optim_cls.__name__
        ours = getattr(gradus.optim, name, None)
        if ours is not None:
            info.optim_cls = ours
            setattr(torch.optim, name, ours)
            setattr(common_optimizers, name, ours)


if __name__ == "__main__":
    if "--torch" in sys.argv:
        sys.argv.remove("--torch")
    else:
        put_ours_in()
    tests = Path(sys.argv.pop(1))
    sys.path.insert(0, str(tests.parent))
    runpy.run_path(str(tests), run_name="__main__")
