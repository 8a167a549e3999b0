"""Samples of very long runs are thinned: evenly, and never beyond the bound."""

from __future__ import annotations

import pytest

from simulation import samples


def test_past_the_bound_every_second_report_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows a report, at most 8 rows: reports 0 1 2 3 fill it; at 4 there remain 0 2, then 4 6 join; at 8 there
    remain 0 4, then 8 and 12 join; at 16: 0 8 16.
    """
    monkeypatch.setattr(samples, "SAMPLES_MAX", 8)
    kept = samples.Samples()
    for number in range(17):
        if kept.begin():
            kept.of_worker(float(number), "w0.1", 100.0 + number, 0.5, 1, True)
            kept.of_queues(float(number), 1, number, 0, 0, 0, 0)
    frame = kept.frame()
    assert frame["t_s"].tolist() == [0, 0, 8, 8, 16, 16]
    assert frame["worker"].tolist() == ["w0.1", ""] * 3
    assert frame["rss_bytes"].tolist() == [100, 0, 108, 0, 116, 0]
    assert frame["agent_high"].tolist() == [0, 0, 0, 8, 0, 16]
