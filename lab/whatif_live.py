"""The same question put to the real thing: before and after, once or more, beside the model's runs of that seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from lab import units
from lab.compare import compare
from lab.errors import Interrupted
from lab.progress import OnProgress, Progress, Stop, ignore, never
from lab.record import Record
from lab.replicate import Simulate
from lab.whatif import FIGURES, Moved, Question, Trial, moved
from lab.whatif_words import P99, by_how_much, factor

SIDES: Final = ("before", "after")
AFTER_FIRST: Final = tuple(reversed(SIDES))
Pair = tuple[Record, Record]
"""Before and after."""
Save = Callable[[Record], Record]
"""Keeps a record and returns it, with the folder where it lies."""


@dataclass(frozen=True, eq=False)
class Beside:
    """The records: of the model before and after, and of each live repeat."""

    question: Question
    model: Pair
    live: tuple[Pair, ...]

    @cached_property
    def trials(self) -> dict[str, tuple[list[Trial], list[Trial]]]:
        """Of each engine before and after, repeat by repeat, in what figures need."""
        pairs = {"model": (self.model,), "live": self.live}
        return {
            engine: ([Trial.of(before) for before, _ in some], [Trial.of(after) for _, after in some])
            for engine, some in pairs.items()
        }

    @cached_property
    def figures(self) -> dict[str, dict[str, Moved]]:
        """By path and engine: the figure before and after. The live figure has intervals where there are repeats: they
        run the same tasks, so the intervals speak of the machine's own spread; the model, which would repeat itself to
        the bit, has none.
        """
        found = {path: {engine: moved(*sides, path) for engine, sides in self.trials.items()} for path in FIGURES}
        return {path: one for path, one in found.items() if any(m.before is not None for m in one.values())}

    @property
    def failed_checks(self) -> list[str]:
        """The checks that any of the live runs broke."""
        return sorted({name for pair in self.live for record in pair for name in record.info["checks"]["failed"]})

    def as_json(self) -> dict[str, Any]:
        """For JSON; `before` and `after` are what `lab.compare` says of model and the first live repeat, whose records
        are those of `records`; `repeats` has the records of each.
        """
        first, *_ = self.live
        sides = zip(SIDES, self.model, first, strict=True)
        return {
            "possible": True,
            "verdict": verdict(self),
            "figures": {
                path: {engine: one.as_json() for engine, one in both.items()} for path, both in self.figures.items()
            },
            **{side: compare(model, live).data for side, model, live in sides},
            "records": {"model": _ids(self.model), "live": _ids(first)},
            "repeats": [_ids(pair) for pair in self.live],
            "checks": {"ok": not self.failed_checks, "failed": self.failed_checks},
        }


def _ids(pair: Pair) -> dict[str, str]:
    return {side: str(record.info["run_id"]) for side, record in zip(SIDES, pair, strict=True)}


def verdict(beside: Beside) -> str:
    """What the real thing says, and whether the model had said so."""
    live, model = (
        (beside.figures[P99][engine] for engine in ("live", "model")) if P99 in beside.figures else (None,) * 2
    )
    if live is None or model is None or live.after is None or live.before is None:
        return "Live, nothing is completed on one of the two sides."
    told = f"Live, latency p99 goes from {units.seconds(live.before)} to {units.seconds(live.after)}"
    if live.ratio is None or model.ratio is None:
        return f"{told}."
    return f"{told}{by_how_much(live)}; the model said ×{factor(model.ratio)} for the same tasks."


def run(
    engines: Mapping[str, Simulate],
    question: Question,
    save: Save,
    repeats: int = 1,
    *,
    on_progress: OnProgress = ignore,
    stop: Stop = never,
) -> Beside:
    """Run both sides in both engines (`model` once, `live` so many times), always with the scenario's own seed.

    Stopped, it has the repeats that were finished; Interrupted if none was. Raises what the live engine raises for a
    scenario that it cannot run.
    """

    def pair(engine: str, order: Sequence[str], note: str = "") -> Pair:
        done: dict[str, Record] = {}
        for side in order:
            told = _noted(on_progress, f"{engine}, {side}{note}")
            record = engines[engine](getattr(question, side), on_progress=told, stop=stop)
            if record.info.get("interrupted"):
                raise Interrupted(f"stopped in the {engine} run {side}: before and after are not both there")
            done[side] = save(record)
        return done["before"], done["after"]

    # The real thing last: what it refuses, it refuses at once, and "after" is what it may refuse.
    model, live = pair("model", AFTER_FIRST), list[Pair]()
    for repeat in range(repeats):
        # Each side is first in turn, so that a machine that warms up does not look like a change.
        order = SIDES if repeat % 2 else AFTER_FIRST
        try:
            live.append(pair("live", order, f", {repeat + 1} of {repeats}" if repeats > 1 else ""))
        except Interrupted:
            if not live:
                raise
            break
    return Beside(question, model, tuple(live))


def _noted(on_progress: OnProgress, note: str) -> OnProgress:
    def told(progress: Progress) -> None:
        on_progress(replace(progress, note=note))

    return told
