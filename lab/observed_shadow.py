"""The last minutes of a mesh in the model: the same arrivals, the same work, its own rules; then task beside task.

What is replayed: every arrival of the window and every task that was open when it began; the work of each task as seen
(RUNNING by the audit log, less what the machinery of the model's profile takes within it, since the model adds that
again), its failures, its class. What is predicted: who waits for how long, which the rules and the fleet decide.

An attempt that has not ended yet says little of its work. On a worker that is heard of, it has worked as long as it
has run; on one that has fallen silent its time is not the work's: then the role's usual time is replayed, and what is
missing shows as a difference.
"""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from lab.draws import Floats
from lab.limits import ROLES_MAX, SERVICE_S_MAX
from lab.observed_window import LogRow, Unmoved, Window
from lab.rules.priority import CLASS_OF_PRIORITY
from lab.rules.tasks import Event, State
from lab.scenario import Scenario

if TYPE_CHECKING:
    from lab.record import Record

PRIORITY_OF_CLASS: Final = {queue: priority for priority, queue in sorted(CLASS_OF_PRIORITY.items(), reverse=True)}
"""A priority that joins this class: the one nearest to the default."""
STEP_S: Final = 1e-6
"""Tasks that were waiting when the window begins arrive this far apart, in their order: the plan's finest time."""
FINISHED: Final = (str(Event.SUCCEEDED), str(Event.FAILED))
BROKEN: Final = (str(Event.LEASE_LAPSED), str(Event.HANDED_BACK))


class Attempt(NamedTuple):
    """An attempt of the window, in seconds of it. `work_s`: RUNNING, without what the machinery takes."""

    task: int
    number: int
    role: str
    start_s: float
    end_s: float
    work_s: float
    failed: bool
    is_open: bool
    whole: bool
    """Whether the window has seen it from its start."""


@dataclass
class Fate:
    """What the window says of one task."""

    task: int
    role: str
    queue: int
    arrive_s: float = 0.0
    is_backlog: bool = False
    first_claim_s: float = math.nan
    end_s: float = math.nan
    failures: int = 0
    died: bool = False
    cancelled: bool = False
    state: str = ""
    order: float = 0.0
    """Of tasks that were waiting already: the earlier, the smaller."""
    work_s: list[float] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Paired:
    """The same tasks, seen and predicted; arrays in order of arrival, seconds of the window, NaN: not within it."""

    window: Window
    task: npt.NDArray[np.int64]
    is_backlog: npt.NDArray[np.bool_]
    arrive_s: Floats
    seen_claim_s: Floats
    seen_end_s: Floats
    predicted_claim_s: Floats
    predicted_end_s: Floats
    seen_retries: npt.NDArray[np.int64]
    predicted_retries: npt.NDArray[np.int64]
    attempts: tuple[Attempt, ...]
    notes: tuple[str, ...] = ()

    def differences(self, at_s: float, every_s: float) -> tuple[Floats, Floats]:
        """(seen, predicted) seconds that each task had taken by `at_s`, of those that were open, here or there, within
        the last `every_s`. What had not ended counts as it stood: a task that is stuck is further off at every look.
        """
        there = self.arrive_s <= at_s
        seen, predicted = _by(self.seen_end_s, at_s), _by(self.predicted_end_s, at_s)
        active = there & ((seen > at_s - every_s) | (predicted > at_s - every_s))
        return (seen - self.arrive_s)[active], (predicted - self.arrive_s)[active]

    def finished(self, after_s: float, until_s: float) -> list[Attempt]:
        """Attempts that were seen from their start and ended by themselves in (after_s, until_s]."""
        return [one for one in self.attempts if one.whole and not one.is_open and after_s < one.end_s <= until_s]

    @property
    def open_attempts(self) -> list[Attempt]:
        """Attempts that still run on a worker that is heard of."""
        return [one for one in self.attempts if one.is_open and one.whole]


def _by(end_s: Floats, at_s: float) -> Floats:
    return np.minimum(np.nan_to_num(end_s, nan=math.inf), at_s)


def predict(
    window: Window,
    simulate: Callable[..., Record],
    *,
    overhead_s: float = 0.0,
    workers: int | None = None,
    slots: int | None = None,
) -> Paired | None:
    """The window in the model. None where nothing arrived and nothing was open. `workers` and `slots` go before the
    mesh's own definition.
    """
    fates, attempts = _read(window, overhead_s)
    ordered = sorted((one for one in fates if not one.cancelled), key=lambda one: (one.arrive_s, one.order))
    if not ordered:
        return None
    notes = [window.cut] if window.cut else []
    if gone := len(fates) - len(ordered):
        notes.append(f"{gone:,} tasks were cancelled before they ran and are left out")
    with tempfile.TemporaryDirectory(prefix="meshlab-shadow-") as folder:
        scenario = replayed(window, ordered, attempts, Path(folder), workers, slots, notes)
        record = simulate(scenario)
    tasks = record.tasks
    return Paired(
        window=window,
        task=np.array([one.task for one in ordered]),
        is_backlog=np.array([one.is_backlog for one in ordered]),
        arrive_s=np.array([one.arrive_s for one in ordered]),
        seen_claim_s=np.array([one.first_claim_s for one in ordered]),
        seen_end_s=np.array([one.end_s for one in ordered]),
        predicted_claim_s=tasks["first_claim_s"].to_numpy(dtype=np.float64),
        predicted_end_s=tasks["done_s"].to_numpy(dtype=np.float64),
        seen_retries=np.array([one.failures - one.died for one in ordered]),
        predicted_retries=tasks["retries"].to_numpy(dtype=np.int64),
        attempts=tuple(attempts),
        notes=tuple(notes),
    )


