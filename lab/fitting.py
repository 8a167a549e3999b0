"""Records of a real queue become a scenario: arrivals replayed as they were, service times fitted, and the rest of the
mesh inferred, each with how well it fits.

    fitted = fitting.fit(observed.read("jobs.csv"))
    fitted.table(); fitted.figure()
    path = fitted.write("fitted")                    # scenario.yaml, trace.parquet, and what else it needs
    replay = fitted.replay(simulate, path)           # seen against replayed: is the scenario the queue?
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import yaml

from lab import fitting_arrivals, fitting_handover, fitting_mesh, fitting_service
from lab.errors import Unavailable
from lab.fitting_arrivals import ArrivalsFit
from lab.fitting_handover import MACHINERY_NAME, Handover
from lab.fitting_mesh import CANNOT_KNOW, Capacity, Failures, Retries
from lab.fitting_service import BOOTSTRAPS, ServiceFit
from lab.limits import NAME_CHARS_MAX
from lab.observed import Observed
from lab.rules.priority import PRIORITY_DEFAULT
from lab.scenario import Scenario
from lab.units import plural
from lab.units import seconds as spoken

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from lab.fitting_replay import Replay

SCENARIO_NAME: Final = "scenario.yaml"
TRACE_NAME: Final = "trace.parquet"
SEEN_SERVICE: Final = "seen_service_s"
"""The trace's column of seen service times. The scenario does not use it, or its distributions would be idle; say
`columns: {service_s: seen_service_s}` in its arrivals to replay them one by one."""

SEEN_ROLE: Final = "seen_role"
"""The trace's column of roles told apart by what became of the task, for the replay as it was seen."""

BOOTSTRAPPED_ROLES: Final = 12
BOOTSTRAPS_OF_MANY: Final = 49
"""With more roles than these, p-values are known to ±0.06 only: a fit should take seconds."""


class Kind(NamedTuple):
    """Tasks of one role with one fate: so many failures, and whether it died of them."""

    role: str
    failures: int
    died: bool

    @property
    def name(self) -> str:
        """As a role of the replay; roles have 60 characters at most (lab.observed)."""
        return f"{self.role}-{self.failures}{'x' if self.died else ''}"[-64:] if self.failures else self.role


def seen_kinds(tasks: pd.DataFrame) -> list[Kind]:
    """The kind of each of these tasks."""
    died = (tasks["state"] == "failed").tolist()
    return [Kind(*one) for one in zip(tasks["role"].tolist(), tasks["failures"].tolist(), died, strict=True)]


def offered(tasks: pd.DataFrame) -> pd.DataFrame:
    """The tasks that a scenario replays: all but those that were revoked before they began."""
    return tasks[~((tasks["state"] == "cancelled") & tasks["first_start_s"].isna())]


