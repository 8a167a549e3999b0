"""The notebooks as a reader has them: paired files, and run from top to bottom in a real kernel."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.ipynb"))
CELL_S_MAX = 120
SOURCE_LINES_MAX, ERROR_LINES_MAX = 12, 12
"""Of a failed cell, in the test's message: its last line is the one that matters."""
PLACES = (
    *("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"),
    *("MESHLAB_RUNS", "MESHLAB_PROFILES"),
)
"""What a kernel and the lab would otherwise look for, or leave, at the home of who runs the tests."""
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
PLOTLY = "application/vnd.plotly.v1+json"


def read(path: Path) -> nbformat.NotebookNode:
    """A notebook as it is on the disk."""
    return nbformat.read(path, as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Its code cells, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def execute(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs, run by this very Python in `notebooks/`, on embedded servers, and writing nothing
    outside of `tmp_path`. A cell that raises fails the test and is shown.
    """
    for name in ("REDIS_URL", "REDIS_ADDR", "DB_DSN"):
        monkeypatch.delenv(name, raising=False)
    for name in PLACES:
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = read(path)
    with tempfile.TemporaryDirectory(prefix="nb") as sockets:  # their names must be short
        # No folder of kernels: what remains is the kernel of this environment, whatever else is installed here.
        kernel = AsyncKernelManager(
            kernel_name=NATIVE_KERNEL_NAME,
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
            transport="ipc",
            ip=f"{sockets}/k",
        )
        resources = {"metadata": {"path": str(FOLDER)}}
        client = NotebookClient(notebook, km=kernel, timeout=CELL_S_MAX, resources=resources)
        try:
            client.execute(cleanup_kc=True)  # a kernel that was handed over would live on
        except CellExecutionError as error:
            failed = next(cell for cell in code_cells(notebook) if any(map(_is_error, cell.outputs)))
            pytest.fail(f"{path.name}: {_told(failed, error)}", pytrace=False)
    return notebook


def figures(notebook: nbformat.NotebookNode) -> list[dict[str, Any]]:
    """The Plotly figures that its cells showed."""
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return [output.data[PLOTLY] for output in outputs if PLOTLY in output.get("data", {})]


def runs_and_shows_what_it_found(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its asserts are the test of its claims; a figure must say what it shows, and its axes what they count."""
    shown = figures(execute(path, monkeypatch, tmp_path))
    assert shown, f"{path.name} shows no figure"
    for figure in shown:
        layout = figure["layout"]
        assert layout.get("title", {}).get("text"), f"{path.name}: a figure without a title"
        for name, axis in layout.items():
            if name.startswith(("xaxis", "yaxis")) and axis.get("visible", True) and "matches" not in axis:
                assert axis.get("title", {}).get("text"), f"{path.name}: {name} has no title"


def _is_error(output: nbformat.NotebookNode) -> bool:
    return bool(output.output_type == "error")


def _told(cell: nbformat.NotebookNode, error: CellExecutionError) -> str:
    source = "\n".join(cell.source.splitlines()[:SOURCE_LINES_MAX])
    trace = "\n".join(COLOURS.sub("", error.traceback).splitlines()[-ERROR_LINES_MAX:])
    return f"{error.ename}: {error.evalue}\n--- the cell\n{source}\n--- its end\n{trace}"
