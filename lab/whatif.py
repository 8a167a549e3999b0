"""What if: a scenario before and after, in the model, on the same tasks and draws, with intervals.

    from lab import whatif
    from simulation import simulate
    whatif.ask(simulate, whatif.question(scenario, [whatif.Asked.parse("failures:10")]))

Every replication runs both sides with one seed. The tasks have draws of their own (lab/draws.py), so both sides meet
the same luck wherever they meet the same tasks, and what luck does to both cancels in the difference. A figure of all
tasks (percentiles) is that of the tasks of all replications together; a figure that a run has once is the mean of the
runs. Intervals are Student's t over the replications' contributions (the jackknife of `lab.statistics.pseudo_values`);
of a ratio they are taken of its logarithm.

Engines come as arguments, because `lab` imports none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Final, NamedTuple

import numpy as np

from lab import metrics, statistics
from lab.draws import Floats
from lab.errors import Interrupted
from lab.headlines import BY_PATH, Figure, number
from lab.metrics import PERCENTILES, Times
from lab.paired import GROUPS_MAX, REPLICATIONS
from lab.progress import OnProgress, Stop, ignore, never
from lab.record import Record
from lab.replicate import Cores, Replication, Simulate, affordable
from lab.rules.priority import QUEUES
from lab.scenario import Scenario
from lab.whatif_cards import CARDS, Asked, Card, Question, question
from lab.whatif_effects import DoesNotApply

__all__ = [
    "CARDS",
    "FIGURES",
    "Answer",
    "Asked",
    "Card",
    "DoesNotApply",
    "Moved",
    "Question",
    "Trial",
    "ask",
    "question",
]

INSTANTS: Final = 2_000
"""Moments of a run, evenly spaced, at which the queue's depth is kept: more than a screen has columns."""
QUEUE_WORDS: Final = {queue: queue.removeprefix("agent_") for queue in QUEUES}
DRAIN: Final = Figure("drain_s", "Drain", "s", "From the last arrival to the end of the last task.")
UNFINISHED: Final = Figure(
    "unfinished",
    "Tasks that never end",
    "",
    "Neither completed nor dead nor cancelled when nothing could move any more.",
)
REFUSED: Final = Figure("tasks.rejected", "Tasks refused", "", "Turned away by a closed admission (429).")
FIGURES: Final[Mapping[str, Figure]] = {
    figure.path: figure
    for figure in (
        *(BY_PATH[f"latency_s.{point}"] for point in PERCENTILES),
        *(
            Figure(f"by_queue.{queue}.queue_wait_s.p95", f"Queue wait, p95, {words}", "s",
                   f"95 % of the completed tasks of {queue} waited at most this for their first slot.")
            for queue, words in QUEUE_WORDS.items()
        ),
        BY_PATH["throughput_per_s"],
        BY_PATH["makespan_s"],
        DRAIN,
        BY_PATH["tasks.completed"],
        BY_PATH["tasks.retries"],
        BY_PATH["tasks.dead"],
        REFUSED,
        UNFINISHED,
        BY_PATH["rss_bytes.peak"],
        BY_PATH["backpressure.closed_s"],
    )
}  # fmt: skip
"""What is compared, by path."""


# ---- one run ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Trial:
    """One run, in what its comparison and its curves need."""

    run: Replication
    depth: Floats
    """Tasks that wait in the queues at INSTANTS evenly spaced moments from 0 to `end_s`."""
    end_s: float

    @classmethod
    def of(cls, record: Record) -> Trial:
        """From a record of either engine."""
        info = record.info
        summary = info.get("summary") or metrics.summary(record)
        failed = tuple((info.get("checks") or {}).get("failed") or ())
        run = Replication(int(info["seed"]), summary, Times.of(record), failed)
        end_s = metrics.end_s(record)
        at_s, depth = metrics.depth_curve(record)
        place = np.searchsorted(at_s, np.linspace(0.0, end_s, INSTANTS), side="right") - 1
        return cls(run, np.where(place >= 0, depth[place], 0.0), end_s)

    def figure(self, path: str) -> float | None:
        """A figure that a run has once; None where it has none."""
        summary, tasks = self.run.summary, self.run.summary["tasks"]
        if path == UNFINISHED.path:
            ended = tasks["completed"] + tasks["dead"] + tasks["cancelled"]
            return float(tasks["submitted"] - ended)
        if path == DRAIN.path:
            makespan_s = summary["makespan_s"]
            arrival_s = self.run.times.arrival_s
            return None if makespan_s is None else float(makespan_s - (arrival_s[-1] - arrival_s[0]))
        return number(summary, path)


