"""A request to stop: noticed at once, obeyed at the next step boundary, where a run can be saved.

What a scheduler sends before it takes a machine away (SIGTERM, SIGUSR1) and Ctrl-C (SIGINT) only set a flag
here; nothing is saved or agreed between ranks here: the loop does that, and evaluation polls the flag too.
A second Ctrl-C means now.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["STOPPING", "StopSignals"]

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)
)


class StopSignals:
    """While the block runs, `received` is the number of the first stopping signal, or None.

    Handlers of before come back at the end. Python gives signals to the main thread alone: elsewhere the
    block changes nothing and `received` stays None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is None:
            self.received = number
