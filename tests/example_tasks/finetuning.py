"""Fine-tuning: a body trained on the digits from 0 to 4 learns those from 5 to 9, slowly; its first layer stays."""

from functools import cache

import torch
from torch import Tensor, nn

from gradus.schedules import epochs
from gradus.tasks import Task, load_task

digits = load_task("digits")


class Network(nn.Module):
    """A stem, a body and a head of its own for each job."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.body = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(64, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(self.stem(images)).flatten(1))


def some(split: tuple[Tensor, Tensor], first: int) -> tuple[Tensor, Tensor]:  # five of the ten digits
    images, labels = split
    chosen = (labels >= first) & (labels < first + 5)
    return images[chosen], labels[chosen] - first


@cache
def pretrained() -> dict[str, Tensor]:  # where you would have a file
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        images, labels = some(digits.train, 0)
        for batch in torch.randperm(len(images)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimizer.step()
    return network.state_dict()


def model() -> nn.Module:
    network = Network()
    network.load_state_dict(pretrained())
    network.head.reset_parameters()  # other digits
    return network


def task() -> Task:
    return Task(
        "finetuning",
        train=some(digits.train, 5),
        test=some(digits.test, 5),
        model=model,
        groups={"stem.*": "frozen", "body.*": {"factor": 0.1}},  # the head has the whole rate
        options={"momentum": 0.9},
        lr=0.1,
        batch_size=32,
        length=epochs(5),
    )
