"""The hub with puppets for sides: what is told to whom, and what happens when something goes wrong."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab.errors import UsageError
from lab.limits import FRAME_EVENTS_MAX
from ui.mesh import session as sessions
from ui.mesh import sides
from ui.mesh.commands import parse
from ui.mesh.history import CURVES, History, whole
from ui.mesh.hub import Hub, Refused, Viewer
from ui.mesh.sides import Side

PUPPET = Path(__file__).with_name("puppet.py")
WAIT_S = 20.0

pytestmark = pytest.mark.usefixtures("runs")


def puppets(model: str = "good", live: str = "good") -> dict[Any, list[str]]:
    return {name: [sys.executable, str(PUPPET), name, habit] for name, habit in (("model", model), ("live", live))}


def in_loop(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


@asynccontextmanager
async def hub_of(model: str = "good", live: str = "good") -> Any:
    hub = Hub(puppets(model, live))
    try:
        yield hub
    finally:
        await hub.close()


async def until(happens: Callable[[], Any]) -> Any:
    """Wait until something is true."""
    async with asyncio.timeout(WAIT_S):
        while not (found := happens()):
            await asyncio.sleep(0.01)
    return found


def state(hub: Hub) -> str:
    return str(hub.session_told()["state"])


def heard(hub: Hub, name: str = "model") -> dict[str, Any]:
    """What a puppet says that it has heard."""
    frame = hub.state()[name]
    with suppress(TypeError, ValueError):
        return dict(json.loads(frame["note"]))
    return {"heard": [], "entries": 0, "speeds": []}


async def do(hub: Hub, **command: Any) -> dict[str, Any]:
    return await hub.command(parse(command))


async def running(hub: Hub, **start: Any) -> None:
    await do(hub, do="start", **start)
    await until(lambda: state(hub) == "running")


def message(sent: bytes) -> dict[str, Any]:
    assert sent.startswith(b"event: frame\ndata: ") and sent.endswith(b"\n\n") and sent.count(b"\n") == 3
    return dict(json.loads(sent.split(b"data: ")[1]))


async def next_of(hub: Hub, viewer: Viewer) -> dict[str, Any]:
    await asyncio.wait_for(viewer.news.wait(), WAIT_S)
    return message(hub.take(viewer))


# ---- a session -------------------------------------------------------------------------------------------------------


def test_a_session_from_the_first_press_to_the_records() -> None:
    async def work() -> None:
        async with hub_of() as hub:
            assert state(hub) == "idle"
            told = await do(hub, do="stress", on=True, mode="burst", count=500)
            assert (told["state"], told["stress"]["on"], told["roles"][0]) == ("starting", True, "ARCHITECT")
            await until(lambda: state(hub) == "running")
            await until(lambda: not hub.session_told()["stress"]["on"])  # worked off: the puppets have nothing pending
            await until(lambda: hub.session_told()["t"] > 0)
            await do(hub, do="stop")
            await until(lambda: state(hub) == "ended")
            told = hub.session_told()
            assert told["records"] == ["record-of-model", "record-of-live"]
            assert told["message"] == "Stopped by hand. Saved."
            assert [heard(hub, name)["heard"][:2] for name in ("model", "live")] == [["start", "go"]] * 2

    in_loop(work())


def test_what_people_do_reaches_both_sides() -> None:
    async def work() -> None:
        async with hub_of() as hub:
            await do(hub, do="start")
            await do(hub, do="pace", speed=4)  # before it runs
            await until(lambda: state(hub) == "running")
            await do(hub, do="knob", knob="workers", value=5)
            await do(hub, do="knob", knob="rate", value=20)
            await do(hub, do="chaos", what="kill_worker", worker=4)
            await do(hub, do="stress", on=True, mode="hold", rate_per_s=80)
            for name in ("model", "live"):
                await until(lambda name=name: heard(hub, name)["entries"] == 3)
                assert heard(hub, name)["heard"].count("grow") == 1  # told together
            assert heard(hub)["speeds"] == [4]
            told = hub.session_told()
            assert (told["knobs"]["workers"], told["pace"], told["stress"]["mode"]) == (5, 4, "hold")
            await do(hub, do="pace", speed=None)
            await until(lambda: heard(hub)["speeds"] == [4, None])
            assert heard(hub, "live")["speeds"] == []
            assert [fault["kind"] for fault in hub.script.data["faults"]] == ["change", "kill_worker"]

    in_loop(work())


def test_one_session_at_a_time_and_nothing_without_one() -> None:
    async def work() -> None:
        async with hub_of() as hub:
            for command in ({"do": "stop"}, {"do": "knob", "knob": "rate", "value": 1}, {"do": "redrive"}):
                with pytest.raises(Refused, match="No session is running"):
                    await do(hub, **command)
            with pytest.raises(UsageError, match="no scenario"):
                await do(hub, do="start", scenario="../etc/passwd")
            await running(hub, live=False)
            with pytest.raises(Refused, match="running already"):
                await do(hub, do="start")
            with pytest.raises(UsageError, match="no worker 3"):
                await do(hub, do="chaos", what="kill_worker", worker=3)
            first = hub.session_told()["id"]
            await do(hub, do="stop")
            with pytest.raises(Refused, match="being stopped"):
                await do(hub, do="redrive")
            await until(lambda: state(hub) == "ended")
            assert (await do(hub, do="start"))["id"] != first

    in_loop(work())


def test_stopped_before_it_runs_it_leaves_nothing() -> None:
    async def work() -> None:
        async with hub_of(live="slow") as hub:
            await do(hub, do="start")
            await until(lambda: hub.state()["model"])
            await do(hub, do="stop")
            await until(lambda: state(hub) == "ended")
            assert hub.session_told()["records"] == []
            assert "nothing to save" in hub.session_told()["message"]

    in_loop(work())


def test_the_users_own_postgresql_is_not_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_DSN", "postgresql://somewhere/x")

    async def work() -> None:
        async with hub_of() as hub:
            await running(hub)
            assert hub.session_told()["servers"] == "yours"
            assert not hub.session_told()["can"]["restart_postgres"]
            with pytest.raises(Refused, match="DB_DSN"):
                await do(hub, do="chaos", what="restart_postgres")

    in_loop(work())


def test_an_unwatched_session_in_which_nothing_is_left_stops_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SESSION_ALONE_S_MAX", 0.3)

    async def work() -> None:
        async with hub_of() as hub:
            with hub.watching():
                await running(hub)
                await until(lambda: hub.session_told()["t"] > 0.5)
                assert state(hub) == "running"
            await until(lambda: state(hub) == "ended")
            assert hub.session_told()["message"] == "Nobody watched any more. Saved."
        async with hub_of("busy", "busy") as hub:  # tasks are pending: it goes on
            await running(hub)
            await until(lambda: hub.session_told()["t"] > 0.5)
            assert state(hub) == "running"

    in_loop(work())


def test_a_session_that_has_reached_its_end_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.limits.SESSION_S_MAX", 0.5)

    async def work() -> None:
        async with hub_of() as hub:
            await do(hub, do="start")
            await until(lambda: state(hub) == "ended")
            assert hub.session_told()["message"].startswith("The session has reached its end at 0.500 s.")
            assert len(hub.session_told()["records"]) == 2

    in_loop(work())


# ---- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("habit", "words"),
    [
        ("unable", "there is no PostgreSQL on this machine"),
        ("dies", "Unavailable: the disk is full"),
        ("garbage", "said what is no frame"),
    ],
)
def test_when_the_live_side_fails_the_model_goes_on_alone_and_it_is_said(habit: str, words: str) -> None:
    async def work() -> None:
        async with hub_of(live=habit) as hub:
            await running(hub)
            await until(lambda: hub.state()["live"]["phase"] == "failed")
            assert words in hub.session_told()["message"] and "Traceback" not in hub.session_told()["message"]
            assert hub.session_told()["message"].endswith("The model runs on alone.")
            assert (state(hub), hub.session_told()["servers"]) == ("running", "none")
            await do(hub, do="stop")
            await until(lambda: state(hub) == "ended")
            assert hub.session_told()["records"] == ["record-of-model"]

    in_loop(work())


def test_when_both_sides_fail_the_session_has_failed_and_another_can_begin() -> None:
    async def work() -> None:
        async with hub_of("dies", "unable") as hub:
            await do(hub, do="start")
            await until(lambda: state(hub) == "failed")
            assert "disk is full" in hub.session_told()["message"] and "PostgreSQL" in hub.session_told()["message"]
            assert (await do(hub, do="start"))["state"] == "starting"

    in_loop(work())


@pytest.mark.parametrize("habit", ["stubborn", "deaf", "slow"])
def test_a_side_that_does_not_answer_is_ended(habit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SIDE_READY_S_MAX", 0.5)
    monkeypatch.setattr(sessions, "SIDE_STOP_S_MAX", 0.3)
    monkeypatch.setattr(sessions, "SIDE_END_S_MAX", 0.3)

    async def work() -> None:
        async with hub_of(live=habit) as hub:
            await running(hub)
            await do(hub, do="stop")
            await until(lambda: state(hub) == "ended")
            assert hub.session_told()["records"] == ["record-of-model"]
            assert hub.state()["live"]["phase"] == "failed"
            await until(lambda: not psutil.pid_exists(pid_of(hub, "live")))

    in_loop(work())


def test_a_silent_side_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with hub_of() as hub:
            await running(hub)
            monkeypatch.setattr(sides, "SIDE_SILENT_S_MAX", -1.0)
            await until(lambda: hub.state()["live"]["phase"] == "failed")
            assert "has said nothing" in hub.state()["live"]["note"]

    in_loop(work())


def test_a_side_that_does_not_read_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sides, "SIDE_LINES_MAX", 3)

    async def work() -> None:
        side = Side("live", puppets(live="deaf")["live"], tmp_path / "log")
        side.start()
        for _ in range(10):  # the pipe takes some of it
            side.tell({"do": "grow", "padding": "x" * 200_000})
        assert "does not listen" in side.note
        await side.end()

    in_loop(work())


def pid_of(hub: Hub, name: str) -> int:
    return int(hub._sides[name].pid)  # type: ignore[index, arg-type]


def test_when_the_app_ends_so_do_the_sides() -> None:
    async def work() -> None:
        async with hub_of() as hub:
            await running(hub)
            pids = [pid_of(hub, name) for name in ("model", "live")]
            with hub.watching() as viewer:
                await next_of(hub, viewer)
                hub.leave()
                assert hub.closing.is_set() and viewer.news.is_set()
        assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids)

    in_loop(work())


def test_without_a_session_nothing_runs() -> None:
    async def work() -> None:
        async with hub_of() as hub:
            with hub.watching() as viewer:
                assert (await next_of(hub, viewer))["session"]["state"] == "idle"
            await until(lambda: not any(task.get_name().startswith("mesh") for task in asyncio.all_tasks()))

    in_loop(work())


# ---- who watches -----------------------------------------------------------------------------------------------------


def told_curves(messages: Iterable[dict[str, Any]], side: str) -> list[float | None]:
    """The depth as a reader puts it together."""
    depth: list[float | None] = []
    for one in messages:
        if one[side] is not None:
            bins = one[side]["bins"]
            assert bins["first"] <= len(depth), "a gap"
            depth = depth[: bins["first"]] + bins["depth"]
    return depth


def told_events(messages: Iterable[dict[str, Any]], side: str) -> list[int]:
    return [event["n"] for one in messages if one[side] is not None for event in one[side]["events"]]


def test_the_first_message_is_everything_and_later_ones_are_the_changes() -> None:
    async def work() -> None:
        async with hub_of() as hub:
            await running(hub)
            await until(lambda: hub.state()["model"]["counts"]["arrived"] > 5)
            with hub.watching() as viewer:
                messages = [await next_of(hub, viewer) for _ in range(5)]
            first, *later = messages
            assert first["model"]["bins"]["first"] == 0 and len(first["model"]["bins"]["depth"]) > 5
            assert all(one["model"]["bins"]["first"] > 0 for one in later)
            numbers = [one["n"] for one in messages]
            assert numbers == sorted(set(numbers))
            for side in ("model", "live"):
                depth = told_curves(messages, side)
                assert depth == list(range(len(depth)))
                events = told_events(messages, side)
                assert events == list(range(events[0], events[-1] + 1))  # each once, none missing
                assert events[0] <= FRAME_EVENTS_MAX

    in_loop(work())


def test_two_windows_see_the_same_and_a_slow_one_gets_the_newest() -> None:
    async def work() -> None:
        async with hub_of() as hub:
            await running(hub)
            with hub.watching() as quick, hub.watching() as other, hub.watching() as slow:
                seen: list[list[dict[str, Any]]] = [[], [], []]
                seen[2].append(await next_of(hub, slow))
                for _ in range(6):
                    seen[0].append(await next_of(hub, quick))
                    seen[1].append(await next_of(hub, other))
                seen[2].append(await next_of(hub, slow))  # six are one
            assert [one["n"] for one in seen[0]][1:] == [one["n"] for one in seen[1]][1:]
            assert seen[2][-1]["model"]["counts"] == seen[0][-1]["model"]["counts"]
            assert told_curves(seen[2], "model") == told_curves(seen[0], "model")
            assert told_events(seen[2], "model") == told_events(seen[0], "model")

    in_loop(work())


def test_those_who_watch_an_idle_mesh_hear_of_a_session_that_begins() -> None:
    async def work() -> None:
        async with hub_of() as hub:
            with hub.watching() as viewer:
                assert (await next_of(hub, viewer))["session"]["id"] == ""
                told = await do(hub, do="start", live=False)
                while (found := await next_of(hub, viewer))["session"]["state"] != "running":
                    assert found["live"] is None
                assert found["session"]["id"] == told["id"]

    in_loop(work())


def test_where_the_live_data_is_stays_on_the_server() -> None:
    async def work() -> None:
        async with hub_of() as hub:
            await running(hub)
            assert "a-secret" in hub.place()["dsn"]
            with hub.watching() as viewer:
                await asyncio.wait_for(viewer.news.wait(), WAIT_S)
                assert b"a-secret" not in hub.take(viewer)
            assert "a-secret" not in json.dumps(hub.state())
            await do(hub, do="stop")
            await until(lambda: state(hub) == "ended")
            assert hub.place() is None

    in_loop(work())


def test_a_history_is_what_its_frames_said() -> None:
    history = History()
    for first, depth in ((0, [1.0, 2.0, 3.0]), (2, [4.0, 5.0]), (1, [6.0])):
        bins = {"width_s": 0.5, "first": first, **dict.fromkeys(CURVES, depth)}
        history.add(whole("model", {"bins": bins, "events": []}))
    assert history.bins["depth"] == [1.0, 6.0]  # what lay ahead is gone: the model was simulated anew
    assert history.since(1, 0)["bins"]["depth"] == [6.0]  # type: ignore[index]
    assert history.since(1 << 60, 0)["bins"] == {"width_s": 0.5, "first": 2, **{name: [] for name in CURVES}}  # type: ignore[index]


def test_a_folder_that_cannot_be_written_is_told_in_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MESHLAB_RUNS", str(tmp_path / "file"))

    async def work() -> None:
        async with hub_of() as hub:
            await do(hub, do="start")
            await until(lambda: state(hub) == "failed")
            assert "could not be started" in hub.session_told()["message"]

    in_loop(work())
