"""The scenario: the one file that says who submits work, which agents serve it, and by which rules.

YAML in, a typed frozen object or a list of located errors out. The classes below are the schema: validation, `meshlab
schema`, the app's forms and the docs all read them. Reading and locating is in `yaml_source.py`, the rules in
`rules/`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, PrivateAttr, ValidationError, model_validator

from lab import limits, yaml_source
from lab.contradictions import contradictions
from lab.errors import Problem, ScenarioError, UsageError
from lab.faults import Fault
from lab.handlers import Handler
from lab.rules.base import Rules
from lab.rules.presets import PRESETS
from lab.rules.priority import PRIORITY_DEFAULT, PRIORITY_MAX, PRIORITY_MIN
from lab.rules.rulebook import Rulebook
from lab.schema_errors import located
from lab.yaml_source import YamlSource

Rate = Annotated[float, Field(gt=0, le=limits.RATE_PER_S_MAX)]
Duration = Annotated[float, Field(gt=0, le=limits.RUN_S_MAX)]
Count = Annotated[int, Field(ge=1, le=limits.TASKS_MAX)]


def _bounded(expected: float) -> None:
    """Refuse arrivals that would bring no task, or more than a run can hold."""
    if expected > limits.TASKS_MAX:
        raise ValueError(f"about {expected:,.0f} tasks would come; at most {limits.TASKS_MAX:,} are allowed")
    if expected < 1:
        raise ValueError("no task would ever come; raise the rate or the duration")


# ---- arrivals: when tasks come ---------------------------------------------------------------------------------------


class Burst(Rules):
    """All at once."""

    kind: Literal["burst"]
    count: Count = Field(description="How many tasks.")
    at_s: float = Field(0.0, ge=0, le=limits.RUN_S_MAX, description="When they come, in seconds of the run.")


class _Paced(Rules):
    """A steady rate, for a time or for a number of tasks."""

    rate_per_s: Rate = Field(description="Tasks a second.")
    duration_s: Duration | None = Field(None, description="How long tasks keep coming, in seconds.")
    count: Count | None = Field(None, description="How many tasks.")

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if (self.duration_s is None) == (self.count is None):
            raise ValueError("give either duration_s or count, and not both")
        return self

    @model_validator(mode="after")
    def _not_too_many(self) -> Self:
        _bounded(self.count or self.rate_per_s * (self.duration_s or 0.0))
        return self


class Constant(_Paced):
    """Evenly spaced: task i comes at i / rate_per_s, from 0, before duration_s."""

    kind: Literal["constant"]


class Poisson(_Paced):
    """Independent arrivals: exponential gaps of mean 1 / rate_per_s."""

    kind: Literal["poisson"]


class Ramp(Rules):
    """A rate that changes linearly from one value to another."""

    kind: Literal["ramp"]
    from_per_s: float = Field(ge=0, le=limits.RATE_PER_S_MAX, description="Tasks a second at the start.")
    to_per_s: float = Field(ge=0, le=limits.RATE_PER_S_MAX, description="Tasks a second at the end.")
    duration_s: Duration = Field(description="How long it takes, in seconds.")
    spacing: Literal["even", "poisson"] = Field("even", description="Evenly spaced, or random with this rate.")

    @model_validator(mode="after")
    def _not_too_many(self) -> Self:
        _bounded((self.from_per_s + self.to_per_s) / 2 * self.duration_s)
        return self


class Step(Rules):
    """One step of a stepped rate."""

    duration_s: Duration = Field(description="How long this step lasts, in seconds.")
    rate_per_s: float = Field(ge=0, le=limits.RATE_PER_S_MAX, description="Tasks a second during this step.")


class Steps(Rules):
    """A rate that jumps from step to step."""

    kind: Literal["steps"]
    steps: list[Step] = Field(min_length=1, max_length=limits.STEPS_MAX, description="The steps in order.")
    spacing: Literal["even", "poisson"] = Field("even", description="Evenly spaced, or random with this rate.")

    @model_validator(mode="after")
    def _not_too_many(self) -> Self:
        _bounded(sum(step.duration_s * step.rate_per_s for step in self.steps))
        return self


class Trace(Rules):
    """Arrivals that really happened, from a CSV or Parquet file."""

    kind: Literal["trace"]
    path: str = Field(min_length=1, max_length=4_096, description="The file, relative to the scenario.")
    columns: dict[Literal["arrival_s", "service_s", "role", "priority"], str] = Field(
        default_factory=dict, description="Where the file calls a column otherwise: our name → its name."
    )
    limit: Count | None = Field(None, description="Use only the first so many rows.")
    time_factor: float = Field(1.0, gt=0, le=1e6, description="Arrival times × this: 0.1 plays ten times as fast.")
    service_factor: float = Field(1.0, gt=0, le=1e6, description="Service times × this, say seconds a token.")


class ScheduleEntry(Rules):
    """What a schedule brings at one moment: so many tasks at once, or a rate from then on."""

    at_s: float = Field(ge=0, le=limits.RUN_S_MAX, description="When, in seconds of the run.")
    count: Count | None = Field(None, description="So many tasks, all at that moment.")
    rate_per_s: float | None = Field(
        None,
        ge=0,
        le=limits.RATE_PER_S_MAX,
        description="Tasks a second from then on, until the next entry with a rate; 0 stops them.",
    )

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if (self.count is None) == (self.rate_per_s is None):
            raise ValueError("give either count or rate_per_s, and not both")
        return self


class Schedule(Rules):
    """Bursts and rates by the moment, in order: what somebody did at the controls. May be continued.

    Tasks that come before a moment depend only on the entries before it, so further entries change nothing of the past.
    """

    kind: Literal["schedule"]
    until_s: Duration = Field(description="No task comes at or after this second of the run.")
    spacing: Literal["even", "poisson"] = Field("even", description="Evenly spaced, or random with the same rate.")
    entries: list[ScheduleEntry] = Field(
        min_length=1, max_length=limits.STEPS_MAX, description="What comes when, the earliest first."
    )

    @property
    def stretches(self) -> list[tuple[float, float, float]]:
        """(from second, to second, tasks a second) of each rate until the next one, stretches of rate 0 included."""
        turns = [(entry.at_s, entry.rate_per_s) for entry in self.entries if entry.rate_per_s is not None]
        ends = [*(at_s for at_s, _ in turns[1:]), self.until_s]
        return [(at_s, max(at_s, end_s), rate) for (at_s, rate), end_s in zip(turns, ends, strict=False)]

    @property
    def expected(self) -> float:
        """How many tasks come; on average, where the spacing is random."""
        at_once = sum(entry.count or 0 for entry in self.entries)
        return at_once + sum((end_s - at_s) * rate for at_s, end_s, rate in self.stretches)

    @model_validator(mode="after")
    def _not_too_many(self) -> Self:
        _bounded(self.expected)
        return self


Arrivals = Annotated[Burst | Constant | Poisson | Ramp | Steps | Schedule | Trace, Field(discriminator="kind")]


# ---- service: how long the work takes --------------------------------------------------------------------------------

MeanS = Annotated[float, Field(ge=0, le=limits.SERVICE_S_MAX, description="Mean service time in seconds.")]
Cv = Annotated[float, Field(gt=0, le=100, description="Coefficient of variation: standard deviation / mean.")]


class ConstantService(Rules):
    """Always the same."""

    dist: Literal["constant"]
    mean_s: MeanS


class ExponentialService(Rules):
    """Exponential."""

    dist: Literal["exponential"]
    mean_s: MeanS


class SpreadService(Rules):
    """Lognormal, gamma or Pareto by mean and coefficient of variation."""

    dist: Literal["lognormal", "gamma", "pareto"]
    mean_s: MeanS
    cv: Cv = 1.0


class EmpiricalService(Rules):
    """Drawn from the values of a file's column."""

    dist: Literal["empirical"]
    path: str = Field(min_length=1, max_length=4_096, description="CSV or Parquet file, relative to the scenario.")
    column: str = Field("service_s", description="Which column.")
    factor: float = Field(1.0, gt=0, le=1e6, description="Values × this are seconds.")


