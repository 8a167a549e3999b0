"""A soak: a standing mesh on servers of its own, a steady load over HTTP, and a nemesis that strikes at random. At the
end everything is healed, the mesh drains, and PostgreSQL is asked what became of every task.

The way through: `soak → _fight → _drain → _judge`. Who submits stands in `soak_load.py`, who strikes in `nemesis.py`,
what can be struck in `soak_field.py`, how it is judged in `soak_report.py`.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psycopg

from lab.checks import Check
from lab.limits import SOAK_DRAIN_S_MAX
from lab.progress import Progress, Stop
from lab.record import machine, versions
from lab.scenario import Scenario
from live_backend import definition, verifying
from live_backend.client import AsyncClient
from live_backend.ending import end
from live_backend.nemesis import EVERY_S, Blow, Nemesis, plan
from live_backend.servers import Servers, open_servers
from live_backend.soak_field import Field
from live_backend.soak_load import Load
from live_backend.soak_report import EXAMPLES_MAX, Truth, read_truth, reclaim_figures, undisturbed
from live_backend.standing import Addresses, Listen, Standing, free_port

SOAK_MESH: Final = Path(__file__).with_name("soak_mesh.yaml")
WATCH_S: Final = 0.1
DRAIN_POLL_S: Final = 0.5
OWN_END = re.compile(r": (exit [1-9]\d*|killed by (?!SIGKILL|SIGTERM)\w+)")
"""How a supervisor says that a process ended in a way that the nemesis does not end any."""


@dataclass(frozen=True)
class Settings:
    """What is asked of a soak."""

    minutes: float
    rate_per_s: float
    workers: int
    slots: int
    seed: int
    every_s: float = EVERY_S
    """Between one fault and the next, on average."""

    @property
    def length_s(self) -> float:
        """How long it submits."""
        return 60.0 * self.minutes

    @property
    def command(self) -> str:
        """What repeats it."""
        numbers = f"--minutes {self.minutes:g} --rate {self.rate_per_s:g} --workers {self.workers} --slots {self.slots}"
        return f"meshlab soak {numbers} --every {self.every_s:g} --seed {self.seed}"


@dataclass(frozen=True)
class Report:
    """What came of it. `figures` is JSON."""

    figures: dict[str, Any]

    @property
    def is_sound(self) -> bool:
        """Nothing lost, nothing doubled, and every check holds."""
        return bool(self.figures["sound"])

    @property
    def was_interrupted(self) -> bool:
        """Whether a person ended it early."""
        return bool(self.figures["interrupted"])


OnProgress = Callable[[Progress], None]


def soak(settings: Settings, on_progress: OnProgress, stop: Stop, tell: Callable[[str], None]) -> Report:
    """Run it. `stop` ends it early; `tell` hears of whatever people should. Raises Unavailable if it cannot begin, or
    if its own servers cannot be brought back.
    """
    overrides = {"mesh.workers": settings.workers, "mesh.slots": settings.slots, "seed": settings.seed}
    scenario = Scenario.load(SOAK_MESH).override(overrides)
    with open_servers({}) as servers:
        definition.prepare(servers.dsn)
        definition.publish(servers.dsn, scenario)
        return asyncio.run(_Soak(settings, scenario, servers, on_progress, stop, tell).run())


class _Soak:
    def __init__(
        self,
        settings: Settings,
        scenario: Scenario,
        servers: Servers,
        on_progress: OnProgress,
        stop: Stop,
        tell: Callable[[str], None],
    ) -> None:
        self._settings, self._scenario, self._servers = settings, scenario, servers
        self._on_progress, self._stop, self._tell = on_progress, stop, tell
        self._began = self._began_at = self._lasted_s = 0.0
        self._note = ""
        self._own_ends: list[str] = []
        self._drain_s: float | None = None

    async def run(self) -> Report:
        listen = Listen("127.0.0.1", free_port("127.0.0.1", 0))
        addresses = Addresses(self._servers.dsn, self._servers.redis_url)
        workers = self._settings.workers
        async with (
            Standing(addresses, self._scenario, self._hear, workers=workers, listen=listen) as standing,
            Standing(addresses, self._scenario, self._hear, workers=0) as standby,
            AsyncClient(listen.url, retry_for_s=math.inf) as client,
        ):
            await standing.ready()
            field = Field(self._servers, standing, standby, listen)
            roles = list(self._scenario.workload.roles)
            load = Load(client, self._settings.rate_per_s, roles, self._scenario.name, self._settings.seed)
            try:
                nemesis = await self._fight(field, load)
                await self._drain(load)
            finally:
                field.close()
        return await asyncio.to_thread(self._judge, load, nemesis)

    def _hear(self, text: str) -> None:
        """What the supervisors say. A process that ended as the nemesis ends none is a finding."""
        if OWN_END.search(text):
            self._own_ends.append(text)
            self._tell(text)

    # -- the fight --

    async def _fight(self, field: Field, load: Load) -> Nemesis:
        """Submit and strike until the time is up, or a person has had enough; then heal."""
        lease_s, over = self._scenario.rules.lease.length_s, asyncio.Event()
        planned = plan(self._settings.seed, self._settings.length_s, lease_s, self._settings.every_s)
        nemesis = Nemesis(field, planned, lease_s, self._struck)
        self._began, self._began_at = time.monotonic(), time.time()
        submitting = asyncio.create_task(load.run(over))
        striking = asyncio.create_task(nemesis.run())
        while not self._stop() and time.monotonic() < self._began + self._settings.length_s:
            await asyncio.sleep(WATCH_S)
            self._show(load)
            if submitting.done():
                submitting.result()  # a fault of ours
        self._lasted_s = time.monotonic() - self._began
        over.set()
        await end(striking)
        if not striking.cancelled() and (error := striking.exception()):
            raise error
        await field.heal()
        await submitting
        return nemesis

    def _struck(self, blow: Blow) -> None:
        self._note = blow.kind

    def _show(self, load: Load, note: str = "") -> None:
        total = max(len(load.promised), int(self._settings.rate_per_s * self._settings.length_s))
        now_s = time.monotonic() - self._began
        self._on_progress(Progress("soak", len(load.promised), total, now_s, now_s, note or self._note))

    # -- the end --

    async def _drain(self, load: Load) -> None:
        """Wait until every task has come to its end, for as long as that may take."""
        began = time.monotonic()
        self._show(load, "healed; waiting for the last receipts")
        await load.answered(SOAK_DRAIN_S_MAX)
        while time.monotonic() < began + SOAK_DRAIN_S_MAX:
            left = await asyncio.to_thread(self._unfinished)
            if left == 0:
                self._drain_s = time.monotonic() - began
                return
            self._show(load, "draining" if left is None else f"draining: {left:,} tasks left")
            await asyncio.sleep(DRAIN_POLL_S)

    def _unfinished(self) -> int | None:
        try:
            return verifying.unfinished(self._servers.dsn)
        except psycopg.OperationalError:
            return None  # it is being started

    def _judge(self, load: Load, nemesis: Nemesis) -> Report:
        truth = read_truth(self._servers.dsn, load, nemesis.blows)
        checks = verifying.verify(self._servers.dsn, scenario=self._scenario, accepted=list(load.promised.values()))
        return Report(self._figures(load, nemesis, truth, checks))

    def _figures(self, load: Load, nemesis: Nemesis, truth: Truth, checks: list[Check]) -> dict[str, Any]:
        doubled = [*truth.doubled, *load.contradictions]
        failed = [one for one in checks if not one.ok]
        rules = self._scenario.rules.lease
        return {
            "sound": not (truth.lost or doubled or failed),
            "interrupted": self._stop(),
            "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "minutes": round(self._lasted_s / 60.0, 3),
            "rate_per_s": {"asked": self._settings.rate_per_s, "sustained": round(load.sent / self._lasted_s, 1)},
            "tasks": {
                "sent": load.sent,
                "acknowledged": len(load.promised),
                "unanswered": load.sent - len(load.promised),
                "held_back": load.held_back,
                "exposed": truth.exposed,
                "lost": len(truth.lost),
                "doubled": len(doubled),
                "by_state": truth.states,
            },
            "faults": {
                "total": len(nemesis.blows),
                "lasted_s": round(sum(blow.until - blow.at for blow in nemesis.blows), 1),
                "by_kind": dict(sorted(Counter(blow.kind for blow in nemesis.blows).items())),
                "missed": dict(sorted(Counter(blow.kind for blow in nemesis.missed).items())),
                "log": [
                    {
                        "at_s": round(blow.at - self._began_at, 2),
                        "until_s": round(blow.until - self._began_at, 2),
                        "kind": blow.kind,
                        "missed": blow.missed,
                    }
                    for blow in sorted([*nemesis.blows, *nemesis.missed], key=lambda blow: blow.at)
                ],
            },
            "retries": truth.retries,
            "reclaims": len(truth.reclaimed),
            "stale_writes": truth.notes.get("stale_write", 0),
            "notes": truth.notes,
            "reclaim": reclaim_figures(truth.reclaimed, rules, self._began_at),
            "submit_undisturbed": asdict(undisturbed(load.requests, nemesis.blows)),
            "drain_s": None if self._drain_s is None else round(self._drain_s, 2),
            "checks": {
                "passed": len(checks) - len(failed),
                "failed": [{"name": one.name, "found": one.found, "tasks": list(one.tasks)} for one in failed],
            },
            "examples": {"lost": truth.lost[:EXAMPLES_MAX], "doubled": doubled[:EXAMPLES_MAX]},
            "processes_that_ended_by_themselves": self._own_ends,
            "strange_answers": dict(load.strange.most_common(EXAMPLES_MAX)),
            "seed": self._settings.seed,
            "command": self._settings.command,
            "machine": machine(),
            "versions": {**versions(), **{fact.kind: fact.version for fact in self._servers.facts}},
        }
