"""What comes in as JSON: whatever is hostile is a 4xx problem and leaves nothing; whatever is odd but right comes back
byte for byte.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.limits import API_BODY_BYTES_MAX, JSON_DEPTH_MAX, PAYLOAD_BYTES_MAX
from live_backend.api import body
from live_backend.api.problems import Problem
from tests.api.helpers import Api, Mesh, problem

pytestmark = pytest.mark.live

JSON_TYPE = {"Content-Type": "application/json"}


def task(payload: bytes) -> bytes:
    return b'{"role":"DEVELOPER","payload":%b}' % payload


# After the families of JSONTestSuite: n_ must be refused by any parser; i_ we refuse for the sake of other readers.
REFUSED = {
    "empty": b"",
    "space": b" ",
    "bom": b"\xef\xbb\xbf" + task(b"1"),
    "utf16": task(b"1").decode().encode("utf-16"),
    "invalid utf-8": task(b'"\xff"'),
    "overlong utf-8": task(b'"\xc0\xaf"'),
    "truncated utf-8": task(b'"\xe2\x82"'),
    "surrogate in utf-8": task(b'"\xed\xa0\x80"'),
    "lone high surrogate": task(rb'"\ud800"'),
    "lone low surrogate": task(rb'"\udc00x"'),
    "surrogates the wrong way round": task(rb'"\udc00\ud800"'),
    "lone surrogate in a key": task(rb'{"\ud800":1}'),
    "raw NUL": task(b'"\x00"'),
    "escaped NUL": task(rb'"\u0000"'),
    "escaped NUL after a backslash": task(rb'"\\\u0000"'),
    "NUL in a key": task(rb'{"\u0000":1}'),
    "NUL after the end": task(b"1") + b"\x00",
    "raw control character": task(b'"\x1f"'),
    "raw newline in a string": task(b'"a\nb"'),
    "NaN": task(b"NaN"),
    "Infinity": task(b"Infinity"),
    "minus Infinity": task(b"-Infinity"),
    "infinite double": task(b"1e999"),
    "minus infinite double": task(b"[-1e999]"),
    "huge exponent": task(b"1e" + b"9" * 400),
    "integer beyond bigint": task(b"9223372036854775808"),
    "integer below bigint": task(b"-9223372036854775809"),
    "integer of 5,000 digits": task(b"1" * 5_000),
    "duplicate key": b'{"role":"DEVELOPER","role":"ARCHITECT"}',
    "duplicate key deep inside": task(b'[{"a":{"b":1,"b":1}}]'),
    "duplicate key spelled differently": task(rb'{"a":1,"\u0061":2}'),
    "trailing garbage": task(b"1") + b"x",
    "two documents": task(b"1") + task(b"2"),
    "trailing comma": task(b"[1,]"),
    "trailing comma in an object": b'{"role":"DEVELOPER",}',
    "missing comma": task(b"[1 2]"),
    "missing colon": b'{"role" "DEVELOPER"}',
    "missing value": b'{"role":}',
    "single quotes": b"{'role':'DEVELOPER'}",
    "unquoted key": b'{role:"DEVELOPER"}',
    "comment": b'{/**/"role":"DEVELOPER"}',
    "leading zero": task(b"01"),
    "leading plus": task(b"+1"),
    "bare point": task(b".5"),
    "point without digits": task(b"1."),
    "hexadecimal": task(b"0x1"),
    "bad escape": task(rb'"\x41"'),
    "half an escape": task(rb'"\u00"'),
    "unterminated string": b'{"role":"DEVELOPER',
    "unterminated array": task(b"[1"),
    "unterminated object": b'{"role":"DEVELOPER"',
    "mismatched brackets": task(b"[}"),
    "wrong case": task(b"True"),
    "form feed as space": b'\x0c{"role":"DEVELOPER"}',
    "no-break space": b'{\xc2\xa0"role":"DEVELOPER"}',
    "one level too deep": task(b"[" * JSON_DEPTH_MAX + b"]" * JSON_DEPTH_MAX),
    "objects too deep": task(b'{"a":' * JSON_DEPTH_MAX + b"1" + b"}" * JSON_DEPTH_MAX),
    "deep nesting": task(b"[" * 100_000 + b"]" * 100_000),
    "deep nesting, not closed": b"[" * 500_000,
    "deep objects, not closed": b'{"a":' * 100_000,
    "deep nesting of both kinds": task(b'[{"":' * 50_000),
    "payload one byte too large": task(b'"' + b"x" * (PAYLOAD_BYTES_MAX - 1) + b'"'),
    "payload too large in UTF-8": task(b'"' + "€".encode() * (PAYLOAD_BYTES_MAX // 3) + b'"'),
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
def test_hostile_json_is_refused_and_leaves_nothing(api: Api, mesh: Mesh, raw: bytes) -> None:
    for path, sent in [
        ("/v1/tasks", raw),
        ("/v1/tasks:batch", b'{"tasks":[%b]}' % raw),
        ("/v1/dead-letters:redrive", raw),
    ]:
        answer = api.http.post(path, content=sent, headers=JSON_TYPE)
        assert answer.status_code in (400, 413, 422), (path, answer.text)
        problem(answer, answer.status_code)
    assert mesh.rows("select count(*) from task") == [(0,)]


ACCEPTED = {
    "null": b"null",
    "empty object": b"{}",
    "bigint": b"9223372036854775807",
    "lowest bigint": b"-9223372036854775808",
    "minus zero": b"-0",
    "tiny double": b"5e-324",
    "huge double": b"1.7976931348623157e308",
    "a number that looks long": b'"12345678901234567890123"',
    "paired surrogates": rb'"\ud83d\ude00"',
    "noncharacter": rb'"\uffff"',
    "escapes": rb'"\"\\\/\b\f\n\r\t\u001f"',
    "a backslash before u0000": rb'"\\u0000"',
    "brackets in a string": b'"' + b"[" * 1_000 + b'"',
    "escaped quotes and brackets": b'"' + rb"\"[" * 1_000 + b'"',
    "wide": b"[" + b"[]," * 10_000 + b"[]]",
    "as deep as may be": b"[" * (JSON_DEPTH_MAX - 1) + b"]" * (JSON_DEPTH_MAX - 1),
    "as large as may be": b'"' + b"x" * (PAYLOAD_BYTES_MAX - 2) + b'"',
    "empty key": b'{"":1}',
    "proto": b'{"__proto__":{"x":1},"constructor":1}',
    "spaces": b" \t\n\r[ 1 , 2 ]\n",
}


@pytest.mark.parametrize("payload", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_odd_but_valid_json_comes_back(api: Api, payload: bytes) -> None:
    answer = api.http.post("/v1/tasks", content=task(payload), headers=JSON_TYPE)
    assert answer.status_code == 201, answer.text
    found = api.http.get(answer.headers["location"]).json()["payload"]
    assert found == json.loads(payload)
    assert repr(found) == repr(json.loads(payload)) or payload == b"-0"


# After the Big List of Naughty Strings: what breaks quoting, encodings, terminals, spreadsheets and browsers.
NAUGHTY = [
    "",
    "undefined",
    "null",
    "' OR 1=1 -- 1",
    '"; DROP TABLE task; --',
    "%s %(ids)s {0} ${HOME} $(touch /tmp/x) `id`",
    "<script>alert(1)</script>",
    "&lt;b&gt;",
    "data: injected\n\nevent: reset\ndata: {}\n\n",
    "id: 1\rretry: 1\r\n",
    "\u2028line\u2029paragraph\u0085next",
    "\x01\x02\x1b[31mred\x7f",
    "\u202eevil\u202c \u200bzero\ufeffwidth",
    "Ω≈ç√∫˜µ≤≥÷ 田中さん 찦차 الإنجليزية",
    "👩‍👩‍👧‍👦🏳️‍🌈🇩🇪",
    "Z̮̞̠͙͔ͅḀ̗̞͈̻̗Ḷ͙͎̯̹̞͓G̻O̭̗̮",
    "ﷺ \U0001f4a9 \U0010ffff \ufffe",
    "=cmd|' /C calc'!A0",
    "../../../etc/passwd\\..\\",
    "\\u0000 is written, \\x00 too",
    "Power لُلُصّبُلُلصّبُررً ॣ ॣh ॣ ॣ 冗",
    "a" * 10_000,
]


def test_naughty_strings_come_back_byte_for_byte(api: Api, mesh: Mesh) -> None:
    payload = {"values": NAUGHTY, "keys": {text: index for index, text in enumerate(NAUGHTY)}}
    found = api.submit(payload=payload)
    assert api.http.get(f"/v1/tasks/{found['id']}").json()["payload"] == payload
    [(stored,)] = mesh.rows("select body::text from payload")
    assert json.loads(stored) == payload


def test_naughty_strings_pass_through_the_event_stream(api: Api, mesh: Mesh) -> None:
    """Reasons and names of workers are data on one line, whatever is in them; nothing becomes a field of the stream."""
    with api.events() as events:
        next(events)
        mesh.add(1)
        for text in NAUGHTY:
            mesh.execute(
                "insert into transition (task, from_state, to_state, attempt, token, reason, worker)"
                " values (1, 'PENDING', 'RUNNING', 1, 1, %s, %s)",
                text,
                text,
            )
        seen: list[dict[str, Any]] = []
        while len(seen) < len(NAUGHTY) + 1:
            event = next(events)
            if event.kind:
                assert event.kind == "transition"
                seen.append(event.data)
    assert [each["reason"] for each in seen[1:]] == NAUGHTY
    assert [each["worker"] or "" for each in seen[1:]] == NAUGHTY


def test_errors_and_results_of_workers_come_back_too(api: Api, mesh: Mesh) -> None:
    """A worker's result is JSON as PostgreSQL keeps it, half surrogate pairs included: it must never be a 500."""
    task_id = mesh.add(5, "COMPLETED")
    mesh.execute("insert into result (task, token, body) values (%s, 1, %s)", task_id, r'["\ud800", 1e400]')
    for text in NAUGHTY:
        mesh.execute("insert into failure (task, attempt, token, error) values (%s, 1, 1, %s)", task_id, text)
    found = api.http.get(f"/v1/tasks/{task_id}")
    assert found.status_code == 200
    assert json.loads(found.text, parse_constant=pytest.fail)["result"] == ["\ud800", "1e400"]
    assert found.json()["error"] == NAUGHTY[-1]


