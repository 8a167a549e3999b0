"""The scenarios that ship, and what each of them claims to show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.scenario import Scenario
from ui.jobs import ROOT

FOLDER = ROOT / "scenarios"
DEFAULT = "sdlc_quick"


@dataclass(frozen=True)
class Shipped:
    """A scenario file."""

    name: str
    path: Path
    text: str

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


def shipped(folder: Path = FOLDER) -> dict[str, Shipped]:
    """All shipped scenarios by name, the default first."""
    found = {path.stem: Shipped(path.stem, path, _text(path)) for path in folder.glob("*.yaml")}
    return dict(sorted(found.items(), key=lambda item: (item[0] != DEFAULT, item[0])))


def load(text: str, source: str, folder: Path = FOLDER) -> Scenario:
    """The scenario in `text`, whose relative paths start at the shipped ones' folder. Raises ScenarioError."""
    return Scenario.parse(text, base=folder, source=source)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return ""  # told as an empty file, with its name, when it is chosen
