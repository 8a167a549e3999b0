"""Words and numbers for people: formatting, and the safe way to show what a stranger wrote."""

from __future__ import annotations

import re
from datetime import datetime

MIB = 1024 * 1024
ENGINE_WORDS = {"sim": "Model", "live": "Live", "both": "Model and live"}
NONE = "–"

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~$:&^=@/])")


def escape(text: str) -> str:
    """Text that Markdown shows letter by letter: no links, images, icons or formulas from a stranger's file."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def sentence(message: str) -> str:
    """A message as it stands alone: with a capital."""
    return message[:1].upper() + message[1:]


def seconds(value: float | None) -> str:
    """A span: 3.2 ms, 1.25 s, 68 s, 4 min 10 s, 2 h 5 min."""
    if value is None:
        return NONE
    size = abs(value)
    if size < 0.0995:
        return f"{_digits(value * 1e3)} ms" if value else "0 s"
    if size < 120:
        return f"{_digits(value)} s"
    if size < 7_200:
        minutes, rest = divmod(round(value), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(round(value / 60), 60)
    return f"{hours:,} h {rest} min" if rest else f"{hours:,} h"


def whole_seconds(value: float) -> str:
    """An estimate: 9 s, 4 min 10 s; never less than a second."""
    return f"{max(1, round(value))} s" if value < 120 else seconds(value)


def rate(value: float | None) -> str:
    """A rate: 7.35/s."""
    return NONE if value is None else f"{_digits(value)}/s"


def size(value: float | None) -> str:
    """Bytes as MiB."""
    return NONE if value is None else f"{_digits(value / MIB)} MiB"


def count(value: float | None) -> str:
    """A whole number."""
    return NONE if value is None else f"{value:,.0f}"


def percent(error: float | None) -> str:
    """A signed relative difference: +1.2 %, 0 %."""
    if error is None:
        return NONE
    shown = f"{error * 100:+.1f}"
    return "0 %" if float(shown) == 0 else f"{shown.replace('-', '−')} %"


def ago(moment: str, now: datetime) -> str:
    """How long ago an ISO moment was; the moment itself if it cannot be read."""
    try:
        passed = (now - datetime.fromisoformat(moment)).total_seconds()
    except (ValueError, TypeError):
        return moment
    for size_s, word in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if passed >= size_s:
            return f"{passed // size_s:.0f} {word} ago"
    return "just now"


def plural(number: int, noun: str) -> str:
    """3 tasks, 1 task."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _digits(value: float) -> str:
    """Three significant digits, and never an exponent."""
    size = abs(value)
    places = 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.9995 else 3
    return f"{value:,.{places}f}"
