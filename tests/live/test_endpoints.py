"""Work of the user's own behind HTTP: what is asked, what an answer means, and where a worker may go."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpcore
import pytest

from lab import Scenario
from lab.errors import UsageError
from lab.limits import HANDLER_RESPONSE_BYTES_MAX
from live_backend.handlers.reach import CheckedBackend, Reach
from live_backend.jobs import Failed, Job, Permanent
from live_backend.workshop import Workshop

SECRET = "Bearer s3cr3t-t0k3n"


class Request(NamedTuple):
    """One request as the endpoint got it."""

    line: str
    headers: dict[str, str]
    body: Any


class Endpoint:
    """A tiny HTTP server that answers everything alike."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.open = self.most_open = 0
        self.asked, self.hung_up, self.release = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.release.set()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *rest = head.decode().strip().split("\r\n")
                headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in rest)}
                body = await reader.readexactly(int(headers["content-length"]))
                self.requests.append(Request(line, headers, json.loads(body)))
                self.asked.set()
                if not self.release.is_set() and await self._hangs_up(reader):
                    return
                writer.write(self.answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.open -= 1
            writer.close()

    async def _hangs_up(self, reader: asyncio.StreamReader) -> bool:
        released, gone = asyncio.ensure_future(self.release.wait()), asyncio.ensure_future(reader.read(1))
        await asyncio.wait({released, gone}, return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            released.cancel()
            self.hung_up.set()
            return True
        gone.cancel()
        await asyncio.wait({gone})
        return False


def answer(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def scenario(slots: int = 2, url: str = "http://127.0.0.1:1/agent", **handler: Any) -> Scenario:
    role = {"service": {"dist": "constant", "mean_s": 0.01}, "handler": {"http": url, **handler}}
    workload = {"arrivals": {"kind": "burst", "count": 1}, "roles": {"A": role}}
    return Scenario.from_data({"workload": workload, "mesh": {"workers": 1, "slots": slots}})


JOB = Job(id=7, role="A", priority=4, attempt=2, token=9, payload='{"q": "é"}')


def asked(
    said: bytes,
    body: Callable[[Workshop, Endpoint], Awaitable[Any]],
    environ: Mapping[str, str] | None = None,
    path: str = "/agent",
    key_scope: str = "",
    host: str = "127.0.0.1",
    **handler: Any,
) -> Any:
    """What `body` gives with a workshop whose endpoint answers `said`."""

    async def run() -> Any:
        endpoint = Endpoint(said)
        async with await asyncio.start_server(endpoint.serve, "127.0.0.1", 0) as server:
            endpoint.port = server.sockets[0].getsockname()[1]
            plan = scenario(url=f"http://{host}:{endpoint.port}{path}", **handler)
            workshop = Workshop(plan, environ=environ or {}, key_scope=key_scope)
            await workshop.start()
            try:
                return await body(workshop, endpoint)
            finally:
                await workshop.close()

    return asyncio.run(run())


def done(said: bytes, **values: Any) -> tuple[str | None, list[Request], int]:
    """(result, requests, port) of one job."""

    async def body(workshop: Workshop, endpoint: Endpoint) -> tuple[str | None, list[Request], int]:
        return await workshop.do(JOB), endpoint.requests, endpoint.port

    found: tuple[str | None, list[Request], int] = asked(said, body, **values)
    return found


def failed(said: bytes, kind: type[Exception], **values: Any) -> str:
    """The text with which the job fails, the port left out."""

    async def body(workshop: Workshop, endpoint: Endpoint) -> str:
        with pytest.raises(kind) as caught:
            await workshop.do(JOB)
        assert type(caught.value) is kind
        return str(caught.value).replace(f":{endpoint.port}", "")

    return str(asked(said, body, **values))


def refused(environ: Mapping[str, str], **values: Any) -> str:
    with pytest.raises(UsageError) as caught:
        asyncio.run(Workshop(scenario(**values), environ=environ).start())
    return str(caught.value)


# ---- the request -----------------------------------------------------------------------------------------------------


def test_each_attempt_is_a_post_of_the_job_that_an_endpoint_can_tell_from_a_repetition() -> None:
    text, (request,), port = done(
        answer(200, b'{"ok": "\xc3\xa9"}'),
        path="/agent?kind=fast",
        environ={"AGENT_TOKEN": SECRET},
        headers_from_env={"Authorization": "AGENT_TOKEN"},
    )
    assert text == '{"ok":"\\u00e9"}'
    assert request.line == "POST /agent?kind=fast HTTP/1.1"
    assert request.body == {"id": 7, "role": "A", "priority": 4, "attempt": 2, "payload": {"q": "é"}}
    expected = {
        "host": f"127.0.0.1:{port}",
        "content-type": "application/json",
        "idempotency-key": '"7"',
        "x-meshlab-attempt": "2",
        "authorization": SECRET,
    }
    assert expected.items() <= request.headers.items()


def test_tasks_of_different_runs_have_different_keys() -> None:
    _, (request,), _ = done(answer(200), key_scope="run_ab-")
    assert request.headers["idempotency-key"] == '"run_ab-7"'


def test_there_are_no_more_connections_than_slots_and_they_are_kept() -> None:
    async def body(workshop: Workshop, endpoint: Endpoint) -> tuple[int, int]:
        await asyncio.gather(*(workshop.do(JOB._replace(id=n)) for n in range(8)))
        return endpoint.most_open, len({request.body["id"] for request in endpoint.requests})

    most_open, served = asked(answer(200, b"1"), body)
    assert (most_open <= 2, served) == (True, 8)


# ---- the answer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"  ", b"null"])
def test_an_answer_without_a_result_is_no_result(body: bytes) -> None:
    assert done(answer(200, body))[0] is None
    assert done(answer(204))[0] is None


@pytest.mark.parametrize(
    ("status", "kind"), [(503, Failed), (500, Failed), (429, Failed), (408, Failed), (400, Permanent), (404, Permanent)]
)
def test_a_status_is_a_failure_or_permanent_by_the_rule(status: int, kind: type[Exception]) -> None:
    assert failed(answer(status, b"out of\n memory"), kind) == (
        f"HTTP {status} from http://127.0.0.1/agent: out of memory"
    )


def test_a_redirect_is_not_followed() -> None:
    async def body(workshop: Workshop, endpoint: Endpoint) -> tuple[str, int]:
        with pytest.raises(Permanent) as caught:
            await workshop.do(JOB)
        return str(caught.value), len(endpoint.requests)

    said, requests = asked(answer(307, b"", "Location: http://127.0.0.1:1/elsewhere"), body)
    assert said.startswith("HTTP 307 from http://127.0.0.1") and requests == 1


def test_an_answer_that_is_no_json_or_too_large_is_permanent() -> None:
    assert failed(answer(200, b"<html>"), Permanent) == "the answer of http://127.0.0.1/agent is not JSON: <html>"
    assert "is not JSON" in failed(answer(200, b"\xff\xfe"), Permanent)
    assert "is not JSON" in failed(answer(200, b"[NaN]"), Permanent)
    assert "bytes as JSON; at most" in failed(answer(200, b'"' + b"x" * 300_000 + b'"'), Permanent)
    said = failed(answer(200, b" " * (HANDLER_RESPONSE_BYTES_MAX + 1)), Permanent)
    assert said.startswith("the answer of http://127.0.0.1/agent has more than 1,048,576 bytes")


def test_an_answer_of_an_unknown_length_is_bounded_too() -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 20
    assert "has more than 1,048,576 bytes" in failed(endless, Permanent)


@pytest.mark.parametrize("nonsense", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
def test_an_answer_that_is_no_http_is_a_failure(nonsense: bytes) -> None:
    assert failed(nonsense, Failed).startswith("http://127.0.0.1/agent: RemoteProtocolError")


def test_an_endpoint_that_is_away_is_a_failure() -> None:
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port, nobody answers
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/agent"

        async def run() -> None:
            workshop = Workshop(scenario(url=url), environ={})
            await workshop.start()
            try:
                await workshop.do(JOB)
            finally:
                await workshop.close()

        with pytest.raises(Failed, match=r"ConnectError: 127\.0\.0\.1 cannot be connected to"):
            asyncio.run(run())


def test_an_endpoint_that_takes_too_long_is_cut_and_the_connection_closed() -> None:
    async def body(workshop: Workshop, endpoint: Endpoint) -> str:
        endpoint.release.clear()
        with pytest.raises(Failed) as caught:
            await workshop.do(JOB)
        await asyncio.wait_for(endpoint.hung_up.wait(), 10)
        return str(caught.value)

    assert asked(answer(200), body, timeout_s=0.1) == "timed out after 0.1 s"


def test_a_cancellation_passes_through_and_hangs_up() -> None:
    async def body(workshop: Workshop, endpoint: Endpoint) -> bool:
        endpoint.release.clear()
        attempt = asyncio.create_task(workshop.do(JOB))
        await asyncio.wait_for(endpoint.asked.wait(), 10)
        attempt.cancel()
        await asyncio.wait({attempt})
        await asyncio.wait_for(endpoint.hung_up.wait(), 10)
        return attempt.cancelled()

    assert asked(answer(200), body)


# ---- secrets ---------------------------------------------------------------------------------------------------------


def test_a_secret_that_is_echoed_is_not_repeated() -> None:
    said = failed(
        answer(401, b"bad token s3cr3t-t0k3n in Bearer s3cr3t-t0k3n"),
        Permanent,
        environ={"AGENT_TOKEN": SECRET},
        headers_from_env={"Authorization": "AGENT_TOKEN"},
        path="/agent?kind=fast",
    )
    assert said == "HTTP 401 from http://127.0.0.1/agent: bad token *** in ***"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "the environment variable AGENT_TOKEN is not set; set it where the worker runs."),
        ({"AGENT_TOKEN": " "}, "the environment variable AGENT_TOKEN is not set"),
        ({"AGENT_TOKEN": "s3cr3t\r\nHost: evil"}, "cannot be a header"),
    ],
)
def test_a_secret_that_cannot_be_sent_is_told_at_the_start(environ: Mapping[str, str], said: str) -> None:
    told = refused(environ, headers_from_env={"Authorization": "AGENT_TOKEN"})
    assert told.startswith("workload.roles.A.handler.headers_from_env.Authorization: ")
    assert said in told and "s3cr3t" not in told


# ---- where a worker may go -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "agents.example.org", "169.254.169.254", "[::ffff:10.0.0.1]", "[fd00::1]"]
)
def test_a_host_that_nobody_allowed_is_refused_at_the_start(host: str) -> None:
    said = refused({"MESHLAB_HTTP_HOSTS": "other.example.org, 10.1.0.0/16"}, url=f"http://{host}/agent")
    assert said.startswith(f"workload.roles.A.handler.http: this worker may not talk to {host.strip('[]')}. ")
    assert "set MESHLAB_HTTP_HOSTS=" in said


