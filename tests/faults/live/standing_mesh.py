"""A `meshlab up` as a process of its own, on servers that the test owns, reached through proxies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

from lab.checks import Check
from lab.rules.tasks import State
from live_backend.client import Client, TaskRequest
from live_backend.servers import Servers
from live_backend.verifying import broken, unfinished
from live_backend.whereabouts import find_api
from tests.faults.live.striking import Between, Outside
from tests.live.helpers import eventually
from tests.live.proxy import Proxy, dsn_through, postgres_target, redis_target, redis_url_through

ROOT = Path(__file__).parents[3]
AGENTS = "tests.faults.live.agents"
API, REAPER, WORKER = "live_backend.api", "live_backend.reaping", "live_backend.worker"


def a_role(agent: str) -> dict[str, Any]:
    """A role whose work is one of `agents.py`."""
    return {"priority": 3, "service": {"dist": "constant", "mean_s": 0.05}, "handler": {"python": f"{AGENTS}:{agent}"}}


SCENARIO = {
    "name": "struck",
    "workload": {
        "arrivals": {"kind": "burst", "count": 1},
        "roles": {
            "SYNTHETIC": {"priority": 3, "service": {"dist": "constant", "mean_s": 0.05}},
            **{name.upper(): a_role(name) for name in ("effect", "block", "hoard", "poison", "fail")},
        },
    },
    "mesh": {"workers": 2, "slots": 4},
    "rules": {
        "retry": {"base_s": 0.02, "max_retries": 3},
        "lease": {"length_s": 1.0, "sweep_s": 0.2},
        "health": {"report_s": 0.2, "restart_after_s": 0.1, "rss_limit_mib": 360, "recycle_after_s": 0.4},
        "shutdown": {"grace_s": 0.3},
    },
}


class StandingMesh:
    """It stands when it is made. `outside` sees its tables, `links` are the proxies between it and its servers."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self.outside = Outside(servers)
        self.links = Between(Proxy(redis_target(servers.redis_url)), Proxy(postgres_target(servers.dsn)))
        self.accepted: list[int] = []
        """Every id that a client was told."""
        self._scenario = folder / "struck.yaml"
        self._scenario.write_text(yaml.safe_dump(SCENARIO))
        ours = {name: value for name, value in os.environ.items() if not name.startswith("MESHLAB_")}
        self._environ = {
            **ours,
            "XDG_STATE_HOME": str(folder),
            "PYTHONUNBUFFERED": "1",
            "REDIS_URL": redis_url_through(self.links.redis),
            "DB_DSN": dsn_through(self.links.postgres, servers.dsn),
        }
        self._words = [sys.executable, "-m", "cli", "up", str(self._scenario), "--port", "0"]
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 (closed by `end`)
        self.up()

    def up(self) -> None:
        """Start it, and wait until it says that it stands."""
        at = os.fstat(self._out.fileno()).st_size
        self._process = subprocess.Popen(self._words, cwd=ROOT, env=self._environ, stdout=self._out, stderr=self._err)

        def stands() -> bool:
            assert self._process.poll() is None, self.said()
            return b"Ctrl-C" in os.pread(self._out.fileno(), 1_000_000, at)

        eventually(stands, 60.0)

    def down(self) -> None:
        """SIGKILL to `meshlab up` itself; wait until all that hung on it has ended."""
        left = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        self._process.wait(10)
        psutil.wait_procs(left, 15)
        assert not [one for one in left if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]

    def refusal(self) -> str:
        """The one line with which it refuses to start."""
        ended = subprocess.run(
            self._words, cwd=ROOT, env=self._environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert ended.returncode == 1, ended.stderr
        (line,) = ended.stderr.strip().splitlines()
        return line

    def end(self) -> None:
        """Gone, by its id."""
        with suppress(psutil.NoSuchProcess):
            self.down()
        self._out.close()
        self._err.close()
        self.outside.__exit__(None, None, None)
        for link in self.links:
            link.close()

    def said(self) -> str:
        """What it told so far."""
        return os.pread(self._err.fileno(), 1_000_000, 0).decode()

    # -- striking --

    def pids(self, module: str) -> list[int]:
        """Its processes of one kind."""
        found = []
        for process in psutil.Process(self._process.pid).children():
            with suppress(psutil.Error):
                if module in process.cmdline():
                    found.append(process.pid)
        return found

    def send(self, number: signal.Signals, module: str) -> list[int]:
        """A signal to all its processes of one kind; at least one must be there. Returns which."""
        pids = eventually(lambda: self.pids(module))
        for pid in pids:
            os.kill(pid, number)
        return list(pids)

    def replaced(self, module: str, gone: list[int], count: int = 1) -> bool:
        """Whether fresh processes stand where these have stood."""
        return len(set(self.pids(module)) - set(gone)) >= count

    # -- using --

    def client(self) -> Client:
        """A client that finds it as the command line does."""
        api = find_api(self._environ)
        return Client(api.url, token=api.token, retry_for_s=40.0)

    def submit(self, role: str, count: int, payload: Any = None) -> list[int]:
        """So many tasks of a role, accepted."""
        with self.client() as client:
            ids = [one.id for one in client.submit_batch([TaskRequest(role, payload) for _ in range(count)])]
        self.accepted += ids
        return ids

    def states(self, ids: list[int]) -> Counter[str]:
        """These tasks by state."""
        listed = ", ".join(map(str, ids))
        found = self.outside.rows(f"select state, count(*) from public.task where id in ({listed}) group by state")
        return Counter({str(state): int(number) for state, number in found})

    def runs(self, ids: list[int], count: int) -> None:
        """Wait until at least so many of them are RUNNING."""
        eventually(lambda: self.states(ids)[State.RUNNING] >= count)

    def stood(self, ids: list[int], **states: int) -> None:
        """Wait until all is finished; these tasks must have ended like this (default: all completed), and the whole
        mesh must have kept every promise since it stands.
        """
        eventually(lambda: unfinished(self.outside.dsn) == 0, 60.0)
        assert self.states(ids) == (states or {State.COMPLETED: len(ids)})
        assert self.broken() == []

    def broken(self) -> list[Check]:
        """The promises that it broke."""
        return broken(self.outside.dsn, accepted=self.accepted)

    def transitions(self, ids: list[int], reason: str) -> list[tuple[Any, ...]]:
        """(task, worker, attempt, token) of the transitions of these tasks for one reason, in order."""
        listed = ", ".join(map(str, ids))
        query = "select task, worker, attempt, token from public.transition"
        return self.outside.rows(f"{query} where task in ({listed}) and reason = '{reason}' order by at, seq")

    def noted(self, kind: str) -> int:
        """How often something was noted."""
        return int(self.outside.rows(f"select count(*) from public.note where kind = '{kind}'")[0][0])
