"""What the store says of its sweeps, runs and requests, and how a row's numbers are written."""

import json
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from gradus.errors import GradusError
from gradus.rows import Row
from gradus.runs import Run

__all__ = ["DAMAGED", "Status", "StoredRequest", "StoredRun", "StoredSweep", "Wish", "numbers_from", "numbers_of"]

# "damaged" is never entered: such a record isn't as it was written, and nothing in it can be relied on.
Status = Literal["running", "finished", "diverged", "failed", "stopped", "paused", "interrupted", "damaged"]
DAMAGED: Status = "damaged"
Wish = Literal["stop", "pause"]

_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@dataclass(frozen=True)
class StoredSweep:
    """A sweep as the store knows it.

    Args:
        id: its number in this store.
        kind: what made it, such as "compare".
        name: what it is called.
        status: as of a run; "running" until it has ended.
        created: when it began, in seconds since 1970.
        settings_text: what it was asked for, as JSON.

    >>> StoredSweep(1, "compare", "", "finished", 0.0, '{"workers": 2}').settings
    {'workers': 2}
    """

    id: int
    kind: str
    name: str
    status: Status
    created: float
    settings_text: str

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What it was asked for.

        Raises:
            GradusError: the entry is damaged.
        """
        return _object(self.settings_text, f"the settings of sweep {self.id}")


@dataclass(frozen=True)
class StoredRun:
    """A run as the store knows it.

    Args:
        id: its number in this store.
        sweep: the number of the sweep it was entered in.
        name: the name it was given; "" for none.
        identity: `Run.identity`.
        status: "running", "finished", "diverged", "failed", "stopped", "paused" or "interrupted"; "damaged" where the entry
            isn't as it was written.
        message: why it ended as it did, where that needs saying.
        created: when it began, in seconds since 1970.
        ended: when it ended, in seconds since 1970; None while it is running.
        conditions_text: what else its bits depend on, as JSON.
        specification: `Run.to_json()`.
        step: updates done at its last row; 0 without one.
        rows: how many rows it has.
        note: what somebody has noted on it.
    """

    id: int
    sweep: int
    name: str
    identity: str
    status: Status
    message: str
    created: float
    ended: float | None
    conditions_text: str
    specification: str
    step: int
    rows: int
    note: str

    @cached_property
    def run(self) -> Run:
        """Its specification.

        Raises:
            GradusError: it is damaged, or holds a function, which isn't imported from a file.
        """
        return Run.from_json(self.specification)

    @cached_property
    def conditions(self) -> dict[str, Any]:
        """What else its bits depend on: versions, device, threads, digests of the task.

        Raises:
            GradusError: the entry is damaged.
        """
        return _object(self.conditions_text, f"the conditions of run {self.id}")


@dataclass(frozen=True)
class StoredRequest:
    """What somebody has asked of a running run, and nobody has answered yet.

    Args:
        id: its number in this store.
        run: the run's number.
        wish: "stop" or "pause".
        created: when it was asked, in seconds since 1970.

    >>> StoredRequest(1, run=3, wish="stop", created=0.0).wish
    'stop'
    """

    id: int
    run: int
    wish: Wish
    created: float


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise GradusError(f"{what} can't be read: the store is damaged; `gradus runs --repair` saves what can be read")
    return found


def numbers_of(row: Row) -> str:
    """A row's numbers as strict JSON, exactly: those that aren't finite are "nan", "inf" and "-inf"."""
    return json.dumps({name: value if math.isfinite(value) else str(value) for name, value in row.items()}, allow_nan=False)


def numbers_from(step: int, text: str) -> Row:
    """The row whose numbers were written so.

    Raises:
        ValueError: the text isn't a row's.
    """
    try:
        numbers = json.loads(text)
        if '": "' in text:  # rows may be many, and few have such numbers
            numbers = {name: _NOT_FINITE[value] if isinstance(value, str) else value for name, value in numbers.items()}
        return Row(step, numbers)
    except (RecursionError, AttributeError, KeyError) as error:
        raise ValueError(str(error)) from None
