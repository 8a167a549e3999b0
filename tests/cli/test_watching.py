"""The meter tells the steps after a run: at once on a terminal, and in a log only of a run that lasted."""

from __future__ import annotations

import io

import pytest

from cli.watching import PLAIN_LINE_S, Meter, line
from lab.progress import Progress, noting

LAST = Progress("sim", 1_000_000, 1_000_000, now_s=1_560.0, wall_s=4.0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(stream: io.StringIO, *, run_s: float) -> list[str]:
    """What a meter shows of a run whose last progress comes after `run_s`, and of two steps a millisecond apart."""
    now_s = [0.0]
    meter = Meter(stream=stream, clock=lambda: now_s[0])
    now_s[0] = run_s
    meter(LAST)
    on_step = noting(meter, LAST)
    for step in ("recording 1,000,000 tasks", "checking 1,000,000 tasks"):
        now_s[0] += 0.001
        on_step(step)
        on_step(step)
    return stream.getvalue().replace("\r\x1b[2K", "\n").split("\n")


def test_a_terminal_shows_every_step_at_once_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    first, _, *steps = told(Terminal(), run_s=0.0)
    assert first == ""
    assert [step.split(" · ") for step in steps] == [
        ["model ████████████████████████ 100 %", "recording 1,000,000 tasks"],
        ["model ████████████████████████ 100 %", "checking 1,000,000 tasks"],
    ]


def test_a_log_shows_the_steps_of_a_run_that_lasted() -> None:
    lines = told(io.StringIO(), run_s=PLAIN_LINE_S)
    assert [text.split(" · ")[1] for text in lines[:-1]] == [
        "1,000,000 of 1,000,000",
        "recording 1,000,000 tasks",
        "checking 1,000,000 tasks",
    ]


def test_a_log_stays_empty_if_all_is_over_in_no_time() -> None:
    assert told(io.StringIO(), run_s=0.1) == [""]


def test_during_a_run_the_note_stands_last() -> None:
    text = line(Progress("sim", 5, 10, now_s=1.0, wall_s=2.0, note="replication 1 of 2"))
    assert text.endswith("5 of 10 · at 1.0 s · about 2 s left · replication 1 of 2")
