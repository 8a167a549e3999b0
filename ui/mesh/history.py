"""What a side has told so far, put together from its frames (`lab.telemetry`)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from lab.limits import FRAME_EVENTS_MAX, TELEMETRY_BINS_MAX

Frame = dict[str, Any]
CURVES = ("throughput", "p50", "p95", "depth", "rss", "retries")
COUNTS = (
    *("arrived", "submitted", "held", "rejected", "pending", "running", "retry_wait", "completed", "dead", "cancelled"),
    *("attempts", "retries", "reclaimed", "stale_writes", "lost", "doubled"),
)


@dataclass
class History:
    """The newest frame, all bins, the last events."""

    frame: Frame | None = None
    width_s: float = 0.0
    bins: dict[str, list[float | None]] = field(default_factory=lambda: {name: [] for name in CURVES})
    events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=FRAME_EVENTS_MAX))

    def add(self, frame: Frame) -> None:
        """Take in a frame: its bins replace those from its `first` on, its events come behind the known ones."""
        told, first = frame["bins"], min(frame["bins"]["first"], TELEMETRY_BINS_MAX)
        for name, known in self.bins.items():
            del known[first:]
            known.extend([None] * (first - len(known)))
            known.extend(told[name])
        self.width_s = told["width_s"] or self.width_s
        last = self.last_event
        self.events.extend(event for event in frame["events"] if event["n"] > last)
        self.frame = frame

    def since(self, first_bin: int, after_event: int, upto_event: int | None = None) -> Frame | None:
        """The newest frame with the bins from `first_bin` on and the events after one number and up to another."""
        if self.frame is None:
            return None
        first = min(first_bin, self.length)
        bins = {name: known[first:] for name, known in self.bins.items()}
        upto = self.last_event if upto_event is None else upto_event
        events = [event for event in self.events if after_event < event["n"] <= upto]
        return {**self.frame, "bins": {"width_s": self.width_s, "first": first, **bins}, "events": events}

    @property
    def length(self) -> int:
        """How many bins there are."""
        return len(self.bins["depth"])

    @property
    def last_event(self) -> int:
        """The number of the last event; 0 if there is none."""
        return int(self.events[-1]["n"]) if self.events else 0


def nothing_new(history: History) -> Frame:
    """Bins and events of a frame that brings none."""
    bins = {"width_s": history.width_s, "first": history.length, **{name: [] for name in CURVES}}
    return {"bins": bins, "events": []}


def whole(side: str, told: Frame) -> Frame:
    """A frame with everything that a frame has: while a side is being started, it tells only a few words."""
    bins = {"width_s": 0.0, "first": 0, **{name: [] for name in CURVES}}
    return {
        "side": side,
        "t": 0.0,
        "phase": "starting",
        "note": "",
        "high_traffic": False,
        "events_per_s": 0,
        "counts": dict.fromkeys(COUNTS, 0),
        "queues": {},
        "roles": [],
        "workers": [],
        "admission": {"open": True},
        "bins": bins,
        "events": [],
        "strikes": [],
        "record": "",
        **told,
    }