@pytest.mark.parametrize("entry", ["http://agents.example.org", "agents.example.org:80", "*.example.org", "10.0.0.1/8"])
def test_a_list_of_hosts_that_cannot_be_read_is_told(entry: str) -> None:
    assert refused({"MESHLAB_HTTP_HOSTS": f"a, {entry}"}).startswith(f"MESHLAB_HTTP_HOSTS: {entry!r} is neither")


# the list, the host of the endpoint, an address of it, and whether a connection may go there
REACHED = [
    ("", "localhost", "127.0.0.1", True),
    ("", "localhost", "::1", True),
    ("", "localhost", "10.0.0.1", False),
    ("", "127.0.0.5", "127.0.0.5", True),
    ("agents.example.org", "Agents.example.org.", "93.184.215.14", True),
    ("agents.example.org", "agents.example.org", "127.0.0.1", False),
    ("agents.example.org", "agents.example.org", "10.0.0.1", False),
    ("agents.example.org", "agents.example.org", "169.254.169.254", False),
    ("agents.example.org", "agents.example.org", "100.64.0.1", False),
    ("agents.example.org", "agents.example.org", "0.0.0.0", False),
    ("agents.example.org", "agents.example.org", "224.0.0.1", False),
    ("agents.example.org", "agents.example.org", "::ffff:127.0.0.1", False),
    ("agents.example.org", "agents.example.org", "fd00::1", False),
    ("agents.example.org,10.1.0.0/16", "agents.example.org", "10.1.2.3", True),
    ("agents.example.org,10.1.0.0/16", "agents.example.org", "10.2.2.3", False),
    ("10.0.0.1", "10.0.0.1", "10.0.0.1", True),
    ("fd00::/8", "fd00::1", "fd00::1", True),
]


