"""Arrivals that somebody continues while they run: the sums, what is refused, and that the past stays as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.errors import ScenarioError
from lab.scenario import Scenario
from lab.workload import Plan
from ui.load import offered

Data = dict[str, Any]
ROLE: Data = {"service": {"dist": "exponential", "mean_s": 0.5}, "failure_rate": 0.3, "priority": {5: 1, 1: 1}}


def scheduled(*entries: Data, until_s: float = 60, spacing: str = "even", **more: Any) -> Scenario:
    arrivals = {"kind": "schedule", "until_s": until_s, "spacing": spacing, "entries": list(entries)}
    return Scenario.from_data({"workload": {"arrivals": arrivals, "roles": {"A": ROLE, "B": ROLE}, **more}})


def at(at_s: float, *, count: int | None = None, rate: float | None = None) -> Data:
    return {"at_s": at_s, **({"count": count} if count is not None else {"rate_per_s": rate})}


# the entries, until_s, then when tasks come
TABLE = [
    ([at(0, count=3), at(2, count=1)], 60, [0, 0, 0, 2]),
    ([at(1, rate=2)], 3, [1, 1.5, 2, 2.5]),  # 2 s · 2/s; none at the end itself
    ([at(0, rate=2), at(1, rate=0), at(5, rate=4)], 6, [0, 0.5, 5, 5.25, 5.5, 5.75]),
    ([at(0, rate=1), at(0.5, rate=2)], 2.1, [0, 0.75, 1.25, 1.75]),  # half a task by 0.5 s, the other half takes 0.25 s
    ([at(0, rate=1), at(0.3, rate=1), at(0.6, rate=1), at(0.9, rate=1)], 2, [0, 1]),  # turning brings none of its own
    ([at(0, rate=2), at(0.6, count=2)], 1.2, [0, 0.5, 0.6, 0.6, 1]),  # a burst does not touch the rate
    ([at(0, count=1), at(0, rate=1)], 2, [0, 0, 1]),
    ([at(0, rate=5), at(0, rate=1)], 2, [0, 1]),  # the later one of a moment holds
]


@pytest.mark.parametrize(("entries", "until_s", "times"), TABLE)
def test_when_tasks_come(entries: list[Data], until_s: float, times: list[float]) -> None:
    assert Plan(scheduled(*entries, until_s=until_s)).arrival_s.tolist() == pytest.approx(times)


def test_a_poisson_schedule_has_its_rates() -> None:
    """Seed 1. 100/s for 20 s: 2,000 ± 4·45; nothing for 10 s; 300/s for 10 s: 3,000 ± 4·55."""
    entries = (at(0, rate=100), at(20, rate=0), at(30, rate=300))
    times = Plan(scheduled(*entries, until_s=40, spacing="poisson")).arrival_s
    first, pause, second = (int(((times >= a) & (times < b)).sum()) for a, b in ((0, 20), (20, 30), (30, 40)))
    assert abs(first - 2000) < 180
    assert pause == 0
    assert abs(second - 3000) < 220


def test_what_is_expected_is_told_before_anything_runs() -> None:
    """500 + 20/s · (50 − 10) s, over the 50 s that they take. Even a schedule of one moment has a load."""
    load = offered(scheduled(at(0, count=500), at(10, rate=20), at(50, rate=0)))
    assert (load.tasks, load.span_s) == (1300, 50)
    assert offered(scheduled(at(3, count=7))).span_s == 0


# the entries, until_s, then the path and a piece of the message
BROKEN = [
    ([at(3, count=1), at(2, count=1)], 60, "entries[1].at_s", "comes after an entry at 3 s; put the entries in order"),
    ([at(0, count=1), at(60, rate=1)], 60, "entries[1].at_s", "no task comes from until_s on (60 s)"),
    ([{"at_s": 0}], 60, "entries[0]", "give either count or rate_per_s, and not both"),
    ([{"at_s": 0, "count": 1, "rate_per_s": 1}], 60, "entries[0]", "give either count or rate_per_s, and not both"),
    ([at(0, rate=0)], 60, "", "no task would ever come"),
    ([at(0, rate=1e6)], 60, "", "at most 5,000,000 are allowed"),
    ([], 60, "entries", "at least 1 item"),
    ([at(0, rate=-1)], 60, "entries[0].rate_per_s", "greater than or equal to 0"),
]


@pytest.mark.parametrize(("entries", "until_s", "path", "message"), BROKEN)
def test_what_cannot_be_is_told_with_its_path(entries: list[Data], until_s: float, path: str, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        scheduled(*entries, until_s=until_s)
    where = f"workload.arrivals.{path}".rstrip(".")
    assert [where] == [one.path for one in caught.value.problems if message in one.message], str(caught.value)


# ---- the past stays as it was ----------------------------------------------------------------------------------------

MOMENTS_S = st.integers(0, 20_000).map(lambda grain: grain / 1_000)
WHAT = st.one_of(
    st.integers(1, 30).map(lambda count: {"count": count}),
    st.sampled_from([0.0, 0.37, 1.0, 7.3, 40.0]).map(lambda rate: {"rate_per_s": rate}),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Data]:
    moments = sorted(draw(st.lists(MOMENTS_S, min_size=1, max_size=8)))
    return [{"at_s": moment, **draw(WHAT)} for moment in moments]


@settings(max_examples=60, deadline=None, print_blob=True)
@given(
    entries=histories(),
    cut=st.integers(0, 7),
    spacing=st.sampled_from(["even", "poisson"]),
    mix=st.sampled_from(["random", "exact"]),
    seed=st.integers(0, 2**31),
)
def test_further_entries_change_nothing_of_the_past(
    entries: list[Data], cut: int, spacing: str, mix: str, seed: int
) -> None:
    """Arrivals, ids, roles, priorities and draws before the first entry that was added. (Failures print the seed.)"""
    entries = [{"at_s": 0, "count": 1}, *entries]
    known = entries[: 1 + min(cut, len(entries) - 1)]
    from_s = entries[len(known)]["at_s"] if len(known) < len(entries) else 60
    before, after = (
        Plan(scheduled(*some, spacing=spacing, mix=mix).override({"seed": seed})) for some in (known, entries)
    )
    past = int(np.searchsorted(after.arrival_s, from_s, side="left"))
    assert past == int(np.searchsorted(before.arrival_s, from_s, side="left"))
    for column in ("arrival_s", "role", "priority"):
        assert getattr(before, column)[:past].tolist() == getattr(after, column)[:past].tolist()
    for attempt in (1, 3):
        works = [[plan.column("service", attempt)[task] for task in range(past)] for plan in (before, after)]
        assert works[0] == works[1]
        assert before.columns(attempt)[1][:past] == after.columns(attempt)[1][:past]
