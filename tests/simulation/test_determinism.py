"""The same scenario and seed give the same bytes, in any process, with any hash seed, on any number of cores; another
seed gives another run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Scenario
from simulation import simulate

ROOT = Path(__file__).parents[2]
SCENARIOS = ("sdlc_quick", "worker_crash", "rss_pressure", "faults/f25_postgres_restarts", "faults/f53_swizzle")
RUN = """
import os, sys
from pathlib import Path
folder, cores, *names = sys.argv[1:]
if cores == "one core" and hasattr(os, "sched_setaffinity"):  # before anything counts its cores
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from lab import Scenario
from simulation import simulate
for name in names:
    simulate(Scenario.load(f"scenarios/{name}.yaml")).save(Path(folder) / name)
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """Records of all of them, made by two processes: one on all cores, one on a single core with another hash seed."""
    ways = [("1", "all cores"), ("4242", "one core")]
    made = [tmp_path_factory.mktemp(f"hash-seed-{hash_seed}") for hash_seed, _ in ways]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, str(folder), cores, *SCENARIOS],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        )
        for folder, (hash_seed, cores) in zip(made, ways, strict=True)
    ]
    assert [child.wait(timeout=120) for child in children] == [0, 0]
    yield made


def tables(folder: Path) -> dict[str, str]:
    """The content of a record's tables, by their names."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.parquet"))}


@pytest.mark.parametrize("name", SCENARIOS)
def test_same_bytes_in_another_process_with_another_hash_seed_and_on_one_core(folders: list[Path], name: str) -> None:
    first, second = (tables(folder / name) for folder in folders)
    assert len(first) == 4
    assert first == second


@pytest.mark.parametrize("name", SCENARIOS[:3])
def test_same_bytes_here_and_other_bytes_with_another_seed(folders: list[Path], tmp_path: Path, name: str) -> None:
    scenario = Scenario.load(ROOT / "scenarios" / f"{name}.yaml")
    elsewhere = tables(folders[0] / name)
    assert tables(simulate(scenario).save(tmp_path / "same")) == elsewhere
    other = simulate(scenario.override({"seed": scenario.seed + 1})).save(tmp_path / "other")
    assert tables(other)["transitions.parquet"] != elsewhere["transitions.parquet"]
