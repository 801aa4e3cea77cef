"""`grid`: every combination of some axes, as runs whose names say what differs."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from itertools import product
from typing import Any

from gradus.errors import InvalidInput
from gradus.names import did_you_mean
from gradus.runs import Run
from gradus.schedules import Schedule, Span

__all__ = ["grid"]

_LONGEST = 40  # characters of a label; what is longer is named by its place on the axis
# What `schedules=` is given by where it is no axis: such a mapping would be taken for labels of the learning rate's.
_HYPERPARAMETERS = ("lr", "momentum", "weight_decay", "betas", "beta1", "beta2")

_Point = tuple[str | None, Any]  # a value on an axis, with its label where it has one


def grid(run: Run, **axes: Any) -> list[Run]:
    """Every combination of some axes; seeds vary slowest, then the first axis.

    Each run's name says what differs: its labels, or else the values of the axes that have several. The seed is never in it.

    Args:
        run: what holds for all.
        **axes: values for arguments of `Run`: a list, a range, an array; or a mapping from labels of your own to values. A
            value of `schedules` may be a Schedule, the learning rate's.

    Raises:
        InvalidInput: `Run` has no such argument, an axis is no collection or is empty, or a value can't be used.

    >>> from gradus.schedules import Cosine, rest
    >>> runs = grid(Run("digits"), optimizer=["SGD", "AdamW"], lr=[0.1, 0.01], seed=range(2))
    >>> len(runs), runs[1].name, runs[1].seed, runs[4].seed
    (8, 'SGD, lr 0.01', 0, 1)
    >>> [one.name for one in grid(Run("digits"), schedules={"falling": Cosine(rest())})]
    ['falling']
    """
    known = [field.name for field in fields(Run)]
    for name in axes:
        if name not in known:
            raise InvalidInput(f"a Run has no {name!r} to vary{did_you_mean(name, known)}; it has {', '.join(known)}")
    points = {name: _points(name, axis) for name, axis in sorted(axes.items(), key=lambda axis: axis[0] != "seed")}
    return [_changed(run, dict(zip(points, chosen, strict=True))) for chosen in product(*points.values())]


def _changed(run: Run, chosen: Mapping[str, _Point]) -> Run:
    labels = [label for axis, (label, _) in chosen.items() if label is not None and axis != "seed"]
    name = ", ".join([*([run.name] if run.name else []), *labels]) or None
    return run.replace(**{"name": name} | {axis: value for axis, (_, value) in chosen.items()})


def _points(name: str, axis: Any) -> list[_Point]:
    if isinstance(axis, Mapping):
        return _labelled(name, axis)
    values = _values(name, axis)
    if len(values) == 1:
        return [(None, values[0])]
    return [(_label(name, value, place), value) for place, value in enumerate(values, 1)]


def _labelled(name: str, axis: Mapping[Any, Any]) -> list[_Point]:
    for label in axis:
        if not isinstance(label, str) or not label.strip():
            raise InvalidInput(f"each value of {name} needs a label, one line of text; got {label!r}")
        if name == "schedules" and label in _HYPERPARAMETERS:
            raise InvalidInput(
                f"the axis schedules={{{label!r}: ...}} could be a label, or the schedule of {label}: give a list, "
                f"schedules=[{{{label!r}: ...}}], or another label"
            )
    if not axis:
        raise InvalidInput(f"the axis {name} is empty; give it at least one value")
    return list(axis.items())


def _values(name: str, axis: Any) -> list[Any]:
    """An axis as a list of plain values."""
    if hasattr(axis, "tolist"):  # of NumPy, or a tensor, whose elements are no numbers to JSON
        axis = axis.tolist()
    if isinstance(axis, (str, bytes, set, frozenset, Schedule)) or not isinstance(axis, Iterable):
        raise InvalidInput(f"the axis {name} must be a list of values, or a mapping from labels to values; got {axis!r}")
    values = [value.item() if hasattr(value, "item") else value for value in axis]
    if not values:
        raise InvalidInput(f"the axis {name} is empty; give it at least one value")
    return values


def _label(axis: str, value: Any, place: int) -> str:
    text = _LABELS.get(axis, lambda one: f"{axis} {one}")(value)
    return text if len(text) <= _LONGEST else f"{axis} {place}"


def _of_schedules(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {schedule!r}" for name, schedule in value.items()) or "no schedule"
    return repr(value)


def _of_options(value: Any) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    return ", ".join(f"{name} {one}" for name, one in value.items()) or "no options"


def _of_length(value: Any) -> str:
    return f"{value.amount:g} {value.unit}" if isinstance(value, Span) and value.amount is not None else f"{value} updates"


_LABELS: dict[str, Callable[[Any], str]] = {
    "optimizer": str,
    "model": str,
    "task": str,
    "precision": str,
    "name": str,
    "lr": lambda value: f"lr {value:g}" if isinstance(value, (int, float)) else f"lr {value}",
    "batch_size": lambda value: f"batch {value}",
    "schedules": _of_schedules,
    "options": _of_options,
    "length": _of_length,
}
