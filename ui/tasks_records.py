"""A saved record as a desk: its dead letters and the history of each task, to be read only."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from lab.errors import UsageError
from lab.limits import PAGE_TASKS_MAX
from lab.record import Record
from lab.rules.tasks import TERMINAL, State
from ui.tasks_desks import ALL, DEAD, Query
from ui.tasks_story import Item, Page, Step, Story


@functools.lru_cache(maxsize=3)
def _tables(folder: Path, written_ns: int) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """What is needed of a record: run.json, tasks, transitions. Read again if it was written anew (`written_ns`)."""
    record = Record.load(folder)
    return record.info, record.tasks, record.transitions


def load(folder: Path) -> RecordDesk:
    """The desk of the record in `folder`. Raises UsageError if it cannot be read."""
    try:
        written_ns = (folder / "run.json").stat().st_mtime_ns
    except OSError as error:
        raise UsageError(f"there is no run {folder.name!r} any more; choose another source") from error
    info, tasks, log = _tables(folder, written_ns)
    return RecordDesk(folder.name, "live" if info.get("engine") == "live" else "sim", tasks, log)


@dataclass(frozen=True)
class RecordDesk:
    """See Desk. Its clock is the run's, in seconds."""

    run_id: str
    engine: Literal["sim", "live"]
    tasks: pd.DataFrame
    log: pd.DataFrame
    redrives: Literal["", "all", "any"] = ""
    discards: bool = False

    @property
    def source(self) -> str:
        """See Desk."""
        return f"run:{self.run_id}"

    @property
    def roles(self) -> tuple[str, ...]:
        """See Desk."""
        return tuple(map(str, self.tasks["role"].cat.categories))

    def page(self, query: Query) -> Page:
        """See Desk."""
        fits = np.ones(len(self.tasks), dtype=bool)
        if query.view != ALL:
            wanted = State.PERMANENT_FAILURE if query.view == DEAD else State(query.view)
            fits &= (self.tasks["state"] == str(wanted)).to_numpy()
        if query.role:
            fits &= (self.tasks["role"] == query.role).to_numpy()
        places = np.flatnonzero(fits)
        ids = self.tasks["id"].to_numpy()
        if query.view == DEAD:
            places = places[ids[places] > (-1 if query.cursor is None else query.cursor)]
        else:
            places = places[::-1]
            places = places[ids[places] < (np.inf if query.cursor is None else query.cursor)]
        items: list[Item] = []
        for at in range(0, len(places), PAGE_TASKS_MAX):
            found = self._items(places[at : at + PAGE_TASKS_MAX])
            items += [one for one in found if query.words.casefold() in one.error.casefold()]
            if len(items) >= PAGE_TASKS_MAX:
                break
        shown = tuple(items[:PAGE_TASKS_MAX])
        more = len(items) > PAGE_TASKS_MAX or at + PAGE_TASKS_MAX < len(places) if len(places) else False
        return Page(shown, shown[-1].id if more and shown else None)

    def story(self, task_id: int) -> Story | None:
        """See Desk."""
        places = np.flatnonzero(self.tasks["id"].to_numpy() == task_id)
        if not len(places):
            return None
        log = self.log.iloc[np.flatnonzero(self.log["task"].to_numpy() == task_id)]
        steps = tuple(Step(*row) for row in _rows(log, "at_s", "from", "to", "worker", *_NUMBERS, "reason", "delay_s"))
        [item] = self._items(places[:1])
        return Story(item, steps)

    def redrive(self, ids: Sequence[int] | None) -> int:
        """See Desk."""
        raise UsageError("what is on record is over; redrive in a session of the Mesh page or in a standing mesh")

    def discard(self, ids: Sequence[int]) -> int:
        """See Desk."""
        raise UsageError("what is on record stays there; discard in a session of the Mesh page or in a standing mesh")

    def _items(self, places: Any) -> list[Item]:
        some = self.tasks.iloc[places]
        last = self._last_steps(some["id"].to_numpy())
        names = ("id", "role", "priority", "queue", "state", "attempts", "worker", "arrival_s")
        items = []
        for task_id, role, priority, queue, state, attempts, worker, arrival_s in _rows(some, *names):
            at_s, why = last.get(task_id, (arrival_s, ""))
            ended = state in TERMINAL
            error = why if state != State.COMPLETED else ""
            items.append(
                Item(task_id, role, priority, queue, state, attempts, worker, error, at_s=at_s if ended else None)
            )
        return items

    def _last_steps(self, ids: Any) -> dict[int, tuple[float, str]]:
        """When each of these tasks moved last, and why. A record has no error texts, only reasons."""
        some = self.log.iloc[np.flatnonzero(np.isin(self.log["task"].to_numpy(), ids))]
        return {
            task_id: (at_s, f"{reason} on attempt {attempt}" if attempt else "")
            for task_id, at_s, reason, attempt in _rows(some, "task", "at_s", "reason", "attempt")
        }


_NUMBERS = ("attempt", "token")


def _rows(frame: pd.DataFrame, *columns: str) -> Iterator[tuple[Any, ...]]:
    """These columns as rows of plain values."""
    return zip(*(frame[column].tolist() for column in columns), strict=True)
