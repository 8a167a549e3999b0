"""What a plan comes to: the mesh, how sure that is, the frontier, the margin to the cliff, and what it took."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lab import units
from lab.planning_candidates import Candidate, Line, Offered
from lab.planning_margin import Margin
from lab.planning_measured import Measured, Verdict, as_json
from lab.planning_objectives import Figure, Objective, Objectives, Prices
from lab.planning_search import strain
from lab.planning_trials import Case, scenario_of
from lab.scenario import Scenario, Trace
from lab.statistics import Estimate

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Space:
    """What was searched."""

    workers: tuple[int, int]
    slots: tuple[int, ...]
    policies: tuple[str, ...]
    candidates: int
    dropped: tuple[str, ...]
    """Lines that were left early, since all that was left on them was dearer than what had been found."""
    exhaustive_runs: int
    """Runs that trying every candidate would have taken, without a second look at any."""

    @classmethod
    def of(cls, lines: Sequence[Line], dropped: Sequence[Line], replications: int) -> Space:
        """The space of these lines."""
        count = sum(len(line.workers) for line in lines)
        return cls(
            (min(line.workers[0] for line in lines), max(line.workers[-1] for line in lines)),
            tuple(dict.fromkeys(line.slots for line in lines)),
            tuple(dict.fromkeys(line.policy for line in lines)),
            count,
            tuple(f"{units.plural(line.slots, 'slot')}, {line.policy}" for line in dropped),
            count * replications,
        )

    def as_json(self) -> dict[str, Any]:
        """The space as plain data."""
        return {
            "workers": list(self.workers),
            "slots": list(self.slots),
            "policies": list(self.policies),
            "candidates": self.candidates,
            "dropped": list(self.dropped),
            "exhaustive_runs": self.exhaustive_runs,
        }


@dataclass(frozen=True)
class Fewer:
    """The winner with fewer workers, and how much later that makes the leading figure (paired; None if unknown)."""

    measured: Measured
    later: Estimate | None


@dataclass(frozen=True)
class Answer:
    """A plan. `measured` has all that was looked at, the cheapest first; `winner` is one of them, or None."""

    scenario: Scenario
    objectives: Objectives
    prices: Prices
    offered: Offered
    space: Space
    measured: tuple[Measured, ...]
    winner: Measured | None
    margin: Margin | None
    fewer: Fewer | None
    runs: int
    search_runs: int
    """Those that found the boundary of every line; the others say how sure it is."""
    exact: bool
    """The seeds change nothing: every run of a mesh is the same."""
    interrupted: bool
    wall_s: float

    @property
    def leading(self) -> Figure:
        """The figure that costs are set against."""
        return self.objectives.leading

    @property
    def chosen(self) -> Scenario:
        """The scenario on the winner. Raises ValueError if there is none."""
        if self.winner is None:
            raise ValueError("no mesh meets the objectives")
        return scenario_of(self.scenario, Case(self.winner.candidate))

    @property
    def frontier(self) -> tuple[Measured, ...]:
        """Those that nothing is cheaper than and at least as fast: the cheapest first, each faster than the last."""
        found: list[Measured] = []
        for one in self.measured:
            value = one.figures[self.leading.name].value
            if math.isfinite(value) and (not found or value < found[-1].figures[self.leading.name].value):
                found.append(one)
        return tuple(found)

    @property
    def nearest(self) -> Measured:
        """The candidate that comes nearest to the objectives."""
        return min(self.measured, key=lambda one: (strain(one, self.objectives), one.cost))

    def worst(self, one: Measured) -> Objective:
        """The objective that is hardest for a candidate."""
        return max(self.objectives, key=lambda each: each.strain(one.figures[each.figure.name].value))

    # -- in words --

    @property
    def words(self) -> list[str]:
        """The answer, the most important sentence first."""
        return list(self._words())

    def _words(self) -> Iterator[str]:
        if self.winner is None:
            yield from self._none()
        else:
            yield self._headline(self.winner)
            yield self._confidence(self.winner)
            if self.fewer is not None:
                yield self._one_less(self.winner, self.fewer)
            if self.margin is not None:
                yield f"Margin: {self._margin(self.margin)}."
            yield from self._cheaper(self.winner)
        yield self._effort()
        if self.interrupted:
            missed = "one that does" if self.winner is None else "a cheaper mesh"
            yield f"Stopped before the end: {missed} may have been missed."

    def _effort(self) -> str:
        """Runs of the search beside those that trying everything would have taken."""
        few, many = self.space.workers
        span = units.plural(few, "worker") if few == many else f"{few:,} to {many:,} workers"
        candidates = units.plural(self.space.candidates, "candidate")
        every = f"{self.space.exhaustive_runs:,} for all {candidates} of {span}"
        more = self.runs - self.search_runs
        further = f"; {more:,} more say how sure it is and where it breaks" if more else ""
        took = units.seconds(self.wall_s)
        return f"The search took {self.search_runs:,} runs of the model instead of {every}{further}. {took} in all."

    def _headline(self, winner: Measured) -> str:
        """`3 workers × 5 slots with jitter: p99 latency 4.8 s (4.6 to 5.0 s) for 3.00/h.`"""
        said = ", ".join(self._figure(winner, one.figure) for one in self.objectives)
        cheaper = [one for one in self.measured if one.cost < winner.cost]
        last = ""
        if cheaper:
            next_to = max(cheaper, key=lambda one: (one.cost, -strain(one, self.objectives)))
            last = f"; the next cheaper, {_told(next_to, self.worst(next_to).figure)}"
        return f"{winner.candidate.words}: {said} for {winner.cost:,.2f}/h{last}."

    def _figure(self, one: Measured, figure: Figure) -> str:
        return f"{figure.words} {figure.told(one.figures[figure.name])}"

    def _confidence(self, winner: Measured) -> str:
        if self.exact:
            return (
                "Nothing in this load is left to chance, so one run of each mesh is exact for these tasks; it says "
                "nothing of another day's, for which the margin is there."
            )
        met, (low, high) = winner.met_all, winner.met_all.ci95
        sure = "It meets the objectives for sure: the 95 % intervals lie within the bounds."
        if winner.verdict is not Verdict.SURE:
            sure = "It probably meets the objectives: the values do, but an interval passes its bound."
        traced = ""
        if isinstance(self.scenario.workload.arrivals, Trace):
            traced = " The arrivals are the file's in every run, so another day's may differ by more."
        return (
            f"{sure} {met.met} of {met.runs} single runs met them all, so a run like this one does with probability "
            f"{100 * low:.0f} to {100 * high:.0f} %.{traced}"
        )

    def _one_less(self, winner: Measured, fewer: Fewer) -> str:
        less, one = winner.candidate.workers - fewer.measured.candidate.workers, fewer.measured
        leading = self.leading
        more = ""
        if fewer.later is not None:
            ci95 = fewer.later.ci95
            bounds = "" if ci95 is None else f" ({units.interval(*(leading.shown(bound) for bound in ci95))})"
            more = f", {leading.shown(fewer.later.value)} more on the same tasks{bounds}"
        said = f"With {'one worker' if less == 1 else f'{less} workers'} less"
        found = f"{leading.words} {leading.shown(one.figures[leading.name].value)}{more}"
        broken = [each.words for each in self.objectives if not each.met(one.figures[each.figure.name].value)]
        if broken:
            return f"{said}: {found}; it breaks {', '.join(broken)}."
        return f"{said}: {found}; {'it is not sure to do' if one.verdict.open else 'nothing breaks'}."

    def _margin(self, margin: Margin) -> str:
        if margin.breaks is None:
            return margin.words
        figure = next(one.figure.words for one in self.objectives if one.figure.name == margin.breaks)
        return f"{margin.words}, by its {figure}"

    def _cheaper(self, winner: Measured) -> Iterator[str]:
        """What is cheaper and was not ruled out."""
        for one in self.measured:
            if one.cost < winner.cost and one.verdict is Verdict.PROBABLY:
                yield (
                    f"Cheaper and probably enough, but not for sure: {one.candidate.words} for {one.cost:,.2f}/h, "
                    f"{self._figure(one, self.worst(one).figure)}."
                )

    def _none(self) -> Iterator[str]:
        """Which objective stands in the way, and how near the best came."""
        near = self.nearest
        hard = self.worst(near)
        if near.failed_checks:
            yield f"No answer: runs break the checks {', '.join(near.failed_checks)}."
        else:
            found = self._figure(near, hard.figure)
            none = "No candidate that was looked at" if self.interrupted else "No candidate"
            yield f"{none} meets the objectives: {hard.words} stands in the way."
            yield f"The nearest, {near.candidate.words} for {near.cost:,.2f}/h, has {found}."
        if hard.figure.share is not None and math.isinf(near.figures[hard.figure.name].value):
            left = 100 * (1 - hard.figure.share)
            yield f"More than {left:g} % of the tasks are never completed there, and count as late."
        elif near.candidate.workers * near.candidate.slots >= self.offered.most_at_once and hard.figure.unit == "s":
            yield "There no task waits for a slot: the work itself, its retries or the machinery take that long."

    # -- as data --

    def table(self) -> pd.DataFrame:
        """A row a candidate, the cheapest first: its figures with the bounds of their intervals, in s, share, bytes."""
        import pandas as pd

        return pd.DataFrame(list(self._rows()))

    def _rows(self) -> Iterator[dict[str, Any]]:
        best = {one.candidate for one in self.frontier}
        for one in self.measured:
            row: dict[str, Any] = {**one.candidate._asdict(), "cost_per_h": one.cost}
            for name, found in one.figures.items():
                low, high = found.ci95 or (None, None)
                row |= {name: found.value, f"{name}_low": low, f"{name}_high": high}
            row |= {"verdict": one.verdict.words, "met": one.met_all.met, "replications": one.replications}
            yield row | {"frontier": one.candidate in best, "winner": one is self.winner}

    def figure(self) -> go.Figure:
        """The frontier: cost against the leading figure."""
        from lab.figures_planning import frontier

        return frontier(self.as_json())

    def _repr_html_(self) -> str:
        import html

        said = "".join(f"<p>{html.escape(line)}</p>" for line in self.words)
        return said + str(self.table().to_html(index=False, float_format=lambda value: f"{value:,.4g}"))

    def as_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        best = {one.candidate for one in self.frontier}
        return {
            "scenario": self.scenario.name,
            "seed": self.scenario.seed,
            "words": self.words,
            "objectives": self.objectives.as_json(),
            "leading": self.leading.name,
            "prices": self.prices.as_json(),
            "found": self.winner is not None,
            "winner": None if self.winner is None else self.winner.as_json(),
            "margin": None if self.margin is None else self.margin.as_json(),
            "fewer": None if self.fewer is None else self._fewer_json(self.fewer),
            "candidates": [{**one.as_json(), "frontier": one.candidate in best} for one in self.measured],
            "space": self.space.as_json(),
            "runs": self.runs,
            "search_runs": self.search_runs,
            "exact": self.exact,
            "interrupted": self.interrupted,
            "wall_s": round(self.wall_s, 3),
        }

    def _fewer_json(self, fewer: Fewer) -> dict[str, Any]:
        later = None if fewer.later is None else as_json(fewer.later)
        return {**fewer.measured.as_json(), "later": later}


def _told(one: Measured, figure: Figure) -> str:
    """`2 × 5, has p99 latency 31 s`."""
    candidate: Candidate = one.candidate
    return f"{candidate.words}, has {figure.words} {figure.shown(one.figures[figure.name].value)}"
