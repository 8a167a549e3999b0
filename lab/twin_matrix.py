"""The scenarios of the prediction test: what the model is asked about loads that it has never seen.

Each is a plain scenario of 8 to 20 s live, made for its mesh: the rate is a share of the mesh's capacity, which is
workers × slots / mean service (tasks a second), attempts that fail counted. No figure of the model was fitted to any of
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from lab.errors import UsageError
from lab.scenario import Scenario

SCENARIOS: Final = Path(__file__).resolve().parent.parent / "scenarios"
TRACE: Final = Path("data") / "azure_llm_2023_code.csv"
TRACE_LICENSE: Final = Path("data") / "LICENSES.md"
CLASSES: Final = {5: 1, 2: 1, 1: 1}
"""A third of the tasks in each queue."""


@dataclass(frozen=True)
class Case:
    """One scenario of the test, and in a sentence what it asks of the model. `quick`: part of the quick test."""

    name: str
    about: str
    scenario: Scenario
    quick: bool = False

    @property
    def saturates(self) -> bool:
        """Whether the work takes no time, so that the machine itself is what is measured."""
        return all(getattr(role.service, "mean_s", 1.0) == 0 for role in self.scenario.workload.roles.values())

    def text(self) -> str:
        """The scenario as a file, its purpose above it."""
        return f"# {self.about}\n{yaml.safe_dump(self.scenario.data, sort_keys=False, allow_unicode=True, width=110)}"


@dataclass(frozen=True)
class Bench:
    """A mesh and its mean service time, for which rates are worked out."""

    workers: int
    slots: int
    mean_s: float

    def rate(self, load: float, attempts: float = 1.0) -> float:
        """Tasks a second that keep a share `load` of the slots busy, each needing so many attempts on average."""
        return round(load * self.workers * self.slots / self.mean_s / attempts, 3)

    @property
    def mesh(self) -> dict[str, int]:
        """As it stands in a scenario."""
        return {"workers": self.workers, "slots": self.slots}


MIDDLE: Final = Bench(workers=2, slots=10, mean_s=0.25)
"""80 tasks a second: small enough that waiting, not the machinery, decides."""
SHORT: Final = Bench(workers=2, slots=10, mean_s=0.1)
LONG: Final = Bench(workers=3, slots=4, mean_s=2.5)
SMALL: Final = Bench(workers=2, slots=10, mean_s=0.015)
BURNING: Final = Bench(workers=3, slots=4, mean_s=0.2)


def matrix(names: Sequence[str] | None = None, *, quick: bool = False) -> list[Case]:
    """The scenarios, all or those named; with `quick` a third of them. UsageError for a name that there is not."""
    cases = [_case(*one) for one in (*_loads(), *_failures(), *_pressures(), *_sizes())]
    if names:
        known = {case.name: case for case in cases}
        if unknown := [name for name in names if name not in known]:
            raise UsageError(f"there is no scenario {unknown[0]!r} in the matrix; choose from {', '.join(known)}")
        return [known[name] for name in dict.fromkeys(names)]
    return [case for case in cases if case.quick or not quick]


def of_files(paths: Sequence[str]) -> list[Case]:
    """The user's own scenarios instead; each is called by its name, or by its file where two have the same."""
    scenarios = [(Path(path), Scenario.load(path)) for path in paths]
    names = [scenario.name for _, scenario in scenarios]
    cases = []
    for number, (path, scenario) in enumerate(scenarios):
        name = scenario.name if names.count(scenario.name) == 1 else f"{path.stem}-{number + 1}"
        cases.append(Case(name, scenario.description or f"{scenario.name}, of {path.name}", scenario))
    return cases


