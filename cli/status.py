"""`--status FILE`: where a run stands, as a small JSON file that another program (the app) reads while this one works.

The file is replaced as a whole, so a reader never sees half of it, and at most five times a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from lab.progress import Progress

WRITE_S = 0.2
FinalState = Literal["done", "failed", "cancelled"]


class StatusFile:
    """Keeps the file up to date. Without a path it does nothing."""

    def __init__(self, path: str | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = Path(path) if path else None
        self._clock = clock
        self._next_at = 0.0
        self._ended = False
        self._content: dict[str, Any] = {
            "state": "running",
            "engine": None,
            "done": 0,
            "total": 0,
            "fraction": 0.0,
            "now_s": 0.0,
            "wall_s": 0.0,
            "eta_s": None,
            "note": "",
            "pid": os.getpid(),
            "records": [],
            "result": None,
            "message": None,
            "exit_status": None,
        }

    def begin(self) -> None:
        """Say that the work has begun, before anything that may take long or fail."""
        self._write()

    def on_progress(self, progress: Progress) -> None:
        """Take over what an engine reports."""
        self._content.update(
            engine=progress.engine,
            done=progress.done,
            total=progress.total,
            fraction=progress.fraction,
            now_s=progress.now_s,
            wall_s=progress.wall_s,
            eta_s=progress.eta_s,
            note=progress.note,
        )
        if self._clock() >= self._next_at:
            self._write()

    def add_record(self, folder: str) -> None:
        """Another record has been saved."""
        self._content["records"].append(folder)
        self._write()

    def end(
        self, state: FinalState, exit_status: int, *, result: dict[str, Any] | None = None, message: str | None = None
    ) -> None:
        """The last word. Later ones are not heard."""
        if not self._ended:
            self._content.update(state=state, exit_status=exit_status, result=result, message=message)
            self._write()
            self._ended = True

    def _write(self) -> None:
        if self._path is None or self._ended:
            return
        self._next_at = self._clock() + WRITE_S
        scratch = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        # A full disk must not end a run that is doing well: the reader then sees an older state.
        with contextlib.suppress(OSError):
            scratch.write_text(json.dumps(self._content, allow_nan=False) + "\n", encoding="utf-8")
            scratch.replace(self._path)
