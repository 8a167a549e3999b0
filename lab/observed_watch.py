"""Looks at a mesh beside its model, one after the other: figures seen and predicted, and what has drifted.

Two drifts are told apart. The mesh behaves otherwise than its rules say: with the work as it was seen, tasks take
longer (or shorter) than in the model. Or the work itself has changed: attempts take longer, or fail more often, than
they did. Which detectors there are, and how often they are wrong, stands in `lab/drift.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from lab import metrics, traces
from lab.distributions import service_times
from lab.draws import Floats
from lab.drift import SAMPLE_MIN, TAIL, Alarm, Baseline, Watch, apart_score, names_of
from lab.limits import SERVICE_S_MAX
from lab.observed_shadow import Attempt, Paired, expected_fleet, predict
from lab.observed_window import Window
from lab.scenario import EmpiricalService, Role, Scenario
from lab.units import plural
from lab.units import seconds as spoken

if TYPE_CHECKING:
    from lab.record import Record

State = Literal["agree", "apart", "quiet"]
Against = Literal["auto", "window", "scenario"]
"""What the work is compared with: the first window that was seen, or the distributions of the mesh's own scenario;
`auto`: the scenario's where the work is synthetic, so that it says what is done, else the window's.
"""
CURVE_BINS: Final = 60
SPARE: Final = 0.5
"""A slot of which at least this share of the capacity stood idle while tasks waited: something else holds them up."""


@dataclass(frozen=True)
class Look:
    """One look. Figures by name, seen and predicted; None where there is none. `state`: quiet when too little came."""

    at_s: float
    """By the store's clock, in seconds of the epoch."""
    window_s: float
    state: State
    alarms: tuple[Alarm, ...]
    seen: Mapping[str, float | None]
    predicted: Mapping[str, float | None]
    apart: float | None
    """The newest score of the mesh, in units of what is tolerated."""
    causes: tuple[str, ...]
    notes: tuple[str, ...]
    curves: Mapping[str, tuple[Floats, Floats]] = field(repr=False)
    """By name with unit: (seen, predicted) at `curve_s`."""
    curve_s: Floats = field(repr=False)

    @property
    def words(self) -> str:
        """The verdict in a sentence."""
        if self.state == "quiet":
            return "too little traffic to tell"
        if self.state == "agree":
            return "the mesh behaves as its model says"
        kinds = {one.kind for one in self.alarms}
        head = {
            frozenset({"mesh"}): "the mesh behaves otherwise than its rules and the work that was seen say",
            frozenset({"work"}): "the work itself has changed",
        }.get(frozenset(kinds), "both the mesh and the work have changed")
        whats = "; ".join(f"{one.what} (for {spoken(max(0.0, self.at_s - one.since_s))})" for one in self.alarms[:4])
        return f"{head}: {whats}"

    def as_json(self) -> dict[str, Any]:
        """For --json; curves left out."""
        return {
            "at_s": round(self.at_s, 3),
            "window_s": round(self.window_s, 3),
            "state": self.state,
            "verdict": self.words,
            "alarms": [
                {
                    "kind": one.kind,
                    "name": one.name,
                    "what": one.what,
                    "since_s": round(one.since_s, 3),
                    "strength": round(one.strength, 3),
                }
                for one in self.alarms
            ],
            "figures": {
                name: {"seen": _rounded(value), "predicted": _rounded(self.predicted[name])}
                for name, value in self.seen.items()
            },
            "apart": _rounded(self.apart),
            "causes": list(self.causes),
            "notes": list(self.notes),
        }


