"""What the machinery costs: batches, event loops and a database that saturate. Small cases to the millisecond."""

from __future__ import annotations

from typing import Any

import pytest

from lab import profile
from lab.profile import Cost, Profile
from simulation import simulate
from simulation.clock import Clock
from simulation.machinery import Machinery, Server


def test_a_server_works_first_come_first_served() -> None:
    """One server: three works of 2 s that come at 0 end at 2, 4, 6. Two servers: at 2, 2, 4."""
    one, two = Server(Clock()), Server(Clock(), 2)
    assert [one.book(2.0) for _ in range(3)] == [2.0, 4.0, 6.0]
    assert [two.book(2.0) for _ in range(3)] == [2.0, 2.0, 4.0]
    assert (one.busy_s, two.busy_s) == (6.0, 6.0)


def test_a_batch_is_whatever_has_gathered() -> None:
    """Fixed 1 s on the loop, and 0.1 s a task in the database, then 0.5 s for nobody.

    Tasks 1 and 2 come in one instant and go together: 1 + 0.2 + 0.5 = 1.7. Tasks 3, 4 and 5, which come meanwhile, go
    together after them: 1.7 + 1 + 0.3 + 0.5 = 3.5.
    """
    clock, done = Clock(), list[tuple[float, list[int]]]()
    machinery = Machinery(clock, Profile(measured="made up"))
    cost = Cost(loop_s=1.0, database_task_s=0.1, wait_s=0.5)
    line = machinery.line(machinery.producer, [cost], lambda batch: done.append((clock.now, batch)))
    assert line is not None
    for task, at_s in ((1, 0.0), (2, 0.0), (3, 0.4), (4, 0.4), (5, 1.1)):
        clock.at(at_s, line.add, [task])
    clock.run()
    assert done == [(pytest.approx(1.7), [1, 2]), (pytest.approx(3.5), [3, 4, 5])]


def test_what_costs_nothing_is_not_there() -> None:
    clock = Clock()
    ideal = profile.load("ideal")
    assert ideal.is_free
    assert Machinery(clock, ideal).line(Server(clock), [ideal.fetch, ideal.claim], print) is None


def run(build, tmp_path, costs: str, **values: Any) -> Any:
    path = tmp_path / "costs.yaml"
    path.write_text(f"measured: made up\n{costs}\n")
    return simulate(build(profile=str(path), **values))


def test_one_tasks_way_through_the_machinery(build, tmp_path) -> None:
    """Submit 0.1, fetch 0.02, claim 0.03, work 2, settle 0.05: PENDING at 0.1, RUNNING at 0.15, done at 2.2."""
    costs = "{submit: {wait_s: 0.1}, fetch: {loop_s: 0.02}, claim: {database_s: 0.03}, settle: {wait_s: 0.05}}"
    record = run(build, tmp_path, costs[1:-1].replace("}, ", "}\n"))
    assert record.transitions["at_s"].tolist() == pytest.approx([0.1, 0.15, 2.2])


@pytest.mark.parametrize(
    ("costs", "busiest", "rate"),
    [
        # Each task takes 10 ms of the one database (claim 4, settle 6): at most 100 a second, whatever the 40 slots do.
        ("claim: {database_task_s: 0.004}\nsettle: {database_task_s: 0.006}", "database", 100.0),
        # Two of them: 200 a second.
        (
            "claim: {database_task_s: 0.004}\nsettle: {database_task_s: 0.006}\ndatabase_servers: 2",
            "database",
            200.0,
        ),
        # 10 ms of its worker's loop, two workers: 200 a second.
        ("fetch: {loop_task_s: 0.004}\nsettle: {loop_task_s: 0.006}", "worker_loop_max", 200.0),
        # 5 ms of the producer's loop: it commits no more than 200 a second.
        ("submit: {loop_task_s: 0.005}", "producer", 200.0),
    ],
)
def test_the_machinery_says_where_the_backend_tops_out(build, tmp_path, costs: str, busiest: str, rate: float) -> None:
    """Offered: 1,000 tasks a second of 10 ms on 2 × 20 slots, which could do 4,000."""
    record = run(
        build,
        tmp_path,
        costs,
        workload__arrivals={"kind": "constant", "rate_per_s": 1_000, "count": 2_000},
        workload__roles__A__service={"dist": "constant", "mean_s": 0.01},
        mesh__workers=2,
        mesh__slots=20,
    )
    assert record.info["summary"]["throughput_per_s"] == pytest.approx(rate, rel=0.03)
    assert max(record.info["utilisation"], key=record.info["utilisation"].get) == busiest
    assert record.info["utilisation"][busiest] > 0.95
    assert record.info["checks"]["ok"], record.info["checks"]["failed"]


def test_batches_make_a_fixed_cost_bearable(build, tmp_path) -> None:
    """A claim that costs 10 ms whatever it brings would allow 100 tasks a second one by one; in batches of up to 20 the
    worker does far more.
    """
    record = run(
        build,
        tmp_path,
        "claim: {wait_s: 0.01}",
        workload__arrivals={"kind": "burst", "count": 2_000},
        workload__roles__A__service={"dist": "constant", "mean_s": 0.01},
        mesh__slots=20,
    )
    assert record.info["summary"]["throughput_per_s"] == pytest.approx(20 / (0.01 + 0.01), rel=0.1)
