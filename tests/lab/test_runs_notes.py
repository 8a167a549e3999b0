"""Tags, notes and stars of runs; and the index that finds all runs at a glance."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import run_index, run_notes, runs
from lab.errors import UsageError
from lab.limits import NOTE_CHARS_MAX, NOTES_BYTES_MAX, TAG_CHARS_MAX, TAGS_MAX
from lab.record import Record
from lab.run_index import Index
from lab.run_notes import NONE, Notes

DONE = [(0.0, "submitted"), (0.0, "claimed"), (1.0, "succeeded")]
LATER = [(0.0, "submitted"), (1.0, "claimed"), (2.0, "succeeded")]


MADE: list[Path] = []
"""The record that was made once for all tests here."""


@pytest.fixture
def folder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, make: Callable[..., Record]) -> Path:
    if not MADE:
        MADE.append(make(DONE, DONE, LATER, run_id="20260101-x").save(tmp_path_factory.mktemp("a") / "20260101-x"))
    return Path(shutil.copytree(MADE[0], tmp_path / "runs" / "20260101-x"))


# ---- notes -----------------------------------------------------------------------------------------------------------


def test_notes_are_kept_beside_the_record_and_go_with_it(folder: Path) -> None:
    before = (folder / "run.json").read_bytes()
    notes = run_notes.checked(["paper", " Slow  disk ", "PAPER", ""], "  why? \n", True)
    assert notes == Notes(("paper", "Slow disk"), "why?", True)
    run_notes.write(folder, notes)
    assert run_notes.read(folder) == notes
    assert (folder / "run.json").read_bytes() == before
    runs.remove(runs.find(folder.parent, "20260101-x"))
    assert not folder.exists()


def test_empty_notes_leave_no_file(folder: Path) -> None:
    run_notes.write(folder, Notes(("a",)))
    run_notes.write(folder, NONE)
    assert not (folder / run_notes.FILE).exists()
    assert run_notes.read(folder) == NONE


@pytest.mark.parametrize(
    ("tags", "note"),
    [(["x" * (TAG_CHARS_MAX + 1)], ""), ([str(n) for n in range(TAGS_MAX + 1)], ""), ([], "x" * (NOTE_CHARS_MAX + 1))],
)
def test_notes_are_bounded(tags: list[str], note: str) -> None:
    with pytest.raises(UsageError, match="at most"):
        run_notes.checked(tags, note, False)
    assert run_notes.checked(tags[:TAGS_MAX] if len(tags) > 1 else [], note[:NOTE_CHARS_MAX], False)


def test_a_tag_cannot_steer_a_terminal() -> None:
    assert run_notes.checked(["\x1b[31mred\x07"], "", False).tags == ("[31mred",)


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'{"tags": 3}', b'{"note": []}', b"\xff", b"[" * 100_000, b" " * (NOTES_BYTES_MAX + 1)]
)
def test_damaged_notes_are_no_notes(folder: Path, content: bytes) -> None:
    (folder / run_notes.FILE).write_bytes(content)
    assert run_notes.read(folder) == NONE
    with pytest.raises(UsageError):
        run_notes.parse(content)


def test_a_note_needs_a_record(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no record any more"):
        run_notes.write(tmp_path, Notes(("a",)))


# ---- the index -------------------------------------------------------------------------------------------------------


def test_a_line_says_what_a_list_needs(folder: Path) -> None:
    run_notes.write(folder, Notes(("a",), "n", True))
    [line] = Index(folder.parent).lines()
    assert (line.id, line.engine, line.scenario, line.tasks, line.dead) == ("20260101-x", "sim", "by-hand", 3, 0)
    assert (line.p95_s, line.verdict, line.notes) == (pytest.approx(1.9), "ok", Notes(("a",), "n", True))
    assert line.size_bytes == sum(path.stat().st_size for path in folder.iterdir())


def test_only_what_was_written_since_is_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index(folder.parent)
    index.lines()
    read: list[Path] = []
    real = run_index._line
    monkeypatch.setattr(run_index, "_line", lambda path, ns: read.append(path) or real(path, ns))
    index.lines()
    assert read == []
    run_notes.write(folder, Notes(favourite=True))
    assert index.lines()[0].notes.favourite
    info = json.loads((folder / "run.json").read_text()) | {"interrupted": True}
    (folder / "run.json").write_text(json.dumps(info))
    os.utime(folder / "run.json", ns=(1, 1))  # another moment, whatever the clock's grain
    assert index.lines()[0].verdict == "interrupted"
    assert read == [folder, folder]
    runs.remove(runs.find(folder.parent, "20260101-x"))
    assert index.lines() == []


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"run_id": 3}', "\x00"])
def test_folders_without_a_readable_record_are_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "run.json").write_text(content)
    (tmp_path / ".hidden").mkdir()
    assert Index(tmp_path).lines() == []
    assert Index(tmp_path / "nowhere").lines() == []


def test_a_record_of_strange_values_is_a_line_without_them(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    strange = {"run_id": "a", "summary": {"tasks": [], "latency_s": {"p95": "x"}}, "checks": [], "seed": "s"}
    (tmp_path / "a" / "run.json").write_text(json.dumps(strange))
    [line] = Index(tmp_path).lines()
    assert (line.tasks, line.p95_s, line.seed, line.verdict, line.scenario) == (None, None, None, "unjudged", "a")


def test_the_curve_counts_completions(folder: Path) -> None:
    # Two end at 1 s, one at 2 s; four stretches of 0.5 s each: [1, 1.5) is the third, and the end belongs to the last.
    assert run_index.curve(folder, 4) == (0, 0, 2, 1)
    (folder / "tasks.parquet").write_bytes(b"no")
    assert run_index.curve(folder) == ()
