"""A role's handler in the scenario: what is allowed, and what is wrong with what is not, with its line and path."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from lab.errors import Problem, ScenarioError
from lab.scenario import Scenario, json_schema

TEXT = """\
workload:
  arrivals: {kind: burst, count: 5}
  roles:
    DEV:
      service: {dist: constant, mean_s: 1.0}
      handler: {HANDLER}
"""
WHERE = "workload.roles.DEV.handler"
GOOD = [
    "python: 'agents:answer'",
    "python: 'my.agents:Team.answer', isolation: process, timeout_s: 5",
    "python: 'agents:answer', isolation: shared",
    "http: 'http://127.0.0.1:8080/agent'",
    "http: 'http://localhost', timeout_s: 2.5",
    "http: 'http://[::1]:8080/agent?kind=fast'",
    "http: 'https://agents.example.org/run', headers_from_env: {Authorization: AGENT_TOKEN}",
    "http: 'http://agent_1:8080/'",
]
# the handler, then the path and a piece of the message of the problem that must be found
BAD = [
    ("timeout_s: 5", "", "give either python or http"),
    ("python: 'a:b', http: 'http://127.0.0.1/'", "", "not both"),
    ("http: 'http://127.0.0.1/', isolation: process", "", "isolation is for python"),
    ("python: 'a:b', headers_from_env: {}", "", "headers_from_env is for http"),
    ("python: a", ".python", "pattern"),
    ("python: 'a b:c'", ".python", "pattern"),
    ("python: ''", ".python", "pattern"),
    ("python: 'a:b\\n'", ".python", "pattern"),
    ("python: 5", ".python", "found 5"),
    ("python: 'a:b', isolation: thread", ".isolation", "'shared' or 'process'"),
    ("python: 'a:b', timeout_s: 0", ".timeout_s", "greater than 0"),
    ("python: 'a:b', timeout_s: .inf", ".timeout_s", "finite"),
    ("python: 'a:b', timout_s: 5", ".timout_s", "did you mean 'timeout_s'?"),
    ("python: 'a:b', timeout_s: 0.5", "", "the model works 1 s on average"),
    ("http: ''", ".http", "pattern"),
    ("http: 'ftp://127.0.0.1/'", ".http", "must be a URL such as"),
    ("http: 'file:///etc/passwd'", ".http", "must be a URL such as"),
    ("http: '127.0.0.1:80'", ".http", "must be a URL such as"),
    ("http: 'http://127.0.0.1:99999/'", ".http", "is no URL"),
    ("http: 'http://127.0.0.1:0/'", ".http", "must be a URL such as"),
    ("http: 'http://ann:secret@127.0.0.1/'", ".http", "holds no secrets"),
    ("http: 'http://127.0.0.1/#x'", ".http", "never sent"),
    ("http: 'http://127.1/'", ".http", "the host must be"),
    ("http: 'http://2130706433/'", ".http", "the host must be"),
    ("http: 'http://0x7f000001/'", ".http", "the host must be"),
    ("http: 'http://0177.0.0.1/'", ".http", "the host must be"),
    ("http: 'http://127.0.0.1\\@10.0.0.1/'", ".http", "holds no secrets"),
    ("http: 'http://10.0.0.1\\x/'", ".http", "the host must be"),
    ("http: 'http://[fe80::1%25eth0]/'", ".http", "the host must be"),
    ("http: 'http://a..b/'", ".http", "the host must be"),
    ("http: 'http://127.0.0.1/a b'", ".http", "pattern"),
    ("http: 'http://127.0.0.1/', headers_from_env: {Host: A}", ".headers_from_env", "set by the worker itself"),
    ("http: 'http://127.0.0.1/', headers_from_env: {Idempotency-Key: A}", ".headers_from_env", "worker itself"),
    ("http: 'http://127.0.0.1/', headers_from_env: {X: A, x: B}", ".headers_from_env", "there twice"),
    ("http: 'http://127.0.0.1/', headers_from_env: {Authorization: 'Bearer x'}", ".headers_from_env.Authorization", ""),
]


def parsed(handler: str) -> Scenario:
    return Scenario.parse(TEXT.replace("HANDLER", handler))


def problems(handler: str) -> list[Problem]:
    with pytest.raises(ScenarioError) as caught:
        parsed(handler)
    return caught.value.problems


def valid(data: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(json_schema()).is_valid(data))


@pytest.mark.parametrize("handler", GOOD)
def test_a_handler_is_a_callable_or_an_endpoint(handler: str) -> None:
    scenario = parsed(handler)
    assert valid(scenario.data)
    assert Scenario.from_data(scenario.data).workload.roles["DEV"].handler == scenario.workload.roles["DEV"].handler


def test_what_is_left_out_has_its_default() -> None:
    handler = parsed("python: 'a:b'").workload.roles["DEV"].handler
    assert handler is not None
    assert (handler.isolation, handler.timeout_s, handler.http, handler.headers_from_env) == ("shared", 60.0, "", {})


@pytest.mark.parametrize(("handler", "path", "said"), BAD)
def test_what_is_wrong_is_told_with_its_line_and_path(handler: str, path: str, said: str) -> None:
    found = problems(handler)
    assert [(each.line, each.path) for each in found] == [(6, WHERE + path)], found
    assert said in found[0].message


@pytest.mark.parametrize(
    "handler",
    [
        {},
        {"python": "a:b", "http": "http://127.0.0.1/"},
        {"http": "http://127.0.0.1/", "isolation": "process"},
        {"python": "a:b", "headers_from_env": {}},
        {"python": None},
        {"python": "a:b", "timout_s": 5},
    ],
)
def test_the_json_schema_refuses_what_the_loader_refuses(handler: dict[str, Any]) -> None:
    data = parsed("python: 'a:b'").data
    data["workload"]["roles"]["DEV"]["handler"] = handler
    assert not valid(data)
    with pytest.raises(ScenarioError):
        Scenario.from_data(data)


def test_a_role_without_one_says_nothing_of_it() -> None:
    assert parsed("python: 'a:b'").override({"workload.roles.DEV.handler": None}).workload.roles["DEV"].handler is None
