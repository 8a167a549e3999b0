"""A scenario as forms: every control is made from the schema, and writes its one value into the YAML text.

Nothing is kept here. A control shows what the text says, or what holds where the text says nothing; what is turned goes
into the text at once (`studio_state.changing`), and the editor beside it shows the change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from lab.scenario import Scenario
from lab.yaml_source import Path, dotted
from ui import studio_roles, studio_schema, studio_state, studio_text, text
from ui.studio_schema import Field

STARTS: Mapping[str, Any] = {
    "count": 100, "rate_per_s": 10, "duration_s": 30, "from_per_s": 1, "to_per_s": 20, "until_s": 60, "at_s": 5,
    "for_s": 5, "factor": 3, "delay_s": 5, "value": 1, "mean_s": 1, "path": "data/arrivals.csv",
    "steps": [{"duration_s": 10, "rate_per_s": 5}, {"duration_s": 10, "rate_per_s": 20}],
    "entries": [{"at_s": 0, "count": 100}],
}  # fmt: skip
"""Where a control starts whose value the schema demands and nobody has given yet."""
EITHER = {"duration_s": "count", "count": "duration_s"}
"""Of these two a steady rate wants one: whoever gives the one takes the other away."""
WHOLE_MAX = 2**53 - 1
"""Whole numbers that a browser can hold."""
COLUMNS = 3


def forms(draft: studio_state.Draft, data: Mapping[str, Any], scenario: Scenario | None) -> None:
    """The whole form of a draft. `data`: what its text says; `scenario`: what holds, if nothing is wrong with it."""
    work, agents, rules, faults = st.tabs(["Work", "Agents", "Rules", "Faults"], key=f"studio-forms-{draft.name}")
    with work:
        _arrivals(draft, data)
        studio_roles.table(draft, _below(data, "workload", "roles"))
        _controls(draft, data, scenario, "Workload", ("workload",))
    with agents:
        _controls(draft, data, scenario, "Mesh", ("mesh",))
        _controls(draft, data, scenario, studio_schema.ROOT, ())
    with rules:
        _rules(draft, data, scenario)
    with faults:
        _faults(draft, data)


# ---- one control -----------------------------------------------------------------------------------------------------


def control(draft: studio_state.Draft, field: Field, path: Path, value: Any, *, choices: tuple[str, ...] = ()) -> None:
    """The control of one field, showing `value`; None: nothing holds there."""
    key = f"studio-{draft.name}-{dotted(path)}"
    about: dict[str, Any] = {"key": key, "help": text.escape(field.help) or None, "on_change": _changed}
    about["args"] = (draft.name, path, key, field.required)
    label = label_of(field)
    if field.kind in ("whole", "number"):
        _number(field, label, value, about)
    elif field.kind == "choice" or choices:
        options = list(dict.fromkeys([*(choices or field.choices), *([value] if isinstance(value, str) else [])]))
        st.session_state[key] = value if value in options else None
        st.selectbox(label, options, index=None, placeholder="off" if field.optional else "choose", **about)
    elif field.kind == "switch":
        st.session_state[key] = bool(value)
        st.toggle(label, **about)
    elif field.kind == "text":
        st.session_state[key] = "" if value is None else str(value)
        st.text_input(label, **about)


def label_of(field: Field) -> str:
    """`rss_limit_mib` as `Rss limit (MiB)`."""
    end = next((end for end in studio_schema.UNITS if field.name.endswith(end)), "")
    words = field.name.removesuffix(end).replace("_", " ").replace("rss", "RSS").replace("cpu", "CPU")
    unit = "" if not field.unit or field.unit in words else f" ({field.unit})"
    return f"{words[:1].upper()}{words[1:]}{unit}"


def _number(field: Field, label: str, value: Any, about: dict[str, Any]) -> None:
    number: Any = int if field.kind == "whole" else float
    shown = number(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    low, high = (None if bound is None else max(-WHOLE_MAX, min(bound, WHOLE_MAX)) for bound in (field.low, field.high))
    if shown is not None:  # a control refuses what the editor only marks
        shown = max(-WHOLE_MAX, min(shown, WHOLE_MAX))
        low, high = (None if low is None else min(low, shown)), (None if high is None else max(high, shown))
    st.session_state[about["key"]] = shown
    st.number_input(
        label,
        min_value=None if low is None else number(low),
        max_value=None if high is None else number(high),
        value=None,
        step=number(1) if field.kind == "whole" else _step(shown),
        format="%d" if field.kind == "whole" else "%g",
        placeholder="off" if field.optional else "as given below" if field.required else "default",
        **about,
    )


def _step(value: float | None) -> float:
    """A tenth of the value's magnitude: 512 turns by 10, 2 by 0.1."""
    size = abs(value or 1.0)
    return max((step for step in (0.001, 0.01, 0.1, 1.0, 10.0, 100.0) if step * 10 <= size), default=0.001)


