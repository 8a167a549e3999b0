"""The lab's Plotly figures as plain SVG: for paper, and for readers that run no script.

Only what these figures use: lines (straight or in steps), bands, points, shaded times, and horizontal bars. Hover texts
stay with the interactive figure.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import plotly.graph_objects as go

from lab.draws import Floats

WIDTH: Final = 860
LINES_HEIGHT: Final = 260
ROW: Final = 26
LEFT, RIGHT, TOP, BOTTOM = 64, 14, 58, 46
LETTER: Final = 6.4
"""About how wide a letter is, at the size of the words."""
DASHES: Final = {"dash": "7 4", "dot": "2 3", "dashdot": "7 3 2 3", "longdash": "11 4", "longdashdot": "11 3 2 3"}
TICKS: Final = 6
POINTS_MAX: Final = 600
"""Points drawn of a cloud: paper shows no more."""
PLAIN: Final = re.compile(r"<[^>]*>")
LIGHT: Final = 0.55
SHADED: Final = "#D64545"


class Scale(NamedTuple):
    """From values to places on the page."""

    low: float
    high: float
    begins: float
    ends: float

    def __call__(self, values: Any) -> Floats:
        spread = self.high - self.low or 1.0
        shares = (np.asarray(values, dtype=float) - self.low) / spread
        return np.asarray(self.begins + shares * (self.ends - self.begins))


def svg(figure: go.Figure) -> str:
    """The figure as an SVG element; empty for one that has nothing to draw."""
    if any(trace.type == "bar" for trace in figure.data):
        return _bars(figure)
    lines = [trace for trace in figure.data if trace.type == "scatter" and trace.x is not None and len(trace.x)]
    return _lines(figure, lines) if lines else ""


def _document(height: float, title: str, parts: Sequence[str]) -> str:
    named = f"<title>{html.escape(title)}</title>" if title else ""
    return (
        f'<svg class="static" viewBox="0 0 {WIDTH} {height:g}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"{named}{''.join(parts)}</svg>"
    )


def _title(figure: go.Figure) -> str:
    return _plain(figure.layout.title.text or "")


def _plain(text: str) -> str:
    """Plotly's text without its HTML, as plain letters."""
    return html.unescape(PLAIN.sub("", text)).strip()


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start", turn: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turn}>{html.escape(words)}</text>'


