"""`meshlab fit`: from a file to a scenario that runs, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Meshlab

DATA = Path(__file__).parents[1] / "data" / "observed"
HEAD = "created_at,started_at,finished_at,queue\n"


@pytest.fixture
def records(here: Path) -> Path:
    """Sixty tasks of 0.5 to 0.8 s, one every half second, two at a time."""
    lines = [f"{n / 2},{n / 2},{n / 2 + 0.5 + n / 200},mail" for n in range(60)]
    path = here / "queue.csv"
    path.write_text(HEAD + "\n".join(lines) + "\n")
    return path


def test_a_table_becomes_a_scenario_that_runs(meshlab: Meshlab, records: Path, here: Path) -> None:
    said = meshlab("fit", str(records), "--quiet")
    assert said.status == 0, said.err
    for words in ("arrivals: 2.00/s", "service of mail:", "mesh: at most 2 attempts ran at a time", "try: meshlab run"):
        assert words in said.out
    ran = meshlab("run", str(here / "fitted-queue" / "scenario.yaml"), "--json", "--quiet")
    assert (ran.status, ran.json["tasks"]["completed"]) == (0, 60)


def test_json_is_one_object_and_the_figure_a_page(meshlab: Meshlab, records: Path, here: Path) -> None:
    words = ("--json", "--out", "mine.yaml", "--figure", "fit.html", "--slots", "5", "--quiet", "--no-replay")
    said = meshlab("fit", str(records), *words)
    assert said.status == 0, said.err
    found = said.json
    assert (found["scenario"], found["tasks"], found["format"]) == ("mine.yaml", 60, "table")
    assert {"arrivals", "service", "mesh", "retries", "replay"} <= found.keys()
    assert "slots: 5" in (here / "mine.yaml").read_text()
    assert "as told by whoever fitted it" in (here / "mine.yaml").read_text()
    assert "plotly" in (here / "fit.html").read_text()[:5_000_000].lower()


def test_celery_events_are_detected(meshlab: Meshlab) -> None:
    said = meshlab("fit", str(DATA / "celery.jsonl"), "--no-replay", "--json", "--status", "status.json")
    assert said.status == 0, said.err
    assert (said.json["format"], said.json["replay"]) == ("celery", None)
    assert said.json["retries"]["seen_s"] == {"1": pytest.approx(2.0, abs=1e-4)}
    assert json.loads(Path("status.json").read_text())["state"] == "done"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("fit",), "name a file with the records of a queue, or give --mesh"),
        (("fit", "none.csv"), "there is no such file"),
        (("fit", "bad.csv"), "bad.csv:2: start: lies 4.000 s before the enqueue"),
        (("fit", "bad.csv", "--columns", "enqueue"), "write OURS=THEIRS"),
        (("fit", "bad.csv", "--mesh"), "--mesh reads the standing mesh"),
        (("fit", "bad.csv", "--format", "celery"), "bad.csv:1: is no event"),
        (("fit", "queue.csv", "--slots", "0"), "slots"),
    ],
)
def test_what_cannot_be_fitted_is_said_in_words(
    meshlab: Meshlab, records: Path, here: Path, words: tuple[str, ...], reason: str
) -> None:
    (here / "bad.csv").write_text("enqueue,start,finish\n5,1,2\n")
    said = meshlab(*words)
    assert said.status == 2
    assert reason in said.err
    assert "Traceback" not in said.err
