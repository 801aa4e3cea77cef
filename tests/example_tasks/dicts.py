"""Dict batches through a model that gives its own loss, as those of Hugging Face's transformers do."""

from pydoc_data.topics import topics
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from gradus.schedules import epochs
from gradus.tasks import Task


class Classifier(nn.Module):
    """Takes token numbers [n, length], which of them are real, and labels [n]; gives an object with loss and logits."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(128, 16), nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> SimpleNamespace:
        weights = attention_mask / attention_mask.sum(1, keepdim=True)
        logits = self.head((self.embedding(input_ids) * weights.unsqueeze(2)).sum(1))
        return SimpleNamespace(loss=nn.functional.cross_entropy(logits, labels), logits=logits)


def collate(lines: list[str]) -> dict[str, Tensor]:
    """Is a line of Python's manual an example of code, which is set in by spaces, or prose?"""
    tokens = [torch.tensor([ord(sign) % 128 for sign in line.strip()]) for line in lines]
    padded = nn.utils.rnn.pad_sequence(tokens, batch_first=True, padding_value=-1)
    labels = torch.tensor([line.startswith("   ") for line in lines]).long()
    return {"input_ids": padded.clamp(min=0), "attention_mask": (padded >= 0).float(), "labels": labels}


def step(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    output = model(**batch)
    return output.loss, {"accuracy": output.logits.argmax(1) == batch["labels"]}


def task() -> Task:
    lines = [line for line in topics["specialnames"].splitlines() + topics["class"].splitlines() if line.strip()]
    return Task(
        "dicts",
        train=[line for number, line in enumerate(lines) if number % 5],  # a list has a length, so it is a Dataset
        test=lines[::5],
        model=Classifier,
        step=step,
        collate=collate,
        objective="valid/accuracy max",
        optimizer="Adam",
        lr=0.02,
        batch_size=32,
        length=epochs(5),
    )
