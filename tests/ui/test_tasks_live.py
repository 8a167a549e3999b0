"""Dead letters and audit on real servers: a session's schema and the API of a standing mesh say and do the same."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from lab.limits import PAGE_TASKS_MAX
from lab.scenario import Scenario
from live_backend import database
from live_backend.servers import Servers, open_servers
from live_backend.whereabouts import Api
from tests.api.helpers import Mesh, thread
from ui.tasks_desks import ALL, DEAD, LiveDesk, Query, of_api, of_place

pytestmark = pytest.mark.live
SCENARIO = """\
name: audit
workload:
  arrivals: {kind: burst, count: 1}
  roles:
    A: {service: {dist: constant, mean_s: 0.01}}
    B: {service: {dist: constant, mean_s: 0.01}}
rules: {health: {report_s: 600}, lease: {length_s: 600}}
"""
FAILED = "insert into failure (task, attempt, token, error) values (%s, 1, 1, %s)"
LOGGED = """
insert into transition (task, from_state, to_state, worker, attempt, token, reason) values (%s, %s, %s, %s, 1, 1, %s)"""


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Real servers, for the tests of this file."""
    with open_servers({}) as opened:
        yield opened


@pytest.fixture(scope="module")
def mesh(servers: Servers) -> Mesh:
    """A mesh without workers."""
    database.create(servers.dsn, "audit")
    mesh = Mesh(servers, "audit", "audit:")
    mesh.publish(Scenario.parse(SCENARIO))
    mesh.execute("insert into leadership values ('reaper', 'a test', now() + interval '1 hour', 1)")
    return mesh


@pytest.fixture(scope="module")
def desks(mesh: Mesh) -> Iterator[list[LiveDesk]]:
    """As a session's schema, and through the API."""
    place = {"dsn": mesh.servers.dsn, "redis_url": mesh.servers.redis_url, "schema": mesh.schema, "prefix": mesh.prefix}
    with thread(mesh.settings(port=0)) as api:
        yield [of_place(place, None), of_api(Api(api.url))]


@pytest.fixture(params=[0, 1], ids=["schema", "api"])
def desk(request: pytest.FixtureRequest, mesh: Mesh, desks: list[LiveDesk]) -> LiveDesk:
    """Each of them, over empty tables."""
    mesh.empty()
    return desks[request.param]


def die(mesh: Mesh, task: int, role: str, error: str | None) -> None:
    """A task that was claimed once, failed, and lies dead. Planned work fails without an error text."""
    mesh.add(task, "PERMANENT_FAILURE", role, attempt=1, token=1, worker="w0.1")
    mesh.execute(LOGGED, task, "PENDING", "RUNNING", "w0.1", "claimed")
    mesh.execute(LOGGED, task, "RUNNING", "PERMANENT_FAILURE", "w0.1", "failed")
    if error is not None:
        mesh.execute(FAILED, task, error)


def ids(desk: LiveDesk, **query: str) -> list[int]:
    return [item.id for item in desk.page(Query(**query)).items]


def test_letters_are_listed_told_redriven_and_discarded(desk: LiveDesk, mesh: Mesh) -> None:
    hostile = "<b>429</b> [too](javascript:x) many"
    for task, role, error in ((1, "A", "boom"), (2, "B", hostile), (3, "B", "boom"), (4, "A", None)):
        die(mesh, task, role, error)
    mesh.add(5, "RUNNING", "A", attempt=1, token=1)
    assert (ids(desk), ids(desk, role="B"), ids(desk, words="BOOM")) == ([1, 2, 3, 4], [2, 3], [1, 3])
    assert (ids(desk, view=ALL), ids(desk, view="RUNNING")) == ([5, 4, 3, 2, 1], [5])
    assert ids(desk, words="failed on attempt 1") == [4]
    [letter] = desk.page(Query(DEAD, "B", "429")).items
    assert (letter.error, letter.attempts, letter.worker, letter.dead) == (hostile, 1, "w0.1", True)

    told = desk.story(2)
    assert told is not None and told.finished and told.item == letter
    assert [step.reason for step in told.steps] == ["submitted", "claimed", "failed"]
    living = desk.story(5)
    assert living is not None and not living.finished
    assert desk.story(404) is None

    assert desk.redrive([1, 5, 404]) == 1
    assert (mesh.state(1), mesh.queue("agent_high"), ids(desk)) == ("PENDING", [1], [2, 3, 4])
    assert desk.discard([2]) == 1
    assert (mesh.state(2), ids(desk)) == ("PERMANENT_FAILURE", [3, 4])
    put_aside = desk.story(2)
    assert put_aside is not None and put_aside.item.discarded
    assert desk.redrive(None) == 2 and ids(desk) == []


def test_long_lists_come_in_pages(desk: LiveDesk, mesh: Mesh) -> None:
    last = PAGE_TASKS_MAX + 30
    mesh.execute(
        "insert into task (id, role, priority, class, state) select n, 'A', 3, 0, 'PERMANENT_FAILURE'"
        " from generate_series(1, %s) n",
        last,
    )
    mesh.execute("insert into dead_letter (task) select id from task")
    mesh.execute("insert into failure (task, attempt, token, error) select id, 1, 1, 'odd ' || id % 2 from task")
    for words, expected in (("", list(range(1, last + 1))), ("odd 1", list(range(1, last + 1, 2)))):
        found, cursor = [], None
        for _ in count():
            page = desk.page(Query(words=words, cursor=cursor))
            found += [item.id for item in page.items]
            cursor = page.next
            if cursor is None:
                break
        assert found == expected
