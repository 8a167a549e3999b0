"""`meshlab compare`: two runs of the same tasks side by side."""

from __future__ import annotations

import argparse
from typing import Any

from cli.terminal import NONE, mebibytes, percent, runs_folder, say, say_json, seconds, table


def command(options: argparse.Namespace) -> int:
    """Print the comparison; UsageError where the runs cannot be compared."""
    from lab import runs
    from lab.compare import compare
    from lab.record import Record

    root = runs_folder(options.out)
    first, second = (Record.load(runs.find(root, name).folder) for name in (options.first, options.second))
    comparison = compare(first, second)
    if options.json:
        say_json(comparison.data)
        return 0
    for record, label in zip((first, second), comparison.labels, strict=True):
        say(f"{label}: {record.info['run_id']} ({record.engine}, seed {record.info['seed']})")
    say()
    for line in comparison_lines(comparison.data, comparison.labels):
        say(line)
    return 0


def comparison_lines(data: dict[str, Any], labels: tuple[str, str]) -> list[str]:
    """A table of the headline figures with the first's error against the second, and a sentence on the pairs."""
    from lab.compare import lines

    rows = [
        (words(path), figure(path, first), figure(path, second), percent(error))
        for path, first, second, error in lines(data)
    ]
    paired = data["paired"]
    told = table(rows, ("", *labels, "error"), right=(1, 2, 3))
    if not paired["tasks"]:
        return [*told, "", "no task was completed by both"]
    correlation = NONE if paired["correlation"] is None else f"{paired['correlation']:.3f}"
    pairs = (
        f"task by task: {paired['tasks']:,} completed by both, mean difference {seconds(paired['mean_diff_s'])}, "
        f"95 % within {seconds(paired['p95_abs_diff_s'])}, correlation {correlation}"
    )
    return [*told, "", pairs]


def words(path: str) -> str:
    """`latency_s.p50` as `latency p50`."""
    name, _, part = path.partition(".")
    name = name.removesuffix("_per_s").removesuffix("_s").removesuffix("_bytes").replace("_", " ").replace("rss", "RSS")
    return f"{name} {part}".rstrip()


def figure(path: str, value: float | None) -> str:
    """A figure with the unit that its name carries."""
    if value is None:
        return NONE
    if path.startswith("rss_bytes"):
        return mebibytes(value)
    return f"{value:,.2f} /s" if "_per_s" in path else seconds(value)
