"""`Run`, the frozen specification of one training."""

import hashlib
import json
import math
import re
import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import KW_ONLY, MISSING, dataclass, fields, replace
from typing import Any, Literal, get_args

from gradus.errors import InvalidInput
from gradus.frozen import Frozen
from gradus.names import did_you_mean
from gradus.schedules import Absolute, Constant, Finding, Schedule, Span, epochs
from gradus.schedules.check import mistakes
from gradus.schedules.spans import Units

__all__ = ["FROZEN", "OnNonfinite", "Per", "Precision", "Run"]

Per = Literal["step", "epoch"]
OnNonfinite = Literal["stop", "skip", "back-off"]
Precision = Literal["float32", "bfloat16", "float16", "float64"]
FROZEN = "frozen"  # in a group: parameters that aren't trained

_VERSION = 2
_LENGTHS = ("epochs", "samples", "tokens")
_EACH_EPOCH = epochs(1)
_WHOLE_LIMIT = 2**63  # what a store's integers hold
_OUTSIDE_IDENTITY = ("name", "record_every")  # neither changes what is trained
# Version 1 took torch's class where torch has one of that name.
_TORCHS_IN_VERSION_1 = frozenset(
    "ASGD Adadelta Adafactor Adagrad Adam AdamW Adamax LBFGS Muon NAdam RAdam RMSprop Rprop SGD SparseAdam".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Run:
    """One training, wholly specified: the same Run on the same machine gives the same rows, bit for bit.

    What is None is the task's own; `gradus.training.completed(run, task)` fills it in.

    Args:
        task: a task's name, as `gradus.tasks.load_task` takes it; or the import path of a training function of your own.
        optimizer: a name in `gradus.optim`, such as "AdamW"; "torch.optim.AdamW" for torch's; or "package.module:Class".
        lr: the learning rate, above 0; the schedule for "lr" multiplies it. Where another optimizer than the task's is
            asked for, None is that optimizer's default.
        schedules: schedules by hyperparameter, such as `{"lr": Cosine(rest()), "momentum": ...}`: factors of the base value,
            or `absolute(schedule)`, the value itself. A single Schedule is the learning rate's.
        options: the optimizer's further arguments, such as `{"momentum": 0.9}`: None, True and False, finite numbers, text,
            and lists of these.
        groups: parameter groups by patterns of parameter names (`fnmatch`); each parameter belongs to the first that
            matches, the others to a group of their own. A value is "frozen", or that group's options, with "factor" for its
            part of the learning rate: `{"embed.*": "frozen", "body.*": {"factor": 0.1}, "*.bias": {"weight_decay": 0.0}}`.
        length: how long to train: updates, or a span in epochs, samples or tokens.
        per: what the schedules count: "step" moves at each update, "epoch" holds a value over each epoch.
        batch_size: examples in a batch, 1 or more.
        accumulate: batches in an update, 1 or more; their gradients' mean is taken.
        precision: "float32"; "bfloat16" and "float16" compute in these where that is safe (autocast; float16 with a
            GradScaler); "float64" has the model and its inputs in double precision.
        clip_norm: the greatest norm of all gradients together, above 0; None doesn't clip.
        valid: whether a part for validation is held out of the training data where the task has none; without it, test
            scores stand in for it.
        evaluate_every: how often to score: updates, or a span. The end always is.
        model: a network's name, as `gradus.tasks.load_model` takes it.
        seed: of the weights, the order of the examples and everything else that is drawn; 0 or more.
        on_nonfinite: what to do at a loss or gradient that is no finite number: "stop"; "skip" that update; "back-off": go
            back to the last evaluation with half the rate, up to eight times. None ends the run at the next evaluation.
        record_every: updates between two rows of training alone; None gives rows at evaluations only.
        name: what tables and pictures call it; one line of text.

    Raises:
        InvalidInput: an argument isn't as said.

    >>> from gradus.schedules import Cosine, epochs, rest
    >>> run = Run("digits", "AdamW", lr=1e-3, schedules={"lr": Cosine(rest())}, length=epochs(30), batch_size=64)
    >>> run.resolved(steps_per_epoch=21)["lr"]
    Cosine(630)
    >>> run.replace(lr=3e-3).lr
    0.003
    """

    task: str
    optimizer: str | None = None
    _: KW_ONLY
    lr: float | None = None
    schedules: Mapping[str, Schedule] = Frozen()
    options: Mapping[str, Any] | None = None
    groups: Mapping[str, Any] | None = None
    length: int | Span | None = None
    per: Per = "step"
    batch_size: int | None = None
    accumulate: int = 1
    precision: Precision = "float32"
    clip_norm: float | None = None
    valid: bool = True
    evaluate_every: int | Span = _EACH_EPOCH
    model: str | None = None
    seed: int = 0
    on_nonfinite: OnNonfinite | None = None
    record_every: int | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        _refuse_unprintable("task", self.task)
        for name in ("optimizer", "model", "name"):
            if getattr(self, name) is not None:
                _refuse_unprintable(name, getattr(self, name))
        for name in ("lr", "clip_norm"):
            self._set(name, _as_positive(name, getattr(self, name)))
        for name, least in (("batch_size", 1), ("record_every", 1)):
            if getattr(self, name) is not None:
                _refuse_unless_whole(name, getattr(self, name), least)
        _refuse_unless_whole("accumulate", self.accumulate, 1)
        _refuse_unless_whole("seed", self.seed, 0)
        for name, kind in (("per", Per), ("precision", Precision), ("on_nonfinite", OnNonfinite)):
            _refuse_unknown(name, getattr(self, name), get_args(kind), optional=name == "on_nonfinite")
        if not isinstance(self.valid, bool):
            raise InvalidInput(f"valid must be True or False; got {self.valid!r}")
        if self.length is not None:
            _refuse_other_span("length", self.length, _LENGTHS)
        _refuse_other_span("evaluate_every", self.evaluate_every, (*_LENGTHS, "fraction"))
        if self.optimizer is not None:
            self._set("optimizer", self.optimizer.removeprefix("gradus.optim."))
        self._set("schedules", _as_schedules(self.schedules))
        self._set("options", None if self.options is None else _as_options(self.options))
        self._set("groups", None if self.groups is None else _as_groups(self.groups))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def replace(self, **changes: Any) -> "Run":
        """The same run with other values for some of its arguments.

        Args:
            **changes: the arguments.

        Raises:
            InvalidInput: there is no such argument, or a value can't be used.
        """
        known = [field.name for field in fields(self)]
        if unknown := [name for name in changes if name not in known]:
            raise InvalidInput(f"a Run has no {unknown[0]!r}{did_you_mean(unknown[0], known)}; it has {', '.join(known)}")
        return replace(self, **changes)

    @property
    def identity(self) -> str:
        """16 hexadecimal digits of all that decides what is trained: everything but `name` and `record_every`.

        Raises:
            InvalidInput: a schedule holds a function that can't be found again by its name.
        """
        decisive = {name: value for name, value in self._document().items() if name not in _OUTSIDE_IDENTITY}
        return hashlib.sha256(json.dumps(decisive, allow_nan=False).encode()).hexdigest()[:16]

    # Its length, and what its schedules are in it

    def total_steps(self, steps_per_epoch: float | None = None, tokens_per_step: float | None = None) -> int:
        """Updates in the whole run, 1 or more.

        Args:
            steps_per_epoch: updates in one pass over the training data.
            tokens_per_step: tokens in one update.

        Raises:
            InvalidInput: the length is the task's own, or is counted in what isn't given.
        """
        if self.length is None:
            raise InvalidInput(f"the run of task {self.task!r} has no length of its own; give one: length=epochs(30)")
        return self._count(self.length, self._units(steps_per_epoch, tokens_per_step))

    def evaluation_steps(self, steps_per_epoch: float, tokens_per_step: float | None = None) -> int:
        """Updates from one evaluation to the next, 1 or more; arguments as for `total_steps`."""
        total = self.total_steps(steps_per_epoch, tokens_per_step)
        return self._count(self.evaluate_every, replace(self._units(steps_per_epoch, tokens_per_step), total_steps=total))

    def _units(self, steps_per_epoch: float | None, tokens_per_step: float | None) -> Units:
        samples = None if self.batch_size is None else self.batch_size * self.accumulate
        return Units(None, steps_per_epoch, samples, tokens_per_step)

    @staticmethod
    def _count(length: int | Span, units: Units) -> int:
        return max(1, length.steps(units) if isinstance(length, Span) else length)

    def resolved(self, steps_per_epoch: float, tokens_per_step: float | None = None) -> dict[str, Schedule]:
        """The schedules with their spans counted in what they count: updates, or epochs.

        Args:
            steps_per_epoch: updates in one pass over the training data.
            tokens_per_step: tokens in one update.

        Raises:
            InvalidInput: a schedule can't be counted in this run.
        """
        total, units = self._ticks(steps_per_epoch, tokens_per_step)
        return {name: schedule.resolve(total, **units) for name, schedule in self.schedules.items()}

    def _ticks(self, steps_per_epoch: float, tokens_per_step: float | None) -> tuple[int, dict[str, float | None]]:
        """How often the schedules' clock ticks in this run, and its units."""
        total = self.total_steps(steps_per_epoch, tokens_per_step)
        each = 1.0 if self.per == "step" else float(steps_per_epoch)
        samples = self._units(None, None).samples_per_step
        units = {
            "steps_per_epoch": steps_per_epoch / each,
            "samples_per_step": None if samples is None else samples * each,
            "tokens_per_step": None if tokens_per_step is None else tokens_per_step * each,
        }
        return math.ceil(total / each), units

    def mistakes(self, steps_per_epoch: float, tokens_per_step: float | None = None) -> list[Finding]:
        """What looks like a mistake in the schedules, as `gradus.check` finds it; arguments as for `resolved`."""
        total, units = self._ticks(steps_per_epoch, tokens_per_step)
        counted = {"steps_per_epoch": units["steps_per_epoch"]} if self.per == "step" else {}
        found = []
        for name, schedule in self.resolved(steps_per_epoch, tokens_per_step).items():
            base = {"base": self.lr} if name == "lr" and self.lr is not None else {}
            found += mistakes(schedule, total, **counted, **base)
        return found

    def rates(self, steps_per_epoch: float, tokens_per_step: float | None = None) -> list[float]:
        """The learning rate of each update, or of each epoch where schedules count epochs; arguments as for `resolved`."""
        total, _ = self._ticks(steps_per_epoch, tokens_per_step)
        schedule = self.resolved(steps_per_epoch, tokens_per_step).get("lr", Constant())
        base = 1.0 if isinstance(schedule, Absolute) or self.lr is None else self.lr
        return [base * schedule(t) for t in range(total)]

    # JSON

    def to_json(self) -> str:
        """The specification as JSON; `Run.from_json` gives back an equal Run.

        Raises:
            InvalidInput: a schedule holds a function that can't be found again by its name.
        """
        return json.dumps({"gradus.run": _VERSION, **self._document()}, allow_nan=False)

    def _document(self) -> dict[str, Any]:
        values = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}
        return values | {"schedules": {name: json.loads(one.to_json()) for name, one in self.schedules.items()}}

    @staticmethod
    def from_json(text: str, *, trusted: bool = False) -> "Run":
        """Read what `to_json` wrote, or version 1 did.

        Args:
            text: the JSON.
            trusted: import the functions that a `Lambda` names. Importing runs code, so only for text of your own.

        Raises:
            InvalidInput: the text is no run, or of an unknown version or field, or a field's value can't be used.
        """
        values = _opened(text)
        found = values.pop("schedules", {})
        if not isinstance(found, dict):
            raise InvalidInput(f"a run's schedules must be an object; got {found!r}")
        read = {name: Schedule.from_json(json.dumps(one), trusted=trusted) for name, one in found.items()}
        for name in ("length", "evaluate_every"):
            if name in values:
                values[name] = _as_length(values[name])
        return Run(schedules=read, **values)


