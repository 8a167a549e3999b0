"""Looking at tasks, their history, cancelling and redriving them; and the dead letters."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import Any

import pytest

from lab.rules.tasks import State
from live_backend.reading import Reading
from tests.api.helpers import Api, Mesh, problem

pytestmark = pytest.mark.live


def dead(mesh: Mesh, *ids: int, role: str = "DEVELOPER") -> None:
    """Tasks that have used up their attempts, with an error and a letter in Redis."""
    for task in ids:
        mesh.add(task, "PERMANENT_FAILURE", role, attempt=6, token=6)
        mesh.execute("insert into failure (task, attempt, token, error) values (%s, 5, 5, 'the first error')", task)
        mesh.execute("insert into failure (task, attempt, token, error) values (%s, 6, 6, 'no luck')", task)
        mesh.redis.rpush(mesh.prefix + "agent_dead_letter", task)


def listed(api: Api, path: str = "/v1/tasks", **parameters: Any) -> list[int]:
    answer = api.http.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return [task["id"] for task in answer.json()["tasks"]]


# ---- looking


def test_a_task_as_it_stands(api: Api, mesh: Mesh) -> None:
    mesh.add(9, "RUNNING", attempt=2, token=3, worker="w-1", lease_until=datetime.fromisoformat("2030-01-02T03:04:05Z"))
    mesh.execute("insert into payload (task, body) values (9, %s)", '{"b": 1, "a": [1.5, null]}')
    mesh.execute("insert into failure (task, attempt, token, error) values (9, 1, 1, 'TypeError: x')")
    found = api.http.get("/v1/tasks/9").json()
    assert datetime.fromisoformat(found.pop("changed_at")).utcoffset().total_seconds() == 0  # type: ignore[union-attr]
    assert found == {
        "id": 9,
        "role": "DEVELOPER",
        "priority": 3,
        "queue": "agent_high",
        "state": "RUNNING",
        "attempt": 2,
        "token": 3,
        "worker": "w-1",
        "due_at": None,
        "lease_until": "2030-01-02T03:04:05Z",
        "payload": {"a": [1.5, None], "b": 1},
        "result": None,
        "error": "TypeError: x",
        "dead_letter": None,
    }


def test_a_dead_task_shows_its_letter_and_newest_error(api: Api, mesh: Mesh) -> None:
    dead(mesh, 9)
    found = api.http.get("/v1/tasks/9").json()
    assert found["error"] == "no luck"
    assert found["dead_letter"]["at"] and found["dead_letter"]["discarded_at"] is None


@pytest.mark.parametrize("path", ["/v1/tasks/77", "/v1/tasks/77/transitions", "/v1/tasks/9223372036854775807"])
def test_an_unknown_task_is_not_found(api: Api, path: str) -> None:
    problem(api.http.get(path), 404)


@pytest.mark.parametrize("task", ["0", "9223372036854775808", "99999999999999999999"])
def test_an_id_that_none_can_have_is_refused(api: Api, task: str) -> None:
    problem(api.http.get(f"/v1/tasks/{task}"), 422)
    problem(api.http.get(f"/v1/tasks/{task}/transitions"), 422)
    problem(api.http.post(f"/v1/tasks/{task}:cancel"), 422)


@pytest.mark.parametrize("task", ["-1", "abc", "1.5", "9" * 5_000, "%00", "1%2F2", "٣"])
def test_what_is_no_id_is_not_found(api: Api, task: str) -> None:
    problem(api.http.get(f"/v1/tasks/{task}"), 404)


def test_lists_are_newest_first_and_go_on_page_by_page(api: Api, mesh: Mesh) -> None:
    for task in range(1, 8):
        mesh.add(task)
    assert listed(api) == [7, 6, 5, 4, 3, 2, 1]
    first = api.http.get("/v1/tasks", params={"limit": 3}).json()
    assert [task["id"] for task in first["tasks"]] == [7, 6, 5] and first["next_before"] == 5
    assert "payload" not in first["tasks"][0] and "result" not in first["tasks"][0]
    second = api.http.get("/v1/tasks", params={"limit": 4, "before": 5}).json()
    assert [task["id"] for task in second["tasks"]] == [4, 3, 2, 1]
    assert listed(api, before=1) == []


def test_lists_by_state_and_role(api: Api, mesh: Mesh) -> None:
    mesh.add(1, "COMPLETED")
    mesh.add(2, "PENDING", "ARCHITECT")
    mesh.add(3, "RETRY_WAIT")
    mesh.add(4, "COMPLETED", "ARCHITECT")
    assert listed(api, state="COMPLETED") == [4, 1]
    assert listed(api, state="COMPLETED", role="ARCHITECT") == [4]
    assert listed(api, state="RETRY_WAIT") == [3]
    assert listed(api, role="ARCHITECT") == [4, 2]
    assert listed(api, role="NOBODY") == []


def test_a_search_for_what_is_rare_looks_at_a_bounded_number(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pages, which go on from where the search stopped, and find everything in the end."""
    monkeypatch.setattr("live_backend.reading.SCAN_ROWS_MAX", 10)
    for task in range(1, 36):
        mesh.add(task, "CANCELLED" if task in (3, 17) else "COMPLETED")

    async def pages() -> list[list[int]]:
        reading = Reading(mesh.servers.dsn, mesh.schema)
        found, before = [], None
        while not found or before is not None:
            page, before = await reading.tasks(State.CANCELLED, None, before, 5)
            found.append([task["id"] for task in page])
        await reading.close()
        return found

    assert asyncio.run(pages()) == [[], [17], [], [3]]


