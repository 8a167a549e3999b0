"""The streams of events: every row of the audit log once, in the order of commit, across reconnections; slow readers
are told what they missed; nobody waits for them.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from lab.limits import FEED_QUEUE_EVENTS_MAX, FEED_STREAMS_MAX, SOCKET_MESSAGE_BYTES_MAX
from live_backend.database import options
from tests.api.helpers import Api, Event, Mesh, problem
from tests.live.helpers import eventually

pytestmark = pytest.mark.live

MANY = """
insert into transition (task, from_state, to_state, attempt, token, reason)
select n, '', 'PENDING', 0, 0, 'submitted' from generate_series(%s::bigint, %s::bigint) as n"""


def shown(events: Iterator[Event], count: int) -> list[Event]:
    """The next so many events, without heartbeats."""
    found: list[Event] = []
    while len(found) < count:
        event = next(events)
        if event.kind:
            found.append(event)
    return found


def tasks(events: list[Event]) -> list[int]:
    return [event.data["task"] for event in events]


def log_ids(mesh: Mesh) -> list[str]:
    """The ids of all events, in the order in which a reader must see them."""
    return [f"{xid}-{seq}" for xid, seq in mesh.rows("select xid, seq from transition order by xid, seq")]


# ---- what an event is


def test_an_event_is_a_row_of_the_audit_log(api: Api, mesh: Mesh) -> None:
    with api.events() as events:
        next(events)
        task = api.submit(role="ARCHITECT")["id"]
        [event] = shown(events, 1)
    assert event.id == log_ids(mesh)[0] and event.kind == "transition"
    at = event.data.pop("at")
    assert at.endswith("Z")
    assert event.data == {
        "version": 1,
        "subject": f"task/{task}",
        "task": task,
        "role": "ARCHITECT",
        "from": None,
        "to": "PENDING",
        "worker": None,
        "attempt": 0,
        "token": 0,
        "reason": "submitted",
        "delay_s": 0.0,
    }


def test_filters_by_task_and_role(api: Api, mesh: Mesh) -> None:
    with api.events(task=2) as only_task, api.events(role="ARCHITECT") as only_role:
        next(only_task)
        next(only_role)
        for task, role in [(1, "DEVELOPER"), (2, "DEVELOPER"), (3, "ARCHITECT"), (4, "DEVELOPER"), (5, "ARCHITECT")]:
            mesh.add(task, role=role)
        assert tasks(shown(only_task, 1)) == [2]
        assert tasks(shown(only_role, 2)) == [3, 5]
    with api.events(since="0-0", role="ARCHITECT") as again:
        assert tasks(shown(again, 2)) == [3, 5]


def test_the_answer_is_a_stream_that_no_proxy_keeps_back(api: Api) -> None:
    with api.http.stream("GET", "/v1/events") as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-accel-buffering"] == "no"


def test_quiet_streams_are_heard(api: Api, mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first thing said is how far the feed has come; a reader that comes back with that id misses nothing."""
    with api.events() as events:
        hello = next(events)
    mesh.add(1)
    with api.events(since=hello.id) as events:
        assert tasks(shown(events, 1)) == [1]


# ---- resuming


@pytest.mark.parametrize("how", ["header", "query"])
def test_going_on_after_an_id(api: Api, mesh: Mesh, how: str) -> None:
    for task in range(1, 6):
        mesh.add(task)
    second = log_ids(mesh)[1]
    parameters = {"since": second} if how == "header" else {"last_event_id": second}
    with api.events(**parameters) as events:
        assert tasks(shown(events, 3)) == [3, 4, 5]
        mesh.add(6)
        assert tasks(shown(events, 1)) == [6]


def test_no_gap_and_no_double_while_many_write(api: Api, mesh: Mesh) -> None:
    """Writers whose transactions overlap commit in another order than they took their numbers; the reader is cut off
    again and again, and comes back with the last id it saw.
    """
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    writers, each = 4, 60
    with api.events() as events:
        last = next(events).id

    def write(writer: int) -> None:
        draws = random.Random(seed + writer)
        with psycopg.connect(mesh.servers.dsn, options=options(mesh.schema)) as connection:
            for number in range(each):
                connection.execute(MANY, (writer * 1_000 + number, writer * 1_000 + number))
                if draws.random() < 0.5:
                    connection.commit()

    draws, seen = random.Random(seed), list[str]()
    with ThreadPoolExecutor(max_workers=writers) as pool:
        writing = [pool.submit(write, writer) for writer in range(writers)]
        while len(seen) < writers * each:
            with api.events(since=last) as events:
                for event in shown(events, min(draws.randint(1, 40), writers * each - len(seen))):
                    assert event.kind == "transition", event
                    seen.append(event.id)
            last = seen[-1]
        for one in writing:
            one.result()
    assert seen == log_ids(mesh)


def test_a_transaction_under_way_holds_back_what_came_after_it(api: Api, mesh: Mesh) -> None:
    """It took the lower number and commits later: told in the order of the numbers, the other one would hide it."""
    with api.events() as events, psycopg.connect(mesh.servers.dsn, options=options(mesh.schema)) as slow:
        next(events)
        slow.execute(MANY, (1, 1))
        mesh.execute(MANY, 2, 2)
        slow.commit()
        assert tasks(shown(events, 2)) == [1, 2]


def test_connections_that_are_cut_leave_no_gap(api: Api, mesh: Mesh) -> None:
    """PostgreSQL ends every connection of the API several times while events come."""
    cut = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and query <> ''"
    with api.events() as events:
        next(events)
        for task in range(1, 31):
            mesh.add(task)
            if task % 10 == 0:
                mesh.execute(cut)
        assert tasks(shown(events, 30)) == list(range(1, 31))
    assert api.submit()["status"] == "created"
    assert api.http.get("/v1/tasks").status_code == 200