class Shadow:
    """Watches a mesh, window by window. `look` may be called as often as one likes."""

    def __init__(
        self,
        simulate: Callable[..., Record],
        every_s: float,
        *,
        overhead_s: float = 0.0,
        workers: int | None = None,
        slots: int | None = None,
        against: Against = "auto",
    ) -> None:
        self._simulate, self._every_s, self._overhead_s = simulate, every_s, overhead_s
        self._workers, self._slots, self._against = workers, slots, against
        self._watch = Watch({})
        self._scenario: dict[str, Any] = {}
        self._baselines: dict[str, Baseline] = {}
        self._fresh: dict[str, list[Attempt]] = {}
        self._counted: set[tuple[int, int]] = set()
        self._judged_until_s = -math.inf

    def look(self, window: Window) -> Look:
        """The model beside this window, and what the detectors say of what is new in it."""
        if window.scenario.data != self._scenario:
            self._begin(window.scenario)
        paired = predict(window, self._simulate, overhead_s=self._overhead_s, workers=self._workers, slots=self._slots)
        if paired is None:
            self._judged_until_s = window.end_at_s
            return _nothing(window, self._watch.alarms)
        apart = self._judge(window, paired)
        alarms = tuple(self._watch.alarms)
        state: State = "apart" if alarms else ("agree" if apart is not None else "quiet")
        seen, predicted = figures(paired)
        curve_s, drawn = curves(paired)
        found = causes(paired, alarms, self._workers, self._slots) if alarms else ()
        return Look(
            window.end_at_s, window.span_s, state, alarms, seen, predicted, apart, found, paired.notes, drawn, curve_s
        )

    def _begin(self, scenario: Scenario) -> None:
        """Another mesh was published: what was learnt of the old one says nothing of it."""
        self._scenario = scenario.data
        self._watch = Watch(names_of(list(scenario.workload.roles)))
        self._baselines, self._fresh, self._counted = {}, {}, set()
        for name, role in scenario.workload.roles.items():
            if self._against == "scenario" or (self._against == "auto" and role.handler is None):
                self._baselines[name] = baseline_of(name, role, scenario)

    def _judge(self, window: Window, paired: Paired) -> float | None:
        """Feed the detectors what is new since the last look, an interval at a time."""
        after_s = max(0.0, self._judged_until_s - window.start_at_s)
        count = max(1, round((window.span_s - after_s) / self._every_s))
        apart: float | None = None
        moments = np.linspace(after_s, window.span_s, count + 1)
        for from_s, until_s in zip(moments[:-1].tolist(), moments[1:].tolist(), strict=True):
            apart = apart_score(*paired.differences(until_s, until_s - from_s))
            scores = {} if apart is None else {"mesh slower": apart, "mesh faster": -apart}
            self._watch.look(scores | self._work_scores(paired, from_s, until_s), window.start_at_s + until_s)
        self._learn(window, paired)
        self._judged_until_s = window.end_at_s
        return apart

    def _work_scores(self, paired: Paired, from_s: float, until_s: float) -> dict[str, float]:
        """Of each role of which enough attempts have ended since it was judged last."""
        late = until_s >= paired.window.span_s
        for one in [*paired.finished(from_s, until_s), *(self._overdue(paired) if late else ())]:
            key = (one.task, one.number)
            if key not in self._counted:
                self._counted.add(key)
                self._fresh.setdefault(one.role, []).append(one)
        scores: dict[str, float] = {}
        for role, fresh in self._fresh.items():
            if len(fresh) >= SAMPLE_MIN and role in self._baselines and f"{role} slower" in self._watch.names:
                failed = sum(one.failed for one in fresh)
                found = self._baselines[role].scores(np.array([one.work_s for one in fresh]), failed)
                scores |= {f"{role} {name}": score for name, score in found.items()}
                fresh.clear()
        if len(self._counted) > COUNTED_MAX:  # attempts that old are no longer in any window
            self._counted = {(one.task, one.number) for one in paired.attempts}
        return scores

    def _overdue(self, paired: Paired) -> list[Attempt]:
        """Attempts that still run, already longer than nine in ten of their role: they need not end to be slow."""
        return [
            one
            for one in paired.open_attempts
            if one.role in self._baselines and one.work_s > self._baselines[one.role].tail_s
        ]

    def _learn(self, window: Window, paired: Paired) -> None:
        """The first attempts of a role are what its later ones are compared with."""
        by_role: dict[str, list[Attempt]] = {}
        for one in paired.finished(0.0, window.span_s):
            by_role.setdefault(one.role, []).append(one)
        for role, some in by_role.items():
            if role not in self._baselines and len(some) >= BASELINE_MIN:
                spent = np.array([one.work_s for one in some])
                self._baselines[role] = Baseline.of(spent, sum(one.failed for one in some), "the first window seen")
                self._fresh.pop(role, None)


BASELINE_MIN: Final = 100
"""Attempts of a baseline: its median is then known to ± 5 % of the ranks, its 90th percentile to ± 3 %."""
COUNTED_MAX: Final = 200_000


def baseline_of(name: str, role: Role, scenario: Scenario) -> Baseline:
    """What the scenario says of a role's work. Of `fail_first`, each task's first attempts, the share is not known:
    none is expected.
    """
    values = None
    if isinstance(service := role.service, EmpiricalService):
        table = traces.read(scenario.base / service.path, f"workload.roles.{name}.service.path")
        values = np.sort(table.numbers(service.column, service.factor, SERVICE_S_MAX))
    median_s, tail_s = service_times(role.service, np.array([0.5, TAIL]), values)
    return Baseline(float(median_s), float(tail_s), role.failure_rate, "the mesh's scenario")


# ---- figures ---------------------------------------------------------------------------------------------------------


def figures(paired: Paired) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """(seen, predicted): completions a second, percentiles of latency and of the wait for the first claim, tasks that
    wait now, retries. Latency and wait are of tasks that arrived in the window.
    """
    sides = (
        (paired.seen_claim_s, paired.seen_end_s, paired.seen_retries),
        (paired.predicted_claim_s, paired.predicted_end_s, paired.predicted_retries),
    )
    seen, predicted = (_figures(paired, *side) for side in sides)
    return seen, predicted


