"""`meshlab metastability`: which retry policies bring a mesh back after a temporary overload, and at which load."""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cli import targets
from cli.overriding import loaded
from cli.stopping import EXIT_INTERRUPTED, StopFlag
from cli.terminal import BOLD, NONE, painted, say, say_json, table, tell
from cli.watching import Meter
from lab.errors import Interrupted, UsageError
from lab.progress import OnProgress, Stop

if TYPE_CHECKING:
    from lab.metastability import Experiment, Policy
    from lab.recovery_map import Cell, Course, Map, Ramp, Study

FORMATS: Final = (".html", ".json", ".csv")
COLOUR: Final = re.compile(r"\x1b\[\d*m")


def command(options: argparse.Namespace) -> int:
    """Make the study, print it, and write it where it was asked for."""
    from lab.metastability import REPLICATIONS, Experiment

    target = _target(options.out)
    policies, loads = _policies(options.policies), _loads(options.loads)
    experiment = Experiment.of(loaded(options.scenario, options.set, options.seed))
    experiment.demand_room(max(loads))
    if experiment.scenario.rules.deadline.wait_s is None:
        tell("rules.deadline.wait_s is not set: no client ever leaves, so no work is in vain and no retry feeds itself")
    with StopFlag() as stop:
        meter = Meter(quiet=options.quiet)
        study = _study(experiment, policies, loads, options.replications or REPLICATIONS, meter, stop)
        meter.clear()
        if options.json:
            say_json(study.as_json())
        else:
            for line in report(study):
                say(line)
        if target is not None:
            _write(target, study, _asked(options))
        if stop():
            tell(f"interrupted; this is what {len(study.map.outcomes)} finished trials say")
            return EXIT_INTERRUPTED
    return 0


def _policies(names: str | None) -> list[Policy]:
    """The policies of --policies, each once."""
    from lab.metastability import DEFAULT_POLICIES, POLICIES

    if names is None:
        return [POLICIES[name] for name in DEFAULT_POLICIES]
    asked = list(dict.fromkeys(name.strip() for name in names.split(",")))
    unknown = [name for name in asked if name not in POLICIES]
    if unknown:
        raise UsageError(f"--policies: there is no {unknown[0]!r}; choose from {', '.join(POLICIES)}")
    return [POLICIES[name] for name in asked]


def _loads(text: str | None) -> list[float]:
    """The loads of --loads, each once, rising."""
    from lab.metastability import LOAD_MAX, LOADS

    if text is None:
        return list(LOADS)
    loads = set()
    for word in text.split(","):
        try:
            load = float(word)
        except ValueError:
            load = math.nan
        if not 0 < load <= LOAD_MAX:
            raise UsageError(f"--loads: {word.strip()!r} is no load; write shares of the capacity, as in 0.5,0.7,0.9")
        loads.add(load)
    return sorted(loads)


# ---- the work, on all cores ------------------------------------------------------------------------------------------

Job = Callable[[Stop], Any]


def _do(job: Job, stop: Stop) -> Any:
    return job(stop)


def _study(
    experiment: Experiment,
    policies: Sequence[Policy],
    loads: Sequence[float],
    replications: int,
    on_progress: OnProgress,
    stop: Stop,
) -> Study:
    """The map, and then the ramps and courses of the policies that it sets against each other."""
    from lab.metastability import attempt, trials
    from lab.recovery_map import Map, Study
    from lab.replicate import Cores
    from simulation.observing import observe

    asked: list[Job] = [
        partial(attempt, observe, experiment, policies, trial) for trial in trials(experiment, loads, replications)
    ]
    with Cores[Job, Any](_do, len(asked)) as cores:
        outcomes = [one for one in cores.run(asked, on_progress=on_progress, stop=stop) if one is not None]
        if not outcomes:
            raise Interrupted(f"{experiment.scenario.name}: stopped before the first trial was done")
        found = Map(experiment, tuple(policies), tuple(loads), tuple(outcomes))
        if stop():
            return Study(found)
        pair, load = found.contrast
        closer: list[Job] = [partial(_ramp, experiment, policy) for policy in pair]
        closer += [partial(_course, experiment, policy, load) for policy in pair]
        seen = cores.run(closer, on_progress=on_progress, stop=stop)
    if stop():
        return Study(found)
    return Study(found, tuple(seen[: len(pair)]), tuple(seen[len(pair) :]))


def _ramp(experiment: Experiment, policy: Policy, stop: Stop) -> Ramp:
    from lab.recovery_map import Ramp
    from simulation.observing import observe

    scenario = experiment.ramp(policy, experiment.scenario.seed)
    return Ramp.of(policy.name, observe(scenario, experiment.ramp_s, stop), experiment)


def _course(experiment: Experiment, policy: Policy, load: float, stop: Stop) -> Course:
    from lab.recovery_map import Course
    from simulation.observing import observe

    seed = experiment.scenario.seed
    flow = observe(experiment.disturbed(policy, load, seed), experiment.run_s, stop)
    return Course.of(policy.name, load, seed, flow, experiment)


# ---- for people ------------------------------------------------------------------------------------------------------


