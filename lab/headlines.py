"""The headline figures of any number of runs side by side, and how far each is from the one that they are held against.

A column is a run; or, put together, the runs of one scenario by one engine that differ in nothing but the seed, whose
figures then have 95 % intervals of their own. A difference has an interval where its two columns ran the same tasks:
from the pairs of replications of one seed, or, of a single pair of runs, from the batches of their tasks
(`lab/paired.py`). Where it has none, `Against.method` says why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

from lab import metrics, paired, statistics, units
from lab.compare import same_tasks, task_by_task
from lab.metrics import Times
from lab.paired import PairedComparison
from lab.pooling import pooled
from lab.record import Record
from lab.replicate import Replication

ENGINE_WORDS: Final = {"sim": "Model", "live": "Live"}
LABEL_CHARS_MAX: Final = 40
"""Of each fact in a label."""


class Figure(NamedTuple):
    """One headline figure: where it stands in a summary, what people call it, its unit (s, 1/s, bytes; "" for a
    number of tasks), and what it means.
    """

    path: str
    label: str
    unit: str
    about: str

    def written(self, value: float | None, ci95: tuple[float, float] | None = None) -> str:
        """A value of it as people read it, with its interval, if there is one."""
        write = units.WRITTEN[self.unit]
        return write(value) if ci95 is None else f"{write(value)} ({units.interval(write(ci95[0]), write(ci95[1]))})"


ARRIVAL_TO_END = "from its scheduled arrival to its completion"
FIGURES: Final = (
    Figure("throughput_per_s", "Throughput", "1/s", "Completed tasks ÷ (last completion − first arrival)."),
    Figure("makespan_s", "Makespan", "s", "From the first arrival to the end of the last task."),
    Figure("latency_s.mean", "Latency, mean", "s", f"Of completed tasks, each {ARRIVAL_TO_END}."),
    Figure("latency_s.p50", "Latency, p50", "s", f"Half of the completed tasks took at most this, {ARRIVAL_TO_END}."),
    Figure("latency_s.p95", "Latency, p95", "s", f"95 % of the completed tasks took at most this, {ARRIVAL_TO_END}."),
    Figure("latency_s.p99", "Latency, p99", "s", f"99 % of the completed tasks took at most this, {ARRIVAL_TO_END}."),
    Figure("latency_s.max", "Latency, longest", "s", f"The slowest completed task, {ARRIVAL_TO_END}."),
    Figure("queue_wait_s.mean", "Queue wait, mean", "s", "From a task's scheduled arrival to its first claim."),
    Figure("queue_wait_s.p95", "Queue wait, p95", "s", "95 % of the claimed tasks waited at most this for a slot."),
    Figure("rss_bytes.peak", "RSS, largest worker", "bytes", "The highest resident memory that a worker reported."),
    Figure("backpressure.closed_s", "Admission closed", "s", "How long backpressure held the producer back."),
    Figure("tasks.completed", "Tasks completed", "", "Tasks whose last attempt succeeded."),
    Figure("tasks.dead", "Tasks dead-lettered", "", "Tasks that failed for good."),
    Figure("tasks.attempts", "Attempts", "", "Claims of all tasks, without those handed back at a shutdown."),
    Figure("tasks.retries", "Retries", "", "Failed attempts that were followed by a backoff."),
    Figure("tasks.reclaimed", "Leases reclaimed", "", "Attempts whose lease lapsed, since nobody renewed it."),
    Figure("tasks.stale_writes", "Stale writes refused", "", "Verdicts that came with an old fencing token."),
)
BY_PATH: Final = {figure.path: figure for figure in FIGURES}


# ---- columns ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Column:
    """One run, or the replications of one scenario by one engine, in order of their seeds."""

    label: str
    records: tuple[Record, ...]

    @property
    def lead(self) -> Record:
        """The run that stands for all where only one can be shown."""
        return self.records[0]

    @cached_property
    def times(self) -> tuple[Times, ...]:
        """The times of each run's tasks."""
        return tuple(Times.of(record) for record in self.records)

    @cached_property
    def figures(self) -> dict[str, Any]:
        """The summary; of replications the pooled one, with intervals."""
        summaries = [summary_of(record) for record in self.records]
        return summaries[0] if len(summaries) == 1 else pooled(summaries, self.times)

    def value(self, path: str) -> float | None:
        """The figure at a dotted path; None where there is none."""
        return number(self.figures, path)

    def ci95(self, path: str) -> tuple[float, float] | None:
        """Its 95 % interval: over replications, or over the batches of one run that is long enough (`precision`)."""
        way, _, last = path.rpartition(".")
        tree = self.figures if len(self.records) > 1 else self.lead.info.get("precision")
        place = at(tree, way) if way else tree
        found = place.get(f"{last}_ci95") if isinstance(place, dict) else None
        return (found[0], found[1]) if found else None

    @property
    def seeds(self) -> list[int]:
        """The seeds of its runs."""
        return [int(record.info["seed"]) for record in self.records]


