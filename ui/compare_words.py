"""What is said of runs in words: each check with its meaning, theory beside the run, the scenario, where it ran."""

from __future__ import annotations

import pandas as pd
import streamlit as st
import yaml

from lab import findings, headlines, report, standalone
from lab.errors import LabError
from lab.headlines import Column
from ui import forms, studio_state, text
from ui.compare_charts import Key, table_px
from ui.results import Result
from ui.shell import STUDIO

DIFFERENCES_SHOWN = 30


def show(_: Key, found: Result) -> None:
    """The tab of checks and theory."""
    _checks(found)
    _theory(found)


def _checks(found: Result) -> None:
    st.markdown("##### Checks", anchors=False)
    st.caption("Invariants, checked on the audit log of every run of either engine. One that breaks is a bug.")
    said = findings.verdicts(found.columns)
    with st.grid(2, min_column_width=360):
        for place, check in enumerate(said[0].checks):
            mine = [(verdict.label, verdict.checks[place]) for verdict in said]
            held = all(one.ok for _, one in mine)
            with st.container(border=True, height="stretch", gap="xxsmall"):
                mark = ":green[:material/check_circle:]" if held else ":red[:material/error:]"
                st.markdown(f"{mark} **{text.escape(findings.name_of(check))}**")
                st.caption(text.escape(check.claim))
                for label, one in mine:
                    words = f"{text.escape(label)}: {text.escape(one.found)}. {findings.examples(one)}"
                    st.markdown(f":small[{words}]" if one.ok else f":red[**{words}**]")


def _theory(found: Result) -> None:
    st.markdown("##### Theory", anchors=False)
    laws = findings.laws(found.columns)
    if not laws:
        st.caption("A run that was cut short is not compared with theory.")
    by_label = {column.label: column for column in found.columns}
    seen: dict[tuple[str | None, str, str], list[findings.Law]] = {}
    for law in laws:
        seen.setdefault((law.law, law.kind, law.reason), []).append(law)
    for same in seen.values():
        _law(same, [by_label[law.label] for law in same])


def _law(same: list[findings.Law], columns: list[Column]) -> None:
    """One law, and the figures of the runs that it speaks of."""
    first = same[0]
    with st.container(border=True):
        runs = ", ".join(law.label for law in same)
        st.markdown(f"**{text.escape(first.law or 'No closed form')}** :gray-badge[{text.escape(runs)}]")
        st.markdown(f"{findings.KIND_WORDS.get(first.kind, '')} {text.escape(text.sentence(first.reason))}.")
        table = list(findings.theory_rows(columns))
        bear_z = [any(one.runs[place].z is not None for one in table) for place in range(len(columns))]
        rows = []
        for one in table:
            row = {"Figure": one.label, "Law": one.law}
            for column, showed, bears_z in zip(columns, one.runs, bear_z, strict=True):
                row[column.label] = showed.value
                if bears_z:
                    row[f"z, {column.label}"] = showed.z_words
            rows.append(row)
        if rows:
            frame = pd.DataFrame(rows)
            config = {
                name: st.column_config.TextColumn(
                    alignment="right", help=findings.Z_ABOUT if name.startswith("z, ") else None
                )
                for name in frame.columns[1:]
            }
            st.dataframe(frame, hide_index=True, column_config=config, height=table_px(len(frame)), alt="Theory")
        for note in dict.fromkeys(law.note for law in same if law.note):
            st.caption(text.escape(text.sentence(note)) + ".")


# ---- the scenario ----------------------------------------------------------------------------------------------------


def scenario(_: Key, found: Result) -> None:
    """The tab of the scenario: what was run, where the runs differ in it, and where they ran."""
    columns = found.columns
    labels = [column.label for column in columns]
    if len(columns) > 1:
        _differences(found)
    place = 0
    if len({yaml_of(column) for column in columns}) > 1:
        place = st.selectbox("Scenario of", range(len(labels)), format_func=labels.__getitem__, key="scenario-of")
    column = columns[place]
    content = yaml_of(column)
    name = str(column.lead.info["scenario_name"])
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.caption("As it ran, with every knob applied.", width="content")
        with st.container(horizontal=True, width="content"):
            _take_away(content, _standalone(column), name)
    st.code(content, language="yaml", line_numbers=True, height=420)
    with st.expander("Its rulebook, every value", icon=":material/rule:"):
        rulebook = yaml.safe_dump(column.lead.info.get("rulebook"), sort_keys=False, allow_unicode=True)
        st.code(rulebook, language="yaml")
    _runs(found)


def _standalone(column: Column) -> str:
    """The same with paths that lead to its files from anywhere; as it is where they cannot be made so."""
    try:
        return standalone.yaml_text(column.lead.scenario)
    except LabError:
        return yaml_of(column)


def _take_away(content: str, standalone: str, name: str) -> None:
    """What can be done with a scenario."""
    icon, file = ":material/download:", f"{name[:40]}.yaml"
    st.download_button("Scenario (YAML)", content, file, "text/yaml", icon=icon, on_click="ignore")
    about = "Puts this scenario into the form at the left, where its knobs can be turned and it can be run."
    icon = ":material/input:"
    st.button("Use in the form", icon=icon, key="use", help=about, on_click=forms.take, args=(standalone, name))
    icon, about = ":material/edit_note:", "Opens this scenario in the editor, as a new one."
    st.button(
        "Open in the studio", icon=icon, key="to-studio", help=about, on_click=_to_studio, args=(standalone, name)
    )


def _to_studio(content: str, name: str) -> None:
    studio_state.begin(content, name)
    st.switch_page(STUDIO.path, query_params={"scenario": studio_state.NEW})


def yaml_of(column: Column) -> str:
    """The scenario of a column's first run."""
    return yaml.safe_dump(column.lead.info["scenario"], sort_keys=False, allow_unicode=True)


def _differences(found: Result) -> None:
    """The places in which the scenarios differ, a row each."""
    leaves = [dict(headlines.leaves(column.lead.info["scenario"])) for column in found.columns]
    paths = dict.fromkeys(path for one in leaves for path in one)
    rows = []
    for path in paths:
        values = [one.get(path, "–") for one in leaves]
        if len(set(values)) > 1:
            rows.append({"Where": path, **dict(zip((one.label for one in found.columns), values, strict=True))})
    if not rows:
        st.caption("All runs had the same scenario.")
        return
    st.markdown("##### Where the scenarios differ", anchors=False)
    st.dataframe(pd.DataFrame(rows[:DIFFERENCES_SHOWN]), hide_index=True, height="content", alt="Differences")
    if len(rows) > DIFFERENCES_SHOWN:
        st.caption(f"The first {DIFFERENCES_SHOWN} of {len(rows)} places.")


def _runs(found: Result) -> None:
    """Where each run comes from."""
    st.markdown("##### Runs", anchors=False)
    rows = [
        {"": column.label, **report.facts(record), "Folder": str(record.folder)}
        for column in found.columns
        for record in column.records
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, height="content", alt="Where the runs come from")
