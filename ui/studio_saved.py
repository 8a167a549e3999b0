"""The user's own scenarios: runs/.scenarios/NAME.yaml, beside the records, out of the way of listings.

Names are checked here and nowhere else: they become file names, and come from people and from links. Relative paths in
these files start at the shipped scenarios' folder.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from lab import limits
from lab.errors import UsageError
from ui import jobs

NAME_CHARS_MAX = limits.NAME_CHARS_MAX
NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,{NAME_CHARS_MAX - 1}}}")
RESERVED = re.compile(r"(?i)con|prn|aux|nul|com\d|lpt\d|new")
"""What Windows gives to devices, and what our links give to the empty scenario."""


def folder() -> Path:
    """Where they lie."""
    return jobs.runs_dir() / ".scenarios"


def files() -> list[Path]:
    """The files with a name of ours, by name."""
    if not folder().is_dir():
        return []
    found = [path for path in folder().glob("*.yaml") if NAME.fullmatch(path.stem) and _small(path)]
    return sorted(found, key=lambda path: path.stem.lower())[: limits.SAVED_SCENARIOS_MAX]


def file(name: str) -> Path:
    """The file of that name, there or not. Raises UsageError for what cannot be a name."""
    if not NAME.fullmatch(name) or RESERVED.fullmatch(name):
        raise UsageError(
            f"{name[:80]!r} cannot be a scenario's name: use letters, digits, - and _, at most {NAME_CHARS_MAX}"
        )
    return folder() / f"{name}.yaml"


def save(name: str, text: str, taken: frozenset[str] = frozenset(), *, over: bool = False) -> Path:
    """Write `text` under `name`; `over`: also over what is there. Raises UsageError: the name is bad or `taken`, the
    text is too large, the folder is full.
    """
    path = file(name)
    if len(text.encode("utf-8", "surrogatepass")) > limits.SCENARIO_BYTES_MAX:
        raise UsageError(f"{name} is larger than {limits.SCENARIO_BYTES_MAX // 1024} KiB; a scenario is a short file")
    if name in taken or (path.exists() and not over):
        raise UsageError(f"there is a scenario {name!r} already; choose another name")
    if not path.exists() and len(files()) >= limits.SAVED_SCENARIOS_MAX:
        raise UsageError(f"{folder()} holds {limits.SAVED_SCENARIOS_MAX:,} scenarios; delete some first")
    folder().mkdir(parents=True, exist_ok=True)
    # Whole or not at all: a second tab may be reading it.
    handle, draft = tempfile.mkstemp(dir=folder(), prefix=".draft-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as out:
            out.write(text)
        os.replace(draft, path)
    except OSError:
        Path(draft).unlink(missing_ok=True)
        raise
    return path


def rename(name: str, new: str, taken: frozenset[str] = frozenset()) -> Path:
    """Call the scenario `name` something else. Raises UsageError as `save` does, and if it is not there any more."""
    path = file(name)
    if not path.is_file():
        raise UsageError(f"there is no scenario {name!r} any more; somebody else deleted or renamed it")
    renamed = save(new, path.read_text(encoding="utf-8"), taken)
    path.unlink(missing_ok=True)
    return renamed


def delete(name: str) -> None:
    """Remove it; it may be gone already."""
    file(name).unlink(missing_ok=True)


def free_name(name: str, taken: frozenset[str]) -> str:
    """`name` in the letters that a name may have, numbered if somebody has it already."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_")[:70] or "scenario"
    if not NAME.fullmatch(plain) or RESERVED.fullmatch(plain):
        plain = f"scenario-{plain}"[:80]
    # The folder is bounded, so one of the next numbers is free.
    numbered = (
        plain if number == 1 else f"{plain}-{number}" for number in range(1, limits.SAVED_SCENARIOS_MAX + 1_000)
    )
    return next(one for one in numbered if one not in taken)


def _small(path: Path) -> bool:
    try:
        return path.stat().st_size <= limits.SCENARIO_BYTES_MAX
    except OSError:
        return False
