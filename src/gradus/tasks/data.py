"""One split of a task's data, whatever it is kept as: batches that are a function of (seed, epoch, number)."""

import inspect
import itertools
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.multiprocessing import current_process
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, default_collate, get_worker_info

from gradus.errors import GradusError, InvalidInput
from gradus.randomness import generator, seed_for
from gradus.tasks.batches import kind_of, mapped, moved
from gradus.tasks.drawing import seed_generators, seeded
from gradus.tasks.hashing import digest_of

__all__ = ["Data", "DatasetData", "FunctionData", "TensorData", "data_of"]

_SAMPLED = 16  # items, of a Dataset's digest
_SAMPLED_BATCHES = 2  # of a function's
_COUNTED_AT_MOST = 1_000_000  # batches, of a function that doesn't say how many there are
_CPU = torch.device("cpu")


class Data(ABC):
    """One split of a task's data.

    Attributes:
        examples: how many there are; None where only going through them tells.
    """

    examples: int | None = None

    @abstractmethod
    def batches(
        self,
        seed: int,
        epoch: int,
        batch_size: int,
        *,
        start: int = 0,
        device: torch.device = _CPU,
        shuffle: bool = True,
    ) -> Iterator[Any]:
        """The batches of an epoch from a number on: a function of seed, epoch and number alone.

        Args:
            seed: the run's.
            epoch: counted from 0.
            batch_size: examples in a batch; the last may have fewer.
            start: the number of the first batch that is given, counted from 0.
            device: where the batches are to be.
            shuffle: whether the examples come in an order that is drawn, or as they are stored.
        """

    @abstractmethod
    def batches_per_epoch(self, batch_size: int) -> int:
        """Batches in one pass, a short last one included.

        Args:
            batch_size: examples in a batch.
        """

    def steps_per_epoch(self, batch_size: int, accumulate: int = 1) -> int:
        """Updates in one pass, a last one of fewer batches included.

        Args:
            batch_size: examples in a batch.
            accumulate: batches in an update.
        """
        return -(-self.batches_per_epoch(batch_size) // accumulate)

    @property
    def tokens_per_example(self) -> int | None:
        """Tokens in an example, where each example's targets are a row of whole numbers; else None."""
        return None

    def to(self, device: torch.device) -> "Data":
        """The same with what is kept in memory on a device.

        Args:
            device: where.
        """
        del device
        return self

    def split(self, fraction: float) -> "tuple[Data, Data]":
        """The greater part and a fraction held out of it, the same for every seed; each in the order that is stored.

        Args:
            fraction: in (0, 1).

        Raises:
            InvalidInput: there are too few examples, or they can't be told apart before they are made.
        """
        assert self.examples is not None
        count = max(1, round(self.examples * fraction))
        if count >= self.examples:
            raise InvalidInput(
                f"a part of {self.examples} example(s) can't be held out for validation; give more, or valid data of its own"
            )
        order = torch.randperm(self.examples, generator=generator(0, "valid split"))
        return self.chosen(order[count:].sort().values), self.chosen(order[:count].sort().values)

    @abstractmethod
    def chosen(self, indices: Tensor) -> "Data":
        """The examples of these numbers alone.

        Args:
            indices: a tensor `[n]` of whole numbers.
        """

    @abstractmethod
    def digest(self) -> str:
        """16 hexadecimal digits of the data.

        Raises:
            InvalidInput: they are not the same when they are asked for again.
        """

    def replayed(self, batch_size: int) -> Any:
        """The first batch, when it has been made twice and was the same.

        Args:
            batch_size: examples in it, where it can be chosen.

        Raises:
            InvalidInput: it wasn't, or there is none.
        """
        one, again = (list(itertools.islice(self.batches(0, 0, batch_size), 1)) for _ in range(2))
        if not one:
            raise InvalidInput(f"{self} gives no batch")
        if digest_of(one) != digest_of(again):
            raise InvalidInput(
                f"{self} gives other examples when it is asked again, so no training could be resumed; {_DRAW}"
            )
        return one[0]


_DRAW = (
    "draw with the global generators of torch, NumPy or random, which are seeded for each batch, or with one made anew in "
    "each call from (seed, epoch)"
)


def _order(count: int, seed: int, epoch: int, shuffle: bool) -> Tensor:
    return torch.randperm(count, generator=generator(seed, "order", epoch)) if shuffle else torch.arange(count)


class TensorData(Data):
    """Tensors of one length: they are kept on the device, and a batch is a look into them.

    Args:
        parts: the tensors, in a tuple or by name; a batch is the same of theirs.
        name: what error messages call it.
    """

    def __init__(self, parts: tuple[Tensor, ...] | dict[str, Tensor], name: str) -> None:
        self.parts, self._name = parts, name
        self.examples = len(next(iter(self._tensors())))

    def __str__(self) -> str:
        return self._name

    def _tensors(self) -> Iterable[Tensor]:
        return self.parts.values() if isinstance(self.parts, dict) else self.parts

    def _each(self, change: Callable[[Tensor], Tensor]) -> Any:
        if isinstance(self.parts, dict):
            return {name: change(part) for name, part in self.parts.items()}
        return tuple(change(part) for part in self.parts)

    def batches(
        self,
        seed: int,
        epoch: int,
        batch_size: int,
        *,
        start: int = 0,
        device: torch.device = _CPU,
        shuffle: bool = True,
    ) -> Iterator[Any]:
        """See `Data.batches`."""
        here = self.to(device)
        assert here.examples is not None
        if shuffle:
            order = _order(here.examples, seed, epoch, shuffle).to(device)
            for indices in order.split(batch_size)[start:]:
                yield here._each(lambda part, chosen=indices: part[chosen])  # type: ignore[misc]
        else:
            for first in range(start * batch_size, here.examples, batch_size):
                yield here._each(lambda part, place=slice(first, first + batch_size): part[place])  # type: ignore[misc]

    def batches_per_epoch(self, batch_size: int) -> int:
        """See `Data.batches_per_epoch`."""
        assert self.examples is not None
        return -(-self.examples // batch_size)

    @property
    def tokens_per_example(self) -> int | None:
        """See `Data.tokens_per_example`."""
        last = list(self._tensors())[-1]
        return last.shape[1] if last.dtype == torch.int64 and last.ndim == 2 else None

    def to(self, device: torch.device) -> "TensorData":
        """See `Data.to`."""
        if all(part.device == device for part in self._tensors()):
            return self
        return TensorData(self._each(lambda part: part.to(device)), self._name)

    def chosen(self, indices: Tensor) -> "TensorData":
        """See `Data.chosen`."""
        return TensorData(self._each(lambda part: part[indices.to(part.device)]), self._name)

    def digest(self) -> str:
        """See `Data.digest`: of all of it."""
        return digest_of([self.parts])


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
    """Ctrl-C reaches all processes of a terminal; the parent decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


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
        self._dataset, self._name, self._collate, self._workers = dataset, name, collate, workers
        self._indices = indices
        self.examples = len(dataset) if indices is None else len(indices)
        self._items = _Items(dataset, collate or default_collate)
        self._asked: list[tuple[int, list[int]]] = []  # what the loader's next pass is to make
        self._loader: DataLoader[Any] | None = None
        self._is_busy = False

    def __str__(self) -> str:
        return self._name

    def batches(
        self,
        seed: int,
        epoch: int,
        batch_size: int,
        *,
        start: int = 0,
        device: torch.device = _CPU,
        shuffle: bool = True,
    ) -> Iterator[Any]:
        """See `Data.batches`."""
        assert self.examples is not None
        order = _order(self.examples, seed, epoch, shuffle)
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
                self._asked[:] = asked
                self._loader = self._loader or self._new_loader(self._asked, stay=True)
                yield from self._loader
            finally:
                self._is_busy = False

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
        """See `Data.batches_per_epoch`."""
        assert self.examples is not None
        return -(-self.examples // batch_size)

    def chosen(self, indices: Tensor) -> "DatasetData":
        """See `Data.chosen`."""
        if self._indices is not None:
            indices = self._indices[indices]
        return DatasetData(self._dataset, self._name, collate=self._collate, workers=self._workers, indices=indices)

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
        """See `Data.replayed`."""
        one, again = self.first(batch_size), self.first(batch_size)
        if digest_of([one]) != digest_of([again]):
            raise InvalidInput(f"{self} gives other items when it is asked again, so no training could be resumed; {_DRAW}")
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


class FunctionData(Data):
    """A function `(seed, epoch) -> batches`, called anew for each epoch.

    The global generators are seeded before it is called and before each of its batches, so what it draws from them is the
    same each time. A resumed training asks for the batches before its own again, unless the function gives a list.

    Args:
        function: takes seed and epoch, and gives something to iterate over, of the same number of batches in each epoch;
            if it has a length, that is the number.
        name: what error messages call it.
    """

    def __init__(self, function: Callable[[int, int], Iterable[Any]], name: str) -> None:
        self._function, self._name = function, name
        self._count: int | None = None

    def __str__(self) -> str:
        return self._name

    def batches(
        self,
        seed: int,
        epoch: int,
        batch_size: int = 0,
        *,
        start: int = 0,
        device: torch.device = _CPU,
        shuffle: bool = True,
    ) -> Iterator[Any]:
        """See `Data.batches`; the size and the order are the function's own."""
        del batch_size, shuffle
        number = start - 1
        for number, batch in self._made(seed, epoch, start):
            if self._count is not None and number == self._count:
                raise self._uneven(epoch, f"more than {self._count}")
            yield moved(batch, device)
        if self._count is not None and number + 1 < self._count:
            raise self._uneven(epoch, str(number + 1))

    def _uneven(self, epoch: int, given: str) -> GradusError:
        return GradusError(
            f"{self} must give the same number of batches in each epoch; its length, or else its first epoch, says "
            f"{self._count}, and epoch {epoch} gave {given}"
        )

    def _made(self, seed: int, epoch: int, start: int) -> Iterator[tuple[int, Any]]:
        """The batches with their numbers, each drawn under a seed of its own."""

        def seed_of(number: int) -> int:
            return seed_for(seed, f"batches of epoch {epoch}", number + 1)

        given = self._called(seed, epoch, seed_of(-1))
        if isinstance(given, Sequence):
            for number in range(start, len(given)):
                with seeded(seed_of(number)):
                    batch = given[number]
                yield number, batch
            return
        with seeded(seed_of(-1)):
            iterator = iter(given)
        for number in itertools.count():
            with seeded(seed_of(number)):
                batch = next(iterator, _END)
            if batch is _END:
                return
            if number >= start:
                yield number, batch

    def _called(self, seed: int, epoch: int, drawn: int) -> Iterable[Any]:
        with seeded(drawn):
            given = self._function(seed, epoch)
        if not isinstance(given, Iterable) or isinstance(given, (str, bytes, Tensor, Mapping)):
            raise InvalidInput(f"{self} must give batches to iterate over, a list or a generator; it gave {kind_of(given)}")
        return given

    def batches_per_epoch(self, batch_size: int = 0) -> int:
        """See `Data.batches_per_epoch`; the first epoch is gone through, once, where what the function gives has no length.

        Raises:
            InvalidInput: it has no batch, or never ends.
        """
        del batch_size
        if self._count is None:
            given = self._called(0, 0, 0)
            try:
                count = len(given)  # type: ignore[arg-type]  # it may have one
            except TypeError:
                count = sum(1 for _ in itertools.islice(self._made(0, 0, 0), _COUNTED_AT_MOST))
            if not 0 < count < _COUNTED_AT_MOST:
                raise InvalidInput(
                    f"{self} must give at least one batch, and an end to each epoch (itertools.islice ends one that has "
                    f"none); it gave {f'{count:,} and more' if count else 'none'}"
                )
            self._count = count
        return self._count

    def split(self, fraction: float) -> "tuple[Data, Data]":
        """See `Data.split`: there is nothing to choose from."""
        del fraction
        raise InvalidInput(
            f"no part of {self} can be held out for validation, for it is a function; give the task valid= data of its own, "
            f"or train with valid=False and be scored on test"
        )

    def chosen(self, indices: Tensor) -> "Data":
        """See `Data.chosen`: there is nothing to choose from."""
        raise NotImplementedError(f"{len(indices)} examples of {self}")

    def digest(self) -> str:
        """See `Data.digest`: of the first batches of a fixed seed."""
        return digest_of(itertools.islice(self.batches(0, 0), _SAMPLED_BATCHES))


_END = object()


def data_of(given: Any, name: str, *, collate: Callable[[list[Any]], Any] | None = None, workers: int = 0) -> Data:
    """The data of what a user gives as a split.

    Args:
        given: tensors or NumPy arrays of one length, in a tuple or a dict; a map-style Dataset; or a function
            `(seed, epoch) -> batches`.
        name: what error messages call it.
        collate: of a Dataset, as `DatasetData` takes it.
        workers: likewise.

    Raises:
        InvalidInput: it is none of these, is empty, or can't be gone through twice.
    """
    if type(given) is TensorDataset and collate is None:
        given = given.tensors  # it does nothing but look into them
    if (parts := _parts(given)) is not None:
        return _tensor_data(parts, name)
    if isinstance(given, type):
        raise InvalidInput(f"{name} is a class, {given.__name__}; give an object of it")
    _refuse_once_only(given, name)
    if hasattr(given, "__getitem__") and not isinstance(given, (str, bytes, Tensor, np.ndarray, Mapping, tuple)):
        return DatasetData(_with_length(given, name), name, collate=collate, workers=workers)
    if callable(given):
        try:
            inspect.signature(given).bind(0, 0)
        except TypeError:
            raise InvalidInput(
                f"{name} is a function, which must take (seed, epoch) and give batches; it takes otherwise"
            ) from None
        except ValueError:  # of some functions in C nobody knows
            pass
        return FunctionData(given, name)
    raise InvalidInput(
        f"{name} must be (inputs, targets), tensors or NumPy arrays [n, ...]; a Dataset with __len__ and __getitem__; or a "
        f"function (seed, epoch) -> batches; got {kind_of(given)}"
    )


def _parts(given: Any) -> tuple[Any, ...] | dict[str, Any] | None:
    """What is given as tensors or arrays; None where it is something else. A long list of tensors is one of items."""
    if isinstance(given, dict):
        return given if given and all(isinstance(one, (Tensor, np.ndarray)) for one in given.values()) else None
    if not isinstance(given, (tuple, list)) or not all(isinstance(one, (Tensor, np.ndarray)) for one in given):
        return None
    return tuple(given) if len(given) == 2 or (given and isinstance(given, tuple)) else None


def _tensor_data(parts: tuple[Any, ...] | dict[str, Any], name: str) -> TensorData:
    tensors = mapped(parts, lambda part: _tensor(part, name))
    lengths = [len(part) if part.ndim else 0 for part in (tensors.values() if isinstance(tensors, dict) else tensors)]
    if len(set(lengths)) > 1 or not lengths[0]:
        what = "as many inputs as targets" if len(lengths) == 2 else "tensors of one length"
        raise InvalidInput(f"{name} needs {what}, at least one example; got {' and '.join(map(str, lengths))}")
    return TensorData(tensors, name)


def _tensor(part: Any, name: str) -> Tensor:
    if isinstance(part, Tensor):
        return part.detach()
    if part.dtype.kind not in "biufc":
        raise InvalidInput(f"{name} must be arrays of numbers; got one of dtype {part.dtype}")
    native = part.astype(part.dtype.newbyteorder("="), copy=False)
    try:
        return torch.tensor(native)  # a copy: an array may be read-only, or change under a training
    except TypeError as error:
        raise InvalidInput(f"{name}: torch has no tensors of dtype {part.dtype} ({error}); convert it with astype") from None


def _refuse_once_only(given: Any, name: str) -> None:
    """Refuse what can't be gone through again from where a training was cut short, with what to give instead."""
    if isinstance(given, DataLoader):
        raise InvalidInput(
            f"{name} is a DataLoader, whose order and draws can't be repeated; give its Dataset instead, and to the task "
            f"batch_size=, workers= and collate=: a loader is made of them"
        )
    if isinstance(given, IterableDataset):
        raise InvalidInput(
            f"{name} is an IterableDataset, which can't go on from where a training was cut short; give a function "
            f"(seed, epoch) -> batches, such as lambda seed, epoch: DataLoader(Mine(seed, epoch), batch_size=32)"
        )
    if hasattr(given, "__next__"):
        raise InvalidInput(
            f"{name} is a {type(given).__name__}, which can be gone through only once; give the function that makes it, "
            f"(seed, epoch) -> batches, called anew for each epoch"
        )


def _with_length(given: Any, name: str) -> Any:
    try:
        count = len(given)
    except (TypeError, NotImplementedError):
        raise InvalidInput(
            f"{name} is a {type(given).__name__} without __len__, so its epochs have no end; give it one"
        ) from None
    if not count:
        raise InvalidInput(f"{name} needs at least one example; got a {type(given).__name__} of none")
    return given
