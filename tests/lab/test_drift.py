"""The alarm: its arithmetic, its rate of false ones, and that it does not flap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from lab import drift
from lab.drift import Baseline, Detector, Watch


def test_the_sum_of_scores_by_hand() -> None:
    """S ← min(1.5·4, max(0, S + min(z, 3) − 1)) with h = 4: raised at 4, taken back at 2."""
    table = [  # (score, S after it, alarm)
        (0.5, 0.0, False),  # 0 + 0.5 − 1 < 0
        (9.0, 2.0, False),  # 3 − 1: no look counts for more
        (2.5, 3.5, False),
        (1.5, 4.0, True),  # h is reached
        (3.0, 6.0, True),
        (3.0, 6.0, True),  # capped at 1.5 h
        (-1.0, 4.0, True),
        (-0.5, 2.5, True),  # below h, above h/2: it stays
        (0.5, 2.0, False),  # h/2: taken back
        (2.9, 3.9, False),  # and not raised again below h
        (-9.0, 0.0, False),
    ]
    detector = Detector(threshold=4.0)
    for at_s, (score, total, alarmed) in enumerate(table):
        assert detector.look(score, at_s) is alarmed, (at_s, score)
        assert detector.sum == pytest.approx(total), (at_s, score)


def test_since_when_is_where_the_evidence_began() -> None:
    detector = Detector(threshold=4.0)
    for at_s, score in enumerate([0, 3, 3, 0, 3, 3]):
        detector.look(score, float(at_s))
    assert (detector.alarmed, detector.since_s) == (True, 1.0)


@pytest.mark.parametrize(
    ("threshold", "allowance", "looks"),
    [
        # (exp(2kb) − 2kb − 1) / 2k², b = h + 1.166. Montgomery's table has 930 for k = 0.5 and h = 5 (one side).
        (5.0, 0.5, 938.2),  # b = 6.166: (476.3 − 6.166 − 1) / 0.5
        (4.0, 0.5, 338.1),  # b = 5.166: (175.2 − 5.166 − 1) / 0.5, the table's 336
        (2.0, 1.0, 277.5),  # 2b = 6.332: (562.3 − 6.332 − 1) / 2
    ],
)
def test_looks_between_false_alarms(threshold: float, allowance: float, looks: float) -> None:
    assert drift.run_length(threshold, allowance) == pytest.approx(looks, rel=0.001)


@pytest.mark.parametrize("detectors", [1, 14, 400])
def test_more_detectors_have_a_higher_threshold_and_the_same_rate_together(detectors: int) -> None:
    threshold = drift.threshold_for(detectors)
    assert drift.run_length(threshold) / detectors == pytest.approx(drift.LOOKS_BETWEEN_FALSE_ALARMS, rel=1e-6)


def test_the_stated_rate_is_kept_by_normal_scores() -> None:
    """With h for one false alarm in 500 looks, walks of normal scores meet one after 500 looks or more."""
    threshold = drift.threshold_for(1, looks=500)
    seed = 20_260_101
    random = np.random.default_rng(seed)
    lengths = []
    for _ in range(300):
        detector, looks = Detector(threshold), 0
        while not detector.look(float(random.standard_normal()), 0.0):
            looks += 1
        lengths.append(looks)
    mean, error = float(np.mean(lengths)), float(np.std(lengths) / math.sqrt(len(lengths)))
    assert mean > 500 - 3 * error, (seed, mean, error)


def test_a_watch_tells_kinds_apart() -> None:
    watch = Watch(drift.names_of(["A", "B"]))
    assert len(watch.names) == 2 + 2 * 4
    for at_s in range(10):
        alarms = watch.look({"mesh slower": 0.1, "mesh faster": -0.1, "B tail": 5.0}, float(at_s))
    assert [(one.kind, one.name) for one in alarms] == [("work", "B tail")]
    assert alarms[0].what == "B: more attempts take very long"
    assert watch.look({}, 11.0) == alarms, "a look that learns nothing changes nothing"


@pytest.mark.parametrize(
    ("seen", "predicted", "score"),
    [
        ([], [], None),
        ([1.0, 3.0], [1.0, 3.0], 0.0),
        ([2.2, 2.2], [2.0, 2.0], 1.0),  # 0.2 / (0.1 · 2)
        ([1.0, 3.4], [2.0, 2.0], 1.0),  # mean difference (−1 + 1.4)/2 = 0.2, again / 0.2
        ([0.15], [0.10], 1.0),  # 0.05 / max(0.05, 0.01)
        ([0.5], [1.5], -6.667),  # −1 / 0.15
    ],
)
def test_how_far_apart_times_are(seen: list[float], predicted: list[float], score: float | None) -> None:
    found = drift.apart_score(np.array(seen), np.array(predicted))
    assert found == (score if score is None else pytest.approx(score, abs=1e-3))


@pytest.mark.parametrize(
    ("hits", "count", "share", "score"),
    [
        # P(X > hits) + P(X = hits) / 2, and the normal point that is exceeded so rarely.
        (10, 20, 0.5, 0.0),  # 0.5, by symmetry
        (15, 20, 0.5, 2.217),  # 0.00591 + 0.01479 / 2 = 0.01330; (15 − 10) / √5 = 2.236
        (6, 20, 0.1, 2.467),  # 0.00239 + 0.00887 / 2 = 0.00682; (6 − 2) / √1.8 = 2.981 says too much
        (0, 20, 0.02, -0.429),  # 0.33239 + 0.66761 / 2 = 0.66620
        (20, 20, 0.1, 3.0),  # 10⁻²⁰ / 2: no score counts for more
        (1, 20, 0.0, 3.0),  # what cannot happen has happened
        (0, 20, 0.0, 0.0),
    ],
)
def test_how_far_a_share_is_from_what_was_expected(hits: int, count: int, share: float, score: float) -> None:
    assert drift.share_score(hits, count, share) == pytest.approx(score, abs=1e-3)


def test_scores_of_work_against_its_baseline() -> None:
    """Median 1, 90th percentile 2: above 1.12 is slower, below 0.88 faster, above 2.22 tail; 20 attempts, 4 failed."""
    baseline = Baseline(1.0, 2.0, 0.05, "by hand")
    values = np.array([1.11] * 5 + [1.13] * 9 + [0.87] * 1 + [2.23] * 5)
    scores = baseline.scores(values, failed=4)
    assert scores["slower"] == pytest.approx(drift.share_score(14, 20, 0.5))
    assert scores["faster"] == pytest.approx(drift.share_score(1, 20, 0.5))
    assert scores["tail"] == pytest.approx(drift.share_score(5, 20, 0.1))
    assert scores["failures"] == pytest.approx(drift.share_score(4, 20, 0.07))


@pytest.mark.parametrize(("count", "share"), [(20, 0.5), (20, 0.1), (50, 0.1), (20, 0.07)])
def test_scores_of_shares_keep_the_stated_rate(count: int, share: float) -> None:
    """What an unchanged share adds to the sum of one detector raises no more alarms than normal scores would: of those
    the threshold allows one in 2,000 looks. Exact but for a grid of 1/100: the chain of S (Brook and Evans, Biometrika
    59, 1972), whose steps are the scores rounded up.
    """
    threshold, grid = drift.threshold_for(1, looks=2_000), 100
    hits = np.arange(count + 1)
    steps = np.ceil([grid * (drift.share_score(int(one), count, share) - drift.ALLOWANCE) for one in hits]).astype(int)
    places = math.ceil(grid * threshold)
    chain = np.zeros((places, places))
    for step, likely in zip(steps, binom.pmf(hits, count, share), strict=True):
        to = np.maximum(0, np.arange(places) + step)
        inside = to < places
        np.add.at(chain, (np.flatnonzero(inside), to[inside]), likely)
    looks = np.linalg.solve(np.eye(places) - chain, np.ones(places))[0]
    assert looks > 2_000


@pytest.mark.parametrize("shape", ["exponential", "lognormal", "pareto"])
def test_unchanged_work_raises_no_alarm_whatever_its_shape(shape: str) -> None:
    """4,000 looks at 20 attempts each, whose baseline is the true distribution's."""
    seed = 7
    random = np.random.default_rng(seed)
    draw = {
        "exponential": lambda n: random.exponential(1.0, n),
        "lognormal": lambda n: random.lognormal(0.0, 1.5, n),
        "pareto": lambda n: 1 + random.pareto(1.2, n),
    }[shape]
    baseline = Baseline.of(draw(200_000), failed=0, source="itself")
    watch = Watch(drift.names_of(["A"]))
    for look in range(4_000):
        scores = {f"A {name}": score for name, score in baseline.scores(draw(20), 0).items()}
        assert not watch.look(scores, look), (seed, look)
    for look in range(60):
        alarms = watch.look({f"A {n}": s for n, s in baseline.scores(2.0 * draw(20), 0).items()}, look)
    assert "A slower" in [one.name for one in alarms]
