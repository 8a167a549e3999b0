"""How far a run has come, for people: a bar that redraws on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from typing import IO

from cli.terminal import is_terminal, lasting
from lab.progress import Progress

REDRAW_S = 0.1
PLAIN_LINE_S = 5.0
BAR_CHARS = 24
NAMES = {"sim": "model", "live": "live"}


class Meter:
    """Shows progress on `stream` (stderr). Call it with each Progress; call `clear` before anything else is printed."""

    def __init__(
        self, *, quiet: bool = False, stream: IO[str] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._clock = clock
        self._redraws = is_terminal(self._stream)
        self._quiet = quiet or self._stream is None
        self._interval_s = REDRAW_S if self._redraws else PLAIN_LINE_S
        # On a terminal the first report is shown at once; a plain log stays empty for runs that are over in no time.
        self._next_at = self._clock() + (0.0 if self._redraws else PLAIN_LINE_S)
        self._drawn = self._spoke = False
        self._note = ""

    def __call__(self, progress: Progress) -> None:
        now = self._clock()
        if self._quiet or (now < self._next_at and not self._is_news(progress.note)):
            return
        self._next_at, self._note = now + self._interval_s, progress.note
        text = line(progress)
        if self._redraws:
            width = shutil.get_terminal_size().columns - 1
            self._write(f"\r\x1b[2K{text[:width]}")
            self._drawn = True
        else:
            self._write(text + "\n")
            self._spoke = True

    def _is_news(self, note: str) -> bool:
        """Another step of the work is told at once, since it may take long and say nothing more; but not in the plain
        log of a run that is over in no time.
        """
        return note != self._note and (self._redraws or self._spoke)

    def clear(self) -> None:
        """Take the bar off the terminal."""
        if self._drawn:
            self._write("\r\x1b[2K")
            self._drawn = False

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._quiet = True  # nobody watches any more


def line(progress: Progress) -> str:
    """One line: engine, bar, share, tasks, time of the run, and what is left by the wall clock; or, after the run, what
    is being done with it.
    """
    full = round(BAR_CHARS * progress.fraction)
    bar = "█" * full + "░" * (BAR_CHARS - full)
    share = f"{NAMES.get(progress.engine, progress.engine):5} {bar} {100 * progress.fraction:3.0f} %"
    if progress.note and progress.done == progress.total:
        return f"{share} · {progress.note}"
    parts = [share, f"{progress.done:,} of {progress.total:,}"]
    if progress.now_s > 0:  # many runs have no moment in common
        parts.append(f"at {progress.now_s:,.1f} s")
    if progress.eta_s is not None and progress.done < progress.total:
        parts.append(f"about {lasting(progress.eta_s)} left")
    if progress.note:
        parts.append(progress.note)
    return " · ".join(parts)


def both(*listeners: Callable[[Progress], None]) -> Callable[[Progress], None]:
    """One listener that tells them all."""

    def told(progress: Progress) -> None:
        for listener in listeners:
            listener(progress)

    return told
