"""Change one value of a YAML text and leave the rest of it as its author wrote it: comments, order, spaces.

The text is parsed only to learn where things stand; what changes is cut out and written in between. Each change is
proved by reading the new text: it must hold exactly the data that was meant. Should it not (a layout nobody thought
of), the whole is written anew, which loses comments and nothing else.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import yaml

from lab import yaml_source
from lab.errors import UsageError
from lab.yaml_source import Path

LINE_CHARS_MAX = 120
INDENT = 2


def put(text: str, path: Path, value: Any) -> str:
    """The text with `value` at `path`; mappings on the way that are not there are made. Raises UsageError."""
    return _proved(text, lambda root: _put(text, root, path, value), lambda data: _put_data(data, path, value))


def drop(text: str, path: Path) -> str:
    """The text without `path`, and without the mappings or lists that this leaves empty."""
    return _proved(text, lambda root: _drop(text, root, path), lambda data: _drop_data(data, path))


def rename(text: str, path: Path, name: str) -> str:
    """The text with the key at `path` called `name`. Raises UsageError if its neighbour is called that already."""
    if name in (_look(read(text), path[:-1]) or {}):
        raise UsageError(f"there is a {name!r} already; choose another name")

    def renamed(root: yaml.Node) -> str:
        parent = _at(root, path[:-1])
        key, _ = next(pair for pair in parent.value if _name(pair[0]) == path[-1])
        return _spliced(text, key.start_mark.index, key.end_mark.index, _written(name))

    return _proved(text, renamed, lambda data: _renamed_data(data, path, name))


def append(text: str, path: Path, value: Any) -> str:
    """The text with `value` at the end of the list at `path`, which is made if it is not there."""
    here = _look(read(text), path)
    if not isinstance(here, list) or not here:
        return put(text, path, [value])
    return _proved(
        text, lambda root: _append(text, _at(root, path), value), lambda data: _append_data(data, path, value)
    )


def read(text: str) -> dict[str, Any]:
    """The plain data of a text. Raises UsageError if it is no mapping in plain YAML."""
    found = yaml_source.read(text)
    if found.problems or not isinstance(found.data, dict):
        first = found.problems[0].located("scenario") if found.problems else "a scenario is a mapping"
        raise UsageError(f"the text cannot be changed by a form until it is readable: {first}")
    return found.data


def _proved(text: str, edit: Callable[[yaml.Node], str], mean: Callable[[Any], None]) -> str:
    meant = copy.deepcopy(read(text))
    mean(meant)
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert root is not None  # `read` refuses an empty text
    new = edit(root)
    found = yaml_source.read(new)
    if found.problems or found.data != meant:
        return yaml.safe_dump(meant, sort_keys=False, allow_unicode=True, width=LINE_CHARS_MAX)
    return new


# ---- where things stand ----------------------------------------------------------------------------------------------


def _name(node: yaml.Node) -> str | int:
    """A key as `lab.yaml_source` reads it: a word or a whole number."""
    value = yaml.constructor.SafeConstructor().construct_object(node)
    return value if isinstance(value, str | int) and not isinstance(value, bool) else str(node.value)


def _child(node: yaml.Node, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if _name(key) == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        child: yaml.Node = node.value[part]
        return child
    return None


def _at(root: yaml.Node, path: Path) -> yaml.Node:
    node: yaml.Node | None = root
    for part in path:
        node = _child(node, part) if node is not None else None
    if node is None:
        raise UsageError(f"there is no {yaml_source.dotted(path)} in the scenario any more; look at it again")
    return node


def _end(text: str, node: yaml.Node) -> int:
    """Where a node's own text ends: PyYAML lets block collections end at whatever comes next."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        if not node.value:
            return node.start_mark.index
        last = node.value[-1]
        return _end(text, last[1] if isinstance(last, tuple) else last)
    end = node.end_mark.index
    return node.start_mark.index + len(text[node.start_mark.index : end].rstrip())


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def _spliced(text: str, start: int, end: int, new: str) -> str:
    return text[:start] + new + text[end:]


# ---- writing ---------------------------------------------------------------------------------------------------------


