"""The rulebook as a page: the replay of flaws, the states of a task, the values of a scenario, the presets."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from lab.errors import LabError
from lab.flaws import FLAWS, Flaw, switches, told_by
from lab.rules.explain import MODULES, Rule, explain, moves, preset_rulebook, shown
from lab.rules.presets import PRESETS
from lab.rules.tasks import State
from lab.scenario import Scenario
from ui import library, rules_flaws, rules_latex, rules_meaning, rules_replay, rules_states, rules_table, text
from ui.rules_table import Cell, code, joined, link, mark, words

REPLAY, STATES, VALUES, SWITCHES = "Flaw and cure", "Task states", "Formulas and values", "Published and lab"
VIEWS = (REPLAY, STATES, VALUES, SWITCHES)


def chosen_view() -> str:
    """The view that is asked for; a link that names a scenario asks for its values."""
    first = VALUES if "scenario" in st.query_params else REPLAY
    view = st.segmented_control(
        "View", VIEWS, default=first, required=True, key="rules", label_visibility="collapsed", bind="query-params"
    )
    return view or REPLAY


# ---- flaw and cure ---------------------------------------------------------------------------------------------------


def replay() -> None:
    """Choose a published flaw, and watch it beside its cure."""
    flaw = _chosen_flaw()
    try:
        pair = rules_replay.run(flaw.key)
    except LabError as error:
        st.error(text.escape(str(error)), title="This replay cannot be made", icon=":material/error:")
        return
    st.markdown(
        text.escape(_claim(flaw)),
        help="A flaw of a published system, which a switch of the rulebook brings back. Both meshes get the same "
        "tasks, draws and faults; they differ in that switch alone.",
    )
    rules_replay.show(flaw, pair)
    st.markdown(rules_flaws.verdict(flaw.key, pair))
    _about(flaw)


def _chosen_flaw() -> Flaw:
    key = st.pills(
        "What goes wrong",
        [flaw.key for flaw in FLAWS],
        format_func=lambda one: rules_replay.find(one).title,
        key="flaw",
        default=rules_replay.find(st.query_params.get("flaw")).key,
        required=True,
        label_visibility="collapsed",
        on_change=lambda: st.query_params.update({"flaw": st.session_state["flaw"]}),
    )
    return rules_replay.find(key)


def _claim(flaw: Flaw) -> str:
    """What the flaw's scenario claims to show: its first comment."""
    return library.Shipped(flaw.key, flaw.path, flaw.path.read_text(encoding="utf-8")).claim


def _about(flaw: Flaw) -> None:
    ours, theirs = told_by("lab"), told_by(flaw.preset)
    with st.expander("The switch, and how to run this yourself", icon=":material/toggle_on:"):
        for switch in flaw.switches:
            values = f"{flaw.preset}: {shown(theirs[switch].value)}; lab: {shown(ours[switch].value)}"
            st.markdown(f"**`{switch}`** {text.escape(values)}  \n{text.escape(ours[switch].reason)}")
        sets = " ".join(f"--set rules.{switch}={shown(value)}" for switch, value in flaw.values(flaw.preset).items())
        path = f"scenarios/flaws/{flaw.path.name}"
        st.code(f"meshlab run {path}\nmeshlab run {path} {sets}", language="bash", wrap_lines=True)


# ---- task states -----------------------------------------------------------------------------------------------------


def states() -> None:
    """The state diagram, and the table that it is drawn from."""
    dot = rules_states.dot(dark=st.context.theme.type == "dark")
    st.graphviz_chart(dot, width="stretch", alt="The states of a task and the ways between them")
    st.caption(
        "Both engines ask this table about every move of every task. What is not in it is refused, as a value with a "
        "reason, and leaves the task as it was; each move that is made is one row of the audit log."
    )
    rows = [(_states_in(start), words(event), _states_in(end)) for start, event, end in moves()]
    rules_table.show(("from", "event", "to"), rows, (2, 2, 5))