def _changed(name: str, path: Path, key: str, required: bool) -> None:
    """A control was turned (a callback). An emptied one takes its key out of the text."""
    value = st.session_state[key]

    def change(content: str) -> str:
        if value is None or (value == "" and not required):
            return studio_text.drop(content, path)
        if path[-1] in EITHER and path[:-1] == ("workload", "arrivals"):
            there = studio_text.read(content)["workload"]["arrivals"]
            if there.get("kind") in ("constant", "poisson") and EITHER[str(path[-1])] in there:
                content = studio_text.drop(content, (*path[:-1], EITHER[str(path[-1])]))
        return studio_text.put(content, path, value)

    studio_state.changing(name, change)


# ---- what stands together --------------------------------------------------------------------------------------------


def _controls(
    draft: studio_state.Draft, data: Mapping[str, Any], scenario: Scenario | None, shape: str, path: Path
) -> None:
    """The plain fields of one mapping, a few in a row."""
    fields = [one for one in studio_schema.shapes()[shape].fields.values() if one.kind in PLAIN]
    here: Any = scenario
    for part in path:
        here = getattr(here, str(part), None)
    columns = st.columns(COLUMNS)
    for index, field in enumerate(fields):
        written = _below(data, *path).get(field.name)
        value = written if written is not None else getattr(here, field.name, field.default)
        with columns[index % COLUMNS]:
            control(draft, field, (*path, field.name), value)


PLAIN = ("whole", "number", "text", "switch", "choice")


def _arrivals(draft: studio_state.Draft, data: Mapping[str, Any]) -> None:
    """When tasks come: the kind, and the fields of that kind."""
    field = studio_schema.field("Workload", "arrivals")
    kinds = studio_schema.variants(field)
    there = _below(data, "workload", "arrivals")
    kind = there.get("kind")
    key = f"studio-{draft.name}-arrivals-kind"
    st.session_state[key] = kind if kind in kinds else None
    st.selectbox(
        "Arrivals",
        list(kinds),
        key=key,
        index=None,
        format_func=lambda name: f"{name}: {_first(kinds[name].doc)}",
        help="When tasks come. Whatever fits stays when you choose another kind.",
        on_change=_another_kind,
        args=(draft.name, key),
    )
    if kind not in kinds:
        return
    columns = st.columns(COLUMNS)
    plain = [one for one in kinds[kind].fields.values() if one.kind in PLAIN and one.name != "kind"]
    for index, one in enumerate(plain):
        with columns[index % COLUMNS]:
            control(draft, one, ("workload", "arrivals", one.name), there.get(one.name, one.default))
    for one in kinds[kind].fields.values():
        if one.kind == "list":
            studio_roles.rows(draft, one, ("workload", "arrivals", one.name), there.get(one.name))


def _another_kind(name: str, key: str) -> None:
    """Another kind of arrivals (a callback): what both kinds have stays, what the new one needs is given."""
    kind = st.session_state[key]
    if kind is None:
        return
    shape = studio_schema.variants(studio_schema.field("Workload", "arrivals"))[kind]

    def change(content: str) -> str:
        there = _below(studio_text.read(content), "workload", "arrivals")
        kept = {field: there[field] for field in shape.fields if field in there and field not in ("kind", "at_s")}
        needed = {one.name: STARTS.get(one.name, one.low) for one in shape.fields.values() if one.required}
        new = {**needed, **kept, "kind": kind}
        if kind in ("constant", "poisson"):
            if "duration_s" in new:
                new.pop("count", None)
            elif "count" not in new:
                new["duration_s"] = STARTS["duration_s"]
        ordered = {field: new[field] for field in shape.fields if field in new}
        return studio_text.put(content, ("workload", "arrivals"), ordered)

    studio_state.changing(name, change)


