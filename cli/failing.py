"""Errors as a user meets them: one message and an exit status. The stack trace of a bug of ours goes to a file."""

from __future__ import annotations

import tempfile
import traceback
from pathlib import Path
from typing import NamedTuple

from cli.status import StatusFile
from cli.terminal import harmless, tell
from lab.errors import Interrupted, LabError


class Failure(NamedTuple):
    """What to tell, and what to exit with."""

    message: str
    exit_status: int


def ended(error: BaseException, folder: Path, status: StatusFile) -> int:
    """A command ends with an error: it is said, in its status file too. Returns the exit status; `folder` as below."""
    failure = explain(error, folder)
    tell(failure.message)
    cancelled = failure.exit_status == Interrupted.exit_status
    status.end("cancelled" if cancelled else "failed", failure.exit_status, message=failure.message)
    return failure.exit_status


def explain(error: BaseException, folder: Path) -> Failure:
    """What `error` means to the user. The details of a bug go to a file in `folder`, or where temporary files are."""
    if isinstance(error, LabError):
        return Failure(harmless(str(error)), error.exit_status)
    if isinstance(error, KeyboardInterrupt):
        return Failure("interrupted", Interrupted.exit_status)
    what = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, MemoryError):
        return Failure("this run needs more memory than the machine has; give it fewer tasks", 1)
    details = _write(error, folder)
    return Failure(f"this is our bug: {what}; the details are in {details}", 1)


def _write(error: BaseException, folder: Path) -> str:
    text = "".join(traceback.format_exception(error))
    for place in (folder if folder.is_dir() else None, None):
        try:
            with tempfile.NamedTemporaryFile(
                "w",
                encoding="utf-8",
                errors="backslashreplace",
                dir=place,
                prefix="meshlab-bug-",
                suffix=".txt",
                delete=False,
            ) as file:
                file.write(text)
            return file.name
        except OSError:
            continue
    return f"no file, since none could be written ({text.splitlines()[-1]})"
