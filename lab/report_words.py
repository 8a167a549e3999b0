"""The parts of a report that are words: what the runs say in short, the rulebook, the machine, the model's profile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import yaml
from pydantic import ValidationError

from lab import units
from lab.headlines import Against, Column, at
from lab.report_page import e, table
from lab.rules.explain import MODULES, Rule, explain, preset_rulebook, shown
from lab.rules.presets import PRESETS
from lab.rules.rulebook import Rulebook

HOURS_A_DAY: Final = 24
POINTS: Final = ("latency_s.p50", "latency_s.p99")
BIAS_TOLD_MIN: Final = 0.005
"""A difference of less than this share is called none."""


# ---- in short --------------------------------------------------------------------------------------------------------


def in_short(columns: Sequence[Column], apart: Sequence[Against]) -> list[str]:
    """A sentence or two a run, and how far each is from the one that it is held against."""
    return [*map(_run, columns), *(said for one in apart for said in _against(one))]


def _run(column: Column) -> str:
    value = column.value
    what = column.label if len(column.records) == 1 else f"{column.label}, {len(column.records)} runs, on average"
    submitted, completed = value("tasks.submitted"), value("tasks.completed")
    told = [f"{what}: {units.count(completed)} of {units.count(submitted)} tasks completed"]
    if value("makespan_s") is not None:
        told[0] += f" in {units.seconds(value('makespan_s'))} ({units.rate(value('throughput_per_s'))})"
    if value("latency_s.p50") is not None:
        half, most = (units.seconds(value(path)) for path in POINTS)
        told.append(f"half of them took at most {half} from arrival to completion, 99 % at most {most}")
    ends = [(value("tasks.dead"), "dead-lettered"), (value("tasks.rejected"), "refused")]
    told += [f"{units.count(count)} {word}" for count, word in ends if count]
    if value("tasks.retries"):
        told.append(f"{units.count(value('tasks.retries'))} retries")
    if value("rss_bytes.peak"):
        told.append(f"the largest worker held {units.size(value('rss_bytes.peak'))}")
    return "; ".join(told) + "."


def _against(one: Against) -> Iterator[str]:
    found = one.differences.get("latency_s.p99")
    if found is not None and found.relative is not None:
        first, second = one.column.label, one.base.label
        if abs(found.relative) < BIAS_TOLD_MIN:
            yield f"{first} and {second} have the same p99 to within {100 * BIAS_TOLD_MIN:.1f} %."
        else:
            word = "longer" if found.relative > 0 else "shorter"
            interval = f" (95 %: {units.percents(*found.relative_ci95)})" if found.relative_ci95 else ""
            yield f"The p99 of {first} is {100 * abs(found.relative):.1f} % {word} than that of {second}{interval}."
    pairs = one.pairs
    if pairs.get("tasks"):
        further = "shorter" if pairs["mean_diff_s"] < 0 else "longer"
        known = pairs["correlation"]
        yield (
            f"Task by task, over the {units.plural(pairs['tasks'], 'task')} that both completed, latency in "
            f"{one.column.label} is {units.seconds(abs(pairs['mean_diff_s']))} {further} than in {one.base.label} on "
            f"average, within {units.seconds(pairs['p95_abs_diff_s'])} for 95 % of them"
            + (f", and the two correlate by {known:.3f}." if known is not None else ".")
        )


# ---- the rulebook ----------------------------------------------------------------------------------------------------


def rulebook(columns: Sequence[Column]) -> Iterator[str]:
    """The rules that are not at their default, and all of them folded away; each different rulebook once."""
    seen: list[Any] = []
    for column in columns:
        book = column.lead.info.get("rulebook")
        if book in seen or not isinstance(book, dict):
            continue
        seen.append(book)
        yield from _rulebook(column)


def _rulebook(column: Column) -> Iterator[str]:
    yield f"<h3>{e(column.label)}</h3>"
    book = column.lead.info["rulebook"]
    try:
        rules = Rulebook.model_validate(book, strict=False)
    except ValidationError:
        # Another version of the lab wrote it: its rules are not these.
        yield f"<pre>{e(yaml.safe_dump(book, sort_keys=False, allow_unicode=True))}</pre>"
        return
    preset = rules.preset
    mine, standard = list(explain(rules)), {rule.path: rule.value for rule in explain(preset_rulebook("lab"))}
    changed = [rule for rule in mine if rule.value != standard.get(rule.path)]
    named = f" The preset is <code>{e(preset)}</code>." if preset in PRESETS and preset != "lab" else ""
    yield f"<p>{len(changed)} of {len(mine)} rules differ from the defaults.{named}</p>"
    head = ("Rule", "Here", "Default", "Why the default is what it is")
    if changed:
        rows = [_rule(rule, shown(standard.get(rule.path))) for rule in changed]
        yield table(head, rows, "words rules")
    yield "<details><summary>Every rule</summary>"
    for group in MODULES:
        rows = [_rule(rule, shown(standard.get(rule.path))) for rule in mine if rule.path.startswith(f"{group}.")]
        yield f"<h3>{e(group)}</h3>" + table(head, rows, "words rules")
    yield "</details>"


def _rule(rule: Rule, default: str) -> list[str]:
    here = shown(rule.value)
    mark = f"<b>{e(here)}</b>" if here != default else e(here)
    unit = f" {e(rule.unit)}" if rule.unit and here not in ("off", "true", "false") else ""
    return [f"<code>{e(rule.path)}</code>", f"{mark}{unit}", e(default), e(rule.reason)]


# ---- machine and profile ---------------------------------------------------------------------------------------------


def machines(columns: Sequence[Column]) -> Iterator[str]:
    """On what the runs ran, a column a machine."""
    found: dict[str, dict[str, str]] = {}
    for column in columns:
        info = column.lead.info
        machine, versions = info.get("machine") or {}, info.get("versions") or {}
        told = {f"machine: {name}": str(value) for name, value in machine.items()}
        told |= {f"version: {name}": str(value) for name, value in versions.items()}
        servers = info.get("servers")
        if isinstance(servers, list):
            told["servers"] = ", ".join(map(str, servers))
        found[column.label] = told
    names = list(dict.fromkeys(name for told in found.values() for name in told))
    if names:
        yield "<h3>Machine and versions</h3>"
        rows = [[e(name), *(e(told.get(name, units.NONE)) for told in found.values())] for name in names]
        yield table(["", *map(e, found)], rows, "words")


def profiles(columns: Sequence[Column]) -> Iterator[str]:
    """The costs of the machinery that the model was given, and how old they were when it ran."""
    modelled = [column for column in columns if column.lead.engine == "sim"]
    if not modelled:
        return
    yield "<h3>Profile of the model</h3>"
    rows = []
    for column in modelled:
        profile = column.lead.info.get("profile")
        measured = str(at(profile, "measured") or "not recorded")
        name = str(column.lead.info["scenario"].get("profile", "default"))
        rows.append([e(column.label), f"<code>{e(name)}</code>", e(_age(column)), e(measured)])
    yield table(["", "Named", "Age when it ran", "Measured"], rows, "words")


def _age(column: Column) -> str:
    """How long before the run the profile was measured."""
    measured = at(column.lead.info.get("profile"), "measured_at")
    started = column.lead.info.get("started_at")
    try:
        passed = _moment(str(started)) - _moment(str(measured))
    except ValueError:
        return "not recorded"
    hours = passed.total_seconds() / 3_600
    if hours >= 2 * HOURS_A_DAY:
        return f"{hours / HOURS_A_DAY:,.0f} days"
    return f"{hours:,.0f} hours" if hours >= 2 else "less than two hours"


def _moment(text: str) -> datetime:
    """An ISO moment; one without a zone is UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
