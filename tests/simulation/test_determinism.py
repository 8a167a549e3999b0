"""The same scenario and seed give the same bytes, in any process; another seed gives another run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN = """
import sys
from pathlib import Path
from lab import Scenario
from simulation import simulate
scenario = Scenario.load(sys.argv[1]).override({"seed": int(sys.argv[2])})
simulate(scenario).save(Path(sys.argv[3]))
"""


def _tables(folder: Path, scenario: str, seed: int, hash_seed: str) -> dict[str, str]:
    subprocess.run(
        [sys.executable, "-c", RUN, str(ROOT / "scenarios" / scenario), str(seed), str(folder)],
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
    )
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.parquet"))}


@pytest.mark.parametrize("scenario", ["sdlc_quick.yaml", "worker_crash.yaml", "rss_pressure.yaml"])
def test_same_bytes_in_another_process_with_another_hash_seed(tmp_path: Path, scenario: str) -> None:
    first = _tables(tmp_path / "a", scenario, 7, "1")
    second = _tables(tmp_path / "b", scenario, 7, "4242")
    assert len(first) == 4
    assert first == second
    assert _tables(tmp_path / "c", scenario, 8, "1")["transitions.parquet"] != first["transitions.parquet"]
