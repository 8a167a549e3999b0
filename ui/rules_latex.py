"""Formulas of the rulebook as LaTeX: `wait = min(base_s · factor^k, cap_s)` as a book would set it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

_TOKEN: Final = re.compile(r"`[^`]*`|[A-Za-z_][A-Za-z_\-]*(?:\d+)?|\d+(?:\.\d+)?|\s+|.")
_CLAUSE: Final = re.compile(r", (?=[a-z])(?![^()]*\))")
_SIGNS: Final = {
    "·": r"\cdot ",
    "−": "-",
    "≥": r"\ge ",
    "≤": r"\le ",
    "→": r"\to ",
    "×": r"\times ",
    "%": r"\%",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
}
_FUNCTIONS: Final = {"min": r"\min", "max": r"\max", "ln": r"\ln", "floor": r"\operatorname{floor}"}
_GAP: Final = r"\;"
_SYMBOLS: Final = frozenset({"k", "RSS", "HealthScore", "roll", "burst", "ratio", "jitter", "factor", "tokens", "wait"})
"""Names without an underscore that stand for a number in the formulas."""


def is_formula(told: str) -> bool:
    """Whether it is more than prose."""
    return any(sign in told for sign in "=≥≤·→^")


def latex(formulas: Iterable[str]) -> str:
    """All of them below each other, each part of a formula in a line of its own."""
    lines = [line for told in formulas for part in told.split(";") for line in _lines(part.strip())]
    return r"\footnotesize\begin{array}{l}" + r" \\[4pt] ".join(lines) + r"\end{array}"


def _lines(told: str) -> Iterator[str]:
    """A formula, and indented below it what is said about it after a comma."""
    first, *more = _CLAUSE.split(told)
    yield _line(first)
    yield from (r"\quad " + _line(clause) for clause in more)


def _line(told: str) -> str:
    made: list[str] = []
    words: list[str] = []
    for token in _TOKEN.findall(told):
        if _is_word(token) or (token.isspace() and words):
            words.append(token)
            continue
        made += _text(words)
        words = []
        made.append(_maths(token))
    return "".join([*made, *_text(words)]).replace("^k", "^{k}").removeprefix(_GAP)


def _is_word(token: str) -> bool:
    name = token[:1].isalpha() or token.startswith("`")
    return name and "_" not in token and token not in _SYMBOLS and token not in _FUNCTIONS


def _text(words: list[str]) -> list[str]:
    """Words in upright letters, with the spaces around them; nothing if there are none."""
    if not words:
        return []
    said = "".join(words).strip().replace("`", "").replace("{", r"\{").replace("}", r"\}")
    return [rf"{_GAP}\text{{{said}}}{_GAP}"]


def _maths(token: str) -> str:
    if token in _FUNCTIONS:
        return _FUNCTIONS[token]
    if token[0].isalpha() and len(token) > 1:
        return r"\mathit{" + token.replace("_", r"\_") + "}"
    return _SIGNS.get(token, " " if token.isspace() else token)
