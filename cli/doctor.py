"""`meshlab doctor`: what is here, what is missing, and the command that would mend it.

Exit status 0 if the model and the live engine can run, 1 if one cannot.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cli.terminal import GREEN, RED, YELLOW, mebibytes, painted, runs_folder, say, say_json, table
from lab.errors import UsageError
from lab.limits import MIB

PYTHON_MIN = (3, 11)
SET_UP = "python3 run.py"
MODEL_PACKAGES = ("simpy", "numpy", "pandas", "pyarrow", "scipy", "pydantic", "yaml")
LIVE_PACKAGES = ("redis", "psycopg", "sqlalchemy", "alembic", "psutil")
DISK_BYTES_MIN = 1024 * MIB
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `needed_by` (model, live) cannot run without it; empty: it only informs."""

    name: str
    found: str
    ok: bool = True
    needed_by: str = ""
    mend: str = ""


def command(options: argparse.Namespace) -> int:
    """Look, print, and judge."""
    servers = _servers()
    seen = (_server_finding(facts) for facts in servers)
    findings = [*_machine(), *_packages(), *seen, _profile(servers), _chromium()]
    can = {engine: not any(one.needed_by == engine and not one.ok for one in findings) for engine in ("model", "live")}
    can["live"] = can["live"] and can["model"] and bool(servers)
    if options.json:
        say_json({"can_run": can, "findings": [dataclasses.asdict(one) for one in findings], "servers": servers})
    else:
        _for_people(findings, can)
    return 0 if all(can.values()) else 1


def lab_version() -> str:
    """The lab's own version."""
    try:
        return version("agent-mesh-lab")
    except PackageNotFoundError:
        return "(not installed, run from its folder)"


def _machine() -> list[Finding]:
    python = platform.python_version()
    new_enough = sys.version_info >= PYTHON_MIN
    folder = runs_folder(None)
    free = shutil.disk_usage(_existing(folder)).free
    return [
        Finding("meshlab", lab_version()),
        Finding(
            "python",
            f"{python} ({sys.executable})",
            new_enough,
            "model",
            "" if new_enough else "install Python 3.11 or newer",
        ),
        Finding("cores", str(os.cpu_count())),
        Finding("memory", _memory()),
        Finding(
            "disk",
            f"{mebibytes(free)} free for records in {folder}",
            free >= DISK_BYTES_MIN,
            mend="" if free >= DISK_BYTES_MIN else "meshlab runs rm RUN, or --out a folder on a larger disk",
        ),
    ]


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.exists())


def _memory() -> str:
    try:
        import psutil
    except ImportError:
        return "unknown (psutil is not installed)"
    memory = psutil.virtual_memory()
    return f"{mebibytes(memory.available)} free of {mebibytes(memory.total)}"


def _packages() -> list[Finding]:
    found = []
    for engine, packages in (("model", MODEL_PACKAGES), ("live", LIVE_PACKAGES)):
        missing = [name for name in packages if importlib.util.find_spec(name) is None]
        text = f"missing: {', '.join(missing)}" if missing else "all there"
        found.append(Finding(f"packages for {engine}", text, not missing, engine, SET_UP if missing else ""))
    return found


def _servers() -> list[dict[str, Any]]:
    """What live_backend finds, as plain data. A backend that cannot even be loaded is a finding too, not a crash."""
    try:
        from live_backend import servers

        return [_plain(facts) for facts in servers.inspect()]
    except ImportError as error:
        problem = f"the live engine cannot be loaded: {error}"
        return [
            {
                "kind": "servers",
                "source": None,
                "where": None,
                "version": None,
                "limits": None,
                "problem": problem,
                "mend": SET_UP,
            }
        ]


def _plain(facts: Any) -> dict[str, Any]:
    """Server facts as JSON holds them."""
    plain = (
        dataclasses.asdict(facts)
        if dataclasses.is_dataclass(facts) and not isinstance(facts, type)
        else facts._asdict()
    )
    return {
        name: value if isinstance(value, str | int | float | bool | dict | None) else str(value)
        for name, value in plain.items()
    }


def _server_finding(facts: dict[str, Any]) -> Finding:
    if facts["problem"]:
        return Finding(str(facts["kind"]), str(facts["problem"]), False, "live", str(facts["mend"] or ""))
    parts = [facts["version"], facts["source"], facts["where"], _limits(facts["limits"])]
    return Finding(str(facts["kind"]), ", ".join(str(part) for part in parts if part), True, "live")


def _limits(limits: Any) -> str:
    if isinstance(limits, dict):
        return ", ".join(f"{name} {value}" for name, value in limits.items())
    return str(limits or "")


def _profile(servers: list[dict[str, Any]]) -> Finding:
    """What the model runs with where a scenario names nothing else, and whether it speaks of this machine."""
    try:
        from lab import profile as profiles
        from lab.calibration_age import warning

        there = {str(one["kind"]): f"{one['version']} ({one['source']})" for one in servers if not one["problem"]}
        wrong = warning(profiles.DEFAULT, servers=there if len(there) == len(servers) else None)
        found = wrong or f"{profiles.load(profiles.DEFAULT).measured}, {profiles.place(profiles.DEFAULT)}"
    except (
        ImportError,
        UsageError,
    ) as error:  # a package is missing, which is a finding of its own; or the file is bad
        wrong = found = str(error)
    return Finding("profile", found, wrong is None, mend="meshlab calibrate" if wrong else "")


def _chromium() -> Finding:
    """A browser, for the end-to-end test of the app only."""
    on_path = next((path for name in CHROMIUMS if (path := shutil.which(name))), None)
    cache = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright")
    downloaded = sorted(cache.glob("chromium*-*")) if cache.is_dir() else []
    where = on_path or (str(downloaded[-1]) if downloaded else None)
    mend = "" if where else f"{sys.executable} -m playwright install chromium"
    return Finding("chromium", where or "not found; only the app's browser test needs it", where is not None, "", mend)


def _for_people(findings: list[Finding], can: dict[str, bool]) -> None:
    for line, one in zip(table((one.name, one.found) for one in findings), findings, strict=True):
        mark, colour = ("ok", GREEN) if one.ok else ("--", YELLOW if not one.needed_by else RED)
        say(f"{painted(mark, colour)}  {line}")
        if one.mend:
            say(f"      to mend it: {one.mend}")
    say()
    for engine, able in can.items():
        say(f"{engine}: {painted('can run', GREEN) if able else painted('cannot run', RED)}")
