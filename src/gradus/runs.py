"""`Run`, the frozen specification of one training, and the rows that it gives."""

import json
import math
import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from gradus.errors import InvalidInput
from gradus.names import did_you_mean
from gradus.schedules import Absolute, Finding, Schedule
from gradus.schedules.check import mistakes

__all__ = ["Row", "Run"]

_VERSION = 1
_PER = ("epoch", "step")
_ON_NONFINITE = (None, "stop", "skip", "back-off")
_WHOLE_LIMIT = 2**63  # what a store's integers hold


@dataclass(frozen=True)
class Run:
    """One training, wholly specified: the same Run on the same machine gives the same rows, bit for bit.

    Args:
        name: what it is called in tables and pictures; one line of text.
        task: a task's name, as `gradus.tasks.load_task` takes it.
        schedule: the learning rate's schedule, a factor of `lr`; or `absolute(schedule)`, the rate itself.
        lr: the learning rate that the schedule multiplies.
        epochs: passes over the training data, 1 or more.
        batch_size: examples in an update, 1 or more.
        seed: of the weights, the order of the examples and everything else that is drawn; 0 or more.
        per: what the schedule counts: "epoch" holds a value over each epoch, "step" moves at each update.
        optimizer: the name of a class in `torch.optim`, or of one in `gradus.optim`: `Lion`, or `gradus.optim.SGD` where
            torch has one of that name.
        model: a network's name, as `gradus.tasks.load_model` takes it; the task's own unless given.
        options: the optimizer's further arguments, such as `{"momentum": 0.9}`: None, True and False, finite numbers,
            text, and lists of these.
        on_nonfinite: what to do at a loss or gradient that is no finite number, looked for at each update: "stop"; "skip"
            that update; "back-off": go back to the epoch's beginning with half the rate, up to eight times. None doesn't
            look, and ends the run after the epoch whose loss shows it.

    Raises:
        InvalidInput: an argument isn't as said.

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
    model: str | None = None
    options: Mapping[str, Any] | tuple[tuple[str, Any], ...] = ()
    on_nonfinite: str | None = None

    def __post_init__(self) -> None:
        for name in ("name", "task", "optimizer", *(() if self.model is None else ("model",))):
            _refuse_unprintable(name, getattr(self, name))
        if not isinstance(self.schedule, Schedule):
            raise InvalidInput(f"a run's schedule must be a Schedule; got {self.schedule!r}")
        if isinstance(self.lr, bool) or not isinstance(self.lr, (int, float)) or not 0 < self.lr <= sys.float_info.max:
            raise InvalidInput(f"the learning rate must be a finite number above 0; got {self.lr!r}")
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value < _WHOLE_LIMIT:
                raise InvalidInput(f"{name} must be a whole number from {least}, below 2^63; got {value!r}")
        if self.per not in _PER:
            raise InvalidInput(
                f'a schedule counts per "epoch" or per "step"; got {self.per!r}{did_you_mean(self.per, _PER)}'
            )
        if self.on_nonfinite not in _ON_NONFINITE:
            hint = did_you_mean(self.on_nonfinite, _ON_NONFINITE)
            raise InvalidInput(f'on_nonfinite must be "stop", "skip", "back-off" or None; got {self.on_nonfinite!r}{hint}')
        object.__setattr__(self, "lr", float(self.lr))
        object.__setattr__(self, "options", _as_pairs(self.options))

    def resolved(self, steps_per_epoch: int) -> Schedule:
        """The schedule with its spans counted in what it counts: epochs or steps.

        Args:
            steps_per_epoch: updates in one pass over the training data.

        Raises:
            InvalidInput: the schedule can't be counted in this run.
        """
        if "tokens_per_step" in self.schedule._needs:
            raise InvalidInput(f"a run has no tokens to count, only epochs and samples; its schedule is {self.schedule!r}")
        if self.per == "epoch":
            return self.schedule.resolve(self.epochs, steps_per_epoch=1, samples_per_step=steps_per_epoch * self.batch_size)
        return self.schedule.resolve(
            self.epochs * steps_per_epoch, steps_per_epoch=steps_per_epoch, samples_per_step=self.batch_size
        )

    def mistakes(self, steps_per_epoch: int) -> list[Finding]:
        """What looks like a mistake in the schedule, as `gradus.check` finds it.

        Args:
            steps_per_epoch: updates in one pass over the training data.

        Raises:
            InvalidInput: the schedule can't be counted in this run.
        """
        schedule = self.resolved(steps_per_epoch)
        if self.per == "epoch":
            return mistakes(schedule, self.epochs, base=self.lr)
        return mistakes(schedule, self.epochs * steps_per_epoch, steps_per_epoch=steps_per_epoch, base=self.lr)

    def rates(self, steps_per_epoch: int) -> list[float]:
        """The learning rate of each epoch, or of each update where the schedule counts those.

        Args:
            steps_per_epoch: updates in one pass over the training data.

        Raises:
            InvalidInput: the schedule can't be counted in this run.
        """
        schedule = self.resolved(steps_per_epoch)
        factor = 1.0 if isinstance(schedule, Absolute) else self.lr
        return [factor * schedule(t) for t in range(self.epochs * (1 if self.per == "epoch" else steps_per_epoch))]

    def to_json(self) -> str:
        """The specification as JSON; `Run.from_json` gives back an equal Run.

        Raises:
            InvalidInput: the schedule holds a function that can't be found again by its name.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values |= {"schedule": json.loads(self.schedule.to_json()), "options": dict(self.options)}
        return json.dumps({"gradus.run": _VERSION, **values}, allow_nan=False)

    @staticmethod
    def from_json(text: str, *, trusted: bool = False) -> "Run":
        """Read what `to_json` wrote.

        Args:
            text: the JSON.
            trusted: import the functions that a `Lambda` names. Importing runs code, so only for text of your own.

        Raises:
            InvalidInput: the text is no run, or of an unknown version or field, or a field's value can't be used.
        """
        values = _opened(text)
        schedule = Schedule.from_json(json.dumps(values.pop("schedule")), trusted=trusted)
        return Run(schedule=schedule, **values)


