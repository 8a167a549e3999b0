"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("meshlab", deadline=None, print_blob=True)  # speed is measured, never asserted
settings.load_profile("meshlab")

ROOT = Path(__file__).resolve().parent.parent
os.environ["MESHLAB_PROFILES"] = str(ROOT / "tests" / "no-profiles")  # a calibrated machine must not change a test
RERUNS = 3
"""Of a test with real processes, on a machine that it shares: tried again, and told in the summary as RERUN."""


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the repository."""
    return ROOT


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real processes on a shared machine may be late for a reason of their own; the rulebook and the model may not."""
    for item in items:
        if item.get_closest_marker("live") or item.get_closest_marker("e2e"):
            item.add_marker(pytest.mark.flaky(reruns=RERUNS))
