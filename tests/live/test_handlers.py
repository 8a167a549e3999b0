"""Work of the user's own in callables: here, in threads, in processes. And the synthetic work of the standing mesh."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab import Scenario
from lab.errors import UsageError
from lab.limits import HANDLER_ERROR_CHARS_MAX, HANDLER_RESULT_BYTES_MAX
from lab.workload import Plan
from live_backend.handlers import callables
from live_backend.jobs import Failed, Job, Permanent
from live_backend.workshop import Workshop
from tests.live.helpers import eventually

ROOT = Path(__file__).resolve().parents[2]
SEED = 11
EITHER = ("shared", "process")

MODULE = """
import asyncio, os, signal, subprocess, sys, threading, time
from live_backend.workshop import Job, Permanent

release = threading.Event()
seen = []

async def echo(job): return {"payload": job.payload, "attempt": job.attempt, "type": type(job).__name__}
def slow_echo(job): return [job.payload, threading.current_thread().name]
def fails(job): raise ValueError(job.payload)
async def fails_async(job): raise ValueError(job.payload)
def gives_up(job): raise Permanent("no such customer")
def leaves(job): sys.exit(3)
async def leaves_async(job): sys.exit(3)
def stops(job): raise StopIteration
def returns(job): return {"none": None, "nan": float("nan"), "object": object(), "deep": deep(), "large": "x" * 300_000,
                          "text": "\\x00\\ud800é", "number": 1}[job.payload]
def deep():
    nested = []
    for _ in range(100_000): nested = [nested]
    return nested
def no_text(job):
    class Bad(Exception):
        def __str__(self): raise RuntimeError
    raise Bad
async def never(job):
    seen.append("started")
    try: await asyncio.Event().wait()
    finally: seen.append("ended")
async def stubborn(job):
    try: await asyncio.sleep(60)
    except asyncio.CancelledError: return "I went on"
async def cancels_itself(job):
    inner = asyncio.ensure_future(asyncio.sleep(60))
    inner.cancel()
    await inner
def hangs(job): release.wait(60)
class Team:
    async def __call__(self, job): return "called"
    @staticmethod
    def answer(job): return "answered"
team = Team()
def no_job(): return 1
number = 5

def pid(job):
    print("noise on standard output")
    return os.getpid()
async def pid_async(job):
    await asyncio.sleep(0)
    return os.getpid()
def dies(job):
    if job.payload == "exit": os._exit(7)
    if job.payload == "kill": os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()
def environment(job): return [name for name in ("DB_DSN", "REDIS_URL", "MESHLAB_TOKEN", "MINE") if name in os.environ]
def with_grandchild(job):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(job.payload, "w") as file: file.write(f"{os.getpid()} {child.pid}")
    time.sleep(600)
def leaves_grandchild(job):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False)
    with open(job.payload, "w") as file: file.write(str(child.pid))
    os._exit(1)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the user's, importable here and in child processes."""
    (tmp_path / "their_agents.py").write_text(MODULE)
    (tmp_path / "their_broken.py").write_text("import sys\nsys.exit('no licence')")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield lambda: sys.modules["their_agents"]
    for name in ("their_agents", "their_broken"):
        sys.modules.pop(name, None)


def scenario(base: Path = ROOT, rules: dict[str, Any] | None = None, **roles: Any) -> Scenario:
    """Roles by name: a handler's function, or the role's own data."""
    data = {
        name: {"service": {"dist": "constant", "mean_s": 0.01}, "handler": {"python": f"their_agents:{role}"}}
        if isinstance(role, str)
        else {"service": {"dist": "constant", "mean_s": 0.0}, **role}
        for name, role in roles.items()
    }
    return Scenario.from_data(
        {
            "seed": SEED,
            "workload": {"arrivals": {"kind": "burst", "count": 40}, "roles": data},
            "mesh": {"workers": 1, "slots": 4},
            "rules": rules or {},
        },
        base=base,
    )


def handler(function: str, **values: Any) -> dict[str, Any]:
    return {"handler": {"python": f"their_agents:{function}", **values}}


