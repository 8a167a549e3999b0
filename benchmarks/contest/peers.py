"""The peers: how each is started for each workload, in the best configuration that was found."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contest.contestant import KINDS, WARM_TASKS, Kind, Marks, Place
from benchmarks.contest.processes import Group, Trouble

ROOT = Path(__file__).parents[2]
VENV = ROOT / ".venv-peers"
APPS = Path(__file__).with_name("apps")
PROGRAM_TIMEOUT_S = 120.0
CELERY = "celery -A celery_app worker --without-gossip --without-mingle --without-heartbeat -l WARNING"
TASKIQ = "taskiq worker taskiq_app:broker --workers 2 --max-async-tasks 100 --log-level WARNING"
PROCRASTINATE = "procrastinate --app procrastinate_app.app worker --concurrency 100"


@dataclass(frozen=True)
class Recipe:
    """A peer in one configuration. `noop` and `sleep` are command lines, each started `processes` times."""

    app: str
    packages: tuple[str, ...]
    noop: str
    sleep: str
    noop_processes: int = 1
    sleep_processes: int = 1
    remark: str = ""
    prepares: bool = False
    kinds: tuple[Kind, ...] = KINDS


RECIPES = {
    "celery": Recipe(
        "celery_app", ("celery", "redis"), f"{CELERY} -P prefork -c 2", f"{CELERY} -P threads -c 100", 1, 2,
        "prefetch 4 a slot (128 was no faster), no results; acknowledges early: a crash loses tasks",
    ),
    "dramatiq": Recipe(
        "dramatiq_app", ("dramatiq", "redis"), "dramatiq dramatiq_app --processes 2 --threads 8",
        "dramatiq dramatiq_app --processes 2 --threads 100", remark="no results",
    ),
    "taskiq": Recipe("taskiq_app", ("taskiq", "taskiq-redis"), TASKIQ, TASKIQ, remark="stream, no results"),
    "huey": Recipe(
        "huey_app", ("huey", "redis"), "huey_consumer huey_app.huey -w 2 -k process -q",
        "huey_consumer huey_app.huey -w 100 -k thread -q", 1, 2, "list, no results; a popped task is lost in a crash",
    ),
    "procrastinate": Recipe(
        "procrastinate_app", ("procrastinate", "psycopg"), PROCRASTINATE, PROCRASTINATE, 2, 2,
        "job row and log of events in PostgreSQL", prepares=True,
    ),
    **{
        f"pgqueuer {batch}": Recipe(
            "pgqueuer_app", ("pgqueuer", "asyncpg"), f"python pgqueuer_app.py {batch} 0",
            f"python pgqueuer_app.py {batch} {max(100, 2 * batch)}", 2, 2,
            "uvloop; 2nd number: slots, 0 no limit, least 2 a batch; job row deleted, log rows in PostgreSQL",
            prepares=True,
        )
        for batch in (10, 100, 500)
    },
}  # fmt: skip


class Peer:
    """A peer in one configuration. See Contestant."""

    def __init__(self, name: str, recipe: Recipe) -> None:
        self.name, self.kinds, self._recipe = name, recipe.kinds, recipe
        self._groups: list[Group] = []

    def setting(self, kind: Kind) -> str:
        """See Contestant."""
        command, times = self._command(kind)
        return f"{f'{times} × ' if times > 1 else ''}`{command}`{self._recipe.remark and f' ({self._recipe.remark})'}"

    def start(self, place: Place, kind: Kind) -> Sequence[Group]:
        """See Contestant."""
        self._marks, self._environ = Marks(place.marks), {**_environment(), **place.environ()}
        if self._recipe.prepares:
            self._submit("prepare")
        command, times = self._command(kind)
        program, *words = command.split()
        for _ in range(times):
            self._groups.append(Group([str(VENV / "bin" / program), *words], self._environ, APPS))
        return self._groups

    def _command(self, kind: Kind) -> tuple[str, int]:
        recipe = self._recipe
        return (recipe.noop, recipe.noop_processes) if kind == "noop" else (recipe.sleep, recipe.sleep_processes)

    def enqueue(self, kind: Kind, first: int, count: int) -> float:
        """See Contestant."""
        return float(self._submit(kind, str(first), str(count)).split()[-1])

    def _submit(self, *words: str) -> str:
        command = [str(VENV / "bin" / "python"), "submit.py", self._recipe.app, *words]
        done = subprocess.run(
            command, cwd=APPS, env=self._environ, capture_output=True, text=True, timeout=PROGRAM_TIMEOUT_S, check=False
        )
        if done.returncode:
            raise Trouble(f"{' '.join(words)} failed:\n{done.stderr.strip()[-1000:]}")
        return done.stdout

    def freeze(self) -> None:
        """See Contestant."""
        for group in self._groups:
            group.freeze()

    def resume(self) -> None:
        """See Contestant."""
        for group in self._groups:
            group.thaw()

    def wait_done(self, count: int, timeout_s: float) -> float:
        """See Contestant. A peer's task is done when it has been executed; that this is recorded comes later."""
        self._marks.wait(WARM_TASKS + count, timeout_s, self._groups)
        return self._marks.last_s()

    def verify(self, count: int) -> str:
        """See Contestant."""
        return self._marks.refuse_gaps(count)

    def stop(self) -> None:
        """See Contestant."""
        while self._groups:
            self._groups.pop().end()


def _environment() -> dict[str, str]:
    """Ours without what would lead the peers' Python astray."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {**kept, "PYTHONPATH": f"{ROOT}{os.pathsep}{APPS}", "PYTHONDONTWRITEBYTECODE": "1"}
