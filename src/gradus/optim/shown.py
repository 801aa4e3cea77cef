"""`Shown`: a plan's numbers of steps and scalar slots in the state, for whoever holds it to read and to change."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradus.backends.row import Row

__all__ = ["Shown"]

_EXACT = 2**24  # up to which single precision, in which torch keeps steps, counts


class Shown:
    """What a plan counts, as tensors in the parameters' states that go on with each step, each parameter's its own.

    Slots are in the states as the tensors that are written to, so there is nothing more to show. The tensors of steps lie
    side by side: one addition counts them all. Whoever has looked once may keep what they hold, as with torch; at each step
    it is seen whether they have changed or replaced anything.

    Args:
        state: the optimizer's.
        rows: the plan's.
    """

    __slots__ = (
        "_alone",
        "_counts",
        "_kept",
        "_left",
        "_members",
        "_most",
        "_numbers",
        "_one",
        "_rows",
        "_state",
        "_tables",
    )

    def __init__(self, state: Mapping[Tensor, dict[str, Any]], rows: Sequence[Row]) -> None:
        self._state, self._rows = state, rows
        self._kept = [kept for row in rows for kept in row.states]
        self._lay_out()

    def _lay_out(self) -> None:
        """Put the tensors into the states."""
        rows = [row for row in self._rows if not row.group["capturable"]]  # whose numbers are tensors there already
        self._most = max((row.step for row in rows), default=0)
        dtype = np.float32 if self._most < _EXACT else np.float64
        self._counts = np.array([row.step for row in rows for _ in row.states], dtype)
        self._one = np.ones_like(self._counts)
        steps = iter(torch.from_numpy(self._counts).unbind())
        self._tables: list[tuple[Row, np.ndarray]] = []
        for row in rows:
            for kept, step in zip(row.states, steps):  # noqa: B905 - the rest are of the next rows
                kept["step"] = step
            if row.scalars:
                table = np.array([[*row.scalars.values()]] * len(row.states), dtype=np.float64)
                self._tables.append((row, table))
                for kept, line in zip(row.states, torch.from_numpy(table), strict=True):
                    kept.update(zip(row.scalars, line.unbind(), strict=True))
        self._note()

    def _note(self) -> None:
        """Note what the states hold."""
        self._members = [*self._state.values()]
        self._left = [dict(kept) for kept in self._kept]
        alone = [(kept, name, value) for kept in self._kept for name, value in kept.items() if _is_number(value)]
        self._alone = tuple(zip(*alone, strict=True)) or ((), (), ())
        self._numbers = self._bytes()

    def _bytes(self) -> bytes:
        return b"".join([self._counts.tobytes(), *(table.tobytes() for _, table in self._tables)])

    def advance(self) -> None:
        """Count a step that the rows have counted."""
        self._most += 1
        if self._most == _EXACT:
            self._lay_out()
            return
        np.add(self._counts, self._one, self._counts)
        for row, table in self._tables:
            table[:] = [*row.scalars.values()]
        self._numbers = self._bytes()

    def is_as_left(self) -> bool:
        """Whether everything that the plan knows is as it left it."""
        if self._bytes() != self._numbers:
            return False
        if self._is_untouched():
            return True
        if not self._is_known():
            return False
        self._note()  # something of somebody's own has come to it
        return True

    def _is_untouched(self) -> bool:
        """Whether the states hold the very same things: at a microsecond a step, by comparing dicts, which goes by identity.

        What is equal without being the same can only be a number.
        """
        members, (kept, names, values) = self._members, self._alone
        try:
            return (
                len(self._state) == len(members)
                and all(map(operator.is_, self._state.values(), members))
                and self._kept == self._left
                and all(map(operator.is_, map(dict.get, kept, names), values))
            )
        except (RuntimeError, TypeError):  # tensors that aren't the same, and can't be compared
            return False

    def _is_known(self) -> bool:
        """Whether all that belongs to the rules is the same."""
        number = 0
        for row in self._rows:
            for param, kept in zip(row.params, row.states, strict=True):
                left = self._left[number]
                number += 1
                if self._state.get(param) is not kept:
                    return False
                if any(kept.get(name) is not left.get(name) for name in ("step", *row.rule.slots)):
                    return False
        return True


def _is_number(value: Any) -> bool:
    return not isinstance(value, Tensor) or value.numel() == 1
