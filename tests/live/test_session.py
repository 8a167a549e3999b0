"""The live side of a session, as the app starts and feeds it: a process that speaks lines of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import psycopg
import pytest

from lab.changes import stopped
from lab.errors import UsageError
from lab.record import Record
from lab.rules.tasks import State
from live_backend.processes import ROOT
from live_backend.session_run import refuse_what_cannot_grow
from tests.live.helpers import eventually

LEAD_S = 0.6
"""How far ahead of now the app lets things happen."""


class Side:
    """A session's process: what it is told, and the frames that it tells."""

    def __init__(self, scenario: Any, runs: Path) -> None:
        self.data, self.frames, self.events = scenario.data, list[dict[str, Any]](), list[dict[str, Any]]()
        self.runs = runs
        command = [sys.executable, "-m", "live_backend.session"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        self.say(do="start", scenario=self.data, base=str(scenario.base.resolve()), runs=str(runs))

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            frame = json.loads(line)
            self.events += frame["events"]
            self.frames.append(frame)

    def say(self, **command: Any) -> None:
        """A command."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def go(self) -> None:
        """Wait until it is ready, and let it run."""
        eventually(lambda: self.phase == "ready", 60.0)
        self._epoch_s = time.time() + 0.1
        self.say(do="go", epoch_s=self._epoch_s)

    def grow(self, entries: list[dict[str, float]] = [], faults: list[dict[str, Any]] = []) -> None:  # noqa: B006
        """Let these happen a little ahead of now."""
        at_s = round(time.time() - self._epoch_s + LEAD_S, 3)
        self.data["workload"]["arrivals"]["entries"] += [{"at_s": at_s, **entry} for entry in entries]
        self.data["faults"] = [*self.data.get("faults", []), *({"at_s": at_s, **fault} for fault in faults)]
        self.say(do="grow", scenario=self.data, from_s=at_s)

    @property
    def phase(self) -> str:
        """What it said last."""
        return str(self.frames[-1]["phase"]) if self.frames else ""

    def count(self, name: str) -> int:
        """One of the counts that it told last."""
        return int(self.frames[-1]["counts"][name]) if self.frames else 0

    def ended(self) -> int:
        """Wait for its end. Returns the exit status."""
        status = self.process.wait(60.0)
        self._reading.join(10.0)
        return status


@pytest.fixture
def played(build, tmp_path: Path) -> Iterator[Callable[..., Side]]:
    """played(...) starts a session of the usual short tasks; whatever still runs at the end of the test is ended."""
    sides: list[Side] = []

    def start(**values: object) -> Side:
        arrivals = {"kind": "schedule", "until_s": 600.0, "entries": [{"at_s": 0.0, "rate_per_s": 5.0}]}
        sides.append(Side(build(workload__arrivals=arrivals, **values), tmp_path / "runs"))
        return sides[-1]

    yield start
    for side in sides:
        side.process.kill()
        side.process.wait()


def _schemas(dsn: str) -> set[str]:
    with psycopg.connect(dsn) as connection:
        return {row[0] for row in connection.execute("select nspname from pg_namespace where nspname like 'run%'")}


@pytest.mark.live
def test_what_people_do_to_a_session_happens_and_nothing_is_lost(own_servers, played) -> None:
    """A burst; a worker killed and knobs turned in the midst of it; both servers struck; then a record of it all."""
    side = played()
    side.go()
    side.grow([{"count": 60}])
    side.grow(faults=[{"kind": "kill_worker", "worker": 1}, {"kind": "change", "knob": "workers", "value": 3}])
    side.grow([{"count": 60}], [{"kind": "postgres_restart", "down_s": 0.1}, {"kind": "redis_flush"}])
    side.grow(faults=[{"kind": "change", "knob": "slots", "value": 8}])
    eventually(lambda: any("w2." in event["text"] for event in side.events))
    eventually(lambda: len(side.frames[-1]["strikes"]) == 3 and side.frames[-1]["workers"][0]["slots"] == 8)
    eventually(lambda: side.count("completed") >= 125 and side.count("running") + side.count("pending") <= 5)
    side.say(do="stop")
    assert side.ended() == 0
    last = side.frames[-1]
    assert last["phase"] == "ended"
    counts = last["counts"]
    assert (counts["lost"], counts["doubled"]) == (0, 0)
    assert counts["completed"] == counts["submitted"] == counts["arrived"] > 120
    assert all(strike["lost"] == strike["doubled"] == 0 for strike in last["strikes"])
    record = Record.load(last["record"])
    assert record.info["checks"]["ok"], record.info["checks"]
    assert not record.info["interrupted"]
    assert (record.tasks["state"] == State.COMPLETED).all()
    assert len(record.tasks) == counts["completed"]
    assert record.info["scenario"]["workload"]["arrivals"]["until_s"] < 60.0
    told = [frame["t"] for frame in side.frames if frame["phase"] == "running"]
    assert told == sorted(told)


@pytest.mark.live
def test_a_session_that_is_left_ends_at_once_and_leaves_nothing_behind(servers, played) -> None:
    before = _schemas(servers.dsn)
    side = played(workload__roles__A__service__mean_s=30.0)
    side.go()
    side.grow([{"count": 8}])
    eventually(lambda: side.count("running") >= 8)
    assert side.frames[-1]["place"]["schema"] in _schemas(servers.dsn) - before
    assert side.frames[-1]["servers"] == "yours"
    children = psutil.Process(side.process.pid).children(recursive=True)
    assert len(children) >= 2
    assert side.process.stdin is not None
    side.process.stdin.close()
    assert side.ended() == 130
    eventually(lambda: not any(child.is_running() for child in children))
    assert _schemas(servers.dsn) == before
    assert not side.runs.exists()


@pytest.mark.live
def test_a_session_that_is_stopped_before_anything_came_keeps_nothing(servers, played) -> None:
    side = played()
    side.say(do="stop")  # while its workers are still starting
    assert side.ended() == 0
    assert (side.phase, side.frames[-1]["record"]) == ("ended", "")
    assert "nothing to save" in side.frames[-1]["note"]


@pytest.mark.live
def test_a_session_says_in_words_why_it_cannot_start(monkeypatch, played) -> None:
    monkeypatch.setenv("DB_DSN", "host=127.0.0.1 port=1 dbname=nobody")
    monkeypatch.delenv("REDIS_URL", raising=False)
    side = played()
    assert side.ended() == 1
    assert side.phase == "failed"
    assert "PostgreSQL" in side.frames[-1]["note"]
    assert "Traceback" not in side.frames[-1]["note"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mesh__workers": 3}, "only arrivals and faults"),
        ({"seed": 6}, "only arrivals and faults"),
        ({"workload__arrivals": {"kind": "burst", "count": 3}}, "must be a schedule"),
        ({"faults": [{"kind": "change", "at_s": 1.0, "knob": "workers", "value": 49}]}, "at most 48"),
        ({"faults": [{"kind": "redis_restart", "at_s": 1.0, "keeps": "all"}]}, "comes back empty"),
    ],
)
def test_what_cannot_grow_is_refused(build, values: dict[str, Any], words: str) -> None:
    arrivals = {"kind": "schedule", "until_s": 600.0, "entries": [{"at_s": 0.0, "count": 5}]}
    servers: Any = SimpleNamespace(embedded_redis=True, embedded_postgres=True)
    old = build(workload__arrivals=arrivals)
    refuse_what_cannot_grow(old, old.override({"faults": [{"kind": "redis_restart", "at_s": 1.0}]}), servers)
    refuse_what_cannot_grow(old, stopped(old, 0.5), servers)
    with pytest.raises(UsageError, match=words):
        refuse_what_cannot_grow(
            old, old.override({path.replace("__", "."): it for path, it in values.items()}), servers
        )
