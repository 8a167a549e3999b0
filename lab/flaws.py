"""Published flaws and their cures: for each the scenario that shows it, and the switches that make the difference.

Both runs of a pair have the same tasks, draws, faults and mesh. They differ in the switches alone, whose flawed values
are those of the published preset and whose cured ones are ours; so whatever becomes different is the switches' doing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lab.rules.explain import Rule, explain, preset_rulebook
from lab.rules.presets import PRESETS
from lab.scenario import Scenario

SCENARIOS: Final = Path(__file__).resolve().parent.parent / "scenarios" / "flaws"


@dataclass(frozen=True)
class Flaw:
    """One published flaw. `switches` are paths below `rules`, `preset` is who published it."""

    key: str
    title: str
    preset: str
    switches: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The scenario that shows it."""
        return SCENARIOS / f"{self.key}.yaml"

    def values(self, preset: str) -> dict[str, Any]:
        """The switches as that preset sets them."""
        told = told_by(preset)
        return {switch: told[switch].value for switch in self.switches}

    def pair(self) -> tuple[Scenario, Scenario]:
        """(flawed, cured): the same scenario under the published and under our values of the switches.

        Raises ScenarioError if its file cannot be read.
        """
        scenario = Scenario.load(self.path)
        flawed, cured = (
            scenario.override({f"rules.{switch}": value for switch, value in self.values(preset).items()})
            for preset in (self.preset, "lab")
        )
        return flawed, cured


FLAWS: Final = (
    Flaw("killed_worker", "A worker dies", "agent-mesh-published", ("lease.claim",)),
    Flaw("sleeping_slots", "Slots that sleep", "agent-mesh-published", ("retry.wait",)),
    Flaw("provider_away", "A provider is away", "go-distributed-queue-published", ("retry.base_s",)),
    Flaw("queue_jumpers", "Retries jump the queue", "go-distributed-queue-published", ("retry.position",)),
    Flaw("memory", "Memory past the limit", "agent-mesh-published", ("health.backpressure",)),
    Flaw("shutdown", "A rolling restart", "agent-mesh-published", ("shutdown.on_term", "lease.claim")),
)


def told_by(preset: str) -> dict[str, Rule]:
    """Every rule of a preset by its path."""
    return {rule.path: rule for rule in explain(preset_rulebook(preset))}


def switches() -> list[str]:
    """The rules that any published preset sets otherwise than we do, in the order of the rulebook."""
    ours = told_by("lab")
    others = [told_by(preset) for preset in PRESETS if preset != "lab"]
    return [path for path in ours if any(other[path].value != ours[path].value for other in others)]
