"""Learning rates as they are typed: numbers, grids, and what `gradus find` found."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from gradus.errors import InvalidInput
from gradus.runs import Run

__all__ = ["rates", "single_rate"]

_FORMS = 'a number, a grid such as 0.001..1:7 (7 rates, evenly apart in their logarithms), or "found" after `gradus find`'
_MOST = 1000  # rates of one grid


def rates(texts: Sequence[str], run: Run, given: Mapping[str, Any]) -> list[float]:
    """The learning rates that were typed, for this run.

    Args:
        texts: each a number, a grid, or "found".
        run: what is to be trained.
        given: the command's options: the folder of what was found, and where the task's data are.
    """
    return [rate for text in texts for rate in ([_found(run, given)] if text == "found" else _numbers(text))]


def single_rate(text: str, run: Run, given: Mapping[str, Any]) -> float:
    """The one learning rate that was typed; arguments as for `rates`."""
    if len(found := rates([text], run, given)) > 1:
        raise InvalidInput(f"one run has one learning rate; got the grid {text!r}, which `gradus compare` takes")
    return found[0]


def _numbers(text: str) -> list[float]:
    low, dots, rest = text.partition("..")
    high, colon, count = rest.partition(":")
    try:
        ends = [float(part) for part in ((low, high) if dots else (text,))]
    except ValueError:
        ends = []
    if len(ends) == 1:
        return ends
    if not ends or not colon or not re.fullmatch(r"\d{1,9}", count):
        raise InvalidInput(f"--lr takes {_FORMS}; got {text!r}")
    return _spaced(ends[0], ends[1], int(count), text)


def _spaced(low: float, high: float, count: int, text: str) -> list[float]:
    if not (0 < low < high < math.inf and 2 <= count <= _MOST):
        raise InvalidInput(
            f"a grid of rates goes from a lower to a higher one above 0, with 2 to {_MOST} of them; got {text!r}"
        )
    inner = [low * (high / low) ** (k / (count - 1)) for k in range(1, count - 1)]
    return [low, *(float(f"{rate:.6g}") for rate in inner), high]  # as a person would write it, and find it again


def _found(run: Run, given: Mapping[str, Any]) -> float:
    from gradus.rangetest.found import FOUND_FILE, findings, rate_found
    from gradus.tasks import Task, load
    from gradus.training import completed

    found = findings(given["out"] / FOUND_FILE)
    task = load(run.task, given["data_dir"])
    return rate_found(found, completed(run, task) if isinstance(task, Task) else run)