def columns(records: Sequence[Record], *, pool: bool = False) -> tuple[Column, ...]:
    """A column a run; with `pool`, a column for each set of replications. The model's come first."""
    ordered = sorted(records, key=lambda record: record.engine != "sim")
    groups: list[list[Record]] = []
    for record in ordered:
        mine = next((group for group in groups if pool and _replicates(group, record)), None)
        if mine is None:
            groups.append([record])
        else:
            mine.append(record)
    return tuple(
        Column(label, tuple(group)) for label, group in zip(_labels([one[0] for one in groups]), groups, strict=True)
    )


def replicated(records: Sequence[Record]) -> bool:
    """Whether any of the runs are replications of one another."""
    return len(columns(records, pool=True)) < len(records)


def _replicates(group: Sequence[Record], record: Record) -> bool:
    """Whether the run differs from those of the group in its seed and in nothing else."""
    seeds = {one.info["seed"] for one in group}
    alike = record.engine == group[0].engine and _recipe(record) == _recipe(group[0])
    return alike and record.info["seed"] not in seeds


def _recipe(record: Record) -> dict[str, Any]:
    """The scenario without its seed and its name."""
    return {key: value for key, value in record.info["scenario"].items() if key not in ("seed", "name")}


def _labels(leads: Sequence[Record]) -> list[str]:
    """As short as tells them apart: the engine, then what differs in the scenarios (its name first, the seed last), and
    only as much of it as is needed; a number where they are alike.
    """
    parts = [[ENGINE_WORDS.get(one.engine, one.engine)] for one in leads]
    trees = [dict(leaves(one.info["scenario"])) for one in leads]
    paths = dict.fromkeys(path for tree in trees for path in tree)
    for path in sorted(paths, key=lambda path: (path == "seed", path != "name")):
        facts = [tree.get(path, units.NONE) for tree in trees]
        word = "" if path == "name" else path.rpartition(".")[2] + " "
        for group in _alike(parts):
            if len({facts[place] for place in group}) > 1:
                for place in group:
                    parts[place].append(f"{word}{facts[place]}"[:LABEL_CHARS_MAX])
    taken, seen = Counter(map(tuple, parts)), Counter[tuple[str, ...]]()
    labels = []
    for part in map(tuple, parts):
        seen[part] += 1
        labels.append(" · ".join([*part, f"#{seen[part]}"] if taken[part] > 1 else part))
    return labels


def _alike(parts: Sequence[Sequence[str]]) -> list[list[int]]:
    """The places of labels that are still the same, a group each."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for place, part in enumerate(parts):
        groups.setdefault(tuple(part), []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every value of a tree of mappings and lists, as text, with its dotted path."""
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, list) and tree:
        for place, value in enumerate(tree):
            yield from leaves(value, f"{path}[{place}]")
    else:
        yield path, str(tree)


def summary_of(record: Record) -> dict[str, Any]:
    """The headline figures, as the engine left them or computed now."""
    found = record.info.get("summary")
    return found if isinstance(found, dict) else metrics.summary(record)


