"""The language topics in Python's own `pydoc_data`: text that every machine has, to be learned character by character."""

import platform

import torch
from torch import Tensor
from torch.nn import functional

from gradus.errors import GradusError
from gradus.schedules import epochs
from gradus.tasks.metrics import Perplexity
from gradus.tasks.models import CharacterNet
from gradus.tasks.task import Task

__all__ = ["topics"]

_CONTEXT = 64  # characters before the one that is asked for, at most
_HELD_OUT = 0.05  # of the text at its end: for test; and as much before it for validation


def topics() -> Task:
    """Python's manual of the language, with a small character-level transformer; perplexity per character.

    An example is a row of 64 characters and the 64 that follow them one by one. The last twentieth of the text is for test,
    the twentieth before it for validation. The vocabulary is the text's characters in their sorted order.

    The text is that of the Python that runs: figures are to be compared within one version, which `about` names.

    Raises:
        GradusError: this Python came without them.

    >>> task = topics()
    >>> list(task.metrics), task.optimizer
    (['perplexity'], 'AdamW')
    """
    text = _text()
    vocabulary = sorted(set(text))
    numbers = {character: number for number, character in enumerate(vocabulary)}
    characters = torch.tensor([numbers[character] for character in text])
    count = round(len(characters) * _HELD_OUT)
    return Task(
        "topics",
        _rows(characters[: -2 * count]),
        _rows(characters[-count:]),
        _rows(characters[-2 * count : -count]),
        model=lambda: CharacterNet(len(vocabulary), _CONTEXT),
        loss=_loss,
        metrics={"perplexity": Perplexity()},
        objective="valid/perplexity min",
        optimizer="AdamW",
        lr=3e-3,
        batch_size=32,
        length=epochs(10),
        about=f"{len(text):,} characters of {len(vocabulary)} kinds: the topics of Python {platform.python_version()}",
    )


def _text() -> str:
    try:
        from pydoc_data.topics import topics as found  # some systems leave it out
    except ImportError:
        raise GradusError(
            "this Python came without pydoc_data, the text of the task topics; install the system's package for it, such as "
            "libpython3-stdlib, or take another task"
        ) from None
    return "\n\n".join(found[name] for name in sorted(found))


def _rows(characters: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of characters `[n, 64]`, and for each character the next `[n, 64]`; what is left at the end is left out."""
    count = (len(characters) - 1) // _CONTEXT
    inputs, targets = characters[: count * _CONTEXT], characters[1 : count * _CONTEXT + 1]
    return inputs.reshape(count, _CONTEXT), targets.reshape(count, _CONTEXT)


def _loss(scores: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy over all characters; scores `[n, 64, kinds]`, targets `[n, 64]`."""
    return functional.cross_entropy(scores.flatten(0, 1), targets.flatten())