@pytest.mark.parametrize(
    "query", ["state=NONE", "state=pending", "limit=0", "limit=201", "limit=x", "before=0", "before=-1", "role=%00"]
)
def test_wrong_queries_are_refused(api: Api, query: str) -> None:
    found = problem(api.http.get(f"/v1/tasks?{query}"), 422)
    assert found["errors"][0]["path"] == query.partition("=")[0]


def test_the_history_of_a_task(api: Api, mesh: Mesh) -> None:
    mesh.add(4)
    mesh.execute(
        "insert into transition (task, from_state, to_state, worker, attempt, token, reason, delay_s)"
        " values (4, 'RUNNING', 'RETRY_WAIT', 'w', 1, 1, 'failed', 2.5)"
    )
    first, second = api.http.get("/v1/tasks/4/transitions").json()["transitions"]
    assert (first["from"], first["to"], first["worker"], first["reason"]) == (None, "PENDING", None, "submitted")
    assert (second["from"], second["to"], second["worker"], second["delay_s"]) == ("RUNNING", "RETRY_WAIT", "w", 2.5)


# ---- cancel and redrive


def test_cancelling_a_pending_task(api: Api, mesh: Mesh) -> None:
    task = api.submit()["id"]
    answer = api.http.post(f"/v1/tasks/{task}:cancel")
    assert answer.status_code == 200 and answer.json()["state"] == "CANCELLED"
    assert mesh.rows("select from_state, to_state, reason from transition where task = %s order by seq", task)[1:] == [
        ("PENDING", "CANCELLED", "cancelled")
    ]
    assert task not in mesh.queue("agent_high")
    again = problem(api.http.post(f"/v1/tasks/{task}:cancel"), 409)
    assert "a task in state CANCELLED cannot be cancelled" in again["detail"] and str(task) in again["detail"]


def test_cancelling_a_task_that_waits_for_its_retry(api: Api, mesh: Mesh) -> None:
    mesh.add(8, "RETRY_WAIT", attempt=1, token=1)
    mesh.redis.zadd(mesh.prefix + "agent_retry", {"8": 1})
    assert api.http.post("/v1/tasks/8:cancel").json()["state"] == "CANCELLED"
    assert mesh.redis.zcard(mesh.prefix + "agent_retry") == 0


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETED", "PERMANENT_FAILURE", "CANCELLED"])
def test_what_the_rulebook_does_not_cancel(api: Api, mesh: Mesh, state: str) -> None:
    mesh.add(8, state)
    before = mesh.rows("select * from task")
    assert state in problem(api.http.post("/v1/tasks/8:cancel"), 409)["detail"]
    assert mesh.rows("select * from task") == before
    assert mesh.rows("select count(*) from transition") == [(1,)]


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "RETRY_WAIT", "COMPLETED", "CANCELLED"])
def test_what_the_rulebook_does_not_redrive(api: Api, mesh: Mesh, state: str) -> None:
    mesh.add(8, state)
    assert state in problem(api.http.post("/v1/tasks/8:redrive"), 409)["detail"]
    assert mesh.state(8) == state


