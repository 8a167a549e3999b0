"""Records of real queues, as they are written: tables, Celery's events, audit logs; and what is refused, and why."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lab import observed
from lab.errors import Unavailable, UsageError
from lab.scenario import Scenario
from simulation import simulate

DATA = Path(__file__).parents[1] / "data" / "observed"
HEAD = "task,enqueue,start,finish,status\n"


def _csv(tmp_path: Path, *lines: str, head: str = HEAD) -> Path:
    path = tmp_path / "queue.csv"
    path.write_text(head + "\n".join(lines) + "\n")
    return path


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_a_table_becomes_tasks_and_attempts() -> None:
    """Times count from the first arrival, 10:00:00."""
    seen = observed.read(DATA / "queue.csv")
    assert seen.format == "table"
    assert seen.tasks["arrival_s"].tolist() == [0.0, 0.5, 1.0, 2.0, 3.0]
    assert seen.tasks["state"].tolist() == ["completed", "completed", "failed", "open", "open"]
    assert seen.tasks["priority"].tolist() == [5, 1, 3, 3, 3]
    assert seen.tasks["role"].tolist() == ["mail_send", "mail_send", "report", "report", "report"]
    assert seen.tasks["first_start_s"].iloc[4] == 5.0
    assert np.isnan(seen.tasks["first_start_s"].iloc[3])
    assert seen.service_s("mail_send").tolist() == [1.0, 2.0]
    assert seen.service_s("report").tolist() == [3.0], "what has not ended says nothing"
    assert seen.wait_s().tolist() == pytest.approx([0.01, 0.02, 0.03, 2.0])
    assert seen.latency_s().tolist() == pytest.approx([1.01, 2.02])
    assert any("'mail.send' is mail_send" in note for note in seen.notes)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (["2026-01-01T00:00:00Z", "2026-01-01T00:00:01.5Z", "2026-01-01T00:00:04Z"], [0.0, 1.5, 4.0]),
        (["2026-01-01 00:00:00", "2026-01-01 00:00:01.500", "2026-01-01 00:00:04"], [0.0, 1.5, 4.0]),
        (["2026-01-01T02:00:00+02:00", "2026-01-01T00:00:01.5Z", "2026-01-01T01:00:04+01:00"], [0.0, 1.5, 4.0]),
        (["1767225600", "1767225601.5", "1767225604"], [0.0, 1.5, 4.0]),
        (["1767225600000", "1767225601500", "1767225604000"], [0.0, 1.5, 4.0]),
        (["1767225600000000", "1767225601500000", "1767225604000000"], [0.0, 1.5, 4.0]),
        (["7", "8.5", "11"], [0.0, 1.5, 4.0]),
    ],
)
def test_moments_are_read_as_they_are_written(tmp_path: Path, written: list[str], meant: list[float]) -> None:
    seen = observed.read(_csv(tmp_path, f"a,{','.join(written)},done"))
    row = seen.tasks.iloc[0]
    assert [row["arrival_s"], row["first_start_s"], row["done_s"]] == pytest.approx(meant, abs=1e-5)


def test_every_bad_row_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    path = _csv(
        tmp_path,
        "a,0,1,2,done",
        "b,,1,2,done",
        "c,5,1,2,done",
        "d,0,3,2,done",
        "e,soon,1,2,done",
        "f,0,1,,done",
        "g,0,1,2,odd",
        "h,0,1",
        "i,0,,2,",
        ",0,1,2,done",
    )
    with pytest.raises(UsageError) as caught:
        observed.read(path)
    said = str(caught.value)
    for line, reason in {
        3: "enqueue: is missing",
        4: "start: lies 4.000 s before the enqueue",
        5: "finish: lies 1.000 s before the start",
        6: "enqueue: 'soon' is no moment",
        7: "finish: is missing, although the status is 'done'",
        8: "status: 'odd' is unknown",
        9: "has 3 values, the header has 5",
        10: "start: is missing, although it has finished",
        11: "task: is missing",
    }.items():
        assert f"{path}:{line}: {reason}" in said
    assert "9 of 10 rows cannot be used" in said
    seen = observed.read(path, skip_bad=True)
    assert (len(seen.tasks), len(seen.skipped)) == (1, 9)
    assert "9 rows could not be used and were left out" in seen.notes


def test_clocks_of_several_hosts_may_differ_by_a_tick(tmp_path: Path) -> None:
    seen = observed.read(_csv(tmp_path, "a,10.001,10,11,done"))
    assert seen.wait_s().tolist() == [0.0]


def test_rows_of_one_task_are_its_attempts(tmp_path: Path) -> None:
    """Three attempts of a: 1 s, a wait of 2 s, 1 s, a wait of 4 s, 1 s; b died of its second."""
    lines = ["a,0,0,1,retry", "a,0,3,4,retry", "a,0,8,9,done", "b,1,1,2,retry", "b,1,4,5,failed"]
    seen = observed.read(_csv(tmp_path, *lines))
    assert seen.tasks[["attempts", "failures", "state"]].to_numpy().tolist() == [[3, 2, "completed"], [2, 2, "failed"]]
    assert seen.backoffs[["failure", "delay_s"]].to_numpy().tolist() == [[1, 2.0], [2, 4.0], [1, 2.0]]
    assert not seen.backoffs["exact"].any()


def test_an_attempt_that_stands_twice_is_refused(tmp_path: Path) -> None:
    head = "task,attempt,enqueue,start,finish\n"
    with pytest.raises(UsageError, match="attempt 1 of task 'a' stands in line 2 too"):
        observed.read(_csv(tmp_path, "a,1,0,0,1", "a,1,0,2,3", head=head))


def test_a_row_that_says_attempt_three_has_had_two_failures(tmp_path: Path) -> None:
    head = "task,attempt,enqueue,start,finish,status\n"
    seen = observed.read(_csv(tmp_path, "a,3,0,5,6,done", head=head))
    assert seen.tasks[["attempts", "failures"]].iloc[0].tolist() == [3, 2]


def test_columns_are_named_by_hand_or_asked_for(tmp_path: Path) -> None:
    path = _csv(tmp_path, "0,1,2,9", head="t0,t1,t2,priority\n")
    with pytest.raises(UsageError, match=r"which column is enqueue and which is start and which is finish\? It has t0"):
        observed.read(path)
    named = {"enqueued": "t0", "start": "t1", "completed_at": "t2"}  # any usual name will do
    with pytest.raises(UsageError, match="priority: must be a whole number from 1 to 5, found '9'; leave the column"):
        observed.read(path, columns=named)
    assert observed.read(path, columns={**named, "priority": ""}).tasks["priority"].tolist() == [0]
    with pytest.raises(UsageError, match="has no column 't9'"):
        observed.read(path, columns={**named, "start": "t9"})
    with pytest.raises(UsageError, match="there is no 'begin'"):
        observed.read(path, columns={"begin": "t1"})


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("semicolons.csv", b"task;enqueue;start;finish;status\na;0;1;2;done\n"),
        ("tabs.tsv", b"task\tenqueue\tstart\tfinish\tstatus\na\t0\t1\t2\tdone\n"),
        ("excel.csv", b'\xef\xbb\xbftask,enqueue,start,finish,"status"\r\na,0,1,2,done\r\n'),
        ("quoted.csv", b'"task","enqueue","start","finish","a;b;c;d;e;f"\n"a",0,1,2,"x\n;y"\n'),
        ("packed.csv.gz", gzip.compress(b"task,enqueue,start,finish,status\na,0,1,2,done\n")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # gzip writes the time of day: no name for a test
)
def test_csv_as_it_comes(tmp_path: Path, name: str, written: bytes) -> None:
    (tmp_path / name).write_bytes(written)
    row = observed.read(tmp_path / name).tasks.iloc[0]
    assert [row["arrival_s"], row["first_start_s"], row["done_s"], row["state"]] == [0.0, 1.0, 2.0, "completed"]


def test_a_packed_file_has_the_bound_of_what_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observed, "OBSERVED_BYTES_MAX", 2_000)
    for rows, fits in ((60, True), (700, False)):
        path = tmp_path / f"{rows}.csv.gz"
        path.write_bytes(gzip.compress(HEAD.encode() + b"a,0,1,2,done,\n"[:-2] + b"\n" + b"\n" * 3 * rows))
        assert path.stat().st_size < 2_000
        if fits:
            assert len(observed.read(path).tasks) == 1
        else:
            with pytest.raises(UsageError, match="holds more than 2,000 bytes"):
                observed.read(path)
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(HEAD.encode() * 50)[:40])
    with pytest.raises(Unavailable, match=r"cut\.csv\.gz: cannot be read"):
        observed.read(tmp_path / "cut.csv.gz")


def test_what_was_cancelled_need_not_have_started(tmp_path: Path) -> None:
    """As Procrastinate has it: a moment of the end, none of a start."""
    seen = observed.read(
        _csv(tmp_path, "a,0,1,2,succeeded", "b,0,,1,cancelled", "c,0,1,2,deferred_for_retry", "d,0,,,todo")
    )
    assert seen.tasks["state"].tolist() == ["completed", "cancelled", "open", "open"]


def test_parquet_with_moments_of_its_own(tmp_path: Path) -> None:
    base = datetime(2026, 1, 1, tzinfo=UTC)
    moments = pd.to_datetime([base, base]) + pd.to_timedelta([0, 1.5], unit="s")
    frame = pd.DataFrame({"enqueue": moments, "start": moments, "finish": moments + pd.Timedelta(seconds=2)})
    frame.loc[1, "finish"] = pd.NaT
    frame.to_parquet(tmp_path / "q.parquet")
    seen = observed.read(tmp_path / "q.parquet")
    assert seen.tasks["arrival_s"].tolist() == [0.0, 1.5]
    assert seen.tasks["state"].tolist() == ["completed", "open"]


@pytest.mark.parametrize(("name", "content"), [("q.csv", b""), ("q.csv", b"\xff\xfe\x00"), ("q.parquet", b"PAR1")])
def test_what_is_no_record_is_refused_in_words(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=name):
        observed.read(tmp_path / name)
    with pytest.raises(UsageError, match="there is no such file"):
        observed.read(tmp_path / "none.csv")


def test_hostile_role_names_become_names_of_a_scenario(tmp_path: Path) -> None:
    head = "enqueue,start,finish,role\n"
    names = ["../../etc", "..", "<b>x</b>", "1st", "b-x-b", "=cmd()"]
    seen = observed.read(
        _csv(tmp_path, *(f"{number},{number},{number},{name}" for number, name in enumerate(names)), head=head)
    )
    assert len(set(seen.tasks["role"])) == len(names)
    data = {"workload": {"arrivals": {"kind": "burst", "count": 1}, "roles": {
        role: {"service": {"dist": "constant", "mean_s": 1}} for role in seen.tasks["role"]}}}  # fmt: skip
    assert Scenario.from_data(data)


# ---- Celery ----------------------------------------------------------------------------------------------------------


def test_celery_events_are_paired_by_uuid() -> None:
    """Task 1 is sent at 0, retried after 1 s of work with an eta 2 s later, and done at 3.6; task 3 began before."""
    seen = observed.read(DATA / "celery.jsonl")
    assert seen.format == "celery"
    assert seen.tasks["state"].tolist() == ["completed", "failed", "cancelled"]
    assert seen.tasks["role"].tolist() == ["shop_tasks_charge", "shop_tasks_mail", "shop_tasks_mail"]
    assert seen.tasks["arrival_s"].tolist() == [0.0, 0.5, 1.0]
    assert seen.tasks["done_s"].tolist() == pytest.approx([3.6, 0.82, 2.0], abs=1e-5)
    assert seen.service_s().tolist() == pytest.approx([1.0, 0.3, 0.5], abs=1e-5)
    assert seen.backoffs[["delay_s", "exact"]].to_numpy().tolist() == [[pytest.approx(2.0, abs=1e-5), True]]
    assert seen.attempts["worker"].tolist() == ["celery@a", "celery@b", "celery@a"]
    assert any("1 task had arrived before the capture began" in note for note in seen.notes)


def test_what_celery_prints_is_read_too() -> None:
    seen = observed.read(DATA / "celery.dump")
    assert seen.tasks[["role", "state"]].to_numpy().tolist() == [["shop_tasks_charge", "completed"]]
    assert seen.service_s().tolist() == pytest.approx([1.0], abs=1e-5)
    assert any("there is no task-sent" in note for note in seen.notes)


def test_events_that_are_none_are_told_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    lines: list[Any] = [
        {"type": "task-sent", "uuid": "u", "name": "n", "timestamp": 1.0},
        "{not json",
        {"type": "task-started", "uuid": "u"},
        {"type": "task-started", "timestamp": 2.0},
        {"no": "type"},
        {"type": "task-succeeded", "uuid": "u", "timestamp": 3.0},
    ]
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    with pytest.raises(UsageError) as caught:
        observed.read(path)
    for line, reason in {
        2: "is not JSON",
        3: "task-started: timestamp must be",
        4: "task-started: has no uuid",
        5: "is no event: it has no type",
        6: "task-succeeded: nobody saw this task start",
    }.items():
        assert f"{path}:{line}: {reason}" in str(caught.value)


# ---- a mesh's own log ------------------------------------------------------------------------------------------------


def test_a_mesh_is_read_from_its_audit_log(tmp_path: Path) -> None:
    """What the model did is what its record is read as: the same waits, latencies, retries."""
    text = """
    workload:
      arrivals: {kind: poisson, rate_per_s: 5, count: 200}
      roles: {A: {priority: {5: 1, 1: 1}, service: {dist: exponential, mean_s: 0.5}, failure_rate: 0.3}}
    mesh: {workers: 2, slots: 2}
    rules: {retry: {base_s: 0.1, max_retries: 2}}
    profile: ideal
    """
    record = simulate(Scenario.parse(text))
    record.save(tmp_path / "run")
    seen = observed.read(tmp_path / "run")
    tasks = record.tasks
    assert seen.tasks["arrival_s"].to_numpy() == pytest.approx(tasks["arrival_s"].to_numpy() - tasks["arrival_s"].min())
    assert seen.tasks["failures"].sum() == tasks["retries"].sum() + (tasks["state"] == "PERMANENT_FAILURE").sum()
    waits = (tasks["first_claim_s"] - tasks["arrival_s"]).to_numpy()
    assert seen.wait_s() == pytest.approx(waits, abs=2e-6)
    assert seen.tasks["priority"].tolist() == tasks["priority"].tolist()
    assert seen.backoffs["exact"].all()
    assert sorted(set(seen.backoffs["delay_s"].round(6))) == [0.2, 0.4]
    assert (seen.facts["workers"], seen.facts["slots"]) == (2, 2)
    alone = tmp_path / "alone.parquet"
    alone.write_bytes((tmp_path / "run" / "transitions.parquet").read_bytes())
    bare = observed.read(alone)
    assert bare.roles == ["TASK"]
    assert len(bare.attempts) == len(seen.attempts)