# ---- the window, task by task ----------------------------------------------------------------------------------------


def _read(window: Window, overhead_s: float) -> tuple[list[Fate], list[Attempt]]:
    by_task: dict[int, list[LogRow]] = {}
    for row in window.rows:
        by_task.setdefault(row.task, []).append(row)
    alive = {one.id for one in window.manned()} - {one.id for one in window.silent()}
    fates, attempts = [], list[Attempt]()
    for task, rows in by_task.items():
        if task in window.facts:
            fates.append(_fate(window, task, rows, attempts, alive, overhead_s))
    fates += [_unmoved(window, one, alive) for one in window.unmoved if one.task in window.facts]
    _order_backlog(fates)
    return fates, attempts


def _fate(
    window: Window, task: int, rows: list[LogRow], attempts: list[Attempt], alive: set[str], overhead_s: float
) -> Fate:
    """One task's rows, in order of commit."""
    facts = window.facts[task]
    rows = _since_redriven(rows)
    first = rows[0]
    fate = Fate(task, facts.role, facts.queue)
    fate.is_backlog = first.reason not in (Event.SUBMITTED, Event.REDRIVEN)
    at_s = max(0.0, first.at_s - window.start_at_s)
    if not fate.is_backlog or first.start == State.RETRY_WAIT:
        fate.arrive_s = at_s  # who waited for a retry comes when it was due
    running_s = 0.0 if first.start == State.RUNNING else math.nan
    if first.start == State.RUNNING:
        fate.first_claim_s, fate.order = 0.0, -1.0
    elif fate.is_backlog:
        fate.order = at_s
    for row in rows:
        at_s = max(0.0, row.at_s - window.start_at_s)
        if row.end == State.RUNNING:
            running_s = at_s
            fate.first_claim_s = at_s if math.isnan(fate.first_claim_s) else fate.first_claim_s
        elif row.start == State.RUNNING:
            whole = not (row is first and first.start == State.RUNNING)
            _ended(fate, row, running_s, at_s, whole, attempts, overhead_s)
            running_s = math.nan
        fate.state = row.end
        if row.end in (State.COMPLETED, State.PERMANENT_FAILURE):
            fate.end_s, fate.died = at_s, row.end == State.PERMANENT_FAILURE
    fate.cancelled = fate.state == State.CANCELLED and not fate.work_s
    if fate.state == State.CANCELLED:
        fate.end_s = max(0.0, rows[-1].at_s - window.start_at_s)
    if fate.state == State.RUNNING:
        _still_runs(window, fate, rows[-1], running_s, attempts, alive)
    return fate


def _since_redriven(rows: list[LogRow]) -> list[LogRow]:
    """A task that an operator has redriven begins anew."""
    last = max((place for place, row in enumerate(rows) if row.reason == Event.REDRIVEN), default=0)
    return rows[last:]


def _ended(
    fate: Fate, row: LogRow, start_s: float, end_s: float, whole: bool, attempts: list[Attempt], overhead_s: float
) -> None:
    """An attempt has ended. One whose worker was lost says nothing of the work."""
    if row.reason not in FINISHED:
        return
    work_s = min(max(0.0, end_s - start_s - overhead_s), SERVICE_S_MAX)
    failed = row.reason == Event.FAILED
    fate.work_s.append(work_s)
    fate.failures += failed
    attempts.append(Attempt(fate.task, row.attempt, fate.role, start_s, end_s, work_s, failed, False, whole))


def _still_runs(
    window: Window, fate: Fate, row: LogRow, start_s: float, attempts: list[Attempt], alive: set[str]
) -> None:
    if row.worker in alive:
        ran_s = window.span_s - start_s
        attempts.append(Attempt(fate.task, row.attempt, fate.role, start_s, math.nan, ran_s, False, True, True))


def _unmoved(window: Window, one: Unmoved, alive: set[str]) -> Fate:
    """A task that was open before the window and has not moved within it."""
    facts = window.facts[one.task]
    fate = Fate(one.task, facts.role, facts.queue, is_backlog=True, state=one.state)
    if one.state == State.RUNNING:
        fate.first_claim_s, fate.order = 0.0, -1.0
        if one.worker in alive:
            fate.work_s = [window.span_s]
    elif one.state == State.RETRY_WAIT and one.due_at_s is not None:
        fate.arrive_s = max(0.0, one.due_at_s - window.start_at_s)
    else:
        # Behind all that have been claimed since, in the order in which they came to wait.
        fate.order = window.span_s + one.changed_at_s
    return fate