def _opened(text: str) -> dict[str, Any]:
    """The fields of a run's JSON, each known and none absent that has no default."""
    if not isinstance(text, str):
        raise InvalidInput(f"a run is read from JSON text; got {type(text).__name__}")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"this is not JSON: {error}") from None
    if not isinstance(document, dict) or "gradus.run" not in document:
        raise InvalidInput('this JSON is no run: it must be an object with "gradus.run" and a run\'s fields')
    version = document.pop("gradus.run")
    if type(version) is not int or version != _VERSION:
        raise InvalidInput(f"this run has version {version!r}; this Gradus reads version {_VERSION}: update Gradus")
    known = [field.name for field in fields(Run)]
    if unknown := document.keys() - set(known):
        raise InvalidInput(f"a run's JSON has no field {min(unknown)!r}{did_you_mean(min(unknown), known)}")
    if missing := {field.name for field in fields(Run) if field.default is MISSING} - document.keys():
        raise InvalidInput(f"a run's JSON needs the field {min(missing)!r}")
    return document


def _refuse_unprintable(what: str, value: Any) -> None:
    """Refuse what no table can show in one line and no file can hold: control characters and halves of characters."""
    if not isinstance(value, str) or not value.strip() or {unicodedata.category(sign) for sign in value} & {"Cc", "Cs"}:
        raise InvalidInput(f"a run's {what} must be one line of text; got {value!r}")


def _as_pairs(options: Any) -> tuple[tuple[str, Any], ...]:
    """Options as a value: sorted, and equal to themselves after JSON."""
    try:
        options = dict(options)
    except (TypeError, ValueError):
        options = None
    if options is None or not all(isinstance(name, str) for name in options):
        raise InvalidInput('an optimizer\'s options must be given by name, such as {"momentum": 0.9}')
    return tuple((name, _as_value(name, options[name])) for name in sorted(options))


def _as_value(name: str, value: Any) -> Any:
    members = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not all(member is None or isinstance(member, str) or _is_finite(member) for member in members):
        raise InvalidInput(
            f"option {name!r} must be a finite number, text, True, False, None, or a list of these; got {value!r}"
        )
    return members if isinstance(value, (list, tuple)) else value


def _is_finite(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


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
