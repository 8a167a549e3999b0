"""The results of a prediction test on a page, in HTML and words: no Streamlit here, so it can be tested."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from lab import units
from lab.errors import UsageError
from lab.headlines import Figure
from lab.twin_figures import BY_PATH
from ui import palette, text

NEEDED: Final = ("ok", "complete", "repeats", "started_at", "machine", "profile", "summary", "scenarios")
WIDTH_PX, HEIGHT_PX, EDGE_PX = 260, 74, 3
CSS: Final = """
<style>
.twin-aims {display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .6rem; margin: 0 0 .4rem}
.twin-aim {border: 1px solid color-mix(in srgb, currentColor 16%, transparent); border-radius: 8px}
.twin-aim {padding: .5rem .75rem}
.twin-aim h6 {font-size: .78rem; font-weight: 500; opacity: .7; margin: 0; padding: 0; letter-spacing: 0}
.twin-aim .value {font-size: 1.35rem; font-weight: 600; font-variant-numeric: tabular-nums; line-height: 1.5}
.twin-aim .value span {font-size: .86rem; white-space: nowrap}
.twin-aim .aim, .twin-aim .worst {font-size: .74rem; opacity: .75; line-height: 1.45; overflow-wrap: anywhere}
.twin-rows {overflow-x: auto; margin: 0 0 .6rem}
.twin-rows table {width: 100%; border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums}
.twin-rows th {font-weight: 500; opacity: .7; text-align: right; white-space: nowrap}
.twin-rows th, .twin-rows td {padding: .34rem .6rem; border: 0}
.twin-rows tr {border-bottom: 1px solid color-mix(in srgb, currentColor 13%, transparent)}
.twin-rows td {text-align: right; white-space: nowrap; vertical-align: top}
.twin-rows th:first-child, .twin-rows td:first-child, .twin-rows .words {text-align: left}
.twin-rows td.why {min-width: 15rem; white-space: normal; font-size: .78rem; opacity: .85}
.st-key-twin-forest-frame {overflow-x: auto}
.st-key-twin-forest-frame > * {min-width: 60rem}
.twin-card {font-size: .8rem; line-height: 1.4}
.twin-card .name {font-weight: 600; font-size: .92rem; white-space: nowrap; overflow: hidden; text-overflow: ellipsis}
.twin-card .about {opacity: .7; height: 2.8em; overflow: hidden; font-size: .76rem; margin: .1rem 0 .3rem}
.twin-card img {width: 100%; height: 74px; display: block}
.twin-card .verdict {font-size: .78rem; margin: .35rem 0 0; min-height: 1.4em}
.twin-keys {display: flex; gap: 1.2rem; font-size: .78rem; opacity: .8; margin: .1rem 0 .3rem}
.twin-keys i {display: inline-block; width: 1.6rem; border-top: 2px solid; vertical-align: middle; margin-right: .4rem}
</style>
"""


def read(path: Path) -> dict[str, Any]:
    """The results in a file. Raises UsageError if there are none, or not whole ones."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: no results of a test can be read here ({error}); run the test again") from error
    if not isinstance(found, dict) or any(name not in found for name in NEEDED):
        raise UsageError(f"{path}: these are no results of a prediction test; run it again")
    return found


def fit_words(fit: Mapping[str, Any]) -> str:
    """How well the model with a profile predicts the probe `check`, to which nothing was fitted; "" without one."""
    probe = fit.get("check")
    if not isinstance(probe, Mapping):
        return ""
    shown = (("latency_s.p50", "p50"), ("latency_s.p95", "p95"), ("latency_s.p99", "p99"), ("rss_bytes.peak", "RSS"))
    found = [f"{word} {units.percent(probe[path]['error'])}" for path, word in shown if path in probe]
    return f". Its error on a probe that it was not fitted to: {', '.join(found)}." if found else ""


# ---- the aims --------------------------------------------------------------------------------------------------------


def aims(data: Mapping[str, Any]) -> str:
    """A card a figure: the median error against its aim, and the scenario that is worst. HTML."""
    rows = data["summary"]["figures"]
    return f'<div class="twin-aims">{"".join(_aim(BY_PATH[path].figure, row) for path, row in rows.items())}</div>'


def _aim(figure: Figure, row: Mapping[str, Any]) -> str:
    if row["beyond"]:
        mark, colour = f"✘ {len(row['beyond'])} beyond", palette.BAD
    else:
        mark, colour = ("✔ met", palette.GOOD) if row["met"] else ("✘ missed", palette.BAD)
    error = units.percent(row["worst_error"]).replace(" ", "\u00a0")
    lines = [f"worst: {row['worst']} {error}"]
    if any(row["verdicts"][word] for word in ("equivalent", "different")):
        lines.append(f"shown equivalent in {row['verdicts']['equivalent']} of {row['scenarios']}")
    return (
        f'<div class="twin-aim" title="{html.escape(figure.about)}"><h6>{html.escape(figure.label)}</h6>'
        f'<div class="value">{_size(row["median_error"])} <span style="color:{colour}">{mark}</span></div>'
        f'<div class="aim">median error · aim {100 * row["aim"]:g} %</div>'
        f'<div class="worst">{"<br>".join(map(html.escape, lines))}</div></div>'
    )


# ---- scenarios -------------------------------------------------------------------------------------------------------


def beyond(one: Mapping[str, Any]) -> list[str]:
    """The paths of the figures by which a scenario is beyond its allowance."""
    return [path for path, found in one["figures"].items() if found["judged"] and not found["within_allowance"]]


