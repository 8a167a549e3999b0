"""`meshlab runs`: list, show, remove and export the records that are kept."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cli.compare import figure
from cli.terminal import GREEN, NONE, RED, lasting, painted, runs_folder, say, say_json, table, tell
from lab import run_notes, runs
from lab.errors import UsageError
from lab.runs import Run


def command(options: argparse.Namespace) -> int:
    """One of list, show, rm, export."""
    actions = {"list": _list, "show": _show, "rm": _remove, "export": _export, None: _list}
    return actions[options.action](options, runs_folder(options.out))


def _list(options: argparse.Namespace, root: Path) -> int:
    found = runs.all_runs(root)
    if options.json:
        say_json({"folder": str(root), "runs": [_facts(run) for run in found]})
    elif not found:
        say(f"no records in {root} yet; `meshlab run SCENARIO` makes one")
    else:
        now = datetime.now(UTC)
        rows = [(run.id, *_cells(run), _age(run, now)) for run in found]
        for line in table(rows, ("run", "engine", "scenario", "tasks", "p50", "checks", "age"), right=(3, 4)):
            say(line)
    return 0


def _facts(run: Run) -> dict[str, Any]:
    return {
        "run_id": run.id,
        "engine": run.info.get("engine"),
        "scenario": run.info.get("scenario_name"),
        "seed": run.info.get("seed"),
        "tasks": run.figure("tasks.submitted"),
        "latency_p50_s": run.figure("latency_s.p50"),
        "checks_ok": run.checks_ok,
        "interrupted": bool(run.info.get("interrupted")),
        "started_at": run.started_at,
        "tags": list((notes := run_notes.read(run.folder)).tags),
        "favourite": notes.favourite,
        "record": str(run.folder),
    }


def _cells(run: Run) -> tuple[str, ...]:
    tasks = run.figure("tasks.submitted")
    p50 = figure("latency_s.p50", run.figure("latency_s.p50"))
    verdict = "interrupted" if run.info.get("interrupted") else {True: "ok", False: "FAILED", None: NONE}[run.checks_ok]
    return (
        str(run.info.get("engine", NONE)),
        str(run.info.get("scenario_name", NONE)),
        NONE if tasks is None else f"{tasks:,}",
        p50,
        verdict,
    )


def _age(run: Run, now: datetime) -> str:
    try:
        return lasting((now - datetime.fromisoformat(run.started_at)).total_seconds())
    except (ValueError, TypeError):
        return NONE


def _show(options: argparse.Namespace, root: Path) -> int:
    run = runs.find(root, options.run)
    if options.json:
        say_json(run.info)
        return 0
    info = run.info
    facts = [("run", run.id), ("scenario", f"{info.get('scenario_name')}, seed {info.get('seed')}")]
    facts += [("engine", str(info.get("engine"))), ("started", run.started_at), ("record", str(run.folder))]
    for line in table(facts):
        say(line)
    say()
    for line in table(_figures(info.get("summary") or {})):
        say(line)
    say()
    for line in _checks(info):
        say(line)
    return 0


def _figures(summary: dict[str, Any], path: str = "") -> list[tuple[str, str]]:
    """Every figure of the summary by its path."""
    rows: list[tuple[str, str]] = []
    for name, value in summary.items():
        here = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            rows += _figures(value, here)
        else:
            rows.append((here, NONE if value is None else f"{value:,.6g}"))
    return rows


def _checks(info: dict[str, Any]) -> list[str]:
    details = (info.get("checks") or {}).get("details", [])
    return [
        f"{painted('ok', GREEN) if one['ok'] else painted('FAILED', RED)}  {one['name']}: {one['found']}"
        for one in details
    ]


def _remove(options: argparse.Namespace, root: Path) -> int:
    found = list({run.folder: run for run in (runs.find(root, name) for name in options.runs)}.values())
    if not options.yes and not _agreed(found):
        tell("nothing was removed")
        return 1
    for run in found:
        runs.remove(run)
        say(f"removed {run.id}")
    return 0


def _agreed(found: list[Run]) -> bool:
    """Ask on the terminal; where nobody can answer, --yes must say it."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("nobody is here to be asked; say --yes to remove without asking")
    names = "\n".join(f"  {run.folder}" for run in found)
    tell(f"{names}\nremove {'this record' if len(found) == 1 else f'these {len(found)} records'} for good? [y/N] ")
    return input().strip().lower() in ("y", "yes")


def _export(options: argparse.Namespace, root: Path) -> int:
    say(str(runs.export(runs.find(root, options.run), Path(options.to), options.format)))
    return 0
