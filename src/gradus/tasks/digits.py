"""scikit-learn's digits: 1,797 images of 8 × 8 in 10 classes. They travel in the package, so nothing is fetched."""

import torch

from gradus.randomness import generator
from gradus.tasks.models import DigitsNet
from gradus.tasks.task import Split, Task

__all__ = ["digits"]

_TEST_IMAGES = 360  # a fifth


def digits() -> Task:
    """Handwritten digits with a small convolutional network: 1,437 images to learn from, 360 to be scored on.

    The split is the same for every seed, so that seeds differ in training and not in what is asked.
    """
    from sklearn.datasets import load_digits  # a second of importing, for this task alone

    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=generator(0, "digits split"))
    inputs = (torch.as_tensor(images, dtype=torch.float32) / 16).reshape(-1, 1, 8, 8)[order]
    targets = torch.as_tensor(labels, dtype=torch.int64)[order]
    return Task(
        name="digits",
        train=Split(inputs[_TEST_IMAGES:], targets[_TEST_IMAGES:]),
        test=Split(inputs[:_TEST_IMAGES], targets[:_TEST_IMAGES]),
        model=DigitsNet,
        batch_size=64,
        epochs=30,
        lr=0.3,
    )