def job(role: str = "A", payload: object = None, **values: Any) -> Job:
    text = None if payload is None else json.dumps(payload)
    return Job(**{"id": 3, "role": role, "priority": 3, "attempt": 1, "token": 1, "payload": text, **values})


def working(plan: Scenario, body: Callable[[Workshop], Awaitable[Any]]) -> Any:
    """What `body` gives with a workshop that has started."""

    async def run() -> Any:
        workshop = Workshop(plan)
        await workshop.start()
        try:
            return await body(workshop)
        finally:
            await workshop.close()

    return asyncio.run(run())


def done(plan: Scenario, one: Job) -> Any:
    """The result of one job."""
    text = working(plan, lambda workshop: workshop.do(one))
    return None if text is None else json.loads(text)


def failed(plan: Scenario, one: Job, kind: type[Exception] = Failed) -> str:
    """The text with which one job fails."""
    with pytest.raises(kind) as caught:
        done(plan, one)
    assert type(caught.value) is kind
    return str(caught.value)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


# ---- in the worker's process -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("isolation", "payload"),
    [("shared", None), ("shared", "text"), ("shared", 0), *((each, {"q": ["é", 1.5, None]}) for each in EITHER)],
)
def test_a_handler_gets_the_job_with_its_payload_and_returns_json(isolation: str, payload: object) -> None:
    plan = scenario(A=handler("echo", isolation=isolation))
    assert done(plan, job(payload=payload, attempt=2)) == {"payload": payload, "attempt": 2, "type": "Job"}


@pytest.mark.usefixtures("module")
def test_an_ordinary_function_is_called_in_a_thread() -> None:
    payload, thread = done(scenario(A="slow_echo"), job(payload=[1]))
    assert payload == [1]
    assert thread.startswith("handler") and thread != threading.current_thread().name


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(("function", "result"), [("team", "called"), ("Team.answer", "answered")])
def test_objects_and_methods_are_callables_too(function: str, result: str) -> None:
    assert done(scenario(A=function), job()) == result


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize("function", ["fails", "fails_async"])
def test_what_it_raises_is_a_failure_that_a_retry_may_mend(function: str) -> None:
    assert failed(scenario(A=function), job(payload="no luck")) == "ValueError: no luck"


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("leaves", "SystemExit: 3"),
        ("leaves_async", "SystemExit: 3"),
        ("stops", "StopIteration"),
        ("no_text", "Bad: (its text cannot be had: RuntimeError)"),
        ("cancels_itself", "CancelledError: nobody cancelled the attempt; something that it awaits did"),
    ],
)
def test_whatever_it_raises_is_its_own_failure_and_nobody_elses(function: str, said: str) -> None:
    assert failed(scenario(A=function), job()) == said


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize("isolation", EITHER)
def test_permanent_is_permanent(isolation: str) -> None:
    assert failed(scenario(A=handler("gives_up", isolation=isolation)), job(), Permanent) == "no such customer"


@pytest.mark.usefixtures("module")
def test_an_error_is_bounded_and_fit_for_every_store() -> None:
    said = failed(scenario(A="fails"), job(payload="\x00\ud800" + "x" * 5_000))
    assert len(said) == HANDLER_ERROR_CHARS_MAX
    assert said.startswith("ValueError: ␀?xx") and said.endswith("x…")


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("isolation", "what", "said"),
    [
        ("shared", "nan", "not JSON"),
        ("shared", "object", "not JSON: TypeError: Object of type object"),
        ("shared", "deep", "not JSON: RecursionError"),
        *((each, "large", f"at most {HANDLER_RESULT_BYTES_MAX:,} are kept") for each in EITHER),
    ],
)
def test_a_result_that_cannot_be_kept_is_permanent(isolation: str, what: str, said: str) -> None:
    assert said in failed(scenario(A=handler("returns", isolation=isolation)), job(payload=what), Permanent)


