"""submit, tasks, dlq against an API that answers as told; the options of up, api and worker."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from cli.main import parser
from tests.live.fake_api import Answer, Asked, FakeApi, problem, task

Meshlab = Callable[..., Any]
Serve = Callable[[Callable[[Asked], Answer]], FakeApi]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """serve(answer): the API that the command line finds."""
    fakes: list[FakeApi] = []

    def started(answer: Callable[[Asked], Answer]) -> FakeApi:
        fakes.append(FakeApi(answer))
        monkeypatch.setenv("MESHLAB_API", fakes[-1].url)
        monkeypatch.delenv("MESHLAB_TOKEN", raising=False)
        return fakes[-1]

    yield started
    for fake in fakes:
        fake.close()


def mesh(asked: Asked) -> Answer:
    """A mesh in which everything works, but task 3 fails and task 9 is not there."""
    if asked.path == "/v1/tasks" and asked.method == "POST":
        return Answer(201, {"id": 1, "status": "created"})
    if asked.path == "/v1/tasks:batch":
        count = len(asked.body["tasks"])
        return Answer(200, {"tasks": [{"id": number, "status": "created"} for number in range(1, count + 1)]})
    if asked.path == "/v1/tasks/9":
        return problem(404, "there is no task 9")
    if asked.path == "/v1/tasks/3":
        dead = {"at": "2026-01-02T03:04:06Z", "discarded_at": None}
        text = "Traceback (most recent call last):\n  File x\nValueError: \x1b[31mno"
        return Answer(200, task(3, "PERMANENT_FAILURE", error=text, dead_letter=dead))
    if asked.path.endswith("/transitions"):
        row = {"from": None, "to": "PENDING", "at": "2026-01-02T03:04:05Z", "worker": "", "attempt": 0, "token": 0}
        return Answer(200, {"transitions": [{**row, "reason": "submitted", "delay_s": 0.0}]})
    if asked.path.startswith("/v1/tasks?"):
        return Answer(200, {"tasks": [task(2), task(1, "PENDING")], "next_before": None})
    return Answer(200, task(int(asked.path.rsplit("/", 1)[1]), payload={"issue": 4}, result={"answer": "é"}))


# ---- submit ----------------------------------------------------------------------------------------------------------


def test_submit_says_what_to_do_next(meshlab: Meshlab, serve: Serve) -> None:
    api = serve(mesh)
    answer = meshlab("submit", "DEVELOPER", "--priority", "5", "--payload", '{"issue": 4}', "--key", "k")
    assert answer.status == 0
    assert answer.out == "task 1 submitted; `meshlab tasks 1` shows it\n"
    assert api.asked[0].body == {
        "role": "DEVELOPER",
        "priority": 5,
        "payload": {"issue": 4},
        "idempotency_key": "k",
    }


def test_submit_waits_and_its_status_tells_how_it_went(meshlab: Meshlab, serve: Serve) -> None:
    serve(mesh)
    one = meshlab("submit", "DEVELOPER", "--wait")
    assert (one.status, one.out) == (0, 'task 1 COMPLETED: {"answer": "é"}\n')
    three = meshlab("submit", "DEVELOPER", "--count", "3", "--wait")
    assert three.status == 1
    assert three.out == "3 submitted; ids 1 to 3\n2 COMPLETED, 1 PERMANENT_FAILURE\n"


def test_submit_many_under_numbered_keys_as_json(meshlab: Meshlab, serve: Serve) -> None:
    api = serve(mesh)
    answer = meshlab("submit", "DEVELOPER", "--count", "2", "--key", "k", "--json", "--wait")
    assert [one["idempotency_key"] for one in api.asked[0].body["tasks"]] == ["k-1", "k-2"]
    assert [one["task"]["state"] for one in answer.json["tasks"]] == ["COMPLETED", "COMPLETED"]
    assert answer.json["tasks"][0]["task"]["changed_at"] == "2026-01-02T03:04:05.678901+00:00"


def test_a_payload_comes_from_a_file_or_from_stdin(
    meshlab: Meshlab, serve: Serve, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = serve(mesh)
    (here / "p.json").write_text('["file"]')
    monkeypatch.setattr("sys.stdin", io.StringIO('["stdin"]'))
    assert meshlab("submit", "DEVELOPER", "--payload", "@p.json").status == 0
    assert meshlab("submit", "DEVELOPER", "--payload", "-").status == 0
    assert [asked.body["payload"] for asked in api.asked] == [["file"], ["stdin"]]


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ("hello", "--payload: this is no JSON"),
        ("[" * 100_000, "--payload: this is no JSON"),
        ("NaN", "is no JSON"),
        ("@missing.json", "--payload @missing.json: cannot be read"),
    ],
)
def test_a_bad_payload_is_refused_before_anything_is_sent(
    meshlab: Meshlab, serve: Serve, payload: str, said: str
) -> None:
    api = serve(mesh)
    answer = meshlab("submit", "DEVELOPER", "--payload", payload)
    assert answer.status == 2
    assert said in answer.err
    assert api.asked == []


def test_what_the_api_refuses_is_bad_usage(meshlab: Meshlab, serve: Serve) -> None:
    errors = [{"path": "role", "found": "COOK", "allowed": "one of DEVELOPER"}]
    serve(lambda asked: problem(422, "the task is not valid", errors=errors))
    answer = meshlab("submit", "COOK")
    assert answer.status == 2
    assert answer.err == "the task is not valid\nrole: found 'COOK', allowed one of DEVELOPER\n"


# ---- tasks -----------------------------------------------------------------------------------------------------------


def test_tasks_are_listed_newest_first(meshlab: Meshlab, serve: Serve) -> None:
    api = serve(mesh)
    answer = meshlab("tasks", "--state", "completed", "--role", "DEVELOPER", "--limit", "7")
    assert [line.split()[0] for line in answer.out.splitlines()] == ["id", "2", "1"]
    asked = parse_qs(urlsplit(api.asked[0].path).query)
    assert asked == {"state": ["COMPLETED"], "role": ["DEVELOPER"], "limit": ["7"]}


def test_long_lists_are_read_page_by_page(meshlab: Meshlab, serve: Serve) -> None:
    def pages(asked: Asked) -> Answer:
        query = {name: int(value[0]) for name, value in parse_qs(urlsplit(asked.path).query).items()}
        first = query.get("before", 451) - 1
        ids = range(first, max(0, first - query["limit"]), -1)
        return Answer(200, {"tasks": [task(number) for number in ids], "next_before": ids[-1] if ids[-1] > 1 else None})

    api = serve(pages)
    answer = meshlab("tasks", "--limit", "450", "--json")
    assert [one["id"] for one in answer.json["tasks"]] == list(range(450, 0, -1))
    assert len(api.asked) == 3


def test_one_task_is_shown_whole_with_its_history(meshlab: Meshlab, serve: Serve) -> None:
    serve(mesh)
    answer = meshlab("tasks", "7", "--history")
    for words in ("COMPLETED", '{"issue": 4}', '{"answer": "é"}', "submitted"):
        assert words in answer.out
    found = meshlab("tasks", "7", "--history", "--json").json
    assert (found["id"], found["transitions"][0]["to_state"]) == (7, "PENDING")


def test_what_a_task_says_cannot_steer_the_terminal(meshlab: Meshlab, serve: Serve) -> None:
    serve(mesh)
    answer = meshlab("tasks", "3")
    assert "\\x1b[31mno" in answer.out
    assert "\x1b" not in answer.out
    assert "meshlab dlq redrive 3" in answer.out


def test_a_task_that_is_not_there(meshlab: Meshlab, serve: Serve) -> None:
    serve(mesh)
    answer = meshlab("tasks", "9")
    assert (answer.status, answer.err) == (2, "there is no task 9\n")


def test_history_wants_an_id(meshlab: Meshlab) -> None:
    assert "say of which task" in meshlab("tasks", "--history").err


# ---- dead letters ----------------------------------------------------------------------------------------------------


def _cemetery(asked: Asked) -> Answer:
    if asked.method == "GET":
        dead = {"at": "2026-01-02T03:04:06Z", "discarded_at": None}
        error = "ValueError: no"
        return Answer(200, {"tasks": [task(3, "PERMANENT_FAILURE", error=error, dead_letter=dead)], "next_after": None})
    return Answer(200, {"tasks": [3]})


def test_dead_letters_are_listed_with_their_errors(meshlab: Meshlab, serve: Serve) -> None:
    serve(_cemetery)
    assert "ValueError: no" in meshlab("dlq", "list").out
    assert meshlab("dlq", "list", "--json").json["tasks"][0]["id"] == 3


@pytest.mark.parametrize(("action", "past"), [("redrive", "redriven"), ("discard", "discarded")])
def test_dead_letters_are_acted_on_by_id_role_or_all(meshlab: Meshlab, serve: Serve, action: str, past: str) -> None:
    api = serve(_cemetery)
    assert meshlab("dlq", action, "3").out == f"{past}: 3\n"
    assert meshlab("dlq", action, "--role", "QA").status == 0
    assert meshlab("dlq", action, "--all", "--json").json == {"tasks": [3], "no_dead_letters": []}
    assert [asked.body for asked in api.asked] == [{"ids": [3]}, {"role": "QA"}, {"all": True}]
    assert {asked.path for asked in api.asked} == {f"/v1/dead-letters:{action}"}


def test_who_is_no_dead_letter_is_named(meshlab: Meshlab, serve: Serve) -> None:
    serve(_cemetery)
    answer = meshlab("dlq", "redrive", "3", "5")
    assert (answer.status, answer.out) == (1, "redriven: 3\nno dead letters: 5\n")


@pytest.mark.parametrize("words", [[], ["3", "--all"], ["--role", "QA", "--all"]])
def test_dlq_wants_to_know_exactly_which(meshlab: Meshlab, words: list[str]) -> None:
    answer = meshlab("dlq", "redrive", *words)
    assert answer.status == 2
    assert "say either which tasks" in answer.err


# ---- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["submit"],
        ["submit", "A", "--priority", "6"],
        ["submit", "A", "--count", "0"],
        ["tasks", "-1"],
        ["tasks", "--state", "LOST"],
        ["dlq"],
        ["up", "--port", "65536"],
        ["up", "--workers", "1000"],
        ["worker", "--slots", "0"],
    ],
)
def test_bad_options_end_with_2(meshlab: Meshlab, words: list[str]) -> None:
    answer = meshlab(*words)
    assert answer.status == 2
    assert "usage: meshlab" in answer.err


def test_up_refuses_a_bad_scenario_before_it_starts_anything(meshlab: Meshlab, here: Path) -> None:
    (here / "bad.yaml").write_text("name: x\nmesh: {wrokers: 2}\n")
    answer = meshlab("up", "bad.yaml")
    assert answer.status == 2
    assert "bad.yaml:2:8: mesh.wrokers" in answer.err


def test_up_lays_its_options_over_the_scenario() -> None:
    from cli.up import _scenario

    options = parser().parse_args(["up", "--workers", "3", "--slots", "9", "--set", "rules.retry.base_s=0.5"])
    scenario = _scenario(options)
    assert (scenario.mesh.workers, scenario.mesh.slots, scenario.rules.retry.base_s) == (3, 9, 0.5)
    assert set(scenario.workload.roles) == {"ARCHITECT", "DEVELOPER", "QA_ENGINEER"}


def test_an_api_alone_needs_servers_that_its_workers_can_reach(
    meshlab: Meshlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REDIS_URL", "REDIS_ADDR", "DB_DSN"):
        monkeypatch.delenv(name, raising=False)
    answer = meshlab("api")
    assert answer.status == 1
    assert "meshlab api needs REDIS_URL (or REDIS_ADDR) and DB_DSN" in answer.err


def test_the_commands_of_the_mesh_are_in_the_help(meshlab: Meshlab) -> None:
    help_text = meshlab("--help").out
    assert all(f"    {name}" in help_text for name in ("up", "api", "worker", "submit", "tasks", "dlq"))


def test_without_a_mesh_the_message_says_how_to_start_one(meshlab: Meshlab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHLAB_API", "http://127.0.0.1:1")
    monkeypatch.setattr("cli.tasks.CLI_SILENT_S_MAX", 0.1)
    answer = meshlab("tasks")
    assert answer.status == 1
    assert "`meshlab up`" in answer.err


def test_answers_are_json_and_nothing_else(meshlab: Meshlab, serve: Serve) -> None:
    serve(mesh)
    for words in (["tasks", "--json"], ["tasks", "7", "--json"], ["submit", "A", "--json"]):
        answer = meshlab(*words)
        assert json.loads(answer.out)
        assert answer.err == ""
