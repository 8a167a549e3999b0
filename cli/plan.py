"""`meshlab plan`: the cheapest mesh that meets objectives, by search over the model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from cli import failing
from cli.overriding import loaded
from cli.plan_files import Files
from cli.plan_words import report
from cli.status import StatusFile
from cli.stopping import EXIT_INTERRUPTED, StopFlag
from cli.terminal import BOLD, GREEN, RED, YELLOW, painted, runs_folder, say, say_json, tell
from cli.watching import Meter, both
from lab.errors import Interrupted, UsageError
from lab.progress import Progress, Stop

if TYPE_CHECKING:
    from lab.planning import Answer, Objectives
    from lab.planning_confirm import Confirmation

EXIT_NOT_MET = 3


def command(options: argparse.Namespace) -> int:
    """Plan, print, write, confirm. Whatever goes wrong stands in the status file too, if there is one."""
    status = StatusFile(options.status)
    status.begin()
    try:
        return _plan(options, status)
    except (Exception, KeyboardInterrupt) as error:
        return failing.ended(error, runs_folder(None), status)


def _plan(options: argparse.Namespace, status: StatusFile) -> int:
    from lab.planning import Candidates, Prices, plan
    from lab.planning_search import REPLICATIONS
    from simulation import simulate

    files = Files.asked(options)
    objectives = _objectives(options)
    policies = None if options.policies is None else [name.strip() for name in options.policies.split(",")]
    candidates = Candidates(options.workers, options.slots, policies)
    prices = Prices(options.cost_worker, options.cost_slot, options.cost_attempt)
    scenario = loaded(options.scenario, options.set, options.seed)
    with StopFlag() as stop:
        stop.before_exit = lambda: status.end("cancelled", EXIT_INTERRUPTED, message="stopped at once")
        meter = Meter(quiet=options.quiet)
        watch = both(meter, status.on_progress)
        replications = options.replications or REPLICATIONS
        answer = plan(
            simulate, scenario, objectives, candidates, prices, replications,
            with_margin=not options.no_margin, on_progress=watch, stop=stop,
        )  # fmt: skip
        meter.clear()
        if not options.json:
            for line in report(answer):
                say(line)
        files.write(answer, None)  # before the live run, which takes long and may fail
        confirmation = _confirmed(options, answer, watch, stop) if options.confirm else None
        meter.clear()
        return _conclude(options, answer, confirmation, files, status)


def _objectives(options: argparse.Namespace) -> Objectives:
    from lab.planning import Objectives

    return Objectives(
        p99_s=options.p99,
        p95_s=options.p95,
        p50_s=options.p50,
        queue_wait_p99_s=options.queue_wait_p99,
        drain_s=options.drain_max,
        dead_share=options.dead_max,
        rss_mib=options.rss_max,
    )


def _confirmed(
    options: argparse.Namespace, answer: Answer, watch: Callable[[Progress], None], stop: Stop
) -> Confirmation | None:
    """The winner live, its record kept; or why not. None where there is nothing to confirm."""
    from dataclasses import replace

    from lab.planning_confirm import Confirmation, confirm, why_not
    from live_backend import run_live

    if answer.winner is None or answer.interrupted:
        return None
    if reason := why_not(answer):
        return Confirmation(why_not=reason)
    try:
        found, record = confirm(run_live, answer, on_progress=watch, stop=stop)
    except Interrupted:
        return Confirmation(why_not="the live run was stopped; the plan stands without it", stopped=True)
    except UsageError as error:  # the live engine refuses what the model can do
        return Confirmation(why_not=str(error))
    folder = record.save(runs_folder(None) / str(record.info["run_id"]))
    return replace(found, record=str(folder))


def _conclude(
    options: argparse.Namespace, answer: Answer, confirmation: Confirmation | None, files: Files, status: StatusFile
) -> int:
    """Print what is left, write it, and find the exit status."""
    result = {**answer.as_json(), "confirmation": None if confirmation is None else confirmation.as_json()}
    if options.json:
        say_json(result)
    for line in _confirmation_lines(confirmation):
        (tell if options.json else say)(line)
    if confirmation is not None:
        files.write(answer, confirmation)
    files.tell()
    if answer.interrupted or (confirmation is not None and confirmation.stopped):
        tell(painted("interrupted; this is what was found until then", YELLOW, sys.stderr))
        status.end("cancelled", EXIT_INTERRUPTED, message="interrupted")
        return EXIT_INTERRUPTED
    broken = answer.winner is None or (confirmation is not None and confirmation.broken)
    code = EXIT_NOT_MET if broken else 0
    status.end("done", code)
    return code


def _confirmation_lines(confirmation: Confirmation | None) -> Iterator[str]:
    if confirmation is None:
        return
    first, *others = confirmation.words
    colour = YELLOW if confirmation.why_not is not None else RED if confirmation.broken else GREEN
    yield ""
    yield painted(first, colour)
    yield from others
    if confirmation.record is not None:
        yield painted(f"record in {confirmation.record}", BOLD)
