"""The prediction test in words, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cli.terminal import BOLD, GREEN, NONE, RED, YELLOW, painted, table
from lab import units
from lab.twin_figures import BY_PATH

if TYPE_CHECKING:
    from lab.twin_matrix import Case

COLOURS = {"equivalent": GREEN, "not shown": YELLOW, "different": RED}
SHORT = {
    "throughput_per_s": "rate",
    "latency_s.p50": "p50",
    "latency_s.p95": "p95",
    "latency_s.p99": "p99",
    "drain_s": "drain",
    "saturation_per_s": "saturation",
    "rss_bytes.peak": "RSS",
}
"""Columns of the table of scenarios."""


def listed(cases: Sequence[Case]) -> Iterator[str]:
    """The scenarios and what each asks."""
    rows = [(case.name, "quick" if case.quick else "", case.about) for case in cases]
    yield from table(rows, ("scenario", "", "what it tests"))


def report(data: Mapping[str, Any]) -> Iterator[str]:
    """Summary, scenarios, why, and the verdict."""
    scenarios, summary = data["scenarios"], data["summary"]
    repeats = units.plural(data["repeats"], "live repeat")
    yield painted(f"the model against this machine: {units.plural(len(scenarios), 'scenario')}, {repeats}", BOLD)
    yield f"profile {data['profile']['name']}: {_first_line(data['profile']['measured'])}"
    yield ""
    yield from _summary(summary)
    yield ""
    yield from _scenarios(scenarios)
    yield ""
    yield from _why(scenarios)
    yield ""
    yield from _verdict(data)


def _summary(summary: Mapping[str, Any]) -> Iterator[str]:
    rows = []
    for path, row in summary["figures"].items():
        verdicts = ", ".join(f"{count} {word}" for word, count in row["verdicts"].items() if count)
        beyond = abs(row["worst_error"]) > row["worst_allowance"]
        rows.append(
            (
                BY_PATH[path].figure.label,
                _percent(row["median_error"]),
                f"{100 * row['aim']:g} %",
                "met" if row["met"] else "MISSED",
                f"{row['worst']} {units.percent(row['worst_error'])}",
                f"{'BEYOND ' if beyond else ''}±{_percent(row['worst_allowance'])}",
                verdicts,
            )
        )
    head = ("figure", "median |error|", "aim", "", "worst scenario", "allowed there", "by equivalence, each scenario")
    yield from table(rows, head, right=(1, 2))


def _scenarios(scenarios: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows = []
    for one in scenarios:
        cells = [_cell(one["figures"].get(path)) for path in SHORT]
        noise = one["paired"].get("live_p95_abs_s")
        apart = one["paired"].get("p95_abs_s")
        rows.append((one["name"], *cells, units.seconds(apart), units.seconds(noise)))
    head = ("error, model / live − 1", *SHORT.values(), "task p95 |diff|", "live's own")
    yield from table(rows, head, right=range(1, len(head)))
    yield "! beyond its allowance: 3 × aim, or the live spread where that is larger; ( ) not judged in this scenario"


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return NONE
    words = units.percent(figure["error"])
    if not figure["judged"]:
        return f"({words})"
    return words if figure["within_allowance"] else f"! {words}"


def _why(scenarios: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for one in scenarios:
        yield f"{one['name']}: {one['anatomy']['why']}"


def _verdict(data: Mapping[str, Any]) -> Iterator[str]:
    summary = data["summary"]
    if not data["complete"]:
        yield painted("not all runs were made, so this is a part of the verdict", YELLOW)
    if data["ok"]:
        yield painted("every aim is met, and no scenario is beyond its allowance", GREEN)
    for words in summary["missed"]:
        yield painted(f"MISSED {words}", RED)
    for words in summary["broken"]:
        yield painted(f"checks FAILED in {words}", RED)
    if data["repeats"] < 2:
        yield "one repeat: the live system's own spread is unknown, so nothing can be shown equivalent"


def _percent(value: float) -> str:
    return units.percent(value).lstrip("+")


def _first_line(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 100 else f"{words[:99]}…"
