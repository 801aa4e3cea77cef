"""A training's checkpoints: written when they are due, and before a signal takes effect; and gone on from."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradus.checkpoint import Checkpoints
from gradus.errors import GradusError
from gradus.files import refuse_full_disk
from gradus.signals import DeferSignals
from gradus.training.loop import Training

__all__ = ["Checkpointing"]

_log = logging.getLogger(__name__)


class Checkpointing:
    """Saves a training, and loads it.

    Args:
        checkpoints: where; None for nowhere, and then nothing is done.
        every: updates between two checkpoints; one at each evaluation unless given.
    """

    def __init__(self, checkpoints: Checkpoints | None, every: int | None) -> None:
        self._checkpoints, self._every = checkpoints, every
        self._signals: DeferSignals | None = None

    @contextmanager
    def deferring_signals(self) -> Iterator[None]:
        """Inside, signals wait until an update is done and saved."""
        if self._checkpoints is None:
            yield
            return
        with DeferSignals() as self._signals:
            yield

    def after_update(self, training: Training, wished: bool = False) -> None:
        """Save, if it is time to, or wished for, or if a signal waits, which is delivered then."""
        if self._checkpoints is None:
            return
        due = training.is_evaluated if self._every is None else training.position % self._every == 0
        noted = self._signals is not None and self._signals.noted is not None
        if due or noted or wished or training.is_done:
            self._checkpoints.save(training.position, **training.parts, rng=False, extra=training.state_dict())
        if noted or wished:
            self._checkpoints.wait()
        if noted:
            assert self._signals is not None
            self._signals.deliver()

    def load_state(self, training: Training) -> None:
        """Go on from the newest checkpoint, if there is one.

        Raises:
            GradusError: it can't be read, is another run's, or was made with other data; or there is no room for the first.
        """
        if self._checkpoints is None:
            return
        text = training.identity  # refused now if it can't be saved
        found = self._checkpoints.load(**training.parts, rng=False)
        folder = self._checkpoints.folder
        if found is None:
            _refuse_full_disk(Path(folder), training)
            return
        if not isinstance(found.extra, dict) or found.extra.get("run") != text:
            raise GradusError(f"the checkpoints in {folder} are another run's; name another folder")
        try:
            training.load_state(found.extra)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, GradusError):
                raise GradusError(
                    f"{error}; the checkpoints are in {folder}: give the data as they were, or remove these"
                ) from None
            raise GradusError(f"the checkpoints in {folder} are no training's: {error!r}") from None
        _log.info("resumed at update %d from %s", training.position, folder)


def _refuse_full_disk(folder: Path, training: Training) -> None:
    """Refuse a folder in which the first checkpoint finds no room."""
    held = training.parts["model"].state_dict().values()
    needed = sum(one.numel() * one.element_size() for one in held if hasattr(one, "numel"))
    refuse_full_disk(folder, needed, "a checkpoint needs")
