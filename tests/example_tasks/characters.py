"""A character-level transformer on a few of Python's own language topics."""

from pydoc_data.topics import topics

import torch
from torch import Tensor, nn

from gradus.schedules import epochs
from gradus.tasks import Perplexity, Task

TEXT = topics["assignment"] + topics["class"]
KINDS = sorted(set(TEXT))
CONTEXT = 32


class Transformer(nn.Module):
    """One layer of attention to what stands before, between embeddings and scores."""

    def __init__(self) -> None:
        super().__init__()
        self.characters, self.positions = nn.Embedding(len(KINDS), 32), nn.Embedding(CONTEXT, 32)
        self.layer = nn.TransformerEncoderLayer(32, nhead=2, dim_feedforward=64, dropout=0.1, batch_first=True)
        self.scores = nn.Linear(32, len(KINDS))

    def forward(self, characters: Tensor) -> Tensor:  # [n, length] to [n, length, kinds]
        length = characters.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=characters.device)
        x = self.characters(characters) + self.positions.weight[:length]
        return self.scores(self.layer(x, src_mask=mask, is_causal=True))


def loss(scores: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(scores.flatten(0, 1), targets.flatten())


def rows(text: Tensor) -> tuple[Tensor, Tensor]:  # characters, and those that follow them
    end = (len(text) - 1) // CONTEXT * CONTEXT
    return text[:end].reshape(-1, CONTEXT), text[1 : end + 1].reshape(-1, CONTEXT)


def task() -> Task:
    text = torch.tensor([KINDS.index(character) for character in TEXT])
    first, second = len(text) * 8 // 10, len(text) * 9 // 10
    return Task(
        "characters",
        train=rows(text[:first]),
        valid=rows(text[first:second]),
        test=rows(text[second:]),
        model=Transformer,
        loss=loss,
        metrics={"perplexity": Perplexity()},
        objective="valid/perplexity min",
        optimizer="AdamW",
        lr=0.003,
        batch_size=16,
        length=epochs(3),
    )
