"""The page around a report: one file that fetches nothing, with contents at its side, for the screen and for paper.

Every figure is there twice: interactive, drawn by Plotly (whose only copy is in the page), and as SVG, which is what
paper shows, and a reader in which scripts do not run (the preview of a mail, a review tool). Everything that comes from
a record is escaped by whoever puts it into a section.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import plotly.graph_objects as go

from lab.report_svg import svg

STYLE: Final = """\
:root { color-scheme: light; --ink: #1f2430; --soft: #5b6472; --line: #e3e6eb; --wash: #f6f7f9; --accent: #0072B2; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body { margin: 0; color: var(--ink); font: 15px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
.sheet { display: grid; grid-template-columns: 13.5rem minmax(0, 60rem); gap: 0 3.5rem; justify-content: center;
  padding: 3rem 2rem 5rem; }
nav { position: sticky; top: 3rem; align-self: start; font-size: 0.85rem; max-height: 90vh; overflow: auto; }
nav b { display: block; margin-bottom: 0.5rem; font-weight: 600; color: var(--soft); font-size: 0.75rem;
  text-transform: uppercase; letter-spacing: 0.06em; }
nav a { display: block; padding: 0.22rem 0 0.22rem 0.8rem; color: var(--soft); text-decoration: none;
  border-left: 2px solid var(--line); }
nav a:hover { color: var(--accent); border-color: var(--accent); }
.alone { display: block; max-width: 72rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
header { margin-bottom: 2.2rem; }
.eyebrow { color: var(--soft); font-size: 0.8rem; letter-spacing: 0.04em; margin: 0 0 0.3rem; }
h1 { font-size: 1.9rem; line-height: 1.2; letter-spacing: -0.015em; margin: 0 0 0.4rem; overflow-wrap: anywhere; }
.lead { color: var(--soft); margin: 0; font-size: 1.02rem; max-width: 46rem; }
section { margin: 0 0 2.8rem; scroll-margin-top: 1.5rem; }
h2 { font-size: 1.2rem; letter-spacing: -0.01em; margin: 0 0 0.7rem; padding-top: 0.9rem;
  border-top: 1px solid var(--line); break-after: avoid; }
h3 { font-size: 1rem; margin: 1.4rem 0 0.4rem; break-after: avoid; }
p { margin: 0.4rem 0; max-width: 50rem; } .note { color: var(--soft); font-size: 0.84rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 0.88rem; }
th, td { padding: 0.36rem 0.7rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th { color: var(--soft); font-weight: 600; font-size: 0.8rem; vertical-align: bottom; }
.words th:not(.n), .words td:not(.n), th:first-child, td:first-child { text-align: left; }
td:first-child, th:first-child { padding-left: 0; } tbody tr:last-child td { border-bottom: 0; }
tr { break-inside: avoid; }
table.rules td:nth-child(-n+3) { white-space: nowrap; } table.rules b { background: #fff2cf; padding: 0 0.25em; }
td.group { color: var(--soft); padding-top: 0.9rem; font-weight: 600; }
.verdict { display: inline-block; margin: 1rem 0.6rem 0 0; padding: 0.3rem 0.75rem; border-radius: 999px;
  font-weight: 600; font-size: 0.86rem; }
.wide .verdict { margin: 0; padding: 0.05rem 0.6rem; font-size: 0.78rem; white-space: nowrap; }
.good { background: #e3f3ea; color: #145c33; } .bad { background: #fbe7e7; color: #962020; }
.warn { background: #fdf1d7; color: #7a5200; } .none { background: #eceff3; color: #46505e; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.6rem, 1fr)); gap: 0.8rem; margin: 1.4rem 0 0; }
.card { border: 1px solid var(--line); border-radius: 10px; padding: 0.75rem 0.9rem; break-inside: avoid; }
.card span { display: block; color: var(--soft); font-size: 0.78rem; }
.card b { font-size: 1.3rem; font-weight: 650; letter-spacing: -0.01em; display: block; }
.card small { color: var(--soft); font-size: 0.78rem; overflow-wrap: anywhere; }
pre { overflow-x: auto; background: var(--wash); padding: 0.9rem 1.1rem; border-radius: 8px; font-size: 0.78rem;
  line-height: 1.5; white-space: pre-wrap; overflow-wrap: anywhere; }
pre .add { color: #145c33; background: #e3f3ea; } pre .cut { color: #962020; background: #fbe7e7; }
code { font-size: 0.86em; background: var(--wash); padding: 0.1em 0.35em; border-radius: 4px; }
details { margin: 0.6rem 0; } summary { cursor: pointer; color: var(--accent); }
.figure { margin: 1.1rem 0 1.6rem; break-inside: avoid; }
.static { width: 100%; height: auto; display: block; font: 12px system-ui, sans-serif; }
.static .title { font-size: 15px; font-weight: 600; fill: #1f2430; } .static .tick { fill: #5b6472; }
.static .axis { fill: #5b6472; } .static .inside { fill: #ffffff; font-size: 11px; }
.static .dark { fill: #1f2430; font-size: 11px; }
.static .grid { stroke: #e3e6eb; stroke-width: 1; }
.plot { display: none; } .js .plot { display: block; } .js .static { display: none; }
@media (max-width: 68rem) { .sheet { display: block; padding: 1.5rem 1.25rem 3rem; max-width: 62rem; margin: 0 auto; }
  nav { position: static; columns: 2; margin: 0 0 1.5rem; max-height: none; } nav b { column-span: all; } }
@media print { @page { margin: 16mm 14mm; } body { font-size: 10pt; } .sheet { display: block; padding: 0; }
  nav { position: static; columns: 2; margin-bottom: 1.5rem; max-height: none; } nav b { column-span: all; }
  .js .plot, .plot { display: none; } .js .static, .static { display: block; }
  pre, table, th { font-size: 8pt; } section { margin-bottom: 1.6rem; } .wide { overflow: visible; }
  .verdict, .card, table.rules b { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
SHELL: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'unsafe-inline'; img-src data: blob:">
<title>{title}</title>
<style>
{style}</style>
<script>document.documentElement.classList.add("js")</script>
</head>
<body>
{body}
</body>
</html>
"""
SHEET: Final = """\
<div class="sheet">
<nav aria-label="Contents"><b>Contents</b>{contents}</nav>
<main>
<header>{header}</header>
{sections}
</main>
</div>"""
PAGE: Final = SHELL.format(
    title="{title}", style=STYLE.replace("{", "{{").replace("}", "}}"), body='<main class="alone">{body}</main>'
)
"""The same look without contents at its side, for pages that lay themselves out: `PAGE.format(title=…, body=…)`."""


class Section(NamedTuple):
    """A part of the page: its heading (plain text) and its lines of HTML."""

    title: str
    lines: Sequence[str]


def page(title: str, eyebrow: str, header: Iterable[str], sections: Iterable[Section]) -> str:
    """The whole file. `title` and `eyebrow` are plain text, `header` is HTML below the title; empty sections are left
    out.
    """
    kept = [one for one in sections if one.lines]
    contents = "".join(f'<a href="#s{n}">{e(one.title)}</a>' for n, one in enumerate(kept, start=1))
    top = "\n".join([f'<p class="eyebrow">{e(eyebrow)}</p><h1>{e(title)}</h1>', *header])
    parts = "\n".join(
        "\n".join([f'<section id="s{n}"><h2>{e(one.title)}</h2>', *one.lines, "</section>"])
        for n, one in enumerate(kept, start=1)
    )
    body = SHEET.format(contents=contents, header=top, sections=parts)
    return SHELL.format(title=e(title), style=STYLE, body=body)


def e(text: object) -> str:
    """Text as HTML shows it letter by letter."""
    return html.escape(str(text))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table of cells that are HTML already."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    lines = ("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    body = f"<thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<div class="wide"><table class="{kind}">{body}</table></div>'


def badge(words: str, mood: str) -> str:
    """A verdict: good, bad, warn or none."""
    return f'<span class="verdict {mood}">{e(words)}</span>'


def cards(facts: Iterable[tuple[str, str, str]]) -> str:
    """Headline figures as cards: name, value, and what stands below it, in plain text."""
    drawn = (f'<div class="card"><span>{e(a)}</span><b>{e(b)}</b><small>{e(c)}</small></div>' for a, b, c in facts)
    return f'<div class="cards">{"".join(drawn)}</div>'


class Drawing:
    """Draws the figures of one page: the first one brings the library for all."""

    def __init__(self) -> None:
        self._brought = False

    def __call__(self, figure: go.Figure) -> str:
        """A figure, interactive and as SVG."""
        figure.update_layout(template="plotly_white", width=None, paper_bgcolor="rgba(0,0,0,0)")
        drawn = figure.to_html(
            full_html=False, include_plotlyjs=not self._brought, default_width="100%",
            config={"displaylogo": False, "responsive": True, "displayModeBar": False},
        )  # fmt: skip
        self._brought = True
        return f'<div class="figure"><div class="plot">{drawn}</div>{svg(figure)}</div>'
