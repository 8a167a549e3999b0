"""`meshlab fit`: records of a real queue become a scenario, with the badness of the fit admitted."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import failing
from cli.overriding import loaded
from cli.status import StatusFile
from cli.stopping import EXIT_INTERRUPTED, StopFlag
from cli.targets import target, write
from cli.terminal import BOLD, NONE, harmless, painted, percent, runs_folder, say, say_json, seconds, table, tell
from cli.watching import Meter, both
from lab.errors import UsageError
from lab.units import plural

if TYPE_CHECKING:
    from lab.fitting import Fitted
    from lab.fitting_replay import Replay
    from lab.observed import Observed


def command(options: argparse.Namespace) -> int:
    """Read, fit, write, replay, and say what came of it."""
    status = StatusFile(options.status)
    status.begin()
    try:
        with StopFlag() as stop:
            result, code = _fit(options, status, stop)
    except (Exception, KeyboardInterrupt) as error:
        return failing.ended(error, runs_folder(None), status)
    status.end("cancelled" if code else "done", code, result=result)
    return code


def _fit(options: argparse.Namespace, status: StatusFile, stop: StopFlag) -> tuple[dict[str, Any], int]:
    from lab import fitting, fitting_replay
    from simulation import simulate

    figure = target("--figure", options.figure)
    seen = _seen(options)
    found = f"{plural(len(seen.tasks), 'task')}, {plural(len(seen.attempts), 'attempt')}"
    tell(f"{found} in {seen.span_s:,.1f} s; fitting")
    profile = str(seen.facts.get("profile", "default"))
    inside = seen.facts.get("machinery_included")
    overhead_s = fitting_replay.lone_overhead_s(simulate, profile) if inside else 0.0
    fitted = fitting.fit(seen, name=options.name, overhead_s=overhead_s)
    path = fitted.write(options.out or f"fitted-{fitted.name.replace(' ', '-')}")
    loaded(str(path), _known(options), None)  # what cannot be loaded must not be handed out
    _keep_known(options, path)
    if figure is not None:
        write("--figure", figure, fitted.figure().to_html(include_plotlyjs=True))
    replay = None
    if not options.no_replay and not stop():
        meter = Meter(quiet=options.quiet)
        replay = fitted.replay(simulate, path, on_progress=both(meter, status.on_progress), stop=stop)
        meter.clear()
    if stop():
        tell(f"interrupted; the scenario is in {path}, and was not compared")
        replay = None
    result = {"scenario": str(path), **fitted.as_json(), "replay": replay.as_json() if replay else None}
    if options.json:
        say_json(result)
    else:
        for line in report(fitted, replay, path):
            say(line)
    return result, EXIT_INTERRUPTED if stop() else 0


def _seen(options: argparse.Namespace) -> Observed:
    from lab import observed

    if options.mesh:
        from cli.prune import age_s
        from live_backend import shadowing

        if options.file or options.columns or options.format:
            raise UsageError("--mesh reads the standing mesh: give no file, --format or --columns with it")
        return shadowing.observed(os.environ, age_s(options.last))
    if options.file is None:
        raise UsageError("name a file with the records of a queue, or give --mesh")
    return observed.read(options.file, options.format, _columns(options.columns), skip_bad=options.skip_bad)


def _columns(text: str | None) -> dict[str, str]:
    """`enqueue=created_at,start=started_at` as a mapping."""
    found = {}
    for word in (text or "").split(",") if text else ():
        ours, equals, theirs = word.partition("=")
        if not equals or not ours.strip():
            raise UsageError(f"--columns {word!r}: write OURS=THEIRS, as in enqueue=created_at")
        found[ours.strip()] = theirs.strip()
    return found


def _known(options: argparse.Namespace) -> list[str]:
    """What the user knows better than the record."""
    given = {"mesh.workers": options.workers, "mesh.slots": options.slots}
    return [f"{path}={value}" for path, value in given.items() if value is not None]


def _keep_known(options: argparse.Namespace, path: Path) -> None:
    """Write it into the scenario, beside its comments."""
    if not (known := _known(options)):
        return
    import yaml

    scenario = loaded(str(path), known, None)
    comments = [line for line in path.read_text("utf-8").splitlines() if line.startswith("#")]
    comments.append(f"# mesh: {scenario.mesh.workers} × {scenario.mesh.slots} as told by whoever fitted it")
    text = yaml.safe_dump(scenario.data, sort_keys=False, allow_unicode=True, width=110)
    path.write_text("\n".join(comments) + "\n" + text, encoding="utf-8")


# ---- words -----------------------------------------------------------------------------------------------------------


def report(fitted: Fitted, replay: Replay | None, path: Path) -> list[str]:
    """Everything that the command says without --json."""
    lines = [painted(harmless(f"{fitted.seen.source} as {fitted.name}"), BOLD), ""]
    lines += [harmless(line) for line in fitted.lines()]
    lines += ["", *_services(fitted)]
    if replay is not None:
        lines += ["", *_replayed(replay), "", harmless(replay.verdict)]
    return [*lines, "", f"written: {path}", f"try: meshlab run {path} --engine both"]


def _services(fitted: Fitted) -> list[str]:
    head = ("role", "attempts", "mean", "cv", "chosen", "gap", "A²", "p", "p99 seen", "p99 fitted")
    rows = []
    for one in fitted.services:
        said = one.as_json()
        tail = said["quantiles_s"].get("p99", {"seen": None, "fitted": None})
        rows.append(
            (
                one.role,
                f"{said['values']:,}",
                seconds(said["mean_s"]),
                _plain(said["cv"]),
                one.dist,
                _plain(said["ks"]),
                _plain(said["ad"]),
                _plain(one.p),
                seconds(tail["seen"]),
                seconds(tail["fitted"]),
            )
        )
    return table(rows, head, right=(1, 2, 3, 5, 6, 7, 8, 9))


def _replayed(replay: Replay) -> list[str]:
    head = (
        "model against seen",
        "seen",
        "fitted service",
        f"of {len(replay.fitted)} runs",
        "error",
        "seen service",
        "error",
    )
    rows = []
    for name, row in replay.table().astype(object).iterrows():
        one = {key: None if value != value else value for key, value in row.items()}
        between = NONE if one["low"] is None else f"{one['low']:.3f}–{one['high']:.3f}"
        fitted = seconds(one["fitted"]), between, percent(one["fitted_error"])
        rows.append((str(name), seconds(one["seen"]), *fitted, seconds(one["exact"]), percent(one["exact_error"])))
    return table(rows, head, right=(1, 2, 3, 4, 5, 6))


def _plain(value: float | None) -> str:
    return NONE if value is None else f"{value:.3g}"
