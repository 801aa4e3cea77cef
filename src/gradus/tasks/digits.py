"""scikit-learn's digits: 1,797 images of 8 × 8 in 10 classes. They travel in the package, so nothing is fetched."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from gradus.errors import GradusError
from gradus.randomness import generator
from gradus.schedules import epochs
from gradus.tasks.models import DigitsNet
from gradus.tasks.task import Split, Task

__all__ = ["digits"]

_TEST_IMAGES = 360  # a fifth


def _file() -> Path:
    """scikit-learn's file of them. Importing the package takes a second, and changes the process's environment."""
    found = find_spec("sklearn")
    folders = (found.submodule_search_locations if found else None) or ()
    paths = [Path(folder) / "datasets" / "data" / "digits.csv.gz" for folder in folders]
    try:
        return next(path for path in paths if path.is_file())
    except StopIteration:
        raise GradusError("the digits travel in scikit-learn, which has none here; run `pip install scikit-learn`") from None


def digits() -> Task:
    """Handwritten digits with a small convolutional network: 1,437 images to learn from, 360 to be scored on.

    The split is the same for every seed, so that seeds differ in training and not in what is asked.

    Raises:
        GradusError: scikit-learn isn't installed, or holds no digits.
    """
    table = torch.as_tensor(np.loadtxt(_file(), delimiter=","))  # an image and its label in each line
    table = table[torch.randperm(len(table), generator=generator(0, "digits split"))]
    inputs = (table[:, :-1].float() / 16).reshape(-1, 1, 8, 8)
    targets = table[:, -1].long()
    return Task(
        name="digits",
        train=Split(inputs[_TEST_IMAGES:], targets[_TEST_IMAGES:]),
        test=Split(inputs[:_TEST_IMAGES], targets[:_TEST_IMAGES]),
        model=DigitsNet,
        batch_size=64,
        lr=0.3,
        length=epochs(30),
    )
