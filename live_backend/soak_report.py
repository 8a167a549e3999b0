"""What a soak found: PostgreSQL's truth beside what the client was promised and what the nemesis did.

lost      acknowledged tasks that are not there, or have not come to an end although the mesh was left to drain
doubled   tasks that were completed twice, keys that stand for two tasks, and tasks that no key stands for
exposed   tasks that were under way while a fault lasted, or were submitted meanwhile
reclaim   from the moment at which a worker was silenced (or, if later, its claim) to that at which its task was
          taken back; due within lease + sweep + RECLAIM_SLACK_S
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import psycopg

from lab.rules.lease import LeaseRules
from lab.rules.tasks import TERMINAL, Event, State
from live_backend.nemesis import Blow
from live_backend.soak_load import Load, Sent

RECLAIM_SLACK_S: Final = 1.0
"""What a reclaim may take beyond lease and sweep: the sweep itself, on a busy machine."""
SETTLED_S: Final = 5.0
"""A fault echoes in what clients wait: what was held back meanwhile comes at once. Only requests that begin later than
this count as undisturbed.
"""
EXAMPLES_MAX: Final = 20
Floats = npt.NDArray[np.float64]

STATES = "select id, state from public.task"
KEYS = "select key, task from public.submission_key"
DONE_TWICE = """
select task from public.transition where to_state = %(completed)s group by task having count(*) > 1"""
SPANS = """
select task, extract(epoch from min(at))::float8,
    extract(epoch from max(at) filter (where to_state = any(%(ends)s)))::float8
from public.transition group by task"""
REASONS = "select reason, count(*) from public.transition group by reason"
NOTES = "select kind, count(*) from public.note group by kind"
RECLAIMS = """
select lapse.task, claim.worker, extract(epoch from claim.at)::float8, extract(epoch from lapse.at)::float8
from public.transition lapse join public.transition claim
    on claim.task = lapse.task and claim.token = lapse.token and claim.reason = %(claimed)s
where lapse.reason = %(lapsed)s order by lapse.at"""
WORKERS = "select id, pid, extract(epoch from started_at)::float8 from public.worker"

Disturbance = Literal["none", "reaper", "postgres"]
Connection = psycopg.Connection[tuple[Any, ...]]


class Reclaim(NamedTuple):
    """A task that was taken back. `waited_s` is without the time for which PostgreSQL was struck."""

    task: int
    worker: str
    lapsed_at: float
    waited_s: float
    disturbed_by: Disturbance
    """What else was struck between the worker's silence and the reclaim: nothing, the reaper, or PostgreSQL."""
    explained: bool
    """Whether the nemesis had silenced that worker, or PostgreSQL."""


@dataclass(frozen=True)
class Spread:
    """Seconds: how many, and how they are spread. None where there are none."""

    count: int
    p50_s: float | None = None
    p99_s: float | None = None
    max_s: float | None = None

    @classmethod
    def of(cls, seconds: Collection[float]) -> Spread:
        """The spread of these."""
        if not seconds:
            return cls(0)
        p50_s, p99_s, max_s = np.percentile(np.fromiter(seconds, float), [50, 99, 100])
        return cls(len(seconds), round(float(p50_s), 4), round(float(p99_s), 4), round(float(max_s), 4))


@dataclass(frozen=True)
class Truth:
    """What the tables say, as far as this report needs it."""

    submitted: int
    states: dict[str, int]
    lost: list[int]
    doubled: list[str]
    exposed: int
    retries: int
    reclaimed: list[Reclaim]
    notes: dict[str, int]


# ---- reading ---------------------------------------------------------------------------------------------------------


def read_truth(dsn: str, load: Load, blows: Sequence[Blow]) -> Truth:
    """Read at one moment, after the mesh has drained."""
    promised = {load.key(number): task for number, task in load.promised.items()}
    sent_at = {task: load.sent_at[number] for number, task in load.promised.items()}
    with psycopg.connect(dsn) as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        states: dict[int, str] = dict(_rows(connection, STATES))
        reasons: dict[str, int] = dict(_rows(connection, REASONS))
        return Truth(
            submitted=len(states),
            states=dict(Counter(states.values())),
            lost=_lost(states, promised.values()),
            doubled=_doubled(connection, states, promised),
            exposed=_exposed(_rows(connection, SPANS, ends=[str(state) for state in TERMINAL]), sent_at, blows),
            retries=reasons.get(Event.DUE, 0),
            reclaimed=_reclaims(connection, blows),
            notes=dict(_rows(connection, NOTES)),
        )


def _rows(connection: Connection, query: str, **values: Any) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode(), values).fetchall()


def _lost(states: Mapping[int, str], promised: Collection[int]) -> list[int]:
    ended = {str(state) for state in TERMINAL}
    return sorted(task for task in promised if states.get(task) not in ended)