@pytest.mark.usefixtures("module")
def test_a_result_is_stored_as_plain_ascii() -> None:
    text = working(scenario(A="returns"), lambda workshop: workshop.do(job(payload="text")))
    assert text == '"\\u0000\\ud800\\u00e9"'
    assert working(scenario(A="returns"), lambda workshop: workshop.do(job(payload="none"))) is None


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize("text", ["{", "", "[NaN]", "[" * 100_000, '{"a": 1} 2'])
@pytest.mark.parametrize("function", ["echo", "slow_echo"])
def test_f13_a_payload_that_cannot_be_decoded_is_permanent(function: str, text: str) -> None:
    assert failed(scenario(A=function), job()._replace(payload=text), Permanent).startswith("undecodable payload: ")


@pytest.mark.usefixtures("module")
def test_f13_a_role_that_nobody_knows_is_permanent() -> None:
    said = failed(scenario(A="echo", B="echo"), job("C"), Permanent)
    assert said == "undecodable: unknown role 'C'; there are A, B"


# ---- cut and cancelled -----------------------------------------------------------------------------------------------


def test_an_attempt_that_works_too_long_is_cut(module: Any) -> None:
    assert failed(scenario(A=handler("never", timeout_s=0.05)), job()) == "timed out after 0.05 s"
    assert module().seen == ["started", "ended"]


@pytest.mark.usefixtures("module")
def test_the_rules_timeout_holds_for_handlers_too() -> None:
    plan = scenario(rules={"retry": {"timeout_s": 0.04}}, A="never")
    assert failed(plan, job()) == "timed out after 0.04 s"


@pytest.mark.usefixtures("module")
def test_only_the_late_are_cut_and_each_in_its_turn() -> None:
    async def body(workshop: Workshop) -> list[object]:
        first = asyncio.create_task(workshop.do(job("A")))
        await asyncio.sleep(0.03)
        second = asyncio.create_task(workshop.do(job("A")))
        quick = [workshop.do(job("B", id=n)) for n in range(50)]
        results = await asyncio.gather(*quick)
        assert len(results) == 50
        await asyncio.wait({first})
        assert not second.done()
        return [first.exception(), *await asyncio.gather(second, return_exceptions=True)]

    plan = scenario(A=handler("never", timeout_s=0.1), B=handler("echo", timeout_s=0.1))
    assert [str(error) for error in working(plan, body)] == ["timed out after 0.1 s"] * 2


@pytest.mark.usefixtures("module")
def test_one_that_minds_no_cut_may_still_return_and_is_not_cancelled_later() -> None:
    async def body(workshop: Workshop) -> tuple[str | None, int]:
        text = await workshop.do(job())
        task = asyncio.current_task()
        assert task is not None
        await asyncio.sleep(0)
        return text, task.cancelling()

    assert working(scenario(A=handler("stubborn", timeout_s=0.02)), body) == ('"I went on"', 0)


def test_a_cancellation_passes_through_and_ends_the_work(module: Any) -> None:
    async def body(workshop: Workshop) -> bool:
        attempt = asyncio.create_task(workshop.do(job()))
        while not module().seen:
            await asyncio.sleep(0)
        attempt.cancel()
        await asyncio.wait({attempt})
        return attempt.cancelled()

    assert working(scenario(A="never"), body)
    assert module().seen == ["started", "ended"]