def _states_in(told: str) -> Cell:
    """State names as code, the words between them as text."""
    known = set(map(str, State))
    return joined(*(code(word) if word in known else words(word) for word in told.replace(",", " ,").split()))


# ---- formulas and values ---------------------------------------------------------------------------------------------


def values() -> None:
    """Every rule with its formula, its value in the chosen scenario, and what that comes to."""
    files = library.shipped()
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    name = left.selectbox(
        "Scenario",
        list(files),
        key="scenario",
        help="Whose values to show. Those that differ from the scenario's preset are marked.",
        bind="query-params",
        persist_state="session",
    )
    try:
        scenario = library.load(files[name].text, files[name].path.name)
    except LabError as error:
        st.error(text.escape(str(error)), title="This scenario cannot be read", icon=":material/error:")
        return
    before = {rule.path: rule.value for rule in explain(preset_rulebook(scenario.rules.preset))}
    rules = list(explain(scenario.rules))
    changed = sum(rule.value != before[rule.path] for rule in rules)
    right.markdown(
        f"Preset `{scenario.rules.preset}`"
        + (f", with **{text.plural(changed, 'value')}** set otherwise." if changed else ", nothing set otherwise.")
    )
    for group in MODULES:
        _group(group, scenario, [rule for rule in rules if rule.path.startswith(f"{group}.")], before)


def _group(group: str, scenario: Scenario, rules: Sequence[Rule], before: Mapping[str, Any]) -> None:
    """What a group of rules is for, what it comes to, its formulas; beside them its values."""
    first, _, rest = inspect.cleandoc(MODULES[group].__doc__ or "").partition("\n\n")
    with st.container(border=True):
        left, right = st.columns([4, 5], gap="medium")
        with left:
            st.markdown(f"##### {group.capitalize()}", help=text.escape(rest) or None, anchors=False)
            st.caption(text.escape(first))
            if meant := rules_meaning.meaning(group, scenario):
                st.markdown("In this scenario:\n" + "\n".join(f"- {sentence}" for sentence in meant))
            formulas = dict.fromkeys(rule.formula for rule in rules if rules_latex.is_formula(rule.formula))
            if formulas:
                st.latex(rules_latex.latex(formulas), width="content")
        with right:
            rows = [_row(rule, before[rule.path]) for rule in rules]
            rules_table.show(("rule", "value", "why"), rows, (10, 8, 18))


def _row(rule: Rule, preset_value: Any) -> tuple[Cell, ...]:
    value = joined(words(shown(rule.value), strong=True), words(rule.unit, small=True))
    if rule.value != preset_value:
        value = joined(value, mark(f"preset: {shown(preset_value)}", "changed"))
    return code(rule.path.partition(".")[2]), value, words(rule.reason)


# ---- published and lab -----------------------------------------------------------------------------------------------


def presets() -> None:
    """Each switch that a published preset sets otherwise, beside ours, and what it changes."""
    st.markdown(
        "A scenario names a preset under `rules.preset`. The published ones hold the rules of the systems that the lab "
        "stands in for, flaws included; whatever a scenario sets itself wins over its preset."
    )
    columns = {preset: told_by(preset) for preset in PRESETS}
    ours = columns["lab"]
    rows = []
    for path in switches():
        cells = [_value_of(told[path], ours[path]) for told in columns.values()]
        seen = [link(flaw.title, f"flaw={flaw.key}") for flaw in FLAWS if path in flaw.switches]
        rows.append((code(path), *cells, words(ours[path].reason), joined(*seen, by=", ")))
    rules_table.show(
        ("switch", *PRESETS, "what it changes", "watch it"), rows, (6, 4, *[6] * (len(PRESETS) - 1), 12, 6)
    )


def _value_of(told: Rule, ours: Rule) -> Cell:
    unit = words(told.unit, small=True)
    if told.value == ours.value:
        return joined(words(shown(told.value)), unit)
    return joined(mark(shown(told.value), "flawed"), unit)
