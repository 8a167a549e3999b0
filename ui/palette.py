"""The app's colours: the two engines, the roles, good and bad. The same everywhere, and never alone: a word or an icon
says it too. All but the bands are Okabe and Ito's or lighter forms of them, which colour-blind people tell apart.
"""

from __future__ import annotations

from typing import Final, Literal

Engine = Literal["sim", "live"]

MODEL: Final = "#0072B2"
LIVE: Final = "#D55E00"
MODEL_DARK: Final = "#56B4E9"
LIVE_DARK: Final = "#FF8A4C"
"""On dark ground the engines' colours are lighter, so that a thin line keeps its contrast."""

ROLES: Final = ("#009E73", "#CC79A7", "#E6B800", "#56B4E9", "#F0E442", "#999999")
"""By the order of the scenario."""

GOOD: Final = "#2E9E5B"
WARN: Final = "#E0A800"
BAD: Final = "#D64545"
NEUTRAL: Final = "#808080"
"""Grid lines, limits, what is over."""

_ENGINES: Final[dict[tuple[Engine, bool], str]] = {
    ("sim", False): MODEL,
    ("sim", True): MODEL_DARK,
    ("live", False): LIVE,
    ("live", True): LIVE_DARK,
}


def engine_colour(engine: Engine, dark: bool = False) -> str:
    """The colour of an engine, on light or on dark ground."""
    return _ENGINES[engine, dark]


def role_colour(index: int) -> str:
    """The colour of the role at this place of the scenario, counted from 0; after six they begin anew."""
    return ROLES[index % len(ROLES)]


def shade(colour: str, opacity: float = 0.15) -> str:
    """The same colour (#rrggbb), mostly transparent, as CSS and Plotly write it."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"
