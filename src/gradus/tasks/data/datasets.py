"""Data whose items are made when they are asked for, in this process or in workers."""

import os
import signal
import threading
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.multiprocessing import current_process
from torch.utils.data import DataLoader, default_collate, get_worker_info

from gradus.errors import GradusError, InvalidInput
from gradus.randomness import seed_for
from gradus.tasks.batches import moved
from gradus.tasks.data.base import CPU, DRAW, Data, order_of
from gradus.tasks.drawing import seed_generators, seeded
from gradus.tasks.hashing import digest_of

__all__ = ["DatasetData"]

_SAMPLED = 16  # items, of a digest
_GRACE = 5.0  # seconds that a worker goes on after SIGTERM


class _Items:
    """What a Dataset's workers have: it makes a batch of (seed, numbers), with the global generators seeded."""

    def __init__(self, dataset: Any, collate: Callable[[list[Any]], Any]) -> None:
        self._dataset, self._collate = dataset, collate
        self._several = getattr(dataset, "__getitems__", None)

    def __getitem__(self, asked: tuple[int, list[int]]) -> Any:
        seed, indices = asked
        if get_worker_info() is not None:  # nobody else draws in a worker
            seed_generators(seed)
            return self._made(indices)
        with seeded(seed):
            return self._made(indices)

    def _made(self, indices: list[int]) -> Any:
        if self._several is not None:
            return self._collate(self._several(indices))
        dataset = self._dataset
        return self._collate([dataset[index] for index in indices])


def _as_it_is(batch: Any) -> Any:
    return batch


def _begin_worker(_: int) -> None:
    """Signals to end reach whole groups of processes; the parent decides what they mean, and needs its batch until then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave_later)


def _leave_later(*_: object) -> None:
    timer = threading.Timer(_GRACE, os._exit, (0,))
    timer.daemon = True  # a worker that comes to its end doesn't wait for it
    timer.start()


def _end_workers(loader: DataLoader[Any]) -> None:
    """Let a loader's workers end by themselves, which its iterator sees to; later, at Python's end, they would be killed."""
    loader._iterator = None


class DatasetData(Data):
    """A map-style Dataset: its items are made in this process or in workers, and collated.

    The global generators of Python, NumPy and torch are seeded once a batch by (seed, epoch, number), so the batches are
    the same with any number of workers, and those that were made before a resumed training aren't made again.

    Args:
        dataset: has `__len__` and `__getitem__`, which takes whole numbers; and `__getitems__` if it likes.
        name: what error messages call it.
        collate: makes a batch of a list of items; torch's `default_collate` unless given.
        workers: processes that make batches.
        indices: the items that belong to it, `[n]`; all unless given.
    """

    def __init__(
        self,
        dataset: Any,
        name: str,
        *,
        collate: Callable[[list[Any]], Any] | None = None,
        workers: int = 0,
        indices: Tensor | None = None,
    ) -> None:
        super().__init__(name, len(dataset) if indices is None else len(indices))
        self._dataset, self._collate, self._workers, self._indices = dataset, collate, workers, indices
        self._items = _Items(dataset, collate or default_collate)
        self._asked: list[tuple[int, list[int]]] = []  # what the loader's next pass is to make
        self._loader: DataLoader[Any] | None = None
        self._is_busy = False

    def batches(
        self, seed: int, epoch: int, batch_size: int, *, start: int = 0, device: torch.device = CPU, shuffle: bool = True
    ) -> Generator[Any, None, None]:
        assert self.examples is not None
        order = order_of(self.examples, seed, epoch, shuffle)
        if self._indices is not None:
            order = self._indices[order]
        asked = [
            (seed_for(seed, f"items of epoch {epoch}", number), indices.tolist())
            for number, indices in enumerate(order.split(batch_size)[start:], start)
        ]
        for batch in self._made(asked):
            yield moved(batch, device)

    def _made(self, asked: list[tuple[int, list[int]]]) -> Iterator[Any]:
        # A daemon may have no children, and the batches are the same without them.
        if not self._workers or not asked or current_process().daemon:
            yield from map(self._items.__getitem__, asked)
        elif self._is_busy:  # two passes at once need workers each
            yield from self._new_loader(asked, stay=False)
        else:
            self._is_busy = True
            try:
                yield from self._lasting_loader(asked)
            except Exception:  # its workers may be gone
                self._loader = None
                raise
            finally:
                self._is_busy = False

    def _lasting_loader(self, asked: list[tuple[int, list[int]]]) -> DataLoader[Any]:
        """One whose workers are there for the next pass too."""
        self._asked[:] = asked
        if self._loader is None:
            self._loader = self._new_loader(self._asked, stay=True)
            weakref.finalize(self, _end_workers, self._loader)
        return self._loader

    def _new_loader(self, asked: list[tuple[int, list[int]]], *, stay: bool) -> DataLoader[Any]:
        return DataLoader(
            self._items,  # type: ignore[arg-type]  # it is indexed by more than a number
            batch_size=None,
            sampler=asked,
            collate_fn=_as_it_is,
            num_workers=self._workers,
            persistent_workers=stay,
            worker_init_fn=_begin_worker,
            generator=torch.Generator(),  # else it would draw from the caller's
        )

    def batches_per_epoch(self, batch_size: int) -> int:
        assert self.examples is not None
        return -(-self.examples // batch_size)

    def chosen(self, indices: Tensor) -> "DatasetData":
        if self._indices is not None:
            indices = self._indices[indices]
        return DatasetData(self._dataset, self.name, collate=self._collate, workers=self._workers, indices=indices)

    def first(self, count: int) -> Any:
        """A batch of the first items, made in this process.

        Args:
            count: how many.

        Raises:
            InvalidInput: they can't be made.
        """
        assert self.examples is not None
        indices = range(min(count, self.examples)) if self._indices is None else self._indices[:count].tolist()
        return self._tried((seed_for(0, "items of epoch 0"), list(indices)))

    def _tried(self, asked: tuple[int, list[int]]) -> Any:
        try:
            return self._items[asked]
        except GradusError:
            raise
        except Exception as error:
            raise InvalidInput(
                f"{self}: the items {_listed(asked[1])} can't be made into a batch: {type(error).__name__}: {error}; a "
                f"Dataset is asked for whole numbers from 0 to its length, and collate= makes a batch of a list of items"
            ) from error

    def replayed(self, batch_size: int) -> Any:
        one, again = self.first(batch_size), self.first(batch_size)
        if digest_of([one]) != digest_of([again]):
            raise InvalidInput(f"{self} gives other items when it is asked again, so no training could be resumed; {DRAW}")
        return one

    def digest(self) -> str:
        """See `Data.digest`: of the length, and of some items from all over it, made under fixed seeds."""
        assert self.examples is not None
        places = sorted({round(place) for place in np.linspace(0, self.examples - 1, _SAMPLED).tolist()})
        if self._indices is not None:
            places = self._indices[places].tolist()
        sample = [self._tried((seed_for(0, "digest", place), [place])) for place in places]
        return digest_of([self.examples, places, sample])


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:3])) + ", ..." * (len(numbers) > 3)
