"""`meshlab whatif`: a scenario before and after something happens to it."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cli import failing
from cli.overriding import loaded
from cli.status import StatusFile
from cli.stopping import EXIT_INTERRUPTED, StopFlag
from cli.targets import target, write
from cli.terminal import BOLD, DIM, RED, painted, runs_folder, say, say_json, table, tell
from cli.watching import Meter, both
from lab.errors import LabError, UsageError
from lab.progress import Progress

if TYPE_CHECKING:
    from lab.record import Record
    from lab.scenario import Scenario
    from lab.whatif import Answer, Question
    from lab.whatif_live import Beside

EXIT_CHECK_FAILED: Final = 3
FORMATS: Final = (".html", ".json")


class Refused(NamedTuple):
    """A card that means nothing for the scenario."""

    card: str
    why: str


class Found(NamedTuple):
    """What was asked and answered. `live` is None where it was not asked; else the runs, or why there are none."""

    scenario: Scenario
    answers: list[Answer]
    refused: list[Refused]
    live: Beside | str | None

    @property
    def failed_checks(self) -> list[str]:
        """The checks that any run broke, in either engine."""
        from lab.whatif_live import Beside

        names = {name for answer in self.answers for name in answer.failed_checks}
        return sorted(names.union(self.live.failed_checks if isinstance(self.live, Beside) else ()))

    def as_json(self) -> dict[str, Any]:
        """The JSON object."""
        live = {"possible": False, "why": self.live} if isinstance(self.live, str) else None
        return {
            "scenario": self.scenario.name,
            "seed": self.scenario.seed,
            "answers": [answer.as_json() for answer in self.answers],
            "refused": [one._asdict() for one in self.refused],
            "live": live or (self.live.as_json() if self.live is not None and not isinstance(self.live, str) else None),
            "checks": {"ok": not self.failed_checks, "failed": self.failed_checks},
        }


def command(options: argparse.Namespace) -> int:
    """Ask, print, write. Whatever goes wrong stands in the status file too, if there is one."""
    status = StatusFile(options.status)
    status.begin()
    try:
        return _list(options) if options.list else _ask(options, status)
    except (Exception, KeyboardInterrupt) as error:
        return failing.ended(error, runs_folder(None), status)


def _ask(options: argparse.Namespace, status: StatusFile) -> int:
    if options.scenario is None:
        raise UsageError("whatif: name a scenario file; --list shows the cards")
    if options.live and not options.card:
        raise UsageError("--live: name what is to be run with --card; all cards would take all day")
    if options.repeats is not None and not options.live:
        raise UsageError("--repeats: is the number of live runs; give --live with it, or --replications for the model")
    out = target("--out", options.out, FORMATS)
    scenario = loaded(options.scenario, options.set, options.seed)
    questions, refused = _questions(scenario, options.card)
    with StopFlag() as stop:
        stop.before_exit = lambda: status.end("cancelled", EXIT_INTERRUPTED, message="stopped at once")
        meter = Meter(quiet=options.quiet)
        found = _answered(options, scenario, questions, refused, both(meter, status.on_progress), stop)
        meter.clear()
        result = found.as_json()
        if options.json:
            say_json(result)
        else:
            for line in report(found):
                say(line)
        if out is not None:
            _write(out, found, result, _asked(options))
        if stop():
            tell(f"interrupted; this is what {len(found.answers[0].seeds)} finished replications say")
            status.end("cancelled", EXIT_INTERRUPTED, message="interrupted")
            return EXIT_INTERRUPTED
    return _concluded(found, status)


def _questions(scenario: Scenario, cards: Sequence[str]) -> tuple[list[Question], list[Refused]]:
    """The question that the cards make together; without any, each card's own, where it means something."""
    from lab.whatif import CARDS, Asked, question

    if cards:
        return [question(scenario, [Asked.parse(text) for text in cards])], []
    questions, refused = [], []
    for key in CARDS:
        try:
            questions.append(question(scenario, [Asked(key)]))
        except UsageError as error:
            refused.append(Refused(key, str(error).removeprefix(f"--card {key}: ")))
    if not questions:
        raise UsageError("; ".join(f"{one.card}: {one.why}" for one in refused))
    return questions, refused


def _answered(
    options: argparse.Namespace,
    scenario: Scenario,
    questions: list[Question],
    refused: list[Refused],
    on_progress: Callable[[Progress], None],
    stop: StopFlag,
) -> Found:
    from lab.paired import REPLICATIONS
    from lab.whatif import ask_all
    from simulation import simulate

    count = options.replications or REPLICATIONS
    answers = ask_all(simulate, questions, count, on_progress=on_progress, stop=stop)
    live = None if not options.live or stop() else _live(questions[0], options.repeats or 1, on_progress, stop)
    return Found(scenario, answers, refused, live)


