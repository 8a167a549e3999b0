"""The run record: what a run of either engine leaves behind, and the only thing that metrics, checks and plots read.

A folder: run.json (what was run, where, by which rules, with which verdict), tasks.parquet (a row a task),
transitions.parquet (the audit log), samples.parquet (memory, load and queue depths over time), events.parquet (faults,
gates, workers coming and going). Times are seconds from the run's start. The four tables of a simulated run are the
same bytes in any process; `digest` says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lab.errors import UsageError
from lab.rules.priority import QUEUES
from lab.rules.tasks import TERMINAL, Event, State
from lab.scenario import Scenario
from lab.workload import Plan

TABLES = ("tasks", "transitions", "samples", "events")
REJECTED, NOT_SUBMITTED = "REJECTED", "NOT_SUBMITTED"
"""Besides the states of `rules.tasks`, a task may never have come in: refused by admission, or not there when the run
ended.
"""


class TransitionRow(NamedTuple):
    """One accepted transition. `delay_s` is the backoff that the rulebook granted (RETRY_WAIT only)."""

    task: int
    from_state: str
    to_state: str
    at_s: float
    worker: str
    attempt: int
    token: int
    reason: str
    delay_s: float


class SampleRow(NamedTuple):
    """One worker at one moment; or, with an empty `worker`, the queues at that moment."""

    t_s: float
    worker: str
    rss_bytes: float
    cpu: float
    active: int
    gate: bool
    agent_high: int
    agent_medium: int
    agent_low: int
    retry_wait: int
    held: int


class EventRow(NamedTuple):
    """Something that happened to the mesh rather than to a task."""

    t_s: float
    kind: str
    worker: str
    task: int
    detail: str


@dataclass
class Record:
    """One run. `info` is run.json; the tables are pandas frames."""

    info: dict[str, Any]
    tasks: pd.DataFrame
    transitions: pd.DataFrame
    samples: pd.DataFrame
    events: pd.DataFrame
    folder: Path | None = field(default=None, compare=False)

    @property
    def engine(self) -> str:
        """`sim` or `live`."""
        return str(self.info["engine"])

    @property
    def scenario(self) -> Scenario:
        """The scenario that was run, built again from the record."""
        return Scenario.from_data(
            self.info["scenario"], base=self.info["scenario_base"], source=f"record {self.info['run_id']}"
        )

    def save(self, folder: Path) -> Path:
        """Write the record into `folder` (made if need be). Returns the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in TABLES:
            getattr(self, name).to_parquet(folder / f"{name}.parquet", index=False)
        write_json(folder / "run.json", self.info)
        self.folder = folder
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Record:
        """The record in `folder`. Raises UsageError if there is none or it is damaged."""
        folder = Path(folder)
        try:
            info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            tasks, transitions, samples, events = (pd.read_parquet(folder / f"{name}.parquet") for name in TABLES)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{folder}: no run record can be read here ({error}); `meshlab runs` lists records"
            ) from error
        return cls(info, tasks, transitions, samples, events, folder)


def assemble(
    plan: Plan,
    engine: str,
    transitions: Iterable[TransitionRow],
    samples: Iterable[SampleRow],
    events: Iterable[EventRow],
    *,
    run_id: str,
    started_at: datetime,
    wall_s: float,
    facts: Mapping[str, Any],
) -> Record:
    """The record of a run that followed `plan`. `facts` are the engine's own: interrupted, stalled, stale_writes,
    servers …
    """
    moves = _transition_frame(transitions)
    noted = pd.DataFrame(list(events), columns=list(EventRow._fields)).astype({"t_s": float, "task": "int64"})
    sampled = pd.DataFrame(list(samples), columns=list(SampleRow._fields))
    tables = {"tasks": _task_frame(plan, moves, noted), "transitions": moves, "samples": sampled, "events": noted}
    scenario = plan.scenario
    info = {
        "run_id": run_id,
        "engine": engine,
        "scenario_name": scenario.name,
        "seed": scenario.seed,
        "scenario": scenario.data,
        "scenario_base": str(scenario.base.resolve()),
        "rulebook": scenario.rules.model_dump(mode="json"),
        "versions": versions(),
        "machine": machine(),
        "started_at": started_at.isoformat(timespec="milliseconds"),
        "wall_s": round(wall_s, 3),
        "digest": digest(tables),
        **facts,
    }
    return Record(info, tables["tasks"], moves, sampled, noted)


