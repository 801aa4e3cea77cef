"""The errors that Gradus raises on purpose: a sentence each, saying what must hold, what was given and the way out."""

__all__ = ["GradusError", "InvalidInput", "ScheduleMistake"]


class GradusError(Exception):
    """Something that Gradus was asked to do can't be done; the message is written for the person who asked."""


class InvalidInput(GradusError, ValueError):
    """An argument can't be used (the command line leaves with exit code 2)."""


class ScheduleMistake(UserWarning):
    """What a Scheduler was given looks like a mistake, which `gradus.check` finds.

    It is a warning, for it may be meant: `warnings.simplefilter("ignore", gradus.errors.ScheduleMistake)`.
    """
