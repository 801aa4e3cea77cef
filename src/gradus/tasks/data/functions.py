"""Data of a function that gives the batches of an epoch."""

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from gradus.errors import GradusError, InvalidInput
from gradus.randomness import seed_for
from gradus.tasks.batches import kind_of, moved
from gradus.tasks.data.base import CPU, Data
from gradus.tasks.drawing import seeded
from gradus.tasks.hashing import digest_of

__all__ = ["FunctionData"]

_COUNTED_AT_MOST = 1_000_000  # batches, where nothing says how many there are
_SAMPLED = 2  # batches, of a digest
_END = object()


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
        super().__init__(name, None)
        self._function = function
        self._count: int | None = None

    def batches(
        self, seed: int, epoch: int, batch_size: int, *, start: int = 0, device: torch.device = CPU, shuffle: bool = True
    ) -> Generator[Any, None, None]:
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

        def seeds(number: int) -> int:
            return seed_for(seed, f"batches of epoch {epoch}", number)

        given = self._called(seed, epoch, seeds(0))
        if isinstance(given, Sequence):
            for number in range(start, len(given)):
                with seeded(seeds(number + 1)):
                    batch = given[number]
                yield number, batch
            return
        with seeded(seeds(0)):
            iterator = iter(given)
        for number in itertools.count():
            with seeded(seeds(number + 1)):
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

    def batches_per_epoch(self, batch_size: int) -> int:
        """See `Data.batches_per_epoch`; the first epoch is gone through, once, where what the function gives has no length.

        Raises:
            InvalidInput: it has no batch, or never ends.
        """
        del batch_size
        if self._count is None:
            count = self._counted()
            if not count:
                raise InvalidInput(f"{self} must give at least one batch; it gave none")
            self._count = count
        return self._count

    def _counted(self) -> int:
        with suppress(TypeError):
            return len(self._called(0, 0, 0))  # type: ignore[arg-type]  # it may have a length
        count = sum(1 for _ in itertools.islice(self._made(0, 0, 0), _COUNTED_AT_MOST))
        if count == _COUNTED_AT_MOST:
            raise InvalidInput(
                f"{self} must come to an end in each epoch, or give something with a length (itertools.islice ends what has "
                f"no end); it gave {count:,} batches and more"
            )
        return count

    def digest(self) -> str:
        """See `Data.digest`: of the first batches of a fixed seed."""
        return digest_of(itertools.islice(self.batches(0, 0, 1), _SAMPLED))
