"""What-if cards: what may happen to a mesh, one key each.

A card takes a value after a colon: `provider-slow:3`. Cards combine, in the order in which they are given, each on what
the ones before it have left. All but one change the world of the "after" side only; `policy:A,B` compares policy A with
policy B, and then the other cards hold on both sides, since the question is which of the two does better in that world.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from lab import metastability, units, whatif_effects
from lab.errors import ScenarioError, UsageError
from lab.headlines import leaves
from lab.scenario import Scenario
from lab.whatif_effects import DoesNotApply, Effect

EMPTY: Final = "[]"
"""A list without an entry: that it has entries now, these say themselves."""
VERSUS: Final = "policy"
"""The card whose two sides are both of its making."""


class Card(NamedTuple):
    """A card: what it asks, what its value may be, and its effect (raises DoesNotApply)."""

    key: str
    title: str
    about: str
    value: str
    effect: Callable[[Scenario, str], Effect]


class Asked(NamedTuple):
    """A card as somebody asked for it: `failures:10`."""

    key: str
    value: str = ""

    @classmethod
    def parse(cls, text: str) -> Asked:
        """From KEY[:VALUE]. Raises UsageError for a card that does not exist."""
        key, _, value = text.partition(":")
        if key.strip() not in CARDS:
            raise UsageError(f"--card {text}: there is no such card; choose from {', '.join(CARDS)}")
        return cls(key.strip(), value.strip())

    def __str__(self) -> str:
        return f"{self.key}:{self.value}" if self.value else self.key


# ---- together --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """Before and after: what is compared, and what was done."""

    asked: tuple[Asked, ...]
    effects: tuple[Effect, ...]
    before: Scenario
    after: Scenario

    @property
    def title(self) -> str:
        """All cards in a line."""
        return "; ".join(effect.title for effect in self.effects)

    @property
    def names(self) -> tuple[str, str]:
        """What the two sides are called."""
        return next((effect.names for effect in self.effects if effect.names), ("Before", "After"))

    @property
    def window_s(self) -> tuple[float, float | None] | None:
        """When something is amiss, if not during the whole run: of several, the first."""
        return next((effect.window_s for effect in self.effects if effect.window_s), None)

    @property
    def over(self) -> str:
        """What has happened at the end of that time: Redis is back."""
        return next((effect.over for effect in self.effects if effect.over), "")

    @property
    def live_hindrance(self) -> str:
        """Why it cannot be asked of the real thing; empty if it can."""
        return "; ".join(effect.live_hindrance for effect in self.effects if effect.live_hindrance)

    @property
    def differences(self) -> list[tuple[str, str, str]]:
        """(path, value before, value after) of all that differs, rules and defaults included."""
        sides = [dict(leaves(scenario.model_dump(mode="json"))) for scenario in (self.before, self.after)]
        paths = dict.fromkeys([*sides[0], *sides[1]])
        found = [(path, *(side.get(path, units.NONE) for side in sides)) for path in paths]
        return [(path, before, after) for path, before, after in found if before != after and before != EMPTY]


def question(scenario: Scenario, asked: Sequence[Asked]) -> Question:
    """These cards put to this scenario. Raises DoesNotApply, saying which card and why."""
    if not asked:
        raise UsageError("no card was chosen; --list shows them all")
    versus = [one for one in asked if one.key == VERSUS]
    if len(versus) > 1:
        raise UsageError("--card policy: give it once, as in policy:scheduled,jitter")
    world, effects = scenario, list[Effect]()
    for one in asked:
        if one.key != VERSUS:
            effects.append(_effect(one, world))
            world = _turned(world, effects[-1].title, effects[-1].changes)
    if not versus:
        return Question(tuple(asked), tuple(effects), scenario, world)
    effect = _effect(versus[0], world)
    sides = [_turned(world, effect.title, changes) for changes in (effect.changes_before, effect.changes)]
    return Question(tuple(asked), (*effects, effect), *sides)


def _effect(asked: Asked, world: Scenario) -> Effect:
    try:
        return CARDS[asked.key].effect(world, asked.value)
    except ScenarioError:
        raise
    except UsageError as error:
        raise type(error)(f"--card {asked}: {error}") from error


def _turned(world: Scenario, title: str, changes: Mapping[str, Any]) -> Scenario:
    """The scenario with these changes; what the scenario's own bounds forbid does not apply."""
    try:
        return world.override(changes) if changes else world
    except ScenarioError as error:
        said = "; ".join(problem.message for problem in error.problems)
        raise DoesNotApply(f"{title}: this scenario cannot be changed so: {said}") from error


CARDS: Final[Mapping[str, Card]] = {
    card.key: card
    for card in (
        Card(
            "provider-slow",
            "Provider slows down",
            f"Every attempt works {whatif_effects.SLOWER:g}× as long.",
            f"FACTOR, or FACTOR,ROLE for one role only (default {whatif_effects.SLOWER:g})",
            whatif_effects.provider_slow,
        ),
        Card(
            "failures",
            "More failures",
            f"{whatif_effects.MORE_FAILURES:g}× as many attempts fail.",
            f"FACTOR, or a SHARE% of the attempts (default {whatif_effects.MORE_FAILURES:g}; where nothing fails yet, "
            f"{whatif_effects.percent(whatif_effects.FAILURES_WHERE_NONE)})",
            whatif_effects.failures,
        ),
        Card(
            "traffic",
            "Traffic doubles",
            f"{whatif_effects.MORE_TRAFFIC:g}× as many tasks come in the same time.",
            f"FACTOR (default {whatif_effects.MORE_TRAFFIC:g})",
            whatif_effects.traffic,
        ),
        Card(
            "lose-workers",
            "A third of the workers die",
            "At half-time they are killed with what they hold, and stay away.",
            "a share (1/3, 50%) or a number of workers (default 1/3)",
            whatif_effects.lose_workers,
        ),
        Card(
            "redis-away",
            f"Redis is away for {whatif_effects.REDIS_AWAY_S:g} s",
            "At half-time it is killed; it comes back empty.",
            f"SECONDS (default {whatif_effects.REDIS_AWAY_S:g})",
            whatif_effects.redis_away,
        ),
        Card(
            VERSUS,
            "Retry policy A or B",
            "The same tasks and failures under two retry policies.",
            f"B, or A,B: of {', '.join(metastability.POLICIES)}, or {{…}} with values of rules.retry "
            f"(default: the first of {', '.join(whatif_effects.POLICIES_TO_TRY)} that changes something)",
            whatif_effects.policy,
        ),
    )
}
"""The six cards by their keys."""
