"""The state table as a diagram: its boxes and arrows are those of `lab.rules.tasks.MOVES`."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from lab.rules.tasks import MOVES, State
from ui import palette

_START: Final = "start"
_SPENT: Final = "none left"
_COLOURS: Final = {
    State.PENDING: "#5B6B7B",
    State.RUNNING: palette.MODEL,
    State.RETRY_WAIT: "#946800",
    State.COMPLETED: "#1F7A45",
    State.PERMANENT_FAILURE: "#B93434",
    State.CANCELLED: "#6B6B6B",
}
_LINES: Final = {False: ("#8A929A", "#3A4148"), True: ("#7A828A", "#D5DADF")}
"""Of arrows and their words, on light and on dark ground."""


def arrows() -> dict[tuple[str, str], list[str]]:
    """(from, to) → what happens on the way. Before a task exists it is at `start`."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (start, event), move in MOVES.items():
        source = _START if start is None else str(start)
        found[source, str(move.to)].append(str(event))
        if move.when_spent is not None:
            found[source, str(move.when_spent)].append(f"{event}, {_SPENT}")
    return dict(found)


def dot(*, dark: bool) -> str:
    """The diagram in Graphviz's language, for light or for dark ground."""
    line, words = _LINES[dark]
    font = 'fontname="Source Sans Pro, Arial, sans-serif"'
    lines = [
        'digraph states { rankdir=LR; bgcolor="transparent"; nodesep=0.45; ranksep=0.75;',
        f'node [shape=box, style="rounded,filled", {font}, fontcolor=white, fontsize=13, penwidth=0];',
        'node [margin="0.18,0.09"];',
        f'edge [{font}, color="{line}", fontcolor="{words}", fontsize=12, arrowsize=0.7];',
        f'{_START} [shape=circle, label="", width=0.16, fillcolor="{line}"];',
    ]
    lines += [f'{state} [fillcolor="{_COLOURS[state]}"];' for state in State]
    lines += [f'{source} -> {target} [label="{_label(events)}"];' for (source, target), events in arrows().items()]
    return "\n".join([*lines, "}"])


def _label(events: list[str]) -> str:
    return r"\n".join(f" {event} " for event in events)
