"""The standing mesh as its operator meets it: `meshlab up`, `api` and `worker` as processes of their own. Whatever is
killed is there again, nothing accepted is lost, and nothing is left at the end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from lab.errors import Unavailable
from lab.rules.tasks import State
from lab.scenario import Scenario
from live_backend import definition, standing
from live_backend.client import Client, Conflict, NotFound, Refused, TaskRequest
from live_backend.servers import Servers, open_servers
from live_backend.standing import Addresses, Listen, Standing, free_port
from live_backend.whereabouts import find_api
from tests.live.helpers import eventually

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[2]
OURS = ("REDIS_URL", "REDIS_ADDR", "DB_DSN", "MESHLAB_API", "MESHLAB_TOKEN", "MESHLAB_WORKERS")
SLOW = """\
name: slow
workload:
  arrivals: {kind: burst, count: 1}
  roles:
    QUICK: {service: {dist: constant, mean_s: 0.01}}
    SLOW: {service: {dist: constant, mean_s: SECONDS}}
    DOOMED: {service: {dist: constant, mean_s: 0.01}, failure_rate: 1, permanent_share: 1}
mesh: {workers: 1, slots: 4}
"""


class Meshlab:
    """A command as a process of its own, in a state folder of its own."""

    def __init__(self, folder: Path, environ: dict[str, str], *words: str) -> None:
        plain = {name: value for name, value in os.environ.items() if name not in OURS}
        self.environ = {**plain, "XDG_STATE_HOME": str(folder), "PYTHONUNBUFFERED": "1", **environ}
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 (closed by `end`)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli", *words], cwd=ROOT, env=self.environ, stdout=self._out, stderr=self._err
        )

    @property
    def out(self) -> str:
        """What it answered so far."""
        return os.pread(self._out.fileno(), 1_000_000, 0).decode()

    @property
    def err(self) -> str:
        """What it told so far."""
        return os.pread(self._err.fileno(), 1_000_000, 0).decode()

    def ready(self) -> Meshlab:
        """Wait until it says that it is."""

        def answered() -> bool:
            assert self.process.poll() is None, self.err
            return "Ctrl-C" in self.out

        eventually(answered, 60.0)
        return self

    def tells(self, text: str) -> None:
        """Wait until it has told this."""
        eventually(lambda: text in self.err)

    def client(self) -> Client:
        """A client that finds it as the command line does."""
        api = find_api(self.environ)
        return Client(api.url, token=api.token)

    def command(self, *words: str) -> str:
        """What another command answers that talks to it."""
        called = [sys.executable, "-m", "cli", *words]
        return subprocess.run(
            called, cwd=ROOT, env=self.environ, stdout=subprocess.PIPE, text=True, timeout=60, check=True
        ).stdout

    def processes(self, module: str) -> list[psutil.Process]:
        """Its processes of one kind."""
        return [one for one in self.everything() if module in _command(one)]

    def everything(self) -> list[psutil.Process]:
        """All that hangs on it."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def leave(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to leave; its status."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def end(self) -> None:
        """Gone, by its id, and all that hung on it."""
        left = self.everything()
        self.process.kill()
        self.process.wait(10)
        eventually(lambda: not any(_lives(one) for one in left))
        self._out.close()
        self._err.close()


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []  # it ended while we looked


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


Run = Callable[..., Meshlab]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """run("up", …): with servers of its own; run("up", …, on=servers): with these."""
    started: list[Meshlab] = []

    def begun(*words: str, on: Servers | None = None, **environ: str) -> Meshlab:
        where = {"REDIS_URL": on.redis_url, "DB_DSN": on.dsn} if on else {}
        started.append(Meshlab(tmp_path, {**where, **environ}, *words))
        return started[-1]

    yield begun
    for one in started:
        one.end()


@pytest.fixture(scope="module")
def shared() -> Iterator[Servers]:
    """Servers of this file's own: a standing mesh has plain names, which the other tests' workers would see."""
    with open_servers({}) as servers:
        yield servers


