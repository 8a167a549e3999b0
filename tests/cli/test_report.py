"""`meshlab report`: the runs that were named, in one file, or a word on why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Meshlab


@pytest.fixture
def run_id(meshlab: Meshlab) -> str:
    return str(meshlab("run", "quick.yaml", "--json").json["run_id"])


def test_one_file_and_where_it_is(meshlab: Meshlab, run_id: str, here: Path) -> None:
    answer = meshlab("report", run_id, "--title", "For <review>")
    assert (answer.status, answer.out) == (0, "")
    assert "written to report.html" in answer.err
    page = (here / "report.html").read_text()
    assert "<h1>For &lt;review&gt;</h1>" in page and run_id in page
    told = meshlab("report", str(here / "runs" / run_id), run_id, "--out", "b.html", "--json").json
    assert told == {"report": "b.html", "runs": [run_id], "bytes": (here / "b.html").stat().st_size}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "nothing"),
        (["nothing", "--out", "x.pdf"], "--out x.pdf: the name must end in .html"),
        (["nothing", "--out", "no/x.html"], "there is no folder no; make it first"),
        ([], "RUN"),
    ],
)
def test_what_cannot_be_reported(meshlab: Meshlab, words: list[str], message: str) -> None:
    answer = meshlab("report", *words)
    assert answer.status == 2 and message in answer.err and "Traceback" not in answer.err
