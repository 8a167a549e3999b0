"""A mesh's own audit log as records of a queue: transitions.parquet of a run, its CSV export, or the rows themselves.

An attempt lasts from the claim to the next transition of its task: RUNNING as PostgreSQL dates it. That includes what
the machinery takes between the work and its committed verdict (`machinery_included`), some milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from lab.errors import UsageError
from lab.limits import RUN_INFO_BYTES_MAX
from lab.observed import NO_ROLE, Reading, rows_of
from lab.profile import BUILT_IN
from lab.rules.tasks import Event, State

LOG_COLUMNS: Final = ("task", "from", "to", "at_s", "worker", "attempt", "reason", "delay_s")
OUTCOME_OF: Final = {
    Event.SUCCEEDED: "succeeded",
    Event.LEASE_LAPSED: "lapsed",
    Event.HANDED_BACK: "lapsed",
}
"""What ends an attempt, by the event's reason; a failure is `retried` or `failed` by where it leads."""


def is_audit_log(path: Path) -> bool:
    """Whether a Parquet file has the columns of an audit log."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return {"task", "from", "to", "at_s"} <= set(pq.read_schema(path).names)
    except (pa.ArrowException, OSError):
        return False


def read(path: Path, columns: Mapping[str, str]) -> Reading:
    """The audit log of a record: its folder, or its transitions (Parquet or CSV) with what lies beside them."""
    if columns:
        raise UsageError("--columns: an audit log has the columns that it has; they are for tables")
    places = [path / "transitions.parquet", path / "transitions.csv"] if path.is_dir() else [path]
    log_path = next((place for place in places if place.is_file()), None)
    if log_path is None:
        raise UsageError(f"{path}: holds no transitions.parquet or transitions.csv; is it the folder of a run?")
    log = _table(log_path)
    missing = [name for name in LOG_COLUMNS if name not in log]
    if missing:
        raise UsageError(f"{log_path}: is no audit log: it lacks {', '.join(missing)}")
    notes: list[str] = []
    tasks = _tasks_beside(log_path, notes)
    return of_log(log, tasks, _facts_beside(log_path), notes)


def of_log(
    log: pd.DataFrame, tasks: pd.DataFrame | None, facts: dict[str, Any], notes: list[str] | None = None
) -> Reading:
    """Rows of an audit log (LOG_COLUMNS, in order of time within a task). `tasks` knows, by its index, the `role`,
    `priority` and perhaps `arrival_s` of tasks; without it all are alike.
    """
    log = log.sort_values(["task", "at_s"], kind="stable").reset_index(drop=True)
    for name in ("from", "to", "reason", "worker"):
        log[name] = log[name].astype(str).replace({"nan": "", "None": ""})
    same = log["task"].shift(-1) == log["task"]
    ended_at = log["at_s"].shift(-1).where(same)
    by, end = log["reason"].shift(-1).where(same, ""), log["to"].shift(-1).where(same, "")
    delay_s = log["delay_s"].shift(-1).where(same)
    claims = log["to"] == str(State.RUNNING)
    outcome = _outcomes(by[claims], end[claims])
    arrivals = log.groupby("task")["at_s"].min()
    started = log.loc[claims, "task"]
    attempt_rows = {
        "id": started,
        "enqueue_at": arrivals.reindex(started).to_numpy(),
        "start_at": log.loc[claims, "at_s"],
        "finish_at": ended_at[claims],
        "outcome": outcome,
        "attempt": log.loc[claims].groupby("task").cumcount() + 1,
        "worker": log.loc[claims, "worker"],
        "delay_s": delay_s[claims].where(outcome == "retried"),
    }
    frame = pd.concat([pd.DataFrame(attempt_rows), _never_started(log, claims, arrivals)], ignore_index=True)
    _know(frame, tasks)
    frame["id"] = frame["id"].astype(str)
    rows = rows_of({str(name): frame[name].to_numpy() for name in frame.columns})
    return Reading(rows, [], list(notes or ()), {**facts, "machinery_included": True})


def _outcomes(reason: pd.Series[Any], end: pd.Series[Any]) -> pd.Series[Any]:
    found = reason.map(OUTCOME_OF).fillna("open").astype(object)
    failed = reason == str(Event.FAILED)
    found[failed & (end == str(State.RETRY_WAIT))] = "retried"
    found[failed & (end == str(State.PERMANENT_FAILURE))] = "failed"
    found[(reason == str(Event.LEASE_LAPSED)) & (end == str(State.PERMANENT_FAILURE))] = "failed"
    return found


def _never_started(log: pd.DataFrame, claims: pd.Series[Any], arrivals: pd.Series[Any]) -> pd.DataFrame:
    """A row for each task without a claim, and one for each that was cancelled after its last attempt."""
    last = log.groupby("task").tail(1).set_index("task")
    without = arrivals.index.difference(pd.Index(log.loc[claims, "task"]))
    cancelled = last.index[last["to"] == str(State.CANCELLED)]
    ids = without.union(cancelled)
    gone = last.loc[ids, "to"] == str(State.CANCELLED)
    return pd.DataFrame(
        {
            "id": ids,
            "enqueue_at": arrivals.reindex(ids).to_numpy(),
            "start_at": np.nan,
            "finish_at": last.loc[ids, "at_s"].where(gone).to_numpy(),
            "outcome": np.where(gone, "cancelled", "open"),
            "attempt": last.loc[ids, "attempt"].to_numpy() + 1,
            "worker": "",
            "delay_s": np.nan,
        }
    )


def _know(frame: pd.DataFrame, tasks: pd.DataFrame | None) -> None:
    if tasks is None:
        frame["role"], frame["priority"] = NO_ROLE, 0
        return
    known = tasks.reindex(frame["id"])
    frame["role"] = known["role"].astype(object).fillna(NO_ROLE).to_numpy()
    frame["priority"] = known["priority"].fillna(0).to_numpy()
    if "arrival_s" in known:  # the scheduled arrival: a late submitter is not forgiven
        scheduled = known["arrival_s"].to_numpy(dtype=np.float64)
        frame["enqueue_at"] = np.where(np.isnan(scheduled), frame["enqueue_at"], scheduled)


def _table(path: Path) -> pd.DataFrame:
    import pyarrow as pa

    try:
        return pd.read_parquet(path) if path.suffix.lower() == ".parquet" else pd.read_csv(path, keep_default_na=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error


def _tasks_beside(log_path: Path, notes: list[str]) -> pd.DataFrame | None:
    for path in (log_path.with_name(f"tasks{suffix}") for suffix in (".parquet", ".csv")):
        if path.is_file():
            table = _table(path)
            if {"id", "role", "priority"} <= set(table.columns):
                return table.set_index("id")
    notes.append("no table of tasks lies beside the audit log: roles and priorities are not known")
    return None


def _facts_beside(log_path: Path) -> dict[str, Any]:
    """What run.json says of the mesh, if it lies there and can be read."""
    path = log_path.with_name("run.json")
    try:
        if path.stat().st_size > RUN_INFO_BYTES_MAX:
            return {}
        info = json.loads(path.read_text("utf-8"))
        scenario = info["scenario"]
        mesh, rules, profile = (scenario.get(name) for name in ("mesh", "rules", "profile"))
    except (OSError, ValueError, KeyError, AttributeError):  # without it, the log speaks for itself
        return {}
    # A profile in a file of its own is not there for the new scenario.
    facts = {"rules": rules or {}, **({"profile": profile} if profile in BUILT_IN else {})}
    return {**{name: mesh[name] for name in ("workers", "slots") if name in (mesh or {})}, **facts}
