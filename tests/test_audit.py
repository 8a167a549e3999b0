"""The step of CI that looks for known vulnerabilities: what it fails for, what it lists, and when it says that it could
not look.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def audit() -> ModuleType:
    """.ci/audit.py, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def package(name: str, *flaws: tuple[str, list[str]]) -> dict[str, Any]:
    """A package as pip-audit's JSON tells of it: flaws as (id, versions with a fix)."""
    vulns = [{"id": flaw, "fix_versions": fixes, "aliases": ["CVE-1"], "description": "…"} for flaw, fixes in flaws]
    return {"name": name, "version": "1.0", "vulns": vulns}


SKIPPED = {"name": "absent", "skip_reason": "Dependency not found"}


@pytest.mark.parametrize(
    ("packages", "status", "lines"),
    [
        ([package("a")], 0, ["1 packages audited: 0 findings to mend, 0 without a fix yet, 0 not audited"]),
        (
            [package("a", ("PYSEC-1", ["1.1", "2.0"]))],
            1,
            ["a 1.0: PYSEC-1, CVE-1: fixed in 1.1, 2.0", "1 packages audited: 1 findings to mend, 0 without"],
        ),
        (
            [package("a", ("PYSEC-1", [])), SKIPPED],
            0,
            [
                "a 1.0: PYSEC-1, CVE-1: no fix yet",
                "not audited: absent: Dependency not found",
                "1 packages audited: 0 ",
            ],
        ),
        (
            [package("a", ("PYSEC-1", []), ("PYSEC-2", ["2"])), package("a", ("PYSEC-2", ["2"]))],  # in two lock files
            1,
            ["a 1.0: PYSEC-2, CVE-1: fixed in 2", "a 1.0: PYSEC-1, CVE-1: no fix yet", "1 packages audited: 1 "],
        ),
    ],
)
def test_what_can_be_mended_fails_and_nothing_is_hidden(
    audit: ModuleType, packages: list[dict[str, Any]], status: int, lines: list[str]
) -> None:
    verdict = audit.judge({"dependencies": packages})
    assert verdict.status == status
    assert [line.startswith(start) for line, start in zip(verdict.lines, lines, strict=True)] == [True] * len(lines)


def program(folder: Path, stdout: str, stderr: str, status: int) -> Path:
    """A program that says that, in pip-audit's place."""
    (folder / "out").write_text(stdout, "utf-8")
    (folder / "err").write_text(stderr, "utf-8")
    path = folder / "pip-audit"
    path.write_text(f'#!/bin/sh\ncat "{folder}/out"\ncat "{folder}/err" >&2\nexit {status}\n', "utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("stdout", "stderr", "said"),
    [
        (json.dumps({"dependencies": [SKIPPED, SKIPPED]}), "", "no advisory service (it says: Dependency not found)"),
        ("", "requests.exceptions.ConnectionError: Max retries exceeded", "cannot be reached (ConnectionError)"),
    ],
)
def test_a_service_out_of_reach_is_said_not_passed_over(
    audit: ModuleType, tmp_path: Path, stdout: str, stderr: str, said: str
) -> None:
    with pytest.raises(audit.Unanswered, match=re.escape(said)):
        audit.report(program(tmp_path, stdout, stderr, 1), [Path("lock.txt")])


def test_a_failure_of_its_own_is_no_excuse(audit: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"status 2:\nusage: pip-audit"):
        audit.report(program(tmp_path, "", "usage: pip-audit [-h]", 2), [Path("lock.txt")])


def test_findings_are_read_whatever_the_exit_status(audit: ModuleType, tmp_path: Path) -> None:
    found = {"dependencies": [package("a", ("PYSEC-1", []))]}
    assert audit.report(program(tmp_path, json.dumps(found), "", 1), [Path("lock.txt")]) == found


def test_every_lock_of_ours_is_audited_and_the_first_package_can_be_asked_for_alone(
    audit: ModuleType, tmp_path: Path
) -> None:
    for name in audit.LOCKS:
        one = audit.one_of(tmp_path, ROOT / "requirements" / name).read_text("utf-8")
        assert len(re.findall(r"^[\w.-]+==", one, re.MULTILINE)) == 1
        assert "--hash=sha256:" in one
