"""Before and after: figures whose values can be worked out by hand, their intervals, and the words made of them."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest

from lab import figures_whatif, whatif, whatif_live, whatif_words
from lab.errors import Interrupted, UsageError
from lab.record import Record
from lab.scenario import Scenario
from lab.whatif import FIGURES, Answer, Asked, Moved, Trial
from lab.whatif_page import page
from simulation import simulate

TEXT = """\
name: by-hand
seed: 5
workload:
  arrivals: {kind: burst, count: 20}
  roles: {DEV: {service: {dist: constant, mean_s: 1.0}}}
mesh: {workers: 2, slots: 2}
profile: ideal
"""
BY_HAND = Scenario.parse(TEXT)
LUCK = Scenario.parse(TEXT.replace("dist: constant", "dist: exponential").replace("}}}", "}, failure_rate: 0.2}}"))


def answered(scenario: Scenario, *cards: str, replications: int = 3) -> Answer:
    asked = whatif.question(scenario, [Asked.parse(card) for card in cards])
    return whatif.ask(simulate, asked, replications, cores=1)


def test_what_doubles_the_work_doubles_every_time() -> None:
    """Twenty tasks of 1 s on four slots end at 1, 2, … 5 s, four at each; of 2 s at 2, 4, … 10 s."""
    found = answered(BY_HAND, "provider-slow").figures
    assert found["latency_s.p50"][:5] == (3.0, 6.0, 3.0, (3.0, 3.0), 2.0)
    assert found["latency_s.p50"].ratio_ci95 == pytest.approx((2.0, 2.0))
    assert found["makespan_s"][:3] == (5.0, 10.0, 5.0)
    assert found["drain_s"] == found["makespan_s"]
    assert found["throughput_per_s"][:2] == (4.0, 2.0)
    assert found["throughput_per_s"].ratio == 0.5
    assert found["tasks.dead"] == Moved(0.0, 0.0, 0.0, (0.0, 0.0))
    assert "by_queue.agent_high.queue_wait_s.p95" in found  # priority 3 goes high,
    assert "by_queue.agent_low.queue_wait_s.p95" not in found  # and nothing else comes


def test_one_pair_of_runs_has_no_interval() -> None:
    found = answered(BY_HAND, "provider-slow", replications=1).figures["latency_s.p99"]
    assert (found.ci95, found.ratio_ci95) == (None, None)
    assert found.ratio == pytest.approx(2.0)


def runs(values: list[float]) -> list[Trial]:
    """Trials in which one figure is known."""
    record = simulate(BY_HAND)
    trials = []
    for value in values:
        record.info["summary"] = {**record.info["summary"], "throughput_per_s": value}
        trials.append(Trial.of(record))
    return trials


def test_intervals_of_a_figure_that_a_run_has_once() -> None:
    """B − A is 1, 2, 3: mean 2, s = 1, and t of two degrees is 4.3027: 2 ± 4.3027 / √3."""
    found = whatif.moved(runs([10.0, 10.0, 10.0]), runs([11.0, 12.0, 13.0]), "throughput_per_s")
    half = 4.302653 / math.sqrt(3)
    assert (found.before, found.after, found.difference) == (10.0, 12.0, 2.0)
    assert found.ci95 == pytest.approx((2 - half, 2 + half))
    # log(B / A) without one pair: ln(12.5 / 10), ln(12 / 10), ln(11.5 / 10); contributions 3·ln 1.2 − 2· of those.
    contributions = 3 * math.log(1.2) - 2 * np.log([1.25, 1.2, 1.15])
    half = 4.302653 * float(np.std(contributions, ddof=1)) / math.sqrt(3)
    assert found.ratio == 1.2
    assert found.ratio_ci95 == pytest.approx((1.2 * math.exp(-half), 1.2 * math.exp(half)), rel=1e-6)


def test_nothing_against_nothing_has_no_ratio() -> None:
    found = whatif.moved(runs([0.0, 0.0]), runs([1.0, 3.0]), "throughput_per_s")
    assert (found.difference, found.ratio, found.ratio_ci95) == (2.0, None, None)


def test_two_questions_share_their_before_and_their_seeds() -> None:
    made: list[Scenario] = []

    def counting(scenario: Scenario, **more: Any) -> Record:
        made.append(scenario)
        return simulate(scenario, **more)

    questions = [whatif.question(LUCK, [Asked(key)]) for key in ("failures", "traffic")]
    first, second = whatif.ask_all(counting, questions, 2, cores=1)
    assert len(made) == 6  # three worlds, two seeds
    assert first.before == second.before
    assert [one.seeds for one in (first, second)] == [[5, 6], [5, 6]]
    assert first.figures["tasks.retries"].after > first.figures["tasks.retries"].before  # type: ignore[operator]


def test_stopped_it_has_the_pairs_that_were_done() -> None:
    looks = 0

    def stop() -> bool:
        nonlocal looks
        looks += 1
        return looks > 4

    asked = whatif.question(BY_HAND, [Asked("traffic")])
    assert len(whatif.ask(simulate, asked, 9, cores=1, stop=stop).seeds) < 9
    with pytest.raises(Interrupted, match="before the first of 9"):
        whatif.ask(simulate, asked, 9, cores=1, stop=lambda: True)


# ---- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "cards", "word", "said"),
    [
        (BY_HAND, ["provider-slow"], "Much slower",
         ["Latency p99 rises from 5.00 s to 10.0 s (×2.0).",
          "After the last arrival it takes 10.0 s until all is done, 5.00 s longer."]),
        (BY_HAND, ["provider-slow:1.25"], "Slower", ["Latency p99 rises from 5.00 s to 6.25 s (×1.25)."]),
        (BY_HAND, ["provider-slow:0.5"], "Better", ["Latency p99 falls from 5.00 s to 2.50 s (×0.50)."]),
        (BY_HAND, ["provider-slow:1.01"], "Holds", ["Latency p99 stays at 5.05 s."]),
        (BY_HAND, ["failures:100%"], "Tasks die", ["Of 20 tasks 20 die (100 %), before none.",
                                                   "Nothing is completed any more."]),
        (BY_HAND, ["redis-away:4"], "Much slower", ["Redis is back, and"]),
        (BY_HAND.override({"rules.preset": "agent-mesh-published"}), ["lose-workers"], "Tasks are lost",
         ["2 tasks never end: they are lost for good."]),
        (BY_HAND, ["failures:30%", "policy:in-slot"], None, ["with as-written", "with in-slot"]),
        (BY_HAND.override({"rules.admission.max_pending": 8, "rules.admission.on_closed": "reject",
                           "workload.arrivals": {"kind": "constant", "rate_per_s": 4, "count": 40}}), ["traffic:4"],
         "Tasks are refused", ["are refused at the door, before none."]),
    ],
)  # fmt: skip
def test_verdicts(scenario: Scenario, cards: list[str], word: str | None, said: list[str]) -> None:
    found = answered(scenario, *cards)
    told = " ".join(whatif_words.verdict(found))
    assert all(words in told for words in said), told
    assert word is None or whatif_words.grade(found).word == word
    assert whatif_words.badge(found).startswith(whatif_words.grade(found).word)


def test_what_chance_alone_may_do_is_called_so() -> None:
    found = answered(LUCK, "policy:jitter", replications=2)
    object.__setattr__(
        found, "figures", {**found.figures, "latency_s.p99": Moved(2.0, 3.0, 1.0, (-1.0, 3.0), 1.5, (0.7, 3.2))}
    )
    assert whatif_words.verdict(found)[0] == (
        "Latency p99 is 2.00 s with as-written and 3.00 s with jitter (×1.5, 0.70 to 3.2), which chance alone may do."
    ).replace("×1.5,", "×1.50,")
    assert whatif_words.grade(found).word == "Unclear"


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [(0.0312, "0.03"), (1.0, "1.00"), (1.994, "1.99"), (2.04, "2.0"), (9.96, "10"), (1234.0, "1,234")],
)
def test_ratios(ratio: float, shown: str) -> None:
    assert whatif_words.factor(ratio) == shown


def test_how_far_a_figure_has_moved() -> None:
    change = whatif_words.change
    assert change("latency_s.p99", Moved(2.0, 9.8, 7.8, (7.0, 8.6), 4.9, (4.5, 5.3))) == "×4.9 (4.5 to 5.3)"
    assert (
        change("latency_s.p99", Moved(0.01, 9.8, 9.79, (9.0, 10.5), 980.0, (400.0, 2_000.0)))
        == "+9.79 s (+9.00 to +10.5 s)"
    )
    assert change("tasks.dead", Moved(0.0, 4.0, 4.0, (1.0, 7.0))) == "+4 (+1 to +7)"
    assert change("tasks.dead", Moved(0.0, 0.0, 0.0, (0.0, 0.0))) == "no change"
    assert change("latency_s.p99", Moved(None, 2.0)) == "–"


def test_an_answer_is_json() -> None:
    found = answered(LUCK, "failures", "redis-away:2").as_json()
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again["cards"] == ["failures", "redis-away:2"]
    assert set(again["figures"]) <= set(FIGURES)
    assert len(again["caught_up_s"]) == again["replications"] == 3
    assert again["checks"] == {"ok": True, "failed": []}
    assert {"path": "workload.roles.DEV.failure_rate", "before": "0.2", "after": "1.0"} in again["changes"]


# ---- curves and pages ------------------------------------------------------------------------------------------------


def test_curves_before_and_after() -> None:
    found = answered(LUCK, "redis-away:3")
    depth, throughput, latency = figures_whatif.courses(found)
    for figure, lines in ((depth, 4), (throughput, 4), (latency, 2)):  # two lines, and the bands behind them
        assert len(figure.data) == lines
        assert [line.name for line in figure.data if line.showlegend is not False] == ["Before", "After"]
        assert (figure.layout.shapes[0].x0, figure.layout.shapes[0].x1) == found.question.window_s
        assert "(s)" in figure.layout.xaxis.title.text
    done = sum(np.sum(line.y) for line in throughput.data if line.name == "After")
    width_s = throughput.data[1].x[1] - throughput.data[1].x[0]
    assert done * width_s == pytest.approx(found.figures["tasks.completed"].after)


@pytest.mark.parametrize(
    ("end_s", "width_s"), [(0.4, 0.01), (10.0, 0.2), (13.0, 1.0), (60.0, 1.0), (98.0, 2.0), (3_500.0, 100.0)]
)
def test_bins(end_s: float, width_s: float) -> None:
    assert figures_whatif.bin_width_s(end_s) == pytest.approx(width_s)


def test_the_page_holds_the_answer_and_fetches_nothing() -> None:
    found = answered(BY_HAND, "failures:10%")
    shown = page(BY_HAND, [found], [], "no <b>servers</b>", "meshlab whatif 'a<b>.yaml'")
    for said in ("by-hand: 10 % of the attempts fail", "failure_rate", "&lt;b&gt;servers", "a&lt;b&gt;.yaml", "<svg"):
        assert said in shown
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", re.sub(r"<script.*?</script>", "", shown, flags=re.S))
    assert "default-src 'none'" in shown


# ---- live ------------------------------------------------------------------------------------------------------------


def test_model_and_live_lie_side_by_side() -> None:
    asked = whatif.question(BY_HAND, [Asked("provider-slow")])
    notes = []

    def live(scenario: Scenario, **more: Any) -> Record:
        return simulate(scenario.override({"workload.arrivals.count": 20}), **more)

    found = whatif_live.run(
        {"model": simulate, "live": live}, asked, lambda record: record, on_progress=lambda one: notes.append(one.note)
    )
    assert set(notes) >= {"live, after", "model, before"}
    assert whatif_live.verdict(found) == (
        "Live, latency p99 goes from 5.00 s to 10.0 s (×2.0); the model said ×2.0 for the same tasks."
    )
    told = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert told["figures"]["makespan_s"]["live"]["ratio"] == 2.0
    assert told["before"]["paired"]["tasks"] == 20
    assert whatif_words.live_rows(found.figures)[0][0] == "Latency, p50"


def test_live_repeats_give_the_change_an_interval() -> None:
    """Live, work is 1, 1.1 and 1.2 times as long in the three repeats before, and twice that after: makespans of 5,
    5.5, 6 and of 10, 11, 12 s. The ratio is 2 in each, so its interval has no width; that of the difference, of mean
    5.5, is 5.5 ± 4.303 · 0.5 / √3.
    """
    asked, runs = whatif.question(BY_HAND, [Asked("provider-slow")]), []

    def live(scenario: Scenario, **more: Any) -> Record:
        runs.append(scenario)
        mean_s = scenario.workload.roles["DEV"].service.model_dump()["mean_s"]
        slower = 1 + (len(runs) - 1) // 2 / 10
        return simulate(scenario.override({"workload.roles.DEV.service.mean_s": mean_s * slower}), **more)

    found = whatif_live.run({"model": simulate, "live": live}, asked, lambda record: record, 3)
    one = found.figures["makespan_s"]["live"]
    assert (one.before, one.after, one.ratio) == pytest.approx((5.5, 11.0, 2.0))
    assert one.ci95 == pytest.approx((5.5 - 1.2421, 5.5 + 1.2421), abs=1e-3)
    assert one.ratio_ci95 == pytest.approx((2.0, 2.0))
    assert found.figures["makespan_s"]["model"].ci95 is None


def test_stopped_live_repeats_leave_those_that_are_finished() -> None:
    done: list[Scenario] = []

    def live(scenario: Scenario, **more: Any) -> Record:
        done.append(scenario)
        return simulate(scenario, until_s=0.5) if len(done) > 2 else simulate(scenario)

    asked = whatif.question(BY_HAND, [Asked("provider-slow")])
    assert len(whatif_live.run({"model": simulate, "live": live}, asked, lambda record: record, 3).live) == 1


def test_a_live_run_that_was_stopped_is_no_answer() -> None:
    def cut(scenario: Scenario, **_: Any) -> Record:
        return simulate(scenario, until_s=0.5)

    asked = whatif.question(BY_HAND, [Asked("provider-slow")])
    with pytest.raises(Interrupted, match="stopped in the live run after"):
        whatif_live.run({"model": simulate, "live": cut}, asked, lambda record: record)


def test_too_many_replications_are_refused() -> None:
    with pytest.raises(UsageError, match="can be pooled"):
        whatif.ask(simulate, whatif.question(BY_HAND, [Asked("traffic")]), 10_000_000, cores=1)