@dataclass(frozen=True)
class Fitted:
    """What was made of the records, with how well it fits."""

    seen: Observed
    name: str
    services: tuple[ServiceFit, ...]
    arrivals: ArrivalsFit
    capacity: Capacity
    retries: Retries
    failures: dict[str, Failures]
    overhead_s: float
    """What the machinery takes within a seen attempt: taken off, since both engines add it again."""
    handover: Handover | None = None
    """What a foreign queue takes between tasks; None for a mesh, whose machinery both engines have."""

    @property
    def notes(self) -> list[str]:
        """What people should know: of the record, and what no record says."""
        found = list(self.seen.notes)
        if not (self.seen.tasks["priority"] > 0).any():
            found.append(f"priorities are not known: all tasks have {PRIORITY_DEFAULT}")
        if self.overhead_s:
            taken = spoken(self.overhead_s)
            found.append(f"{taken} of machinery were taken off every attempt: both engines add them again")
        if never := len(self.seen.tasks) - len(offered(self.seen.tasks)):
            found.append(f"{plural(never, 'task')} were revoked before they began: they are not in the trace")
        return [*found, *CANNOT_KNOW]

    def table(self) -> pd.DataFrame:
        """A row a role: values, mean, cv, chosen distribution, distances, p, mean and tail seen and fitted."""
        import pandas as pd

        rows = []
        for one in self.services:
            best, values = one.best, one.values_s
            p99 = float(np.quantile(values, 0.99)) if len(values) else None
            rows.append(
                {
                    "role": one.role,
                    "attempts": len(values),
                    "mean_s": float(values.mean()) if len(values) else None,
                    "cv": float(values.std() / values.mean()) if len(values) and values.mean() > 0 else None,
                    "chosen": one.dist,
                    "ks": best.ks if best else None,
                    "ad": best.ad if best else None,
                    "p": one.p,
                    "fitted_mean_s": best.mean_s if best else None,
                    "seen_p99_s": p99,
                    "fitted_p99_s": float(best.quantile_s(np.array([0.99]))[0]) if best else None,
                    "failure_rate": self.failures[one.role].rate,
                }
            )
        return pd.DataFrame(rows).set_index("role")

    def figure(self, *, dark: bool = False) -> go.Figure:
        """Quantiles of the service times, seen against fitted, a panel a role."""
        from lab import figures_observed

        return figures_observed.quantiles(self.services, dark=dark)

    def _repr_html_(self) -> str:
        return str(self.table().to_html(float_format=lambda value: f"{value:,.4g}"))

    # -- the scenario --

    @cached_property
    def data(self) -> dict[str, Any]:
        """The scenario as plain data; its paths are relative to where `write` puts the files."""
        return {
            "name": self.name,
            "description": _cut(f"Fitted to {plural(len(self.seen.tasks), 'task')} that a real queue has recorded."),
            "workload": {
                "arrivals": {"kind": "trace", "path": TRACE_NAME},
                "roles": {one.role: self._role(one) for one in self.services},
            },
            "mesh": {"workers": self.capacity.workers, "slots": self.capacity.slots},
            "rules": self._rules(),
            **self._profile(),
        }

    def _profile(self) -> dict[str, str]:
        """The record's own; a foreign queue's is what it takes between tasks."""
        if "profile" in self.seen.facts:
            return {"profile": self.seen.facts["profile"]}
        return {"profile": MACHINERY_NAME} if self.handover and self.handover.quantiles_s else {}

    def _role(self, one: ServiceFit) -> dict[str, Any]:
        mine = offered(self.seen.tasks)
        mine = mine[mine["role"] == one.role]
        known = Counter(level for level in mine["priority"].tolist() if level > 0)
        found: dict[str, Any] = {"share": max(1, len(mine))}
        if known:
            found["priority"] = dict(sorted(known.items()))
        if one.dist == "empirical":
            found["service"] = {"dist": "empirical", "path": _values_name(one.role)}
        else:
            assert one.best is not None
            found["service"] = one.best.service.model_dump(mode="json")
        failing = self.failures[one.role]
        if failing.rate:
            found["failure_rate"] = failing.rate
        if failing.permanent_share:
            found["permanent_share"] = failing.permanent_share
        return found

    def _rules(self) -> dict[str, Any]:
        """The record's own rules where it has them; else the retries that were seen."""
        known = self.seen.facts.get("rules")
        if known:
            return dict(known)
        if not self.retries.seen_s and self.retries.max_retries == 5:
            return {}
        return {
            "retry": {
                "max_retries": self.retries.max_retries,
                "base_s": self.retries.base_s,
                "factor": self.retries.factor,
            }
        }

    def files(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """(name, table) of every file beside the scenario."""
        import pandas as pd

        yield TRACE_NAME, self.trace()
        for one in self.services:
            if one.dist == "empirical":
                kept = one.kept_s() if len(one.values_s) else np.zeros(1)
                yield _values_name(one.role), pd.DataFrame({"service_s": kept})

    def trace(self) -> pd.DataFrame:
        """The arrivals as they were: arrival_s, role, priority, and each task's seen service time (of a task without
        one, its role's median) and kind (`seen_kinds`).
        """
        import pandas as pd

        tasks = offered(self.seen.tasks)
        ended = self.seen.attempts[self.seen.attempts["outcome"].isin(("succeeded", "failed", "retried"))]
        spent = (ended["finish_s"] - ended["start_s"] - self.overhead_s).clip(lower=0.0)
        service = spent.groupby(ended["task"]).mean().reindex(tasks.index)
        middle = service.groupby(tasks["role"]).transform("median").fillna(0.0)
        return pd.DataFrame(
            {
                "arrival_s": tasks["arrival_s"].to_numpy(),
                "role": tasks["role"].to_numpy(dtype=str),
                "priority": np.where(tasks["priority"] > 0, tasks["priority"], PRIORITY_DEFAULT),
                SEEN_SERVICE: service.fillna(middle).round(6).to_numpy(),
                SEEN_ROLE: [kind.name for kind in seen_kinds(tasks)],
            }
        )

    def scenario(self, folder: str | Path) -> Scenario:
        """Write the files into `folder` (as `write` does) and load the scenario."""
        return Scenario.load(self.write(folder))

    def write(self, target: str | Path) -> Path:
        """Write scenario and data files into a folder, or beside `target` if it ends in .yaml. Returns the scenario's
        path. Raises Unavailable if that cannot be done.
        """
        target = Path(target)
        path = target if target.suffix.lower() in (".yaml", ".yml") else target / SCENARIO_NAME
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for name, table in self.files():
                table.to_parquet(path.parent / name, index=False)
            if profile := self.handover and self.handover.profile(_one_line(self.seen.source)):
                text = yaml.safe_dump(profile, sort_keys=False, allow_unicode=True, width=110)
                (path.parent / MACHINERY_NAME).write_text(text, encoding="utf-8")
            path.write_text(self.text(), encoding="utf-8")
        except OSError as error:
            raise Unavailable(f"{path}: cannot be written ({error.strerror}); give another place with --out") from error
        return path

    def text(self) -> str:
        """The scenario as YAML, with what was found in its comments."""
        head = [
            f"Fitted by `meshlab fit` to {self.seen.source}: {plural(len(self.seen.tasks), 'task')}.",
            *self.lines(),
        ]
        comments = "".join(f"# {_one_line(line)}\n" for line in head)
        return comments + yaml.safe_dump(self.data, sort_keys=False, allow_unicode=True, width=110)

    # -- words --

    def lines(self) -> list[str]:
        """All that was found, a line each."""
        failing = [
            f"{role}: {100 * one.rate:.3g} % of {one.attempts:,} attempts fail"
            + (f", {100 * one.permanent_share:.3g} % of these for good" if one.permanent_share else "")
            for role, one in self.failures.items()
            if one.rate
        ]
        return [
            f"arrivals: {self.arrivals.words}",
            *(f"service of {one.role}: {one.words}" for one in self.services),
            f"mesh: {self.capacity.words}",
            *([f"between tasks: {self.handover.words}"] if self.handover else []),
            f"retries: {self.retries.words}",
            *failing,
            *(f"note: {note}" for note in self.notes),
        ]

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return {
            "source": self.seen.source,
            "format": self.seen.format,
            "tasks": len(self.seen.tasks),
            "attempts": len(self.seen.attempts),
            "states": {str(state): int(count) for state, count in self.seen.tasks["state"].value_counts().items()},
            "skipped": len(self.seen.skipped),
            "span_s": round(self.seen.span_s, 6),
            "arrivals": self.arrivals.as_json(),
            "service": {one.role: one.as_json() for one in self.services},
            "mesh": {**self.capacity.__dict__},
            "handover": self.handover.as_json() if self.handover else None,
            "retries": self.retries.as_json(),
            "failures": {role: {**one.__dict__} for role, one in self.failures.items()},
            "machinery_taken_off_s": self.overhead_s,
            "notes": self.notes,
        }

    def replay(self, simulate: Callable[..., Any], path: Path, **options: Any) -> Replay:
        """The scenario at `path` in the model beside what was seen; see `lab.fitting_replay`."""
        from lab import fitting_replay

        return fitting_replay.replay(self.seen, Scenario.load(path), simulate, **options)


def fit(seen: Observed, *, name: str | None = None, overhead_s: float = 0.0, seed: int = 1) -> Fitted:
    """A scenario's parts from these records. `overhead_s` is what the machinery takes within a seen attempt (only a
    mesh's own log has any that both engines add again); `seed` is that of the bootstrap.
    """
    retries = fitting_mesh.retries(seen)
    bootstraps = BOOTSTRAPS if len(seen.roles) <= BOOTSTRAPPED_ROLES else BOOTSTRAPS_OF_MANY
    services = tuple(
        fitting_service.fit(role, np.maximum(seen.service_s(role) - overhead_s, 0.0), seed=seed, bootstraps=bootstraps)
        for role in seen.roles
    )
    capacity = fitting_mesh.capacity(seen)
    is_mesh = bool(seen.facts.get("machinery_included"))
    return Fitted(
        seen=seen,
        name=_scenario_name(name or Path(seen.source).stem),
        services=services,
        arrivals=fitting_arrivals.fit(seen.tasks["arrival_s"].to_numpy(dtype=np.float64)),
        capacity=capacity,
        retries=retries,
        failures={role: fitting_mesh.failures(seen, role, retries.max_retries) for role in seen.roles},
        overhead_s=overhead_s,
        handover=None if is_mesh else fitting_handover.fit(seen, capacity.workers, capacity.slots),
    )


def _scenario_name(text: str) -> str:
    word = re.sub(r"[^A-Za-z0-9_.\- ]+", "-", text).strip("-. ")[: NAME_CHARS_MAX - 8]
    return word if word and word[0].isalnum() else f"fitted-{word}".rstrip("-")


def _values_name(role: str) -> str:
    return f"service-{role}.parquet"


def _cut(text: str) -> str:
    return text[:2_000]


def _one_line(text: str) -> str:
    """What may stand in a comment: a name from a stranger's file must not begin a line of its own."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
