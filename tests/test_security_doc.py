"""docs/SECURITY.md names the test of each promise: a test that is named there exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAMED = re.compile(r"`(tests/[\w./]+\.py)(?:::(\w+))?`")
TEXT = (ROOT / "docs" / "SECURITY.md").read_text("utf-8")


def missing(text: str) -> list[str]:
    """Files and tests that a text names and that are not there."""
    return [f"{path}::{test}" for path, test in NAMED.findall(text) if not exists(path, test)]


def exists(path: str, test: str) -> bool:
    """Whether there is such a file, and such a test in it."""
    if not (ROOT / path).is_file():
        return False
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return not test or any(isinstance(node, functions) and node.name == test for node in ast.walk(tree))


def test_every_test_that_it_names_exists() -> None:
    assert missing(TEXT) == []


def test_every_promise_names_a_test() -> None:
    """The paragraphs about who can try what, each with a list of tests below it."""
    section = TEXT.split("## What each of them can try")[1].split("\n## ")[0]
    promises = [part for part in section.split("\n\n") if part.startswith("**")]
    assert len(promises) >= 10
    assert [part[:60] for part in promises if not NAMED.search(part)] == []


@pytest.mark.parametrize("name", ["`tests/test_no_such_file.py`", "`tests/test_security_doc.py::test_no_such_test`"])
def test_the_search_can_fail(name: str) -> None:
    assert len(missing(name)) == 1
