"""What reaches the terminal: answers on stdout, words about the work on stderr, colours only where they are seen."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from lab.limits import MIB

GREEN, YELLOW, RED, BOLD, DIM = "32", "33", "31", "1", "2"
NONE = "–"


def say(text: str = "") -> None:
    """A line of the answer, on stdout. A reader that has gone away (`| head`) is no error."""
    try:
        print(text)
    except BrokenPipeError:
        _drop_stdout()


def say_json(content: Mapping[str, Any]) -> None:
    """The answer as one JSON object on stdout."""
    say(json.dumps(content, indent=2, allow_nan=False))


def tell(text: str) -> None:
    """A line about the work, on stderr."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        return  # nobody listens any more, and the work matters more


def harmless(text: str) -> str:
    """`text` without control characters: what a file says must not be able to steer the terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text)


def ready_streams() -> None:
    """Make the standard streams safe to use: none missing, and none that fails on a letter its encoding lacks."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        # A closed descriptor 0 to 2 would be given to the next file or socket, and children would write into it.
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(number)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def flush_stdout() -> None:
    """Write out what is buffered, so that a closed pipe is met here and not in the interpreter's last breath."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()


def _drop_stdout() -> None:
    """Nobody reads stdout any more: send the rest nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def is_terminal(stream: IO[str] | None) -> bool:
    """True where a person watches and the cursor can be moved."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def painted(text: str, colour: str, stream: IO[str] | None = None) -> str:
    """`text` in a colour on a terminal (stdout unless told); as it is elsewhere, or where NO_COLOR is set."""
    stream = sys.stdout if stream is None else stream
    if not is_terminal(stream) or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


def table(rows: Iterable[Sequence[str]], head: Sequence[str] = (), right: Iterable[int] = ()) -> list[str]:
    """Lines with aligned columns, two blanks apart; the columns numbered in `right` are set flush right."""
    cells = [list(row) for row in ([head, *rows] if head else rows)]
    if not cells:
        return []
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    aligned = [">" if column in set(right) else "<" for column in range(len(widths))]
    lines = ["  ".join(f"{c:{a}{w}}" for c, a, w in zip(row, aligned, widths, strict=True)).rstrip() for row in cells]
    return [painted(lines[0], BOLD), *lines[1:]] if head else lines


def counted(value: float | None) -> str:
    """A number of tasks: whole as it is, a mean of several runs to six digits."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if value == round(value) else f"{value:,.6g}"


def seconds(value: float | None) -> str:
    """`1.234 s`."""
    return NONE if value is None else f"{value:,.3f} s"


def mebibytes(value: float | None) -> str:
    """Bytes as `81.5 MiB`."""
    return NONE if value is None else f"{value / MIB:,.1f} MiB"


def percent(value: float | None) -> str:
    """A share as `+3.1 %`."""
    return NONE if value is None else f"{100 * value:+.1f} %"


def lasting(value_s: float) -> str:
    """A length of time as people say it: `45 s`, `3 min 20 s`, `2 h 5 min`, `4 d`."""
    whole = max(0, round(value_s))
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3_600} h {whole % 3_600 // 60} min" if whole < 86_400 else f"{whole // 86_400} d"


def runs_folder(given: str | None) -> Path:
    """Where records are kept: --out, else $MESHLAB_RUNS, else `runs` in the current folder."""
    return Path(given or os.environ.get("MESHLAB_RUNS") or "runs")
