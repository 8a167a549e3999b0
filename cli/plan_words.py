"""A plan as a person reads it on a terminal: the answer in words, then the candidates as a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cli.terminal import BOLD, GREEN, RED, YELLOW, painted, table
from lab.planning_measured import Measured, Verdict

if TYPE_CHECKING:
    from lab.planning import Answer

SHOWN_MAX = 24
"""Rows of the table: the frontier, the winner and what is nearest to it; files have them all."""


def report(answer: Answer) -> Iterator[str]:
    """Everything that `meshlab plan` says without --json, but for the live run."""
    first, *others = answer.words
    verdict = None if answer.winner is None else answer.winner.verdict
    yield painted(first, f"{BOLD};{RED if verdict is None else GREEN if verdict is Verdict.SURE else YELLOW}")
    yield from others
    yield ""
    objectives = ", ".join(one.words for one in answer.objectives)
    first_seed, most = answer.scenario.seed, max(one.replications for one in answer.measured)
    seeds = f"seed {first_seed}" if most == 1 else f"seeds {first_seed} to {first_seed + most - 1}"
    yield f"{answer.scenario.name}: {objectives}; {seeds}, the same for every mesh"
    figures = answer.objectives.figures
    head = ("", "mesh", "cost/h", *(figure.words for figure in figures), "meets them", "runs that do")
    shown = _shown(answer)
    yield from table([_row(answer, one) for one in shown], head, right=(2,))
    if len(shown) < len(answer.measured):
        yield f"and {len(answer.measured) - len(shown)} more that were looked at (--out FILE.csv has them all)"
    yield "* the winner, + on the frontier: nothing cheaper is as fast"


def _shown(answer: Answer) -> list[Measured]:
    """All, if they are few; else the frontier and those whose cost is nearest to the winner's."""
    winner = answer.winner or answer.nearest
    frontier = set(map(id, answer.frontier))
    near = sorted(answer.measured, key=lambda one: (id(one) not in frontier, abs(one.cost - winner.cost)))
    kept = set(map(id, near[:SHOWN_MAX])) | {id(winner)}
    return [one for one in answer.measured if id(one) in kept]


def _row(answer: Answer, one: Measured) -> tuple[str, ...]:
    mark = "*" if one is answer.winner else "+" if one in answer.frontier else ""
    figures = [figure.told(one.figures[figure.name]) for figure in answer.objectives.figures]
    met = f"{one.met_all.met} of {one.met_all.runs}"
    return (mark, one.candidate.words, f"{one.cost:,.2f}", *figures, one.verdict.words, met)
