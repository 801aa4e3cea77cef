"""The networks of the built-in tasks."""

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["CharacterNet", "DiabetesNet", "DigitsNet", "LeNet"]


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

    It is computed as is fastest on a CPU, which changes neither the function nor its parameters: pooling comes before
    ReLU (both are monotone, so they commute, and ReLU sees a quarter of the numbers), and two channels of zeros are added
    to the first six (kernels for eight channels are faster).

    Source: LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998, with today's activation.

    >>> LeNet()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
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
        assert self.conv1.bias is not None  # it has one by default
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

    >>> DigitsNet()(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
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


class DiabetesNet(nn.Sequential):
    """Ten numbers to one, `[n, 10]` to `[n, 1]`: 10–32–1 with tanh, weights drawn as torch draws them.

    >>> DiabetesNet()(torch.zeros(2, 10)).shape
    torch.Size([2, 1])
    """

    def __init__(self) -> None:
        super().__init__(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 1))


class CharacterNet(nn.Module):
    """A small decoder-only transformer: blocks of causal attention and a feed-forward network, each after a layer norm and
    added to what came in; learned positions.

    Args:
        vocabulary: kinds of characters.
        context: the longest row.
        width: of the vectors between blocks.
        blocks: how many.
        heads: of attention; they divide the width.

    Source: Vaswani et al., Attention Is All You Need, 2017 (arXiv:1706.03762), with the norms in front (arXiv:2002.04745).

    >>> CharacterNet(vocabulary=5, context=8)(torch.zeros(2, 8, dtype=torch.int64)).shape
    torch.Size([2, 8, 5])
    """

    def __init__(self, vocabulary: int, context: int, *, width: int = 64, blocks: int = 1, heads: int = 4) -> None:
        super().__init__()
        self.characters = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(_Block(width, heads) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.scores = nn.Linear(width, vocabulary)
        for embedding in (self.characters, self.positions):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, characters: Tensor) -> Tensor:
        """Rows of characters `[n, length]` to scores of the next ones `[n, length, vocabulary]`."""
        places = torch.arange(characters.shape[1], device=characters.device)
        x = self.blocks(self.characters(characters) + self.positions(places))
        return self.scores(self.norm(x))  # type: ignore[no-any-return]  # torch types a module's call as Any


class _Block(nn.Module):
    """Attention to earlier positions, then a feed-forward network four times as wide."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.mixed = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Vectors `[n, length, width]` to vectors of the same shape."""
        n, length, width = x.shape
        asked, keys, values = self.attention(self.norm1(x)).reshape(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(asked, keys, values, is_causal=True)
        x = x + self.mixed(seen.transpose(1, 2).reshape(n, length, width))
        return x + self.narrow(functional.gelu(self.wide(self.norm2(x))))  # type: ignore[no-any-return]
