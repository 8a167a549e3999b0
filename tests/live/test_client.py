"""The typed client against an API that answers as told: what is repeated, what is not, and what errors say."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from lab.errors import Unavailable, UsageError
from lab.rules.tasks import State
from live_backend.client import ApiAway, AsyncClient, Client, Conflict, NotFinished, NotFound, Refused, TaskRequest
from live_backend.client.retrying import Patience
from live_backend.whereabouts import Api, StateFile, find_api, find_private_dsn, is_loopback, own_token, state_folder
from tests.live.fake_api import Answer, Asked, FakeApi, frame, problem, task

Serve = Callable[..., FakeApi]
SOON = {"retry-after": "0"}


@pytest.fixture
def serve() -> Iterator[Serve]:
    """serve(answer, …): an API that gives these answers in turn, the last one again and again; or that asks one."""
    fakes: list[FakeApi] = []

    def started(*answers: Answer | Callable[[Asked], Answer]) -> FakeApi:
        left = list(answers)

        def answer(asked: Asked) -> Answer:
            found = left.pop(0) if len(left) > 1 else left[0]
            return found(asked) if callable(found) else found

        fakes.append(FakeApi(answer))
        return fakes[-1]

    yield started
    for fake in fakes:
        fake.close()


def created(asked: Asked) -> Answer:
    return Answer(201, {"id": 7, "status": "created", "state": "PENDING", "queue": "agent_medium"})


# ---- submissions -----------------------------------------------------------------------------------------------------


def test_a_submission_carries_a_key_of_its_own_and_is_repeated_under_it(serve: Serve) -> None:
    api = serve(Answer(cut=True), problem(503, "PostgreSQL is away", SOON), created)
    with Client(api.url) as mesh:
        receipt = mesh.submit("DEVELOPER", {"issue": 4}, priority=5)
    assert (receipt.id, receipt.status) == (7, "created")
    assert [asked.body["idempotency_key"] for asked in api.asked] == [receipt.key] * 3
    assert api.asked[-1].body == {
        "role": "DEVELOPER",
        "priority": 5,
        "payload": {"issue": 4},
        "idempotency_key": receipt.key,
    }


@pytest.mark.parametrize("trouble", [Answer(cut=True), problem(503, "PostgreSQL is away", SOON)])
def test_without_a_key_what_may_have_been_accepted_is_not_repeated(serve: Serve, trouble: Answer) -> None:
    api = serve(trouble, created)
    with Client(api.url) as mesh, pytest.raises(ApiAway):
        mesh.submit("DEVELOPER", make_key=False)
    assert len(api.asked) == 1


def test_a_closed_admission_is_waited_out_even_without_a_key(serve: Serve) -> None:
    api = serve(problem(429, "half of the fleet is closed", SOON), created)
    with Client(api.url) as mesh:
        receipt = mesh.submit("DEVELOPER", make_key=False)
    assert receipt.key is None
    assert len(api.asked) == 2


def test_a_wait_that_would_pass_the_bound_is_not_begun(serve: Serve) -> None:
    api = serve(problem(429, "half of the fleet is closed", {"retry-after": "3600"}))
    with Client(api.url) as mesh, pytest.raises(ApiAway, match="half of the fleet") as found:
        mesh.submit("DEVELOPER")
    assert found.value.exit_status == 1
    assert len(api.asked) == 1


def test_waits_double_and_jitter_only_adds() -> None:
    patience, error = Patience(60.0, 60.0), ApiAway("away")
    waits = [patience.wait_s(error, repeatable=True) for _ in range(4)]
    for wait_s, least_s in zip(waits, (0.05, 0.1, 0.2, 0.4), strict=True):
        assert least_s <= wait_s <= 1.25 * least_s
    asked = patience.wait_s(ApiAway("closed", retry_after_s=2.0), repeatable=True)
    assert 2.0 <= asked <= 2.5


def test_the_same_key_with_another_request_is_a_conflict(serve: Serve) -> None:
    api = serve(problem(409, "key k belongs to task 7, which is for QA_ENGINEER"))
    with Client(api.url) as mesh, pytest.raises(Conflict, match="task 7") as found:
        mesh.submit("DEVELOPER", key="k")
    assert found.value.status == 409
    assert len(api.asked) == 1


def test_what_is_wrong_with_a_request_is_located(serve: Serve) -> None:
    errors = [{"path": "role", "found": "COOK", "allowed": "one of DEVELOPER"}]
    api = serve(problem(422, "the request is not valid", errors=errors))
    with Client(api.url) as mesh, pytest.raises(Refused, match="role: found 'COOK', allowed one of DEVELOPER") as found:
        mesh.submit("COOK")
    assert found.value.exit_status == 2
    assert found.value.errors == errors


def test_what_the_answer_says_in_words_is_not_said_again(serve: Serve) -> None:
    errors = [{"path": "role", "found": "COOK", "allowed": "one of DEVELOPER"}]
    api = serve(problem(422, "role: found COOK, allowed: one of DEVELOPER.", errors=errors))
    with Client(api.url) as mesh, pytest.raises(Refused) as found:
        mesh.submit("COOK")
    assert str(found.value) == "role: found COOK, allowed: one of DEVELOPER."


@pytest.mark.parametrize("payload", [float("nan"), object(), {"a": {1, 2}}])
def test_a_payload_that_is_no_json_is_never_sent(serve: Serve, payload: Any) -> None:
    api = serve(created)
    with Client(api.url) as mesh, pytest.raises(UsageError, match="is no JSON"):
        mesh.submit("DEVELOPER", payload)
    assert api.asked == []


def _batched(asked: Asked) -> Answer:
    numbers = [one["payload"] if isinstance(one["payload"], int) else 0 for one in asked.body["tasks"]]
    return Answer(200, {"tasks": [{"id": number, "status": "created"} for number in numbers]})


def test_batches_are_cut_by_number_and_come_back_in_order(serve: Serve) -> None:
    api = serve(_batched)
    with Client(api.url) as mesh:
        receipts = mesh.submit_batch([TaskRequest("DEVELOPER", number) for number in range(2_300)])
    assert [receipt.id for receipt in receipts] == list(range(2_300))
    assert [len(asked.body["tasks"]) for asked in api.asked] == [1_000, 1_000, 300]
    assert len({receipt.key for receipt in receipts}) == 2_300


def test_batches_are_cut_by_size(serve: Serve) -> None:
    api = serve(_batched)
    with Client(api.url) as mesh:
        mesh.submit_batch([TaskRequest("DEVELOPER", "x" * 200_000)] * 7)
    assert [len(asked.body["tasks"]) for asked in api.asked] == [3, 3, 1]
    assert all(int(asked.headers["content-length"]) < 1024 * 1024 for asked in api.asked)


# ---- reads -----------------------------------------------------------------------------------------------------------


def test_a_task_is_typed(serve: Serve) -> None:
    dead = {"at": "2026-01-02T03:04:06Z", "discarded_at": None}
    api = serve(Answer(200, task(7, "PERMANENT_FAILURE", payload=[1], error="no", dead_letter=dead)))
    with Client(api.url) as mesh:
        found = mesh.task(7)
    assert found.state is State.PERMANENT_FAILURE
    assert found.finished
    assert found.changed_at == datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    assert found.dead_letter is not None
    assert found.dead_letter.at == datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC)


def test_nothing_there_is_an_error_of_its_own(serve: Serve) -> None:
    api = serve(problem(404, "there is no task 8"))
    with Client(api.url) as mesh, pytest.raises(NotFound, match="there is no task 8"):
        mesh.task(8)


def test_a_read_is_repeated_through_a_restart(serve: Serve) -> None:
    api = serve(Answer(cut=True), Answer(502, "<html>", {"retry-after": "0"}), Answer(200, task(7)))
    with Client(api.url) as mesh:
        assert mesh.task(7).id == 7


def test_an_operation_is_not_repeated(serve: Serve) -> None:
    api = serve(Answer(cut=True), Answer(200, task(7, "CANCELLED")))
    with Client(api.url) as mesh, pytest.raises(ApiAway):
        mesh.cancel(7)
    assert [asked.path for asked in api.asked] == ["/v1/tasks/7:cancel"]


def test_who_waits_asks_until_it_is_over(serve: Serve) -> None:
    api = serve(Answer(200, task(7, "PENDING")), Answer(200, task(7, "RUNNING")), Answer(200, task(7, result={"a": 1})))
    with Client(api.url) as mesh:
        assert mesh.wait(7).result == {"a": 1}
    assert len(api.asked) == 3


def test_who_waits_gives_up_in_time(serve: Serve) -> None:
    api = serve(Answer(200, task(7, "RUNNING")))
    with Client(api.url) as mesh, pytest.raises(NotFinished, match=r"task 7 is still RUNNING after 0\.1 s"):
        mesh.wait(7, timeout_s=0.1)


def test_no_api_at_all_says_what_to_start() -> None:
    api = FakeApi(created)
    api.close()
    with Client(api.url, silent_for_s=0.2) as mesh, pytest.raises(ApiAway, match="`meshlab up`"):
        mesh.task(1)


@pytest.mark.parametrize("body", ["<html>hello</html>", "[]", "{}"])
def test_something_else_that_answers_is_said_to_be_so(serve: Serve, body: str) -> None:
    api = serve(Answer(200, body))
    with Client(api.url) as mesh, pytest.raises(Unavailable, match="no mesh API of this version"):
        mesh.task(1)


@pytest.mark.parametrize("url", ["127.0.0.1:8700", "ftp://here", "http://[::1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="no address of a mesh API"):
        Client(url)


# ---- events ----------------------------------------------------------------------------------------------------------


def _stream(*frames: str) -> Answer:
    return Answer(200, "".join(frames), {"content-type": "text/event-stream; charset=utf-8"})


def test_events_go_on_after_a_break_where_they_were(serve: Serve) -> None:
    """Also a half frame at the break is not lost: it was not complete, so its id was not taken over."""
    half = frame("5-3", 3)[:-20]
    api = serve(
        _stream(": heartbeat\n\n", frame("5-1", 1), frame("5-2", 2, worker="line\u2028separator"), half),
        problem(503, "starting", SOON),
        _stream(frame("5-3", 3), ": heartbeat\n\n", 'id: 5-9\nevent: missed\ndata: {"count": 6}\n\n'),
    )
    with Client(api.url) as mesh, closing(mesh.events(role="DEVELOPER")) as events:
        found = list(islice(events, 4))
    assert [event.id for event in found] == ["5-1", "5-2", "5-3", "5-9"]
    assert [event.kind for event in found] == ["transition"] * 3 + ["missed"]
    assert found[1].transition is not None
    assert found[1].transition.worker == "line\u2028separator"
    assert found[0].transition.to_state is State.RUNNING if found[0].transition else False
    assert [asked.headers.get("last-event-id") for asked in api.asked] == [None, "5-2", "5-2"]
    assert {asked.path for asked in api.asked} == {"/v1/events?role=DEVELOPER"}


def test_a_refused_stream_is_an_error(serve: Serve) -> None:
    api = serve(problem(401, "a token is missing"))
    with Client(api.url) as mesh, pytest.raises(Refused, match="a token is missing"):
        next(iter(mesh.events()))


def test_the_client_to_await_does_the_same(serve: Serve) -> None:
    api = serve(
        Answer(cut=True),
        created,
        Answer(200, task(7, "PENDING")),
        Answer(200, task(7)),
        _stream(frame("5-1", 1)),
        _stream(frame("5-2", 2)),
    )

    async def work() -> list[str]:
        async with AsyncClient(api.url) as mesh:
            receipt = await mesh.submit("DEVELOPER")
            assert (await mesh.wait(receipt.id)).state is State.COMPLETED
            found: list[str] = []
            async for event in mesh.events():
                found.append(event.id)
                if len(found) == 2:
                    return found
            raise AssertionError("a stream has no end")

    assert asyncio.run(work()) == ["5-1", "5-2"]
    assert api.asked[-1].headers["last-event-id"] == "5-1"


# ---- where the API is ------------------------------------------------------------------------------------------------


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(tmp_path)}


def test_the_api_is_found_by_variable_then_by_file_then_by_default(environ: dict[str, str]) -> None:
    assert find_api(environ) == Api("http://127.0.0.1:8700", None)
    with StateFile(Api("http://127.0.0.1:9000", "secret"), environ) as file:
        assert find_api(environ) == Api("http://127.0.0.1:9000", "secret")
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
        elsewhere = {**environ, "MESHLAB_API": "https://mesh.example/"}
        assert find_api(elsewhere) == Api("https://mesh.example", None), "a token goes nowhere but to its own address"
        assert find_api({**elsewhere, "MESHLAB_TOKEN": "other"}).token == "other"
    assert not file.path.exists()


def test_a_private_postgres_is_found_by_the_file_too(environ: dict[str, str]) -> None:
    assert find_private_dsn(environ) is None
    with StateFile(Api("http://127.0.0.1:9000"), environ, "postgresql://me@/postgres?host=/tmp/x") as file:
        assert find_private_dsn(environ) == "postgresql://me@/postgres?host=/tmp/x"
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
        file.path.write_text(json.dumps({"url": "http://127.0.0.1:9000", "token": None, "pid": os.getpid()}))
        assert find_private_dsn(environ) is None, "an older meshlab up does not say"
    with StateFile(Api("http://127.0.0.1:9000"), environ):
        assert find_private_dsn(environ) is None, "DB_DSN names it"


def test_a_file_whose_process_is_gone_is_not_believed(environ: dict[str, str]) -> None:
    with StateFile(Api("http://127.0.0.1:9000"), environ) as file:
        file.path.write_text(json.dumps({"url": "http://127.0.0.1:9000", "token": None, "pid": 2**22 + 1}))
        assert find_api(environ).url == "http://127.0.0.1:8700"
        file.path.write_text("{")
        assert find_api(environ).url == "http://127.0.0.1:8700"


def test_the_file_of_a_later_mesh_is_left_alone(environ: dict[str, str]) -> None:
    with StateFile(Api("http://127.0.0.1:9000"), environ):
        later = StateFile(Api("http://127.0.0.1:9001"), environ)
        later.__enter__()
    assert find_api(environ).url == "http://127.0.0.1:9001"


def test_the_token_is_made_once_and_for_this_user_only(environ: dict[str, str]) -> None:
    token, place = own_token(environ)
    assert own_token(environ) == (token, place)
    assert len(token) >= 32
    assert stat.S_IMODE(os.stat(place).st_mode) == 0o600
    assert stat.S_IMODE(state_folder(environ).stat().st_mode) == 0o700
    assert own_token({**environ, "MESHLAB_TOKEN": "mine"}) == ("mine", "MESHLAB_TOKEN")
    os.chmod(place, 0o644)
    with pytest.raises(Unavailable, match="others may read"):
        own_token(environ)


def test_a_token_goes_into_a_header_and_is_never_shown(serve: Serve) -> None:
    api = serve(Answer(200, task(7)))
    with Client(api.url, token="secret") as mesh:
        mesh.task(7)
    assert api.asked[0].headers["authorization"] == "Bearer secret"
    assert "secret" not in repr(Api(api.url, "secret"))
    with pytest.raises(UsageError, match="printable ASCII"):
        Client(api.url, token="ä\n")


@pytest.mark.parametrize(
    ("where", "ours"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("http://[::1]:8700", True),
        ("0.0.0.0", False),
        ("::", False),
        ("example.org", False),
        ("http://127.0.0.1.example.org", False),
    ],
)
def test_what_is_this_machine_alone(where: str, ours: bool) -> None:
    assert is_loopback(where) is ours
