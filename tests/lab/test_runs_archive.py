"""Records as archives: they come in as they went out, and nothing else comes in."""

from __future__ import annotations

import io
import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lab import run_archive, run_notes
from lab.errors import UsageError
from lab.record import Record
from lab.run_archive import COLUMNS, Imported, pack, unpack
from lab.run_notes import Notes
from lab.runs import TABLE_FILES

DONE = [(0.0, "submitted"), (0.0, "claimed"), (1.0, "succeeded")]
IDS = ("20260101-x", "20260102-y")


MADE: list[Path] = []
"""Records that were made once for all tests here."""


@pytest.fixture
def folders(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, make: Callable[..., Record]) -> list[Path]:
    if not MADE:
        base = tmp_path_factory.mktemp("records")
        MADE.extend(make(DONE, DONE, run_id=run_id).save(base / run_id) for run_id in IDS)
    return [Path(shutil.copytree(made, tmp_path / "from" / made.name)) for made in MADE]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


def packed(*folders: Path) -> io.BytesIO:
    buffer = io.BytesIO()
    pack(folders, buffer)
    return buffer


def zipped(files: dict[str, bytes], edit: Callable[[zipfile.ZipInfo], None] | None = None) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            if edit:
                edit(entry)
            archive.writestr(entry, content)
    return buffer


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(archive: io.BytesIO, root: Path, match: str) -> None:
    """Refused with these words, and nothing is there that was not before."""
    before = sorted(root.parent.rglob("*"))
    with pytest.raises(UsageError, match=match):
        unpack(archive, "a.zip", root)
    assert sorted(root.parent.rglob("*")) == before


# ---- out and in ------------------------------------------------------------------------------------------------------


def test_what_goes_out_comes_in_again(folders: list[Path], root: Path) -> None:
    run_notes.write(folders[0], Notes(("paper",), "why", True))
    archive = packed(*folders)
    assert unpack(archive, "a.zip", root) == Imported(IDS, ())
    assert [content(root / one) for one in IDS] == [content(folder) for folder in folders]
    assert sorted(path.name for path in root.iterdir()) == sorted(IDS)


def test_what_is_there_already_is_left_as_it_is(folders: list[Path], root: Path) -> None:
    unpack(packed(folders[0]), "a.zip", root)
    run_notes.write(root / IDS[0], Notes(("mine",)))
    assert unpack(packed(*folders), "a.zip", root) == Imported((IDS[1],), (IDS[0],))
    assert run_notes.read(root / IDS[0]).tags == ("mine",)


def test_a_record_at_the_top_of_an_archive_and_what_a_mac_adds(folders: list[Path], root: Path) -> None:
    files = content(folders[0]) | {"__MACOSX/._run.json": b"x"}
    assert unpack(zipped(files), "a.zip", root).new == (IDS[0],)


def test_a_verdict_is_not_believed(folders: list[Path], root: Path) -> None:
    info = json.loads((folders[0] / "run.json").read_text())
    info["checks"] = {"ok": True, "failed": [], "details": "<script>"}
    info["summary"] = {"tasks": {"submitted": 10**9}}
    unpack(zipped(content(folders[0]) | {"run.json": json.dumps(info).encode()}), "a.zip", root)
    assert content(root / IDS[0])["run.json"] == content(folders[0])["run.json"]


def test_the_columns_are_those_of_a_record(make: Callable[..., Record]) -> None:
    record = make(DONE)
    for table, columns in COLUMNS.items():
        assert {name: kind.kind for name, kind in getattr(record, table).dtypes.items()} == columns


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../run.json",
        "/run.json",
        "a/../../run.json",
        "a/b/run.json",
        "..\\run.json",
        "a/evil.sh",
        "a b/run.json",
        "-/x",
    ],
)
def test_nothing_is_unpacked_outside_or_beside_a_record(folders: list[Path], root: Path, name: str) -> None:
    refused(
        zipped({f"{IDS[0]}/{file}": data for file, data in content(folders[0]).items()} | {name: b"x"}),
        root,
        "no file of",
    )


def test_a_link_is_refused(folders: list[Path], root: Path) -> None:
    def link(entry: zipfile.ZipInfo) -> None:
        if entry.filename.endswith("tasks.parquet"):
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16

    refused(zipped(content(folders[0]), link), root, "no file of a record")


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"no zip at all", b"PK\x05\x06" + b"\xff" * 18, b"PK\x05\x06" + b"\0" * 18]
)
def test_what_is_no_archive_is_told(root: Path, data: bytes) -> None:
    refused(io.BytesIO(data), root, r"a\.zip: ")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_twice_is_refused(folders: list[Path], root: Path) -> None:
    archive = packed(folders[0])
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr(f"{IDS[0]}/run.json", "{}")
    refused(archive, root, "twice")


