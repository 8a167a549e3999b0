"""Ctrl-C: the first asks the run to end and keep what it has, the second leaves at once. SIGTERM counts as Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from cli.terminal import tell
from lab.errors import Interrupted

EXIT_INTERRUPTED = Interrupted.exit_status
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopFlag:
    """Set by the first signal. Call it to ask, as engines do. A context: outside of it signals are as before."""

    def __init__(self) -> None:
        self.is_set = False
        self.before_exit: Callable[[], None] = _nothing
        """What must still be done when the second signal ends the process."""
        self._before: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        return self.is_set

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {one: signal.signal(one, self._on_signal) for one in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.is_set:
            self.before_exit()
            # Not sys.exit: that would wait for the very clean-up that the person is tired of. Servers and workers end
            # by themselves when this process is gone.
            os._exit(EXIT_INTERRUPTED)
        self.is_set = True
        tell("\nstopping; what has happened so far is kept (once more to leave at once)")


def _nothing() -> None:
    """There is nothing left to do."""
