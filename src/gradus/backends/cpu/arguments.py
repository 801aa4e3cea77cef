"""`Arguments`: what a kernel is called with, one array of int64 whose slots have names."""

from typing import Any

import numpy as np

__all__ = ["Arguments"]


class Arguments:
    """The layout of a kernel's arguments: its slots by name, in order, each with what it holds.

    A slot is a number, or the address of a table; a table's slot says its dtype and shape. Kernels are called with the
    address of the array, and begin with `unpacked()`, which gives each slot's value its name there. Where threads share the
    work, the first slot counts what they have claimed.

    >>> pair = Arguments(first="a number", other="int64 [first]: a table")
    >>> pair.packed(first=3).tolist()
    [3, 0]
    >>> print(pair.unpacked())
        arguments = view(pointer, 2)
        first = arguments[0]  # a number
        other = arguments[1]  # int64 [first]: a table
    """

    def __init__(self, **slots: str) -> None:
        self._slots = slots
        self._places = {name: place for place, name in enumerate(slots)}

    def place(self, name: str) -> int:
        """The index of a slot."""
        return self._places[name]

    def packed(self, **values: Any) -> np.ndarray:
        """The array, int64 [slots], with these values, of arrays their addresses; 0 in the other slots."""
        array = np.zeros(len(self._slots), dtype=np.int64)
        for name, value in values.items():
            array[self._places[name]] = value.ctypes.data if isinstance(value, np.ndarray) else value
        return array

    def unpacked(self) -> str:
        """The lines of a kernel's source that name its arguments."""
        lines = [f"arguments = view(pointer, {len(self._slots)})"]
        lines += [f"{name} = arguments[{self._places[name]}]  # {what}" for name, what in self._slots.items()]
        return "\n".join(f"    {line}" for line in lines)
