"""pydantic's errors as problems that a person can act on: line, path, what was found, what is allowed."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator
from typing import Any, Union

from pydantic import BaseModel, ValidationError

from lab.errors import Problem
from lab.yaml_source import Path, YamlSource, dotted

FOUND_CHARS_MAX = 60


def located(error: ValidationError, model: type[BaseModel], data: Any, source: YamlSource) -> list[Problem]:
    """Each error of `error`, told by the place in `source` that its path leads to."""
    problems: dict[tuple[str, str], Problem] = {}
    for entry in error.errors(include_url=False):
        if _speaks_of_the_other_shape(entry):
            continue
        loc = tuple(part for part in entry["loc"] if part != "[key]")
        path = _in_data(loc, data, named=entry["type"] in ("missing", "extra_forbidden"))
        problem = Problem(dotted(path), _message(entry, loc, model), *source.place(path))
        problems.setdefault((problem.path, problem.message), problem)
    return list(problems.values())


def _speaks_of_the_other_shape(entry: Any) -> bool:
    """Where a number or a mapping may stand, the complaint of the one about the other helps nobody."""
    return (
        entry["type"] == "int_type" and isinstance(entry["input"], dict) and entry["loc"][-1] == "constrained-int"
    ) or (entry["type"] == "dict_type" and type(entry["input"]) is int and "dict" in str(entry["loc"][-1]))


def _message(entry: Any, loc: Path, model: type[BaseModel]) -> str:
    kind, found = entry["type"], entry["input"]
    allowed = sorted(_keys_at(loc[:-1], model))
    if kind == "extra_forbidden":
        close = difflib.get_close_matches(str(loc[-1]), allowed, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"allowed here: {', '.join(allowed)}"
        return f"unknown key {str(loc[-1])!r}; {hint}"
    if kind == "missing":
        return f"{loc[-1]!r} is missing"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"must be a mapping (found {_shown(found)})"
    if kind == "union_tag_not_found":
        return f"{entry['ctx']['discriminator']} is missing"
    if kind == "union_tag_invalid":
        context = entry["ctx"]
        allowed_tags = context["expected_tags"].replace("'", "")
        return f"unknown {context['discriminator']} {context['tag']!r}; allowed: {allowed_tags}"
    message = str(entry["msg"]).removeprefix("Value error, ")
    if message.startswith("Input should be"):
        return f"must be{message.removeprefix('Input should be')} (found {_shown(found)})"
    return f"{message} (found {_shown(found)})" if kind != "value_error" else message


def _shown(found: Any) -> str:
    text = repr(found)
    return text if len(text) <= FOUND_CHARS_MAX else text[: FOUND_CHARS_MAX - 1] + "…"


def _in_data(loc: Path, data: Any, *, named: bool) -> Path:
    """The error's path as it stands in the data: pydantic puts the tags of unions and the names of types in between.

    `named`: the last part is the name of a key, whether it is in the data or not.
    """
    path: list[str | int] = []
    for index, part in enumerate(loc):
        is_key = isinstance(data, dict) and part in data
        is_item = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if is_key or is_item:
            path.append(part)
            data = data[part]
        elif named and index == len(loc) - 1 and isinstance(data, dict):
            path.append(part)
    return tuple(path)


def _keys_at(loc: Path, model: type[BaseModel]) -> set[str]:
    """The keys that the schema allows at a path."""
    here: list[Any] = [model]
    for part in loc:
        here = [step for annotation in here for step in _into(annotation, part)]
    return {key for annotation in here for kind in _members(annotation) for key in _fields(kind)}


def _into(annotation: Any, part: str | int) -> Iterator[Any]:
    """The types that a step into `part` may lead to; the tag of a union leads to the member that carries it."""
    for member in _members(annotation):
        fields = _fields(member)
        if part in fields:
            yield fields[str(part)].annotation
        elif typing.get_origin(member) is dict:
            yield typing.get_args(member)[1]
        elif typing.get_origin(member) is list:
            yield typing.get_args(member)[0]
        elif any(part in typing.get_args(field.annotation) for field in fields.values()):
            yield member


def _members(annotation: Any) -> Iterator[Any]:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _members(typing.get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _members(member)
    else:
        yield annotation


def _fields(kind: Any) -> dict[str, Any]:
    return dict(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else {}
