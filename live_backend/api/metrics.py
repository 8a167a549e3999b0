"""Prometheus metrics of one API process, and of the mesh as PostgreSQL and Redis know it, in a registry of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.types import Scope

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCHES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
STREAM_ROUTES: Final = ("/v1/events", "/v1/ws")
"""They last as long as their reader likes, so their durations would say nothing."""
NO_ROUTE: Final = "none"


class Metrics:
    """Counts as it is told; the state of the mesh is set before each scrape."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry, namespace="meshlab")
        gauge = partial(Gauge, registry=self.registry, namespace="meshlab")
        histogram = partial(Histogram, registry=self.registry, namespace="meshlab")
        self.submissions = counter("submissions", "Tasks submitted, by what became of them.", ["outcome"])
        self.requests = histogram(
            "http_request_seconds", "Requests answered.", ["method", "route", "status"], buckets=SECONDS
        )
        self.intake_batch = histogram("intake_batch_tasks", "Tasks in one commit of the intake.", buckets=BATCHES)
        self.intake_commit = histogram("intake_commit_seconds", "Commits of the intake.", buckets=SECONDS)
        self.readers = gauge("feed_subscribers", "Streams of events that are open.")
        self.missed = gauge("feed_missed_events", "Events that readers were too slow for, since the start.")
        self.depth = gauge("queue_depth_tasks", "Ids in a queue.", ["queue"])
        self.states = gauge("tasks", "Tasks by state, of those that are not at their end.", ["state"])
        self.admission = gauge("admission_open", "1: new tasks are taken.")
        self.workers = gauge("workers", "Worker processes that are heard of.")
        self.gate = gauge("worker_gate_open", "1: it takes tasks.", ["worker"])
        self.rss = gauge("worker_rss_bytes", "Resident memory.", ["worker"])
        self.active = gauge("worker_active_tasks", "Tasks at work.", ["worker"])
        self.notes = gauge(
            "notes", "What workers and reapers noted, by kind; stale_write is a refused write.", ["kind"]
        )
        self.up = gauge("server_up", "1: it answers.", ["server"])
        self._timers: dict[tuple[str, str, int], Any] = {}

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """One answered request."""
        route = getattr(scope.get("route"), "path_format", NO_ROUTE)
        key = scope.get("method", "WS"), route, status
        timer = self._timers.get(key)
        if timer is None:
            timer = self._timers[key] = self.requests.labels(*map(str, key))
        timer.observe(0.0 if route in STREAM_ROUTES else seconds)

    def committed(self, tasks: int, seconds: float) -> None:
        """One commit of the intake."""
        self.intake_batch.observe(tasks)
        self.intake_commit.observe(seconds)

    def set_mesh(
        self,
        depths: Mapping[str, int | None],
        states: Mapping[str, int],
        workers: Sequence[Mapping[str, Any]],
        notes: Mapping[str, int],
    ) -> None:
        """The mesh as it is at this scrape."""
        for gauge in (self.depth, self.states, self.gate, self.rss, self.active, self.notes):
            gauge.clear()
        for queue, depth in depths.items():
            if depth is not None:
                self.depth.labels(queue).set(depth)
        for state, count in states.items():
            self.states.labels(str(state)).set(count)
        for kind, count in notes.items():
            self.notes.labels(kind).set(count)
        for worker in workers:
            self.gate.labels(worker["id"]).set(worker["gate"])
            self.rss.labels(worker["id"]).set(worker["rss_bytes"])
            self.active.labels(worker["id"]).set(worker["active"])
        self.workers.set(len(workers))

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self.registry)