def at(tree: Any, path: str) -> Any:
    """What stands at a dotted path; None where there is nothing."""
    for part in path.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def number(tree: Any, path: str) -> float | None:
    """The number at a dotted path; None where there is none."""
    found = at(tree, path)
    return found if isinstance(found, int | float) else None


# ---- differences -----------------------------------------------------------------------------------------------------


class Difference(NamedTuple):
    """A figure's difference from the baseline's, in its own unit, with its 95 % interval, if there is one."""

    value: float
    base: float
    ci95: tuple[float, float] | None = None

    @property
    def relative(self) -> float | None:
        """As a share of the baseline's figure; of a zero only another zero is a known share away."""
        return self.value / self.base if self.base else (0.0 if self.value == 0 else None)

    @property
    def relative_ci95(self) -> tuple[float, float] | None:
        """The interval as shares of the baseline's figure."""
        if self.ci95 is None or not self.base:
            return None
        low, high = (bound / self.base for bound in self.ci95)
        return low, high


@dataclass(frozen=True, eq=False)
class Against:
    """One column held against another. `method` says where the intervals come from, or why there are none."""

    base: Column
    column: Column
    differences: dict[str, Difference]
    method: str
    same_tasks: bool
    pairs: dict[str, Any] = field(default_factory=dict)
    """How the same tasks fared in both, task by task, as `compare` has it; empty where they are not the same."""


def against(base: Column, column: Column) -> Against:
    """How far `column` is from `base`, figure by figure."""
    plain = _plain(base, column)
    if base.lead.info["seed"] != column.lead.info["seed"]:
        why = "no interval: other seeds mean different tasks, so nothing can be paired"
        return Against(base, column, plain, why, same_tasks=False)
    if not same_tasks(column.lead.tasks, base.lead.tasks):
        why = "no interval: the two ran different tasks, so nothing can be paired"
        return Against(base, column, plain, why, same_tasks=False)
    pairs = task_by_task(column.lead, base.lead)
    found, method = _paired(base, column)
    for path, one in found.figures.items() if found else ():
        if path in plain:
            interval = (one["ci95"][0], one["ci95"][1]) if one["ci95"] else None
            plain[path] = Difference(one["difference"], one["a"], interval)
    return Against(base, column, plain, method, same_tasks=True, pairs=pairs)


def _plain(base: Column, column: Column) -> dict[str, Difference]:
    """The differences without intervals."""
    found = {}
    for figure in FIGURES:
        first, second = base.value(figure.path), column.value(figure.path)
        if first is not None and second is not None:
            found[figure.path] = Difference(second - first, first)
    return found


def _paired(base: Column, column: Column) -> tuple[PairedComparison | None, str]:
    """The paired figures and how they came about; None where there is no sample to pair."""
    if len(base.records) == len(column.records) == 1:
        found = paired.of_records(base.lead, column.lead)
        least = statistics.BATCHES * statistics.BATCH_VALUES_MIN
        if not any(one["ci95"] for one in found.figures.values()):
            return found, f"no interval: one run each, and fewer than the {least} tasks that batches need"
        words = f"intervals (95 %) from {found.method}; one run each, so they say nothing of other seeds"
        return found, words
    if base.seeds != column.seeds:
        return None, "no interval: the replications have different seeds, so they cannot be paired"
    runs = [(_replication(a, s), _replication(b, t)) for a, s, b, t in _side_by_side(base, column)]
    words = f"intervals (95 %) from Student's t over {len(runs)} pairs of replications with common random numbers"
    return PairedComparison(paired.of_pairs(runs), words), words


def _side_by_side(base: Column, column: Column) -> list[tuple[Record, Times, Record, Times]]:
    return list(zip(base.records, base.times, column.records, column.times, strict=True))


def _replication(record: Record, times: Times) -> Replication:
    failed = tuple(at(record.info, "checks.failed") or ())
    return Replication(int(record.info["seed"]), summary_of(record), times, failed)


def default_baseline(found: Sequence[Column]) -> int:
    """What the others are held against if nobody says otherwise: of model and live the live one, else the first."""
    engines = [column.lead.engine for column in found]
    return engines.index("live") if sorted(engines) == ["live", "sim"] else 0
