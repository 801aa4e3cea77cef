"""`StateWatch`: keeps the counts in an optimizer's state current while somebody may read or change them."""

import ctypes
import math
import operator
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import chain, groupby, repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradus.backends.tensor_group import TensorGroup

__all__ = ["StateWatch"]

_EXACT = 2**24  # single precision, in which torch keeps steps, counts up to here
_PATIENCE = 100  # steps between two checks whether somebody still holds a part of the state


def _references(things: Iterable[Any]) -> int:
    return sum(map(sys.getrefcount, things))


_ONE = _references([object()])  # of an object in one list, and nowhere else


def _are_held(things: Collection[Any], places: int) -> bool:
    """Whether anybody else refers to one of these objects, to each of which we refer from `places` places."""
    return _references(things) != len(things) * (_ONE + places - 1)


class StateWatch:
    """Shows a plan's steps and scalar slots as tensors in the state, and notices what others change there.

    The numbers of all parameters share memory, so that few operations write them all; each parameter's state has its own
    elements of it. Whoever reads the state may keep a part of it, as with torch. So from a look on, each step checks that
    the numbers and the dicts are as they were left. The watch ends one step after the last look, unless somebody still
    holds a part of the state.

    Args:
        state: the optimizer's state.
        rows: the plan's rows.
    """

    __slots__ = (
        "_columns",
        "_lengths",
        "_most",
        "_names",
        "_numbers",
        "_params",
        "_parts",
        "_read_numbers",
        "_read_tags",
        "_rows",
        "_spans",
        "_state",
        "_storages",
        "_tags",
        "_tensors",
        "_values",
        "_wait",
        "is_watched",
    )

    def __init__(self, state: Mapping[Tensor, dict[str, Any]], rows: Sequence[TensorGroup]) -> None:
        self._state, self._rows = state, rows
        self._params = [*chain.from_iterable(row.params for row in rows)]
        self._names = [name for row in rows for _ in row.states for name in ("step", *row.rule.slots)]
        self._lengths = [1 + len(row.rule.slots) for row in rows for _ in row.states]
        self._lay_out()

    def _lay_out(self) -> None:
        """Put the tensors into the state."""
        counted = [row for row in self._rows if not row.param_group["capturable"]]  # others keep their numbers as tensors
        is_single = all(row.step < _EXACT for row in counted)
        self._most: float = _EXACT if is_single else math.inf
        dtype = np.dtype(np.float32 if is_single else np.float64)
        scalars = sum(8 * len(row.states) * len(row.scalars) for row in counted)
        memory = np.zeros(scalars + dtype.itemsize * sum(len(row.states) for row in counted), np.uint8)
        counts = memory[scalars:].view(dtype)
        self._tensors: list[Tensor] = []
        self._show(("step",), chain.from_iterable(row.params for row in counted), counts[:, None])
        self._spans, self._columns = [*_spans(counted, counts)], []
        begin = 0
        for row in counted:
            end = begin + 8 * len(row.states) * len(row.scalars)
            table = memory[begin:end].view(np.float64).reshape(len(row.states), len(row.scalars))
            self._show(tuple(row.scalars), row.params, table)
            self._columns += [(column, row, name) for column, name in zip(table.T, row.scalars, strict=True)]
            begin = end
        self._storages = self._uses()
        self._read_numbers = memory.tobytes
        self.catch_up()
        self._parts = self._present_parts()
        self._values = [*self._values_of(self._parts)]
        self._note_tags()
        self.is_watched, self._wait = True, 1

    def _show(self, names: tuple[str, ...], params: Iterable[Tensor], table: np.ndarray) -> None:
        """Put the elements of a table `[parameters, names]` into the parameters' states."""
        for param, line in zip(params, torch.from_numpy(table), strict=True) if table.size else ():
            numbers = line.unbind()
            self._tensors += numbers
            self._state[param].update(zip(names, numbers, strict=True))

    def look(self) -> None:
        """Somebody is given the state: bring it up to date, and watch it."""
        self._wait = 1
        if not self.is_watched:
            self.is_watched = True
            self.catch_up()

    def catch_up(self) -> None:
        """Write the rows' numbers into the tensors."""
        for span, row in self._spans:
            if row.step >= self._most:
                self._lay_out()
                return
            span.fill(row.step)
        for column, row, name in self._columns:
            column.fill(row.scalars[name])
        self._numbers = self._read_numbers()

    def is_as_left(self) -> bool:
        """Whether all that the plan knows is as it was left. Ends the watch where nobody needs it."""
        if self._read_numbers() != self._numbers:
            return False
        if self._read_tags() != self._tags and not self._has_our_entries():
            return False
        if self._wait:
            self._wait -= 1
        elif not all(map(operator.is_, self._parts, chain.from_iterable(row.states for row in self._rows))):
            return False  # a copy has taken the place of a dict that the rows know
        elif self._is_held():
            self._wait = _PATIENCE
        else:
            self.is_watched = False
        return True

    def _has_our_entries(self) -> bool:
        """Whether the parameters' dicts, or copies in their place, still have the very same objects for the rules."""
        parts = self._present_parts()
        if not all(isinstance(part, dict) for part in parts):
            return False
        if not all(map(operator.is_, self._values_of(parts), self._values)):
            return False
        self._parts = parts
        self._note_tags()
        return True

    def _present_parts(self) -> list[Any]:
        return [*map(self._state.get, self._params)]

    def _values_of(self, parts: list[dict[str, Any]]) -> Iterator[Any]:
        """The step and the slots in each parameter's dict, None for one that isn't there."""
        return map(dict.get, chain.from_iterable(map(repeat, parts, self._lengths)), self._names)

    def _note_tags(self) -> None:
        self._read_tags = _tag_reader([self._state, *self._parts])
        self._tags = self._read_tags()

    def _is_held(self) -> bool:
        """Whether anybody has the state, a parameter's part of it, a number in it, or another tensor in its memory."""
        return (
            _are_held([self._state], 4)  # the list, the optimizer, its plan, and here
            or _are_held(self._parts, 3)  # the list, the state, and its row
            or _are_held(self._tensors, 3)  # the list, its dict, and the values
            or self._uses() != self._storages
        )

    def _uses(self) -> list[int]:
        """How many tensors share each memory of numbers."""
        storages = {tensor.untyped_storage()._cdata for tensor in self._tensors}
        return [torch._C._storage_Use_Count(storage) for storage in sorted(storages)]


