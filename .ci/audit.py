"""Asks a public advisory service whether anything that is locked has a known vulnerability. Standard library only.

    .venv/bin/python .ci/audit.py

A finding for which there is a fixed version fails: raise the lock (requirements/lock.sh --upgrade). One without a fix
is listed every time and does not fail, because nothing could be done about it here. A service that cannot be reached
leaves the lock unaudited: that is said loudly, and does not fail either. pip-audit itself comes from a lock of its
own, into an environment of its own that is gone afterwards.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("app.txt", "test.txt", "uv.txt", "audit.txt")
ANSWER_S_MAX = 10
RUN_S_MAX = 50
UNREACHABLE = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|ProxyError|Could not connect|Max retries exceeded"
)


class Verdict(NamedTuple):
    """What to say, and what to exit with."""

    lines: list[str]
    status: int


class Unanswered(Exception):
    """The advisory service cannot be reached, or knows nothing of packages that are certainly there."""


def main() -> int:
    """Audit all locks; 0 unless there is something to mend."""
    with tempfile.TemporaryDirectory(prefix="meshlab-audit-") as folder:
        program = installed(Path(folder))
        try:
            # One package first: where the service is out of reach, a hundred more questions would only take longer.
            report(program, [one_of(Path(folder), ROOT / "requirements" / "uv.txt")])
            verdict = judge(report(program, [ROOT / "requirements" / name for name in LOCKS]))
        except Unanswered as problem:
            verdict = Verdict([f"!!! NOT AUDITED: {problem}", "!!! Run this step where the service is in reach."], 0)
    print("\n".join(verdict.lines))
    return verdict.status


def installed(folder: Path) -> Path:
    """pip-audit, in a fresh environment in that folder."""
    uv = Path(sys.executable).with_name("uv")
    program = [str(uv) if uv.is_file() else "uv"]
    subprocess.run([*program, "venv", "--quiet", "--python", sys.executable, str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    lock = ROOT / "requirements" / "audit.txt"
    install = ["pip", "install", "--quiet", "--require-hashes", "--python", str(python), "--requirement", str(lock)]
    # As run.py does: trust the certificates that the system trusts, for companies put their own there.
    subprocess.run([*program, *install], check=True, env={"UV_SYSTEM_CERTS": "1"} | dict(os.environ))
    return python.with_name("pip-audit")


def one_of(folder: Path, lock: Path) -> Path:
    """A lock file with the first package of another."""
    text = lock.read_text("utf-8")
    first = re.search(r"^[\w.-]+==(?:.*\\\n)*.*\n", text, re.MULTILINE)
    assert first, f"{lock} locks nothing"
    path = folder / "one.txt"
    path.write_text(first[0], "utf-8")
    return path


def report(program: Path, locks: list[Path]) -> dict[str, Any]:
    """pip-audit's JSON. Raises Unanswered, or RuntimeError if it failed for a reason of its own."""
    command = [str(program), "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    command += ["--timeout", str(ANSWER_S_MAX), *(word for lock in locks for word in ("--requirement", str(lock)))]
    environ = {**os.environ, "PYTHONWARNINGS": "ignore"}
    try:
        ended = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=RUN_S_MAX)
    except subprocess.TimeoutExpired:
        raise Unanswered(f"pip-audit had not ended after {RUN_S_MAX} s") from None
    try:
        found: dict[str, Any] = json.loads(ended.stdout)
    except ValueError:
        if said := UNREACHABLE.search(ended.stderr):
            raise Unanswered(f"the advisory service cannot be reached ({said[0]})") from None
        raise RuntimeError(f"pip-audit ended with status {ended.returncode}:\n{ended.stderr}") from None
    if all("skip_reason" in each for each in found["dependencies"]):
        reason = found["dependencies"][0]["skip_reason"]
        raise Unanswered(f"the registry in reach has no advisory service (it says: {reason})")
    return found


def judge(found: dict[str, Any]) -> Verdict:
    """All findings, those that can be mended first."""
    mend, wait, unknown = [], [], []
    for package in found["dependencies"]:
        if "skip_reason" in package:
            unknown.append(f"not audited: {package['name']}: {package['skip_reason']}")
        for flaw in package.get("vulns", []):
            names = ", ".join([flaw["id"], *flaw.get("aliases", [])])
            line = f"{package['name']} {package['version']}: {names}"
            fixes = flaw.get("fix_versions", [])
            (mend if fixes else wait).append(f"{line}: {'fixed in ' + ', '.join(fixes) if fixes else 'no fix yet'}")
    lines = [*dict.fromkeys([*mend, *wait, *unknown])]
    audited = len({package["name"] for package in found["dependencies"] if "skip_reason" not in package})
    lines.append(
        f"{audited} packages audited: {len(set(mend))} findings to mend, {len(set(wait))} without a fix yet, "
        f"{len(set(unknown))} not audited"
    )
    return Verdict(lines, 1 if mend else 0)


if __name__ == "__main__":
    sys.exit(main())