@pytest.mark.parametrize(("allowed", "host", "address", "reached"), REACHED)
def test_a_name_leads_to_public_addresses_or_listed_ones(allowed: str, host: str, address: str, reached: bool) -> None:
    reach = Reach.of({"MESHLAB_HTTP_HOSTS": allowed})
    assert reach.allows(host)
    assert reach.allows_address(host, address) is reached


def test_the_address_that_was_checked_is_the_one_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads to loopback at the moment of the connection is refused, whatever it led to before."""

    async def run() -> str:
        async def resolve(host: str, port: int, **_: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        backend = CheckedBackend(Reach.of({"MESHLAB_HTTP_HOSTS": "agents.example.org"}))
        with pytest.raises(httpcore.ConnectError) as caught:
            await backend.connect_tcp("agents.example.org", 80)
        return str(caught.value)

    addresses = ["93.184.215.14", "127.0.0.1"]
    assert asyncio.run(run()).startswith("agents.example.org leads to 127.0.0.1, which is not public; if that is right")


def test_the_name_of_loopback_is_reached() -> None:
    assert done(answer(200, b"1"), host="localhost")[0] == "1"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of localhost that nobody has signed, with its key, in one file."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("openssl makes the certificate, and it is not installed")
    folder = tmp_path_factory.mktemp("tls")
    options = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run([openssl, *options.split(), *files], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_bytes((folder / "key.pem").read_bytes() + (folder / "certificate.pem").read_bytes())
    return both


@pytest.mark.parametrize(
    ("host", "trusted", "said"),
    [
        ("localhost", True, ""),
        ("localhost", False, "certificate verify failed: self"),
        ("127.0.0.1", True, "certificate verify failed: IP address mismatch"),
    ],
)
def test_a_certificate_must_be_trusted_and_be_the_hosts_own(
    host: str, trusted: bool, said: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        endpoint = Endpoint(answer(200, b'"secure"'))
        async with await asyncio.start_server(endpoint.serve, "127.0.0.1", 0, ssl=context) as server:
            workshop = Workshop(scenario(url=f"https://{host}:{server.sockets[0].getsockname()[1]}/"), environ={})
            await workshop.start()
            try:
                return str(await workshop.do(JOB))
            except Failed as error:
                assert endpoint.requests == []
                return str(error)
            finally:
                await workshop.close()

    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert said in (got := asyncio.run(run()))
    assert said or got == '"secure"'
