"""`meshlab report`: runs as one HTML file."""

from __future__ import annotations

import argparse
import shlex

from cli.targets import target, write
from cli.terminal import runs_folder, say_json, tell
from lab.errors import UsageError
from lab.limits import MIB, REPORT_RUNS_MAX

FORMATS = (".html", ".htm")


def command(options: argparse.Namespace) -> int:
    """Read, write, say where."""
    from lab import headlines
    from lab.record import Record
    from lab.report import report
    from lab.runs import find

    out = target("--out", options.out, FORMATS)
    assert out is not None, "argparse demands it"
    root = runs_folder(options.folder)
    folders = list(dict.fromkeys(find(root, name).folder.resolve() for name in options.runs))
    if len(folders) > REPORT_RUNS_MAX:
        raise UsageError(f"{len(folders)} runs are too many for one page; name at most {REPORT_RUNS_MAX}")
    records = [Record.load(folder) for folder in folders]
    pool = not options.apart and headlines.replicated(records)
    text = report(records, pool=pool, title=options.title, command=_asked(options))
    write("--out", out, text)
    size = len(text.encode())
    if options.json:
        ids = [str(record.info["run_id"]) for record in records]
        say_json({"report": str(out), "runs": ids, "bytes": size})
    else:
        tell(f"written to {out} ({size / MIB:.1f} MiB); it needs no network")
    return 0


def _asked(options: argparse.Namespace) -> str:
    """The command line that makes this page again."""
    return shlex.join(["meshlab", "report", *options.runs])
