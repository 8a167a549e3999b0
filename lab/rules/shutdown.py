"""What becomes of running tasks when a worker is told to stop (SIGTERM).

It claims nothing more, finishes what it runs within `grace_s`, hands the rest back, and exits 0.
"""

from __future__ import annotations

from typing import Literal

from lab.rules.base import Rules, rule


class ShutdownRules(Rules):
    """How a worker leaves."""

    grace_s: float = rule(
        30.0, "What most orchestrators allow between the first signal and the last.", unit="s", ge=0, le=86_400
    )
    on_term: Literal["finish", "drop"] = rule(
        "finish",
        "finish: work ends or is handed back, uncounted. drop is the published behaviour: what runs is forgotten.",
    )


def grace_s(rules: ShutdownRules) -> float:
    """Seconds for which running attempts may go on after the signal; what then still runs is handed back (or
    dropped).
    """
    return rules.grace_s if rules.on_term == "finish" else 0.0


def hands_back(rules: ShutdownRules) -> bool:
    """Whether work that could not be finished goes back to its queue, the attempt uncounted."""
    return rules.on_term == "finish"