@pytest.fixture
def slow(tmp_path: Path) -> Callable[[float], str]:
    """slow(30): the file of a mesh one of whose roles takes so many seconds."""

    def written(seconds: float) -> str:
        path = tmp_path / "slow.yaml"
        path.write_text(SLOW.replace("SECONDS", str(seconds)))
        return str(path)

    return written


@pytest.fixture
def data() -> Iterator[Path]:
    """A folder that any user may enter, as root's PostgreSQL needs it; pytest's own are closed to all but us."""
    with tempfile.TemporaryDirectory(prefix="mesh-", dir="/tmp") as made:
        Path(made).chmod(0o755)
        yield Path(made) / "kept"


def _state(servers: Servers, task: int) -> tuple[str, int]:
    """A task's state and attempt, as PostgreSQL has them."""
    with psycopg.connect(servers.dsn, autocommit=True) as connection:
        ((state, attempt),) = connection.execute("select state, attempt from public.task where id = %s", (task,))
    return state, attempt


def _complete(mesh: Client, role: str, count: int = 1) -> list[int]:
    """Submit, and see all completed at the first attempt or a later one."""
    ids = [receipt.id for receipt in mesh.submit_batch([TaskRequest(role)] * count)]
    assert {mesh.wait(task, 60.0).state for task in ids} == {State.COMPLETED}
    return ids


# ---- meshlab up ------------------------------------------------------------------------------------------------------


def test_a_mesh_survives_whatever_is_killed_and_keeps_its_data(run: Run, data: Path) -> None:
    words = ("up", "--port", "0", "--data", str(data), "--workers", "2", "--slots", "20")
    up = run(*words).ready()
    with up.client() as mesh:
        first = _complete(mesh, "DEVELOPER", 40)
        for module in ("live_backend.worker", "live_backend.reaping", "live_backend.api"):
            (victim, *_) = up.processes(module)
            count = len(up.processes(module))
            victim.kill()
            eventually(lambda v=victim, m=module, n=count: not _lives(v) and len(up.processes(m)) == n)
            _complete(mesh, "QA_ENGINEER", 5)
        for server, name in (("redis-server", "Redis"), ("postgres", "PostgreSQL")):
            (victim, *_) = [one for one in up.everything() if server in one.name()]
            victim.kill()
            up.tells(f"{name} had ended; it was started again")
            _complete(mesh, "QA_ENGINEER", 5)
        history = [str(row.to_state) for row in mesh.transitions(first[0])]
        assert history == ["PENDING", "RUNNING", "COMPLETED"]
    assert f"kept in {data}" in up.out
    left = up.everything()
    assert up.leave(signal.SIGINT) == 0, up.err
    assert not any(_lives(one) for one in left)
    assert find_api(up.environ).url == "http://127.0.0.1:8700", "the state file is gone"
    again = run(*words).ready()
    with again.client() as mesh:
        assert mesh.task(first[0]).state is State.COMPLETED
        _complete(mesh, "DEVELOPER")


def test_the_second_signal_ends_it_at_once_and_the_next_mesh_finishes_what_was_left(
    run: Run, shared: Servers, slow: Callable[[float], str]
) -> None:
    up = run("up", slow(3_600.0), "--port", "0", "--set", "rules.lease.length_s=1", on=shared).ready()
    with up.client() as mesh:
        task = mesh.submit("SLOW").id
        eventually(lambda: mesh.task(task).state is State.RUNNING)
    left = up.everything()
    up.process.send_signal(signal.SIGTERM)
    up.tells("once more to leave at once")
    assert up.leave() == 130
    eventually(lambda: not any(_lives(one) for one in left))
    following = run("up", slow(1.5), "--port", "0", on=shared)
    eventually(lambda: _state(shared, task) == ("RUNNING", 2), 60.0)
    assert following.leave() == 0, following.err
    assert _state(shared, task) == ("COMPLETED", 2), "who is told to leave finishes what it runs"


