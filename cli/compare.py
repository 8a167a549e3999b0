"""`meshlab compare`: two runs of the same tasks side by side, or two scenarios run on the same tasks and draws."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.stopping import EXIT_INTERRUPTED, StopFlag
from cli.terminal import (
    NONE,
    RED,
    counted,
    mebibytes,
    painted,
    percent,
    runs_folder,
    say,
    say_json,
    seconds,
    table,
    tell,
)
from cli.watching import Meter
from lab.errors import UsageError

if TYPE_CHECKING:
    from lab.paired import PairedComparison
    from lab.scenario import Scenario

EXIT_CHECK_FAILED = 3
SCENARIO_SUFFIXES = (".yaml", ".yml")


def command(options: argparse.Namespace) -> int:
    """Print the comparison; UsageError where the two cannot be compared."""
    are_scenarios = [Path(name).suffix.lower() in SCENARIO_SUFFIXES for name in (options.first, options.second)]
    if all(are_scenarios):
        return _scenarios(options)
    if any(are_scenarios):
        raise UsageError(
            f"{options.first} and {options.second}: one is a scenario file and the other a run; give two of a kind"
        )
    if options.replications is not None:
        raise UsageError("--replications: is for two scenario files; runs that were made are compared as they are")
    return _runs(options)


def _runs(options: argparse.Namespace) -> int:
    from lab import paired, runs
    from lab.compare import compare
    from lab.record import Record

    root = runs_folder(options.out)
    first, second = (Record.load(runs.find(root, name).folder) for name in (options.first, options.second))
    comparison = compare(first, second)
    pairs = paired.of_records(first, second)
    ids = {"a": first.info["run_id"], "b": second.info["run_id"]}
    if options.json:
        seeds = [first.info["seed"]]
        say_json({**ids, **comparison.data, **_json(pairs), "replications": 1, "seeds": seeds})
        return 0
    for record, label in zip((first, second), comparison.labels, strict=True):
        say(f"{label}: {record.info['run_id']} ({record.engine}, seed {record.info['seed']})")
    say()
    for line in comparison_lines(comparison.data, comparison.labels):
        say(line)
    say()
    for line in paired_lines(pairs, comparison.labels):
        say(line)
    return 0


def _scenarios(options: argparse.Namespace) -> int:
    """Run both scenarios in the model with the same seeds. No record is kept."""
    from lab import paired
    from lab.scenario import Scenario
    from simulation import simulate

    a, b = Scenario.load(options.first), Scenario.load(options.second)
    if a.seed != b.seed:
        tell(f"both run with {options.first}'s seeds, from {a.seed}; {options.second}'s own, {b.seed}, is not used")
    count = options.replications or paired.REPLICATIONS
    if count < 2:
        raise UsageError("--replications 1: one pair of runs has no interval; ask for two or more")
    with StopFlag() as stop:
        meter = Meter(quiet=options.quiet)
        pairs = paired.ab(simulate, a, b, count, on_progress=meter, stop=stop)
        meter.clear()
        if options.json:
            checks = {"ok": not pairs.failed_checks, "failed": pairs.failed_checks}
            runs = {"replications": len(pairs.seeds), "seeds": pairs.seeds, "checks": checks}
            say_json({"a": options.first, "b": options.second, **_json(pairs), **runs})
        else:
            for line in _scenario_lines(options, a, pairs):
                say(line)
        if stop():
            tell(f"interrupted; this is what {len(pairs.seeds)} of {count} pairs of runs say")
            return EXIT_INTERRUPTED
    if pairs.failed_checks:
        tell(painted(f"checks FAILED: {', '.join(pairs.failed_checks)}; `meshlab run` says more", RED))
    return EXIT_CHECK_FAILED if pairs.failed_checks else 0


def _json(pairs: PairedComparison) -> dict[str, Any]:
    return {"figures": pairs.figures, "method": pairs.method}


def _scenario_lines(options: argparse.Namespace, a: Scenario, pairs: PairedComparison) -> Iterator[str]:
    yield f"a: {options.first}"
    yield f"b: {options.second}"
    yield f"{len(pairs.seeds)} pairs of runs, seeds {a.seed} to {pairs.seeds[-1]}: the same tasks and the same draws"
    yield ""
    yield from paired_lines(pairs, ("a", "b"))


def paired_lines(pairs: PairedComparison, labels: tuple[str, str]) -> Iterator[str]:
    """A table of the paired differences, and what it rests on."""
    rows = [_paired_row(path, one) for path, one in pairs.figures.items()]
    first, second = labels
    head = ("", first, second, f"{second} − {first}", "95 % interval", "variance reduction")
    yield from table(rows, head, right=(1, 2, 3, 4, 5))
    yield ""
    yield f"intervals: {pairs.method}"
    yield "variance reduction: how many times as many runs with chance of their own would say the same"


def _paired_row(path: str, one: dict[str, Any]) -> tuple[str, ...]:
    ci95, reduction = one["ci95"], one["variance_reduction"]
    interval = NONE if ci95 is None else " to ".join(figure(path, bound) for bound in ci95)
    times = NONE if reduction is None else f"{reduction:,.{1 if reduction < 100 else 0}f} ×"
    return (words(path), *(figure(path, one[key]) for key in ("a", "b", "difference")), interval, times)


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
    if name == "tasks":
        return part
    name = name.removesuffix("_per_s").removesuffix("_s").removesuffix("_bytes").replace("_", " ").replace("rss", "RSS")
    return f"{name} {part}".rstrip()


def figure(path: str, value: float | None) -> str:
    """A figure with the unit that its name carries."""
    if value is None:
        return NONE
    if path.startswith("rss_bytes"):
        return mebibytes(value)
    if path.startswith("tasks."):
        return counted(value)
    return f"{value:,.2f} /s" if "_per_s" in path else seconds(value)
