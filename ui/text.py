"""Words for people, and the safe way to show what a stranger wrote. Numbers are written by lab/units.py."""

from __future__ import annotations

import re
from datetime import datetime

from lab.limits import MIB as MIB
from lab.units import NONE as NONE
from lab.units import count as count
from lab.units import percent as percent
from lab.units import plural as plural
from lab.units import rate as rate
from lab.units import seconds as seconds
from lab.units import size as size

ENGINE_WORDS = {"sim": "Model", "live": "Live", "both": "Model and live"}

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~$:&^=@/])")


def escape(text: str) -> str:
    """Text that Markdown shows letter by letter: no links, images, icons or formulas from a stranger's file."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def sentence(message: str) -> str:
    """A message as it stands alone: with a capital."""
    return message[:1].upper() + message[1:]


def whole_seconds(value: float) -> str:
    """An estimate: 9 s, 4 min 10 s; never less than a second."""
    return f"{max(1, round(value))} s" if value < 120 else seconds(value)


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
