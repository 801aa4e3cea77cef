"""What a training tells of itself between its rows."""

from dataclasses import dataclass

__all__ = ["Progress"]


@dataclass(frozen=True)
class Progress:
    """How far a training is; nothing of it is stored.

    Args:
        step: updates done.
        total: updates in all.
        loss: of the last update.
        lr: of the last update.
        resumed_from: the update that it went on from, where it was cut short before.

    >>> Progress(step=5, total=20, loss=0.7, lr=0.1).resumed_from is None
    True
    """

    step: int
    total: int
    loss: float
    lr: float
    resumed_from: int | None = None
