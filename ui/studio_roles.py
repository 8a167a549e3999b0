"""Tables in the studio's forms: the roles, and lists of plain mappings such as the steps of an arrival rate.

What is changed in a table is written cell by cell into the YAML text. The table keeps its own list of changes on top of
the rows that it was given, so it is given the same rows again as long as the text says what it shows: the place that
one has reached in it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import streamlit as st

from lab.errors import UsageError
from lab.yaml_source import Path, dotted
from ui import studio_schema, studio_state, studio_text, text
from ui.studio_schema import Field

NAME = "Role"
START_S = 1
"""Mean service time of a role that was just added, in seconds."""
CELLS: Mapping[str, Path] = {
    "share": ("share",),
    "service": ("service", "dist"),
    "mean_s": ("service", "mean_s"),
    "cv": ("service", "cv"),
    "failure_rate": ("failure_rate",),
    "memory_mib": ("memory_mib",),
}
"""The columns, and where their values stand in a role."""
Row = dict[str, Any]
Write = Callable[[list[Row], list[Row]], None]
"""Bring the text from the old rows to the new ones."""


def table(draft: studio_state.Draft, roles: Mapping[str, Any]) -> None:
    """The roles: one row each; rows can be added and removed."""
    found = [_row(name, values) for name, values in roles.items()]
    columns = {NAME: st.column_config.TextColumn(NAME, help="Letters, digits, - and _.", required=True)}
    columns |= {name: _column(name, _field(path)) for name, path in CELLS.items()}
    st.caption(":material/groups: **Roles.** Double-click a cell to change it; the last row adds a role.")

    def write(old: list[Row], new: list[Row]) -> None:
        studio_state.changing(draft.name, lambda content: written(content, old, new))

    _table(f"studio-{draft.name}-roles", found, columns, write, lambda row: bool(row.get(NAME)))


def rows(draft: studio_state.Draft, field: Field, path: Path, values: Any) -> None:
    """A list of mappings with plain values only."""
    shape = studio_schema.shapes()[field.shapes[0]]
    found = [{name: one.get(name) for name in shape.fields} for one in _mappings(values)]
    st.caption(f":material/list: **{text.escape(field.name.capitalize())}.** {text.escape(field.doc)}")
    columns = {name: _column(name, one) for name, one in shape.fields.items()}

    def write(_: list[Row], new: list[Row]) -> None:
        kept = [{key: value for key, value in row.items() if value is not None} for row in new]
        studio_state.changing(draft.name, lambda content: studio_text.put(content, path, kept))

    _table(f"studio-{draft.name}-{dotted(path)}", found, columns, write, _says_something)


# ---- the table -------------------------------------------------------------------------------------------------------


def _table(key: str, found: list[Row], columns: dict[str, Any], write: Write, counts: Callable[[Row], bool]) -> None:
    """`counts`: whether a row is one already; a row that somebody has only begun is kept by the table alone."""
    kept = st.session_state.setdefault(f"{key}-kept", {"rows": None, "round": 0})
    widget = f"{key}-{kept['round']}"
    shown = [row for row in applied(kept["rows"] or [], _changes(widget)) if counts(row)]
    if kept["rows"] is None or shown != found:
        kept["rows"], kept["round"] = found, kept["round"] + 1
        widget = f"{key}-{kept['round']}"
    base = kept["rows"]
    frame = pd.DataFrame(base, columns=list(columns))
    for name, column in columns.items():
        if column["type_config"]["type"] == "number":
            frame[name] = pd.to_numeric(frame[name], errors="coerce")

    def changed() -> None:
        write(base, [row for row in applied(base, _changes(widget)) if counts(row)])

    st.data_editor(
        frame,
        key=widget,
        column_config=columns,
        hide_index=True,
        num_rows="dynamic",
        on_change=changed,
        placeholder="–",
    )


def applied(base: list[Row], changes: Mapping[str, Any]) -> list[Row]:
    """The rows of a table after what was done in it."""
    new = [dict(row) for row in base]
    for index, cells in changes.get("edited_rows", {}).items():
        new[int(index)] |= cells
    gone = set(changes.get("deleted_rows", ()))
    names = list(base[0]) if base else []
    added = [{**dict.fromkeys(names), **row} for row in changes.get("added_rows", ())]
    return [row for index, row in enumerate(new) if index not in gone] + added


def _changes(widget: str) -> Mapping[str, Any]:
    state = st.session_state.get(widget)
    return state if isinstance(state, Mapping) else {}


def _column(name: str, field: Field) -> Any:
    about: dict[str, Any] = {"help": field.help or None, "required": False}
    label = name.replace("_", " ") if not field.unit else f"{name.rsplit('_', 1)[0].replace('_', ' ')} ({field.unit})"
    if field.kind == "choice":
        return st.column_config.SelectboxColumn(label, options=list(field.choices), **about)
    if field.kind in ("whole", "number"):
        step = 1 if field.kind == "whole" else None
        return st.column_config.NumberColumn(label, step=step, min_value=field.low, **about)
    return st.column_config.TextColumn(label, **about)


# ---- roles -----------------------------------------------------------------------------------------------------------


def _field(path: Path) -> Field:
    """The schema's field of a column; of the kinds of service, their common one."""
    if path[0] != "service":
        return studio_schema.field("Role", str(path[0]))
    service = studio_schema.variants(studio_schema.field("Role", "service"))
    found = [shape.fields[str(path[1])] for shape in service.values() if path[1] in shape.fields]
    if path[1] != "dist":
        return found[0]
    return Field("dist", "choice", studio_schema.field("Role", "service").doc, choices=tuple(service))