def ticks(low: float, high: float, about: int = TICKS) -> list[float]:
    """Round numbers from low to high: 1, 2 or 5 times a power of ten apart."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    decade = 10.0 ** math.floor(math.log10(rough))
    step = next(times * decade for times in (1, 2, 5, 10) if times * decade >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _number(value: float, form: str) -> str:
    if "%" in form:
        return f"{100 * value:.0f} %"
    return f"{value:,.6g}" if abs(value) > 1e-12 else "0"


# ---- lines and points ------------------------------------------------------------------------------------------------


def _lines(figure: go.Figure, lines: Sequence[Any]) -> str:
    layout = figure.layout
    height = TOP + LINES_HEIGHT + BOTTOM
    across = Scale(*_extent(lines, "x", layout.xaxis.range), LEFT, WIDTH - RIGHT)
    down = Scale(*_extent(lines, "y", layout.yaxis.range), TOP + LINES_HEIGHT, TOP)
    parts = [
        _text(0, 18, _title(figure), "title"),
        *_legend([(_plain(line.name or ""), line) for line in lines if line.showlegend is not False and line.name]),
        *_shades(layout, across),
        *_axes(layout, across, down),
        *(part for line in lines for part in _drawn(line, across, down)),
    ]
    return _document(height, _title(figure), parts)


def _extent(lines: Sequence[Any], axis: str, given: Any) -> tuple[float, float]:
    if given:
        return float(given[0]), float(given[1])
    values = np.concatenate([np.asarray(getattr(line, axis), dtype=float) for line in lines])
    values = values[np.isfinite(values)]
    high = float(values.max()) if len(values) else 1.0
    return min(0.0, float(values.min()) if len(values) else 0.0), (high * 1.04 if high > 0 else 1.0)


def _axes(layout: Any, across: Scale, down: Scale) -> Iterator[str]:
    for value in ticks(down.low, down.high):
        y = float(down(value))
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield _text(LEFT - 8, y + 4, _number(value, layout.yaxis.tickformat or ""), "tick", "end")
    for value in ticks(across.low, across.high, 10):
        yield _text(float(across(value)), TOP + LINES_HEIGHT + 18, _number(value, ""), "tick", "middle")
    yield _text((LEFT + WIDTH) / 2, TOP + LINES_HEIGHT + 38, _plain(layout.xaxis.title.text or ""), "axis", "middle")
    middle = TOP + LINES_HEIGHT / 2
    words = _plain(layout.yaxis.title.text or "")
    yield _text(14, middle, words, "axis", "middle", f' transform="rotate(-90 14 {middle})"')


def _shades(layout: Any, across: Scale) -> Iterator[str]:
    """The times that a figure shades."""
    for shape in layout.shapes:
        if shape.type == "rect":
            begins, ends = (float(edge) for edge in across([shape.x0, shape.x1]))
            yield (
                f'<rect x="{begins:.1f}" y="{TOP}" width="{max(0.0, ends - begins):.1f}" height="{LINES_HEIGHT}" '
                f'fill="{SHADED}" opacity="0.1"/>'
            )


def _legend(entries: Sequence[tuple[str, Any]]) -> Iterator[str]:
    x = 0.0
    for name, line in entries:
        colour = html.escape(str(line.line.color or line.marker.color or "#808080"))
        if line.mode and "markers" in line.mode:
            yield f'<circle cx="{x + 12:.1f}" cy="38" r="4" fill="{colour}"/>'
        else:
            yield f'<line x1="{x:.1f}" x2="{x + 24:.1f}" y1="38" y2="38" {_stroke(line)}/>'
        yield _text(x + 30, 42, name, "tick")
        x += 30 + LETTER * len(name) + 22


def _stroke(line: Any) -> str:
    colour = html.escape(str(line.line.color or "#808080"))
    dash = DASHES.get(str(line.line.dash), "")
    return f'stroke="{colour}" stroke-width="{line.line.width or 2:g}" fill="none"' + (
        f' stroke-dasharray="{dash}"' if dash else ""
    )


def _drawn(line: Any, across: Scale, down: Scale) -> Iterator[str]:
    x, y = across(line.x), down(line.y)
    opacity = f' opacity="{line.opacity:g}"' if line.opacity is not None else ""
    if line.fill in ("toself", "tozeroy"):
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(*_stepped(x, y, line), strict=True))
        if line.fill == "tozeroy":
            points += f" {x[-1]:.1f},{float(down(0.0)):.1f} {x[0]:.1f},{float(down(0.0)):.1f}"
        yield f'<polygon points="{points}" fill="{html.escape(str(line.fillcolor))}" stroke="none"/>'
    if line.mode == "markers":
        chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), POINTS_MAX)).astype(int))
        colour = html.escape(str(line.marker.color))
        for a, b in zip(x[chosen], y[chosen], strict=True):
            yield f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.2" fill="{colour}" opacity="0.6"/>'
    elif line.mode == "lines":
        for part in _unbroken(x, y):
            stepped = zip(*_stepped(x[part], y[part], line), strict=True)
            path = " ".join(f"{'L' if n else 'M'}{a:.1f} {b:.1f}" for n, (a, b) in enumerate(stepped))
            yield f'<path d="{path}" {_stroke(line)}{opacity}/>'


def _unbroken(x: Floats, y: Floats) -> Iterator[slice]:
    """The stretches between gaps in a line."""
    there = np.isfinite(x) & np.isfinite(y)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(int)))
    for begin, end in edges.reshape(-1, 2).tolist():
        yield slice(begin, end)


def _stepped(x: Floats, y: Floats, line: Any) -> tuple[Floats, Floats]:
    if line.line.shape != "hv":
        return x, y
    return np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]


# ---- bars ------------------------------------------------------------------------------------------------------------


def _bars(figure: go.Figure) -> str:
    """Horizontal bars, a row a category, in the order in which they come; stacked where they have no base."""
    bars = [bar for bar in figure.data if bar.type == "bar" and bar.x is not None]
    rows = list(dict.fromkeys(str(y) for bar in bars for y in bar.y if y is not None))
    left = max(LEFT, 14 + LETTER * max((len(_plain(row)) for row in rows), default=0))
    ends, pieces = [0.0], list[tuple[int, float, float, Any, str]]()
    reached = dict.fromkeys(rows, 0.0)
    for bar in bars:
        words = bar.text if bar.text is not None else [""] * len(bar.x)
        bases = bar.base if bar.base is not None else [None] * len(bar.x)
        for y, length, base, word in zip(bar.y, bar.x, bases, words, strict=True):
            if y is not None and length is not None:
                begins = reached[str(y)] if base is None else float(base)
                reached[str(y)] = begins + float(length)
                ends.append(reached[str(y)])
                pieces.append((rows.index(str(y)), begins, float(length), bar, str(word)))
    across = Scale(0.0, max(ends) or 1.0, left, WIDTH - RIGHT)
    bottom = TOP + ROW * len(rows)
    parts = [_text(0, 18, _title(figure), "title"), *_keys(bars)]
    parts += [_text(left - 8, TOP + ROW * n + 17, _plain(row), "tick", "end") for n, row in enumerate(rows)]
    parts += [part for piece in pieces for part in _bar(*piece, across)]
    for value in ticks(0.0, across.high, 10):
        parts.append(_text(float(across(value)), bottom + 16, _number(value, ""), "tick", "middle"))
    words = next((axis.title.text for axis in figure.select_xaxes() if axis.title.text), "")
    parts.append(_text((left + WIDTH) / 2, bottom + 36, _plain(words), "axis", "middle"))
    return _document(bottom + BOTTOM, _title(figure), parts)


def _bar(row: int, begins: float, length: float, bar: Any, words: str, across: Scale) -> Iterator[str]:
    x, end = (float(place) for place in across([begins, begins + length]))
    y, colour = TOP + ROW * row + 4, html.escape(str(bar.marker.color))
    yield f'<rect x="{x:.1f}" y="{y}" width="{max(0.6, end - x):.1f}" height="{ROW - 8}" fill="{colour}"/>'
    if words:
        yield _text((x + end) / 2, y + 13, words, "dark" if _is_light(str(bar.marker.color)) else "inside", "middle")


def _is_light(colour: str) -> bool:
    """Whether dark letters are easier to read on it (#rrggbb): by its relative luminance, roughly."""
    if not re.fullmatch(r"#[0-9A-Fa-f]{6}", colour):
        return False
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue > LIGHT


def _keys(bars: Sequence[Any]) -> Iterator[str]:
    x = 0.0
    for name, bar in {_plain(bar.name): bar for bar in bars if bar.name and bar.showlegend is not False}.items():
        yield f'<rect x="{x:.1f}" y="32" width="12" height="12" fill="{html.escape(str(bar.marker.color))}"/>'
        yield _text(x + 18, 42, name, "tick")
        x += 18 + LETTER * len(name) + 20
