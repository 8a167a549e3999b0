"""Servers and runs as the other live tests have them, and proxies between a run and its servers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from live_backend.servers import Servers
from tests.faults.live.striking import Between, Outside
from tests.live.conftest import build, own_servers, servers, shared_servers, start
from tests.live.proxy import Proxy, dsn_through, postgres_target, redis_target, redis_url_through

__all__ = ["build", "own_servers", "servers", "shared_servers", "start"]


@pytest.fixture
def outside(shared_servers: Servers) -> Iterator[Outside]:
    """The shared servers, seen and disturbed past the run that uses them."""
    with Outside(shared_servers) as looking:
        yield looking


@pytest.fixture
def between(shared_servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Between]:
    """Proxies in front of the shared servers. Runs of this test, and hosts that it starts, know no other way."""
    with (
        Proxy(redis_target(shared_servers.redis_url)) as to_redis,
        Proxy(postgres_target(shared_servers.dsn)) as to_postgres,
    ):
        monkeypatch.setenv("REDIS_URL", redis_url_through(to_redis))
        monkeypatch.setenv("DB_DSN", dsn_through(to_postgres, shared_servers.dsn))
        monkeypatch.delenv("REDIS_ADDR", raising=False)
        yield Between(to_redis, to_postgres)


@pytest.fixture
def started_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """started_with(code): every process that this test starts from now on runs this first, as Python's own hook
    `sitecustomize` does. The test's own process runs on as it is.
    """

    def begun(code: str) -> None:
        (tmp_path / "sitecustomize.py").write_text(code)
        python = tmp_path / "python"
        python.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path}:$PYTHONPATH" exec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(python))

    return begun