def trial(simulate: Simulate, scenario: Scenario, stop: Stop = never) -> Trial | None:
    """One run of the model; None if it was stopped before its end."""
    record = simulate(scenario, stop=stop)
    return None if record.info.get("interrupted") else Trial.of(record)


def trials(simulate: Simulate, scenario: Scenario, replications: int) -> tuple[Trial, ...]:
    """Runs with seeds seed, seed + 1, …, in this process."""
    runs = (trial(simulate, scenario.override({"seed": scenario.seed + n})) for n in range(replications))
    return tuple(one for one in runs if one is not None)


# ---- before and after ------------------------------------------------------------------------------------------------


class Moved(NamedTuple):
    """A figure before and after: the difference and the ratio, each with its 95 % interval, where there is one."""

    before: float | None
    after: float | None
    difference: float | None = None
    ci95: tuple[float, float] | None = None
    ratio: float | None = None
    ratio_ci95: tuple[float, float] | None = None

    def as_json(self) -> dict[str, Any]:
        """For JSON, intervals as lists."""
        return {
            key: list(value) if isinstance(value, tuple) else value and round(value, 9)
            for key, value in self._asdict().items()
        }


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model says to a question: the replications of both sides, pair by pair."""

    question: Question
    before: tuple[Trial, ...]
    after: tuple[Trial, ...]

    @property
    def seeds(self) -> list[int]:
        """The seeds of the pairs."""
        return [one.run.seed for one in self.before]

    @property
    def tasks(self) -> float:
        """Tasks of a run after, on average: what deaths are counted against."""
        return float(np.mean([len(one.run.times.arrival_s) for one in self.after]))

    @property
    def failed_checks(self) -> list[str]:
        """The checks that any of the runs broke."""
        return sorted({name for one in (*self.before, *self.after) for name in one.run.failed_checks})

    @cached_property
    def figures(self) -> dict[str, Moved]:
        """Every figure by its path; of queues that no task joins, none."""
        found = {path: moved(self.before, self.after, path) for path in FIGURES}
        return {path: one for path, one in found.items() if one.before is not None or one.after is not None}

    @cached_property
    def caught_up_s(self) -> list[float]:
        """For each pair: how long after the end of the question's window the queue was first no deeper than it was at
        that moment of the run before. Empty where nothing ends, or where A and B are compared.
        """
        window_s = self.question.window_s
        if window_s is None or window_s[1] is None:
            return []
        return [_caught_up_s(*pair, window_s[1]) for pair in zip(self.before, self.after, strict=True)]

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON, the runs left out."""
        from lab.whatif_words import grade, verdict

        asked = self.question
        return {
            "cards": [str(one) for one in asked.asked],
            "title": asked.title,
            "effects": [effect.words for effect in asked.effects],
            "changes": [dict(zip(("path", "before", "after"), line, strict=True)) for line in asked.differences],
            "sides": list(asked.names),
            "window_s": list(asked.window_s) if asked.window_s else None,
            "verdict": verdict(self),
            "grade": grade(self).word,
            "figures": {path: one.as_json() for path, one in self.figures.items()},
            "caught_up_s": [round(one, 3) for one in self.caught_up_s],
            "replications": len(self.seeds),
            "seeds": self.seeds,
            "checks": {"ok": not self.failed_checks, "failed": self.failed_checks},
        }


def _caught_up_s(before: Trial, after: Trial, from_s: float) -> float:
    moments = np.linspace(0.0, after.end_s, INSTANTS)
    same = np.interp(moments, np.linspace(0.0, before.end_s, INSTANTS), before.depth, right=0.0)
    caught_up = moments[(moments >= from_s) & (after.depth <= same)]
    return float(caught_up[0] - from_s) if len(caught_up) else 0.0  # the run was over before


# ---- one figure ------------------------------------------------------------------------------------------------------


def moved(before: Sequence[Trial], after: Sequence[Trial], path: str) -> Moved:
    """One figure of both sides, from their replications pair by pair."""
    groups = min(len(before), GROUPS_MAX)
    bins = np.array_split(np.arange(len(before)), groups)
    sides = [[_values([side[n] for n in some], path) for some in bins] for side in (before, after)]
    point = _point(path)
    before_all, after_all = (np.concatenate(side) for side in sides)
    if not len(before_all) or not len(after_all):
        before_value, after_value = (point(values) if len(values) else None for values in (before_all, after_all))
        return Moved(before_value, after_value)
    found = _plain(point(before_all), point(after_all))
    # A pair that one side has no values of tells no difference.
    pairs = [pair for pair in zip(*sides, strict=True) if len(pair[0]) and len(pair[1])]
    return found if len(pairs) < 2 else _with_intervals(found, pairs, point)