def _figures(paired: Paired, claim_s: Floats, end_s: Floats, retries: Any) -> dict[str, float | None]:
    span_s = paired.window.span_s
    own = ~paired.is_backlog
    ended, claimed = end_s <= span_s, claim_s <= span_s
    latency = metrics.spread((end_s - paired.arrive_s)[own & ended])
    wait = metrics.spread((claim_s - paired.arrive_s)[own & claimed])
    return {
        "throughput_per_s": float(ended.sum()) / span_s,
        **{f"latency_s.{name}": latency[name] for name in metrics.PERCENTILES},
        **{f"queue_wait_s.{name}": wait[name] for name in metrics.PERCENTILES},
        "depth": float((~claimed).sum()),
        "retries": float(retries[ended].sum()),
    }


def curves(paired: Paired) -> tuple[Floats, dict[str, tuple[Floats, Floats]]]:
    """(seconds before now, by name (seen, predicted)): completions a second, mean latency of what was completed, tasks
    that wait.
    """
    span_s = paired.window.span_s
    edges = np.linspace(0.0, span_s, min(CURVE_BINS, max(2, int(span_s))) + 1)
    sides = ((paired.seen_claim_s, paired.seen_end_s), (paired.predicted_claim_s, paired.predicted_end_s))
    drawn = [_curves(paired, edges, claim_s, end_s) for claim_s, end_s in sides]
    return edges[1:] - span_s, {name: (drawn[0][name], drawn[1][name]) for name in drawn[0]}


def _curves(paired: Paired, edges: Floats, claim_s: Floats, end_s: Floats) -> dict[str, Floats]:
    done = np.histogram(end_s[~np.isnan(end_s)], edges)[0]
    own = ~np.isnan(end_s) & ~paired.is_backlog
    spent = np.histogram(end_s[own], edges, weights=(end_s - paired.arrive_s)[own])[0]
    count = np.histogram(end_s[own], edges)[0]
    latency = np.divide(spent, count, out=np.full(len(count), np.nan), where=count > 0)
    came = np.searchsorted(np.sort(paired.arrive_s), edges[1:], side="right")
    left = np.searchsorted(np.sort(claim_s[~np.isnan(claim_s)]), edges[1:], side="right")
    return {
        "Completed (1/s)": done / (edges[1] - edges[0]),
        "Mean latency (s)": latency,
        "Waiting tasks": (came - left).astype(np.float64),
    }


# ---- causes ----------------------------------------------------------------------------------------------------------


def causes(paired: Paired, alarms: tuple[Alarm, ...], workers: int | None, slots: int | None) -> tuple[str, ...]:
    """What in the window may be behind an alarm, in words; the surest first."""
    window = paired.window
    wanted, wanted_slots = expected_fleet(window, workers, slots)
    silent, manned = window.silent(), window.manned()
    found = []
    for one in silent[:3]:
        held = _held(window, one.id)
        holding = f" and holds {plural(held, 'task')}" if held else ""
        found.append(f"worker {one.id} has been silent for {spoken(one.silent_s)}{holding}")
    heard = len(manned) - len(silent)
    if heard < wanted:
        found.append(f"{heard} of {wanted} workers are heard of: {wanted_slots * (wanted - heard)} slots are missing")
    waiting = float((np.isnan(paired.seen_claim_s)).sum())
    running = sum(one.is_open for one in paired.attempts)
    if waiting and heard and running < SPARE * heard * wanted_slots:
        found.append(
            f"{waiting:,.0f} tasks wait although {heard * wanted_slots - running} of {heard * wanted_slots} slots are "
            "free: a paused worker, a closed gate, or a slow Redis or PostgreSQL"
        )
    slower = [one.name for one in alarms if one.kind == "work" and one.name.endswith(" slower")]
    if len(slower) > 1 and len(slower) == len({one.role for one in paired.attempts}):
        found.append("all roles are slower at once: look at the machine and at PostgreSQL before the agents")
    return tuple(found)


def _held(window: Window, worker: str) -> int:
    """How many tasks a worker has claimed and not given back."""
    last = {row.task: row for row in window.rows}
    moved = sum(row.end == "RUNNING" and row.worker == worker for row in last.values())
    return moved + sum(one.state == "RUNNING" and one.worker == worker for one in window.unmoved)


def _nothing(window: Window, alarms: list[Alarm]) -> Look:
    none = dict.fromkeys(FIGURES)
    notes = (window.cut,) if window.cut else ()
    state: State = "apart" if alarms else "quiet"
    return Look(window.end_at_s, window.span_s, state, tuple(alarms), none, none, None, (), notes, {}, np.zeros(0))


FIGURES: Final = (
    "throughput_per_s",
    *(f"latency_s.{name}" for name in metrics.PERCENTILES),
    *(f"queue_wait_s.{name}" for name in metrics.PERCENTILES),
    "depth",
    "retries",
)


def _rounded(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, 6)
