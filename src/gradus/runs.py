"""`Run`, the frozen specification of one training, and the rows that it gives."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gradus.errors import InvalidInput
from gradus.schedules import Absolute, Schedule

__all__ = ["Row", "Run"]

_VERSION = 1
_PER = ("epoch", "step")


@dataclass(frozen=True)
class Run:
    """One training, wholly specified: the same Run on the same machine gives the same rows, bit for bit.

    Args:
        name: what it is called in tables and pictures.
        task: a task's name, as `gradus.tasks.load_task` takes it.
        schedule: the learning rate's schedule, a factor of `lr`; or `absolute(schedule)`, the rate itself.
        lr: the learning rate that the schedule multiplies.
        epochs: passes over the training data, 1 or more.
        batch_size: examples in an update, 1 or more.
        seed: of the weights, the order of the examples and everything else that is drawn; 0 or more.
        per: what the schedule counts: "epoch" holds a value over each epoch, "step" moves at each update.
        optimizer: the name of a class in `torch.optim`.
        options: its further arguments, such as `{"momentum": 0.9}`.

    Raises:
        InvalidInput: an argument isn't as said, or the schedule can't be counted in this run.

    >>> from gradus.schedules import Cosine, rest
    >>> Run("cosine", "digits", Cosine(rest()), lr=0.3, epochs=30, batch_size=64).resolved(steps_per_epoch=23)
    Cosine(30)
    """

    name: str
    task: str
    schedule: Schedule
    lr: float
    epochs: int
    batch_size: int
    seed: int = 0
    per: str = "epoch"
    optimizer: str = "SGD"
    options: Mapping[str, Any] | tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.schedule, Schedule):
            raise InvalidInput(f"a run's schedule must be a Schedule; got {self.schedule!r}")
        if isinstance(self.lr, bool) or not isinstance(self.lr, (int, float)) or not (math.isfinite(self.lr) and self.lr > 0):
            raise InvalidInput(f"the learning rate must be a finite number above 0; got {self.lr!r}")
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InvalidInput(f"{name} must be a whole number from {least}; got {value!r}")
        if self.per not in _PER:
            raise InvalidInput(f'a schedule counts per "epoch" or per "step"; got {self.per!r}')
        object.__setattr__(self, "lr", float(self.lr))
        object.__setattr__(self, "options", tuple(sorted(dict(self.options).items())))

    def resolved(self, steps_per_epoch: int) -> Schedule:
        """The schedule with its spans counted in what it counts: epochs or steps."""
        if self.per == "epoch":
            return self.schedule.resolve(self.epochs, steps_per_epoch=1, samples_per_step=steps_per_epoch * self.batch_size)
        return self.schedule.resolve(
            self.epochs * steps_per_epoch, steps_per_epoch=steps_per_epoch, samples_per_step=self.batch_size
        )

    def rates(self, steps_per_epoch: int) -> list[float]:
        """The learning rate of each epoch (its first update's, where the schedule counts steps)."""
        schedule = self.resolved(steps_per_epoch)
        factor = 1.0 if isinstance(schedule, Absolute) else self.lr
        stride = 1 if self.per == "epoch" else steps_per_epoch
        return [factor * schedule(epoch * stride) for epoch in range(self.epochs)]

    def to_json(self) -> str:
        """The specification as JSON; `Run.from_json` gives back an equal Run."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        fields |= {"schedule": json.loads(self.schedule.to_json()), "options": dict(self.options)}
        return json.dumps({"gradus.run": _VERSION, **fields}, allow_nan=False)

    @staticmethod
    def from_json(text: str, *, trusted: bool = False) -> "Run":
        """Read what `to_json` wrote; `trusted` as in `Schedule.from_json`."""
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise InvalidInput(f"this is not JSON: {error}") from None
        if not isinstance(fields, dict) or fields.pop("gradus.run", None) != _VERSION:
            raise InvalidInput(f'this JSON is no run of version {_VERSION}: its field "gradus.run" must say so')
        try:
            schedule = Schedule.from_json(json.dumps(fields.pop("schedule", None)), trusted=trusted)
            return Run(schedule=schedule, **fields)
        except TypeError as error:
            raise InvalidInput(f"this JSON is no run: {error}") from None


@dataclass(frozen=True)
class Row:
    """What one epoch gave.

    Args:
        epoch: epochs done, from 1.
        step: updates done.
        lr: the learning rate of the epoch's last update.
        train_loss: the mean loss over the epoch's examples, each as it was when it was learned from.
        train_accuracy: the part of them classified right, likewise.
        test_loss: the mean loss over the test examples after the epoch.
        test_accuracy: the part of them classified right.
        seconds: wall-clock time of the epoch, scoring included. It alone may differ between two executions.
    """

    epoch: int
    step: int
    lr: float
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    seconds: float

    def values(self) -> dict[str, float]:
        """All that a repetition must reproduce: everything but the time."""
        return {name: value for name, value in asdict(self).items() if name != "seconds"}
