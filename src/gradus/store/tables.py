"""What a store's file holds: its tables, and the hash that seals each record.

A record's hash is the first eight bytes of the BLAKE2b of a JSON list: the table's name and the values before the hash.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

__all__ = ["APPLICATION_ID", "NOTES", "REQUESTS", "ROWS", "RUNS", "SWEEPS", "TABLES", "VERSION", "Table", "definitions"]

APPLICATION_ID = 0x67726164  # "grad": tells our files from other SQLite files
VERSION = 2

_KINDS: dict[str, type] = {"INTEGER": int, "REAL": float, "TEXT": str}
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
    def kinds(self) -> tuple[tuple[type, ...], ...]:
        """The types that each column's values may have."""
        return tuple(
            (_KINDS[declared.split()[0]], *(() if "NOT NULL" in declared or "KEY" in declared else (type(None),)))
            for declared in self.columns.values()
        )

    def digest(self, values: Sequence[Any]) -> str:
        """The hash of a record's values, 16 hexadecimal digits."""
        return blake2b(json.dumps([self.name, *values], default=repr).encode(), digest_size=8).hexdigest()

    def sealed(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """A record: the values and their hash."""
        return (*values, self.digest(values))

    def is_whole(self, record: Sequence[Any]) -> bool:
        """Whether a record is as it was entered."""
        *values, digest = record
        return (
            len(values) == len(self.columns)
            and all(type(value) in kinds for value, kinds in zip(values, self.kinds, strict=True))
            and digest == self.digest(values)
        )

    def coerced(self, record: Sequence[Any]) -> list[Any]:
        """A damaged record's values, those of another type than was entered made empty."""
        pairs = zip(record, self.kinds, strict=False)
        return [value if type(value) in kinds else kinds[0]() for value, kinds in pairs]


SWEEPS = Table(
    "sweeps",
    {
        "id": "INTEGER PRIMARY KEY",
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
        "id": "INTEGER PRIMARY KEY",
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
        "id": "INTEGER PRIMARY KEY",
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
