"""What the commands of the standing mesh take: up, api, worker, submit, tasks, dlq, soak, prune."""

from __future__ import annotations

import argparse

from cli.numbers import PORT_MAX, real, whole
from lab.limits import (
    LIVE_WORKERS_MAX,
    SLOTS_MAX,
    SOAK_EVERY_S_MAX,
    SOAK_MINUTES_MAX,
    SOAK_RATE_PER_S_MAX,
    SUBMIT_COUNT_MAX,
)
from lab.rules.priority import PRIORITY_MAX, PRIORITY_MIN
from lab.rules.tasks import State

Commands = argparse._SubParsersAction  # the only name that argparse has for it
HOST_DEFAULT = "127.0.0.1"
PORT_DEFAULT = 8700
LIST_DEFAULT = 20
LIST_MAX = 10_000
SOAK_RATE_PER_S = 500
SOAK_WORKERS = 2
SOAK_SLOTS = 100
SOAK_EVERY_S = 10


def add_standing(commands: Commands[argparse.ArgumentParser]) -> None:
    """All of them."""
    _add_up(commands)
    _add_api(commands)
    _add_worker(commands)
    _add_submit(commands)
    _add_tasks(commands)
    _add_dlq(commands)
    _add_soak(commands)
    _add_prune(commands)


def _add_up(commands: Commands[argparse.ArgumentParser]) -> None:
    up = commands.add_parser(
        "up",
        help="run a standing mesh that takes tasks over HTTP, until Ctrl-C",
        description="Servers, an HTTP API, a reaper and workers on this machine. Of a scenario the roles, the mesh and "
        "the rules count; its arrivals and faults do not happen.",
    )
    up.add_argument("scenario", nargs="?", metavar="SCENARIO", help="a scenario file (default: three synthetic roles)")
    up.add_argument("--workers", type=whole(0, LIVE_WORKERS_MAX), metavar="N", help="worker processes")
    up.add_argument("--slots", type=whole(1, SLOTS_MAX), metavar="N", help="concurrent tasks in each")
    up.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="replace a value; repeatable")
    _add_listening(up)
    up.add_argument(
        "--data", metavar="DIR", help="keep the private PostgreSQL's data here (default: it goes with the mesh)"
    )


def _add_api(commands: Commands[argparse.ArgumentParser]) -> None:
    api = commands.add_parser(
        "api", help="run only the HTTP API and a standby reaper, on servers that the environment names"
    )
    _add_listening(api)


def _add_listening(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--host",
        default=HOST_DEFAULT,
        help=f"where to listen (default: {HOST_DEFAULT}); anything but this machine itself asks for a token",
    )
    command.add_argument(
        "--port",
        type=whole(0, PORT_MAX, form="d"),
        default=PORT_DEFAULT,
        metavar="N",
        help=f"default: {PORT_DEFAULT}, or a free one if it is taken",
    )


def _add_worker(commands: Commands[argparse.ArgumentParser]) -> None:
    worker = commands.add_parser(
        "worker", help="run worker processes for the standing mesh, and for live runs that are started elsewhere"
    )
    worker.add_argument(
        "--processes",
        type=whole(0, LIVE_WORKERS_MAX),
        metavar="N",
        help="for the standing mesh (default: as many as it says)",
    )
    worker.add_argument(
        "--slots", type=whole(1, SLOTS_MAX), metavar="N", help="concurrent tasks in each (default: as the mesh says)"
    )


def _add_submit(commands: Commands[argparse.ArgumentParser]) -> None:
    submit = commands.add_parser("submit", help="submit a task to the standing mesh, or many")
    submit.add_argument("role", metavar="ROLE", help="who is to do it")
    submit.add_argument(
        "--priority", type=whole(PRIORITY_MIN, PRIORITY_MAX), metavar="N", help="1 to 5 (default: the role's)"
    )
    submit.add_argument("--payload", metavar="JSON|@FILE|-", help="any JSON: as it stands, from a file, or from stdin")
    submit.add_argument(
        "--key", metavar="K", help="the same key is the same task; with --count the keys are K-1, K-2, …"
    )
    submit.add_argument("--count", type=whole(1, SUBMIT_COUNT_MAX), default=1, metavar="N", help="submit N of them")
    submit.add_argument("--wait", action="store_true", help="wait until they are finished; exit 1 if one has failed")
    _add_json(submit)


