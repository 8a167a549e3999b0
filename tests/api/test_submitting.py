"""POST /v1/tasks and /v1/tasks:batch: what is accepted is committed, once; what is not leaves nothing behind."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from lab import Scenario
from tests.api.conftest import SCENARIO
from tests.api.helpers import Api, Mesh, problem
from tests.live.helpers import eventually

pytestmark = pytest.mark.live


def count(mesh: Mesh) -> int:
    return int(mesh.rows("select count(*) from task")[0][0])


def test_a_task_is_committed_with_its_audit_row_and_pushed(api: Api, mesh: Mesh) -> None:
    answer = api.http.post("/v1/tasks", json={"role": "DEVELOPER", "priority": 2, "payload": {"ticket": 7}})
    assert answer.status_code == 201
    task = answer.json()["id"]
    assert answer.json() == {
        "id": task,
        "state": "PENDING",
        "status": "created",
        "role": "DEVELOPER",
        "priority": 2,
        "queue": "agent_medium",
    }
    assert answer.headers["location"] == f"/v1/tasks/{task}"
    assert mesh.rows("select role, priority, class, state, attempt from task") == [("DEVELOPER", 2, 1, "PENDING", 0)]
    assert mesh.rows("select task, to_state, reason from transition") == [(task, "PENDING", "submitted")]
    assert mesh.rows("select body from payload") == [({"ticket": 7},)]
    eventually(lambda: mesh.queue("agent_medium") == [task])


@pytest.mark.parametrize(
    ("role", "given", "priority", "queue"),
    [
        ("ARCHITECT", None, 5, "agent_high"),  # the role's own
        ("DEVELOPER", None, 3, "agent_high"),
        ("QA_ENGINEER", None, 3, "agent_high"),  # its priority is drawn: there is no one number
        ("ARCHITECT", 1, 1, "agent_low"),
        ("ARCHITECT", 4, 4, "agent_high"),
        ("ARCHITECT", 2.0, 2, "agent_medium"),  # the same integer, says JSON Schema
    ],
)
def test_priority_and_queue_are_the_rulebooks(
    api: Api, role: str, given: int | None, priority: int, queue: str
) -> None:
    found = api.submit(role=role, priority=given)
    assert (found["priority"], found["queue"]) == (priority, queue)


def test_the_queue_follows_the_published_rules(api: Api, mesh: Mesh) -> None:
    mesh.publish(Scenario.from_data(SCENARIO).override({"rules.priority.route_by": "role"}))
    try:
        eventually(lambda: api.submit(role="DEVELOPER", priority=5)["queue"] == "agent_medium")
    finally:
        mesh.publish(Scenario.from_data(SCENARIO))
        eventually(lambda: api.submit(role="DEVELOPER", priority=5)["queue"] == "agent_high")


def test_the_same_key_and_task_is_one_task(api: Api, mesh: Mesh) -> None:
    body = {"role": "DEVELOPER", "payload": {"a": 1, "b": 2}, "idempotency_key": "k-1"}
    first = api.http.post("/v1/tasks", json=body)
    # the same task, spelled otherwise
    again = api.http.post("/v1/tasks", json={**body, "payload": {"b": 2, "a": 1}, "priority": 3})
    in_header = api.http.post(
        "/v1/tasks", json={"role": "DEVELOPER", "payload": {"a": 1, "b": 2}}, headers={"Idempotency-Key": "k-1"}
    )
    in_both = api.http.post("/v1/tasks", json=body, headers={"Idempotency-Key": "k-1"})
    assert first.status_code == 201
    assert {answer.status_code for answer in (again, in_header, in_both)} == {200}
    assert {answer.json()["id"] for answer in (first, again, in_header, in_both)} == {first.json()["id"]}
    assert again.json()["status"] == "existing"
    assert count(mesh) == 1


@pytest.mark.parametrize("change", [{"payload": {"a": 2}}, {"priority": 4}, {"role": "ARCHITECT"}, {"payload": None}])
def test_the_same_key_for_another_task_is_a_conflict(api: Api, mesh: Mesh, change: dict[str, Any]) -> None:
    body = {"role": "DEVELOPER", "priority": 3, "payload": {"a": 1}, "idempotency_key": "k"}
    first = api.submit(**body)
    found = problem(api.http.post("/v1/tasks", json={**body, **change}), 409)
    assert str(first["id"]) in found["detail"] and found["instance"] == f"/v1/tasks/{first['id']}"
    assert count(mesh) == 1


def test_fifty_at_once_with_one_key_make_one_task(api: Api, mesh: Mesh) -> None:
    def submit(_: int) -> httpx.Response:
        return api.http.post("/v1/tasks", json={"role": "DEVELOPER", "idempotency_key": "race"})

    with ThreadPoolExecutor(max_workers=50) as pool:
        answers = list(pool.map(submit, range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] * 49 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert count(mesh) == 1
    assert mesh.rows("select count(*) from transition") == [(1,)]


@pytest.mark.parametrize("key", ["", " leading", "trailing ", "x" * 201, "new\nline", "ümlaut", 7, ["k"]])
def test_a_key_that_no_header_could_carry_is_refused(api: Api, mesh: Mesh, key: Any) -> None:
    found = problem(api.http.post("/v1/tasks", json={"role": "DEVELOPER", "idempotency_key": key}), 422)
    assert found["errors"][0]["path"] == "idempotency_key"
    assert count(mesh) == 0


def test_two_different_keys_are_refused(api: Api) -> None:
    body = {"role": "DEVELOPER", "idempotency_key": "one"}
    problem(api.http.post("/v1/tasks", json=body, headers={"Idempotency-Key": "two"}), 422)
    two = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    problem(api.http.post("/v1/tasks", json={"role": "DEVELOPER"}, headers=two), 422)
    problem(api.http.post("/v1/tasks", json={"role": "DEVELOPER"}, headers={"Idempotency-Key": "x" * 201}), 422)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "role"),
        ({"role": "NOBODY"}, "role"),
        ({"role": 7}, "role"),
        ({"role": "DEVELOPER", "priority": 0}, "priority"),
        ({"role": "DEVELOPER", "priority": 6}, "priority"),
        ({"role": "DEVELOPER", "priority": "3"}, "priority"),
        ({"role": "DEVELOPER", "priority": 3.5}, "priority"),
        ({"role": "DEVELOPER", "priority": True}, "priority"),
        ({"role": "DEVELOPER", "state": "COMPLETED"}, "state"),
        ({"role": "DEVELOPER", "attempt": 0}, "attempt"),
        ({"role": "DEVELOPER", "token": 1}, "token"),
        ({"role": "DEVELOPER", "id": 1}, "id"),
    ],
)
def test_what_the_schema_does_not_allow_is_refused(api: Api, mesh: Mesh, body: dict[str, Any], path: str) -> None:
    found = problem(api.http.post("/v1/tasks", json=body), 422)
    assert [error["path"] for error in found["errors"]] == [path]
    assert all(error["found"] and error["allowed"] for error in found["errors"])
    assert count(mesh) == 0


def test_all_that_is_wrong_is_said_at_once(api: Api) -> None:
    found = problem(api.http.post("/v1/tasks", json={"role": 7, "priority": 9, "state": "x"}), 422)
    assert {error["path"] for error in found["errors"]} == {"role", "priority", "state"}


@pytest.mark.parametrize("value", [[], "text", 7, None, True])
def test_only_an_object_is_a_task(api: Api, value: Any) -> None:
    for path in ("/v1/tasks", "/v1/tasks:batch"):
        problem(api.http.post(path, content=json.dumps(value), headers={"Content-Type": "application/json"}), 422)


# ---- batches


def test_a_batch_answers_in_order(api: Api, mesh: Mesh) -> None:
    first = api.submit(role="DEVELOPER", idempotency_key="known")
    tasks = [
        {"role": "DEVELOPER", "payload": 1},
        {"role": "DEVELOPER", "idempotency_key": "known"},
        {"role": "ARCHITECT", "idempotency_key": "known"},
        {"role": "ARCHITECT", "idempotency_key": "new"},
        {"role": "ARCHITECT", "idempotency_key": "new"},
    ]
    answer = api.http.post("/v1/tasks:batch", json={"tasks": tasks})
    assert answer.status_code == 200
    found = answer.json()["tasks"]
    assert [one["status"] for one in found] == ["created", "existing", "conflict", "created", "existing"]
    assert found[1]["id"] == found[2]["id"] == first["id"]
    assert found[3]["id"] == found[4]["id"]
    assert count(mesh) == 3


def test_a_batch_with_one_wrong_task_is_refused_whole(api: Api, mesh: Mesh) -> None:
    for wrong, path in [({"role": "NOBODY"}, "role"), ({"role": "DEVELOPER", "x": 1}, "x")]:
        found = problem(api.http.post("/v1/tasks:batch", json={"tasks": [{"role": "DEVELOPER"}, wrong]}), 422)
        assert found["errors"][0]["path"] == f"tasks[1].{path}"
    nul = {"role": "DEVELOPER", "payload": "\0"}
    found = problem(api.http.post("/v1/tasks:batch", json={"tasks": [{"role": "DEVELOPER"}, nul]}), 422)
    assert found["errors"][0]["path"] == "tasks[1].payload"
    assert count(mesh) == 0


def test_a_batch_holds_one_to_a_thousand(api: Api, mesh: Mesh) -> None:
    thousand = [{"role": "DEVELOPER"}] * 1_000
    answer = api.http.post("/v1/tasks:batch", json={"tasks": thousand})
    assert len({one["id"] for one in answer.json()["tasks"]}) == 1_000
    problem(api.http.post("/v1/tasks:batch", json={"tasks": [*thousand, {"role": "DEVELOPER"}]}), 422)
    problem(api.http.post("/v1/tasks:batch", json={"tasks": []}), 422)
    headers = {"Idempotency-Key": "k"}
    problem(api.http.post("/v1/tasks:batch", json={"tasks": [{"role": "DEVELOPER"}]}, headers=headers), 422)
    assert count(mesh) == 1_000


# ---- admission


@pytest.fixture
def at_most_five(api: Api, mesh: Mesh) -> Any:
    """A mesh that takes no more than five pending tasks."""
    rules = {"rules.admission.max_pending": 5, "rules.admission.retry_after_s": 2.5}
    mesh.publish(Scenario.from_data(SCENARIO).override(rules))
    eventually(lambda: _batch(api, 6).status_code == 429)
    mesh.empty()
    yield
    mesh.publish(Scenario.from_data(SCENARIO))
    eventually(lambda: _batch(api, 6).status_code == 200)


def _batch(api: Api, size: int) -> httpx.Response:
    return api.http.post("/v1/tasks:batch", json={"tasks": [{"role": "DEVELOPER"}] * size})


@pytest.mark.usefixtures("at_most_five")
def test_admission_closes_by_depth_and_opens_again(api: Api, mesh: Mesh) -> None:
    """Never one too many, however often it is asked between two looks."""
    eventually(lambda: api.http.get("/v1/queues").json()["admission"]["open"])
    answers = [api.http.post("/v1/tasks", json={"role": "DEVELOPER"}) for _ in range(8)]
    assert [answer.status_code for answer in answers] == [201] * 5 + [429] * 3
    found = problem(answers[-1], 429)
    assert "5 tasks are pending" in found["detail"]
    assert answers[-1].headers["retry-after"] == "3"  # 2.5, rounded up
    admission = api.http.get("/v1/queues").json()["admission"]
    assert admission["open"] is False and "5 tasks" in admission["reason"]
    mesh.execute("update task set state = 'COMPLETED'")
    eventually(lambda: api.http.post("/v1/tasks", json={"role": "DEVELOPER"}).status_code == 201)


@pytest.mark.usefixtures("at_most_five")
def test_a_batch_that_does_not_fit_is_refused_whole(api: Api, mesh: Mesh) -> None:
    eventually(lambda: _batch(api, 4).status_code == 200)
    problem(_batch(api, 2), 429)
    assert count(mesh) == 4


def test_admission_closes_while_half_of_the_fleet_is_closed(api: Api, mesh: Mesh) -> None:
    for name, gate in [("a", True), ("b", False), ("c", False)]:
        mesh.execute("insert into worker (id, place, pid, gate) values (%s, 0, 1, %s)", name, gate)
    eventually(lambda: api.http.post("/v1/tasks", json={"role": "DEVELOPER"}).status_code == 429)
    found = problem(api.http.post("/v1/tasks", json={"role": "DEVELOPER"}), 429)
    assert "2 of 3 workers" in found["detail"]
    mesh.execute("update worker set left_at = now() where id in ('b', 'c')")
    eventually(lambda: api.http.post("/v1/tasks", json={"role": "DEVELOPER"}).status_code == 201)
