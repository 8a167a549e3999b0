"""The rows of a sweep as they come, in a file beside its result: what has been run is never run again.

Lines of JSON: first what is swept (the design's digest), then a row a run. A line is written at once and whole, or not
counted: after a crash the torn last line is cut off.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from lab.errors import Unavailable, UsageError
from lab.sweep_design import Design
from lab.sweep_units import Row

SUFFIX: Final = ".journal"
KIND: Final = "agent-mesh-lab sweep"


def beside(out: Path) -> Path:
    """The journal of the sweep whose result is to be `out`."""
    return out.with_name(out.name + SUFFIX)


class Journal:
    """The rows that are there, and a place for those to come. A context: outside of it the file is closed. One process
    at a time has it.
    """

    def __init__(self, path: Path, design: Design, *, resume: bool) -> None:
        """Raises UsageError if there is a journal and it is not to be resumed, or is one of another sweep; Unavailable
        if it cannot be written.
        """
        self.path = path
        self.rows: dict[tuple[int, int], Row] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = path.open("ab")
        except OSError as error:
            raise Unavailable(f"{path}: cannot be written ({error.strerror}); give another file with --out") from error
        try:
            self._begin(design, resume)
        except BaseException:
            self._file.close()
            raise

    def _begin(self, design: Design, resume: bool) -> None:
        if not _is_ours_alone(self._file):
            raise UsageError(
                f"{self.path}: another sweep is writing here; wait for its end, or give another file with --out"
            )
        if self.path.stat().st_size:
            self._take_up(design, resume)
        if self.path.stat().st_size == 0:
            self._write({"kind": KIND, "design": design.digest, "runs": design.runs})

    def _take_up(self, design: Design, resume: bool) -> None:
        head, rows, good_bytes = _read(self.path)
        if not rows:
            good_bytes = 0  # nothing was run: it begins anew, as whatever is asked for now
        elif not resume:
            raise UsageError(
                f"{self.path}: holds {len(rows):,} runs of a sweep that was not finished; go on with it by --resume, "
                "remove the file, or give another one with --out"
            )
        elif head is not None and head.get("design") != design.digest:
            raise UsageError(
                f"{self.path}: is of another sweep: the scenario, a file that it names, the points or the replications "
                "have changed since; ask for what was asked then, or give another file with --out"
            )
        self.rows = {(row["point"], row["replication"]): row for row in rows}
        with self.path.open("r+b") as file:
            file.truncate(good_bytes)

    def add(self, row: Row) -> None:
        """Keep a row, now."""
        self.rows[row["point"], row["replication"]] = row
        self._write(row)

    def _write(self, content: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(content).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise Unavailable(
                f"{self.path}: cannot be written any more ({error.strerror}); make room and go on by --resume"
            ) from error

    def remove(self) -> None:
        """All its rows are in the result."""
        self.path.unlink(missing_ok=True)
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.rows:
            self._file.close()
        else:
            self.remove()


def _is_ours_alone(file: IO[bytes]) -> bool:
    """Whether no other process has this file open as a journal. The lock goes when the file is closed, or its process
    is gone.
    """
    if os.name == "nt":  # which refuses to remove a file that another process has open
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def design_of(path: Path) -> str | None:
    """The digest of the sweep whose journal this is; None if it is none."""
    try:
        with path.open("rb") as file:
            head = json.loads(file.readline())
        return str(head["design"]) if head["kind"] == KIND else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read(path: Path) -> tuple[dict[str, Any] | None, list[Row], int]:
    """The head (None in an empty file), the rows, and how many bytes are whole lines."""
    lines: list[dict[str, Any]] = []
    good_bytes = 0
    try:
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                lines.append(json.loads(line))
                good_bytes += len(line)
        if lines and lines[0]["kind"] != KIND:
            raise ValueError("it starts with something else")
    except OSError as error:
        raise Unavailable(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: is no journal of a sweep ({error}); give another file with --out") from error
    return (lines[0] if lines else None), lines[1:], good_bytes
