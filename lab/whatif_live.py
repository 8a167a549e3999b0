"""The same question put to the real thing: before and after once each, beside the model's runs of the same seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from lab.whatif_words import P99, factor

SIDES: Final = ("before", "after")
Save = Callable[[Record], Record]
"""Keeps a record and returns it, with the folder where it lies."""


@dataclass(frozen=True, eq=False)
class Beside:
    """The four records: model and live, before and after."""

    question: Question
    model: tuple[Record, Record]
    live: tuple[Record, Record]

    @cached_property
    def trials(self) -> dict[str, tuple[Trial, Trial]]:
        """Of each engine before and after, in what curves and figures need."""
        sides = {"model": self.model, "live": self.live}
        return {engine: (Trial.of(before), Trial.of(after)) for engine, (before, after) in sides.items()}

    @cached_property
    def figures(self) -> dict[str, dict[str, Moved]]:
        """By path and engine: the figure before and after. One run each: there are no intervals."""
        found = {
            path: {engine: moved([before], [after], path) for engine, (before, after) in self.trials.items()}
            for path in FIGURES
        }
        return {path: one for path, one in found.items() if any(m.before is not None for m in one.values())}

    @property
    def failed_checks(self) -> list[str]:
        """The checks that any of the live runs broke."""
        return sorted({name for record in self.live for name in record.info["checks"]["failed"]})

    def as_json(self) -> dict[str, Any]:
        """For JSON; `before` and `after` are what `lab.compare` says of model and live."""
        sides = zip(SIDES, self.model, self.live, strict=True)
        return {
            "possible": True,
            "verdict": verdict(self),
            "figures": {
                path: {engine: one.as_json() for engine, one in both.items()} for path, both in self.figures.items()
            },
            **{side: compare(model, live).data for side, model, live in sides},
            "records": {
                engine: {side: str(record.info["run_id"]) for side, record in zip(SIDES, records, strict=True)}
                for engine, records in (("model", self.model), ("live", self.live))
            },
            "checks": {"ok": not self.failed_checks, "failed": self.failed_checks},
        }


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
    return f"{told} (×{factor(live.ratio)}); the model said ×{factor(model.ratio)} for the same tasks."


def run(
    engines: Mapping[str, Simulate],
    question: Question,
    save: Save,
    *,
    on_progress: OnProgress = ignore,
    stop: Stop = never,
) -> Beside:
    """Run both sides in both engines (`model`, `live`), the scenario's own seed. Raises what the live engine raises for
    a scenario that it cannot run, and Interrupted if it was stopped.
    """
    # The real thing last: what it refuses, it refuses at once, and "after" is what it may refuse.
    done: dict[str, dict[str, Record]] = {"model": {}, "live": {}}
    for engine in ("model", "live"):
        for side in reversed(SIDES):
            scenario = getattr(question, side)
            record = engines[engine](scenario, on_progress=_noted(on_progress, f"{engine}, {side}"), stop=stop)
            if record.info.get("interrupted"):
                raise Interrupted(f"stopped in the {engine} run {side}: before and after are not both there")
            done[engine][side] = save(record)
    model, live = ((one["before"], one["after"]) for one in done.values())
    return Beside(question, model, live)


def _noted(on_progress: OnProgress, note: str) -> OnProgress:
    def told(progress: Progress) -> None:
        on_progress(replace(progress, note=note))

    return told
