"""Tables of words and values with columns of equal width everywhere: small HTML, in which a stranger's text is text."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Literal, NewType

import streamlit as st

from ui import palette

Cell = NewType("Cell", str)
"""HTML that one of the functions below has made."""

STYLE = (
    """\
<style>
.rules-table { width: 100%; border-collapse: collapse; table-layout: fixed; font-size: 0.875rem; line-height: 1.45; }
.rules-table th { text-align: left; font-weight: 400; opacity: .65; padding: 2px 12px 4px 0; }
.rules-table td { padding: 5px 12px 5px 0; vertical-align: top; overflow-wrap: break-word;
  border-top: 1px solid color-mix(in srgb, currentColor 15%, transparent); }
.rules-table code { font-size: .8125rem; white-space: normal; overflow-wrap: anywhere; }
.rules-table small { opacity: .65; font-size: .8125rem; }
.rules-table a { color: inherit; text-underline-offset: 3px; }
.rules-table mark { color: inherit; padding: 1px 6px; border-radius: 4px; font-size: .8125rem; white-space: nowrap; }
"""
    + f"""\
.rules-table mark.changed {{ background: color-mix(in srgb, {palette.WARN} 28%, transparent); }}
.rules-table mark.flawed {{ background: color-mix(in srgb, {palette.BAD} 24%, transparent); }}
</style>
"""
)


def words(said: str, *, strong: bool = False, small: bool = False) -> Cell:
    """Plain text."""
    safe = html.escape(said)
    return Cell(f"<b>{safe}</b>" if strong else f"<small>{safe}</small>" if small else safe)


def code(name: str) -> Cell:
    """A name from the rulebook."""
    return Cell(f"<code>{html.escape(name)}</code>")


def mark(said: str, tone: Literal["changed", "flawed"]) -> Cell:
    """A value that differs."""
    return Cell(f'<mark class="{tone}">{html.escape(said)}</mark>')


def link(said: str, query: str) -> Cell:
    """A link to this page with another query."""
    return Cell(f'<a href="?{html.escape(query)}" target="_self">{html.escape(said)}</a>')


def joined(*cells: Cell, by: str = " ") -> Cell:
    """Several pieces in one cell."""
    return Cell(html.escape(by).join(cells))


def show(head: Sequence[str], rows: Sequence[Sequence[Cell]], widths: Sequence[int]) -> None:
    """Draw the table; `widths` are shares of the columns."""
    total = sum(widths)
    columns = "".join(f'<col style="width: {100 * width / total:.1f}%">' for width in widths)
    titles = "".join(f"<th>{html.escape(title)}</th>" for title in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    table = f'<table class="rules-table"><colgroup>{columns}</colgroup><tr>{titles}</tr>{lines}</table>'
    st.html(STYLE + table)
