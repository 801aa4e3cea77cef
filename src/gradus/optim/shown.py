"""`Shown`: a plan's numbers of steps and scalar slots in the state, for whoever holds it to read and to change."""

import functools
import operator
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradus.backends.row import Row

__all__ = ["Shown"]

_EXACT = 2**24  # up to which single precision, in which torch keeps steps, counts
_PATIENCE = 100  # steps after which it is looked again whether somebody still holds something


def _references(things: Iterable[Any]) -> int:
    return sum(map(sys.getrefcount, things))


_is = operator.is_
_ONE = _references([object()])  # of a thing that lies in one list, or in one dict, and nowhere else


def _are_held(things: Collection[Any], places: int) -> bool:
    """Whether anybody else holds one of some things, which lie in so many places of ours each."""
    return _references(things) != len(things) * (_ONE + places - 1)


class Shown:
    """What a plan counts, as tensors in the parameters' states that go on with each step, each parameter's its own.

    Slots are in the states as the tensors that are written to, so there is nothing more to show. The tensors of steps lie
    side by side: one addition counts them all. Whoever has looked once may keep what they hold, as with torch; so it is
    watched: at each step it is seen whether they have changed or replaced anything. A step after the last look the watch
    ends, unless somebody holds something still, and the next look begins it again.

    Args:
        state: the optimizer's.
        rows: the plan's.
    """

    __slots__ = (
        "_aliases",
        "_alone",
        "_bytes",
        "_counted",
        "_counts",
        "_left",
        "_members",
        "_most",
        "_numbers",
        "_one",
        "_rows",
        "_state",
        "_tables",
        "_tensors",
        "_wait",
        "is_watched",
    )

    def __init__(self, state: Mapping[Tensor, dict[str, Any]], rows: Sequence[Row]) -> None:
        self._state, self._rows = state, rows
        self._counted = [row for row in rows if not row.group["capturable"]]  # in others numbers are tensors already
        self._lay_out()

    def _lay_out(self) -> None:
        """Put the tensors into the states."""
        self._most = self._highest()
        dtype = np.float32 if self._most < _EXACT else np.float64
        self._counts = np.array([row.step for row in self._counted for _ in row.states], dtype)
        self._one = np.ones_like(self._counts)
        self._tensors = [*torch.from_numpy(self._counts).unbind()]
        for param, step in zip(chain.from_iterable(row.params for row in self._counted), self._tensors, strict=True):
            self._state[param]["step"] = step
        self._tables = [table for row in self._counted for table in self._scalars_of(row)]
        self._aliases = self._uses()
        self._note()

    def _scalars_of(self, row: Row) -> Iterator[tuple[Row, np.ndarray]]:
        """The table of a row's scalar slots, if it has any, which are put into the states."""
        if row.scalars:
            table = np.array([[*row.scalars.values()]] * len(row.states), dtype=np.float64)
            for param, line in zip(row.params, torch.from_numpy(table), strict=True):
                scalars = line.unbind()
                self._tensors += scalars
                self._state[param].update(zip(row.scalars, scalars, strict=True))
            yield row, table

    def _highest(self) -> int:
        return max((row.step for row in self._counted), default=0)

    def _note(self) -> None:
        """Note what the states hold."""
        self.is_watched, self._wait = True, 1
        self._members = members = [*self._state.values()]
        self._left = [dict(kept) if isinstance(kept, dict) else kept for kept in members]
        dicts = [kept for kept in members if isinstance(kept, dict)]
        names = {name for kept in dicts for name, value in kept.items() if _is_number(value)}
        self._alone = []
        for name in names:
            whole = all(isinstance(kept, dict) and name in kept for kept in members)
            getter = operator.itemgetter(name) if whole else functools.partial(_found, name)
            self._alone.append((getter, [*map(getter, members)]))
        # A method of the array itself where there is no more to read: at a step, a call less. No method of this object: it
        # would keep itself, and the state with it, until the garbage is collected.
        arrays = [self._counts, *(table for _, table in self._tables)]
        self._bytes = functools.partial(_bytes_of, arrays) if self._tables else self._counts.tobytes
        self._numbers = self._bytes()

    def look(self) -> None:
        """Somebody is given the state: let it be up to date, and be watched."""
        self._wait = 1
        if not self.is_watched:
            self.is_watched = True
            self.catch_up()

    def catch_up(self) -> None:
        """Write what the rows have counted into the tensors, where nobody has watched them."""
        before, self._most = self._most, self._highest()
        if before < _EXACT <= self._most:
            self._lay_out()
            return
        begin = 0
        for row in self._counted:
            self._counts[begin : begin + len(row.states)] = row.step
            begin += len(row.states)
        self._note_numbers()

    def advance(self) -> None:
        """Count a step that the rows have counted."""
        self._most += 1
        if self._most == _EXACT:
            self._lay_out()
            return
        np.add(self._counts, self._one, self._counts)
        self._note_numbers()

    def _note_numbers(self) -> None:
        for row, table in self._tables:
            table[:] = [*row.scalars.values()]
        self._numbers = self._bytes()

    def is_as_left(self) -> bool:
        """Whether everything that the plan knows is as it left it. The watch ends where it need not go on."""
        if self._bytes() != self._numbers:
            return False
        if not self._is_untouched():
            if not self._is_known():
                return False
            self._note()  # something of somebody's own has come to it
        elif self._wait:
            self._wait -= 1
        elif not {*map(id, self._state.values())}.issuperset(map(id, self._ours())):
            return False  # a copy has come in the place of one
        elif self._is_held():
            self._wait = _PATIENCE
        else:
            self.is_watched = False
        return True

    def _ours(self) -> list[dict[str, Any]]:
        return [*chain.from_iterable(row.states for row in self._rows)]

    def _is_held(self) -> bool:
        """Whether anybody has the state, a parameter's part of it, a number in it, or another tensor of its memory."""
        return (
            _are_held([self._state], 4)  # the list, the optimizer, its plan, and here
            or _are_held(self._ours(), 4)  # the list, the state, its row, and what was noted
            or _are_held(self._tensors, 4)  # the list, its dict, and twice among what was noted
            or self._uses() != self._aliases
        )

    def _uses(self) -> list[int]:
        """How many tensors lie in each memory of numbers."""
        firsts = [*self._tensors[:1], *(row.states[0][name] for row, _ in self._tables for name in row.scalars)]
        return [torch._C._storage_Use_Count(tensor.untyped_storage()._cdata) for tensor in firsts]

    def _is_untouched(self) -> bool:
        """Whether the states hold the very same things: at a microsecond a step, by comparing dicts, which goes by identity.

        What is equal without being the same can only be a number.
        """
        members = self._state.values()
        try:
            if [*members] != self._left:
                return False
            for getter, values in self._alone:
                if not all(map(_is, map(getter, members), values)):
                    return False
        except (RuntimeError, TypeError):  # tensors that aren't the same, and can't be compared
            return False
        return True

    def _is_known(self) -> bool:
        """Whether all that belongs to the rules is the same."""
        left = {id(kept): noted for kept, noted in zip(self._members, self._left, strict=True)}
        for row in self._rows:
            for param, kept in zip(row.params, row.states, strict=True):
                noted = left.get(id(kept))
                if noted is None or self._state.get(param) is not kept:
                    return False
                if any(kept.get(name) is not noted.get(name) for name in ("step", *row.rule.slots)):
                    return False
        return True


def _bytes_of(arrays: list[np.ndarray]) -> bytes:
    return b"".join([array.tobytes() for array in arrays])


def _found(name: str, kept: Any) -> Any:
    return kept.get(name) if isinstance(kept, dict) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1
