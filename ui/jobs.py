"""Runs happen outside the page's process: a job is a `meshlab run` of its own, with a folder of its own.

    runs/.jobs/<job id>/scenario.yaml   what runs, with every knob applied and every path made absolute
                        job.json        who started what, and when
                        status.json     where it stands, rewritten by the run
                        log             everything it printed

A page only ever reads that folder. So a refresh, a second tab or a restart of the app loses nothing, and a crash of
the run cannot take the app with it. Commands other than `run` that take long are jobs too: see ui/long_jobs.py.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

from lab import record as records
from lab import standalone
from lab.errors import UsageError
from lab.scenario import Scenario

ROOT = Path(__file__).resolve().parent.parent
Engine = Literal["sim", "live", "both"]
ENGINES: tuple[Engine, ...] = ("sim", "live", "both")
State = Literal["starting", "running", "done", "failed", "cancelled"]
ACTIVE: frozenset[State] = frozenset({"starting", "running"})

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
LONG = "."
"""Stands in the ids of jobs that are no runs, before their kind, and in no run's id."""
LOG_LINES_SHOWN = 5
LOG_TAIL_BYTES = 16_384
CANCEL_PATIENCE_S = 20.0
"""A run that has not ended this long after Ctrl-C may be ended harder."""
STATUS_GRACE_S = 1.0
"""The last word may still be on its way to the disk when the process is already gone."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What all jobs are: a process of their own, as its folder tells it now."""

    id: str
    folder: Path
    started_at: str
    state: State
    status: dict[str, Any] = field(default_factory=dict)
    message: str = ""
    cancel_asked_s: float | None = None

    @property
    def active(self) -> bool:
        """Whether it may still change."""
        return self.state in ACTIVE

    @property
    def record_folders(self) -> list[Path]:
        """The records that it has saved so far. Runs may have been moved as a whole since."""
        named = [Path(str(path)) for path in self.status.get("records") or []]
        moved = [path if path.is_dir() else runs_dir() / path.name for path in named]
        return [path for path in moved if (path / "run.json").is_file()]

    @property
    def log_file(self) -> Path:
        """Everything that the process printed."""
        return self.folder / "log"


@dataclass(frozen=True, kw_only=True)
class Job(Work):
    """A run."""

    engine: Engine
    scenario_name: str
    replications: int = 1


Launch = Callable[[list[str], Path], int]
"""Start this command, its output going to this file; returns the process id. Replaced in tests."""


def runs_dir() -> Path:
    """Where records live: $MESHLAB_RUNS, or `runs` beside the code."""
    return Path(os.environ.get("MESHLAB_RUNS") or ROOT / "runs").resolve()


def jobs_dir() -> Path:
    """Where jobs live: beside the records, out of the way of listings."""
    return runs_dir() / ".jobs"


# ---- starting --------------------------------------------------------------------------------------------------------


def start(scenario: Scenario, engine: Engine, launch: Launch | None = None, *, replications: int = 1) -> str:
    """Start a run of `scenario`, or so many with seeds that follow on, and return the job's id at once."""
    now = records.now()
    job_id = records.new_run_id(scenario, engine, now, records.nonce())
    folder = jobs_dir() / job_id
    folder.mkdir(parents=True)
    (folder / "scenario.yaml").write_text(standalone.yaml_text(scenario), encoding="utf-8")
    facts: dict[str, Any] = {"engine": engine, "replications": replications, "scenario_name": scenario.name}
    facts["started_at"] = now.isoformat(timespec="seconds")
    begin(folder, facts, command(folder, engine, replications), launch)
    return job_id


def begin(folder: Path, facts: Mapping[str, Any], command: list[str], launch: Launch | None = None) -> None:
    """Start a command whose words name `folder`, and write down there who started what, and when."""
    records.write_json(folder / "job.json", {**facts, "pid": None, "started_s": time.time()})
    pid = (launch or spawn)(command, folder / "log")
    records.write_json(folder / "job.json", {**facts, "pid": pid, "started_s": time.time()})


def command(folder: Path, engine: Engine, replications: int = 1) -> list[str]:
    """The command line of a job."""
    run = [sys.executable, "-m", "cli", "run", str(folder / "scenario.yaml"), "--engine", engine]
    if replications > 1:
        run += ["--replications", str(replications)]
    return [*run, "--out", str(runs_dir()), "--json", "--quiet", "--status", str(folder / "status.json")]


