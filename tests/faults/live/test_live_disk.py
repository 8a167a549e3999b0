"""No room for the record of a run (F30): one line, exit 1, and nothing half-written."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[3]
BYTES_MAX = 6_000
"""More than a scenario needs, less than the tables of a run of 300 tasks do."""


def _no_more_bytes() -> None:
    """Files of this process end here, as on a full disk: writing beyond is an error (EFBIG), not a death (SIGXFSZ)."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (BYTES_MAX, BYTES_MAX))


@pytest.mark.parametrize("engine", ["sim", "live"])
def test_f30_no_room_for_the_record(servers, build, tmp_path: Path, engine: str) -> None:
    scenario = build(workload__arrivals__count=300, workload__roles__A__service__mean_s=0.01)
    path, folder = tmp_path / "scenario.yaml", tmp_path / "runs"
    path.write_text(yaml.safe_dump(scenario.data))
    words = ["run", str(path), "--engine", engine, "--json", "--quiet", "--out", str(folder)]
    ended = subprocess.run(
        [sys.executable, "-m", "cli", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=_no_more_bytes,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1, ended.stderr
    assert ended.stdout == ""
    (line,) = ended.stderr.strip().splitlines()
    assert "bug" not in line
    assert str(folder) in line
    assert [one for one in folder.rglob("*") if one.is_file()] == []
    assert _runs(folder) == []


def _runs(folder: Path) -> list[object]:
    """What `meshlab runs` sees there."""
    words = [sys.executable, "-m", "cli", "runs", "list", "--out", str(folder), "--json"]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    return list(found["runs"] if isinstance(found, dict) else found)