Service = Annotated[
    ConstantService | ExponentialService | SpreadService | EmpiricalService, Field(discriminator="dist")
]


# ---- the scenario ----------------------------------------------------------------------------------------------------

Weight = Annotated[float, Field(ge=0, le=1e9)]
Priority = Annotated[int, Field(ge=PRIORITY_MIN, le=PRIORITY_MAX)]


class Role(Rules):
    """One kind of agent: how much of the work is its own, and what that work is like."""

    share: float = Field(1.0, gt=0, le=1e9, description="Its share of the tasks; shares need not sum to 1.")
    priority: dict[Priority, Weight] | Priority = Field(
        PRIORITY_DEFAULT, description="One priority from 1 to 5, or weights by priority."
    )
    service: Service = Field(description="How long one attempt works.")
    failure_rate: float = Field(0.0, ge=0, le=1, description="Share of the attempts that fail.")
    fail_first: int = Field(0, ge=0, le=limits.ATTEMPTS_MAX, description="The first so many attempts fail for certain.")
    permanent_share: float = Field(
        0.0, ge=0, le=1, description="Share of these failures that no retry can mend: dead-lettered at once."
    )
    memory_mib: float = Field(
        0.0, ge=0, le=limits.TASK_MEMORY_MIB_MAX, description="Memory held while it works, in MiB."
    )
    cpu_share: float = Field(0.0, ge=0, le=1, description="Share of the service time that is burnt on the processor.")
    handler: Handler | None = Field(None, description="Work of your own, done live; the model has `service` for it.")

    @model_validator(mode="after")
    def _some_priority(self) -> Self:
        if isinstance(self.priority, dict) and not sum(self.priority.values()) > 0:
            raise ValueError("priority needs at least one weight above 0")
        return self


