"""`meshlab soak`: strike a mesh at random for minutes, and see whether it kept its promises."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from typing import Any

from cli.stopping import StopFlag
from cli.targets import target, write
from cli.terminal import GREEN, NONE, RED, counted, harmless, painted, say, say_json, table, tell
from cli.watching import Meter
from lab.errors import Interrupted

EXIT_UNSOUND = 3
SEED_MAX = 2**31 - 1
NAMES = {"none": "nothing else struck", "reaper": "the reaper struck too", "postgres": "PostgreSQL struck too *"}


def command(options: argparse.Namespace) -> int:
    """Run a soak, and say what came of it."""
    from live_backend.soak import Settings, soak

    out = target("--out", options.out)
    seed = options.seed if options.seed is not None else random.randint(0, SEED_MAX)
    settings = Settings(options.minutes, options.rate, options.workers, options.slots, seed, options.every)
    meter = Meter(quiet=options.quiet)

    def told(text: str) -> None:
        meter.clear()
        tell(harmless(text))

    if not options.quiet:
        tell(f"seed {seed}; to repeat it: {settings.command}")
    with StopFlag() as stop:
        report = soak(settings, meter, stop, told)
    meter.clear()
    if out:
        write("--out", out, json.dumps(report.figures, indent=2, allow_nan=False) + "\n")
    if options.json:
        say_json(report.figures)
    else:
        for line in lines(report.figures):
            say(harmless(line))
        say(painted("sound: nothing lost, nothing doubled", GREEN) if report.is_sound else painted("NOT SOUND", RED))
    if not report.is_sound:
        return EXIT_UNSOUND
    return Interrupted.exit_status if report.was_interrupted else 0


def lines(figures: dict[str, Any]) -> list[str]:
    """The report for people."""
    spreads = figures["reclaim"]["by_disturbance"]
    rows = [
        (NAMES[name], str(one["count"]), *(_seconds(one[which]) for which in ("p50_s", "p99_s", "max_s")))
        for name, one in spreads.items()
    ]
    head = (f"reclaim (bound {figures['reclaim']['bound_s']:g} s)", "tasks", "p50", "p99", "max")
    return [
        *table(list(_facts(figures))),
        "",
        *table(rows, head, right=(1, 2, 3, 4)),
        "* without the time for which PostgreSQL was struck",
        "",
        *table([(kind, str(count)) for kind, count in figures["faults"]["by_kind"].items()], ("fault", "times"), (1,)),
        "",
        *_findings(figures),
    ]


def _facts(figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    tasks, faults, rate = figures["tasks"], figures["faults"], figures["rate_per_s"]
    submit = figures["submit_undisturbed"]
    yield "lasted", f"{figures['minutes']:g} min" + (" (interrupted)" if figures["interrupted"] else "")
    yield "acknowledged", f"{counted(tasks['acknowledged'])} tasks ({rate['sustained']:g} sent a second)"
    yield "exposed", f"{counted(tasks['exposed'])} tasks to {faults['total']} faults, {faults['lasted_s']:g} s in all"
    yield "lost", counted(tasks["lost"])
    yield "doubled", counted(tasks["doubled"])
    yield "retries", counted(figures["retries"])
    yield "reclaims", f"{counted(figures['reclaims'])}, {figures['reclaim']['late']} of them late"
    yield "stale writes", f"{counted(figures['stale_writes'])} refused"
    yield "submission", f"p99 {_seconds(submit['p99_s'])} outside faults ({counted(submit['count'])} requests)"
    drained = figures["drain_s"]
    yield "drained", "never" if drained is None else f"{drained:g} s after the mesh was healed"
    yield "checks", f"{figures['checks']['passed']} hold, {len(figures['checks']['failed'])} fail"
    machine, versions = figures["machine"], figures["versions"]
    yield "machine", f"{machine['cores']} cores, {machine['system']} {machine['architecture']}"
    yield "versions", ", ".join(f"{name} {versions[name]}" for name in ("python", "redis", "postgres"))
    yield "repeat", figures["command"]


def _findings(figures: dict[str, Any]) -> Iterator[str]:
    """Whatever should not be there."""
    for name in ("lost", "doubled"):
        if examples := figures["examples"][name]:
            yield f"{name}: {', '.join(map(str, examples))}"
    for check in figures["checks"]["failed"]:
        yield f"check {check['name']}: {check['found']}; such as {check['tasks']}"
    if unexplained := figures["reclaim"]["unexplained"]:
        yield f"reclaimed though nobody had struck their worker: {', '.join(map(str, unexplained))}"
    for text in figures["processes_that_ended_by_themselves"]:
        yield f"ended by itself: {text}"
    for text, count in figures["strange_answers"].items():
        yield f"answered {count} times: {text}"
    if held_back := figures["tasks"]["held_back"]:
        yield f"{counted(held_back)} tasks were not submitted, since too many requests were under way"


def _seconds(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f} s"
