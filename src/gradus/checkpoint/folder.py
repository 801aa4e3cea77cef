"""The last few checkpoints of a training, in a folder."""

import math
import re
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import torch
from torch import nn

from gradus.checkpoint.api import Loaded, load
from gradus.checkpoint.file import DamagedCheckpoint
from gradus.checkpoint.restore import check, remove_shards, tree_of
from gradus.checkpoint.state import State, parts_of
from gradus.checks import whole
from gradus.distributed import all_or_none, is_main, made_by_main
from gradus.errors import GradusError, InvalidInput
from gradus.files import locked, make_ignored_folder, write_whole
from gradus.scheduler import OnChange

__all__ = ["Checkpoints", "latest"]

_NAME = "step-{:012d}.ckpt"
_NAMES = re.compile(r"step-\d{12}\.ckpt")
_BEST = "best.ckpt"
_TORN = re.compile(rf"\.({_NAMES.pattern}|best\.ckpt)\.[0-9a-f]{{8}}")  # how `write_whole` names unfinished files
_PATIENCE = 5.0  # seconds: a process whose parent was killed takes a moment to end


def latest(folder: str | Path) -> Path | None:
    """The newest whole checkpoint in a folder of `Checkpoints`; None where there is none.

    A damaged file is skipped with a `UserWarning` that says what is wrong with it.

    Args:
        folder: the folder.

    Raises:
        GradusError: a file can't be read, or a newer Gradus wrote it.
    """
    for path in reversed(_stored(Path(folder))):
        try:
            check(path)
        except DamagedCheckpoint as error:
            warnings.warn(f"{error}; the checkpoint before it is used, if there is one", stacklevel=2)
        else:
            return path
    return None


