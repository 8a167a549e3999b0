"""Latency of runs side by side: as distribution and cumulative, its percentiles, its parts, and each class's own."""

from __future__ import annotations

import streamlit as st

from lab import headlines
from ui import compare_charts, compare_overview
from ui.compare_charts import Key
from ui.results import Result, by_queue

PATHS = tuple(path for path in headlines.BY_PATH if path.startswith(("latency_s.", "queue_wait_s.")))


def show(key: Key, found: Result) -> None:
    """The tab."""
    with st.grid(2, min_column_width=380):
        for kind in ("latency-ecdf", "latency"):
            for figure in compare_charts.curves(key, kind, False, compare_charts.dark()):
                compare_charts.chart(figure, f"latency-{kind}", kind)
    compare_overview.frame(found, PATHS, "latency-figures")
    anatomy = compare_charts.anatomy(key)
    if anatomy is not None:
        compare_charts.chart(anatomy, "latency-anatomy", "where-the-time-went")
        st.caption(
            "Waiting: in a queue, for a slot. Service: the planned work. Backoff: between a failure and the next "
            "attempt. Overhead: what attempts and retries took beyond that, the machinery's own time. Admission: until "
            "a task was accepted."
        )
    classes = by_queue(found)
    if len(classes):
        st.markdown("##### By class of priority", anchors=False)
        height = compare_charts.table_px(len(classes))
        st.dataframe(classes, hide_index=True, height=height, key="by-queue", alt="Waits and latencies by class")