def _opened(text: Any) -> dict[str, Any]:
    """The fields of a run's JSON, each known and none absent that has no default."""
    if not isinstance(text, str):
        raise InvalidInput(f"a run is read from JSON text; got {type(text).__name__}")
    document: Any
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"this is not JSON: {error}") from None
    if not isinstance(document, dict) or "gradus.run" not in document:
        raise InvalidInput('this JSON is no run: it must be an object with "gradus.run" and a run\'s fields')
    version = document.pop("gradus.run")
    if type(version) is not int or not 1 <= version <= _VERSION:
        raise InvalidInput(f"this run has version {version!r}; this Gradus reads versions up to {_VERSION}: update Gradus")
    if version == 1:
        document = _from_version_1(document)
    known = [field.name for field in fields(Run)]
    if unknown := document.keys() - set(known):
        raise InvalidInput(f"a run's JSON has no field {min(unknown)!r}{did_you_mean(min(unknown), known)}")
    if missing := {field.name for field in fields(Run) if field.default is MISSING} - document.keys():
        raise InvalidInput(f"a run's JSON needs the field {min(missing)!r}")
    return dict(document)


def _from_version_1(old: dict[str, Any]) -> dict[str, Any]:
    """Today's fields of a run of version 1: it trained on all examples of a classification, for whole epochs."""
    new = dict(old)
    needed = {"name", "task", "schedule", "lr", "epochs", "batch_size"}
    if missing := needed - new.keys():
        raise InvalidInput(f"a run's JSON needs the field {min(missing)!r}")
    optimizer = new.get("optimizer", "SGD")
    new["optimizer"] = f"torch.optim.{optimizer}" if optimizer in _TORCHS_IN_VERSION_1 else optimizer
    new |= {"per": new.get("per", "epoch"), "valid": False, "options": new.get("options", {})}
    return new | {"schedules": {"lr": new.pop("schedule")}, "length": {"span": "epochs", "amount": new.pop("epochs")}}


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Span):
        return {"span": value.unit, "amount": value.amount}
    if isinstance(value, Frozen):
        return {name: _plain(one) for name, one in value.items()}
    return value


