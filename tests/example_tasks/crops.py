"""Images with random crops and flips, from a map-style Dataset whose batches are made by two workers."""

import random

import torch
from sklearn.datasets import load_sample_images
from torch import Tensor, nn
from torch.utils.data import Dataset

from gradus.schedules import epochs
from gradus.tasks import Task


class Patches(Dataset[tuple[Tensor, int]]):
    """Which of two photographs is a patch of 16 × 16 from? In training, it is cut at random from one of 20 × 20."""

    def __init__(self, columns: slice, augmented: bool) -> None:
        self.augmented, self.items = augmented, list[tuple[Tensor, int]]()
        for label, photograph in enumerate(load_sample_images().images):  # [427, 640, 3], bytes
            patches = torch.tensor(photograph[:420]).float().div(255).permute(2, 0, 1)
            patches = patches.unfold(1, 20, 20).unfold(2, 20, 20)[:, :, columns]  # [3, 21, columns, 20, 20]
            self.items += [(patch, label) for patch in patches.flatten(1, 2).unbind(1)]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        patch, label = self.items[index]
        top, left = (random.randint(0, 4), random.randint(0, 4)) if self.augmented else (2, 2)
        patch = patch[:, top : top + 16, left : left + 16]
        return patch.flip(2) if self.augmented and torch.rand(()) < 0.5 else patch, label


def model() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2)),  # [n, 8, 7, 7]
        *(nn.Flatten(), nn.Dropout(0.1), nn.Linear(392, 2)),
    )


def task() -> Task:
    return Task(
        "crops",
        train=Patches(slice(0, 22), augmented=True),
        valid=Patches(slice(22, 27), augmented=False),  # of its own: what is held out of train would be cropped too
        test=Patches(slice(27, 32), augmented=False),
        model=model,
        workers=2,
        lr=0.1,
        batch_size=64,
        length=epochs(3),
    )
