"""A sweep in words: what lies between what, which knob moves it most, and where nothing can be said."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from lab.sweep_answer import Effect, answer, effects
from lab.sweep_result import Sweep

# p95 by (workers, slots): (1, 1) 8 s, (1, 2) 4 s, (2, 1) 6 s, (2, 2) 2 s; the second run of each is 0.2 s later.
# workers: (8 + 4) / 2 = 6 against (6 + 2) / 2 = 4, ×1.5; slots: (8 + 6) / 2 = 7 against (4 + 2) / 2 = 3, ×2.33;
# the second runs move every mean by 0.1 s: 6.1 / 4.1 = 1.49, 7.1 / 3.1 = 2.29.
P95_S = {(1, 1): 8.0, (1, 2): 4.0, (2, 1): 6.0, (2, 2): 2.0}


def swept(replications: int = 2, **about: Any) -> Sweep:
    rows = [
        {
            "point": point, "replication": run, "seed": run, "mesh.workers": workers, "mesh.slots": slots,
            "latency_s.p95": p95_s + 0.2 * run, "tasks.dead": 0.0, "error": None, "checks_failed": None,
        }
        for point, ((workers, slots), p95_s) in enumerate(P95_S.items())
        for run in range(replications)
    ]  # fmt: skip
    facts = {"paths": ["mesh.workers", "mesh.slots"], "points": 4, "replications": replications, "sampled": False}
    return Sweep(pd.DataFrame(rows), {**facts, **about})


def test_the_headline_says_between_what_it_lies_and_where_and_what_moves_it() -> None:
    first, second = answer(swept(), "latency_s.p95")
    assert first.startswith("Latency, p95: 2.10 s (")  # (2.0 + 2.2) / 2
    assert "with workers 2, slots 2, up to 8.10 s (" in first and first.endswith("with workers 1, slots 1")
    assert second.startswith("Moved most by slots, ×2.29; then workers, ×1.49")


def test_one_run_of_each_has_no_intervals() -> None:
    assert answer(swept(1), "latency_s.p95")[0] == (
        "Latency, p95: 2.00 s with workers 2, slots 2, up to 8.00 s with workers 1, slots 1"
    )


def test_what_is_the_same_everywhere_and_what_is_known_of_one_point_only() -> None:
    assert answer(swept(), "tasks.dead") == ["Tasks dead-lettered: 0 at every point"]
    one = swept()
    one.frame.loc[one.frame["point"] > 0, "latency_s.p95"] = None
    assert answer(one, "latency_s.p95") == []


@pytest.mark.parametrize("about", [{"sampled": True}, {"points": 5}])
def test_of_a_sample_or_a_part_no_knob_is_named(about: dict[str, Any]) -> None:
    found = swept(**about)
    assert effects(found, found.table("latency_s.p95")) == []
    assert len(answer(found, "latency_s.p95")) == 1


def test_against_nothing_there_is_no_ratio() -> None:
    assert Effect("mesh.slots", 0.0, 3.0).factor is None
    assert Effect("mesh.slots", 2.0, 3.0).factor == 1.5
