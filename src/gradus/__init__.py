"""Gradus: the step size of neural-network training, from its curve to the honest comparison.

The names here are imported when they are first used, so that `import gradus.schedules` needs neither torch nor a picture.
"""

import importlib
import logging
from typing import TYPE_CHECKING, Any

from gradus.doors import register

__version__ = "0.1.0"
__all__ = [
    "Comparison",
    "GradusError",
    "InvalidInput",
    "RangeTest",
    "Row",
    "Run",
    "Scheduler",
    "Store",
    "Task",
    "absolute",
    "check",
    "checkpoint",
    "compare",
    "compare_schedules",
    "errors",
    "explain",
    "from_torch",
    "from_transformers",
    "gallery",
    "grid",
    "lr_scheduler",
    "optim",
    "range_test",
    "rules",
    "schedules",
    "tasks",
    "train",
]

if TYPE_CHECKING:
    from gradus import checkpoint, errors, gallery, lr_scheduler, optim, rules, schedules, tasks
    from gradus.errors import GradusError, InvalidInput
    from gradus.experiments import compare
    from gradus.integrations import from_torch, from_transformers
    from gradus.plots import compare_schedules
    from gradus.rangetest import RangeTest, range_test
    from gradus.report import Comparison
    from gradus.rows import Row
    from gradus.runs import Run
    from gradus.scheduler import Scheduler
    from gradus.schedules import absolute, check, explain
    from gradus.store import Store
    from gradus.sweep.grid import grid
    from gradus.tasks import Task
    from gradus.training import train

_ROOMS = {
    "GradusError": "errors",
    "InvalidInput": "errors",
    "Comparison": "report",
    "RangeTest": "rangetest",
    "Row": "rows",
    "Run": "runs",
    "Scheduler": "scheduler",
    "Store": "store",
    "Task": "tasks",
    "absolute": "schedules",
    "check": "schedules",
    "compare": "experiments",
    "compare_schedules": "plots",
    "explain": "schedules",
    "from_torch": "integrations",
    "from_transformers": "integrations",
    "grid": "sweep",
    "range_test": "rangetest",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return getattr(importlib.import_module(f"gradus.{_ROOMS[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"gradus.{name}")
    from gradus.names import did_you_mean

    raise AttributeError(f"module 'gradus' has no attribute {name!r}{did_you_mean(name, __all__)}")


# What rooms use of higher ones: `schedule.plot()`, a range test's pictures, and its bar.
register("compare_schedules", lambda: __getattr__("compare_schedules"))
register("range_figure", lambda: importlib.import_module("gradus.plots").range_figure)
register("png", lambda: importlib.import_module("gradus.plots").png)
register("bar", lambda: importlib.import_module("gradus.progress").StepBar)
logging.getLogger("gradus").addHandler(logging.NullHandler())  # whoever wants to read it says where


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