def test_beyond_this_machine_a_token_is_asked_for_and_shown_nowhere(run: Run, shared: Servers, tmp_path: Path) -> None:
    """On a port that is taken, too; and in the end it is killed."""
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        words = ("--host", "0.0.0.0", "--port", str(port), "--workers", "0")
        with_password = shared.dsn.replace("@", ":hunter2@", 1)
        up = run("up", *words, on=shared, DB_DSN=with_password).ready()
    assert f"port {port} is taken; this mesh listens on " in up.err
    assert "no workers here" in up.out
    token = (tmp_path / "meshlab" / "token").read_text()
    api = find_api(up.environ)
    assert api.token == token
    assert httpx.get(f"{api.url}/v1/queues").status_code == 401
    with up.client() as mesh:
        assert mesh.submit("DEVELOPER").status == "created"
    assert str(tmp_path / "meshlab" / "token") in up.out
    left = up.everything()
    shown = [up.out, up.err, *(" ".join(_command(one)) for one in left)]
    assert not any(token in text or "hunter2" in text for text in shown)
    up.process.kill()
    up.process.wait(10)
    eventually(lambda: not any(_lives(one) for one in left))
    assert find_api(up.environ).url == "http://127.0.0.1:8700", "what a dead mesh wrote is not believed"


# ---- meshlab api and meshlab worker ----------------------------------------------------------------------------------


def test_hosts_serve_the_mesh_that_postgres_names(run: Run, shared: Servers) -> None:
    """An API here, workers there: two addresses are all they share. A mesh that changes is taken up."""
    definition.prepare(shared.dsn)
    definition.publish(shared.dsn, definition.default_mesh())
    host = run("worker", "--processes", "1", "--slots", "7", on=shared)
    api = run("api", "--port", "0", on=shared).ready()
    host.tells("serves the standing mesh 'standing' with 1 processes of 7 slots")
    with api.client() as mesh:
        _complete(mesh, "DEVELOPER", 20)
        assert [worker.slots for worker in mesh.workers() if worker.alive] == [7]
        (before,) = host.processes("live_backend.worker")
        definition.publish(shared.dsn, Scenario.parse(SLOW.replace("SECONDS", "0.02")))
        host.tells("serves the standing mesh 'slow'")
        eventually(lambda: not _lives(before))
        eventually(lambda: "QUICK" in httpx.get(f"{mesh.url}/openapi.json").text)
        _complete(mesh, "QUICK", 3)
        _everything_that_a_client_can_do(mesh)
        _the_command_line_does_it_too(api)
        (reaper,) = api.processes("live_backend.reaping")
        reaper.kill()
        _complete(mesh, "SLOW")
    left = [*host.everything(), *api.everything()]
    assert host.leave() == 0, host.err
    assert api.leave() == 0, api.err
    assert not any(_lives(one) for one in left)


def _everything_that_a_client_can_do(mesh: Client) -> None:
    """Against the real API: that both speak of the same fields."""
    dead = mesh.submit("DOOMED", {"issue": 4}, key="doomed")
    assert mesh.submit("DOOMED", {"issue": 4}, key="doomed").status == "existing"
    with pytest.raises(Conflict, match=str(dead.id)):
        mesh.submit("DOOMED", {"issue": 5}, key="doomed")
    with pytest.raises(Refused, match="COOK"):
        mesh.submit("COOK")
    with pytest.raises(NotFound):
        mesh.task(2**60)
    found = mesh.wait(dead.id, 30.0)
    assert (found.state, found.payload, found.dead_letter is not None) == ("PERMANENT_FAILURE", {"issue": 4}, True)
    letters, after = mesh.dead_letters(role="DOOMED")
    assert ([letter.id for letter in letters], after) == ([dead.id], None)
    _follow(mesh, dead.id)
    assert mesh.redrive(dead.id).id == dead.id
    assert mesh.wait(dead.id, 30.0).state is State.PERMANENT_FAILURE
    with pytest.raises(Conflict, match="PERMANENT_FAILURE"):
        mesh.cancel(dead.id)
    tasks, _ = mesh.tasks(role="DOOMED", state="PERMANENT_FAILURE", limit=1)
    assert [task.id for task in tasks] == [dead.id]
    overview = mesh.overview()
    assert overview.admission_open
    assert "agent_dead_letter" in [queue.name for queue in overview.queues]


