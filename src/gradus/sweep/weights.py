"""Where a finished run's weights are kept: under its name and identity, and never in the place of other weights."""

import io
import json
import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import torch

from gradus.checkpoint import latest, weights_of
from gradus.errors import GradusError, InvalidInput
from gradus.files import write_whole
from gradus.runs import Run

__all__ = ["WEIGHTS", "Weights", "check_name", "shown_name"]

WEIGHTS = "weights"  # the folder, next to the store
_LONGEST = 100  # characters of a run's name: tables, legends and file names have to hold it


def shown_name(run: Run) -> str:
    """What files and tables call a run: its name, or its task's."""
    return run.name or run.task


def check_name(run: Run) -> None:
    """Refuse a run whose name is too long to be shown and to name files.

    Args:
        run: the run.

    Raises:
        InvalidInput: the name is too long.
    """
    name = shown_name(run)
    if len(name) > _LONGEST:
        raise InvalidInput(f"a run's name must have at most {_LONGEST} characters; got {len(name)}: {name[:20]}...")


class Weights:
    """The file of a finished run's weights: a plain torch state dict, for `torch.load(path, weights_only=True)`.

    Args:
        folder: the folder of the store.
        run: the run.
        conditions: what else the weights depend on.

    >>> Weights(Path("gradus-runs"), Run("digits", name="mine"), {}).path.name
    'mine-...pt'
    """

    def __init__(self, folder: Path, run: Run, conditions: Mapping[str, Any]) -> None:
        shown = re.sub(r"[^A-Za-z0-9._-]+", "-", shown_name(run)).strip(".-") or "run"
        identity = json.dumps([run.to_json(), conditions], sort_keys=True)
        self._stem = folder / WEIGHTS / f"{shown}-{sha256(identity.encode()).hexdigest()[:12]}"
        kept = list(takewhile(Path.exists, self._places()))
        self.path = kept[-1] if kept else next(self._places())  # where they were written last, or will be

    def keep(self, checkpoints: Path | None) -> bool:
        """Keep the weights in the newest of the run's checkpoints, unless the same are kept already.

        Other weights are there already where a device doesn't repeat its bits.

        Args:
            checkpoints: the folder of the run's checkpoints.

        Returns:
            Whether there are any weights: a training function of one's own may have no checkpoint.

        Raises:
            GradusError: they can't be read, or the file can't be written.
        """
        newest = None if checkpoints is None else latest(checkpoints)
        if newest is None:
            return False
        weights = weights_of(newest)
        for place in self._places():
            if not place.exists():
                content = io.BytesIO()
                torch.save(weights, content)
                write_whole(place, content.getbuffer())
            elif not _holds(place, weights):
                continue
            self.path = place
            return True
        raise AssertionError  # there is always another place

    def write(self, path: Path) -> None:
        """Write the kept weights to another file, whole or not at all.

        Args:
            path: the file: of the safetensors format where it ends in .safetensors, else as `torch.save` writes it.

        Raises:
            InvalidInput: safetensors isn't installed, or can't hold what the state dict has.
            GradusError: there are no weights, or the file can't be written.
        """
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise GradusError(f"no weights of this run are kept: {self.path} can't be read ({error.strerror})") from None
        write_whole(path, _as_safetensors(content) if path.suffix == ".safetensors" else content)

    def _places(self) -> Iterator[Path]:
        for number in count(1):
            yield self._stem.with_name(f"{self._stem.name}{f'-{number}' if number > 1 else ''}.pt")


def _as_safetensors(content: bytes) -> bytes:
    try:
        from safetensors.torch import save  # type: ignore[import-not-found]  # it may not be installed
    except ImportError:
        raise InvalidInput("a .safetensors file needs safetensors: pip install safetensors; or name another file") from None
    weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if other := [name for name, value in weights.items() if not isinstance(value, torch.Tensor)]:
        raise InvalidInput(f"safetensors holds tensors alone, and {other[0]!r} of this state dict is none; name a .pt file")
    apart = {name: value.contiguous().clone() for name, value in weights.items()}  # it takes no shared memory
    return bytes(save(apart))


def _holds(place: Path, weights: Mapping[str, Any]) -> bool:
    try:
        kept = torch.load(place, map_location="cpu", weights_only=True)
    except Exception:  # what is kept can't be read, and may be all that somebody has
        return False
    if not isinstance(kept, Mapping) or kept.keys() != weights.keys():
        return False
    return all(_is_equal(kept[name], weights[name]) for name in weights)


def _is_equal(one: Any, other: Any) -> bool:
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return type(one) is type(other) and bool(one == other)
    alike = one.dtype == other.dtype and one.shape == other.shape
    return alike and torch.equal(*(part.contiguous().flatten().view(torch.uint8) for part in (one, other)))
