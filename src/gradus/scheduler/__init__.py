"""`Scheduler`: schedules applied to the parameter groups of a torch optimizer."""

from typing import Any

from gradus.names import no_attribute
from gradus.scheduler.loading import OnChange
from gradus.scheduler.scheduler import Scheduler

__all__ = ["OnChange", "Scheduler"]

Scheduler.__module__ = __name__


def __getattr__(name: str) -> Any:
    raise no_attribute(__name__, name, __all__)


def __dir__() -> list[str]:
    return sorted(__all__)