def report(study: Study) -> Iterator[str]:
    """The map as a table, and what it says."""
    found = study.map
    seeds = found.seeds
    yield painted(f"{found.experiment.scenario.name}: P(recovery) by retry policy and load", BOLD)
    yield _trigger(found)
    yield f"seeds {seeds[0]} to {seeds[-1]}, each the same tasks for every policy"
    yield ""
    head = ("policy", "safe below", *(f"{load:g} " for load in found.loads))
    rows = [
        (policy.name, f"{found.safe[policy.name]:.2g}", *map(_cell, found.rows[policy.name]))
        for policy in found.policies
    ]
    yield from table(rows, head, right=range(1, len(head)))
    yield ""
    yield from _calm(found)
    for policy in found.policies:
        yield f"{policy.name}: {policy.words}; {_fate(found, policy)}"
    for ramp in study.ramps:
        yield _ramped(ramp)


def _trigger(found: Map) -> str:
    begins_s, ends_s = found.experiment.trigger_s
    capacity = f"load 1 is {found.experiment.capacity_per_s:,.4g} tasks a second"
    judged = f"judged in the last {found.experiment.window_s:g} s of {found.experiment.run_s:g} s"
    return f"trigger from {begins_s:g} to {ends_s:g} s; {judged}; {capacity}"


def _cell(cell: Cell) -> str:
    if cell.disturbed.value is None:
        return NONE
    return f"{cell.disturbed.value:.2f}{'*' if cell.metastable else ' '}"


def _calm(found: Map) -> Iterator[str]:
    """What the stars mean; and how calm runs fared, which the table does not show."""
    cells = [cell for policy in found.policies for cell in found.rows[policy.name] if cell.calm.runs]
    if any(cell.metastable for cell in cells):
        yield "* metastable: healthy when calm, and not back after the trigger (the 95 % intervals lie apart);"
        yield "  the load is the same, only the past differs"
    shaky = [cell for cell in cells if cell.calm.healthy < cell.calm.runs]
    if not shaky:
        yield "without the trigger every run stays healthy, at every load and under every policy"
        return
    told = ", ".join(f"{cell.policy} {cell.load:g} ({cell.calm.healthy} of {cell.calm.runs})" for cell in shaky)
    yield f"without the trigger every run stays healthy but for {told}"


def _fate(found: Map, policy: Policy) -> str:
    """From which load on a policy may not come back; or how long it takes where that is hardest."""
    cells = [cell for cell in found.rows[policy.name] if cell.disturbed.runs]
    lost = next((cell for cell in cells if cell.disturbed.healthy < cell.disturbed.runs), None)
    if lost is None:
        hardest = cells[-1]
        took = f"in {hardest.recovery_median_s:.3g} s (median)" if hardest.recovery_median_s else "at once"
        return f"comes back at every load, at {hardest.load:g} {took}"
    return f"not sure to come back from load {lost.load:g} on ({lost.disturbed.healthy} of {lost.disturbed.runs} runs)"


def _ramped(ramp: Ramp) -> str:
    """Where goodput breaks on the way up, and where it comes back on the way down."""
    if ramp.falls_at is None:
        return f"slow ramp, {ramp.policy}: healthy all the way up to load {max(ramp.loads):g}"
    back = "not back at any load" if ramp.returns_at is None else f"back from load {ramp.returns_at:g} on"
    return f"slow ramp, {ramp.policy}: healthy on the way up until load {ramp.falls_at:g}; on the way down {back}"


# ---- files -----------------------------------------------------------------------------------------------------------


def _target(out: str | None) -> Path | None:
    """Where to write, refused before the work rather than after it."""
    if out is not None and Path(out).suffix.lower() not in FORMATS:
        raise UsageError(f"--out {out}: the name must end in {', '.join(FORMATS)}")
    return targets.target("--out", out)


def _asked(options: argparse.Namespace) -> str:
    """The command line that makes this study again."""
    words = ["meshlab", "metastability", options.scenario]
    for name in ("loads", "policies", "replications", "seed"):
        if (value := getattr(options, name)) is not None:
            words += [f"--{name}", str(value)]
    for setting in options.set:
        words += ["--set", setting]
    return shlex.join(words)


def _write(target: Path, study: Study, command: str) -> None:
    targets.write("--out", target, _content(target.suffix.lower(), study, command))
    tell(f"written to {target}")


def _content(suffix: str, study: Study, command: str) -> str:
    if suffix == ".json":
        return json.dumps(study.as_json(), indent=2, allow_nan=False) + "\n"
    if suffix == ".csv":
        return _csv(study.map)
    from lab.figures_metastability import page

    return page(study, [COLOUR.sub("", line) for line in report(study)], command)


def _csv(found: Map) -> str:
    """A row a cell."""
    lines = io.StringIO()
    rows = [_row(cell) for policy in found.policies for cell in found.rows[policy.name]]
    writer = csv.DictWriter(lines, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return lines.getvalue()


def _row(cell: Cell) -> dict[str, Any]:
    row: dict[str, Any] = {"policy": cell.policy, "load": cell.load}
    for name, share in (("disturbed", cell.disturbed), ("calm", cell.calm)):
        low, high = share.ci95
        row |= {f"{name}_healthy": share.healthy, f"{name}_runs": share.runs}
        row |= {f"{name}_p": share.value, f"{name}_p_low": round(low, 9), f"{name}_p_high": round(high, 9)}
    return row | {"metastable": cell.metastable, "recovery_median_s": cell.recovery_median_s}
