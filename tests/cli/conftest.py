"""The command line in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.main import main

ROOT = Path(__file__).parents[2]
QUICK = """\
# Sixty short tasks, some of which fail once or twice.
name: quick
seed: 7
workload:
  arrivals: {kind: burst, count: 60}
  roles:
    DEV: {priority: {5: 1, 2: 1, 1: 1}, service: {dist: exponential, mean_s: 0.5}, failure_rate: 0.2}
mesh: {workers: 3, slots: 5}
rules: {retry: {base_s: 0.1}}
"""


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Meshlab = Callable[..., Answer]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every command works in an empty folder that holds quick.yaml; records go to runs/ in it."""
    (tmp_path / "quick.yaml").write_text(QUICK)
    monkeypatch.chdir(tmp_path)
    for name in ("MESHLAB_RUNS", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def meshlab(capsys: pytest.CaptureFixture[str]) -> Meshlab:
    """meshlab("run", "quick.yaml") in this process."""

    def called(*words: str) -> Answer:
        status = main(words)
        captured = capsys.readouterr()
        return Answer(status, captured.out, captured.err)

    return called


@pytest.fixture
def environment() -> dict[str, str]:
    """For processes of their own."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def process(environment: dict[str, str]) -> Callable[..., Answer]:
    """process("-c", program) in a Python of its own."""

    def called(*words: str) -> Answer:
        ended = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, timeout=60)
        return Answer(ended.returncode, ended.stdout, ended.stderr)

    return called