def _spans(rows: Sequence[TensorGroup], counts: np.ndarray) -> Iterator[tuple[np.ndarray, TensorGroup]]:
    """The elements of adjacent rows at the same step, with one of those rows."""
    begin = 0
    for _, some in groupby(rows, lambda row: row.step):
        together = [*some]
        end = begin + sum(len(row.states) for row in together)
        yield counts[begin:end], together[0]
        begin = end


# CPython up to 3.13 gives a dict a new version tag, its fourth word, with each change (PEP 509).
_TAG = 24


def _tag_reader(dicts: Sequence[Any]) -> Callable[[], Any]:
    """A function that returns the dicts' version tags; without tags something else each time, as if all had changed."""
    if not _has_tags():
        return object
    return partial(b"".join, [memoryview(ctypes.c_uint64.from_address(id(one) + _TAG)) for one in dicts])


@cache
def _has_tags() -> bool:
    """Whether each change of a dict changes its tag, and nothing else does."""
    if sys.implementation.name != "cpython" or (object.__basicsize__, dict.__basicsize__) != (16, 48):
        return False
    probe: dict[str, Any] = {"a": 0}
    tag = ctypes.c_uint64.from_address(id(probe) + _TAG)
    seen = [tag.value]
    for change in (lambda: probe.update(b=1), lambda: probe.update(a=2), lambda: probe.pop("b"), probe.clear):
        change()
        seen.append(tag.value)
    return len({*seen}) == len(seen) and tag.value == seen[-1]
