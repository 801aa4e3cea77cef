"""`Frozen`: a mapping that is a value, for use in frozen dataclasses."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

__all__ = ["Frozen"]

_Value = TypeVar("_Value")


class Frozen(Mapping[str, _Value]):
    """A mapping from text that never changes: it compares, hashes and pickles by its items, in their order.

    Args:
        items: what is in it.

    >>> Frozen({"momentum": 0.9})["momentum"], Frozen({"a": 1}) == {"a": 1}
    (0.9, True)
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, _Value] | None = None) -> None:
        self._items: dict[str, _Value] = dict(items or {})

    def __getitem__(self, name: str) -> _Value:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Frozen):
            return list(self.items()) == list(other.items())
        return super().__eq__(other)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)

    def __reduce__(self) -> tuple[Any, ...]:
        return Frozen, (self._items,)
