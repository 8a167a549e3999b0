"""The files that the browser needs (ui/assets), by exact name: nothing else can be asked for."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from ui.jobs import ROOT

FOLDER = ROOT / "ui" / "assets"
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
    ".map": "application/json",
}


class Asset(NamedTuple):
    """A file as it is sent."""

    content: bytes
    media_type: str
    etag: str


def find(name: str, folder: Path = FOLDER) -> Asset | None:
    """The asset of that name ("panel.js", "editor/main.js"), or None. The name is looked up, never opened."""
    path = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.suffix in TYPES}.get(name)
    if path is None or not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        return None
    content = path.read_bytes()
    return Asset(content, TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')
