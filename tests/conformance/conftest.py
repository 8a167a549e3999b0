"""One private Redis and PostgreSQL for all conformance tests of a session, and runs on them, two at a time."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from lab.record import Record, nonce
from live_backend import database, run_live
from live_backend.servers import Servers, open_servers
from tests.conformance.case import Case
from tests.conformance.cases import CASES
from tests.conformance.crowding import CROWDED, Crowding

ASIDE = 2
"""Live runs at a time: they mostly wait, but two cores start no more processes than this without being late."""
TRIES = 3


class Ran(NamedTuple):
    """A live record, and how crowded the machine was meanwhile."""

    record: Record
    crowding: float


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Real servers, started once, and named to every run by the environment as servers that somebody else runs."""
    mine = {name: os.environ.get(name) for name in ("REDIS_URL", "REDIS_ADDR", "DB_DSN")}
    with open_servers({}) as found:
        os.environ.pop("REDIS_ADDR", None)
        os.environ.update(REDIS_URL=found.redis_url, DB_DSN=found.dsn)
        yield found
        for name, value in mine.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class LiveCases:
    """The cases on the live engine. All that this session will ask for are started with the first one."""

    def __init__(self, folder: Path, pool: ThreadPoolExecutor, crowding: Crowding, wanted: set[str]) -> None:
        self._folder, self._crowding = folder, crowding
        self._places = threading.Semaphore(ASIDE)
        self._runs = {case.name: pool.submit(self._run_aside, case) for case in CASES if case.name in wanted}

    def look_at(self, case: Case) -> None:
        """Judge a case. If it failed while the machine was crowded it is run again by itself, and that is told."""
        ran = self._runs[case.name].result()
        for number in range(1, TRIES):
            try:
                return case.look_at(ran.record)
            except AssertionError:
                if ran.crowding < CROWDED:
                    raise
            crowded = f"computing took {ran.crowding:.1f} times as long as it should"
            warnings.warn(f"{case.name} failed at try {number}, while {crowded}: run again alone", stacklevel=2)
            ran = self._run_alone(case)
        return case.look_at(ran.record)

    def cancel(self) -> None:
        """Start no more of them."""
        for run in self._runs.values():
            run.cancel()

    def _run_aside(self, case: Case) -> Ran:
        with self._places:
            return self._run(case)

    def _run_alone(self, case: Case) -> Ran:
        with ExitStack() as all_places:
            for _ in range(ASIDE):
                all_places.enter_context(self._places)
            return self._run(case)

    def _run(self, case: Case) -> Ran:
        began = time.monotonic()
        return Ran(run_live(case.scenario(self._folder)), self._crowding.since(began))


@pytest.fixture(scope="session")
def live(
    request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Case], None]]:
    """Judges a case by its live record."""
    wanted = {name for item in request.session.items if (name := _case_of(item))}
    with Crowding() as crowding, ThreadPoolExecutor(ASIDE, thread_name_prefix="live case") as pool:
        cases = LiveCases(tmp_path_factory.mktemp("traces"), pool, crowding, wanted)
        yield cases.look_at
        cases.cancel()


def _case_of(item: pytest.Item) -> str | None:
    """The name of the case that a test will have run live."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or "live" not in getattr(item, "fixturenames", ()):
        return None  # another suite may call a fixture of its own `live`
    case = callspec.params.get("case")
    return str(case.name) if hasattr(case, "name") else None


@pytest.fixture(scope="module")
def schema(servers: Servers) -> Iterator[str]:
    """A schema of its own, for stores that are asked directly."""
    name = f"conformance_{nonce()}"
    database.create(servers.dsn, name)
    yield name
    database.drop(servers.dsn, name)
