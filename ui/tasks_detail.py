"""One task: what it is, where its time went, its whole audit log, and what an operator may do about it."""

from __future__ import annotations

import streamlit as st

from lab.errors import LabError
from ui import runs_table, tasks_actions, tasks_timeline, text
from ui.runs_table import Column, Row
from ui.tasks_desks import Desk, Query, words_of
from ui.tasks_sources import Source
from ui.tasks_story import Segment, Step, Story, is_bad, is_good, segments, totals

FOLLOW_S = 1.0
JSON_CHARS_SHOWN = 4_000
COLUMNS = (
    Column("at", "When", "when", "76px", "Since it was submitted"),
    Column("move", "To", "verdict", "176px", "The state that it came into"),
    Column("reason", "Reason", "text", "", "The event that moved it, by the rulebook's names"),
    Column("attempt", "Attempt", "number", "66px"),
    Column("token", "Token", "number", "58px", "The fencing token: every claim raises it, and older ones are refused"),
    Column("worker", "Worker", "text", "92px"),
    Column("delay", "Backoff", "number", "72px", "How long it was told to wait"),
)
TONES: dict[str, tuple[runs_table.Tone, str]] = {
    "PENDING": ("quiet", "…"),
    "RUNNING": ("warn", "▶"),
    "RETRY_WAIT": ("warn", "↻"),
    "COMPLETED": ("good", "✓"),
    "PERMANENT_FAILURE": ("bad", "✕"),
    "CANCELLED": ("quiet", "■"),
}
BADGES = {"good": "green", "bad": "red", "warn": "orange", "quiet": "gray"}


def panel(desk: Desk, source: Source, task_id: int) -> None:
    """The panel beside the list. While the task still moves, it is looked up once a second."""
    try:
        story = desk.story(task_id)
    except LabError as error:
        st.error(text.escape(text.sentence(str(error))), icon=":material/cloud_off:")
        return
    if story is None:
        _unknown(task_id)
        return
    if story.finished or not source.live:
        _drawn(desk, source, story)
        return

    @st.fragment(run_every=FOLLOW_S)
    def follow() -> None:
        try:
            latest = desk.story(task_id) or story
        except LabError:
            latest = story  # the list says that the place does not answer
        _drawn(desk, source, latest)
        if latest.finished:
            st.rerun()

    follow()


def _unknown(task_id: int) -> None:
    with st.container(border=True):
        st.markdown(f":material/search_off: **There is no task {task_id} here.**")
        st.caption("Ids are whole numbers; in a record they count from 0 in the order of the plan.")
        st.button("Close", key="close-unknown", on_click=_close)


def _close() -> None:
    st.query_params.pop("task", None)


def _drawn(desk: Desk, source: Source, story: Story) -> None:
    _head(desk, story)
    parts = list(segments(story))
    _facts(story, parts)
    if story.item.error and source.live:
        st.code(story.item.error, language=None, wrap_lines=True)
    if parts:
        dark = st.context.theme.type == "dark"
        chart = tasks_timeline.figure(story, desk.engine, dark)
        st.plotly_chart(
            chart,
            key="task-timeline",
            config={"displayModeBar": False},
            theme=None,
            alt=f"Timeline of task {story.item.id}",
        )
    runs_table.show(
        "task-steps",
        COLUMNS,
        [_row(story, step, place) for place, step in enumerate(story.steps)],
        runs_table.Look(
            label=f"Audit log of task {story.item.id}",
            foot=f"{text.plural(len(story.steps), 'transition')}, as the audit log has them",
            height="340px",
            width="0",
            choosable=False,
            openable=False,
            link="Copy link to this task",
        ),
        runs_table.Actions(),
    )
    _bodies(story)


def _head(desk: Desk, story: Story) -> None:
    item = story.item
    tone, icon = TONES.get(item.state, ("quiet", "–"))
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        state = "DISCARDED" if item.discarded else item.state
        badge = f":{BADGES[tone]}-badge[{icon} {text.escape(state)}]"
        st.markdown(f"#### Task {item.id} {badge}", anchors=False, width="stretch")
        if item.dead and desk.redrives == "any" and st.button("Redrive", icon=":material/replay:", key="redrive-one"):
            tasks_actions.confirm(desk, "redrive", [item.id], Query(), "tasks-table")
        if item.dead and desk.discards and st.button("Discard", icon=":material/delete_sweep:", key="discard-one"):
            tasks_actions.confirm(desk, "discard", [item.id], Query(), "tasks-table")
        st.button("", icon=":material/close:", key="close-task", help="Close", type="tertiary", on_click=_close)


def _facts(story: Story, parts: list[Segment]) -> None:
    item, spent = story.item, totals(parts)
    words = [f"**{text.escape(item.role)}**", f"priority {item.priority}", text.plural(item.attempts, "attempt")]
    if item.worker:
        words.append(f"last on {text.escape(item.worker)}")
    if parts:
        spans = {"waited": spent["waiting"], "ran": spent["running"], "backed off": spent["backoff"]}
        told = ", ".join(f"{word} {text.seconds(span_s)}" for word, span_s in spans.items() if span_s > 0)
        words += [told] if told else []
    st.caption(" · ".join(words))


def _row(story: Story, step: Step, place: int) -> Row:
    tone, icon = TONES.get(step.end, ("quiet", ""))
    at_s = step.at_s - story.submitted_s
    title = step.at.isoformat(sep=" ", timespec="milliseconds") if step.at else f"{step.at_s:,.6f} s of the run"
    mark = "✓ " if is_good(step.reason) else "✕ " if is_bad(step.reason) else ""
    return Row(
        str(place),
        f"transition {place + 1}",
        {
            "at": {"text": f"+{text.seconds(at_s)}", "title": title},
            "move": runs_table.verdict(tone, icon, step.end, f"{step.start or 'nothing'} → {step.end}"),
            "reason": f"{mark}{step.reason}",
            "attempt": str(step.attempt) if step.attempt else "",
            "token": str(step.token) if step.token else "",
            "worker": step.worker,
            "delay": text.seconds(step.delay_s) if step.delay_s else "",
        },
    )


def _bodies(story: Story) -> None:
    """Payload and result, where the place keeps them."""
    for name, value in (("Payload", story.payload), ("Result", story.result)):
        if value is None:
            continue
        with st.expander(name):
            words = words_of(value)
            cut = f"\n… {len(words) - JSON_CHARS_SHOWN:,} more letters" if len(words) > JSON_CHARS_SHOWN else ""
            st.code(words[:JSON_CHARS_SHOWN] + cut, language="json", wrap_lines=True)
