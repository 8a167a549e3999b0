"""The page of `meshlab whatif --out FILE.html`: what was asked, what it would do, and the curves before and after."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Protocol

from lab.figures_whatif import courses
from lab.report_page import Drawing, Section, badge, cards, e, table
from lab.report_page import page as whole_page
from lab.scenario import Scenario
from lab.whatif import Answer
from lab.whatif_live import Beside
from lab.whatif_live import verdict as live_verdict
from lab.whatif_words import grade, headline_cards, live_head, live_rows, rows, summary_row, verdict


class Refused(Protocol):
    """A card that means nothing for the scenario."""

    @property
    def card(self) -> str: ...
    @property
    def why(self) -> str: ...


def page(
    scenario: Scenario, answers: Sequence[Answer], refused: Sequence[Refused], live: Beside | str | None, command: str
) -> str:
    """The answers as a self-contained HTML page; `command` is what asked for them."""
    draw = Drawing()
    first = answers[0]
    alone = len(answers) == 1 and not refused
    header = [f'<p class="lead">{e(verdict(first)[0])}</p>'] if alone else []
    header += [_badge(first), cards(headline_cards(first))] if alone else []
    sections = [] if alone else [Section("All cards", list(_overview(answers, refused)))]
    for answer in answers:
        sections.append(Section("What it does" if alone else answer.question.title, list(_answer(answer, draw))))
    if isinstance(live, Beside):
        sections.append(Section("Model and live", list(_live(live))))
    elif live is not None:
        sections.append(Section("Live", [f"<p>Not run live: {e(live)}</p>"]))
    for answer in answers if alone else []:
        sections.append(Section("What was changed", list(_changes(answer))))
    sections.append(Section("How this was found", list(_method(first, command))))
    title = f"{scenario.name}: {first.question.title}" if alone else f"{scenario.name}: what if?"
    return whole_page(title, "Agent Mesh Lab · what if", header, sections)


def _badge(answer: Answer) -> str:
    found = grade(answer)
    return badge(found.word, found.mood)


def _overview(answers: Sequence[Answer], refused: Sequence[Refused]) -> Iterator[str]:
    head = ("What if", "", "p99", "", "Dead", "Drain", "")
    cells = [
        [e(title), badge(grade(answer).word, grade(answer).mood), *map(e, rest)]
        for answer, (title, *rest) in ((answer, summary_row(answer)) for answer in answers)
    ]
    yield table(head, cells)
    for one in refused:
        yield f'<p class="note">{e(one.card)} does not apply: {e(one.why)}</p>'


def _answer(answer: Answer, draw: Drawing) -> Iterator[str]:
    for effect in answer.question.effects:
        yield f"<p>{e(effect.words)}</p>"
    yield f"<p>{' '.join(f'{e(sentence)}' for sentence in verdict(answer))}</p>"
    for figure in courses(answer):
        yield draw(figure)
    if answer.question.window_s:
        yield '<p class="note">Shaded: the time in which something is amiss.</p>'
    yield table(
        ("Figure", *map(e, answer.question.names), "Change (95 %)"), [list(map(e, row)) for row in rows(answer)]
    )


def _live(live: Beside) -> Iterator[str]:
    yield f"<p>{e(live_verdict(live))}</p>"
    yield table(live_head(len(live.live)), [list(map(e, row)) for row in live_rows(live.figures)])


def _changes(answer: Answer) -> Iterator[str]:
    yield f"<pre>{''.join(_diff(answer.question.before, answer.question.after))}</pre>"


def diff_lines(before: Scenario, after: Scenario) -> list[str]:
    """What differs in the scenario files, as `diff -u` shows it."""
    lines = difflib.unified_diff(before.to_yaml().splitlines(), after.to_yaml().splitlines(), n=2, lineterm="")
    return list(lines)[2:]


def _diff(before: Scenario, after: Scenario) -> Iterator[str]:
    for line in diff_lines(before, after):
        kind = {"+": "add", "-": "cut"}.get(line[:1], "")
        yield f'<span class="{kind}">{e(line)}</span>\n' if kind else f"{e(line)}\n"


def _method(answer: Answer, command: str) -> Iterator[str]:
    seeds = answer.seeds
    if len(seeds) > 1:
        yield (
            f"<p>{len(seeds)} pairs of runs of the model, seeds {seeds[0]} to {seeds[-1]}: both runs of a pair meet "
            "the same tasks and draws. Percentiles are those of the tasks of all runs, other figures the mean of the "
            "runs; intervals (95 %) are Student's t over the pairs, of ratios on their logarithm.</p>"
        )
    else:
        yield f"<p>One pair of runs of the model with the same tasks and draws, seed {seeds[0]}: no intervals.</p>"
    checks = answer.failed_checks
    yield f"<p>Checks: {e('broken: ' + ', '.join(checks)) if checks else 'all hold in every run'}.</p>"
    yield f"<p>Asked by <code>{e(command)}</code>.</p>"
