"""The task plan: what (scenario, seed) means, task by task, settled before anything runs.

Both engines replay the same plan, so a difference between them is never luck. Every draw is keyed by (seed, purpose,
attempt, task): changing the workers, the retry base or the failure rate leaves every other draw as it was.

Times are rounded to whole microseconds, so that a plan is the same on every machine although logarithms differ in the
last bit.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from lab import draws, traces
from lab.arrivals import arrival_times
from lab.changes import turned, value_at
from lab.distributions import service_times
from lab.draws import Floats
from lab.faults import RoleOutage, SlowService, SlowWorker, outage_share, service_factor
from lab.limits import MIB, SERVICE_S_MAX
from lab.rules import deadline, retry
from lab.rules import priority as priority_rules
from lab.rules.priority import PRIORITY_MAX, PRIORITY_MIN, QUEUES
from lab.scenario import EmpiricalService, Role, Scenario, Trace
from lab.traces import Table

Ints = npt.NDArray[np.int64]

STRETCH_TASKS = 65_536
"""A column is drawn this many tasks at a time."""
BLOCK_TASKS = 4_096
"""One block is drawn in some 0.1 ms."""
BLOCKS_HELD = 64
"""2 MB for each later attempt: enough for tasks that lie 250,000 arrivals apart."""


class Outcome(NamedTuple):
    """What one attempt comes to: how long it works (s), whether it fails, and whether no retry can mend that."""

    work_s: float
    failed: bool
    permanent: bool


class Blocks:
    """The draws of one later attempt, a block of tasks at a time. Few tasks come so far, and those that do are near
    each other, so the blocks asked for lately are enough; what has been dropped is drawn again, and is the same.
    """

    def __init__(self, draw: Callable[[int, int], Floats], tasks: int) -> None:
        self._draw, self._tasks = draw, tasks
        self._held: dict[int, array[float]] = {}

    def __len__(self) -> int:
        return self._tasks

    def __getitem__(self, task: int) -> float:
        if not 0 <= task < self._tasks:
            raise IndexError(f"there is no task {task} among {self._tasks}")
        number, place = divmod(task, BLOCK_TASKS)
        block = self._held.get(number)
        if block is None:
            if len(self._held) >= BLOCKS_HELD:
                del self._held[next(iter(self._held))]
            begin = number * BLOCK_TASKS
            drawn = self._draw(begin, min(begin + BLOCK_TASKS, self._tasks))
            block = self._held[number] = array("d", drawn.tobytes())
        return block[place]


Column: TypeAlias = "array[float] | Blocks"
"""A draw of every task, by its id."""


class Plan:
    """The tasks of a scenario. Task ids are 0, 1, 2, … in order of arrival; attempts count from 1."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.seed = scenario.seed
        self.role_names = tuple(scenario.workload.roles)
        self._roles = tuple(scenario.workload.roles.values())
        trace = _trace_of(scenario)
        times = arrival_times(scenario, trace)
        order = np.argsort(times, kind="stable")
        self.arrival_column = array("d", _microseconds(times[order]).tobytes())
        """The arrivals, for those who read them one by one; `arrival_s` is the same memory."""
        self.arrival_s: Floats = np.frombuffer(self.arrival_column)
        self.count = len(order)
        self.role, self.priority = _deal(scenario, self.count)
        self._traced_service: Floats | None = None
        if trace is not None:
            self._take_from(trace, order)
        # Of a million tasks a column of numbers is 8 MB, of small ones 1 MB.
        self.role, self.priority = self.role.astype(np.int8), self.priority.astype(np.int8)
        self._columns: dict[tuple[str, int], Column] = {}
        self._failing: dict[int, bytes] = {}
        # Of many faults only these have a say in what an attempt comes to.
        self._slowing = [fault for fault in scenario.faults if isinstance(fault, SlowService | SlowWorker)]
        self._outages = [fault for fault in scenario.faults if isinstance(fault, RoleOutage)]
        self._failure_rates = turned(scenario, "failure_rate")

    # -- what a task is --

    @cached_property
    def queue(self) -> array[int]:
        """The class (0 high, 1 medium, 2 low) of each task."""
        rules = self.scenario.rules.priority
        levels = range(PRIORITY_MAX + 1)
        by_role_and_level = np.array(
            [
                [priority_rules.queue_class(max(level, PRIORITY_MIN), name, rules) for level in levels]
                for name in self.role_names
            ],
            dtype=np.int8,
        )
        return array("b", by_role_and_level[self.role, self.priority].tobytes())

    def queue_name(self, task: int) -> str:
        """The queue that a task joins."""
        return QUEUES[self.queue[task]]

    @cached_property
    def memory_bytes(self) -> array[int]:
        """What each task holds in memory while it works."""
        by_role = np.array([int(role.memory_mib * MIB) for role in self._roles], dtype=np.int64)
        return array("q", by_role[self.role].tobytes())

    def cpu_share(self, task: int) -> float:
        """The share of its service time that a task burns on the processor."""
        return self._role_of(task).cpu_share

    def _role_of(self, task: int) -> Role:
        return self._roles[int(self.role[task])]

    def last_arrivals(self, before_s: float, count: int) -> range:
        """The ids of the last `count` tasks that arrive before a moment: what a duplicate_submission fault repeats."""
        end = int(np.searchsorted(self.arrival_s, before_s, side="left"))
        return range(max(0, end - count), end)

    # -- what an attempt does --

    @cached_property
    def plain(self) -> bool:
        """Whether an attempt is what its columns say, whenever and wherever it starts: `columns` is all of it then."""
        roles, rules = self._roles, self.scenario.rules
        return not (
            self.scenario.faults or rules.retry.timeout_s is not None or any(role.permanent_share for role in roles)
        )

    def columns(self, attempt: int) -> tuple[Column, bytes]:
        """(how long, whether it fails: 1 or 0) attempt number `attempt` of each task works if nothing interferes."""
        return self.column("service", attempt), self._fails(attempt)

    def service_s(self, task: int, attempt: int) -> float:
        """How long attempt number `attempt` of a task works, in seconds, if nothing slows it down."""
        return self.column("service", attempt)[task]

    def fails(self, task: int, attempt: int) -> bool:
        """Whether that attempt ends in failure: the first `fail_first` surely, later ones by `failure_rate`, as it is
        before anybody turns it.
        """
        return self._fails(attempt)[task] == 1

    def _fails(self, attempt: int) -> bytes:
        if attempt not in self._failing:
            by_role = np.array([1.0 if attempt <= role.fail_first else role.failure_rate for role in self._roles])
            failing = np.zeros(self.count, dtype=bool)
            for begin, end in self._stretches() if by_role.any() else ():
                rate = by_role[self.role[begin:end]]
                failing[begin:end] = (rate >= 1.0) | (self._uniforms("fails", attempt, begin, end) < rate)
            self._failing[attempt] = failing.tobytes()
        return self._failing[attempt]

    def outcome(self, task: int, attempt: int, started_s: float, place: int) -> Outcome:
        """What attempt number `attempt` of a task comes to if it starts at `started_s` on the worker at `place`.

        slow_service and slow_worker stretch the work, `retry.timeout_s` cuts it; what is cut has failed, and so has
        what starts while its role is out. Only a failure of the task's own may be permanent: these two may be mended.
        """
        planned_s = self.service_s(task, attempt)
        if self._slowing:
            planned_s *= service_factor(self._slowing, started_s, place)
        work_s = retry.cut(planned_s, self.scenario.rules.retry)
        if work_s < planned_s or (self._outages and self._is_out(task, attempt, started_s)):
            return Outcome(work_s, failed=True, permanent=False)
        failed = self._fails_at(task, attempt, started_s) if self._failure_rates else self.fails(task, attempt)
        return Outcome(work_s, failed, permanent=failed and self._is_permanent(task, attempt))

    def _fails_at(self, task: int, attempt: int, started_s: float) -> bool:
        """The same as `fails` where the failure rate is turned while the mesh runs: by the rate of that moment."""
        role = self._role_of(task)
        if attempt <= role.fail_first:
            return True
        rate = value_at(self._failure_rates, started_s, role.failure_rate)
        return rate >= 1.0 or (rate > 0.0 and self._roll("fails", task, attempt) < rate)

    def _is_out(self, task: int, attempt: int, started_s: float) -> bool:
        """Whether an outage of its role fails this attempt. All outages share one draw: the widest of them decides."""
        share = outage_share(self._outages, started_s, self.role_names[int(self.role[task])])
        return share >= 1.0 or (share > 0.0 and self._roll("outage", task, attempt) < share)

    def _is_permanent(self, task: int, attempt: int) -> bool:
        share = self._role_of(task).permanent_share
        return share >= 1.0 or (share > 0.0 and self._roll("permanent", task, attempt) < share)

    def patience_s(self, task: int, attempt: int) -> float:
        """How long the client waits for attempt number `attempt` (the one to come) to start, in seconds from the moment
        at which the task became PENDING; infinite without a deadline.
        """
        rules = self.scenario.rules.deadline
        if rules.wait_s is None:
            return math.inf
        return _microsecond(deadline.patience_s(rules, self._roll("patience", task, attempt)))

    def jitter_roll(self, task: int, attempt: int) -> float:
        """The draw for the jitter of the backoff after that attempt."""
        return self._roll("jitter", task, attempt)

    def column(self, purpose: str, attempt: int) -> Column:
        """One draw of every task: service times ("service") or raw uniforms (any other purpose). An array; for later
        attempts of very many tasks something that is indexed like one.
        """
        key = (purpose, attempt)
        if key not in self._columns:
            draw = self._services if purpose == "service" else partial(self._uniforms, purpose)
            column: Column = Blocks(partial(draw, attempt), self.count)
            if attempt == 1 or self.count <= BLOCKS_HELD * BLOCK_TASKS:
                column = array("d", bytes(8 * self.count))
                for begin, end in self._stretches():
                    np.frombuffer(column)[begin:end] = draw(attempt, begin, end)
            self._columns[key] = column
        return self._columns[key]

    def _roll(self, purpose: str, task: int, attempt: int) -> float:
        """Bulk for first attempts, which all tasks have; keyed one by one for the rarer later ones."""
        if attempt == 1:
            return self.column(purpose, 1)[task]
        return draws.uniform(draws.stream(self.seed, purpose, attempt), task)

    def _stretches(self) -> Iterator[tuple[int, int]]:
        """(begin, end) of the tasks that are drawn at once: intermediate results are then small."""
        return ((begin, min(begin + STRETCH_TASKS, self.count)) for begin in range(0, self.count, STRETCH_TASKS))

    def _uniforms(self, purpose: str, attempt: int, begin: int, end: int) -> Floats:
        """The draws of tasks `begin` to `end`."""
        return draws.uniforms(draws.stream(self.seed, purpose, attempt), end - begin, begin)

    def _services(self, attempt: int, begin: int, end: int) -> Floats:
        """The service times (s) of tasks `begin` to `end`."""
        if self._traced_service is not None:
            return self._traced_service[begin:end]
        u = self._uniforms("service", attempt, begin, end)
        times = np.empty(end - begin)
        for index, role in enumerate(self._roles):
            mine = self.role[begin:end] == index
            times[mine] = service_times(role.service, u[mine], self._empirical.get(index))
        return _microseconds(times)

    @cached_property
    def _empirical(self) -> dict[int, Floats]:
        """The sorted seconds of each role whose service times come from a file."""
        found = {}
        for index, (name, role) in enumerate(self.scenario.workload.roles.items()):
            if isinstance(service := role.service, EmpiricalService):
                where = f"workload.roles.{name}.service.path"
                table = traces.read(self.scenario.base / service.path, where)
                found[index] = np.sort(table.numbers(service.column, service.factor, SERVICE_S_MAX))
        return found

    def _take_from(self, trace: Table, order: Ints) -> None:
        """Whatever the trace knows of its tasks wins over what was dealt."""
        arrivals = self.scenario.workload.arrivals
        assert isinstance(arrivals, Trace)
        if "service_s" in trace:
            seconds = trace.numbers("service_s", arrivals.service_factor, SERVICE_S_MAX)
            self._traced_service = _microseconds(seconds[order])
        if "role" in trace:
            self.role = _traced_roles(trace, self.role_names)[order]
            self.priority = _drawn_priorities(self.scenario, self.role)
        if "priority" in trace:
            self.priority = _traced_priorities(trace)[order]


