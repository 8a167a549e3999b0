"""Bounded YAML with places: plain data out, and for each path the line and column where it stands.

`yaml.safe_load` alone is not enough for a file from a stranger: aliases can blow 300 bytes up to gigabytes, duplicate
keys win silently, depth is unbounded. Here aliases, anchors, tags, duplicate keys, over-size and over-depth are
refused, all at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from lab import limits
from lab.errors import Problem

Path = tuple[str | int, ...]


@dataclass
class YamlSource:
    """What a YAML text holds: `data`, the `places` (line, column from 1) of its paths, and the `problems` found."""

    data: Any = None
    places: dict[Path, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: Path) -> tuple[int, int]:
        """Where `path` stands, or its nearest ancestor if the path itself is not in the text; (0, 0) if unknown."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, (0, 0))


def read(text: str) -> YamlSource:
    """Parse `text`. Never raises for bad input: look at `problems` before using `data`."""
    source = YamlSource()
    if len(text.encode("utf-8", "surrogatepass")) > limits.SCENARIO_BYTES_MAX:
        source.problems.append(
            Problem("", f"larger than {limits.SCENARIO_BYTES_MAX // 1024} KiB; a scenario is a short file")
        )
        return source
    try:
        if not _events_are_plain(text, source):
            return source
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            source.problems.append(Problem("", "the file is empty; a scenario needs at least a workload", 1, 1))
        else:
            source.data = _build(node, (), source)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        source.problems.append(Problem("", f"YAML syntax: {error.problem or error.context}", line, column))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        source.problems.append(Problem("", f"the character {error.character!r} is not allowed in YAML", line, 1))
    return source


def _events_are_plain(text: str, source: YamlSource) -> bool:
    """Refuse anchors, aliases, tags, several documents and too deep nesting before anything is built. False:
    stop here.
    """
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        mark = event.start_mark
        assert mark is not None  # only events made by hand have none
        line, column = mark.line + 1, mark.column + 1

        def refuse(message: str, line: int = line, column: int = column) -> None:
            source.problems.append(Problem("", message, line, column))

        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if isinstance(event, yaml.AliasEvent):
            refuse(f"alias *{anchor} is not allowed; write the value out")
        elif anchor:
            refuse(f"anchor &{anchor} is not allowed; write the value out where it is used")
        if tag:
            refuse(f"tag {tag} is not allowed; a scenario holds plain values only")
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents == 2:
                refuse("a second document starts here; one file holds one scenario")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > limits.YAML_DEPTH_MAX:
            refuse(f"nested deeper than {limits.YAML_DEPTH_MAX} levels")
            return False
    return not source.problems


def _build(node: yaml.Node, path: Path, source: YamlSource) -> Any:
    """Plain Python data from a node tree, noting the place of every path."""
    source.places.setdefault(path, (node.start_mark.line + 1, node.start_mark.column + 1))
    if isinstance(node, yaml.MappingNode):
        return _build_mapping(node, path, source)
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*path, index), source) for index, item in enumerate(node.value)]
    return _scalar(node, path, source)


def _build_mapping(node: yaml.MappingNode, path: Path, source: YamlSource) -> dict[str | int, Any]:
    built: dict[str | int, Any] = {}
    for key_node, value_node in node.value:
        place = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
        key = _scalar(key_node, path, source) if isinstance(key_node, yaml.ScalarNode) else None
        if isinstance(key, bool) or not isinstance(key, str | int):
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else None
        if key is None:
            source.problems.append(Problem(dotted(path), "a key must be a word or a whole number", *place))
        elif key in built:
            source.problems.append(
                Problem(dotted((*path, key)), "this key stands here twice; keep one of them", *place)
            )
        else:
            source.places[(*path, key)] = place
            built[key] = _build(value_node, (*path, key), source)
    return built


def _scalar(node: yaml.Node, path: Path, source: YamlSource) -> Any:
    """A scalar's value by YAML's own rules; dates stay text, since no scenario value is a date."""
    try:
        if node.tag in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value", "tag:yaml.org,2002:merge"):
            return node.value
        value = yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, OverflowError) as error:
        mark = node.start_mark
        source.problems.append(
            Problem(dotted(path), f"cannot read {node.value!r}: {error}", mark.line + 1, mark.column + 1)
        )
        return None
    return _exponent_float(value) if getattr(node, "style", None) is None else value  # what stands in quotes is text


def _exponent_float(value: Any) -> Any:
    """YAML 1.1 reads `1e3` as text, which surprises everybody: read it as the number that it plainly is."""
    if isinstance(value, str) and "e" in value.lower() and value[:1].isdigit():
        try:
            return float(value)
        except ValueError:
            return value
    return value


def dotted(path: Path) -> str:
    """`('faults', 0, 'at_s')` as `faults[0].at_s`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) and text else f".{part}" if text else str(part)
    return text