def _follow(mesh: Client, task: int) -> None:
    """Redrive it while somebody watches. Events come from the moment on in which the stream is open."""
    seen: list[State] = []

    def watch() -> None:
        for event in mesh.events(task=task):
            if event.transition:
                seen.append(event.transition.to_state)
            if seen.count(State.PERMANENT_FAILURE) >= 2:
                return

    def seen_whole() -> bool:
        mesh.redrive_dead_letters([task])
        return seen.count(State.PERMANENT_FAILURE) >= 2

    watching = Thread(target=watch, daemon=True)
    watching.start()
    eventually(seen_whole)
    watching.join(10.0)
    first = seen.index(State.PERMANENT_FAILURE)
    assert seen[first + 1 : first + 4] == [State.PENDING, State.RUNNING, State.PERMANENT_FAILURE]
    eventually(lambda: mesh.task(task).finished)


def _the_command_line_does_it_too(api: Meshlab) -> None:
    said = [api.command(*words) for words in (["dlq", "list"], ["dlq", "discard", "--all"], ["dlq", "list"])]
    assert "DOOMED" in said[0]
    assert said[1].startswith("discarded: ")
    assert said[2] == "no dead letters\n"


# ---- parts -----------------------------------------------------------------------------------------------------------


def test_a_mesh_that_does_not_get_ready_says_who_is_missing(
    shared: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The stand-in does not understand an API's settings, and dies of it again and again."""
    monkeypatch.setattr(standing, "API_MODULE", "tests.live.stand_in")
    definition.prepare(shared.dsn)
    addresses, told = Addresses(shared.dsn, shared.redis_url), list[str]()

    async def work() -> None:
        listen = Listen("127.0.0.1", free_port("127.0.0.1", 0))
        async with Standing(addresses, definition.default_mesh(), told.append, workers=0, listen=listen) as mesh:
            await mesh.ready()

    with pytest.raises(Unavailable, match="did not get ready: api"):
        asyncio.run(work())
    assert "api: exit 1; another takes its place in 0.1 s" in told


def test_a_published_mesh_changes_only_when_it_is_another(shared: Servers) -> None:
    definition.prepare(shared.dsn)
    one, other = definition.default_mesh(), Scenario.parse(SLOW.replace("SECONDS", "1"))
    definition.publish(shared.dsn, one)
    first = definition.fetch(shared.dsn)
    definition.publish(shared.dsn, one)
    definition.publish(shared.dsn, other, only_if_none=True)
    assert definition.fetch(shared.dsn) == first
    assert first is not None
    assert first.scenario.data == one.data
    definition.publish(shared.dsn, other)
    second = definition.fetch(shared.dsn)
    assert second is not None
    assert second.scenario.name == "slow"
    assert second.changed_at > first.changed_at


def test_a_database_without_the_tables_has_no_mesh(shared: Servers) -> None:
    with psycopg.connect(shared.dsn, autocommit=True) as connection:
        connection.execute("create database bare")
    assert definition.fetch(psycopg.conninfo.make_conninfo(shared.dsn, dbname="bare")) is None


def test_free_ports() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", port) not in (0, port)
    assert free_port("127.0.0.1", port) == port
    for elsewhere in ("192.0.2.1", "no.such.host.invalid"):
        with pytest.raises(Unavailable, match=f"--host {elsewhere}: nothing can listen there"):
            free_port(elsewhere, 0)


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:1"), ("0.0.0.0", "http://127.0.0.1:1"), ("::1", "http://[::1]:1")],
)
def test_an_api_is_known_by_its_address_on_this_machine(host: str, url: str) -> None:
    listen: Any = Listen(host, 1, "secret")
    assert listen.url == url
    assert "secret" not in repr(listen)
