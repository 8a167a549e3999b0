"""`meshlab shadow`: a standing mesh beside its model, look by look; an alarm when they part."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from cli import failing
from cli.status import StatusFile
from cli.stopping import StopFlag
from cli.terminal import GREEN, RED, YELLOW, harmless, painted, runs_folder, say, say_json, tell
from lab.errors import Unavailable, UsageError
from lab.units import NONE, count, rate
from lab.units import seconds as spoken

if TYPE_CHECKING:
    from lab.observed_watch import Look

EXIT_ALARM: Final = 3
STOP_LOOK_S: Final = 0.1
"""How often a wait between two looks asks whether it has been stopped."""
STATES: Final = {"agree": ("agrees", GREEN), "apart": ("APART", RED), "quiet": ("quiet", YELLOW)}
SHOWN: Final = (
    ("throughput", "throughput_per_s", rate),
    ("p50", "latency_s.p50", spoken),
    ("p95", "latency_s.p95", spoken),
    ("p99", "latency_s.p99", spoken),
    ("wait p95", "queue_wait_s.p95", spoken),
    ("waiting", "depth", count),
    ("retries", "retries", count),
)


def command(options: argparse.Namespace) -> int:
    """Look once, or until Ctrl-C."""
    status = StatusFile(options.status)
    status.begin()
    try:
        with StopFlag() as stop, ExitStack() as stack:
            out = _opened(options.out, stack)
            return _told(options, _looks(options, stop, stack), out, status)
    except (Exception, KeyboardInterrupt) as error:
        return failing.ended(error, runs_folder(None), status)


def _told(options: argparse.Namespace, looks: Iterator[Look], out: IO[str] | None, status: StatusFile) -> int:
    last: Look | None = None
    for look in looks:
        if out is not None:
            _append(out, json.dumps(look.as_json(), allow_nan=False))
        _say(options, look, last)
        last = look
    alarmed = options.once and last is not None and last.state == "apart"
    code = EXIT_ALARM if alarmed else 0
    status.end("done", code, result=last.as_json() if last else None)
    return code


def _say(options: argparse.Namespace, look: Look, last: Look | None) -> None:
    if options.json and options.once:
        say_json(look.as_json())
    elif options.json:
        say(json.dumps(look.as_json(), allow_nan=False))
    else:
        if last is None:
            say(f"the last {spoken(look.window_s)}, seen | predicted")
        say(line(look))
        if look.state == "apart" and (last is None or _names(last) != _names(look)):
            for words in (look.words, *look.causes, *(f"note: {note}" for note in look.notes)):
                say(f"          {harmless(words)}")


def _names(look: Look) -> set[str]:
    return {alarm.name for alarm in look.alarms}


def _looks(options: argparse.Namespace, stop: Callable[[], bool], stack: ExitStack) -> Iterator[Look]:
    """A look every so often. A PostgreSQL that is away for a while is told of, and asked again."""
    from lab import fitting_replay
    from lab.observed_watch import Shadow
    from live_backend.shadowing import Shadowing, find_dsn
    from simulation import simulate

    shadowing = stack.enter_context(Shadowing(find_dsn(os.environ)))
    window = shadowing.look(options.window)  # before the model is measured: is there a mesh at all?
    overhead_s = fitting_replay.lone_overhead_s(simulate, window.scenario.profile, base=window.scenario.base)
    shadow = Shadow(
        simulate,
        options.every,
        overhead_s=overhead_s,
        workers=options.workers,
        slots=options.slots,
        against=options.against,
    )
    return _looking(options, stop, lambda: shadow.look(shadowing.look(options.window)))


def _looking(options: argparse.Namespace, stop: Callable[[], bool], look: Callable[[], Look]) -> Iterator[Look]:
    while not stop():
        started = time.monotonic()
        try:
            yield look()
        except Unavailable as error:
            if options.once:
                raise
            tell(harmless(str(error)))
        if options.once:
            return
        while not stop() and time.monotonic() < started + options.every:
            time.sleep(STOP_LOOK_S)


def _opened(path: str | None, stack: ExitStack) -> IO[str] | None:
    if path is None:
        return None
    try:
        return stack.enter_context(Path(path).open("a", encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--out {path}: cannot be written ({error.strerror})") from error


def _append(out: IO[str], text: str) -> None:
    try:
        out.write(f"{text}\n")
        out.flush()
    except OSError as error:
        raise Unavailable(f"{out.name}: cannot be written any more ({error.strerror}); make room there") from error


def line(look: Look) -> str:
    """A look in a line: moment, figures seen | predicted, how far apart, verdict."""
    when = datetime.fromtimestamp(look.at_s).strftime("%H:%M:%S")
    word, colour = STATES[look.state]
    pairs = [f"{name} {_pair(look, key, write)}" for name, key, write in SHOWN]
    apart = NONE if look.apart is None else f"{look.apart:+.1f}"
    alarms = ", ".join(f"{one.name} for {spoken(max(0.0, look.at_s - one.since_s))}" for one in look.alarms)
    verdict = painted(word, colour) + (f": {harmless(alarms)}" if alarms else "")
    return "  ".join([when, *pairs, f"apart {apart}", verdict])


def _pair(look: Look, key: str, write: Callable[[float | None], str]) -> str:
    return f"{write(look.seen[key])} | {write(look.predicted[key])}"
