"""Many runs: which, how they are executed, what is kept of them, and what they say together."""

from gradus.sweep.conditions import conditions, differences
from gradus.sweep.events import Event, Executor, Progress, Request, RunEnded, RunStarted
from gradus.sweep.executors import EXECUTORS, executor_named, processes, run_events, serial
from gradus.sweep.grid import grid
from gradus.sweep.reference import REFERENCE, classic, reference_run, reference_runs
from gradus.sweep.resources import Resources
from gradus.sweep.session import Session
from gradus.sweep.statistics import Interval, interval
from gradus.sweep.weights import Weights

__all__ = [
    "EXECUTORS",
    "REFERENCE",
    "Event",
    "Executor",
    "Interval",
    "Progress",
    "Request",
    "Resources",
    "RunEnded",
    "RunStarted",
    "Session",
    "Weights",
    "classic",
    "conditions",
    "differences",
    "executor_named",
    "grid",
    "interval",
    "processes",
    "reference_run",
    "reference_runs",
    "run_events",
    "serial",
]