def _microseconds(seconds: Floats) -> Floats:
    return np.asarray(np.rint(seconds * 1e6) / 1e6)


def _microsecond(seconds: float) -> float:
    return round(seconds * 1e6) / 1e6


def _trace_of(scenario: Scenario) -> Table | None:
    arrivals = scenario.workload.arrivals
    if not isinstance(arrivals, Trace):
        return None
    renamed = {str(ours): theirs for ours, theirs in arrivals.columns.items()}
    return traces.read(scenario.base / arrivals.path, "workload.arrivals.path", renamed, arrivals.limit)


def _deal(scenario: Scenario, count: int) -> tuple[Ints, Ints]:
    """Role index and priority of every task: drawn by their weights, or dealt out so that every share is exact."""
    cells = [
        (index, level, role.share * weight)
        for index, role in enumerate(scenario.workload.roles.values())
        for level, weight in priority_shares(role)
    ]
    weights = np.array([weight for *_, weight in cells])
    if scenario.workload.mix == "exact":
        dealt = _dealt_exactly(weights / weights.sum(), count)
        return np.array([cell[0] for cell in cells])[dealt], np.array([cell[1] for cell in cells])[dealt]
    return _drawn(scenario, count)


def _drawn(scenario: Scenario, count: int) -> tuple[Ints, Ints]:
    """Role and priority by two draws of their own, so that a change of one share leaves the other draw alone."""
    shares = np.array([role.share for role in scenario.workload.roles.values()])
    role = _pick(shares, _uniforms_of(scenario, "role", count))
    return role, _drawn_priorities(scenario, role)


