"""A training's checkpoints: written when they are due, and before a signal takes effect; and gone on from."""

from collections.abc import Iterator
from contextlib import contextmanager

from gradus.checkpoint import Checkpoints
from gradus.errors import GradusError
from gradus.signals import HeldSignals
from gradus.training.loop import Training

__all__ = ["Keeper"]


class Keeper:
    """Saves a training, and takes it up again.

    Args:
        checkpoints: where; None for nowhere, and then nothing is done.
        every: updates between two checkpoints; one at each epoch's end unless given.
    """

    def __init__(self, checkpoints: Checkpoints | None, every: int | None) -> None:
        self._checkpoints, self._every = checkpoints, every
        self._signals: HeldSignals | None = None

    @contextmanager
    def holding_signals(self) -> Iterator[None]:
        """Inside, signals wait until an update is done and saved."""
        if self._checkpoints is None:
            yield
            return
        with HeldSignals() as self._signals:
            yield

    def after_update(self, training: Training) -> None:
        """Save, if it is time to, or if a signal waits, which is delivered then."""
        if self._checkpoints is None or self._signals is None:
            return
        due = training.is_between_epochs if self._every is None else training.position % self._every == 0
        noted = self._signals.noted is not None
        if due or noted or training.is_done:
            self._checkpoints.save(training.position, **training.parts, rng=False, extra=training.saved())
        if noted:
            self._checkpoints.wait()
            self._signals.deliver()

    def take_up(self, training: Training) -> None:
        """Go on from the newest checkpoint, if there is one.

        Raises:
            GradusError: it can't be read, or is another run's.
        """
        if self._checkpoints is None:
            return
        text = training.run.to_json()  # refused now if it can't be saved
        found = self._checkpoints.load(**training.parts, rng=False)
        if found is None:
            return
        if not isinstance(found.extra, dict) or found.extra.get("run") != text:
            raise GradusError(f"the checkpoints in {self._checkpoints.folder} are another run's; name another folder")
        try:
            training.take_over(found.extra)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise GradusError(f"the checkpoints in {self._checkpoints.folder} are no training's: {error!r}") from None
