"""What the editor asks the app: checks of a text, and who may ask for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit import config

from lab import limits
from ui import doorway, library, studio_routes

ORIGIN = "http://127.0.0.1:8501"
CHECK, OUTLINE = "/lab/scenario/check", "/lab/scenario/outline"


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(
        Starlette(routes=studio_routes.ROUTES, middleware=doorway.MIDDLEWARE),
        base_url=ORIGIN,
        raise_server_exceptions=True,
    ) as opened:
        yield opened


def checked(client: TestClient, text: str, **more: str) -> dict[str, Any]:
    headers = {"Origin": ORIGIN, "Content-Type": "application/json"}
    reply = client.post(CHECK, content=json.dumps({"text": text, **more}), headers=headers)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def test_problems_come_with_their_lines(client: TestClient) -> None:
    good = library.shipped()[library.DEFAULT].text
    answer = checked(client, good)
    assert answer["ok"] and not answer["problems"] and "500 tasks at once drain" in answer["load"]
    last = len(good.splitlines())
    twice = checked(client, good + "seed: 8\n")
    assert not twice["ok"] and [(one["line"], one["path"]) for one in twice["problems"]] == [(last + 1, "seed")]
    one, two = checked(client, good.replace("seed: 7", "seed: many") + "mesch: {}\n")["problems"]
    assert (one["line"], one["path"]) == (3, "seed") and "found 'many'" in one["message"]
    assert (two["line"], two["column"]) == (last + 1, 1) and "did you mean 'mesh'" in two["message"]


def test_paths_start_where_the_scenario_lies(client: TestClient) -> None:
    starved = library.every()["f42_starvation"]
    assert checked(client, starved.text, folder="faults")["ok"]
    assert not checked(client, starved.text)["ok"]


def test_nothing_is_too_wild_to_be_answered(client: TestClient) -> None:
    for wild in ("", "\x00", "\ud800", "[" * 5_000, "&a [*a]", "- - -", "x" * (limits.SCENARIO_BYTES_MAX + 1)):
        answer = checked(client, wild)
        assert not answer["ok"] and answer["problems"][0]["message"]


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Origin": "http://evil.example"}, {"text": ""}, 403),
        ({"Origin": "null"}, {"text": ""}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, {"text": ""}, 403),
        ({"Origin": "http://evil.example:8501", "Host": "evil.example:8501"}, {"text": ""}, 421),
        ({"Origin": ORIGIN, "Content-Type": "text/plain"}, {"text": ""}, 415),
        ({"Origin": ORIGIN}, ["text"], 400),
        ({"Origin": ORIGIN}, {"text": 3}, 400),
        ({"Origin": ORIGIN}, {"text": "", "more": 1}, 400),
        ({"Origin": ORIGIN}, {"text": "", "folder": "../.."}, 400),
        ({"Origin": ORIGIN}, {"text": "x" * limits.STUDIO_BODY_BYTES_MAX}, 413),
    ],
)
def test_strangers_and_nonsense_are_refused_in_words(
    client: TestClient, headers: dict[str, str], body: Any, status: int
) -> None:
    sent = {"Content-Type": "application/json", **headers}
    reply = client.post(CHECK, content=json.dumps(body), headers=sent)
    assert reply.status_code == status and len(reply.json()["error"]) > 15


def test_a_body_that_is_no_json_is_refused(client: TestClient) -> None:
    headers = {"Content-Type": "application/json", "Origin": ORIGIN}
    for body in (b"", b"{", b"\xff\xfe", b"[" * 100_000):
        assert client.post(CHECK, content=body, headers=headers).status_code == 400


def test_an_app_that_listens_elsewhere_has_other_names_too(client: TestClient) -> None:
    before = config.get_option("server.address")
    headers = {"Host": "lab.example", "Origin": "http://lab.example"}
    config.set_option("server.address", "0.0.0.0")
    try:
        assert client.post(CHECK, json={"text": "a: 1"}, headers=headers).status_code == 200
    finally:
        config.set_option("server.address", before)


def test_the_outline_knows_every_key_and_what_it_means(client: TestClient) -> None:
    outline = client.get(OUTLINE).json()
    assert set(outline["Scenario"]["fields"]) >= {"name", "workload", "mesh", "rules", "faults"}
    base = outline["RetryRules"]["fields"]["base_s"]
    assert base["unit"] == "s" and base["doc"] and base["allowed"].endswith(" s") and base["default"] == 1.0
    kinds = [outline[name]["fields"]["kind"]["choices"] for name in outline["Workload"]["fields"]["arrivals"]["shapes"]]
    assert ["burst"] in kinds and ["trace"] in kinds
    assert outline["Scenario"]["fields"]["faults"]["by"] == "kind"
    assert client.get(OUTLINE, headers={"Host": "evil.example"}).status_code == 421
