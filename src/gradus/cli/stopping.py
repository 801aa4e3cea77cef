"""Ctrl-C, SIGTERM and a closed terminal: what has been done is kept, and the way on is said."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import typer

__all__ = ["stopping_kindly"]

_STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_SHOW_CURSOR = "\x1b[?25h"


class _Stopped(BaseException):
    """A signal has come."""


class _Stopper:
    """Stops what runs at the first signal, and ends the process at the next, which needs no leave-taking: nothing it
    writes can be found half done.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def __call__(self, number: int, _: FrameType | None) -> None:
        if self.number is None:
            self.number = number
            raise _Stopped
        with suppress(OSError):
            if sys.stderr.isatty():
                sys.stderr.write(_SHOW_CURSOR)
                sys.stderr.flush()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


@contextmanager
def stopping_kindly(store: Path) -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP end what runs inside, and say how to go on; ignored ones, as under nohup, stay so.

    The exit code is 128 and the signal's number.
    """
    before: dict[int, Any] = {}
    stopper = _Stopper()
    for number in _STOPS:
        if signal.getsignal(number) not in (None, signal.SIG_IGN):
            before[number] = signal.signal(number, stopper)
    try:
        yield
    except (KeyboardInterrupt, _Stopped, OSError) as stop:
        if isinstance(stop, OSError) and stopper.number is None:
            raise
        with suppress(OSError):  # the terminal may be gone, which whatever was drawing on it may have raised too
            typer.echo(f"\nstopped; what was evaluated is in {store}", err=True)
            typer.echo("the same command again keeps finished runs and resumes the others", err=True)
        raise typer.Exit(128 + (stopper.number or signal.SIGINT)) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
