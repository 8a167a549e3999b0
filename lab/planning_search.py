"""The search for the cheapest mesh: bisection along each line, all lines at once, then more replications where it is
still open who wins.

Every candidate meets the same seeds, so a candidate that is better by its nature is better in almost every pair.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from lab.planning_candidates import Candidate, Line, Offered
from lab.planning_measured import Measured, Verdict, measured, of_trial
from lab.planning_objectives import Objectives, Prices
from lab.planning_trials import Bench, Case
from lab.until import REPLICATIONS_MIN

FIRST_LOOK: Final = REPLICATIONS_MIN
"""Replications of a candidate before it is judged at all."""
REPLICATIONS: Final = 40
"""The most of a candidate, unless asked otherwise: twice the precision of the first look."""
GROWTH: Final = 2
"""Each further look has so many times the replications: who looks after every run stops too often at a lucky one."""
WIDER: Final = (1.25, 1.5, 2.0)
"""Times the winner's workers: what more money would buy, for the frontier."""


@dataclass
class Bisection:
    """The least number of workers of a line that meets the objectives: bracketed from a guess, then halved.

    `low` and `high` are places in `line.workers`: at `low` and before it the objectives are broken, at `high` they are
    met; −1 and the length where nothing is known yet.
    """

    line: Line
    low: int = -1
    high: int = field(init=False)
    at: int = field(init=False)
    step: int = 1

    def __post_init__(self) -> None:
        self.high = len(self.line.workers)
        self.at = self.line.workers.index(self.line.guess)

    @property
    def done(self) -> bool:
        """Whether the place is found, or there is none."""
        return self.high - self.low <= 1

    @property
    def asks(self) -> Candidate:
        """What it wants to know next."""
        return self.line.candidate(self.line.workers[self.at])

    def hear(self, meets: bool) -> None:
        """The answer to what it asked."""
        if meets:
            self.high = self.at
        else:
            self.low = self.at
        if self.low < 0:
            self.at = max(0, self.high - self.step)
        elif self.high == len(self.line.workers):
            self.at = min(self.high - 1, self.low + self.step)
        else:
            self.at = (self.low + self.high) // 2
        self.step *= 2

    @property
    def cheapest_left(self) -> Candidate | None:
        """The smallest mesh that may still turn out to meet the objectives; None if there is none."""
        place = self.low + 1
        return self.line.candidate(self.line.workers[place]) if place < len(self.line.workers) else None

    @property
    def found(self) -> Candidate | None:
        """The smallest mesh that meets them; None if none on the line does, or if it is not known yet."""
        if not self.done or self.high == len(self.line.workers):
            return None
        return self.line.candidate(self.line.workers[self.high])


