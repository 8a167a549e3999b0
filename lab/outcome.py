"""What a run comes to: its figures and the verdict of its checks, in run.json and as `meshlab run --json`
prints them.
"""

from __future__ import annotations

from typing import Any

from lab import checks, metrics
from lab.record import Record


def judge(record: Record) -> Record:
    """Put the figures and the verdict of the checks into the record's info. Every engine does this last."""
    record.info["summary"] = metrics.summary(record)
    record.info["checks"] = checks.verdict(record)
    return record


def result(record: Record) -> dict[str, Any]:
    """One engine's object of `meshlab run --json`."""
    info = record.info
    verdict = info["checks"]
    return {
        "run_id": info["run_id"],
        "engine": info["engine"],
        "scenario": info["scenario_name"],
        "seed": info["seed"],
        **info["summary"],
        "checks": {"ok": verdict["ok"], "failed": verdict["failed"]},
        "interrupted": bool(info.get("interrupted", False)),
        "wall_s": info["wall_s"],
        "record": str(record.folder) if record.folder else None,
    }
