"""Ctrl-C, SIGTERM and a closed terminal, deferred until they do no harm."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["DeferSignals"]


_DEFERRED = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class DeferSignals:
    """A context in which a first Ctrl-C, SIGTERM or SIGHUP waits for `deliver`, or for the end of the context.

    A second one takes effect at once. Ignored signals stay ignored; outside the main thread nothing is deferred.
    """

    def __init__(self) -> None:
        self.noted: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # only it may set handlers
            for number in _DEFERRED:
                handler = signal.getsignal(number)
                if handler not in (None, signal.SIG_IGN):
                    self._before[number] = handler
                    signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.noted is not None:
            signal.raise_signal(self.noted)

    def deliver(self) -> None:
        """Let the deferred signal take effect, if there is one."""
        number, self.noted = self.noted, None
        if number is None:
            return
        signal.signal(number, self._before[number])
        try:
            signal.raise_signal(number)
        finally:
            signal.signal(number, self._note)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.noted is None:
            self.noted = number
        else:
            self.deliver()