def _row(name: str, values: Any) -> Row:
    """A role as a row: only what its text says; the defaults show as –."""
    row: Row = {NAME: str(name)}
    for column, path in CELLS.items():
        here = values
        for part in path:
            here = here.get(part) if isinstance(here, dict) else None
        row[column] = here if isinstance(here, int | float | str) else None
    return row


def _says_something(row: Row) -> bool:
    return any(value is not None for value in row.values())


def written(content: str, old: list[Row], new: list[Row]) -> str:
    """The text with the roles of `new` instead of those of `old`. Raises UsageError where that cannot be."""
    kept = [row for row in new if row.get(NAME)]
    if not kept:
        raise UsageError("a scenario needs at least one role; add another before you remove the last")
    gone = [row for row in old if not any(row is one or row[NAME] == one[NAME] for one in kept)]
    renamed = _renamed(old, kept)
    for row in gone:
        if row[NAME] not in renamed:
            content = studio_text.drop(content, ("workload", "roles", row[NAME]))
    for before, after in renamed.items():
        content = studio_text.rename(content, ("workload", "roles", before), after)
    was = {renamed.get(row[NAME], row[NAME]): row for row in old}
    for row in kept:
        content = _cells(content, was.get(row[NAME]), row)
    return content


def _renamed(old: list[Row], new: list[Row]) -> dict[str, str]:
    """Old name → new name: a row in its old place whose name alone is another one."""
    before, after = {row[NAME] for row in old}, {row[NAME] for row in new}
    if len(old) != len(new):
        return {}
    pairs = ((one[NAME], two[NAME]) for one, two in zip(old, new, strict=True))
    return {one: two for one, two in pairs if one != two and one not in after and two not in before}


def _cells(content: str, old: Row | None, row: Row) -> str:
    role: Path = ("workload", "roles", row[NAME])
    if old is None:
        dist, mean_s = row.get("service") or "constant", row.get("mean_s")
        values: Row = {"service": {"dist": dist, "mean_s": START_S if mean_s is None else mean_s}}
        content = studio_text.put(content, role, values)
        old = {"service": dist, "mean_s": values["service"]["mean_s"]}
        row = {**row, **old}
    for column, path in CELLS.items():
        value = row.get(column)
        if value == old.get(column):
            continue
        if value is None:
            content = studio_text.drop(content, (*role, *path))
        else:
            content = studio_text.put(content, (*role, *path), value)
    if row.get("service") in ("constant", "exponential") and (row.get("cv") is not None):
        content = studio_text.drop(content, (*role, "service", "cv"))  # these two have a spread of their own
    return content


def _mappings(values: Any) -> list[Mapping[str, Any]]:
    return [one for one in values if isinstance(one, dict)] if isinstance(values, list) else []
