"""The scenarios to choose from: those that ship, in groups, and the user's own; and what each claims to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.scenario import Scenario
from ui import studio_saved
from ui.jobs import ROOT

FOLDER = ROOT / "scenarios"
DEFAULT = "sdlc_quick"
OWN, DRILLS, MORE = "Yours", "Fault drills", "More"
FOLDERS: Mapping[str, str] = {"": MORE, "faults": DRILLS, "flaws": "Published flaws"}
"""Where shipped scenarios lie below FOLDER, and the group of those that no other group names."""
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Start here": ("sdlc_quick", "command_center", "sdlc_stress_500", "worker_crash"),
    "Queueing and load": ("mm8", "overload", "sustained_750", "azure_code_trace", "rankup_squad", "metastable"),
    "Retries and dead letters": ("poison", "redrive"),
    "Memory and backpressure": ("rss_pressure", "rss_sawtooth"),
    "Your own agents": ("real_agent",),
    "Published flaws": ("agent_mesh_published", "go_queue_published", "poison_published"),
}
ORDER = (OWN, *GROUPS, DRILLS, MORE)


@dataclass(frozen=True)
class Shipped:
    """A scenario file. `folder`: where its paths start, below the shipped ones' folder; `own`: the user saved it."""

    name: str
    path: Path
    text: str
    folder: str = ""
    own: bool = False

    @property
    def claim(self) -> str:
        """Its first comment: the one thing that it shows."""
        lines: list[str] = []
        for line in self.text.splitlines():
            if not line.startswith("#") and (lines or line.strip()):
                break
            words = line.lstrip("#").strip()
            # Editors read such a line; people need not.
            if words and not words.startswith("yaml-language-server"):
                lines.append(words)
            elif lines:
                break
        return " ".join(lines)

    @property
    def group(self) -> str:
        """Under which heading it stands."""
        if self.own:
            return OWN
        return next((group for group, names in GROUPS.items() if self.name in names), FOLDERS[self.folder])


def shipped(folder: Path = FOLDER) -> dict[str, Shipped]:
    """The shipped scenarios that show one idea each, by name, the default first."""
    found = {path.stem: Shipped(path.stem, path, _text(path)) for path in folder.glob("*.yaml")}
    return dict(sorted(found.items(), key=lambda item: (item[0] != DEFAULT, item[0])))


def saved() -> dict[str, Shipped]:
    """The user's own scenarios by name."""
    return {path.stem: Shipped(path.stem, path, _text(path), own=True) for path in studio_saved.files()}


def every() -> dict[str, Shipped]:
    """All scenarios by name, drills and flaws too. A shipped one is never hidden by one of the user's."""
    below = [
        Shipped(path.stem, path, _text(path), folder)
        for folder in filter(None, FOLDERS)
        for path in sorted((FOLDER / folder).glob("*.yaml"))
    ]
    return {**saved(), **{one.name: one for one in below}, **shipped()}


def find(name: str) -> Shipped | None:
    """The scenario called `name`, shipped or the user's own."""
    return every().get(name)


def base(folder: str) -> Path:
    """Where the relative paths of a scenario start. `folder` is one of FOLDERS."""
    return FOLDER / folder


def load(text: str, source: str, folder: Path = FOLDER) -> Scenario:
    """The scenario in `text`, whose relative paths start at the shipped ones' folder. Raises ScenarioError."""
    return Scenario.parse(text, base=folder, source=source)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return ""  # told as an empty file, with its name, when it is chosen
