"""The record: the audit log as columns, the tables made of it, their hash and their files."""

from __future__ import annotations

import copy
import json
import pickle
import random
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from lab import moves as log
from lab.checks import check
from lab.errors import UsageError
from lab.moves import EVENTS, STATES, Moves, Step, round_to_microseconds
from lab.outcome import judge
from lab.record import TABLES, EventRow, Record, SampleRow, TransitionRow, assemble, new_run_id, now, plain
from lab.rules.tasks import TERMINAL, Event, State
from lab.run_archive import ID
from lab.scenario import Scenario
from lab.tables import digest
from lab.workload import Plan

Make = Callable[..., Record]

DONE = [(0.0, "submitted"), (0.0, "claimed"), (1.0, "succeeded")]
RETRIED = [(0.0, "submitted"), (0.5, "claimed"), (1.5, "failed"), (3.5, "due"), (4.0, "claimed"), (5.0, "succeeded")]
RECLAIMED = [(0.0, "submitted"), (0.0, "claimed"), (10.5, "lease lapsed"), (10.5, "claimed"), (11.5, "succeeded")]
REDRIVEN = [(0.0, "submitted"), (0.0, "claimed"), (1.0, "dead"), (5.0, "redriven"), (5.0, "claimed")]
NEVER: list[tuple[float, str]] = []
SAMPLES = [SampleRow(1.0, "w0", 5e7, 0.5, 2, True, 0, 0, 0, 0, 0), SampleRow(1.0, "", 0.0, 0.0, 2, True, 3, 2, 1, 4, 0)]
NOTES = [EventRow(2.0, "rejected", "", 3, "queue is full"), EventRow(3.0, "stale_write", "w1", 0, "token 1")]


HEAD = dict[str, Any](run_id="x", started_at=now(), wall_s=1.0, facts={})


def burst(count: int) -> Plan:
    """So many tasks of a second each, all at once."""
    roles = "{A: {service: {dist: constant, mean_s: 1}}}"
    return Plan(Scenario.parse(f"{{name: x, workload: {{arrivals: {{kind: burst, count: {count}}}, roles: {roles}}}}}"))