def _values(some: Sequence[Trial], path: str) -> Floats:
    """What the runs of a group have of a figure: a value a task, or a value a run."""
    queue, spread = _spread(path)
    if spread is not None:
        return np.concatenate([one.run.times.values(spread, queue) for one in some])
    found = [value for one in some if (value := one.figure(path)) is not None]
    return np.array(found, dtype=np.float64)


def _spread(path: str) -> tuple[str | None, str | None]:
    """(queue, figure of every task) of a path; (None, None) of a figure that a run has once."""
    *way, figure, _ = ("", *path.split("."))
    if figure not in metrics.SPREADS:
        return None, None
    return next((part for part in way if part in QUEUES), None), figure


def _point(path: str) -> Callable[[Floats], float]:
    """The mean of the runs' values; of the tasks' values the percentile that the path names."""
    name = path.rpartition(".")[2]
    if _spread(path)[1] is None or name not in PERCENTILES:
        return lambda values: float(values.mean())
    return lambda values: float(np.quantile(values, PERCENTILES[name]))


def _plain(before: float, after: float) -> Moved:
    return Moved(before, after, after - before, None, after / before if before > 0 else None)


def _with_intervals(found: Moved, pairs: Sequence[tuple[Floats, ...]], point: Callable[[Floats], float]) -> Moved:
    """The same with intervals of its difference and its ratio, over the pairs of groups."""
    count = len(pairs)
    sides = [
        {
            left_out: point(np.concatenate([pair[side] for n, pair in enumerate(pairs) if n != left_out]))
            for left_out in (None, *range(count))
        }
        for side in (0, 1)
    ]
    value, contributions = statistics.pseudo_values(count, lambda out: sides[1][out] - sides[0][out])
    apart = statistics.of_contributions(value, contributions)
    found = found._replace(ci95=apart.ci95)
    if not all(one > 0 for side in sides for one in side.values()):
        return found  # a ratio of, or to, nothing
    value, contributions = statistics.pseudo_values(count, lambda out: math.log(sides[1][out] / sides[0][out]))
    ratio = statistics.of_contributions(value, contributions)
    low, high = ratio.ci95 or (math.nan, math.nan)
    return found._replace(ratio_ci95=(math.exp(low), math.exp(high)))


# ---- many questions --------------------------------------------------------------------------------------------------


def ask(
    simulate: Simulate,
    asked: Question,
    replications: int = REPLICATIONS,
    *,
    cores: int | None = None,
    on_progress: OnProgress = ignore,
    stop: Stop = never,
) -> Answer:
    """Run both sides of a question `replications` times. Stopped early, it has the pairs that were done; Interrupted
    if none was.
    """
    return ask_all(simulate, [asked], replications, cores=cores, on_progress=on_progress, stop=stop)[0]


def ask_all(
    simulate: Simulate,
    asked: Sequence[Question],
    replications: int = REPLICATIONS,
    *,
    cores: int | None = None,
    on_progress: OnProgress = ignore,
    stop: Stop = never,
) -> list[Answer]:
    """The same of many questions on the same seeds; a side that several of them share runs once."""
    sides = [side for one in asked for side in (one.before, one.after)]
    worlds: list[Scenario] = []
    for side in sides:
        if side not in worlds:
            worlds.append(side)
    for world in worlds:
        affordable(world, replications)
    rounds = list(range(replications))
    with Cores(partial(_round, simulate, tuple(worlds)), replications, cores) as pool:
        done = [one for one in pool.run(rounds, on_progress=on_progress, stop=stop) if one is not None]
    if not done:
        raise Interrupted(f"{worlds[0].name}: stopped before the first of {replications} replications was done")
    runs = [tuple(one[place] for one in done) for place in range(len(worlds))]
    return [Answer(one, *(runs[worlds.index(side)] for side in (one.before, one.after))) for one in asked]


def _round(simulate: Simulate, worlds: tuple[Scenario, ...], number: int, stop: Stop) -> list[Trial] | None:
    """All worlds with one seed; None if it was stopped before all were done."""
    found = []
    for world in worlds:
        one = trial(simulate, world.override({"seed": world.seed + number}), stop)
        if one is None:
            return None
        found.append(one)
    return found
