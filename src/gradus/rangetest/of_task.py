"""The range test of a task by name, as the command line runs it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gradus.errors import GradusError, InvalidInput
from gradus.files import open_file
from gradus.progress import DownloadBars
from gradus.rangetest import RangeTest, range_test
from gradus.runs import Run
from gradus.schedules import Constant
from gradus.tasks import Task, load_task
from gradus.training import pick_device
from gradus.training.optimizers import build_optimizer
from gradus.training.setup import fresh_model

__all__ = ["FOUND_FILE", "Found", "find"]

FOUND_FILE = "range.json"


@dataclass(frozen=True)
class Found:
    """A range test, and what it was made for.

    Args:
        task: the task's name.
        model: the network's name; None for the task's own.
        batch_size: examples in an update.
        optimizer: the name of a class in `torch.optim`.
        options: its further arguments.
        test: what the test found.
    """

    task: str
    model: str | None
    batch_size: int
    optimizer: str
    options: Mapping[str, Any]
    test: RangeTest

    def to_json(self) -> str:
        """All of it as JSON."""
        return json.dumps({**vars(self), "options": dict(self.options), "test": json.loads(self.test.to_json())})

    @staticmethod
    def read(path: Path) -> "Found":
        """What was written to a file.

        Args:
            path: the file.

        Raises:
            GradusError: there is none.
            InvalidInput: it holds something else.
        """
        try:
            with open_file(path) as file:
                values = json.loads(file.read())
            return Found(**{**values, "test": RangeTest.from_json(json.dumps(values["test"]))})
        except OSError:
            raise GradusError(f"there is no {path} to take the rate from; run `gradus find` first") from None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InvalidInput(f"{path} holds no range test ({error}); run `gradus find` again") from None

    def rate_for(self, task: str, model: str | None, batch_size: int | None) -> float:
        """The suggestion for a training with plain SGD, if this was made for the same.

        Args:
            task: the task's name.
            model: the network's name; None for the task's own.
            batch_size: examples in an update; None for whichever this was made with.

        Raises:
            InvalidInput: it was made for something else, or suggests nothing.
        """
        wanted: dict[str, Any] = {"task": task, "model": model, "optimizer": "SGD", "options": {}}
        wanted |= {} if batch_size is None else {"batch_size": batch_size}
        for name, value in wanted.items():
            if getattr(self, name) != value:
                raise InvalidInput(f"the rate was found for {name} {getattr(self, name)!r}, not {value!r}; find it anew")
        if self.test.suggestion is None:
            raise InvalidInput(f"the range test found no rate: {self.test.remark}")
        return self.test.suggestion


class _Batches:
    """A task's training data in shuffled batches of one size, pass after pass, which may be of a single batch."""

    def __init__(self, task: Task, batch_size: int) -> None:
        self.task, self.batch_size = task, min(batch_size, len(task.train.inputs))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        inputs, targets = self.task.train
        whole = len(inputs) // self.batch_size * self.batch_size  # a short batch would be noisier than the others
        while True:
            for batch in torch.randperm(len(inputs))[:whole].to(inputs.device).split(self.batch_size):
                yield self.task.prepare(inputs[batch]), targets[batch]


def find(
    task: str = "digits",
    *,
    data_dir: str | Path | None = None,
    model: str | None = None,
    optimizer: str = "SGD",
    options: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    **settings: Any,
) -> Found:
    """The range test of a fresh network on a task.

    Args:
        task: a task's name, as `gradus.tasks.load_task` takes it.
        data_dir: where the task finds its files.
        model: another network than the task's, by name.
        optimizer: the name of a class in `torch.optim`.
        options: its further arguments.
        batch_size: examples in an update; the task's own unless given.
        device: torch's name of it; the best there is unless given.
        **settings: of `range_test`.

    Raises:
        InvalidInput: an argument can't be used.
        GradusError: data can't be had.
    """
    picked = pick_device(device)
    bars = DownloadBars()
    try:
        loaded = load_task(task, data_dir, progress=bars).to(picked)
    finally:
        bars.close()
    size = loaded.batch_size if batch_size is None else batch_size
    run = Run(
        name="range test",
        task=task,
        schedule=Constant(),
        lr=loaded.lr,
        epochs=1,
        batch_size=size,
        optimizer=optimizer,
        model=model,
        options=options or {},
    )
    net = fresh_model(run, loaded).to(picked)
    with torch.random.fork_rng(devices=[picked] if picked.type == "cuda" else []):
        torch.manual_seed(run.seed)
        test = range_test(net, build_optimizer(run, net), loaded.loss, _Batches(loaded, size), **settings)
    return Found(task, model, size, optimizer, dict(run.options), test)
