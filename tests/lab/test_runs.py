"""The library of records: listing, finding, removing, exporting."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lab import runs
from lab.errors import UsageError
from lab.record import TABLES, Record

DONE = [(0.0, "submitted"), (0.0, "claimed"), (1.0, "succeeded")]


MADE: list[Record] = []
"""The record that was made once for all tests here."""


@pytest.fixture
def root(tmp_path: Path, make: Callable[..., Record]) -> Path:
    if not MADE:
        MADE.append(make(DONE))
    for number in (1, 2, 3):
        started_at = f"2026-01-0{number}T00:00:00.000+00:00"
        info = MADE[0].info | {"run_id": f"2026010{number}-x", "started_at": started_at}
        replace(MADE[0], info=info).save(tmp_path / "runs" / f"2026010{number}-x")
    (tmp_path / "runs" / "notes").mkdir()
    (tmp_path / "runs" / "damaged").mkdir()
    (tmp_path / "runs" / "damaged" / "run.json").write_text("{")
    return tmp_path / "runs"


def test_the_tables_are_those_of_the_record() -> None:
    assert runs.TABLE_NAMES == TABLES


def test_records_are_listed_newest_first_and_other_folders_passed_over(root: Path) -> None:
    found = runs.all_runs(root)
    assert [run.id for run in found] == ["20260103-x", "20260102-x", "20260101-x"]
    assert (found[0].checks_ok, found[0].figure("latency_s.p50"), found[0].figure("no.such")) == (True, 1.0, None)
    assert runs.all_runs(root / "nowhere") == []


@pytest.mark.parametrize("name", ["20260102-x", "20260102", "PATH"])
def test_a_run_is_found_by_id_beginning_or_folder(root: Path, name: str) -> None:
    assert runs.find(root, name.replace("PATH", str(root / "20260102-x"))).id == "20260102-x"


@pytest.mark.parametrize(
    ("name", "message"), [("2026", "3 runs"), ("x", "no such run"), ("", "no such"), ("notes", "no such")]
)
def test_what_is_not_one_run_is_a_usage_error(root: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        runs.find(root, name)


def test_removing_takes_the_whole_folder_and_nothing_else(root: Path) -> None:
    runs.remove(runs.find(root, "20260102"))
    assert sorted(path.name for path in root.iterdir()) == ["20260101-x", "20260103-x", "damaged", "notes"]


def test_a_folder_with_anything_else_in_it_is_not_removed(root: Path) -> None:
    folder = root / "20260102-x"
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"thesis\.txt"):
        runs.remove(runs.find(root, "20260102"))
    assert len(list(folder.iterdir())) == 6  # run.json, four tables and the thesis


def test_a_link_is_not_followed(root: Path) -> None:
    (root / "link").symlink_to(root / "20260102-x")
    with pytest.raises(UsageError, match="link"):
        runs.remove(runs.Run(root / "link", {"run_id": "link"}))
    assert (root / "20260102-x" / "run.json").exists()


def test_export_as_csv_holds_the_tables(root: Path, tmp_path: Path) -> None:
    written = runs.export(runs.find(root, "20260101"), tmp_path / "out", "csv")
    assert sorted(path.name for path in written.iterdir()) == sorted(["run.json", *(f"{name}.csv" for name in TABLES)])
    assert pd.read_csv(written / "tasks.csv")["done_s"].tolist() == [1.0]
    with pytest.raises(UsageError, match="already there"):
        runs.export(runs.find(root, "20260101"), tmp_path / "out", "csv")


def test_an_exported_archive_is_a_record_again(root: Path, tmp_path: Path) -> None:
    archive = runs.export(runs.find(root, "20260101"), tmp_path / "deep" / "er" / "run.zip", "parquet")
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path / "unpacked")
    record = Record.load(tmp_path / "unpacked" / "20260101-x")
    assert record.info == json.loads((root / "20260101-x" / "run.json").read_text())
    assert [path.name for path in (tmp_path / "deep" / "er").iterdir()] == ["run.zip"]  # no scraps beside it


def test_a_damaged_record_is_not_exported(root: Path, tmp_path: Path) -> None:
    (root / "20260101-x" / "tasks.parquet").write_bytes(b"no")
    with pytest.raises(UsageError, match="cannot be read"):
        runs.export(runs.find(root, "20260101"), tmp_path / "out", "csv")
    (root / "20260101-x" / "tasks.parquet").unlink()
    with pytest.raises(UsageError, match="missing"):
        runs.export(runs.find(root, "20260101"), tmp_path / "out", "csv")
    assert not (tmp_path / "out" / "20260101-x").exists()
