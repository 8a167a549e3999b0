"""The law that fits a run, its figures next to the run's, in a few lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cli.compare import figure, words
from cli.terminal import DIM, NONE, painted, table

SHARES = {
    "waiting_share": "tasks that wait",
    "rejected_share": "tasks refused",
    "left_share": "clients that left",
    "dead_share": "dead tasks",
}
COLUMNS = {"sim": "model", "live": "live"}
"""The head of an engine's column."""
OF_AN_APPROXIMATION = (
    "z is here the distance to an approximation: a large one says that the approximation is rough, not that the run is "
    "wrong"
)


def theory_lines(besides: Mapping[str, dict[str, Any] | None]) -> Iterator[str]:
    """What `lab.theory.beside` said of the run on each engine, after an empty line: the law, why it, a table, and what
    to know of z. One line where nothing can be said; none at all for runs that were cut short.
    """
    known = {engine: beside for engine, beside in besides.items() if beside is not None}
    if not known:
        return
    first = next(iter(known.values()))
    yield ""
    yield from _headline(first)
    if not first["figures"]:
        return
    head = ["", "law" if first["law"] and first["kind"] != "approximation" else "approximation"]
    for engine in known:
        head += [COLUMNS[engine], "z"]
    rows = [_row(path, known) for path in first["figures"]]
    yield from table(rows, head, right=range(1, len(head)))
    for note in dict.fromkeys(beside["note"] for beside in known.values() if beside["note"]):
        yield painted(note, DIM)
    if any(one["kind"] == "approximation" and _bears_z(one) for one in known.values()):
        yield painted(OF_AN_APPROXIMATION, DIM)


def _bears_z(beside: dict[str, Any]) -> bool:
    return any(one.get("z") is not None for one in beside["figures"].values())


def _headline(beside: dict[str, Any]) -> Iterator[str]:
    """Which law, how far it goes, and why."""
    if beside["law"] is None:
        yield f"theory: {beside['reason']}"
    elif beside["kind"] == "approximation":
        yield f"theory: {beside['reason']}"
        yield f"nearest approximation: {beside['law']}"
    else:
        yield f"theory: {beside['law']}, {beside['kind']}"
        yield painted(beside["reason"], DIM)


def _row(path: str, known: Mapping[str, dict[str, Any]]) -> list[str]:
    """One figure: the law's, then the run's on each engine with its z. An engine's law may lack it."""
    found = [beside["figures"].get(path, {}) for beside in known.values()]
    cells = [_label(path), _value(path, found[0]["law"])]
    for one in found:
        z = one.get("z")
        cells += [_value(path, one.get("simulated", one.get("live"))), NONE if z is None else f"{z:+.1f}"]
    return cells


def _label(path: str) -> str:
    """`by_queue.agent_high.queue_wait_s.mean` as `agent_high queue wait mean`."""
    if path in SHARES:
        return SHARES[path]
    if path == "attempts_mean":
        return "attempts of a task"
    if path.startswith("by_queue."):
        _, queue, rest = path.split(".", 2)
        return f"{queue} {words(rest)}"
    return words(path)


def _value(path: str, value: float | None) -> str:
    if value is None:
        return NONE
    if path in SHARES:
        return f"{100 * value:.4g} %"
    return f"{value:.4f}" if path == "attempts_mean" else figure(path, value)
