"""What a run's bits depend on besides its specification; and what of it has changed since."""

import hashlib
import json
import platform
from collections.abc import Mapping
from typing import Any

import torch

import gradus
from gradus.names import imported
from gradus.runs import Run
from gradus.sweep.resources import Resources
from gradus.tasks import Task
from gradus.tasks.sources import digest_of_source

__all__ = ["conditions", "differences", "digest"]

# Conditions that are digests, and what has changed where they differ.
_DIGESTS = {
    "task": "the task's source",
    "data": "the task's data",
    "optimizer": "the optimizer's source",
    "model": "the model's source",
}


def conditions(run: Run, task: Any, resources: Resources) -> dict[str, Any]:
    """What a run's bits depend on besides its specification.

    Args:
        run: the run.
        task: what it trains: a Task, or a training function.
        resources: what it is executed with; its device is named.

    >>> from gradus.tasks import load_task
    >>> found = conditions(Run("digits"), load_task("digits"), Resources(device="cpu"))
    >>> found["device"], found["threads"]
    ('cpu', 1)
    """
    own = [what for what in ("optimizer", "model") if ":" in (getattr(run, what) or "")]
    return {
        "gradus": gradus.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": resources.device,
        "threads": resources.threads,
        "machine": _machine(resources.device),
        "task": task.source_digest() if isinstance(task, Task) else digest_of_source([task]),
        "data": task.data_digest() if isinstance(task, Task) else "",
        **{what: digest_of_source([imported(getattr(run, what))]) for what in own},
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between the conditions of two runs, each in a few words.

    Args:
        before: what was.
        now: what is.

    >>> differences({"torch": "2.9", "task": "ab", "threads": 1}, {"torch": "2.10", "task": "cd", "threads": 1})
    ["the task's source", 'torch (2.9 then, 2.10 now)']
    """
    changed = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    return [_DIGESTS.get(name) or f"{name} ({before.get(name)} then, {now.get(name)} now)" for name in changed]


def digest(found: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits of conditions."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]


def _machine(device: str | None) -> str:
    """What computes: the processor's kind, or the name of the card."""
    return torch.cuda.get_device_name(device) if str(device).startswith("cuda") else platform.machine()
