"""The command line that trains a run once more."""

import shlex
from collections.abc import Iterator
from typing import Any

from gradus.frozen import Frozen
from gradus.runs import Run
from gradus.schedules import Span

__all__ = ["line_of"]

_USUAL = Run("any")
_PLAIN = ("model", "optimizer", "batch_size", "accumulate", "precision", "clip_norm", "per", "on_nonfinite", "record_every")


def line_of(run: Run) -> str:
    """What to type to train this run: a run of the same identity, and of the same name.

    Args:
        run: the run.

    >>> from gradus.schedules import Cosine, rest
    >>> line_of(Run("digits", "Lion", lr=3e-4, schedules=Cosine(rest()), options={"betas": [0.9, 0.98]}))
    "gradus train 'Cosine(rest())' --task digits --optimizer Lion --lr 0.0003 --option 'betas=(0.9, 0.98)'"
    """
    return shlex.join(["gradus", "train", *_words(run)])


def _words(run: Run) -> Iterator[str]:
    schedules = dict(run.schedules)
    if "lr" in schedules:
        yield repr(schedules.pop("lr"))
    yield from ("--task", run.task)
    for name in _PLAIN[:2]:
        yield from _option(name, getattr(run, name), getattr(_USUAL, name))
    yield from _option("lr", run.lr, None)
    for name, value in (run.options or {}).items():
        yield from ("--option", f"{name}={_literal(value)}")
    for name, schedule in schedules.items():
        yield from ("--schedule", f"{name}={schedule!r}")
    for pattern, group in (run.groups or {}).items():
        yield from ("--group", f"{pattern}={_group(group)}")
    for name in ("length", "evaluate_every"):
        yield from _option(name, getattr(run, name), getattr(_USUAL, name))
    for name in _PLAIN[2:]:
        yield from _option(name, getattr(run, name), getattr(_USUAL, name))
    yield from () if run.valid else ("--no-valid",)
    yield from _option("seed", run.seed, 0)
    yield from _option("name", run.name, None)


def _option(name: str, value: Any, usual: Any) -> Iterator[str]:
    if value != usual:
        option = f"--{name.replace('_', '-')}"
        text = (
            value
            if isinstance(value, str)
            else f"{value.unit}({value.amount!r})"
            if isinstance(value, Span)
            else repr(value)
        )
        yield from (f"{option}={text}",) if text.startswith("-") else (option, text)


def _group(group: Any) -> str:
    return (
        ",".join(f"{name}:{_literal(value)}" for name, value in group.items()) if isinstance(group, Frozen) else str(group)
    )


def _literal(value: Any) -> str:
    return repr(value)
