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
TEST_S = {"notebooks": 20.0, "ui": 8.0, "faults": 5.0, "live": 4.0, "conformance": 2.0, "api": 0.3}
"""What a test with real processes takes, by folder, roughly: only the order of the files depends on it."""


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the repository."""
    return ROOT


def pytest_configure(config: pytest.Config) -> None:
    """Files are dealt out in the order of `in_turns`; xdist's own has those with few tests, the longest, at the end."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real processes on a shared machine may be late for a reason of their own; the rulebook and the model may not."""
    for item in items:
        if has_processes(item):
            item.add_marker(pytest.mark.flaky(reruns=RERUNS))
    items[:] = in_turns(items)


def has_processes(item: pytest.Item) -> bool:
    """Whether real servers and workers, or a browser, take part: such a test mostly waits."""
    return any(item.get_closest_marker(name) for name in ("live", "e2e"))


def in_turns(items: list[pytest.Item]) -> list[pytest.Item]:
    """By file: after one that waits, the longest of them first, a share of those that compute, in their order. So the
    cores are busy while others wait, few of those that wait meet, and only short ones are left at the end.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    waits_s = {path: sum(map(_waits_s, tests)) for path, tests in files.items()}
    waiting = sorted((path for path in files if waits_s[path] > 0), key=lambda path: -waits_s[path])
    computing = [path for path in files if waits_s[path] == 0]
    share = max(1, round(len(computing) / (len(waiting) + 1)))
    dealt: list[Path] = []
    for path in waiting:
        dealt += [path, *computing[:share]]
        del computing[:share]
    return [item for path in (*dealt, *computing) for item in files[path]]


def _waits_s(item: pytest.Item) -> float:
    return TEST_S.get(item.path.relative_to(ROOT / "tests").parts[0], 1.0) if has_processes(item) else 0.0