@pytest.mark.parametrize("since", ["nonsense", "999999999999-1", "1-1", "-1-1", "1", "", "1-1\x85", "9" * 30 + "-1"])
def test_an_unknown_id_starts_afresh(api: Api, mesh: Mesh, since: str) -> None:
    mesh.add(1)
    with api.events(last_event_id=since) as events:
        [reset] = shown(events, 1)
        assert reset.kind == "reset" and reset.data["from"] == since and reset.data["reason"]
        mesh.add(2)
        later = tasks(shown(events, 1))
        assert later == [2] or [*later, *tasks(shown(events, 1))] == [1, 2]  # it starts at most a flush ago
    with api.events(since=reset.id) as events:
        assert tasks(shown(events, len(later))) == later


def test_an_id_that_is_too_old_starts_afresh(api: Api, mesh: Mesh) -> None:
    mesh.add(1)
    mesh.execute("update transition set at = now() - interval '2 hours'")
    with api.events(since=log_ids(mesh)[0]) as events:
        [reset] = shown(events, 1)
    assert reset.kind == "reset" and "older" in reset.data["reason"]


def test_too_much_behind_an_id_starts_afresh(mesh: Mesh, api: Api) -> None:
    mesh.add(1)
    first = log_ids(mesh)[0]
    mesh.execute(MANY, 1, 100_001)
    with api.events(since=first) as events:
        [reset] = shown(events, 1)
    assert reset.kind == "reset" and "100000" in reset.data["reason"]


# ---- slow readers


def test_a_slow_reader_is_told_what_it_missed_and_slows_nobody(api: Api, mesh: Mesh) -> None:
    count = 10 * FEED_QUEUE_EVENTS_MAX
    with api.events() as slow, api.events() as quick:
        next(slow)
        next(quick)
        mesh.execute(MANY, 1, count)
        assert tasks(shown(quick, count)) == list(range(1, count + 1))  # while the slow one reads nothing
        got, missed = 0, 0
        while got + missed < count:
            [event] = shown(slow, 1)
            if event.kind == "missed":
                assert event.data["to"] == event.id
                missed += event.data["count"]
            else:
                got += 1
                assert event.data["task"] == got + missed
        assert got > 0 and missed > 0
        mesh.add(count + 1)
        assert tasks(shown(slow, 1)) == [count + 1]
    assert b"meshlab_feed_missed_events" in api.http.get("/metrics").content


def test_streams_are_bounded(api: Api) -> None:
    with ExitStack() as streams:
        opened = [streams.enter_context(api.events()) for _ in range(FEED_STREAMS_MAX)]
        for events in opened:
            next(events)
        answer = api.http.get("/v1/events")
        problem(answer, 503)
        assert answer.headers["retry-after"]
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://127.0.0.1:{api.port}/v1/ws")
        assert refused.value.response.status_code == 503
    eventually(lambda: _opens(api))


def _opens(api: Api) -> bool:
    with api.http.stream("GET", "/v1/events") as answer:
        return answer.status_code == 200


# ---- WebSocket


def socket(api: Api, query: str = "", **options: Any) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{api.port}/v1/ws{query}", **options)


def test_the_socket_sends_the_same_frames(api: Api, mesh: Mesh) -> None:
    mesh.add(1)
    mesh.add(2)
    with socket(api, "?last_event_id=0-0") as frames, api.events(since="0-0") as events:
        for event in shown(events, 2):
            assert json.loads(frames.recv(10)) == {"id": event.id, "event": event.kind, "data": event.data}
        mesh.add(3)
        assert json.loads(frames.recv(10))["data"]["task"] == 3
    with socket(api, "?task=2&last_event_id=0-0") as frames:
        assert json.loads(frames.recv(10))["data"]["task"] == 2


def test_the_socket_takes_nothing(api: Api) -> None:
    with socket(api) as frames:
        frames.send("hello")
        with pytest.raises(ConnectionClosed) as closed:
            frames.recv(10)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1003
    with socket(api) as frames:
        frames.send("x" * (SOCKET_MESSAGE_BYTES_MAX + 1))
        with pytest.raises(ConnectionClosed) as closed:
            frames.recv(10)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009


def test_foreign_pages_get_no_socket(api: Api) -> None:
    with pytest.raises(InvalidStatus) as refused:
        socket(api, origin="http://evil.example")
    assert refused.value.response.status_code == 403
    with socket(api, origin=api.url):  # type: ignore[arg-type]
        pass


def test_wrong_queries_get_no_socket(api: Api) -> None:
    with pytest.raises(InvalidStatus) as refused:
        socket(api, "?task=0")
    assert refused.value.response.status_code in (403, 422)


def test_readers_that_leave_are_forgotten(api: Api) -> None:
    def readers() -> float:
        lines = api.http.get("/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith("meshlab_feed_subscribers ")).split()[1])

    eventually(lambda: readers() == 0)
    with api.events() as events, socket(api):
        next(events)
        eventually(lambda: readers() == 2)
    eventually(lambda: readers() == 0)


def test_many_readers_see_the_same(api: Api, mesh: Mesh) -> None:
    found: list[list[int]] = []
    ready = threading.Barrier(6)

    def read() -> None:
        with api.events() as events:
            next(events)
            ready.wait(30)
            found.append(tasks(shown(events, 500)))

    readers = [threading.Thread(target=read) for _ in range(5)]
    for reader in readers:
        reader.start()
    ready.wait(30)
    mesh.execute(MANY, 1, 500)
    for reader in readers:
        reader.join(30)
    assert found == [list(range(1, 501))] * 5
