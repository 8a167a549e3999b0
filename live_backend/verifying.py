"""Whether a mesh kept its promises, read off its tables: the checks of every run, for a mesh that never ends.

`lab/checks.py` judges the record of a run. A standing mesh has no record, so one is put together here from its tables:
the tasks that it accepted, its audit log, and the rules that stand in its table `mesh`. Beside those checks stand four
that only the tables allow. The order of service is not judged: it would need to know when ids were taken from Redis.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import psycopg

from lab import checks
from lab.checks import EXAMPLES_MAX, Check
from lab.errors import UsageError
from lab.moves import Moves, TransitionRow
from lab.record import Record
from lab.rules.priority import QUEUES
from lab.rules.tasks import TERMINAL, State
from lab.scenario import Scenario
from lab.tables import QUEUE_TYPE, TASK_STATE_TYPE, event_frame, sample_frame
from live_backend.database import options

NOT_JUDGED = frozenset({"priority_order"})
DRAINED_ONLY = frozenset({"nothing_lost"})
"""Claims about the end, which a mesh that still works has not reached."""

SCENARIO = "select scenario, base from mesh"
TASKS = "select id, class, state, attempt, token from task order by id"
TRANSITIONS = """
select task, from_state, to_state, extract(epoch from at)::float8, worker, attempt, token, reason, delay_s
from transition order by at, seq"""
LETTERS = "select task from dead_letter"
RESULTS = "select task, token from result"

Connection = psycopg.Connection[tuple[Any, ...]]


class Books(NamedTuple):
    """What the tables of a mesh said at one moment."""

    tasks: list[tuple[Any, ...]]
    """(id, class, state, attempt, token), by id."""
    moves: list[TransitionRow]
    """In order of time, which is in seconds of the epoch."""
    letters: set[int]
    results: dict[int, int]
    """Task → the token of the claim that wrote its result."""


def verify(
    dsn: str,
    schema: str = "public",
    *,
    scenario: Scenario | None = None,
    accepted: Collection[int] = (),
    drained: bool = True,
) -> list[Check]:
    """All checks on the mesh in `schema`. `accepted` are ids that a client was promised: each must be there.

    `drained` says that nothing is under way any more, so that every task must have come to an end. Without a
    `scenario` the rules are those that the mesh itself keeps. Raises UsageError if it keeps none.
    """
    with psycopg.connect(dsn, options=options(schema)) as connection:
        connection.execute("set transaction isolation level repeatable read, read only")  # one moment for all tables
        rules = scenario or _scenario(connection, schema)
        books = _read(connection)
    return [*_of_every_run(books, rules, drained=drained), *_of_the_tables(books, accepted)]


def broken(
    dsn: str,
    schema: str = "public",
    *,
    scenario: Scenario | None = None,
    accepted: Collection[int] = (),
    drained: bool = True,
) -> list[Check]:
    """Those of `verify` that fail: an empty list, if all promises were kept."""
    found = verify(dsn, schema, scenario=scenario, accepted=accepted, drained=drained)
    return [one for one in found if not one.ok]


def _scenario(connection: Connection, schema: str) -> Scenario:
    row = connection.execute(SCENARIO).fetchone()
    if row is None:
        raise UsageError(f"schema {schema}: no mesh has stood here; start one with `meshlab up`, or give its scenario")
    return Scenario.from_data(row[0], base=Path(row[1]), source=f"the mesh in schema {schema}")


def _read(connection: Connection) -> Books:
    return Books(
        tasks=connection.execute(TASKS).fetchall(),
        moves=[TransitionRow._make(row) for row in connection.execute(TRANSITIONS)],
        letters={row[0] for row in connection.execute(LETTERS)},
        results=dict(connection.execute(RESULTS).fetchall()),
    )


# ---- the checks of every run -----------------------------------------------------------------------------------------


def _of_every_run(books: Books, scenario: Scenario, *, drained: bool) -> list[Check]:
    """Ids of a standing mesh have gaps, and the checks count tasks from 0: they see places, the reader sees ids."""
    ids = [row[0] for row in books.tasks]
    left_out = NOT_JUDGED if drained else NOT_JUDGED | DRAINED_ONLY
    results = checks.check(_record(books, scenario))
    judged = (one for one in results if one.name not in left_out)
    return [replace(one, tasks=tuple(ids[place] for place in one.tasks)) for one in judged]


def _record(books: Books, scenario: Scenario) -> Record:
    """What `lab.checks` reads of a record. A transition of a task that has no row is judged by `rows_agree`."""
    place = {row[0]: number for number, row in enumerate(books.tasks)}
    known = [move for move in books.moves if move.task in place]
    start_s = known[0].at_s if known else 0.0
    moves = Moves.of(move._replace(task=place[move.task], at_s=round(move.at_s - start_s, 6)) for move in known)
    queues = [QUEUES[row[1]] for row in books.tasks]
    tasks = pd.DataFrame(
        {
            "id": np.arange(len(books.tasks), dtype=np.int32),
            "queue": pd.Categorical(queues, dtype=QUEUE_TYPE),
            "state": pd.Categorical([row[2] for row in books.tasks], dtype=TASK_STATE_TYPE),
            "attempts": _numbers(row[3] for row in books.tasks),
        }
    )
    info = {
        "run_id": "standing",
        "engine": "live",
        "scenario": scenario.data,
        "scenario_base": str(scenario.base.resolve()),
    }
    return Record.of_moves(info, tasks, moves, sample_frame(()), event_frame(()))


def _numbers(values: Iterable[int]) -> npt.NDArray[np.int32]:
    return np.fromiter(values, dtype=np.int32)


# ---- what only the tables tell ---------------------------------------------------------------------------------------


def _of_the_tables(books: Books, accepted: Collection[int]) -> list[Check]:
    last = {move.task: move for move in books.moves}
    there = {row[0] for row in books.tasks}
    disagreeing = [
        row[0] for row in books.tasks if row[0] not in last or not _agrees(last[row[0]], row[2], row[3], row[4])
    ]
    dead = {row[0] for row in books.tasks if row[2] == State.PERMANENT_FAILURE}
    completions = {move.task: move.token for move in books.moves if move.to_state == State.COMPLETED}
    unfounded = [task for task, token in books.results.items() if completions.get(task) != token]
    return [
        _verdict(
            "promises_kept",
            "Every task that a client was told of is there.",
            sorted(set(accepted) - there),
            f"{len(accepted):,} promised",
            "promised tasks are not there",
        ),
        _verdict(
            "rows_agree",
            "The row of a task says what its last transition says, and every transition has its task.",
            sorted({*disagreeing, *(last.keys() - there)}),
            f"{len(there):,} rows agree with the audit log",
            "tasks whose row and audit log differ",
        ),
        _verdict(
            "dead_letters_kept",
            "The dead letters are exactly the tasks that failed for good.",
            sorted(dead ^ books.letters),
            f"{len(dead):,} dead letters",
            "tasks dead without a letter, or the other way round",
        ),
        _verdict(
            "results_of_completions",
            "A result belongs to the one claim that completed its task.",
            sorted(unfounded),
            f"{len(books.results):,} results",
            "results that no completion wrote",
        ),
    ]


def _agrees(move: TransitionRow, state: str, attempt: int, token: int) -> bool:
    return (move.to_state, move.attempt, move.token) == (state, attempt, token)


def _verdict(name: str, claim: str, wrong: list[int], kept: str, noun: str) -> Check:
    if not wrong:
        return Check(name, True, claim, kept)
    return Check(name, False, claim, f"{len(wrong):,} {noun}", tuple(wrong[:EXAMPLES_MAX]))


def unfinished(dsn: str, schema: str = "public") -> int:
    """How many tasks have not come to an end: 0 when a mesh has drained."""
    with psycopg.connect(dsn, options=options(schema), autocommit=True) as connection:
        values = {"terminal": [str(state) for state in TERMINAL]}
        row = connection.execute("select count(*) from task where state <> all(%(terminal)s)", values).fetchone()
    return int(row[0]) if row else 0
