"""scikit-learn's digits: 1,797 images of 8 × 8 in 10 classes. They travel in the package, so nothing is fetched."""

import torch

from gradus.randomness import generator
from gradus.schedules import epochs
from gradus.tasks.models import DigitsNet
from gradus.tasks.packaged import table_of
from gradus.tasks.task import Task

__all__ = ["digits"]

_TEST_IMAGES = 360  # a fifth


def digits() -> Task:
    """Handwritten digits with a small convolutional network: 1,437 images to learn from, 360 to report on.

    The split is the same for every seed, so that seeds differ in training and not in what is asked.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.

    Raises:
        GradusError: scikit-learn isn't installed, or has no digits.

    >>> digits().train.inputs.shape
    torch.Size([1437, 1, 8, 8])
    """
    table = table_of("digits.csv.gz", "digits")  # an image and its label in each line
    table = table[torch.randperm(len(table), generator=generator(0, "digits split"))]
    inputs = (table[:, :-1].float() / 16).reshape(-1, 1, 8, 8)
    targets = table[:, -1].long()
    return Task(
        "digits",
        (inputs[_TEST_IMAGES:], targets[_TEST_IMAGES:]),
        (inputs[:_TEST_IMAGES], targets[:_TEST_IMAGES]),
        model=DigitsNet,
        batch_size=64,
        lr=0.3,
        length=epochs(30),
    )
