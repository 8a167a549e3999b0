"""What every command says of a number out of bounds, and of a file that cannot be written."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from cli import numbers, targets
from lab.errors import Unavailable, UsageError
from tests.cli.conftest import Meshlab


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("7", 7),
        ("1", 1),
        ("10000", 10_000),
        ("0", "must be 1 to 10,000, found 0"),
        ("10001", "must be 1 to 10,000, found 10,001"),
        ("-3", "must be 1 to 10,000, found -3"),
        ("1e3", "must be a whole number, found '1e3'"),
        ("x", "must be a whole number, found 'x'"),
        ("", "must be a whole number, found ''"),
    ],
)
def test_whole_numbers(text: str, found: int | str) -> None:
    read = numbers.whole(1, 10_000)
    if isinstance(found, int):
        assert read(text) == found
    else:
        with pytest.raises(argparse.ArgumentTypeError, match=f"^{found}$"):
            read(text)


@pytest.mark.parametrize("text", ["nan", "inf", "4.9", "x"])
def test_seconds_are_within_their_bounds(text: str) -> None:
    assert numbers.seconds(5, 3_600)("5") == 5.0
    with pytest.raises(argparse.ArgumentTypeError, match="must be 5 to 3600 seconds, found"):
        numbers.seconds(5, 3_600)(text)


@pytest.mark.parametrize(
    "words",
    [
        ("sweep", "quick.yaml", "--latin"),
        ("sweep", "quick.yaml", "--replications"),
        ("plan", "quick.yaml", "--replications"),
        ("whatif", "quick.yaml", "--replications"),
        ("whatif", "quick.yaml", "--repeats"),
        ("twin", "--repeats"),
        ("run", "quick.yaml", "--replications"),
        ("app", "--port"),
    ],
)
def test_all_commands_say_so_alike(meshlab: Meshlab, words: tuple[str, ...]) -> None:
    answer = meshlab(*words, "many")
    assert answer.status == 2 and f"{words[-1]}: must be a whole number, found 'many'" in answer.err


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "endings", "why"),
    [
        ("a.txt", (".html",), "--out a.txt: the name must end in .html$"),
        ("a.txt", (".html", ".json"), "the name must end in .html or .json$"),
        ("a", (".html", ".json", ".csv"), "the name must end in .html, .json or .csv$"),
        ("folder", (), "--out folder: is a folder; name a file in it"),
        ("folder.json", (".json",), "is a folder"),
        ("no/a.json", (), "there is no folder no; make it first"),
        ("file/a.json", (), "there is no folder file"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(
    here: Path, given: str, endings: tuple[str, ...], why: str
) -> None:
    for name in ("folder", "folder.json"):
        (here / name).mkdir()
    (here / "file").touch()
    with pytest.raises(UsageError, match=why):
        targets.target("--out", given, endings)


def test_a_closed_folder_is_refused_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system is asked, and here says no: who runs the tests may be allowed everything."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UsageError, match="nothing can be written in"):
        targets.target("--out", "a.json")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(here: Path) -> None:
    path = here / "a.json"
    targets.write("--out", path, "old\n")
    said = pytest.raises(Unavailable, match=r"a\.json: cannot be written \(No space left.*give another file with --out")
    with said, targets.writing("--out", path) as scratch:
        scratch.write_text("half")
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old\n"
    assert sorted(one.name for one in here.iterdir()) == ["a.json", "quick.yaml"]