# ---- sizes


def test_a_body_that_is_too_large_is_not_read(api: Api, mesh: Mesh) -> None:
    large = task(b'"' + b"x" * API_BODY_BYTES_MAX + b'"')
    problem(api.http.post("/v1/tasks", content=large, headers=JSON_TYPE), 413)
    assert mesh.rows("select count(*) from task") == [(0,)]


def test_a_body_in_chunks_is_bounded_as_it_comes(api: Api) -> None:
    sent = 0

    def endless() -> Any:
        nonlocal sent
        while sent < 200 * API_BODY_BYTES_MAX:
            sent += 65_536
            yield b"x" * 65_536

    try:
        answer = api.http.post("/v1/tasks", content=endless(), headers=JSON_TYPE)
    except Exception as error:  # the connection may be closed while we still send
        assert "roken pipe" in str(error) or "eset" in str(error), error
    else:
        problem(answer, 413)
    assert sent < 40 * API_BODY_BYTES_MAX


def test_a_body_in_small_chunks_is_read(api: Api) -> None:
    raw = task(b'"chunked"')
    answer = api.http.post("/v1/tasks", content=(raw[i : i + 3] for i in range(0, len(raw), 3)), headers=JSON_TYPE)
    assert answer.status_code == 201


@pytest.mark.parametrize("depth", [1, JSON_DEPTH_MAX - 1, JSON_DEPTH_MAX, JSON_DEPTH_MAX + 1, 500, 5_000])
@pytest.mark.parametrize("pair", [("[", "]"), ('{"a":', "}"), ('[{"]":', "}]")])
def test_depth_is_counted_exactly(depth: int, pair: tuple[str, str]) -> None:
    each = 2 if pair[0].startswith("[{") else 1
    raw = (pair[0] * (depth // each) + "1" + pair[1] * (depth // each)).encode()
    levels = depth // each * each
    if levels <= JSON_DEPTH_MAX:
        body.parse(raw)
    else:
        with pytest.raises(Problem, match="deep"):
            body.parse(raw)
