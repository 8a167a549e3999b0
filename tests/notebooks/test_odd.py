"""Notebooks with odd numbers run, and their claims hold. (Two files, so that CI's two workers share them.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.notebooks.executed import NOTEBOOKS, runs_and_shows_what_it_found


@pytest.mark.live
@pytest.mark.parametrize("path", NOTEBOOKS[0::2], ids=lambda path: path.stem)
def test_it_runs_and_its_claims_hold(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runs_and_shows_what_it_found(path, monkeypatch, tmp_path)