def test_the_same_run_twice_is_refused(folders: list[Path], root: Path) -> None:
    files = {f"{folder}/{name}": data for folder in ("a", "b") for name, data in content(folders[0]).items()}
    refused(zipped(files), root, "same run twice")


def test_one_bad_record_keeps_the_good_one_out(folders: list[Path], root: Path) -> None:
    (folders[1] / "samples.parquet").write_bytes(b"no")
    refused(packed(*folders), root, "samples.parquet")
    (folders[1] / "samples.parquet").unlink()
    refused(packed(*folders), root, "missing")


def test_bombs_are_not_unpacked(folders: list[Path], root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = content(folders[0]) | {"tasks.parquet": bytes(3_000_000)}
    monkeypatch.setattr(run_archive, "IMPORT_UNPACKED_BYTES_MAX", 2_000_000)
    refused(zipped(zeros), root, "MiB unpacked")
    refused(zipped(content(folders[0]) | {"run.json": b" " * 5_000_000}), root, "unpacked|larger than")
    lying = bytearray(zipped(zeros).getvalue())
    size = (3_000_000).to_bytes(4, "little")
    lying = lying.replace(size, (1_000).to_bytes(4, "little"))  # in both tables of contents
    refused(io.BytesIO(bytes(lying)), root, r"a\.zip")
    monkeypatch.setattr(run_archive, "IMPORT_BYTES_MAX", 1_000)
    refused(packed(folders[0]), root, "imported at a time")


def test_an_archive_of_countless_files_is_not_even_opened(root: Path) -> None:
    refused(zipped({f"{number:06}/run.json": b"" for number in range(6_000)}), root, "more files than")


def test_a_table_that_promises_too_much_is_not_read(
    folders: list[Path], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_archive, "IMPORT_ROWS_MAX", 3)
    refused(packed(folders[0]), root, "promises 6 rows")


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        ({"run_id": "../../x"}, "run_id"),
        ({"run_id": 7}, "run_id"),
        ({"engine": "turbo"}, "which engine"),
        ({"scenario": "x"}, "which scenario"),
        ({"scenario": {}}, "no valid record"),
        ({"digest": "0" * 64}, "digests differ"),
        ({"scenario_base": 3}, "no valid record"),
    ],
)
def test_a_run_json_that_is_none_is_refused(
    folders: list[Path], root: Path, edit: dict[str, object], match: str
) -> None:
    info = json.loads((folders[0] / "run.json").read_text()) | edit
    refused(zipped(content(folders[0]) | {"run.json": json.dumps(info).encode()}), root, match)


@pytest.mark.parametrize("data", [b"{", b"[]", b"null", b"[" * 50_000, b"\xff\xfe"])
def test_broken_json_is_refused(folders: list[Path], root: Path, data: bytes) -> None:
    refused(zipped(content(folders[0]) | {"run.json": data}), root, "no valid record")
    refused(zipped(content(folders[0]) | {"notes.json": data}), root, "no valid record")


@pytest.mark.parametrize("table", TABLE_FILES)
def test_tables_of_other_columns_or_kinds_are_refused(folders: list[Path], root: Path, table: str) -> None:
    name = table.removesuffix(".parquet")
    frame = pd.read_parquet(folders[0] / table)
    column = next(iter(COLUMNS[name]))

    def with_table(edited: pd.DataFrame) -> io.BytesIO:
        buffer = io.BytesIO()
        edited.to_parquet(buffer, index=False)
        return zipped(content(folders[0]) | {table: buffer.getvalue()})

    refused(with_table(frame.drop(columns=column)), root, f"{table} has no column {column}")
    refused(with_table(frame.assign(**{column: "x"})), root, "no valid record")
    if len(frame):
        number = next(one for one, kind in COLUMNS[name].items() if kind == "f")
        refused(with_table(frame.assign(**{number: np.float64(7.0)})), root, "digests differ")


def test_too_much_is_not_exported(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_archive, "EXPORT_BYTES_MAX", 1_000)
    with pytest.raises(UsageError, match="choose fewer"):
        packed(*folders)
