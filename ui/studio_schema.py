"""The scenario's schema as forms and the editor need it: for each place the keys, what they mean, and what they may be.

Read off `lab.scenario.json_schema()`, so that nothing about a scenario is typed in twice. The editor gets the same
shapes as JSON (`/lab/scenario/outline`) for completion and for the help under the pointer.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from lab.scenario import json_schema

Kind = Literal["whole", "number", "text", "switch", "choice", "group", "list", "table", "other"]
ROOT = "Scenario"
UNITS = {"_per_s": "tasks/s", "_s": "s", "_mib": "MiB"}
"""Names end in their units; the rules say theirs in the schema as well."""


@dataclass(frozen=True)
class Field:
    """One key. `shapes`: what stands below it (of a list or table: below each entry); `by`: the key that says which."""

    name: str
    kind: Kind = "other"
    doc: str = ""
    unit: str = ""
    formula: str = ""
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    above: bool = False
    """Whether the value must be above `low`, and not only at least that."""
    default: Any = None
    required: bool = False
    optional: bool = False
    """Whether null is allowed: the rule is off then."""
    shapes: tuple[str, ...] = ()
    by: str = ""

    @property
    def help(self) -> str:
        """What it means and what it may be, in words."""
        known = self.default is not None and self.kind not in ("group", "list", "table")
        facts = [self.formula, self.allowed, f"default {self.default}" if known else ""]
        return "; ".join(filter(None, [self.doc.rstrip(".") if any(facts) else self.doc, *facts]))

    @property
    def allowed(self) -> str:
        """The bounds with the unit: `above 0, to 3,600 s`."""
        if self.low is None and self.high is None:
            return ""
        low = "" if self.low is None else f"{'above' if self.above else 'from'} {self.low:,g}"
        high = "" if self.high is None else f"to {self.high:,.15g}"
        return f"{' '.join(filter(None, (low, high)))} {self.unit}".strip()


@dataclass(frozen=True)
class Shape:
    """One kind of mapping: its name in the schema, what it is, its keys in order."""

    name: str
    doc: str
    fields: Mapping[str, Field]


@functools.cache
def shapes() -> Mapping[str, Shape]:
    """Every shape of the schema by name; the whole scenario is ROOT."""
    schema = json_schema()
    found = {name: _shape(name, one) for name, one in schema["$defs"].items() if "properties" in one}
    return {**found, ROOT: _shape(ROOT, schema)}


def field(shape: str, name: str) -> Field:
    """One key of a shape."""
    return shapes()[shape].fields[name]


def variants(of: Field) -> dict[str, Shape]:
    """The shapes that a field may lead to, by the value of the key that says which (`kind`, `dist`)."""
    members = [shapes()[name] for name in of.shapes]
    return {value: shape for shape in members for value in shape.fields[of.by].choices}


def outline() -> dict[str, Any]:
    """All shapes as plain data, for the editor."""
    return {
        name: {"doc": shape.doc, "fields": {key: _plain(one) for key, one in shape.fields.items()}}
        for name, shape in shapes().items()
    }


def _plain(one: Field) -> dict[str, Any]:
    return {**asdict(one), "allowed": one.allowed}


# ---- reading the schema ----------------------------------------------------------------------------------------------


def _shape(name: str, schema: Mapping[str, Any]) -> Shape:
    required = set(schema.get("required", ()))
    fields = {key: _field(key, one, key in required) for key, one in schema["properties"].items()}
    # What says which kind of thing it is stands first, as people write it.
    order = sorted(fields, key=lambda key: key not in ("kind", "dist"))
    return Shape(name, str(schema.get("description", "")), {key: fields[key] for key in order})


def _field(name: str, schema: Mapping[str, Any], required: bool) -> Field:
    inner, optional = _without_null(schema)
    return replace(
        _typed(name, inner),
        doc=str(schema.get("description", "") or inner.get("description", "")),
        unit=str(schema.get("unit") or next((unit for end, unit in UNITS.items() if name.endswith(end)), "")),
        formula=str(schema.get("formula", "")),
        default=schema.get("default"),
        required=required,
        optional=optional,
    )


def _without_null(schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    members = schema.get("anyOf", ())
    kept = [one for one in members if one.get("type") != "null"]
    return (kept[0] if len(kept) == 1 else schema), len(kept) < len(members)


def _typed(name: str, schema: Mapping[str, Any]) -> Field:
    """What may stand there. Anything that no form can show is "other": to be written as YAML."""
    if choices := _choices(schema):
        return Field(name, "choice", choices=choices)
    below, by = _below(schema)
    if below:
        return Field(name, "group", shapes=below, by=by)
    kind = schema.get("type")
    if kind == "array":
        below, by = _below(schema.get("items", {}))
        return Field(name, "list" if below else "other", shapes=below, by=by)
    if kind == "object":
        each: Any = schema.get("additionalProperties") or next(iter(schema.get("patternProperties", {}).values()), {})
        below, by = _below(each if isinstance(each, dict) else {})
        return Field(name, "table" if below else "other", shapes=below, by=by)
    plain: dict[Any, Kind] = {"integer": "whole", "number": "number", "string": "text", "boolean": "switch"}
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    return Field(
        name, plain.get(kind, "other"), low=low if above is None else above, high=high, above=above is not None
    )


def _choices(schema: Mapping[str, Any]) -> tuple[str, ...]:
    if "const" in schema:
        return (str(schema["const"]),)
    return tuple(map(str, schema.get("enum", ())))


def _below(schema: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """The names of the shapes that a schema refers to, and the key that says which."""
    members = [schema, *schema.get("oneOf", ()), *schema.get("allOf", ())]
    names = tuple(str(one["$ref"]).rsplit("/", 1)[-1] for one in members if "$ref" in one)
    return names, str(schema.get("discriminator", {}).get("propertyName", ""))