def write(cases: Sequence[Case], folder: Path) -> list[Path]:
    """The scenarios as files that `meshlab run` takes, with the trace that one of them needs. Returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for case in cases:
        if getattr(case.scenario.workload.arrivals, "path", None) == str(TRACE):
            for part in (TRACE, TRACE_LICENSE):
                (folder / part).parent.mkdir(exist_ok=True)
                (folder / part).write_bytes((SCENARIOS / part).read_bytes())
        written.append(folder / f"{case.name}.yaml")
        written[-1].write_text(case.text(), encoding="utf-8")
    return written


Row = tuple[str, str, dict[str, Any], bool]


def _case(name: str, about: str, data: Mapping[str, Any], quick: bool) -> Case:
    whole = {"name": name, "description": about, **data}
    return Case(name, about, Scenario.from_data(whole, base=SCENARIOS, source=f"matrix: {name}"), quick)


def _data(bench: Bench, arrivals: dict[str, Any], role: dict[str, Any], seed: int, **more: Any) -> dict[str, Any]:
    service = {"dist": "lognormal", "mean_s": bench.mean_s, "cv": 0.5}
    roles = {"DEVELOPER": {"priority": dict(CLASSES), "service": service, **role}}
    return {"seed": seed, "workload": {"arrivals": arrivals, "roles": roles}, "mesh": bench.mesh, **more}


def _exponential(bench: Bench) -> dict[str, Any]:
    return {"service": {"dist": "exponential", "mean_s": bench.mean_s}}


def _paced(kind: str, rate_per_s: float, duration_s: float) -> dict[str, Any]:
    return {"kind": kind, "rate_per_s": rate_per_s, "duration_s": duration_s}


# ---- loads from 0.2 to 1.3, and every way to arrive ------------------------------------------------------------------


def _loads() -> Iterator[Row]:
    memory = {"memory_mib": 4}
    yield (
        "light-constant",
        "A fifth of the capacity, evenly spaced: nobody waits, so what is above the service is the machinery's.",
        _data(MIDDLE, _paced("constant", MIDDLE.rate(0.2), 14), {}, 101),
        False,
    )
    yield (
        "half-poisson",
        "Half of the capacity, random arrivals and exponential service: waiting is rare and short.",
        _data(MIDDLE, _paced("poisson", MIDDLE.rate(0.5), 12), {**_exponential(MIDDLE), **memory}, 102),
        True,
    )
    yield (
        "busy-poisson",
        "Four fifths of the capacity: waiting begins to matter.",
        _data(MIDDLE, _paced("poisson", MIDDLE.rate(0.8), 12), {**_exponential(MIDDLE), **memory}, 103),
        False,
    )
    yield (
        "edge-poisson",
        "95 % of the capacity: a machinery that costs a per cent more moves every percentile.",
        _data(MIDDLE, _paced("poisson", MIDDLE.rate(0.95), 14), {**_exponential(MIDDLE), **memory}, 104),
        False,
    )
    yield (
        "over-constant",
        "130 % of the capacity for 8 s, then the backlog drains.",
        _data(MIDDLE, _paced("constant", MIDDLE.rate(1.3), 8), memory, 105),
        True,
    )
    arrivals = {
        "kind": "trace",
        "path": str(TRACE),
        "columns": {"arrival_s": "arrived_at", "service_s": "num_decode_tokens"},
        "limit": 1000,
        "time_factor": 0.025,
        "service_factor": 0.0075,
    }
    yield (
        "trace-bursty",
        "Real arrivals (Azure, a coding assistant), forty times as fast: idle stretches, and 500 requests in a second.",
        _data(SHORT, arrivals, {"service": {"dist": "constant", "mean_s": 0.2}, **memory}, 106),
        False,
    )
    yield (
        "burst-drain",
        "640 tasks at once on 20 slots: how long until the last is done.",
        _data(MIDDLE, {"kind": "burst", "count": 640}, memory, 107),
        True,
    )


# ---- failures and storms ---------------------------------------------------------------------------------------------


def _failures() -> Iterator[Row]:
    quick_retry = {"base_s": 0.1, "factor": 2}
    yield (
        "failures",
        "Every fifth attempt fails and is tried again after a scheduled backoff, twice at most: some tasks die.",
        _data(
            MIDDLE,
            _paced("poisson", MIDDLE.rate(0.6, attempts=1.25), 12),
            {**_exponential(MIDDLE), "failure_rate": 0.2},
            108,
            rules={"retry": {**quick_retry, "max_retries": 2}},
        ),
        True,
    )
    yield (
        "retry-wave",
        "The role's model is down for 2 s: all that start then fail, and come back in waves upon the others.",
        _data(
            SHORT,
            _paced("poisson", SHORT.rate(0.6), 11),
            _exponential(SHORT),
            109,
            rules={"retry": {"base_s": 0.05, "factor": 2, "max_retries": 8}},
            faults=[{"at_s": 3, "for_s": 2, "kind": "role_outage", "role": "DEVELOPER"}],
        ),
        False,
    )
    yield (
        "retry-storm",
        "400 tasks at once that all fail twice, with the same short backoff: retries return in step.",
        _data(
            SHORT,
            {"kind": "burst", "count": 400},
            {"service": {"dist": "constant", "mean_s": 0.1}, "fail_first": 2},
            110,
            rules={"retry": quick_retry},
        ),
        False,
    )


# ---- classes, pressure, crashes --------------------------------------------------------------------------------------


def _pressures() -> Iterator[Row]:
    yield (
        "priorities-weighted",
        "A backlog of three classes under weights of 6:3:1: nobody starves (the other backlogs are strict).",
        _data(
            MIDDLE,
            _paced("poisson", MIDDLE.rate(1.15), 9),
            _exponential(MIDDLE),
            112,
            rules={"priority": {"order": "weighted"}},
        ),
        False,
    )
    yield (
        "memory-pressure",
        "Tasks of 30 MiB against a limit of 220 MiB: gates and admission close and open.",
        _data(
            Bench(2, 8, 0.5),
            _paced("constant", 26, 9),
            {"service": {"dist": "lognormal", "mean_s": 0.5, "cv": 0.5}, "memory_mib": 30},
            113,
            rules={"health": {"rss_limit_mib": 220, "report_s": 0.25}},
        ),
        False,
    )
    yield (
        "bounded-queue",
        "125 % of the capacity against a queue of 60: the producer holds back what does not fit.",
        _data(
            MIDDLE,
            _paced("poisson", MIDDLE.rate(1.25), 9),
            _exponential(MIDDLE),
            114,
            rules={"admission": {"max_pending": 60}},
        ),
        False,
    )
    yield (
        "crash",
        "A worker is killed with all it holds: leases of 1.5 s lapse, its tasks are reclaimed, a new process starts.",
        _data(
            MIDDLE,
            _paced("poisson", MIDDLE.rate(0.55), 12),
            _exponential(MIDDLE),
            115,
            rules={"lease": {"length_s": 1.5, "sweep_s": 0.25}, "health": {"report_s": 0.5}},
            faults=[{"at_s": 3, "kind": "kill_worker", "worker": 0}],
        ),
        False,
    )


# ---- small, long, burning, none at all -------------------------------------------------------------------------------


def _sizes() -> Iterator[Row]:
    yield (
        "many-small",
        "300 tasks a second of 15 ms: the machinery takes about as long as the work.",
        _data(SMALL, _paced("poisson", 300, 10), {"service": {"dist": "lognormal", "mean_s": 0.015, "cv": 0.2}}, 116),
        True,
    )
    yield (
        "few-long",
        "Few tasks of 2.5 s at nine tenths of the capacity: only the queue counts.",
        _data(
            LONG,
            _paced("poisson", LONG.rate(0.9), 15),
            {"service": {"dist": "lognormal", "mean_s": 2.5, "cv": 0.2}, "memory_mib": 24},
            117,
        ),
        False,
    )
    yield (
        "shared-cores",
        "A quarter of the work is computing, in three processes: simulated workers too must share the real cores.",
        _data(
            BURNING,
            _paced("poisson", BURNING.rate(0.4), 11),
            {**_exponential(BURNING), "cpu_share": 0.25},
            118,
        ),
        False,
    )
    yield (
        "saturation",
        "40,000 tasks without any work, on 200 slots: the rate at which the machine itself tops out.",
        _data(
            Bench(2, 100, 1.0),
            {"kind": "burst", "count": 40_000},
            {"service": {"dist": "constant", "mean_s": 0}},
            119,
        ),
        True,
    )
