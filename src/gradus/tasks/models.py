"""The networks of the built-in tasks."""

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["DigitsNet", "LeNet"]


def _widened(kernel: Tensor, outputs: int, inputs: int) -> Tensor:
    """A convolution's kernel with channels of zeros added, laid out with its channels last.

    The layout is read off the strides, and those of a kernel with one input channel say "channels first" unless it is
    made this way; that is several times slower in the backward pass.
    """
    channels_last = kernel.permute(0, 2, 3, 1)
    return functional.pad(channels_last, (0, inputs, 0, 0, 0, 0, 0, outputs)).permute(0, 3, 1, 2)


class LeNet(nn.Module):
    """LeNet with ReLU and max pooling, for 28 × 28 grey images: conv 1→6 (5, padded 2), pool, conv 6→16 (5), pool,
    400–120–84–10; weights drawn as torch draws them, as in the textbook's chapter on schedules.

    It is computed as is fastest on a CPU, which changes neither the function nor its parameters: pooling stands before
    ReLU (both are monotone, so they commute, and ReLU sees a quarter of the numbers), and two channels of zeros are added
    to the first six (kernels for eight channels are faster).

    Source: LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998, with today's activation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, kernel_size=5)
        self.dense1 = nn.Linear(400, 120)
        self.dense2 = nn.Linear(120, 84)
        self.dense3 = nn.Linear(84, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Images `[n, 1, 28, 28]` to scores `[n, 10]`."""
        assert self.conv1.bias is not None  # it has one unless told otherwise
        kernel1, bias1 = _widened(self.conv1.weight, 2, 0), functional.pad(self.conv1.bias, (0, 2))
        x = functional.relu_(functional.max_pool2d(functional.conv2d(images, kernel1, bias1, padding=2), 2))
        kernel2 = _widened(self.conv2.weight, 0, 2)
        x = functional.relu_(functional.max_pool2d(functional.conv2d(x, kernel2, self.conv2.bias), 2))
        x = functional.relu_(self.dense1(x.flatten(1)))
        x = functional.relu_(self.dense2(x))
        return self.dense3(x)  # type: ignore[no-any-return]  # torch types a module's call as Any


class DigitsNet(nn.Module):
    """A LeNet of the size of 8 × 8 images: conv 1→8 (3, padded), pool, conv 8→16 (3, padded), pool, 64–32–10;
    weights drawn after Glorot.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, kernel_size=3, padding=1)
        self.dense1 = nn.Linear(64, 32)
        self.dense2 = nn.Linear(32, 10)
        for layer in (self.conv1, self.conv2, self.dense1, self.dense2):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Images `[n, 1, 8, 8]` to scores `[n, 10]`."""
        x = functional.relu(functional.max_pool2d(self.conv1(images), 2))
        x = functional.relu(functional.max_pool2d(self.conv2(x), 2))
        x = functional.relu(self.dense1(x.flatten(1)))
        return self.dense2(x)  # type: ignore[no-any-return]  # torch types a module's call as Any
