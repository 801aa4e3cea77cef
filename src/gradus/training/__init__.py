"""Training as a generator of rows: whoever wants a progress bar, a store or an early stop takes the rows."""

from collections.abc import Callable, Iterator

import torch

from gradus.checkpoint import Checkpoints
from gradus.errors import InvalidInput
from gradus.runs import Row, Run
from gradus.tasks import Task
from gradus.training.guard import Guard, check_policy
from gradus.training.keeper import Keeper
from gradus.training.loop import Training, score
from gradus.training.setup import build_optimizer, fresh_model, pick_device, rate_for
from gradus.training.trouble import DIVERGED_AT, Diverged, NonFinite

__all__ = ["DIVERGED_AT", "Diverged", "NonFinite", "check_every", "check_run", "pick_device", "rate_for", "score", "train"]


def train(
    run: Run,
    task: Task,
    *,
    device: torch.device | None = None,
    checkpoints: Checkpoints | None = None,
    checkpoint_every: int | None = None,
    on_incident: Callable[[str], None] | None = None,
) -> Iterator[Row]:
    """Train as the run says and give a row after each epoch.

    The caller's random state is as it was, between rows and after. torch's settings for threads hold.

    With checkpoints, a training that was cut short goes on from the newest one, within an epoch too. It gives all rows
    again, the earlier ones at once, and all are the uninterrupted training's, bit for bit. Ctrl-C and SIGTERM wait for the
    end of the update in hand, save, and then do what they would have done.

    Args:
        run: what to do.
        task: what to do it on: `load_task(run.task)`.
        device: where; the best there is unless given.
        checkpoints: where to save, and to go on from.
        checkpoint_every: updates between two checkpoints; one at each epoch's end unless given. The last update has one.
        on_incident: told of each update that was skipped and of each return to an earlier state, where the run asks for
            these: the step, the learning rate, and the parameter and its group. A resumed training tells the earlier ones
            again.

    Raises:
        NonFinite: the run asks to stop at a loss or gradient that is no finite number, and there is one.
        Diverged: at the end of the epoch in which the loss stopped being a number, or passed 100 times the first loss.
        InvalidInput: the run's optimizer, schedule or policy can't be used; before anything is trained.
        GradusError: a checkpoint can't be written, or is another run's.
    """
    check_every(checkpoint_every)
    keeper = Keeper(checkpoints, checkpoint_every)
    guard = Guard(run.on_nonfinite, on_incident)
    training = Training(run, task, device or pick_device(), guard, keeper.after_update)
    keeper.take_up(training)
    yield from list(training.rows)
    while not training.is_done:
        with keeper.holding_signals():
            row = training.epoch()
        yield row


def check_run(run: Run, task: Task) -> None:
    """Refuse a run that can't be trained, before anything is.

    Args:
        run: what is to be done.
        task: what it is to be done on.

    Raises:
        InvalidInput: the run's model, optimizer, schedule or policy can't be used, or can't be saved.
    """
    run.to_json()
    run.resolved(task.steps_per_epoch(run.batch_size))
    check_policy(run, build_optimizer(run, fresh_model(run, task)))


def check_every(updates: int | None) -> None:
    """Refuse a distance between checkpoints that counts no updates.

    Args:
        updates: updates between two checkpoints; None where it isn't said.

    Raises:
        InvalidInput: it isn't a whole number from 1.
    """
    if updates is not None and (type(updates) is not int or updates < 1):
        raise InvalidInput(f"checkpoint_every must be a whole number of updates, from 1; got {updates!r}")
