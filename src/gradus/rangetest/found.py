"""The range test of a run, and the file in which what was found is kept for the runs to come."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gradus.errors import GradusError, InvalidInput
from gradus.files import open_file, write_whole
from gradus.names import hinting
from gradus.randomness import seed_for
from gradus.rangetest.bars import Bar
from gradus.rangetest.finding import Mode, Settings, found_by
from gradus.rangetest.result import RangeTest
from gradus.rangetest.trainer import Measured, Trainer
from gradus.runs import Run
from gradus.schedules import Constant
from gradus.tasks import Task, examples_in, load_task
from gradus.training import check_run, completed, pick_device
from gradus.training.loop import AMP
from gradus.training.optimizers import build_optimizer, is_same_class
from gradus.training.setup import fresh_model, own_randomness, reseed

__all__ = ["FOUND_FILE", "Found", "find_lr", "findings", "keep", "rate_found"]

FOUND_FILE = "range.json"
_VERSION = 2
# What a rate depends on, and how the command line asks for it.
_DECISIVE = (
    "task",
    "model",
    "optimizer",
    "options",
    "groups",
    "batch_size",
    "accumulate",
    "precision",
    "clip_norm",
)


@dataclass(frozen=True)
class Found:
    """A range test, and the run that it was made for.

    Args:
        run: with nothing left to its task.
        test: what was found.
    """

    run: Run
    test: RangeTest

    def rate_for(self, run: Run) -> float:
        """The suggestion for a run, if this was made for the like.

        Args:
            run: with nothing left to its task.

        Raises:
            InvalidInput: it was made for something else, or suggests nothing.
        """
        return rate_found([self], run)


@hinting
def find_lr(
    run: Run,
    task: Task | None = None,
    *,
    data_dir: str | Path | None = None,
    device: str | None = None,
    progress: bool | Bar = True,
    start: float = 1e-7,
    end: float = 10.0,
    steps: int = 100,
    mode: Mode = "exponential",
    smoothing: float = 0.7,
    stop_factor: float = 4.0,
    seeds: int = 1,
    verify: bool = True,
    memory_limit: int = 2**32,
) -> Found:
    """The learning rate for a run: the range test of its fresh network on its task, by its optimizer.

    Args:
        run: what is to be trained; its rate, schedules and length don't matter.
        task: on what; what `run.task` names unless given.
        data_dir: where the task finds its files.
        device: torch's name of it; the best there is unless given.
        progress: as for `range_test`, like the rest.
        start: see there.
        end: see there.
        steps: see there.
        mode: see there.
        smoothing: see there.
        stop_factor: see there.
        seeds: see there.
        verify: see there.
        memory_limit: see there.

    Raises:
        InvalidInput: the run can't be trained, or an argument can't be used.
        GradusError: data can't be had.

    >>> found = find_lr(Run("diabetes", "AdamW"), progress=False, steps=40)
    >>> 1e-4 < found.rate_for(found.run.replace(seed=7)) < 1
    True
    """
    settings = Settings(start, end, steps, mode, smoothing, stop_factor, seeds, verify, memory_limit)
    place = pick_device(device)
    task = load_task(run.task, data_dir) if task is None else task
    run = completed(run, task)
    check_run(run, task, device=place)
    model = fresh_model(run, task).to(place)
    trainer = _TaskTrainer(
        model,
        build_optimizer(run, model),
        None if task.step else task.loss,
        _Batches(run, task, place),
        run.accumulate,
        torch.amp.GradScaler(place.type) if run.precision == "float16" else AMP.get(run.precision),
        clip_norm=run.clip_norm,
        task=task,
        dtype=torch.float64 if run.precision == "float64" else torch.float32,
    )
    with own_randomness(place):
        reseed(seed_for(run.seed, "range test"), place)
        return Found(run, found_by(trainer, settings, progress))


@dataclass(eq=False)
class _TaskTrainer(Trainer):
    """A trainer that computes a batch's loss as its task does."""

    task: Task | None = None
    dtype: torch.dtype = torch.float32

    def _forward(self, batch: Any) -> Measured:
        assert self.task is not None
        outcome = self.task.loss_of(self.model, batch, self.dtype)
        return self._judged(outcome.loss, outcome.outputs, outcome.targets)


