"""What a store's file holds: its tables, and the hash that seals each record.

A record's hash is the first eight bytes of the BLAKE2b of a JSON list: the table's name and the values before the hash.
"""

import itertools
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

__all__ = [
    "APPLICATION_ID",
    "NOTES",
    "REQUESTS",
    "ROWS",
    "RUNS",
    "SWEEPS",
    "TABLES",
    "VERSION",
    "Record",
    "Table",
    "definitions",
]

APPLICATION_ID = 0x67726164  # "grad": tells our files from other SQLite files
VERSION = 2

Record = tuple[Any, ...]  # a table's values, and their hash

_KINDS: dict[str, type] = {"INTEGER": int, "REAL": float, "TEXT": str}
_encode = json.JSONEncoder().encode  # made once: it is called for every row
_NUMBER = "INTEGER PRIMARY KEY AUTOINCREMENT"  # never given again, for others may have it written down
_OF_A_RUN = "REFERENCES runs (id) ON DELETE CASCADE"


@dataclass(frozen=True, eq=False)
class Table:
    """A table whose records are sealed.

    Args:
        name: what it is called.
        columns: the declaration of each column in SQL, but for the hash, which comes last.
        key: the columns that tell its records apart, in their order in the file.
    """

    name: str
    columns: Mapping[str, str]
    key: tuple[str, ...] = ("id",)

    @property
    def definition(self) -> str:
        """How it is made, in SQL."""
        columns = [f"{name} {declared}" for name, declared in self.columns.items()]
        several = [f"PRIMARY KEY ({', '.join(self.key)})"] if len(self.key) > 1 else []
        ending = " WITHOUT ROWID" if several else ""
        return f"CREATE TABLE {self.name} ({', '.join([*columns, 'hash TEXT NOT NULL', *several])}){ending}"

    @cached_property
    def insertion(self) -> str:
        """How a record is entered, in SQL."""
        return f"INSERT INTO {self.name} VALUES ({', '.join('?' * (len(self.columns) + 1))})"

    @cached_property
    def selection(self) -> str:
        """What tells one record, in SQL."""
        return " AND ".join(f"{name} = ?" for name in self.key)

    @cached_property
    def _kinds(self) -> list[tuple[type, ...]]:
        """The types that each column's values may have."""
        return [
            (_KINDS[declared.split()[0]], *(() if "NOT NULL" in declared or "KEY" in declared else (type(None),)))
            for declared in self.columns.values()
        ]

    @cached_property
    def _types(self) -> frozenset[tuple[type, ...]]:
        """The types that a record's values may have together."""
        return frozenset(itertools.product(*self._kinds))

    def digest(self, values: Iterable[Any]) -> str:
        """The hash of a record's values, 16 hexadecimal digits."""
        return blake2b(_encode([self.name, *values]).encode(), digest_size=8).hexdigest()

    def sealed(self, values: Collection[Any]) -> tuple[Any, ...]:
        """A record: the values and their hash."""
        return (*values, self.digest(values))

    def is_whole(self, record: Sequence[Any]) -> bool:
        """Whether a record is as it was entered."""
        values = record[:-1]
        return tuple(map(type, values)) in self._types and record[-1] == self.digest(values)

    def named(self, record: Sequence[Any]) -> dict[str, Any]:
        """A record's values by their columns, without the hash."""
        return dict(zip(self.columns, record, strict=False))

    def called(self, record: Sequence[Any]) -> str:
        """What to call a record in a sentence."""
        key = ", ".join(f"{name} {value!r}" for name, value in zip(self.key, record, strict=False))
        return f"the entry of {key} in {self.name}"

    def coerced(self, record: Sequence[Any]) -> list[Any]:
        """A damaged record's values, those of another type than was entered made empty."""
        return [value if type(value) in kinds else kinds[0]() for value, kinds in zip(record, self._kinds, strict=False)]


SWEEPS = Table(
    "sweeps",
    {
        "id": _NUMBER,
        "kind": "TEXT NOT NULL",
        "name": "TEXT NOT NULL",
        "status": "TEXT NOT NULL",
        "created": "REAL NOT NULL",
        "settings": "TEXT NOT NULL",
    },
)
# What is long comes last: to read what is before it, SQLite needn't follow it over several pages.
RUNS = Table(
    "runs",
    {
        "id": _NUMBER,
        "sweep": "INTEGER NOT NULL REFERENCES sweeps (id) ON DELETE CASCADE",
        "name": "TEXT NOT NULL",
        "identity": "TEXT NOT NULL",
        "status": "TEXT NOT NULL",
        "message": "TEXT NOT NULL",
        "created": "REAL NOT NULL",
        "ended": "REAL",
        "rows": "INTEGER",  # when it ended
        "conditions": "TEXT NOT NULL",
        "specification": "TEXT NOT NULL",
    },
)
ROWS = Table(
    "rows",
    {
        "run": f"INTEGER NOT NULL {_OF_A_RUN}",
        "step": "INTEGER NOT NULL",
        "number": "INTEGER NOT NULL",  # from 1 within a run: the last one's is how many there are, and none can be missing
        "numbers": "TEXT NOT NULL",
    },
    key=("run", "step"),
)
REQUESTS = Table(
    "requests",
    {
        "id": _NUMBER,
        "run": f"INTEGER NOT NULL {_OF_A_RUN}",
        "wish": "TEXT NOT NULL",
        "created": "REAL NOT NULL",
        "answered": "REAL",
    },
)
NOTES = Table(
    "notes",
    {"run": f"INTEGER PRIMARY KEY {_OF_A_RUN}", "text": "TEXT NOT NULL", "created": "REAL NOT NULL"},
    key=("run",),
)
TABLES = (SWEEPS, RUNS, ROWS, REQUESTS, NOTES)


def definitions() -> list[str]:
    """How a store is made, in SQL."""
    return [*(table.definition for table in TABLES), "CREATE INDEX runs_by_sweep ON runs (sweep)"]