class Workload(Rules):
    """Who submits what, and when."""

    arrivals: Arrivals
    roles: dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")], Role] = Field(
        min_length=1, max_length=limits.ROLES_MAX, description="The roles by name."
    )
    mix: Literal["random", "exact"] = Field(
        "random", description="Roles and priorities drawn by their shares, or dealt out so that the shares are exact."
    )


class Mesh(Rules):
    """The agents: worker processes, and concurrent tasks in each."""

    workers: int = Field(3, ge=1, le=limits.WORKERS_MAX, description="Worker processes.")
    slots: int = Field(5, ge=1, le=limits.SLOTS_MAX, description="Concurrent tasks in each worker.")

    @model_validator(mode="after")
    def _not_too_many(self) -> Self:
        if self.workers * self.slots > limits.SLOTS_TOTAL_MAX:
            raise ValueError(f"workers × slots is {self.workers * self.slots:,}; at most {limits.SLOTS_TOTAL_MAX:,}")
        return self


class Scenario(Rules):
    """A whole scenario. Load one with `Scenario.load(path)` or `Scenario.parse(text)`."""

    name: str = Field(
        "unnamed", min_length=1, max_length=limits.NAME_CHARS_MAX, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\- ]*$"
    )
    seed: int = Field(1, ge=0, le=2**63 - 1, description="The same seed gives the same tasks.")
    description: str = Field("", max_length=2_000, description="What this scenario shows.")
    workload: Workload
    mesh: Mesh = Mesh()
    rules: Rulebook = Rulebook()
    profile: str = Field("default", min_length=1, max_length=4_096, description="Costs of the machinery in the model.")
    faults: list[Fault] = Field(
        default_factory=list,
        max_length=limits.FAULTS_MAX,
        description="What goes wrong, and what an operator does about it, and when.",
    )

    _data: dict[str, Any] = PrivateAttr(default_factory=dict)
    _base: Path = PrivateAttr(default_factory=Path)
    _yaml: YamlSource = PrivateAttr(default_factory=YamlSource)
    _source: str = PrivateAttr("scenario")

    @classmethod
    def load(cls, path: str | Path) -> Scenario:
        """The scenario in the file at `path`. Raises ScenarioError with every problem at once."""
        path = Path(path)
        try:
            if path.stat().st_size > limits.SCENARIO_BYTES_MAX:
                raise ScenarioError(str(path), yaml_source.read("x" * (limits.SCENARIO_BYTES_MAX + 1)).problems)
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise ScenarioError(str(path), [Problem("", f"cannot be read: {error.strerror}")]) from error
        except UnicodeDecodeError as error:
            raise ScenarioError(str(path), [Problem("", f"is not UTF-8 text (byte {error.start})")]) from error
        return cls.parse(text, base=path.parent, source=str(path))

    @classmethod
    def parse(cls, text: str, *, base: str | Path = ".", source: str = "scenario") -> Scenario:
        """The scenario in `text`; paths in it are relative to `base`, errors speak of `source`."""
        found = yaml_source.read(text)
        if found.problems:
            raise ScenarioError(source, found.problems)
        return cls._checked(found.data, Path(base), found, source)

    @classmethod
    def from_data(cls, data: Mapping[str, Any], *, base: str | Path = ".", source: str = "scenario") -> Scenario:
        """The scenario in plain data, say from a record or a form."""
        return cls._checked(_whole_keys(dict(data)), Path(base), YamlSource(), source)

    def override(self, values: Mapping[str, Any]) -> Scenario:
        """A copy with the values at these dotted paths (`mesh.workers`, `faults.0.at_s`) replaced, checked anew."""
        data = copy.deepcopy(self._data)
        for path, value in values.items():
            _put(data, path, copy.deepcopy(value))
        set_paths = [_parts(path) for path in values]
        places = {
            path: place
            for path, place in self._yaml.places.items()
            if path and not any(path[: len(changed)] == changed for changed in set_paths)
        }
        return self._checked(
            data, self._base, YamlSource(places=places), f"{self._source} with {', '.join(values)} set"
        )

    @property
    def base(self) -> Path:
        """The folder that paths in the scenario are relative to."""
        return self._base

    @property
    def data(self) -> dict[str, Any]:
        """The scenario as plain data, as it was written: enough to build it again."""
        return copy.deepcopy(self._data)

    def to_yaml(self) -> str:
        """The scenario as YAML, comments lost."""
        return yaml.safe_dump(self._data, sort_keys=False, allow_unicode=True)

    @classmethod
    def _checked(cls, data: Any, base: Path, found: YamlSource, source: str) -> Scenario:
        if not isinstance(data, dict):
            problem = Problem(
                "", "a scenario is a mapping: name, seed, workload, mesh, rules, faults", *found.place(())
            )
            raise ScenarioError(source, [problem])
        mesh = Mesh()
        wrong = contradictions(data, base, mesh.workers, mesh.slots)
        problems = [Problem(path, said, *found.place(_parts(path))) for path, said in wrong]
        try:
            scenario = cls.model_validate(_with_preset(data))
        except ValidationError as error:
            raise ScenarioError(source, problems + located(error, cls, data, found)) from error
        if problems:
            raise ScenarioError(source, problems)
        scenario._data, scenario._base, scenario._yaml, scenario._source = data, base, found, source
        return scenario


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a scenario file, for editors."""
    schema = Scenario.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Agent Mesh Lab scenario"}


def _whole_keys(data: Any) -> Any:
    """A copy in which keys like "5" are numbers again: JSON has text keys only, and priorities are keys."""
    if isinstance(data, dict):
        return {int(k) if isinstance(k, str) and k.isdecimal() else k: _whole_keys(v) for k, v in data.items()}
    return [_whole_keys(item) for item in data] if isinstance(data, list) else data


def _with_preset(data: dict[str, Any]) -> dict[str, Any]:
    """The scenario's own values laid over those of its preset. Shapes that do not fit are left for validation to
    refuse.
    """
    rules = data.get("rules")
    name = rules.get("preset") if isinstance(rules, dict) else None
    preset = PRESETS.get(name, {}) if isinstance(name, str) else {}
    if not preset:
        return data
    merged = {**data, "rules": _merged(preset.get("rules", {}), rules)}
    if "mesh" in preset:
        merged["mesh"] = _merged(preset["mesh"], data.get("mesh", {}))
    workload = data.get("workload")
    if "role" in preset and isinstance(workload, dict) and isinstance(workload.get("roles"), dict):
        roles = {
            name: {**preset["role"], **(role or {})} if isinstance(role, dict | None) else role
            for name, role in workload["roles"].items()
        }
        merged["workload"] = {**workload, "roles": roles}
    return merged


def _merged(under: Mapping[str, Any], over: Any) -> Any:
    if not isinstance(over, Mapping):
        return over
    merged = dict(under)
    for key, value in over.items():
        merged[key] = _merged(under[key], value) if isinstance(under.get(key), Mapping) else value
    return merged


def _parts(path: str) -> yaml_source.Path:
    parts = path.replace("[", ".").replace("]", "").split(".")
    return tuple(int(part) if part.isdecimal() and len(part) < 10 else part for part in parts)


def _put(data: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a dotted path, making the mappings on the way. Raises UsageError where a path leads nowhere."""
    *way, last = _parts(path)
    here: Any = data
    for part in way:
        if isinstance(here, dict):
            if not isinstance(here.get(part), dict | list):
                here[part] = {}
            here = here[part]
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        else:
            raise UsageError(f"--set {path}: there is no {part!r} here")
    if isinstance(here, list) and not (isinstance(last, int) and last < len(here)):
        raise UsageError(f"--set {path}: the list has {len(here)} entries, counted from 0")
    here[last] = value
