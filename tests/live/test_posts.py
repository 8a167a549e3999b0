"""Posts: a process that is always there, whatever becomes of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab.limits import RESTART_S_MAX
from live_backend import posts
from live_backend.posts import Duty, Post
from live_backend.processes import EXIT_RECYCLED
from tests.live.helpers import eventually

ROOT = Path(__file__).parents[2]
Do = Callable[[int], Any]


class Watched:
    """A post with a stand-in at it."""

    def __init__(self, folder: Path, do: Do, *, stop_s: float = 10.0, restart_after_s: float | None = 0.1) -> None:
        self.file, self.told = folder / "told.jsonl", list[str]()
        duty = Duty("stand-in", "tests.live.stand_in", self._briefing(do), stop_s, restart_after_s)
        self.post = Post(duty, self.told.append)

    def _briefing(self, do: Do) -> Callable[[int], str]:
        return lambda life: json.dumps({"file": str(self.file), "life": life, "do": do(life)}) + "\n"

    def lives(self) -> list[dict[str, Any]]:
        """All that have stood there so far."""
        return [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []

    async def nth(self, number: int) -> int:
        """The process id of the n-th, as soon as it is there."""
        await asyncio.to_thread(eventually, lambda: len(self.lives()) >= number)
        return int(self.lives()[number - 1]["pid"])

    async def told_of(self, text: str) -> None:
        """Wait until its operator was told this."""
        await asyncio.to_thread(eventually, lambda: any(text in line for line in self.told))


def in_a_loop(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())


def test_who_is_killed_is_replaced_and_told_which_life_it_is(tmp_path: Path) -> None:
    async def work() -> None:
        watched = Watched(tmp_path, lambda life: "serve")
        watched.post.start()
        os.kill(await watched.nth(1), signal.SIGKILL)
        second = await watched.nth(2)
        await watched.post.dismiss()
        assert [life["life"] for life in watched.lives()] == [1, 2]
        assert watched.told == ["stand-in: killed by SIGKILL; another takes its place in 0.1 s"]
        assert not psutil.pid_exists(second)
        assert watched.post.pid is None

    in_a_loop(work)


def test_who_asks_to_be_recycled_is_replaced_at_once(tmp_path: Path) -> None:
    async def work() -> None:
        watched = Watched(tmp_path, lambda life: EXIT_RECYCLED if life == 1 else "serve", restart_after_s=86_400.0)
        watched.post.start()
        await watched.nth(2)
        await watched.post.dismiss()
        assert watched.told == ["stand-in: recycled"]

    in_a_loop(work)


def test_a_rule_may_forbid_to_replace(tmp_path: Path) -> None:
    async def work() -> None:
        watched = Watched(tmp_path, lambda life: 1, restart_after_s=None)
        watched.post.start()
        await watched.told_of("not replaced, as health.restart_after_s says")
        await watched.post.dismiss()
        assert len(watched.lives()) == 1

    in_a_loop(work)


def test_who_dies_at_once_is_started_ever_more_seldom(tmp_path: Path) -> None:
    async def work() -> None:
        watched = Watched(tmp_path, lambda life: 7)
        watched.post.start()
        await watched.nth(3)
        await watched.told_of("0.4 s")
        await watched.post.dismiss()
        assert watched.told[:3] == [f"stand-in: exit 7; another takes its place in {s} s" for s in (0.1, 0.2, 0.4)]

    in_a_loop(work)


def test_the_pause_is_bounded_but_never_below_the_rule() -> None:
    assert posts._pause_s(1.0, 1) == 1.0
    assert posts._pause_s(1.0, 3) == 4.0
    assert posts._pause_s(1.0, 1_000) == RESTART_S_MAX
    assert posts._pause_s(3_600.0, 5) == 3_600.0
    assert posts._pause_s(0.0, 1) > 0.0


@pytest.mark.parametrize("frozen", [False, True])
def test_who_does_not_leave_in_time_is_killed(tmp_path: Path, frozen: bool) -> None:
    async def work() -> None:
        watched = Watched(tmp_path, lambda life: "stubborn", stop_s=0.2)
        watched.post.start()
        pid = await watched.nth(1)
        if frozen:
            os.kill(pid, signal.SIGSTOP)
        await watched.post.dismiss()
        assert not psutil.pid_exists(pid)
        assert watched.told == []

    in_a_loop(work)


def test_who_is_frozen_wakes_up_to_leave(tmp_path: Path) -> None:
    async def work() -> None:
        watched = Watched(tmp_path, lambda life: "serve")
        watched.post.start()
        os.kill(await watched.nth(1), signal.SIGSTOP)
        await watched.post.dismiss()
        assert watched.post.pid is None

    in_a_loop(work)


def test_a_post_dismissed_while_it_pauses_or_before_it_began_stays_empty(tmp_path: Path) -> None:
    async def work() -> None:
        watched = Watched(tmp_path, lambda life: 1, restart_after_s=86_400.0)
        watched.post.start()
        await watched.told_of("takes its place")
        await watched.post.dismiss()
        assert watched.post.pid is None
        never = Watched(tmp_path, lambda life: "serve")
        await never.post.dismiss()
        assert never.post.pid is None

    in_a_loop(work)


KEEPER = """
import asyncio, json, sys
from live_backend.posts import Duty, Post
async def main():
    told = json.dumps({"file": sys.argv[1], "do": "stubborn"}) + "\\n"
    Post(Duty("stand-in", "tests.live.stand_in", lambda life: told, 10.0), print).start()
    await asyncio.sleep(3600)
asyncio.run(main())
"""


def test_nobody_outlives_who_keeps_the_post(tmp_path: Path) -> None:
    """kill -9 of the keeper: standard input closes, and that is the end."""
    file = tmp_path / "told.jsonl"
    keeper = subprocess.Popen([sys.executable, "-c", KEEPER, str(file)], cwd=ROOT)
    try:
        eventually(lambda: file.exists() and file.read_text().endswith("\n"))
        pid = json.loads(file.read_text())["pid"]
    finally:
        keeper.kill()
        keeper.wait(10)
    eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
