"""Every notebook runs from top to bottom: its code cells in order in a fresh process. Their asserts are the test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.live
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_its_claims_hold(path: Path, tmp_path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in code), "outputs are not committed: they go stale"
    script = tmp_path / f"{path.stem}.py"
    script.write_text("\n\n".join("".join(cell["source"]) for cell in code), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name in ("REDIS_URL", "REDIS_ADDR", "DB_DSN"):
        environment.pop(name, None)
    run = subprocess.run(
        [sys.executable, str(script)],
        cwd=ROOT / "notebooks",
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr[-3000:]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS
