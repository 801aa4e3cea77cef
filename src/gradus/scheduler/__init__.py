"""`Scheduler`: schedules applied to the parameter groups of a torch optimizer."""

from gradus.scheduler.loading import OnChange
from gradus.scheduler.scheduler import Scheduler

__all__ = ["OnChange", "Scheduler"]

Scheduler.__module__ = __name__
