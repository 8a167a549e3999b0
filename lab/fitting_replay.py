"""A fitted scenario in the model beside the queue that it was fitted to: the badness of the fit, admitted.

Twice: with the fitted distributions, a few times since their draws are chance, and with every task's own seen service
time and failures. Where the second agrees and the first does not, the distributions are at fault; where neither does,
the queue does not work as the mesh of the scenario (other slots, another order, pauses that nobody wrote down).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lab import metrics
from lab.draws import Floats
from lab.fitting import SEEN_ROLE, SEEN_SERVICE, offered, seen_kinds
from lab.limits import ATTEMPTS_MAX, ROLES_MAX
from lab.metrics import PERCENTILES
from lab.observed import Observed
from lab.scenario import Scenario

if TYPE_CHECKING:
    import pandas as pd

    from lab.record import Record

AGREES: Final = 0.10
"""A figure that is off by no more is called agreement."""
FLOOR_S: Final = 0.05
"""Differences below this matter to nobody, whatever their share of a short wait is."""
RUNS_MIN, RUNS_MAX = 3, 10
TASKS_IN_ALL: Final = 100_000
"""Of all runs with fitted times, unless three of them have more: a few seconds."""
FIGURES: Final = ("queue_wait_s", "latency_s")
POINTS: Final = ("mean", *PERCENTILES)

Figures = dict[str, float | None]
"""By `figure.point`."""


@dataclass(frozen=True)
class Replay:
    """Waits and latencies: seen, replayed with fitted service times (one a run), and with the seen ones."""

    seen: Figures
    fitted: tuple[Figures, ...]
    exact: Figures

    def table(self) -> pd.DataFrame:
        """A row a figure: seen; the mean, lowest and highest of the runs with fitted service times; with the seen ones;
        both errors against seen.
        """
        import pandas as pd

        rows = []
        for name, seen in self.seen.items():
            low, middle, high = self.spread(name)
            exact = self.exact[name]
            errors = {"fitted_error": _error(middle, seen), "exact": exact, "exact_error": _error(exact, seen)}
            rows.append({"figure": name, "seen": seen, "fitted": middle, "low": low, "high": high, **errors})
        return pd.DataFrame(rows).set_index("figure")

    def spread(self, name: str) -> tuple[float | None, float | None, float | None]:
        """(lowest, mean, highest) of the runs with fitted service times."""
        values = [one[name] for one in self.fitted]
        known = [value for value in values if value is not None]
        return (min(known), sum(known) / len(known), max(known)) if known else (None, None, None)

    @property
    def agrees(self) -> bool:
        """Whether what was seen is among the runs of the scenario as it stands, or within AGREES of them."""
        for name, seen in self.seen.items():
            low, _, high = self.spread(name)
            inside = None not in (low, seen, high) and low <= seen <= high  # type: ignore[operator]
            if not (inside or near(low, seen) or near(high, seen)):
                return False
        return True

    @property
    def exact_agrees(self) -> bool:
        """Whether the scenario with the seen service times is within AGREES of what was seen."""
        return all(near(self.exact[name], seen) for name, seen in self.seen.items())

    @property
    def verdict(self) -> str:
        """Whether the scenario is the queue, and if not, what is at fault."""
        if self.agrees and self.exact_agrees:
            return "the scenario behaves as the queue did"
        if self.exact_agrees:
            return (
                "with the seen service times the model behaves as the queue did, with the fitted ones it does not: the "
                "distributions lose something (what came when, a tail); replay the seen ones for exact answers"
            )
        if self.agrees:
            return (
                "the fitted scenario is as the queue was within its own chance, but with the seen service times the "
                "model is off: its workers × slots or its order are not quite those of the queue"
            )
        return (
            "the model does not behave as the queue did, even with the seen service times: its workers × slots, its "
            "order or its pauses are not those of the scenario"
        )

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return {
            "seen": self.seen,
            "fitted": {name: dict(zip(("low", "mean", "high"), self.spread(name), strict=True)) for name in self.seen},
            "fitted_runs": len(self.fitted),
            "seen_service": self.exact,
            "agrees": {"fitted": self.agrees, "seen_service": self.exact_agrees},
            "verdict": self.verdict,
        }


def replay(seen: Observed, scenario: Scenario, simulate: Callable[..., Record], **options: Any) -> Replay:
    """Run both. `options` go to `simulate` (on_progress, stop)."""
    exact = as_seen(seen, scenario)
    runs = int(np.clip(TASKS_IN_ALL // max(1, len(seen.tasks)), RUNS_MIN, RUNS_MAX))
    again = (scenario.override({"seed": scenario.seed + number}) for number in range(runs))
    return Replay(
        _flat({"queue_wait_s": metrics.spread(seen.wait_s()), "latency_s": metrics.spread(seen.latency_s())}),
        tuple(_flat(metrics.summary(simulate(one, **options))) for one in again),
        _flat(metrics.summary(simulate(exact, **options))),
    )


def as_seen(seen: Observed, scenario: Scenario) -> Scenario:
    """The scenario with every task's own service time, and as many failures as it had: its roles are told apart by
    these. Where that would be more roles than a scenario may have, failures stay chance.
    """
    columns = {"service_s": SEEN_SERVICE}
    kinds = sorted(set(seen_kinds(offered(seen.tasks))))
    if len(kinds) > ROLES_MAX:
        return scenario.override({"workload.arrivals.columns": columns})
    spent = scenario.rules.retry.max_retries + 1
    roles = {}
    for kind in kinds:
        for_good = kind.died and kind.failures < spent  # the model knows that of first failures only
        failing = {"failure_rate": 0.0, "fail_first": min(1 if for_good else kind.failures, ATTEMPTS_MAX)}
        own = scenario.data["workload"]["roles"][kind.role]
        roles[kind.name] = {**own, **failing, "permanent_share": float(for_good)}
    return scenario.override({"workload.arrivals.columns": {**columns, "role": SEEN_ROLE}, "workload.roles": roles})


def near(value: float | None, wanted: float | None) -> bool:
    """Whether two figures are the same for people: within AGREES, or within FLOOR_S."""
    if value is None or wanted is None:
        return value is wanted
    return abs(value - wanted) <= max(FLOOR_S, AGREES * abs(wanted))


LONE_SERVICE_S: Final = 0.1
LONE: Final[dict[str, Any]] = {
    "name": "lone",
    "workload": {
        "arrivals": {"kind": "constant", "rate_per_s": 2.0, "count": 20},
        "roles": {"LONE": {"service": {"dist": "constant", "mean_s": LONE_SERVICE_S}}},
    },
    "mesh": {"workers": 1, "slots": 1},
}


def lone_overhead_s(simulate: Callable[..., Record], profile: str, base: str | Path = ".") -> float:
    """What the machinery of a profile adds to an attempt on an idle mesh, in seconds: the median of RUNNING − service
    of tasks that come one by one.
    """
    moves = simulate(Scenario.from_data({**LONE, "profile": profile}, base=base)).transitions
    at = moves.pivot_table(index="task", columns="reason", values="at_s", observed=True)
    spent: Floats = (at["succeeded"] - at["claimed"]).to_numpy(dtype=np.float64)
    return max(0.0, round(float(np.median(spent)) - LONE_SERVICE_S, 6))


def _flat(summary: dict[str, Any]) -> Figures:
    return {f"{figure}.{point}": summary[figure][point] for figure in FIGURES for point in POINTS}


def _error(value: float | None, wanted: float | None) -> float | None:
    return value / wanted - 1 if value is not None and wanted else None