class _Batches:
    """A task's training data in shuffled batches, epoch after epoch, without short last ones, which are noisier.

    Which order that is follows from torch's global generator.
    """

    def __init__(self, run: Run, task: Task, device: torch.device) -> None:
        self._run, self._task, self._device = run, task, device
        self._data = task.data("train", valid=run.valid).to(device)

    def __iter__(self) -> Iterator[Any]:
        seed, epoch, number, size = int(torch.randint(2**62, ())), 0, 0, 0
        assert self._run.batch_size is not None
        while True:
            for batch in self._data.batches(seed, epoch, self._run.batch_size, device=self._device, shuffle=True):
                size = max(size, examples_in(batch))
                if examples_in(batch) == size:
                    yield self._augmented(batch, seed, number)
                    number += 1
            epoch += 1

    def _augmented(self, batch: Any, seed: int, number: int) -> Any:
        if self._task.augment is None:
            return batch
        generator = torch.Generator(self._device).manual_seed(seed_for(seed, "augment", number))
        return self._task.augment(batch, generator)


# The file


def findings(path: Path) -> list[Found]:
    """All that a file has kept, the last found last.

    Args:
        path: the file.

    Raises:
        GradusError: there is none.
        InvalidInput: it holds something else.
    """
    try:
        with open_file(path) as file:
            document = json.loads(file.read())
        return [_read(one) for one in _members(document)]
    except OSError:
        raise GradusError(f"there is no {path} to take the rate from; run `gradus find` first") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInput(f"{path} holds no range test ({error}); run `gradus find` again") from None


def _members(document: dict[str, Any]) -> list[Any]:
    if "gradus.found" not in document:
        return [_from_version_1(document)]
    if document["gradus.found"] != _VERSION or not document["found"]:
        raise ValueError(f"it must have version {_VERSION} and at least one finding")
    return list(document["found"])


def _read(member: dict[str, Any]) -> Found:
    return Found(Run.from_json(json.dumps(member["run"])), RangeTest.from_json(json.dumps(member["test"])))


def _from_version_1(document: dict[str, Any]) -> dict[str, Any]:
    """A finding of version 1: of a classification, whose run was said by five fields."""
    run = {
        "gradus.run": 1,
        "name": "range test",
        "lr": 1.0,
        "epochs": 1,
        "schedule": json.loads(Constant().to_json()),
    }
    return {"run": run | {name: document[name] for name in document if name != "test"}, "test": document["test"]}


def keep(path: Path, found: Found) -> None:
    """Keep a finding in a file, in the place of an earlier one for the like.

    Args:
        path: the file; if it can't be read, it is kept under another name, with ".unreadable".
        found: the finding.

    Raises:
        GradusError: it can't be written.
    """
    others = [one for one in _kept(path) if _differing(one.run, found.run) is not None]
    members = [{"run": json.loads(one.run.to_json()), "test": json.loads(one.test.to_json())} for one in [*others, found]]
    write_whole(path, json.dumps({"gradus.found": _VERSION, "found": members}).encode())


def _kept(path: Path) -> list[Found]:
    """The findings in a file; none where it is absent, or is no such file, which is moved out of the way."""
    if not path.is_file():
        return []
    try:
        return findings(path)
    except InvalidInput:
        path.replace(path.with_name(f"{path.name}.unreadable"))
        return []


def rate_found(found: Sequence[Found], run: Run) -> float:
    """The suggestion for a run, of the finding that was made for the like.

    Args:
        found: the findings.
        run: with nothing left to its task.

    Raises:
        InvalidInput: none was, or it suggests nothing.
    """
    fitting = [one for one in found if _differing(one.run, run) is None]
    if not fitting:
        nearest = max(found, key=lambda one: sum(getattr(one.run, name) == getattr(run, name) for name in _DECISIVE))
        name = _differing(nearest.run, run)
        assert name is not None
        raise InvalidInput(
            f"the rate was found for {name} {getattr(nearest.run, name)!r}, not {getattr(run, name)!r}; find it anew, by "
            f"`gradus find` with the same options"
        )
    test = fitting[-1].test
    if test.suggestion is None:
        raise InvalidInput(f"the range test found no rate: {test.remark}")
    return test.suggestion


def _differing(one: Run, other: Run) -> str | None:
    """The first field by which a rate found for one run isn't the other's."""
    for name in _DECISIVE:
        mine, theirs = getattr(one, name) or None, getattr(other, name) or None
        alike = name == "optimizer" and mine is not None and theirs is not None and is_same_class(mine, theirs)
        if mine != theirs and not alike:
            return name
    return None