@pytest.fixture(params=[7, log.CHUNK_ROWS])
def chunk_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Tables read seven rows at a time, and at once."""
    monkeypatch.setattr(log, "CHUNK_ROWS", request.param)
    return int(request.param)


@pytest.fixture
def record(make: Make) -> Record:
    return make(DONE, RETRIED, RECLAIMED, NEVER, samples=SAMPLES, events=NOTES)


def frames(record: Record) -> dict[str, pd.DataFrame]:
    return {name: getattr(record, name) for name in TABLES}


# ---- the audit log as columns ----------------------------------------------------------------------------------------


def random_rows(seed: int, count: int) -> list[TransitionRow]:
    """Rows that make no sense together: what is stored must come back, whatever it is."""
    draw = random.Random(seed)
    return [
        TransitionRow(
            draw.randrange(50),
            draw.choice(STATES),
            draw.choice(STATES[1:]),
            draw.randrange(20) / 4,
            draw.choice(["", "w0.1", "w10.1", "w2.1"]),
            draw.randrange(4),
            draw.randrange(4),
            draw.choice(EVENTS),
            draw.choice([0.0, 0.0, draw.random()]),
        )
        for _ in range(count)
    ]


def rows_of_frame(frame: pd.DataFrame) -> list[TransitionRow]:
    columns = [frame[name].tolist() for name in ("task", "from", "to", "at_s", "worker", "attempt", "token", "reason")]
    return [TransitionRow(*row) for row in zip(*columns, frame["delay_s"].tolist(), strict=True)]


@pytest.mark.parametrize("seed", range(5))
def test_rows_come_back_in_order_of_time(seed: int, chunk_rows: int) -> None:
    rows = random_rows(seed, 200)
    moves = Moves.of(rows).in_time()
    expected = sorted(rows, key=lambda row: row.at_s)  # stable: rows of one moment stay as they were
    assert rows_of_frame(moves.frame()) == expected, f"seed {seed}"
    assert rows_of_frame(pd.concat([moves.frame(a, min(a + 7, 200)) for a in range(0, 200, 7)])) == expected
    assert rows_of_frame(Moves.of_frame(moves.frame()).frame()) == expected
    assert len(moves.steps) == len({row._replace(task=0, at_s=0.0, worker="", delay_s=0.0) for row in rows})
    for event in EVENTS:
        assert moves.count_of(event) == sum(row.reason == event for row in rows)


def test_a_log_that_is_in_order_is_not_copied() -> None:
    moves = Moves.of(random_rows(1, 50)).in_time()
    assert moves.in_time() is moves
    assert np.shares_memory(moves.frame()["at_s"].to_numpy(), moves.at_s)


def test_the_frame_is_small_and_names_only_the_workers_that_did_something() -> None:
    step = [Step("", "PENDING", 0, 0, "submitted")]
    none = np.zeros(0, dtype=np.int32)
    task, worker = np.array([0]), np.array([2])
    moves = Moves(task, np.zeros(1), np.zeros(1, int), worker, step, ["", "b", "a"], none, none.astype(float))
    assert moves.frame().dtypes.astype(str).to_dict() == {
        "task": "int32",
        "from": "category",
        "to": "category",
        "at_s": "float64",
        "worker": "category",
        "attempt": "int16",
        "token": "int32",
        "reason": "category",
        "delay_s": "float64",
    }
    assert moves.frame()["worker"].cat.categories.tolist() == ["a"]


def test_columns_of_different_length_are_refused() -> None:
    moves = Moves.of(random_rows(1, 5))
    with pytest.raises(ValueError, match="different length"):
        replace(moves, task=moves.task[:4])
    with pytest.raises(ValueError, match="different length"):
        replace(moves, delay_s=np.zeros(99))


def test_a_table_with_a_state_that_does_not_exist_is_refused() -> None:
    frame = Moves.of(random_rows(1, 5)).frame()
    with pytest.raises(ValueError, match=r"transitions\.to: found 'NOWHERE'"):
        Moves.of_frame(frame.assign(**{"to": "NOWHERE"}))


@pytest.mark.parametrize(
    ("seconds", "rounded"), [(0.1 + 0.2, 0.3), (1.0000004, 1.0), (1.0000006, 1.000001), (7e8, 7e8)]
)
def test_moments_are_rounded_in_place(seconds: float, rounded: float) -> None:
    column = np.array([seconds])
    assert round_to_microseconds(column) is column
    assert column[0] == rounded


# ---- the table of tasks ----------------------------------------------------------------------------------------------


def test_what_became_of_each_task(make: Make, chunk_rows: int) -> None:
    settings = {"rules.retry.max_retries": 1, "rules.lease.length_s": 10}
    tasks = make(DONE, RETRIED, RECLAIMED, NEVER, REDRIVEN, events=NOTES, settings=settings).tasks
    nan = pytest.approx(float("nan"), nan_ok=True)
    expected = {
        "id": [0, 1, 2, 3, 4],
        "role": ["A"] * 5,
        "priority": [3] * 5,
        "queue": ["agent_high"] * 5,
        "arrival_s": [0.0] * 5,
        "first_claim_s": [0.0, 0.5, 0.0, nan, 0.0],
        "done_s": [1.0, 5.0, 11.5, nan, nan],
        "state": ["COMPLETED", "COMPLETED", "COMPLETED", "REJECTED", "RUNNING"],
        "attempts": [1, 2, 2, 0, 2],
        "retries": [0, 1, 0, 0, 0],
        "service_s": [1.0, 2.0, 2.0, 0.0, 2.0],  # a second for each attempt
        "backoff_s": [0.0, 2.0, 0.0, 0.0, 0.0],
        "worker": ["w0", "w0", "w0", "", "w0"],
    }
    assert list(tasks.columns) == list(expected)
    for column, values in expected.items():
        assert tasks[column].tolist() == values, column


def oracle(rows: Iterable[TransitionRow], tasks: int) -> list[tuple[Any, ...]]:
    """The same read off row by row: (first claim, done, state, attempts, retries, backoff, worker) of each task."""
    table: list[list[Any]] = [[None, None, "NOT_SUBMITTED", 0, 0, 0.0, ""] for _ in range(tasks)]
    for row in sorted(rows, key=lambda one: one.at_s):
        task = table[row.task]
        if row.reason == Event.CLAIMED:
            task[0] = row.at_s if task[0] is None else task[0]
            task[6] = row.worker
        task[1] = row.at_s if row.to_state in TERMINAL else None
        task[2], task[3] = str(row.to_state), row.attempt
        task[4] += row.to_state == State.RETRY_WAIT
        task[5] += row.delay_s
    return [tuple(task) for task in table]


@pytest.mark.parametrize("seed", range(5))
def test_the_table_of_tasks_is_what_a_reader_of_the_log_finds(seed: int, chunk_rows: int) -> None:
    rows = random_rows(seed, 150)
    tasks = assemble(burst(50), "sim", rows, [], [], **HEAD).tasks
    columns = ["first_claim_s", "done_s", "state", "attempts", "retries", "backoff_s", "worker"]
    cells = zip(*(tasks[column].tolist() for column in columns), strict=True)
    found = [tuple(None if value != value else value for value in row) for row in cells]
    for mine, expected in zip(found, oracle(rows, 50), strict=True):
        assert mine[:5] == expected[:5], f"seed {seed}"
        assert (mine[5], mine[6]) == (pytest.approx(expected[5]), expected[6]), f"seed {seed}"


@pytest.mark.parametrize(
    ("settings", "service_s"),
    [
        ({}, 2.0),
        # The first attempt starts at 0.5 and the second at 4.0; both are planned to work for a second.
        ({"faults": [{"kind": "slow_service", "at_s": 0, "for_s": 1, "factor": 3}]}, 4.0),
        ({"faults": [{"kind": "slow_worker", "at_s": 0, "for_s": 9, "factor": 3, "worker": 0}]}, 6.0),
        ({"faults": [{"kind": "slow_worker", "at_s": 0, "for_s": 9, "factor": 3, "worker": 1}]}, 2.0),
        ({"rules.retry.timeout_s": 0.75}, 1.5),
    ],
)
def test_planned_work_is_stretched_by_faults_and_cut_by_the_timeout(
    make: Make, settings: dict[str, Any], service_s: float
) -> None:
    assert make(RETRIED, settings=settings).tasks["service_s"].tolist() == [service_s]


# ---- transitions that become a frame when somebody asks --------------------------------------------------------------


def test_nothing_that_every_run_does_makes_the_frame(record: Record, tmp_path: Path) -> None:
    judge(record).save(tmp_path)
    assert "transitions" not in vars(record)
    assert len(record.transitions) == len(DONE) + len(RETRIED) + len(RECLAIMED)
    assert "transitions" in vars(record)


def test_an_edited_frame_is_the_log_from_then_on(record: Record) -> None:
    assert [one.name for one in check(record) if not one.ok] == []
    record.transitions.loc[record.transitions["reason"] == "claimed", "token"] = 7
    assert [one.name for one in check(record) if not one.ok] == ["tokens_rise"]


def test_a_record_can_be_copied_replaced_and_sent(record: Record) -> None:
    for copied in (copy.deepcopy(record), pickle.loads(pickle.dumps(record))):
        assert "transitions" not in vars(copied)
        pd.testing.assert_frame_equal(copied.transitions, record.moves.frame())
    assert len(replace(record, transitions=record.transitions.iloc[:1]).moves) == 1
    with pytest.raises(AttributeError, match="no attribute 'transition'"):
        _ = record.transition  # type: ignore[attr-defined]


# ---- hash ------------------------------------------------------------------------------------------------------------


def test_the_digest_is_the_same_in_every_process_and_release(record: Record, chunk_rows: int) -> None:
    """A golden value: if this fails, digests in old records mean nothing any more. Then say so in the changelog."""
    assert digest(frames(record)) == record.info["digest"]
    assert record.info["digest"] == "4512214e39cad4cf85599c55110a861756db7549fccfacb941ec43bfaa51abf9"


def test_the_digest_looks_at_values_not_types(record: Record) -> None:
    wide = {name: table.copy() for name, table in frames(record).items()}
    for table in wide.values():
        for name, dtype in table.dtypes.items():
            if isinstance(dtype, pd.CategoricalDtype):
                table[name] = table[name].astype(str).astype("category").cat.set_categories(["zz", *set(table[name])])
            elif dtype.kind == "i":
                table[name] = table[name].astype("int64")
    wide["events"]["kind"] = wide["events"]["kind"].astype(object)
    wide["tasks"]["backoff_s"] *= -1.0  # −0.0
    wide["tasks"]["backoff_s"] *= -1.0
    assert digest(wide) == record.info["digest"]


@pytest.mark.parametrize("name", TABLES)
def test_the_digest_sees_every_cell(record: Record, name: str) -> None:
    tables = frames(record)
    for column in tables[name].columns:
        changed = tables[name].copy()
        values = changed[column].tolist()
        values[-1] = f"{values[-1]}?" if isinstance(values[-1], str) else values[-1] != values[-1] or values[-1] + 1
        changed[column] = values
        assert digest(tables | {name: changed}) != record.info["digest"], column
    assert digest(tables | {name: tables[name].iloc[:-1]}) != record.info["digest"]


# ---- files -----------------------------------------------------------------------------------------------------------


def test_a_saved_record_comes_back_as_it_was(record: Record, tmp_path: Path, chunk_rows: int) -> None:
    loaded = Record.load(record.save(tmp_path))
    assert json.dumps(loaded.info) == json.dumps(record.info)
    assert pq.ParquetFile(tmp_path / "transitions.parquet").num_row_groups == -(-14 // chunk_rows)  # 3 + 6 + 5 rows
    for name, table in frames(record).items():
        pd.testing.assert_frame_equal(getattr(loaded, name), table)
    assert digest(frames(loaded)) == record.info["digest"]
    assert check(loaded) == check(record)


def test_a_record_without_rows_comes_back_too(make: Make, tmp_path: Path) -> None:
    record = make(NEVER)
    loaded = Record.load(record.save(tmp_path))
    assert [len(getattr(loaded, name)) for name in TABLES] == [1, 0, 0, 0]
    for name, table in frames(record).items():
        assert list(getattr(loaded, name).columns) == list(table.columns)
    assert check(loaded) == check(record)


def test_a_record_whose_table_lacks_a_column_is_a_usage_error(record: Record, tmp_path: Path) -> None:
    record.save(tmp_path)
    record.tasks.drop(columns="state").to_parquet(tmp_path / "tasks.parquet")
    with pytest.raises(UsageError, match="no run record can be read here"):
        Record.load(tmp_path)


@pytest.mark.parametrize(
    ("damage", "words"), [("[]", "no object"), ('{"run_id": "x", "engine": "sim"}', "lacks scenario")]
)
def test_a_record_whose_facts_are_damaged_is_a_usage_error(
    record: Record, tmp_path: Path, damage: str, words: str
) -> None:
    record.save(tmp_path)
    (tmp_path / "run.json").write_text(damage)
    with pytest.raises(UsageError, match=words):
        Record.load(tmp_path)


# ---- memory ----------------------------------------------------------------------------------------------------------


def long_log(plan: Plan) -> Moves:
    """Every task is claimed as it arrives and completed a second later."""
    steps = [Step("", "PENDING", 0, 0, "submitted"), Step("PENDING", "RUNNING", 1, 1, "claimed")]
    steps.append(Step("RUNNING", "COMPLETED", 1, 1, "succeeded"))
    arrival_s, ids = plan.arrival_s, np.arange(plan.count, dtype=np.int32)
    at_s = np.concatenate([arrival_s, arrival_s, np.rint((arrival_s + 1.0) * 1e6) / 1e6])
    order = np.argsort(at_s, kind="stable")
    step = np.repeat(np.arange(3, dtype=np.int16), plan.count)[order]
    worker = (step > 0).astype(np.int16)
    none = np.zeros(0, dtype=np.int32)
    return Moves(np.tile(ids, 3)[order], at_s[order], step, worker, steps, ["", "w0"], none, none.astype(float))


def test_a_large_record_takes_few_bytes_a_task(tmp_path: Path) -> None:
    """At a million tasks the limit is 300 bytes a task in all, with imports, engine and plan (benchmarks/memory.py).

    Held: 3 transitions of 16 bytes, and a row of tasks of 46 beside the plan's arrivals. On top, one column of times or
    three (8 bytes each) and some stretches of rows, which at 300,000 tasks are 30 bytes each.
    """
    tasks = 300_000
    plan = burst(tasks)
    assert len(plan.queue) == len(plan.column("service", 1)) == tasks  # made before: the plan's memory is not measured
    moves = long_log(plan)
    tracemalloc.start()
    try:
        record = assemble(plan, "sim", moves, [], [], **HEAD)
        held_bytes, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        judge(record).save(tmp_path)
        _, later_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert record.info["checks"]["ok"]
    assert held_bytes / tasks < 50
    assert max(peak_bytes, later_bytes) / tasks < 50 + 3 * 8 + 60
    columns = (moves.task, moves.at_s, moves.step, moves.worker)
    assert sum(column.nbytes for column in columns) / len(moves) == 16


def test_those_who_watch_hear_what_is_done() -> None:
    heard: list[str] = []
    assemble(burst(1_000), "sim", [], [], [], **HEAD, on_step=heard.append)
    assert heard == ["recording 1,000 tasks"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("Quick 1.0_b", "quick-1-0-b"), ("größe½٣", "gr--e"), ("-x-", "x")],
)
def test_a_name_in_a_files_name_is_ascii(name: str, words: str) -> None:
    """What the app, a link and an archive take for an id: `isalnum` by itself lets ß, ½ and ٣ pass."""
    assert plain(name) == words


def test_the_id_of_a_run_sorts_by_time_and_is_one_that_an_archive_takes() -> None:
    scenario = Scenario.parse(burst(1).scenario.to_yaml().replace("name: x", f"name: {'Ab. ' * 15}c"))
    found = new_run_id(scenario, "sim", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "abcdef")
    assert found == f"20260102-030405-{('ab--' * 10).rstrip('-')}-sim-abcdef" and ID.fullmatch(found)
