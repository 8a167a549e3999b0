"""What a schema cannot see: values that are fine alone and impossible together, or that name what is not there.

Works on the plain data and steps over whatever has another shape, so that these problems are told together with the
schema's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

from lab import limits, profile
from lab.errors import UsageError
from lab.rules.handling import HANDLER_TIMEOUT_S_DEFAULT


def contradictions(data: dict[str, Any], base: Path, workers: int, slots: int) -> Iterator[tuple[str, str]]:
    """Each as (path, what is wrong). Files are looked for relative to `base`; `workers` and `slots` are the defaults of
    the mesh.
    """
    workload = _mapping(data.get("workload"))
    mesh = {"workers": workers, "slots": slots, **_mapping(data.get("mesh"))}
    yield from _entries_out_of_order(_mapping(workload.get("arrivals")))
    yield from _workers_that_are_not_there(data, mesh["workers"])
    yield from _turned_twice_at_once(data)
    yield from _too_many_slots(data, mesh)
    yield from _roles_that_are_not_there(data, _mapping(workload.get("roles")))
    yield from _tasks_that_never_come(data, _mapping(workload.get("arrivals")))
    yield from _too_many_redrives(data)
    yield from _files_that_are_not_there(workload, base)
    yield from _work_that_is_always_cut(_mapping(workload.get("roles")))
    name = data.get("profile")
    if isinstance(name, str) and name:
        try:
            profile.load(name, base)
        except UsageError as error:
            yield "profile", str(error)


def _entries_out_of_order(arrivals: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Of a schedule: what stands before an earlier entry, or comes when no task comes any more."""
    entries, until_s = arrivals.get("entries"), arrivals.get("until_s")
    before_s: float = 0.0
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        at_s, where = _mapping(entry).get("at_s"), f"workload.arrivals.entries[{index}].at_s"
        if not _is_number(at_s):
            continue
        if at_s < before_s:
            yield where, f"{at_s:g} s comes after an entry at {before_s:g} s; put the entries in order of at_s"
        if _is_number(until_s) and at_s >= until_s:
            yield where, f"no task comes from until_s on ({until_s:g} s), so nothing can change at {at_s:g} s"
        before_s = max(before_s, at_s)


def _changes(data: dict[str, Any]) -> list[tuple[str, float, str, float]]:
    """(path, moment, knob, value) of every change whose shape is right, the earliest first."""
    faults = data.get("faults")
    found = []
    for index, fault in enumerate(faults if isinstance(faults, list) else []):
        at_s, knob, value = (_mapping(fault).get(key) for key in ("at_s", "knob", "value"))
        if _mapping(fault).get("kind") == "change" and _is_number(at_s) and _is_number(value) and isinstance(knob, str):
            found.append((f"faults[{index}]", at_s, knob, value))
    return sorted(found, key=lambda change: change[1])


def _turned_twice_at_once(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    turned = dict[tuple[float, str], str]()
    for where, at_s, knob, _ in _changes(data):
        first = turned.setdefault((at_s, knob), where)
        if first != where:
            yield where, f"{first} changes {knob} at {at_s:g} s too; only one of them can hold"


def _too_many_slots(data: dict[str, Any], mesh: dict[str, Any]) -> Iterator[tuple[str, str]]:
    now = {knob: mesh[knob] if _is_number(mesh[knob]) else 0 for knob in ("workers", "slots")}
    for where, at_s, knob, value in _changes(data):
        if knob not in now:
            continue
        now[knob] = value
        if (total := now["workers"] * now["slots"]) > limits.SLOTS_TOTAL_MAX:
            said = f"from {at_s:g} s on workers × slots is {total:,.0f}; at most {limits.SLOTS_TOTAL_MAX:,}"
            yield f"{where}.value", said


def _workers_that_are_not_there(data: dict[str, Any], workers: Any) -> Iterator[tuple[str, str]]:
    """Whether there is one is asked for the moment at which the fault strikes."""
    if not isinstance(workers, int) or workers < 1:
        return
    changes = [(at_s, value) for _, at_s, knob, value in _changes(data) if knob == "workers"]
    moments = dict(_named_by_faults(data, "at_s"))
    for where, worker in _named_by_faults(data, "worker"):
        at_s = moments.get(where.replace(".worker", ".at_s"))
        known = [value for turned_s, value in changes if _is_number(at_s) and turned_s <= at_s]
        allowed = known[-1] if known else workers
        if isinstance(worker, int) and worker >= allowed:
            said = f"the mesh then has 0 to {allowed - 1:g}" if known else f"mesh.workers allows 0 to {allowed - 1}"
            yield where, f"there is no worker {worker}; {said}"


def _roles_that_are_not_there(data: dict[str, Any], roles: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for where, role in _named_by_faults(data, "role"):
        if isinstance(role, str) and roles and role not in roles:
            yield where, f"there is no role {role!r}; the workload has {', '.join(map(str, roles))}"


def _tasks_that_never_come(data: dict[str, Any], arrivals: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Only where the arrivals say how many tasks come; else the fault just never strikes."""
    count = arrivals.get("count")
    if not isinstance(count, int) or count < 1:
        return
    for where, task in _named_by_faults(data, "task"):
        if isinstance(task, int) and task >= count:
            yield where, f"there is no task {task}; workload.arrivals.count allows 0 to {count - 1}"


def _too_many_redrives(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    kinds = [kind for _, kind in _named_by_faults(data, "kind")]
    if (count := kinds.count("redrive")) > limits.REDRIVES_MAX:
        yield "faults", f"{count} redrives; a run may have {limits.REDRIVES_MAX}"


def _named_by_faults(data: dict[str, Any], key: str) -> Iterator[tuple[str, Any]]:
    """(path, value) of a key in each fault that has it."""
    faults = data.get("faults")
    for index, fault in enumerate(faults if isinstance(faults, list) else []):
        if key in _mapping(fault):
            yield f"faults[{index}].{key}", fault[key]


def _work_that_is_always_cut(roles: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The model would complete what the live backend always cuts."""
    for role, values in roles.items():
        handler = _mapping(values).get("handler")
        mean_s = _mapping(_mapping(values).get("service")).get("mean_s")
        timeout_s = _mapping(handler).get("timeout_s", HANDLER_TIMEOUT_S_DEFAULT)
        if isinstance(handler, dict) and _is_number(mean_s) and _is_number(timeout_s) and mean_s > timeout_s > 0:
            said = f"the model works {mean_s:g} s on average, but the handler is cut after {timeout_s:g} s; raise it"
            yield f"workload.roles.{role}.handler", f"{said} (timeout_s), or lower service.mean_s"


def _files_that_are_not_there(workload: dict[str, Any], base: Path) -> Iterator[tuple[str, str]]:
    named = [("workload.arrivals.path", _mapping(workload.get("arrivals")).get("path"))]
    for role, values in _mapping(workload.get("roles")).items():
        named.append((f"workload.roles.{role}.service.path", _mapping(_mapping(values).get("service")).get("path")))
    for where, file in named:
        if isinstance(file, str) and (message := _file_problem(base / file)):
            yield where, message


def _file_problem(path: Path) -> str | None:
    try:
        if not path.is_file():
            return f"there is no file {path}"
        if path.stat().st_size > limits.TRACE_BYTES_MAX:
            return f"{path} is larger than {limits.TRACE_BYTES_MAX // limits.MIB} MiB"
    except (OSError, ValueError) as error:  # a name that no file can have
        return f"{path} cannot be read: {error}"
    return None


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
