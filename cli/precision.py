"""How well a run's figures are known, in a few calm lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cli.compare import words
from cli.terminal import YELLOW, painted, seconds

SHOWN = (("queue_wait_s", "mean"), ("latency_s", "p99"))


def precision_lines(result: dict[str, Any]) -> Iterator[str]:
    """What the run, or the replications, can say: estimates with intervals, length, handling of the start, and a
    warning in yellow; and how an `--until` came out.
    """
    if "until" in result:
        yield _until(result["until"])
    found = result["precision"]
    known = [_estimate(figure, point, found[figure]) for figure, point in SHOWN if found[figure] is not None]
    if known:
        yield f"{', '.join(known)}, from {_source(found)}"
    if found["warning"]:
        yield painted(found["warning"], YELLOW)
    elif found["ratio"] is not None:
        each = "each run" if "replications" in found else "the run"
        yield f"{each} is {found['ratio']:,.0f} relaxation times long"
    yield f"start: {found['start_up']['note']}"


def _estimate(figure: str, point: str, estimate: dict[str, Any]) -> str:
    """`mean queue wait 0.286 s (95 %: 0.275 to 0.299 s)`."""
    ci95 = estimate[f"{point}_ci95"]
    interval = "no interval" if ci95 is None else f"95 %: {ci95[0]:,.3f} to {seconds(ci95[1])}"
    return f"{point} {words(figure)} {seconds(estimate[point])} ({interval})"


def _source(found: dict[str, Any]) -> str:
    if "replications" in found:
        return f"{found['replications']} replications"
    return "the whole run" if found["batches"] is None else f"{found['batches']} batches of the run"


def _until(until: dict[str, Any]) -> str:
    share = "is not known to any share of itself" if until["half_width"] is None else None
    share = share or f"is known within {100 * until['half_width']:.2g} %"
    said = f"{words(until['figure'])} {share} after {until['replications']} replications"
    asked = f"{100 * until['asked']:g} % was asked"
    return f"{said} ({asked})" if until["reached"] else painted(f"{said}: {asked} and not reached", YELLOW)