def _order_backlog(fates: Iterable[Fate]) -> None:
    """Those that were waiting at the start arrive a microsecond apart, whoever ran first of all."""
    waiting = sorted((one for one in fates if one.is_backlog and one.arrive_s == 0.0), key=lambda one: one.order)
    for place, one in enumerate(waiting):
        one.arrive_s = place * STEP_S


# ---- the scenario of a window ----------------------------------------------------------------------------------------


def replayed(
    window: Window,
    fates: list[Fate],
    attempts: list[Attempt],
    folder: Path,
    workers: int | None,
    slots: int | None,
    notes: list[str],
) -> Scenario:
    """A scenario that replays these tasks, its trace in `folder`. Tasks that failed n times are a role of their own,
    whose first n attempts fail for certain.
    """
    import pandas as pd

    names, roles = _variants(window.scenario, fates, notes)
    usual = _usual_s(fates, attempts)
    ran = {one.task: one.work_s for one in attempts if one.is_open}
    pd.DataFrame(
        {
            "arrival_s": [one.arrive_s for one in fates],
            "service_s": [_work_s(one, ran.get(one.task), usual) for one in fates],
            "role": [names[_kind(one)] for one in fates],
            "priority": [PRIORITY_OF_CLASS[one.queue] for one in fates],
        }
    ).to_parquet(folder / "trace.parquet", index=False)
    mesh_workers, mesh_slots = expected_fleet(window, workers, slots)
    rules = {name: value for name, value in window.scenario.data.get("rules", {}).items() if name not in NOT_REPLAYED}
    priority = {**(rules.get("priority") or {}), "route_by": "priority"}
    return Scenario.from_data(
        {
            "name": "shadow",
            "workload": {"arrivals": {"kind": "trace", "path": "trace.parquet"}, "roles": roles},
            "mesh": {"workers": mesh_workers, "slots": mesh_slots},
            "rules": {**rules, "priority": priority},
            "profile": _profile(window.scenario),
        },
        base=folder,
        source="the shadow of the standing mesh",
    )


NOT_REPLAYED: Final = ("admission", "deadline")
"""Who is in the log was admitted; and clients of a standing mesh wait for ever."""


def _profile(scenario: Scenario) -> str:
    """A profile in a file is named relative to the mesh's scenario, not to the folder of the replay."""
    path = scenario.base / scenario.profile
    return str(path.resolve()) if path.is_file() else scenario.profile


def expected_fleet(window: Window, workers: int | None, slots: int | None) -> tuple[int, int]:
    """(workers, slots) that the mesh should have: as asked, else by its definition, or more if more are heard of."""
    mesh, manned = window.scenario.mesh, window.manned()
    if workers is None and len(manned) > mesh.workers:
        mean_slots = sum(one.slots for one in manned) / len(manned)
        return len(manned), slots or max(1, round(mean_slots))
    return workers or mesh.workers, slots or mesh.slots


def _kind(one: Fate) -> tuple[str, int, bool]:
    return one.role, one.failures, one.died


def _variants(
    scenario: Scenario, fates: list[Fate], notes: list[str]
) -> tuple[dict[tuple[str, int, bool], str], dict[str, Any]]:
    """Names of the roles of the replay by (role, failures, whether it died), and what they are."""
    counts = Counter(_kind(one) for one in fates)
    spent = scenario.rules.retry.max_retries + 1
    names: dict[tuple[str, int, bool], str] = {}
    roles: dict[str, Any] = {}
    for kind, _ in counts.most_common():
        if len(roles) == ROLES_MAX - 1:
            notes.append("more kinds of failures than a scenario has roles: the rarest are replayed as one")
        if len(roles) >= ROLES_MAX - 1:
            names[kind] = next(iter(roles))
            continue
        role, failures, died = kind
        names[kind] = name = f"R{len(roles)}"
        roles[name] = {"service": {"dist": "constant", "mean_s": 0.0}}
        if role in scenario.workload.roles:
            own = scenario.workload.roles[role]
            roles[name] |= {"memory_mib": own.memory_mib, "cpu_share": own.cpu_share}
        if failures:
            # Who died before the rules give up has failed for good: the model knows that of first failures only.
            roles[name]["fail_first"] = 1 if died and failures < spent else failures
            roles[name]["permanent_share"] = 1.0 if died and failures < spent else 0.0
    return names, roles


def _usual_s(fates: list[Fate], attempts: list[Attempt]) -> dict[str, float]:
    """The median work of each role, for tasks of which none was seen; "" is that of all."""
    whole = [one for one in attempts if one.whole and not one.is_open]
    usual = {"": float(np.median([one.work_s for one in whole])) if whole else 0.0}
    for role in {one.role for one in fates}:
        mine = [one.work_s for one in whole if one.role == role]
        usual[role] = float(np.median(mine)) if mine else usual[""]
    return usual


def _work_s(one: Fate, ran_s: float | None, usual: dict[str, float]) -> float:
    """The work of a task: the mean of its attempts; of one that runs, at least what it has run."""
    if one.work_s:
        return round(sum(one.work_s) / len(one.work_s), 6)
    return round(max(usual[one.role], ran_s or 0.0), 6)
