"""`meshlab up`: a standing mesh on this machine, and what to do with it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cli.overriding import loaded
from cli.terminal import harmless, say, table, tell
from lab.scenario import Scenario

if TYPE_CHECKING:
    from live_backend.serving import Running


def command(options: argparse.Namespace) -> int:
    """Serve until told to leave."""
    from live_backend.serving import Asked, up

    data = Path(options.data) if options.data else None
    asked = Asked(_scenario(options), options.host, options.port, options.workers, data)
    up(asked, os.environ, lambda text: tell(harmless(text)), announce)
    return 0


def _scenario(options: argparse.Namespace) -> Scenario:
    """The scenario with what the options lay over it. A mesh has workers, even if none of them is here."""
    from live_backend.definition import DEFAULT_MESH

    asked = {"mesh.workers": options.workers, "mesh.slots": options.slots}
    own = [f"{path}={value}" for path, value in asked.items() if value]
    return loaded(options.scenario or str(DEFAULT_MESH), [*options.set, *own], None)


def announce(running: Running) -> None:
    """Where it is, what it is, and what to try."""
    if running.listen.port != running.wanted_port and running.wanted_port:
        tell(f"port {running.wanted_port} is taken; this mesh listens on {running.listen.port}")
    for line in table(list(_facts(running))):
        say(harmless(line))
    sys.stdout.flush()


def _facts(running: Running) -> Iterator[tuple[str, str]]:
    url = running.listen.url
    yield "API", f"{url}  (its documentation: {url}/docs)"
    if running.token_from:
        yield "token", f"asked for on every route but /healthz; it stands in {running.token_from}"
    roles = ", ".join(running.scenario.workload.roles)
    if running.workers:
        workers = "1 worker" if running.workers == 1 else f"{running.workers} workers"
        yield "mesh", f"{running.scenario.name}: {workers} × {running.scenario.mesh.slots} slots; {roles}"
    else:
        yield "mesh", f"{running.scenario.name}: {roles}; no workers here, `meshlab worker` adds some"
    for fact in running.facts:
        yield fact.kind, f"{fact.version} ({fact.where if fact.source == 'environment' else 'private'})"
    if running.is_embedded:
        kept = f"tasks are kept in {running.data}"
        yield "tasks", kept if running.data else "go when this mesh ends; keep them with --data DIR, or set DB_DSN"
    yield from _suggestions(running)
    yield "end", "Ctrl-C"


def _suggestions(running: Running) -> Iterator[tuple[str, str]]:
    role = next(iter(running.scenario.workload.roles))
    head, before = "", ""
    if running.token_from:  # read from stdin, so that the token stands in no process list
        token = "$MESHLAB_TOKEN" if "/" not in running.token_from else f"$(cat {running.token_from})"
        head, before = " -H @-", f"printf 'Authorization: Bearer %s' \"{token}\" | "
    task = json.dumps({"role": role, "payload": {"issue": 4}})
    post = f"curl -s{head} --json '{task}' {running.listen.url}/v1/tasks"
    where = "" if running.findable else f"MESHLAB_API={running.listen.url} "
    yield "try", f"{where}meshlab submit {role} --count 10 --wait"
    yield "", f"{where}meshlab tasks"
    yield "", before + post
