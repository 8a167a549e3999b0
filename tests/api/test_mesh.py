"""Queues, workers, health, metrics, the page at /docs; and an API whose servers are away."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lab.limits import MIB
from lab.rules import Rulebook
from live_backend.gauge import silent_s_max
from tests.api.helpers import Api, Mesh, problem, thread
from tests.live.helpers import eventually

pytestmark = pytest.mark.live


def metrics(api: Api) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels."""
    families = text_string_to_metric_families(api.http.get("/metrics").text)
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_queues_and_states(api: Api, mesh: Mesh) -> None:
    tasks = [api.submit(priority=priority)["id"] for priority in (5, 4, 2, 1)]
    mesh.add(1, "RUNNING")
    mesh.add(2, "RETRY_WAIT")
    mesh.add(3, "COMPLETED")
    mesh.add(4, "PERMANENT_FAILURE")
    assert len(tasks) == 4
    eventually(lambda: api.http.get("/v1/queues").json()["queues"][2]["depth"] == 1)
    assert api.http.get("/v1/queues").json() == {
        "queues": [
            {"name": "agent_high", "depth": 2},
            {"name": "agent_medium", "depth": 1},
            {"name": "agent_low", "depth": 1},
            {"name": "agent_dead_letter", "depth": 1},
        ],
        "states": {"PENDING": 4, "RUNNING": 1, "RETRY_WAIT": 1},
        "admission": {"open": True, "reason": None},
    }


def test_workers_with_health_bands(api: Api, mesh: Mesh) -> None:
    for name, rss_mib, seen_s, left in [
        ("green", 256, 1, None),
        ("red", 640, 1, None),
        ("gone", 1, 1, "now()"),
        ("ancient", 1, 1_000_000, None),
    ]:
        mesh.execute(
            "insert into worker (id, place, pid, host, rss_bytes, cpu, active, slots, seen_at, left_at)"
            " values (%s, 1, 2, 'h', %s, 0.5, 3, 5, now() - %s * interval '1 second', %s::timestamptz)",
            name,
            rss_mib * MIB,
            seen_s,
            left,
        )
    found = {worker["id"]: worker for worker in api.http.get("/v1/workers").json()["workers"]}
    assert set(found) == {"green", "red", "gone"}
    assert (found["green"]["score"], found["green"]["band"], found["green"]["alive"]) == (0.5, "green", True)
    assert (found["red"]["score"], found["red"]["band"]) == (-0.25, "red")
    assert found["gone"]["alive"] is False
    assert {name: found["green"][name] for name in ("place", "pid", "host", "cpu", "active", "slots", "gate")} == {
        "place": 1,
        "pid": 2,
        "host": "h",
        "cpu": 0.5,
        "active": 3,
        "slots": 5,
        "gate": True,
    }


def test_a_silent_worker_is_of_the_fleet_for_its_lease_and_three_reports() -> None:
    assert silent_s_max(Rulebook()) == 10 + 3 * 1


def test_health(api: Api, mesh: Mesh) -> None:
    assert api.http.get("/healthz").json() == {
        "status": "ok",
        "postgres": True,
        "redis": True,
        "reaper": True,
        "detail": None,
    }
    mesh.execute("update leadership set until = now()")
    try:
        answer = api.http.get("/healthz")
        assert answer.status_code == 503 and answer.json()["reaper"] is False and "reaper" in answer.json()["detail"]
    finally:
        mesh.execute("update leadership set until = now() + interval '1 hour'")


def test_metrics_count_what_happened(api: Api, mesh: Mesh) -> None:
    before = metrics(api)
    api.submit(idempotency_key="m")
    api.submit(idempotency_key="m")
    api.http.post("/v1/tasks", json={"role": "NOBODY"})
    mesh.execute("insert into worker (id, place, pid, rss_bytes, active) values ('w\"1', 0, 1, 5, 2)")
    mesh.execute("insert into note (kind) values ('stale_write'), ('stale_write')")
    after = metrics(api)

    def rise(*key: str) -> float:
        return after[key] - before.get(key, 0.0)

    assert rise("meshlab_submissions_total", "created") == 1
    assert rise("meshlab_submissions_total", "existing") == 1
    assert rise("meshlab_http_request_seconds_count", "POST", "/v1/tasks", "201") == 1
    assert rise("meshlab_http_request_seconds_count", "POST", "/v1/tasks", "422") == 1
    assert rise("meshlab_intake_batch_tasks_sum") == 2
    assert rise("meshlab_intake_commit_seconds_count") == 2
    assert after["meshlab_tasks", "PENDING"] == 1
    assert after["meshlab_notes", "stale_write"] == 2
    assert (after["meshlab_worker_rss_bytes", 'w"1'], after["meshlab_worker_active_tasks", 'w"1']) == (5, 2)
    assert after["meshlab_admission_open",] == 1
    assert after["meshlab_server_up", "postgres"] == after["meshlab_server_up", "redis"] == 1
    assert ("meshlab_feed_subscribers",) in after and ("meshlab_feed_missed_events",) in after


def test_paths_that_do_not_exist_make_no_series(api: Api) -> None:
    for number in range(5):
        problem(api.http.get(f"/nowhere/{number}"), 404)
    assert not [key for key in metrics(api) if any("nowhere" in part for part in key)]


class Page(HTMLParser):
    """What a page would load, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loads: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "style", "onclick")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_docs_need_nothing_from_elsewhere(api: Api) -> None:
    answer = api.http.get("/docs")
    page = Page()
    page.feed(answer.text)
    assert page.loads == ["/openapi.json"]
    assert "script" not in page.tags
    paths = api.http.get("/openapi.json").json()["paths"]
    assert all(path in page.text for path in paths)
    assert "order-17-plan" in page.text  # an example


def test_without_redis_tasks_are_accepted(mesh: Mesh) -> None:
    with thread(mesh.settings(redis_url="redis://127.0.0.1:1/0")) as api:
        task = api.submit()["id"]
        assert mesh.state(task) == "PENDING"
        assert api.http.post(f"/v1/tasks/{task}:cancel").json()["state"] == "CANCELLED"
        assert [queue["depth"] for queue in api.http.get("/v1/queues").json()["queues"]] == [None, None, None, 0]
        health = api.http.get("/healthz")
        assert (health.status_code, health.json()["redis"], health.json()["postgres"]) == (503, False, True)


def test_without_postgresql_the_answer_is_to_come_again(mesh: Mesh) -> None:
    """Started before its database: it answers, and says what is missing."""
    with thread(mesh.settings(dsn="host=127.0.0.1 port=1 dbname=none")) as api:
        answers = [api.http.get(path) for path in ("/v1/tasks", "/v1/tasks/1", "/v1/queues")]
        for answer in (*answers, api.http.post("/v1/tasks", json={"role": "DEVELOPER"})):
            problem(answer, 503)
            assert answer.headers["retry-after"] == "1"
        assert api.http.get("/healthz").json()["postgres"] is False
        assert metrics(api)["meshlab_server_up", "postgres"] == 0