@pytest.mark.parametrize("action", ["cancel", "redrive"])
def test_nothing_happens_to_a_task_that_is_not_there(api: Api, action: str) -> None:
    problem(api.http.post(f"/v1/tasks/77:{action}"), 404)


def test_redriving_a_dead_task(api: Api, mesh: Mesh) -> None:
    dead(mesh, 8)
    found = api.http.post("/v1/tasks/8:redrive").json()
    assert (found["state"], found["dead_letter"], found["attempt"]) == ("PENDING", None, 6)
    assert mesh.rows("select forgiven from task") == [(6,)]
    assert mesh.rows("select task from straggler") == [(8,)]  # so that sweeps find it below their ceiling
    assert mesh.rows("select reason from transition order by seq desc limit 1") == [("redriven",)]
    assert (mesh.queue("agent_high"), mesh.queue("agent_dead_letter")) == ([8], [])


# ---- dead letters


def test_dead_letters_are_listed_with_their_errors(api: Api, mesh: Mesh) -> None:
    dead(mesh, 1, 2, 3)
    dead(mesh, 4, role="ARCHITECT")
    mesh.add(5, "COMPLETED")
    page = api.http.get("/v1/dead-letters", params={"limit": 2}).json()
    assert [(task["id"], task["error"]) for task in page["tasks"]] == [(1, "no luck"), (2, "no luck")]
    assert listed(api, "/v1/dead-letters", after=page["next_after"]) == [3, 4]
    assert listed(api, "/v1/dead-letters", role="ARCHITECT") == [4]
    assert api.http.get("/v1/dead-letters").json()["next_after"] is None


@pytest.mark.parametrize(
    ("choice", "which"),
    [({"ids": [1, 3, 5, 99]}, [1, 3]), ({"role": "DEVELOPER"}, [1, 2, 3]), ({"all": True}, [1, 2, 3, 4])],
)
def test_redriving_and_discarding_letters(api: Api, mesh: Mesh, choice: dict[str, Any], which: list[int]) -> None:
    """Those chosen that are dead, and no others."""

    def fill() -> None:
        mesh.empty()
        dead(mesh, 1, 2, 3)
        dead(mesh, 4, role="ARCHITECT")
        mesh.add(5, "COMPLETED")

    fill()
    assert api.http.post("/v1/dead-letters:redrive", json=choice).json() == {"tasks": which}
    assert sorted(mesh.queue("agent_high")) == which
    assert {mesh.state(task) for task in which} == {"PENDING"}
    assert listed(api, "/v1/dead-letters") == [task for task in (1, 2, 3, 4) if task not in which]
    fill()
    assert api.http.post("/v1/dead-letters:discard", json=choice).json() == {"tasks": which}
    assert {mesh.state(task) for task in which} == {"PERMANENT_FAILURE"}
    assert api.http.get(f"/v1/tasks/{which[0]}").json()["dead_letter"]["discarded_at"]
    assert listed(api, "/v1/dead-letters") == [task for task in (1, 2, 3, 4) if task not in which]
    assert mesh.queue("agent_dead_letter") == [task for task in (1, 2, 3, 4) if task not in which]
    assert api.http.post("/v1/dead-letters:discard", json=choice).json() == {"tasks": []}


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"ids": []},
        {"ids": [0]},
        {"ids": ["1"]},
        {"ids": [2**63 - 1, 1.5]},
        {"role": ""},
        {"role": "no role"},
        {"role": "\0"},
        {"role": "\ud800"},
        {"all": False},
        {"ids": [1], "all": True},
        {"role": "DEVELOPER", "all": True},
        {"state": "PENDING"},
        {"ids": list(range(1, 1_002))},
    ],
)
def test_a_choice_must_be_one(api: Api, mesh: Mesh, choice: dict[str, Any]) -> None:
    dead(mesh, 1)
    for action in ("redrive", "discard"):
        headers = {"Content-Type": "application/json"}
        problem(api.http.post(f"/v1/dead-letters:{action}", content=json.dumps(choice), headers=headers), 422)
    assert mesh.state(1) == "PERMANENT_FAILURE"