class Checkpoints:
    """A folder with the last few checkpoints of one training, and its best.

    Args:
        folder: made if absent, with a `.gitignore`. One training writes to it at a time.
        keep: how many of the last to keep: two or more, so that there is one before a damaged one.
        best: "min" or "max" keeps the checkpoint with the least or greatest `metric` too, as `best.ckpt`.
        asynchronous: whether a thread writes the file while the training goes on. The state is copied before `save`
            returns; errors in writing are raised by the next `save`, or by `close`. Not for sharded parameters.

    Raises:
        InvalidInput: an argument isn't as said.

    >>> import tempfile
    >>> layer, temporary = nn.Linear(2, 1), tempfile.TemporaryDirectory()
    >>> with Checkpoints(f"{temporary.name}/mine", keep=2) as checkpoints:
    ...     for step in (100, 200, 300):
    ...         checkpoints.save(step, model=layer)
    >>> Checkpoints(f"{temporary.name}/mine").load(model=layer)
    Loaded(position=300, extra=None)
    >>> temporary.cleanup()
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        keep: int = 2,
        best: Literal["min", "max"] | None = None,
        asynchronous: bool = False,
    ) -> None:
        keep = whole("keep", keep, least=2, why=", so that a damaged file has one before it")
        if best not in (None, "min", "max"):
            raise InvalidInput(f'best must be "min", "max" or None; got {best!r}')
        self.folder, self.keep, self.best = Path(folder), keep, best
        self._best_metric: float | None = None
        self.asynchronous = asynchronous
        self._lock: ExitStack | None = None  # while the folder is this one's: its lock, and the thread
        self._writer: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None

    def save(
        self,
        position: int,
        *,
        model: nn.Module | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        scheduler: Any = None,
        scaler: Any = None,
        rng: bool = True,
        extra: Any = None,
        metric: float | None = None,
    ) -> None:
        """Write a checkpoint of this position, and remove those that are no longer among the last.

        Args:
            position: how many updates have been done.
            model: as for `gradus.checkpoint.save`.
            optimizer: as there.
            scheduler: as there.
            scaler: as there.
            rng: as there.
            extra: as there.
            metric: what the best is chosen by; NaN and infinities are never the best.

        Raises:
            InvalidInput: something can't be read back, or there is no metric to choose the best by; nothing is written.
            GradusError: this checkpoint, or asynchronously the one before, can't be written; another process is writing to
                the folder; or it holds a later position, which isn't this training's past. Whole files are kept.
        """
        if (metric is None) == (self.best is not None):
            raise InvalidInput(
                "the best checkpoint is chosen by a metric: give both Checkpoints(best=...) and save(metric=...), or neither"
            )
        state = State(parts_of(model, optimizer, scheduler, scaler), position, rng, extra, metric)
        if state.shards and self.asynchronous:
            raise InvalidInput(
                "sharded parameters are written by all processes together, which threads can't do while these train: leave "
                "asynchronous out"
            )
        all_or_none(lambda: self._make_ready(position) if is_main() else None)
        state.write_shards(self.folder / _NAME.format(position))
        all_or_none(lambda: self._take(state) if is_main() else None)

    def load(
        self,
        *,
        model: nn.Module | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        scheduler: Any = None,
        scaler: Any = None,
        rng: bool = True,
        on_change: OnChange | None = None,
    ) -> Loaded | None:
        """Load the newest whole checkpoint into objects, as `gradus.checkpoint.load` does.

        Damaged files are skipped with a warning. Where several processes train together, the first one chooses.

        Returns:
            The position and the saved `extra`; None, with nothing changed, where there is no checkpoint.

        Raises:
            InvalidInput: the checkpoint doesn't fit; nothing is changed.
            GradusError: it can't be read, or a newer Gradus wrote it.
        """
        path = made_by_main(lambda: latest(self.folder))
        if path is None:
            return None
        return load(path, model=model, optimizer=optimizer, scheduler=scheduler, scaler=scaler, rng=rng, on_change=on_change)

    def wait(self) -> None:
        """Wait until everything is written, in this process.

        Raises:
            GradusError: the last checkpoint couldn't be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Wait until everything is written, and release the folder.

        Raises:
            GradusError: the last checkpoint couldn't be written.
        """
        try:
            all_or_none(self.wait)
        finally:
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:  # the training's error matters more, and other processes may never get here
            try:
                with suppress(GradusError):
                    self.wait()
            finally:  # even after a second Ctrl-C the folder is released
                self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _make_ready(self, position: int) -> None:
        self.wait()
        if self._lock is None:
            self._lock_folder(position)

    def _take(self, state: State) -> None:
        if self._writer is None:
            self._write(state)
        else:
            self._pending = self._writer.submit(self._write, state)

    def _lock_folder(self, position: int) -> None:
        """Lock the folder for this training, and remove what can't be of its past."""
        make_ignored_folder(self.folder)
        with ExitStack() as lock:
            lock.enter_context(locked(self.folder, patience=_PATIENCE))
            for path in _stored(self.folder):
                if path.name > _NAME.format(position):
                    self._remove_damaged(path, position)
            for path in self.folder.iterdir():
                if _TORN.fullmatch(path.name):  # left by a killed process
                    path.unlink(missing_ok=True)
            self._remove_shards()
            if (self.folder / _BEST).exists():
                with suppress(DamagedCheckpoint):
                    self._best_metric = tree_of(self.folder / _BEST)["metric"]
            self._writer = lock.enter_context(ThreadPoolExecutor(1, "checkpoint")) if self.asynchronous else None
            self._lock = lock.pop_all()

    def _remove_damaged(self, later: Path, position: int) -> None:
        try:
            check(later)
        except DamagedCheckpoint:
            later.unlink(missing_ok=True)  # useless, and `load` has warned of it
        else:
            raise GradusError(
                f"{later} is of a later position than {position}: load it and go on from there, or name another folder"
            )

    def _write(self, state: State) -> None:
        try:
            content = state.packed()
            write_whole(self.folder / _NAME.format(state.position), content)
            if self._is_best(state.metric):
                write_whole(self.folder / _BEST, content)
                self._best_metric = state.metric
            for old in _stored(self.folder)[: -self.keep]:
                with suppress(OSError):  # one too many does no harm
                    old.unlink()
        finally:
            self._remove_shards()

    def _remove_shards(self) -> None:
        """Remove the shards of checkpoints that are gone or were never finished."""
        remove_shards(self.folder, f"step-{'[0-9]' * 12}.ckpt", lambda: [*_stored(self.folder), self.folder / _BEST])

    def _is_best(self, metric: float | None) -> bool:
        if metric is None or not math.isfinite(metric):
            return False
        best = self._best_metric
        return best is None or (metric < best if self.best == "min" else metric > best)


def _stored(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first, damaged ones included."""
    try:
        names = [path.name for path in folder.iterdir()] if folder.exists() else []
    except OSError as error:
        raise GradusError(f"{folder} can't be read: {error.strerror or error}") from None
    return [folder / name for name in sorted(names) if _NAMES.fullmatch(name)]