def spawn(command: list[str], log_file: Path) -> int:
    """Start a process that outlives this one and does not hear this one's Ctrl-C."""
    apart: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    with log_file.open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **apart)
    # Whoever starts a process must also collect it, or it stays a zombie that looks alive.
    threading.Thread(target=process.wait, name=f"reap-{process.pid}", daemon=True).start()
    return process.pid


# ---- reading ---------------------------------------------------------------------------------------------------------


def read(job_id: str) -> Job:
    """The run called `job_id`. Raises UsageError if there is none."""
    found = told(job_id)
    if found is None or LONG in job_id:
        raise UsageError(f"there is no run {job_id!r} in {runs_dir()}; open one from the list of runs")
    facts, common = found
    return Job(
        **common,
        engine=facts["engine"] if facts.get("engine") in ENGINES else "both",
        scenario_name=str(facts.get("scenario_name", job_id)),
        replications=max(1, int(facts.get("replications") or 1)),
    )


def told(job_id: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """What its folder tells about a job of any kind: what was written down at its start, and the fields of a Work."""
    folder = jobs_dir() / job_id
    facts = _json(folder / "job.json") if ID.fullmatch(job_id) else None
    if facts is None:
        return None
    # First whether it lives, then its status: the other way round, a run that ends in between would look dead.
    alive = _process(facts.get("pid"), folder) is not None
    status = _json(folder / "status.json") or {}
    state, message = _state(facts, status, alive, folder)
    asked = _json(folder / "cancel.json") or {}
    return facts, {
        "id": job_id,
        "folder": folder,
        "started_at": str(facts.get("started_at", "")),
        "state": state,
        "status": status,
        "message": message,
        "cancel_asked_s": time.time() - asked["at_s"] if "at_s" in asked else None,
    }


def _state(facts: dict[str, Any], status: dict[str, Any], alive: bool, folder: Path) -> tuple[State, str]:
    """What is true now, and the words for it where something went wrong."""
    told = status.get("state")
    if told in ("done", "failed", "cancelled"):
        return told, str(status.get("message") or "")
    fresh = time.time() - float(facts.get("started_s") or 0.0) < STATUS_GRACE_S
    if alive or fresh:
        return ("running" if told == "running" else "starting"), ""
    if (folder / "cancel.json").exists():  # before the command could catch the signal
        return "cancelled", ""
    return "failed", "\n".join(["Its process ended without a word.", *log_tail(folder / "log")])


def log_tail(log_file: Path) -> list[str]:
    """The last lines of a log that speak to a person: stack frames and JSON stay in the file."""
    try:
        with log_file.open("rb") as file:
            file.seek(max(0, log_file.stat().st_size - LOG_TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    skipped = ("Traceback", "During handling", "The above exception", "{", "}")
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return [line for line in lines if not line[0].isspace() and not line.startswith(skipped)][-LOG_LINES_SHOWN:]


def recent() -> Iterator[str]:
    """The ids of all runs, the newest first."""
    yield from (name for name in all_ids() if LONG not in name)


def all_ids() -> list[str]:
    """The ids of jobs of every kind, the newest first: a name begins with its time."""
    folders = jobs_dir().iterdir() if jobs_dir().is_dir() else ()
    return sorted((folder.name for folder in folders if (folder / "job.json").is_file()), reverse=True)


def _json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


# ---- ending ----------------------------------------------------------------------------------------------------------


def cancel(job: Work) -> bool:
    """Ask the job to end as Ctrl-C would; asked again after CANCEL_PATIENCE_S, more firmly. False: nobody was there."""
    process = _process((_json(job.folder / "job.json") or {}).get("pid"), job.folder)
    if process is None:
        return False
    try:
        if job.cancel_asked_s is not None and job.cancel_asked_s > CANCEL_PATIENCE_S:
            process.terminate()
        elif sys.platform == "win32":
            process.send_signal(signal.CTRL_BREAK_EVENT)
        else:
            process.send_signal(signal.SIGINT)
    except psutil.NoSuchProcess:
        return False
    if job.cancel_asked_s is None:
        records.write_json(job.folder / "cancel.json", {"at_s": time.time()})
    return True


def _process(pid: Any, folder: Path) -> psutil.Process | None:
    """The job's process, if it lives. A pid is reused some day: ours is only one whose command names this folder."""
    if not isinstance(pid, int) or pid <= 1:
        return None
    try:
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE and any(str(folder) in part for part in process.cmdline()):
            return process
    except psutil.Error:
        pass
    return None
