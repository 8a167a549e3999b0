"""Whether a profile still speaks of this machine: which machine it was measured on, and how long ago."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from lab import profile as profiles
from lab.profile import Profile

AGE_DAYS_MAX: Final = 30
"""Kernels, neighbours and libraries change: what was measured longer ago is told with a warning."""
LIBRARIES: Final = ("agent-mesh-lab", "asyncpg", "redis", "hiredis", "uvloop", "psycopg")
"""What the hot path runs on."""


def fingerprint(servers: Mapping[str, str]) -> dict[str, Any]:
    """This machine, without naming it. `servers`: version and source by kind."""
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        **{f"server {kind}": found for kind, found in sorted(servers.items())},
        **{f"library {name}": found for name, found in _libraries()},
    }


def doubts(profile: Profile, servers: Mapping[str, str] | None = None, now: datetime | None = None) -> list[str]:
    """Why a profile may be wrong here, in words; nothing if it was measured on this machine, of late. Without `servers`
    theirs are not compared.
    """
    if profile.measured_at is None:
        return ["nobody has noted when and on which machine it was measured"]
    here = fingerprint(servers or {})
    found = [
        f"{name} is {here.get(name, 'not there')} here and was {was} then"
        for name, was in profile.machine.items()
        if here.get(name) != was and not (servers is None and name.startswith("server "))
    ]
    age_days = ((now or datetime.now(UTC)) - profile.measured_at).days
    if age_days > AGE_DAYS_MAX:
        found.append(f"it was measured {age_days} days ago")
    return found


def warning(
    name: str, base: Path | None = None, servers: Mapping[str, str] | None = None, *, beside_live: bool = True
) -> str | None:
    """One line if the model with the profile of that name may be wrong about this machine; None if nothing speaks for
    it, or if somebody has asked by name for one that is built in or was never
    measured.

    Unless its figures stand beside those of a real backend nobody need be told that it is the one that ships. Raises
    UsageError if there is no such profile.
    """
    calibrated, found = profiles.is_calibrated(name), profiles.load(name, base)
    if name == profiles.DEFAULT and not calibrated:
        ships = "the model runs with the profile that ships, measured on another machine: "
        return f"{ships}`meshlab calibrate` measures this one in two minutes" if beside_live else None
    asked_for = name in profiles.BUILT_IN or found.measured_at is None
    wrong = doubts(found, servers) if calibrated or not asked_for else []
    whose = "of this machine" if name == profiles.DEFAULT else repr(name)
    return f"the profile {whose} is in doubt: {wrong[0]}; run `meshlab calibrate`" if wrong else None


def _processor() -> str:
    """What the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def _libraries() -> Iterator[tuple[str, str]]:
    for name in LIBRARIES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "not installed"
