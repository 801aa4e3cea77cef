"""The textbook's way of training LeNet on Fashion-MNIST: the peer of the reference experiment's speed.

Each image is opened with PIL and turned into a float tensor whenever it is asked for, a `DataLoader` shuffles and batches,
layers follow one another as they are drawn, and a plain loop adds up loss and accuracy batch by batch. Nothing is tuned, on
purpose.

    python benchmarks/textbook.py DATA_DIR --epochs 2 --workers 0      # prints training images per second, scoring included
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from gradus.tasks.idx import read_idx

BATCH_SIZE = 256
LEARNING_RATE = 0.3


def to_tensor(image: Image.Image) -> Tensor:
    """A grey PIL image as a float tensor `[1, height, width]` from 0 to 1."""
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    return pixels.view(image.height, image.width, 1).permute(2, 0, 1).contiguous().to(torch.float32).div(255)


class FashionImages(Dataset[tuple[Tensor, int]]):
    """Fashion-MNIST, one PIL image and one conversion an item."""

    def __init__(self, data_dir: Path, part: str) -> None:
        self.images = read_idx(data_dir / f"{part}-images-idx3-ubyte.gz", 3)
        self.labels = read_idx(data_dir / f"{part}-labels-idx1-ubyte.gz", 1)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return to_tensor(Image.fromarray(self.images[index])), int(self.labels[index])


def lenet() -> nn.Sequential:
    """LeNet, layer after layer."""
    net = nn.Sequential(
        nn.Conv2d(1, 6, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=2, stride=2),
        nn.Conv2d(6, 16, kernel_size=5),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=2, stride=2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )
    for layer in net:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight)
    return net


def train_epoch(net: nn.Module, loader: DataLoader[tuple[Tensor, Tensor]], optimizer: torch.optim.Optimizer) -> float:
    """One pass over the training data; the accuracy on the way."""
    net.train()
    loss_function = nn.CrossEntropyLoss()
    loss_sum, correct, count = 0.0, 0.0, 0
    for images, labels in loader:
        optimizer.zero_grad()
        scores = net(images)
        loss = loss_function(scores, labels)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            loss_sum += float(loss) * len(labels)
            correct += float((scores.argmax(dim=1) == labels).sum())
            count += len(labels)
    return correct / count


def accuracy(net: nn.Module, loader: DataLoader[tuple[Tensor, Tensor]]) -> float:
    """The accuracy over a loader."""
    net.eval()
    with torch.no_grad():
        return float(np.mean([float((net(x).argmax(dim=1) == y).float().mean()) for x, y in loader]))


def images_per_second(data_dir: Path, epochs: int, workers: int) -> float:
    """Train and score for whole epochs: training images per second of all that time."""
    training = DataLoader(FashionImages(data_dir, "train"), BATCH_SIZE, shuffle=True, num_workers=workers)
    testing = DataLoader(FashionImages(data_dir, "t10k"), BATCH_SIZE, shuffle=False, num_workers=workers)
    net = lenet()
    optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE)
    start = time.perf_counter()
    for _ in range(epochs):
        train_epoch(net, training, optimizer)
        accuracy(net, testing)
    return epochs * 60_000 / (time.perf_counter() - start)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The textbook's loop on Fashion-MNIST")
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    print(images_per_second(options.data_dir, options.epochs, options.workers))
