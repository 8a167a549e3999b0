"""What a run comes to: its figures and the verdict of its checks, in run.json and as `meshlab run --json`
prints them.
"""

from __future__ import annotations

from typing import Any

from lab import checks, metrics, theory
from lab.precision import precision
from lab.progress import OnStep, unnoticed
from lab.record import Record


def judge(record: Record, on_step: OnStep = unnoticed) -> Record:
    """Put the figures, the verdict of the checks and the law that fits into the record's info. Every engine does this
    last.

    `on_step` hears what is being done.
    """
    on_step(f"checking {len(record.tasks):,} tasks")
    record.info["summary"] = metrics.summary(record)
    record.info["precision"] = precision(record)
    record.info["checks"] = checks.verdict(record)
    record.info["theory"] = theory.beside(record)
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
        "precision": info.get("precision"),
        "checks": {"ok": verdict["ok"], "failed": verdict["failed"]},
        "theory": info.get("theory"),
        "interrupted": bool(info.get("interrupted", False)),
        "wall_s": info["wall_s"],
        "record": str(record.folder) if record.folder else None,
    }
