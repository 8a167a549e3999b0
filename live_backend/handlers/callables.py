"""Python callables, found by name and called in the worker's own process: async ones on its event loop, others in
threads.
"""

from __future__ import annotations

import asyncio
import difflib
import functools
import importlib
import inspect
import time
from asyncio import CancelledError, Task, TimerHandle
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from lab.limits import HANDLER_HUNG_THREADS_MAX, HANDLER_THREADS_MAX
from lab.rules.handling import Ending
from live_backend.jobs import Failed, Job, Permanent, decoded, described, failure, failure_of, result_text

Call = Callable[[Job], Any]
NOT_OURS = (KeyboardInterrupt, GeneratorExit)
"""Raised from outside, to end the process or the coroutine. All else that a handler raises is its own failure, even
SystemExit, which would end the worker and everybody else's work.
"""


class NotFound(Exception):
    """There is no such callable. The text says why, and what to do."""


def load(target: str) -> Call:
    """The callable that `module:function` names. Raises NotFound."""
    module_name, _, path = target.partition(":")
    importlib.invalidate_caches()  # the module may be younger than this process
    try:
        found: Any = importlib.import_module(module_name)
    except NOT_OURS:
        raise
    except BaseException as error:  # the module is the user's: it may raise whatever it likes
        raise NotFound(
            f"the module {module_name!r} cannot be imported ({described(error)}). Start the worker in the folder that "
            f"holds it, put that folder on PYTHONPATH, or install the module where the worker runs."
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            close = difflib.get_close_matches(part, dir(found), n=1)
            hint = f"did you mean {close[0]!r}?" if close else "is it another module of that name?"
            raise NotFound(f"{module_name!r} has no {path!r}; {hint} It is {_where(module_name)}.")
        found = getattr(found, part)
    _refuse_what_takes_no_job(target, found)
    call: Call = found
    return call


def _where(module_name: str) -> str:
    return str(getattr(importlib.import_module(module_name), "__file__", None) or "built in")


def _refuse_what_takes_no_job(target: str, found: Any) -> None:
    if not callable(found):
        raise NotFound(f"{target!r} is a {type(found).__name__}; name a function that takes the job.")
    try:
        inspect.signature(found).bind(None)
    except TypeError:
        raise NotFound(f"{target!r} must take one argument, the job; it takes {inspect.signature(found)}.") from None
    except ValueError:
        return  # a function in C that does not say what it takes


def is_async(call: Call) -> bool:
    """Whether it must be awaited."""
    call = call.func if isinstance(call, functools.partial) else call
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004


def timed_out(timeout_s: float) -> Failed | Permanent:
    """What to raise for an attempt that was cut."""
    return failure(Ending.TIMED_OUT, f"timed out after {timeout_s:g} s")


class AsyncCalls:
    """An async callable, awaited where the job is done.

    `asyncio.timeout` sets and clears a timer for each job, 4.5 µs against the 0.4 µs of the rest. But here all have
    the same time, so they are late in the order in which they came: one timer, set for the oldest, does for all.
    """

    def __init__(self, call: Call, timeout_s: float) -> None:
        self._call, self._timeout_s = call, timeout_s
        self._loop = asyncio.get_running_loop()
        self._late_at: dict[Task[Any], float] = {}
        """Of all that run, the oldest first."""
        self._cut: set[Task[Any]] = set()
        self._timer: TimerHandle | None = None

    async def do(self, job: Job) -> str | None:
        """Call it. Raises Failed or Permanent."""
        task = asyncio.current_task(self._loop)
        assert task is not None and task not in self._late_at
        # Not by the loop's own clock, which may stand still (live_backend/work.py): it would cut too early.
        self._late_at[task] = time.monotonic() + self._timeout_s
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._cut_late)
        try:
            return result_text(await self._call(decoded(job)))
        except CancelledError as error:
            if reason := self._failure_behind(task):
                raise reason from error
            raise
        except NOT_OURS:
            raise
        except BaseException as error:
            raise failure_of(error) from error
        finally:
            self._late_at.pop(task, None)
            if task in self._cut:  # it was cut and ended in another way all the same
                self._cut.remove(task)
                task.uncancel()

    def _failure_behind(self, task: Task[Any]) -> Failed | Permanent | None:
        """What a cancelled attempt comes to if it was cut, or if nobody cancelled it; None: it was cancelled from
        outside.
        """
        if task in self._cut:
            self._cut.remove(task)
            return timed_out(self._timeout_s) if task.uncancel() == 0 else None
        if task.cancelling():
            return None
        return failure(Ending.RAISED, "CancelledError: nobody cancelled the attempt; something that it awaits did")

    def _cut_late(self) -> None:
        """Cut what is late, and look again when the oldest of the others will be."""
        self._timer = None
        now = time.monotonic()
        while self._late_at:
            task, late_at = next(iter(self._late_at.items()))
            if late_at > now:
                self._timer = self._loop.call_later(late_at - now, self._cut_late)
                return
            del self._late_at[task]
            self._cut.add(task)
            task.cancel()

    async def close(self) -> None:
        """Nothing runs any more."""
        if self._timer is not None:
            self._timer.cancel()


class Threads:
    """The threads of a worker: one for each slot, and some for calls that were cut and do not end."""

    def __init__(self, slots: int) -> None:
        threads = min(slots, HANDLER_THREADS_MAX) + HANDLER_HUNG_THREADS_MAX
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="handler")  # a thread is made when none is idle
        self._hung: list[Future[str | None]] = []

    def leave(self, future: Future[str | None]) -> None:
        """Nobody waits for this call any more."""
        if not future.done():
            self._hung.append(future)

    def refuse_if_too_many_hang(self) -> None:
        """Raises Failed rather than have everybody else's calls wait for threads that may never be free."""
        self._hung = [future for future in self._hung if not future.done()]
        if len(self._hung) >= HANDLER_HUNG_THREADS_MAX:
            raise failure(
                Ending.TIMED_OUT,
                f"{len(self._hung)} earlier calls that were cut still hang in their threads; "
                f"give the handler isolation: process, so that they can be killed",
            )


class ThreadCalls:
    """An ordinary callable, called in a thread. What is cut goes on in its thread, unheard, for as long as it likes."""

    def __init__(self, call: Call, timeout_s: float, threads: Threads) -> None:
        self._call, self._timeout_s, self._threads = call, timeout_s, threads

    async def do(self, job: Job) -> str | None:
        """Call it. Raises Failed or Permanent."""
        self._threads.refuse_if_too_many_hang()
        future = self._threads.pool.submit(self._called, job)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise timed_out(self._timeout_s) from error
        finally:
            self._threads.leave(future)

    def _called(self, job: Job) -> str | None:
        try:
            return result_text(self._call(decoded(job)))
        except BaseException as error:  # in a thread nothing comes from outside
            raise failure_of(error) from error

    async def close(self) -> None:
        """The threads are the workshop's."""
