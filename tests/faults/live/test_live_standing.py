"""The standing mesh struck from outside while clients use it: its API, its reaper, its workers, its links, itself.
After each the books of the whole mesh are judged (`live_backend/verifying.py`), also for what the tests before left."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.rules.tasks import Event, State
from live_backend.client import Event as Heard
from live_backend.servers import open_servers
from tests.faults.live.standing_mesh import API, REAPER, WORKER, StandingMesh
from tests.live.helpers import eventually

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandingMesh]:
    """One for all tests of this file, on servers of its own."""
    with open_servers({}) as servers:
        standing = StandingMesh(servers, tmp_path_factory.mktemp("standing"))
        try:
            yield standing
        finally:
            standing.end()


def test_the_books_are_in_order_before_anything_is_struck(mesh) -> None:
    mesh.stood(mesh.submit("SYNTHETIC", 20))


# ---- who submits -----------------------------------------------------------------------------------------------------


def _submit_through(mesh: StandingMesh, strike: Callable[[int], None], name: str, count: int = 120) -> list[int]:
    """Submit tasks one by one from four clients, each under a key of its own, and strike after every 20th. The clients
    repeat what was not answered. Returns the ids, one for each key.
    """
    keys = [f"{name}-{number}" for number in range(count)]
    struck, ids = threading.Lock(), dict[str, int]()

    def one(key: str) -> None:
        receipt = client.submit("SYNTHETIC", {"of": key}, key=key)
        with struck:
            ids[key] = receipt.id
            if len(ids) % 20 == 0 and len(ids) < count:
                strike(len(ids) // 20)

    with mesh.client() as client, ThreadPoolExecutor(4) as pool:
        list(pool.map(one, keys))
        again = [client.submit("SYNTHETIC", {"of": key}, key=key) for key in keys[:10]]
    assert [(one.id, one.status) for one in again] == [(ids[key], "existing") for key in keys[:10]]
    mesh.accepted += ids.values()
    rows = mesh.outside.rows(f"select key, task from public.submission_key where key like '{name}-%'")
    assert dict(rows) == ids
    assert len(set(ids.values())) == count
    return list(ids.values())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_f34_the_api_dies_in_the_middle_of_submissions(mesh, number: signal.Signals) -> None:
    """Clients do not know whether what they sent was accepted, and send it again: exactly one task for each key."""
    gone: list[int] = []

    def strike(time_no: int) -> None:
        if time_no == 2:
            gone.extend(mesh.send(number, API))

    mesh.stood(_submit_through(mesh, strike, f"api-{number.name}"))
    assert mesh.replaced(API, gone)


def test_f27_f34_the_answer_to_the_commit_of_a_submission_is_lost(mesh) -> None:
    before = mesh.links.postgres.struck
    ids = _submit_through(mesh, lambda _: mesh.links.postgres.lose_reply(3), "lost")
    mesh.stood(ids)
    assert mesh.links.postgres.struck > before


def test_f20_redis_is_out_of_reach_and_tasks_are_accepted_all_the_same(mesh) -> None:
    """What is committed is accepted; the index hears of it later."""
    mesh.links.redis.cut()
    try:
        ids = mesh.submit("SYNTHETIC", 30)
    finally:
        mesh.links.redis.heal()
    mesh.stood(ids)


def test_f25_postgres_is_out_of_reach_and_clients_wait(mesh) -> None:
    def strike(time_no: int) -> None:
        if time_no == 2:
            mesh.links.postgres.cut()
            threading.Timer(1.0, mesh.links.postgres.heal).start()

    mesh.stood(_submit_through(mesh, strike, "away"))


# ---- who reaps -------------------------------------------------------------------------------------------------------


def test_f10_the_reaper_dies_with_the_workers_that_it_should_look_after(mesh) -> None:
    """All three at once, with leases to reclaim and nobody to do it: their successors do."""
    ids = mesh.submit("EFFECT", 16, {"file": os.devnull, "s": 0.5})
    mesh.runs(ids, 8)
    gone = [*mesh.send(signal.SIGKILL, REAPER), *mesh.send(signal.SIGKILL, WORKER)]
    assert len(gone) == 3
    mesh.stood(ids)
    assert len(mesh.transitions(ids, Event.LEASE_LAPSED)) >= 8
    assert mesh.replaced(REAPER, gone)


def test_f09_the_reaper_freezes_and_wakes_up_beside_its_own_work(mesh) -> None:
    """Frozen for longer than its leadership lasts. On waking it may believe for a moment that it still leads; no
    statement of its does harm."""
    ids = mesh.submit("SYNTHETIC", 60)
    (pid,) = mesh.send(signal.SIGSTOP, REAPER)
    try:
        mesh.send(signal.SIGKILL, WORKER)
        time.sleep(2.5)  # the fault's length
    finally:
        os.kill(pid, signal.SIGCONT)
    mesh.stood(ids)


# ---- who works -------------------------------------------------------------------------------------------------------


def test_f01_f03_workers_die_after_their_effect(mesh, tmp_path: Path) -> None:
    """The effect of each attempt is on record: all eight that ran at the kill were done twice, under the same id, so
    that the outside world can tell; and completed once."""
    file = tmp_path / "effects"
    ids = mesh.submit("EFFECT", 24, {"file": str(file), "s": 0.4})
    mesh.runs(ids, 8)
    eventually(lambda: len(_effects(file)) >= 8)
    mesh.send(signal.SIGKILL, WORKER)
    mesh.stood(ids)
    done = Counter(task for task, _ in _effects(file))
    assert set(done) == set(ids)
    lapsed = {task for task, *_ in mesh.transitions(ids, Event.LEASE_LAPSED)}
    assert len(lapsed) >= 4
    assert {task for task, times in done.items() if times > 1} <= lapsed
    assert len(_effects(file)) == len(set(_effects(file)))  # no attempt twice


def _effects(file: Path) -> list[tuple[int, int]]:
    """(task, attempt) of each effect so far."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [(int(task), int(attempt)) for task, attempt in map(str.split, lines)]


