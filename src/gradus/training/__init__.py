"""Training as a generator of rows: whoever wants a progress bar, a store or an early stop takes the rows."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from gradus.checkpoint import Checkpoints
from gradus.distributed import all_gather
from gradus.files import make_ignored_folder
from gradus.rows import Row
from gradus.runs import Run
from gradus.tasks import Task, load
from gradus.training.checking import check_every, check_forward, check_run, refuse_precision
from gradus.training.checkpointing import Checkpointing
from gradus.training.errors import DIVERGED_AT, Diverged, NonFinite, Stopped
from gradus.training.loop import Training
from gradus.training.nonfinite import NonFinitePolicy
from gradus.training.progress import Progress
from gradus.training.setup import completed, pick_device
from gradus.training.trainable import Context, Trainable, rows_of

__all__ = [
    "DIVERGED_AT",
    "Context",
    "Diverged",
    "NonFinite",
    "Progress",
    "Stopped",
    "Trainable",
    "check_every",
    "check_run",
    "completed",
    "events",
    "pick_device",
    "train",
]


def train(
    run: Run,
    task: Task | Trainable | None = None,
    *,
    device: torch.device | None = None,
    checkpoints: Checkpoints | None = None,
    checkpoint_every: int | None = None,
    on_incident: Callable[[str], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    data_dir: str | Path | None = None,
) -> Iterator[Row]:
    """Train as the run says and give its rows: one at each evaluation, and one every `run.record_every` updates.

    A row has `epoch`, `lr` and every other scheduled hyperparameter, `train/loss` and `train/...` for each metric, means
    over the examples learned from since the last evaluation, and `time/seconds`. At evaluations it has `valid/...`, and at
    the end `test/...`; with `valid=False` it has `test/...` at each.

    The caller's random state is as it was, between rows and after. torch's settings for threads hold.

    With checkpoints, a training that was cut short goes on from the newest one, within an epoch too. It gives all rows
    again, the earlier ones at once, and all are the uninterrupted training's, bit for bit. Ctrl-C and SIGTERM wait for the
    end of the update in hand, save, and then do what they would have done.

    Args:
        run: what to do.
        task: what to do it on, or the training function that does it; what `run.task` names unless given.
        device: where; the best there is unless given.
        checkpoints: where to save, and to go on from.
        checkpoint_every: updates between two checkpoints; one at each evaluation unless given. The last update has one.
        on_incident: called with a sentence for each update that was skipped and each return to an earlier state, where the
            run asks for these. A resumed training tells the earlier ones again.
        on_progress: called with a `Progress` a few times a second.
        should_stop: asked after each update; when it is true, a checkpoint is saved, and the training ends.
        data_dir: where the task finds its files.

    Raises:
        NonFinite: the run asks to stop at a loss or gradient that is no finite number, and there is one.
        Diverged: at the next row after the loss stopped being a number, or passed 100 times the first loss.
        Stopped: as `should_stop` asked for.
        InvalidInput: the run can't be trained on its task; before anything is.
        GradusError: a checkpoint can't be written, or is another run's.

    >>> from gradus.schedules import epochs
    >>> rows = list(train(Run("diabetes", length=epochs(2), lr=0.01)))
    >>> [(row["epoch"], row["lr"]) for row in rows], "test/loss" in rows[-1]
    ([(1.0, 0.01), (2.0, 0.01)], True)
    """
    happened = events(
        run,
        task,
        device=device,
        checkpoints=checkpoints,
        checkpoint_every=checkpoint_every,
        on_incident=on_incident,
        should_stop=should_stop,
        data_dir=data_dir,
        progress=on_progress is not None,
    )
    for event in happened:
        if isinstance(event, Row):
            yield event
        elif on_progress is not None:
            on_progress(event)


def events(
    run: Run,
    task: Task | Trainable | None = None,
    *,
    device: torch.device | None = None,
    checkpoints: Checkpoints | None = None,
    checkpoint_every: int | None = None,
    on_incident: Callable[[str], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    data_dir: str | Path | None = None,
    progress: bool = True,
) -> Iterator[Row | Progress]:
    """The rows of `train`, and how far it is in between.

    Args:
        run: as for `train`, like the rest.
        task: see there.
        device: see there.
        checkpoints: see there.
        checkpoint_every: see there.
        on_incident: see there.
        should_stop: see there.
        data_dir: see there.
        progress: whether there is to be a `Progress` a few times a second, for which the device is waited for.

    >>> found = list(events(Run("digits", length=5), device=torch.device("cpu"), progress=False))
    >>> [row.step for row in found]
    [5]
    """
    check_every(checkpoint_every)
    found: Any = load(run.task, data_dir) if task is None else task
    place = device or pick_device()
    if not isinstance(found, Task):
        folder = None if checkpoints is None else make_ignored_folder(checkpoints.folder)
        asked = should_stop or (lambda: False)
        yield from rows_of(found, run, Context(place, folder, None if data_dir is None else str(data_dir), asked))
        return
    refuse_precision(run, place)
    checkpointing = Checkpointing(checkpoints, checkpoint_every)

    def after_update(training: Training) -> bool:
        stop = should_stop is not None and any(all_gather(bool(should_stop())))
        checkpointing.after_update(training, stop)
        return stop and not training.is_done

    training = Training(completed(run, found), found, place, NonFinitePolicy(run.on_nonfinite, on_incident), after_update)
    with contextlib.closing(training):
        checkpointing.load_state(training)
        if training.position == 0:
            check_forward(training.run, found, training.model, place)
        yield from list(training.rows)
        while not training.is_done:
            with checkpointing.deferring_signals():
                event, stop = training.advance(progress=progress)
            if event is not None:
                yield event
            if stop:
                raise Stopped(training.position)