def _doubled(connection: Connection, states: Mapping[int, str], promised: Mapping[str, int]) -> list[str]:
    """In words, one for each."""
    keys: dict[str, int] = dict(_rows(connection, KEYS))
    twice = [f"task {row[0]} was completed twice" for row in _rows(connection, DONE_TWICE, completed=State.COMPLETED)]
    keyless = [f"task {task} has no key" for task in sorted(states.keys() - set(keys.values()))]
    other = [
        f"{key} stands for {keys.get(key)}, not for {task}" for key, task in promised.items() if keys.get(key) != task
    ]
    shared = [f"task {task} has {count} keys" for task, count in Counter(keys.values()).items() if count > 1]
    return [*twice, *keyless, *other, *shared]


def _exposed(spans: Sequence[tuple[Any, ...]], sent_at: Mapping[int, float], blows: Sequence[Blow]) -> int:
    """A task is under way from the moment at which its client sent it, as far as a client is known."""
    began = np.array([sent_at.get(task, at) for task, at, _ in spans])
    ended = np.array([np.inf if at is None else at for _, _, at in spans])
    exposed = np.zeros(len(spans), dtype=bool)
    for blow in blows:
        exposed |= (began <= blow.until) & (ended >= blow.at)
    return int(exposed.sum())


# ---- reclaims --------------------------------------------------------------------------------------------------------


def _reclaims(connection: Connection, blows: Sequence[Blow]) -> list[Reclaim]:
    lives = _rows(connection, WORKERS)
    silences: dict[str, list[tuple[float, float]]] = {}
    for blow in blows:
        for pid in blow.silenced:
            own = [(started_at, worker) for worker, its, started_at in lives if its == pid and started_at <= blow.at]
            if own:
                silences.setdefault(max(own)[1], []).append((blow.at, blow.until))
    rows = _rows(connection, RECLAIMS, claimed=Event.CLAIMED, lapsed=Event.LEASE_LAPSED)
    return [
        _reclaim(task, worker, claimed_at, lapsed_at, silences.get(worker, ()), blows)
        for task, worker, claimed_at, lapsed_at in rows
    ]


def _reclaim(
    task: int,
    worker: str,
    claimed_at: float,
    lapsed_at: float,
    silences: Collection[tuple[float, float]],
    blows: Sequence[Blow],
) -> Reclaim:
    """Who was silenced twice is counted from the first time on, for that is when the last renewal may have been."""
    began = [at for at, until in silences if claimed_at <= until and at <= lapsed_at]
    silent_at = max(claimed_at, min(began)) if began else claimed_at
    meanwhile = [blow for blow in blows if blow.at <= lapsed_at and blow.until >= silent_at]
    by_postgres = [blow for blow in meanwhile if blow.target == "postgres"]
    away_s = sum(min(blow.until, lapsed_at) - max(blow.at, silent_at) for blow in by_postgres)
    by_reaper = any(blow.target == "reaper" for blow in meanwhile)
    disturbed_by: Disturbance = "postgres" if by_postgres else "reaper" if by_reaper else "none"
    return Reclaim(task, worker, lapsed_at, lapsed_at - silent_at - away_s, disturbed_by, bool(began or by_postgres))


def bound_s(rules: LeaseRules) -> float:
    """Within what a reclaim is due."""
    return rules.length_s + rules.sweep_s + RECLAIM_SLACK_S


def reclaim_figures(reclaimed: Sequence[Reclaim], rules: LeaseRules, began_at: float) -> dict[str, Any]:
    """How long reclaims took, by what was struck besides."""
    within = bound_s(rules)
    by: dict[Disturbance, list[float]] = {"none": [], "reaper": [], "postgres": []}
    for one in reclaimed:
        by[one.disturbed_by].append(one.waited_s)
    late = [one for one in reclaimed if one.waited_s > within]
    examples = [
        {**one._asdict(), "lapsed_at": round(one.lapsed_at - began_at, 2), "waited_s": round(one.waited_s, 3)}
        for one in late[:EXAMPLES_MAX]
    ]
    spreads = {name: asdict(Spread.of(seconds)) for name, seconds in by.items()}
    unexplained = [one.task for one in reclaimed if not one.explained]
    return {
        "bound_s": within,
        "late": len(late),
        "late_examples": examples,
        "unexplained": unexplained[:EXAMPLES_MAX],
        "by_disturbance": spreads,
    }


# ---- what clients waited ---------------------------------------------------------------------------------------------


def undisturbed(requests: Sequence[Sent], blows: Sequence[Blow]) -> Spread:
    """How long submissions took that no fault touched."""
    at = np.array([sent.at for sent in requests])
    answered_at = np.array([sent.answered_at for sent in requests])
    calm = np.ones(len(requests), dtype=bool)
    for blow in blows:
        calm &= (answered_at < blow.at) | (at > blow.until + SETTLED_S)
    return Spread.of((answered_at - at)[calm].tolist())