def _as_length(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() != {"span", "amount"}:
            raise InvalidInput(f'a length in a run\'s JSON has "span" and "amount"; got {sorted(map(str, value))}')
        return Span(value["span"], value["amount"])
    return value


# What a run's arguments must be


def _refuse_unprintable(what: str, value: Any) -> None:
    """Refuse what no table can show in one line and no file can hold: control characters and halves of characters."""
    if not isinstance(value, str) or not value.strip() or {unicodedata.category(sign) for sign in value} & {"Cc", "Cs"}:
        raise InvalidInput(f"a run's {what} must be one line of text; got {value!r}")


def _as_positive(what: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= sys.float_info.max:
        called = "the learning rate" if what == "lr" else what
        raise InvalidInput(f"{called} must be a finite number above 0; got {value!r}")
    return float(value)


def _refuse_unless_whole(what: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < _WHOLE_LIMIT:
        raise InvalidInput(f"{what} must be a whole number from {least}, below 2^63; got {value!r}")


def _refuse_unknown(what: str, value: Any, known: tuple[str, ...], *, optional: bool) -> None:
    if not (isinstance(value, str) and value in known) and not (optional and value is None):
        named = ", ".join(f'"{one}"' for one in known)
        raise InvalidInput(
            f"{what} must be one of {named}{' or None' * optional}; got {value!r}{did_you_mean(value, known)}"
        )


def _refuse_other_span(what: str, value: Any, units: tuple[str, ...]) -> None:
    if isinstance(value, Span):
        if value.unit in units and value.amount:
            return
    elif isinstance(value, int) and not isinstance(value, bool) and 1 <= value < _WHOLE_LIMIT:
        return
    spans = ", ".join(f"{unit}(...)" for unit in units)
    raise InvalidInput(f"{what} must be a whole number of updates from 1, or {spans} above 0; got {value!r}")


def _as_schedules(given: Any) -> Frozen[Schedule]:
    if isinstance(given, Schedule):
        given = {"lr": given}
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise InvalidInput(f'schedules are given by hyperparameter, such as {{"lr": Cosine(rest())}}; got {given!r}')
    for name, schedule in given.items():
        if not isinstance(schedule, Schedule):
            raise InvalidInput(f"the schedule of {name!r} must be a Schedule; got {schedule!r}")
    return Frozen({name: given[name] for name in sorted(given)})


def _as_options(given: Any) -> Frozen[Any]:
    """Options as a value, sorted, and equal to themselves after JSON."""
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise InvalidInput('an optimizer\'s options must be given by name, such as {"momentum": 0.9}')
    if "lr" in given:
        raise InvalidInput("the learning rate is the run's lr, and no option; give lr=")
    return Frozen({name: _as_value(name, given[name]) for name in sorted(given)})


def _as_value(name: str, value: Any) -> Any:
    members = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not all(member is None or isinstance(member, str) or _is_finite(member) for member in members):
        raise InvalidInput(
            f"option {name!r} must be a finite number, text, True, False, None, or a list of these; got {value!r}"
        )
    return members if isinstance(value, (list, tuple)) else value


def _is_finite(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _as_groups(given: Any) -> Frozen[Any]:
    """Groups as a value; their order is kept, for the first pattern that matches decides."""
    if not isinstance(given, Mapping) or not all(isinstance(one, str) and re.search(r"\S", one) for one in given):
        raise InvalidInput(f'groups are given by patterns of names, such as {{"head.*": {{"factor": 10}}}}; got {given!r}')
    return Frozen({pattern: _as_group(pattern, value) for pattern, value in given.items()})


def _as_group(pattern: str, value: Any) -> Any:
    if value == FROZEN:
        return FROZEN
    if not isinstance(value, Mapping):
        raise InvalidInput(f'group {pattern!r} must be "frozen", or options such as {{"factor": 0.1}}; got {value!r}')
    if "lr" in value:
        raise InvalidInput(f"a group's part of the learning rate is its factor; give group {pattern!r} one, such as 0.1")
    options = _as_options(value)
    if "factor" in options:
        _as_positive(f"the factor of group {pattern!r}", options["factor"])
    return options
