"""Many runs: which, how they are executed, and what they say together."""

from gradus.sweep.executors import EXECUTORS, Ended, Event, Machine, Started, processes, serial
from gradus.sweep.reference import REFERENCE, reference_runs
from gradus.sweep.statistics import Interval, interval

__all__ = [
    "EXECUTORS",
    "REFERENCE",
    "Ended",
    "Event",
    "Interval",
    "Machine",
    "Started",
    "interval",
    "processes",
    "reference_runs",
    "serial",
]