def _rules(draft: studio_state.Draft, data: Mapping[str, Any], scenario: Scenario | None) -> None:
    """The preset, and every switch of the rulebook in its group."""
    book = studio_schema.shapes()["Rulebook"]
    preset = book.fields["preset"]
    control(draft, preset, ("rules", "preset"), _below(data, "rules").get("preset", preset.default))
    for field in book.fields.values():
        if field.kind != "group" or field.name == "view":
            continue
        shape = studio_schema.shapes()[field.shapes[0]]
        written = _below(data, "rules", field.name)
        badge = f" :blue-badge[{len(written)} set]" if written else ""
        with st.expander(f"**{field.name.capitalize()}**{badge}", key=f"studio-{draft.name}-group-{field.name}"):
            st.caption(text.escape(_first(shape.doc)))
            _controls(draft, data, scenario, shape.name, ("rules", field.name))


def _faults(draft: studio_state.Draft, data: Mapping[str, Any]) -> None:
    """What goes wrong, and when: one box a fault, and a way to add one."""
    field = studio_schema.field(studio_schema.ROOT, "faults")
    kinds = studio_schema.variants(field)
    faults = data.get("faults")
    for index, fault in enumerate(faults if isinstance(faults, list) else []):
        if isinstance(fault, dict) and fault.get("kind") in kinds:
            _fault(draft, index, fault, kinds[fault["kind"]], tuple(map(str, _below(data, "workload", "roles"))))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        key = f"studio-{draft.name}-fault-kind"
        st.selectbox(
            "Another fault",
            list(kinds),
            key=key,
            format_func=lambda kind: f"{kind}: {_first(kinds[kind].doc)}",
            help=field.doc or None,
        )
        st.button(
            "Add",
            icon=":material/add:",
            key=f"studio-{draft.name}-add-fault",
            on_click=_add_fault,
            args=(draft.name, key),
        )


def _fault(
    draft: studio_state.Draft, index: int, fault: dict[str, Any], shape: studio_schema.Shape, roles: tuple[str, ...]
) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.markdown(f"**{text.escape(str(fault['kind']))}** at {text.escape(str(fault.get('at_s', '?')))} s")
            st.button(
                "Remove",
                icon=":material/delete:",
                key=f"studio-{draft.name}-drop-fault-{index}",
                type="tertiary",
                on_click=studio_state.changing,
                args=(draft.name, lambda content: studio_text.drop(content, ("faults", index))),
            )
        st.caption(text.escape(_first(shape.doc)))
        columns = st.columns(COLUMNS)
        plain = [one for one in shape.fields.values() if one.kind in PLAIN and one.name != "kind"]
        for place, one in enumerate(plain):
            with columns[place % COLUMNS]:
                choices = roles if one.name == "role" else ()
                control(draft, one, ("faults", index, one.name), fault.get(one.name, one.default), choices=choices)


def _add_fault(name: str, key: str) -> None:
    """One more fault (a callback), with values that can stand."""
    kind = st.session_state[key]
    shape = studio_schema.variants(studio_schema.field(studio_schema.ROOT, "faults"))[kind]

    def change(content: str) -> str:
        roles = list(_below(studio_text.read(content), "workload", "roles"))
        values: dict[str, Any] = {}
        for one in shape.fields.values():
            if one.name == "kind":
                values[one.name] = kind
            elif one.name == "role" and one.required:
                values[one.name] = roles[0] if roles else ""
            elif one.required:
                values[one.name] = one.choices[0] if one.choices else STARTS.get(one.name, one.low or 0)
        first = {"at_s": values.pop("at_s")} if "at_s" in values else {}
        return studio_text.append(content, ("faults",), {**first, **values})

    studio_state.changing(name, change)


def _below(data: Any, *path: str | int) -> Mapping[str, Any]:
    """The mapping at a path; empty where there is none."""
    for part in path:
        data = data.get(part) if isinstance(data, Mapping) else None
    return data if isinstance(data, Mapping) else {}


def _first(doc: str) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(doc.split("\n\n")[0].replace("`", "").split())