def _add_tasks(commands: Commands[argparse.ArgumentParser]) -> None:
    tasks = commands.add_parser("tasks", help="list the tasks of the standing mesh, newest first, or show one")
    tasks.add_argument("id", nargs="?", type=whole(0, 2**63 - 1), metavar="ID", help="show this one whole")
    tasks.add_argument("--state", type=str.upper, choices=tuple(State), metavar="S", help=f"one of {', '.join(State)}")
    tasks.add_argument("--role", metavar="R", help="only this role's")
    _add_limit(tasks)
    tasks.add_argument("--history", action="store_true", help="with ID: every transition, too")
    _add_json(tasks)


def _add_dlq(commands: Commands[argparse.ArgumentParser]) -> None:
    dlq = commands.add_parser("dlq", help="the dead letters: tasks that failed for good")
    actions = dlq.add_subparsers(dest="action", metavar="list|redrive|discard", required=True)
    listing = actions.add_parser("list", help="who is dead, and of what, oldest first")
    listing.add_argument("--role", metavar="R", help="only this role's")
    _add_limit(listing)
    _add_json(listing)
    for name, what in (("redrive", "start dead tasks anew"), ("discard", "put dead letters aside for good")):
        action = actions.add_parser(name, help=what)
        action.add_argument("ids", nargs="*", type=whole(0, 2**63 - 1), metavar="ID", help="these tasks")
        action.add_argument("--role", metavar="R", help="all of this role")
        action.add_argument("--all", action="store_true", help="all there are")
        _add_json(action)


def _add_limit(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--limit",
        type=whole(1, LIST_MAX),
        default=LIST_DEFAULT,
        metavar="N",
        help=f"at most so many (default: {LIST_DEFAULT})",
    )


def _add_soak(commands: Commands[argparse.ArgumentParser]) -> None:
    soak = commands.add_parser(
        "soak",
        help="strike a mesh of its own at random while it works, and see whether it kept its promises",
        description="A standing mesh on private servers, tasks over HTTP at a steady rate, and every ten seconds or so "
        "a fault: processes, Redis and PostgreSQL killed, frozen, cut off, emptied. Then all is healed, and every task "
        "that was acknowledged must have come to its end, once. Exit status 3 if not.",
    )
    soak.add_argument("--minutes", type=_minutes, required=True, metavar="N", help="how long; 0.5 is half a minute")
    soak.add_argument(
        "--rate",
        type=whole(1, SOAK_RATE_PER_S_MAX),
        default=SOAK_RATE_PER_S,
        metavar="R",
        help=f"tasks a second (default: {SOAK_RATE_PER_S})",
    )
    soak.add_argument(
        "--workers",
        type=whole(1, LIVE_WORKERS_MAX),
        default=SOAK_WORKERS,
        metavar="W",
        help=f"worker processes (default: {SOAK_WORKERS})",
    )
    soak.add_argument(
        "--slots",
        type=whole(1, SLOTS_MAX),
        default=SOAK_SLOTS,
        metavar="S",
        help=f"concurrent tasks in each (default: {SOAK_SLOTS})",
    )
    soak.add_argument(
        "--every",
        type=whole(1, SOAK_EVERY_S_MAX),
        default=SOAK_EVERY_S,
        metavar="S",
        help=f"seconds from one fault to the next, on average (default: {SOAK_EVERY_S})",
    )
    soak.add_argument("--seed", type=whole(0, 2**31 - 1), metavar="N", help="of the faults (default: a new one)")
    soak.add_argument("--out", metavar="FILE", help="write the report there as JSON, too")
    soak.add_argument("--quiet", action="store_true", help="show no progress")
    _add_json(soak)


def _minutes(text: str) -> float:
    minutes = real(text)
    if not 0.0 < minutes <= SOAK_MINUTES_MAX:
        raise argparse.ArgumentTypeError(f"must be more than 0 and at most {SOAK_MINUTES_MAX:,}, found {text}")
    return minutes


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else")


def _add_prune(commands: Commands[argparse.ArgumentParser]) -> None:
    prune = commands.add_parser(
        "prune", help="forget finished tasks of the standing mesh, with all that is kept of them"
    )
    prune.add_argument("--older", required=True, metavar="AGE", help="finished longer ago than this: 12h, 30d, 8w")
    prune.add_argument("--dry-run", action="store_true", help="count only, remove nothing")
    prune.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else")