def test_f05_f06_sigterm_hands_back_what_the_grace_does_not_allow(mesh) -> None:
    """Work of 1 s, a grace of 0.3 s: given back uncounted, and begun again elsewhere. The second SIGTERM, which comes
    at once, changes nothing about that."""
    ids = mesh.submit("EFFECT", 8, {"file": os.devnull, "s": 1.0})
    mesh.runs(ids, 8)
    gone = mesh.send(signal.SIGTERM, WORKER)
    for pid in gone:
        os.kill(pid, signal.SIGTERM)
    mesh.stood(ids)
    assert len(mesh.transitions(ids, Event.HANDED_BACK)) == 8
    assert {attempt for _, _, attempt, _ in mesh.transitions(ids, Event.SUCCEEDED)} == {1}


def test_f07_f36_a_frozen_worker_wakes_up_and_is_refused(mesh) -> None:
    """SIGSTOP with four tasks in its slots, until others have done them; its own verdicts, and its own results, come
    after theirs and are refused."""
    before = mesh.noted("stale_write")
    ids = mesh.submit("EFFECT", 8, {"file": os.devnull, "s": 0.5})
    mesh.runs(ids, 8)
    frozen = mesh.pids(WORKER)[0]
    os.kill(frozen, signal.SIGSTOP)
    try:
        eventually(lambda: mesh.states(ids) == {State.COMPLETED: 8})
    finally:
        os.kill(frozen, signal.SIGCONT)
    eventually(lambda: mesh.noted("stale_write") >= before + 4)
    mesh.stood(ids)
    assert {token for *_, token in mesh.transitions(ids, Event.SUCCEEDED)} == {1, 2}


