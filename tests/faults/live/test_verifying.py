"""live_backend/verifying.py: books that are in order, and each way in which they may not be."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from lab import Scenario
from lab.errors import UsageError
from live_backend import database
from live_backend.verifying import broken, unfinished, verify

pytestmark = pytest.mark.live

# Ids with gaps, as a standing mesh has them. Task 1007 is retried once, 1009 is dead, 5000 waits.
BOOKS = """
insert into task (id, role, priority, class, state, attempt, token, worker) values
    (1003, 'A', 3, 0, 'COMPLETED', 1, 1, 'w0.1'), (1007, 'A', 3, 0, 'COMPLETED', 2, 2, 'w0.1'),
    (1009, 'A', 1, 2, 'PERMANENT_FAILURE', 1, 1, 'w0.1');
insert into transition (task, from_state, to_state, at, worker, attempt, token, reason, delay_s) values
    (1003, '', 'PENDING', now(), '', 0, 0, 'submitted', 0),
    (1007, '', 'PENDING', now(), '', 0, 0, 'submitted', 0),
    (1009, '', 'PENDING', now(), '', 0, 0, 'submitted', 0),
    (1003, 'PENDING', 'RUNNING', now() + interval '1 s', 'w0.1', 1, 1, 'claimed', 0),
    (1007, 'PENDING', 'RUNNING', now() + interval '1 s', 'w0.1', 1, 1, 'claimed', 0),
    (1009, 'PENDING', 'RUNNING', now() + interval '1 s', 'w0.1', 1, 1, 'claimed', 0),
    (1003, 'RUNNING', 'COMPLETED', now() + interval '2 s', 'w0.1', 1, 1, 'succeeded', 0),
    (1007, 'RUNNING', 'RETRY_WAIT', now() + interval '2 s', 'w0.1', 1, 1, 'failed', 2),
    (1009, 'RUNNING', 'PERMANENT_FAILURE', now() + interval '2 s', 'w0.1', 1, 1, 'failed', 0),
    (1007, 'RETRY_WAIT', 'PENDING', now() + interval '4 s', '', 1, 1, 'due', 0),
    (1007, 'PENDING', 'RUNNING', now() + interval '5 s', 'w0.1', 2, 2, 'claimed', 0),
    (1007, 'RUNNING', 'COMPLETED', now() + interval '6 s', 'w0.1', 2, 2, 'succeeded', 0);
insert into dead_letter (task) values (1009);
insert into result (task, token, body) values (1007, 2, '1');
"""

RULES = Scenario.from_data(
    {
        "name": "verified",
        "workload": {
            "arrivals": {"kind": "burst", "count": 1},
            "roles": {"A": {"service": {"dist": "constant", "mean_s": 1}}},
        },
    }
)

Write = Callable[[str], None]


@pytest.fixture
def books(shared_servers) -> Iterator[tuple[str, str, Write]]:
    """(dsn, schema, write): a schema with the books above, to be falsified by `write`."""
    dsn, schema = shared_servers.dsn, "run_verified"
    database.create(dsn, schema)
    options = database.options(schema)

    def write(text: str) -> None:
        with psycopg.connect(dsn, options=options) as connection:
            connection.execute(text.encode())

    write(BOOKS)
    yield dsn, schema, write
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(schema)))


def test_books_in_order(books) -> None:
    dsn, schema, _ = books
    found = verify(dsn, schema, scenario=RULES, accepted=[1003, 1007, 1009])
    assert all(one.ok for one in found), [one for one in found if not one.ok]
    assert {one.name for one in found} >= {"nothing_lost", "completed_once", "leases_apart", "promises_kept"}
    assert unfinished(dsn, schema) == 0


PENDING = """
insert into task (id, role, priority, class, state) values (5000, 'A', 3, 0, 'PENDING');
insert into transition (task, from_state, to_state, attempt, token, reason)
values (5000, '', 'PENDING', 0, 0, 'submitted')"""

LATER = "insert into transition (task, from_state, to_state, at, worker, attempt, token, reason) values "


@pytest.mark.parametrize(
    ("write", "names", "tasks"),
    [
        (PENDING, {"nothing_lost"}, (5000,)),
        (
            f"{LATER} (1003, 'COMPLETED', 'COMPLETED', now() + interval '9 s', 'w1.1', 1, 1, 'succeeded')",
            {"completed_once", "legal_transitions"},
            (1003,),
        ),
        (
            "update transition set from_state = 'RETRY_WAIT' where task = 1003 and token = 0",
            {"legal_transitions"},
            (1003,),
        ),
        ("update transition set token = 5 where task = 1003 and to_state = 'RUNNING'", {"tokens_rise"}, (1003,)),
        ("update task set attempt = 7 where id = 1003", {"attempts_bounded", "rows_agree"}, (1003,)),
        ("update transition set at = at - interval '1 s' where reason = 'due'", {"backoff_kept"}, (1007,)),
        ("update task set state = 'CANCELLED' where id = 1003", {"rows_agree"}, (1003,)),
        ("delete from task where id = 1003", {"rows_agree", "promises_kept"}, (1003,)),
        ("delete from transition where task = 1003", {"rows_agree"}, (1003,)),
        ("delete from dead_letter", {"dead_letters_kept"}, (1009,)),
        ("insert into dead_letter (task) values (1003)", {"dead_letters_kept"}, (1003,)),
        ("update result set token = 1", {"results_of_completions"}, (1007,)),
        (
            f"{LATER} (1003, 'COMPLETED', 'RUNNING', now() + interval '9 s', 'w0.1', 2, 2, 'claimed'),"
            "(1003, 'RUNNING', 'RUNNING', now() + interval '10 s', 'w1.1', 3, 3, 'claimed')",
            {"legal_transitions", "leases_apart", "nothing_lost", "rows_agree"},
            None,
        ),
    ],
)
def test_each_promise_broken(books, write: str, names: set[str], tasks: tuple[int, ...] | None) -> None:
    dsn, schema, change = books
    change(write)
    found = broken(dsn, schema, scenario=RULES, accepted=[1003, 1007, 1009])
    named = {one.name for one in found}
    assert named <= names and named, found
    if tasks is not None:
        assert named == names
        assert {one.tasks for one in found} == {tasks}


def test_a_mesh_that_still_works_need_not_have_drained(books) -> None:
    dsn, schema, change = books
    change(PENDING)
    assert broken(dsn, schema, scenario=RULES, drained=False) == []
    assert unfinished(dsn, schema) == 1


def test_without_a_scenario_the_mesh_says_its_own_rules(books) -> None:
    dsn, schema, _ = books
    with pytest.raises(UsageError, match=r"no mesh has stood here.*meshlab up"):
        verify(dsn, schema)
    with psycopg.connect(dsn, options=database.options(schema)) as connection:
        connection.execute("insert into mesh (scenario, base) values (%s, '.')", [psycopg.types.json.Json(RULES.data)])
    assert broken(dsn, schema) == []
