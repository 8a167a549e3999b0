"""What the checks and the theory say of runs side by side, in rows for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from lab import units
from lab.checks import Check, verdict
from lab.headlines import BY_PATH, Column
from lab.record import Record

CHECK_WORDS: Final = {
    "nothing_lost": "Nothing lost",
    "completed_once": "Completed once",
    "legal_transitions": "Legal transitions",
    "tokens_rise": "Fencing tokens rise",
    "attempts_bounded": "Attempts bounded",
    "backoff_kept": "Backoff kept",
    "priority_order": "Priority order kept",
    "leases_apart": "Leases apart",
}
THEORY_WORDS: Final = {
    "waiting_share": "Share of tasks that wait",
    "rejected_share": "Share of tasks refused",
    "left_share": "Share of clients that left",
    "dead_share": "Share of dead tasks",
    "attempts_mean": "Attempts of a task, mean",
}
KIND_WORDS: Final = {
    "exact": "Exact: its assumptions are those of the scenario.",
    "nearly": "Nearly exact: the scenario has a part that the law leaves out.",
    "approximation": "The nearest approximation: a large z says that it is rough, not that the run is wrong.",
    "none": "No law of queueing theory speaks of this scenario.",
}
Z_ABOUT: Final = "How many standard errors the run is above the law. Within ± 2 is what chance alone does."


# ---- checks ----------------------------------------------------------------------------------------------------------


class Verdict(NamedTuple):
    """What the checks say of one run. `stopped`: it was ended early, so not all is judged."""

    run_id: str
    label: str
    checks: list[Check]
    stopped: bool

    @property
    def broken(self) -> list[Check]:
        """The checks that do not hold."""
        return [one for one in self.checks if not one.ok]


def verdicts(columns: Sequence[Column]) -> list[Verdict]:
    """The verdict on each run, as the engine left it, or found now if an older record has none."""
    found = []
    for column in columns:
        for record in column.records:
            label = column.label if len(column.records) == 1 else f"{column.label}, seed {record.info['seed']}"
            found.append(Verdict(str(record.info["run_id"]), label, _checks(record), stopped(record)))
    return found


def stopped(record: Record) -> bool:
    """Whether the run was ended before its end."""
    return bool(record.info.get("interrupted"))


def _checks(record: Record) -> list[Check]:
    found = record.info.get("checks") or verdict(record)
    return [Check(**one) for one in found["details"]]


def name_of(check: Check) -> str:
    """The check's name for people."""
    return CHECK_WORDS.get(check.name, check.name.replace("_", " ").capitalize())


def examples(check: Check) -> str:
    """Some tasks that broke it."""
    return f"For example task {', '.join(map(str, check.tasks))}." if check.tasks else ""


# ---- theory ----------------------------------------------------------------------------------------------------------


class Law(NamedTuple):
    """What theory says of one column; `law` is None where it says nothing of it."""

    label: str
    law: str | None
    kind: str
    reason: str
    note: str | None


class Showed(NamedTuple):
    """One figure of one column, and its z (None: it bears none)."""

    value: str
    z: float | None

    @property
    def z_words(self) -> str:
        """z with its sign."""
        return units.NONE if self.z is None else f"{self.z:+.1f}".replace("-", "−")


class Beside(NamedTuple):
    """One figure: what the law says, and what each column showed."""

    label: str
    law: str
    runs: list[Showed]


def laws(columns: Sequence[Column]) -> list[Law]:
    """The law of each column; nothing of runs that were cut short."""
    found = []
    for column in columns:
        theory = column.lead.info.get("theory")
        if isinstance(theory, dict):
            words = (theory.get("law"), str(theory.get("kind", "none")), str(theory.get("reason", "")))
            found.append(Law(column.label, *words, theory.get("note")))
    return found


def theory_rows(columns: Sequence[Column]) -> Iterator[Beside]:
    """The laws' figures with those of the columns beside them. All columns must have the law of the first."""
    tables = [_figures(column.lead) for column in columns]
    for path in dict.fromkeys(path for table in tables for path in table):
        one = next(table[path] for table in tables if path in table)
        runs = []
        for table in tables:
            mine = table.get(path, {})
            runs.append(Showed(theory_value(path, mine.get("simulated", mine.get("live"))), mine.get("z")))
        yield Beside(theory_label(path), theory_value(path, one.get("law")), runs)


def _figures(record: Record) -> dict[str, Any]:
    theory = record.info.get("theory")
    return dict(theory["figures"]) if isinstance(theory, dict) else {}


def theory_label(path: str) -> str:
    """by_queue.agent_high.queue_wait_s.mean as: Queue wait, mean (agent_high)."""
    if path in THEORY_WORDS:
        return THEORY_WORDS[path]
    if path in BY_PATH:
        return BY_PATH[path].label
    if path.startswith("by_queue."):
        _, queue, rest = path.split(".", 2)
        return f"{theory_label(rest)} ({queue})"
    figure, _, point = path.partition(".")
    return f"{figure.removesuffix('_s').replace('_', ' ').capitalize()}, {point}".removesuffix(", ")


def theory_value(path: str, value: float | None) -> str:
    """A value of the figure at that path: a share, a number, a rate or seconds."""
    if value is None:
        return units.NONE
    if path.endswith("_share"):
        return f"{value:.3%}" if value < 0.01 else f"{value:.1%}"
    if path == "attempts_mean":
        return f"{value:.3f}"
    return BY_PATH["throughput_per_s"].written(value) if path.endswith("_per_s") else units.seconds(value)
