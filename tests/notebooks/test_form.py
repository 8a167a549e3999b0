"""What every notebook is like, without running it: a pair in step, no outputs, a question and its answer first."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import jupytext
import pytest

from tests.notebooks.executed import FOLDER, NOTEBOOKS, code_cells, read

CODE_CELLS_MAX = 12
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_notebooks_are_numbered_from_1_and_each_has_its_script() -> None:
    assert NOTEBOOKS
    assert [path.stem[:3] for path in NOTEBOOKS] == [f"{number:02}_" for number in range(1, len(NOTEBOOKS) + 1)]
    assert [path.stem for path in NOTEBOOKS] == sorted(path.stem for path in FOLDER.glob("[0-9]*.py"))


@each
def test_the_pair_is_in_step(path: Path) -> None:
    script = jupytext.read(path.with_suffix(".py"), config=jupytext.config.load_jupytext_config(str(path)))
    cells = [_content(cell) for notebook in (script, read(path)) for cell in notebook.cells]
    half = len(script.cells)
    assert cells[:half] == cells[half:], f"run `jupytext --sync notebooks/{path.name}`"


@each
def test_it_keeps_nothing_of_a_run(path: Path) -> None:
    notebook = read(path)
    kept = [cell.source for cell in code_cells(notebook) if cell.outputs or cell.execution_count is not None]
    assert not kept, f"outputs go stale: run `jupytext --to ipynb notebooks/{path.stem}.py`"
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) <= {"kernelspec", "jupytext"}, "the editor that wrote it left its traces"


@each
def test_a_question_opens_it_and_is_answered_at_once(path: Path) -> None:
    first = read(path).cells[0]
    heading, _, answer = first.source.partition("\n")
    assert first.cell_type == "markdown"
    assert heading.startswith("# ") and heading.endswith("?")
    assert answer.strip(), "the first paragraph answers the question"


@each
def test_few_cells_one_of_parameters_claims_asserted_and_something_to_try(path: Path) -> None:
    notebook = read(path)
    code = code_cells(notebook)
    assert len(code) <= CODE_CELLS_MAX
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1
    assert any(line.startswith("assert ") for cell in code for line in cell.source.splitlines())
    assert "Change one number" in "".join(cell.source for cell in notebook.cells[-2:])


def test_the_list_of_notebooks_names_each_in_order() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    places = [readme.index(f"]({path.name})") for path in NOTEBOOKS]
    assert all(first < second for first, second in pairwise(places))


def _content(cell: Any) -> tuple[str, str, Any]:
    return cell.cell_type, cell.source, cell.metadata.get("tags", [])