def test_a_thread_that_hangs_is_left_and_too_many_of_them_refuse_more(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(workshop: Workshop) -> list[str]:
        said = []
        for _ in range(2):
            with pytest.raises(Failed) as caught:
                await workshop.do(job())
            said.append(str(caught.value))
        module().release.set()
        return said

    monkeypatch.setattr(callables, "HANDLER_HUNG_THREADS_MAX", 1)
    cut, refused = working(scenario(A=handler("hangs", timeout_s=0.05)), body)
    assert cut == "timed out after 0.05 s"
    assert refused.startswith("1 earlier calls that were cut still hang") and "isolation: process" in refused


# ---- in processes of their own ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("module")
def test_a_process_does_one_job_after_another_and_may_print() -> None:
    async def body(workshop: Workshop) -> list[str | None]:
        return [await workshop.do(job(role)) for role in ("A", "A", "B", "B")]

    isolated = [handler(function, isolation="process") for function in ("pid", "pid_async")]
    first, again, other, other_again = working(scenario(A=isolated[0], B=isolated[1]), body)
    assert first == again != other == other_again
    assert str(os.getpid()) not in (first, other)


@pytest.mark.usefixtures("module")
def test_a_crash_costs_one_attempt_and_the_process_is_replaced() -> None:
    async def body(workshop: Workshop) -> tuple[list[str], list[str | None]]:
        said, pids = [], [await workshop.do(job())]
        for how in ("exit", "kill"):
            with pytest.raises(Failed) as caught:
                await workshop.do(job(payload=how))
            said.append(str(caught.value))
            pids.append(await workshop.do(job()))
        return said, pids

    said, pids = working(scenario(A=handler("dies", isolation="process")), body)
    assert said == [
        "worker process of the handler died (exit status 7)",
        "worker process of the handler died (signal 9)",
    ]
    assert len(set(pids)) == 3


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize("how", ["timeout", "cancel", "close"])
def test_what_is_cut_or_cancelled_is_killed_with_all_that_it_started(tmp_path: Path, how: str) -> None:
    told = tmp_path / "pids"

    async def body(workshop: Workshop) -> object:
        attempt = asyncio.create_task(workshop.do(job(payload=str(told))))
        while how != "timeout" and not (told.exists() and told.read_text().count(" ")):
            await asyncio.sleep(0.01)
        if how == "cancel":
            attempt.cancel()
        elif how == "close":
            await workshop.close()
        return (await asyncio.gather(attempt, return_exceptions=True))[0]

    timeout_s = 1.0 if how == "timeout" else 60.0
    ended = working(scenario(A=handler("with_grandchild", isolation="process", timeout_s=timeout_s)), body)
    if how == "cancel":
        assert isinstance(ended, asyncio.CancelledError)
    else:
        said = {"timeout": "timed out after 1 s", "close": "worker process of the handler died (signal 9)"}
        assert str(ended) == said[how]
    for pid in map(int, told.read_text().split()):
        eventually(partial(gone, pid))


@pytest.mark.usefixtures("module")
def test_what_a_process_that_died_has_started_does_not_stay(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    said = failed(scenario(A=handler("leaves_grandchild", isolation="process")), job(payload=str(told)))
    assert said == "worker process of the handler died (exit status 1)"
    eventually(lambda: gone(int(told.read_text())))


@pytest.mark.usefixtures("module")
def test_a_process_does_not_outlive_its_worker(tmp_path: Path) -> None:
    told = tmp_path / "pids"
    code = f"""
        import asyncio
        from live_backend.workshop import Job, Workshop
        from tests.live.test_handlers import handler, job, scenario
        async def main():
            workshop = Workshop(scenario(A=handler("with_grandchild", isolation="process")))
            await workshop.start()
            await workshop.do(job(payload={str(told)!r}))
        asyncio.run(main())"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))}
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], env=environment) as worker:
        try:
            pids = eventually(lambda: told.exists() and told.read_text().count(" ") and told.read_text().split())
        finally:
            worker.kill()
    for pid in map(int, pids):
        eventually(partial(gone, pid))


@pytest.mark.usefixtures("module")
def test_a_process_of_its_own_does_not_get_the_keys_of_the_mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DB_DSN", "REDIS_URL", "MESHLAB_TOKEN", "MINE"):
        monkeypatch.setenv(name, "x")
    assert done(scenario(A=handler("environment", isolation="process")), job()) == ["MINE"]


# ---- what cannot be found --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("isolation", "target", "said"),
    [
        ("process", "no_such_module:answer", "cannot be imported (ModuleNotFoundError: "),
        ("process", "their_broken:answer", "cannot be imported (SystemExit: no licence)"),
        (
            "shared",
            "no_such_module:answer",
            "(ModuleNotFoundError: No module named 'no_such_module'). Start the worker in",
        ),
        ("shared", "their_broken:answer", "cannot be imported (SystemExit: no licence)"),
        ("shared", "their_agents:ecco", "has no 'ecco'; did you mean 'echo'?"),
        ("shared", "their_agents:number", "is a int; name a function"),
        ("shared", "their_agents:no_job", "must take one argument, the job; it takes ()"),
    ],
)
def test_a_handler_that_cannot_be_found_is_told_before_any_work(isolation: str, target: str, said: str) -> None:
    plan = scenario(A="echo", B={"handler": {"python": target, "isolation": isolation}})
    with pytest.raises(UsageError) as caught:
        working(plan, lambda workshop: workshop.do(job()))
    assert str(caught.value).startswith("workload.roles.B.handler.python: ")
    assert said in str(caught.value)


# ---- synthetic work --------------------------------------------------------------------------------------------------

ROLES: dict[str, dict[str, Any]] = {
    "lognormal": {"service": {"dist": "lognormal", "mean_s": 0.002, "cv": 0.5}, "failure_rate": 0.5},
    "exponential": {"service": {"dist": "exponential", "mean_s": 0.001}, "failure_rate": 0.4, "permanent_share": 0.5},
    "constant": {"service": {"dist": "constant", "mean_s": 0.001}, "fail_first": 1},
}


@pytest.mark.parametrize("name", ROLES)
def test_synthetic_work_is_what_the_plan_would_draw(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(scenario(A=ROLES[name]))
    worked_s: list[float] = []

    async def spend(service_s: float, *rest: object) -> None:
        worked_s.append(service_s)

    async def body(workshop: Workshop) -> list[tuple[bool, bool]]:
        ends = []
        for task in range(plan.count):
            for attempt in (1, 2):
                try:
                    await workshop.do(job(id=task, attempt=attempt, payload="ignored"))
                    ends.append((False, False))
                except (Failed, Permanent) as error:
                    ends.append((True, isinstance(error, Permanent)))
        return ends

    monkeypatch.setattr("live_backend.work.spend", spend)
    planned = [plan.outcome(task, attempt, 0.0, 0) for task in range(plan.count) for attempt in (1, 2)]
    assert working(plan.scenario, body) == [(each.failed, each.permanent) for each in planned]
    assert worked_s == [each.work_s for each in planned]


def test_synthetic_work_from_a_file_and_beyond_the_timeout(tmp_path: Path) -> None:
    (tmp_path / "work.csv").write_text("service_s\n0.001\n9.0\n")
    role = {"service": {"dist": "empirical", "path": "work.csv"}}
    plan = scenario(tmp_path, {"retry": {"timeout_s": 0.002}}, A=role)

    async def body(workshop: Workshop) -> set[str | None]:
        jobs = [workshop.do(job(id=task)) for task in range(20)]
        return {None if end is None else str(end) for end in await asyncio.gather(*jobs, return_exceptions=True)}

    assert working(plan, body) == {None, "timed out after 0.002 s"}


def test_a_role_knows_whether_it_has_a_handler_and_one_without_work_does_nothing() -> None:
    plan = scenario(A={"handler": {"python": "live_backend.examples:agent"}}, B={})

    async def body(workshop: Workshop) -> list[object]:
        return [workshop.handles("A"), workshop.handles("B"), workshop.handles("C"), await workshop.do(job("B"))]

    assert working(plan, body) == [True, False, False, None]


def test_the_example_that_ships() -> None:
    plan = Scenario.load(ROOT / "scenarios" / "real_agent.yaml")
    (role,) = plan.workload.roles

    async def body(workshop: Workshop) -> str | None:
        with pytest.raises(Permanent, match="question must be text, not int"):
            await workshop.do(job(role, {"question": 5}))
        return await workshop.do(job(role, {"question": "how are you"}))

    assert json.loads(working(plan, body)) == {"answer": "You asked: how are you", "words": 3, "attempt": 1}