def table(data: Mapping[str, Any]) -> str:
    """A row a scenario, those in trouble first: its verdict, every judged error, and why the model is off. HTML."""
    paths = list(data["summary"]["figures"])
    heads = ["<th>Scenario</th>", '<th class="words">Verdict</th>']
    heads += [f"<th>{html.escape(_short(path))}</th>" for path in paths]
    rows = "".join(_row(one, paths) for one in by_trouble(data))
    head = f'<tr>{"".join(heads)}<th class="words">Why the model is off there</th></tr>'
    return f'<div class="twin-rows"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def _row(one: Mapping[str, Any], paths: Sequence[str]) -> str:
    far = beyond(one)
    why = text.sentence(str(one["anatomy"]["why"])) if far else units.NONE
    cells = "".join(_error(one["figures"].get(path, {}), path in far) for path in paths)
    return (
        f'<tr><td title="{html.escape(one["about"])}">{html.escape(one["name"])}</td>'
        f'<td class="words">{_mark(far)}</td>{cells}<td class="words why">{html.escape(why)}</td></tr>'
    )


def _error(found: Mapping[str, Any], far: bool) -> str:
    if not found.get("judged"):
        return f"<td>{units.NONE}</td>"
    words = units.percent(found["error"])
    return f'<td style="color:{palette.BAD};font-weight:600">✘ {words}</td>' if far else f"<td>{words}</td>"


def _mark(far: Sequence[str]) -> str:
    """Whether a scenario is within its allowance: a sign, a colour and a word. HTML."""
    sign, colour, word = ("✘", palette.BAD, "beyond") if far else ("✔", palette.GOOD, "within")
    return f'<span style="color:{colour};font-weight:600">{sign} {word}</span>'


def _short(path: str) -> str:
    return BY_PATH[path].figure.label.replace("Latency ", "").replace(" rate", "")


def card(one: Mapping[str, Any], *, dark: bool) -> str:
    """A scenario: what it tests, its latencies in both engines, its verdict. HTML."""
    far = beyond(one)
    labels = f": {', '.join(_short(path) for path in far)}" if far else " what may be off"
    return (
        f'<div class="twin-card"><div class="name">{html.escape(one["name"])}</div>'
        f'<div class="about" title="{html.escape(one["about"])}">{html.escape(one["about"])}</div>'
        f'{sparkline(one, dark=dark)}<div class="verdict">{_mark(far)}{html.escape(labels)}</div></div>'
    )


def sparkline(one: Mapping[str, Any], *, dark: bool) -> str:
    """Latency, cumulative: live repeats solid, the model dashed. A picture, since Streamlit takes bare SVG away."""
    runs = [("live", curves["latency"]) for curves in one["curves"]["live"]]
    runs.append(("sim", one["curves"]["model"]["latency"]))
    top = max((x for _, (xs, _) in runs for x in xs), default=0.0) or 1.0
    lines = "".join(_polyline(engine, points, top, dark=dark) for engine, points in runs)
    label = f"Latency from 0 to {units.seconds(top)}, cumulative: model dashed, live solid"
    box = f'viewBox="0 0 {WIDTH_PX} {HEIGHT_PX}" preserveAspectRatio="none"'
    drawn = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>{lines}</svg>'
    source = base64.b64encode(drawn.encode()).decode()
    return f'<img src="data:image/svg+xml;base64,{source}" alt="{html.escape(label)}" title="{html.escape(label)}">'


def _polyline(engine: Any, points: Sequence[Sequence[float]], top: float, *, dark: bool) -> str:
    wide, high = WIDTH_PX - 2 * EDGE_PX, HEIGHT_PX - 2 * EDGE_PX
    places = (f"{EDGE_PX + wide * x / top:.1f},{EDGE_PX + high * (1 - y):.1f}" for x, y in zip(*points, strict=True))
    colour = palette.engine_colour(engine, dark)
    look = 'stroke-width="2" stroke-dasharray="6 4"' if engine == "sim" else 'stroke-width="1.6" opacity="0.8"'
    shape = f'fill="none" stroke="{colour}" {look} vector-effect="non-scaling-stroke"'
    return f'<polyline points="{" ".join(places)}" {shape}/>'


def keys(*, dark: bool) -> str:
    """What the two lines of every card are. HTML."""
    model, live = palette.engine_colour("sim", dark), palette.engine_colour("live", dark)
    return (
        '<div class="twin-keys"><span>Latency of the tasks, cumulative:</span>'
        f'<span><i style="border-color:{model};border-top-style:dashed"></i>Model</span>'
        f'<span><i style="border-color:{live}"></i>Live, a line a repeat</span></div>'
    )


def verdict(data: Mapping[str, Any]) -> tuple[bool, str, list[str]]:
    """Whether all is well, that in a sentence, and what is not."""
    summary = data["summary"]
    wrong = [*summary["missed"], *(f"A run broke a check: {one}" for one in summary["broken"])]
    scenarios = units.plural(len(data["scenarios"]), "scenario")
    if not wrong:
        return True, f"Every aim is met, and none of {scenarios} is beyond its allowance", []
    missed = [BY_PATH[path].figure.label for path, row in summary["figures"].items() if not row["met"]]
    far = sorted({name for row in summary["figures"].values() for name in row["beyond"]})
    parts = []
    if missed:
        parts.append(f"{len(missed)} of {units.plural(len(summary['figures']), 'aim')} missed: {', '.join(missed)}")
    if far:
        parts.append(f"{len(far)} of {scenarios} beyond what may be off")
    if summary["broken"]:
        parts.append("a check was broken")
    return False, "; ".join(parts), wrong


def by_trouble(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The scenarios, those beyond their allowance first, else in the order of the matrix."""
    yield from sorted(data["scenarios"], key=lambda one: not beyond(one))


def _size(value: float) -> str:
    return units.percent(value).lstrip("+")
