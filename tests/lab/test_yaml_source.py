"""Bounded YAML: what is refused, where it stands, and that nothing else ever comes out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import limits, yaml_source


def problems(text: str) -> list[tuple[int, str]]:
    return [(problem.line, problem.message) for problem in yaml_source.read(text).problems]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: &x 1\nb: 2\n", 1, "anchor &x is not allowed"),
        ("a: 1\nb: *x\n", 2, "alias *x is not allowed"),
        ("a: 1\nb: !!python/object:os.system {}\n", 2, "tag tag:yaml.org,2002:python/object:os.system is not allowed"),
        ("a: !!str 1\n", 1, "tag tag:yaml.org,2002:str is not allowed"),
        ("a: !mine 1\n", 1, "tag !mine is not allowed"),
        ("a: 1\nb: 2\na: 3\n", 3, "stands here twice"),
        ("a:\n  b: 1\n  b: 2\n", 3, "stands here twice"),
        ("a: 1\n---\nb: 2\n", 2, "a second document"),
        ("a: [1, 2\n", 2, "YAML syntax"),
        ("a:\n\t- b\n", 2, "YAML syntax"),
        ("a: b: c\n", 1, "YAML syntax"),
        ("a: 'open\n", 2, "YAML syntax"),
        ("a: 1\nb: \x01\n", 2, "is not allowed in YAML"),
        ("", 1, "empty"),
        ("# only a comment\n", 1, "empty"),
        ("? [1, 2]\n: 3\n", 1, "a key must be a word"),
        ("? {a: 1}\n: 3\n", 1, "a key must be a word"),
        ("a: 0b_\n", 1, "cannot read '0b_'"),
        ("a: " + "9" * 5_000 + "\n", 1, "cannot read"),
        ("a: " + "[" * 40 + "]" * 40 + "\n", 1, "nested deeper than 32 levels"),
        ("a: " + "{a: " * 40 + "1" + "}" * 40 + "\n", 1, "nested deeper than 32 levels"),
        ("a: '" + "x" * limits.SCENARIO_BYTES_MAX + "'\n", 0, "larger than 256 KiB"),
    ],
)
def test_what_a_scenario_may_not_hold_is_refused_where_it_stands(text: str, line: int, message: str) -> None:
    found = problems(text)
    assert any(at == line and message in said for at, said in found), found


def test_several_problems_are_told_at_once() -> None:
    found = problems("a: &x 1\nb: *x\nc: !t 2\n")
    assert [line for line, _ in found] == [1, 2, 3]


def test_an_alias_bomb_is_refused_before_it_is_built() -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    assert yaml_source.read(bomb).data is None


@pytest.mark.parametrize(("depth", "refused"), [(32, False), (33, True)])
def test_depth_is_allowed_up_to_its_bound(depth: int, refused: bool) -> None:
    assert bool(problems("[" * depth + "]" * depth)) is refused


def test_size_is_allowed_up_to_its_bound() -> None:
    frame = len("a: ''")
    assert problems("a: '" + "x" * (limits.SCENARIO_BYTES_MAX - frame) + "'") == []
    assert problems("a: '" + "x" * (limits.SCENARIO_BYTES_MAX - frame + 1) + "'") != []
    # Bytes count, not letters: ä is two.
    assert problems("a: '" + "ä" * (limits.SCENARIO_BYTES_MAX // 2) + "'") != []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1e3", 1000.0),  # YAML 1.1 would make text of it
        ("a: 1.5E-3", 0.0015),
        ("a: '1e3'", "1e3"),  # in quotes it is text
        ('a: "1e3"', "1e3"),
        ("a: 3e", "3e"),
        ("a: 12:30", 750),  # YAML 1.1's sixties: 12 · 60 + 30
        ("a: 2020-01-01", "2020-01-01"),  # no scenario value is a date
        ("a: 2020-99-99", "2020-99-99"),
        ("a: ~", None),
        ("a: yes", True),
        ("a: 0x10", 16),
        ("a: .inf", float("inf")),
    ],
)
def test_scalars_are_read_as_people_mean_them(text: str, value: Any) -> None:
    assert yaml_source.read(text).data == {"a": value}


def test_every_path_knows_its_place() -> None:
    source = yaml_source.read("a:\n  - b: 1\n    c: 2\n  - 3\n")
    assert source.place(("a", 0, "c")) == (3, 5)
    assert source.place(("a", 1)) == (4, 5)
    assert source.place(("a", 0, "missing", "deeper")) == source.place(("a", 0))  # the nearest ancestor


@pytest.mark.parametrize(
    ("path", "text"), [((), ""), (("a", "b"), "a.b"), (("faults", 0, "at_s"), "faults[0].at_s"), ((1, "a"), "1.a")]
)
def test_paths_are_told_with_dots(path: yaml_source.Path, text: str) -> None:
    assert yaml_source.dotted(path) == text


YAMLISH = st.text(alphabet="ab1: -\n\t[]{},&*!'\"#|>?%@`~.\\=<\u00e9\ud800\x00", max_size=60)


@given(text=st.text() | YAMLISH)
def test_no_text_raises(text: str) -> None:
    source = yaml_source.read(text)
    assert source.problems or source.data is not None or text.strip()


@given(
    data=st.recursive(
        st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e6, 1e6),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), inner)
        ),
        max_leaves=20,
    )
)
def test_plain_data_survives_the_way_through_yaml(data: Any) -> None:
    import yaml

    found = yaml_source.read(yaml.safe_dump({"top": data}))
    assert found.problems == []
    assert found.data == {"top": data}
