"""The networks of the built-in tasks."""

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["DigitsNet", "LeNet"]


def _xavier(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight)


class LeNet(nn.Module):
    """LeNet with ReLU and max pooling, for 28 × 28 grey images: conv 1→6 (5, padded 2), pool, conv 6→16 (5), pool,
    400–120–84–10; weights drawn after Glorot.

    Pooling stands before ReLU: both are monotone, so the function is the same, on a quarter of the numbers.

    Source: LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998, with today's activation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, kernel_size=5)
        self.dense1 = nn.Linear(400, 120)
        self.dense2 = nn.Linear(120, 84)
        self.dense3 = nn.Linear(84, 10)
        _xavier(self)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this form

    def forward(self, images: Tensor) -> Tensor:
        """Images `[n, 1, 28, 28]` to scores `[n, 10]`."""
        x = functional.relu(functional.max_pool2d(self.conv1(images), 2))
        x = functional.relu(functional.max_pool2d(self.conv2(x), 2))
        x = functional.relu(self.dense1(x.flatten(1)))
        x = functional.relu(self.dense2(x))
        return self.dense3(x)  # type: ignore[no-any-return]  # torch types a module's call as Any


class DigitsNet(nn.Module):
    """A LeNet of the size of 8 × 8 images: conv 1→8 (3, padded), pool, conv 8→16 (3, padded), pool, 64–32–10."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, kernel_size=3, padding=1)
        self.dense1 = nn.Linear(64, 32)
        self.dense2 = nn.Linear(32, 10)
        _xavier(self)

    def forward(self, images: Tensor) -> Tensor:
        """Images `[n, 1, 8, 8]` to scores `[n, 10]`."""
        x = functional.relu(functional.max_pool2d(self.conv1(images), 2))
        x = functional.relu(functional.max_pool2d(self.conv2(x), 2))
        x = functional.relu(self.dense1(x.flatten(1)))
        return self.dense2(x)  # type: ignore[no-any-return]  # torch types a module's call as Any
