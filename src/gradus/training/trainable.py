"""A training function of a user's own, and what it is given."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gradus.checkpoint.state import random_state, set_random_state
from gradus.errors import InvalidInput
from gradus.randomness import seed_for
from gradus.rows import Row
from gradus.runs import Run
from gradus.training.errors import Stopped
from gradus.training.setup import own_randomness, reseed

__all__ = ["Context", "Trainable", "rows_of"]


@dataclass(frozen=True)
class Context:
    """What a training function is given besides its run.

    Args:
        device: where to train.
        folder: the run's own, which exists, and stays until the run has finished: checkpoints go there. None where there is
            none.
        data_dir: where data are, if the user has said so.
        should_stop: whether the training is to save what it needs and return; ask it now and then.

    >>> context = Context(torch.device("cpu"), folder=None, data_dir=None, should_stop=lambda: False)
    >>> context.should_stop()
    False
    """

    device: torch.device
    folder: Path | None
    data_dir: str | None
    should_stop: Callable[[], bool]


Trainable = Callable[[Run, Context], Iterable[Mapping[str, float]]]


def rows_of(function: Trainable, run: Run, context: Context) -> Iterator[Row]:
    """The rows of a training function; a mapping without a "step" is the next one.

    When it is asked to stop it has until its next row, so that it can save what it wants to.

    Python's, NumPy's and torch's global generators are seeded by the run's seed before it begins, and are the caller's own
    between its rows.

    Args:
        function: yields named numbers.
        run: what to do.
        context: with what.

    Raises:
        InvalidInput: it yields something else.
        Stopped: it was asked to stop, and has.
    """
    step, asked = 0, False
    for given in _drawing_apart(function, run, context):
        row = Row.of(given, otherwise=step + 1)
        step = row.step
        yield row
        if asked:
            raise Stopped(step)
        asked = context.should_stop()
    if asked or context.should_stop():
        raise Stopped(step)


def _drawing_apart(function: Trainable, run: Run, context: Context) -> Iterator[Any]:
    """What it yields; the random states that it leaves are its own, and those outside are outside."""
    with own_randomness(context.device):
        reseed(seed_for(run.seed, "training function"), context.device)
        iterator = _iterator(function, run, context)
        own = random_state()
    while True:
        with own_randomness(context.device):
            set_random_state(own)
            try:
                given = next(iterator)
            except StopIteration:
                return
            own = random_state()
        yield given


def _iterator(function: Trainable, run: Run, context: Context) -> Iterator[Any]:
    rows = function(run, context)
    if not isinstance(rows, Iterable) or isinstance(rows, (Mapping, str)):
        raise InvalidInput(
            f'the training function {run.task} must yield named numbers, such as {{"valid/loss": 0.3}}, as a generator or '
            f"a list; it returned {type(rows).__name__}"
        )
    return iter(rows)