def test_f08_an_agent_blocks_the_event_loop_of_its_worker(mesh) -> None:
    """For 2.5 s, under a lease of 1 s: the heartbeat comes from beside it, and nothing is taken back."""
    ids = mesh.submit("BLOCK", 2, {"s": 2.5})
    mesh.stood(ids)
    assert mesh.transitions(ids, Event.LEASE_LAPSED) == []


def test_f12_f16_poison_and_what_cannot_be_mended(mesh) -> None:
    """The poison kills the process of each of its four attempts, and is dead then; its neighbours live."""
    poison, others = mesh.submit("POISON", 1), mesh.submit("SYNTHETIC", 20)
    hopeless = mesh.submit("FAIL", 3)
    mesh.stood(poison, **{State.PERMANENT_FAILURE: 1})
    assert mesh.states(others) == {State.COMPLETED: 20}
    assert mesh.states(hopeless) == {State.PERMANENT_FAILURE: 3}
    assert len(mesh.transitions(poison, Event.LEASE_LAPSED)) == 4
    assert len(mesh.transitions(hopeless, Event.CLAIMED)) == 3


def test_f39_an_agent_that_never_gives_memory_back(mesh) -> None:
    """64 MiB a task under a limit of 360: gates close, and the processes that do not shrink are replaced by fresh ones
    until all is done."""
    before = mesh.noted("worker_recycled")
    ids = mesh.submit("HOARD", 16)
    mesh.stood(ids)
    eventually(lambda: mesh.noted("worker_recycled") > before)  # the last task may end before its process is judged


# ---- all of it -------------------------------------------------------------------------------------------------------


def test_f52_a_reader_of_events_misses_nothing_while_the_api_dies(mesh) -> None:
    """Every transition of 60 tasks, each once, through two lives of the API."""
    heard: list[Heard] = []
    ready = threading.Event()
    wanted = 60 * 3

    def listen() -> None:
        with mesh.client() as client:
            first = client.submit("SYNTHETIC", make_key=True).id
            mesh.accepted.append(first)
            for event in client.events(last_event_id="0-0"):
                ready.set()
                heard.append(event)
                if sum(1 for one in heard if _task(one) in ids) >= wanted:
                    return

    ids: set[int] = set()
    reader = threading.Thread(target=listen, daemon=True)
    reader.start()
    assert ready.wait(20)
    ids.update(mesh.submit("SYNTHETIC", 30))
    mesh.send(signal.SIGKILL, API)
    ids.update(mesh.submit("SYNTHETIC", 30))
    mesh.stood(sorted(ids))
    reader.join(30)
    assert not reader.is_alive()
    of_ours = [one for one in heard if _task(one) in ids]
    assert len({one.id for one in of_ours}) == len(of_ours) == wanted
    ((rows,),) = mesh.outside.rows(f"select count(*) from public.transition where task in ({str(sorted(ids))[1:-1]})")
    assert rows == wanted


def _task(event: Heard) -> int:
    return int(event.data.get("task", -1))


def test_f10_f54_the_whole_mesh_is_killed_and_one_that_knows_its_tables_takes_over(mesh) -> None:
    """kill -9 of `meshlab up`: nothing of it is left. A mesh that is older than the tables refuses to touch them; one
    that knows them does what the first has accepted."""
    ids = mesh.submit("EFFECT", 40, {"file": os.devnull, "s": 0.2})
    mesh.runs(ids, 8)
    mesh.down()
    ((revision,),) = mesh.outside.rows("select version_num from public.alembic_version")
    mesh.outside.rows("update public.alembic_version set version_num = '9999'")
    before = mesh.states(ids)
    assert "made by a newer meshlab" in mesh.refusal()
    assert mesh.states(ids) == before
    mesh.outside.rows(f"update public.alembic_version set version_num = '{revision}'")
    mesh.up()
    mesh.stood(ids)
    assert len(mesh.transitions(ids, Event.LEASE_LAPSED)) >= 8