def _drawn_priorities(scenario: Scenario, role: Ints) -> Ints:
    """A priority for every task, by the weights of its role."""
    u = _uniforms_of(scenario, "priority", len(role))
    level = np.empty(len(role), dtype=np.int64)
    for index, one in enumerate(scenario.workload.roles.values()):
        levels, weights = zip(*priority_shares(one), strict=True)
        mine = role == index
        level[mine] = np.array(levels)[_pick(np.array(weights), u[mine])]
    return level


def priority_shares(role: Role) -> list[tuple[int, float]]:
    """(priority, share) of a role, the shares summing to 1."""
    if isinstance(role.priority, int):
        return [(role.priority, 1.0)]
    total = sum(role.priority.values())
    return [(level, weight / total) for level, weight in role.priority.items() if weight > 0]


def _uniforms_of(scenario: Scenario, purpose: str, count: int) -> Floats:
    return draws.uniforms(draws.stream(scenario.seed, purpose), count)


def _pick(weights: Floats, u: Floats) -> Ints:
    """Indexes by weight: the inverse of the cumulative share."""
    upto = np.cumsum(weights) / weights.sum()
    return np.minimum(np.searchsorted(upto, u, side="right"), len(weights) - 1).astype(np.int64)


def _dealt_exactly(shares: Floats, count: int) -> Ints:
    """Cell indexes so that after any number of tasks every cell has its share, to within one task.

    The k-th task of a cell is due at position (k + ½) / share; all cells' positions merged in order are the deal.
    """
    due, cell = [], []
    for index, share in enumerate(shares):
        turns = np.arange(int(count * share) + 2)
        due.append(np.round((turns + 0.5) / share, 9))
        cell.append(np.full(len(turns), index))
    order = np.argsort(np.concatenate(due), kind="stable")
    return np.asarray(np.concatenate(cell)[order][:count], dtype=np.int64)


def _traced_priorities(trace: Table) -> Ints:
    levels = trace.numbers("priority")
    for row in np.flatnonzero((levels < PRIORITY_MIN) | (levels > PRIORITY_MAX) | (levels % 1 != 0))[:1]:
        found = f"found {levels[row]:g}"
        raise trace.refuse(f"priority must be a whole number {PRIORITY_MIN} to {PRIORITY_MAX}, {found}", int(row))
    return levels.astype(np.int64)


def _traced_roles(trace: Table, names: tuple[str, ...]) -> Ints:
    index = {name: number for number, name in enumerate(names)}
    roles = np.empty(len(trace.columns["role"]), dtype=np.int64)
    for row, name in enumerate(trace.columns["role"]):
        if name not in index:
            raise trace.refuse(f"role {name!r} is not in the scenario; it has {', '.join(names)}", row)
        roles[row] = index[name]
    return roles
