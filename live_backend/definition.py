"""What the standing mesh is: its scenario, kept in PostgreSQL, so that a worker anywhere needs no file of its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import psycopg
from psycopg.types.json import Json

from lab.errors import Unavailable
from lab.scenario import Scenario
from live_backend import database
from live_backend.addresses import CONNECT_TIMEOUT_S, one_line

SCHEMA: Final = "public"
PREFIX: Final = ""
"""The standing mesh has the plain names; runs of scenarios have names of their own."""

DEFAULT_MESH: Final = Path(__file__).with_name("default_mesh.yaml")
"""The mesh of those who name none."""

HAS_MESH = "select to_regclass('public.mesh') is not null"
FETCH = "select scenario, base, changed_at from public.mesh"
PUBLISH = """
insert into public.mesh (scenario, base) values (%(scenario)s, %(base)s)
on conflict (one) do update set scenario = excluded.scenario, base = excluded.base, changed_at = now()
where mesh.scenario::text <> excluded.scenario::text or mesh.base <> excluded.base"""
PUBLISH_FIRST = """
insert into public.mesh (scenario, base) values (%(scenario)s, %(base)s) on conflict (one) do nothing"""


@dataclass(frozen=True)
class Definition:
    """The standing mesh as it was published."""

    scenario: Scenario
    changed_at: datetime


def default_mesh() -> Scenario:
    """The scenario at DEFAULT_MESH."""
    return Scenario.load(DEFAULT_MESH)


def prepare(dsn: str) -> None:
    """Make the standing mesh's tables, or bring them to this version. Raises Unavailable if that cannot be done."""
    try:
        database.create(dsn, SCHEMA)
    except Exception as error:
        if isinstance(error, Unavailable):
            raise
        raise Unavailable(f"PostgreSQL would not make the tables of the standing mesh: {one_line(error)}") from error


def publish(dsn: str, scenario: Scenario, *, only_if_none: bool = False) -> None:
    """Say what the standing mesh is from now on. One that says the same changes nothing, so nobody starts anew.

    `only_if_none` leaves a mesh alone that is there already.
    """
    values = {"scenario": Json(scenario.data), "base": str(scenario.base.resolve())}
    with psycopg.connect(dsn, autocommit=True, connect_timeout=int(CONNECT_TIMEOUT_S)) as connection:
        connection.execute(PUBLISH_FIRST if only_if_none else PUBLISH, values)


def fetch(dsn: str) -> Definition | None:
    """The standing mesh on this PostgreSQL, if there is one. Raises ScenarioError if this version cannot read it."""
    with psycopg.connect(dsn, autocommit=True, connect_timeout=int(CONNECT_TIMEOUT_S)) as connection:
        if connection.execute(HAS_MESH).fetchone() != (True,):
            return None
        row = connection.execute(FETCH).fetchone()
    if row is None:
        return None
    scenario, base, changed_at = row
    return Definition(Scenario.from_data(scenario, base=base, source="the standing mesh"), changed_at)
