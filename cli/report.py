"""`meshlab report`: runs as one HTML file."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from cli.terminal import runs_folder, say_json, tell
from lab.errors import Unavailable, UsageError
from lab.limits import MIB, REPORT_RUNS_MAX


def command(options: argparse.Namespace) -> int:
    """Read, write, say where."""
    from lab import headlines
    from lab.record import Record
    from lab.report import report
    from lab.runs import find

    target = _target(options.out)
    root = runs_folder(options.folder)
    folders = list(dict.fromkeys(find(root, name).folder.resolve() for name in options.runs))
    if len(folders) > REPORT_RUNS_MAX:
        raise UsageError(f"{len(folders)} runs are too many for one page; name at most {REPORT_RUNS_MAX}")
    records = [Record.load(folder) for folder in folders]
    pool = not options.apart and headlines.replicated(records)
    text = report(records, pool=pool, title=options.title, command=_asked(options))
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Unavailable(f"{target}: cannot be written ({error.strerror}); give another file with --out") from error
    size = target.stat().st_size
    if options.json:
        ids = [str(record.info["run_id"]) for record in records]
        say_json({"report": str(target), "runs": ids, "bytes": size})
    else:
        tell(f"written to {target} ({size / MIB:.1f} MiB); it needs no network")
    return 0


def _target(out: str) -> Path:
    """Where to write, refused before the work rather than after it."""
    target = Path(out)
    if target.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out {out}: the name must end in .html")
    if not target.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {target.parent}; make it first")
    return target


def _asked(options: argparse.Namespace) -> str:
    """The command line that makes this page again."""
    return shlex.join(["meshlab", "report", *options.runs])
