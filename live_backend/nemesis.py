"""The nemesis of a soak: what it does, to whom, when and for how long; all drawn from a seed before anything runs.

A blow is a fault that happened. It lasts until what was struck is back: a process is replaced, a server answers. Blows
at the same target follow one another; two at different targets may overlap, and some are planned to.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from live_backend.ending import end
from live_backend.posts import Post
from live_backend.soak_field import MISSED, TERMINATE, TERMINATE_ALL, Field

Target = Literal["worker", "api", "reaper", "redis", "postgres"]
EVERY_S: Final = 10.0
"""Between one blow and the next, on average: most effects of the last one are over by then, not all."""
FIRST_AFTER_S: Final = 1.0
TWIN_SHARE: Final = 0.15
"""So many are followed by another one at once."""
TWIN_S: Final = 1.0
BACK_S_MAX: Final = 60.0
"""What has not come back by then is left to the end of the soak."""


@dataclass
class Blow:
    """A fault that happened; moments in seconds of the epoch, on the clock that PostgreSQL has too."""

    kind: str
    target: Target
    hold_s: float
    pick: float
    """In [0, 1): which one of several is struck."""
    at: float = 0.0
    until: float = 0.0
    silenced: list[int] = field(default_factory=list)
    """Process ids of workers that were not heard from `at` on, for ever or until `until`."""
    missed: str = ""
    """Why it did not happen."""


class Planned(NamedTuple):
    """A blow to come, `at_s` after the start."""

    at_s: float
    kind: str
    hold_s: float
    pick: float


class Kind(NamedTuple):
    """A kind of fault. `weight`: how often, against the others; `hold_s`: it lasts between so long and so long."""

    target: Target
    weight: float
    hold_s: tuple[float, float]
    act: Callable[[Field, Blow], Awaitable[None]]


def plan(seed: int, length_s: float, lease_s: float, every_s: float = EVERY_S) -> list[Planned]:
    """The blows of a soak, by time. The same seed, the same plan; what it meets is another matter."""
    chance, at_s, found = random.Random(seed), FIRST_AFTER_S, list[Planned]()
    kinds = kinds_for(lease_s)
    names, weights = list(kinds), [kind.weight for kind in kinds.values()]
    while (at_s := at_s + chance.expovariate(1.0 / every_s)) < length_s:
        moments = [at_s, at_s + TWIN_S * chance.random()] if chance.random() < TWIN_SHARE else [at_s]
        for moment in moments:
            [name] = chance.choices(names, weights)
            found.append(Planned(moment, name, chance.uniform(*kinds[name].hold_s), chance.random()))
    return sorted(found)


class Nemesis:
    """Carries out a plan. `blows` are those that happened, `on_blow` hears of each as it begins."""

    def __init__(
        self, field: Field, planned: Sequence[Planned], lease_s: float, on_blow: Callable[[Blow], None]
    ) -> None:
        self.blows: list[Blow] = []
        self.missed: list[Blow] = []
        self._field, self._planned, self._on_blow = field, planned, on_blow
        self._kinds = kinds_for(lease_s)
        self._busy: dict[Target, asyncio.Lock] = {kind.target: asyncio.Lock() for kind in self._kinds.values()}

    async def run(self) -> None:
        """Until all has happened. Cancelled, it leaves things as they are: `Field.heal` sees to them."""
        began = time.monotonic()
        striking: list[asyncio.Task[None]] = []
        try:
            for planned in self._planned:
                await asyncio.sleep(began + planned.at_s - time.monotonic())
                striking.append(asyncio.create_task(self._strike(planned)))
            await asyncio.gather(*striking)
        finally:
            await end(*striking)

    async def _strike(self, planned: Planned) -> None:
        kind = self._kinds[planned.kind]
        async with self._busy[kind.target]:
            blow = Blow(planned.kind, kind.target, planned.hold_s, planned.pick, at=time.time())
            self._on_blow(blow)
            try:
                async with asyncio.timeout(BACK_S_MAX):
                    await kind.act(self._field, blow)
            except MISSED as error:  # a TimeoutError is an OSError: then it did happen, and lasts
                blow.missed = " ".join(str(error).split()) or type(error).__name__
            finally:
                blow.until = time.time()
                lasts = not blow.missed or blow.silenced or blow.until - blow.at >= blow.hold_s
                (self.blows if lasts else self.missed).append(blow)


# ---- processes -------------------------------------------------------------------------------------------------------

Who = Callable[[Field, Blow], Awaitable[list[Post]]]


async def _worker(field: Field, blow: Blow) -> list[Post]:
    workers = field.standing.workers
    return [workers[int(blow.pick * len(workers))]]


async def _workers(field: Field, blow: Blow) -> list[Post]:
    return list(field.standing.workers)


async def _api(field: Field, blow: Blow) -> list[Post]:
    return [field.api]


async def _reaper(field: Field, blow: Blow) -> list[Post]:
    return [await field.active_reaper()]


def _ended(who: Who, number: signal.Signals) -> Callable[[Field, Blow], Awaitable[None]]:
    """A signal that ends it; over when another stands in its place."""

    async def act(field: Field, blow: Blow) -> None:
        posts, pids = await _struck(field, blow, who)
        if number == signal.SIGKILL:
            blow.silenced = pids
        field.send(pids, number)
        await field.manned(posts, but=pids)
        if blow.target == "api":
            await field.api_answers()
        if blow.target == "worker":
            await field.at_work(posts, since=blow.at)

    return act


def _frozen(who: Who) -> Callable[[Field, Blow], Awaitable[None]]:
    """It stands still, and goes on as if nothing had happened."""

    async def act(field: Field, blow: Blow) -> None:
        _, pids = await _struck(field, blow, who)
        blow.silenced = pids
        field.send(pids, signal.SIGSTOP)
        await asyncio.sleep(blow.hold_s)
        field.send(pids, signal.SIGCONT)

    return act


async def _struck(field: Field, blow: Blow, who: Who) -> tuple[list[Post], list[int]]:
    posts = [post for post in await who(field, blow) if post.pid is not None]
    if not posts:
        raise LookupError("nobody stands there now")
    blow.at = time.time()
    return posts, [post.pid for post in posts if post.pid is not None]


# ---- Redis -----------------------------------------------------------------------------------------------------------


def _command(*words: str) -> Callable[[Field, Blow], Awaitable[None]]:
    async def act(field: Field, blow: Blow) -> None:
        await field.redis(*words)

    return act


async def _restart_redis(field: Field, blow: Blow) -> None:
    await field.restart_redis(blow.hold_s)


async def _freeze_redis(field: Field, blow: Blow) -> None:
    pids = field.redis_pids
    field.send(pids, signal.SIGSTOP)
    await asyncio.sleep(blow.hold_s)
    field.send(pids, signal.SIGCONT)


async def _fill_redis(field: Field, blow: Blow) -> None:
    """It refuses whatever would need memory."""
    await field.redis("CONFIG", "SET", "maxmemory", "1")
    await asyncio.sleep(blow.hold_s)
    await field.redis("CONFIG", "SET", "maxmemory", "0")


# ---- PostgreSQL ------------------------------------------------------------------------------------------------------


async def _restart_postgres(field: Field, blow: Blow) -> None:
    """SIGQUIT: no checkpoint, the next start replays the log."""
    await asyncio.to_thread(field.servers.kill_postgres)
    await asyncio.sleep(blow.hold_s)
    await field.start_postgres()


async def _kill_postgres(field: Field, blow: Blow) -> None:
    """SIGKILL to its first process; the others notice, and end."""
    field.send([field.postmaster], signal.SIGKILL)
    await asyncio.sleep(blow.hold_s)
    await field.start_postgres()


async def _kill_backend(field: Field, blow: Blow) -> None:
    """SIGKILL to one session, which PostgreSQL takes for a crash: it throws everybody out and recovers."""
    sessions = await field.sessions()
    field.send([sessions[int(blow.pick * len(sessions))]], signal.SIGKILL)
    await asyncio.sleep(blow.hold_s)
    await field.start_postgres()


async def _freeze_postgres(field: Field, blow: Blow) -> None:
    field.send([field.postmaster], signal.SIGSTOP)  # first: from now on it has no more children
    pids = field.postgres_pids
    field.send(pids, signal.SIGSTOP)
    await asyncio.sleep(blow.hold_s)
    field.send(pids, signal.SIGCONT)


async def _terminate_one(field: Field, blow: Blow) -> None:
    sessions = await field.sessions()
    await field.sql(TERMINATE, pid=sessions[int(blow.pick * len(sessions))])


async def _terminate_all(field: Field, blow: Blow) -> None:
    await field.sql(TERMINATE_ALL)


async def _read_only(field: Field, blow: Blow) -> None:
    """As after a failover to a standby."""
    await field.read_only(True)
    await asyncio.sleep(blow.hold_s)
    await field.read_only(False)


async def _lock(field: Field, blow: Blow) -> None:
    await field.locked(blow.hold_s)


def kinds_for(lease_s: float) -> dict[str, Kind]:
    """Every kind of fault. Freezes are shorter and longer than the lease: the worker is still the holder, or is not."""
    kill, term, at_once = signal.SIGKILL, signal.SIGTERM, (0.0, 0.0)
    return {
        "kill a worker": Kind("worker", 3, at_once, _ended(_worker, kill)),
        "kill all workers": Kind("worker", 1, at_once, _ended(_workers, kill)),
        "terminate a worker": Kind("worker", 1, at_once, _ended(_worker, term)),
        "freeze a worker within its lease": Kind("worker", 1, (0.2, 0.6 * lease_s), _frozen(_worker)),
        "freeze a worker past its lease": Kind("worker", 2, (1.2 * lease_s, 2.5 * lease_s), _frozen(_worker)),
        "kill the API": Kind("api", 2, at_once, _ended(_api, kill)),
        "terminate the API": Kind("api", 1, at_once, _ended(_api, term)),
        "freeze the API": Kind("api", 1, (0.5, 4.0), _frozen(_api)),
        "kill the reaper": Kind("reaper", 2, at_once, _ended(_reaper, kill)),
        "terminate the reaper": Kind("reaper", 1, at_once, _ended(_reaper, term)),
        "freeze the reaper": Kind("reaper", 1, (1.0, 6.0), _frozen(_reaper)),
        "kill Redis": Kind("redis", 2, (0.0, 2.0), _restart_redis),
        "flush Redis": Kind("redis", 1, at_once, _command("FLUSHALL")),
        "freeze Redis": Kind("redis", 2, (0.5, 5.0), _freeze_redis),
        "fill Redis": Kind("redis", 1, (0.5, 3.0), _fill_redis),
        "flush Redis scripts": Kind("redis", 1, at_once, _command("SCRIPT", "FLUSH")),
        "cut Redis clients": Kind("redis", 1, at_once, _command("CLIENT", "KILL", "TYPE", "normal")),
        "cut Redis listeners": Kind("redis", 1, at_once, _command("CLIENT", "KILL", "TYPE", "pubsub")),
        "stop PostgreSQL at once": Kind("postgres", 1, (0.0, 2.0), _restart_postgres),
        "kill PostgreSQL": Kind("postgres", 2, (0.0, 1.0), _kill_postgres),
        "kill a backend": Kind("postgres", 1, (0.1, 0.2), _kill_backend),
        "freeze PostgreSQL": Kind("postgres", 1, (0.5, 5.0), _freeze_postgres),
        "end a session": Kind("postgres", 1, at_once, _terminate_one),
        "end all sessions": Kind("postgres", 1, at_once, _terminate_all),
        "make PostgreSQL read-only": Kind("postgres", 1, (0.5, 4.0), _read_only),
        "lock the tasks": Kind("postgres", 1, (0.5, 1.5), _lock),
    }
