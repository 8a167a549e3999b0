"""Ctrl-C, SIGTERM, the status file, the progress meter, and streams that go away."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import simulation
from cli.status import StatusFile
from cli.watching import Meter, line
from lab.progress import Progress
from lab.record import Record
from lab.scenario import Scenario

Meshlab = Callable[..., Any]
STATUS_KEYS = {
    "state", "engine", "done", "total", "fraction", "now_s", "wall_s", "eta_s", "note", "pid", "records", "result",
    "message", "exit_status",
}  # fmt: skip


def progress(done: int = 25, total: int = 100, wall_s: float = 5.0) -> Progress:
    return Progress("sim", done, total, now_s=12.0, wall_s=wall_s)


# ---- signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_the_run_and_keeps_what_there_is(
    meshlab: Meshlab, monkeypatch: pytest.MonkeyPatch, here: Path, which: signal.Signals
) -> None:
    real = simulation.simulate

    def stopped(scenario: Scenario, *, on_progress: Any, stop: Callable[[], bool]) -> Record:
        assert not stop()
        signal.raise_signal(which)
        assert stop()
        record = real(scenario, on_progress=on_progress)
        record.info["interrupted"] = True
        return record

    before = signal.getsignal(which)
    monkeypatch.setattr(simulation, "simulate", stopped)
    answer = meshlab("run", "quick.yaml", "--engine", "both", "--json", "--status", "status.json")
    assert answer.status == 130
    assert answer.json["live"] is None  # never begun
    assert answer.json["compare"] is None
    assert "interrupted; what happened until then is in runs/" in answer.err
    assert Record.load(answer.json["sim"]["record"]).info["interrupted"]
    assert signal.getsignal(which) is before
    status = json.loads((here / "status.json").read_text())
    assert (status["state"], status["exit_status"], len(status["records"])) == ("cancelled", 130, 1)


SECOND_SIGNAL = """
import signal, simulation, cli.main
def never_ends(scenario, *, on_progress, stop):
    signal.raise_signal(signal.SIGINT)
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        print("cleaned up slowly")
simulation.simulate = never_ends
raise SystemExit(cli.main.main(["run", "quick.yaml", "--status", "status.json"]))
"""


def test_the_second_signal_leaves_at_once(process: Callable[..., Any], here: Path) -> None:
    answer = process("-c", SECOND_SIGNAL)
    assert answer.status == 130
    assert "cleaned up slowly" not in answer.out
    assert json.loads((here / "status.json").read_text())["state"] == "cancelled"


def test_ctrl_c_ends_a_real_run_with_130(here: Path, environment: dict[str, str]) -> None:
    long = ["--set", "workload.arrivals={kind: poisson, rate_per_s: 10, count: 400000}", "--set", "mesh.workers=9"]
    command = [sys.executable, "-m", "cli", "run", "quick.yaml", *long, "--json", "--status", "status.json"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        _wait_until(lambda: _status(here).get("done", 0) > 0)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    assert "Traceback" not in err
    got = json.loads(out)
    assert got["interrupted"]
    assert 0 < got["tasks"]["completed"] < 400_000


def _status(here: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((here / "status.json").read_text()))
    except FileNotFoundError:
        return {}


def _wait_until(happened: Callable[[], bool], bound_s: float = 60.0) -> None:
    until, look = time.monotonic() + bound_s, threading.Event()
    while not happened():
        assert time.monotonic() < until, "it never happened"
        look.wait(0.02)


# ---- the status file -------------------------------------------------------------------------------------------------


def test_the_status_file_ends_with_the_result(meshlab: Meshlab, here: Path) -> None:
    answer = meshlab("run", "quick.yaml", "--json", "--status", "status.json")
    status = json.loads((here / "status.json").read_text())
    assert set(status) == STATUS_KEYS
    assert (status["state"], status["exit_status"], status["message"]) == ("done", 0, None)
    assert status["result"] == answer.json
    assert status["records"] == [answer.json["record"]]
    assert (status["engine"], status["done"], status["total"], status["fraction"]) == ("sim", 60, 60, 1.0)
    assert status["pid"] == os.getpid()
    assert [path.name for path in here.iterdir() if "status" in path.name] == ["status.json"]


def test_a_bad_scenario_stands_in_the_status_file(meshlab: Meshlab, here: Path) -> None:
    (here / "bad.yaml").write_text("name: x\nseed: -1\n")
    answer = meshlab("run", "bad.yaml", "--status", "status.json")
    status = json.loads((here / "status.json").read_text())
    assert (answer.status, status["state"], status["exit_status"]) == (2, "failed", 2)
    assert status["message"] == answer.err.strip()
    assert "bad.yaml:2:1: seed" in status["message"]


def test_the_status_file_is_written_at_most_five_times_a_second(tmp_path: Path) -> None:
    now = [0.0]
    path = tmp_path / "s.json"
    status = StatusFile(str(path), clock=lambda: now[0])
    written = []
    for tick in range(100):
        now[0] = tick / 100
        path.unlink(missing_ok=True)
        status.on_progress(progress(tick))
        written.append(path.exists())
    assert sum(written) == 5  # at 0, 0.2, 0.4, 0.6, 0.8
    status.end("done", 0, result={})
    status.end("failed", 1, message="too late")
    assert json.loads(path.read_text())["state"] == "done"


def test_a_status_file_that_cannot_be_written_ends_no_run(meshlab: Meshlab) -> None:
    assert meshlab("run", "quick.yaml", "--status", "no/such/folder/s.json").status == 0


# ---- progress --------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    return Terminal()


def shown(stream: io.StringIO, **options: Any) -> str:
    """What a meter writes for a report every hundredth of a second, for ten seconds."""
    now = [0.0]
    meter = Meter(stream=stream, clock=lambda: now[0], **options)
    for tick in range(1_000):
        now[0] = tick / 100
        meter(progress())
    meter.clear()
    return stream.getvalue()


def test_a_terminal_is_redrawn_ten_times_a_second_within_its_width(terminal: Terminal) -> None:
    frames = shown(terminal).split("\r\x1b[2K")[1:-1]
    assert 90 <= len(frames) <= 100
    assert max(map(len, frames)) <= 59
    assert "\n" not in "".join(frames)


def test_a_log_gets_a_plain_line_every_five_seconds() -> None:
    text = shown(io.StringIO())
    assert "\r" not in text
    assert "\x1b" not in text
    assert text.count("\n") == 1  # at 5 s; the next would come at 10 s


@pytest.mark.parametrize("tty", [True, False])
def test_quiet_is_silent(terminal: Terminal, tty: bool) -> None:
    assert shown(terminal if tty else io.StringIO(), quiet=True) == ""


def test_the_line_says_how_far_and_how_long() -> None:
    # 25 of 100 in 5 s: 75 left at 5 a second are 15 s.
    text = line(progress())
    for words in ("model", " 25 %", "25 of 100", "at 12.0 s", "about 15 s left", "█" * 6 + "░" * 18):
        assert words in text
    assert "left" not in line(progress(done=0))
    assert "left" not in line(progress(done=100))


# ---- streams that go away --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("rules | head -1", 0),
        ("schema | true", 0),
        ("run quick.yaml --json | true", 0),
        ("run quick.yaml --json >&-", 0),
        ("run quick.yaml --set mesh.workers=0 2>&-", 2),
        ("validate nowhere.yaml 2>&- >&-", 2),
    ],
)
def test_a_reader_that_has_gone_away_is_no_error(command: str, status: int, environment: dict[str, str]) -> None:
    shell = f"{sys.executable} -m cli {command}; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", shell], env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == status, ended.stderr
    assert ended.stderr == ""


def test_an_encoding_without_our_letters_is_no_error(environment: dict[str, str]) -> None:
    words = [sys.executable, "-m", "cli", "rules"]
    ended = subprocess.run(words, env={**environment, "PYTHONIOENCODING": "ascii"}, capture_output=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, b"")