def _written(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    shown = yaml.safe_dump(_tidy(value), default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**9)
    return shown.removesuffix("\n").removesuffix("\n...").rstrip()


def _tidy(value: Any) -> Any:
    """Whole numbers without their decimal point, as people write them."""
    if isinstance(value, dict):
        return {key: _tidy(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_tidy(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _entry(key: str | int, value: Any, indent: int) -> str:
    """`key: value`; what is too long for a line goes below, a line each."""
    line = f"{_written(key)}: {_written(value)}"
    below = indent + INDENT
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        items = [" " * below + "- " + _written(one) for one in value]
        return "\n".join([f"{_written(key)}:", *items])
    if isinstance(value, dict) and value and indent + len(line) > LINE_CHARS_MAX:
        entries = [" " * below + _entry(name, one, below) for name, one in value.items()]
        return "\n".join([f"{_written(key)}:", *entries])
    return line


def _put(text: str, root: yaml.Node, path: Path, value: Any) -> str:
    node, indent = root, 0
    for depth, part in enumerate(path):
        child = _child(node, part)
        if child is None:
            return _inserted(text, node, part, _nested(path[depth + 1 :], value))
        if isinstance(node, yaml.MappingNode) and not node.flow_style:
            indent = node.start_mark.column
        if depth < len(path) - 1 and not isinstance(child, yaml.CollectionNode):
            return _replaced(text, node, child, part, indent, _nested(path[depth + 1 :], value))
        if depth == len(path) - 1:
            return _replaced(text, node, child, part, indent, value)
        node = child
    raise UsageError("the whole scenario cannot be put as one value")


def _nested(path: Path, value: Any) -> Any:
    for part in reversed(path):
        value = {part: value}
    return value


def _replaced(text: str, parent: yaml.Node, node: yaml.Node, part: str | int, indent: int, value: Any) -> str:
    """Another value for a node, written in the manner of its surroundings."""
    start, end = node.start_mark.index, _end(text, node)
    if isinstance(parent, yaml.MappingNode) and not parent.flow_style:
        key = next(key for key, _ in parent.value if _name(key) == part)
        # From behind `key:` on, so that a block that stood below may become a line, and the other way round.
        start, end = key.start_mark.index, max(end, _colon(text, key.end_mark.index))
        if isinstance(node, yaml.ScalarNode) and not isinstance(value, dict | list) and node.style not in ("|", ">"):
            start = node.start_mark.index if text[node.start_mark.index - 1 : node.start_mark.index] == " " else start
            if start == node.start_mark.index and node.value != "":
                return _spliced(text, start, end, _written(value))
        return _spliced(text, key.start_mark.index, end, _entry(part, value, indent))
    if start > 0 and text[start - 1] == ":":
        return _spliced(text, start, end, f" {_written(value)}")
    return _spliced(text, start, end, _written(value))


def _colon(text: str, at: int) -> int:
    return text.index(":", at) + 1


def _inserted(text: str, node: yaml.Node, key: str | int, value: Any) -> str:
    """A new key at the end of a mapping."""
    if not isinstance(node, yaml.MappingNode):
        raise UsageError(f"there is no place for {key!r} here; write it as YAML")
    if node.flow_style:
        return _into_flow(text, node, f"{_written(key)}: {_written(value)}")
    indent = node.start_mark.column
    end = _line_end(text, _end(text, node))
    return _spliced(text, end, end, "\n" + " " * indent + _entry(key, value, indent))


def _append(text: str, node: yaml.Node, value: Any) -> str:
    if isinstance(node, yaml.CollectionNode) and node.flow_style:
        return _into_flow(text, node, _written(value))
    end = _line_end(text, _end(text, node))
    return _spliced(text, end, end, "\n" + " " * node.start_mark.column + "- " + _written(value))


def _into_flow(text: str, node: yaml.Node, entry: str) -> str:
    if not node.value:
        return _spliced(text, node.start_mark.index + 1, node.end_mark.index - 1, entry)
    last = node.value[-1]
    end = _end(text, last[1] if isinstance(last, tuple) else last)
    return _spliced(text, end, end, f", {entry}")


def _drop(text: str, root: yaml.Node, path: Path) -> str:
    parent = _at(root, path[:-1])
    assert isinstance(parent, yaml.CollectionNode)  # it has a child
    entries = [(one[0], one[1]) if isinstance(one, tuple) else (one, one) for one in parent.value]
    named = isinstance(parent, yaml.MappingNode)
    names: list[str | int] = [_name(key) if named else index for index, (key, _) in enumerate(entries)]
    if path[-1] not in names:
        raise UsageError(f"there is no {yaml_source.dotted(path)} in the scenario any more; look at it again")
    if len(entries) == 1 and len(path) > 1:
        return _drop(text, root, path[:-1])
    index = names.index(path[-1])
    first, last = entries[index]
    start, end = first.start_mark.index, _end(text, last)
    if parent.flow_style or text[_line_start(text, start) : start].strip(" -"):
        return _dropped_from_flow(text, entries, index)
    if isinstance(parent, yaml.MappingNode) and "-" in text[_line_start(text, start) : start]:
        return _spliced(text, start, entries[index + 1][0].start_mark.index, "")  # the next key takes its place
    return _spliced(text, _line_start(text, start), min(_line_end(text, end) + 1, len(text)), "")


def _dropped_from_flow(text: str, entries: list[tuple[Any, Any]], index: int) -> str:
    if index + 1 < len(entries):
        return _spliced(text, entries[index][0].start_mark.index, entries[index + 1][0].start_mark.index, "")
    start = _end(text, entries[index - 1][1]) if index else entries[0][0].start_mark.index
    return _spliced(text, start, _end(text, entries[index][1]), "")


# ---- the same on plain data ------------------------------------------------------------------------------------------


def _look(data: Any, path: Path) -> Any:
    for part in path:
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return None
    return data


def _put_data(data: Any, path: Path, value: Any) -> None:
    for part, after in pairwise(path):
        here: Any = data
        below = here.get(part) if isinstance(here, dict) else here[part]
        if not isinstance(below, dict | list) or (isinstance(below, list) and not isinstance(after, int)):
            below = here[part] = {}
        data = below
    data[path[-1]] = yaml_source.read(f"x: {_written(value)}\n").data["x"]


def _append_data(data: Any, path: Path, value: Any) -> None:
    _look(data, path).append(yaml_source.read(f"x: {_written(value)}\n").data["x"])


def _drop_data(data: Any, path: Path) -> None:
    parent = _look(data, path[:-1])
    if len(parent) == 1 and len(path) > 1:
        _drop_data(data, path[:-1])
    else:
        del parent[path[-1]]


def _renamed_data(data: Any, path: Path, name: str) -> None:
    parent = _look(data, path[:-1])
    entries = [(name if key == path[-1] else key, value) for key, value in parent.items()]
    parent.clear()
    parent.update(entries)
