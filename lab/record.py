"""The run record: what a run of either engine leaves behind, and the only thing that metrics, checks and plots read.

A folder: run.json (what was run, where, by which rules, with which verdict), tasks.parquet (a row a task),
transitions.parquet (the audit log), samples.parquet (memory, load and queue depths over time), events.parquet (faults,
gates, workers coming and going). Times are seconds from the run's start. The four tables of a simulated run are the
same bytes in any process; `digest` says so.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lab import memory, tables
from lab.errors import UsageError
from lab.moves import Moves as Moves
from lab.moves import TransitionRow as TransitionRow
from lab.progress import OnStep, unnoticed
from lab.scenario import Scenario
from lab.tables import NOT_SUBMITTED as NOT_SUBMITTED
from lab.tables import REJECTED as REJECTED
from lab.tables import EventRow as EventRow
from lab.tables import SampleRow as SampleRow
from lab.tables import Table
from lab.workload import Plan

TABLES = ("tasks", "transitions", "samples", "events")
PARTS = (*(f"{name}.parquet" for name in TABLES), "run.json", "run.tmp")
"""All files of a record, and the one that becomes run.json."""
NEEDED = ("run_id", "engine", "scenario", "scenario_name", "scenario_base", "seed", "started_at")
"""What stands in every run.json: a record that lacks one of these has been damaged."""
NAME_CHARS_SHOWN = 40
"""Of a scenario's name in the id of its runs."""
RELEASE_TASKS = 100_000
"""Runs of so many tasks give memory back between their steps: it is worth 20 MB of a million tasks' 300."""


@dataclass
class Record:
    """One run. `info` is run.json; the tables are pandas frames.

    An engine hands its audit log over as `Moves`. They become the frame `transitions` when somebody first asks for it,
    since the frame takes twice the memory; what is read off every run (figures, checks, files) reads `moves`.
    """

    info: dict[str, Any]
    tasks: pd.DataFrame
    transitions: pd.DataFrame
    samples: pd.DataFrame
    events: pd.DataFrame
    folder: Path | None = field(default=None, compare=False)

    @classmethod
    def of_moves(
        cls, info: dict[str, Any], tasks: pd.DataFrame, moves: Moves, samples: pd.DataFrame, events: pd.DataFrame
    ) -> Record:
        """A record whose transitions (in order of time) are not a frame yet."""
        record = cls(info, tasks, moves.frame(0, 0), samples, events)
        del record.transitions
        record.__dict__["_moves"] = moves
        return record

    if not TYPE_CHECKING:  # a type checker would take it for any attribute

        def __getattr__(self, name: str) -> Any:
            """Called for what is not there: the frame of transitions, as long as they are held as `Moves`."""
            if name != "transitions" or "_moves" not in self.__dict__:
                raise AttributeError(f"a record has no attribute {name!r}")
            self.transitions = self.__dict__["_moves"].frame()
            del self.__dict__["_moves"]  # the frame may be edited, so from now on it alone is the log
            return self.transitions

    @property
    def moves(self) -> Moves:
        """The transitions as columns, in order of time. Ask once and keep the answer: a frame is converted anew."""
        held = self._log
        return held if isinstance(held, Moves) else Moves.of_frame(held).in_time()

    @property
    def _log(self) -> Table:
        """The transitions as they are held."""
        moves: Moves | None = self.__dict__.get("_moves")
        return self.transitions if moves is None else moves

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
        """Write the record into `folder` (made if need be). Returns the folder. If that fails, nothing of it stays."""
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._write(folder)
        except OSError:
            for part in folder.iterdir():
                if part.name in PARTS:
                    part.unlink()
            with suppress(OSError):  # somebody else keeps something in it
                folder.rmdir()
            raise
        self.folder = folder
        return folder

    def _write(self, folder: Path) -> None:
        if len(self.tasks) >= RELEASE_TASKS:
            memory.release()  # what the figures and checks needed
        for name in TABLES:
            table = self._log if name == "transitions" else getattr(self, name)
            tables.write(table, folder / f"{name}.parquet")
        write_json(folder / "run.json", self.info)

    @classmethod
    def load(cls, folder: str | Path) -> Record:
        """The record in `folder`. Raises UsageError if there is none or it is damaged."""
        folder = Path(folder)
        try:
            info = _whole(json.loads((folder / "run.json").read_text(encoding="utf-8")))
            tasks, transitions, samples, events = (tables.read(name, folder / f"{name}.parquet") for name in TABLES)
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(
                f"{folder}: no run record can be read here ({error}); `meshlab runs` lists records"
            ) from error
        return cls(info, tasks, transitions, samples, events, folder)


def _whole(info: Any) -> dict[str, Any]:
    """What run.json says. Raises ValueError if something is not there that every record has."""
    if not isinstance(info, dict):
        raise ValueError("run.json holds no object")
    if missing := [name for name in NEEDED if name not in info]:
        raise ValueError(f"run.json lacks {', '.join(missing)}")
    return info


def assemble(
    plan: Plan,
    engine: str,
    transitions: Moves | Iterable[TransitionRow],
    samples: pd.DataFrame | Iterable[SampleRow],
    events: Iterable[EventRow],
    *,
    run_id: str,
    started_at: datetime,
    wall_s: float,
    facts: Mapping[str, Any],
    on_step: OnStep = unnoticed,
) -> Record:
    """The record of a run that followed `plan`. `facts` are the engine's own: interrupted, stalled, stale_writes,
    servers …

    Transitions need not be in order of time; those of one moment stay in the order in which they are given. Samples may
    be the finished table, with the columns of SampleRow. `on_step` hears what is being done.
    """
    on_step(f"recording {plan.count:,} tasks")
    if plan.count >= RELEASE_TASKS:
        memory.release()  # what the engine needed while it ran
    moves = (transitions if isinstance(transitions, Moves) else Moves.of(transitions)).in_time()
    noted = tables.event_frame(events)
    sampled = samples if isinstance(samples, pd.DataFrame) else tables.sample_frame(samples)
    tasks = tables.task_frame(plan, moves, noted)
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
        "digest": tables.digest({"tasks": tasks, "transitions": moves, "samples": sampled, "events": noted}),
        **facts,
    }
    return Record.of_moves(info, tasks, moves, sampled, noted)


def new_run_id(scenario: Scenario, engine: str, started_at: datetime, nonce: str) -> str:
    """A name that sorts by time and tells people what it is: ASCII letters, digits and dashes, as folders and links
    have them everywhere.
    """
    words = plain(scenario.name)[:NAME_CHARS_SHOWN].strip("-")
    return f"{started_at:%Y%m%d-%H%M%S}-{words}-{engine}-{nonce}"


def plain(name: str) -> str:
    """A name as a part of a file's: what is no ASCII letter or digit is a dash."""
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower()).strip("-")


def now() -> datetime:
    """The wall clock, for the start of a run."""
    return datetime.now(UTC)


def nonce() -> str:
    """Six hex digits that keep two runs of the same second apart."""
    return os.urandom(3).hex()


def versions() -> dict[str, str]:
    """Versions of what shapes a run."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    """Read off the installed packages once: it takes longer than a small run of the model."""
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
