"""The errors that Gradus raises on purpose: a sentence each, saying what must hold, what was given and the way out."""

__all__ = ["GradusError", "InvalidInput"]


class GradusError(Exception):
    """Something that Gradus was asked to do can't be done; the message is written for the person who asked."""


class InvalidInput(GradusError, ValueError):
    """What the caller gave can't be used as it is (the command line leaves with exit code 2)."""