def _transition_frame(rows: Iterable[TransitionRow]) -> pd.DataFrame:
    """The audit log in order of time; rows of one moment stay in the order in which the engine wrote them."""
    columns = list(TransitionRow._fields)
    frame = pd.DataFrame(list(rows), columns=columns)
    frame = frame.astype({"task": "int64", "at_s": float, "attempt": "int64", "token": "int64", "delay_s": float})
    for column in ("from_state", "to_state"):
        frame[column] = pd.Categorical(frame[column], categories=["", *State])
    frame["reason"] = pd.Categorical(frame["reason"], categories=list(Event))
    frame = frame.sort_values("at_s", kind="stable", ignore_index=True)
    return frame.rename(columns={"from_state": "from", "to_state": "to"})


def _task_frame(plan: Plan, moves: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    """A row a task: the plan's facts, and what the audit log says became of it."""
    tasks = pd.DataFrame(
        {
            "id": np.arange(plan.count, dtype=np.int64),
            "role": pd.Categorical.from_codes(plan.role, categories=pd.Index(plan.role_names)),
            "priority": plan.priority,
            "queue": pd.Categorical.from_codes(np.asarray(plan.queue, dtype=np.int64), categories=pd.Index(QUEUES)),
            "arrival_s": plan.arrival_s,
        }
    ).set_index("id", drop=False)
    claims = moves[moves["reason"] == Event.CLAIMED]
    ends = moves[moves["to"].isin(TERMINAL)].groupby("task").tail(1).set_index("task")
    last = moves.groupby("task").tail(1).set_index("task")
    tasks["first_claim_s"] = claims.groupby("task")["at_s"].min()
    tasks["done_s"] = ends["at_s"].where(last.loc[ends.index, "to"] == ends["to"])
    tasks["state"] = last["to"].astype(str).reindex(tasks.index)
    tasks.loc[tasks["state"].isna(), "state"] = NOT_SUBMITTED
    tasks.loc[events.loc[events["kind"] == "rejected", "task"], "state"] = REJECTED
    tasks["attempts"] = last["attempt"].reindex(tasks.index, fill_value=0)
    tasks["retries"] = (moves["to"] == State.RETRY_WAIT).groupby(moves["task"]).sum().reindex(tasks.index, fill_value=0)
    tasks["service_s"] = _planned_service(plan, claims).reindex(tasks.index, fill_value=0.0)
    tasks["backoff_s"] = moves.groupby("task")["delay_s"].sum().reindex(tasks.index, fill_value=0.0)
    tasks["worker"] = claims.groupby("task")["worker"].last().reindex(tasks.index, fill_value="")
    return tasks.reset_index(drop=True)


def _planned_service(plan: Plan, claims: pd.DataFrame) -> pd.Series[float]:
    """Seconds of work that the plan gives to the attempts that each task made, by task."""
    planned = np.empty(len(claims))
    if plan.scenario.faults:
        rows = zip(claims["task"], claims["attempt"], claims["at_s"], strict=True)
        planned[:] = [plan.stretched_service_s(task, attempt, at_s) for task, attempt, at_s in rows]
    else:
        attempts, tasks = claims["attempt"].to_numpy(), claims["task"].to_numpy()
        for attempt in np.unique(attempts):
            mine = attempts == attempt
            planned[mine] = np.asarray(plan.column("service", int(attempt)))[tasks[mine]]
    return pd.Series(planned, index=claims["task"].to_numpy()).groupby(level=0).sum()


def digest(tables: Mapping[str, pd.DataFrame]) -> str:
    """SHA-256 over the content of the tables: equal digests, equal runs."""
    sha = hashlib.sha256()
    for name in TABLES:
        frame = tables[name]
        for column in frame.columns:
            sha.update(f"{name}.{column}:".encode())
            values = frame[column]
            if values.dtype.kind in "ifb":
                sha.update(np.ascontiguousarray(values.to_numpy()).tobytes())
            else:
                sha.update("\x1f".join(map(str, values.to_numpy(dtype=object))).encode())
    return sha.hexdigest()


def new_run_id(scenario: Scenario, engine: str, started_at: datetime, nonce: str) -> str:
    """A name that sorts by time and tells people what it is."""
    words = "".join(c if c.isalnum() else "-" for c in scenario.name.lower())[:40].strip("-")
    return f"{started_at:%Y%m%d-%H%M%S}-{words}-{engine}-{nonce}"


def now() -> datetime:
    """The wall clock, for the start of a run."""
    return datetime.now(UTC)


def nonce() -> str:
    """Six hex digits that keep two runs of the same second apart."""
    return os.urandom(3).hex()


def versions() -> dict[str, str]:
    """Versions of what shapes a run."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("agent-mesh-lab", "simpy", "redis", "psycopg", "numpy", "pandas"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine() -> dict[str, Any]:
    """The machine that a run was made on, without naming it."""
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "python": sys.implementation.name,
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of one."""
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    scratch.replace(path)
