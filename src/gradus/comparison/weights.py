"""Where a run's weights are kept: under its name and its identity, and never in the place of other weights."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from gradus.checkpoint import DamagedCheckpoint, have_equal_parts, latest
from gradus.errors import InvalidInput
from gradus.files import write_whole
from gradus.runs import Run

__all__ = ["Weights", "check_name"]

_LONGEST = 100  # characters of a run's name: tables, legends and file names have to hold it


def check_name(run: Run) -> None:
    """Refuse a run whose name is too long to be shown and to name files.

    Args:
        run: the run.

    Raises:
        InvalidInput: the name is too long.
    """
    if len(run.name) > _LONGEST:
        raise InvalidInput(f"a run's name must have at most {_LONGEST} characters; got {len(run.name)}: {run.name[:20]}...")


class Weights:
    """The file of a finished run's last checkpoint.

    Args:
        folder: where it lies.
        run: the run.
        conditions: what else the weights depend on.
    """

    def __init__(self, folder: Path, run: Run, conditions: Mapping[str, Any]) -> None:
        shown = re.sub(r"[^A-Za-z0-9._-]+", "-", run.name).strip(".-") or "run"
        identity = json.dumps([run.to_json(), conditions], sort_keys=True)
        self._stem = folder / f"{shown}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
        kept = list(takewhile(Path.exists, self._places()))
        self.path = kept[-1] if kept else next(self._places())  # where it was written last, or will be

    def keep(self, checkpoints: Path | None) -> None:
        """Keep the newest of the run's checkpoints, unless the same weights are kept already.

        Weights of another training lie there where a task's code or data have changed, or a device doesn't repeat its bits.

        Args:
            checkpoints: the folder of the run's checkpoints.

        Raises:
            GradusError: they can't be read, or the file can't be written.
        """
        newest = None if checkpoints is None else latest(checkpoints)
        if newest is None:
            return
        for place in self._places():
            if not place.exists():
                write_whole(place, newest.read_bytes())
            elif not _are_equal(place, newest):
                continue
            self.path = place
            return

    def _places(self) -> Iterator[Path]:
        for number in count(1):
            yield self._stem.with_name(f"{self._stem.name}{f'-{number}' if number > 1 else ''}.ckpt")


def _are_equal(kept: Path, newest: Path) -> bool:
    try:
        return have_equal_parts(kept, newest)
    except DamagedCheckpoint:  # what is kept can't be read, and may be all that somebody has
        return False
