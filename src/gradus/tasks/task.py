"""`Task`: what is trained."""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from gradus.errors import InvalidInput
from gradus.frozen import Frozen
from gradus.names import did_you_mean
from gradus.runs import Run
from gradus.schedules import Span, epochs
from gradus.tasks.batches import converted, kind_of
from gradus.tasks.data import Data, DatasetData, TensorData, data_of
from gradus.tasks.hashing import digest_of
from gradus.tasks.metrics import Accumulating, accuracy
from gradus.tasks.objective import Objective
from gradus.tasks.scores import Metric, Outcome
from gradus.tasks.sources import digest_of_source

__all__ = ["Split", "Task"]

_USUAL_LENGTH = epochs(30)
_HELD_OUT = 0.1  # of the training data, where a task has none for validation
_SPLITS = ("train", "valid", "test")


class Split(NamedTuple):
    """Examples as two tensors of equal length."""

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True, eq=False)  # tensors can't say in one word whether they are equal
class Task:
    """What is trained: data in splits, a model, a loss, metrics by name, an objective, and the settings usual for it.

    Each split is `(inputs, targets)`, tensors or NumPy arrays `[n, ...]`, which are kept on the device; a map-style
    `Dataset`; or a function `(seed, epoch) -> batches`. A batch is `(inputs, targets)`, or whatever `step` takes.

    Args:
        name: what it is called in tables and files.
        train: the examples to learn from.
        test: the examples that are reported on.
        valid: the examples by which rates, schedules and optimizers are chosen: data of its own; or the part of `train`
            that is held out, in (0, 1). None holds out a tenth. Which examples these are depends on no run's seed.
        model: makes a fresh model; called under a seed, so it may draw its weights from torch's global generator.
        loss: `loss(outputs, targets)`, a mean over the batch, one real number.
        step: `step(model, batch)`, for all that `loss` isn't enough for: the loss, or the loss
            and metrics, `(loss, {"name": value})`.
        metrics: by name: functions `(outputs, targets)` that give one number for each example `[n]`, or one for the batch
            (a mean over its examples); or objects with `update(outputs, targets)`, `compute()` and `reset()`, such as
            torchmetrics' and `R2`. None is the accuracy where targets are classes, and nothing elsewhere.
        objective: what is best: "NAME max" or "NAME min". None is "valid/accuracy max" where there is an accuracy, and
            "valid/loss min" elsewhere.
        augment: `augment(batch, generator)`, the batch changed by chance, in training alone, on the device.
        prepare: turns stored inputs into what the model takes, such as bytes into floats; always.
        collate: makes a batch of a list of a Dataset's items; torch's `default_collate` unless given.
        workers: processes that make a Dataset's batches; they are the same with any number.
        optimizer: the optimizer that is usual for it, as `Run` takes it.
        options: its arguments.
        groups: its parameter groups.
        lr: the usual learning rate.
        batch_size: examples in a batch, unless a run says otherwise.
        length: how long it is usually trained: updates, or a span such as `epochs(30)`.
        about: a line on the data, where a name doesn't say enough.
        source: the module that defines it; `load_task` fills it in for a task by import path.

    Raises:
        InvalidInput: an argument isn't as said; the message says which, and what to give instead.

    >>> from torch import nn
    >>> inputs = torch.randn(100, 3)
    >>> task = Task(
    ...     "plane", (inputs[20:], inputs[20:].sum(1, True)), (inputs[:20], inputs[:20].sum(1, True)),
    ...     model=lambda: nn.Linear(3, 1), loss=nn.functional.mse_loss, batch_size=8,
    ... )
    >>> print(task.objective)
    valid/loss min
    >>> task.data("train").steps_per_epoch(batch_size=8), task.data("valid").examples
    (9, 8)
    """

    name: str
    train: Any = field(repr=False)
    test: Any = field(repr=False)
    valid: Any = field(default=None, repr=False)
    _: KW_ONLY
    model: Callable[[], nn.Module]
    loss: Callable[[Any, Any], Tensor] = functional.cross_entropy
    step: Callable[[Any, Any], Any] | None = None
    metrics: Mapping[str, Metric] | None = None
    objective: Any = None
    augment: Callable[[Any, torch.Generator], Any] | None = None
    prepare: Callable[[Any], Any] | None = None
    collate: Callable[[list[Any]], Any] | None = None
    workers: int = 0
    optimizer: str = "SGD"
    options: Mapping[str, Any] = Frozen()
    groups: Mapping[str, Any] = Frozen()
    lr: float = 0.1
    batch_size: int = 256
    length: int | Span = _USUAL_LENGTH
    about: str = ""
    source: str | None = field(default=None, repr=False)
    _data: dict[str, Data] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self._check_settings()
        self._check_functions()
        for which in ("train", "test") if self.valid is None or _is_number(self.valid) else _SPLITS:
            self._keep(which, getattr(self, which))
        if _is_number(self.valid) and not 0 < self.valid < 1:
            raise InvalidInput(
                f"task {self.name!r}: valid must be data, or the part of train to hold out, in (0, 1); got {self.valid!r}"
            )
        if self.collate is not None and not any(isinstance(data, DatasetData) for data in self._data.values()):
            raise InvalidInput(
                f"task {self.name!r}: collate= joins the items of a Dataset, and no split is one; leave it out, or change "
                f"batches by prepare= or step="
            )
        self._set("metrics", self._all_metrics())
        self._set("objective", Objective.parse(self.objective or self._usual_objective()))
        self._check_objective()

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_settings(self) -> None:
        usual = Run(  # which knows what these may be
            self.name,
            self.optimizer,
            lr=self.lr,
            options=self.options,
            groups=self.groups,
            length=self.length,
            batch_size=self.batch_size,
        )
        for name in ("optimizer", "lr", "options", "groups"):
            self._set(name, getattr(usual, name))
        if type(self.workers) is not int or self.workers < 0:
            raise InvalidInput(f"task {self.name!r}: workers must be a whole number from 0; got {self.workers!r}")

    def _check_functions(self) -> None:
        for name in ("model", "loss", "step", "augment", "prepare", "collate"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise InvalidInput(f"task {self.name!r}: {name} must be a function; got {value!r}")
        if isinstance(self.model, nn.Module):
            raise InvalidInput(
                f"task {self.name!r}: model must make a fresh network at each call, such as a class or a lambda; "
                f"got a network, {type(self.model).__name__}"
            )
        if self.step is not None and self.metrics:
            raise InvalidInput(
                f"task {self.name!r} has a step of its own, so metrics come from it: let it return (loss, "
                f'{{"name": value}}), and leave out metrics='
            )

    def _keep(self, which: str, given: Any) -> None:
        name = f"task {self.name!r}: {which!r}"
        data = data_of(given, name, collate=self.collate, workers=self.workers)
        self._data[which] = data
        if isinstance(data, TensorData):
            if self.step is None and (isinstance(data.parts, dict) or len(data.parts) != 2):
                raise InvalidInput(f"{name} must be (inputs, targets); got {kind_of(data.parts)}; {_GIVE_STEP}")
            pair = isinstance(data.parts, tuple) and len(data.parts) == 2
            self._set(which, Split(*data.parts) if pair else data.parts)

    # Metrics and the objective

    def _all_metrics(self) -> Mapping[str, Metric]:
        if self.metrics is None:
            return {"accuracy": accuracy} if self.step is None and self._has_classes() else {}
        if not isinstance(self.metrics, Mapping):
            raise InvalidInput(
                f'task {self.name!r}: metrics are given by name, such as {{"accuracy": accuracy}}; got {self.metrics!r}'
            )
        for name, metric in self.metrics.items():
            if not isinstance(name, str) or not name.isprintable() or not name.strip() or name == "loss":
                raise InvalidInput(f'task {self.name!r}: a metric\'s name must be text, and not "loss"; got {name!r}')
            if isinstance(metric, type) or not (callable(metric) or isinstance(metric, Accumulating)):
                raise InvalidInput(
                    f"task {self.name!r}: the metric {name!r} must be a function (outputs, targets), or an object with "
                    f"update, compute and reset; got {metric!r}"
                )
        return dict(self.metrics)

    def _has_classes(self) -> bool:
        """Whether the targets of the test examples are classes: one whole number to each."""
        data = self._data["test"]
        if isinstance(data, TensorData):
            batch: Any = data.parts
        else:
            batch = data.first(1) if isinstance(data, DatasetData) else next(data.batches(0, 0, 1), None)
        targets = batch[1] if isinstance(batch, (tuple, list)) and len(batch) == 2 else None
        return isinstance(targets, Tensor) and targets.dtype == torch.int64 and targets.ndim == 1

    def _usual_objective(self) -> str:
        assert self.metrics is not None
        return "valid/accuracy max" if "accuracy" in self.metrics else "valid/loss min"

    def _check_objective(self) -> None:
        part, _, name = self.objective.name.partition("/")
        if part not in _SPLITS or not name:
            raise InvalidInput(
                f"task {self.name!r}: an objective is a loss or metric of a split, such as valid/loss; got "
                f"{self.objective.name!r}{did_you_mean(self.objective.name, self._known())}"
            )
        if self.step is None:
            self.refuse_objective_without(self.metrics or {})

    def _known(self) -> list[str]:
        return [f"{part}/{name}" for part in ("valid", "test", "train") for name in ("loss", *(self.metrics or {}))]

    def refuse_objective_without(self, metrics: Mapping[str, Any]) -> None:
        """Refuse an objective that no row would have.

        Args:
            metrics: those there are, by name.

        Raises:
            InvalidInput: the objective is none of them, nor a loss.
        """
        name = self.objective.name.partition("/")[2]
        if name != "loss" and name not in metrics:
            has = f"its metrics are {', '.join(metrics)}" if metrics else "it has no metrics"
            way = f"let step return (loss, {{{name!r}: value}})" if self.step else f"give metrics={{{name!r}: ...}}"
            raise InvalidInput(
                f"task {self.name!r} is judged by {self.objective.name!r}, and {has}{did_you_mean(name, metrics)}; "
                f'{way}, or objective="valid/loss min"'
            )

    # Data

    def data(self, which: str, *, valid: bool = True) -> Data:
        """The data of a split.

        Args:
            which: "train", "valid" or "test".
            valid: whether examples are held out of `train` for validation, where the task has none of its own.

        Raises:
            InvalidInput: there is no such split, or none can be held out.
        """
        if which not in _SPLITS:
            raise InvalidInput(f"a task has the splits {', '.join(_SPLITS)}; got {which!r}{did_you_mean(which, _SPLITS)}")
        if which == "test" or "valid" in self._data:
            return self._data[which]
        if not valid:
            if which == "valid":
                raise InvalidInput(f"a run with valid=False holds no examples of task {self.name!r} out for validation")
            return self._data["train"]
        if "learned" not in self._data:
            learned, held_out = self._data["train"].split(_HELD_OUT if self.valid is None else self.valid)
            self._data.update({"learned": learned, "held out": held_out})
        return self._data["learned" if which == "train" else "held out"]

    def tokens_per_step(self, batch_size: int, accumulate: int = 1) -> int | None:
        """Tokens in one update, where targets are rows of tokens; else None.

        Args:
            batch_size: examples in a batch.
            accumulate: batches in an update.
        """
        tokens = self._data["train"].tokens_per_example
        return None if tokens is None else tokens * batch_size * accumulate

    def chance(self) -> float | None:
        """The test accuracy of naming the most frequent class every time; None where no classes are kept in memory."""
        data = self._data["test"]
        if not isinstance(data, TensorData) or "accuracy" not in (self.metrics or {}) or not self._has_classes():
            return None
        return float(self.test.targets.unique(return_counts=True)[1].max()) / len(self.test.targets)

    # One batch

    def loss_of(self, model: Any, batch: Any, dtype: torch.dtype = torch.float32) -> Outcome:
        """What a model does with a batch, which has been augmented if it is to be.

        Args:
            model: the network, wrapped or not.
            batch: of any of the splits, on the model's device.
            dtype: what the real numbers among inputs and targets are to be.

        Raises:
            InvalidInput: the batch is no pair, or the loss is no real number with a gradient.
        """
        if self.step is not None:
            return self._stepped(model, converted(batch, dtype))
        outputs, targets = self.outputs_of(model, batch, dtype)
        return Outcome(self.sound(self.loss(outputs, targets), "loss"), outputs, targets, {})

    def outputs_of(self, model: Any, batch: Any, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
        """What a model gives for a batch of pairs, and what it should give; arguments and errors as for `loss_of`."""
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise InvalidInput(
                f"a batch of task {self.name!r} must be (inputs, targets); got {kind_of(batch)}; {_GIVE_STEP}"
            )
        inputs, targets = batch
        outputs = model(converted(inputs if self.prepare is None else self.prepare(inputs), dtype))
        return outputs, converted(targets, dtype)

    def _stepped(self, model: Any, batch: Any) -> Outcome:
        assert self.step is not None
        given = self.step(model, batch)
        loss, extra = given if isinstance(given, tuple) and len(given) == 2 else (given, {})
        if not isinstance(extra, Mapping):
            raise InvalidInput(
                f'the step of task {self.name!r} must return a loss, or (loss, {{"name": value}}); got {kind_of(given)}'
            )
        if "loss" in extra:
            raise InvalidInput(
                f'the step of task {self.name!r} names a number "loss", which is the loss itself; leave it out, or give '
                f"it another name"
            )
        return Outcome(self.sound(loss, "step"), None, None, extra)

    def sound(self, loss: Any, what: str = "loss") -> Tensor:
        """The loss as a tensor `[]`, if it can be learned from.

        Args:
            loss: what `loss` or `step` gave.
            what: which of them.

        Raises:
            InvalidInput: it is no real number, or has no gradient where one is wanted.
        """
        if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.is_floating_point():
            raise InvalidInput(
                f"the {what} of task {self.name!r} must give one real number for a batch, a mean over its examples; "
                f"it gave {kind_of(loss)}"
            )
        if torch.is_grad_enabled() and not loss.requires_grad:
            raise InvalidInput(
                f"the loss of task {self.name!r} has no gradient: it must depend on parameters that aren't frozen, and "
                f"nothing in between may be detached or leave torch"
            )
        return loss.reshape(())

    # Digests

    def digest(self) -> str:
        """16 hexadecimal digits of its source and its data; see `source_digest` and `data_digest`."""
        return digest_of([self.source_digest(), self.data_digest()])

    def source_digest(self) -> str:
        """16 hexadecimal digits of the files that define it: of its functions, of its Datasets' classes, and of itself.

        The files that these import count too; what is installed isn't looked into, and Gradus counts by its version.
        """
        functions = [getattr(self, name) for name in ("model", "loss", "step", "augment", "prepare", "collate")]
        data = [getattr(self, which) for which in _SPLITS]
        return digest_of_source(
            [one for one in [self.source, *functions, *data, *(self.metrics or {}).values()] if one is not None]
        )

    def data_digest(self) -> str:
        """16 hexadecimal digits of its data: of tensors all, of a Dataset its length and some items, of a function the
        first batches.
        """
        held_out = self.valid if _is_number(self.valid) else None
        return digest_of([held_out, *(self._data[which].digest() for which in _SPLITS if which in self._data)])


_GIVE_STEP = "for batches of another kind give step=, a function (model, batch) -> loss"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))