def _live(question: Question, repeats: int, on_progress: Callable[[Progress], None], stop: StopFlag) -> Beside | str:
    """The runs of both engines, or why there are none: the model's answer stands all the same."""
    from lab.whatif_live import run
    from live_backend import run_live
    from simulation import simulate

    if question.live_hindrance:
        return question.live_hindrance
    try:
        engines = {"model": simulate, "live": run_live}
        return run(engines, question, _saved, repeats, on_progress=on_progress, stop=stop)
    except LabError as error:
        return str(error)


def _saved(record: Record) -> Record:
    record.save(runs_folder(None) / str(record.info["run_id"]))
    return record


def _concluded(found: Found, status: StatusFile) -> int:
    if isinstance(found.live, str):
        tell(f"not run live: {found.live}")
    if found.failed_checks:
        tell(painted(f"checks FAILED: {', '.join(found.failed_checks)}; `meshlab run` says more", RED, sys.stderr))
    code = EXIT_CHECK_FAILED if found.failed_checks else 0
    status.end("done", code)
    return code


# ---- for people ------------------------------------------------------------------------------------------------------


def _list(options: argparse.Namespace) -> int:
    from lab.whatif import CARDS

    say(painted("What if …", BOLD))
    scenario = loaded(options.scenario, options.set, options.seed) if options.scenario else None
    for key, card in CARDS.items():
        say()
        say(f"{painted(key, BOLD)}  {card.title}: {card.about}")
        say(f"    value: {card.value}")
        if scenario is not None:
            questions, refused = _tried(scenario, key)
            say(f"    here: {questions[0].effects[0].words if questions else 'does not apply: ' + refused[0].why}")
    return 0


def _tried(scenario: Scenario, key: str) -> tuple[list[Question], list[Refused]]:
    try:
        return _questions(scenario, [key])
    except UsageError as error:
        return [], [Refused(key, str(error).removeprefix(f"--card {key}: "))]


def report(found: Found) -> Iterator[str]:
    """What is printed: one answer whole, of many a line each."""
    scenario, first = found.scenario, found.answers[0]
    yield painted(f"{scenario.name}: what if?", BOLD)
    yield f"{_pairs(first)} in the model: the same tasks and the same draws"
    if len(found.answers) == 1 and not found.refused:
        yield from _one(first)
    else:
        yield from _many(found)
    if found.live is not None and not isinstance(found.live, str):
        yield from _beside(found.live)


def _pairs(answer: Answer) -> str:
    count = len(answer.seeds)
    if count == 1:
        return f"one pair of runs, seed {answer.seeds[0]}, so there are no intervals,"
    return f"{count} pairs of runs, seeds {answer.seeds[0]} to {answer.seeds[-1]},"


def _one(answer: Answer) -> Iterator[str]:
    from lab.whatif_words import rows, verdict

    yield ""
    for effect in answer.question.effects:
        yield f"{painted(effect.title, BOLD)}: {effect.words}"
    for path, before, after in answer.question.differences:
        yield painted(f"    {path}: {before} → {after}", DIM)
    yield ""
    yield from verdict(answer)
    yield ""
    yield from table(rows(answer), ("", *answer.question.names, "change (95 %)"), right=(1, 2, 3))


def _many(found: Found) -> Iterator[str]:
    from lab.whatif_words import summary_row

    yield ""
    head = ("what if", "p99", "", "dead", "drain", "")
    yield from table([summary_row(answer) for answer in found.answers], head, right=(1, 3, 4))
    for one in found.refused:
        yield f"{one.card}: does not apply: {one.why}"
    yield ""
    yield "one in full: --card KEY"


def _beside(live: Beside) -> Iterator[str]:
    from lab.whatif_live import verdict
    from lab.whatif_words import live_head, live_rows

    yield ""
    yield verdict(live)
    yield ""
    yield from table(live_rows(live.figures), live_head(len(live.live)), right=(1, 2, 3, 4, 5, 6))


# ---- files -----------------------------------------------------------------------------------------------------------


def _asked(options: argparse.Namespace) -> str:
    """The command line that asks this again."""
    words = ["meshlab", "whatif", options.scenario]
    for name in ("card", "set"):
        for value in getattr(options, name):
            words += [f"--{name}", value]
    for name in ("replications", "repeats", "seed"):
        if (value := getattr(options, name)) is not None:
            words += [f"--{name}", str(value)]
    return shlex.join(words + ["--live"] * options.live)


def _write(out: Path, found: Found, result: dict[str, Any], command: str) -> None:
    if out.suffix.lower() == ".json":
        text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    else:
        from lab.whatif_page import page

        text = page(found.scenario, found.answers, found.refused, found.live, command)
    write("--out", out, text)
    tell(f"written to {out}")
