"""The files that a command is asked to write: refused before the work if they cannot be, never left half written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.errors import Unavailable, UsageError


def target(option: str, given: str | None, endings: Sequence[str] = ()) -> Path | None:
    """The file that `option` names, None if it was not given. Raises UsageError for an ending that means nothing, and
    for a place where no file can be.
    """
    if given is None:
        return None
    path = Path(given)
    if endings and path.suffix.lower() not in endings:
        raise UsageError(f"{option} {path}: the name must end in {_either(endings)}")
    if path.is_dir():
        raise UsageError(f"{option} {path}: is a folder; name a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"{option} {path}: there is no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"{option} {path}: nothing can be written in {path.parent}; give another file")
    return path


def _either(endings: Sequence[str]) -> str:
    """`.html`, `.html or .json`, `.html, .json or .csv`."""
    *others, last = endings
    return f"{', '.join(others)} or {last}" if others else last


@contextmanager
def writing(option: str, path: Path) -> Iterator[Path]:
    """Where to write what will be `path` when all of it is there: whoever reads sees the old file or the new one.

    Raises Unavailable if it cannot be written, and leaves nothing then.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield scratch
        scratch.replace(path)
    except OSError as error:
        why = error.strerror or str(error)
        raise Unavailable(f"{path}: cannot be written ({why}); give another file with {option}") from error
    finally:
        scratch.unlink(missing_ok=True)


def write(option: str, path: Path, text: str) -> None:
    """Write a text; see `writing`."""
    with writing(option, path) as scratch:
        scratch.write_text(text, encoding="utf-8", newline="")
