"""What people say about a run: tags, a note, whether it is a favourite.

Kept beside the record in notes.json: the record itself never changes, and its digest stays true.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import Unavailable, UsageError
from lab.limits import NOTE_CHARS_MAX, NOTES_BYTES_MAX, TAG_CHARS_MAX, TAGS_MAX

FILE = "notes.json"
SCRATCH = "notes.tmp"


@dataclass(frozen=True, slots=True)
class Notes:
    """Tags (each once, whatever its case), a note, and a star."""

    tags: tuple[str, ...] = ()
    note: str = ""
    favourite: bool = False


NONE = Notes()


def read(folder: Path) -> Notes:
    """The notes of the run in `folder`; none if nobody wrote any, or if the file is damaged or too large."""
    try:
        with (folder / FILE).open("rb") as file:
            content = file.read(NOTES_BYTES_MAX + 1)
        return parse(content)
    except (OSError, UsageError):
        return NONE


def parse(content: bytes) -> Notes:
    """The notes that a notes.json holds. Raises UsageError if it is none."""
    if len(content) > NOTES_BYTES_MAX:
        raise UsageError(f"{FILE}: more than {NOTES_BYTES_MAX:,} bytes")
    try:
        found: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{FILE}: is no JSON ({error})") from error
    if not isinstance(found, dict):
        raise UsageError(f"{FILE}: holds no object")
    tags, note = found.get("tags", []), found.get("note", "")
    if not isinstance(note, str) or not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise UsageError(f"{FILE}: `tags` is a list of words and `note` a text")
    return checked(tags, note, found.get("favourite") is True)


def checked(tags: Iterable[str], note: str, favourite: bool) -> Notes:
    """Notes within their bounds. Raises UsageError beyond them."""
    once: dict[str, str] = {}
    for tag in tags:
        words = " ".join("".join(letter for letter in tag if letter.isprintable()).split())
        if len(words) > TAG_CHARS_MAX:
            raise UsageError(f"the tag {words[:TAG_CHARS_MAX]!r}… has {len(words)} letters; at most {TAG_CHARS_MAX}")
        if words:
            once.setdefault(words.casefold(), words)
    if len(once) > TAGS_MAX:
        raise UsageError(f"{len(once)} tags; a run has at most {TAGS_MAX}")
    note = note.strip()
    if len(note) > NOTE_CHARS_MAX:
        raise UsageError(f"the note has {len(note):,} letters; at most {NOTE_CHARS_MAX:,}")
    return Notes(tuple(once.values()), note, favourite)


def write(folder: Path, notes: Notes) -> None:
    """Keep the notes of the run in `folder`, whole or not at all. Empty ones leave no file."""
    if not (folder / "run.json").is_file():
        raise UsageError(f"{folder.name}: there is no record any more to which a note could belong")
    try:
        if notes == NONE:
            (folder / FILE).unlink(missing_ok=True)
            return
        content = {"tags": list(notes.tags), "note": notes.note, "favourite": notes.favourite}
        scratch = folder / SCRATCH
        scratch.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        scratch.replace(folder / FILE)
    except OSError as error:
        raise Unavailable(f"{folder / FILE}: cannot be written ({error.strerror}); nothing was changed") from error