@dataclass
class Search:
    """A search on its way, and what it knows. `most` is the most replications of a candidate."""

    bench: Bench
    lines: Sequence[Line]
    objectives: Objectives
    prices: Prices
    offered: Offered
    most: int
    known: dict[Candidate, Measured] = field(default_factory=dict)
    dropped: list[Line] = field(default_factory=list)
    """Lines that were left when everything left on them was dearer than what had been found."""
    exact: bool = False
    """All replications of a mesh are the same, so one of each is made."""
    search_runs: int = 0
    """What finding the boundaries took."""

    @property
    def first(self) -> int:
        """Replications of a first look."""
        return min(FIRST_LOOK, self.most)

    def run(self) -> bool:
        """Search. False if it was stopped; `known` then has what was found until then."""
        if self.offered.settled and not self._probe():
            return False
        going_on = self._bisect()
        self.search_runs = self.bench.runs
        return going_on and self._settle() and self._widen()

    def _probe(self) -> bool:
        """Two runs of one mesh, whose tasks are the same: if all else is too, one run of each mesh is all there is."""
        line = self.lines[0]
        case = Case(line.candidate(line.guess))
        if not self.bench.measure({case: 2}, "whether chance plays a part"):
            return False
        first, second = self.bench.trials(case)
        if all(of_trial(figure, first) == of_trial(figure, second) for figure in self.objectives.figures):
            self.exact, self.most = True, 1
        return True

    # -- what is known --

    @property
    def ranked(self) -> list[Measured]:
        """All that was measured, the cheapest first."""
        return sorted(self.known.values(), key=lambda one: one.rank(self.objectives.leading))

    @property
    def winner(self) -> Measured | None:
        """The cheapest that is feasible for sure; the cheapest that probably is, if none is sure; else None."""
        for least in (Verdict.SURE, Verdict.PROBABLY):
            found = next((one for one in self.ranked if one.verdict >= least), None)
            if found is not None:
                return found
        return None

    def _cheapest(self) -> Measured | None:
        """The cheapest that meets the objectives by its values."""
        return next((one for one in self.ranked if one.meets), None)

    def _measure(self, wanted: Iterable[tuple[Candidate, int]], note: str) -> bool:
        """Bring these candidates to so many replications."""
        goals = dict(wanted)
        going_on = self.bench.measure({Case(candidate): upto for candidate, upto in goals.items()}, note)
        for candidate in goals:
            if trials := self.bench.trials(Case(candidate)):
                known = trials[:1] if self.exact else trials
                self.known[candidate] = measured(
                    candidate, known, self.objectives, self.prices, self.offered, exact=self.exact
                )
        return going_on

    # -- its three parts --

    def _bisect(self) -> bool:
        """The boundary of every line that may still hold the cheapest mesh; all lines take a step at a time, so that
        all cores have something to do.
        """
        going = [Bisection(line) for line in self.lines]
        while going:
            asked = [one.asks for one in going]
            missing = [(candidate, self.first) for candidate in asked if candidate not in self.known]
            if missing and not self._measure(missing, _looking(missing)):
                return False
            for one, candidate in zip(going, asked, strict=True):
                one.hear(self.known[candidate].meets)
            best = self._cheapest()
            dear = [one for one in going if not one.done and best is not None and self._dearer(one, best)]
            self.dropped += [one.line for one in dear]
            going = [one for one in going if not one.done and one not in dear]
        return True

    def _dearer(self, one: Bisection, best: Measured) -> bool:
        """Whether whatever is left on a line costs more than what is found. Attempts are left out: they cost more."""
        left = one.cheapest_left
        return left is not None and self.prices.of_mesh(left.workers, left.slots) > best.cost

    def _settle(self) -> bool:
        """More replications for all that is as cheap as the winner, until it is clear which of them are feasible; and
        all replications for the winner, whose figures are the answer.
        """
        while wanted := self._open():
            if not self._measure(wanted, _looking(wanted, "again ")):
                return False
        return True

    def _open(self) -> list[tuple[Candidate, int]]:
        """What must be looked at again, or for the first time, before the winner is settled."""
        winner, best = self.winner, self._cheapest()
        if winner is None or best is None:
            near = min(self.known.values(), key=lambda one: strain(one, self.objectives))
            return self._more([near])
        undecided = self._more([one for one in self.known.values() if one.cost <= winner.cost and one.verdict.open])
        if undecided:
            return undecided
        # The first look took the boundary for granted on both of its sides.
        beside = [self._beside(best.candidate, -1)]
        if winner.verdict is Verdict.PROBABLY:
            beside.append(self._beside(winner.candidate, +1))
        unknown = [(one, self.first) for one in beside if one is not None and one not in self.known]
        sure_enough = winner.replications >= self.most
        return unknown or ([] if sure_enough else [(winner.candidate, self.most)])

    def _more(self, those: Iterable[Measured]) -> list[tuple[Candidate, int]]:
        return [
            (one.candidate, min(self.most, GROWTH * one.replications))
            for one in those
            if one.verdict.open and one.replications < self.most
        ]

    def _beside(self, candidate: Candidate, places: int) -> Candidate | None:
        """The neighbour of a candidate so many places up its line; None where the line ends."""
        line = self._line(candidate)
        place = line.workers.index(candidate.workers) + places
        return line.candidate(line.workers[place]) if 0 <= place < len(line.workers) else None

    def _line(self, candidate: Candidate) -> Line:
        return next(line for line in self.lines if (line.slots, line.policy) == candidate.line)

    def _widen(self) -> bool:
        """The neighbours of the winner: one place fewer, which shows the cliff, and what more money would buy."""
        winner = self.winner
        if winner is None:
            return True
        workers = self._line(winner.candidate).workers
        place = workers.index(winner.candidate.workers)
        wider = (next((n for n in workers if n >= factor * workers[place]), None) for factor in WIDER)
        beside = (workers[index] for index in (place - 1, place + 1) if 0 <= index < len(workers))
        asked = {winner.candidate._replace(workers=n) for n in (*beside, *wider) if n is not None}
        missing = [(one, self.first) for one in sorted(asked) if one not in self.known]
        return not missing or self._measure(missing, "what one more and one less would do")


def strain(one: Measured, objectives: Objectives) -> float:
    """How far the worst figure is from its bound: above 1 it breaks it. Of unknown figures infinite."""
    each = [objective.strain(one.figures[objective.figure.name].value) for objective in objectives]
    return math.inf if any(math.isnan(value) for value in each) else max(each)


def expected_runs(lines: Sequence[Line], most: int) -> int:
    """A guess at the runs of a search and of the margin after it, for the progress: half of the lines are soon dropped,
    the others take a logarithm of steps.
    """
    first = min(FIRST_LOOK, most)
    steps = [math.ceil(math.log2(len(line.workers) + 1)) for line in lines]
    return first * max(len(steps), round(sum(steps) / 2)) + 2 * most + 8 * first


def _looking(wanted: Sequence[tuple[Candidate, int]], again: str = "") -> str:
    first, others = wanted[0][0].words, len(wanted) - 1
    return f"looking {again}at {first}" + (f" and {others} more" if others else "")
