"""Numbers as people read them: three significant digits, a unit that fits, never an exponent."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from lab.limits import MIB

NONE: Final = "–"
NUMBER: Final = re.compile(r"([−+]?[\d,.]+)(\D*)")
"""A written number and its unit, if that is a single one."""


def seconds(value: float | None) -> str:
    """A span: 3.2 ms, 1.25 s, 68 s, 4 min 10 s, 2 h 5 min."""
    if value is None:
        return NONE
    size = abs(value)
    if size < 0.0995:
        return f"{_digits(value * 1e3)} ms" if value else "0 s"
    if size < 120:
        return f"{_digits(value)} s"
    sign = "−" if value < 0 else ""
    if size < 7_200:
        minutes, rest = divmod(round(size), 60)
        return f"{sign}{minutes} min {rest} s" if rest else f"{sign}{minutes} min"
    hours, rest = divmod(round(size / 60), 60)
    return f"{sign}{hours:,} h {rest} min" if rest else f"{sign}{hours:,} h"


def rate(value: float | None) -> str:
    """A rate: 7.35/s."""
    return NONE if value is None else f"{_digits(value)}/s"


def size(value: float | None) -> str:
    """Bytes as MiB."""
    return NONE if value is None else f"{_digits(value / MIB)} MiB"


def count(value: float | None) -> str:
    """A number of tasks: whole, or the mean of several runs."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if float(value).is_integer() else _digits(value)


def percent(error: float | None) -> str:
    """A signed relative difference: +1.2 %, 0 %."""
    if error is None:
        return NONE
    shown = f"{error * 100:+,.1f}"
    return "0 %" if float(shown.replace(",", "")) == 0 else f"{_minus(shown)} %"


def percents(low: float, high: float) -> str:
    """An interval of relative differences: −0.3 to +2.7 %."""
    return interval(percent(low), percent(high))


def interval(low: str, high: str) -> str:
    """Two written numbers as one interval, the unit once if they share it: 37.4 to 40.5/s."""
    numbers = [NUMBER.fullmatch(one) for one in (low, high)]
    if numbers[0] and numbers[1] and numbers[0][2] == numbers[1][2]:
        low = numbers[0][1]
    return f"{low} to {high}"


def plural(number: int, noun: str) -> str:
    """3 tasks, 1 task."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


WRITTEN: Final[Mapping[str, Callable[[float | None], str]]] = {"s": seconds, "1/s": rate, "bytes": size, "": count}
"""How a number of each unit is written."""


def _digits(value: float) -> str:
    """Three significant digits, and never an exponent."""
    size = abs(value)
    if size == 0:
        return "0"
    places = 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.9995 else 3
    return _minus(f"{value:,.{places}f}")


def _minus(text: str) -> str:
    return text.replace("-", "−")
