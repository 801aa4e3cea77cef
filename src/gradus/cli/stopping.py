"""Ctrl-C and SIGTERM: what has been done is kept, and the way on is said."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

__all__ = ["stopping_kindly"]


class _Terminated(BaseException):
    """SIGTERM has come."""


def _terminate(*_: object) -> None:
    raise _Terminated


@contextmanager
def stopping_kindly(store: Path) -> Iterator[None]:
    """Ctrl-C and SIGTERM end what runs inside, and say how to go on."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except (KeyboardInterrupt, _Terminated) as stop:
        typer.echo(f"\nstopped; every finished epoch is in {store}", err=True)
        typer.echo("the same command again keeps what is finished and goes on with the rest where it stopped", err=True)
        raise typer.Exit(143 if isinstance(stop, _Terminated) else 130) from None
    finally:
        signal.signal(signal.SIGTERM, before)
